//! Runs regression cases: `cargo run --example conformance -- FILE…`.
//!
//! A file has one JSON object a line; `tests/conformance/README.md` says what is in it. Exit status 1 if any
//! case failed.

mod run;

use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    if files.is_empty() {
        let _ = writeln!(io::stderr(), "usage: cargo run --example conformance -- FILE…");
        return ExitCode::from(2);
    }
    match run::run_files(&files, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "cannot write the report: {error}");
            ExitCode::FAILURE
        }
    }
}
