//! What happens on a request's way in.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{HeaderName, HeaderValue};
use http::{Extensions, Request, Response};
use smallvec::SmallVec;
use tower_service::Service;

use super::future::ResponseFuture;
use super::layer::{Available, Tags};
use crate::engine::{Decision, Engine, decided};

/// A service whose requests are tagged with the decision of an [`Engine`]; made by
/// [`TrafficSplitLayer`](super::TrafficSplitLayer), where there are examples.
///
/// Ready when the inner service is. A clone costs a reference count and a clone of the inner service.
#[derive(Debug, Clone)]
pub struct TrafficSplit<S> {
    tags: Arc<Tags>,
    inner: S,
}

// === impl TrafficSplit ===

impl<S> TrafficSplit<S> {
    pub(super) fn new(tags: Arc<Tags>, inner: S) -> Self {
        TrafficSplit { tags, inner }
    }

    /// What decides.
    pub fn engine(&self) -> &Engine {
        &self.tags.engine
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for TrafficSplit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let (_, headers) = self.tags.tag(&mut request);
        ResponseFuture::new(self.inner.call(request), headers)
    }
}

// === impl Tags ===

impl Tags {
    /// Decides, and tags the request. Returns the cluster, and the headers that the response gets.
    #[inline]
    pub(super) fn tag<B>(&self, request: &mut Request<B>) -> (usize, [Option<(HeaderName, HeaderValue)>; 2]) {
        // What is kept for the request, by cluster; it cannot have it while it is looked at.
        let kept = Cell::new(SmallVec::<[(u32, Extensions); 1]>::new());
        let available = self.available.as_ref().map(|Available(ask)| {
            |cluster: u32| {
                let mut all = kept.take();
                let at = all.iter().position(|(of, _)| *of == cluster);
                let mut extensions = at.map(|at| all.swap_remove(at).1).unwrap_or_default();
                let answer = ask(cluster as usize, &mut extensions);
                if !extensions.is_empty() {
                    all.push((cluster, extensions));
                }
                kept.set(all);
                answer
            }
        });
        let available = available.as_ref().map(|ask| ask as &dyn Fn(u32) -> bool);
        let followed = self
            .follow
            .as_ref()
            .and_then(|follow| follow.decide(&self.engine, request, self.request_header.as_ref(), available));
        // Before deciding: rules must not see what only we may set. Removes every value of the name.
        if let Some(header) = &self.request_header {
            request.headers_mut().remove(header);
        }
        let decision = followed.unwrap_or_else(|| self.engine.decide_among(&*request, available));
        // What was asked for a copy alone goes no further.
        let kept = kept.into_inner().into_iter();
        for (_, extensions) in kept.filter(|(cluster, _)| *cluster as usize == decision.cluster_index()) {
            request.extensions_mut().extend(extensions);
        }
        decided(&decision);
        let cluster = decision.cluster_index();
        let name = self.name(&decision);
        if let (Some(header), Some(name)) = (&self.request_header, name) {
            // Fails at 32,768 names, which no server lets through; the extension says the same.
            let _ = request.headers_mut().try_insert(header.clone(), name.clone());
        }
        let header = self.response_header.clone().zip(name.cloned());
        let digest =
            self.digest_header.as_ref().map(|name| (name.clone(), decision.rules().digest_value().clone()));
        leave(decision, request.extensions_mut());
        (cluster, [header, digest])
    }
}

/// Leaves a decision with the request, in the place of an earlier one.
pub(super) fn leave(decision: Decision, extensions: &mut Extensions) {
    // Inserting would box the new one before it drops the old one.
    match extensions.get_mut::<Decision>() {
        Some(earlier) => *earlier = decision,
        None => drop(extensions.insert(decision)),
    }
}
