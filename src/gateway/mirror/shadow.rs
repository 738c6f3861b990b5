//! A copy on its way to a shadow, whose service is of any type and may do anything.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Buf;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tower::util::Oneshot;
use tower_service::Service;

use super::body::MirrorBody;
use super::counts::{Counts, Versus};

/// How much of an answer is read, so that its connection can be used again. The rest is dropped, and the connection with it.
const ANSWER_BYTES: usize = 1 << 20;

/// A service that takes copies. Boxed, as each cluster may have another type and a copy is a task of its own anyhow.
pub(super) trait Shadow: Send + Sync {
    fn send(&self, request: Request<MirrorBody>) -> Sending<Option<(StatusCode, Sending<()>)>>;
}

/// The status and the rest of the answer; `None` when the service fails.
pub(super) type Sending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How many copies there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots(Arc<AtomicUsize>);

/// A copy's place among them.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

/// One copy that is to be sent.
pub(super) struct Copy {
    pub(super) shadow: Arc<dyn Shadow>,
    pub(super) counts: Arc<Counts>,
    pub(super) versus: Arc<Versus>,
    pub(super) slot: Slot,
}

/// Counts a copy that nothing became of: its service panicked, or its task was ended.
struct Unless {
    counts: Arc<Counts>,
    known: bool,
}

impl<S, B> Shadow for S
where
    S: Service<Request<MirrorBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
{
    fn send(&self, request: Request<MirrorBody>) -> Sending<Option<(StatusCode, Sending<()>)>> {
        let sent = Oneshot::new(self.clone(), request);
        Box::pin(async move {
            let response = sent.await.ok()?;
            let status = response.status();
            let rest: Sending<()> = Box::pin(read(response.into_body()));
            Some((status, rest))
        })
    }
}

/// Reads a body to its end, or up to a bound, and keeps nothing of it.
async fn read<B: Body>(body: B) {
    let mut body = pin!(body);
    let mut left = ANSWER_BYTES;
    while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let read = frame.data_ref().map_or(0, Buf::remaining);
        match left.checked_sub(read) {
            Some(less) => left = less,
            None => break,
        }
    }
}

// === impl Copy ===

impl Copy {
    /// Sends it and counts what comes. Whatever the service does, it does in this task.
    pub(super) async fn send(self, request: Request<MirrorBody>, timeout: Duration) {
        let Copy { shadow, counts, versus, slot } = self;
        let mut unless = Unless { counts: counts.clone(), known: false };
        let begin = Instant::now();
        let answer = async {
            let answer = shadow.send(request).await;
            unless.known = true;
            match answer {
                None => counts.failed(),
                Some((status, rest)) => {
                    counts.answered(status, begin.elapsed());
                    versus.shadow(status);
                    rest.await;
                }
            }
        };
        if tokio::time::timeout(timeout, answer).await.is_err() && !unless.known {
            unless.known = true;
            counts.timed_out();
        }
        drop(slot);
    }
}

// === impl Slots ===

impl Slots {
    pub(super) fn take(&self, most: usize) -> Option<Slot> {
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Slot(self.0.clone()))
    }

    pub(super) fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Unless {
    fn drop(&mut self) {
        match (self.known, std::thread::panicking()) {
            (true, _) => {}
            (false, true) => self.counts.panicked(),
            (false, false) => self.counts.ended(),
        }
    }
}
