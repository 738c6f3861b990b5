//! How often each statement decided, and for whom.
//!
//! A thread counts at a seat of its own: on the path of a request there is one addition to memory that no other core
//! writes. Reading adds the seats up.

use std::collections::BTreeMap;
use std::fmt;

use crate::bytecode::{Owner, Program, Target};
use crate::check::typed::{Rules, State};
use crate::diagnostic::visible;
use crate::syntax::ast::StatementKind;

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
    ///
    /// Of a statement of the service gateway that leads to no cluster it is what the statement does, as `403` or `100/s`,
    /// and `None` counts requests that had no key, to which it did not apply.
    pub target: Option<String>,
    /// The target whose place this one took because it had no available server. Such requests are counted at that target
    /// too.
    pub instead_of: Option<String>,
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
    /// Decisions in all, by these rules and all before. Those that were followed are not among them.
    pub decisions: u64,
    /// How many decisions were made upstream and followed, for each declared cluster in the order of their
    /// declaration.
    pub followed: Vec<(String, u64)>,
}

/// What became of the texts that an engine was given after its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Reloads {
    /// How many replaced what ran before.
    pub accepted: u64,
    /// How many were refused, and what ran went on; also those that a follower had at its start and could not start with.
    pub rejected: u64,
}

/// What identifies a count across revisions.
pub(super) type Key = (StatementKind, String, State, Option<String>, Option<String>);

// === impl Counters ===

impl Counters {
    /// How often the statement of that kind and name chose a target, over all its targets. The default's name
    /// is `default`.
    pub fn of(&self, kind: StatementKind, statement: &str) -> u64 {
        let chose = |count: &&Count| {
            count.kind == kind
                && count.statement == statement
                && count.target.is_some()
                && count.instead_of.is_none()
        };
        self.counts.iter().filter(chose).map(|count| count.count).sum()
    }
}

/// A table for people: one line a count.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Count { kind, statement, target, instead_of, state, count } in &self.counts {
            let state = if *state == State::Live { "" } else { state.as_str() };
            let name = match kind {
                StatementKind::Default => kind.to_string(),
                _ => format!("{state} {kind} {}", visible(statement)),
            };
            let target = target.as_deref().map_or("(no key)".into(), visible);
            let name = name.trim_start();
            match instead_of {
                None => writeln!(f, "{count:>12}  {name} => {target}")?,
                Some(other) => writeln!(f, "{count:>12}  {name} => {} else {target}", visible(other))?,
            }
        }
        for (cluster, count) in self.followed.iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "{count:>12}  followed => {}", visible(cluster))?;
        }
        write!(f, "{:>12}  decisions", self.decisions)
    }
}

/// The counts of a rule set by name, and how many decisions they make; `sum` adds up one counter.
pub(super) fn read(rules: &Rules, program: &Program, sum: impl Fn(u32) -> u64) -> (BTreeMap<Key, u64>, u64) {
    let mut counts = BTreeMap::new();
    let mut decisions = 0;
    let cluster_name = |target: Target| match target {
        Target::Cluster(at) => rules.clusters.get(at as usize).map(ToString::to_string),
        Target::Outcome(at) => match program.outcomes().get(at as usize).map(|outcome| outcome.owner) {
            Some(Owner::Logical(at)) => rules.logical.get(at as usize).map(|l| l.name.to_string()),
            _ => None,
        },
    };
    for outcome in program.outcomes() {
        let mut noted = None;
        let (kind, name, state) = match outcome.owner {
            Owner::Default => (StatementKind::Default, "default", State::Live),
            Owner::Logical(at) => {
                (StatementKind::Cluster, rules.logical.get(at as usize).map_or("", |l| &l.name), State::Live)
            }
            Owner::Route(at) => {
                let route = rules.routes.get(at as usize);
                let state = route.map_or(State::Live, |route| route.state);
                (StatementKind::Route, route.map_or("", |route| &route.name), state)
            }
            Owner::Gateway(at) => {
                let Some(statement) = rules.gateway.get(at as usize) else { continue };
                noted = Some(statement.action.to_string()).filter(|_| outcome.targets().is_empty());
                (statement.kind(), &*statement.name, statement.state)
            }
        };
        let key = |target, instead_of| (kind, name.to_owned(), state, target, instead_of);
        if let Some(action) = noted {
            counts.insert(key(Some(action), None), sum(outcome.cell));
        }
        for (i, target) in outcome.targets().iter().enumerate() {
            let count = sum(outcome.cell + i as u32);
            if matches!(kind, StatementKind::Route | StatementKind::Default) && state == State::Live {
                decisions += count;
            }
            counts.insert(key(cluster_name(*target), None), count);
            if let Some((fallback, cell)) = outcome.fallback(i) {
                counts.insert(key(cluster_name(fallback), cluster_name(*target)), sum(cell));
            }
        }
        if outcome.key().is_some() {
            counts.insert(key(None, None), sum(outcome.keyless()));
        }
    }
    for route in rules.routes.iter().filter(|route| route.state == State::Paused) {
        for target in &route.outcome.targets {
            let name = rules.target_name(*target).to_owned();
            let key = (StatementKind::Route, route.name.to_string(), State::Paused, Some(name), None);
            counts.insert(key, 0);
        }
    }
    for statement in rules.gateway.iter().filter(|statement| statement.state == State::Paused) {
        let target = match &statement.mirror {
            Some(mirror) => mirror.targets.first().map(|target| rules.target_name(*target).to_owned()),
            None => Some(statement.action.to_string()),
        };
        counts.insert((statement.kind(), statement.name.to_string(), State::Paused, target, None), 0);
    }
    (counts, decisions)
}
