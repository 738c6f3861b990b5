//! A service's errors, carried through tower's layers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::BoxError;
use tower::util::Oneshot;
use tower_service::Service;

/// Has the errors of a service in its response, and none of its own: what comes out of tower's layers as an error is then
/// theirs, and the service's error keeps its type.
///
/// It is always ready, and waits for the service when it is called. So shedding looks at the number of requests and at
/// nothing else, and the timeout counts from where the service is asked whether it is ready.
#[derive(Debug, Clone)]
#[allow(unnameable_types, reason = "it is part of a future's type")]
pub struct Carry<S> {
    inner: S,
}

pin_project! {
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    #[allow(unnameable_types, reason = "it is part of a future's type")]
    pub struct CarryFuture<F> {
        #[pin]
        inner: F,
    }
}

// === impl Carry ===

impl<S> Carry<S> {
    pub(super) fn new(inner: S) -> Self {
        Carry { inner }
    }
}

impl<S, Request> Service<Request> for Carry<S>
where
    S: Service<Request> + Clone,
{
    type Response = Result<S::Response, S::Error>;
    type Error = BoxError;
    type Future = CarryFuture<Oneshot<S, Request>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        CarryFuture { inner: Oneshot::new(self.inner.clone(), request) }
    }
}

// === impl CarryFuture ===

impl<F: Future> Future for CarryFuture<F> {
    type Output = Result<F::Output, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(ready!(self.project().inner.poll(cx))))
    }
}
