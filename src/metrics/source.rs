//! How a source does, as metrics.

use metrics::{Unit, describe_gauge, gauge};

use super::Publisher;
use crate::source::{SourceState, StatusReader};

const STALE: &str = "pointsman_source_stale_seconds";
const REACHABLE: &str = "pointsman_source_reachable";
const FAILURES: &str = "pointsman_source_failures";
const REJECTED: &str = "pointsman_source_rejected";
const NOT_KEPT: &str = "pointsman_last_good_failing";

// === impl Publisher ===

impl Publisher {
    /// Publishes how the source does that the engine follows; of several, the one that was given last.
    ///
    /// ```
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    /// use pointsman::Engine;
    /// use pointsman::metrics::Publisher;
    /// # #[cfg(feature = "file")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pointsman::source::{FileSource, Follower};
    ///
    /// let builder = Engine::builder().clusters(["prod"]);
    /// let follower = Follower::new(builder, FileSource::new("/not/there.rules")).built_in("default => prod");
    /// let (engine, following) = follower.start().await?;
    /// let publisher = Publisher::new(engine).source(following.reader());
    ///
    /// let recorder = PrometheusBuilder::new().build_recorder();
    /// metrics::with_local_recorder(&recorder, || publisher.publish());
    /// assert!(recorder.handle().render().contains("pointsman_source_failures 1"));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "file"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn source(self, reader: StatusReader) -> Self {
        self.with(move |_| {
            let status = reader.status();
            let flag = |set: bool| if set { 1.0 } else { 0.0 };
            gauge!(STALE).set(status.stale.as_secs_f64());
            gauge!(REACHABLE).set(flag(status.source.state == SourceState::Reachable));
            gauge!(FAILURES).set(status.source.failures);
            gauge!(REJECTED).set(flag(status.rejected.is_some()));
            if let Some(last_good) = status.last_good {
                gauge!(NOT_KEPT).set(flag(last_good.problem.is_some()));
            }
        })
    }
}

pub(super) fn describe() {
    describe_gauge!(STALE, Unit::Seconds, "How long ago the source was last known to have what runs");
    describe_gauge!(REACHABLE, Unit::Count, "1 while the source answers");
    describe_gauge!(FAILURES, Unit::Count, "How many attempts in a row have failed");
    describe_gauge!(REJECTED, Unit::Count, "1 while the source has a text that was refused");
    describe_gauge!(NOT_KEPT, Unit::Count, "1 while the last good rules cannot be kept in their file");
}
