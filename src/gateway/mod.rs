//! The service gateway: what is checked, answered, kept and counted before a request goes to its cluster.
//!
//! Each kind of statement has a room of its own, with a tower layer that reads the [`Decision`](crate::Decision) of a
//! request and does what the statements say that it matched. They stand inside a
//! [`TrafficSplitLayer`](crate::TrafficSplitLayer), which decides, and outside [`Clusters`](crate::Clusters), in this order:
//!
//! ```text
//! TrafficSplitLayer ─► count ─► capture ─► deny ─► limit ─► cache ─► mirror ─► Clusters
//! ```

mod body;
#[cfg(feature = "capture")]
pub mod capture;
mod kept;
#[cfg(feature = "mirror")]
pub mod mirror;

pub use body::GatewayBody;
#[cfg(feature = "capture")]
pub use capture::*;
#[cfg(feature = "mirror")]
pub use mirror::*;
