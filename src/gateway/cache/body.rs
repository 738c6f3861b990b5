//! The body of a response: passed on as it comes, and collected beside.
//!
//! A body that is to be stored is read by a task, up to the limit, whether or not the client keeps up: so a slow client does
//! not hold up those who wait for the same response. What the client has not read yet waits in a queue, which is never longer
//! than the limit. Past the limit the client gets the rest of the body to read for itself.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, timeout_at};

use super::counts::Refusal;

pin_project! {
    /// The body of a response that passed a [`CacheService`](super::CacheService): the inner service's, or a stored one.
    pub struct CacheBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B: Body> {
        Inner { #[pin] body: B },
        Own { data: Option<Bytes> },
        Fed { pieces: UnboundedReceiver<Piece<B>>, rest: Option<Pin<Box<B>>>, left: SizeHint, ended: bool, share: Arc<Share> },
    }
}

/// What the task hands to the client.
pub(super) enum Piece<B: Body> {
    Data(Bytes),
    Trailers(HeaderMap),
    Rest(Pin<Box<B>>),
    Failed(B::Error),
}

/// What a piece takes besides its bytes, here and in the client's queue: a body may come in pieces of one byte.
const PIECE: u64 = 128;

/// How many bytes of bodies are being collected at a time.
#[derive(Debug)]
pub(super) struct Collecting {
    bytes: AtomicU64,
    most: u64,
}

/// What one body has of them, until it is stored and the client has it too.
struct Share {
    of: Arc<Collecting>,
    bytes: AtomicU64,
}

/// A body to be collected.
pub(super) struct Filling<B: Body> {
    body: Pin<Box<B>>,
    client: UnboundedSender<Piece<B>>,
    /// How long it says to be.
    length: Option<u64>,
    limit: usize,
    /// How long it is read on when the client has gone.
    linger: Duration,
    share: Arc<Share>,
}

// === impl CacheBody ===

impl<B: Body> CacheBody<B> {
    pub(super) fn inner(body: B) -> Self {
        CacheBody { kind: Kind::Inner { body } }
    }

    pub(super) fn own(data: Bytes) -> Self {
        CacheBody { kind: Kind::Own { data: Some(data).filter(|data| !data.is_empty()) } }
    }

    /// The two ends of a body that is collected.
    pub(super) fn fed(
        body: B,
        length: Option<u64>,
        limit: usize,
        linger: Duration,
        collecting: &Arc<Collecting>,
    ) -> (Filling<B>, Self) {
        let left = body.size_hint();
        let (client, pieces) = mpsc::unbounded_channel();
        let share = Arc::new(Share { of: collecting.clone(), bytes: AtomicU64::new(0) });
        let filling = Filling { body: Box::pin(body), client, length, limit, linger, share: share.clone() };
        (filling, CacheBody { kind: Kind::Fed { pieces, rest: None, left, ended: false, share } })
    }
}

/// An empty body, such as of an answer that a layer further out gives.
impl<B: Body> Default for CacheBody<B> {
    fn default() -> Self {
        CacheBody { kind: Kind::Own { data: None } }
    }
}

impl<B: Body> Body for CacheBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body } => body.poll_frame(cx).map_ok(to_bytes),
            KindProjection::Own { data } => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            KindProjection::Fed { pieces, rest, left, ended, .. } => loop {
                if let Some(rest) = rest {
                    return rest.as_mut().poll_frame(cx).map_ok(to_bytes);
                }
                let piece = match ready!(pieces.poll_recv(cx)) {
                    Some(Piece::Rest(body)) => {
                        *rest = Some(body);
                        continue;
                    }
                    Some(Piece::Data(data)) => {
                        *left = less(left, data.len() as u64);
                        Some(Ok(Frame::data(data)))
                    }
                    Some(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                    Some(Piece::Failed(error)) => Some(Err(error)),
                    None => None,
                };
                *ended = piece.is_none();
                return Poll::Ready(piece);
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Own { data } => data.is_none(),
            Kind::Fed { rest: Some(rest), .. } => rest.is_end_stream(),
            Kind::Fed { pieces, ended, .. } => *ended || (pieces.is_closed() && pieces.is_empty()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Own { data } => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            Kind::Fed { rest: Some(rest), .. } => rest.size_hint(),
            Kind::Fed { left, .. } => *left,
        }
    }
}

impl<B: Body> std::fmt::Debug for CacheBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.kind {
            Kind::Inner { .. } => "inner",
            Kind::Own { .. } => "own",
            Kind::Fed { .. } => "fed",
        };
        f.debug_struct("CacheBody").field("kind", &kind).finish_non_exhaustive()
    }
}

/// Costs nothing where the data are `Bytes` already.
fn to_bytes<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

/// What is left after some bytes.
fn less(hint: &SizeHint, bytes: u64) -> SizeHint {
    let mut left = SizeHint::new();
    left.set_lower(hint.lower().saturating_sub(bytes));
    if let Some(upper) = hint.upper() {
        left.set_upper(upper.saturating_sub(bytes).max(left.lower()));
    }
    left
}

// === impl Filling ===

impl<B: Body> Filling<B> {
    /// Reads the body to its end, for the client and for `store`, which gets the whole or the reason why there is none. It
    /// gets it before the client sees the end, where the end is known by then, so that a client's next request finds it.
    pub(super) async fn run(mut self, store: impl FnOnce(Result<Bytes, Refusal>)) {
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut collected = 0;
        let mut gone_at = None;
        let refusal = loop {
            if self.body.is_end_stream() {
                break None;
            }
            let frame = match self.next(&mut gone_at).await {
                Err(Gone) => break Some(Refusal::Incomplete),
                Ok(None) => break None,
                Ok(Some(Err(error))) => {
                    let _ = self.client.send(Piece::Failed(error));
                    break Some(Refusal::Incomplete);
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let _ = self.client.send(Piece::Trailers(trailers));
                    }
                    break Some(Refusal::Trailers);
                }
            };
            if data.is_empty() {
                continue;
            }
            collected += data.len();
            let refusal = if collected > self.limit {
                Some(Refusal::TooLarge)
            } else {
                (!self.share.take(data.len() as u64 + PIECE)).then_some(Refusal::Overloaded)
            };
            if refusal.is_some() {
                let _ = self.client.send(Piece::Data(data));
                break refusal;
            }
            pieces.push(data.clone());
            if self.body.is_end_stream() {
                store(self.whole(&pieces, collected));
                let _ = self.client.send(Piece::Data(data));
                return;
            }
            let _ = self.client.send(Piece::Data(data));
        };
        match refusal {
            Some(refusal) => {
                store(Err(refusal));
                // The client reads on alone; after an error or trailers there is nothing more.
                if matches!(refusal, Refusal::TooLarge | Refusal::Overloaded | Refusal::Trailers) {
                    let _ = self.client.send(Piece::Rest(self.body));
                }
            }
            None => store(self.whole(&pieces, collected)),
        }
    }

    /// The next frame. When the client has gone, the body is read on for a while.
    async fn next(
        &mut self,
        gone_at: &mut Option<Instant>,
    ) -> Result<Option<Result<Frame<Bytes>, B::Error>>, Gone> {
        let body = &mut self.body;
        let mut frame = pin!(std::future::poll_fn(|cx| body.as_mut().poll_frame(cx).map_ok(to_bytes)));
        if gone_at.is_none() {
            let mut gone = pin!(self.client.closed());
            let first = std::future::poll_fn(|cx| match frame.as_mut().poll(cx) {
                Poll::Ready(frame) => Poll::Ready(Some(frame)),
                Poll::Pending => gone.as_mut().poll(cx).map(|()| None),
            });
            if let Some(frame) = first.await {
                return Ok(frame);
            }
        }
        let until = *gone_at.get_or_insert_with(|| Instant::now() + self.linger);
        timeout_at(until, frame).await.map_err(|_| Gone)
    }

    /// The body in one piece of its own: those that came may hold on to larger buffers.
    fn whole(&self, pieces: &[Bytes], collected: usize) -> Result<Bytes, Refusal> {
        if self.length.is_some_and(|length| length != collected as u64) {
            return Err(Refusal::Incomplete);
        }
        let mut whole = BytesMut::with_capacity(collected);
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        Ok(whole.freeze())
    }
}

/// The client has, and for too long.
struct Gone;

// === impl Collecting ===

impl Collecting {
    pub(super) fn new(most: u64) -> Self {
        Collecting { bytes: AtomicU64::new(0), most }
    }
}

impl Share {
    fn take(&self, bytes: u64) -> bool {
        let fits = self.of.bytes.fetch_add(bytes, Relaxed).saturating_add(bytes) <= self.of.most;
        self.bytes.fetch_add(bytes, Relaxed);
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes.load(Relaxed), Relaxed);
    }
}
