//! What the fuzz targets found once, tried again: each file of `fuzz/regressions/TARGET/` by that target.
//!
//! The targets themselves run under `cargo fuzz`, see the contributor guide. `program` is a unit test, as it needs
//! what is private.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests"
)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

/// Runs a target over its files.
#[track_caller]
fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(name);
    let mut tried = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        // The output is shown if the test fails, and ends with the file that it failed on.
        println!("{}", path.display());
        target(&std::fs::read(&path).unwrap());
        tried += 1;
    }
    assert!(tried > 0, "no file for {name}");
}

#[test]
fn index() {
    replay("index", targets::index);
}

#[test]
fn parse() {
    replay("parse", targets::parse);
}

#[test]
fn roundtrip() {
    replay("roundtrip", targets::roundtrip);
}

#[test]
fn vm_vs_reference() {
    replay("vm_vs_reference", targets::vm_vs_reference);
}

#[test]
fn request() {
    replay("request", targets::request);
}

#[test]
fn replace() {
    replay("replace", targets::replace);
}
