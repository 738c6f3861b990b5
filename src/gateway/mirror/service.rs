//! What happens on a request's way in.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::UPGRADE;
use http::{Method, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::MirrorTee;
use super::counts::{Counts, MirrorCounts, Versus, Why};
use super::layer::MirrorLayer;
use super::pending::{Collecting, Head, Pending};
use super::shadow::Copy;
use crate::engine::{Action, Decision, Match, Mirror, StatementKind};
use crate::gateway::overrides_method;
use crate::middleware::header_value;

/// A service whose requests are copied as the rules say; made by [`MirrorLayer`], where there are examples.
///
/// Ready when the inner service is. A clone costs two reference counts and a clone of the inner service.
#[derive(Debug, Clone)]
pub struct MirrorService<S> {
    layer: MirrorLayer,
    inner: S,
}

pin_project! {
    /// The response of [`MirrorService`]: the inner service's.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct MirrorFuture<F> {
        #[pin]
        inner: F,
        // One for each copy; of none, nothing is allocated.
        versus: Vec<Arc<Versus>>,
    }
}

// === impl MirrorService ===

impl<S> MirrorService<S> {
    pub(super) fn new(layer: MirrorLayer, inner: S) -> Self {
        MirrorService { layer, inner }
    }

    /// What became of the copies, for each `mirror` of the rules that decided last.
    pub fn counts(&self) -> Vec<MirrorCounts> {
        self.layer.counts()
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for MirrorService<S>
where
    S: Service<Request<MirrorTee<ReqBody>>, Response = Response<ResBody>>,
    ReqBody: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = MirrorFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (pending, versus) = match self.layer.pending(&request) {
            Some((pending, versus)) => (Some(pending), versus),
            None => (None, Vec::new()),
        };
        // A body that has ended may never be asked.
        let collecting = match pending {
            Some(pending) if request.body().is_end_stream() => {
                pending.send();
                None
            }
            pending => pending.and_then(Collecting::begin),
        };
        let request = request.map(|body| MirrorTee::new(body, collecting));
        MirrorFuture { inner: self.inner.call(request), versus }
    }
}

// === impl MirrorLayer ===

impl MirrorLayer {
    /// The copies that a request is to have, and what compares each of them.
    #[inline]
    fn pending<B: Body>(&self, request: &Request<B>) -> Option<(Box<Pending>, Vec<Arc<Versus>>)> {
        let decision = request.extensions().get::<Decision>()?;
        let live = |hit: &Match<'_>| hit.is_live() && matches!(hit.statement().action(), Action::Mirror(_));
        // The index of a cluster means nothing where another engine decided.
        if !decision.matches().any(|hit| live(&hit)) || !self.shared.engine.made(decision) {
            return None;
        }
        decision.heed(StatementKind::Mirror);
        let table = self.shared.kept.under(decision.rules(), |_| Counts::default());
        let mut copies = Vec::new();
        for hit in decision.matches().filter(live) {
            let Some(counts) = table.get(hit.index(), hit.statement()) else { continue };
            match self.copy(request, &hit, counts) {
                Ok(copy) => copies.push((header_value(hit.statement().name()), copy)),
                Err(why) => counts.dropped(why),
            }
        }
        if copies.is_empty() {
            return None;
        }
        let versus = copies.iter().map(|(_, copy)| copy.versus.clone()).collect();
        let pending = Pending::new(Head::of(request), copies, self.settings.clone(), self.shared.clone());
        Some((Box::new(pending), versus))
    }

    fn copy<B: Body>(
        &self,
        request: &Request<B>,
        hit: &Match<'_>,
        counts: &Arc<Counts>,
    ) -> Result<Copy, Why> {
        let Action::Mirror(Mirror { unsafe_methods, .. }) = hit.statement().action() else {
            return Err(Why::NoService);
        };
        if request.headers().contains_key(&self.settings.header) {
            return Err(Why::Copy);
        }
        if request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE) {
            return Err(Why::Upgrade);
        }
        if !unsafe_methods && (!request.method().is_safe() || overrides_method(request.headers())) {
            return Err(Why::UnsafeMethod);
        }
        let shadow = hit.cluster_index().and_then(|cluster| self.shared.shadows.get(cluster)?.clone());
        let shadow = shadow.ok_or(Why::NoService)?;
        if request.body().size_hint().lower() > self.settings.body_bytes as u64 {
            return Err(Why::TooLarge);
        }
        let slot = self.shared.slots.take(self.settings.in_flight).ok_or(Why::Full)?;
        Ok(Copy { shadow, counts: counts.clone(), versus: Arc::new(Versus::new(counts.clone())), slot })
    }
}

// === impl MirrorFuture ===

impl<F, B, E> Future for MirrorFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx));
        if let Ok(response) = &response {
            std::mem::take(this.versus).iter().for_each(|versus| versus.primary(response.status()));
        }
        Poll::Ready(response)
    }
}
