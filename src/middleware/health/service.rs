//! One service made of the upstreams of a cluster.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower_service::Service;

use super::accrual::Outcome;
use super::clock::{Sleep, sleep};
use super::group::{Group, Ticket};
use super::reserved::Reserved;
use super::upload::Upload;
use crate::middleware::isolate::Refused;

/// The upstreams of one cluster as one service; made by [`Health::upstreams`](super::Health::upstreams).
///
/// Each request goes to the next of those that are healthy or due a probe, in turn, or is the probe that was
/// [kept for it](super::Health::reserve). When there is none it is answered at
/// once with `503`, a `Retry-After` of when the next probe is due, and [`Refused::Unavailable`] in the response's
/// extensions. One that takes longer than [the timeout](super::HealthSettings::timeout) is answered with `504` and
/// [`Refused::TimedOut`]. No request is tried twice.
///
/// # Readiness
///
/// Ready at once. Once an upstream is chosen it is cloned, and that clone is polled for readiness and then called, within the timeout.
///
/// # Cost
///
/// A turn, a timer, two reference counts, a clone of the upstream's service and a look at the states: at one number when all
/// are healthy, else at each upstream. No lock unless requests fail, or a
/// [failure rate](super::HealthSettings::failure_rate) is set; then one that is held for some nanoseconds. That took 200 ns with four
/// upstreams, and 350 with a rate. Nothing is allocated.
///
/// # Panics
///
/// A request has to be made within a tokio runtime that has its time enabled; tokio panics if not.
///
/// # Errors
///
/// Those of the upstreams, which count as failures, and no other.
pub struct Upstreams<S> {
    group: Arc<Group>,
    services: Arc<[S]>,
}

pin_project! {
    /// The response of [`Upstreams`]: that of the upstream, or the refusal.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct UpstreamsFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    #[derive(Debug)]
    enum State<F> {
        Called {
            #[pin]
            inner: F,
            #[pin]
            deadline: Sleep,
            // Behind the future, so that it is dropped after it.
            ticket: Ticket,
            upload: Option<Upload>,
        },
        Unavailable {
            retry_after: Duration,
        },
    }
}

// === impl Upstreams ===

impl<S> Upstreams<S> {
    pub(super) fn new(group: Arc<Group>, services: Arc<[S]>) -> Self {
        Upstreams { group, services }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Upstreams<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = UpstreamsFuture<Oneshot<S, Request<ReqBody>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let reserved = Reserved::take(&self.group, request.extensions_mut());
        let state = match reserved.map_or_else(|| self.group.choose(), Ok) {
            Ok((at, ticket)) => match self.services.get(at) {
                Some(service) => {
                    let deadline = sleep(ticket.settings().timeout);
                    let upload = request.extensions().get().cloned();
                    State::Called { inner: Oneshot::new(service.clone(), request), deadline, ticket, upload }
                }
                // There are as many services as upstreams.
                None => State::Unavailable { retry_after: Duration::ZERO },
            },
            Err(retry_after) => State::Unavailable { retry_after },
        };
        UpstreamsFuture { state }
    }
}

impl<S> Clone for Upstreams<S> {
    fn clone(&self) -> Self {
        Upstreams { group: self.group.clone(), services: self.services.clone() }
    }
}

impl<S> fmt::Debug for Upstreams<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstreams").field("upstreams", &self.group.upstreams).finish_non_exhaustive()
    }
}

// === impl UpstreamsFuture ===

impl<F, B, E> Future for UpstreamsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Called { inner, deadline, ticket, upload } => {
                // What came of a request whose body was at fault says nothing.
                let upload = upload.as_ref();
                let nothing = || match upload {
                    Some(upload) if upload.is_to_blame() => Outcome::Abandoned,
                    _ => Outcome::Failure,
                };
                if let Poll::Ready(result) = inner.poll(cx) {
                    let outcome = match &result {
                        Ok(response) => outcome(response, ticket),
                        Err(_) => nothing(),
                    };
                    ticket.ended(outcome);
                    return Poll::Ready(result);
                }
                if deadline.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                ticket.ended(nothing());
                Poll::Ready(Ok(Refused::TimedOut.response(None)))
            }
            StateProjection::Unavailable { retry_after } => {
                Poll::Ready(Ok(Refused::Unavailable.response(Some(*retry_after))))
            }
        }
    }
}

fn outcome<B>(response: &Response<B>, ticket: &Ticket) -> Outcome {
    match response {
        // There was no room before the upstream, which has not seen the request.
        response if response.extensions().get() == Some(&Refused::Shed) => Outcome::Abandoned,
        response if (ticket.settings().is_failure)(response.status()) => Outcome::Failure,
        _ => Outcome::Success,
    }
}
