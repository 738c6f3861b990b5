//! What a rule cannot be true without.
//!
//! Each rule has *alternatives*, each of them a few tests of which one at least is true whenever the rule is: of
//! `a && (b || c)` they are `a`, and `b` with `c`. A row of `&&` has those of all its parts; a row of `||` has the
//! best of each part, together; of what is negated nothing is known.

use crate::bytecode::{Check, Test};
use crate::check::typed::Condition;

/// How many tests an alternative may have. Beyond, looking them all up is no better than asking the rule.
const MOST: usize = 16;

/// The alternatives of all rules, rule after rule.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Where the alternatives of each rule end in `ends`.
    rules: Vec<u32>,
    /// Where the tests of each alternative end in `tests`.
    ends: Vec<u32>,
    tests: Vec<u32>,
}

// === impl Needs ===

impl Needs {
    /// Adds a rule, whose steps ask `asked` in the order of its condition.
    pub(super) fn rule(
        &mut self,
        condition: &Condition,
        mut asked: impl Iterator<Item = u32>,
        tests: &[Test],
    ) {
        self.add(condition, false, &mut asked, tests);
        self.rules.push(self.ends.len() as u32);
    }

    /// Adds the alternatives of a condition or of its negation. Takes as many from `asked` as it has tests.
    fn add(
        &mut self,
        condition: &Condition,
        negated: bool,
        asked: &mut impl Iterator<Item = u32>,
        tests: &[Test],
    ) {
        match condition {
            Condition::Constant(_) => {}
            Condition::Not(inner) => self.add(inner, !negated, asked, tests),
            Condition::Test(test) => {
                if let Some(id) = asked.next()
                    && test.negated == negated
                    && tests.get(id as usize).is_some_and(is_found)
                {
                    self.tests.push(id);
                    self.ends.push(self.tests.len() as u32);
                }
            }
            Condition::All(parts) if !negated => {
                parts.iter().for_each(|part| self.add(part, negated, asked, tests));
            }
            Condition::Any(parts) if negated => {
                parts.iter().for_each(|part| self.add(part, negated, asked, tests));
            }
            Condition::All(parts) | Condition::Any(parts) => self.add_united(parts, negated, asked, tests),
        }
    }

    /// Adds the one alternative of a row of `||`: the best of each part, together.
    fn add_united(
        &mut self,
        parts: &[Condition],
        negated: bool,
        asked: &mut impl Iterator<Item = u32>,
        tests: &[Test],
    ) {
        let (ends, start) = (self.ends.len(), self.tests.len());
        let mut united: Vec<u32> = Vec::new();
        let mut known = true;
        for part in parts {
            // Every part is walked, as each takes its share of `asked`.
            self.add(part, negated, asked, tests);
            let best = (ends..self.ends.len()).map(|at| self.alternative(at)).min_by_key(|tests| tests.len());
            match best {
                Some(best) => united.extend(best),
                None => known = false,
            }
            self.ends.truncate(ends);
            self.tests.truncate(start);
        }
        if known && united.len() <= MOST {
            self.tests.extend(united);
            self.ends.push(self.tests.len() as u32);
        }
    }

    /// The tests of one alternative of all.
    fn alternative(&self, at: usize) -> &[u32] {
        let end = self.ends.get(at).map_or(0, |end| *end as usize);
        self.tests.get(before(&self.ends, at)..end).unwrap_or_default()
    }

    /// How many rules there are.
    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// The alternatives of a rule, each a row of tests.
    pub(super) fn of(&self, rule: u32) -> impl Iterator<Item = &[u32]> {
        let rule = rule as usize;
        let end = self.rules.get(rule).map_or(0, |end| *end as usize);
        (before(&self.rules, rule)..end).map(|at| self.alternative(at))
    }
}

/// Where the one before ends.
fn before(ends: &[u32], at: usize) -> usize {
    at.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |end| *end as usize)
}

/// Whether a table can lead to a test by the value that satisfies it.
fn is_found(test: &Test) -> bool {
    use crate::schema::Order;
    match &test.check {
        Check::Text(_)
        | Check::Int(Order::Equal, _)
        | Check::Version(Order::Equal, _)
        | Check::Time(Order::Equal, _)
        | Check::Ip(_) => true,
        Check::In(list) => list.len() <= LONGEST,
        Check::StartsWith(text) | Check::EndsWith(text) => !text.is_empty(),
        // Everything is below the root.
        Check::PathUnder(root) => !matches!(&**root, b"" | b"/"),
        Check::HostUnder(domain) => !matches!(&**domain, b"" | b"."),
        Check::Matches(pattern) => pattern.starts().is_some(),
        _ => false,
    }
}

/// How many members a list may have for its rules to be found by them. A longer one is asked itself, which takes one
/// look-up as well.
const LONGEST: usize = 4096;
