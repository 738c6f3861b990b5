//! A response's body that is watched until it ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::clusters::Token;

pin_project! {
    /// The body of a response that is watched; made by [`AnalyseService`](super::AnalyseService).
    ///
    /// Frames, trailers, the hint of its size and its end are those of the inner body.
    #[derive(Debug)]
    pub struct AnalyseBody<B> {
        #[pin]
        inner: B,
        // None once it has ended. Dropped with it, it has been given up.
        token: Option<Token>,
        // How many bytes are still to come, where that was said.
        left: Option<u64>,
    }
}

// === impl AnalyseBody ===

impl<B: Body> AnalyseBody<B> {
    /// With `empty`, the server will not send the body, whatever it is.
    pub(super) fn new(inner: B, token: Option<Token>, empty: bool) -> Self {
        let left = inner.size_hint().exact();
        let ended = empty || inner.is_end_stream();
        let mut body = AnalyseBody { inner, token, left };
        if ended {
            end(&mut body.token);
        }
        body
    }

    /// The inner body.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }
}

/// An empty body, such as of an answer that a layer further out gives.
impl<B: Default> Default for AnalyseBody<B> {
    fn default() -> Self {
        AnalyseBody { inner: B::default(), token: None, left: None }
    }
}

fn end(token: &mut Option<Token>) {
    if let Some(mut token) = token.take() {
        token.end();
    }
}

impl<B: Body> Body for AnalyseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        match &frame {
            None => end(this.token),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                *this.left = this.left.map(|left| left.saturating_sub(length));
                // A server asks no more when it has all that it announced.
                if *this.left == Some(0) || this.inner.is_end_stream() {
                    end(this.token);
                }
            }
            // Its token is dropped.
            Some(Err(_)) => *this.token = None,
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
