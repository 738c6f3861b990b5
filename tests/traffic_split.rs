//! The layers over mocks: readiness, extensions, bounds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::task::Poll;

use http::{HeaderName, Request, Response, StatusCode};
use pointsman::engine::Digest;
use pointsman::{CanonicalPathLayer, Decision, Engine, TrafficSplitLayer};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock;

const CLUSTER: HeaderName = HeaderName::from_static("x-cluster");

fn engine(clusters: &[&str], rules: &str) -> Engine {
    Engine::builder().clusters(clusters).build(rules).unwrap()
}

#[tokio::test]
async fn ready_when_the_inner_service_is() {
    let (mut split, mut handle) = mock::spawn_layer::<Request<()>, Response<()>, _>(TrafficSplitLayer::new(
        engine(&["prod"], "default => prod"),
    ));
    handle.allow(0);
    assert!(split.poll_ready::<Request<()>>().is_pending());
    handle.allow(1);
    assert!(split.is_woken());
    assert!(matches!(split.poll_ready::<Request<()>>(), Poll::Ready(Ok(()))));

    let response = split.call(Request::new(()));
    let (request, reply) = handle.next_request().await.unwrap();
    assert_eq!(request.extensions().get::<Decision>().unwrap().cluster(), "prod");
    reply.send_response(Response::new(()));
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);

    handle.send_error("down");
    assert!(
        matches!(split.poll_ready::<Request<()>>(), Poll::Ready(Err(error)) if error.to_string() == "down")
    );
}

#[tokio::test]
async fn an_error_of_the_inner_service_comes_out_as_it_is() {
    let layer = TrafficSplitLayer::new(engine(&["prod"], "default => prod")).response_header(CLUSTER);
    let service = layer.layer(service_fn(async |_: Request<()>| Err::<Response<()>, _>("down")));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err(), "down");
}

#[tokio::test]
async fn an_earlier_decision_is_replaced() {
    let outer = TrafficSplitLayer::new(engine(&["outer"], "default => outer"));
    let inner = TrafficSplitLayer::new(engine(&["inner"], "default => inner"));
    let service = (outer, inner).layer(service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(request.extensions().get::<Decision>().cloned()))
    }));
    let decision = service.oneshot(Request::new(())).await.unwrap().into_body().unwrap();
    assert_eq!(decision.cluster(), "inner");
}

#[tokio::test]
async fn a_name_that_is_no_header_value_is_escaped() {
    let engine = engine(&["eu west/\u{fc}%"], "default => \"eu west/\\u{fc}%\"");
    let service = TrafficSplitLayer::new(engine).request_header(CLUSTER).response_header(CLUSTER).layer(
        service_fn(async |request: Request<()>| {
            let decision = request.extensions().get::<Decision>().unwrap().clone();
            assert_eq!(decision.cluster(), "eu west/\u{fc}%");
            Ok::<_, Infallible>(Response::new(request.headers()[CLUSTER].clone()))
        }),
    );
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.headers()[CLUSTER], "eu%20west/%C3%BC%25");
    assert_eq!(response.body(), "eu%20west/%C3%BC%25");
}

#[tokio::test]
async fn neither_send_nor_clone_nor_a_boxed_body_is_asked_for() {
    struct Body(#[allow(dead_code, reason = "makes it neither Send nor Clone")] Rc<Cell<u8>>);
    struct Local(Rc<Cell<u8>>);
    impl Service<Request<Body>> for Local {
        type Response = Response<Rc<u8>>;
        type Error = Rc<u8>;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            self.0.set(self.0.get() + 1);
            std::future::ready(Ok(Response::new(Rc::new(self.0.get()))))
        }
    }
    let layer = TrafficSplitLayer::new(engine(&["prod"], "default => prod")).response_header(CLUSTER);
    let mut service = (CanonicalPathLayer::new(), layer).layer(Local(Rc::default()));
    for n in 1..=3 {
        let request = Request::new(Body(Rc::default()));
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(**response.body(), n);
    }
}

#[tokio::test]
async fn a_refused_request_does_not_reach_the_inner_service() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<()>, Response<()>, _>(CanonicalPathLayer::new());
    assert!(service.poll_ready::<Request<()>>().is_ready());
    let response = service.call(Request::get("/a//b").body(()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(handle.poll_request().is_pending());

    for passes in ["/a/b", "*", "/"] {
        assert!(service.poll_ready::<Request<()>>().is_ready());
        let response = service.call(Request::options(passes).body(()).unwrap());
        handle.next_request().await.unwrap().1.send_response(Response::new(()));
        assert_eq!(response.await.unwrap().status(), StatusCode::OK, "{passes}");
    }
    assert!(service.poll_ready::<Request<()>>().is_ready());
    let response = service.call(Request::connect("shop.example.com:443").body(()).unwrap());
    handle.next_request().await.unwrap().1.send_response(Response::new(()));
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_response_says_which_rules_decided() {
    const RULES: HeaderName = HeaderName::from_static("x-rules");
    let engine = engine(&["gray", "prod"], "default => prod");
    let handler = service_fn({
        let engine = engine.clone();
        move |_: Request<()>| {
            // What comes in between is not what decided.
            engine.replace("default => gray").unwrap();
            let response = Response::builder().header(RULES, "mine").body(()).unwrap();
            std::future::ready(Ok::<_, Infallible>(response))
        }
    });
    let before = engine.rules().digest();
    let split =
        TrafficSplitLayer::new(engine.clone()).digest_header(RULES).response_header(CLUSTER).layer(handler);
    for digest in [before, Digest::of("default => gray")] {
        let response = split.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.headers().get_all(RULES).iter().count(), 1);
        assert_eq!(response.headers()[RULES], digest.to_string());
        assert!(response.headers().contains_key(CLUSTER));
    }
}
