//! The service gateway: what is checked, answered, kept and counted before a request goes to its cluster.
//!
//! Each kind of statement has a room of its own and a feature of that name, with a tower layer that reads the
//! [`Decision`](crate::Decision) of a request and does what the statements say that it
//! [matched](crate::Decision::matches). They stand inside a [`TrafficSplitLayer`](crate::TrafficSplitLayer), which decides, and
//! outside [`Clusters`](crate::Clusters), in this order:
//!
//! ```text
//! CanonicalPathLayer ─► TrafficSplitLayer ─► analyse ─► capture ─► deny ─► limit ─► cache ─► mirror ─► Clusters
//!   one view of paths        decides       `count`    `capture`  `deny`  `limit`  `cache`  `mirror`   a service each
//! ```
//!
//! The order of the layers is that in which things happen, so what `capture` and `analyse` see includes the answers of `deny` and
//! `limit`, and what is answered from a cache is limited and not mirrored. Which kinds an application serves it
//! [says](crate::Schema::gateway), so that no text has a statement of another kind. That there is a layer for each of these is the
//! application's promise; [`Clusters`](crate::Clusters) counts where it is [not kept](crate::Engine::unheeded).
//!
//! [`CanonicalPathLayer`](crate::CanonicalPathLayer) is outermost, so that whoever is behind reads the path that the rules have read.
//! Without it a `deny` that asks for `path` can be walked around.
//!
//! None of the layers adds an error to the service it wraps. What is not vital degrades: a cache that is full, a capture without
//! room, a mirror that hangs let the request pass and are counted. A request that matches no statement of a
//! layer costs it one look at the decision.
//!
//! ```
//! # #[cfg(all(feature = "deny", feature = "limit"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use pointsman::gateway::{DenyLayer, LimitLayer};
//! use pointsman::schema::{Schema, StatementKind};
//! use pointsman::{CanonicalPathLayer, Engine, TrafficSplitLayer};
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Deny, StatementKind::Limit]);
//! let engine = Engine::builder().schema(schema).build(
//!     r#"deny  bots:  header(user-agent) contains "BadBot" => 403
//!        limit users: true                                 => 1/s by cookie(uid)
//!        default => prod"#,
//! )?;
//! let service = ServiceBuilder::new()
//!     .layer(CanonicalPathLayer::rewriting())
//!     .layer(TrafficSplitLayer::new(engine))
//!     .layer(DenyLayer::new())
//!     .layer(LimitLayer::new())
//!     .service(service_fn(async |_: Request<()>| {
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello")))
//!     }));
//!
//! let mut statuses = Vec::new();
//! for (name, value) in [("user-agent", "BadBot/1.0"), ("cookie", "uid=7"), ("cookie", "uid=7"), ("cookie", "uid=8")] {
//!     let request = Request::get("/").header(name, value).body(())?;
//!     statuses.push(service.clone().oneshot(request).await?.status().as_u16());
//! }
//! assert_eq!(statuses, [403, 200, 429, 200]);
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "deny", feature = "limit")))]
//! # fn main() {}
//! ```

#[cfg(feature = "analyse")]
pub mod analyse;
#[cfg(any(feature = "deny", feature = "limit"))]
mod answer;
#[cfg(any(feature = "deny", feature = "limit"))]
mod body;
#[cfg(feature = "cache")]
pub mod cache;
mod cached;
#[cfg(feature = "capture")]
pub mod capture;
#[cfg(feature = "deny")]
pub mod deny;
#[allow(dead_code, reason = "without a layer there is nothing to keep")]
mod kept;
#[cfg(feature = "limit")]
pub mod limit;
#[cfg(feature = "mirror")]
pub mod mirror;
mod refused;

/// Whether a request names another method than its own, by one of the fields that web frameworks heed in its place: what
/// looks safe may not be, and its answer is not one to the method that we see.
#[cfg(any(feature = "cache", feature = "mirror"))]
fn overrides_method(headers: &http::HeaderMap) -> bool {
    ["x-http-method-override", "x-http-method", "x-method-override"]
        .iter()
        .any(|name| headers.contains_key(*name))
}

/// A time with its unit in its name, as `left_seconds`.
#[cfg(feature = "serde")]
#[allow(dead_code, reason = "not every layer tells times")]
fn seconds<S: serde::Serializer>(time: &std::time::Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

#[cfg(feature = "analyse")]
pub use analyse::{AnalyseLayer, Analysis};
#[cfg(any(feature = "deny", feature = "limit"))]
pub use answer::AnswerFuture;
#[cfg(any(feature = "deny", feature = "limit"))]
pub use body::GatewayBody;
#[cfg(feature = "cache")]
pub use cache::{CacheLayer, ResponseCache};
pub use cached::Cached;
#[cfg(feature = "capture")]
pub use capture::{CaptureLayer, Captures};
#[cfg(feature = "deny")]
pub use deny::DenyLayer;
#[cfg(feature = "limit")]
pub use limit::LimitLayer;
#[cfg(feature = "mirror")]
pub use mirror::MirrorLayer;
pub use refused::Refused;
