//! Split HTTP traffic by rules written as text.
//!
//! ```text
//!  rule text ──▶ syntax ──▶ check ──▶ compile ──▶ bytecode ─┐
//!                  │          │                             ▼
//!             diagnostics: all mistakes at once     Engine: one pointer, swapped
//!                                                           │
//!  request ─────────────▶ schema: each field read once ──▶ eval ──▶ Decision: cluster, route, revision
//!                                                           │           └──▶ explain: why
//!                                                         split: the same key, the same cluster
//! ```
//!
//! # One example
//!
//! ```
//! use http::Request;
//! use pointsman::Engine;
//!
//! let engine = Engine::builder().clusters(["gray", "prod"]).build(r#"
//!     list beta = ["1001", "1002"]
//!     route testers:  header(x-canary) == "always"  => gray
//!     route beta:     cookie(uid) in beta           => gray
//!     route checkout: path under "/checkout"        => gray 5, prod 95 by cookie(uid)
//!     default => prod
//! "#)?;
//!
//! let request = Request::get("/checkout/pay").header("cookie", "uid=1002").body(())?;
//! let decision = engine.decide(&request);
//! assert_eq!((decision.cluster(), decision.rule()), ("gray", Some("beta")));
//!
//! // Why?
//! let why = engine.explain(&request).to_string();
//! assert!(why.contains(r#"cookie(uid) in beta  -- "1002""#));
//!
//! // New rules are taken whole, or not at all.
//! assert!(engine.replace("route all: tru => gray").is_err());
//! engine.replace("default => prod")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What rules mean is in [the language reference](docs::language); which key goes where, byte by byte, in
//! [how a key finds its place](docs::hashing).
//!
//! # Where to go from here
//!
//! - [`Engine`] decides, explains, counts, and takes new rules. Its [builder](EngineBuilder) takes clusters, limits,
//!   clock and chance.
//! - [`Schema`] is what rules may mention: clusters, the application's own fields and lists, and where
//!   the client's address comes from.
//! - [`Condition`] is a single condition without a rule set.
//! - [`with_weights`] and [`with_state`] edit a text, [`InFlight`] waits until a cluster has drained: [a
//!   release](docs::releasing) is made of these.
//! - [`PropagateLayer`] and [`Follow`] take a decision along to the services behind.
//! - [`Statements`] are rules built one by one, [`format()`] is their canonical text.
//! - [`Limits`] bound what a text may ask for; [`Diagnostics`] say what is wrong with it.
//! - `gateway`, with the features `deny`, `limit`, `cache`, `mirror`, `capture` and `analyse`, does what the statements of the
//!   service gateway say; [its page](docs) has all layers put together, their bounds, and what happens when they are full.
//! - `source`, with that feature, follows a file, a web server, etcd or Redis; [operations](docs) says how that goes.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `axum` | yes | [`Decision`] as an extractor, and the client's address from axum's `ConnectInfo` |
//! | `analyse` | no | `gateway::AnalyseLayer`: which keys come most often, and how each cluster does |
//! | `deny` | no | `gateway::DenyLayer`: requests that are answered in place of a cluster |
//! | `limit` | no | `gateway::LimitLayer`: token buckets, one for all or one for each key |
//! | `metrics` | no | a publisher of all counts for the `metrics` facade, such as for Prometheus |
//! | `serde` | no | explanations, diagnostics, statements and counters serialise |
//! | `cache` | no | responses kept in memory, as the `cache` statements of the service gateway say; brings tokio |
//! | `capture` | no | exchanges captured by rules, as an archive for a browser's developer tools and as test cases |
//! | `mirror` | no | copies of requests to a shadow cluster; brings tokio |
//! | `etcd` | no | rules that etcd has; needs `protoc` to build; brings `source` |
//! | `file` | no | rules in a file or a directory, watched; brings `source` |
//! | `health` | no | upstreams that fail are taken out of their cluster and probed until they come back; brings `isolate` and tokio |
//! | `http` | no | rules that a web server has, by plain HTTP/1.1 or a client of yours; brings `source` |
//! | `isolate` | no | a limit of concurrency, a timeout and load shedding for each cluster, of tower's layers; brings tokio |
//! | `redis` | no | rules that Redis has; brings `source` |
//! | `source` | no | `source`: following a source of rules, with its status and the last known good; brings tokio |
//! | `tracing` | no | `cluster`, `rule` and `revision` in the current span, events for new rules |
//!
//! Each builds alone, and so does none.
//!
//! # Time, chance and threads
//!
//! Nothing but a follower of rules, with the feature `source`, and the cache, with the feature `cache`, starts a task; they,
//! and the timeouts of the features `isolate` and `health`, need a runtime. Time and chance are
//! asked for once a decision, and only if the rules need them; both can be [given from outside](Moment). Deciding takes
//! no lock.

mod bytecode;
mod check;
mod compile;
pub mod diagnostic;
pub mod docs;
pub mod engine;
mod eval;
pub mod explain;
#[cfg(feature = "gateway")]
pub mod gateway;
mod limits;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod middleware;
pub mod schema;
#[cfg(feature = "source")]
pub mod source;
pub mod split;
mod syntax;

/// What the fuzzer reaches of the inside; only in its own builds.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    /// Any program: see `eval/fuzzing.rs`.
    pub fn program(data: &[u8]) {
        crate::eval::fuzzing::program(data);
    }

    /// Any text, read and resolved twice: see `syntax/fuzzing.rs` and `check/fuzzing.rs`.
    pub fn quick(data: &[u8]) {
        if let Some(text) = crate::syntax::fuzzing::text(data) {
            crate::syntax::fuzzing::quick(&text);
            crate::check::fuzzing::one_by_one(&text);
        }
    }
}

pub use diagnostic::{Diagnostic, Diagnostics};
pub use engine::{
    BuildError, Condition, Decision, EditError, Engine, EngineBuilder, Moment, Reach, Reached, RuleSet,
    Rules, Statements, format, with_state, with_weights,
};
pub use explain::Explanation;
pub use limits::Limits;
pub use middleware::{
    CanonicalPathLayer, Carrier, Clusters, ClustersError, Follow, InFlight, InFlightLayer, PropagateLayer,
    TrafficSplit, TrafficSplitLayer,
};
pub use schema::{ClientAddr, PeerAddr, Schema};
pub use syntax::ast::State;
