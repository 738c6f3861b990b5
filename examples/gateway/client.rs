//! A client's connection: what it does, and for how long it may do nothing.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::args::Limits;

use Ordering::Relaxed;

/// What happens on a connection. Told by its stream and its requests, read by its watch.
#[derive(Default)]
pub(crate) struct Activity {
    /// Requests that have not been answered to the end.
    active: AtomicUsize,
    /// Requests so far.
    requests: AtomicU64,
    /// Whether something was read of what is no request yet.
    partial: AtomicBool,
    /// Whether the client does not read what we write.
    stalled: AtomicBool,
    /// Grows when it does.
    writes: AtomicU64,
    /// Here the head of a request is frames of the connection, whose limits are HTTP/2's own.
    http2: AtomicBool,
}

/// A request under way, until this is dropped.
pub(crate) struct Active(Arc<Activity>);

/// A client's stream, which tells what happens.
pub(crate) struct ClientIo {
    stream: TcpStream,
    activity: Arc<Activity>,
    begun: bool,
}

/// How many connections there are, to be waited for until there are none.
#[derive(Default)]
pub(crate) struct Open {
    count: AtomicUsize,
    none: Notify,
}

/// A connection that is counted.
pub(crate) struct Counted(Arc<Open>);

/// The end of the gateway, as its connections learn of it.
#[derive(Default)]
pub(crate) struct Ending {
    told: AtomicBool,
    bell: Notify,
}

/// What a connection is waited for.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Waiting {
    /// The next request, or the response to the last.
    Idle,
    /// The rest of a request's head.
    Head,
    /// The client, to read.
    Stalled,
}

// === impl Activity ===

impl Activity {
    /// A request's head is here.
    pub(crate) fn begin(self: &Arc<Self>, http2: bool) -> Active {
        self.active.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.partial.store(false, Relaxed);
        if http2 {
            self.http2.store(true, Relaxed);
        }
        Active(self.clone())
    }

    fn waiting(&self) -> Waiting {
        if self.stalled.load(Relaxed) {
            Waiting::Stalled
        } else if self.partial.load(Relaxed) && self.active.load(Relaxed) == 0 {
            Waiting::Head
        } else {
            Waiting::Idle
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

// === the watch ===

/// Serves a connection to its end, and ends it when it does nothing for too long.
///
/// A request costs no timer: there is one for the connection, set to the longest wait there is, and when it is over it
/// is looked whether anything has happened since. So an idle client may stay for up to twice the limit. `end` asks the
/// connection to end after the request that it has.
pub(crate) async fn attend<C: Future>(
    connection: C,
    end: impl Fn(Pin<&mut C>),
    activity: &Activity,
    limits: Limits,
    ending: &Ending,
) {
    let mut connection = pin!(connection);
    let mut told = pin!(ending.bell.notified());
    let mut timer = pin!(sleep_until(Instant::now() + limits.head));
    let mut waiting = Waiting::Head;
    let mut seen = 0;
    let (mut begun, mut ends) = (false, false);
    poll_fn(|cx| {
        if !begun {
            // Asked once, so that it wakes us; from then on the flag tells, which costs less.
            let _ = told.as_mut().poll(cx);
        }
        if !ends && ending.told.load(Ordering::Acquire) {
            ends = true;
            end(connection.as_mut());
        }
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let now_waiting = match activity.waiting() {
            // Before its first byte a client is as slow as within a head.
            Waiting::Idle
                if waiting == Waiting::Head
                    && activity.requests.load(Relaxed) == 0
                    && !activity.http2.load(Relaxed) =>
            {
                Waiting::Head
            }
            other => other,
        };
        if begun && waiting == now_waiting && !timer.is_elapsed() {
            return Poll::Pending;
        }
        let progress = match now_waiting {
            Waiting::Idle => activity.requests.load(Relaxed),
            Waiting::Head => 0,
            Waiting::Stalled => activity.writes.load(Relaxed),
        };
        let limit = if now_waiting == Waiting::Head { limits.head } else { limits.idle };
        if waiting != now_waiting {
            timer.as_mut().reset(Instant::now() + limit);
        }
        (waiting, begun) = (now_waiting, true);
        while timer.as_mut().poll(cx).is_ready() {
            let busy = waiting == Waiting::Idle && activity.active.load(Relaxed) > 0;
            if !busy && seen == progress {
                return Poll::Ready(());
            }
            seen = progress;
            timer.as_mut().reset(Instant::now() + limit);
        }
        seen = progress;
        Poll::Pending
    })
    .await;
}

// === impl ClientIo ===

impl ClientIo {
    pub(crate) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        ClientIo { stream, activity, begun: false }
    }

    fn wrote<T>(&self, written: Poll<T>) -> Poll<T> {
        let stalled = written.is_pending();
        if stalled || self.activity.stalled.load(Relaxed) {
            self.activity.stalled.store(stalled, Relaxed);
            self.activity.writes.fetch_add(u64::from(!stalled), Relaxed);
        }
        written
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let new = buf.filled().get(before..).unwrap_or_default();
        if !new.is_empty() {
            if !self.begun {
                self.begun = true;
                self.activity.http2.store(new.starts_with(b"PRI"), Relaxed);
            }
            if self.activity.active.load(Relaxed) == 0 && !self.activity.http2.load(Relaxed) {
                self.activity.partial.store(true, Relaxed);
            }
        }
        read
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

// === impl Open ===

impl Open {
    pub(crate) fn count(self: &Arc<Self>) -> Counted {
        self.count.fetch_add(1, Ordering::AcqRel);
        Counted(self.clone())
    }

    /// How many there are.
    pub(crate) fn now(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until there are none.
    pub(crate) async fn none(&self) {
        loop {
            let mut none = pin!(self.none.notified());
            none.as_mut().enable();
            if self.now() == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

// === impl Ending ===

impl Ending {
    pub(crate) fn tell(&self) {
        self.told.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }

    /// Waits until it has been told.
    pub(crate) async fn told(&self) {
        let mut told = pin!(self.bell.notified());
        told.as_mut().enable();
        if !self.told.load(Ordering::Acquire) {
            told.await;
        }
    }
}
