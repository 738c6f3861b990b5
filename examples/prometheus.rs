//! All counts as Prometheus text, at `/metrics`.
//!
//! Run it with `cargo run --example prometheus --features metrics`. It starts a server on the loopback interface, asks it
//! some requests, and shows the page that Prometheus would scrape.

use std::error::Error;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use metrics_exporter_prometheus::PrometheusBuilder;
use pointsman::metrics::Publisher;
use pointsman::{Decision, Engine, TrafficSplitLayer};
use tokio::net::TcpListener;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const RULES: &str = r#"
cluster prod = prod_a 50, prod_b 50 by cookie(uid)
route testers: header(x-canary) == "always" => gray
shadow route next: path under "/checkout" => gray
default => prod
"#;

#[tokio::main]
async fn main() -> Result<()> {
    run(&mut std::io::stdout()).await
}

pub(crate) async fn run(out: &mut impl Write) -> Result<()> {
    let engine = Engine::builder().clusters(["gray", "prod_a", "prod_b"]).build(RULES)?;
    let layer = TrafficSplitLayer::new(engine.clone()).count_in_flight();

    // The recorder of the whole program. Its counts are set when the page is asked for, so requests cost nothing more.
    let recorder = PrometheusBuilder::new().install_recorder()?;
    let publisher = Arc::new(Publisher::new(engine.clone()).in_flight(layer.in_flight()));
    publisher.describe();
    let page = async move || {
        publisher.publish();
        recorder.render()
    };
    let shop = Router::new().fallback(async |decision: Decision| decision.cluster().to_owned()).layer(layer);
    let app = Router::new().route("/metrics", get(page)).fallback_service(shop);

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let at = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });

    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let ask = async |path: &str, header: (&str, &str)| -> Result<String> {
        let request = Request::get(format!("http://{at}{path}")).header(header.0, header.1);
        let response = client.request(request.body(Body::empty())?).await?;
        Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
    };
    for uid in 1..=10 {
        ask("/", ("cookie", &format!("uid={uid}"))).await?;
    }
    ask("/checkout", ("cookie", "uid=1")).await?;
    ask("/", ("x-canary", "always")).await?;
    // A text that is refused: something to alarm on.
    let refused = engine.replace("default => prodd").is_err();
    writeln!(out, "# refused: {refused}\n{}", ask("/metrics", ("accept", "text/plain")).await?)?;
    Ok(())
}
