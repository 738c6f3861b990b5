//! Services by index, in shapes that have one for any index.
//!
//! Both shapes hold at least one service, and that one takes what no other does. So there is no index without
//! a service and no error for it; that indices and clusters agree was checked when they were joined.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::call::CallFuture;

/// Services of one type, for [`Clusters::new`](super::Clusters::new).
#[derive(Debug, Clone)]
pub struct Each<S> {
    first: S,
    /// From index 1.
    others: Box<[S]>,
}

/// The first service of a [`Chain`](super::Chain).
#[derive(Debug, Clone)]
pub struct Only<S> {
    service: S,
}

/// A service of a [`Chain`](super::Chain), and all those before it.
#[derive(Debug, Clone)]
pub struct Or<D, S> {
    cluster: usize,
    service: S,
    before: D,
}

/// What [`Clusters`](super::Clusters) hands requests to: [`Each`], [`Only`] or [`Or`].
///
/// A bound for those who write functions over any `Clusters`; there is nothing to call and nothing to
/// implement.
///
/// ```
/// use http::{Request, Response};
/// use pointsman::{Clusters, TrafficSplitLayer};
/// use pointsman::middleware::Dispatch;
/// use tower::{Layer, Service};
///
/// fn tagged<D, B>(clusters: Clusters<D>) -> impl Service<Request<B>, Response = Response<String>>
/// where
///     D: Dispatch<Request<B>, Response = Response<String>>,
/// {
///     TrafficSplitLayer::new(clusters.engine().clone()).layer(clusters)
/// }
/// ```
pub trait Dispatch<Request>: sealed::Sealed {
    /// The response of every service.
    type Response;
    /// The error of every service.
    type Error;
    /// The response to come.
    type Future: Future<Output = Result<Self::Response, Self::Error>>;

    /// Calls the service of a cluster, as soon as it is ready.
    #[doc(hidden)]
    fn dispatch(&self, cluster: usize, request: Request) -> Self::Future;
}

mod sealed {
    #[allow(unnameable_types, reason = "that is its use")]
    pub trait Sealed {}
}

pin_project! {
    /// The response of a service in a [`Chain`](super::Chain): of this one, or of one before it.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct OrFuture<B, T> {
        #[pin]
        side: Side<B, T>,
    }
}

pin_project! {
    #[project = SideProjection]
    #[derive(Debug)]
    enum Side<B, T> {
        Before {
            #[pin]
            future: B,
        },
        This {
            #[pin]
            future: T,
        },
    }
}

// === impl Each ===

impl<S> Each<S> {
    pub(super) fn new(mut services: impl Iterator<Item = S>) -> Option<Self> {
        Some(Each { first: services.next()?, others: services.collect() })
    }
}

impl<S> sealed::Sealed for Each<S> {}

impl<S, Request> Dispatch<Request> for Each<S>
where
    S: Service<Request> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CallFuture<S, Request>;

    fn dispatch(&self, cluster: usize, request: Request) -> Self::Future {
        let other = cluster.checked_sub(1).and_then(|at| self.others.get(at));
        CallFuture::new(other.unwrap_or(&self.first).clone(), request)
    }
}

// === impl Only ===

impl<S> Only<S> {
    pub(super) fn new(service: S) -> Self {
        Only { service }
    }
}

impl<S> sealed::Sealed for Only<S> {}

impl<S, Request> Dispatch<Request> for Only<S>
where
    S: Service<Request> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CallFuture<S, Request>;

    fn dispatch(&self, _: usize, request: Request) -> Self::Future {
        CallFuture::new(self.service.clone(), request)
    }
}

// === impl Or ===

impl<D, S> Or<D, S> {
    pub(super) fn new(before: D, cluster: usize, service: S) -> Self {
        Or { cluster, service, before }
    }
}

impl<D, S> sealed::Sealed for Or<D, S> {}

impl<D, S, Request> Dispatch<Request> for Or<D, S>
where
    D: Dispatch<Request>,
    S: Service<Request, Response = D::Response, Error = D::Error> + Clone,
{
    type Response = D::Response;
    type Error = D::Error;
    type Future = OrFuture<D::Future, CallFuture<S, Request>>;

    fn dispatch(&self, cluster: usize, request: Request) -> Self::Future {
        let side = if cluster == self.cluster {
            Side::This { future: CallFuture::new(self.service.clone(), request) }
        } else {
            Side::Before { future: self.before.dispatch(cluster, request) }
        };
        OrFuture { side }
    }
}

// === impl OrFuture ===

impl<B, T> Future for OrFuture<B, T>
where
    B: Future,
    T: Future<Output = B::Output>,
{
    type Output = B::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().side.project() {
            SideProjection::Before { future } => future.poll(cx),
            SideProjection::This { future } => future.poll(cx),
        }
    }
}
