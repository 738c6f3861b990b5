//! The current rules, and the swap.

use std::cell::Cell as LocalCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::cell::Cell;
use super::counters::{Count, Counters, Key};
use super::pipeline;
use super::rules::Rules;
use super::ruleset::{Decision, RuleSet, StatementKind};
use super::seats::{Running, Seat};
use super::settings::{Chance, Clock, EngineBuilder};
use crate::diagnostic::Diagnostics;
use crate::explain::Explanation;
use crate::limits::Limits;
use crate::schema::{RequestHead, Schema};

/// Decides where requests go, by rules that can be replaced at any time.
///
/// A clone is a pointer to the same engine. Deciding takes no lock, waits for nobody and, for an ordinary
/// request, allocates nothing.
///
/// ```
/// use http::Request;
/// use pointsman::Engine;
///
/// let engine = Engine::builder()
///     .clusters(["gray", "prod"])
///     .build(r#"
///         route testers: header(x-canary) == "always" => gray
///         default => prod
///     "#)?;
///
/// let request = Request::get("/").header("x-canary", "always").body(())?;
/// let decision = engine.decide(&request);
/// assert_eq!((decision.cluster(), decision.rule()), ("gray", Some("testers")));
///
/// // A text with a mistake changes nothing, and says what is wrong.
/// let problems = engine.replace("default => prodd").unwrap_err();
/// assert!(problems.to_string().contains("did you mean `prod`?"));
///
/// engine.replace("default => prod")?;
/// assert_eq!(engine.decide(&request).cluster(), "prod");
/// assert_eq!(decision.revision() + 1, engine.decide(&request).revision());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    current: Cell<Running>,
    /// The id of what is current, so that a thread that has its seat there need not ask for more.
    latest: AtomicU64,
    schema: Arc<Schema>,
    limits: Limits,
    strict: bool,
    clock: Option<Clock>,
    chance: Option<Chance>,
    past: Mutex<Past>,
}

/// How many counts of names that may be gone are kept before somebody looks.
const FORGET: usize = 4096;

/// What earlier rule sets counted. Whoever replaces rules holds the lock.
#[derive(Default)]
struct Past {
    /// Those that may still count, because a decision is under way.
    retired: Vec<Arc<Running>>,
    counts: BTreeMap<Key, u64>,
    decisions: u64,
}

/// What a decision depends on besides the rules and the request.
///
/// With the same moment, deciding and explaining give the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "meant to be written")]
pub struct Moment {
    /// What the field `now` is.
    pub now: SystemTime,
    /// 64 random bits, for splits without a key.
    pub chance: u64,
}

// === impl Engine ===

impl Engine {
    /// Starts to put an engine together.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    pub(super) fn new(builder: EngineBuilder, rules: &Rules<'_>) -> Result<Self, Diagnostics> {
        let EngineBuilder { schema, limits, strict, clock, chance } = builder;
        let schema = Arc::new(schema);
        let compiled = pipeline::run(rules, &schema, &limits, strict)?;
        let first = Running::new(Arc::new(RuleSet::new(compiled, schema.clone(), 1)));
        let past = Mutex::new(Past::default());
        let latest = AtomicU64::new(first.id);
        let shared = Shared {
            current: Cell::new(Arc::new(first)),
            latest,
            schema,
            limits,
            strict,
            clock,
            chance,
            past,
        };
        Ok(Engine { shared: Arc::new(shared) })
    }

    /// Decides where a request goes, and counts it. The cost does not depend on how often rules are replaced.
    pub fn decide<'r>(&self, request: impl Into<RequestHead<'r>>) -> Decision {
        let seat = self.shared.seat();
        let moment = self.moment(&seat.rules);
        Decision::of(seat, request.into(), moment)
    }

    /// As [`Engine::decide`], with the time and the chance from outside.
    pub fn decide_at<'r>(&self, request: impl Into<RequestHead<'r>>, moment: Moment) -> Decision {
        Decision::of(self.shared.seat(), request.into(), moment)
    }

    /// What is decided by the index, by asking all rules in their order, and by the reference: the route's and the
    /// cluster's place. For tests that hold them against each other; counts nothing.
    #[doc(hidden)]
    pub fn decide_three_ways_at<'r>(
        &self,
        request: impl Into<RequestHead<'r>>,
        moment: Moment,
    ) -> [(Option<u32>, u32); 3] {
        self.shared.current.load().rules.decide_three_ways(request.into(), moment)
    }

    /// Says why a request would go where it goes, now. Walks the rules as they are written, at leisure; counts
    /// nothing. For a decision that has been made, see [`Decision::explain`].
    pub fn explain<'r>(&self, request: impl Into<RequestHead<'r>>) -> Explanation {
        let rules = self.rules();
        let moment = self.moment(&rules);
        rules.explain(request.into(), moment)
    }

    /// As [`Engine::explain`], with the time and the chance from outside.
    pub fn explain_at<'r>(&self, request: impl Into<RequestHead<'r>>, moment: Moment) -> Explanation {
        self.rules().explain(request.into(), moment)
    }

    /// Replaces the rules: validates, compiles, then swaps one pointer. A decision under way ends with the
    /// rules it began with. Returns the new rule set, whose lints may be worth a look.
    ///
    /// Compiling takes some microseconds a statement: a text of thousands belongs on a thread that may block. The old
    /// rules' memory is given back when no decision is held any more that they made, and each thread that decided by
    /// them has decided again or ended.
    ///
    /// # Errors
    ///
    /// When the rules are not sound; then the old ones go on.
    pub fn replace<'a>(&self, rules: impl Into<Rules<'a>>) -> Result<Arc<RuleSet>, Diagnostics> {
        self.replace_if(&rules.into(), || true).map(|replaced| replaced.unwrap_or_else(|| self.rules()))
    }

    /// As [`Engine::replace`]; `still` is asked between compiling and the swap. `None` where it says no.
    pub(crate) fn replace_if(
        &self,
        rules: &Rules<'_>,
        still: impl FnOnce() -> bool,
    ) -> Result<Option<Arc<RuleSet>>, Diagnostics> {
        let compiled = self.compile(rules)?;
        let shared = &*self.shared;
        let mut past = shared.past();
        if !still() {
            return Ok(None);
        }
        let last = shared.current.load().clone();
        let next = Arc::new(RuleSet::new(compiled, shared.schema.clone(), last.rules.revision() + 1));
        let running = Arc::new(Running::new(next.clone()));
        shared.current.store(running.clone());
        shared.latest.store(running.id, Ordering::Release);
        past.retired.push(last);
        past.settle();
        // Names that are gone are forgotten now and then, so that a stream of new ones cannot fill the memory.
        if past.counts.len() > 2 * next.compiled.program.cells() + FORGET {
            past.forget_all_but(&names(&running.counts().0));
        }
        Ok(Some(next))
    }

    /// Compiles rules as [`Engine::replace`] would, and leaves the current ones alone. Returns the lints.
    ///
    /// # Errors
    ///
    /// When the rules are not sound.
    pub fn check<'a>(&self, rules: impl Into<Rules<'a>>) -> Result<Diagnostics, Diagnostics> {
        self.compile(&rules.into()).map(|compiled| compiled.lints)
    }

    /// The current rules, to be kept for as long as several answers should come from the same.
    pub fn rules(&self) -> Arc<RuleSet> {
        self.shared.current.load().rules.clone()
    }

    /// What the rules may mention.
    pub fn schema(&self) -> &Schema {
        &self.shared.schema
    }

    /// The names of the declared clusters, in the order of their indices.
    pub fn clusters(&self) -> impl ExactSizeIterator<Item = &str> {
        self.shared.schema.clusters.iter().map(|name| &**name)
    }

    /// Whether a decision came from this engine, so that its cluster index means the same here. Compares two
    /// pointers.
    pub(crate) fn made(&self, decision: &Decision) -> bool {
        Arc::ptr_eq(&self.shared.schema, &decision.rules().schema)
    }

    /// How often each statement decided, since the engine was built. Adds up all threads' counts, which takes
    /// some nanoseconds for each statement and core.
    pub fn counters(&self) -> Counters {
        let mut past = self.shared.past();
        past.settle();
        let (mut counts, mut decisions) = self.shared.current.load().counts();
        let names = names(&counts);
        let mut add = |(key, count): (Key, u64)| {
            if names.contains(&(key.0, key.1.clone())) {
                *counts.entry(key).or_default() += count;
            }
        };
        for retired in &past.retired {
            let (counts, more) = retired.counts();
            counts.into_iter().for_each(&mut add);
            decisions += more;
        }
        past.counts.iter().map(|(key, count)| (key.clone(), *count)).for_each(&mut add);
        let counts = counts
            .into_iter()
            .map(|((kind, statement, state, target), count)| Count { kind, statement, target, state, count })
            .collect();
        Counters { counts, decisions: decisions + past.decisions }
    }

    fn compile(&self, rules: &Rules<'_>) -> Result<pipeline::Compiled, Diagnostics> {
        pipeline::run(rules, &self.shared.schema, &self.shared.limits, self.shared.strict)
    }

    /// Time and chance, asked for only where the rules need them.
    fn moment(&self, rules: &RuleSet) -> Moment {
        let now = match (&self.shared.clock, rules.needs_now()) {
            (_, false) => SystemTime::UNIX_EPOCH,
            (Some(clock), true) => clock(),
            (None, true) => SystemTime::now(),
        };
        let chance = match (&self.shared.chance, rules.needs_chance()) {
            (_, false) => 0,
            (Some(chance), true) => chance(),
            (None, true) => random(),
        };
        Moment { now, chance }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Engine").field(&self.rules()).finish()
    }
}

// === impl Shared ===

impl Shared {
    /// This thread's seat at the current rules.
    #[inline]
    fn seat(&self) -> Arc<Seat> {
        Seat::taken(self.latest.load(Ordering::Acquire)).unwrap_or_else(|| self.current.load().take_seat())
    }

    fn past(&self) -> std::sync::MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Past ===

impl Past {
    fn forget_all_but(&mut self, names: &HashSet<(StatementKind, String)>) {
        self.counts.retain(|(kind, name, ..), _| names.contains(&(*kind, name.clone())));
    }

    /// Takes over the counts of those that nobody can count in any more.
    fn settle(&mut self) {
        let retired = std::mem::take(&mut self.retired);
        for running in retired {
            // The current pointer is gone, so a count of one is ours and cannot grow.
            match Arc::try_unwrap(running) {
                Ok(mut running) => {
                    if !running.is_left() {
                        self.retired.push(Arc::new(running));
                        continue;
                    }
                    let (counts, decisions) = running.counts();
                    self.decisions += decisions;
                    for (key, count) in counts {
                        *self.counts.entry(key).or_default() += count;
                    }
                }
                Err(running) => self.retired.push(running),
            }
        }
    }
}

/// The statements that have counts.
fn names(counts: &BTreeMap<Key, u64>) -> HashSet<(StatementKind, String)> {
    counts.keys().map(|(kind, name, ..)| (*kind, name.clone())).collect()
}

/// 64 random bits: splitmix64 (Steele, Lea and Flood 2014), seeded for each thread. Not for secrets.
fn random() -> u64 {
    thread_local! {
        static STATE: LocalCell<u64> = LocalCell::new(RandomState::new().hash_one(0));
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}
