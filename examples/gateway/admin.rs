//! What operators ask: which rules run, how their source does, what is in flight, and all counts.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use pointsman::metrics::Publisher;
use pointsman::source::{Following, StatusReader};
use pointsman::{Engine, InFlight};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::body::Download;
use super::client::Open;
use super::cluster::refusal;
use super::serve::Gateway;

/// The operators' pages. They are on a port of their own, which is for nobody else.
pub(crate) struct Admin {
    engine: Engine,
    source: Option<StatusReader>,
    in_flight: InFlight,
    open: Arc<Open>,
    publisher: Publisher,
    recorder: PrometheusHandle,
}

// === impl Admin ===

impl Admin {
    pub(crate) fn new(
        engine: &Engine,
        following: Option<&Following>,
        gateway: &Gateway,
    ) -> Result<Self, Box<dyn Error>> {
        // The recorder of the whole program.
        let recorder = PrometheusBuilder::new().install_recorder()?;
        let source = following.map(Following::reader);
        let mut publisher = Publisher::new(engine.clone()).in_flight(gateway.in_flight());
        if let Some(source) = &source {
            publisher = publisher.source(source.clone());
        }
        publisher.describe();
        Ok(Admin {
            engine: engine.clone(),
            source,
            in_flight: gateway.in_flight(),
            open: gateway.open(),
            publisher,
            recorder,
        })
    }

    /// Serves the pages from a task of their own. Returns where.
    pub(crate) async fn serve(self, at: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(at).await?;
        let at = listener.local_addr()?;
        let admin = Arc::new(self);
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let admin = admin.clone();
                let service = service_fn(move |request| {
                    let page = admin.page(&request);
                    async move { Ok::<_, Infallible>(page) }
                });
                let mut protocol = http1::Builder::new();
                protocol.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
                tokio::spawn(protocol.serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(at)
    }

    fn page(&self, request: &Request<Incoming>) -> Response<Download> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "there is only to read here");
        }
        let (text, form) = match request.uri().path() {
            "/_pointsman" | "/_pointsman/" => (format!("{:#}\n", self.status()), "application/json"),
            "/_pointsman/metrics" => {
                self.publisher.publish();
                (self.recorder.render(), "text/plain; version=0.0.4; charset=utf-8")
            }
            _ => return refusal(StatusCode::NOT_FOUND, "there is /_pointsman/ and /_pointsman/metrics"),
        };
        let mut response = Response::new(Download::from(text));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form));
        response
    }

    fn status(&self) -> Value {
        let rules = self.engine.rules();
        let in_flight: Map<String, Value> =
            self.in_flight.counts().map(|(cluster, count)| (cluster.to_owned(), count.into())).collect();
        json!({
            "digest": rules.digest().to_string(),
            "revision": rules.revision(),
            // What the source says of itself; null where the rules are built in.
            "source": self.source.as_ref().map(StatusReader::status),
            "in_flight": in_flight,
            "connections": self.open.now(),
        })
    }
}
