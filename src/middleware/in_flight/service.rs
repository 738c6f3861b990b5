//! Deciding and counting, in one layer: a request must count before anybody can see that it was decided.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::counts::{Counts, Token};
use super::{InFlight, InFlightBody};
use crate::engine::Engine;
use crate::middleware::future::ResponseFuture;
use crate::middleware::layer::Tags;

/// A [`TrafficSplitLayer`](crate::TrafficSplitLayer) that counts what each cluster has at hand; made by
/// [`TrafficSplitLayer::count_in_flight`](crate::TrafficSplitLayer::count_in_flight).
///
/// It does what that layer does, and wraps the response's body. All clones, and all services that they make, share
/// the counts; [`InFlight`] says what counts, and has an example.
///
/// Deciding and counting are one layer and not two, because between two a request would be decided and not counted, and
/// [`InFlight::drained`] could not see it.
///
/// # Cost
///
/// In addition to what the plain layer costs, five additions to memory of the thread's own, which took 44 ns a request where
/// the layer and the end of the request took 400; no allocation. Those who do not count pay nothing.
#[derive(Clone)]
pub struct InFlightLayer {
    tags: Arc<Tags>,
    counts: Arc<Counts>,
}

/// A service whose requests are tagged with the decision of an [`Engine`] and counted; made by [`InFlightLayer`].
///
/// Ready when the inner service is. A clone costs two reference counts and a clone of the inner service.
#[derive(Clone)]
pub struct InFlightSplit<S> {
    tags: Arc<Tags>,
    counts: Arc<Counts>,
    inner: S,
}

pin_project! {
    /// The response of [`InFlightSplit`]: the inner service's, with a body that counts.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InFlightFuture<F> {
        #[pin]
        inner: ResponseFuture<F>,
        // Behind the future, so that it is dropped after it.
        token: Option<Token>,
    }
}

// === impl InFlightLayer ===

impl InFlightLayer {
    pub(in crate::middleware) fn new(tags: Arc<Tags>) -> Self {
        let counts = Arc::new(Counts::new(tags.engine.clone()));
        InFlightLayer { tags, counts }
    }

    /// The counts, to be asked and waited for.
    pub fn in_flight(&self) -> InFlight {
        InFlight { counts: self.counts.clone() }
    }

    /// What decides.
    pub fn engine(&self) -> &Engine {
        &self.tags.engine
    }
}

impl<S> Layer<S> for InFlightLayer {
    type Service = InFlightSplit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        InFlightSplit { tags: self.tags.clone(), counts: self.counts.clone(), inner }
    }
}

impl fmt::Debug for InFlightLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightLayer").field("tags", &self.tags).field("counts", &self.in_flight()).finish()
    }
}

// === impl InFlightSplit ===

impl<S> InFlightSplit<S> {
    /// The counts, to be asked and waited for.
    pub fn in_flight(&self) -> InFlight {
        InFlight { counts: self.counts.clone() }
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for InFlightSplit<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<InFlightBody<ResBody>>;
    type Error = S::Error;
    type Future = InFlightFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let mut token = self.counts.enter();
        let (cluster, headers) = self.tags.tag(&mut request);
        token.place(cluster);
        InFlightFuture { inner: ResponseFuture::new(self.inner.call(request), headers), token: Some(token) }
    }
}

impl<S: fmt::Debug> fmt::Debug for InFlightSplit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightSplit")
            .field("tags", &self.tags)
            .field("counts", &self.in_flight())
            .field("inner", &self.inner)
            .finish()
    }
}

// === impl InFlightFuture ===

impl<F, B, E> Future for InFlightFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<InFlightBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx));
        // On an error the count ends here.
        let token = this.token.take();
        Poll::Ready(response.map(|response| response.map(|body| InFlightBody::new(body, token))))
    }
}
