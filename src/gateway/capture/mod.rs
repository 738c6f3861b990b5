//! Exchanges to be looked at: `capture NAME: CONDITION => 50 for 10m`.
//!
//! What one client sees and nobody else does is caught by a rule that names it, while everything goes on. An exchange is
//! the request and what was decided, both bodies as far as there is room, the response, and how long each took. It is
//! kept in memory, opens in a browser's developer tools, and can be written down as a test.
//!
//! ```
//! use http::{Request, Response};
//! use http_body::Body;
//! use pointsman::engine::StatementKind;
//! use pointsman::gateway::CaptureLayer;
//! use pointsman::gateway::capture::CaptureBody;
//! use pointsman::{Engine, Schema, TrafficSplitLayer};
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = Schema::new().clusters(["gray", "prod"]).gateway([StatementKind::Capture]);
//! let engine = Engine::builder().schema(schema).build(
//!     r#"capture debug: cookie(uid) == "4711" => 50 for 10m
//!        route beta: cookie(uid) == "4711" => gray
//!        default => prod"#,
//! )?;
//! let capture = CaptureLayer::new().allow_cookie("uid");
//! let captures = capture.captures();
//! let service = ServiceBuilder::new()
//!     .layer(TrafficSplitLayer::new(engine))
//!     .layer(capture)
//!     .service(service_fn(async |_: Request<CaptureBody<String>>| {
//!         Ok::<_, Infallible>(Response::new(String::new()))
//!     }));
//!
//! let request = Request::get("/cart").header("cookie", "uid=4711; session=secret").body(String::new())?;
//! service.oneshot(request).await?;
//!
//! let exchange = &captures.exchanges()[0];
//! assert_eq!((exchange.cluster(), exchange.rule()), ("gray", Some("beta")));
//! let archive = captures.har();
//! assert!(archive.contains("uid=4711; session=[redacted]") && !archive.contains("secret"));
//! // A line for `cargo run --example conformance -- FILE`.
//! let case = exchange.case()?;
//! assert!(case.contains(r#""expect":{"cluster":"gray","rule":"beta","matches":["capture debug"]}"#));
//! # Ok(())
//! # }
//! ```
//!
//! # How long it goes on
//!
//! A statement ends by itself, after so many exchanges or so long, whichever comes first; the time begins when the rules come that have it. To
//! begin anew, change its action, or take it out and put it in again: a text in which the statement is the same goes on with what is
//! left. Each exchange that several statements match is captured once, and counts for all of them.
//!
//! # What it cannot do to the exchange
//!
//! Bodies are copied while they stream, and nothing waits. What there is no room for is not captured, and counted: a body beyond
//! its bound, a body or a head beyond the room of all that go on, the oldest of those that are kept. An exchange is kept when the
//! response's body has ended, or when somebody dropped it before that, which is said; and one that goes on for [too
//! long](CaptureLayer::longest) is kept as far as it came. An upgrade is captured up to its response.
//!
//! # Cost
//!
//! A request that no live `capture` matches costs a look at its decision, and no allocation. One that is captured costs
//! a copy of all that is kept.

mod body;
mod case;
mod exchange;
mod har;
mod layer;
mod redact;
mod ring;
mod service;
mod session;

pub use body::CaptureBody;
pub use case::{CaseError, CaseErrorKind};
pub use exchange::Captured;
pub use layer::{CaptureCounts, CaptureLayer, CaptureStatement, Captures};
pub use service::{CaptureFuture, CaptureService};
