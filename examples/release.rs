//! A release with nothing lost: a new version of each half of production, one after the other, under load.
//!
//! Run it with `cargo run --example release`. Three servers, a router in front of them and sixteen clients, all real and
//! on the loopback interface. The steps are those of the guide, `src/docs/releasing.md`: shift to one half by an edit of
//! the weights, wait until the other has drained, stop it (hard, in the middle of whatever it does), start its new
//! version, look at that through a header, shift back.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use http::{Request, Response, StatusCode, Uri};
use http_body::Frame;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pointsman::{Clusters, Engine, InFlight, TrafficSplitLayer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tower::service_fn;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const RULES: &str = r#"# Releases go back and forth between the two halves.
cluster prod = prod_a 50, prod_b 50 by cookie(uid)   # even, unless there is a release

# For whoever looks at a half before anybody else is sent there.
route try_a: header(x-try) == "prod_a" => prod_a
route try_b: header(x-try) == "prod_b" => prod_b

route gray: header(x-gray) == "always" => gray
default => prod
"#;

/// How many requests are answered before the next step.
const STEP: u64 = 2_500;
const CLIENTS: u64 = 16;
/// No step takes so long, or something is wrong.
const LONG: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    run(&mut std::io::stdout()).await
}

pub(crate) async fn run(out: &mut impl Write) -> Result<()> {
    let mut servers = BTreeMap::new();
    for name in ["gray", "prod_a", "prod_b"] {
        servers.insert(name, Server::start(name, "v1").await?);
    }
    let engine = Engine::builder().clusters(servers.keys()).build(RULES)?;
    let addresses: Arc<Addresses> = Arc::default();
    lock(&addresses).extend(servers.iter().map(|(name, server)| (*name, server.address)));
    let (router, in_flight) = router(&engine, &addresses)?;
    let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let at = front.local_addr()?;
    let _router = Running(tokio::spawn(serve(front, router)));
    let load = Load::start(at);
    load.step(out, "even").await?;

    for (old, other) in [("prod_a", "prod_b"), ("prod_b", "prod_a")] {
        shift(&engine, &[(other, 100), (old, 0)])?;
        // No request is sent there any more. Those that were are waited for, to the end of their bodies.
        let at_hand = in_flight.count(old)?;
        timeout(LONG, in_flight.drained(old)?).await?;
        let Some(server) = servers.remove(old) else { return Err("a server is missing".into()) };
        server.stop().await;
        writeln!(out, "{old} had {at_hand} at hand, has drained, and is stopped")?;
        load.step(out, &format!("all at {other}")).await?;
        // It comes up at an address of its own, as it would anywhere: at the old one, connections to the old server
        // may wait in the router's pool, and the first request on each would fail.
        let server = Server::start(old, "v2").await?;
        lock(&addresses).insert(old, server.address);
        servers.insert(old, server);

        let seen = look(at, old).await?;
        if seen != format!("{old} v2") {
            return Err(format!("{old} is not ready: {seen}").into());
        }
        writeln!(out, "x-try: {old} -> {seen}")?;
        for share in [5, 25] {
            shift(&engine, &[(old, share), (other, 100 - share)])?;
            load.step(out, &format!("{share} % at the new {old}")).await?;
        }
        shift(&engine, &[(old, 50), (other, 50)])?;
        load.step(out, "even").await?;
    }

    // What is left of all the edits is the text as it was written.
    writeln!(out, "the text is {}", if engine.rules().text() == RULES { "as it was" } else { "another" })?;
    let (answered, failed) = load.stop(out).await?;
    writeln!(out, "{answered} requests, {failed} failed")?;
    Ok(())
}

/// Edits the weights. Where the text lives in a file or a store, the edit is written there.
fn shift(engine: &Engine, weights: &[(&str, u32)]) -> Result<()> {
    let text = engine.rules().with_weights("prod", weights.iter().copied())?;
    engine.replace(text)?;
    Ok(())
}

// === the router ===

/// Where the server of each cluster is.
type Addresses = Mutex<BTreeMap<&'static str, SocketAddr>>;

/// Sends each request on to the server of its cluster.
fn router(engine: &Engine, addresses: &Arc<Addresses>) -> Result<(Router, InFlight)> {
    let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build(connector());
    let names: Vec<&'static str> = lock(addresses).keys().copied().collect();
    let services = names.into_iter().map(|name| {
        let (client, addresses) = (client.clone(), addresses.clone());
        let send = move |request| {
            let server = lock(&addresses).get(name).copied();
            send_on(client.clone(), server, request)
        };
        (name, service_fn(send))
    });
    let clusters = Clusters::new(engine, services)?;
    let layer = TrafficSplitLayer::new(engine.clone()).count_in_flight();
    let in_flight = layer.in_flight();
    Ok((Router::new().fallback_service(clusters).layer(layer), in_flight))
}

async fn send_on(
    client: Client<HttpConnector, Body>,
    server: Option<SocketAddr>,
    mut request: Request<Body>,
) -> std::result::Result<Response<Body>, Infallible> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = server.and_then(|server| Uri::try_from(format!("http://{server}{path}")).ok());
    *request.uri_mut() = uri.unwrap_or_default();
    Ok(match client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            let mut response = Response::new(Body::from(error.to_string()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    })
}

// === the servers ===

/// A version of a service, which can be stopped without any courtesy.
struct Server {
    address: SocketAddr,
    running: Running,
}

/// A body that comes piece by piece.
struct Pieces(mpsc::UnboundedReceiver<String>);

/// A task that ends when this is dropped, and all its connections with it.
struct Running(JoinHandle<()>);

impl Server {
    async fn start(name: &'static str, version: &'static str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let answer = async move || format!("{name} {version}");
        // Half of it at once, the rest later: something that a release could cut in two.
        let slowly = async move || {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                sender.send(name.to_owned())?;
                tokio::time::sleep(Duration::from_millis(20)).await;
                sender.send(format!(" {version}"))
            });
            Body::new(Pieces(receiver))
        };
        let app = Router::new().route("/", get(answer)).route("/slow", get(slowly));
        Ok(Server { address, running: Running(tokio::spawn(serve(listener, app))) })
    }

    /// Drops the server and all its connections, whatever they are doing.
    async fn stop(mut self) {
        self.running.0.abort();
        let _ = (&mut self.running.0).await;
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece.into()))))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(listener: TcpListener, app: Router) {
    // Dropped with the task, and what is in it is aborted.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(app.clone());
        connections.spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

// === the load ===

/// Clients that ask without a break, and what they got.
struct Load {
    seen: Arc<Seen>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<String>>,
    step: Mutex<Step>,
}

/// What was asked and answered since the last step. An answer to what was asked before it may still be on its way to the
/// client when all servers have done their part, and would look as if a server that is stopped had been asked.
#[derive(Default)]
struct Step {
    number: u64,
    /// By what answered.
    by: BTreeMap<String, u64>,
}

impl Load {
    fn start(at: SocketAddr) -> Self {
        let seen: Arc<Seen> = Arc::default();
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(ask_on(at, client, seen.clone()));
        }
        Load { seen, clients }
    }

    /// Waits until so many more requests were answered, and says by whom.
    async fn step(&self, out: &mut impl Write, what: &str) -> Result<()> {
        let next = lock(&self.seen.step).number + 1;
        *lock(&self.seen.step) = Step { number: next, ..Step::default() };
        let until = self.seen.answered.load(Ordering::SeqCst) + STEP;
        timeout(LONG, async {
            while self.seen.answered.load(Ordering::SeqCst) < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await?;
        let by: Vec<_> =
            lock(&self.seen.step).by.iter().map(|(who, count)| format!("{who}: {count}")).collect();
        writeln!(out, "{what:<22} {}", by.join(", "))?;
        Ok(())
    }

    async fn stop(mut self, out: &mut impl Write) -> Result<(u64, u64)> {
        self.seen.stop.store(true, Ordering::SeqCst);
        timeout(LONG, async { while self.clients.join_next().await.is_some() {} }).await?;
        if let Some(failure) = &*lock(&self.seen.first_failure) {
            writeln!(out, "the first that failed: {failure}")?;
        }
        let [answered, failed] = [&self.seen.answered, &self.seen.failed].map(|c| c.load(Ordering::SeqCst));
        Ok((answered, failed))
    }
}

async fn ask_on(at: SocketAddr, client: u64, seen: Arc<Seen>) {
    let http: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector());
    let (mut uid, mut asked) = (client, 0_u64);
    while !seen.stop.load(Ordering::SeqCst) {
        uid += CLIENTS;
        asked += 1;
        let step = lock(&seen.step).number;
        let is_gray = uid.is_multiple_of(10);
        let path = if asked.is_multiple_of(15) { "/slow" } else { "/" };
        let mut request = Request::get(format!("http://{at}{path}")).header("cookie", format!("uid={uid}"));
        if is_gray {
            request = request.header("x-gray", "always");
        }
        let answer = match request.body(Empty::new()) {
            Ok(request) => text(&http, request).await,
            Err(error) => Err(error.into()),
        };
        let expected = if is_gray { "gray v" } else { "prod_" };
        match answer {
            Ok(answer) if answer.starts_with(expected) && answer.contains(" v") => {
                let mut now = lock(&seen.step);
                if now.number == step {
                    *now.by.entry(answer).or_default() += 1;
                }
            }
            other => {
                seen.failed.fetch_add(1, Ordering::SeqCst);
                lock(&seen.first_failure).get_or_insert_with(|| format!("uid={uid} {path}: {other:?}"));
            }
        }
        seen.answered.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a tester sees.
async fn look(at: SocketAddr, cluster: &str) -> Result<String> {
    let http = Client::builder(TokioExecutor::new()).build(connector());
    text(&http, Request::get(format!("http://{at}/")).header("x-try", cluster).body(Empty::new())?).await
}

/// The whole body of a response with status 200.
async fn text(http: &Client<HttpConnector, Empty<Bytes>>, request: Request<Empty<Bytes>>) -> Result<String> {
    let response = http.request(request).await?;
    let status = response.status();
    let body = String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?;
    if status == StatusCode::OK { Ok(body) } else { Err(format!("{status}: {body}").into()) }
}

/// Small requests do not wait for each other.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
