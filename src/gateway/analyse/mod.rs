//! What traffic is: which keys come most often, and how each cluster does.
//!
//! ```text
//! count top_ip: true => top 20 by ip per 15s
//! ```
//!
//! [`AnalyseLayer`] counts the keys of each live `count` in windows of time, and for each cluster, without any statement, the
//! classes of its status codes and how long its responses took; [`Analysis`] shows clusters side by side.
//!
//! Recording never waits: threads count at places of their own, and where two meet, one does without and that is counted.

mod analysis;
mod body;
mod clusters;
mod histogram;
mod layer;
mod service;
mod space_saving;
mod top;

pub use analysis::{Analysis, ClusterAnalysis, Latencies};
pub use body::AnalyseBody;
pub use layer::AnalyseLayer;
pub use service::{AnalyseFuture, AnalyseService};
pub use top::{KeyCount, TopKeys};
