//! What became of copies, as metrics.

use metrics::{Unit, describe_counter, describe_gauge};

use super::Publisher;
use crate::gateway::MirrorLayer;
use crate::gateway::mirror::MirrorDropped;

const SENT: &str = "pointsman_mirror_sent_total";
const ANSWERED: &str = "pointsman_mirror_answered_total";
const FAILED: &str = "pointsman_mirror_failed_total";
const COMPARED: &str = "pointsman_mirror_compared_total";
const LATENCY: &str = "pointsman_mirror_microseconds_total";
const DROPPED: &str = "pointsman_mirror_dropped_total";
const IN_FLIGHT: &str = "pointsman_mirror_in_flight";

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

// === impl Publisher ===

impl Publisher {
    /// Publishes what became of the copies of each `mirror`, what was not copied, and how many copies are under way.
    #[must_use]
    pub fn mirror(self, layer: MirrorLayer) -> Self {
        self.with(move |sheet| {
            for count in layer.counts() {
                let name = &count.name;
                sheet.statement(SENT, name, [], count.sent);
                for (class, answered) in CLASSES.into_iter().zip(count.answered) {
                    sheet.statement(ANSWERED, name, [("class", class)], answered);
                }
                for (reason, failed) in [
                    ("error", count.failed),
                    ("timed_out", count.timed_out),
                    ("panicked", count.panicked),
                    ("ended", count.ended),
                ] {
                    sheet.statement(FAILED, name, [("reason", reason)], failed);
                }
                sheet.statement(COMPARED, name, [("outcome", "same")], count.same);
                sheet.statement(COMPARED, name, [("outcome", "different")], count.different);
                let micros = u64::try_from(count.latency.as_micros()).unwrap_or(u64::MAX);
                sheet.statement(LATENCY, name, [], micros);
                for (reason, dropped) in reasons(count.dropped) {
                    sheet.statement(DROPPED, name, [("reason", reason)], dropped);
                }
            }
            sheet.now(IN_FLIGHT, layer.under_way() as f64);
        })
    }
}

/// Taken apart by name, so that none is left out.
fn reasons(dropped: MirrorDropped) -> [(&'static str, u64); 9] {
    let MirrorDropped {
        no_service,
        full,
        too_large,
        too_slow,
        incomplete,
        unsafe_method,
        upgrade,
        copy,
        no_runtime,
    } = dropped;
    [
        ("no_service", no_service),
        ("full", full),
        ("too_large", too_large),
        ("too_slow", too_slow),
        ("incomplete", incomplete),
        ("unsafe_method", unsafe_method),
        ("upgrade", upgrade),
        ("copy", copy),
        ("no_runtime", no_runtime),
    ]
}

pub(super) fn describe() {
    describe_counter!(SENT, Unit::Count, "Copies that were sent");
    describe_counter!(ANSWERED, Unit::Count, "Answers to copies, by the class of their status");
    describe_counter!(FAILED, Unit::Count, "Copies without an answer, by reason");
    describe_counter!(
        COMPARED,
        Unit::Count,
        "Answers to copies, by whether their class was that of the real answer"
    );
    describe_counter!(LATENCY, Unit::Microseconds, "How long it took in all until copies were answered");
    describe_counter!(DROPPED, Unit::Count, "Requests that were not copied, by reason");
    describe_gauge!(IN_FLIGHT, Unit::Count, "Copies under way");
}
