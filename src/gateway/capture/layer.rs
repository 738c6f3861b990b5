//! What is set up once: what is redacted, and the bounds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::header::HeaderName;
use tower_layer::Layer;

use super::exchange::{Captured, End, Recording};
use super::har;
use super::redact::Redact;
use super::ring::Ring;
use super::service::CaptureService;
use super::session::Session;
use crate::engine::{GatewayStatement, RuleSet, StatementKind};
use crate::gateway::kept::Kept;

/// Captures exchanges, by the `capture` statements that a request matched.
///
/// See [the module](super) for what is captured, how long, and how it is looked at. All clones, and all services that they
/// make, share what was captured.
///
/// # What is redacted
///
/// By default the values of `Authorization`, `Proxy-Authorization`, of all cookies in `Cookie` and `Set-Cookie` whose names and
/// attributes stay, of every header field that the application marked as
/// [sensitive](http::HeaderValue::is_sensitive), and user and password in a target, also one in `Host`, `Referer` or `Location`. More is named, or allowed, here. A value
/// that is redacted is never kept: `[redacted]` stands in its place.
///
/// Bodies are captured as they are, and may hold secrets too; [`body_bytes(0)`](Self::body_bytes) captures none.
#[derive(Clone)]
pub struct CaptureLayer {
    pub(super) settings: Arc<Settings>,
    pub(super) shared: Arc<Shared>,
}

/// What was captured; from [`CaptureLayer::captures`]. A clone is a pointer to the same.
#[derive(Clone)]
pub struct Captures {
    shared: Arc<Shared>,
}

/// What became of the exchanges that matched; from [`Captures::counts`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CaptureCounts {
    /// Each `capture` of the rules that decided last.
    pub statements: Vec<CaptureStatement>,
    /// How many exchanges are kept,
    pub kept: usize,
    /// and about how many bytes they are.
    pub kept_bytes: usize,
    /// How many bytes those have so far that go on.
    pub under_way_bytes: usize,
    /// Exchanges that had to go for newer ones.
    pub pushed_out: u64,
    /// Exchanges with a body that was not captured whole.
    pub truncated: u64,
    /// Exchanges that went on for longer than they are captured.
    pub overlong: u64,
    /// How often something was not captured because those that go on had used up their room.
    pub no_room: u64,
}

/// How far one `capture` statement is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CaptureStatement {
    /// Its name.
    pub name: String,
    /// How many exchanges it captured, those that go on among them.
    pub captured: u32,
    /// How long it still goes on; zero when it has ended.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::gateway::seconds", rename = "left_seconds")
    )]
    pub left: Duration,
    /// How many requests matched after it had ended.
    pub late: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) exchanges: usize,
    pub(super) bytes: usize,
    pub(super) body_bytes: usize,
    pub(super) longest: Duration,
    pub(super) redact: Redact,
}

/// What the layer and all its services share.
#[derive(Debug)]
pub(super) struct Shared {
    kept: Kept<Session>,
    ring: Mutex<Ring>,
    /// What exchanges hold that go on, and of it the texts of the rules, each with how many of them have it.
    under_way: AtomicUsize,
    texts: Mutex<Vec<(Arc<str>, usize)>>,
    going: Mutex<Going>,
    entered: AtomicU64,
    pub(super) totals: Totals,
}

/// The exchanges that go on, by number, each with when it has gone on long enough.
type Going = BTreeMap<u64, (Option<Instant>, Weak<Recording>)>;

#[derive(Debug, Default)]
pub(super) struct Totals {
    pushed_out: AtomicU64,
    truncated: AtomicU64,
    overlong: AtomicU64,
    no_room: AtomicU64,
}

// === impl CaptureLayer ===

impl CaptureLayer {
    /// With the defaults, and nothing captured so far.
    pub fn new() -> Self {
        let settings = Settings {
            exchanges: 1000,
            bytes: 16 << 20,
            body_bytes: 64 << 10,
            longest: Duration::from_secs(300),
            redact: Redact::default(),
        };
        let shared = Shared {
            kept: Kept::new(StatementKind::Capture),
            ring: Mutex::default(),
            under_way: AtomicUsize::new(0),
            texts: Mutex::default(),
            going: Mutex::default(),
            entered: AtomicU64::new(0),
            totals: Totals::default(),
        };
        CaptureLayer { settings: Arc::new(settings), shared: Arc::new(shared) }
    }

    /// How many exchanges are kept at most; newer ones push older ones out. Default: 1000.
    #[must_use]
    pub fn exchanges(mut self, most: usize) -> Self {
        self.settings().exchanges = most;
        self
    }

    /// How many bytes the exchanges hold at most that are kept, and how many those that go on: twice that in all. Default: 16 MiB.
    ///
    /// The text of the rules is kept with them and counts, once for those that have the same.
    #[must_use]
    pub fn bytes(mut self, most: usize) -> Self {
        self.settings().bytes = most;
        self
    }

    /// How much of each body is captured. Default: 64 KiB.
    #[must_use]
    pub fn body_bytes(mut self, most: usize) -> Self {
        self.settings().body_bytes = most;
        self
    }

    /// How long an exchange is captured, from its beginning. One that goes on for longer, as an endless stream does or an upload
    /// of a byte now and then, is kept as far as it came, says so, and gives its room back; the exchange itself goes on.
    /// That is seen to when another one begins to be captured, and when somebody looks. Default: 5 minutes.
    #[must_use]
    pub fn longest(mut self, most: Duration) -> Self {
        self.settings().longest = most;
        self
    }

    /// Redacts the values of a header field too.
    #[must_use]
    pub fn redact_header(mut self, name: HeaderName) -> Self {
        self.settings().redact.add_header(name);
        self
    }

    /// Does not redact the values of a header field; of `cookie` and `set-cookie`, those of all cookies.
    #[must_use]
    pub fn allow_header(mut self, name: &HeaderName) -> Self {
        self.settings().redact.allow_header(name);
        self
    }

    /// Does not redact the values of one cookie, such as one that rules ask for.
    #[must_use]
    pub fn allow_cookie(mut self, name: impl Into<String>) -> Self {
        self.settings().redact.cookies.insert(name.into().into_bytes());
        self
    }

    /// Redacts the values of a parameter: in the target's query, in that of `Referer`, `Location` and `Content-Location`, and in
    /// a body that is a form.
    #[must_use]
    pub fn redact_query(mut self, name: impl Into<String>) -> Self {
        self.settings().redact.query.insert(name.into().into_bytes());
        self
    }

    /// What was captured, to be looked at.
    pub fn captures(&self) -> Captures {
        Captures { shared: self.shared.clone() }
    }

    fn settings(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

impl Default for CaptureLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for CaptureLayer {
    type Service = CaptureService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CaptureService::new(self.clone(), inner)
    }
}

impl fmt::Debug for CaptureLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureLayer")
            .field("settings", &self.settings)
            .field("captures", &self.captures())
            .finish()
    }
}

// === impl Captures ===

impl Captures {
    /// All exchanges that are kept, as an HTTP Archive (HAR 1.2): JSON that developer tools of browsers open.
    ///
    /// Each entry says in its comment, and in fields of ours behind `_pointsman`, what was decided. A body that is not UTF-8
    /// is in base64, and one that is not whole says so. Bodies are as they were sent: where `Content-Encoding` names a compression,
    /// they are compressed. Times are those seen here: `send` ends when the request's body had been read, `wait` when the response's head
    /// came, `receive` when its body had been taken.
    ///
    /// Takes time and memory in proportion to what is kept: more than a thread of a runtime should be asked for at once.
    pub fn har(&self) -> String {
        har::write(&self.exchanges())
    }

    /// The exchanges that are kept, in the order in which they began.
    pub fn exchanges(&self) -> Vec<Arc<Captured>> {
        self.shared.end_overlong(Instant::now());
        self.shared.ring().all()
    }

    /// Forgets what is kept. Statements go on, or have ended, as if nothing had been.
    pub fn clear(&self) {
        self.shared.ring().clear();
    }

    /// What became of the exchanges that matched.
    pub fn counts(&self) -> CaptureCounts {
        let shared = &*self.shared;
        let now = Instant::now();
        shared.end_overlong(now);
        let statement = |(statement, session): (&GatewayStatement, &Arc<Session>)| CaptureStatement {
            name: statement.name().to_owned(),
            captured: session.taken(),
            left: session.left(now),
            late: session.late(),
        };
        let statements = shared.kept.latest().iter().map(statement).collect();
        let (kept, kept_bytes) = {
            let ring = shared.ring();
            (ring.len(), ring.bytes())
        };
        CaptureCounts {
            statements,
            kept,
            kept_bytes,
            under_way_bytes: shared.under_way.load(Ordering::Relaxed),
            pushed_out: shared.totals.pushed_out.load(Ordering::Relaxed),
            truncated: shared.totals.truncated.load(Ordering::Relaxed),
            overlong: shared.totals.overlong.load(Ordering::Relaxed),
            no_room: shared.totals.no_room.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Captures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Captures").field(&self.counts()).finish()
    }
}

// === impl Shared ===

impl Shared {
    /// Looks at new rules even if a request matches nothing of theirs: the time of a statement begins with them.
    #[inline]
    pub(super) fn see(&self, rules: &RuleSet) {
        if !self.kept.knows(rules) {
            self.kept.under(rules, |statement| Session::new(statement, rules));
        }
    }

    /// Takes one of the exchanges that a statement may capture.
    pub(super) fn take(&self, rules: &RuleSet, index: usize, statement: &GatewayStatement) -> bool {
        let table = self.kept.under(rules, |statement| Session::new(statement, rules));
        table.get(index, statement).is_some_and(|session| session.take(Instant::now()))
    }

    /// Takes room for an exchange that goes on.
    pub(super) fn take_room(&self, bytes: usize, most: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= most);
        self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Takes room for the text of the rules of an exchange that goes on, if none of the others has the same.
    pub(super) fn take_text(&self, text: &Arc<str>, most: usize) -> bool {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, have)) = texts.iter_mut().find(|(known, _)| Arc::ptr_eq(known, text)) {
            *have += 1;
            return true;
        }
        let taken = self.take_room(text.len(), most);
        if taken {
            texts.push((text.clone(), 1));
        }
        taken
    }

    /// Gives that room back, if none of the others has the same.
    pub(super) fn give_text(&self, text: &Arc<str>) {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.retain_mut(|(known, have)| {
            if Arc::ptr_eq(known, text) {
                *have -= 1;
            }
            *have > 0
        });
        if !texts.iter().any(|(known, _)| Arc::ptr_eq(known, text)) {
            self.under_way.fetch_sub(text.len(), Ordering::Relaxed);
        }
    }

    /// Makes a recording that goes on, at most until then.
    pub(super) fn enter(&self, ends: Option<Instant>, make: impl FnOnce(u64) -> Recording) -> Arc<Recording> {
        let number = self.entered.fetch_add(1, Ordering::Relaxed);
        let recording = Arc::new(make(number));
        self.going().insert(number, (ends, Arc::downgrade(&recording)));
        recording
    }

    /// It does not go on any more.
    pub(super) fn leave(&self, number: u64) {
        self.going().remove(&number);
    }

    /// Ends what has gone on for long enough.
    pub(super) fn end_overlong(&self, now: Instant) {
        // Not one is dropped under the lock, which it takes itself when it ends.
        let overlong: Vec<Weak<Recording>> = self
            .going()
            .values()
            // Clones may have different bounds, so the first to begin need not be the first to end.
            .filter(|(ends, _)| ends.is_some_and(|ends| now >= ends))
            .map(|(_, recording)| recording.clone())
            .collect();
        overlong.iter().filter_map(Weak::upgrade).for_each(|recording| recording.finish(End::Overlong));
    }

    fn going(&self) -> MutexGuard<'_, Going> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an exchange that is over, and gives its room back.
    pub(super) fn keep(&self, captured: Captured, room: usize, settings: &Settings) {
        self.give_text(&captured.decision.text);
        let pushed = self.ring().push(captured, settings.exchanges, settings.bytes);
        self.totals.pushed_out.fetch_add(pushed as u64, Ordering::Relaxed);
        self.under_way.fetch_sub(room, Ordering::Relaxed);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Totals ===

impl Totals {
    pub(super) fn truncated(&self) {
        self.truncated.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn overlong(&self) {
        self.overlong.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn no_room(&self) {
        self.no_room.fetch_add(1, Ordering::Relaxed);
    }
}
