//! What a cache did, as metrics.

use metrics::{Unit, describe_counter, describe_gauge};

use super::Publisher;
use crate::gateway::ResponseCache;

const REQUESTS: &str = "pointsman_cache_requests_total";
const REVALIDATIONS: &str = "pointsman_cache_revalidations_total";
const REVALIDATED: &str = "pointsman_cache_revalidated_total";
const WAITED: &str = "pointsman_cache_waited_in_vain_total";
const STORED: &str = "pointsman_cache_stored_total";
const REFUSED: &str = "pointsman_cache_refused_total";
const REMOVED: &str = "pointsman_cache_removed_total";
const BYTES: &str = "pointsman_cache_bytes";
const ENTRIES: &str = "pointsman_cache_entries";

// === impl Publisher ===

impl Publisher {
    /// Publishes what each `cache` did with requests and responses, and how much is stored.
    #[must_use]
    pub fn cache(self, cache: ResponseCache) -> Self {
        self.with(move |sheet| {
            let counts = cache.counts();
            for rule in &counts.rules {
                for (outcome, count) in [
                    ("hit", rule.hits),
                    ("stale", rule.stale_hits),
                    ("coalesced", rule.coalesced),
                    ("miss", rule.misses),
                    ("not_cached", rule.not_cached),
                    ("bypass", rule.bypassed),
                    ("shadow", rule.shadowed),
                ] {
                    sheet.statement(REQUESTS, &rule.name, [("outcome", outcome)], count);
                }
                for (metric, count) in [
                    (REVALIDATIONS, rule.revalidations),
                    (REVALIDATED, rule.revalidated),
                    (WAITED, rule.waited_in_vain),
                    (STORED, rule.stored),
                ] {
                    sheet.statement(metric, &rule.name, [], count);
                }
                for (reason, count) in &rule.refused {
                    sheet.statement(REFUSED, &rule.name, [("reason", reason.as_str())], *count);
                }
            }
            for (reason, count) in [
                ("evicted", counts.evicted),
                ("expired", counts.expired),
                ("invalidated", counts.invalidated),
                ("purged", counts.purged),
            ] {
                sheet.whole(REMOVED, [("reason", reason)], count);
            }
            sheet.now(BYTES, counts.bytes as f64);
            sheet.now(ENTRIES, counts.entries as f64);
        })
    }
}

pub(super) fn describe() {
    describe_counter!(REQUESTS, Unit::Count, "Requests that a cache statement matched, by what was done");
    describe_counter!(REVALIDATIONS, Unit::Count, "How often a backend was asked about a stored response");
    describe_counter!(REVALIDATED, Unit::Count, "How often a stored response was said to hold still");
    describe_counter!(WAITED, Unit::Count, "How often a request waited for another one in vain");
    describe_counter!(STORED, Unit::Count, "Responses that were stored");
    describe_counter!(REFUSED, Unit::Count, "Responses that were not stored, by reason");
    describe_counter!(REMOVED, Unit::Count, "Stored responses that were removed, by reason");
    describe_gauge!(BYTES, Unit::Bytes, "How much is stored");
    describe_gauge!(ENTRIES, Unit::Count, "How many targets have stored responses");
}
