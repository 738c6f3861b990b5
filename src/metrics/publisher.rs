//! From counts to metrics.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::sheet::Sheet;
use crate::engine::{Count, Engine, StatementKind};
use crate::middleware::{Follow, InFlight};

const DECISIONS: &str = "pointsman_decisions_total";
const CHOSEN: &str = "pointsman_chosen_total";
const NO_KEY: &str = "pointsman_no_key_total";
const FELL_BACK: &str = "pointsman_fallbacks_total";
const FOLLOWED: &str = "pointsman_followed_total";
const REFUSED: &str = "pointsman_follow_refused_total";
const RELOADS: &str = "pointsman_reloads_total";
const UNHEEDED: &str = "pointsman_unheeded_total";
const REVISION: &str = "pointsman_rules_revision";
const IN_FLIGHT: &str = "pointsman_in_flight";
const LEFT_OUT: &str = "pointsman_series_left_out";

/// Sets metrics to what an engine has counted.
///
/// They go to the recorder that is installed when [`publish`](Self::publish) is called. Two engines on one recorder overwrite
/// each other's: [each has one of its own](crate::docs::releasing#what-to-alarm-on), with a label.
///
/// # Examples
///
/// ```
/// use metrics_exporter_prometheus::PrometheusBuilder;
/// use pointsman::Engine;
/// use pointsman::metrics::Publisher;
///
/// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => prod")?;
/// let publisher = Publisher::new(engine.clone());
/// engine.decide(&http::Request::new(()));
///
/// // Once, for the whole program: `PrometheusBuilder::new().install_recorder()`.
/// let recorder = PrometheusBuilder::new().build_recorder();
/// metrics::with_local_recorder(&recorder, || {
///     // At each scrape:
///     publisher.publish();
///     let page = recorder.handle().render();
///     assert!(page.contains(r#"pointsman_chosen_total{kind="default",statement="default",target="prod",state="live"} 1"#));
/// });
/// # Ok::<(), pointsman::BuildError>(())
/// ```
pub struct Publisher {
    engine: Engine,
    in_flight: Vec<InFlight>,
    follow: Vec<Follow>,
    most: usize,
    /// What is published besides.
    more: Vec<More>,
    shown: Mutex<Shown>,
}

type More = Box<dyn Fn(&mut Sheet) + Send + Sync>;

/// The series of statements that a recorder knows: it may keep them for good.
#[derive(Default)]
struct Shown {
    statements: HashSet<Series>,
    layers: Sheet,
}

/// What tells a count from others.
type Series = (StatementKind, String, Option<String>, Option<String>, &'static str);

// === impl Publisher ===

impl Publisher {
    /// Publishes what this engine counts.
    pub fn new(engine: Engine) -> Self {
        let shown = Mutex::default();
        Publisher { engine, in_flight: Vec::new(), follow: Vec::new(), most: 10_000, more: Vec::new(), shown }
    }

    /// Publishes what is in flight as well. Of several, each cluster's are added up.
    #[must_use]
    pub fn in_flight(mut self, in_flight: InFlight) -> Self {
        self.in_flight.push(in_flight);
        self
    }

    /// Publishes what was not followed as well. Of several, they are added up.
    #[must_use]
    pub fn follow(mut self, follow: Follow) -> Self {
        self.follow.push(follow);
        self
    }

    /// How many series of statements there may ever be, over all revisions of the rules, those of the gateway's layers
    /// among them. Default: 10,000. The default and the logical clusters come before the routes, and the layers come last.
    /// What has no room is not shown and is counted in `pointsman_series_left_out`; it is part of
    /// `pointsman_decisions_total` all the same.
    #[must_use]
    pub fn most(mut self, series: usize) -> Self {
        self.most = series;
        self
    }

    #[cfg(any(feature = "source", feature = "isolate", feature = "gateway"))]
    #[allow(dead_code, reason = "what the layers have in common has no metrics")]
    pub(super) fn with(mut self, more: impl Fn(&mut Sheet) + Send + Sync + 'static) -> Self {
        self.more.push(Box::new(more));
        self
    }

    /// Tells the recorder what the metrics mean. To be called once, when one is installed.
    pub fn describe(&self) {
        describe_counter!(DECISIONS, Unit::Count, "Decisions by the rules");
        describe_counter!(CHOSEN, Unit::Count, "How often a statement chose a target");
        describe_counter!(NO_KEY, Unit::Count, "How often a request had no key to be split by");
        describe_counter!(FELL_BACK, Unit::Count, "How often a target gave way, having no available server");
        describe_counter!(FOLLOWED, Unit::Count, "Decisions that were made upstream and followed");
        describe_counter!(REFUSED, Unit::Count, "Decisions of others that were not followed");
        describe_counter!(RELOADS, Unit::Count, "New rule texts, by what became of them");
        describe_counter!(
            UNHEEDED,
            Unit::Count,
            "Requests that matched a live statement whose layer is not there"
        );
        describe_gauge!(REVISION, Unit::Count, "The revision of the rules that run");
        describe_gauge!(IN_FLIGHT, Unit::Count, "Requests that a cluster has at hand");
        #[cfg(feature = "analyse")]
        super::analyse::describe();
        #[cfg(feature = "cache")]
        super::cache::describe();
        #[cfg(feature = "capture")]
        super::capture::describe();
        #[cfg(feature = "deny")]
        super::deny::describe();
        #[cfg(feature = "isolate")]
        super::isolate::describe();
        #[cfg(feature = "limit")]
        super::limit::describe();
        #[cfg(feature = "mirror")]
        super::mirror::describe();
        #[cfg(feature = "source")]
        super::source::describe();
        #[cfg(feature = "health")]
        super::health::describe();
        describe_gauge!(LEFT_OUT, Unit::Count, "Counts that are not shown, as there are too many");
    }

    /// Sets all metrics. Takes the time of [`Engine::counters`] and some hundred nanoseconds for each series; to be called
    /// at each scrape, or on a timer.
    ///
    /// Counters are set to absolute values, so two publishers of one engine do no harm.
    pub fn publish(&self) {
        let counters = self.engine.counters();
        counter!(DECISIONS).absolute(counters.decisions);
        for (cluster, count) in &counters.followed {
            counter!(FOLLOWED, "cluster" => cluster.clone()).absolute(*count);
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = self.publish_statements(&mut shown, &counters.counts);
        gauge!(LEFT_OUT).set(left_out.saturating_add(self.publish_layers(&mut shown)));
        drop(shown);
        let reloads = self.engine.reloads();
        counter!(RELOADS, "outcome" => "accepted").absolute(reloads.accepted);
        counter!(RELOADS, "outcome" => "rejected").absolute(reloads.rejected);
        for (kind, count) in self.engine.unheeded() {
            if self.engine.schema().gateway.contains(&kind) {
                counter!(UNHEEDED, "kind" => kind.word()).absolute(count);
            }
        }
        gauge!(REVISION).set(self.engine.rules().revision() as f64);
        self.publish_in_flight();
        if !self.follow.is_empty() {
            let sum = |count: fn(&Follow) -> u64| self.follow.iter().map(count).sum();
            counter!(REFUSED, "reason" => "untrusted").absolute(sum(Follow::untrusted));
            counter!(REFUSED, "reason" => "unusable").absolute(sum(Follow::unusable));
        }
    }

    /// How many had no room.
    fn publish_statements(&self, shown: &mut Shown, counts: &[Count]) -> u32 {
        let room = self.most.saturating_sub(shown.layers.statements());
        let shown = &mut shown.statements;
        let mut left_out: u32 = 0;
        let (routes, others): (Vec<_>, Vec<_>) =
            counts.iter().partition(|count| count.kind == StatementKind::Route);
        for count in others.into_iter().chain(routes) {
            let Count { kind, statement, target, instead_of, state, count, .. } = count;
            let series = (*kind, statement.clone(), target.clone(), instead_of.clone(), state.as_str());
            if !shown.contains(&series) {
                if shown.len() >= room {
                    left_out = left_out.saturating_add(1);
                    continue;
                }
                shown.insert(series);
            }
            let (kind, statement, state) = (kind.word(), statement.clone(), state.as_str());
            let counter = match (target.clone(), instead_of.clone()) {
                (Some(target), Some(other)) => counter!(
                    FELL_BACK,
                    "kind" => kind, "statement" => statement, "target" => target, "instead_of" => other,
                    "state" => state
                ),
                (Some(target), None) => counter!(
                    CHOSEN,
                    "kind" => kind, "statement" => statement, "target" => target, "state" => state
                ),
                (None, _) => counter!(NO_KEY, "kind" => kind, "statement" => statement, "state" => state),
            };
            counter.absolute(*count);
        }
        left_out
    }

    /// How many had no room.
    fn publish_layers(&self, shown: &mut Shown) -> u32 {
        let Shown { statements, layers } = shown;
        layers.begin(self.most.saturating_sub(statements.len()));
        for (source, more) in self.more.iter().enumerate() {
            layers.source = source;
            more(layers);
        }
        layers.publish()
    }

    fn publish_in_flight(&self) {
        let mut sums: Vec<(&str, u64)> = Vec::new();
        for (cluster, count) in self.in_flight.iter().flat_map(InFlight::counts) {
            match sums.iter_mut().find(|(known, _)| *known == cluster) {
                Some((_, sum)) => *sum += count,
                None => sums.push((cluster, count)),
            }
        }
        for (cluster, sum) in sums {
            gauge!(IN_FLIGHT, "cluster" => cluster.to_owned()).set(sum as f64);
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("engine", &self.engine)
            .field("in_flight", &self.in_flight)
            .field("follow", &self.follow)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}
