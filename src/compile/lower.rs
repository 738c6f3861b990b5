//! Typed rules to ops.
//!
//! Ops are made from the last to the first, so that the place a test jumps to is always known already; at the
//! end the row is turned round.

use std::collections::HashMap;

use memchr::memmem::Finder;

use super::fold::fold;
use crate::bytecode::{
    Check, Deal, Hit, Invalid, Op, Outcome, Owner, Parts, Program, Slot, SlotId, Target, Test,
};
use crate::check::typed::{self, Condition, Expr, Predicate, Rules, Set, State};
use crate::schema::{List, Value};

/// Why sound rules do not become a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompileError {
    /// It takes more memory than allowed.
    TooLarge { bytes: usize },
    /// More than 2³² of something, or a mistake of ours that the verifier found.
    Invalid(Invalid),
}

/// Compiles a rule set into at most `most` bytes.
pub(crate) fn compile(rules: &Rules, most: usize) -> Result<Program, CompileError> {
    let mut lowering = Lowering::default();
    lowering.parts.clusters = index(rules.clusters.len());
    let mut places = vec![0; rules.logical.len()];
    for (place, logical) in rules.inner_first.iter().enumerate() {
        if let Some(entry) = places.get_mut(*logical) {
            *entry = index(place);
        }
    }
    for &at in &rules.inner_first {
        if let Some(logical) = rules.logical.get(at) {
            lowering.outcome(&logical.outcome, Owner::Logical(index(at)), &places);
        }
    }
    let mut next = lowering.push(Op::End);
    // Slots, tests and counters are numbered in text order; only the ops are made backwards.
    let hits: Vec<Option<u32>> = rules
        .routes
        .iter()
        .zip(0..)
        .map(|(route, at)| {
            (route.state != State::Paused).then(|| {
                let outcome = lowering.outcome(&route.outcome, Owner::Route(at), &places);
                lowering.parts.hits.push(Hit { route: at, outcome, acts: route.state == State::Live });
                index(lowering.parts.hits.len() - 1)
            })
        })
        .collect();
    lowering.outcome(&rules.default, Owner::Default, &places);
    for (route, hit) in rules.routes.iter().zip(hits).rev() {
        let Some(hit) = hit else { continue };
        let condition = fold(&route.condition);
        if condition == Condition::Constant(false) {
            continue;
        }
        let yes = lowering.push(Op::Hit { hit, next });
        next = lowering.condition(&condition, yes, next);
    }
    lowering.finish(next, most)
}

/// Compiles a condition that stands alone: the program hits if it is true.
pub(crate) fn compile_condition(condition: &Condition, most: usize) -> Result<Program, CompileError> {
    let mut lowering = Lowering::default();
    lowering.parts.clusters = 1;
    lowering.parts.outcomes.push(Outcome {
        targets: [Target::Cluster(0)].into(),
        deal: None,
        cell: 0,
        owner: Owner::Default,
    });
    lowering.parts.cells = 2;
    lowering.parts.hits.push(Hit { route: 0, outcome: 0, acts: true });
    let end = lowering.push(Op::End);
    let condition = fold(condition);
    if condition == Condition::Constant(false) {
        return lowering.finish(end, most);
    }
    let yes = lowering.push(Op::Hit { hit: 0, next: end });
    let entry = lowering.condition(&condition, yes, end);
    lowering.finish(entry, most)
}

#[derive(Default)]
struct Lowering {
    parts: Parts,
    slots: HashMap<Expr, SlotId>,
    tests: HashMap<(SlotId, Predicate), u32>,
    /// Compiled lists, one for each that is written or named.
    lists: HashMap<Set, List>,
    /// How many ops ask each test.
    asked: Vec<u32>,
}

// === impl Lowering ===

impl Lowering {
    fn finish(mut self, entry: u32, most: usize) -> Result<Program, CompileError> {
        let Parts { ops, tests, memos, .. } = &mut self.parts;
        ops.reverse();
        let last = index(ops.len().saturating_sub(1));
        for op in ops.iter_mut() {
            match op {
                Op::Test { yes, no, .. } => (*yes, *no) = (last - *yes, last - *no),
                Op::Hit { next, .. } => *next = last - *next,
                Op::End => {}
            }
        }
        // The entry is the op that was made last: what nothing leads to was never made.
        debug_assert_eq!(last, entry);
        for (test, asked) in tests.iter_mut().zip(&self.asked) {
            if *asked > 1 && test.check.is_dear() {
                test.memo = Some(*memos);
                *memos += 1;
            }
        }
        if self.parts.ops.len() >= u32::MAX as usize {
            return Err(CompileError::TooLarge { bytes: usize::MAX });
        }
        let lists: usize = self.lists.values().map(List::bytes).sum();
        let program = self.parts.verify().map_err(CompileError::Invalid)?;
        match program.bytes() + lists {
            bytes if bytes > most => Err(CompileError::TooLarge { bytes }),
            _ => Ok(program),
        }
    }

    /// Adds an op; its place is counted from the end until the row is turned round.
    fn push(&mut self, op: Op) -> u32 {
        self.parts.ops.push(op);
        index(self.parts.ops.len() - 1)
    }

    /// Adds the ops of a condition that go on at `yes` or `no`, and returns where they start.
    fn condition(&mut self, condition: &Condition, yes: u32, no: u32) -> u32 {
        match condition {
            Condition::Constant(constant) => {
                if *constant {
                    yes
                } else {
                    no
                }
            }
            Condition::Not(inner) => self.condition(inner, no, yes),
            Condition::All(parts) => parts.iter().rev().fold(yes, |yes, part| self.condition(part, yes, no)),
            Condition::Any(parts) => parts.iter().rev().fold(no, |no, part| self.condition(part, yes, no)),
            Condition::Test(test) => {
                let slot = self.slot(&test.expr);
                let id = self.test(slot, &test.predicate);
                let (yes, no) = if test.negated { (no, yes) } else { (yes, no) };
                self.push(Op::Test { test: id, yes, no })
            }
        }
    }

    fn test(&mut self, slot: SlotId, predicate: &Predicate) -> u32 {
        let id = match self.tests.get(&(slot, predicate.clone())) {
            Some(id) => *id,
            None => {
                let check = self.check(predicate);
                self.parts.tests.push(Test { slot, check, memo: None });
                self.asked.push(0);
                let id = index(self.parts.tests.len() - 1);
                self.tests.insert((slot, predicate.clone()), id);
                id
            }
        };
        self.asked.iter_mut().skip(id as usize).take(1).for_each(|asked| *asked += 1);
        id
    }

    fn check(&mut self, predicate: &Predicate) -> Check {
        match predicate {
            Predicate::IsTrue => Check::IsTrue,
            Predicate::Compare(order, value) => match value {
                Value::String(text) => Check::Text(text.as_ref().into()),
                Value::Int(i) => Check::Int(*order, *i),
                Value::Bool(b) => Check::Bool(*b),
                Value::Ip(ip) => Check::Ip(*ip),
                Value::Version(version) => Check::Version(*order, Box::new(version.clone())),
                Value::Time(time) => Check::Time(*order, *time),
                Value::Percent(p) => Check::Percent(*order, *p),
            },
            Predicate::CompareTo(order, other) => Check::Against(*order, self.slot(other)),
            Predicate::In(set) => Check::In(self.list(set)),
            Predicate::StartsWith(text) => Check::StartsWith(text.clone()),
            Predicate::EndsWith(text) => Check::EndsWith(text.clone()),
            Predicate::Contains(text) => Check::Contains(Box::new(Finder::new(text).into_owned())),
            Predicate::PathUnder(root) => Check::PathUnder(root.clone()),
            Predicate::HostUnder(domain) => Check::HostUnder(domain.clone()),
            Predicate::Matches(pattern) => Check::Matches(pattern.clone()),
        }
    }

    fn list(&mut self, set: &Set) -> List {
        let (ty, members) = match set {
            Set::Supplied(list) => return list.clone(),
            Set::Members(ty, members) => (*ty, members),
        };
        if let Some(list) = self.lists.get(set) {
            return list.clone();
        }
        let list = List::of_ranges(ty, members.iter().cloned());
        self.lists.insert(set.clone(), list.clone());
        list
    }

    fn slot(&mut self, expr: &Expr) -> SlotId {
        if let Some(slot) = self.slots.get(expr) {
            return *slot;
        }
        let slot = match expr {
            Expr::Literal(value) => Slot::Literal((**value).clone()),
            Expr::Field(field) => Slot::Field(field.clone()),
            Expr::Lower(of) => Slot::Lower(self.slot(of)),
            Expr::Len(of) => Slot::Len(self.slot(of)),
            Expr::Int(of) => Slot::Int(self.slot(of)),
            Expr::Version(of) => Slot::Version(self.slot(of)),
            Expr::Exists(of) => Slot::Exists(self.slot(of)),
            Expr::Percent(of, seed) => Slot::Percent(self.slot(of), *seed),
            Expr::Coalesce(sides) => Slot::Coalesce(sides.iter().map(|side| self.slot(side)).collect()),
            Expr::Modulo(of, divisor) => Slot::Modulo(self.slot(of), *divisor),
        };
        self.parts.slots.push(slot);
        let id = SlotId(index(self.parts.slots.len() - 1));
        self.slots.insert(expr.clone(), id);
        id
    }

    /// Adds an outcome; `places` says where the logical clusters' outcomes stand.
    fn outcome(&mut self, outcome: &typed::Outcome, owner: Owner, places: &[u32]) -> u32 {
        let targets: Box<[Target]> = outcome
            .targets
            .iter()
            .map(|target| match *target {
                typed::Target::Cluster(cluster) => Target::Cluster(cluster),
                typed::Target::Logical(logical) => {
                    Target::Outcome(places.get(logical as usize).copied().unwrap_or(u32::MAX))
                }
            })
            .collect();
        let deal = outcome.deal.as_ref().map(|deal| Deal {
            split: deal.split.clone(),
            seed: deal.seed,
            key: deal.key.as_ref().map(|key| self.slot(key)),
        });
        let cell = self.parts.cells;
        self.parts.cells = cell.saturating_add(index(targets.len() + 1));
        self.parts.outcomes.push(Outcome { owner, targets, deal, cell });
        index(self.parts.outcomes.len() - 1)
    }
}

/// A place as the program keeps it. More than 2³² of anything is refused by the verifier, as what saturates
/// here points at nothing.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
