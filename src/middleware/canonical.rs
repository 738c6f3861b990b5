//! One view of the path: refuse requests that have two, or leave them one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::schema::http::{canonical_path, is_canonical};

/// Answers with `400 Bad Request` when a path is not in its [canonical
/// form](crate::schema::canonical_path), as `/x/../admin`, `//admin` and `/%61dmin`.
///
/// Rules see the canonical path, and a service behind them sees the path as it was sent. Where a rule decides
/// what may be reached, as each `deny` does, the two must not differ; with this layer outside everything that looks at
/// paths, they cannot. Browsers and HTTP libraries send almost nothing but canonical paths; those that do otherwise send
/// `%7E` for `~` or escapes with lower-case digits, as in `%c3%bc`. Look at your logs before you add it, or take
/// [`rewriting`](Self::rewriting), which refuses none of them: whoever is behind gets the canonical path in the place of the
/// other.
///
/// The asterisk of `OPTIONS *` and the missing path of `CONNECT` pass. The query is not looked at. The
/// response has no body and no other header: not the new location either, because a client that meant no
/// harm would not come back with another path.
///
/// # Cost
///
/// One look at each byte of the path, no allocation. A refused request does not reach the inner service, which
/// was asked for its readiness nevertheless. To rewrite a path costs up to four allocations; one that is canonical is not
/// touched.
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
pub struct CanonicalPathLayer {
    rewrites: bool,
}

/// A service that only canonical paths reach; made by [`CanonicalPathLayer`]. Ready when the inner service is.
#[derive(Debug, Clone, Copy)]
pub struct CanonicalPath<S> {
    rewrites: bool,
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
    /// Refuses what is not canonical.
    pub const fn new() -> Self {
        CanonicalPathLayer { rewrites: false }
    }

    /// Writes the canonical path in the place of one that is not, so that all layers and services inside see what the rules
    /// see: the field `raw_path` too, which is then the same as `path`. Scheme, authority and query stay as they are, byte by
    /// byte. Only a path that would be longer than a target can be, 65,534 bytes with its query, is refused.
    ///
    /// It must be **outside of what routes by paths**. `Router::layer` of axum is inside: there a request has its handler
    /// already, by the path as it was sent, and to rewrite it then hides that from the rules. So put it around the router as a
    /// service, or take [`new`](Self::new), which refuses in both places.
    ///
    /// ```
    /// # #[cfg(feature = "axum")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use axum::body::Body;
    /// use axum::{Router, ServiceExt, routing::get};
    /// use http::{Request, StatusCode};
    /// use pointsman::CanonicalPathLayer;
    /// use tower::{Layer, ServiceExt as _};
    ///
    /// let router: Router = Router::new().route("/admin/{page}", get("secret")).route("/public", get("for all"));
    /// let app = CanonicalPathLayer::rewriting().layer(router);
    ///
    /// let response = app.clone().oneshot(Request::get("/admin/../public").body(Body::empty())?).await?;
    /// assert_eq!(axum::body::to_bytes(response.into_body(), 100).await?, "for all");
    /// // To serve it:
    /// let served = ServiceExt::<Request<Body>>::into_make_service(app);
    /// # let _ = served;
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "axum"))]
    /// # fn main() {}
    /// ```
    pub const fn rewriting() -> Self {
        CanonicalPathLayer { rewrites: true }
    }
}

impl<S> Layer<S> for CanonicalPathLayer {
    type Service = CanonicalPath<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CanonicalPath { rewrites: self.rewrites, inner }
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

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let canonical =
            is_canonical(request.uri().path().as_bytes()) || self.rewrites && rewrite(request.uri_mut());
        CanonicalPathFuture { inner: canonical.then(|| self.inner.call(request)) }
    }
}

/// Writes the canonical path in the place of the one that is there. False where that is none that a target can have.
#[cold]
fn rewrite(uri: &mut Uri) -> bool {
    let mut target = canonical_path(uri.path().as_bytes()).into_owned();
    if let Some(query) = uri.query() {
        target.push(b'?');
        target.extend_from_slice(query.as_bytes());
    }
    let Ok(target) = PathAndQuery::try_from(target) else { return false };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target);
    let Ok(rewritten) = Uri::from_parts(parts) else { return false };
    *uri = rewritten;
    true
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
