//! Checks rule files before they are put where nodes find them.
//!
//! Run it with `cargo run --example check -- examples/shop.rules`. It prints the digest that nodes will have,
//! or says what is wrong and ends with 1. In a project of your own it is a binary beside the service, and both call one function for what rules may say.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use pointsman::engine::Digest;
use pointsman::{Engine, EngineBuilder, Rules};

/// What the rules of this service may say: its clusters, fields and lists. The service starts with this too.
pub(crate) fn builder() -> EngineBuilder {
    Engine::builder().clusters(["gray", "next", "prod_a", "prod_b"])
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "to be read in a terminal")]
fn main() -> ExitCode {
    let files: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match check(&files) {
        Ok(digest) => {
            println!("{digest}");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::FAILURE
        }
    }
}

/// Several files are one rule set, as those of a directory are. Lints are mistakes here.
pub(crate) fn check(files: &[PathBuf]) -> Result<Digest, Box<dyn Error>> {
    let mut texts = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        texts.push((file.display().to_string(), text));
    }
    // One file stays as it is, so that its digest is the one that nodes will have.
    let rules = match texts.as_mut_slice() {
        [(name, text)] => Rules::named(std::mem::take(name), std::mem::take(text)),
        _ => Rules::joined(texts),
    };
    let engine = builder().deny_lints(true).build(rules)?;
    Ok(engine.rules().digest())
}
