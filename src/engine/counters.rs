//! How often each statement decided, and for whom.
//!
//! A thread counts in a shard of its own: on the path of a request there is one addition to memory that no
//! other core writes. Reading adds the shards up.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::bytecode::{Owner, Program, Target};
use crate::check::typed::{Rules, State};
use crate::diagnostic::visible;

use super::ruleset::StatementKind;

/// How many times a thing happened, since the engine was built.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Count {
    /// The kind of statement.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::ruleset::kind_name"))]
    pub kind: StatementKind,
    /// The statement's name; `default` for the default.
    pub statement: String,
    /// The target that the statement chose: a declared or a logical cluster. `None` counts requests that
    /// matched and had no key to be split by; a route then let them pass on, the default and a cluster chose by
    /// chance and counted them at their target too.
    pub target: Option<String>,
    /// Whether it is live, a shadow, which matches and does not act, or paused, which is not looked at.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::ruleset::state_name"))]
    pub state: State,
    /// How often.
    pub count: u64,
}

/// All counts of an engine: one for each statement and target of the current rules, those at zero and paused
/// ones included, and for statements that earlier rules had under the same name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counters {
    /// In the order of kind, name and target.
    pub counts: Vec<Count>,
    /// Decisions in all, by these rules and all before.
    pub decisions: u64,
}

/// The counters of one rule set.
#[derive(Debug)]
pub(super) struct Tally {
    shards: Box<[OnceLock<Shard>]>,
    cells: usize,
}

#[derive(Debug)]
struct Shard {
    cells: Box<[AtomicU64]>,
}

/// What identifies a count across revisions.
pub(super) type Key = (StatementKind, String, State, Option<String>);

// === impl Counters ===

impl Counters {
    /// How often the statement of that kind and name chose a target, over all its targets. The default's name
    /// is `default`.
    pub fn of(&self, kind: StatementKind, statement: &str) -> u64 {
        let chose =
            |count: &&Count| count.kind == kind && count.statement == statement && count.target.is_some();
        self.counts.iter().filter(chose).map(|count| count.count).sum()
    }
}

/// A table for people: one line a count.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Count { kind, statement, target, state, count } in &self.counts {
            let state = if *state == State::Live { "" } else { state.as_str() };
            let name = match kind {
                StatementKind::Default => kind.to_string(),
                _ => format!("{state} {kind} {}", visible(statement)),
            };
            let target = target.as_deref().map_or("(no key)".into(), visible);
            writeln!(f, "{count:>12}  {} => {target}", name.trim_start())?;
        }
        write!(f, "{:>12}  decisions", self.decisions)
    }
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(cells: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(8, usize::from);
        let shards = (cores * 4).next_power_of_two().max(16);
        Tally { shards: (0..shards).map(|_| OnceLock::new()).collect(), cells }
    }

    /// Adds one to each counter that `f` names.
    pub(super) fn count<R>(&self, f: impl FnOnce(&mut dyn FnMut(u32)) -> R) -> R {
        let shard = self.shards.get(thread_number() & (self.shards.len() - 1));
        let shard = shard.map(|shard| shard.get_or_init(|| Shard::new(self.cells)));
        f(&mut |cell| {
            if let Some(cell) = shard.and_then(|shard| shard.cells.get(cell as usize)) {
                // Nothing is ordered by a count.
                cell.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// The sum of a counter over all threads.
    fn sum(&self, cell: usize) -> u64 {
        let of =
            |shard: &OnceLock<Shard>| shard.get()?.cells.get(cell).map(|cell| cell.load(Ordering::Relaxed));
        self.shards.iter().filter_map(of).sum()
    }

    /// The counts by name, and how many decisions they make.
    pub(super) fn read(&self, rules: &Rules, program: &Program) -> (BTreeMap<Key, u64>, u64) {
        let mut counts = BTreeMap::new();
        let mut decisions = 0;
        for outcome in program.outcomes() {
            let (kind, name, state) = match outcome.owner {
                Owner::Default => (StatementKind::Default, "default", State::Live),
                Owner::Logical(at) => (
                    StatementKind::Cluster,
                    rules.logical.get(at as usize).map_or("", |l| &l.name),
                    State::Live,
                ),
                Owner::Route(at) => {
                    let route = rules.routes.get(at as usize);
                    let state = route.map_or(State::Live, |route| route.state);
                    (StatementKind::Route, route.map_or("", |route| &route.name), state)
                }
            };
            for (i, target) in outcome.targets.iter().enumerate() {
                let count = self.sum(outcome.cell as usize + i);
                if kind != StatementKind::Cluster && state == State::Live {
                    decisions += count;
                }
                let target = match *target {
                    Target::Cluster(at) => rules.clusters.get(at as usize).map(ToString::to_string),
                    Target::Outcome(at) => {
                        match program.outcomes().get(at as usize).map(|outcome| outcome.owner) {
                            Some(Owner::Logical(at)) => {
                                rules.logical.get(at as usize).map(|l| l.name.to_string())
                            }
                            _ => None,
                        }
                    }
                };
                counts.insert((kind, name.to_owned(), state, target), count);
            }
            if outcome.deal.as_ref().is_some_and(|deal| deal.key.is_some()) {
                let count = self.sum(outcome.cell as usize + outcome.targets.len());
                counts.insert((kind, name.to_owned(), state, None), count);
            }
        }
        for route in rules.routes.iter().filter(|route| route.state == State::Paused) {
            for target in &route.outcome.targets {
                let name = rules.target_name(*target).to_owned();
                counts.insert((StatementKind::Route, route.name.to_string(), State::Paused, Some(name)), 0);
            }
        }
        (counts, decisions)
    }
}

// === impl Shard ===

impl Shard {
    fn new(cells: usize) -> Self {
        // A cache line, or two that are fetched together, of its own at the end: the allocator may put another
        // shard right behind.
        const LINE: usize = 16;
        Shard { cells: (0..cells + LINE).map(|_| AtomicU64::new(0)).collect() }
    }
}

// === threads ===

/// A small number that no other living thread has: the numbers of threads that ended are given out again.
fn thread_number() -> usize {
    thread_local! {
        static NUMBER: Number = Number::take();
        // A plain copy: reading it needs no destructor to be checked.
        static QUICK: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let quick = QUICK.try_with(Cell::get).unwrap_or(0);
    if quick != usize::MAX {
        return quick;
    }
    let number = NUMBER.try_with(|number| number.0).unwrap_or(0);
    let _ = QUICK.try_with(|quick| quick.set(number));
    number
}

struct Number(usize);

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { free: Vec::new(), next: 0 });

struct Numbers {
    free: Vec<usize>,
    next: usize,
}

// === impl Number ===

impl Number {
    fn take() -> Self {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.free.pop() {
            return Number(number);
        }
        numbers.next += 1;
        Number(numbers.next - 1)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        NUMBERS.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.0);
    }
}
