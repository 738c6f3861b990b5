//! How a cache is set up, and what can be asked and told from outside.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tower_layer::Layer;

use super::body::Collecting;
use super::counts::{CacheCounts, Tally};
use super::flight::Flights;
use super::service::CacheService;
use super::status::{Fate, StatusName};
use super::store::Store;
use crate::engine::{Action, Cache, GatewayStatement, StatementKind};
use crate::gateway::kept::Kept;

/// Answers with stored responses what the `cache` statements of the rules say; see [`gateway`](crate::gateway) for its place
/// among the layers.
///
/// It stores and answers as RFC 9111 has it of a shared cache, in the memory of this process. All clones, and all services that
/// they make, have the same [`ResponseCache`].
///
/// # What is stored
///
/// Responses to `GET` that a shared cache may store. A response that says itself how long it is fresh is fresh for as long as
/// it says; the statement's time is for those that say nothing. `private`, `Set-Cookie`, and a request with `Authorization`
/// keep a response out, unless the statement has them behind `with`; a response to credentials is not stored either if it
/// says `public`, and a request with credentials is not answered. Where `with` lets them in, they are for everybody of the same
/// key: put behind `by` what tells the users apart.
///
/// The statement's time is not for 405, 414 and 501 either, which are about one request and not about its target: with a header
/// field that makes a backend answer so, one client could take a page from all others.
///
/// The response is stored under the statement, the cluster of the decision, the statement's key and the target: scheme, host
/// with its port, path and query, as they were sent, but for the case of the host. A backend may answer by any of them, such as with
/// the port that `Host` names in a redirect, so none is taken for another; a request line without a scheme counts as `http`. Of the responses of one target that `Vary` tells apart, the latest are kept, [16 by
/// default](CacheBuilder::variants). What a backend answers by other fields of the request, such as `X-Forwarded-Host`, it must name in
/// `Vary`, here as with any cache.
///
/// A body is passed on as it comes, and is collected beside up to [a limit](CacheBuilder::body_limit). It is read as fast as
/// it comes up to that limit, also when the client is slower, and read to its end when the client goes away, if that takes no
/// longer than [the wait](CacheBuilder::wait).
///
/// # What is answered
///
/// `GET`, and `HEAD` from what `GET` stored; both also when they are conditional, with 304. The directives of the request
/// `no-cache`, `no-store`, `max-age`, `min-fresh`, `max-stale` and `only-if-cached` are obeyed. Ranges, conditions by
/// `If-Match`, upgrades, requests with a body, and those that name another method in `X-HTTP-Method-Override` or its likes
/// pass by.
///
/// A stale response is asked about before it is used. It answers at once and is asked about meanwhile if that is allowed by
/// `stale` in the statement or by `stale-while-revalidate` in the response, whichever is longer; and when the backend fails or
/// answers 500, 502, 503 or 504, by `stale` or `stale-if-error`. `no-cache`, `must-revalidate` and `proxy-revalidate` forbid
/// both. To what `s-maxage` says, `stale` adds nothing (RFC 9111, 5.2.2.10), and to `max-age=0` only that it answers when the
/// backend fails.
///
/// Requests for what one is fetching already wait for it, up to [the wait](CacheBuilder::wait), and are answered with it. When it
/// turns out to be for the one alone, all of them go to the backend at once. When the one goes away or fails, another takes its
/// place, twice at most.
///
/// A request whose method may change something, and that succeeds, makes what is stored for its target invalid, whichever
/// statement stored it, as long as it passes this layer. That is so for all spellings of the target: with `http` and `https`, with
/// `:80`, `:443` and without a port, and with every path of the same [canonical form](crate::schema::canonical_path). RFC 9111 has
/// the two schemes as two origins; but here most requests do not say which of them they came by, and what is fetched once too often does
/// less harm than what is old.
///
/// What is fetched in the background, and a body that is read on for the store, is not [in flight](crate::InFlight): a cluster
/// may have drained and be asked about a stale response nevertheless, for as long as [the wait](CacheBuilder::wait).
///
/// # Readiness
///
/// Ready when the inner service is. The service that was ready is the one that is called. What waits for another request gives
/// it back, and asks a clone for its readiness when it has to go itself.
///
/// # Cost
///
/// A request that no statement matches costs one look at the extensions, and no allocation. A hit costs the key, a look-up, and
/// a copy of the response's header fields: 1.7 µs, and a miss that is stored in a full cache 17 µs, where a backend that only
/// makes a response takes 0.6 (2 cores, shared). The future of a request that goes to the backend under a statement is boxed.
///
/// # Errors
///
/// None of its own. What the cache cannot do, it leaves: the request goes to the backend, and the counts say why.
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use pointsman::gateway::CacheLayer;
/// use pointsman::schema::{Schema, StatementKind};
/// use pointsman::{Engine, TrafficSplitLayer};
/// use std::convert::Infallible;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Cache]);
/// let engine = Engine::builder().schema(schema).build(r#"
///     cache catalog: path under "/catalog" => 30s stale 10s
///     default => prod
/// "#)?;
/// static CALLS: AtomicUsize = AtomicUsize::new(0);
/// let backend = service_fn(async |_: Request<String>| {
///     let body = format!("page {}", CALLS.fetch_add(1, Ordering::Relaxed));
///     Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body)))
/// });
/// let layer = CacheLayer::builder().cache_status("edge").build();
/// let cache = layer.cache();
/// let service = TrafficSplitLayer::new(engine).layer(layer.layer(backend));
///
/// let response = service.clone().oneshot(Request::get("/catalog/7").body(String::new())?).await?;
/// assert_eq!(response.headers()["cache-status"], "edge; fwd=uri-miss; fwd-status=200; stored");
/// assert_eq!(response.into_body().collect().await?.to_bytes(), "page 0");
///
/// let response = service.oneshot(Request::get("/catalog/7").body(String::new())?).await?;
/// assert_eq!(response.headers()["age"], "0");
/// assert_eq!(response.into_body().collect().await?.to_bytes(), "page 0");
///
/// assert_eq!((cache.counts().rules[0].hits, cache.purge_prefix("/catalog/")), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CacheLayer {
    cache: ResponseCache,
}

/// The settings of a [`CacheLayer`]; made by [`CacheLayer::builder`].
#[derive(Clone)]
pub struct CacheBuilder {
    capacity: u64,
    body_limit: usize,
    variants: usize,
    wait: Duration,
    status: Option<StatusName>,
    clock: Clock,
}

type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What a [`CacheLayer`] has stored: to be counted and purged, from any thread. A clone is a pointer to the same.
#[derive(Clone)]
pub struct ResponseCache {
    pub(super) shared: Arc<Shared>,
}

/// What all services of a layer share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) flights: Arc<Flights>,
    pub(super) rules: Kept<Rule>,
    pub(super) collecting: Arc<Collecting>,
    pub(super) body_limit: usize,
    pub(super) wait: Duration,
    pub(super) status: Option<StatusName>,
    clock: Clock,
    statements: AtomicU64,
}

/// What is kept for a `cache` statement, for as long as it [continues](GatewayStatement::continues).
pub(super) struct Rule {
    /// Part of the key: what a statement stored that is changed now is not found any more.
    pub(super) number: u64,
    pub(super) name: Arc<str>,
    pub(super) cache: Option<Cache>,
    pub(super) tally: Tally,
}

// === impl CacheLayer ===

impl CacheLayer {
    /// A cache with all settings as they are by default.
    pub fn new() -> Self {
        CacheLayer::builder().build()
    }

    /// Starts with the default settings.
    pub fn builder() -> CacheBuilder {
        CacheBuilder {
            capacity: 64 << 20,
            body_limit: 1 << 20,
            variants: 16,
            wait: Duration::from_secs(5),
            status: None,
            clock: Arc::new(SystemTime::now),
        }
    }

    /// What is stored, to be counted and purged.
    pub fn cache(&self) -> ResponseCache {
        self.cache.clone()
    }
}

impl Default for CacheLayer {
    fn default() -> Self {
        CacheLayer::new()
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CacheService::new(self.cache.clone(), inner)
    }
}

impl fmt::Debug for CacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer").field("cache", &self.cache).finish()
    }
}

// === impl CacheBuilder ===

impl CacheBuilder {
    /// How many bytes are stored at most: keys, header fields, bodies and what an entry takes besides. 64 MiB by default.
    /// Bodies that are being collected, or have been and their client has yet to read them, take at most as much again; past
    /// that, responses pass without being stored.
    #[must_use]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// How long a body may be that is stored, in bytes. 1 MiB by default.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// How many responses are kept for one target that `Vary` tells apart: the latest. 16 by default, and at least 1.
    #[must_use]
    pub fn variants(mut self, variants: usize) -> Self {
        self.variants = variants.max(1);
        self
    }

    /// How long a request waits for another one that fetches the same, before it goes itself; how long a response is fetched
    /// in the background; and how long a body is read on whose client has gone. 5 seconds by default.
    #[must_use]
    pub fn wait(mut self, at_most: Duration) -> Self {
        self.wait = at_most;
        self
    }

    /// Says in each response's `Cache-Status` (RFC 9211) under this name what the cache did. By default it says nothing, as
    /// that is for those who look for a fault and not for everybody.
    ///
    /// Only visible ASCII characters and spaces can stand there; others are left out.
    #[must_use]
    pub fn cache_status(mut self, name: &str) -> Self {
        self.status = Some(StatusName::new(name));
        self
    }

    /// Takes the time from here, for tests. Waiting goes by tokio's clock nevertheless.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// Makes the layer.
    pub fn build(self) -> CacheLayer {
        let shared = Shared {
            store: Store::new(self.capacity, self.variants),
            flights: Arc::default(),
            rules: Kept::new(StatementKind::Cache),
            collecting: Arc::new(Collecting::new(self.capacity)),
            body_limit: self.body_limit,
            wait: self.wait,
            status: self.status,
            clock: self.clock,
            statements: AtomicU64::new(0),
        };
        CacheLayer { cache: ResponseCache { shared: Arc::new(shared) } }
    }
}

impl fmt::Debug for CacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("capacity", &self.capacity)
            .field("body_limit", &self.body_limit)
            .field("variants", &self.variants)
            .field("wait", &self.wait)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

// === impl ResponseCache ===

impl ResponseCache {
    /// Removes what a `cache` statement stored, by its name. Returns how many entries that were.
    ///
    /// As with every purge: looks at all entries, what is being fetched at the time is not stored, and what was stored by
    /// earlier statements of that name goes too.
    pub fn purge_rule(&self, name: &str) -> u64 {
        self.shared.store.purge(|resource| resource.rule() == name)
    }

    /// Removes all whose target begins with a text. Returns how many entries that were.
    ///
    /// A text that begins with `/` is the beginning of a path, with its query, on any host: `/catalog` is also that of
    /// `/catalogue`. Otherwise it is that of a host, with the port if it has one there, and then the path:
    /// `shop.example.com/catalog/`. A scheme in front is not looked at. Paths are compared as they were sent and in their
    /// [canonical form](crate::schema::canonical_path); if one of them fits, it goes.
    pub fn purge_prefix(&self, prefix: &str) -> u64 {
        self.shared.store.purge(|resource| resource.target().begins_with(prefix))
    }

    /// Removes everything. Returns how many entries that were.
    pub fn purge_all(&self) -> u64 {
        self.shared.store.purge(|_| true)
    }

    /// What is stored and what was done, by statement. Clears up first, which takes some microseconds.
    pub fn counts(&self) -> CacheCounts {
        let (bytes, entries) = self.shared.store.holds();
        let happened = &self.shared.store.happened;
        let rules = self.shared.rules.latest();
        let rules = rules.iter().map(|(statement, rule)| rule.tally.read(statement.name())).collect();
        CacheCounts {
            bytes,
            entries,
            evicted: happened.evicted.load(Relaxed),
            expired: happened.expired.load(Relaxed),
            invalidated: happened.invalidated.load(Relaxed),
            purged: happened.purged.load(Relaxed),
            rules,
        }
    }
}

impl fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseCache").field(&self.counts()).finish()
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Whether a `cache` statement was ever matched.
    pub(super) fn is_used(&self) -> bool {
        self.statements.load(Relaxed) > 0
    }

    /// Says in a response what was done, if that is wanted.
    pub(super) fn say(&self, headers: &mut HeaderMap, fate: Fate) {
        if let Some(name) = &self.status {
            name.append(headers, fate);
        }
    }

    /// What is kept for a statement from its first request on.
    pub(super) fn rule(&self, statement: &GatewayStatement) -> Rule {
        let number = self.statements.fetch_add(1, Relaxed);
        let cache = match statement.action() {
            Action::Cache(cache) => Some(*cache),
            _ => None,
        };
        Rule { number, name: statement.name().into(), cache, tally: Tally::default() }
    }
}
