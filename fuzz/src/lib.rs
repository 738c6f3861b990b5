//! What each target does with its bytes. The targets in `fuzz_targets/` feed it from libFuzzer; `tests/regressions.rs`
//! feeds it, on the stable toolchain, what was found once.

mod index;
mod parse;
mod replace;
mod request;
mod roundtrip;
mod vm_vs_reference;
mod wire;

#[path = "../../tests/common/mod.rs"]
mod common;

pub use index::index;
pub use parse::parse;
pub use replace::replace;
pub use request::request;
pub use roundtrip::roundtrip;
pub use vm_vs_reference::vm_vs_reference;

use pointsman::Limits;

/// Bounds small enough that a fuzzer goes past them.
fn small() -> Limits {
    Limits { text_bytes: 1 << 16, regex_bytes: 1 << 14, diagnostics: 20, ..Limits::default() }
}

/// The parts of an input, between lines of three dashes.
fn parts(data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(5).position(|window| window == b"\n---\n") {
        parts.push(&rest[..at]);
        rest = &rest[at + 5..];
    }
    parts.push(rest);
    parts
}
