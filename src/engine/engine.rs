//! The current rules, and the swap.

use std::cell::Cell as LocalCell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use foldhash::HashMap;

use super::cell::Cell;
use super::counters::{Count, Counters, Key, Reloads};
use super::matches::bit;
use super::pipeline;
use super::rules::Rules;
use super::ruleset::{Decision, RuleSet};
use super::seats::{Hold, Running};
use super::settings::{Chance, Clock, EngineBuilder};
use super::trace;
use crate::diagnostic::Diagnostics;
use crate::explain::Explanation;
use crate::limits::Limits;
use crate::schema::{RequestHead, Schema};
use crate::syntax::ast::StatementKind;

/// Decides where requests go, by rules that can be replaced at any time.
///
/// A clone is a pointer to the same engine. Deciding waits for nobody and, for an ordinary request, takes no lock and
/// allocates nothing; a thread's first decision by some rules does, to have its own place to count. Other threads that
/// decided by an engine keep its rules in memory after it is dropped, until they decide by another one or end.
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
    /// The id of what is current or about to be, so that a thread that has its seat there need not ask for more.
    latest: AtomicU64,
    schema: Arc<Schema>,
    /// The declared clusters.
    by_name: HashMap<Arc<str>, u32>,
    limits: Limits,
    strict: bool,
    clock: Option<Clock>,
    chance: Option<Chance>,
    past: Mutex<Past>,
    /// How many texts were refused.
    rejected: AtomicU64,
    /// By the kinds of the service gateway: how many requests nobody did it for.
    unheeded: [AtomicU64; StatementKind::GATEWAY.len()],
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
    /// By declared cluster.
    followed: Vec<u64>,
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
            by_name: schema.clusters.iter().cloned().zip(0..).collect(),
            schema,
            limits,
            strict,
            clock,
            chance,
            past,
            rejected: AtomicU64::new(0),
            unheeded: Default::default(),
        };
        Ok(Engine { shared: Arc::new(shared) })
    }

    /// Decides where a request goes, and counts it. The cost does not depend on how often rules are replaced.
    pub fn decide<'r>(&self, request: impl Into<RequestHead<'r>>) -> Decision {
        self.decide_among(request, None)
    }

    /// As [`Engine::decide`], where somebody knows which clusters have an available server, by their indices: a target
    /// that has none gives way to what stands behind its `else`. `available` is asked only for such targets, and must
    /// not decide by the same engine.
    ///
    /// ```
    /// use http::Request;
    /// use pointsman::Engine;
    ///
    /// let engine = Engine::builder().clusters(["gray", "prod"]).build(
    ///     "route beta: cookie(beta) == \"yes\" => gray else prod
    ///      default => prod",
    /// )?;
    /// let request = Request::get("/").header("cookie", "beta=yes").body(())?;
    /// assert_eq!(engine.decide_where(&request, |_| true).cluster(), "gray");
    ///
    /// let decision = engine.decide_where(&request, |cluster| cluster != 0);
    /// assert_eq!((decision.cluster(), decision.rule()), ("prod", Some("beta")));
    /// assert!(decision.explain(&request).to_string().contains("gray has no available server, so prod"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decide_where<'r>(
        &self,
        request: impl Into<RequestHead<'r>>,
        available: impl Fn(usize) -> bool,
    ) -> Decision {
        self.decide_among(request, Some(&|cluster| available(cluster as usize)))
    }

    /// As both of these.
    #[inline]
    pub(crate) fn decide_among<'r>(
        &self,
        request: impl Into<RequestHead<'r>>,
        available: Option<&dyn Fn(u32) -> bool>,
    ) -> Decision {
        let hold = self.shared.seat();
        let moment = self.moment(&hold.seat().rules);
        Decision::of(hold, request.into(), moment, available)
    }

    /// As [`Engine::decide`], with the time and the chance from outside.
    pub fn decide_at<'r>(&self, request: impl Into<RequestHead<'r>>, moment: Moment) -> Decision {
        Decision::of(self.shared.seat(), request.into(), moment, None)
    }

    /// Takes over a decision that was made elsewhere, as by the service that sent the request: for the declared cluster of
    /// that name. The rules are not asked, and it is [counted apart](Counters::followed). `None` when there is no such
    /// cluster, and then nothing is counted.
    ///
    /// [`Follow`](crate::Follow) does so for requests of trusted peers; this is for decisions that travel in another way,
    /// as with a message in a queue. As it has no request, the statements of the service gateway are not asked either: such a
    /// decision [matches](Decision::matches) none, not even a `deny`. `Follow` asks them.
    ///
    /// ```
    /// use pointsman::Engine;
    ///
    /// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => prod")?;
    /// let decision = engine.follow("gray").expect("is declared");
    /// assert_eq!((decision.cluster(), decision.statement()), ("gray", "followed"));
    /// assert!(engine.follow("grey").is_none());
    /// # Ok::<(), pointsman::BuildError>(())
    /// ```
    pub fn follow(&self, cluster: &str) -> Option<Decision> {
        let cluster = *self.shared.by_name.get(cluster)?;
        let moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 0 };
        Some(Decision::follow(self.shared.seat(), cluster, None, moment, None))
    }

    /// As [`Engine::follow`], asking the statements of the service gateway about the request. Where their copies go is
    /// decided here, so a `mirror` heeds who is `available`; the request's own cluster stays what it is.
    pub(crate) fn follow_request<'r>(
        &self,
        cluster: &str,
        request: impl Into<RequestHead<'r>>,
        available: Option<&dyn Fn(u32) -> bool>,
    ) -> Option<Decision> {
        let cluster = *self.shared.by_name.get(cluster)?;
        let hold = self.shared.seat();
        let moment = self.moment(&hold.seat().rules);
        Some(Decision::follow(hold, cluster, Some(request.into()), moment, available))
    }

    /// What is decided by the index, by asking all rules in their order, and by the reference: the route's and the
    /// cluster's place, what would be counted, which the reference does not know, and the statements of the service gateway
    /// that matched. For tests that hold them against
    /// each other; counts nothing.
    #[doc(hidden)]
    pub fn decide_three_ways_at<'r>(
        &self,
        request: impl Into<RequestHead<'r>>,
        moment: Moment,
        available: impl Fn(usize) -> bool,
    ) -> [super::ruleset::ThreeWays; 3] {
        let available = |cluster| available(cluster as usize);
        self.shared.current.load().rules.decide_three_ways(request.into(), moment, &available)
    }

    /// Says why a request would go where it goes, now. Walks the rules as they are written, at leisure; counts
    /// nothing. For a decision that has been made, see [`Decision::explain`].
    pub fn explain<'r>(&self, request: impl Into<RequestHead<'r>>) -> Explanation {
        self.explain_now(request.into(), None)
    }

    /// As [`Engine::explain`], where somebody knows which clusters have an available server, by their indices: what
    /// [`Engine::decide_where`] would decide, and why. `available` is asked only for targets that have an `else`.
    ///
    /// ```
    /// use http::Request;
    /// use pointsman::Engine;
    ///
    /// let engine = Engine::builder().clusters(["gray", "prod"]).build(
    ///     "route beta: cookie(beta) == \"yes\" => gray else prod
    ///      default => prod",
    /// )?;
    /// let request = Request::get("/").header("cookie", "beta=yes").body(())?;
    /// let while_gray_is_down = engine.explain_where(&request, |cluster| cluster != 0);
    /// assert_eq!(while_gray_is_down.cluster, "prod");
    /// assert!(while_gray_is_down.to_string().contains("gray has no available server, so prod"));
    /// assert_eq!(engine.explain(&request).cluster, "gray", "nobody says that it is down");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn explain_where<'r>(
        &self,
        request: impl Into<RequestHead<'r>>,
        available: impl Fn(usize) -> bool,
    ) -> Explanation {
        self.explain_now(request.into(), Some(&|cluster| available(cluster as usize)))
    }

    /// As [`Engine::explain`], with the time and the chance from outside.
    pub fn explain_at<'r>(&self, request: impl Into<RequestHead<'r>>, moment: Moment) -> Explanation {
        self.rules().explain(request.into(), moment, None)
    }

    fn explain_now(&self, head: RequestHead<'_>, available: Option<&dyn Fn(u32) -> bool>) -> Explanation {
        let rules = self.rules();
        let moment = self.moment(&rules);
        rules.explain(head, moment, available)
    }

    /// Replaces the rules: validates, compiles, then swaps one pointer. A decision under way ends with the
    /// rules it began with. Returns the new rule set, whose lints may be worth a look.
    ///
    /// Compiling takes some microseconds a statement: a text of thousands belongs on a thread that may block. The old
    /// rules' memory is given back by the next `replace` or [`Engine::counters`] that finds no decision held that they
    /// made, and each thread that decided by them to have decided again or ended.
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
        let shared = &*self.shared;
        let compiled = self.compile(rules).inspect_err(|problems| self.refused(problems))?;
        let mut past = shared.past();
        if !still() {
            return Ok(None);
        }
        let last = shared.current.load().clone();
        let next = Arc::new(RuleSet::new(compiled, shared.schema.clone(), last.rules.revision() + 1));
        let running = Arc::new(Running::new(next.clone()));
        // In this order: whoever has a seat at the last rules asks `current` from now on, so that no thread decides by
        // the last ones after another has by the next.
        shared.latest.store(running.id, Ordering::SeqCst);
        shared.current.store(running.clone());
        past.retired.push(last);
        past.settle();
        // Names that are gone are forgotten now and then, so that a stream of new ones cannot fill the memory.
        if past.counts.len() > 2 * next.compiled.program.cells() + FORGET {
            past.forget_all_but(&names(&running.counts().0));
        }
        drop(past);
        trace::accepted(&next);
        Ok(Some(next))
    }

    /// Counts and logs a text that was refused; also one that was tried before there was an engine.
    pub(crate) fn refused(&self, problems: &Diagnostics) {
        self.shared.rejected.fetch_add(1, Ordering::Relaxed);
        trace::rejected(problems);
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

    /// Returns when no swap is half done: every thread that asks for the rules from now on gets those that
    /// [`Engine::rules`] gave before the call, or later ones.
    pub(crate) fn wait_for_swap(&self) {
        // Whoever swaps holds the lock, for as long as that takes.
        drop(self.shared.past());
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
        let mut followed: Vec<u64> = self.shared.current.load().followed().collect();
        add_up(&mut followed, past.followed.iter().copied());
        for retired in &past.retired {
            let (counts, more) = retired.counts();
            counts.into_iter().for_each(&mut add);
            decisions += more;
            add_up(&mut followed, retired.followed());
        }
        past.counts.iter().map(|(key, count)| (key.clone(), *count)).for_each(&mut add);
        let counts = counts
            .into_iter()
            .map(|((kind, statement, state, target, instead_of), count)| Count {
                kind,
                statement,
                target,
                instead_of,
                state,
                count,
            })
            .collect();
        let followed = self.clusters().map(str::to_owned).zip(followed).collect();
        Counters { counts, decisions: decisions + past.decisions, followed }
    }

    /// How many texts [`Engine::replace`] took, and how many it refused. A `Follower` counts as refused also those with
    /// which it could not start.
    pub fn reloads(&self) -> Reloads {
        let rejected = self.shared.rejected.load(Ordering::Relaxed);
        Reloads { accepted: self.rules().revision() - 1, rejected }
    }

    /// For each kind of statements of the service gateway, how many requests reached their cluster although they matched a live
    /// one that [nobody had heeded](Decision::heed). Anything but 0 is a mistake in how the layers are put together: the layer of
    /// that kind is missing, is outside of the [`TrafficSplitLayer`](crate::TrafficSplitLayer), or inside
    /// [`Clusters`](crate::Clusters), which counts this; behind a `deny` it means that **requests pass that are denied**.
    ///
    /// With the feature `tracing` there is an event of the level `ERROR` too, for the first such request, the second, the fourth
    /// and so on; and the `Publisher` has it as `pointsman_unheeded_total`.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use pointsman::schema::{Schema, StatementKind};
    /// use pointsman::{Clusters, Engine, TrafficSplitLayer};
    /// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Deny]);
    /// let engine = Engine::builder().schema(schema).build("deny all: true => 403 default => prod")?;
    /// let prod = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new(())));
    /// // Without a `DenyLayer`:
    /// let service = ServiceBuilder::new()
    ///     .layer(TrafficSplitLayer::new(engine.clone()))
    ///     .service(Clusters::new(&engine, [("prod", prod)])?);
    ///
    /// assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), 200);
    /// assert_eq!(engine.unheeded().next(), Some((StatementKind::Deny, 1)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn unheeded(&self) -> impl Iterator<Item = (StatementKind, u64)> {
        let count = |at: &AtomicU64| at.load(Ordering::Relaxed);
        StatementKind::GATEWAY.into_iter().zip(self.shared.unheeded.iter().map(count))
    }

    /// Looks whether all that a request matched has been heeded, where it reaches its cluster.
    #[inline]
    pub(crate) fn look_for_unheeded(&self, decision: &Decision) {
        let kinds = decision.unheeded();
        if kinds != 0 {
            self.note_unheeded(kinds);
        }
    }

    #[cold]
    fn note_unheeded(&self, kinds: u8) {
        for (kind, count) in StatementKind::GATEWAY.into_iter().zip(&self.shared.unheeded) {
            if kinds & bit(kind) != 0 {
                let requests = count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                // A log has a few lines of it, however many requests there are.
                if requests.is_power_of_two() {
                    trace::unheeded(kind, requests);
                }
            }
        }
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
    fn seat(&self) -> Hold {
        // In one order with the store: whoever counts those who are about to read the rules, and then sees none, knows
        // that nobody reads earlier ones. Costs what any load costs.
        Hold::taken(self.latest.load(Ordering::SeqCst)).unwrap_or_else(|| self.current.load().take_seat())
    }

    fn past(&self) -> std::sync::MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        Hold::forget(self.latest.load(Ordering::Relaxed));
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
                    self.followed.resize(running.rules.schema.clusters.len(), 0);
                    add_up(&mut self.followed, running.followed());
                    for (key, count) in counts {
                        *self.counts.entry(key).or_default() += count;
                    }
                }
                Err(running) => self.retired.push(running),
            }
        }
    }
}

/// Adds to each sum its number.
fn add_up(sums: &mut [u64], numbers: impl Iterator<Item = u64>) {
    sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
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
