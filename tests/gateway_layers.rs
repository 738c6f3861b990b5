//! All layers of the service gateway, one in the other.
#![cfg(all(
    feature = "analyse",
    feature = "cache",
    feature = "capture",
    feature = "deny",
    feature = "limit",
    feature = "mirror"
))]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{Empty, Full};
use pointsman::gateway::{AnalyseLayer, CacheLayer, CaptureLayer, DenyLayer, LimitLayer, MirrorLayer};
use pointsman::schema::{PeerAddr, Schema, StatementKind};
use pointsman::{Engine, TrafficSplitLayer};
use tower::{Service, ServiceBuilder, service_fn};

const RULES: &str = r#"
deny    bots:  header(user-agent) contains "BadBot" => 403
limit   some:  path under "/search"                 => 5/s by ip
cache   some:  path under "/catalog"                => 30s
capture some:  cookie(uid) == "4711"                => 50 for 10m
mirror  some:  path under "/search"                 => prod
count   some:  path under "/search"                 => top 20 by path per 15s
default => prod
"#;

fn request() -> Request<Empty<Bytes>> {
    // The extensions are there already, as they are behind a server.
    let peer = PeerAddr("127.0.0.1:1".parse().unwrap());
    let request = Request::get("/checkout/pay").header("cookie", "uid=1001").extension(peer);
    request.body(Empty::new()).unwrap()
}

/// How many allocations the third request takes, to the end of its body.
fn allocations<S, B>(mut service: S) -> u64
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut ask = |request| {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut context) else {
            return false;
        };
        let mut body = pin!(response.into_body());
        let whole = matches!(body.as_mut().poll_frame(&mut context), Poll::Ready(Some(Ok(_))));
        whole && matches!(body.as_mut().poll_frame(&mut context), Poll::Ready(None))
    };
    assert!(ask(request()) && ask(request()));
    let third = request();
    let mut answered = false;
    let count = measure(|| answered = ask(third)).count_total;
    assert!(answered);
    count
}

#[test]
fn a_request_that_matches_no_statement_allocates_nothing_more() {
    let schema = Schema::new().clusters(["prod"]).gateway(StatementKind::GATEWAY);
    let engine = Engine::builder().schema(schema).build(RULES).unwrap();
    let split = TrafficSplitLayer::new(engine.clone());
    let bare = service_fn(|_: Request<Empty<Bytes>>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello")))))
    });
    let copies = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
    let layered = ServiceBuilder::new()
        .layer(split.clone())
        .layer(AnalyseLayer::new(engine.clone()))
        .layer(CaptureLayer::new())
        .layer(DenyLayer::new())
        .layer(LimitLayer::new())
        .layer(CacheLayer::new())
        .layer(MirrorLayer::new(&engine, [("prod", copies)]).unwrap())
        .service(service_fn(|_| {
            ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello")))))
        }));
    assert_eq!(allocations(ServiceBuilder::new().layer(split).service(bare)), 1, "the decision");
    assert_eq!(allocations(layered), 1);
}
