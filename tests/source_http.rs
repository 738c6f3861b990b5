//! Following a web server: one that is well, and one that does all that servers and networks do.
#![cfg(feature = "http")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName, StatusCode, header};
use hyper::body::{Bytes, Frame};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pointsman::Engine;
use pointsman::source::{
    Backoff, Follower, Following, HttpSource, NoBody, Origin, SourceErrorKind, SourceState, Status,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[path = "common/following.rs"]
mod following;
#[path = "common/proxy.rs"]
mod proxy;
use following::{GRAY, PROD, builder, decides, until};
use proxy::{Network, Proxy};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the server says, and what it was asked.
#[derive(Clone, Default)]
struct Says(Arc<Mutex<Saying>>);

#[derive(Default)]
struct Saying {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Without end, and without a length.
    endless: bool,
    asked: Vec<(HeaderMap, std::time::Instant)>,
}

impl Says {
    fn say(&self, status: u16, headers: &[(HeaderName, &str)], body: impl Into<Vec<u8>>) {
        let mut saying = self.0.lock().unwrap();
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        (saying.status, saying.headers, saying.body) = (status, headers, body.into());
        saying.endless = false;
    }

    fn text(&self, tag: &str, text: &str) {
        self.say(200, &[(header::ETAG, tag)], text);
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    fn last_asked(&self) -> HeaderMap {
        self.0.lock().unwrap().asked.last().unwrap().0.clone()
    }
}

async fn answer(State(Says(says)): State<Says>, request: Request) -> Response {
    let mut saying = says.lock().unwrap();
    saying.asked.push((request.headers().clone(), std::time::Instant::now()));
    let same = |asked, has| {
        let asked = request.headers().get(asked);
        asked.is_some() && asked == saying.headers.get(has)
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(saying.status).unwrap();
    *response.headers_mut() = saying.headers.clone();
    if saying.status == 200
        && (same(header::IF_NONE_MATCH, header::ETAG)
            || same(header::IF_MODIFIED_SINCE, header::LAST_MODIFIED))
    {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if saying.endless {
        *response.body_mut() = Body::new(Forever);
    } else {
        *response.body_mut() = Body::from(saying.body.clone());
    }
    response
}

/// A body that goes on.
struct Forever;

impl hyper::body::Body for Forever {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'#'; 1000])))))
    }
}

async fn serve() -> (Says, SocketAddr) {
    let says = Says::default();
    let app = Router::new().fallback(answer).with_state(says.clone());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (says, addr)
}

fn source(addr: SocketAddr) -> HttpSource {
    let source = HttpSource::new(format!("http://{addr}/shop.rules").parse().unwrap()).unwrap();
    source.every(Duration::from_millis(50)).timeout(Duration::from_millis(500)).limit(10_000)
}

async fn follow<S>(source: S) -> (Engine, Following)
where
    S: pointsman::source::Source,
{
    let quick = Backoff { first: Duration::from_millis(20), most: Duration::from_millis(100) };
    Follower::new(builder(), source).built_in("default => gray").backoff(quick).start().await.unwrap()
}

/// Waits for what happens without a change of the status.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

async fn version(following: &mut Following, version: &str) -> Status {
    until(following, |status| status.running.version == version && status.source.failures == 0).await
}

#[tokio::test]
async fn a_text_is_asked_for_by_what_is_known_of_it() {
    let (says, addr) = serve().await;
    says.text("\"1\"", PROD);
    let (engine, mut following) = follow(source(addr)).await;
    let status = following.status();
    assert_eq!((status.running.origin, &*status.running.version), (Origin::Source, "\"1\""));
    assert_eq!(status.source.name, format!("http://{addr}/shop.rules"));
    assert!(!says.last_asked().contains_key(header::IF_NONE_MATCH));

    // Nothing changes, and that is known.
    let (asked, agreed) = (says.asked(), status.source.agreed);
    eventually("it is asked again", || says.asked() > asked + 3).await;
    assert_eq!(says.last_asked()[header::IF_NONE_MATCH], "\"1\"");
    let status = following.status();
    assert!(status.source.agreed > agreed && status.stale < Duration::from_millis(500), "{status}");
    assert_eq!(status.running.revision, 1);

    says.text("W/\"2\"", GRAY);
    version(&mut following, "W/\"2\"").await;
    decides(&engine, "gray");
    // The same text under another name is no new revision.
    says.text("\"3\"", GRAY);
    assert_eq!(version(&mut following, "\"3\"").await.running.revision, 2);

    // A server that knows times only, and one that knows nothing.
    let time = "Sun, 22 Nov 2026 20:00:00 GMT";
    says.say(200, &[(header::LAST_MODIFIED, time)], PROD);
    version(&mut following, time).await;
    let asked = says.asked();
    eventually("it is asked again", || says.asked() > asked + 1).await;
    assert_eq!(says.last_asked()[header::IF_MODIFIED_SINCE], time);
    assert!(!says.last_asked().contains_key(header::IF_NONE_MATCH));
    says.say(200, &[], GRAY);
    version(&mut following, "").await;
    let asked = says.asked();
    eventually("it is asked again", || says.asked() > asked + 1).await;
    assert!(!says.last_asked().contains_key(header::IF_MODIFIED_SINCE));
    assert_eq!(following.status().running.revision, 4);
}

#[tokio::test]
async fn the_times_between_requests_differ_by_chance() {
    let (says, addr) = serve().await;
    says.text("\"1\"", PROD);
    let (_engine, _following) = follow(source(addr).every(Duration::from_millis(100))).await;
    eventually("it is asked again", || says.asked() > 20).await;
    let saying = says.0.lock().unwrap();
    let waits: Vec<_> = saying.asked.windows(2).map(|pair| (pair[1].1 - pair[0].1).as_millis()).collect();
    assert!(waits.iter().all(|wait| *wait >= 49), "{waits:?}");
    assert!(waits.iter().max().unwrap() - waits.iter().min().unwrap() > 15, "{waits:?}");
}

#[tokio::test]
async fn whatever_the_server_answers_the_rules_go_on_until_it_is_well_again() {
    use SourceErrorKind::{Absent, Denied, Invalid, Other, TooLarge, Unreachable};
    let (says, addr) = serve().await;
    says.text("\"0\"", PROD);
    let (engine, mut following) = follow(source(addr)).await;
    let large = "#".repeat(10_001);
    let location = [(header::LOCATION, "/elsewhere.rules")];
    let encoded = [(header::CONTENT_ENCODING, "gzip")];
    type Case<'c> = (u16, &'c [(HeaderName, &'c str)], &'c [u8], SourceErrorKind, &'c str);
    let cases: [Case<'_>; 14] = [
        (404, &[], b"", Absent, "404 Not Found"),
        (410, &[], b"", Absent, "410 Gone"),
        (204, &[], b"", Absent, "204 No Content"),
        (401, &[], b"", Denied, "401 Unauthorized"),
        (403, &[], b"", Denied, "403 Forbidden"),
        (500, &[], b"", Unreachable, "500 Internal Server Error"),
        (503, &[], b"", Unreachable, "503 Service Unavailable"),
        (
            301,
            &location,
            b"",
            Other,
            "301 Moved Permanently to `/elsewhere.rules`; redirects are not followed",
        ),
        (304, &[], b"", Other, "and nothing is known to it"),
        (206, &[], GRAY.as_bytes(), Other, "206 Partial Content"),
        (418, &[], b"", Other, "418"),
        (200, &encoded, GRAY.as_bytes(), Invalid, "encoded as `gzip`"),
        (200, &[], b"default => \xff", Invalid, "the body is not UTF-8 from byte 11 on"),
        (200, &[], large.as_bytes(), TooLarge, "the body has 10001 bytes, 10000 are allowed"),
    ];
    for (n, (status, headers, body, kind, message)) in cases.into_iter().enumerate() {
        if status == 304 {
            // A text without a name first, so that nothing is known.
            says.say(200, &[], PROD);
            until(&mut following, |status| status.running.version.is_empty()).await;
        }
        says.say(status, headers, body);
        let status = until(&mut following, |status| status.source.failures > 0).await;
        let error = status.source.last_error.as_ref().unwrap();
        assert!(error.kind == kind && error.message.contains(message), "{error:?}");
        let reachable = kind != Unreachable && kind != Other;
        assert_eq!(status.source.state == SourceState::Reachable, reachable, "{message}");
        decides(&engine, "prod");
        let tag = format!("\"{n}-mended\"");
        says.text(&tag, PROD);
        let status = version(&mut following, &tag).await;
        assert_eq!((status.running.revision, status.source.state), (1, SourceState::Reachable));
    }
    // What is not sound is refused, and the server stays reachable.
    says.text("\"bad\"", "default => prd");
    let status = until(&mut following, |status| status.rejected.is_some()).await;
    assert_eq!((&*status.rejected.unwrap().version, status.source.failures), ("\"bad\"", 0));
    decides(&engine, "prod");
}

#[tokio::test]
async fn an_endless_body_is_left_at_the_limit() {
    let (says, addr) = serve().await;
    says.text("\"1\"", PROD);
    says.0.lock().unwrap().endless = true;
    let (engine, mut following) = follow(source(addr).timeout(Duration::from_secs(60))).await;
    let status = following.status();
    let error = status.source.last_error.unwrap();
    assert_eq!(error.kind, SourceErrorKind::TooLarge);
    assert_eq!(error.message, "the body has more than the 10000 bytes that are allowed");
    says.text("\"1\"", PROD);
    version(&mut following, "\"1\"").await;
    decides(&engine, "prod");
}

#[tokio::test]
async fn a_server_that_asks_to_be_left_alone_is() {
    let (says, addr) = serve().await;
    says.text("\"1\"", PROD);
    let (_engine, mut following) = follow(source(addr)).await;
    for status in [429, 503] {
        says.say(status, &[(header::RETRY_AFTER, "1")], "");
        until(&mut following, |status| status.source.failures > 0).await;
        let asked = says.asked();
        let tag = format!("\"{status}\"");
        says.text(&tag, GRAY);
        version(&mut following, &tag).await;
        let saying = says.0.lock().unwrap();
        let wait = saying.asked[asked].1 - saying.asked[asked - 1].1;
        assert!(wait >= Duration::from_secs(1), "{wait:?}");
    }
}

#[tokio::test]
async fn whatever_the_network_does_the_rules_go_on_and_no_part_of_a_text_is_taken() {
    let (says, addr) = serve().await;
    let proxy = Proxy::before(addr).await;
    // So long that it comes in parts, and sound wherever it is cut.
    let long = |n: usize| {
        let cluster = ["gray", "prod"][n % 2];
        format!("default => {cluster}\n") + &format!("# {n}\n").repeat(1500)
    };
    says.text("\"0\"", &long(1));
    let (engine, mut following) = follow(source(proxy.addr).every(Duration::from_millis(20))).await;
    let mut n = 1;
    for network in [
        Network::Stalls,
        Network::Resets,
        Network::HalfCloses,
        Network::CutsAfter(0),
        Network::CutsAfter(30),
        Network::CutsAfter(1000),
        Network::Garbage,
    ] {
        proxy.set(network);
        n += 1;
        let tag = format!("\"{n}\"");
        says.text(&tag, &long(n));
        let status = until(&mut following, |status| status.source.failures > 1).await;
        let error = status.source.last_error.unwrap();
        println!("{network:?}: {}", error.message);
        assert_eq!(error.kind, SourceErrorKind::Unreachable, "{network:?}: {}", error.message);
        assert_eq!(status.source.state, SourceState::Unreachable);
        assert_eq!(engine.rules().text(), long(n - 1), "{network:?}");
        proxy.set(Network::Up);
        version(&mut following, &tag).await;
        assert_eq!(engine.rules().text(), long(n));
    }
    assert_eq!(following.status().running.revision, n as u64);
}

#[tokio::test]
async fn a_server_that_comes_later_is_followed_from_then_on() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let quick = source(addr);
    let follower = Follower::new(builder(), quick).built_in("default => gray");
    let (engine, mut following) = follower.start_within(Duration::from_millis(200)).start().await.unwrap();
    let status = following.status();
    assert_eq!((status.running.origin, status.source.state), (Origin::BuiltIn, SourceState::Unreachable));
    println!("{}", status.source.last_error.unwrap().message);
    let says = Says::default();
    says.text("\"1\"", PROD);
    let app = Router::new().fallback(answer).with_state(says);
    let listener = TcpListener::bind(addr).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    version(&mut following, "\"1\"").await;
    decides(&engine, "prod");
}

#[tokio::test]
async fn a_body_whose_end_cannot_be_known_is_refused() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1000];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\n\r\ndefault => prod\n").await;
        }
    });
    let (engine, following) = follow(source(addr)).await;
    let error = following.status().source.last_error.unwrap();
    assert_eq!(error.kind, SourceErrorKind::Invalid, "{}", error.message);
    assert!(error.message.contains("its end cannot be told"), "{}", error.message);
    decides(&engine, "gray");
}

#[tokio::test]
async fn a_client_of_ones_own_may_speak_another_version() {
    let (says, addr) = serve().await;
    says.text("\"1\"", PROD);
    let client =
        Client::builder(TokioExecutor::new()).http2_only(true).build::<_, NoBody>(HttpConnector::new());
    let uri = format!("http://{addr}/shop.rules").parse().unwrap();
    let source = HttpSource::with_client(uri, client).every(Duration::from_millis(20));
    let source = source.header(header::AUTHORIZATION, "Bearer x".parse().unwrap());
    let (engine, mut following) = follow(source).await;
    decides(&engine, "prod");
    let asked = says.last_asked();
    assert_eq!(asked[header::AUTHORIZATION], "Bearer x");
    // As HTTP/2 has it.
    assert!(!asked.contains_key(header::HOST));
    says.text("\"2\"", GRAY);
    version(&mut following, "\"2\"").await;
    decides(&engine, "gray");
}
