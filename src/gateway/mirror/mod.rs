//! Copies of requests to another cluster, whose answers nobody gets: `mirror NAME: CONDITION => CLUSTER with unsafe`.
//!
//! A new version meets real requests before it answers any. The request goes on as if there were no mirror; beside it, a task
//! of its own sends the copy to the service that [`MirrorLayer::new`] was given for the cluster, reads the answer and drops
//! it. What came of it is counted: statuses by class, latency, and whether the class was that of the real answer.
//!
//! ```
//! use http::{Request, Response, StatusCode};
//! use pointsman::engine::StatementKind;
//! use pointsman::gateway::MirrorLayer;
//! use pointsman::gateway::mirror::{MirrorBody, MirrorTee};
//! use pointsman::{Clusters, Engine, Schema, TrafficSplitLayer};
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = Schema::new().clusters(["prod", "next"]).gateway([StatementKind::Mirror]);
//! let engine = Engine::builder().schema(schema).build(
//!     r#"mirror next: path under "/search" && percent(header(x-user)) < 50 => next
//!        default => prod"#,
//! )?;
//!
//! let prod = service_fn(async |_: Request<MirrorTee<String>>| Ok::<_, Infallible>(Response::new("well".to_owned())));
//! let next = service_fn(async |copy: Request<MirrorBody>| {
//!     assert_eq!(copy.headers()["x-pointsman-mirror"], "next");
//!     let mut broken = Response::new("not yet".to_owned());
//!     *broken.status_mut() = StatusCode::NOT_IMPLEMENTED;
//!     Ok::<_, Infallible>(broken)
//! });
//! let mirror = MirrorLayer::new(&engine, [("next", next)])?;
//! let service = ServiceBuilder::new()
//!     .layer(TrafficSplitLayer::new(engine.clone()))
//!     .layer(mirror.clone())
//!     .service(Clusters::chain(&engine).service("prod", prod.clone()).service("next", prod).build()?);
//!
//! for user in 0..100 {
//!     let request = Request::get("/search").header("x-user", user.to_string()).body(String::new())?;
//!     assert_eq!(service.clone().oneshot(request).await?.into_body(), "well");
//! }
//! while mirror.counts()[0].answered[4] < mirror.counts()[0].sent {
//!     tokio::task::yield_now().await;
//! }
//! let counts = &mirror.counts()[0];
//! assert!(counts.sent > 30 && counts.sent < 70 && counts.different == counts.sent);
//! # Ok(())
//! # }
//! ```
//!
//! Which requests are copied is a matter of the condition, and so is a sample: `percent(ip, "next") < 5` holds for the same
//! clients each time, and for all of those also when it says `< 10`.
//!
//! # What is copied
//!
//! Method, target, version, header fields and body; not what belongs to a connection (RFC 9110, 7.6.1), not `Expect`, no trailers, and
//! no extension but the [peer's address](crate::schema::PeerAddr). `Content-Length` is that of the body. A header marks the
//! copy, and a request that has it is not copied again, so that a shadow may be behind this gateway itself. A client that sets it keeps
//! its own requests from being copied, and nothing else.
//!
//! Only requests with safe methods (`GET`, `HEAD`, `OPTIONS`, `TRACE`) are copied, unless the statement says `with unsafe`; upgrades and
//! `CONNECT` never are. One that names another method in `X-HTTP-Method-Override`, `X-HTTP-Method` or `X-Method-Override`
//! counts as unsafe.
//!
//! # What it cannot do to the request
//!
//! The body is copied while the inner service reads it, and the copy is sent when the body has ended. So nothing waits for
//! a shadow, and what it does happens in a task of its own: it may fail, hang or panic. How many copies there are,
//! how large a body may be, how long it may take to come and how long a copy takes is bounded; with the defaults the bodies hold at
//! most 6.4 MB. What does not fit, and a body that does not end, is counted and not copied.
//!
//! # Cost
//!
//! A request that no live `mirror` matches costs a look at its decision, and no allocation. One that is copied costs a copy of its head and body
//! for each mirror, a task and its boxes; one with a body a further task, which watches the time.

mod body;
mod counts;
mod layer;
mod pending;
mod service;
mod shadow;

pub use body::{MirrorBody, MirrorTee};
pub use counts::{MirrorCounts, MirrorDropped};
pub use layer::MirrorLayer;
pub use service::{MirrorFuture, MirrorService};
