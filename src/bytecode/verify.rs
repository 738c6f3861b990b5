//! What makes a program safe to run: everything it points at is there, and it ends.

use std::fmt;

use super::program::{Check, Hit, Op, Outcome, Owner, Program, Slot, SlotId, Target, Test};
use crate::schema::Field;

/// How deep slots may be made of one another. `Limits::MAX_DEPTH` brackets, with a `%` and a `??` in each, are less.
const DEEPEST: usize = 256;

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
    /// A slot made of slots made of slots, more of them than the evaluator's stack should hold.
    Deep { at: usize },
    /// The last outcome is not the default's.
    NoDefault,
    /// An outcome without a target, or with several and no deal, or with a deal for another number.
    Outcome { at: usize },
    /// An answer that is remembered in another test's place.
    Memo { at: usize },
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
        let mut remembered = 0_u32;
        for (at, test) in tests.iter().enumerate() {
            let other = match test.check {
                Check::Against(_, other) => slot_there(other),
                _ => true,
            };
            if !slot_there(test.slot) || !other {
                return Err(Invalid::Dangling { what: "test", at });
            }
            if test.memo.is_some_and(|memo| memo != remembered) {
                return Err(Invalid::Memo { at });
            }
            remembered += u32::from(test.memo.is_some());
        }
        if remembered != *memos {
            return Err(Invalid::Memo { at: tests.len() });
        }
        let mut depths: Vec<usize> = Vec::with_capacity(slots.len());
        for (at, slot) in slots.iter().enumerate() {
            if slot.needs().iter().any(|need| need.0 as usize >= at) {
                return Err(Invalid::Circle { what: "slot", at });
            }
            if matches!(slot, Slot::Modulo(_, ..=0)) {
                return Err(Invalid::Divisor { at });
            }
            let below = slot.needs().iter().filter_map(|need| depths.get(need.0 as usize)).max();
            let depth = below.map_or(1, |below| below + 1);
            if depth > DEEPEST {
                return Err(Invalid::Deep { at });
            }
            depths.push(depth);
        }
        for (at, hit) in hits.iter().enumerate() {
            if hit.outcome as usize >= outcomes.len() {
                return Err(Invalid::Dangling { what: "hit", at });
            }
        }
        if outcomes.last().is_none_or(|last| last.owner != Owner::Default) {
            return Err(Invalid::NoDefault);
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
            Invalid::Deep { at } => write!(f, "slot {at} is made of too many others"),
            Invalid::NoDefault => write!(f, "there is no default, or it is not the last outcome"),
            Invalid::Outcome { at } => write!(f, "outcome {at} has no target, or no deal that fits"),
            Invalid::Memo { at } => write!(f, "test {at} remembers in another's place"),
            Invalid::Cell { at } => write!(f, "outcome {at} counts in another's place"),
            Invalid::Divisor { at } => write!(f, "slot {at} divides by nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Split;

    /// `lower(method)` asked twice, a route that hits, the default.
    fn sound() -> Parts {
        let outcome = |owner, cell| Outcome { owner, targets: [Target::Cluster(0)].into(), deal: None, cell };
        Parts {
            ops: vec![Op::Test { test: 0, yes: 1, no: 2 }, Op::Hit { hit: 0, next: 2 }, Op::End],
            tests: vec![Test { slot: SlotId(1), check: Check::Text((*b"get").into()), memo: Some(0) }],
            slots: vec![Slot::Field(Field::Method), Slot::Lower(SlotId(0))],
            hits: vec![Hit { route: 0, outcome: 0, acts: true }],
            outcomes: vec![outcome(Owner::Route(0), 0), outcome(Owner::Default, 2)],
            memos: 1,
            cells: 4,
            clusters: 1,
        }
    }

    #[track_caller]
    fn refused(spoil: impl FnOnce(&mut Parts), why: Invalid) {
        let mut parts = sound();
        spoil(&mut parts);
        assert_eq!(parts.verify().map(|_| ()), Err(why));
    }

    #[test]
    fn a_sound_program_passes() {
        assert!(sound().verify().is_ok());
    }

    #[test]
    fn whatever_could_loop_or_point_at_nothing_is_refused() {
        refused(|p| p.ops.clear(), Invalid::NoEnd);
        refused(|p| p.ops.truncate(2), Invalid::NoEnd);
        refused(|p| p.ops[0] = Op::Test { test: 0, yes: 0, no: 2 }, Invalid::Jump { op: 0 });
        refused(|p| p.ops[1] = Op::Hit { hit: 0, next: 3 }, Invalid::Jump { op: 1 });
        refused(|p| p.ops[1] = Op::Hit { hit: 1, next: 2 }, Invalid::Dangling { what: "op", at: 1 });
        refused(|p| p.tests.clear(), Invalid::Dangling { what: "op", at: 0 });
        refused(|p| p.memos = 0, Invalid::Memo { at: 1 });
        refused(|p| p.memos = 2, Invalid::Memo { at: 1 });
        refused(|p| p.tests.push(p.tests[0].clone()), Invalid::Memo { at: 1 });
        refused(|p| p.tests[0].slot = SlotId(2), Invalid::Dangling { what: "test", at: 0 });
        refused(|p| p.slots[1] = Slot::Lower(SlotId(1)), Invalid::Circle { what: "slot", at: 1 });
        refused(|p| p.slots[1] = Slot::Modulo(SlotId(0), 0), Invalid::Divisor { at: 1 });
        refused(|p| p.hits[0].outcome = 2, Invalid::Dangling { what: "hit", at: 0 });
        refused(|p| p.clusters = 0, Invalid::Dangling { what: "outcome", at: 0 });
        refused(
            |p| p.outcomes[0].targets = [Target::Outcome(0)].into(),
            Invalid::Circle { what: "outcome", at: 0 },
        );
        refused(|p| p.outcomes[1].targets = [].into(), Invalid::Outcome { at: 1 });
        refused(|p| p.outcomes[1].cell = 1, Invalid::Cell { at: 1 });
        refused(|p| p.cells = 5, Invalid::Cell { at: 2 });
    }

    #[test]
    fn a_deal_has_as_many_arms_as_targets_and_a_key_that_is_there() {
        let split = || Split::new([("a", 1), ("b", 1)]).unwrap();
        let deal = |key| Some(super::super::program::Deal { split: split(), seed: 0, key });
        refused(|p| p.outcomes[1].deal = deal(None), Invalid::Outcome { at: 1 });
        refused(
            |p| {
                p.outcomes[1].deal = deal(Some(SlotId(2)));
                p.outcomes[1].targets = [Target::Cluster(0); 2].into();
            },
            Invalid::Dangling { what: "outcome", at: 1 },
        );
    }

    #[test]
    fn a_program_has_a_default_and_it_is_the_last_outcome() {
        refused(|p| p.outcomes.truncate(1), Invalid::NoDefault);
        refused(|p| p.outcomes.reverse(), Invalid::NoDefault);
    }

    #[test]
    fn slots_do_not_nest_deeper_than_a_stack() {
        let grow = |p: &mut Parts, to: u32| {
            for at in 2..to {
                p.slots.push(Slot::Lower(SlotId(at - 1)));
            }
        };
        let mut most = sound();
        grow(&mut most, DEEPEST as u32);
        assert!(most.verify().is_ok());
        refused(|p| grow(p, DEEPEST as u32 + 1), Invalid::Deep { at: DEEPEST });
    }
}
