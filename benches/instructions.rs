//! How many instructions a decision takes: a number that a busy machine does not change.
//!
//! ```text
//! cargo bench --bench instructions --no-run
//! valgrind --tool=callgrind --toggle-collect='*decide_all*' target/release/deps/instructions-… w1 1024
//! callgrind_annotate callgrind.out.…
//! ```
//!
//! The total divided by the second argument is what a decision takes. The first argument is one of `w1` to
//! `w4`: one rule on host and path, one on host and a cookie in a list, 20 mixed rules of which none matches, and 1,000
//! rules on host and path. Without arguments each is run once.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a bench may stop")]

use std::hint::black_box;

use http::Request;
use pointsman::Engine;

mod load;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let only = arguments.next();
    let times = arguments.next().map_or(load::REQUESTS, |times| times.parse().expect("is a number"));
    let requests = load::requests();
    for (name, rules) in
        [("w1", load::W1), ("w2", load::W2), ("w3", &load::mixed(20)), ("w4", &load::tenants(1000))]
    {
        if only.as_ref().is_none_or(|only| only == name) {
            let engine = load::engine(rules);
            // The first decision of a thread makes its counters.
            engine.decide(&requests[0]);
            decide_all(&engine, &requests, times);
        }
    }
}

#[inline(never)]
fn decide_all(engine: &Engine, requests: &[Request<()>], times: usize) {
    for request in requests.iter().cycle().take(times) {
        black_box(engine.decide(black_box(request)));
    }
}
