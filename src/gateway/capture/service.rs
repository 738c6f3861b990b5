//! What happens on a request's way in and on the response's way out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::CaptureBody;
use super::exchange::{Recording, Side, Tee};
use super::layer::{CaptureLayer, Captures};
use crate::engine::{Action, Decision, Match, StatementKind};

/// A service whose exchanges are captured as the rules say; made by [`CaptureLayer`].
///
/// Ready when the inner service is. A clone costs two reference counts and a clone of the inner service.
#[derive(Debug, Clone)]
pub struct CaptureService<S> {
    layer: CaptureLayer,
    inner: S,
}

pin_project! {
    /// The response of [`CaptureService`]: the inner service's, with a body that may be captured.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct CaptureFuture<F> {
        #[pin]
        inner: F,
        // Behind the future, so that it is dropped after it.
        tee: Option<Tee>,
    }
}

// === impl CaptureService ===

impl<S> CaptureService<S> {
    pub(super) fn new(layer: CaptureLayer, inner: S) -> Self {
        CaptureService { layer, inner }
    }

    /// What was captured, to be looked at.
    pub fn captures(&self) -> Captures {
        self.layer.captures()
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to be changed.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the inner service back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CaptureService<S>
where
    S: Service<Request<CaptureBody<ReqBody>>, Response = Response<ResBody>>,
    ReqBody: Body,
    ResBody: Body,
{
    type Response = Response<CaptureBody<ResBody>>;
    type Error = S::Error;
    type Future = CaptureFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let recording = self.layer.recording(&request);
        let [upward, tee] = [Side::Request, Side::Response]
            .map(|side| recording.as_ref().map(|recording| recording.tee(side)));
        let request = request.map(|body| CaptureBody::new(body, upward));
        CaptureFuture { inner: self.inner.call(request), tee }
    }
}

// === impl CaptureLayer ===

impl CaptureLayer {
    /// Begins to record, where the rules say so.
    #[inline]
    fn recording<B>(&self, request: &Request<B>) -> Option<Arc<Recording>> {
        let decision = request.extensions().get::<Decision>()?;
        self.shared.see(decision.rules());
        let live = |hit: &Match<'_>| hit.is_live() && matches!(hit.statement().action(), Action::Capture(_));
        if !decision.matches().any(|hit| live(&hit)) {
            return None;
        }
        decision.heed(StatementKind::Capture);
        let taken = |hit: &Match<'_>| self.shared.take(decision.rules(), hit.index(), hit.statement());
        let by: Vec<_> = decision
            .matches()
            .filter(live)
            .filter(taken)
            .map(|hit| hit.statement().name().to_owned())
            .collect();
        if by.is_empty() {
            return None;
        }
        let recording = Recording::begin(request, decision, by, &self.settings, &self.shared);
        if recording.is_none() {
            self.shared.totals.no_room();
        }
        recording
    }
}

// === impl CaptureFuture ===

impl<F, B, E> Future for CaptureFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<CaptureBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx));
        let tee = this.tee.take();
        Poll::Ready(match response {
            Ok(response) => {
                if let Some(recording) = tee.as_ref().and_then(Tee::recording) {
                    recording.head(&response);
                }
                Ok(response.map(|body| CaptureBody::new(body, tee)))
            }
            Err(error) => {
                if let Some(tee) = tee {
                    tee.failed();
                }
                Err(error)
            }
        })
    }
}
