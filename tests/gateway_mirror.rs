//! Copies to a shadow: what they have, and that whatever a shadow does changes nothing for anybody else.
#![cfg(feature = "mirror")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

#[path = "common/loopback.rs"]
mod loopback;

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use http::{HeaderName, Request, Response, StatusCode};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use loopback::{full, proxy, raw, serve, text, until};
use pointsman::engine::StatementKind;
use pointsman::gateway::MirrorLayer;
use pointsman::gateway::mirror::{MirrorBody, MirrorCounts, MirrorTee};
use pointsman::{Clusters, Engine, PeerAddr, Schema, TrafficSplitLayer};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const RULES: &str = "mirror next: true => next with unsafe\ndefault => prod";

fn engine(rules: &str) -> Engine {
    let schema = Schema::new().clusters(["prod", "next", "other"]).gateway([StatementKind::Mirror]);
    Engine::builder().schema(schema).build(rules).unwrap()
}

/// What a shadow got: the header fields and the body.
type Seen = Arc<Mutex<Vec<(http::request::Parts, String)>>>;

async fn recorder(seen: Seen) -> SocketAddr {
    serve(service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = text(body).await;
            seen.lock().unwrap().push((parts, body));
            Ok::<_, Infallible>(Response::new(full("seen")))
        }
    }))
    .await
}

/// Says what it got; `/teapot` is another status.
async fn primary() -> SocketAddr {
    serve(service_fn(async |request: Request<Incoming>| {
        let marked = request.headers().contains_key("x-pointsman-mirror");
        let teapot = request.uri().path() == "/teapot";
        let body = text(request.into_body()).await;
        let mut response = Response::new(full(format!("primary {body} {marked}")));
        if teapot {
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
        }
        Ok::<_, Infallible>(response)
    }))
    .await
}

/// A gateway in front of a primary, and its layer.
async fn gateway(
    engine: &Engine,
    shadow: SocketAddr,
    set: impl Fn(MirrorLayer) -> MirrorLayer,
) -> (SocketAddr, MirrorLayer) {
    let mirror = set(MirrorLayer::new(engine, [("next", proxy::<MirrorBody>(shadow))]).unwrap());
    let to = proxy::<MirrorTee<Incoming>>(primary().await);
    let clusters = Clusters::new(engine, ["prod", "next", "other"].map(|name| (name, to.clone()))).unwrap();
    let service = ServiceBuilder::new()
        .layer(TrafficSplitLayer::new(engine.clone()))
        .layer(mirror.clone())
        .service(clusters);
    (serve(service).await, mirror)
}

type Web = Client<hyper_util::client::legacy::connect::HttpConnector, http_body_util::Full<Bytes>>;

fn web() -> Web {
    Client::builder(TokioExecutor::new()).build_http()
}

async fn post(web: &Web, addr: SocketAddr, path: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
    let request = Request::post(format!("http://{addr}{path}")).body(full(body)).unwrap();
    let response =
        tokio::time::timeout(Duration::from_secs(60), web.request(request)).await.unwrap().unwrap();
    (response.status(), text(response.into_body()).await)
}

fn one(mirror: &MirrorLayer) -> MirrorCounts {
    mirror.counts().into_iter().next().unwrap_or_default()
}

// === what a copy is ===

#[tokio::test]
async fn a_copy_has_head_and_body_and_a_mark_and_the_answer_is_the_primarys() {
    let seen = Seen::default();
    let engine = engine(RULES);
    let (addr, mirror) = gateway(&engine, recorder(seen.clone()).await, |layer| layer).await;
    let request = Request::put(format!("http://{addr}/a?b=c"))
        .header("cookie", "uid=1")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("te", "trailers")
        .body(full("the body"))
        .unwrap();
    let response = web().request(request).await.unwrap();
    assert_eq!(text(response.into_body()).await, "primary the body false");

    until("the copy is answered", || one(&mirror).answered[1] == 1).await;
    let (parts, body) = seen.lock().unwrap().remove(0);
    assert_eq!(
        (parts.method.as_str(), parts.uri.to_string().as_str(), body.as_str()),
        ("PUT", "/a?b=c", "the body")
    );
    assert_eq!(
        (&parts.headers["x-pointsman-mirror"], &parts.headers["cookie"]),
        (&"next".parse().unwrap(), &"uid=1".parse().unwrap())
    );
    assert_eq!(parts.headers["content-length"], "8");
    assert!(!parts.headers.contains_key("x-hop") && !parts.headers.contains_key("te"));
    let counts = one(&mirror);
    assert_eq!((counts.sent, counts.same, counts.different), (1, 1, 0));
    assert!(counts.latency > Duration::ZERO && counts.slowest == counts.latency);
}

#[tokio::test]
async fn a_body_of_many_pieces_is_copied_whole_or_not_at_all() {
    let seen = Seen::default();
    let engine = engine(RULES);
    let (addr, mirror) =
        gateway(&engine, recorder(seen.clone()).await, |layer| layer.body_bytes(200_000)).await;
    let (web, body) = (web(), "0123456789".repeat(20_000));
    assert_eq!(post(&web, addr, "/", body.clone()).await.1, format!("primary {body} false"));
    until("the copy is answered", || one(&mirror).answered[1] == 1).await;
    assert!(seen.lock().unwrap()[0].1 == body);

    // Too large, by its length and without one.
    let larger = body + "x";
    assert_eq!(post(&web, addr, "/", larger.clone()).await.0, StatusCode::OK);
    let stream = Pieces((0..201).map(|_| Bytes::from(vec![b'x'; 1000])).collect());
    let streamed = Client::builder(TokioExecutor::new()).build_http();
    let response =
        streamed.request(Request::post(format!("http://{addr}/")).body(stream).unwrap()).await.unwrap();
    assert_eq!(text(response.into_body()).await.len(), "primary  false".len() + 201_000);
    assert_eq!((one(&mirror).sent, one(&mirror).dropped.too_large, mirror.under_way()), (1, 2, 0));
}

/// A body of frames, whose length nobody knows before.
struct Pieces(std::collections::VecDeque<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop_front().map(|data| Ok(hyper::body::Frame::data(data))))
    }
}

// === what a shadow may do ===

/// Sends many requests, and holds that each is answered by the primary, within a time in which no shadow answers.
async fn nothing_changes(shadow: SocketAddr, name: &str) -> MirrorCounts {
    let engine = engine(RULES);
    let (addr, mirror) =
        gateway(&engine, shadow, |layer| layer.in_flight(20).timeout(Duration::from_secs(3600))).await;
    let web = web();
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let begin = Instant::now();
        let many = (0..20).map(|at| {
            let web = web.clone();
            tokio::spawn(async move { (at, post(&web, addr, "/", at.to_string()).await) })
        });
        for one in many.collect::<Vec<_>>() {
            let (at, (status, body)) = one.await.unwrap();
            assert_eq!((status, body), (StatusCode::OK, format!("primary {at} false")), "{name}");
        }
        slowest = slowest.max(begin.elapsed());
        assert!(mirror.under_way() <= 20);
    }
    println!("{name}: 200 of 200, the slowest 20 took {slowest:?}; {:?}", one(&mirror));
    one(&mirror)
}

#[tokio::test]
async fn a_shadow_that_hangs_changes_nothing_and_fills_only_its_slots() {
    let hangs = raw(async |stream, _| {
        let _held = stream;
        pending::<()>().await;
    });
    let counts = nothing_changes(hangs.await, "hangs").await;
    assert_eq!((counts.sent, counts.dropped.full, counts.same), (20, 180, 0));
}

#[tokio::test]
async fn a_shadow_that_resets_changes_nothing() {
    let resets = raw(async |mut stream, _| {
        let _ = stream.read(&mut [0; 16]).await;
        stream.set_zero_linger().unwrap();
    });
    let counts = nothing_changes(resets.await, "resets").await;
    assert_eq!(counts.sent + counts.dropped.full, 200);
    assert!(counts.failed > 0 && counts.answered == [0; 5]);
}

#[tokio::test]
async fn a_shadow_that_answers_garbage_changes_nothing() {
    let garbage = raw(async |mut stream, _| {
        let _ = stream.read(&mut [0; 16]).await;
        let _ = stream.write_all(b"\0\xff garbage \r\n\r\n").await;
    });
    let counts = nothing_changes(garbage.await, "garbage").await;
    assert!(counts.failed > 0 && counts.answered == [0; 5]);
}

#[tokio::test]
async fn a_shadow_that_is_gone_changes_nothing() {
    let gone = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let counts = nothing_changes(gone, "gone").await;
    assert!(counts.failed > 0 && counts.answered == [0; 5]);
}

#[tokio::test]
async fn a_shadow_that_is_slow_or_never_ends_its_answer_changes_nothing() {
    let endless = raw(async |mut stream, _| {
        let _ = stream.read(&mut [0; 16]).await;
        let _ = stream.write_all(b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let counts = nothing_changes(endless.await, "never ends").await;
    assert_eq!(counts.sent, 20);
    assert_eq!(counts.answered[4], counts.different);
}

#[tokio::test]
async fn what_a_hanging_shadow_holds_is_given_back_in_time() {
    let engine = engine(RULES);
    let hangs = raw(async |stream, _| {
        let _held = stream;
        pending::<()>().await;
    });
    let bounds =
        |layer: MirrorLayer| layer.in_flight(10).body_bytes(10_000).timeout(Duration::from_millis(300));
    let (addr, mirror) = gateway(&engine, hangs.await, bounds).await;
    let web = web();
    for _ in 0..100 {
        assert_eq!(post(&web, addr, "/", vec![b'x'; 10_000]).await.0, StatusCode::OK);
        assert!(mirror.under_way() <= 10);
    }
    until("all have timed out", || mirror.under_way() == 0).await;
    let counts = one(&mirror);
    assert_eq!((counts.timed_out, counts.sent + counts.dropped.full), (counts.sent, 100));
    // There is room again.
    assert_eq!(post(&web, addr, "/", "x").await.0, StatusCode::OK);
    until("another is sent", || one(&mirror).sent == counts.sent + 1).await;
}

// === without servers ===

/// A primary that reads the body and says `200`.
async fn read(request: Request<MirrorTee<String>>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(text(request.into_body()).await))
}

fn split<S>(
    engine: &Engine,
    mirror: &MirrorLayer,
    inner: S,
) -> pointsman::TrafficSplit<pointsman::gateway::mirror::MirrorService<S>> {
    TrafficSplitLayer::new(engine.clone()).layer(mirror.layer(inner))
}

#[tokio::test]
async fn a_service_that_panics_or_fails_is_counted_and_changes_nothing() {
    let engine = engine("mirror a: true => next\nmirror b: true => other\ndefault => prod");
    let shadows = ["next", "other"].map(|name| {
        let shadow = service_fn(move |_: Request<MirrorBody>| async move {
            assert!(name != "next", "this panic is part of the test");
            Err::<Response<String>, _>("fails")
        });
        (name, shadow)
    });
    let mirror = MirrorLayer::new(&engine, shadows).unwrap();
    let service = split(&engine, &mirror, service_fn(read));
    for _ in 0..3 {
        let response = service.clone().oneshot(Request::new("x".to_owned())).await.unwrap();
        assert_eq!((response.status(), response.body().as_str()), (StatusCode::OK, "x"));
    }
    until("all have ended", || mirror.under_way() == 0).await;
    let [a, b] = mirror.counts().try_into().unwrap();
    assert_eq!((a.name.as_str(), a.sent, a.panicked, a.failed), ("a", 3, 3, 0));
    assert_eq!((b.name.as_str(), b.sent, b.panicked, b.failed), ("b", 3, 0, 3));
}

#[tokio::test]
async fn the_status_is_held_against_the_primarys() {
    let engine = engine("mirror m: true => next\ndefault => prod");
    let shadow = service_fn(async |_: Request<MirrorBody>| Ok::<_, Infallible>(Response::new(String::new())));
    let mirror = MirrorLayer::new(&engine, [("next", shadow)]).unwrap();
    let primary = service_fn(async |request: Request<MirrorTee<String>>| match request.uri().path() {
        "/fails" => Err("fails"),
        path => {
            let mut response = Response::new(String::new());
            *response.status_mut() = path.trim_start_matches('/').parse().unwrap();
            Ok(response)
        }
    });
    let service = split(&engine, &mirror, primary);
    for path in ["/200", "/204", "/404", "/503", "/302", "/fails"] {
        let _ = service.clone().oneshot(Request::get(path).body(String::new()).unwrap()).await;
    }
    until("all have ended", || mirror.under_way() == 0).await;
    let counts = one(&mirror);
    assert_eq!((counts.answered, counts.same, counts.different), ([0, 6, 0, 0, 0], 2, 3));
}

#[tokio::test]
async fn only_safe_methods_are_copied_unless_the_rule_says_so_and_upgrades_never() {
    let engine = engine("mirror safe: true => next\nmirror all: true => next with unsafe\ndefault => prod");
    let shadow = service_fn(async |_: Request<MirrorBody>| Ok::<_, Infallible>(Response::new(String::new())));
    let mirror = MirrorLayer::new(&engine, [("next", shadow)]).unwrap();
    let service = split(&engine, &mirror, service_fn(read));
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "DELETE", "PATCH", "BREW", "CONNECT"] {
        let request = Request::builder().method(method).uri("a.test:80").body(String::new()).unwrap();
        service.clone().oneshot(request).await.unwrap();
    }
    let upgrade = Request::get("/").header("upgrade", "websocket").body(String::new()).unwrap();
    service.clone().oneshot(upgrade).await.unwrap();
    // Which many frameworks take for a DELETE.
    let delete = Request::get("/").header("X-HTTP-Method-Override", "DELETE").body(String::new()).unwrap();
    service.clone().oneshot(delete).await.unwrap();
    let [safe, all] = mirror.counts().try_into().unwrap();
    assert_eq!((safe.sent, safe.dropped.unsafe_method, safe.dropped.upgrade), (4, 6, 2));
    assert_eq!((all.sent, all.dropped.unsafe_method, all.dropped.upgrade), (10, 0, 2));
}

#[tokio::test]
async fn a_copy_is_not_copied_and_a_cluster_without_a_service_gets_none() {
    let engine = engine("mirror a: true => next\nmirror b: true => other\ndefault => prod");
    let shadow = service_fn(async |_: Request<MirrorBody>| Ok::<_, Infallible>(Response::new(String::new())));
    let mirror =
        MirrorLayer::new(&engine, [("next", shadow)]).unwrap().header(HeaderName::from_static("x-copy"));
    let service = split(&engine, &mirror, service_fn(read));
    for name in ["x-copy", "x-pointsman-mirror"] {
        let request = Request::get("/").header(name, "a").body(String::new()).unwrap();
        service.clone().oneshot(request).await.unwrap();
    }
    let [a, b] = mirror.counts().try_into().unwrap();
    assert_eq!((a.sent, a.dropped.copy, b.sent, b.dropped.copy, b.dropped.no_service), (1, 1, 0, 1, 1));
}

#[tokio::test]
async fn a_body_that_nobody_reads_to_its_end_makes_no_copy() {
    let engine = engine("mirror m: true => next with unsafe\ndefault => prod");
    let shadow = service_fn(async |_: Request<MirrorBody>| Ok::<_, Infallible>(Response::new(String::new())));
    let mirror = MirrorLayer::new(&engine, [("next", shadow)]).unwrap();
    let ignores = service_fn(async |_: Request<MirrorTee<String>>| Ok::<_, Infallible>(Response::new(())));
    let service = split(&engine, &mirror, ignores);
    service.oneshot(Request::post("/").body("unread".to_owned()).unwrap()).await.unwrap();
    let counts = one(&mirror);
    assert_eq!((counts.sent, counts.dropped.incomplete, mirror.under_way()), (0, 1, 0));
}

/// A body whose pieces somebody sends, in their own time.
struct Slow(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

impl hyper::body::Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|data| data.map(|data| Ok(hyper::body::Frame::data(data))))
    }
}

#[tokio::test(start_paused = true)]
async fn slow_uploads_hold_the_slots_for_a_bounded_time_and_go_on() {
    let engine = engine(RULES);
    let shadow = service_fn(async |_: Request<MirrorBody>| Ok::<_, Infallible>(Response::new(String::new())));
    let mirror = MirrorLayer::new(&engine, [("next", shadow)])
        .unwrap()
        .in_flight(3)
        .body_timeout(Duration::from_secs(4));
    // One of them reads nothing for a day: nobody polls that body.
    let primary = service_fn(async |request: Request<MirrorTee<Slow>>| {
        if request.uri().path() == "/unread" {
            tokio::time::sleep(Duration::from_secs(86_400)).await;
        }
        Ok::<_, Infallible>(Response::new(text(request.into_body()).await))
    });
    let service = split(&engine, &mirror, primary);
    let post = |path: &str| {
        let (sender, pieces) = tokio::sync::mpsc::unbounded_channel();
        let request = Request::post(path).body(Slow(pieces)).unwrap();
        (sender, tokio::spawn(service.clone().oneshot(request)))
    };
    let slow = ["/", "/", "/unread"].map(post);
    let quick = async || {
        let (sender, answer) = post("/");
        sender.send(Bytes::from_static(b"quick")).unwrap();
        drop(sender);
        assert_eq!(answer.await.unwrap().unwrap().body(), "quick");
    };
    slow.iter().for_each(|(sender, _)| sender.send(Bytes::from_static(b"a ")).unwrap());
    tokio::time::sleep(Duration::from_millis(3900)).await;
    assert_eq!((mirror.under_way(), one(&mirror).dropped.too_slow), (3, 0));
    quick().await;
    assert_eq!((one(&mirror).sent, one(&mirror).dropped.full), (0, 1));

    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((mirror.under_way(), one(&mirror).dropped.too_slow), (0, 3));
    quick().await;
    until("the quick one is copied", || one(&mirror).answered[1] == 1).await;
    // The slow ones are as if there were no mirror.
    for (sender, answer) in slow {
        sender.send(Bytes::from_static(b"word")).unwrap();
        drop(sender);
        assert_eq!(answer.await.unwrap().unwrap().body(), "a word");
    }
    let counts = one(&mirror);
    assert_eq!((counts.sent, counts.dropped.too_slow, counts.dropped.incomplete), (1, 3, 0));
}

#[tokio::test]
async fn an_empty_body_is_copied_at_once_also_when_nobody_reads_it() {
    let engine = engine(RULES);
    let shadow = service_fn(async |request: Request<MirrorBody>| {
        assert_eq!(request.extensions().get::<PeerAddr>(), Some(&PeerAddr(([192, 0, 2, 7], 1).into())));
        Ok::<_, Infallible>(Response::new(text(request.into_body()).await))
    });
    let mirror = MirrorLayer::new(&engine, [("next", shadow)]).unwrap();
    let ignores = service_fn(async |_: Request<MirrorTee<String>>| Ok::<_, Infallible>(Response::new(())));
    let peer = PeerAddr(([192, 0, 2, 7], 1).into());
    let request = Request::get("/").extension(peer).body(String::new()).unwrap();
    split(&engine, &mirror, ignores).oneshot(request).await.unwrap();
    until("it is answered", || one(&mirror).answered[1] == 1).await;
}

#[tokio::test]
async fn copies_end_with_the_last_clone_of_the_layer() {
    struct Gone(Arc<AtomicUsize>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (begun, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let engine = engine(RULES);
    let shadow = {
        let (begun, gone) = (begun.clone(), gone.clone());
        service_fn(move |_: Request<MirrorBody>| {
            begun.fetch_add(1, Ordering::Relaxed);
            let held = Gone(gone.clone());
            async move {
                let _held = held;
                pending::<Result<Response<String>, Infallible>>().await
            }
        })
    };
    let mirror = MirrorLayer::new(&engine, [("next", shadow)]).unwrap();
    let service = split(&engine, &mirror, service_fn(read));
    for _ in 0..5 {
        service.clone().oneshot(Request::new(String::new())).await.unwrap();
    }
    until("all have begun", || begun.load(Ordering::Relaxed) == 5).await;
    drop(mirror);
    tokio::task::yield_now().await;
    assert_eq!(gone.load(Ordering::Relaxed), 0);
    drop(service);
    until("all are gone", || gone.load(Ordering::Relaxed) == 5).await;
}

#[test]
fn without_a_runtime_nothing_is_copied_and_nothing_breaks() {
    let engine = engine(RULES);
    let shadow = service_fn(async |_: Request<MirrorBody>| Ok::<_, Infallible>(Response::new(String::new())));
    let mirror = MirrorLayer::new(&engine, [("next", shadow)]).unwrap();
    let mut service = split(&engine, &mirror, service_fn(read));
    let future = pin!(service.call(Request::new("x".to_owned())));
    assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!((one(&mirror).dropped.no_runtime, mirror.under_way()), (1, 0));
}

#[tokio::test]
async fn counts_go_on_under_new_rules_and_shadows_do_nothing() {
    let engine = engine(RULES);
    let shadow = service_fn(async |_: Request<MirrorBody>| Ok::<_, Infallible>(Response::new(String::new())));
    let mirror = MirrorLayer::new(&engine, [("next", shadow)]).unwrap();
    let service = split(&engine, &mirror, service_fn(read));
    let get = async || drop(service.clone().oneshot(Request::new(String::new())).await.unwrap());
    get().await;
    engine.replace("mirror next: path == \"/\" => next with unsafe\ndefault => other").unwrap();
    get().await;
    assert_eq!(one(&mirror).sent, 2);
    engine.replace("shadow mirror next: true => next with unsafe\ndefault => other").unwrap();
    get().await;
    assert_eq!(one(&mirror).sent, 2);
}

#[test]
fn names_that_are_no_clusters_are_said_at_once() {
    let engine = engine(RULES);
    let shadow =
        service_fn(|_: Request<MirrorBody>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let error = MirrorLayer::new(&engine, ["nxt", "next", "next"].map(|name| (name, shadow))).unwrap_err();
    insta::assert_snapshot!(error, @"there is no cluster `nxt`, did you mean `next`?; the cluster `next` has more than one service");
}

#[test]
fn a_request_that_no_mirror_matches_costs_no_allocation() {
    let engine = engine("mirror m: path == \"/m\" => next\ndefault => prod");
    let shadow =
        service_fn(|_: Request<MirrorBody>| ready(Ok::<_, Infallible>(Response::new(String::new()))));
    let mirror = MirrorLayer::new(&engine, [("next", shadow)]).unwrap();
    let inner = service_fn(|_: Request<MirrorTee<String>>| ready(Ok::<_, Infallible>(Response::new(()))));
    let mut service = mirror.layer(inner);
    let request = || {
        let mut request = Request::get("/").body(String::new()).unwrap();
        let decision = engine.decide(&request);
        request.extensions_mut().insert(decision);
        request
    };
    drop(pin!(service.call(request())).poll(&mut Context::from_waker(Waker::noop())));
    let request = request();
    let info = measure(|| {
        let ready = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(ready);
    });
    assert_eq!(info.count_total, 0);
}

proptest! {
    /// A sample that grows keeps those that it had.
    #[test]
    fn five_percent_are_within_ten(user in "[a-z0-9]{1,8}") {
        let sampled = |percent: u32| {
            let text = format!("mirror m: percent(header(x-user), \"next\") < {percent} => next\ndefault => prod");
            let request = Request::get("/").header("x-user", &user).body(()).unwrap();
            engine(&text).decide(&request).matches().count()
        };
        prop_assert!(sampled(5) <= sampled(10));
    }
}

#[test]
fn a_sample_is_about_as_large_as_it_says() {
    let sampled = |percent: u32| {
        let engine = engine(&format!(
            "mirror m: percent(header(x-user), \"next\") < {percent} => next\ndefault => prod"
        ));
        let matches = |user: &u32| {
            let request = Request::get("/").header("x-user", *user).body(()).unwrap();
            engine.decide(&request).matches().next().is_some()
        };
        (0..10_000).filter(matches).count()
    };
    let (five, ten) = (sampled(5), sampled(10));
    println!("of 10,000 clients {five} are in 5 percent and {ten} in 10");
    assert!((400..600).contains(&five) && (880..1120).contains(&ten));
}
