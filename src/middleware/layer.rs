//! What is set up once: the engine, the headers and their values.

use std::fmt;
use std::sync::Arc;

use http::Extensions;
use http::header::{HeaderName, HeaderValue};
use tower_layer::Layer;

use super::Follow;
use super::chain::header_value;
use super::in_flight::InFlightLayer;
use super::service::TrafficSplit;
use crate::engine::{Decision, Engine};

/// Decides where each request goes, and tags it with the [`Decision`].
///
/// The decision is in the request's extensions, in place of one that is already there. On demand the name of
/// its cluster is also in [a header of the request](Self::request_header) and [of the
/// response](Self::response_header).
///
/// Layers outside it see the request first: put those that rules depend on there (such as authentication that
/// leaves a user in the extensions), and [`CanonicalPathLayer`](super::CanonicalPathLayer) too.
/// What cuts the path, such as axum's `Router::nest`, belongs inside: rules see the path that the layer sees.
///
/// A decision keeps its rules alive, so one held by a request that takes hours keeps them for hours. That is
/// their memory and no more: requests that come later have the new rules.
///
/// With the feature `tracing`, the name of the cluster, that of the statement and the revision are recorded in the fields
/// `cluster`, `rule` and `revision` of the span that is current, as far as it has such fields. The layer that makes the
/// span stands outside, and names them: `info_span!("request", cluster = Empty, rule = Empty, revision = Empty)`.
///
/// # Cost
///
/// One [`Engine::decide`]. A request without a `Decision` gets one boxed into its extensions; nothing else is
/// allocated but what a header map needs to grow. A clone is one reference count.
///
/// # Errors
///
/// None of its own: what the inner service returns is returned. Its readiness is the inner service's.
///
/// # Examples
///
/// ```
/// use http::{Request, Response};
/// use pointsman::{Decision, Engine, TrafficSplitLayer};
/// use std::convert::Infallible;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder().clusters(["gray", "prod"]).build(
///     r#"route app: version(header(x-app-version)) >= "2.0.0" => gray
///        default => prod"#,
/// )?;
/// let service = TrafficSplitLayer::new(engine).layer(service_fn(async |request: Request<()>| {
///     let decision = request.extensions().get::<Decision>().cloned();
///     Ok::<_, Infallible>(Response::new(decision))
/// }));
///
/// let request = Request::get("/").header("x-app-version", "2.1.0").body(())?;
/// let decision = service.oneshot(request).await?.into_body().expect("the layer decides every request");
/// assert_eq!((decision.cluster(), decision.rule()), ("gray", Some("app")));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TrafficSplitLayer {
    tags: Arc<Tags>,
}

/// What the layer and all its services share.
#[derive(Debug, Clone)]
pub(super) struct Tags {
    pub(super) engine: Engine,
    pub(super) request_header: Option<HeaderName>,
    pub(super) response_header: Option<HeaderName>,
    pub(super) follow: Option<Follow>,
    pub(super) digest_header: Option<HeaderName>,
    pub(super) available: Option<Available>,
    /// The names of the clusters, by index. Made once, so that a request costs a reference count.
    names: Box<[HeaderValue]>,
}

/// Says which clusters have an available server.
#[derive(Clone)]
pub(super) struct Available(pub(super) Arc<Ask>);

type Ask = dyn Fn(usize, &mut Extensions) -> bool + Send + Sync;

impl fmt::Debug for Available {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Available")
    }
}

// === impl TrafficSplitLayer ===

impl TrafficSplitLayer {
    /// Decides by `engine`, which can be cloned before, to replace its rules later.
    pub fn new(engine: Engine) -> Self {
        let names = engine.clusters().map(header_value).collect();
        let tags = Tags {
            engine,
            request_header: None,
            response_header: None,
            digest_header: None,
            follow: None,
            available: None,
            names,
        };
        TrafficSplitLayer { tags: Arc::new(tags) }
    }

    /// Sets a request header to the name of the cluster, for whoever the request is sent on to.
    ///
    /// Nobody else can set it: all that a client sent under this name is removed, and before the rules look at
    /// the request, so that they do not see it either. For a header by which testers choose a cluster, write a
    /// rule, and take another name. Whoever sends the request on should know that a client may name any header
    /// in `Connection` and so have it dropped at the next hop: forward no `Connection` header of a client.
    ///
    /// In a header, a name stands as it is as long as it consists of visible ASCII characters other than `%`.
    /// Of any other name, each byte that is none of those is written as `%` and two hexadecimal digits: `prod eu`
    /// becomes `prod%20eu`. So different clusters have different values, and all of them are valid.
    ///
    /// ```
    /// use http::{HeaderName, Request, Response};
    /// use pointsman::{Engine, TrafficSplitLayer};
    /// use std::convert::Infallible;
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = Engine::builder().clusters(["prod"]).build("default => prod")?;
    /// let service = TrafficSplitLayer::new(engine)
    ///     .request_header(HeaderName::from_static("x-cluster"))
    ///     .layer(service_fn(async |request: Request<()>| {
    ///         let values: Vec<_> = request.headers().get_all("x-cluster").iter().cloned().collect();
    ///         Ok::<_, Infallible>(Response::new(values))
    ///     }));
    ///
    /// let spoofed = Request::get("/").header("x-cluster", "internal").body(())?;
    /// assert_eq!(service.oneshot(spoofed).await?.into_body(), ["prod"]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn request_header(mut self, name: HeaderName) -> Self {
        Arc::make_mut(&mut self.tags).request_header = Some(name);
        self
    }

    /// Sets a response header to the name of the cluster, for testers. Replaces what the inner service set
    /// under this name. The value is as in [the request](Self::request_header); there is none on an error.
    #[must_use]
    pub fn response_header(mut self, name: HeaderName) -> Self {
        Arc::make_mut(&mut self.tags).response_header = Some(name);
        self
    }

    /// Sets a response header to the [digest](crate::RuleSet::digest) of the rules that decided, so that nodes with
    /// different rules can be told apart from outside. Replaces what the inner service set under this name; there
    /// is none on an error. The value is made once a rule set, and costs a request a reference count.
    ///
    /// ```
    /// use http::{HeaderName, Request, Response};
    /// use pointsman::{Engine, TrafficSplitLayer};
    /// use std::convert::Infallible;
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = Engine::builder().clusters(["prod"]).build("default => prod")?;
    /// let service = TrafficSplitLayer::new(engine)
    ///     .digest_header(HeaderName::from_static("x-rules"))
    ///     .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
    ///
    /// let response = service.oneshot(Request::new(())).await?;
    /// assert_eq!(response.headers()["x-rules"], "381abc6af20c54daadb1646f75020140");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn digest_header(mut self, name: HeaderName) -> Self {
        Arc::make_mut(&mut self.tags).digest_header = Some(name);
        self
    }

    /// Follows decisions that were made upstream, where they come from a trusted peer; see [`Follow`].
    #[must_use]
    pub fn follow(mut self, follow: Follow) -> Self {
        Arc::make_mut(&mut self.tags).follow = Some(follow);
        self
    }

    /// Asks which clusters have an available server, by their [indices](Decision::cluster_index): a target that has none
    /// gives way to what stands behind its `else`. It is asked on the request's path, for such targets only, and should
    /// neither block nor panic. Decisions that are followed are not changed, but for where their copies go, which is decided here.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use pointsman::{Decision, Engine, TrafficSplitLayer};
    /// use std::convert::Infallible;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => gray else prod")?;
    /// let gray_is_up = Arc::new(AtomicBool::new(true));
    /// let up = gray_is_up.clone();
    /// let service = TrafficSplitLayer::new(engine)
    ///     .available(move |cluster| cluster != 0 || up.load(Ordering::Relaxed))
    ///     .layer(service_fn(async |request: Request<()>| {
    ///         let decision = request.extensions().get::<Decision>().expect("the layer leaves one");
    ///         Ok::<_, Infallible>(Response::new(decision.cluster().to_owned()))
    ///     }));
    ///
    /// assert_eq!(service.clone().oneshot(Request::new(())).await?.into_body(), "gray");
    /// gray_is_up.store(false, Ordering::Relaxed);
    /// assert_eq!(service.oneshot(Request::new(())).await?.into_body(), "prod");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn available(self, available: impl Fn(usize) -> bool + Send + Sync + 'static) -> Self {
        self.available_with(move |cluster, _| available(cluster))
    }

    /// As [`available`](Self::available); what it puts into the extensions goes with the request that is decided for this cluster,
    /// in the place of what is there of the same type, and is dropped when the decision is another. So whoever says yes can keep
    /// something for the request, and give it back when that is dropped: with the feature `health`, `Health::reserve` does, where there
    /// is an example. Asked again for the same cluster and request, it gets what it put there.
    #[must_use]
    pub fn available_with(
        mut self,
        available: impl Fn(usize, &mut Extensions) -> bool + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.tags).available = Some(Available(Arc::new(available)));
        self
    }

    /// The same layer, counting how many requests each cluster has at hand until their responses have ended.
    ///
    /// To be called when everything else is set. See [`InFlight`](super::InFlight) for what counts, and for an example.
    #[must_use]
    pub fn count_in_flight(self) -> InFlightLayer {
        InFlightLayer::new(self.tags)
    }

    /// What decides.
    pub fn engine(&self) -> &Engine {
        &self.tags.engine
    }
}

impl<S> Layer<S> for TrafficSplitLayer {
    type Service = TrafficSplit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TrafficSplit::new(self.tags.clone(), inner)
    }
}

// === impl Tags ===

impl Tags {
    /// What stands in a header for the cluster of a decision of our engine.
    pub(super) fn name(&self, decision: &Decision) -> Option<&HeaderValue> {
        self.names.get(decision.cluster_index())
    }
}
