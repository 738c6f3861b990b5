//! The engine as [tower] layers and services: tag a request with its decision, dispatch to a service per
//! cluster.
//!
//! ```text
//! request ─► CanonicalPathLayer ─► TrafficSplitLayer ─► your service, which reads the `Decision`
//!            (or 400; you choose)   (decides, tags)  └► Clusters, which has a service per cluster
//! ```
//!
//! - [`TrafficSplitLayer`] decides once a request and leaves the [`Decision`](crate::Decision) in its
//!   extensions; on demand also in a request header for upstreams and a response header for testers.
//! - [`Clusters`] hands a request to the service of its cluster, and is complete by construction: an engine
//!   and its services can only be joined when no cluster is without one.
//! - [`InFlightLayer`] is a [`TrafficSplitLayer`] that counts what each cluster has at hand, and can wait until one has
//!   nothing any more.
//! - [`PropagateLayer`] copies the decision into the requests that a service makes, and [`Follow`] lets the service that
//!   gets them follow it: a request that is gray here is gray all the way.
//! - With the feature `isolate`, `IsolateLayer` bounds what one cluster may take, and with `health`, `Health` takes
//!   upstreams of a cluster out that fail.
//! - [`CanonicalPathLayer`] refuses requests whose path could be read in two ways, or leaves them one.
//! - With the feature `axum`, [`Decision`](crate::Decision) is an extractor.
//!
//! None of them adds an error to the service it wraps, boxes a future or spawns a task, and only the timeouts of `isolate`
//! and `health` need a runtime. All work with any body (what refuses makes an empty one), and [`InFlightLayer`] alone wraps it.
//!
//! [tower]: https://docs.rs/tower
//!
//! # Examples
//!
//! ```
//! use http::{HeaderName, Request, Response};
//! use pointsman::{Clusters, Engine, TrafficSplitLayer};
//! use std::convert::Infallible;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::builder()
//!     .clusters(["gray", "prod"])
//!     .build(r#"
//!         route testers: cookie(tester) == "yes" => gray
//!         default => prod
//!     "#)?;
//!
//! let clusters = Clusters::chain(&engine)
//!     .service("gray", service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("the new one"))))
//!     .service("prod", service_fn(async |_: Request<()>| Ok(Response::new("the good old one"))))
//!     .build()?;
//! let service = TrafficSplitLayer::new(engine)
//!     .response_header(HeaderName::from_static("x-cluster"))
//!     .layer(clusters);
//!
//! let response = service.oneshot(Request::get("/").header("cookie", "tester=yes").body(())?).await?;
//! assert_eq!(response.headers()["x-cluster"], "gray");
//! assert_eq!(response.into_body(), "the new one");
//! # Ok(())
//! # }
//! ```

mod canonical;
mod chain;
mod clusters;
#[cfg(feature = "axum")]
mod extract;
mod future;
#[cfg(feature = "health")]
mod health;
mod in_flight;
#[cfg(feature = "isolate")]
mod isolate;
mod layer;
mod service;

#[cfg(any(feature = "deny", feature = "limit", feature = "mirror"))]
pub(crate) use chain::header_value;

pub use canonical::{CanonicalPath, CanonicalPathFuture, CanonicalPathLayer};
pub use chain::{Carrier, CarrierError, Follow, Propagate, PropagateLayer};
pub use clusters::{
    CallFuture, Chain, ChainStart, Clusters, ClustersError, Dispatch, Each, Only, Or, OrFuture,
};
#[cfg(feature = "axum")]
pub use extract::NoDecision;
pub use future::ResponseFuture;
#[cfg(feature = "health")]
pub use health::{
    Attempt, ClusterHealth, Health, HealthSettings, HealthStatus, UploadBody, UploadLayer, UploadService,
    UpstreamHealth, UpstreamState, Upstreams, UpstreamsError, UpstreamsErrorKind, UpstreamsFuture, Watched,
};
pub use in_flight::{
    Drained, InFlight, InFlightBody, InFlightFuture, InFlightLayer, InFlightSplit, UnknownCluster,
};
#[cfg(feature = "isolate")]
pub use isolate::{Isolate, IsolateFuture, IsolateLayer, Refused};
pub use layer::TrafficSplitLayer;
pub use service::TrafficSplit;
