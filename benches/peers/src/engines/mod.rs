//! The engines, one a file, and what all of them can do.
//!
//! Rules are rendered to an engine's own language before its build is timed; reading them is part of the build. Reading
//! a request is part of a decision: whoever uses an engine pays for it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use http::Request;

use crate::model::Rule;

mod a_tree;
mod atc_router;
mod cel;
mod clever;
mod extract;
mod lazy;
mod matchit;
mod pointsman;
mod rhai;
mod wirefilter;

/// What an engine's file provides.
pub(crate) trait Engine: 'static {
    /// What a decision gives; turning it into a number is not timed.
    type Answer;
    /// Requests live on because one peer asks for that; all others take any.
    fn decide(&self, request: &'static Request<()>) -> Self::Answer;
    /// The rule that the answer names.
    fn rule(&self, answer: Self::Answer) -> Option<usize>;
}

/// An engine whose answer is only an answer.
pub(crate) trait Run {
    fn answer(&self, request: &'static Request<()>) -> Option<usize>;
    /// Decides each of the requests.
    fn pass(&self, requests: &'static [Request<()>]);
}

/// An engine that has no rules yet.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) sort: Sort,
    /// Renders the rules; nothing where the engine cannot say what they say.
    pub(crate) prepare: for<'r> fn(&'r [Rule]) -> Option<Build<'r>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Reads fields that occur more than once in full.
    Exact,
    /// Takes the first value of a field, as one does by hand.
    ByHand,
    /// Somebody else's engine. It is given the first value of each field.
    Peer,
    /// Has no rules but paths, so it is not counted as the best of the peers.
    Router,
}

/// Builds from rendered rules; nothing when that takes too long.
pub(crate) type Build<'r> = Box<dyn Fn(Deadline) -> Option<Box<dyn Run>> + 'r>;

/// When to give up building.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    begin: Instant,
    time: Duration,
}

/// In the order of the table.
pub(crate) const KINDS: [Kind; 9] = [
    Kind { name: "pointsman", sort: Sort::Exact, prepare: pointsman::prepare },
    Kind { name: "clever", sort: Sort::Exact, prepare: clever::prepare },
    Kind { name: "lazy", sort: Sort::ByHand, prepare: lazy::prepare },
    Kind { name: "wirefilter", sort: Sort::Peer, prepare: wirefilter::prepare },
    Kind { name: "atc-router", sort: Sort::Peer, prepare: atc_router::prepare },
    Kind { name: "cel", sort: Sort::Peer, prepare: cel::prepare },
    Kind { name: "rhai", sort: Sort::Peer, prepare: rhai::prepare },
    Kind { name: "a-tree", sort: Sort::Peer, prepare: a_tree::prepare },
    Kind { name: "matchit", sort: Sort::Router, prepare: matchit::prepare },
];

// === impl Run ===

impl<E: Engine> Run for E {
    fn answer(&self, request: &'static Request<()>) -> Option<usize> {
        self.rule(self.decide(request))
    }

    fn pass(&self, requests: &'static [Request<()>]) {
        for request in requests {
            black_box(self.decide(black_box(request)));
        }
    }
}

// === impl Deadline ===

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        Deadline { begin: Instant::now(), time }
    }

    /// Adds rules one by one, until all are in or it is clear that time will not do.
    fn each<T>(self, items: &[T], mut add: impl FnMut(usize, &T)) -> Option<()> {
        for (at, item) in items.iter().enumerate() {
            if at % 64 == 0 {
                let passed = self.begin.elapsed();
                // No engine gets quicker the more it has, but the first rules are no measure.
                let all = passed.mul_f64(items.len() as f64 / at.max(1) as f64);
                if passed > self.time || (passed > self.time / 10 && all > self.time * 2) {
                    return None;
                }
            }
            add(at, item);
        }
        Some(())
    }
}
