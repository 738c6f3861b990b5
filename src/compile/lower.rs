//! Typed rules to steps.
//!
//! The steps of a rule are made from the last to the first, so that the place a test leads to is always known already;
//! at the rule's end they are turned round.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;
use memchr::memmem::Finder;

use super::fold::fold;
use super::index;
use super::needs::Needs;
use crate::bytecode::{
    Check, Choice, Deal, Group, Invalid, Outcome, Owner, Parts, Program, Rule, Slot, SlotId, Step, Target,
    Test,
};
use crate::check::typed::{self, Condition, Expr, Predicate, Rules, Set, State};
use crate::schema::{List, Pattern, Patterns, StatementKind, Value};

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
    let conditions: Vec<Cow<'_, Condition>> =
        rules.routes.iter().map(|route| fold(&route.condition)).collect();
    let gateway: Vec<Cow<'_, Condition>> =
        rules.gateway.iter().map(|statement| fold(&statement.condition)).collect();
    let mut lowering = Lowering::default();
    lowering.parts.clusters = number(rules.clusters.len());
    let mut places = vec![0; rules.logical.len()];
    for (place, logical) in rules.inner_first.iter().enumerate() {
        if let Some(entry) = places.get_mut(*logical) {
            *entry = number(place);
        }
    }
    for &at in &rules.inner_first {
        if let Some(logical) = rules.logical.get(at) {
            lowering.outcome(&logical.outcome, Owner::Logical(number(at)), &places);
        }
    }
    for kind in StatementKind::GATEWAY {
        for ((statement, condition), at) in rules.gateway.iter().zip(&gateway).zip(0..) {
            if statement.state == State::Paused || statement.kind() != kind {
                continue;
            }
            let outcome = match &statement.mirror {
                Some(outcome) => lowering.outcome(outcome, Owner::Gateway(at), &places),
                None => {
                    let key = statement.key.as_ref().map(|key| lowering.slot(key));
                    lowering.add_outcome(Owner::Gateway(at), Choice::Note(key), None)
                }
            };
            lowering.rule(condition, at, outcome, statement.state == State::Live, kind);
        }
    }
    for ((route, condition), at) in rules.routes.iter().zip(&conditions).zip(0..) {
        if route.state == State::Paused {
            continue;
        }
        let outcome = lowering.outcome(&route.outcome, Owner::Route(at), &places);
        lowering.rule(condition, at, outcome, route.state == State::Live, StatementKind::Route);
    }
    lowering.outcome(&rules.default, Owner::Default, &places);
    lowering.finish(most)
}

/// Compiles a condition that stands alone: the program's only rule is true if it is.
pub(crate) fn compile_condition(condition: &Condition, most: usize) -> Result<Program, CompileError> {
    let condition = fold(condition);
    let mut lowering = Lowering::default();
    lowering.parts.clusters = 1;
    lowering.add_outcome(Owner::Default, Choice::One(Target::Cluster(0)), None);
    lowering.rule(&condition, 0, 0, true, StatementKind::Route);
    lowering.finish(most)
}

#[derive(Default)]
struct Lowering<'t> {
    parts: Parts,
    slots: HashMap<&'t Expr, SlotId, RandomState>,
    tests: HashMap<(SlotId, &'t Predicate), u32, RandomState>,
    /// Compiled lists, one for each that is written or named.
    lists: HashMap<&'t Set, List, RandomState>,
    /// How many steps ask each test.
    asked: Vec<u32>,
    needs: Needs,
}

// === impl Lowering ===

impl<'t> Lowering<'t> {
    fn finish(mut self, most: usize) -> Result<Program, CompileError> {
        let Parts { tests, memos, groups, .. } = &mut self.parts;
        *groups = group(tests);
        for (test, asked) in tests.iter_mut().zip(&self.asked) {
            let grouped = matches!(test.check, Check::Among(..));
            if grouped || (*asked > 1 && test.check.is_dear()) {
                test.memo = Some(*memos);
                *memos += 1;
            }
            if let (Check::Among(_, group), Some(memo)) = (&test.check, test.memo)
                && let Some(group) = groups.get_mut(*group as usize)
            {
                group.memos.push(memo);
            }
        }
        if self.parts.steps.len() >= Step::FALSE as usize {
            return Err(CompileError::TooLarge { bytes: usize::MAX });
        }
        self.parts.index = index::build(&self.parts, &self.needs);
        let lists: usize = self.lists.values().map(List::bytes).sum();
        let mut program = self.parts.verify().map_err(CompileError::Invalid)?;
        if program.bytes() + lists > most {
            // It is slower without one, and otherwise the same.
            program.forget_index();
        }
        match program.bytes() + lists {
            bytes if bytes > most => Err(CompileError::TooLarge { bytes }),
            _ => Ok(program),
        }
    }

    /// Adds a rule, if it can be true at all.
    fn rule(&mut self, condition: &'t Condition, route: u32, outcome: u32, acts: bool, kind: StatementKind) {
        if *condition == Condition::Constant(false) {
            return;
        }
        let start = self.parts.steps.len();
        self.condition(condition, Step::TRUE, Step::FALSE, start);
        let steps = self.parts.steps.get_mut(start..).unwrap_or_default();
        steps.reverse();
        // Places were counted from the rule's end until now.
        let (start, last) = (number(start), number(steps.len()).saturating_sub(1));
        let turned = |place: u32| if place >= Step::FALSE { place } else { start + last - place };
        for step in steps.iter_mut() {
            (step.yes, step.no) = (turned(step.yes), turned(step.no));
        }
        self.needs.rule(condition, steps.iter().map(|step| step.test), &self.parts.tests);
        self.parts.rules.push(Rule { start, route, outcome, acts, kind });
    }

    /// Adds the steps of a condition that go on at `yes` or `no`, and returns where they start.
    fn condition(&mut self, condition: &'t Condition, yes: u32, no: u32, start: usize) -> u32 {
        match condition {
            Condition::Constant(constant) => {
                if *constant {
                    yes
                } else {
                    no
                }
            }
            Condition::Not(inner) => self.condition(inner, no, yes, start),
            Condition::All(parts) => {
                parts.iter().rev().fold(yes, |yes, part| self.condition(part, yes, no, start))
            }
            Condition::Any(parts) => {
                parts.iter().rev().fold(no, |no, part| self.condition(part, yes, no, start))
            }
            Condition::Test(test) => {
                let slot = self.slot(&test.expr);
                let id = self.test(slot, &test.predicate);
                let (yes, no) = if test.negated { (no, yes) } else { (yes, no) };
                self.parts.steps.push(Step { test: id, yes, no });
                number(self.parts.steps.len() - 1 - start)
            }
        }
    }

    fn test(&mut self, slot: SlotId, predicate: &'t Predicate) -> u32 {
        let id = match self.tests.get(&(slot, predicate)) {
            Some(id) => *id,
            None => {
                let check = self.check(predicate);
                self.parts.tests.push(Test { slot, check, plain: None, memo: None });
                self.asked.push(0);
                let id = number(self.parts.tests.len() - 1);
                self.tests.insert((slot, predicate), id);
                id
            }
        };
        self.asked.iter_mut().skip(id as usize).take(1).for_each(|asked| *asked += 1);
        id
    }

    fn check(&mut self, predicate: &'t Predicate) -> Check {
        match predicate {
            Predicate::IsTrue => Check::IsTrue,
            Predicate::Compare(order, value) => match value {
                Value::String(text) => Check::Text(text.as_ref().into()),
                Value::Int(i) => Check::Int(*order, *i),
                Value::Bool(b) => Check::Bool(*b),
                Value::Ip(ip) => Check::Ip(*ip),
                Value::Version(version) => Check::Version(*order, Box::new(version.clone())),
                Value::Time(time) => Check::Time(*order, Box::new(*time)),
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

    fn list(&mut self, set: &'t Set) -> List {
        let (ty, members) = match set {
            Set::Supplied(list) => return list.clone(),
            Set::Members(ty, members) => (*ty, members),
        };
        if let Some(list) = self.lists.get(set) {
            return list.clone();
        }
        let list = List::of_ranges(ty, members.iter().cloned());
        self.lists.insert(set, list.clone());
        list
    }

    fn slot(&mut self, expr: &'t Expr) -> SlotId {
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
        let id = SlotId(number(self.parts.slots.len() - 1));
        self.slots.insert(expr, id);
        id
    }

    /// Adds an outcome; `places` says where the logical clusters' outcomes stand.
    fn outcome(&mut self, outcome: &'t typed::Outcome, owner: Owner, places: &[u32]) -> u32 {
        let place = |target: typed::Target| match target {
            typed::Target::Cluster(cluster) => Target::Cluster(cluster),
            typed::Target::Logical(logical) => {
                Target::Outcome(places.get(logical as usize).copied().unwrap_or(u32::MAX))
            }
        };
        let mut targets = outcome.targets.iter().copied().map(place);
        let choice = match &outcome.deal {
            // There is one; should there be none, the verifier says so.
            None => Choice::One(targets.next().unwrap_or(Target::Cluster(u32::MAX))),
            Some(deal) => Choice::Deal(Box::new(Deal {
                targets: targets.collect(),
                split: deal.split.clone(),
                seed: deal.seed,
                key: deal.key.as_ref().map(|key| self.slot(key)),
            })),
        };
        let fallbacks = outcome.fallbacks.as_deref();
        let fallbacks = fallbacks.map(|all| all.iter().map(|fallback| fallback.map(place)).collect());
        self.add_outcome(owner, choice, fallbacks)
    }

    fn add_outcome(&mut self, owner: Owner, choice: Choice, fallbacks: Option<Box<[Option<Target>]>>) -> u32 {
        let outcome = Outcome { owner, choice, fallbacks, cell: self.parts.cells };
        self.parts.cells = self.parts.cells.saturating_add(number(outcome.cells()));
        self.parts.outcomes.push(outcome);
        number(self.parts.outcomes.len() - 1)
    }
}

/// In how many groups an expression may be, taken together: each compiles it anew.
const GROUPED: usize = 4;

/// Makes one search of all expressions on a slot, where that is sound.
fn group(tests: &mut [Test]) -> Vec<Group> {
    let texts: HashSet<&str> = tests
        .iter()
        .filter_map(
            |test| if let Check::Matches(pattern) = &test.check { Some(pattern.text()) } else { None },
        )
        .collect();
    let mut left = GROUPED * texts.len();
    let mut slots: BTreeMap<SlotId, Vec<&mut Test>> = BTreeMap::new();
    for test in tests {
        if matches!(&test.check, Check::Matches(pattern) if Patterns::takes(pattern)) {
            slots.entry(test.slot).or_default().push(test);
        }
    }
    let mut groups = Vec::new();
    for (slot, mut tests) in slots {
        for tests in tests.chunks_mut(Patterns::MOST) {
            let Some(after) = left.checked_sub(tests.len()) else { return groups };
            left = after;
            let patterns: Vec<Pattern> = tests
                .iter()
                .filter_map(|test| match &test.check {
                    Check::Matches(pattern) => Some(pattern.clone()),
                    _ => None,
                })
                .collect();
            let Some(together) = Patterns::new(&patterns) else { continue };
            for (test, pattern) in tests.iter_mut().zip(patterns) {
                test.check = Check::Among(pattern, number(groups.len()));
            }
            groups.push(Group { slot, patterns: together, memos: Vec::new() });
        }
    }
    groups
}

/// A place as the program keeps it. More than 2³² of anything is refused by the verifier, as what saturates
/// here points at nothing.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
