//! Tower's layers put together, and their errors made responses.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::BoxError;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::timeout::Timeout;
use tower::timeout::error::Elapsed;
use tower::util::Either;
use tower_layer::Layer;
use tower_service::Service;

use super::Refused;
use super::carry::Carry;

/// Bounds what a service may take: how many requests at a time, and how long until it responds. Made for the service of
/// one cluster, inside [`Clusters`](crate::Clusters), where a cluster that hangs must not take what the others need.
///
/// It consists of tower's `LoadShed`, `ConcurrencyLimit` and `Timeout`, and makes responses of their errors.
///
/// | what happens | response | [`Refused`] in its extensions |
/// |---|---|---|
/// | there are as many requests as [`concurrency`](Self::concurrency) allows | `503`, at once, with `Retry-After` | `Shed` |
/// | there is no response within the [`timeout`](Self::timeout) | `504` | `TimedOut` |
///
/// Without a setting nothing is bounded.
///
/// # How long a request counts
///
/// Until the head of the response is there, or the service fails, or the request's future is dropped. **A body is bounded
/// by neither**: one that is slow or never ends is not timed out and does not count as one of the requests. How many
/// bodies are under way is what [`InFlight`](crate::InFlight) counts.
///
/// # Readiness
///
/// Ready at once. The service is cloned for each request, and that clone is polled for readiness and then called, both
/// within the timeout: a service that never gets ready is timed out, and counts as one at work meanwhile. Shedding looks
/// at the number of requests alone.
///
/// # Which requests count together
///
/// Those of a service that the layer made and of its clones. Each call of [`Layer::layer`] makes a service with a limit of
/// its own.
///
/// # Cost
///
/// Two reference counts, a permit of a semaphore, a timer, and a clone of the service: 430 ns for both bounds. Nothing is
/// allocated for a request that is let through.
///
/// # Panics
///
/// With a timeout, a request has to be made within a tokio runtime that has its time enabled; tokio panics if not.
///
/// # Errors
///
/// Those of the service, with their type, and no other.
///
/// # Examples
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use pointsman::middleware::{IsolateLayer, Refused};
/// use pointsman::{Clusters, Engine};
/// use std::{convert::Infallible, future::pending, time::Duration};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder()
///     .clusters(["gray", "prod"])
///     .build(r#"route testers: header(x-canary) == "always" => gray default => prod"#)?;
/// let hangs = service_fn(async |_: Request<()>| pending::<Result<Response<String>, Infallible>>().await);
/// let works = service_fn(async |_: Request<()>| Ok(Response::new("prod".to_owned())));
///
/// let bounds = IsolateLayer::new().concurrency(1).timeout(Duration::from_secs(2));
/// let clusters = Clusters::chain(&engine)
///     .service("gray", bounds.layer(hangs))
///     .service("prod", works)
///     .build()?;
///
/// let gray = || Request::get("/").header("x-canary", "always").body(());
/// let (first, second, prod) = tokio::join!(
///     clusters.clone().oneshot(gray()?),
///     clusters.clone().oneshot(gray()?),
///     clusters.clone().oneshot(Request::new(())),
/// );
/// assert_eq!(first?.status(), StatusCode::GATEWAY_TIMEOUT);
/// let second = second?;
/// assert_eq!((second.status(), &second.headers()["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"1".parse()?));
/// assert_eq!(second.extensions().get(), Some(&Refused::Shed));
/// assert_eq!(prod?.into_body(), "prod");
/// assert_eq!((bounds.shed(), bounds.timed_out()), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct IsolateLayer {
    concurrency: Option<usize>,
    timeout: Option<Duration>,
    retry_after: Option<Duration>,
    counts: Arc<Counts>,
}

/// How often there was no room or no time.
#[derive(Default)]
struct Counts {
    shed: AtomicU64,
    timed_out: AtomicU64,
}

/// A service that takes no more than its bounds; made by [`IsolateLayer`], where there are examples.
#[derive(Clone)]
pub struct Isolate<S> {
    stack: Stack<S>,
    retry_after: Option<Duration>,
    counts: Arc<Counts>,
}

type Stack<S> = Either<LoadShed<ConcurrencyLimit<Timed<S>>>, Timed<S>>;
type Timed<S> = Either<Timeout<Carry<S>>, Carry<S>>;

pin_project! {
    /// The response of [`Isolate`]: the service's, or the refusal.
    #[must_use = "futures do nothing unless polled"]
    pub struct IsolateFuture<F> {
        #[pin]
        inner: F,
        retry_after: Option<Duration>,
        counts: Arc<Counts>,
    }
}

/// What tokio's semaphore can count to.
const MOST: usize = usize::MAX >> 3;

// === impl IsolateLayer ===

impl IsolateLayer {
    /// Bounds nothing yet.
    pub fn new() -> Self {
        IsolateLayer {
            concurrency: None,
            timeout: None,
            retry_after: Some(Duration::from_secs(1)),
            counts: Arc::default(),
        }
    }

    /// How many requests the service may work on at a time; those beyond are shed. With 0 all are.
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.concurrency = Some(requests.min(MOST));
        self
    }

    /// How long until the head of a response has to be there, from the moment at which the request is let through.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What `Retry-After` says to those that are shed, in whole seconds, rounded up; `None` leaves it out. Default: one
    /// second. A response to a timeout has none: nobody knows whether the request was acted on.
    pub fn retry_after(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.retry_after = after.into();
        self
    }

    /// How many requests were shed, of all services that this layer and its clones made.
    pub fn shed(&self) -> u64 {
        self.counts.shed.load(Ordering::Relaxed)
    }

    /// How many requests were timed out, of all services that this layer and its clones made.
    pub fn timed_out(&self) -> u64 {
        self.counts.timed_out.load(Ordering::Relaxed)
    }
}

impl Default for IsolateLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for IsolateLayer {
    type Service = Isolate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let carry = Carry::new(inner);
        let timed = match self.timeout {
            Some(timeout) => Either::Left(Timeout::new(carry, timeout)),
            None => Either::Right(carry),
        };
        let stack = match self.concurrency {
            Some(most) => Either::Left(LoadShed::new(ConcurrencyLimit::new(timed, most))),
            None => Either::Right(timed),
        };
        Isolate { stack, retry_after: self.retry_after, counts: self.counts.clone() }
    }
}

impl fmt::Debug for IsolateLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsolateLayer")
            .field("concurrency", &self.concurrency)
            .field("timeout", &self.timeout)
            .field("shed", &self.shed())
            .field("timed_out", &self.timed_out())
            .finish_non_exhaustive()
    }
}

// === impl Isolate ===

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Isolate<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = IsolateFuture<<Stack<S> as Service<Request<ReqBody>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Takes the permit, if there is one. No layer here fails to get ready.
        let _ = ready!(Service::<Request<ReqBody>>::poll_ready(&mut self.stack, cx));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let inner = self.stack.call(request);
        IsolateFuture { inner, retry_after: self.retry_after, counts: self.counts.clone() }
    }
}

impl<S: fmt::Debug> fmt::Debug for Isolate<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolate").field("stack", &self.stack).finish_non_exhaustive()
    }
}

// === impl IsolateFuture ===

impl<F, B, E> Future for IsolateFuture<F>
where
    F: Future<Output = Result<Result<Response<B>, E>, BoxError>>,
    B: Default,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Only tower's layers have errors here: those of the service are carried past them.
        let (refused, count, retry_after) = match ready!(this.inner.poll(cx)) {
            Ok(result) => return Poll::Ready(result),
            Err(error) if error.is::<Elapsed>() => (Refused::TimedOut, &this.counts.timed_out, None),
            Err(_) => (Refused::Shed, &this.counts.shed, *this.retry_after),
        };
        count.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(refused.response(retry_after)))
    }
}

impl<F> fmt::Debug for IsolateFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsolateFuture").finish_non_exhaustive()
    }
}
