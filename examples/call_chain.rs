//! A request that is gray at the front stays gray in the services behind: web, which calls orders, which calls stock.
//!
//! Run it with `cargo run --example call_chain`. Three servers on the loopback interface, each with rules of its own. Only
//! web asks for the header of a tester; the others follow what the service before them decided.

use std::error::Error;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pointsman::middleware::Propagate;
use pointsman::schema::Trusted;
use pointsman::{Carrier, Decision, Engine, Follow, PropagateLayer, TrafficSplitLayer};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    run(&mut std::io::stdout()).await
}

pub(crate) async fn run(out: &mut impl Write) -> Result<()> {
    // Everybody behind web is called by one of ours; web by anybody.
    let ours = Trusted::networks(["127.0.0.0/8"])?;
    let nobody = Trusted::networks::<[&str; 0]>([])?;

    let stock = Service::start("stock", "default => prod", &ours, None).await?;
    let orders = Service::start("orders", "default => prod", &ours, Some(stock.at)).await?;
    let rules = "route testers: header(x-canary) == \"always\" => gray\ndefault => prod";
    let web = Service::start("web", rules, &nobody, Some(orders.at)).await?;

    for (name, value) in [("x-canary", "never"), ("x-canary", "always"), ("baggage", "pointsman=gray")] {
        let request = Request::get(format!("http://{}/", web.at)).header(name, value).body(Body::empty())?;
        // Straight from a client, who may say anything.
        writeln!(out, "{name}: {value} -> {}", text(client().get_ref(), request).await?)?;
    }

    // How often each was told where to go.
    for service in [web, orders, stock] {
        let counters = service.engine.counters();
        let followed: Vec<_> = counters.followed.iter().map(|(name, n)| format!("{n} {name}")).collect();
        writeln!(out, "{}: {} decided, {} followed", service.name, counters.decisions, followed.join(", "))?;
    }
    Ok(())
}

struct Service {
    name: &'static str,
    at: SocketAddr,
    engine: Engine,
}

/// What a handler needs to call the next service.
#[derive(Clone)]
struct Shop {
    name: &'static str,
    next: Option<SocketAddr>,
    client: Propagate<Client<HttpConnector, Body>>,
}

impl Service {
    async fn start(
        name: &'static str,
        rules: &str,
        trusted: &Trusted,
        next: Option<SocketAddr>,
    ) -> Result<Self> {
        let engine = Engine::builder().clusters(["gray", "prod"]).build(rules)?;
        // Each service is released for itself: gray is all that they agree on.
        let follow = Follow::new(Carrier::default(), trusted.clone()).only(["gray"]);
        let app = Router::new()
            .route("/", get(answer))
            .layer(TrafficSplitLayer::new(engine.clone()).follow(follow))
            .with_state(Shop { name, next, client: client() });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = listener.local_addr()?;
        // Whose word is taken is a question of who is connected.
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Service { name, at, engine })
    }
}

fn client() -> Propagate<Client<HttpConnector, Body>> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    PropagateLayer::new(Carrier::default()).layer(client)
}

async fn answer(State(shop): State<Shop>, decision: Decision) -> std::result::Result<String, StatusCode> {
    let answer = format!("{}: {} ({})", shop.name, decision.cluster(), decision.statement());
    let Some(next) = shop.next else { return Ok(answer) };
    // The request that goes out is told what was decided for the one that came in.
    let request = Request::get(format!("http://{next}/")).extension(decision).body(Body::empty());
    let request = request.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let behind = text(&shop.client, request).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(format!("{answer}, {behind}"))
}

async fn text<C>(client: &C, request: Request<Body>) -> Result<String>
where
    C: tower::Service<Request<Body>, Response = Response<Incoming>> + Clone,
    C::Error: Error + Send + Sync + 'static,
{
    let response = client.clone().oneshot(request).await?;
    let status = response.status();
    let body = String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?;
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {body}").into()) }
}
