//! How long a `capture` statement goes on.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::engine::{Action, Capture, GatewayStatement, RuleSet};

/// What is left of a statement.
#[derive(Debug)]
pub(super) struct Session {
    most: u32,
    /// `None` for one that lasts longer than can be told.
    ends: Option<Instant>,
    taken: AtomicU32,
    late: AtomicU64,
}

// === impl Session ===

impl Session {
    /// Since these rules run.
    pub(super) fn new(statement: &GatewayStatement, rules: &RuleSet) -> Self {
        let (most, lasts) = match statement.action() {
            Action::Capture(Capture { exchanges, lasts, .. }) => (*exchanges, *lasts),
            _ => (0, Duration::ZERO),
        };
        Self::since(most, lasts, rules.made().elapsed().unwrap_or_default(), Instant::now())
    }

    fn since(most: u32, lasts: Duration, gone: Duration, now: Instant) -> Self {
        let ends = now.checked_add(lasts.saturating_sub(gone));
        Session { most, ends, taken: AtomicU32::new(0), late: AtomicU64::new(0) }
    }

    /// Takes one of the exchanges that it may capture.
    pub(super) fn take(&self, now: Instant) -> bool {
        let more = |taken: u32| (taken < self.most).then_some(taken + 1);
        let taken =
            !self.is_over(now) && self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if !taken {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn is_over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| now >= ends)
    }

    pub(super) fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// How much of its time is left; zero when it has ended.
    pub(super) fn left(&self, now: Instant) -> Duration {
        let left = self.ends.map_or(Duration::MAX, |ends| ends.saturating_duration_since(now));
        if self.taken() >= self.most { Duration::ZERO } else { left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_after_so_many() {
        let now = Instant::now();
        let session = Session::since(2, Duration::from_secs(60), Duration::ZERO, now);
        assert_eq!([0, 1, 2, 3].map(|_| session.take(now)), [true, true, false, false]);
        assert_eq!((session.taken(), session.late(), session.left(now)), (2, 2, Duration::ZERO));
    }

    #[test]
    fn it_ends_after_so_long_from_when_the_rules_came() {
        let now = Instant::now();
        let session = Session::since(9, Duration::from_secs(60), Duration::from_secs(20), now);
        let at = |secs| now + Duration::from_secs(secs);
        assert_eq!(session.left(now), Duration::from_secs(40));
        assert_eq!([0, 39, 40, 41].map(|secs| session.take(at(secs))), [true, true, false, false]);
        let gone = Session::since(9, Duration::from_secs(60), Duration::from_secs(90), now);
        assert!(!gone.take(now));
    }

    #[test]
    fn one_that_lasts_beyond_all_time_lasts() {
        let now = Instant::now();
        assert!(Session::since(1, Duration::MAX, Duration::ZERO, now).take(now));
    }
}
