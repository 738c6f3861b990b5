//! Events for `tracing`.

use crate::diagnostic::visible;
use crate::middleware::health::accrual::Change;

/// What the events go by, whichever file they come from.
const TARGET: &str = "pointsman";

/// An upstream was taken out, stays out, or came back.
pub(in crate::middleware::health) fn changed(cluster: &str, upstream: &str, change: Change) {
    let (cluster, upstream) = (visible(cluster), visible(upstream));
    match change {
        Change::Ejected { failures, time } => {
            let seconds = time.as_secs_f64();
            tracing::warn!(target: TARGET, %cluster, %upstream, failures, seconds, "upstream taken out");
        }
        Change::Stays { time } => {
            let seconds = time.as_secs_f64();
            tracing::info!(target: TARGET, %cluster, %upstream, seconds, "upstream stays out");
        }
        Change::Back => tracing::info!(target: TARGET, %cluster, %upstream, "upstream is back"),
    }
}
