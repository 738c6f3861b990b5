//! Time, which tests can pause: tokio's.

use std::time::Duration;

use tokio::time::Instant;

pub(super) use tokio::time::{Sleep, sleep};

/// Counts microseconds from when it was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

// === impl Clock ===

impl Clock {
    pub(super) fn new() -> Self {
        Clock { start: Instant::now() }
    }

    pub(super) fn now(&self) -> u64 {
        micros(self.start.elapsed())
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
