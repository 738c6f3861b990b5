//! How far captures are, as metrics.

use metrics::{Unit, describe_counter, describe_gauge};

use super::Publisher;
use crate::gateway::Captures;

const CAPTURED: &str = "pointsman_captured_total";
const LATE: &str = "pointsman_capture_late_total";
const LOST: &str = "pointsman_capture_lost_total";
const EXCHANGES: &str = "pointsman_capture_exchanges";
const BYTES: &str = "pointsman_capture_bytes";

// === impl Publisher ===

impl Publisher {
    /// Publishes how many exchanges each `capture` took, what was not kept, and what is.
    #[must_use]
    pub fn capture(self, captures: Captures) -> Self {
        self.with(move |sheet| {
            let counts = captures.counts();
            for statement in &counts.statements {
                sheet.statement(CAPTURED, &statement.name, [], statement.captured.into());
                sheet.statement(LATE, &statement.name, [], statement.late);
            }
            for (reason, count) in [
                ("pushed_out", counts.pushed_out),
                ("truncated", counts.truncated),
                ("overlong", counts.overlong),
                ("no_room", counts.no_room),
            ] {
                sheet.whole(LOST, [("reason", reason)], count);
            }
            sheet.now(EXCHANGES, counts.kept as f64);
            sheet.now(BYTES, counts.kept_bytes.saturating_add(counts.under_way_bytes) as f64);
        })
    }
}

pub(super) fn describe() {
    describe_counter!(CAPTURED, Unit::Count, "Exchanges that were captured");
    describe_counter!(LATE, Unit::Count, "Requests that matched a capture after it had ended");
    describe_counter!(LOST, Unit::Count, "What was captured in part or is gone, by reason");
    describe_gauge!(EXCHANGES, Unit::Count, "Exchanges that are kept");
    describe_gauge!(BYTES, Unit::Bytes, "What exchanges hold, those that go on among them");
}
