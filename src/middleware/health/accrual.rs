//! One upstream: healthy, out, or being probed, and what it takes to become another.
//!
//! ```text
//!            too many failures                  its time is over, one request claims it
//! healthy ─────────────────────► ejected ──────────────────────────────────────────► probing
//!    ▲                              ▲                                                  │ │
//!    │                              └───── failed: twice as long; abandoned: at first ─┘ │
//!    └─────────────────────────────────────────── a success ─────────────────────────────┘
//! ```
//!
//! The state is one word, which is all that choosing an upstream reads. Only the claim of a probe changes it without the
//! lock; from then on until the probe ends, nobody else changes it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::micros;
use super::settings::{HealthSettings, Rate};

/// One upstream of a cluster.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) name: Box<str>,
    word: AtomicU64,
    /// Failures without a success between them. Changed under the lock.
    consecutive: AtomicU32,
    accrual: Mutex<Accrual>,
    pub(super) counts: Counts,
}

/// Since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) ejections: AtomicU64,
    pub(super) probes: AtomicU64,
    pub(super) overflows: AtomicU64,
}

/// What the next change depends on.
#[derive(Debug, Default)]
struct Accrual {
    window: Window,
    /// How often it was taken out, one after the other; 0 if never.
    row: u32,
    /// For how long the last time.
    last: u64,
    /// When it came back the last time.
    back: u64,
    /// How often it came back. Requests that began before that say nothing about now.
    epoch: u64,
}

/// How many requests failed lately, in eighths of a window.
#[derive(Debug, Default)]
struct Window {
    slots: [Slot; SLOTS as usize],
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    tick: u64,
    requests: u32,
    failures: u32,
}

const SLOTS: u64 = 8;

/// What an upstream is at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Healthy { epoch: u64 },
    Ejected { until: u64 },
    Probing,
}

/// A request that was let through: what it may change when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// One of many, from that epoch.
    Plain { epoch: u64 },
    /// The only one.
    Probe,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Failure,
    /// It says nothing about the upstream: the client went away, or there was no room before it.
    Abandoned,
}

/// What became of an upstream, for those who are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It was taken out, after so many failures in a row.
    Ejected {
        failures: u32,
        time: Duration,
    },
    /// A probe did not bring it back.
    Stays {
        time: Duration,
    },
    Back,
}

/// How many upstreams of a cluster are out or being probed, and how many may be.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) count: AtomicUsize,
    pub(super) most: usize,
}

// === impl Upstream ===

impl Upstream {
    pub(super) fn new(name: Box<str>) -> Self {
        Upstream {
            name,
            word: AtomicU64::new(State::Healthy { epoch: 0 }.word()),
            consecutive: AtomicU32::new(0),
            accrual: Mutex::default(),
            counts: Counts::default(),
        }
    }

    pub(super) fn state(&self) -> State {
        State::of(self.word.load(Ordering::SeqCst))
    }

    pub(super) fn consecutive(&self) -> u32 {
        self.consecutive.load(Ordering::Relaxed)
    }

    /// Whether a request could be let through. Claims nothing.
    pub(super) fn is_usable(&self, now: u64) -> bool {
        match self.state() {
            State::Healthy { .. } => true,
            State::Ejected { until } => until <= now,
            State::Probing => false,
        }
    }

    /// Lets a request through, or not. The probe that is due is claimed by one.
    pub(super) fn claim(&self, now: u64) -> Option<Claim> {
        match self.state() {
            State::Healthy { epoch } => {
                self.counts.requests.fetch_add(1, Ordering::Relaxed);
                Some(Claim::Plain { epoch })
            }
            State::Ejected { .. } => self.reserve(now).map(|_| self.probe()),
            State::Probing => None,
        }
    }

    /// Keeps the probe that is due for one request, which may not come. Returns since when it is due.
    pub(super) fn reserve(&self, now: u64) -> Option<u64> {
        let State::Ejected { until } = self.state() else { return None };
        if until > now {
            return None;
        }
        let (due, probing) = (State::Ejected { until }.word(), State::Probing.word());
        self.word.compare_exchange(due, probing, Ordering::SeqCst, Ordering::SeqCst).ok()?;
        Some(until)
    }

    /// The request came.
    pub(super) fn probe(&self) -> Claim {
        self.counts.probes.fetch_add(1, Ordering::Relaxed);
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        Claim::Probe
    }

    /// It did not, and the probe is due as it was.
    pub(super) fn release(&self, until: u64) {
        self.set(State::Ejected { until });
    }

    /// What a request that was let through came to, and whether that changed the state.
    pub(super) fn ended(
        &self,
        claim: Claim,
        outcome: Outcome,
        settings: &HealthSettings,
        out: &Out,
        now: impl Fn() -> u64,
    ) -> Option<Change> {
        if outcome == Outcome::Failure {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        match (claim, outcome) {
            (Claim::Plain { .. }, Outcome::Abandoned) => None,
            // The usual case takes no lock.
            (Claim::Plain { .. }, Outcome::Success) if settings.rate.is_none() && self.consecutive() == 0 => {
                None
            }
            (Claim::Plain { epoch }, outcome) => {
                self.accrue(epoch, outcome == Outcome::Failure, settings, out, now())
            }
            (Claim::Probe, Outcome::Success) => {
                let mut accrual = self.lock();
                accrual.epoch = accrual.epoch.wrapping_add(1);
                accrual.back = now();
                accrual.window = Window::default();
                self.consecutive.store(0, Ordering::Relaxed);
                self.set(State::Healthy { epoch: accrual.epoch });
                out.count.fetch_sub(1, Ordering::SeqCst);
                Some(Change::Back)
            }
            (Claim::Probe, Outcome::Failure) => {
                let mut accrual = self.lock();
                accrual.row = accrual.row.saturating_add(1);
                let row = accrual.row;
                let time = self.eject(&mut accrual, row, settings, now());
                Some(Change::Stays { time })
            }
            (Claim::Probe, Outcome::Abandoned) => {
                let time = self.eject(&mut self.lock(), 1, settings, now());
                Some(Change::Stays { time })
            }
        }
    }

    fn accrue(
        &self,
        epoch: u64,
        failed: bool,
        settings: &HealthSettings,
        out: &Out,
        now: u64,
    ) -> Option<Change> {
        let mut accrual = self.lock();
        // It was taken out meanwhile, and perhaps came back.
        if self.state() != (State::Healthy { epoch }) {
            return None;
        }
        if let Some(rate) = &settings.rate {
            accrual.window.add(failed, rate.tick(now));
        }
        if !failed {
            self.consecutive.store(0, Ordering::Relaxed);
            return None;
        }
        let consecutive = self.consecutive().saturating_add(1);
        self.consecutive.store(consecutive, Ordering::Relaxed);
        let too_many = settings.consecutive > 0 && consecutive >= settings.consecutive;
        let too_often = settings.rate.is_some_and(|rate| accrual.window.exceeds(&rate, rate.tick(now)));
        if !too_many && !too_often {
            return None;
        }
        if !out.one_more() {
            self.counts.overflows.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let again = accrual.row > 0 && now.saturating_sub(accrual.back) < accrual.last;
        accrual.row = if again { accrual.row.saturating_add(1) } else { 1 };
        let row = accrual.row;
        self.counts.ejections.fetch_add(1, Ordering::Relaxed);
        let time = self.eject(&mut accrual, row, settings, now);
        Some(Change::Ejected { failures: consecutive, time })
    }

    /// Out for as long as the so manieth time in a row.
    fn eject(&self, accrual: &mut Accrual, row: u32, settings: &HealthSettings, now: u64) -> Duration {
        let time = settings.ejection(row);
        accrual.last = micros(time);
        self.set(State::Ejected { until: now.saturating_add(accrual.last) });
        time
    }

    fn set(&self, state: State) {
        self.word.store(state.word(), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Accrual> {
        self.accrual.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    const SHIFT: u32 = 62;
    const VALUE: u64 = (1 << Self::SHIFT) - 1;
    const EJECTED: u64 = 1 << Self::SHIFT;
    const PROBING: u64 = 2 << Self::SHIFT;

    /// The kind in the two highest bits, an epoch or a time in the others: microseconds for 146,000 years.
    fn word(self) -> u64 {
        match self {
            State::Healthy { epoch } => epoch & Self::VALUE,
            State::Ejected { until } => Self::EJECTED | until.min(Self::VALUE),
            State::Probing => Self::PROBING,
        }
    }

    fn of(word: u64) -> Self {
        let value = word & Self::VALUE;
        match word & !Self::VALUE {
            0 => State::Healthy { epoch: value },
            Self::EJECTED => State::Ejected { until: value },
            _ => State::Probing,
        }
    }
}

// === impl Out ===

impl Out {
    pub(super) fn new(upstreams: usize, max_percent: u32) -> Self {
        let most = upstreams.saturating_mul(max_percent as usize) / 100;
        Out { count: AtomicUsize::new(0), most }
    }

    /// Counts one more, if it may be out.
    fn one_more(&self) -> bool {
        let more = |count: usize| (count < self.most).then_some(count + 1);
        self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }
}

// === impl HealthSettings ===

impl HealthSettings {
    /// For how long, the so manieth time in a row.
    fn ejection(&self, row: u32) -> Duration {
        let base = self.base.max(Duration::from_millis(1));
        let doubled = base.saturating_mul(1 << row.saturating_sub(1).min(30)).min(self.most.max(base));
        if self.jitter == 0.0 {
            return doubled;
        }
        // The keys of each are its own, and random.
        let random = RandomState::new().build_hasher().finish();
        let more = self.jitter * (random as f64 / u64::MAX as f64);
        doubled.saturating_add(Duration::try_from_secs_f64(doubled.as_secs_f64() * more).unwrap_or(doubled))
    }
}

// === impl Rate ===

impl Rate {
    /// Which eighth of a window it is, from the first.
    fn tick(&self, now: u64) -> u64 {
        now / (micros(self.window) / SLOTS).max(1)
    }
}

// === impl Window ===

impl Window {
    fn add(&mut self, failed: bool, tick: u64) {
        let Some(slot) = self.slots.get_mut((tick % SLOTS) as usize) else { return };
        if slot.tick != tick {
            *slot = Slot { tick, ..Slot::default() };
        }
        slot.requests = slot.requests.saturating_add(1);
        slot.failures = slot.failures.saturating_add(failed.into());
    }

    fn exceeds(&self, rate: &Rate, tick: u64) -> bool {
        let lately = self.slots.iter().filter(|slot| tick.saturating_sub(slot.tick) < SLOTS);
        let (requests, failures) = lately.fold((0, 0), |(requests, failures), slot| {
            (requests + u64::from(slot.requests), failures + u64::from(slot.failures))
        });
        requests >= rate.requests.into() && failures as f64 >= rate.share * requests as f64
    }
}
