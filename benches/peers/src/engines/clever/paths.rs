//! Regular expressions on the path, all in one automaton: each byte of the path is one step.

use http::Request;
use regex_automata::dfa::{Automaton, dense};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::Look;

use super::{Engine, NONE, Place, rule};
use crate::model::{Condition, Rule};

pub(super) struct Paths {
    patterns: Patterns,
}

/// Patterns that begin at the start of the text.
pub(super) struct Patterns {
    automaton: dense::DFA<Vec<u32>>,
}

// === impl Paths ===

impl Paths {
    pub(super) fn new(rules: &[Rule]) -> Option<Self> {
        let pattern = |rule: &'_ Rule| match rule.all.as_slice() {
            [Condition::PathMatches(pattern)] => Some(pattern.clone()),
            _ => None,
        };
        let patterns: Vec<String> = rules.iter().map(pattern).collect::<Option<_>>()?;
        Some(Paths { patterns: Patterns::new(&patterns)? })
    }
}

impl Engine for Paths {
    type Answer = Place;

    fn decide(&self, request: &Request<()>) -> Place {
        self.patterns.first(request.uri().path().as_bytes())
    }

    fn rule(&self, place: Place) -> Option<usize> {
        rule(place)
    }
}

// === impl Patterns ===

impl Patterns {
    /// Nothing if one is not anchored: the automaton prefers the earliest match before the first pattern, so only among
    /// those that begin at the same place the first pattern wins.
    pub(super) fn new<P: AsRef<str>>(patterns: &[P]) -> Option<Self> {
        let anchored = |pattern: &P| {
            let hir = syntax::parse(pattern.as_ref()).expect("patterns are sound");
            hir.properties().look_set_prefix().contains(Look::Start)
        };
        if !patterns.iter().all(anchored) {
            return None;
        }
        let config = dense::Config::new().start_kind(regex_automata::dfa::StartKind::Anchored);
        let automaton =
            dense::Builder::new().configure(config).build_many(patterns).expect("patterns are small");
        Some(Patterns { automaton })
    }

    /// The first pattern that matches.
    #[inline]
    pub(super) fn first(&self, text: &[u8]) -> Place {
        let input = Input::new(text).anchored(Anchored::Yes);
        let found = self.automaton.try_search_fwd(&input).expect("it never gives up");
        found.map_or(NONE, |found| found.pattern().as_u32())
    }
}
