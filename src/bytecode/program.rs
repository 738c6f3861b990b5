//! The instruction set.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use memchr::memmem::Finder;

use super::index::Index;
use crate::schema::{
    Field, Kind, List, Order, Pattern, Patterns, Plain, StatementKind, Time, Value, Version,
};
use crate::split::Split;

/// A verified program; see [`Parts::verify`](super::Parts::verify) for what that means.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(super) rules: Box<[Rule]>,
    pub(super) steps: Box<[Step]>,
    pub(super) tests: Box<[Test]>,
    pub(super) slots: Box<[Slot]>,
    /// Of logical clusters first, then of rules, the default last; never empty. A condition that stands alone has
    /// the one that its rule points at.
    pub(super) outcomes: Box<[Outcome]>,
    pub(super) groups: Box<[Group]>,
    pub(super) shelves: Shelves,
    pub(super) index: Option<Index>,
    pub(super) memos: u32,
    pub(super) cells: u32,
    pub(super) needs_now: bool,
    pub(super) needs_chance: bool,
    /// How many rules, the first ones, are statements of the service gateway.
    pub(super) gateway: u32,
    /// Whether an outcome has a fallback.
    pub(super) has_fallbacks: bool,
}

/// A condition and what it does if it is true, in text order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The first of its steps; they end where the next rule's begin. Without a step it is always true.
    pub(crate) start: u32,
    /// The index in the text, among the routes or among the statements of the service gateway.
    pub(crate) route: u32,
    pub(crate) outcome: u32,
    /// A shadow is counted and does not act.
    pub(crate) acts: bool,
    /// Routes come behind all others.
    pub(crate) kind: StatementKind,
}

/// Asks a test and goes on at one of two steps, later ones of the same rule, or ends with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) test: u32,
    pub(crate) yes: u32,
    pub(crate) no: u32,
}

/// What a true condition does: one target, or several with a deal.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) owner: Owner,
    pub(crate) choice: Choice,
    /// One for each target, where one has any: who takes its requests when it has no available server.
    pub(crate) fallbacks: Option<Box<[Option<Target>]>>,
    /// The first of this outcome's counters: one a target, and one more for requests without a key if there is
    /// a deal.
    pub(crate) cell: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Choice {
    One(Target),
    Deal(Box<Deal>),
    /// Of a statement of the service gateway that leads to no cluster: it is noted, with its key if it has one.
    Note(Option<SlotId>),
}

/// Whose outcome it is, as an index in text order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Logical(u32),
    Route(u32),
    Gateway(u32),
    Default,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// A declared cluster.
    Cluster(u32),
    /// The outcome of a logical cluster; a later one never leads back to an earlier one.
    Outcome(u32),
}

#[derive(Debug, Clone)]
pub(crate) struct Deal {
    pub(crate) targets: Box<[Target]>,
    pub(crate) split: Split,
    pub(crate) seed: u64,
    /// `None`: by chance.
    pub(crate) key: Option<SlotId>,
}

/// One comparison: true when some value of the slot satisfies it.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    pub(crate) slot: SlotId,
    pub(crate) check: Check,
    /// The slot, if it is one that needs no place among the others; filled in by the verifier.
    pub(crate) plain: Option<Plain>,
    /// Where its answer is remembered, if several ops ask it and asking is dear.
    pub(crate) memo: Option<u32>,
}

/// What is asked of a value: one variant for each comparator, chosen by the literal's type.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    IsTrue,
    Bool(bool),
    Text(Box<[u8]>),
    Int(Order, i64),
    Percent(Order, u32),
    Time(Order, Box<Time>),
    Version(Order, Box<Version>),
    Ip(IpAddr),
    /// Some value of another slot.
    Against(Order, SlotId),
    In(List),
    StartsWith(Box<[u8]>),
    EndsWith(Box<[u8]>),
    Contains(Box<Finder<'static>>),
    PathUnder(Box<[u8]>),
    HostUnder(Box<[u8]>),
    Matches(Pattern),
    /// The same, answered together with others on the same slot.
    Among(Pattern, u32),
}

/// The slots of fields that are read together, by name; one shelf for each kind of which there are many.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelves([Option<Names>; Kind::ALL.len()]);

type Names = HashMap<Box<[u8]>, SlotId, RandomState>;

/// Expressions on one slot that are searched as one.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) slot: SlotId,
    pub(crate) patterns: Patterns,
    /// Where the answer of each is remembered.
    pub(crate) memos: Vec<u32>,
}

/// The index of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(pub(crate) u32);

/// A set of values to be had from a request; what it is made of comes from earlier slots.
#[derive(Debug, Clone)]
pub(crate) enum Slot {
    Literal(Value<'static>),
    Field(Field),
    Lower(SlotId),
    Len(SlotId),
    Int(SlotId),
    Version(SlotId),
    Exists(SlotId),
    Percent(SlotId, u64),
    Coalesce(Box<[SlotId]>),
    /// The divisor is positive.
    Modulo(SlotId, i64),
}

// === impl Program ===

impl Program {
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(crate) fn tests(&self) -> &[Test] {
        &self.tests
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    pub(crate) fn shelves(&self) -> &Shelves {
        &self.shelves
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Which rules can match; `None` where looking at all of them costs no more.
    pub(crate) fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    /// Looks at all rules from now on.
    pub(crate) fn forget_index(&mut self) {
        self.index = None;
    }

    /// How many answers are remembered.
    pub(crate) fn memos(&self) -> usize {
        self.memos as usize
    }

    /// How many counters all outcomes have together.
    pub(crate) fn cells(&self) -> usize {
        self.cells as usize
    }

    /// Whether a test may ask what time it is.
    pub(crate) fn needs_now(&self) -> bool {
        self.needs_now
    }

    /// How many rules are statements of the service gateway: the first ones.
    pub(crate) fn gateway(&self) -> u32 {
        self.gateway
    }

    /// Whether an outcome has a fallback.
    pub(crate) fn has_fallbacks(&self) -> bool {
        self.has_fallbacks
    }

    /// Whether an outcome may be dealt by chance.
    pub(crate) fn needs_chance(&self) -> bool {
        self.needs_chance
    }

    /// An estimate of the memory it takes, in bytes, that errs on the large side. Lists are shared, and not
    /// counted here.
    pub(crate) fn bytes(&self) -> usize {
        let tests = self.tests.iter().map(|test| size_of::<Test>() + test.check.bytes()).sum::<usize>();
        let slots = self.slots.len() * (size_of::<Slot>() + 64);
        let outcomes = self.outcomes.iter().map(Outcome::bytes).sum::<usize>();
        let group = |group: &Group| size_of::<Group>() + group.patterns.bytes() + size_of_val(&*group.memos);
        let groups = self.groups.iter().map(group).sum::<usize>();
        let index = self.index.as_ref().map_or(0, Index::bytes);
        size_of_val(&*self.rules) + size_of_val(&*self.steps) + tests + slots + outcomes + groups + index
    }
}

// === impl Shelves ===

impl Shelves {
    /// Up to so many fields of a kind are read one by one, which takes no look-up of names that nobody asks for.
    const FEW: usize = if cfg!(any(test, fuzzing)) { 1 } else { 6 };

    pub(super) fn new(slots: &[Slot]) -> Self {
        Shelves(Kind::ALL.map(|kind| {
            let named = slots.iter().zip(0..).filter_map(|(slot, at)| match slot {
                Slot::Field(field) => Some((Kind::of(field)?, SlotId(at))),
                _ => None,
            });
            let names: Names = named
                .filter(|((of, _), _)| *of == kind)
                .map(|((_, name), slot)| (Box::from(name), slot))
                .collect();
            Some(names).filter(|names| names.len() > Self::FEW)
        }))
    }

    /// The slot of a name, where fields of this kind are read together.
    pub(crate) fn slot(&self, kind: Kind, name: &[u8]) -> Option<SlotId> {
        self.0.get(kind as usize)?.as_ref()?.get(name).copied()
    }

    /// Whether fields of this kind are read together.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.0.get(kind as usize).is_some_and(Option::is_some)
    }
}

// === impl Step ===

impl Step {
    /// Where a step leads when the condition is true.
    pub(crate) const TRUE: u32 = u32::MAX;
    /// Where a step leads when the condition is false.
    pub(crate) const FALSE: u32 = u32::MAX - 1;
}

// === impl Outcome ===

impl Outcome {
    pub(crate) fn targets(&self) -> &[Target] {
        match &self.choice {
            Choice::One(target) => std::slice::from_ref(target),
            Choice::Deal(deal) => &deal.targets,
            Choice::Note(_) => &[],
        }
    }

    /// How many counters of answers it has: one for each target, or the only one of what is noted.
    fn answers(&self) -> usize {
        self.targets().len().max(1)
    }

    /// The slot of its key.
    pub(crate) fn key(&self) -> Option<SlotId> {
        match &self.choice {
            Choice::One(_) => None,
            Choice::Deal(deal) => deal.key,
            Choice::Note(key) => *key,
        }
    }

    /// Who takes the requests of a target without an available server, and the counter of that.
    pub(crate) fn fallback(&self, target: usize) -> Option<(Target, u32)> {
        let fallbacks = self.fallbacks.as_ref()?;
        let fallback = fallbacks.get(target).copied().flatten()?;
        let before = self.cells() - fallbacks.len();
        Some((fallback, self.cell + before as u32 + target as u32))
    }

    pub(crate) fn deal(&self) -> Option<&Deal> {
        match &self.choice {
            Choice::One(_) | Choice::Note(_) => None,
            Choice::Deal(deal) => Some(deal),
        }
    }

    /// How many counters it has.
    pub(crate) fn cells(&self) -> usize {
        let keyless = self.deal().is_some() || self.key().is_some();
        self.answers() + usize::from(keyless) + self.fallbacks.as_ref().map_or(0, |fallbacks| fallbacks.len())
    }

    /// The counter of requests that have no key to be dealt by.
    pub(crate) fn keyless(&self) -> u32 {
        self.cell + self.answers() as u32
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.deal().map_or(0, |deal| size_of::<Deal>() + 64 * deal.targets.len())
            + self.fallbacks.as_ref().map_or(0, |fallbacks| size_of_val(&**fallbacks))
    }
}

// === impl Check ===

impl Check {
    /// What it takes besides itself, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Check::Text(text)
            | Check::StartsWith(text)
            | Check::EndsWith(text)
            | Check::PathUnder(text)
            | Check::HostUnder(text) => text.len() + 16,
            Check::Contains(finder) => size_of::<Finder<'static>>() + finder.needle().len() + 16,
            Check::Version(..) => size_of::<Version>() + 16,
            Check::Matches(pattern) | Check::Among(pattern, _) => pattern.bytes(),
            _ => 0,
        }
    }

    /// Whether asking again costs more than remembering.
    pub(crate) fn is_dear(&self) -> bool {
        matches!(
            self,
            Check::Matches(_) | Check::Among(..) | Check::Contains(_) | Check::In(_) | Check::Against(..)
        )
    }
}

// === impl Slot ===

impl Slot {
    /// The field, if it is a plain one.
    pub(super) fn plain(&self) -> Option<Plain> {
        match self {
            Slot::Field(field) => Plain::of(field),
            _ => None,
        }
    }

    /// The slots it is made of.
    pub(crate) fn needs(&self) -> &[SlotId] {
        match self {
            Slot::Literal(_) | Slot::Field(_) => &[],
            Slot::Coalesce(sides) => sides,
            Slot::Lower(of)
            | Slot::Len(of)
            | Slot::Int(of)
            | Slot::Version(of)
            | Slot::Exists(of)
            | Slot::Percent(of, _)
            | Slot::Modulo(of, _) => std::slice::from_ref(of),
        }
    }
}
