//! Bounds of one service: what is shed, what is timed out, and what stays as it is.
#![cfg(feature = "isolate")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::convert::Infallible;
use std::future::{Future, Ready, pending, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use pointsman::middleware::{Isolate, IsolateLayer, Refused};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock::{self, Mock};

type Mocked = Mock<Request<()>, Response<&'static str>>;
type Handle = mock::Handle<Request<()>, Response<&'static str>>;

fn mocked(bounds: &IsolateLayer) -> (Isolate<Mocked>, Handle) {
    let (service, handle) = mock::pair();
    (bounds.layer(service), handle)
}

fn spawn(
    service: &Isolate<Mocked>,
) -> tokio::task::JoinHandle<Result<Response<&'static str>, tower::BoxError>> {
    tokio::spawn(service.clone().oneshot(Request::new(())))
}

#[tokio::test(start_paused = true)]
async fn those_beyond_the_limit_are_shed_at_once_and_room_is_taken_again() {
    let bounds = IsolateLayer::new().concurrency(2);
    let (service, mut handle) = mocked(&bounds);
    let at_work = [spawn(&service), spawn(&service)];
    let (_, first) = handle.next_request().await.unwrap();
    let (_, second) = handle.next_request().await.unwrap();

    for _ in 0..100 {
        let begin = Instant::now();
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.extensions().get(), Some(&Refused::Shed));
    }
    assert!(handle.poll_request().is_pending(), "the service has not seen them");

    first.send_response(Response::new("a"));
    second.send_response(Response::new("b"));
    for task in at_work {
        assert_eq!(task.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    let next = spawn(&service);
    handle.next_request().await.unwrap().1.send_response(Response::new("c"));
    assert_eq!(next.await.unwrap().unwrap().into_body(), "c");
    assert_eq!((bounds.shed(), bounds.timed_out()), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn no_response_in_time_is_a_504_and_gives_its_room_back() {
    let bounds = IsolateLayer::new().concurrency(1).timeout(Duration::from_secs(2));
    let (service, mut handle) = mocked(&bounds);
    for _ in 0..3 {
        let begin = Instant::now();
        let task = spawn(&service);
        let held = handle.next_request().await.unwrap();
        let response = task.await.unwrap().unwrap();
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(response.extensions().get(), Some(&Refused::TimedOut));
        assert!(!response.headers().contains_key("retry-after"));
        drop(held);
    }
    assert_eq!((bounds.shed(), bounds.timed_out()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_gets_ready_is_timed_out_too() {
    let (service, mut handle) = mocked(&IsolateLayer::new().concurrency(1).timeout(Duration::from_secs(2)));
    handle.allow(0);
    let waits = spawn(&service);
    tokio::task::yield_now().await;
    // It has the only room.
    let response = service.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Refused::Shed));
    assert_eq!(waits.await.unwrap().unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_dropped_gives_its_room_back() {
    let (service, mut handle) = mocked(&IsolateLayer::new().concurrency(1));
    for _ in 0..10 {
        let task = spawn(&service);
        let held = handle.next_request().await.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        drop(held);
    }
    let task = spawn(&service);
    handle.next_request().await.unwrap().1.send_response(Response::new("in"));
    assert_eq!(task.await.unwrap().unwrap().into_body(), "in");
}

/// An error that is no `std::error::Error`, and can only be passed on.
#[derive(Debug, PartialEq)]
struct Own(u8);

#[derive(Clone)]
struct Fails {
    when_ready: bool,
}

impl Service<Request<()>> for Fails {
    type Response = Response<()>;
    type Error = Own;
    type Future = Ready<Result<Response<()>, Own>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Own>> {
        Poll::Ready(if self.when_ready { Err(Own(1)) } else { Ok(()) })
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Err(Own(2)))
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_service_keep_their_type() {
    let all = IsolateLayer::new().concurrency(1).timeout(Duration::from_secs(1));
    let concurrency = IsolateLayer::new().concurrency(1);
    let timeout = IsolateLayer::new().timeout(Duration::from_secs(1));
    for bounds in [all, concurrency, timeout, IsolateLayer::new()] {
        for (when_ready, error) in [(true, Own(1)), (false, Own(2))] {
            let service = bounds.layer(Fails { when_ready });
            for _ in 0..3 {
                assert_eq!(service.clone().oneshot(Request::new(())).await.unwrap_err(), error);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_service_that_the_layer_makes_has_a_limit_of_its_own() {
    let bounds = IsolateLayer::new().concurrency(1).timeout(Duration::from_secs(1));
    let hangs = service_fn(async |_: Request<()>| pending::<Result<Response<()>, Infallible>>().await);
    let works = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let (gray, prod) = (bounds.layer(hangs), bounds.layer(works));
    let stuck = tokio::spawn(gray.clone().oneshot(Request::new(())));
    tokio::task::yield_now().await;
    assert_eq!(gray.oneshot(Request::new(())).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(prod.oneshot(Request::new(())).await.unwrap().status(), StatusCode::OK);
    assert_eq!(stuck.await.unwrap().unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!((bounds.shed(), bounds.timed_out()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_neither_timed_out_nor_counted() {
    let bounds = IsolateLayer::new().concurrency(1).timeout(Duration::from_secs(1));
    let service = bounds.layer(service_fn(async |_: Request<()>| {
        // Its body is still to be read.
        Ok::<_, Infallible>(Response::new("slow".to_owned()))
    }));
    let held = service.clone().oneshot(Request::new(())).await.unwrap();
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), StatusCode::OK);
    assert_eq!(held.into_body(), "slow");
}

#[tokio::test(start_paused = true)]
async fn no_number_is_too_large_or_too_small() {
    let works = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let most = IsolateLayer::new().concurrency(usize::MAX).timeout(Duration::MAX).layer(works);
    assert_eq!(most.oneshot(Request::new(())).await.unwrap().status(), StatusCode::OK);

    let closed = IsolateLayer::new().concurrency(0).retry_after(Duration::from_millis(1500)).layer(works);
    let response = closed.oneshot(Request::new(())).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"2".parse().unwrap())
    );
    let silent = IsolateLayer::new().concurrency(0).retry_after(None).layer(works);
    assert!(silent.oneshot(Request::new(())).await.unwrap().headers().is_empty());
}

#[tokio::test]
async fn a_request_that_is_let_through_allocates_nothing() {
    let works = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(()))));
    let service = IsolateLayer::new().concurrency(1).timeout(Duration::from_secs(1)).layer(works);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        let request = Request::new(());
        let seen = allocation_counter::measure(|| {
            let response = pin!(service.clone().oneshot(request)).poll(&mut context);
            assert!(matches!(response, Poll::Ready(Ok(response)) if response.status() == StatusCode::OK));
        });
        assert_eq!(seen.count_total, 0);
    }
}
