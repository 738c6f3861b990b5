//! Waiting until a cluster has no request at hand.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use super::counts::Counts;

/// Done when a cluster has no request at hand; from [`InFlight::drained`](super::InFlight::drained).
///
/// Can be polled from anywhere and dropped at any time. It is woken when a request of the cluster ends, and then adds up
/// the counts of all threads.
#[must_use = "futures do nothing unless polled"]
pub struct Drained {
    counts: Arc<Counts>,
    cluster: usize,
    /// Unlike that of any other.
    id: u64,
    /// The seats at which somebody may be deciding by earlier rules; `None` before the first poll.
    deciding: Option<Vec<usize>>,
}

// === impl Drained ===

impl Drained {
    pub(super) fn new(counts: Arc<Counts>, cluster: usize) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        Drained { counts, cluster, id: IDS.fetch_add(1, Ordering::Relaxed), deciding: None }
    }

    /// Whether all who may have read rules from before the first poll have decided.
    fn have_decided(&mut self, cx: &Context<'_>) -> bool {
        let Drained { counts, id, deciding, .. } = self;
        let deciding = deciding.get_or_insert_with(|| {
            counts.engine().wait_for_swap();
            counts.seats().collect()
        });
        if deciding.is_empty() {
            return true;
        }
        counts.waiters_for_decisions().register(*id, cx.waker());
        deciding.retain(|seat| !counts.has_decided(*seat));
        let done = deciding.is_empty();
        if done {
            counts.waiters_for_decisions().leave(*id);
        }
        done
    }
}

impl Future for Drained {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.have_decided(cx) {
            return Poll::Pending;
        }
        let Some(waiters) = this.counts.waiters_for(this.cluster) else { return Poll::Ready(()) };
        waiters.register(this.id, cx.waker());
        if !this.counts.is_idle(this.cluster) {
            return Poll::Pending;
        }
        waiters.leave(this.id);
        Poll::Ready(())
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        self.counts.waiters_for_decisions().leave(self.id);
        if let Some(waiters) = self.counts.waiters_for(self.cluster) {
            waiters.leave(self.id);
        }
    }
}

impl fmt::Debug for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.counts.engine().clusters().nth(self.cluster);
        f.debug_struct("Drained").field("cluster", &cluster).finish_non_exhaustive()
    }
}
