//! The upstreams of one cluster: whose turn it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::accrual::{Claim, Out, Outcome, State, Upstream};
use super::clock::Clock;
use super::settings::HealthSettings;
use super::trace::changed;

/// The upstreams of one cluster.
#[derive(Debug)]
pub(super) struct Group {
    cluster: Box<str>,
    pub(super) upstreams: Box<[Upstream]>,
    pub(super) settings: HealthSettings,
    pub(super) clock: Clock,
    /// Requests for which there was none.
    pub(super) refused: AtomicU64,
    out: Out,
    turn: AtomicUsize,
}

/// A request at an upstream. Dropped before it has [ended](Ticket::ended), it is abandoned.
#[derive(Debug)]
pub(super) struct Ticket {
    group: Arc<Group>,
    upstream: usize,
    claim: Claim,
    ended: bool,
}

/// A probe that is kept for a request on its way. Dropped, it is due again as it was.
#[derive(Debug)]
pub(super) struct Reservation {
    group: Arc<Group>,
    upstream: usize,
    until: u64,
    is_used: bool,
}

// === impl Group ===

impl Group {
    pub(super) fn new(
        cluster: &str,
        names: impl Iterator<Item = Box<str>>,
        settings: HealthSettings,
        clock: Clock,
    ) -> Self {
        let upstreams: Box<[_]> = names.map(Upstream::new).collect();
        let out = Out::new(upstreams.len(), settings.max_percent);
        let (refused, turn) = (AtomicU64::new(0), AtomicUsize::new(0));
        Group { cluster: cluster.into(), upstreams, settings, clock, refused, out, turn }
    }

    /// Whether a request could be let through now.
    #[inline]
    pub(super) fn is_available(&self) -> bool {
        self.some_healthy() || self.is_due()
    }

    #[cold]
    fn is_due(&self) -> bool {
        let now = self.clock.now();
        self.upstreams.iter().any(|upstream| upstream.is_usable(now))
    }

    /// As [`is_available`](Self::is_available) where no upstream is healthy: keeps the probe that is due for who asks, if
    /// there is one. Nothing is to be kept when one has become healthy.
    pub(super) fn reserve(self: &Arc<Self>) -> Option<Option<Reservation>> {
        let now = self.clock.now();
        for (at, upstream) in self.upstreams.iter().enumerate() {
            if let Some(until) = upstream.reserve(now) {
                return Some(Some(Reservation { group: self.clone(), upstream: at, until, is_used: false }));
            }
        }
        self.some_healthy().then_some(None)
    }

    /// Whether an upstream is not out.
    #[inline]
    pub(super) fn some_healthy(&self) -> bool {
        self.out.count.load(Ordering::SeqCst) < self.upstreams.len()
    }

    /// An upstream for a request, and its place; in turn, each that is healthy or due. When there is none, how long until
    /// there may be one.
    pub(super) fn choose(self: &Arc<Self>) -> Result<(usize, Ticket), Duration> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // All are healthy: no clock.
        if self.out.count.load(Ordering::SeqCst) == 0
            && let Some(at) = turn.checked_rem(self.upstreams.len())
            && let Some(claim) = self.upstreams.get(at).and_then(|upstream| upstream.claim(0))
        {
            return Ok((at, self.ticket(at, claim)));
        }
        let now = self.clock.now();
        let usable = || self.upstreams.iter().enumerate().filter(|(_, upstream)| upstream.is_usable(now));
        // By their number and not from a place on: the one behind a gap would have the turns of two.
        let first = turn.checked_rem(usable().count()).unwrap_or(0);
        // What another claims meanwhile is left out.
        for (at, upstream) in usable().skip(first).chain(usable()) {
            if let Some(claim) = upstream.claim(now) {
                return Ok((at, self.ticket(at, claim)));
            }
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(self.until_due(now))
    }

    /// Whether no upstream is out.
    #[inline]
    pub(super) fn all_healthy(&self) -> bool {
        self.out.count.load(Ordering::SeqCst) == 0
    }

    /// Whether the upstream at this place could be given a request now.
    #[inline]
    pub(super) fn is_usable(&self, at: usize) -> bool {
        self.upstreams.get(at).is_some_and(|upstream| upstream.is_usable(self.now_if_any_is_out()))
    }

    /// A request for the upstream at this place, if it takes one.
    pub(super) fn begin(self: &Arc<Self>, at: usize) -> Option<Ticket> {
        let claim = self.upstreams.get(at)?.claim(self.now_if_any_is_out())?;
        Some(self.ticket(at, claim))
    }

    /// Counts a request for which there was none, and says how long until there may be one.
    pub(super) fn refuse(&self) -> Duration {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.until_due(self.clock.now())
    }

    /// As long as all are healthy, nobody asks what time it is.
    fn now_if_any_is_out(&self) -> u64 {
        if self.all_healthy() { 0 } else { self.clock.now() }
    }

    fn ticket(self: &Arc<Self>, upstream: usize, claim: Claim) -> Ticket {
        Ticket { group: self.clone(), upstream, claim, ended: false }
    }

    fn until_due(&self, now: u64) -> Duration {
        let until = self.upstreams.iter().filter_map(|upstream| match upstream.state() {
            State::Ejected { until } => Some(until),
            State::Healthy { .. } | State::Probing => None,
        });
        Duration::from_micros(until.min().unwrap_or(now).saturating_sub(now))
    }
}

// === impl Ticket ===

impl Ticket {
    pub(super) fn settings(&self) -> &HealthSettings {
        &self.group.settings
    }

    /// To be called once, with what the request came to.
    pub(super) fn ended(&mut self, outcome: Outcome) {
        self.ended = true;
        let Some(upstream) = self.group.upstreams.get(self.upstream) else { return };
        let Group { cluster, settings, out, clock, .. } = &*self.group;
        if let Some(change) = upstream.ended(self.claim, outcome, settings, out, || clock.now()) {
            changed(cluster, &upstream.name, change);
        }
    }
}

// === impl Reservation ===

impl Reservation {
    pub(super) fn is_of(&self, group: &Arc<Group>) -> bool {
        Arc::ptr_eq(&self.group, group)
    }

    /// The request has come: it is the probe.
    pub(super) fn begin(mut self) -> Option<(usize, Ticket)> {
        let claim = self.group.upstreams.get(self.upstream)?.probe();
        self.is_used = true;
        Some((self.upstream, self.group.ticket(self.upstream, claim)))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_used
            && let Some(upstream) = self.group.upstreams.get(self.upstream)
        {
            upstream.release(self.until);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            self.ended(Outcome::Abandoned);
        }
    }
}
