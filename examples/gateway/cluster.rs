//! A cluster as a service: which server, and what happens when that one fails.

use std::convert::Infallible;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use pointsman::PeerAddr;
use pointsman::middleware::{Attempt, Watched};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::Service;

use super::body::{BoxError, Download, Upload};
use super::connection::{Failed, send};
use super::fault::Fault;
use super::headers::{self, ClientName, Seen};
use super::tunnel::{self, Tunnels};
use super::upstream::Upstream;

/// Sends requests to one of several servers. It never fails: what goes wrong is a response.
#[derive(Clone)]
pub(crate) struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    servers: Box<[Arc<Upstream>]>,
    dice: AtomicU64,
    tunnels: Tunnels,
    guard: Guard,
}

/// What the clusters of one name have in common on all workers.
#[derive(Clone, Default)]
pub(crate) struct Guard {
    /// How the servers do, by their place; without it all of them are asked always.
    pub(crate) watched: Option<Watched>,
    pub(crate) room: Option<Arc<Room>>,
}

/// How many requests may be at work, until the heads of their responses.
pub(crate) struct Room {
    permits: Semaphore,
    shed: AtomicU64,
}

/// One server for one request, and who wants to know what came of it.
struct Trial {
    at: usize,
    attempt: Option<Attempt>,
}

/// A request without a body that may be sent a second time.
struct Again {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

// === impl Cluster ===

impl Cluster {
    /// There must be a server.
    pub(crate) fn new(
        servers: impl IntoIterator<Item = Arc<Upstream>>,
        tunnels: Tunnels,
        guard: Guard,
    ) -> Self {
        let servers = servers.into_iter().collect();
        // Of its own for each worker and each gateway, so that they do not all begin with the same server.
        let dice = AtomicU64::new(RandomState::new().build_hasher().finish());
        Cluster { shared: Arc::new(Shared { servers, dice, tunnels, guard }) }
    }

    /// Drops the connections that nobody needs any more. Asked for every second.
    pub(crate) fn sweep(&self) {
        self.shared.servers.iter().for_each(|server| server.sweep());
    }
}

impl<B> Service<Request<B>> for Cluster
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Download>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Download>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = self.shared.clone();
        let request = Box::new(request.map(Upload::new));
        Box::pin(async move { Ok(shared.answer(request).await) })
    }
}

// === impl Shared ===

impl Shared {
    async fn answer(&self, mut request: Box<Request<Upload>>) -> Response<Download> {
        let seen = Seen::of(request.headers());
        let upgrade = seen.has(Seen::UPGRADE).then(|| hyper::upgrade::on(&mut *request));
        // All that was left with the request ends here; the decision too, which keeps its rules alive.
        let left = std::mem::take(request.extensions_mut());
        // A copy for a mirror has the peer alone.
        let copied = || left.get::<PeerAddr>().map(|PeerAddr(peer)| ClientName::new(peer.ip()));
        match left.get::<ClientName>() {
            Some(name) => headers::announce(request.headers_mut(), seen, Some(name)),
            None => headers::announce(request.headers_mut(), seen, copied().as_ref()),
        }
        // What servers speak; hyper would keep what the client spoke.
        *request.version_mut() = Version::HTTP_11;

        let mut response = match self.try_servers(request, left).await {
            Ok(response) => response,
            Err(fault) => return faulty(&fault),
        };
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switching && upgrade.is_none() {
            return unusable("the server switched to a protocol that nobody asked for");
        }
        // hyper takes chunks off, and nothing else.
        let seen = Seen::of(response.headers());
        if seen.has(Seen::TRANSFER_ENCODING) && !headers::only_chunked(response.headers()) {
            return unusable("the server used a transfer coding that nobody asked for");
        }
        *response.version_mut() = Version::HTTP_11;
        headers::tidy_response(response.headers_mut(), seen, switching);
        match upgrade {
            Some(client) if switching => tunnel::join(response, client, &self.tunnels),
            _ => response,
        }
    }

    /// One server, and others when it takes no connection. A request that a server may have seen is sent again only if
    /// doing so twice is doing so once, there is no body, and it was a kept connection that ended under it.
    /// What was `left` with the request ends before the wait.
    async fn try_servers(
        &self,
        mut request: Box<Request<Upload>>,
        left: Extensions,
    ) -> Result<Response<Download>, Fault> {
        let _room = match &self.guard.room {
            Some(room) => Some(room.permits.try_acquire().map_err(|_| room.full())?),
            None => None,
        };
        let again = (request.method().is_idempotent() && matches!(request.body(), Upload::Empty))
            .then(|| Again::new(&request));
        let mut trial = self.first(left)?;
        let first = trial.at;
        let mut fresh = false;
        let mut tried = 0;
        loop {
            let Some(server) = self.servers.get(trial.at) else { return Err(Fault::Refused) };
            let sent = if self.may_probe() && !matches!(request.body(), Upload::Empty) {
                Box::pin(trial.send_slowly(server, request, fresh)).await
            } else {
                send(server, request, fresh).await
            };
            let Failed { fault, unsent, was_used } = match sent {
                Ok(response) => {
                    trial.responded(response.status());
                    return Ok(response);
                }
                Err(failed) => failed,
            };
            request = match (unsent, &again) {
                // It was closed before we had begun: as if it had not been there.
                (Some(request), _) if was_used => request,
                (Some(request), _) if fault.sent_nothing() => {
                    trial.failed(&fault);
                    let Some(next) = self.next(first, &mut tried) else { return Err(fault) };
                    trial = next;
                    request
                }
                (None, Some(again)) if !fresh && was_used && fault.closed_under_us() => {
                    fresh = true;
                    again.request()
                }
                _ => {
                    trial.failed(&fault);
                    return Err(fault);
                }
            };
        }
    }

    /// Whether a request may be the one by which a server is tried again.
    fn may_probe(&self) -> bool {
        self.guard.watched.as_ref().is_some_and(|watched| !watched.all_healthy())
    }

    /// The server whose probe was kept for the request, or one that is not out.
    fn first(&self, mut left: Extensions) -> Result<Trial, Fault> {
        let watched = self.guard.watched.as_ref();
        if let Some((at, attempt)) = watched.and_then(|watched| watched.begin_reserved(&mut left)) {
            return Ok(Trial { at, attempt: Some(attempt) });
        }
        if watched.is_none_or(Watched::all_healthy)
            && let Some(trial) = self.begin(self.pick(self.servers.len(), |at| at))
        {
            return Ok(trial);
        }
        let Some(watched) = watched else { return Err(Fault::Refused) };
        let mut usable: Vec<_> = (0..self.servers.len()).filter(|at| watched.is_usable(*at)).collect();
        while !usable.is_empty() {
            let at = self.pick(usable.len(), |at| usable.get(at).copied().unwrap_or(0));
            if let Some(trial) = self.begin(at) {
                return Ok(trial);
            }
            // It was a probe's turn, and another request was quicker.
            usable.retain(|other| *other != at);
        }
        Err(Fault::AllOut(watched.refused()))
    }

    /// The next one behind those that were tried, if there is one that is not out.
    fn next(&self, first: usize, tried: &mut usize) -> Option<Trial> {
        while *tried + 1 < self.servers.len() {
            *tried += 1;
            if let Some(trial) = self.begin((first + *tried) % self.servers.len()) {
                return Some(trial);
            }
        }
        None
    }

    fn begin(&self, at: usize) -> Option<Trial> {
        let attempt = match &self.guard.watched {
            Some(watched) => Some(watched.begin(at)?),
            None => None,
        };
        Some(Trial { at, attempt })
    }

    /// The one with less to do of two that chance chooses among so many: nearly as good as to look at all, and no herd
    /// follows the one that looked best. tower's `Balance` does the same, but cannot be shared without a task and a queue
    /// between.
    fn pick(&self, among: usize, server: impl Fn(usize) -> usize) -> usize {
        if among < 2 {
            return server(0);
        }
        let dice = mix(self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed));
        let a = (dice >> 32) as usize % among;
        let b = (a + 1 + (dice & 0xffff_ffff) as usize % (among - 1)) % among;
        let (a, b) = (server(a), server(b));
        let pending = |at: usize| self.servers.get(at).map_or(usize::MAX, |server| server.pending());
        if pending(b) < pending(a) { b } else { a }
    }
}

/// The finaliser of splitmix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn unusable(why: &'static str) -> Response<Download> {
    faulty(&Fault::Unusable(why))
}

fn faulty(fault: &Fault) -> Response<Download> {
    let mut response = refusal(fault.status(), &fault.to_string());
    if let Some(seconds) = fault.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A response of our own, as plain text.
pub(crate) fn refusal(status: StatusCode, why: &str) -> Response<Download> {
    let mut response = Response::new(Download::from(format!("{why}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

// === impl Room ===

impl Room {
    pub(crate) fn new(requests: usize) -> Self {
        Room { permits: Semaphore::new(requests), shed: AtomicU64::new(0) }
    }

    /// How many requests found none.
    pub(crate) fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    fn full(&self) -> Fault {
        self.shed.fetch_add(1, Relaxed);
        Fault::Full
    }
}

// === impl Trial ===

impl Trial {
    /// Sends a request whose body comes from a client. As long as it comes no time is over, and as long as the attempt is not
    /// decided nobody else tries a server that is out: so from some time on it says nothing about the server any more.
    async fn send_slowly(
        &mut self,
        server: &Arc<Upstream>,
        request: Box<Request<Upload>>,
        fresh: bool,
    ) -> Result<Response<Download>, Failed> {
        let limit = server.limits().head;
        let mut sent = pin!(send(server, request, fresh));
        match timeout(limit, &mut sent).await {
            Ok(sent) => sent,
            Err(_) => {
                self.attempt = None;
                sent.await
            }
        }
    }

    fn responded(self, status: StatusCode) {
        if let Some(attempt) = self.attempt {
            attempt.responded(status);
        }
    }

    /// What the client did says nothing about the server.
    fn failed(self, fault: &Fault) {
        if let Some(attempt) = self.attempt.filter(|_| fault.is_the_servers()) {
            attempt.failed();
        }
    }
}

// === impl Again ===

impl Again {
    fn new(request: &Request<Upload>) -> Self {
        Again {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    fn request(&self) -> Box<Request<Upload>> {
        let mut request = Box::new(Request::new(Upload::Empty));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}
