//! Exchanges captured by rules: what is in them, what is not, and that capturing changes nothing.
#![cfg(feature = "capture")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

#[path = "common/har.rs"]
mod har;
#[path = "common/loopback.rs"]
mod loopback;
#[path = "../examples/conformance/run.rs"]
#[allow(dead_code, reason = "what runs files is for others")]
mod run;

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use allocation_counter::measure;
use http::{HeaderName, Request, Response, StatusCode, header};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use loopback::{full, proxy, serve, text, until};
use pointsman::engine::{Moment, StatementKind};
use pointsman::gateway::capture::{CaptureBody, Captured, CaseErrorKind};
use pointsman::gateway::{CaptureLayer, Captures};
use pointsman::{Clusters, Engine, PeerAddr, Schema, TrafficSplitLayer};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const RULES: &str =
    "capture all: true => 1000 for 1h\nroute beta: cookie(uid) == \"1001\" => gray\ndefault => prod";

fn schema() -> Schema {
    Schema::new().clusters(["gray", "prod"]).gateway([StatementKind::Capture, StatementKind::Deny])
}

fn engine(rules: &str) -> Engine {
    Engine::builder().schema(schema()).build(rules).unwrap()
}

/// A gateway whose clusters are one server.
async fn gateway(
    engine: &Engine,
    layer: &CaptureLayer,
    upstream: std::net::SocketAddr,
) -> std::net::SocketAddr {
    let to = proxy::<CaptureBody<Incoming>>(upstream);
    let clusters = Clusters::new(engine, ["gray", "prod"].map(|name| (name, to.clone()))).unwrap();
    let split = TrafficSplitLayer::new(engine.clone());
    serve(ServiceBuilder::new().layer(split).layer(layer.clone()).service(clusters)).await
}

fn parsed(captures: &Captures) -> Json {
    let json = serde_json::from_str(&captures.har()).unwrap();
    har::holds(&json);
    json
}

/// Sends one request through the layer to a service in memory, and takes its body.
async fn send<B, S, T>(engine: &Engine, layer: &CaptureLayer, service: S, request: Request<B>) -> String
where
    B: Body,
    S: Service<Request<CaptureBody<B>>, Response = Response<T>, Error = Infallible>,
    T: Body<Error: std::fmt::Debug>,
{
    let service = ServiceBuilder::new()
        .layer(TrafficSplitLayer::new(engine.clone()))
        .layer(layer.clone())
        .service(service);
    text(service.oneshot(request).await.unwrap().into_body()).await
}

/// Answers with the request's body.
async fn echo<B: Body<Error: std::fmt::Debug>>(
    request: Request<CaptureBody<B>>,
) -> Result<Response<String>, Infallible> {
    Ok(Response::new(text(request.into_body()).await))
}

/// A response that says what was posted, and that nobody has taken to the end.
async fn posted(engine: &Engine, layer: &CaptureLayer, body: String) -> Response<CaptureBody<String>> {
    let service = ServiceBuilder::new()
        .layer(TrafficSplitLayer::new(engine.clone()))
        .layer(layer.clone())
        .service(service_fn(echo));
    service.oneshot(Request::post("/").body(body).unwrap()).await.unwrap()
}

fn get(path: &str) -> Request<String> {
    Request::get(path).header("host", "shop.example.com").body(String::new()).unwrap()
}

// === what is in an exchange ===

#[tokio::test]
async fn an_exchange_between_real_servers_is_an_archive_that_holds_to_the_format() {
    let upstream = serve(service_fn(async |request: Request<Incoming>| {
        let token = request.headers()["authorization"].to_str().unwrap().to_owned();
        let body = text(request.into_body()).await;
        let mut response = Response::new(full(format!("{body} for {token}")));
        *response.status_mut() = StatusCode::CREATED;
        response.headers_mut().insert("set-cookie", "session=s3cret; Path=/; HttpOnly".parse().unwrap());
        response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
        response.headers_mut().insert("location", "/orders/1?token=s3cret".parse().unwrap());
        Ok::<_, Infallible>(response)
    }))
    .await;
    let layer = CaptureLayer::new().redact_query("token").redact_header(HeaderName::from_static("x-api-key"));
    let engine = engine(RULES);
    let addr = gateway(&engine, &layer, upstream).await;
    let web = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{addr}/orders?token=s3cret&page=%41"))
        .header("authorization", "Bearer t0ken")
        .header("cookie", "uid=1001; session=s3cret")
        .header("x-api-key", "s3cret")
        .header("content-type", "application/json")
        .body(full("{\"a\": 1}"))
        .unwrap();
    let response = web.request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(text(response.into_body()).await, "{\"a\": 1} for Bearer t0ken");

    let captures = layer.captures();
    until("it is kept", || captures.counts().kept == 1).await;
    let json = parsed(&captures);
    let text = json.to_string();
    assert!(!text.contains("s3cret"), "{text}");
    let entry = &json["log"]["entries"][0];
    let request = &entry["request"];
    assert_eq!(request["method"], "POST");
    assert_eq!(request["url"], format!("http://{addr}/orders?token=[redacted]&page=%41"));
    assert_eq!(request["queryString"][1]["value"], "A");
    assert_eq!(request["cookies"][1]["name"], "session");
    assert_eq!(request["postData"]["text"], "{\"a\": 1}");
    assert_eq!(request["bodySize"], 8);
    let response = &entry["response"];
    assert_eq!((&response["status"], &response["statusText"]), (&201.into(), &"Created".into()));
    assert_eq!(response["content"]["text"], "{\"a\": 1} for Bearer t0ken");
    assert_eq!(response["redirectURL"], "/orders/1?token=[redacted]");
    assert_eq!(response["cookies"][0]["value"], "[redacted]");
    assert_eq!(entry["comment"], "gray by beta, revision 1; captured by all");
    let ours = &entry["_pointsman"];
    assert_eq!(
        (&ours["cluster"], &ours["rule"], &ours["end"]),
        (&"gray".into(), &"beta".into(), &"complete".into())
    );
    assert_eq!(ours["matches"][0]["name"], "all");
    assert_eq!(ours["client"], "127.0.0.1");
    // To be opened by hand.
    if let Some(path) = std::env::var_os("POINTSMAN_HAR") {
        std::fs::write(path, captures.har()).unwrap();
    }
}

#[tokio::test]
async fn bodies_are_captured_up_to_a_bound_and_pass_whole() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new().body_bytes(100);
    let body = "é".repeat(100);
    let request = Request::post("/").body(format!("x{body}")).unwrap();
    assert_eq!(send(&engine, &layer, service_fn(echo), request).await, format!("x{body}"));
    let json = parsed(&layer.captures());
    let entry = &json["log"]["entries"][0];
    // 100 bytes end within a character.
    let want = format!("x{}", "é".repeat(49));
    assert_eq!(entry["request"]["postData"]["text"], want);
    assert_eq!(entry["response"]["content"]["text"], want);
    assert_eq!(entry["response"]["content"]["size"], 201);
    assert_eq!(entry["response"]["content"]["_truncated"], true);
    assert_eq!(entry["response"]["content"]["comment"], "truncated: the first 100 of 201 bytes");
    assert_eq!(layer.captures().counts().truncated, 1);

    let none = CaptureLayer::new().body_bytes(0);
    assert_eq!(
        send(&engine, &none, service_fn(echo), Request::post("/").body("secret".to_owned()).unwrap()).await,
        "secret"
    );
    assert!(!none.captures().har().contains("secret"));
}

#[tokio::test]
async fn a_body_that_is_no_text_is_in_base64() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new();
    let answers = async |request: Request<CaptureBody<http_body_util::Full<Bytes>>>| {
        drop(text(request.into_body()).await);
        Ok::<_, Infallible>(Response::new(full(vec![0xff, 0, 0xfe])))
    };
    let request = Request::post("/").body(full(vec![0x80])).unwrap();
    send(&engine, &layer, service_fn(answers), request).await;
    let json = parsed(&layer.captures());
    let entry = &json["log"]["entries"][0];
    assert_eq!(
        (&entry["response"]["content"]["text"], &entry["response"]["content"]["encoding"]),
        (&"/wD+".into(), &"base64".into())
    );
    assert_eq!(
        (&entry["request"]["postData"]["text"], &entry["request"]["postData"]["_encoding"]),
        (&"gA==".into(), &"base64".into())
    );
}

#[tokio::test]
async fn a_form_loses_the_values_that_are_named() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new().redact_query("pass");
    let request = Request::post("/login")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .body("user=a&pass=s3cret&p%61ss=s3cret".to_owned())
        .unwrap();
    let read = async |request: Request<CaptureBody<String>>| {
        Ok::<_, Infallible>(Response::new(text(request.into_body()).await.replace("s3cret", "x")))
    };
    send(&engine, &layer, service_fn(read), request).await;
    let json = parsed(&layer.captures());
    assert_eq!(
        json["log"]["entries"][0]["request"]["postData"]["text"],
        "user=a&pass=[redacted]&p%61ss=[redacted]"
    );
}

#[tokio::test]
async fn a_denied_request_says_so() {
    let engine =
        engine("deny bots: path == \"/bot\" => 403\ncapture all: true => 10 for 1h\ndefault => prod");
    let layer = CaptureLayer::new();
    send(&engine, &layer, service_fn(echo), get("/bot")).await;
    let json = parsed(&layer.captures());
    assert_eq!(
        json["log"]["entries"][0]["comment"],
        "prod by default, revision 1, denied by bots; captured by all"
    );
}

#[tokio::test]
async fn every_form_of_target_has_an_absolute_url() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new();
    for (method, uri, host) in [
        ("GET", "/a?b", Some("shop.test:8080")),
        ("GET", "/a", None),
        ("GET", "/a", Some("user:s3cret@shop.test")),
        ("GET", "/a", Some("not a host")),
        ("OPTIONS", "*", Some("shop.test")),
        ("CONNECT", "shop.test:443", None),
        ("GET", "http://user:s3cret@shop.test/x", None),
    ] {
        let mut request = Request::builder().method(method).uri(uri).body(String::new()).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert(header::HOST, host.parse().unwrap());
        }
        send(&engine, &layer, service_fn(echo), request).await;
    }
    parsed(&layer.captures());
    let exchanges = layer.captures().exchanges();
    let urls: Vec<_> = exchanges.iter().map(|exchange| exchange.url()).collect();
    assert_eq!(
        urls,
        [
            "http://shop.test:8080/a?b",
            "http://localhost/a",
            "http://shop.test/a",
            "http://localhost/a",
            "http://shop.test/*",
            "http://shop.test:443/",
            "http://shop.test/x",
        ]
    );
}

// === how an exchange ends ===

fn end(captures: &Captures) -> (String, Json) {
    let json = parsed(captures);
    let entry = &json["log"]["entries"][0];
    (entry["_pointsman"]["end"].as_str().unwrap().to_owned(), entry["response"].clone())
}

/// A body of one frame and an end that is told.
struct Ends(Option<&'static str>, Option<Poll<Option<&'static str>>>);

impl Body for Ends {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.0.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
            None => match self.1 {
                Some(Poll::Ready(Some(error))) => Poll::Ready(Some(Err(error))),
                Some(Poll::Ready(None)) | None => Poll::Ready(None),
                Some(Poll::Pending) => Poll::Pending,
            },
        }
    }
}

#[tokio::test]
async fn a_service_that_fails_leaves_an_exchange_without_a_response() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new();
    let fails = service_fn(async |_: Request<CaptureBody<String>>| Err::<Response<String>, _>("no"));
    let service = TrafficSplitLayer::new(engine.clone()).layer(layer.layer(fails));
    assert!(service.oneshot(get("/")).await.is_err_and(|error| error == "no"));
    let (end, response) = end(&layer.captures());
    assert_eq!(
        (end.as_str(), &response["status"], &response["_error"]),
        ("failed", &0.into(), &"the service failed".into())
    );
}

#[tokio::test]
async fn who_goes_away_before_or_within_the_response_is_seen() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new();
    let hangs = service_fn(async |_: Request<CaptureBody<String>>| {
        pending::<Result<Response<String>, Infallible>>().await
    });
    let service = TrafficSplitLayer::new(engine.clone()).layer(layer.layer(hangs));
    let gone = tokio::time::timeout(Duration::from_millis(1), service.oneshot(get("/"))).await;
    assert!(gone.is_err());
    let (how, response) = end(&layer.captures());
    assert_eq!((how.as_str(), &response["status"]), ("dropped", &0.into()));
}

#[tokio::test]
async fn how_a_body_ends_is_kept() {
    for (how, end_of_body) in [("failed", Some(Poll::Ready(Some("breaks")))), ("complete", None)] {
        let layer = CaptureLayer::new();
        let mut body = Some(Ends(Some("abc"), end_of_body));
        let streams = service_fn(move |_: Request<CaptureBody<String>>| {
            ready(Ok::<_, Infallible>(Response::new(body.take().unwrap())))
        });
        let service = TrafficSplitLayer::new(engine(RULES)).layer(layer.layer(streams));
        let mut body = pin!(service.oneshot(get("/")).await.unwrap().into_body());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(body.as_mut().poll_frame(cx).is_ready() && body.as_mut().poll_frame(cx).is_ready());
        let (end, response) = end(&layer.captures());
        assert_eq!((end.as_str(), &response["content"]["text"]), (how, &"abc".into()));
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_within_is_kept_as_far_as_it_went() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new();
    let streams = service_fn(|_: Request<CaptureBody<String>>| {
        ready(Ok::<_, Infallible>(Response::new(Ends(Some("abc"), Some(Poll::Pending)))))
    });
    let service = TrafficSplitLayer::new(engine.clone()).layer(layer.layer(streams));
    let mut body = Box::pin(service.oneshot(get("/")).await.unwrap().into_body());
    assert!(body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(layer.captures().counts().kept, 0);
    drop(body);
    let (end, response) = end(&layer.captures());
    assert_eq!(
        (end.as_str(), &response["bodySize"], &response["content"]["text"]),
        ("dropped", &(-1).into(), &"abc".into())
    );
}

#[tokio::test]
async fn an_upgrade_passes_and_its_handshake_is_captured() {
    let engine = engine("capture all: true => 10 for 1h\ndefault => prod");
    let layer = CaptureLayer::new();
    let upgrades = service_fn(async |mut request: Request<CaptureBody<Incoming>>| {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgraded.await.unwrap());
            let mut said = [0; 4];
            io.read_exact(&mut said).await.unwrap();
            io.write_all(&said).await.unwrap();
        });
        let mut response = Response::new(full(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        Ok::<_, Infallible>(response)
    });
    let service =
        ServiceBuilder::new().layer(TrafficSplitLayer::new(engine)).layer(layer.clone()).service(upgrades);
    let addr = serve(service).await;
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n")
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"ping").await.unwrap();
    let mut said = [0; 4];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"ping");
    let captures = layer.captures();
    until("it is kept", || captures.counts().kept == 1).await;
    assert_eq!(end(&captures).1["status"], 101);
}

// === how long it goes on ===

#[tokio::test]
async fn a_statement_ends_after_so_many_and_begins_anew_only_when_it_changes() {
    let engine = engine("capture two: true => 2 for 1h\ndefault => prod");
    let layer = CaptureLayer::new();
    let captures = layer.captures();
    let many = async |count: usize| {
        for _ in 0..count {
            assert_eq!(send(&engine, &layer, service_fn(echo), get("/")).await, "");
        }
        let counts = captures.counts();
        (counts.kept, counts.statements[0].captured, counts.statements[0].late)
    };
    assert_eq!(many(5).await, (2, 2, 3));
    assert!(captures.counts().statements[0].left.is_zero());
    // Another text with the same statement.
    engine.replace("capture two: path == \"/\" => 2 for 1h\ndefault => gray").unwrap();
    assert_eq!(many(1).await, (2, 2, 4));
    // Another number.
    engine.replace("capture two: true => 3 for 1h\ndefault => prod").unwrap();
    assert_eq!(many(5).await, (5, 3, 2));
    // Gone, and back again.
    engine.replace("default => prod").unwrap();
    assert!(matches!(send(&engine, &layer, service_fn(echo), get("/")).await.as_str(), ""));
    assert!(captures.counts().statements.is_empty());
    engine.replace("capture two: true => 3 for 1h\ndefault => prod").unwrap();
    assert_eq!(many(1).await, (6, 1, 0));
    captures.clear();
    assert_eq!(captures.counts().kept, 0);
}

#[tokio::test]
async fn a_statement_ends_after_its_time_even_if_nothing_matched_before() {
    let engine = engine("capture soon: path == \"/x\" => 100 for 100ms\ndefault => prod");
    let layer = CaptureLayer::new();
    // Another request than those of the rule shows the layer that there are rules.
    send(&engine, &layer, service_fn(echo), get("/")).await;
    assert!(layer.captures().counts().statements[0].left <= Duration::from_millis(100));
    until("it has ended", || layer.captures().counts().statements[0].left.is_zero()).await;
    send(&engine, &layer, service_fn(echo), get("/x")).await;
    let counts = layer.captures().counts();
    assert_eq!((counts.kept, counts.statements[0].late), (0, 1));
}

#[tokio::test]
async fn the_time_of_a_statement_begins_whatever_another_engine_below_the_layer_has_had() {
    let (other, engine) =
        (engine("default => prod"), engine("capture soon: path == \"/x\" => 9 for 100ms default => prod"));
    let layer = CaptureLayer::new();
    other.replace("default => gray").unwrap();
    other.replace("default => prod").unwrap();
    send(&other, &layer, service_fn(echo), get("/")).await;
    send(&engine, &layer, service_fn(echo), get("/")).await;
    until("it has ended", || layer.captures().counts().statements[0].left.is_zero()).await;
    engine.replace("# Nothing new.\ncapture soon: path == \"/x\" => 9 for 100ms default => prod").unwrap();
    send(&engine, &layer, service_fn(echo), get("/x")).await;
    assert_eq!(layer.captures().counts().kept, 0);
}

#[tokio::test]
async fn an_exchange_that_two_statements_match_is_captured_once() {
    let engine = engine(
        "capture a: true => 9 for 1h\ncapture b: true => 1 for 1h\nshadow capture c: true => 9 for 1h\ndefault => prod",
    );
    let layer = CaptureLayer::new();
    for _ in 0..2 {
        send(&engine, &layer, service_fn(echo), get("/")).await;
    }
    let exchanges = layer.captures().exchanges();
    let by: Vec<Vec<_>> = exchanges.iter().map(|exchange| exchange.statements().collect()).collect();
    assert_eq!(by, [vec!["a", "b"], vec!["a"]]);
}

// === bounds ===

#[tokio::test]
async fn the_newest_stay_within_number_and_bytes() {
    let engine = engine(RULES);
    let few = CaptureLayer::new().exchanges(3);
    for at in 0..10 {
        send(&engine, &few, service_fn(echo), get(&format!("/{at}"))).await;
    }
    let urls: Vec<_> =
        few.captures().exchanges().iter().map(|e| e.url().rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!((urls, few.captures().counts().pushed_out), (["7", "8", "9"].map(str::to_owned).to_vec(), 7));

    let small = CaptureLayer::new().bytes(50_000);
    for _ in 0..20 {
        let request = Request::post("/").body("x".repeat(5_000)).unwrap();
        send(&engine, &small, service_fn(echo), request).await;
        assert!(small.captures().counts().kept_bytes <= 50_000);
    }
    let counts = small.captures().counts();
    assert_eq!((counts.kept, counts.pushed_out, counts.under_way_bytes), (4, 16, 0));

    // Rules of which each text is larger than half of the room.
    for at in 0..10 {
        engine.replace(format!("# {}\n{RULES}", format!("{at}").repeat(30_000))).unwrap();
        send(&engine, &small, service_fn(echo), get("/")).await;
        let counts = small.captures().counts();
        assert!(counts.kept_bytes <= 50_000 && counts.kept >= 1, "{counts:?}");
    }
}

#[tokio::test]
async fn what_goes_on_has_a_bound_of_its_own_and_passes_beyond_it() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new().bytes(20_000);
    let mut held = Vec::new();
    for _ in 0..10 {
        // Responses that nobody takes to the end.
        held.push(posted(&engine, &layer, "x".repeat(9_000)).await);
        assert!(layer.captures().counts().under_way_bytes <= 20_000);
    }
    assert!(layer.captures().counts().no_room > 0);
    for response in held {
        assert_eq!(text(response.into_body()).await.len(), 9_000);
    }
    assert_eq!(layer.captures().counts().under_way_bytes, 0);
}

#[tokio::test]
async fn the_text_of_rules_that_are_gone_counts_as_long_as_an_exchange_goes_on_with_it() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new().bytes(50_000);
    let mut held = Vec::new();
    for at in 0..10 {
        engine.replace(format!("# {}\n{RULES}", format!("{at}").repeat(20_000))).unwrap();
        for _ in 0..3 {
            let service = ServiceBuilder::new()
                .layer(TrafficSplitLayer::new(engine.clone()))
                .layer(layer.clone())
                .service(service_fn(echo));
            held.push(service.oneshot(Request::post("/").body("x".to_owned()).unwrap()).await.unwrap());
        }
    }
    // Two texts have room, and three exchanges with each.
    let counts = layer.captures().counts();
    assert!((40_000..=50_000).contains(&counts.under_way_bytes), "{counts:?}");
    assert_eq!((counts.statements[0].captured, counts.no_room), (30, 24));
    drop(held);
    assert_eq!(layer.captures().counts().under_way_bytes, 0);
}

#[tokio::test]
async fn a_body_that_goes_on_counts_for_all_the_memory_that_it_has() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new();
    let streams =
        service_fn(|_: Request<CaptureBody<String>>| ready(Ok::<_, Infallible>(Response::new(Endless))));
    let service = TrafficSplitLayer::new(engine.clone()).layer(layer.layer(streams));
    let mut body = Box::pin(service.oneshot(get("/")).await.unwrap().into_body());
    let under_way = || layer.captures().counts().under_way_bytes;
    let before = under_way();
    let info = measure(|| {
        let cx = &mut Context::from_waker(Waker::noop());
        (0..2049).for_each(|_| assert!(body.as_mut().poll_frame(cx).is_ready()));
    });
    let counted = under_way() - before;
    assert!((2049..=4096).contains(&counted), "{counted}");
    assert_eq!(info.bytes_current, counted as i64);
    drop(body);
    let counts = layer.captures().counts();
    assert_eq!((counts.under_way_bytes, counts.kept), (0, 1));
}

#[tokio::test]
async fn exchanges_that_go_on_too_long_are_kept_as_far_as_they_came_and_make_room() {
    let engine = engine(RULES);
    // Each is at once, so the next one ends it; without that, two of them have room.
    let layer = CaptureLayer::new().bytes(22_000).longest(Duration::ZERO);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(posted(&engine, &layer, "x".repeat(9_000)).await);
    }
    let counts = layer.captures().counts();
    assert_eq!((counts.overlong, counts.no_room, counts.under_way_bytes), (10, 0, 0));
    let (end, response) = end(&layer.captures());
    assert_eq!((end.as_str(), &response["status"]), ("overlong", &200.into()));
    // They themselves go on, and are captured no further.
    for response in held {
        assert_eq!(text(response.into_body()).await.len(), 9_000);
    }
    let after = layer.captures().counts();
    assert_eq!((after.overlong, after.kept_bytes), (10, counts.kept_bytes));

    let patient = CaptureLayer::new();
    send(&engine, &patient, service_fn(echo), get("/")).await;
    assert_eq!(patient.captures().counts().overlong, 0);
}

#[tokio::test]
async fn a_clone_that_waits_for_ever_does_not_keep_what_is_too_long_for_another() {
    let engine = engine(RULES);
    let layer = CaptureLayer::new();
    let mut held = Vec::new();
    for longest in [Duration::MAX, Duration::ZERO, Duration::ZERO] {
        held.push(posted(&engine, &layer.clone().longest(longest), "x".to_owned()).await);
    }
    assert_eq!(layer.captures().counts().overlong, 2);
}

/// A byte, and another one.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_each_captured_once() {
    let upstream = serve(service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(full(text(request.into_body()).await)))
    }))
    .await;
    let engine = engine(RULES);
    let layer = CaptureLayer::new();
    let addr = gateway(&engine, &layer, upstream).await;
    let web = Client::builder(TokioExecutor::new()).build_http();
    let many = (0..300).map(|at| {
        let web = web.clone();
        tokio::spawn(async move {
            let request =
                Request::post(format!("http://{addr}/{at}")).body(full(format!("body {at}"))).unwrap();
            text(web.request(request).await.unwrap().into_body()).await
        })
    });
    for (at, one) in many.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(one.await.unwrap(), format!("body {at}"));
    }
    let captures = layer.captures();
    until("all are kept", || captures.counts().kept == 300).await;
    let json = parsed(&captures);
    for entry in json["log"]["entries"].as_array().unwrap() {
        let at = entry["request"]["url"].as_str().unwrap().rsplit('/').next().unwrap();
        let body = Json::from(format!("body {at}"));
        assert_eq!(
            (&entry["request"]["postData"]["text"], &entry["response"]["content"]["text"]),
            (&body, &body)
        );
    }
    println!(
        "300 of 300 captured, {} bytes kept, {} bytes of archive",
        captures.counts().kept_bytes,
        captures.har().len()
    );
}

#[test]
fn a_request_that_no_capture_matches_costs_no_allocation() {
    let engine = engine("capture x: path == \"/x\" => 9 for 1h\ndefault => prod");
    let layer = CaptureLayer::new();
    let inner = service_fn(|_: Request<CaptureBody<String>>| {
        ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let mut service = layer.layer(inner);
    let request = || {
        let mut request = get("/");
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

// === cases ===

/// Captures one request, as it would be decided at that moment.
fn captured(
    engine: &Engine,
    layer: &CaptureLayer,
    mut request: Request<String>,
    moment: Moment,
) -> std::sync::Arc<Captured> {
    let decision = engine.decide_at(&request, moment);
    request.extensions_mut().insert(decision);
    let inner = service_fn(|_: Request<CaptureBody<String>>| {
        ready(Ok::<_, Infallible>(Response::new(String::new())))
    });
    let mut service = layer.layer(inner);
    let answer = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(answer.is_ready());
    drop(answer);
    layer.captures().exchanges().pop().unwrap()
}

const NOW: Moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 0 };

#[track_caller]
fn replays(case: &str) -> Json {
    let json: Json = serde_json::from_str(case).unwrap();
    assert_eq!(run::run_case(&json), Ok(run::Outcome::Passed), "{case}");
    json
}

#[test]
fn a_captured_exchange_is_a_case_that_the_runner_decides_alike() {
    let rules = r#"
        deny bots: header(user-agent) contains "Bot" => 403
        capture all: true => 100 for 1h
        cluster prod2 = prod 50, gray 50 by header(x-user) ?? ip
        route beta: cookie(uid) in ["1001"] => gray
        route office: ip in [10.0.0.0/8] && now >= "2026-01-01T00:00:00Z" => gray
        route query: query(debug) == "1" => gray
        route chance: path == "/chance" => gray 50, prod 50
        route dealt: path under "/split" => prod2
        default => prod"#;
    let proxies = pointsman::schema::Trusted::networks(["192.0.2.1"]).unwrap();
    let schema = schema().client_addr(pointsman::schema::ClientAddr::x_forwarded_for(proxies));
    let engine = Engine::builder().schema(schema).build(rules).unwrap();
    let layer = CaptureLayer::new().allow_cookie("uid");
    let peer = PeerAddr(([192, 0, 2, 1], 1).into());
    let build = |path: &str, name: &str, value: &str| {
        Request::get(path).header(name, value).extension(peer).body(String::new()).unwrap()
    };
    let later = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_790_000_000_123_456_789);
    let mut passed = 0;
    for (request, rule) in [
        (build("/", "x", "y"), None),
        (build("/", "cookie", "uid=1001; session=s3cret"), Some("beta")),
        (build("/", "x-forwarded-for", "10.1.2.3"), Some("office")),
        (build("/?debug=1", "authorization", "Bearer s3cret"), Some("query")),
        (build("/a%20b/../x", "user-agent", "Bot"), None),
        (build("/split/x", "x-user", "\u{e9}"), Some("dealt")),
    ] {
        let exchange = captured(&engine, &layer, request, Moment { now: later, chance: 0 });
        let case = exchange.case().unwrap();
        assert!(!case.contains("s3cret") && !case.contains('\n'), "{case}");
        let json = replays(&case);
        assert_eq!(json["expect"]["rule"], rule.map_or(Json::Null, Json::from));
        assert_eq!(json["now"], "2026-09-21T14:13:20.123456789Z");
        passed += 1;
    }
    for chance in [0, 1, u64::MAX / 2 + 1, u64::MAX] {
        let exchange = captured(&engine, &layer, build("/chance", "x", "y"), Moment { now: later, chance });
        replays(&exchange.case().unwrap());
        passed += 1;
    }
    println!("{passed} captured requests replayed by the runner of cases");
    // All of it as one file.
    let lines: Vec<_> =
        layer.captures().exchanges().iter().map(|exchange| exchange.case().unwrap()).collect();
    let mut report = run::Report::default();
    report.text("captured", &lines.join("\n"));
    assert_eq!((report.passed, report.failed.len()), (passed, 0), "{report}");
}

#[test]
fn what_was_redacted_and_is_asked_for_is_no_case_until_it_is_allowed() {
    let engine = engine(RULES);
    let request = || Request::get("/").header("cookie", "uid=1001").body(String::new()).unwrap();
    let error = captured(&engine, &CaptureLayer::new(), request(), NOW).case().unwrap_err();
    assert_eq!(error.kind(), CaseErrorKind::Differs);
    insta::assert_snapshot!(error, @"gray by beta with capture all came, and replayed prod by default with capture all; redacted: cookie");
    let case = captured(&engine, &CaptureLayer::new().allow_cookie("uid"), request(), NOW).case().unwrap();
    assert!(replays(&case)["note"] == "captured by all");

    // Redacted and not asked for.
    let other = Request::get("/").header("cookie", "session=1").body(String::new()).unwrap();
    let case = captured(&engine, &CaptureLayer::new(), other, NOW).case().unwrap();
    assert_eq!(replays(&case)["note"], "captured by all; redacted: cookie");
}

#[test]
fn what_only_the_application_knows_is_no_case() {
    let schema = schema().string_field("plan", |_| Some("gold"));
    let engine = Engine::builder()
        .schema(schema)
        .build("capture all: true => 9 for 1h\nroute gold: plan == \"gold\" => gray\ndefault => prod")
        .unwrap();
    let error = captured(&engine, &CaptureLayer::new(), get("/"), NOW).case().unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (CaseErrorKind::Rules, "the rules do not compile without the application")
    );
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("plan"));
}
