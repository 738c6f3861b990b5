//! What makes a program safe to run: everything it points at is there, and it ends.

use std::fmt;

use super::index::{Index, Lead, Row, To};
use super::program::{
    Check, Choice, Group, Outcome, Owner, Program, Rule, Shelves, Slot, SlotId, Step, Target, Test,
};
use crate::schema::{Field, StatementKind};

/// How deep slots may be made of one another. `Limits::MAX_DEPTH` brackets, with a `%` and a `??` in each, are less.
const DEEPEST: usize = 256;

/// A program that nobody has looked at yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    pub(crate) rules: Vec<Rule>,
    pub(crate) steps: Vec<Step>,
    pub(crate) tests: Vec<Test>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) groups: Vec<Group>,
    pub(crate) index: Option<Index>,
    pub(crate) memos: u32,
    pub(crate) cells: u32,
    /// How many clusters are declared.
    pub(crate) clusters: u32,
}

/// Why a program is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// Steps of no rule, or of a rule that begins before the one above it.
    Start { rule: usize },
    /// A step that does not lead forward within its rule.
    Jump { step: usize },
    /// A step, a test, a slot, a rule or an outcome that points at nothing.
    Dangling { what: &'static str, at: usize },
    /// A slot made of one that is not earlier; a logical cluster or a node that leads back.
    Circle { what: &'static str, at: usize },
    /// A slot made of slots made of slots, more of them than the evaluator's stack should hold.
    Deep { at: usize },
    /// The last outcome is not the default's.
    NoDefault,
    /// An outcome without a target, or with a deal for another number.
    Outcome { at: usize },
    /// An answer that is remembered in another test's place.
    Memo { at: usize },
    /// A counter that is not the outcome's own.
    Cell { at: usize },
    /// A rule whose outcome is not what its kind has, or a statement of the service gateway behind a route.
    Kind { rule: usize },
    /// A divisor that is not positive.
    Divisor { at: usize },
    /// Rules or look-ups that are not in their order.
    Order { node: usize },
    /// Two look-ups lead to one node.
    Shared { node: usize },
}

// === impl Parts ===

impl Parts {
    /// Looks at everything once, in linear time.
    pub(crate) fn verify(mut self) -> Result<Program, Invalid> {
        self.rules()?;
        self.tests()?;
        self.slots()?;
        self.outcomes()?;
        if let Some(index) = &self.index {
            self.indexed(index)?;
        }
        let plain = |slot: SlotId| self.slots.get(slot.0 as usize).and_then(Slot::plain);
        self.tests.iter_mut().for_each(|test| test.plain = plain(test.slot));
        let nodes = self.index.iter_mut().flat_map(|index| &mut index.nodes);
        nodes.flat_map(|node| &mut node.lookups).for_each(|lookup| lookup.plain = plain(lookup.slot));
        let needs_now = self.slots.iter().any(|slot| matches!(slot, Slot::Field(Field::Now)));
        // A key may be absent, and then the default and logical clusters choose by chance.
        let needs_chance = self.outcomes.iter().any(|outcome| outcome.deal().is_some());
        let gateway = self.rules.iter().take_while(|rule| rule.kind != StatementKind::Route).count() as u32;
        let has_fallbacks = self.outcomes.iter().any(|outcome| outcome.fallbacks.is_some());
        Ok(Program {
            gateway,
            has_fallbacks,
            needs_now,
            needs_chance,
            memos: self.memos,
            cells: self.cells,
            rules: self.rules.into(),
            steps: self.steps.into(),
            tests: self.tests.into(),
            outcomes: self.outcomes.into(),
            groups: self.groups.into(),
            shelves: Shelves::new(&self.slots),
            slots: self.slots.into(),
            index: self.index,
        })
    }

    fn rules(&self) -> Result<(), Invalid> {
        let ends = self.rules.iter().skip(1).map(|rule| rule.start as usize).chain([self.steps.len()]);
        let mut done = 0;
        for (at, (rule, end)) in self.rules.iter().zip(ends).enumerate() {
            if rule.start as usize != done || end < done || end > self.steps.len() {
                return Err(Invalid::Start { rule: at });
            }
            let outcome = self.outcomes.get(rule.outcome as usize);
            let outcome = outcome.ok_or(Invalid::Dangling { what: "rule", at })?;
            let fits = match rule.kind {
                StatementKind::Route => !matches!(outcome.choice, Choice::Note(_)),
                StatementKind::Mirror => matches!(outcome.choice, Choice::One(_)),
                _ => matches!(outcome.choice, Choice::Note(_)),
            };
            let earlier = at.checked_sub(1).and_then(|before| self.rules.get(before));
            let behind = earlier.is_some_and(|earlier| earlier.kind == StatementKind::Route)
                && rule.kind != StatementKind::Route;
            if !fits || behind {
                return Err(Invalid::Kind { rule: at });
            }
            for (at, step) in self.steps.iter().enumerate().take(end).skip(done) {
                let forward = |to: u32| to >= Step::FALSE || (to as usize > at && (to as usize) < end);
                if !forward(step.yes) || !forward(step.no) {
                    return Err(Invalid::Jump { step: at });
                }
                if step.test as usize >= self.tests.len() {
                    return Err(Invalid::Dangling { what: "step", at });
                }
            }
            done = end;
        }
        if done != self.steps.len() { Err(Invalid::Start { rule: self.rules.len() }) } else { Ok(()) }
    }

    fn has(&self, slot: SlotId) -> bool {
        (slot.0 as usize) < self.slots.len()
    }

    fn tests(&self) -> Result<(), Invalid> {
        let mut remembered = 0_u32;
        for (at, test) in self.tests.iter().enumerate() {
            let other = match test.check {
                Check::Against(_, other) => self.has(other),
                _ => true,
            };
            if !self.has(test.slot) || !other {
                return Err(Invalid::Dangling { what: "test", at });
            }
            if test.memo.is_some_and(|memo| memo != remembered) {
                return Err(Invalid::Memo { at });
            }
            remembered += u32::from(test.memo.is_some());
        }
        for (at, test) in self.tests.iter().enumerate() {
            let Check::Among(_, group) = test.check else { continue };
            let group = self.groups.get(group as usize).ok_or(Invalid::Dangling { what: "test", at })?;
            // What is asked of the group has to be what is remembered for the test.
            let remembered = test.memo.is_some_and(|memo| group.memos.contains(&memo));
            if group.slot != test.slot || !remembered {
                return Err(Invalid::Memo { at });
            }
        }
        let beyond =
            |group: &Group| !self.has(group.slot) || group.memos.iter().any(|memo| *memo >= remembered);
        if let Some(at) = self.groups.iter().position(beyond) {
            return Err(Invalid::Dangling { what: "group", at });
        }
        if remembered == self.memos { Ok(()) } else { Err(Invalid::Memo { at: self.tests.len() }) }
    }

    fn slots(&self) -> Result<(), Invalid> {
        let mut depths: Vec<usize> = Vec::with_capacity(self.slots.len());
        for (at, slot) in self.slots.iter().enumerate() {
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
        Ok(())
    }

    fn outcomes(&self) -> Result<(), Invalid> {
        let is_default =
            |last: &Outcome| last.owner == Owner::Default && !matches!(last.choice, Choice::Note(_));
        if !self.outcomes.last().is_some_and(is_default) {
            return Err(Invalid::NoDefault);
        }
        let mut cell = 0_u64;
        for (at, outcome) in self.outcomes.iter().enumerate() {
            let targets = outcome.targets();
            let dealt = outcome.deal().map_or(1, |deal| deal.split.len());
            let notes = matches!(outcome.choice, Choice::Note(_));
            let fallbacks = outcome.fallbacks.as_deref();
            if (targets.is_empty() || targets.len() != dealt) && !notes
                || fallbacks.is_some_and(|fallbacks| fallbacks.len() != targets.len())
            {
                return Err(Invalid::Outcome { at });
            }
            if outcome.key().is_some_and(|key| !self.has(key)) {
                return Err(Invalid::Dangling { what: "outcome", at });
            }
            for target in targets.iter().chain(fallbacks.into_iter().flatten().flatten()) {
                match *target {
                    Target::Cluster(index) if index >= self.clusters => {
                        return Err(Invalid::Dangling { what: "outcome", at });
                    }
                    Target::Outcome(index) if index as usize >= self.outcomes.len() => {
                        return Err(Invalid::Dangling { what: "outcome", at });
                    }
                    // Logical clusters come first, each after those it is made of.
                    Target::Outcome(index) if index as usize >= at => {
                        return Err(Invalid::Circle { what: "outcome", at });
                    }
                    Target::Outcome(index) => {
                        let inner = self.outcomes.get(index as usize);
                        if inner.is_none_or(|inner| matches!(inner.choice, Choice::Note(_))) {
                            return Err(Invalid::Outcome { at });
                        }
                    }
                    Target::Cluster(_) => {}
                }
            }
            if u64::from(outcome.cell) != cell {
                return Err(Invalid::Cell { at });
            }
            cell += outcome.cells() as u64;
        }
        if u64::from(self.cells) == cell { Ok(()) } else { Err(Invalid::Cell { at: self.outcomes.len() }) }
    }

    /// That an index leads to rules, in their order, and never back. That it leaves none out which can match is for
    /// the tests to say.
    fn indexed(&self, index: &Index) -> Result<(), Invalid> {
        if index.nodes.is_empty() {
            return Err(Invalid::Dangling { what: "index", at: 0 });
        }
        if index.rules.iter().any(|rule| *rule as usize >= self.rules.len()) {
            return Err(Invalid::Dangling { what: "index", at: 0 });
        }
        // A row that many keys lead to is walked once: where it ends, by where it starts.
        let mut walked = vec![0; index.rules.len()];
        // A look-up leads to each node once; two would do so once for each.
        let mut led = vec![None; index.nodes.len()];
        for (at, node) in index.nodes.iter().enumerate() {
            let mut row = |row: Row| {
                if row.start > row.end || row.end as usize > index.rules.len() {
                    return Err(Invalid::Dangling { what: "node", at });
                }
                match walked.get_mut(row.start as usize) {
                    Some(end) if *end != row.end => *end = row.end,
                    _ => return Ok(()),
                }
                let ascend = index.rules(row).is_sorted_by(|a, b| a < b);
                if ascend { Ok(()) } else { Err(Invalid::Order { node: at }) }
            };
            row(node.rest)?;
            if !node.lookups.is_sorted_by_key(|lookup| lookup.first) {
                return Err(Invalid::Order { node: at });
            }
            for (from, lookup) in node.lookups.iter().enumerate() {
                if !self.has(lookup.slot) {
                    return Err(Invalid::Dangling { what: "node", at });
                }
                let mut single = |lead: Lead| {
                    let first = match lead.to() {
                        To::Rules(rules) => {
                            row(rules)?;
                            index.rules(rules).first().copied()
                        }
                        To::Node(to) if to as usize <= at => {
                            return Err(Invalid::Circle { what: "node", at });
                        }
                        To::Node(to) => {
                            let led = led.get_mut(to as usize);
                            let led = led.ok_or(Invalid::Dangling { what: "node", at })?;
                            if *led.get_or_insert((at, from)) != (at, from) {
                                return Err(Invalid::Shared { node: to as usize });
                            }
                            index.nodes.get(to as usize).and_then(|node| node.first(index))
                        }
                        To::Several(_) => return Err(Invalid::Circle { what: "node", at }),
                    };
                    let late = first.is_some_and(|first| first < lookup.first);
                    if late { Err(Invalid::Order { node: at }) } else { Ok(()) }
                };
                for lead in lookup.table.leads() {
                    match lead.to() {
                        To::Several(row) if row.start > row.end || row.end as usize > index.leads.len() => {
                            return Err(Invalid::Dangling { what: "node", at });
                        }
                        To::Several(row) => index.leads(row).iter().try_for_each(|lead| single(*lead))?,
                        _ => single(lead)?,
                    }
                }
            }
        }
        Ok(())
    }
}

// === impl Invalid ===

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Start { rule } => write!(f, "rule {rule} does not begin where the one above it ends"),
            Invalid::Jump { step } => write!(f, "step {step} does not lead forward"),
            Invalid::Dangling { what, at } => write!(f, "{what} {at} points at nothing"),
            Invalid::Circle { what, at } => write!(f, "{what} {at} is made of itself"),
            Invalid::Deep { at } => write!(f, "slot {at} is made of too many others"),
            Invalid::NoDefault => write!(f, "there is no default, or it is not the last outcome"),
            Invalid::Outcome { at } => write!(f, "outcome {at} has no target, or no deal that fits"),
            Invalid::Memo { at } => write!(f, "test {at} remembers in another's place"),
            Invalid::Cell { at } => write!(f, "outcome {at} counts in another's place"),
            Invalid::Kind { rule } => write!(f, "rule {rule} has another kind's outcome or place"),
            Invalid::Divisor { at } => write!(f, "slot {at} divides by nothing"),
            Invalid::Shared { node } => write!(f, "node {node} is led to by two look-ups"),
            Invalid::Order { node } => write!(f, "node {node} is out of order"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::{Keys, Lookup, Node, Table};
    use super::super::program::Deal;
    use super::*;
    use crate::split::Split;

    /// `lower(method)` asked twice, a route that hits, the default; and an index that leads to the route.
    fn sound() -> Parts {
        let outcome =
            |owner, cell| Outcome { owner, choice: Choice::One(Target::Cluster(0)), fallbacks: None, cell };
        let lead = Lead::pack(To::Rules(Row { start: 0, end: 1 }));
        let table = Table::Texts(Keys::from_iter([(0, lead)]));
        let lookup = Lookup { slot: SlotId(1), plain: None, first: 0, table };
        let node = Node { lookups: vec![lookup], rest: Row::default() };
        Parts {
            rules: vec![Rule { start: 0, route: 0, outcome: 0, acts: true, kind: StatementKind::Route }],
            steps: vec![
                Step { test: 0, yes: 1, no: Step::FALSE },
                Step { test: 0, yes: Step::TRUE, no: Step::FALSE },
            ],
            tests: vec![Test {
                slot: SlotId(1),
                check: Check::Text((*b"get").into()),
                plain: None,
                memo: Some(0),
            }],
            slots: vec![Slot::Field(Field::Method), Slot::Lower(SlotId(0))],
            outcomes: vec![outcome(Owner::Route(0), 0), outcome(Owner::Default, 1)],
            groups: Vec::new(),
            index: Some(Index { nodes: vec![node], rules: vec![0], ..Index::default() }),
            memos: 1,
            cells: 2,
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
        assert!(Parts { rules: Vec::new(), steps: Vec::new(), index: None, ..sound() }.verify().is_ok());
    }

    #[test]
    fn whatever_could_loop_or_point_at_nothing_is_refused() {
        refused(|p| p.rules.clear(), Invalid::Start { rule: 0 });
        refused(|p| p.rules[0].start = 1, Invalid::Start { rule: 0 });
        refused(|p| p.rules.push(Rule { start: 3, ..p.rules[0] }), Invalid::Start { rule: 0 });
        refused(|p| p.rules.push(Rule { start: 1, ..p.rules[0] }), Invalid::Jump { step: 0 });
        refused(|p| p.steps[0].yes = 0, Invalid::Jump { step: 0 });
        refused(|p| p.steps[1].no = 2, Invalid::Jump { step: 1 });
        refused(|p| p.steps[1].no = Step::FALSE - 1, Invalid::Jump { step: 1 });
        refused(|p| p.rules[0].outcome = 2, Invalid::Dangling { what: "rule", at: 0 });
        refused(|p| p.tests.clear(), Invalid::Dangling { what: "step", at: 0 });
        refused(|p| p.memos = 0, Invalid::Memo { at: 1 });
        refused(|p| p.memos = 2, Invalid::Memo { at: 1 });
        refused(|p| p.tests.push(p.tests[0].clone()), Invalid::Memo { at: 1 });
        refused(|p| p.tests[0].slot = SlotId(2), Invalid::Dangling { what: "test", at: 0 });
        refused(|p| p.slots[1] = Slot::Lower(SlotId(1)), Invalid::Circle { what: "slot", at: 1 });
        refused(|p| p.slots[1] = Slot::Modulo(SlotId(0), 0), Invalid::Divisor { at: 1 });
        refused(|p| p.clusters = 0, Invalid::Dangling { what: "outcome", at: 0 });
        refused(
            |p| p.outcomes[0].choice = Choice::One(Target::Outcome(0)),
            Invalid::Circle { what: "outcome", at: 0 },
        );
        refused(
            |p| p.outcomes[0].choice = Choice::One(Target::Outcome(2)),
            Invalid::Dangling { what: "outcome", at: 0 },
        );
        refused(|p| p.outcomes[1].cell = 2, Invalid::Cell { at: 1 });
        refused(|p| p.cells = 5, Invalid::Cell { at: 2 });
    }

    #[test]
    fn an_index_leads_to_rules_in_their_order_and_never_back() {
        fn index(p: &mut Parts) -> &mut Index {
            p.index.as_mut().unwrap()
        }
        fn lead(p: &mut Parts, to: To) {
            index(p).nodes[0].lookups[0].table = Table::Texts(Keys::from_iter([(0, Lead::pack(to))]));
        }
        let dangling = Invalid::Dangling { what: "node", at: 0 };
        let circle = Invalid::Circle { what: "node", at: 0 };
        let order = Invalid::Order { node: 0 };
        refused(|p| index(p).nodes.clear(), Invalid::Dangling { what: "index", at: 0 });
        refused(|p| index(p).rules[0] = 1, Invalid::Dangling { what: "index", at: 0 });
        refused(|p| index(p).nodes[0].rest.end = 2, dangling);
        refused(|p| index(p).nodes[0].lookups[0].slot = SlotId(2), dangling);
        refused(|p| lead(p, To::Rules(Row { start: 0, end: 2 })), dangling);
        refused(|p| lead(p, To::Rules(Row { start: 1, end: 0 })), dangling);
        refused(|p| lead(p, To::Several(Row { start: 0, end: 1 })), dangling);
        refused(|p| lead(p, To::Node(1)), dangling);
        refused(|p| lead(p, To::Node(0)), circle);
        refused(
            |p| {
                lead(p, To::Several(Row { start: 0, end: 1 }));
                index(p).leads = vec![Lead::pack(To::Several(Row { start: 0, end: 1 }))];
            },
            circle,
        );
        refused(
            |p| {
                index(p).rules = vec![0, 0];
                index(p).nodes[0].rest.end = 2;
            },
            order,
        );
        refused(
            |p| {
                lead(p, To::Node(1));
                let node = index(p).nodes[0].clone();
                let other = Lookup { table: Table::Texts(Keys::default()), ..node.lookups[0].clone() };
                index(p).nodes[0].lookups.push(node.lookups[0].clone());
                index(p).nodes.push(Node { lookups: vec![other], rest: Row { start: 0, end: 1 } });
            },
            Invalid::Shared { node: 1 },
        );
        refused(|p| index(p).nodes[0].lookups[0].first = 1, order);
        refused(
            |p| {
                let first = index(p).nodes[0].lookups[0].clone();
                index(p).nodes[0]
                    .lookups
                    .insert(0, Lookup { first: 1, table: Table::Texts(Keys::default()), ..first });
            },
            order,
        );
    }

    #[test]
    fn a_deal_has_as_many_arms_as_targets_and_a_key_that_is_there() {
        let deal = |targets, key| {
            let split = Split::new([("a", 1), ("b", 1)]).unwrap();
            let targets = vec![Target::Cluster(0); targets].into();
            Choice::Deal(Box::new(Deal { targets, split, seed: 0, key }))
        };
        refused(|p| p.outcomes[1].choice = deal(0, None), Invalid::Outcome { at: 1 });
        refused(|p| p.outcomes[1].choice = deal(1, None), Invalid::Outcome { at: 1 });
        refused(
            |p| p.outcomes[1].choice = deal(2, Some(SlotId(2))),
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
