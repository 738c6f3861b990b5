//! What is set up once: which cluster has a shadow's service, and the bounds.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::HeaderName;
use http::{Request, Response};
use http_body::Body;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tower_layer::Layer;
use tower_service::Service;

use super::body::MirrorBody;
use super::counts::{Counts, MirrorCounts};
use super::service::MirrorService;
use super::shadow::{Shadow, Slots};
use crate::engine::{Engine, GatewayStatement, StatementKind};
use crate::gateway::kept::Kept;
use crate::middleware::ClustersError;

/// Sends copies of requests to other clusters, by the `mirror` statements that a request matched.
///
/// The service that it wraps gets the request as it came and its answer is the answer; of a copy nobody hears but [the
/// counts](Self::counts). See [the module](super) for what is copied, what is not, and what it costs.
///
/// All clones, and all services that they make, share the counts, the bounds and the copies under way. When the last of
/// them is dropped, the copies under way end.
#[derive(Clone)]
pub struct MirrorLayer {
    pub(super) settings: Arc<Settings>,
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) in_flight: usize,
    pub(super) body_bytes: usize,
    pub(super) body_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) header: HeaderName,
}

/// What the layer and all its services share. No task has it: so dropping it ends them.
pub(super) struct Shared {
    pub(super) engine: Engine,
    /// By cluster; `None` where copies must not go.
    pub(super) shadows: Box<[Option<Arc<dyn Shadow>>]>,
    pub(super) kept: Kept<Counts>,
    pub(super) slots: Slots,
    tasks: Mutex<JoinSet<()>>,
}

/// Something that is done after a time, unless this is dropped before.
#[derive(Debug)]
pub(super) struct Timer(AbortHandle);

// === impl MirrorLayer ===

impl MirrorLayer {
    /// Mirrors to these services, each under the name of its cluster. Not every cluster needs one: a copy for a cluster
    /// without is counted and dropped.
    ///
    /// The services get requests in the form in which the wrapped service gets them, with a body that is whole; what a cluster's own
    /// service does to reach its servers, this one has to do too. Each is cloned once a copy, and its readiness
    /// is waited for by the copy alone.
    ///
    /// # Errors
    ///
    /// When a name is no declared cluster, and when one is given twice; the error names all of them.
    pub fn new<N, S, B>(
        engine: &Engine,
        services: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Self, ClustersError>
    where
        N: AsRef<str>,
        S: Service<Request<MirrorBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Body + Send + 'static,
    {
        let mut error = ClustersError::default();
        let mut shadows: Box<[Option<Arc<dyn Shadow>>]> = engine.clusters().map(|_| None).collect();
        for (name, service) in services {
            let name = name.as_ref();
            let cluster = engine.clusters().position(|cluster| cluster == name);
            match cluster.and_then(|cluster| shadows.get_mut(cluster)) {
                Some(place @ None) => *place = Some(Arc::new(service)),
                Some(Some(_)) => error.duplicate(name),
                None => error.unknown(name, engine.clusters()),
            }
        }
        error.into_result()?;
        let shared = Shared {
            engine: engine.clone(),
            shadows,
            kept: Kept::new(StatementKind::Mirror),
            slots: Slots::default(),
            tasks: Mutex::default(),
        };
        let settings = Settings {
            in_flight: 100,
            body_bytes: 64 << 10,
            body_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            header: HeaderName::from_static("x-pointsman-mirror"),
        };
        Ok(MirrorLayer { settings: Arc::new(settings), shared: Arc::new(shared) })
    }

    /// How many copies there are at most at one time, those among them whose body is not complete. More are counted and dropped.
    /// Default: 100.
    #[must_use]
    pub fn in_flight(mut self, most: usize) -> Self {
        Arc::make_mut(&mut self.settings).in_flight = most;
        self
    }

    /// How large a request's body may be to be copied. A larger one is counted, and its request not copied. Default: 64 KiB.
    #[must_use]
    pub fn body_bytes(mut self, most: usize) -> Self {
        Arc::make_mut(&mut self.settings).body_bytes = most;
        self
    }

    /// How long a request's body may take to be copied, from when the request came to the body's end. A slower one is counted,
    /// and its request not copied, and goes on as it would have: this is for how long a client that sends its bytes one by one
    /// keeps others from being copied. Default: 5 seconds.
    #[must_use]
    pub fn body_timeout(mut self, most: Duration) -> Self {
        Arc::make_mut(&mut self.settings).body_timeout = most;
        self
    }

    /// How long a copy may take, from when it is sent to the end of its answer. Default: 10 seconds.
    #[must_use]
    pub fn timeout(mut self, most: Duration) -> Self {
        Arc::make_mut(&mut self.settings).timeout = most;
        self
    }

    /// The header that marks a copy; its value is the statement's name, written as in
    /// [`TrafficSplitLayer::request_header`](crate::TrafficSplitLayer::request_header). A request that comes with it is
    /// a copy already, and is not copied again. Default: `x-pointsman-mirror`.
    #[must_use]
    pub fn header(mut self, name: HeaderName) -> Self {
        Arc::make_mut(&mut self.settings).header = name;
        self
    }

    /// How many copies there are now.
    pub fn under_way(&self) -> usize {
        self.shared.slots.taken()
    }

    /// What became of the copies, for each `mirror` of the rules that decided last.
    pub fn counts(&self) -> Vec<MirrorCounts> {
        self.shared.counts()
    }
}

impl<S> Layer<S> for MirrorLayer {
    type Service = MirrorService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MirrorService::new(self.clone(), inner)
    }
}

impl fmt::Debug for MirrorLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorLayer")
            .field("settings", &self.settings)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn counts(&self) -> Vec<MirrorCounts> {
        let count = |(statement, counts): (&GatewayStatement, &Arc<Counts>)| counts.read(statement.name());
        self.kept.latest().iter().map(count).collect()
    }

    /// Starts a task that ends with the layer. `None` outside of a runtime.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let runtime = Handle::try_current().ok()?;
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended would be kept until somebody asks for them.
        while tasks.try_join_next().is_some() {}
        Some(tasks.spawn_on(task, &runtime))
    }

    /// Does something after a time. `None` outside of a runtime.
    pub(super) fn after(&self, time: Duration, what: impl FnOnce() + Send + 'static) -> Option<Timer> {
        let task = async move {
            tokio::time::sleep(time).await;
            what();
        };
        self.spawn(task).map(Timer)
    }
}

// === impl Timer ===

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}
