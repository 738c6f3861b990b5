//! A response's body that counts until it ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::counts::Token;

pin_project! {
    /// The body of a response in flight; made by [`InFlightSplit`](super::InFlightSplit).
    ///
    /// Frames, trailers, the hint of its size and its end are those of the inner body.
    #[derive(Debug)]
    pub struct InFlightBody<B> {
        #[pin]
        inner: B,
        // Behind the body, so that it is dropped after it.
        token: Option<Token>,
    }
}

// === impl InFlightBody ===

impl<B> InFlightBody<B> {
    pub(super) fn new(inner: B, token: Option<Token>) -> Self {
        InFlightBody { inner, token }
    }

    /// The inner body.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }
}

/// An empty body, such as of an answer that a layer further out gives.
impl<B: Default> Default for InFlightBody<B> {
    fn default() -> Self {
        InFlightBody { inner: B::default(), token: None }
    }
}

impl<B: Body> Body for InFlightBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if frame.is_none() {
            *this.token = None;
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
