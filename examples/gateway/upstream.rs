//! One server as one worker sees it: the connections that wait for requests, and how many requests it has.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::args::Limits;
use super::connection::Connection;

/// How many connections wait for requests at most, for each server and worker.
const KEPT: usize = 256;
/// How long. Less than what servers are usually set to, so that mostly it is we who close.
const REST: Duration = Duration::from_secs(50);

/// A server.
pub(crate) struct Upstream {
    addr: SocketAddr,
    limits: Limits,
    // The one used last is used next, so that those in excess grow old. Only its worker locks it.
    #[allow(clippy::vec_box, reason = "a connection is large and goes from hand to hand")]
    kept: Mutex<Vec<Box<Connection>>>,
    pending: AtomicUsize,
}

/// A request that a server has.
pub(crate) struct Held {
    upstream: Arc<Upstream>,
}

// === impl Upstream ===

impl Upstream {
    pub(crate) fn new(addr: SocketAddr, limits: Limits) -> Self {
        Upstream { addr, limits, kept: Mutex::default(), pending: AtomicUsize::new(0) }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// How many requests it has of this worker.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Relaxed)
    }

    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        self.pending.fetch_add(1, Relaxed);
        Held { upstream: self.clone() }
    }

    /// The connection that was used last, if one is kept.
    pub(crate) fn check_out(&self) -> Option<Box<Connection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Drops connections that were closed, or have been waiting too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain_mut(|connection| {
            now.saturating_duration_since(connection.since()) < REST && connection.is_idle()
        });
    }
}

// === impl Held ===

impl Held {
    /// Keeps a connection for the next request.
    pub(crate) fn check_in(&self, connection: Box<Connection>) {
        let mut kept = self.upstream.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(connection);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.upstream.pending.fetch_sub(1, Relaxed);
    }
}
