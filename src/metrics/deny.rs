//! Who was denied, as metrics.

use metrics::{Unit, describe_counter};

use super::Publisher;
use crate::gateway::DenyLayer;

const DENIED: &str = "pointsman_denied_total";

// === impl Publisher ===

impl Publisher {
    /// Publishes how many requests each `deny` answered, and how many a shadow would have. Of several layers, they are
    /// added up. The same goes for the other layers of the gateway.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    /// use pointsman::engine::StatementKind;
    /// use pointsman::gateway::DenyLayer;
    /// use pointsman::metrics::Publisher;
    /// use pointsman::{Engine, Schema, TrafficSplitLayer};
    /// use std::convert::Infallible;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Deny]);
    /// let engine = Engine::builder().schema(schema).build("deny all: true => 403 default => prod")?;
    /// let deny = DenyLayer::new();
    /// let publisher = Publisher::new(engine.clone()).deny(deny.clone());
    /// let service = ServiceBuilder::new()
    ///     .layer(TrafficSplitLayer::new(engine))
    ///     .layer(deny)
    ///     .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    /// service.oneshot(Request::new(())).await?;
    ///
    /// let recorder = PrometheusBuilder::new().build_recorder();
    /// metrics::with_local_recorder(&recorder, || publisher.publish());
    /// let page = recorder.handle().render();
    /// assert!(page.contains(r#"pointsman_denied_total{statement="all",state="live"} 1"#));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn deny(self, layer: DenyLayer) -> Self {
        self.with(move |sheet| {
            for count in layer.counts() {
                sheet.statement(DENIED, &count.statement, [("state", "live")], count.denied);
                sheet.statement(DENIED, &count.statement, [("state", "shadow")], count.shadow);
            }
        })
    }
}

pub(super) fn describe() {
    describe_counter!(DENIED, Unit::Count, "Requests that a deny answered, or would have as a shadow");
}
