//! The upstreams of a cluster for an application that chooses among them itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, StatusCode};

use super::accrual::Outcome;
use super::group::{Group, Ticket};
use super::reserved::Reserved;

/// The upstreams of a cluster whose health is looked after while the application chooses among them; made by
/// [`Health::watch`](super::Health::watch).
///
/// For services that [`Upstreams`](super::Upstreams) cannot have: a connection pool of its own on each thread, a balance by
/// load. All clones, on whatever thread, see and change the same upstreams. These go by their place in the order in which
/// they were named; one that is not there is never usable.
///
/// A request goes three steps: of the upstreams that are [usable](Self::is_usable) one is chosen, an attempt at it
/// is [begun](Self::begin), and the attempt is told what became of it. Before that, ask for the one that was [kept for the
/// request](Self::begin_reserved), where [`Health::reserve`](super::Health::reserve) decides.
///
/// # Cost
///
/// As long as all are healthy, to ask is to read one number, and an attempt costs a reference count, a look at a word and a
/// counter. Otherwise also a look at the clock. Nothing is allocated, and no lock taken unless requests fail or a
/// [failure rate](super::HealthSettings::failure_rate) is set.
///
/// # Examples
///
/// ```
/// use http::StatusCode;
/// use pointsman::Engine;
/// use pointsman::middleware::{Health, HealthSettings};
///
/// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => gray else prod")?;
/// let health = Health::new(&engine, HealthSettings::new().consecutive_failures(1));
/// let gray = health.watch("gray", ["10.0.0.1:80", "10.0.0.2:80"])?;
///
/// // On some thread, a server refuses the connection.
/// let attempt = gray.begin(0).expect("is healthy");
/// attempt.failed();
///
/// // On any other, it is left out.
/// let on_another = gray.clone();
/// assert!(!on_another.is_usable(0) && on_another.begin(0).is_none());
/// on_another.begin(1).expect("is healthy").responded(StatusCode::OK);
/// assert!(health.is_available(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Watched {
    group: Arc<Group>,
}

/// A request at an upstream; made by [`Watched::begin`]. Dropped without a word, it says nothing about the upstream, as when
/// the client went away; but a probe that is dropped so keeps the upstream out for the time of a first ejection.
#[derive(Debug)]
#[must_use = "dropped, it says nothing about the upstream"]
pub struct Attempt {
    ticket: Ticket,
}

// === impl Watched ===

impl Watched {
    pub(super) fn new(group: Arc<Group>) -> Self {
        Watched { group }
    }

    /// Whether an upstream takes a request now: it is healthy, or out and due a probe. Claims nothing, so another may be
    /// quicker than who asked.
    #[inline]
    pub fn is_usable(&self, upstream: usize) -> bool {
        self.group.is_usable(upstream)
    }

    /// Whether all of them are healthy: then each is usable, and none has to be asked.
    #[inline]
    pub fn all_healthy(&self) -> bool {
        self.group.all_healthy()
    }

    /// Begins a request at an upstream. `None` when it takes none; when it is due a probe, one request gets it, which is
    /// the probe.
    pub fn begin(&self, upstream: usize) -> Option<Attempt> {
        self.group.begin(upstream).map(|ticket| Attempt { ticket })
    }

    /// Begins the probe that was [kept](super::Health::reserve) for a request when it was decided, and says at which upstream.
    /// `None` when there was none: then choose among those that are [usable](Self::is_usable).
    pub fn begin_reserved(&self, extensions: &mut Extensions) -> Option<(usize, Attempt)> {
        let (upstream, ticket) = Reserved::take(&self.group, extensions)?;
        Some((upstream, Attempt { ticket }))
    }

    /// Counts a request for which no upstream was usable. Returns how long until one is due a probe, for a `Retry-After`.
    pub fn refused(&self) -> Duration {
        self.group.refuse()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("upstreams", &self.group.upstreams).finish_non_exhaustive()
    }
}

// === impl Attempt ===

impl Attempt {
    /// The upstream responded; [the settings](super::HealthSettings::failure_status) say whether that is a failure.
    pub fn responded(self, status: StatusCode) {
        if (self.ticket.settings().is_failure)(status) { self.failed() } else { self.succeeded() }
    }

    /// The upstream works.
    pub fn succeeded(mut self) {
        self.ticket.ended(Outcome::Success);
    }

    /// It does not: nobody took the connection, it broke, nothing came in time.
    pub fn failed(mut self) {
        self.ticket.ended(Outcome::Failure);
    }
}
