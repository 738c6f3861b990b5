use std::cell::RefCell;

use http::Request;
use pointsman::{Engine, Moment};

use super::common::{self, Choices};

/// How many requests each rule set decides.
const REQUESTS: usize = 256;

thread_local! {
    static REQUESTS_MADE: RefCell<Vec<(Request<()>, Moment)>> = RefCell::new(requests());
}

/// Some twenty short rules and many requests from one pool of values: what the index leads to, what asking all rules in
/// their order finds and what the reference says is the same.
pub fn index(data: &[u8]) {
    let choices = &mut Choices::new(data);
    let mut text = String::from("list words = [\"a\", \"2.3.0\", \"42\"]\n");
    for route in 0..4 + choices.below(24) {
        let state = choices.one(&["", "", "", "", "shadow ", "paused "]);
        let depth = choices.below(3).saturating_sub(1);
        let cluster = choices.one(&["gray", "prod", "next", "gray 1, prod 1 by cookie(uid)"]);
        text += &format!("{state}route r{route}: {} => {cluster}\n", common::condition(choices, depth));
    }
    text += "default => prod";
    let engine = match Engine::builder().schema(common::schema()).build(&*text) {
        Ok(engine) => engine,
        Err(problems) => panic!("{text}\n{problems}"),
    };
    REQUESTS_MADE.with_borrow(|requests| {
        for (request, moment) in requests {
            let [index, all, reference] = engine
                .decide_three_ways_at(request, *moment, |cluster| moment.chance >> (cluster % 64) & 1 == 0);
            assert!(
                index == all && all == reference,
                "{index:?}, {all:?}, {reference:?}\n{text}\n{request:?}"
            );
        }
    });
}

/// Requests from a row of bytes that is always the same.
fn requests() -> Vec<(Request<()>, Moment)> {
    let mut state = 1_u64;
    let mut bytes = || {
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..128).map(next).collect::<Vec<u8>>()
    };
    (0..REQUESTS)
        .map(|_| {
            let bytes = bytes();
            let choices = &mut Choices::new(&bytes);
            let moment = common::moment(choices);
            (common::request(choices), moment)
        })
        .collect()
}
