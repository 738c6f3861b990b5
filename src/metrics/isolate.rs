//! What a cluster's bounds refused, as metrics.

use metrics::{Unit, describe_counter};

use super::Publisher;
use crate::middleware::IsolateLayer;

const SHED: &str = "pointsman_shed_total";
const TIMED_OUT: &str = "pointsman_timed_out_total";

// === impl Publisher ===

impl Publisher {
    /// Publishes how many requests the bounds of a cluster refused. The layer is the one, or a clone of the one, that
    /// made the cluster's service; of several for one cluster, they are added up.
    #[must_use]
    pub fn isolate(self, cluster: impl Into<String>, layer: IsolateLayer) -> Self {
        let cluster = cluster.into();
        self.with(move |sheet| {
            sheet.cluster(SHED, &cluster, [], layer.shed());
            sheet.cluster(TIMED_OUT, &cluster, [], layer.timed_out());
        })
    }
}

pub(super) fn describe() {
    describe_counter!(SHED, Unit::Count, "Requests for which a cluster had no room");
    describe_counter!(TIMED_OUT, Unit::Count, "Requests that a cluster did not answer in time");
}
