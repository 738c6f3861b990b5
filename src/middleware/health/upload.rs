//! Whose fault it is when a request with a body fails: the upstream's, or that of who sends the body.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll};

use http::Request;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Watches the bodies of requests, so that [`Upstreams`](super::Upstreams) inside it do not blame an upstream for a client.
///
/// A body that breaks off makes the request to the upstream fail, and one that does not go on makes it last; a client that does so on
/// purpose takes healthy upstreams out. With this layer anywhere around the upstreams, an error or a timeout that comes when
/// the body has failed, or while it is waited for, says nothing about the upstream. What an upstream *answers*
/// counts as ever.
///
/// It wraps the body: the service inside gets `Request<UploadBody<B>>`, and a service that takes one kind of body alone is given it by
/// `map_request`. It costs a request with a body an allocation and a place in its extensions, one without
/// nothing.
///
/// ```
/// use axum::body::Body;
/// use axum::http::{Request, Response};
/// use pointsman::Engine;
/// use pointsman::middleware::{Health, HealthSettings, UploadBody, UploadLayer};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder().clusters(["prod"]).build("default => prod")?;
/// let health = Health::new(&engine, HealthSettings::new());
/// // In the place of a client.
/// let send = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
/// let service = ServiceBuilder::new()
///     .layer(UploadLayer::new())
///     .map_request(|request: Request<UploadBody<Body>>| request.map(Body::new))
///     .service(health.upstreams("prod", [("10.0.0.1:80", send)])?);
/// assert_eq!(service.oneshot(Request::post("/").body(Body::from("hello"))?).await?.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct UploadLayer;

/// A service whose requests' bodies are watched; made by [`UploadLayer`]. Ready when the inner service is.
#[derive(Debug, Clone, Copy)]
pub struct UploadService<S> {
    inner: S,
}

pin_project! {
    /// The body of a request that is watched. Frames, trailers, the hint of its size and its end are those of the inner body.
    #[derive(Debug)]
    pub struct UploadBody<B> {
        #[pin]
        inner: B,
        upload: Option<Upload>,
    }
}

/// How a body goes, for those who wait for what comes after it; in the request's extensions.
#[derive(Debug, Clone, Default)]
pub(super) struct Upload(Arc<AtomicU8>);

/// It has what was asked for, or was not asked.
const FLOWS: u8 = 0;
/// It was asked and has nothing yet.
const IS_WAITED_FOR: u8 = 1;
const FAILED: u8 = 2;

// === impl UploadLayer ===

impl UploadLayer {
    /// Makes the layer; there is nothing to set.
    pub const fn new() -> Self {
        UploadLayer
    }
}

impl<S> Layer<S> for UploadLayer {
    type Service = UploadService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        UploadService { inner }
    }
}

// === impl UploadService ===

impl<S, B> Service<Request<B>> for UploadService<S>
where
    S: Service<Request<UploadBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let upload = (!request.body().is_end_stream()).then(Upload::default);
        if let Some(upload) = &upload {
            request.extensions_mut().insert(upload.clone());
        }
        self.inner.call(request.map(|inner| UploadBody { inner, upload }))
    }
}

// === impl UploadBody ===

impl<B: Body> Body for UploadBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        if let Some(Upload(state)) = this.upload {
            let now = match &polled {
                Poll::Pending => IS_WAITED_FOR,
                Poll::Ready(Some(Err(_))) => FAILED,
                Poll::Ready(_) => FLOWS,
            };
            state.store(now, Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// === impl Upload ===

impl Upload {
    /// Whether the one who sends the body is to blame if nothing comes of the request now.
    pub(super) fn is_to_blame(&self) -> bool {
        self.0.load(Relaxed) != FLOWS
    }
}
