//! A service for each cluster: three services of three types behind one decision.
//!
//! Run it with `cargo run --example clusters`.

use std::convert::Infallible;
use std::error::Error;
use std::io::Write;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response};
use http_body_util::BodyExt;
use pointsman::{Clusters, Engine, TrafficSplitLayer};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

const RULES: &str = r#"
cluster prod = prod_a 50, prod_b 50 by cookie(uid)
route testers: header(x-canary) == "always" => gray
default => prod
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut std::io::stdout()).await
}

pub(crate) async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder().clusters(["gray", "prod_a", "prod_b"]).build(RULES)?;

    // An axum router, a function, and one that takes a hundred requests at a time. Usually: two clients and
    // the service at hand.
    let gray = Router::new().route("/", get(async || "gray: the new shop"));
    let prod_a = service_fn(async |_| answer("prod_a: the shop"));
    let prod_b = service_fn(async |_| answer("prod_b: the shop, too"));
    let prod_b = ServiceBuilder::new().concurrency_limit(100).service(prod_b);

    let clusters = Clusters::chain(&engine)
        .service("gray", gray)
        .service("prod_a", prod_a)
        .service("prod_b", prod_b)
        .build()?;
    let shop = TrafficSplitLayer::new(engine).layer(clusters);

    for (name, value) in [("x-canary", "always"), ("cookie", "uid=1001"), ("cookie", "uid=1002")] {
        let request = Request::get("/").header(name, value).body(Body::empty())?;
        let body = shop.clone().oneshot(request).await?.into_body().collect().await?.to_bytes();
        writeln!(out, "{name}: {value} -> {}", String::from_utf8_lossy(&body))?;
    }

    // A cluster that was forgotten is found when services and engine are joined, and not by a request.
    let engine = Engine::builder().clusters(["gray", "prod"]).build("default => prod")?;
    if let Err(error) = Clusters::new(&engine, [("prod", Router::<()>::new())]) {
        writeln!(out, "error: {error}")?;
    }
    Ok(())
}

fn answer(text: &'static str) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::from(text)))
}
