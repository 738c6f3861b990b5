//! The side that calls: the decision goes into the request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use super::Carrier;
use crate::engine::Decision;

/// Copies the decision of the request at hand into the requests that are made for it.
///
/// To be put around a client. The decision is the one in the extensions of the *outgoing* request: a handler that makes a
/// request puts it there, as with `Request::builder().extension(decision)`, and a proxy that sends a request on has it there
/// already. It is not guessed from the task, as a task may serve many requests, and a request many tasks.
///
/// A request without a decision goes out without one, also where the headers carry one: so nothing that a client sent
/// passes for our word. A member that [does not fit](Carrier::write) is left out and
/// [counted](PropagateLayer::left_out). It goes to whomever the client is sent: wrap the clients of your own services, and
/// not those that call others.
///
/// # Cost
///
/// Some allocations for the header. The extension of a request costs one, and a clone of the decision a reference count.
///
/// # Errors
///
/// None of its own. Its readiness is the inner service's.
///
/// # Examples
///
/// ```
/// use http::{Request, Response};
/// use pointsman::{Carrier, Engine, PropagateLayer};
/// use std::convert::Infallible;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A client for HTTP, say.
/// let client = service_fn(async |request: Request<()>| {
///     Ok::<_, Infallible>(Response::new(request.headers()["baggage"].clone()))
/// });
/// let client = PropagateLayer::new(Carrier::default()).layer(client);
///
/// let engine = Engine::builder().clusters(["gray"]).build("default => gray")?;
/// // In a handler: the layer left it in the extensions, and with axum it is an extractor.
/// let decision = engine.decide(&Request::new(()));
/// let request = Request::get("http://orders/7").extension(decision).body(())?;
/// assert_eq!(client.oneshot(request).await?.into_body(), "pointsman=gray");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct PropagateLayer {
    shared: Arc<Shared>,
}

/// A client whose requests carry a decision; made by [`PropagateLayer`]. Ready when the inner service is.
#[derive(Debug, Clone)]
pub struct Propagate<S> {
    shared: Arc<Shared>,
    inner: S,
}

#[derive(Debug, Default)]
struct Shared {
    carrier: Carrier,
    left_out: AtomicU64,
}

// === impl PropagateLayer ===

impl PropagateLayer {
    /// Writes decisions as `carrier` says.
    pub fn new(carrier: Carrier) -> Self {
        PropagateLayer { shared: Arc::new(Shared { carrier, left_out: AtomicU64::new(0) }) }
    }

    /// How many requests went out without their decision because it did not fit, of all services that this layer and
    /// its clones made.
    pub fn left_out(&self) -> u64 {
        self.shared.left_out.load(Ordering::Relaxed)
    }
}

impl<S> Layer<S> for PropagateLayer {
    type Service = Propagate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Propagate { shared: self.shared.clone(), inner }
    }
}

// === impl Propagate ===

impl<S> Propagate<S> {
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

impl<S, B> Service<Request<B>> for Propagate<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let carrier = &self.shared.carrier;
        match request.extensions().get::<Decision>().cloned() {
            Some(decision) => {
                if !carrier.write(&decision, request.headers_mut()) {
                    self.shared.left_out.fetch_add(1, Ordering::Relaxed);
                }
            }
            None => _ = carrier.remove(request.headers_mut()),
        }
        self.inner.call(request)
    }
}
