//! One service per cluster, and each request to the service of its cluster.
//!
//! Joining an engine and its services ([`join`](self::join)) is where mistakes are found; after that, every
//! cluster index has a service, by the shape of the types ([`dispatch`](self::dispatch)).

mod call;
mod dispatch;
mod error;
mod join;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use tower_service::Service;

pub use call::CallFuture;
pub use dispatch::{Dispatch, Each, Only, Or, OrFuture};
pub use error::ClustersError;
pub use join::{Chain, ChainStart};

use super::service::leave;
use crate::engine::Engine;

/// One service per cluster; each request goes to the service of its cluster.
///
/// There are two ways to make it: [`Clusters::new`] from any number of services of one type, and
/// [`Clusters::chain`] from services of different types. All of them take the same requests and have the same
/// responses and errors; where yours do not, `map_response` and `map_err` of tower's `ServiceExt` help.
///
/// # Which cluster
///
/// That of the [`Decision`](crate::Decision) in the request's extensions, if this engine made it. Without one, as without a
/// [`TrafficSplitLayer`](super::TrafficSplitLayer), or with another engine's, `Clusters` decides, and leaves
/// the decision in the extensions.
///
/// Statements of the service gateway are to be heeded before a request comes here. A live one that was not, as its layer is
/// missing or stands at the wrong place, is [counted](Engine::unheeded); the request passes.
///
/// # Every cluster has a service
///
/// The engine declares the clusters, and all of them need a service here, or there is no `Clusters`. Rules can
/// only name declared clusters: others are diagnostics of [`Engine::replace`], and the old rules go on. So a
/// cluster without a service is found when services and engine are joined or when rules are replaced, and no
/// request is ever without a service. Services are for declared clusters; one that the rules make of others
/// (`cluster prod = …`) has none.
///
/// # Readiness
///
/// Always ready: nobody knows which cluster the next request is for, and a slow one must not delay the
/// others. Once a request has its cluster, that cluster's service is cloned, and *that clone* is polled for
/// readiness and then called, in the response future.
///
/// So backpressure of a cluster does not reach the server: requests for it wait in their futures, each
/// holding its memory. Where a cluster can be slower than its requests come in, bound it for itself,
/// inside `Clusters`: `IsolateLayer`, with the feature `isolate`, is tower's `LoadShedLayer` over
/// `ConcurrencyLimitLayer` over `TimeoutLayer`, with responses in the place of their errors. A limit on everything
/// belongs outside.
///
/// As each request has a clone, a service must keep what counts in shared state, as tower's limits, `Buffer`
/// and all clients do.
///
/// # Cost
///
/// Comparing two pointers, one clone of the chosen service, and no allocation beyond that of the clone. From
/// one type, the service is found by index; in a chain, after one comparison for each service in it. A clone
/// of `Clusters` costs two reference counts, however many services there are; for that they are shared, so it
/// is `Send` if they are `Send + Sync` (tower's `BoxCloneSyncService` is, `BoxCloneService` is not).
///
/// # Errors
///
/// Those of the services, from their readiness or their response, and no other.
///
/// # Examples
///
/// As the fallback of an axum router, with a router per cluster:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use pointsman::{Clusters, Engine, TrafficSplitLayer};
///
/// let engine = Engine::builder()
///     .clusters(["gray", "prod"])
///     .build("route some: percent(cookie(uid)) < 5 => gray\ndefault => prod")?;
/// let clusters = Clusters::new(&engine, [
///     ("prod", Router::<()>::new().route("/", get("the good old one"))),
///     ("gray", Router::new().route("/", get("the new one"))),
/// ])?;
/// let app: Router = Router::new()
///     .route("/health", get("ok"))
///     .fallback_service(clusters)
///     .layer(TrafficSplitLayer::new(engine));
/// # let _ = app;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What is missing is said at once:
///
/// ```
/// use http::{Request, Response};
/// use pointsman::{Clusters, Engine};
/// use std::convert::Infallible;
/// use tower::service_fn;
///
/// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => prod")?;
/// let service = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
///
/// let error = Clusters::chain(&engine).service("prdo", service).build().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "the clusters `gray`, `prod` have no service; \
///      there is no cluster `prdo`, did you mean `prod`?",
/// );
/// # Ok::<(), pointsman::BuildError>(())
/// ```
pub struct Clusters<D> {
    engine: Engine,
    services: Arc<D>,
}

// === impl Clusters ===

impl<D> Clusters<D> {
    fn join(engine: Engine, services: D) -> Self {
        Clusters { engine, services: Arc::new(services) }
    }

    /// Whose clusters these are.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl<D> Clone for Clusters<D> {
    fn clone(&self) -> Self {
        Clusters { engine: self.engine.clone(), services: self.services.clone() }
    }
}

impl<D> fmt::Debug for Clusters<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.engine.clusters()).finish()
    }
}

impl<D, B> Service<Request<B>> for Clusters<D>
where
    D: Dispatch<Request<B>>,
{
    type Response = D::Response;
    type Error = D::Error;
    type Future = D::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let made = request.extensions().get().filter(|decision| self.engine.made(decision));
        let cluster = match made {
            Some(decision) => {
                self.engine.look_for_unheeded(decision);
                decision.cluster_index()
            }
            None => {
                let decision = self.engine.decide(&request);
                self.engine.look_for_unheeded(&decision);
                let cluster = decision.cluster_index();
                leave(decision, request.extensions_mut());
                cluster
            }
        };
        self.services.dispatch(cluster, request)
    }
}
