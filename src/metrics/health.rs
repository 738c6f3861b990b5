//! Which upstreams are out, as metrics.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::Publisher;
use crate::middleware::{Health, UpstreamState};

const HEALTHY: &str = "pointsman_upstream_healthy";
const REQUESTS: &str = "pointsman_upstream_requests_total";
const FAILURES: &str = "pointsman_upstream_failures_total";
const EJECTIONS: &str = "pointsman_upstream_ejections_total";
const UNAVAILABLE: &str = "pointsman_cluster_unavailable_total";

// === impl Publisher ===

impl Publisher {
    /// Publishes which upstreams are out, and how often they were. The names of upstreams, which are labels, come from the
    /// application.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    /// use pointsman::Engine;
    /// use pointsman::metrics::Publisher;
    /// # #[cfg(feature = "health")]
    /// use pointsman::middleware::{Health, HealthSettings};
    /// use std::io;
    /// use tower::{ServiceExt, service_fn};
    ///
    /// # #[cfg(feature = "health")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = Engine::builder().clusters(["gray"]).build("default => gray")?;
    /// let health = Health::new(&engine, HealthSettings::new().consecutive_failures(1));
    /// let down = service_fn(async |_: Request<()>| Err::<Response<()>, _>(io::Error::other("down")));
    /// let gray = health.upstreams("gray", [("10.0.0.1:80", down)])?;
    /// let publisher = Publisher::new(engine).health(health);
    /// assert!(gray.oneshot(Request::new(())).await.is_err());
    ///
    /// let recorder = PrometheusBuilder::new().build_recorder();
    /// metrics::with_local_recorder(&recorder, || publisher.publish());
    /// let page = recorder.handle().render();
    /// assert!(page.contains(r#"pointsman_upstream_ejections_total{cluster="gray",upstream="10.0.0.1:80"} 1"#));
    /// assert!(page.contains(r#"pointsman_upstream_healthy{cluster="gray",upstream="10.0.0.1:80"} 0"#));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "health"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn health(self, health: Health) -> Self {
        self.with(move |_| {
            for cluster in health.status().clusters {
                let name = cluster.cluster;
                counter!(UNAVAILABLE, "cluster" => name.clone()).absolute(cluster.unavailable);
                for upstream in cluster.upstreams {
                    let labels = [("cluster", name.clone()), ("upstream", upstream.name)];
                    let healthy = if upstream.state == UpstreamState::Healthy { 1.0 } else { 0.0 };
                    gauge!(HEALTHY, &labels).set(healthy);
                    counter!(REQUESTS, &labels).absolute(upstream.requests);
                    counter!(FAILURES, &labels).absolute(upstream.failures);
                    counter!(EJECTIONS, &labels).absolute(upstream.ejections);
                }
            }
        })
    }
}

pub(super) fn describe() {
    describe_gauge!(HEALTHY, Unit::Count, "1 while an upstream is not taken out");
    describe_counter!(REQUESTS, Unit::Count, "Requests that an upstream was given");
    describe_counter!(FAILURES, Unit::Count, "Requests that an upstream failed");
    describe_counter!(EJECTIONS, Unit::Count, "How often an upstream was taken out");
    describe_counter!(UNAVAILABLE, Unit::Count, "Requests of a cluster of which no upstream took any");
}
