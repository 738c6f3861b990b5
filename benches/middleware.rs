//! What the layer adds to a service, and how much of that is the request's extensions.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench may stop")]

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{Extensions, HeaderName, Request, Response};
use pointsman::{Decision, Engine, TrafficSplitLayer};
use tower::{Layer, Service, service_fn};

mod load;

fn middleware(criterion: &mut Criterion) {
    // A server that tells the peer's address has made room for extensions; one that tells nothing has not.
    let with_peer = load::requests();
    let mut fresh = load::requests();
    fresh.iter_mut().for_each(|request| *request.extensions_mut() = Extensions::new());

    // Hands the request back, so that it is not dropped while the clock runs.
    let bare = service_fn(|request: Request<()>| ready(Ok::<_, Infallible>(Response::new(request))));
    for (name, requests) in [("with extensions", with_peer), ("without extensions", fresh)] {
        let one: Engine = load::engine(load::W1);
        let twenty = load::engine(&load::mixed(20));
        let decision: Decision = one.decide(&requests[0]);
        let insert = service_fn(|mut request: Request<()>| {
            request.extensions_mut().insert(decision.clone());
            ready(Ok::<_, Infallible>(Response::new(request)))
        });
        let split = TrafficSplitLayer::new(one.clone());
        let headers = split
            .clone()
            .request_header(HeaderName::from_static("x-cluster"))
            .response_header(HeaderName::from_static("x-cluster"));

        let mut group = criterion.benchmark_group(format!("middleware, requests {name}"));
        let mut bench =
            |what: &str, service: &mut dyn FnMut(Request<()>) -> Option<Response<Request<()>>>| {
                let mut next = requests.iter().cycle();
                let mut fresh = || next.next().expect("is a cycle").clone();
                group.bench_function(what, |b| {
                    b.iter_batched(&mut fresh, &mut *service, BatchSize::SmallInput);
                });
            };
        bench("bare service", &mut ask(bare));
        bench("bare service and an insert", &mut ask(insert));
        bench("one rule", &mut ask(split.layer(bare)));
        bench("one rule, both headers", &mut ask(headers.layer(bare)));
        bench("20 rules", &mut ask(TrafficSplitLayer::new(twenty).layer(bare)));

        // Here the request and the body end while the clock runs, as the end counts too.
        let empty = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(()))));
        let (mut plain, mut counted) = (ask(split.layer(empty)), ask(split.count_in_flight().layer(empty)));
        let mut next = requests.iter().cycle();
        let mut fresh = || next.next().expect("is a cycle").clone();
        group.bench_function("one rule, to the end", |b| {
            b.iter_batched(&mut fresh, |request| drop(plain(request)), BatchSize::SmallInput);
        });
        group.bench_function("one rule, to the end, counted in flight", |b| {
            b.iter_batched(&mut fresh, |request| drop(counted(request)), BatchSize::SmallInput);
        });
    }
}

/// Calls a service that answers at once.
fn ask<S>(mut service: S) -> impl FnMut(Request<()>) -> Option<S::Response>
where
    S: Service<Request<()>, Error = Infallible>,
{
    move |request| match pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => Some(response),
        Poll::Pending => None,
    }
}

criterion_group!(benches, middleware);
criterion_main!(benches);
