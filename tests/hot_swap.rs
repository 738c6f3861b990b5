//! Rules are replaced a thousand times under load: no request fails, and none sees a mixture.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode};
use axum::routing::get;
use axum::serve::ListenerExt;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pointsman::{Clusters, Decision, Engine, TrafficSplitLayer};
use tokio::net::TcpListener;
use tokio::sync::watch;

const SWAPS: u64 = 1000;
const CLIENTS: usize = 4;
const CLUSTER: HeaderName = HeaderName::from_static("x-cluster");
const TESTER: HeaderName = HeaderName::from_static("x-tester");

/// Revision N has one live route, called by N's parity and leading to that cluster, and a shadow of the other.
fn rules(revision: u64) -> String {
    let (own, other) = if revision.is_multiple_of(2) { ("even", "odd") } else { ("odd", "even") };
    format!(
        "# revision {revision}\n\
         shadow route {other}: path under \"/\" => {other}\n\
         route {own}: cookie(uid) == \"1001\" && path under \"/\" => {own}\n\
         default => nobody\n"
    )
}

/// Texts that look like rules until their last statement.
fn bad(revision: u64) -> String {
    let good = rules(revision);
    match revision % 4 {
        0 => good.replace("=> nobody", "=> nobdy"),
        1 => format!("{good}route late: host == \"a\" => even => odd"),
        2 => good.replace("default", "route default"),
        _ => format!("{good}\0"),
    }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// Sends requests until `stop`, holds every answer against itself, and returns how many there were.
async fn load(addr: SocketAddr, stop: Arc<AtomicBool>, answered: Arc<watch::Sender<u64>>) -> u64 {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let (mut sent, mut last) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let request = Request::get(format!("http://{addr}/"))
            .header("cookie", "uid=1001")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = client.request(request).await.unwrap();
        sent += 1;
        assert_eq!(response.status(), StatusCode::OK);
        let tester = response.headers()[TESTER].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let answer: Vec<_> = body.split(' ').collect();
        let [service, cluster, rule, header, revision, text] = answer[..] else { panic!("{body}") };
        let revision: u64 = revision.parse().unwrap();
        let want = if revision.is_multiple_of(2) { "even" } else { "odd" };
        assert_eq!([service, cluster, rule, header, &*tester], [want; 5], "{body}");
        assert_eq!(text, revision.to_string(), "the rules of a decision are those of its revision");
        assert!(revision >= last, "revision {revision} after {last} on one connection");
        last = revision;
        answered.send_modify(|answered| *answered += 1);
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_swaps_under_load_are_not_noticed() {
    let engine = Engine::builder().clusters(["even", "odd", "nobody"]).build(&*rules(1)).unwrap();
    let handled = Arc::new(AtomicU64::new(0));
    let services = ["even", "odd", "nobody"].map(|name| {
        let handled = handled.clone();
        let answer = async move |headers: HeaderMap, decision: Decision| {
            handled.fetch_add(1, Ordering::Relaxed);
            // Time for a swap between what was read before and after.
            tokio::task::yield_now().await;
            let text = decision.rules().text().lines().next().unwrap().to_owned();
            format!(
                "{name} {} {} {} {} {}",
                decision.cluster(),
                decision.rule().unwrap_or("default"),
                headers[CLUSTER].to_str().unwrap(),
                decision.revision(),
                text.trim_start_matches("# revision "),
            )
        };
        (name, Router::<()>::new().route("/", get(answer)))
    });
    let clusters = Clusters::new(&engine, services).unwrap();
    let layer = TrafficSplitLayer::new(engine.clone()).request_header(CLUSTER).response_header(TESTER);
    let addr = serve(Router::new().fallback_service(clusters).layer(layer)).await;

    let stop = Arc::new(AtomicBool::new(false));
    let (answered, mut progress) = watch::channel(0);
    let answered = Arc::new(answered);
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(load(addr, stop.clone(), answered.clone()))).collect();
    drop(answered);

    let swaps = async {
        for revision in 2..=SWAPS + 1 {
            // Each rule set answers a request at least, so that none is swapped for nothing.
            progress.changed().await.expect("the clients go on");
            engine.replace(&*bad(revision)).unwrap_err();
            assert_eq!(engine.rules().revision(), revision - 1);
            assert_eq!(engine.replace(&*rules(revision)).unwrap().revision(), revision);
            if revision % 100 == 0 {
                // Reading the counters while they move loses nothing.
                engine.counters();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(300), swaps).await.unwrap();
    stop.store(true, Ordering::Relaxed);

    let mut sent = 0;
    for client in clients {
        sent += client.await.unwrap();
    }
    assert!(sent >= SWAPS, "{sent}");
    assert_eq!(handled.load(Ordering::Relaxed), sent);
    let counters = engine.counters();
    assert_eq!(counters.decisions, sent);
    let hits = |name: &str, shadow: bool| -> u64 {
        let counts = counters.counts.iter().filter(|c| c.statement == name);
        counts.filter(|c| (c.state == pointsman::State::Shadow) == shadow).map(|c| c.count).sum()
    };
    // Whatever a route acted on, its opposite shadowed.
    assert_eq!(hits("even", false) + hits("odd", false), sent);
    assert_eq!(hits("even", false), hits("odd", true));
    assert_eq!(hits("odd", false), hits("even", true));
}
