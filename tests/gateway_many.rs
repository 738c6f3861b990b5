//! Very many statements of the service gateway: what a request of theirs costs beside compiling them.
#![cfg(feature = "deny")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use http::Request;
use pointsman::schema::StatementKind;
use pointsman::{Engine, Schema};

const MANY: usize = 20_000;

fn took<T>(what: impl FnOnce() -> T) -> (Duration, T) {
    let begin = Instant::now();
    let made = what();
    (begin.elapsed(), made)
}

/// All of them match.
fn engine() -> (Duration, Engine) {
    let rules: String = (0..MANY).map(|at| format!("shadow deny d{at}: true => 403\n")).collect();
    let rules = rules + "default => prod";
    let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Deny]);
    let (compiled, engine) = took(|| Engine::builder().schema(schema).build(&*rules).unwrap());
    (compiled, engine)
}

// The work was once in proportion to the square of the number, and took many times as long as to compile.

#[test]
fn looking_at_all_that_a_request_matched_is_quicker_than_compiling_it() {
    let (compiled, engine) = engine();
    let decision = engine.decide(&Request::new(()));
    let (looked, count) = took(|| decision.matches().count());
    assert_eq!(count, MANY);
    assert!(looked < compiled, "{looked:?}, and {compiled:?} to compile");
}
