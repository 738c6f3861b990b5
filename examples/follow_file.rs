//! A shop whose rules are followed from a file, with the last good ones kept and a page that says how that goes.
//!
//! Run it with `cargo run --example follow_file --features file -- shop.rules`: the file may come later, be broken, mended
//! or deleted. `/_status` is the page.

use std::error::Error;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::routing::get;
use pointsman::source::{FileSource, Follower, Following};
use pointsman::{Decision, Engine, TrafficSplitLayer};
use tokio::net::TcpListener;

/// What runs when there is neither the file nor a last good one.
const BUILT_IN: &str = "default => prod";

#[tokio::main]
#[allow(clippy::print_stdout, reason = "to be read in a terminal")]
async fn main() -> Result<(), Box<dyn Error>> {
    let rules = std::env::args_os().nth(1).map_or_else(|| "shop.rules".into(), PathBuf::from);
    // The rules are followed for as long as the handle lives.
    let (app, following) = app(&rules).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let at = listener.local_addr()?;
    println!("{}\n\ncurl http://{at}/\ncurl http://{at}/_status", following.status());
    axum::serve(listener, app).await?;
    Ok(())
}

pub(crate) async fn app(rules: &Path) -> Result<(Router, Following), Box<dyn Error>> {
    let builder = Engine::builder().clusters(["gray", "prod"]);
    let (engine, following) = Follower::new(builder, FileSource::new(rules))
        .last_good(rules.with_extension("good"))
        .built_in(BUILT_IN)
        .start()
        .await?;
    let shop = Router::new()
        .fallback(async |decision: Decision| format!("{} by {}\n", decision.cluster(), decision.statement()))
        .layer(TrafficSplitLayer::new(engine));
    let reader = following.reader();
    let status = get(async move || format!("{}\n", reader.status()));
    Ok((Router::new().route("/_status", status).fallback_service(shop), following))
}
