//! What is set up once, what changes while it runs, and what is counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::StatusCode;
use http::header::HeaderName;
use tower_layer::Layer;

use super::bucket::{Buckets, Size};
use super::keys::Room;
use super::service::LimitService;
use crate::engine::{Action, GatewayStatement, StatementKind};
use crate::gateway::answer::Answer;
use crate::gateway::kept::Kept;

/// Answers `429 Too Many Requests` when a live `limit` that a request matches has no token for it.
///
/// Reads the [`Decision`](crate::Decision) that a [`TrafficSplitLayer`](crate::TrafficSplitLayer) outside it left; a request
/// without one passes. All clones, and all services that they make, share buckets, share and counts. Below several engines,
/// the limits of each have buckets of their own, and [the counts](Self::counts) stand one behind the other: a layer for each is
/// easier to read.
///
/// # Buckets
///
/// A `limit` of `100/s burst 200` is a bucket with room for 200 tokens, full at first, into which a token comes each 10 ms; a
/// request takes one. With `by KEY` each key has a bucket of its own, and a request without the key is not limited.
///
/// All limits that a request matches are asked, in the order of the text, until one refuses; it gets back what the ones
/// before gave, so that a request that is refused uses nothing up. Whoever comes in the instant between finds one token less.
/// Shadows have buckets too, and [count](LimitCount::shadow) what they would have refused.
///
/// When new rules come, a limit that they have unchanged, by name, rate, burst and key, goes on with its buckets; its
/// condition may have changed. A request that was decided by rules that are gone is not held to a limit that is gone with
/// them.
///
/// # The answer
///
/// Its form is that of a [denied request](crate::gateway::Refused), without a text. Further it has
///
/// - `Retry-After`: seconds until the limit has a token, rounded up;
/// - `RateLimit-Policy: "search";q=100;w=1`: the limit that refused, how many requests in how many seconds; and
/// - `RateLimit: "search";r=0;t=1`: how many there are now, and seconds until there is one more
///   (draft-ietf-httpapi-ratelimit-headers-11).
///
/// Responses that pass have the latter two on [demand](Self::fields_on_passed). A burst is not in the policy, and more may be
/// left than that says. Characters of a name that cannot stand there are escaped as `%C3%A4`; a limit whose name is then longer than
/// 128 bytes is not told of. So the two fields take 3 KiB at most.
///
/// # Memory
///
/// Keys are kept in a table of a fixed size for each limit: [65,536 keys](Self::keys) in 1.1 MB unless another is set, made
/// when the first key comes. A key needs a place for as long as its bucket takes to fill. When more keys than there are
/// places have tokens missing, the key is forgotten that misses least; it finds a full bucket when it comes again, and
/// [`LimitCount::forgotten`] counts that. All tables together have [a bound](Self::bytes) too, 64 MiB; limits beyond it share one.
///
/// So no flood of addresses makes the table grow. What one does to other keys depends on what each of its addresses spends.
/// Measured under `10/s`, with 1,000 keys that had spent some of their ten tokens and a flood at the same instant:
///
/// | the flood | keys had spent | wrongly let through |
/// |---|---:|---:|
/// | a million addresses, a request each | all | 0 of 10,000 |
/// | | half | 0 of 5,000 |
/// | | one token | about 950 of 1,000 |
/// | 200,000 addresses, ten requests each | all | about 9,500 of 10,000 |
///
/// The first does not free who is held back. The second, three times as many keys as there are places and all of them held
/// back, does: then most keys of all are let through anew, about each time the table is filled. So `keys` should be more than
/// the addresses that can spend a whole bucket in the time in which it fills; and a second limit without a key, as
/// `limit all: true => 5000/s`, bounds what all of them do together.
///
/// # A node's share
///
/// Nodes share no store. Where 4 nodes get equal parts of the traffic, each is given a [share](Self::share) of 0.25: rate
/// and burst of every limit are multiplied with it.
///
/// # Cost
///
/// A request that no `limit` matches costs one look at its extensions. One that matches some reads the clock once and takes a
/// lock for reading, which is written when rules change; then each limit costs one compare-and-exchange, or with a key one hash
/// and one lock that few keys have in common. A request that passes allocates nothing; one limit took it 0.2 µs, a sixth of
/// that for the clock.
///
/// # Errors
///
/// None of its own. A refused request does not reach the inner service, which was asked for its readiness nevertheless.
///
/// # Examples
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use pointsman::engine::StatementKind;
/// use pointsman::gateway::LimitLayer;
/// use pointsman::{Engine, Schema, TrafficSplitLayer};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Limit]);
/// let engine = Engine::builder().schema(schema).build(
///     "limit users: true => 1/m burst 2 by cookie(uid)
///      default => prod",
/// )?;
/// let limit = LimitLayer::new();
/// let service = ServiceBuilder::new()
///     .layer(TrafficSplitLayer::new(engine))
///     .layer(limit.clone())
///     .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
///
/// let request = || Request::get("/").header("cookie", "uid=1001").body(());
/// assert_eq!(service.clone().oneshot(request()?).await?.status(), StatusCode::OK);
/// assert_eq!(service.clone().oneshot(request()?).await?.status(), StatusCode::OK);
/// let response = service.oneshot(request()?).await?;
/// assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
/// assert_eq!(response.headers()["retry-after"], "60");
/// assert_eq!(limit.counts()[0].refused, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LimitLayer {
    pub(super) rule_header: Option<HeaderName>,
    pub(super) fields_on_passed: bool,
    keys: usize,
    bytes: usize,
    clock: Clock,
    pub(super) shared: Arc<Shared>,
}

type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// What all clones share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) kept: Kept<Kind>,
    room: Arc<Room>,
    start: std::sync::OnceLock<Instant>,
    /// The bits of a float.
    share: AtomicU64,
}

/// What is kept for a `limit`.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) buckets: Buckets,
    pub(super) answer: Answer,
    refused: AtomicU64,
    shadow: AtomicU64,
}

/// How often a `limit` refused; from [`LimitLayer::counts`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LimitCount {
    /// The statement's name.
    pub statement: String,
    /// How many requests it refused.
    pub refused: u64,
    /// How many it would have, while it was a shadow.
    pub shadow: u64,
    /// How many keys were forgotten before their buckets were full again, because others came; in a table that it shares, because
    /// its own came, whosoever they were.
    pub forgotten: u64,
    /// What the table of keys takes, in bytes, if it is its own.
    pub bytes: usize,
    /// Whether there was no room for a table of its own, and it shares one.
    pub shares: bool,
}

/// A share of a limit that is none; from [`LimitLayer::share`].
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a node's share is above 0 and at most 1, not {share}")]
pub struct BadShare {
    share: f64,
}

// === impl LimitLayer ===

impl LimitLayer {
    /// Makes the layer, with a share of 1.
    pub fn new() -> Self {
        LimitLayer {
            rule_header: None,
            fields_on_passed: false,
            keys: 65_536,
            bytes: 64 << 20,
            clock: Arc::new(Instant::now),
            shared: Arc::new(Shared {
                kept: Kept::new(StatementKind::Limit),
                room: Arc::default(),
                start: std::sync::OnceLock::new(),
                share: AtomicU64::new(1_f64.to_bits()),
            }),
        }
    }

    /// The part of each limit that this node may let through, from above 0 to 1; as [`set_share`](Self::set_share), which
    /// changes it later.
    ///
    /// # Errors
    ///
    /// When it is no such number.
    pub fn share(self, share: f64) -> Result<Self, BadShare> {
        self.set_share(share)?;
        Ok(self)
    }

    /// Changes the share of this layer and all its clones, at once. Buckets stay as full as they were, in proportion.
    ///
    /// The time between two tokens becomes longer by it, to the nanosecond: `1/s` at a share of 0.25 is a token each 4 s. The
    /// burst is rounded to the nearest whole token, and to one at least; so nodes of small shares may together let through
    /// more at once than the limit says, but not more in the long run.
    ///
    /// # Errors
    ///
    /// When it is not above 0 and at most 1; then the one before stays.
    pub fn set_share(&self, share: f64) -> Result<(), BadShare> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(BadShare { share });
        }
        self.shared.share.store(share.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    /// For how many keys each limit has place, rounded up to a multiple of 8; 65,536 unless it is set. A key takes 17 bytes.
    ///
    /// To be called before the first request: tables that are there stay as they are.
    #[must_use]
    pub fn keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    /// How many bytes the tables of all limits take together; 64 MiB unless it is set, which is 60 tables of 65,536 keys. A limit for
    /// whose table there is no room left shares one of that size with all others of which that is so. Together they forget keys
    /// as early as one limit with so many keys does, and the bucket that is full soonest first: so the keys of `1/d`
    /// push out those of `10/m`, which then find full buckets. What a limit has it has for as long as rules have it.
    ///
    /// To be called before the first request.
    #[must_use]
    pub fn bytes(mut self, most: usize) -> Self {
        self.bytes = most;
        self
    }

    /// Also responses to requests that passed get `RateLimit-Policy` and `RateLimit`, for the live limits that the request
    /// matched: of more than eight, for those that have the fewest tokens left. They are added to what the inner service says
    /// of its own. Costs some allocations a request.
    #[must_use]
    pub fn fields_on_passed(mut self) -> Self {
        self.fields_on_passed = true;
        self
    }

    /// Names the statement in a header of its answers, for testers. What is no visible ASCII is escaped, as by
    /// [`TrafficSplitLayer::request_header`](crate::TrafficSplitLayer::request_header).
    #[must_use]
    pub fn rule_header(mut self, name: HeaderName) -> Self {
        self.rule_header = Some(name);
        self
    }

    /// Takes the time from somewhere else, as from a runtime whose time is paused in a test:
    /// `|| tokio::time::Instant::now().into_std()`. To be called before the first request. Time that goes back stands still.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How often each `limit` of the latest rules refused, in the order of the text. A statement that new rules have
    /// unchanged goes on counting. How many requests matched it is in
    /// [`Engine::counters`](crate::Engine::counters).
    ///
    /// There are none before a first request has matched one.
    pub fn counts(&self) -> Vec<LimitCount> {
        let count = |(statement, kind): (&GatewayStatement, &Arc<Kind>)| {
            let (forgotten, bytes, shares) = kind.buckets.table();
            LimitCount {
                statement: statement.name().to_owned(),
                refused: kind.refused.load(Ordering::Relaxed),
                shadow: kind.shadow.load(Ordering::Relaxed),
                forgotten,
                bytes,
                shares,
            }
        };
        self.shared.kept.latest().iter().map(count).collect()
    }

    /// What the tables of all limits take now, in bytes, the one that some share among them.
    pub fn table_bytes(&self) -> usize {
        self.shared.room.bytes()
    }

    pub(super) fn kind(&self, statement: &GatewayStatement) -> Kind {
        let limit = match statement.action() {
            Action::Limit(limit) => *limit,
            _ => crate::engine::Limit { count: 1, per: std::time::Duration::ZERO, burst: 1, keyed: false },
        };
        let size = Size { keys: self.keys, most: self.bytes, room: self.shared.room.clone() };
        Kind {
            buckets: Buckets::new(limit, size),
            answer: Answer::new(statement, StatusCode::TOO_MANY_REQUESTS, None),
            refused: AtomicU64::new(0),
            shadow: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since the first request.
    pub(super) fn now(&self) -> u64 {
        let now = (self.clock)();
        let start = *self.shared.start.get_or_init(|| now);
        u64::try_from(now.saturating_duration_since(start).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn current_share(&self) -> f64 {
        f64::from_bits(self.shared.share.load(Ordering::Relaxed))
    }
}

impl Default for LimitLayer {
    fn default() -> Self {
        LimitLayer::new()
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = LimitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LimitService::new(self.clone(), inner)
    }
}

impl fmt::Debug for LimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitLayer")
            .field("share", &self.current_share())
            .field("keys", &self.keys)
            .field("bytes", &self.bytes)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

// === impl Kind ===

impl Kind {
    pub(super) fn count(&self, live: bool) {
        let cell = if live { &self.refused } else { &self.shadow };
        cell.fetch_add(1, Ordering::Relaxed);
    }
}
