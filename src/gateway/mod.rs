//! The service gateway: what is checked, answered, kept and counted before a request goes to its cluster.
//!
//! Each kind of statement has a room of its own, with a tower layer that reads the [`Decision`](crate::Decision) of a
//! request and does what the statements say that it matched. They stand inside a
//! [`TrafficSplitLayer`](crate::TrafficSplitLayer), which decides, and outside [`Clusters`](crate::Clusters), in this order:
//!
//! ```text
//! TrafficSplitLayer ─► count ─► capture ─► deny ─► limit ─► cache ─► mirror ─► Clusters
//! ```

#[cfg(feature = "analyse")]
mod analyse;
#[cfg(any(feature = "deny", feature = "limit"))]
mod answer;
#[allow(dead_code, reason = "not each layer has answers of its own")]
mod body;
#[cfg(feature = "deny")]
mod deny;
#[allow(dead_code, reason = "without a layer there is nothing to keep")]
#[cfg(feature = "cache")]
mod cache;
mod kept;
#[cfg(feature = "limit")]
mod limit;
mod refused;

#[cfg(feature = "analyse")]
pub use analyse::{
    AnalyseBody, AnalyseFuture, AnalyseLayer, AnalyseService, Analysis, ClusterAnalysis, KeyCount, Latencies,
    TopKeys,
};
#[cfg(any(feature = "deny", feature = "limit"))]
pub use answer::AnswerFuture;
pub use body::GatewayBody;
#[cfg(feature = "deny")]
pub use deny::{DenyCount, DenyLayer, DenyService};
#[cfg(feature = "limit")]
pub use limit::{BadShare, LimitCount, LimitLayer, LimitService};
pub use refused::Refused;
#[cfg(feature = "cache")]
pub use cache::{
    CacheBody, CacheBuilder, CacheCounts, CacheFuture, CacheLayer, CacheRuleCounts, CacheService, Refusal,
    ResponseCache,
};
