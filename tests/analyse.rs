//! What traffic is, as real servers and clients make it, with time that is given.
#![cfg(all(feature = "analyse", feature = "axum"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{any, get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use pointsman::engine::StatementKind;
use pointsman::gateway::analyse::ClusterAnalysis;
use pointsman::gateway::{AnalyseLayer, Analysis};
use pointsman::{Engine, Schema, TrafficSplitLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

/// A time that goes on when it is told to.
#[derive(Clone)]
struct Time {
    start: Instant,
    millis: Arc<AtomicU64>,
}

impl Time {
    fn new() -> Self {
        Time { start: Instant::now(), millis: Arc::new(AtomicU64::new(0)) }
    }

    fn pass(&self, millis: u64) {
        self.millis.fetch_add(millis, Ordering::Relaxed);
    }

    fn layer(&self, engine: &Engine) -> AnalyseLayer {
        let time = self.clone();
        let now = move || time.start + Duration::from_millis(time.millis.load(Ordering::Relaxed));
        AnalyseLayer::with_clock(engine.clone(), now)
    }
}

const RULES: &str = r#"
deny bad:  path == "/bad"                           => 403
count top_users: true                               => top 3 by cookie(uid) per 15s
shadow count next: true                             => top 3 by host per 15s
route gray: path under "/gray"                      => gray
default => prod
"#;

fn engine(rules: &str) -> Engine {
    let kinds = [StatementKind::Count, StatementKind::Deny];
    let schema = Schema::new().clusters(["gray", "prod"]).gateway(kinds);
    Engine::builder().schema(schema).build(rules).expect("sound rules")
}

/// A body of two pieces, with half a second between them; broken off in between if it is told to.
fn two_pieces(time: Time, whole: bool) -> Body {
    let piece =
        |text: &'static str| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(text.as_bytes())));
    let mut pieces =
        vec![piece("one "), if whole { piece("two") } else { Err(std::io::ErrorKind::Other.into()) }];
    pieces.reverse();
    let mut first = true;
    let stream = std::iter::from_fn(move || {
        if !std::mem::take(&mut first) {
            time.pass(500);
        }
        pieces.pop()
    });
    Body::new(Pieces(stream))
}

/// A body from an iterator.
struct Pieces<I>(I);

impl<I, E> http_body::Body for Pieces<I>
where
    I: Iterator<Item = Result<Frame<Bytes>, E>> + Unpin,
{
    type Data = Bytes;
    type Error = E;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

fn app(time: &Time) -> Router {
    let (slow, streamed, broken) = (time.clone(), time.clone(), time.clone());
    Router::new()
        .route(
            "/{cluster}/status/{status}",
            any(async |Path((_, status)): Path<(String, u16)>| {
                (StatusCode::from_u16(status).unwrap(), "a body")
            }),
        )
        .route(
            "/{cluster}/slow/{millis}",
            get(async move |Path((_, millis)): Path<(String, u64)>| slow.pass(millis)),
        )
        .route("/{cluster}/streamed", get(async move || two_pieces(streamed, true)))
        .route("/{cluster}/broken", get(async move || two_pieces(broken, false)))
        .fallback(any(async || "from somewhere"))
}

async fn serve(analyse: &AnalyseLayer, engine: &Engine, app: Router) -> SocketAddr {
    let layers = ServiceBuilder::new().layer(TrafficSplitLayer::new(engine.clone())).layer(analyse.clone());
    let app = app.layer(layers);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// All that the server sends until it closes.
async fn send(addr: SocketAddr, line: &str, headers: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        String::from_utf8(response).unwrap()
    };
    tokio::time::timeout(Duration::from_secs(60), exchange).await.expect("the server answers")
}

/// The analysis, once it is as wanted; or as it is after a while.
async fn eventually(analyse: &AnalyseLayer, wanted: impl Fn(&Analysis) -> bool) -> Analysis {
    for _ in 0..2000 {
        let analysis = analyse.analysis();
        if wanted(&analysis) {
            return analysis;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    analyse.analysis()
}

fn cluster<'a>(analysis: &'a Analysis, name: &str) -> &'a ClusterAnalysis {
    analysis.cluster(name).unwrap()
}

/// Half of them, in milliseconds, to the nearest.
fn p50(times: &pointsman::gateway::analyse::Latencies) -> Option<f64> {
    times.quantile(0.5).map(|time| time.as_secs_f64() * 1e3)
}

fn near(time: Option<f64>, wanted: f64) {
    let time = time.expect("there are some");
    assert!((time - wanted).abs() <= wanted / 31.0, "{time} is not about {wanted}");
}

// === clusters ===

#[tokio::test]
async fn clusters_stand_side_by_side_with_their_classes_and_times() {
    let (time, engine) = (Time::new(), engine(RULES));
    let analyse = time.layer(&engine);
    let addr = serve(&analyse, &engine, app(&time)).await;
    for status in [200, 201, 204, 301, 304, 404, 429, 500, 503, 600] {
        send(addr, &format!("GET /prod/status/{status}"), "").await;
    }
    for millis in [10, 20, 30, 1000] {
        send(addr, &format!("GET /gray/slow/{millis}"), "").await;
    }
    let analysis = eventually(&analyse, |it| cluster(it, "gray").ends.count() == 4).await;
    let (gray, prod) = (cluster(&analysis, "gray"), cluster(&analysis, "prod"));
    assert_eq!(prod.classes, [0, 3, 2, 2, 2, 1]);
    assert_eq!((prod.responses(), prod.headers.count(), prod.ends.count(), prod.cut), (10, 10, 10, 0));
    assert_eq!(gray.classes, [0, 4, 0, 0, 0, 0]);
    near(p50(&gray.headers), 20.0);
    near(gray.headers.quantile(0.99).map(|time| time.as_secs_f64() * 1e3), 1000.0);
    assert_eq!(gray.headers.cumulative().map(|(_, count)| count).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(prod.headers.quantile(0.5), Some(Duration::ZERO));

    let table = analysis.to_string();
    let head = "cluster  2xx  3xx  4xx  5xx  errors  cut  refused  cached  header p50    p90    p99  end p50    p90    p99";
    assert_eq!(table.lines().next(), Some(head), "{table}");
    assert!(table.lines().nth(1).unwrap().starts_with("gray       4    0    0    0"), "{table}");
    println!("{table}");

    // Between two times.
    send(addr, "GET /gray/slow/500", "").await;
    let later = eventually(&analyse, |it| cluster(it, "gray").ends.count() == 5).await;
    let since = later.since(&analysis);
    assert_eq!((cluster(&since, "gray").responses(), cluster(&since, "prod").responses()), (1, 0));
    near(p50(&cluster(&since, "gray").headers), 500.0);
    assert_eq!(cluster(&since, "prod").headers.quantile(0.5), None);
}

#[tokio::test]
async fn the_end_of_a_body_has_a_time_of_its_own() {
    let (time, engine) = (Time::new(), engine(RULES));
    let analyse = time.layer(&engine);
    let addr = serve(&analyse, &engine, app(&time)).await;
    let response = send(addr, "GET /prod/streamed", "").await;
    assert!(response.contains("one ") && response.contains("two"), "{response}");
    let analysis = eventually(&analyse, |it| cluster(it, "prod").ends.count() == 1).await;
    let prod = cluster(&analysis, "prod");
    assert_eq!(p50(&prod.headers), Some(0.0));
    let end = p50(&prod.ends).expect("it has ended");
    assert!(end > 480.0, "{end}");
    assert_eq!(prod.cut, 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_left_is_cut() {
    let (time, engine) = (Time::new(), engine(RULES));
    let analyse = time.layer(&engine);
    let addr = serve(&analyse, &engine, app(&time)).await;
    send(addr, "GET /gray/broken", "").await;
    let analysis = eventually(&analyse, |it| cluster(it, "gray").cut == 1).await;
    let gray = cluster(&analysis, "gray");
    assert_eq!((gray.classes[1], gray.cut, gray.ends.count()), (1, 1, 0));

    // A client that reads the header and goes away.
    let endless = Router::new().fallback(any(async || {
        let zeros =
            std::iter::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'0'; 1 << 14]))));
        Body::new(Pieces(zeros))
    }));
    let addr = serve(&analyse, &engine, endless).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"GET /prod HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(Duration::from_secs(60), stream.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    drop(stream);
    let analysis = eventually(&analyse, |it| cluster(it, "prod").cut == 1).await;
    assert_eq!((cluster(&analysis, "prod").cut, cluster(&analysis, "prod").ends.count()), (1, 0));
}

#[tokio::test]
async fn a_body_that_is_never_sent_has_ended_with_the_header() {
    let (time, engine) = (Time::new(), engine(RULES));
    let analyse = time.layer(&engine);
    let addr = serve(&analyse, &engine, app(&time)).await;
    for line in ["HEAD /prod/status/200", "GET /prod/status/204", "GET /prod/status/304"] {
        send(addr, line, "").await;
    }
    let analysis = eventually(&analyse, |it| cluster(it, "prod").ends.count() == 3).await;
    assert_eq!((cluster(&analysis, "prod").ends.count(), cluster(&analysis, "prod").cut), (3, 0));
}

#[tokio::test]
async fn errors_and_requests_that_are_given_up_are_counted() {
    let (time, engine) = (Time::new(), engine(RULES));
    let analyse = time.layer(&engine);
    let fails = service_fn(async |_: Request<()>| Err::<Response<String>, _>("no upstream"));
    let service = TrafficSplitLayer::new(engine.clone()).layer(analyse.layer(fails));
    assert_eq!(service.oneshot(Request::get("/gray").body(()).unwrap()).await.unwrap_err(), "no upstream");

    let hangs = service_fn(|_: Request<()>| std::future::pending::<Result<Response<String>, Infallible>>());
    let mut service = TrafficSplitLayer::new(engine.clone()).layer(analyse.layer(hangs));
    drop(service.call(Request::get("/gray").body(()).unwrap()));

    let analysis = analyse.analysis();
    let gray = cluster(&analysis, "gray");
    assert_eq!((gray.errors, gray.cancelled, gray.responses(), gray.headers.count()), (1, 1, 0, 0));
}

#[cfg(feature = "deny")]
#[tokio::test]
async fn what_the_gateway_answers_is_not_the_clusters() {
    let (time, engine) = (Time::new(), engine(RULES));
    let analyse = time.layer(&engine);
    let app = app(&time).layer(pointsman::gateway::DenyLayer::new());
    let addr = serve(&analyse, &engine, app).await;
    assert!(send(addr, "GET /bad", "").await.starts_with("HTTP/1.1 403"));
    send(addr, "GET /prod", "").await;
    let analysis = eventually(&analyse, |it| cluster(it, "prod").ends.count() == 1).await;
    let prod = cluster(&analysis, "prod");
    assert_eq!((prod.refused, prod.classes), (1, [0, 1, 0, 0, 0, 0]));
    assert_eq!(prod.headers.count(), 1);
}

#[cfg(feature = "cache")]
#[tokio::test]
async fn what_the_cache_answers_is_not_the_clusters_and_a_failure_behind_it_is() {
    use std::sync::atomic::AtomicBool;
    use std::time::SystemTime;

    use http_body_util::Full;
    use pointsman::gateway::{CacheLayer, Cached};

    let rules = "cache all: true => 60s\ndefault => prod";
    let schema = Schema::new().clusters(["gray", "prod"]).gateway([StatementKind::Cache]);
    let engine = Engine::builder().schema(schema).build(rules).unwrap();
    let (time, begin) = (Time::new(), SystemTime::now());
    let analyse = time.layer(&engine);
    let now = time.clone();
    let clock = move || begin + Duration::from_millis(now.millis.load(Ordering::Relaxed));
    let (slow, fails) = (time.clone(), Arc::new(AtomicBool::new(false)));
    let failing = fails.clone();
    // A second each, and what was good before is so for an hour when it fails.
    let backend = service_fn(move |request: Request<String>| {
        let (slow, fails) = (slow.clone(), failing.load(Ordering::Relaxed));
        async move {
            tokio::task::yield_now().await;
            slow.pass(1000);
            let response = Response::builder().header("cache-control", "max-age=60, stale-if-error=3600");
            match request.uri().path() {
                "/error" if fails => Err("no upstream"),
                _ if fails => Ok(response.status(503).body(Full::from("down")).unwrap()),
                _ => Ok(response.body(Full::<Bytes>::from("page")).unwrap()),
            }
        }
    });
    let service = ServiceBuilder::new()
        .layer(TrafficSplitLayer::new(engine.clone()))
        .layer(analyse.clone())
        .layer(CacheLayer::builder().clock(clock).build())
        .service(backend);
    let ask = async |path: &str| {
        let response =
            service.clone().oneshot(Request::get(path).body(String::new()).unwrap()).await.unwrap();
        let (mark, status) = (response.extensions().get::<Cached>().copied(), response.status());
        assert_eq!(
            (status, response.into_body().collect().await.unwrap().to_bytes()),
            (StatusCode::OK, "page".into())
        );
        // What was brought is being stored by a task.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        mark
    };
    let prod = || {
        let prod = analyse.analysis().cluster("prod").unwrap().clone();
        (prod.cached, prod.classes, prod.errors)
    };
    // Of two at the same time, one goes.
    assert_eq!(tokio::join!(ask("/page"), ask("/page")), (None, Some(Cached::Answered)));
    assert_eq!(prod(), (1, [0, 1, 0, 0, 0, 0], 0));
    for _ in 0..9 {
        assert_eq!(ask("/page").await, Some(Cached::Answered));
    }
    assert_eq!(ask("/error").await, None);
    assert_eq!(prod(), (10, [0, 2, 0, 0, 0, 0], 0));
    near(p50(&cluster(&analyse.analysis(), "prod").headers), 1000.0);
    near(p50(&cluster(&analyse.analysis(), "prod").ends), 1000.0);

    // Nobody sees that it is down but the analysis.
    fails.store(true, Ordering::Relaxed);
    time.pass(120_000);
    assert_eq!(ask("/page").await, Some(Cached::InsteadOf(StatusCode::SERVICE_UNAVAILABLE)));
    assert_eq!(ask("/error").await, Some(Cached::InsteadOfError));
    assert_eq!(prod(), (10, [0, 2, 0, 0, 1, 0], 1));
    let analysis = analyse.analysis();
    let prod = cluster(&analysis, "prod");
    assert_eq!((prod.headers.count(), prod.ends.count(), prod.cut, prod.cancelled), (3, 2, 0, 0));
    let table = analysis.to_string();
    assert!(
        table
            .lines()
            .nth(2)
            .unwrap()
            .starts_with("prod       2    0    0    1       1    0        0      10"),
        "{table}"
    );
}

#[tokio::test]
async fn requests_of_another_engine_are_not_recorded() {
    let (one, other) = (engine(RULES), engine(RULES));
    let analyse = AnalyseLayer::new(one);
    let addr = serve(&analyse, &other, Router::new()).await;
    send(addr, "GET /prod", "cookie: uid=1\r\n").await;
    assert!(analyse.analysis().clusters.iter().all(|cluster| cluster.responses() == 0));
    assert!(analyse.top_keys_so_far().is_empty());
}

// === keys ===

#[tokio::test]
async fn the_keys_that_come_most_often_are_told_a_window_at_a_time() {
    let (time, engine) = (Time::new(), engine(RULES));
    let analyse = time.layer(&engine);
    let addr = serve(&analyse, &engine, app(&time)).await;
    for (uid, times) in [("a", 5), ("b", 1), ("c", 3), ("d", 2)] {
        for _ in 0..times {
            send(addr, "GET /prod", &format!("cookie: uid={uid}\r\n")).await;
        }
    }
    // Nobody whose key there is none of; but it is no request of the statement either.
    send(addr, "GET /prod", "").await;
    let top = |tops: Vec<pointsman::gateway::analyse::TopKeys>| {
        let [top] = &tops[..] else { panic!("there is one, as a shadow counts no keys: {tops:?}") };
        let keys: Vec<_> = top.keys.iter().map(|key| (key.key.clone(), key.count, key.error)).collect();
        (top.statement.clone(), top.total, keys)
    };
    let wanted =
        [("a", 5, 0), ("c", 3, 0), ("d", 2, 0)].map(|(key, count, error)| (key.to_owned(), count, error));
    let (name, total, keys) = top(analyse.top_keys_so_far());
    assert_eq!((name.as_str(), total, keys), ("top_users", 11, wanted.to_vec()));
    assert_eq!(top(analyse.top_keys()).1, 0);
    time.pass(15_000);
    send(addr, "GET /prod", "cookie: uid=z\r\n").await;
    assert_eq!(top(analyse.top_keys()).2, wanted);
    assert_eq!(top(analyse.top_keys_so_far()).1, 1);

    // The window goes on under new rules that have the statement.
    engine.replace(format!("# more\n{RULES}").as_str()).unwrap();
    send(addr, "GET /prod", "cookie: uid=z\r\n").await;
    assert_eq!(top(analyse.top_keys_so_far()).1, 2);
}

#[test]
fn a_heavy_hitter_is_found_among_a_hundred_thousand_others() {
    let (time, engine) = (Time::new(), engine(RULES));
    let analyse = time.layer(&engine);
    let inner =
        service_fn(|_: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let mut service = TrafficSplitLayer::new(engine).layer(analyse.layer(inner));
    let mut call = |uid: &str| {
        let request = Request::get("/").header("cookie", format!("uid={uid}")).body(()).unwrap();
        let future = std::pin::pin!(service.call(request));
        assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    };
    for at in 0..100_000 {
        call(&format!("u{at}"));
        if at % 20 == 0 {
            call("heavy");
        }
    }
    let top = &analyse.top_keys_so_far()[0];
    println!("{top}missed at most {}", top.missed);
    let heavy = &top.keys[0];
    assert_eq!(heavy.key, "heavy");
    assert!(heavy.count >= 5000 && heavy.count - heavy.error <= 5000);
    assert!(top.missed <= 105_000 / 64);
}

// === cost ===

#[test]
fn hundreds_of_counts_stay_below_the_bound_of_all_and_say_what_they_dropped() {
    const COUNTS: usize = 200;
    const BOUND: usize = 8 << 20;
    let rules: String =
        (0..COUNTS).map(|at| format!("count c{at}: true => top 100 by header(x) per 1h\n")).collect();
    let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Count]);
    let engine = Engine::builder().schema(schema).build(rules + "default => prod").unwrap();
    let (time, before) = (Time::new(), Engine::clone(&engine));
    let analyse = time.layer(&engine).bytes(BOUND);
    let mut service =
        analyse.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    let mut ask = |at: usize| {
        // Keys that grow, so that what holds them has to.
        let key = format!("{}{at:05}", "k".repeat(60 + at / 22));
        let mut request = Request::get("/").header("x", key).body(()).unwrap();
        let decision = before.decide(&request);
        request.extensions_mut().insert(decision);
        drop(service.call(request));
    };
    ask(0);
    let info = measure(|| (1..1_500).for_each(&mut ask));
    let taken = analyse.bytes_taken();
    println!("{} bytes allocated while counting, room taken for {taken}", info.bytes_max);
    assert!((BOUND - (1 << 20)..=BOUND).contains(&taken));
    assert!(info.bytes_max <= BOUND as u64, "{}", info.bytes_max);
    let tops = analyse.top_keys_so_far();
    let counted = tops.iter().filter(|top| top.total > 0).count();
    assert!((5..50).contains(&counted), "{counted}");
    assert!(tops.iter().all(|top| top.total + top.dropped == 1_500 && (top.total == 0 || top.dropped == 0)));
    // What goes makes room for what comes.
    engine.replace("count new: true => top 100 by header(x) per 1h\ndefault => prod").unwrap();
    ask(0);
    assert_eq!((analyse.top_keys_so_far()[0].total, analyse.bytes_taken() < 1 << 20), (1, true));
}

#[test]
fn recording_allocates_nothing_once_it_is_under_way() {
    let engine = engine(RULES);
    let analyse = AnalyseLayer::new(engine.clone());
    let inner =
        service_fn(|_: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let mut service = analyse.layer(inner);
    let mut call = |request| {
        let future = std::pin::pin!(service.call(request));
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(response)) = future.poll(&mut cx) else { panic!("is ready at once") };
        let mut body = std::pin::pin!(response.into_body());
        assert!(body.frame().now_or_never_ready(&mut cx));
    };
    let request = || {
        let mut request = Request::get("/").header("cookie", "uid=1001").body(()).unwrap();
        let decision = engine.decide(&request);
        request.extensions_mut().insert(decision);
        request
    };
    (0..3).for_each(|_| call(request()));
    let request = request();
    let info = measure(|| call(request));
    assert_eq!(info.count_total, 0);
    assert_eq!(analyse.analysis().cluster("prod").unwrap().ends.count(), 4);
}

trait NowOrNever {
    fn now_or_never_ready(self, cx: &mut Context<'_>) -> bool;
}

impl<F: Future> NowOrNever for F {
    fn now_or_never_ready(self, cx: &mut Context<'_>) -> bool {
        std::pin::pin!(self).poll(cx).is_ready()
    }
}

#[cfg(feature = "serde")]
#[tokio::test]
async fn an_analysis_is_json_with_quantiles() {
    let (time, engine) = (Time::new(), engine(RULES));
    let analyse = time.layer(&engine);
    let addr = serve(&analyse, &engine, app(&time)).await;
    send(addr, "GET /gray/slow/30", "").await;
    let analysis = eventually(&analyse, |it| cluster(it, "gray").ends.count() == 1).await;
    let json = serde_json::to_value(&analysis).unwrap();
    let gray = &json["clusters"][0];
    assert_eq!((&gray["cluster"], &gray["classes"][1]), (&"gray".into(), &1.into()));
    assert_eq!(gray["headers"]["count"], 1);
    assert_eq!(gray["headers"].as_object().unwrap().len(), 5);
    let p50 = gray["headers"]["p50_microseconds"].as_u64().unwrap();
    assert!((29_000..=31_000).contains(&p50), "{p50}");
    assert!(json["clusters"][1]["headers"]["p50_microseconds"].is_null());
}
