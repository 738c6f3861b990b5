//! How clusters answer, as metrics.

use std::borrow::Cow;
use std::time::Duration;

use metrics::{Unit, describe_counter};

use super::Publisher;
use super::sheet::Sheet;
use crate::gateway::AnalyseLayer;
use crate::gateway::analyse::Latencies;

const RESPONSES: &str = "pointsman_responses_total";
const LOST: &str = "pointsman_responses_lost_total";
const REFUSED: &str = "pointsman_responses_refused_total";
const CACHED: &str = "pointsman_responses_cached_total";
const HEADERS: &str = "pointsman_response_headers_seconds_bucket";
const ENDS: &str = "pointsman_response_ends_seconds_bucket";

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// Buckets end at powers of two of a microsecond, where cells end too: from 128 µs to 67 s.
const FIRST: u32 = 7;
const LAST: u32 = 26;

// === impl Publisher ===

impl Publisher {
    /// Publishes how each cluster answers: classes of status codes, and how long it took, as counters of a cumulative
    /// histogram whose buckets double, from 128 µs to 67 s. `histogram_quantile` reads them.
    ///
    /// The keys of `count` statements are not published: they come from requests, and there is no end to them.
    #[must_use]
    pub fn analyse(self, layer: AnalyseLayer) -> Self {
        self.with(move |sheet| {
            for it in layer.analysis().clusters {
                let cluster = &it.cluster;
                for (class, count) in CLASSES.into_iter().zip(it.classes) {
                    sheet.cluster(RESPONSES, cluster, [("class", class.into())], count);
                }
                for (reason, count) in [("error", it.errors), ("cancelled", it.cancelled), ("cut", it.cut)] {
                    sheet.cluster(LOST, cluster, [("reason", reason.into())], count);
                }
                sheet.cluster(REFUSED, cluster, [], it.refused);
                sheet.cluster(CACHED, cluster, [], it.cached);
                buckets(sheet, HEADERS, cluster, &it.headers);
                buckets(sheet, ENDS, cluster, &it.ends);
            }
        })
    }
}

fn buckets(sheet: &mut Sheet, metric: &'static str, cluster: &str, times: &Latencies) {
    let mut cells = times.cumulative().peekable();
    let mut sum = 0;
    for power in FIRST..=LAST {
        let end = Duration::from_micros(1 << power);
        while let Some((_, upto)) = cells.next_if(|(cell_ends, _)| *cell_ends <= end) {
            sum = upto;
        }
        sheet.cluster(metric, cluster, [("le", end.as_secs_f64().to_string().into())], sum);
    }
    let all = cells.last().map_or(sum, |(_, all)| all);
    sheet.cluster(metric, cluster, [("le", Cow::Borrowed("+Inf"))], all);
}

pub(super) fn describe() {
    describe_counter!(RESPONSES, Unit::Count, "Responses of a cluster, by the class of their status");
    describe_counter!(LOST, Unit::Count, "Requests of a cluster without a whole response, by reason");
    describe_counter!(REFUSED, Unit::Count, "Requests for a cluster that a deny or a limit answered");
    describe_counter!(CACHED, Unit::Count, "Requests for a cluster that the cache answered");
    describe_counter!(HEADERS, Unit::Count, "Responses whose header was there within so many seconds");
    describe_counter!(ENDS, Unit::Count, "Responses whose body had ended within so many seconds");
}
