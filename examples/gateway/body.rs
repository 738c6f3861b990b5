//! The bodies: what goes up to a server, and what comes down from it.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use super::connection::Streamed;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a request on its way up.
pub(crate) enum Upload {
    Empty,
    Streamed { body: UnsyncBoxBody<Bytes, BoxError>, progress: Arc<Progress> },
}

/// How far a request's body has come, for those who wait for what comes after it.
#[derive(Default)]
pub(crate) struct Progress {
    frames: AtomicU64,
    /// Whether it is the client that is waited for.
    starving: AtomicBool,
    failed: AtomicBool,
}

/// The body of a response on its way down.
pub(crate) enum Download {
    /// Our own words.
    Ours(Option<Bytes>),
    /// All of it is here, and the connection it came by is already back in its pool.
    Whole(Incoming),
    Streamed(Box<Streamed>),
}

// === impl Upload ===

impl Upload {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Upload::Empty;
        }
        let body = UnsyncBoxBody::new(http_body_util::BodyExt::map_err(body, Into::into));
        Upload::Streamed { body, progress: Arc::default() }
    }

    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Upload::Empty => None,
            Upload::Streamed { progress, .. } => Some(progress.clone()),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Upload::Empty => Poll::Ready(None),
            Upload::Streamed { body, progress } => {
                let polled = Pin::new(body).poll_frame(cx);
                progress.starving.store(polled.is_pending(), Relaxed);
                match &polled {
                    Poll::Ready(Some(Err(_))) => progress.failed.store(true, Relaxed),
                    Poll::Ready(_) => _ = progress.frames.fetch_add(1, Relaxed),
                    Poll::Pending => {}
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Upload::Empty => true,
            Upload::Streamed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Upload::Empty => SizeHint::with_exact(0),
            Upload::Streamed { body, .. } => body.size_hint(),
        }
    }
}

// === impl Progress ===

impl Progress {
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    pub(crate) fn is_starving(&self) -> bool {
        self.starving.load(Relaxed)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }
}

// === impl Download ===

impl Download {
    pub(crate) fn empty() -> Self {
        Download::Ours(None)
    }
}

impl From<String> for Download {
    fn from(text: String) -> Self {
        Download::Ours(Some(text.into()))
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Download::Ours(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Download::Whole(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Download::Streamed(streamed) => streamed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Download::Ours(text) => text.is_none(),
            Download::Whole(body) => body.is_end_stream(),
            Download::Streamed(streamed) => streamed.body().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Download::Ours(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Download::Whole(body) => body.size_hint(),
            Download::Streamed(streamed) => streamed.body().size_hint(),
        }
    }
}
