//! What is set up once, and what can be asked.

use std::fmt;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tower_layer::Layer;

use super::Analysis;
use super::clusters::{Clock, Clusters};
use super::service::AnalyseService;
use super::top::{Room, TopKeys, Windows};
use crate::engine::{Action, Engine, GatewayStatement, StatementKind, Top};
use crate::gateway::kept::Kept;

/// Counts the keys of each live `count` that a request matches, and for each cluster, the classes of its status codes and how
/// long its responses took.
///
/// Reads the [`Decision`](crate::Decision) that a [`TrafficSplitLayer`](crate::TrafficSplitLayer) outside it left; a request
/// without one, or with another engine's, passes and is not recorded. All clones, and all services that they make, record to
/// the same place.
///
/// # Keys
///
/// A `count` of `top 20 by ip per 15s` counts the keys of 15 seconds, then begins anew; windows begin when the layer is made,
/// one behind the other. [`top_keys`](Self::top_keys) are those of the last whole window,
/// [`top_keys_so_far`](Self::top_keys_so_far) those of the one that is being filled. A key that is longer than 128 bytes is
/// counted as what it is, and shown clipped.
///
/// The memory is bounded: each thread has 10 counters for each key of the top, from 64 to 4,096, and a key without one takes
/// that of the key that came least (Space-Saving, Metwally et al., 2005). So counts are exact as long as there are no more keys
/// than that. Beyond, [each says](crate::gateway::analyse::KeyCount) by how much it may be too high, which is at most the number of requests
/// divided by the number of counters; and no key is missing that came [more often](crate::gateway::analyse::TopKeys::missed) than that. A thread's counters take
/// up to 250 bytes each, two windows of them: 100 KB for a top of 20. All together have [a bound](Self::bytes) too.
///
/// # Clusters
///
/// [`analysis`](Self::analysis) has for each declared cluster how many responses there were of each class, and how long they
/// took, until their header and until the end of their body. Requests that a `deny`, a `limit` or the cache further in answered
/// are counted apart, as the cluster did not see them; what the cache fetches in the background is not seen here. A thread has 9 KB for each cluster.
///
/// A body counts as ended when it says so, and also when as much has come as it announced, and where none is sent (`HEAD`, 204,
/// 304). One that is dropped before is [cut](crate::gateway::analyse::ClusterAnalysis::cut).
///
/// # Cost
///
/// Three looks at the clock, three additions to memory of the thread's own and a reference count. A request that matches a
/// `count` takes a lock for reading, which is written when rules change, and for each a hash and a lock of the thread's own, which
/// but for it only those take who ask for the keys. Nobody is waited for: what another thread is in the way of is
/// [dropped and counted](crate::gateway::analyse::TopKeys::dropped). Nothing is allocated but when a thread first comes, and for keys that
/// are new.
///
/// # Errors
///
/// None of its own: what the inner service returns is returned, with the body wrapped. Its readiness is the inner service's.
///
/// # Examples
///
/// ```
/// use http::{Request, Response};
/// use pointsman::engine::StatementKind;
/// use pointsman::gateway::AnalyseLayer;
/// use pointsman::{Engine, Schema, TrafficSplitLayer};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let schema = Schema::new().clusters(["gray", "prod"]).gateway([StatementKind::Count]);
/// let engine = Engine::builder().schema(schema).build(
///     "count top_users: true => top 20 by cookie(uid) per 15s
///      default => prod",
/// )?;
/// let analyse = AnalyseLayer::new(engine.clone());
/// let service = ServiceBuilder::new()
///     .layer(TrafficSplitLayer::new(engine))
///     .layer(analyse.clone())
///     .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
///
/// service.oneshot(Request::get("/").header("cookie", "uid=1001").body(())?).await?;
/// let keys = &analyse.top_keys_so_far()[0].keys;
/// assert_eq!((keys[0].key.as_str(), keys[0].count), ("1001", 1));
/// let analysis = analyse.analysis();
/// assert_eq!(analysis.cluster("prod").expect("is declared").responses(), 1);
/// println!("{analysis}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AnalyseLayer {
    pub(super) shared: Arc<Shared>,
}

/// What all clones share.
pub(super) struct Shared {
    pub(super) engine: Engine,
    clock: Clock,
    start: Instant,
    pub(super) seed: RandomState,
    pub(super) kept: Kept<Windows>,
    room: Arc<Room>,
    pub(super) clusters: Clusters,
}

// === impl AnalyseLayer ===

impl AnalyseLayer {
    /// For the decisions of an engine.
    pub fn new(engine: Engine) -> Self {
        AnalyseLayer::with_clock(engine, Instant::now)
    }

    /// As [`new`](Self::new), with the time from somewhere else, as from a runtime whose time is paused in a test:
    /// `|| tokio::time::Instant::now().into_std()`. Time that goes back stands still.
    pub fn with_clock(engine: Engine, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        let clock: Clock = Arc::new(clock);
        let shared = Shared {
            start: clock(),
            clusters: Clusters::new(engine.clusters().map(str::to_owned), clock.clone()),
            clock,
            seed: RandomState::new(),
            kept: Kept::new(StatementKind::Count),
            room: Arc::new(Room::new(256 << 20)),
            engine,
        };
        AnalyseLayer { shared: Arc::new(shared) }
    }

    /// How many bytes the counters of all `count` statements and threads take together; 256 MiB unless it is set, which is 1,700 times
    /// those of a thread for a top of 20, as if all keys were long. Keys for whose thread and statement there is no room left are not counted, which
    /// [is told](TopKeys::dropped). Of statements that go, others have the room.
    #[must_use]
    pub fn bytes(self, most: usize) -> Self {
        self.shared.room.set(most);
        self
    }

    /// How many bytes there is room taken for.
    pub fn bytes_taken(&self) -> usize {
        self.shared.room.taken()
    }

    /// How each cluster does, since the layer was made. Adds up what all threads recorded: some microseconds for each cluster
    /// and thread.
    pub fn analysis(&self) -> Analysis {
        self.shared.clusters.read()
    }

    /// Which keys came most often in the last whole window of each live `count` of the latest rules, in the order of the text.
    /// There are none before a first request has matched one; windows that nobody came in are empty.
    pub fn top_keys(&self) -> Vec<TopKeys> {
        self.read(true)
    }

    /// As [`top_keys`](Self::top_keys), for the window that is being filled.
    pub fn top_keys_so_far(&self) -> Vec<TopKeys> {
        self.read(false)
    }

    fn read(&self, whole: bool) -> Vec<TopKeys> {
        let now = self.shared.since_start((self.shared.clock)());
        let read = |(statement, windows): (&GatewayStatement, &Arc<Windows>)| {
            windows.read(statement.name(), now, whole)
        };
        self.shared.kept.latest().iter().filter(|(statement, _)| statement.is_live()).map(read).collect()
    }
}

impl<S> Layer<S> for AnalyseLayer {
    type Service = AnalyseService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AnalyseService::new(self.clone(), inner)
    }
}

impl fmt::Debug for AnalyseLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnalyseLayer").field("clusters", &self.shared.clusters).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn now(&self) -> Instant {
        (self.clock)()
    }

    pub(super) fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    pub(super) fn windows(&self, statement: &GatewayStatement) -> Windows {
        let top = match statement.action() {
            Action::Top(top) => *top,
            _ => Top { top: 1, per: Duration::from_secs(1) },
        };
        Windows::new(top, self.room.clone())
    }
}
