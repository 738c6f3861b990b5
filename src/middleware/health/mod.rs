//! Passive health: which upstreams of a cluster fail is seen from their responses, and those that do get no requests for a
//! while.
//!
//! [`accrual`](self::accrual) is one upstream and what changes its state, [`group`](self::group) those of a cluster and
//! whose turn it is, [`reserved`](self::reserved) keeps a probe for a request on its way, [`service`](self::service) brings requests to them, [`settings`](self::settings) say what is too
//! many, [`status`](self::status) is for the operator. [`watched`](self::watched) is for applications that choose among the
//! upstreams themselves. [`clock`](self::clock) alone knows tokio.

mod accrual;
mod clock;
mod error;
mod group;
mod reserved;
mod service;
mod settings;
mod status;
mod trace;
mod upload;
mod watched;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use http::Extensions;

pub use error::{UpstreamsError, UpstreamsErrorKind};
pub use service::{Upstreams, UpstreamsFuture};
pub use settings::HealthSettings;
pub use status::{ClusterHealth, HealthStatus, UpstreamHealth, UpstreamState};
pub use upload::{UploadBody, UploadLayer, UploadService};
pub use watched::{Attempt, Watched};

use crate::engine::Engine;
use clock::Clock;
use group::Group;
use reserved::Reserved;

/// Takes upstreams out that fail, and brings them back when a probe says that they work again. A clone is a pointer to the
/// same state.
///
/// # What is a failure
///
/// An error of the upstream's service, a response of [such a status](HealthSettings::failure_status) (`502`, `503`, `504`),
/// and no response [in time](HealthSettings::timeout). It is looked at until the head of the response; a body that breaks
/// off is not seen. A request whose future is dropped before that, as when the client goes away, says nothing: neither does one that
/// [`IsolateLayer`](super::IsolateLayer) around an upstream has shed.
///
/// **What a client does with its upload counts too**, unless an [`UploadLayer`] stands around the upstreams: a body that breaks off
/// is an error of the request to the upstream, and one that does not go on runs into the timeout. Put the layer there wherever
/// clients are strangers: five such uploads take a healthy upstream out.
///
/// So the timeout has to be the one of [the settings](HealthSettings::timeout). Another one around the whole, that is
/// shorter, drops the future, and an upstream that hangs is never seen to fail.
///
/// # Out and back
///
/// | state | it is left when |
/// |---|---|
/// | healthy | there were [so many failures in a row](HealthSettings::consecutive_failures), or [such a share](HealthSettings::failure_rate): it is ejected |
/// | ejected | [its time](HealthSettings::ejection_time) is over and a request comes, or is [decided](Self::reserve): that one alone is the probe |
/// | probing | the probe ends. A success: healthy. A failure: ejected for twice as long. Abandoned: ejected for the time of the first |
///
/// No task runs and no request is made up: a probe is a request of a client, and is due until one comes. What began before an upstream was taken
/// out and ends later changes nothing.
///
/// # Within a cluster, and never between clusters
///
/// Requests of a cluster are dealt in turn to those of its upstreams that are left. When none is, the cluster answers `503`;
/// it does not send them to another cluster, as that would change the split that the rules say. Whether a cluster
/// can take a request is [asked](Self::reserve) when a request is decided.
///
/// With the feature `tracing` there is an event when an upstream is taken out, stays out and comes back.
///
/// # Examples
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use pointsman::middleware::{Health, HealthSettings};
/// use pointsman::{Clusters, Engine};
/// use std::{io, time::Duration};
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => gray")?;
/// let health = Health::new(&engine, HealthSettings::new().consecutive_failures(3).jitter(0.0));
///
/// // Usually clients of servers. The second one is down.
/// let upstream = |works: bool| service_fn(move |_: Request<()>| async move {
///     if works { Ok(Response::new(())) } else { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) }
/// });
/// let gray = health.upstreams("gray", [("10.0.0.1:80", upstream(true)), ("10.0.0.2:80", upstream(false))])?;
/// let prod = health.upstreams("prod", [("10.0.1.1:80", upstream(false))])?;
/// let clusters = Clusters::new(&engine, [("gray", gray), ("prod", prod.clone())])?;
///
/// let mut failed = 0;
/// for _ in 0..100 {
///     failed += u32::from(clusters.clone().oneshot(Request::new(())).await.is_err());
/// }
/// assert_eq!(failed, 3);
/// assert!(health.status().to_string().contains("10.0.0.2:80: ejected, due a probe in 1.0 s"));
///
/// // A cluster without any: an answer at once, and the decision can know before.
/// for _ in 0..3 {
///     assert!(prod.clone().oneshot(Request::new(())).await.is_err());
/// }
/// assert!(health.is_available(0) && !health.is_available(1));
/// let response = prod.clone().oneshot(Request::new(())).await?;
/// assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
/// assert_eq!(response.headers()["retry-after"], "1");
///
/// tokio::time::advance(Duration::from_secs(1)).await;
/// assert!(health.is_available(1), "a probe is due");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    settings: HealthSettings,
    clock: Clock,
    /// By cluster.
    groups: Box<[OnceLock<Arc<Group>>]>,
}

// === impl Health ===

impl Health {
    /// Looks after the clusters of an engine, those that are given upstreams.
    pub fn new(engine: &Engine, settings: HealthSettings) -> Self {
        let groups = engine.clusters().map(|_| OnceLock::new()).collect();
        let shared = Shared { engine: engine.clone(), settings, clock: Clock::new(), groups };
        Health { shared: Arc::new(shared) }
    }

    /// Makes one service of the upstreams of a cluster, each with its name in the status and in metrics. A cluster is given
    /// its upstreams once; for each start of a server they are the same.
    ///
    /// # Errors
    ///
    /// When the application declared no such cluster, when it has upstreams already, when there is none, and when two have
    /// the same name.
    pub fn upstreams<N: AsRef<str>, S>(
        &self,
        cluster: &str,
        services: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Upstreams<S>, UpstreamsError> {
        self.upstreams_with(self.shared.settings.clone(), cluster, services)
    }

    /// As [`Health::upstreams`], with settings of the cluster's own.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn upstreams_with<N: AsRef<str>, S>(
        &self,
        settings: HealthSettings,
        cluster: &str,
        services: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Upstreams<S>, UpstreamsError> {
        let (names, services): (Vec<N>, Vec<S>) = services.into_iter().unzip();
        Ok(Upstreams::new(self.group(settings, cluster, &names)?, services.into()))
    }

    /// Looks after upstreams of a cluster among which the application chooses itself, for each of its requests; see
    /// [`Watched`]. Nothing is timed here, so of [the timeout](HealthSettings::timeout) nothing is heeded.
    ///
    /// # Errors
    ///
    /// As [`Health::upstreams`].
    pub fn watch<N: AsRef<str>>(
        &self,
        cluster: &str,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Watched, UpstreamsError> {
        self.watch_with(self.shared.settings.clone(), cluster, names)
    }

    /// As [`Health::watch`], with settings of the cluster's own.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn watch_with<N: AsRef<str>>(
        &self,
        settings: HealthSettings,
        cluster: &str,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Watched, UpstreamsError> {
        let names: Vec<N> = names.into_iter().collect();
        Ok(Watched::new(self.group(settings, cluster, &names)?))
    }

    fn group<N: AsRef<str>>(
        &self,
        settings: HealthSettings,
        cluster: &str,
        names: &[N],
    ) -> Result<Arc<Group>, UpstreamsError> {
        let engine = &self.shared.engine;
        let at = engine.clusters().position(|known| known == cluster);
        let Some(place) = at.and_then(|at| self.shared.groups.get(at)) else {
            return Err(UpstreamsError::unknown(cluster, engine.clusters()));
        };
        if names.is_empty() {
            return Err(UpstreamsError::empty(cluster));
        }
        let mut known = HashSet::new();
        if let Some(name) = names.iter().map(AsRef::as_ref).find(|name| !known.insert(*name)) {
            return Err(UpstreamsError::duplicate(cluster, name));
        }
        let names = names.iter().map(|name| name.as_ref().into());
        let group = Arc::new(Group::new(cluster, names, settings, self.shared.clock));
        place.set(group.clone()).map_err(|_| UpstreamsError::twice(cluster))?;
        Ok(group)
    }

    /// Whether a cluster takes requests, by its [index](crate::Decision::cluster_index): one of its upstreams is healthy, or due a
    /// probe. A cluster that has no upstreams here is said to.
    ///
    /// Made to be asked for each decision: one atomic number as long as not all are out (1 ns), else one for each upstream
    /// and the time (37 ns for four). It takes no lock and changes nothing. So a request that was decided for a cluster and never sent there, as it
    /// was denied or answered by a cache, takes no probe away from another. The price is that of those that were decided while
    /// the only probe was due and none had taken it, all but one find it taken, and are answered with `503`, whatever stands behind their
    /// `else`. [`Health::reserve`] has not that price.
    #[inline]
    pub fn is_available(&self, cluster: usize) -> bool {
        self.shared.groups.get(cluster).and_then(OnceLock::get).is_none_or(|group| group.is_available())
    }

    /// As [`Health::is_available`], and keeps the probe that is due for who asks: of many requests that are decided at one time, one
    /// is told that the cluster takes it, and all others take what stands behind their `else`. For
    /// [`TrafficSplitLayer::available_with`](crate::TrafficSplitLayer::available_with), which puts the extensions that it is kept
    /// in into the request; there [`Upstreams`] and [`Watched::begin_reserved`] find it.
    ///
    /// The probe is kept for as long as the request waits between being decided and its cluster, such as for another that
    /// fetches the same for a cache: a layer there that reads whole bodies should bound the time. When the request is dropped
    /// without having been sent, as it was denied or answered by a cache, the probe is due again at once. A request for the cluster that has no `else` is decided without asking; while the probe is kept for another,
    /// it is answered with `503`.
    ///
    /// Costs what [`Health::is_available`] costs, and allocates for a request that has the probe.
    ///
    /// ```
    /// use http::{Request, Response, StatusCode};
    /// use pointsman::middleware::{Health, HealthSettings};
    /// use pointsman::{Clusters, Engine, TrafficSplitLayer};
    /// use std::convert::Infallible;
    /// use std::time::Duration;
    /// use tower::{Layer, Service, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => gray else prod")?;
    /// let health = Health::new(&engine, HealthSettings::new().consecutive_failures(1).jitter(0.0));
    /// let answers = |status| service_fn(move |_: Request<()>| async move {
    ///     let mut response = Response::new(());
    ///     *response.status_mut() = status;
    ///     Ok::<_, Infallible>(response)
    /// });
    /// let gray = health.upstreams("gray", [("10.0.0.1:80", answers(StatusCode::BAD_GATEWAY))])?;
    /// let prod = health.upstreams("prod", [("10.0.1.1:80", answers(StatusCode::OK))])?;
    /// let clusters = Clusters::new(&engine, [("gray", gray), ("prod", prod)])?;
    /// let asked = health.clone();
    /// let split = TrafficSplitLayer::new(engine)
    ///     .available_with(move |cluster, extensions| asked.reserve(cluster, extensions));
    /// let mut service = split.layer(clusters);
    ///
    /// assert_eq!(service.call(Request::new(())).await?.status(), StatusCode::BAD_GATEWAY);
    /// assert_eq!(service.call(Request::new(())).await?.status(), StatusCode::OK, "gray is out");
    ///
    /// // A probe is due, and one of two has it.
    /// tokio::time::advance(Duration::from_secs(1)).await;
    /// let (one, other) = (service.call(Request::new(())), service.call(Request::new(())));
    /// assert_eq!((one.await?.status(), other.await?.status()), (StatusCode::BAD_GATEWAY, StatusCode::OK));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn reserve(&self, cluster: usize, extensions: &mut Extensions) -> bool {
        let group = self.shared.groups.get(cluster).and_then(OnceLock::get);
        group.is_none_or(|group| group.some_healthy() || Reserved::keep(group, extensions))
    }

    /// How all upstreams do, for a status page.
    pub fn status(&self) -> HealthStatus {
        let groups = self.shared.engine.clusters().zip(&self.shared.groups);
        let clusters = groups.filter_map(|(cluster, group)| Some(ClusterHealth::of(cluster, group.get()?)));
        HealthStatus { clusters: clusters.collect() }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("settings", &self.shared.settings)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
