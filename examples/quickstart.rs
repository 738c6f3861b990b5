//! A shop behind the rules of `shop.rules`, to be asked with curl.
//!
//! Run it with `cargo run --example quickstart`; `PORT=8080` in front of it takes another port than 3000.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{any, get};
use pointsman::{BuildError, Decision, Engine, Rules, TrafficSplitLayer};
use tokio::net::TcpListener;

const RULES: &str = include_str!("shop.rules");

#[tokio::main]
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "to be read in a terminal")]
async fn main() -> ExitCode {
    match listen().await {
        Ok((listener, app)) => {
            println!("{}", welcome(listener.local_addr()));
            let served = axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await;
            if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The application: an engine, a layer that decides, and a handler that is told.
pub(crate) fn app() -> Result<Router, BuildError> {
    let engine = Engine::builder()
        .clusters(["gray", "next", "prod_a", "prod_b"])
        .build(Rules::named("shop.rules", RULES))?;
    let shop = Router::new().fallback(answer).layer(TrafficSplitLayer::new(engine.clone()));
    Ok(Router::new()
        .nest_service("/_why", any(why).with_state(engine.clone()))
        .route("/_counters", get(counters).with_state(engine))
        .fallback_service(shop))
}

async fn answer(decision: Decision) -> String {
    format!("{} (by {})\n", decision.cluster(), decision.statement())
}

/// Explains `/checkout` when asked for `/_why/checkout`: nesting takes the prefix off.
async fn why(State(engine): State<Engine>, request: Request) -> String {
    format!("{}\n", engine.explain(&request))
}

async fn counters(State(engine): State<Engine>) -> String {
    format!("{}\n", engine.counters())
}

async fn listen() -> Result<(TcpListener, Router), Box<dyn Error>> {
    let port = match std::env::var("PORT") {
        Ok(port) => {
            port.parse().map_err(|_| format!("PORT is `{port}`, and should be a number up to 65535"))?
        }
        Err(_) => 3000,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        format!("cannot listen on port {port}: {error}\ntry: PORT=0 cargo run --example quickstart")
    })?;
    Ok((listener, app()?))
}

/// What to try.
pub(crate) fn welcome(address: std::io::Result<SocketAddr>) -> String {
    let at = address.map_or("localhost:3000".to_owned(), |address| format!("localhost:{}", address.port()));
    format!(
        "\
The shop is open. Its rules are in examples/shop.rules (change them and start again); try

  curl -H 'Host: shop.example.com' --cookie uid=1001 {at}/
  curl -H 'Host: shop.example.com' --cookie uid=1001 {at}/_why
  curl -H 'Host: shop.example.com' --cookie uid=1001 {at}/_why/checkout/pay
  curl -H 'X-Canary: always' {at}/
  curl -H 'X-App-Version: 2.10.1' {at}/api/cart
  curl {at}/_counters

and end it with ctrl-c."
    )
}
