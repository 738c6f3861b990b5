//! What makes a program safe to run: everything it points at is there, and it ends.

use std::fmt;

use super::program::{Check, Hit, Op, Outcome, Program, Slot, SlotId, Target, Test};
use crate::schema::Field;

/// A program that nobody has looked at yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    pub(crate) ops: Vec<Op>,
    pub(crate) tests: Vec<Test>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) hits: Vec<Hit>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) memos: u32,
    pub(crate) cells: u32,
    /// How many clusters are declared.
    pub(crate) clusters: u32,
}

/// Why a program is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// No op, or the last is not `End`.
    NoEnd,
    /// A jump that does not go forward, or beyond the end.
    Jump { op: usize },
    /// An op, a test, a slot, a hit or an outcome that points at nothing.
    Dangling { what: &'static str, at: usize },
    /// A slot made of one that is not earlier; a logical cluster that leads back.
    Circle { what: &'static str, at: usize },
    /// An outcome without a target, or with several and no deal, or with a deal for another number.
    Outcome { at: usize },
    /// A counter that is not the outcome's own.
    Cell { at: usize },
    /// A divisor that is not positive.
    Divisor { at: usize },
}

// === impl Parts ===

impl Parts {
    /// Looks at everything once, in linear time.
    pub(crate) fn verify(self) -> Result<Program, Invalid> {
        let Parts { ops, tests, slots, hits, outcomes, memos, cells, clusters } = &self;
        if ops.last() != Some(&Op::End) {
            return Err(Invalid::NoEnd);
        }
        let forward = |from: usize, to: u32| to as usize > from && (to as usize) < ops.len();
        for (at, op) in ops.iter().enumerate() {
            let (jumps, there) = match *op {
                Op::Test { test, yes, no } => {
                    (forward(at, yes) && forward(at, no), (test as usize) < tests.len())
                }
                Op::Hit { hit, next } => (forward(at, next), (hit as usize) < hits.len()),
                Op::End => (true, true),
            };
            if !jumps {
                return Err(Invalid::Jump { op: at });
            }
            if !there {
                return Err(Invalid::Dangling { what: "op", at });
            }
        }
        let slot_there = |slot: SlotId| (slot.0 as usize) < slots.len();
        for (at, test) in tests.iter().enumerate() {
            let other = match test.check {
                Check::Against(_, other) => slot_there(other),
                _ => true,
            };
            if !slot_there(test.slot) || !other || test.memo.is_some_and(|memo| memo >= *memos) {
                return Err(Invalid::Dangling { what: "test", at });
            }
        }
        for (at, slot) in slots.iter().enumerate() {
            if slot.needs().iter().any(|need| need.0 as usize >= at) {
                return Err(Invalid::Circle { what: "slot", at });
            }
            if matches!(slot, Slot::Modulo(_, ..=0)) {
                return Err(Invalid::Divisor { at });
            }
        }
        for (at, hit) in hits.iter().enumerate() {
            if hit.outcome as usize >= outcomes.len() {
                return Err(Invalid::Dangling { what: "hit", at });
            }
        }
        let mut cell = 0_u64;
        for (at, outcome) in outcomes.iter().enumerate() {
            let dealt = outcome.deal.as_ref().map_or(1, |deal| deal.split.len());
            if outcome.targets.is_empty() || outcome.targets.len() != dealt {
                return Err(Invalid::Outcome { at });
            }
            if outcome.deal.as_ref().and_then(|deal| deal.key).is_some_and(|key| !slot_there(key)) {
                return Err(Invalid::Dangling { what: "outcome", at });
            }
            for target in &outcome.targets {
                match *target {
                    Target::Cluster(index) if index >= *clusters => {
                        return Err(Invalid::Dangling { what: "outcome", at });
                    }
                    Target::Outcome(index) if index as usize >= outcomes.len() => {
                        return Err(Invalid::Dangling { what: "outcome", at });
                    }
                    // Logical clusters come first, each after those it is made of.
                    Target::Outcome(index) if index as usize >= at => {
                        return Err(Invalid::Circle { what: "outcome", at });
                    }
                    _ => {}
                }
            }
            if u64::from(outcome.cell) != cell {
                return Err(Invalid::Cell { at });
            }
            cell += outcome.targets.len() as u64 + 1;
        }
        if u64::from(*cells) != cell {
            return Err(Invalid::Cell { at: outcomes.len() });
        }
        let needs_now = slots.iter().any(|slot| matches!(slot, Slot::Field(Field::Now)));
        // A key may be absent, and then the default and logical clusters choose by chance.
        let needs_chance = outcomes.iter().any(|outcome| outcome.deal.is_some());
        Ok(Program {
            needs_now,
            needs_chance,
            memos: *memos,
            cells: *cells,
            ops: self.ops.into(),
            tests: self.tests.into(),
            slots: self.slots.into(),
            hits: self.hits.into(),
            outcomes: self.outcomes.into(),
        })
    }
}

// === impl Invalid ===

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::NoEnd => write!(f, "the program has no end"),
            Invalid::Jump { op } => write!(f, "op {op} does not jump forward"),
            Invalid::Dangling { what, at } => write!(f, "{what} {at} points at nothing"),
            Invalid::Circle { what, at } => write!(f, "{what} {at} is made of itself"),
            Invalid::Outcome { at } => write!(f, "outcome {at} has no target, or no deal that fits"),
            Invalid::Cell { at } => write!(f, "outcome {at} counts in another's place"),
            Invalid::Divisor { at } => write!(f, "slot {at} divides by nothing"),
        }
    }
}
