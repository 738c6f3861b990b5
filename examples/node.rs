//! A node as a fleet runs it: traffic on one port, and for those who look after it another with probes and a page as JSON.
//!
//! Run it with `cargo run --example node --features file,serde -- shop.rules`; it prints the lines to try. The page on
//! operations says how many such nodes are read at once.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use pointsman::source::{FileSource, Follower, Following, StatusReader};
use pointsman::{Decision, Engine, InFlight, TrafficSplitLayer};
use serde_json::Value;
use tokio::net::TcpListener;

#[tokio::main]
#[allow(clippy::print_stdout, reason = "to be read in a terminal")]
async fn main() -> Result<(), Box<dyn Error>> {
    let rules = std::env::args_os().nth(1).map_or_else(|| "shop.rules".into(), PathBuf::from);
    // Before there are rules, so that whoever asks is told that there are none yet.
    let known = Known::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let desk_at = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, desk(known.clone())).into_future());

    // The rules are followed for as long as the handle lives.
    let (shop, _following) = shop(&rules, &known).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("curl http://{}/", listener.local_addr()?);
    println!(
        "curl -i http://{desk_at}/ready\ncurl -s http://{desk_at}/rules | jq .\ncurl http://{desk_at}/explain/checkout"
    );
    axum::serve(listener, shop.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// What there is to tell, as soon as rules run.
pub(crate) type Known = Arc<OnceLock<Node>>;

pub(crate) struct Node {
    engine: Engine,
    status: StatusReader,
    in_flight: InFlight,
}

/// What requests are for.
pub(crate) async fn shop(rules: &Path, known: &Known) -> Result<(Router, Following), Box<dyn Error>> {
    let builder = Engine::builder().clusters(["gray", "next", "prod_a", "prod_b"]);
    let (engine, following) = Follower::new(builder, FileSource::new(rules))
        .last_good(rules.with_extension("good"))
        .built_in("cluster prod = prod_a 50, prod_b 50 by cookie(uid)\ndefault => prod\n")
        .start()
        .await?;
    let split = TrafficSplitLayer::new(engine.clone()).count_in_flight();
    let _ = known.set(Node { engine, status: following.reader(), in_flight: split.in_flight() });
    let shop =
        Router::new().fallback(async |decision: Decision| format!("{}\n", decision.cluster())).layer(split);
    Ok((shop, following))
}

/// What probes and operators ask. Not for clients: it shows values of requests, and texts that were refused.
pub(crate) fn desk(known: Known) -> Router {
    Router::new()
        .route("/live", get(async || "alive\n"))
        .route("/ready", get(ready))
        .route("/rules", get(page))
        .nest("/explain", Router::new().fallback(explain))
        .with_state(known)
}

/// Ready as soon as rules run, whatever has become of their source.
async fn ready(State(known): State<Known>) -> (StatusCode, String) {
    match known.get() {
        Some(node) => (StatusCode::OK, node.status.status().to_string()),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no rules yet\n".to_owned()),
    }
}

/// The status, and what each cluster has in flight.
async fn page(State(known): State<Known>) -> Result<impl IntoResponse, StatusCode> {
    let node = known.get().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let status = serde_json::to_value(node.status.status());
    let Ok(Value::Object(mut page)) = status else { return Err(StatusCode::INTERNAL_SERVER_ERROR) };
    let in_flight = node.in_flight.counts().map(|(cluster, count)| (cluster.to_owned(), count.into()));
    page.insert("in_flight".to_owned(), Value::Object(in_flight.collect()));
    let page = Value::Object(page);
    Ok(([(CONTENT_TYPE, "application/json")], page.to_string()))
}

/// Where a request with this path and these headers would go, and why.
async fn explain(State(known): State<Known>, request: Request) -> Result<String, StatusCode> {
    let node = known.get().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("{}\n", node.engine.explain(&request)))
}
