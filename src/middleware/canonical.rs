//! One view of the path: refuse requests that have two.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::schema::http::is_canonical;

/// Answers with `400 Bad Request` when a path is not in its [canonical
/// form](crate::schema::canonical_path), as `/x/../admin`, `//admin` and `/%61dmin`.
///
/// Rules see the canonical path, and a service behind them sees the path as it was sent. Where a rule decides
/// what may be reached, the two must not differ; with this layer outside everything that looks at paths, they
/// cannot. Browsers and HTTP libraries send almost nothing but canonical paths; those that do otherwise send
/// `%7E` for `~` or escapes with lower-case digits, as in `%c3%bc`. Look at your logs before you add it.
///
/// The asterisk of `OPTIONS *` and the missing path of `CONNECT` pass. The query is not looked at. The
/// response has no body and no other header: not the new location either, because a client that meant no
/// harm would not come back with another path.
///
/// # Cost
///
/// One look at each byte of the path, no allocation. A refused request does not reach the inner service, which
/// was asked for its readiness nevertheless.
///
/// # Errors
///
/// None of its own.
///
/// # Examples
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use pointsman::CanonicalPathLayer;
/// use std::convert::Infallible;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let service = CanonicalPathLayer::new()
///     .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
///
/// let response = service.clone().oneshot(Request::get("/shop/%2e%2e/admin").body(())?).await?;
/// assert_eq!(response.status(), StatusCode::BAD_REQUEST);
/// let response = service.oneshot(Request::get("/admin?from=/shop/../x").body(())?).await?;
/// assert_eq!(response.status(), StatusCode::OK);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct CanonicalPathLayer;

/// A service that only canonical paths reach; made by [`CanonicalPathLayer`]. Ready when the inner service is.
#[derive(Debug, Clone, Copy)]
pub struct CanonicalPath<S> {
    inner: S,
}

pin_project! {
    /// The response of [`CanonicalPath`]: the inner service's, or the refusal.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct CanonicalPathFuture<F> {
        // None when the path is refused.
        #[pin]
        inner: Option<F>,
    }
}

// === impl CanonicalPathLayer ===

impl CanonicalPathLayer {
    /// Makes the layer; there is nothing to set.
    pub const fn new() -> Self {
        CanonicalPathLayer
    }
}

impl<S> Layer<S> for CanonicalPathLayer {
    type Service = CanonicalPath<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CanonicalPath { inner }
    }
}

// === impl CanonicalPath ===

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CanonicalPath<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CanonicalPathFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let canonical = is_canonical(request.uri().path().as_bytes());
        CanonicalPathFuture { inner: canonical.then(|| self.inner.call(request)) }
    }
}

// === impl CanonicalPathFuture ===

impl<F, B, E> Future for CanonicalPathFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().inner.as_pin_mut() {
            Some(inner) => inner.poll(cx),
            None => {
                let mut refusal = Response::new(B::default());
                *refusal.status_mut() = StatusCode::BAD_REQUEST;
                Poll::Ready(Ok(refusal))
            }
        }
    }
}
