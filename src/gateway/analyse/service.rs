//! What happens to a request and its response.

use std::future::Future;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::AnalyseBody;
use super::clusters::Token;
use super::layer::{AnalyseLayer, Shared};
use crate::engine::{Action, Decision, StatementKind};
use crate::gateway::{Cached, Refused};

/// A service whose requests and responses are recorded; made by [`AnalyseLayer`], where there is an example.
///
/// Ready when the inner service is. A clone costs a reference count and a clone of the inner service.
#[derive(Debug, Clone)]
pub struct AnalyseService<S> {
    layer: AnalyseLayer,
    inner: S,
}

pin_project! {
    /// The response of [`AnalyseService`]: the inner service's, with a body that is watched.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct AnalyseFuture<F> {
        #[pin]
        inner: F,
        // Behind the future, so that it is dropped after it.
        token: Option<Token>,
        head: bool,
    }
}

// === impl AnalyseService ===

impl<S> AnalyseService<S> {
    pub(super) fn new(layer: AnalyseLayer, inner: S) -> Self {
        AnalyseService { layer, inner }
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for AnalyseService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<AnalyseBody<ResBody>>;
    type Error = S::Error;
    type Future = AnalyseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let token = self.layer.shared.begin(&request);
        let head = request.method() == Method::HEAD;
        AnalyseFuture { inner: self.inner.call(request), token, head }
    }
}

// === impl Shared ===

impl Shared {
    fn begin<B>(&self, request: &Request<B>) -> Option<Token> {
        let decision =
            request.extensions().get::<Decision>().filter(|decision| self.engine.made(decision))?;
        let now = self.now();
        self.count(decision, now);
        self.clusters.begin(decision.cluster_index(), now)
    }

    /// Counts the keys of the request.
    fn count(&self, decision: &Decision, now: Instant) {
        let counts = decision.matches().filter(|hit| hit.is_live());
        let mut counts = counts.filter(|hit| matches!(hit.statement().action(), Action::Top(_))).peekable();
        if counts.peek().is_none() {
            return;
        }
        decision.heed(StatementKind::Count);
        let kept = self.kept.under(decision.rules(), |statement| self.windows(statement));
        let now = self.since_start(now);
        for hit in counts {
            if let (Some(key), Some(windows)) = (hit.key(), kept.get(hit.index(), hit.statement())) {
                windows.count(self.seed.hash_one(key), key, now);
            }
        }
    }
}

// === impl AnalyseFuture ===

impl<F, B, E> Future for AnalyseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<AnalyseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx));
        let mut token = this.token.take();
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                token.iter_mut().for_each(Token::error);
                return Poll::Ready(Err(error));
            }
        };
        let cached = response.extensions().get::<Cached>().copied();
        if response.extensions().get::<Refused>().is_some() {
            token.take().iter_mut().for_each(Token::refused);
        } else if let Some(cached) = cached {
            token.take().iter_mut().for_each(|token| token.cached(cached));
        }
        let status = response.status();
        token.iter_mut().for_each(|token| token.headers(status));
        let empty = *this.head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        Poll::Ready(Ok(response.map(|body| AnalyseBody::new(body, token, empty))))
    }
}
