//! What became of the copies of one statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

/// What became of the copies of one `mirror` statement, since it came or last changed; from
/// [`MirrorLayer::counts`](super::MirrorLayer::counts).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MirrorCounts {
    /// The statement's name.
    pub name: String,
    /// Copies that were sent. Those of them that are in none of the next five are under way.
    pub sent: u64,
    /// Answers by the first digit of their status: 1xx to 5xx.
    pub answered: [u64; 5],
    /// Copies whose service failed.
    pub failed: u64,
    /// Copies that had no answer in time.
    pub timed_out: u64,
    /// Copies whose service panicked.
    pub panicked: u64,
    /// Copies that ended with the layer or the runtime.
    pub ended: u64,
    /// Answers whose status was of the same class as that of the request's own answer,
    pub same: u64,
    /// and those of another. Neither is counted where one of the two had no answer.
    pub different: u64,
    /// How long it took in all until answers came.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::gateway::seconds", rename = "latency_seconds")
    )]
    pub latency: Duration,
    /// How long the slowest took.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::gateway::seconds", rename = "slowest_seconds")
    )]
    pub slowest: Duration,
    /// What was not copied.
    pub dropped: MirrorDropped,
}

/// What was not copied, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MirrorDropped {
    /// The cluster has no service here.
    pub no_service: u64,
    /// There were as many copies as there may be.
    pub full: u64,
    /// The body was too large.
    pub too_large: u64,
    /// The body took too long to come.
    pub too_slow: u64,
    /// The body did not end: the client went away, or it was answered before.
    pub incomplete: u64,
    /// The method may change something, and the statement does not say `with unsafe`.
    pub unsafe_method: u64,
    /// It was an upgrade or `CONNECT`.
    pub upgrade: u64,
    /// It was a copy itself.
    pub copy: u64,
    /// There is no tokio runtime.
    pub no_runtime: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    sent: AtomicU64,
    answered: [AtomicU64; 5],
    failed: AtomicU64,
    timed_out: AtomicU64,
    panicked: AtomicU64,
    ended: AtomicU64,
    same: AtomicU64,
    different: AtomicU64,
    nanos: AtomicU64,
    slowest: AtomicU64,
    dropped: [AtomicU64; 9],
}

/// Why a request was not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    NoService,
    Full,
    TooLarge,
    TooSlow,
    Incomplete,
    UnsafeMethod,
    Upgrade,
    Copy,
    NoRuntime,
}

/// The request's own answer and the copy's, of which either may come first, or not at all.
#[derive(Debug)]
pub(super) struct Versus {
    counts: Arc<Counts>,
    /// The class of the one in the lower four bits, of the other in the upper ones.
    seen: AtomicU8,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

// === impl Counts ===

impl Counts {
    pub(super) fn sent(&self) {
        add(&self.sent);
    }

    pub(super) fn answered(&self, status: StatusCode, after: Duration) {
        // From 6xx on there is no class, and no server of ours sends it.
        if let Some(count) = self.answered.get(usize::from(status.as_u16() / 100).saturating_sub(1).min(4)) {
            add(count);
        }
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.slowest.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        add(&self.failed);
    }

    pub(super) fn timed_out(&self) {
        add(&self.timed_out);
    }

    pub(super) fn panicked(&self) {
        add(&self.panicked);
    }

    pub(super) fn ended(&self) {
        add(&self.ended);
    }

    pub(super) fn dropped(&self, why: Why) {
        if let Some(count) = self.dropped.get(why as usize) {
            add(count);
        }
    }

    pub(super) fn read(&self, name: &str) -> MirrorCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let dropped = |why: Why| self.dropped.get(why as usize).map_or(0, read);
        MirrorCounts {
            name: name.to_owned(),
            sent: read(&self.sent),
            answered: self.answered.each_ref().map(read),
            failed: read(&self.failed),
            timed_out: read(&self.timed_out),
            panicked: read(&self.panicked),
            ended: read(&self.ended),
            same: read(&self.same),
            different: read(&self.different),
            latency: Duration::from_nanos(read(&self.nanos)),
            slowest: Duration::from_nanos(read(&self.slowest)),
            dropped: MirrorDropped {
                no_service: dropped(Why::NoService),
                full: dropped(Why::Full),
                too_large: dropped(Why::TooLarge),
                too_slow: dropped(Why::TooSlow),
                incomplete: dropped(Why::Incomplete),
                unsafe_method: dropped(Why::UnsafeMethod),
                upgrade: dropped(Why::Upgrade),
                copy: dropped(Why::Copy),
                no_runtime: dropped(Why::NoRuntime),
            },
        }
    }
}

// === impl Versus ===

impl Versus {
    pub(super) fn new(counts: Arc<Counts>) -> Self {
        Versus { counts, seen: AtomicU8::new(0) }
    }

    pub(super) fn primary(&self, status: StatusCode) {
        self.see(class(status), 0);
    }

    pub(super) fn shadow(&self, status: StatusCode) {
        self.see(class(status), 4);
    }

    /// Whoever comes second counts.
    fn see(&self, class: u8, shift: u8) {
        let before = self.seen.fetch_or(class << shift, Ordering::Relaxed);
        match (before >> (4 - shift)) & 0xf {
            0 => {}
            other if other == class => add(&self.counts.same),
            _ => add(&self.counts.different),
        }
    }
}

/// From 1 to 9.
fn class(status: StatusCode) -> u8 {
    u8::try_from(status.as_u16() / 100).unwrap_or(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_answer_comes_second_compares() {
        let counts = Arc::new(Counts::default());
        let answers = [(200, 204, true), (200, 503, false), (404, 401, true), (302, 200, false)];
        for (primary, shadow, shadow_first) in answers {
            let status = |code| StatusCode::from_u16(code).unwrap();
            let versus = Versus::new(counts.clone());
            if shadow_first {
                versus.shadow(status(shadow));
                versus.primary(status(primary));
            } else {
                versus.primary(status(primary));
                versus.shadow(status(shadow));
            }
        }
        let lonely = Versus::new(counts.clone());
        lonely.primary(StatusCode::OK);
        let counts = counts.read("m");
        assert_eq!((counts.same, counts.different), (2, 2));
    }

    #[test]
    fn answers_are_counted_by_class_with_their_latency() {
        let counts = Counts::default();
        for (code, millis) in [(101, 1), (200, 2), (204, 3), (304, 4), (404, 50), (500, 6), (999, 7)] {
            counts.answered(StatusCode::from_u16(code).unwrap(), Duration::from_millis(millis));
        }
        let read = counts.read("m");
        assert_eq!(read.answered, [1, 2, 1, 1, 2]);
        assert_eq!((read.latency.as_millis(), read.slowest.as_millis()), (73, 50));
    }
}
