//! A timer that costs a request next to nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Waits for a deadline that is put off again and again. The runtime's timer is set only when the old deadline is over:
/// for a connection that is used all the time, once in a whole limit and not once a request.
pub(crate) struct Patience {
    limit: Duration,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

// === impl Patience ===

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        let deadline = Instant::now() + limit;
        Patience { limit, deadline, timer: Box::pin(sleep_until(deadline)) }
    }

    /// Begins to count from now.
    pub(crate) fn restart(&mut self) {
        self.deadline = Instant::now() + self.limit;
    }

    /// Since when it counts.
    pub(crate) fn since(&self) -> Instant {
        self.deadline - self.limit
    }

    /// Ready when the limit has passed since it was last restarted; else the task is woken then, if not before.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.deadline);
        }
        Poll::Pending
    }
}
