//! A cluster that hangs, is killed and comes back, and what the other one notices of it: nothing.
//!
//! Two clusters of two servers each on loopback, a gateway before them, and clients of both. Run it with
//! `cargo run --release --features health --example isolation`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::pending;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pointsman::middleware::{Health, HealthSettings, IsolateLayer};
use pointsman::{Clusters, Engine, TrafficSplitLayer};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tower::util::BoxCloneSyncService;
use tower::{Layer, service_fn};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
type Web = Client<HttpConnector, Body>;

const RULES: &str = r#"
route testers: header(x-canary) == "always" => gray
default => prod
"#;

/// What was seen while gray was in one state.
pub(crate) struct Seen {
    pub(crate) gray_is: &'static str,
    /// How long each request took, in order.
    pub(crate) prod: Vec<Duration>,
    pub(crate) prod_failed: usize,
    /// How often gray answered with which status.
    pub(crate) gray: BTreeMap<u16, usize>,
}

/// A server that works, hangs, or is not there.
struct Server {
    address: SocketAddr,
    hangs: Arc<AtomicBool>,
    /// Its own, so that it can be killed with all its connections.
    runtime: Option<Runtime>,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let seen = runtime.block_on(run(&mut std::io::stdout(), 5_000))?;
    if seen.iter().any(|seen| seen.prod_failed > 0) { Err("prod noticed".into()) } else { Ok(()) }
}

pub(crate) async fn run(out: &mut impl Write, requests: usize) -> Result<Vec<Seen>> {
    let engine = Engine::builder().clusters(["gray", "prod"]).build(RULES)?;
    let settings = HealthSettings::new().ejection_time(Duration::from_millis(200), Duration::from_secs(1));
    let health = Health::new(&engine, settings.clone());
    let mut gray = [Server::start()?, Server::start()?];
    let prod = [Server::start()?, Server::start()?];

    // A hundred requests at a time for each cluster; the rest is shed.
    let cluster = |name: &str, servers: &[Server; 2], timeout: Duration| {
        let upstreams = servers.each_ref().map(|server| (server.address.to_string(), server.upstream()));
        let upstreams = health.upstreams_with(settings.clone().timeout(timeout), name, upstreams)?;
        Result::Ok((name.to_owned(), IsolateLayer::new().concurrency(100).layer(upstreams)))
    };
    let gray_service = cluster("gray", &gray, Duration::from_millis(500))?;
    let prod_service = cluster("prod", &prod, Duration::from_secs(30))?;
    let clusters = Clusters::new(&engine, [gray_service, prod_service])?;
    let app: Router = Router::new().fallback_service(TrafficSplitLayer::new(engine).layer(clusters));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, app).into_future());

    let mut all = Vec::new();
    for gray_is in ["working", "hanging", "killed", "back"] {
        match gray_is {
            "hanging" => gray.iter().for_each(|server| server.hangs.store(true, Ordering::Relaxed)),
            "killed" => gray.iter_mut().for_each(Server::kill),
            "back" => {
                gray.iter_mut().try_for_each(Server::revive)?;
                wait_for(address, &health).await?;
            }
            _ => {}
        }
        let seen = load(gray_is, address, requests).await?;
        writeln!(out, "{seen}")?;
        all.push(seen);
    }
    writeln!(out, "{}", health.status())?;
    for mut server in gray.into_iter().chain(prod) {
        server.kill();
    }
    Ok(all)
}

/// Four clients of prod, each as fast as it gets answers, and beside them a request for gray every millisecond.
async fn load(gray_is: &'static str, address: SocketAddr, requests: usize) -> Result<Seen> {
    let mut seen = Seen { gray_is, prod: Vec::new(), prod_failed: 0, gray: BTreeMap::new() };
    let mut prod = JoinSet::new();
    for _ in 0..4 {
        prod.spawn(async move {
            let web = web();
            let mut answers = Vec::new();
            for _ in 0..requests / 4 {
                let begin = Instant::now();
                let status = ask(&web, address, "never").await;
                answers.push((begin.elapsed(), status));
            }
            answers
        });
    }
    let mut gray = JoinSet::new();
    let web = web();
    let mut beat = tokio::time::interval(Duration::from_millis(1));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !prod.is_empty() {
        tokio::select! {
            answers = prod.join_next() => for (took, status) in answers.transpose()?.unwrap_or_default() {
                seen.prod.push(took);
                seen.prod_failed += usize::from(status.ok() != Some(StatusCode::OK));
            },
            _ = beat.tick() => {
                let web = web.clone();
                gray.spawn(async move { ask(&web, address, "always").await });
            }
        }
    }
    while let Some(status) = gray.join_next().await {
        *seen.gray.entry(status??.as_u16()).or_default() += 1;
    }
    seen.prod.sort_unstable();
    Ok(seen)
}

fn web() -> Web {
    Client::builder(TokioExecutor::new()).build_http()
}

async fn ask(web: &Web, address: SocketAddr, canary: &str) -> Result<StatusCode> {
    let request = Request::get(format!("http://{address}/")).header("x-canary", canary);
    let response = web.request(request.body(Body::empty())?).await?;
    let status = response.status();
    response.into_body().collect().await?;
    Ok(status)
}

/// Until both servers of gray have been probed: nobody but clients does that.
async fn wait_for(address: SocketAddr, health: &Health) -> Result<()> {
    let web = web();
    let all_back = async {
        while health.status().to_string().contains("ejected") {
            ask(&web, address, "always").await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Result::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(20), all_back).await?
}

// === impl Server ===

impl Server {
    fn start() -> Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let mut server = Server { address, hangs: Arc::default(), runtime: None };
        server.revive()?;
        Ok(server)
    }

    fn revive(&mut self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let socket = std::net::TcpListener::bind(self.address)?;
        socket.set_nonblocking(true)?;
        self.address = socket.local_addr()?;
        self.hangs.store(false, Ordering::Relaxed);
        let hangs = self.hangs.clone();
        let app: Router = Router::new().fallback(async move || {
            if hangs.load(Ordering::Relaxed) {
                pending::<()>().await;
            }
            "a kilobyte, or nearly".repeat(48)
        });
        runtime.spawn(async move { axum::serve(TcpListener::from_std(socket)?, app).await });
        self.runtime = Some(runtime);
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// A client of it, as a gateway has: what cannot be reached is a `502`.
    fn upstream(&self) -> BoxCloneSyncService<Request<Body>, Response<Body>, Infallible> {
        let (web, address) = (web(), self.address);
        BoxCloneSyncService::new(service_fn(move |mut request: Request<Body>| {
            let web = web.clone();
            async move {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let Ok(uri) = Uri::try_from(format!("http://{address}{path}")) else {
                    return Ok(answer(StatusCode::BAD_REQUEST));
                };
                *request.uri_mut() = uri;
                match web.request(request).await {
                    Ok(response) => Ok(response.map(Body::new)),
                    Err(_) => Ok(answer(StatusCode::BAD_GATEWAY)),
                }
            }
        }))
    }
}

fn answer(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

// === impl Seen ===

impl Seen {
    /// Of so many in a hundred no request of prod took longer.
    fn percentile(&self, percent: usize) -> Duration {
        self.prod.get(self.prod.len() * percent / 100).copied().unwrap_or_default()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |percent| self.percentile(percent).as_secs_f64() * 1000.0;
        write!(
            f,
            "gray is {:<8} prod: {} requests, {} failed, ",
            self.gray_is,
            self.prod.len(),
            self.prod_failed
        )?;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms; gray:", millis(50), millis(99))?;
        self.gray.iter().try_for_each(|(status, count)| write!(f, " {count} x {status}"))
    }
}
