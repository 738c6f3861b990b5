//! Who was limited, as metrics.

use metrics::{Unit, describe_counter, describe_gauge};

use super::Publisher;
use crate::gateway::LimitLayer;

const LIMITED: &str = "pointsman_limited_total";
const FORGOTTEN: &str = "pointsman_limit_forgotten_total";
const BYTES: &str = "pointsman_limit_bytes";

// === impl Publisher ===

impl Publisher {
    /// Publishes how many requests each `limit` refused, how many a shadow would have, and how many keys were forgotten.
    /// How many requests matched it is in `pointsman_chosen_total{kind="limit"}`.
    #[must_use]
    pub fn limit(self, layer: LimitLayer) -> Self {
        self.with(move |sheet| {
            for count in layer.counts() {
                sheet.statement(LIMITED, &count.statement, [("state", "live")], count.refused);
                sheet.statement(LIMITED, &count.statement, [("state", "shadow")], count.shadow);
                sheet.statement(FORGOTTEN, &count.statement, [], count.forgotten);
            }
            sheet.now(BYTES, layer.table_bytes() as f64);
        })
    }
}

pub(super) fn describe() {
    describe_counter!(LIMITED, Unit::Count, "Requests that a limit refused, or would have as a shadow");
    describe_counter!(FORGOTTEN, Unit::Count, "Keys that were forgotten before their buckets were full");
    describe_gauge!(BYTES, Unit::Bytes, "What the tables of keys take");
}
