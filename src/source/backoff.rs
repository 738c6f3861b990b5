//! How long to wait before the next attempt.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// How long the follower waits after a failure: twice as long after each, up to a bound, and like at first when all has
/// been well for as long as that bound. A source that answers and fails in turn is so not asked without a break. Between half of that and all of it, by chance, so that nodes which lost one server together do
/// not come back together.
///
/// ```
/// use pointsman::source::Backoff;
/// use std::time::Duration;
///
/// let patient = Backoff { most: Duration::from_secs(300), ..Backoff::default() };
/// # let _ = patient;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "meant to be written with `..Backoff::default()`")]
pub struct Backoff {
    /// After the first failure. Default: 100 ms; less than a millisecond counts as one.
    pub first: Duration,
    /// After many. Default: 30 s.
    pub most: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// The most that a source can ask for by [`SourceError::retry_after`](super::SourceError::retry_after): an hour.
    pub const LONGEST_ASKED: Duration = Duration::from_secs(3600);

    /// For how long all has to be well before the waits begin anew.
    pub(super) fn trust(&self) -> Duration {
        self.most.max(self.first)
    }

    /// The wait after so many failures.
    pub(super) fn wait(&self, failures: u32) -> Duration {
        let first = self.first.max(Duration::from_millis(1));
        let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(30));
        jittered(doubled.min(self.most.max(first)))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_millis(100), most: Duration::from_secs(30) }
    }
}

/// Between half of a time and all of it.
pub(super) fn jittered(most: Duration) -> Duration {
    // The keys of each are its own, and random.
    let random = RandomState::new().build_hasher().finish();
    most.mul_f64(0.5 + random as f64 / u64::MAX as f64 / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_differ() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) };
        for (failures, most) in
            [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (40, 1000), (u32::MAX, 1000)]
        {
            let most = Duration::from_millis(most);
            let waits: Vec<_> = (0..200).map(|_| backoff.wait(failures)).collect();
            assert!(waits.iter().all(|wait| (most / 2..=most).contains(wait)), "{failures}: {waits:?}");
            let spread = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
            assert!(spread > most / 4, "{failures}: {spread:?}");
        }
    }

    #[test]
    fn no_setting_makes_a_busy_loop() {
        let backoff = Backoff { first: Duration::ZERO, most: Duration::ZERO };
        assert!(backoff.wait(1) >= Duration::from_micros(500));
    }
}
