//! A body that is captured while it streams.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::Tee;

pin_project! {
    /// The body of a request or a response that may be captured; made by [`CaptureService`](super::CaptureService).
    ///
    /// Frames, trailers, the hint of its size and its end are those of the inner body.
    #[derive(Debug)]
    pub struct CaptureBody<B> {
        #[pin]
        inner: B,
        tee: Option<Tee>,
    }
}

// === impl CaptureBody ===

impl<B> CaptureBody<B> {
    /// The inner body.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }
}

/// An empty body, such as of an answer that a layer further out gives.
impl<B: Default> Default for CaptureBody<B> {
    fn default() -> Self {
        CaptureBody { inner: B::default(), tee: None }
    }
}

impl<B: Body> CaptureBody<B> {
    pub(super) fn new(inner: B, tee: Option<Tee>) -> Self {
        // A body that has ended may never be asked.
        let tee = match tee {
            Some(tee) if inner.is_end_stream() => {
                tee.complete();
                None
            }
            tee => tee,
        };
        CaptureBody { inner, tee }
    }
}

impl<B: Body> Body for CaptureBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if let Some(tee) = this.tee.take() {
            match &frame {
                None => tee.complete(),
                Some(Err(_)) => tee.failed(),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        tee.push(data);
                    }
                    // Whoever knows from the hint that nothing comes any more does not ask again.
                    if this.inner.is_end_stream() {
                        tee.complete();
                    } else {
                        *this.tee = Some(tee);
                    }
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
