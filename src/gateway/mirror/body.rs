//! The body of a request that is copied, and that of the copy.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::pending::Collecting;

/// The body of a copy: one frame, or none.
#[derive(Debug, Clone, Default)]
pub struct MirrorBody {
    data: Option<Bytes>,
}

pin_project! {
    /// A request's body, copied while it is read; made by [`MirrorService`](super::MirrorService).
    ///
    /// Frames, trailers, the hint of its size and its end are those of the inner body.
    #[derive(Debug)]
    pub struct MirrorTee<B> {
        #[pin]
        inner: B,
        collecting: Option<Collecting>,
    }
}

// === impl MirrorBody ===

impl MirrorBody {
    pub(super) fn new(data: Bytes) -> Self {
        MirrorBody { data: Some(data).filter(|data| !data.is_empty()) }
    }
}

impl Body for MirrorBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

// === impl MirrorTee ===

impl<B> MirrorTee<B> {
    pub(super) fn new(inner: B, collecting: Option<Collecting>) -> Self {
        MirrorTee { inner, collecting }
    }

    /// The inner body.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }
}

impl<B: Body> Body for MirrorTee<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if let Some(collecting) = this.collecting.take() {
            let goes_on = match &frame {
                Some(Ok(frame)) => frame.data_ref().is_none_or(|data| collecting.push(data)),
                Some(Err(_)) => false,
                None => true,
            };
            // Whoever knows from the hint that nothing comes any more does not ask again.
            match goes_on {
                true if frame.is_none() || this.inner.is_end_stream() => collecting.send(),
                true => *this.collecting = Some(collecting),
                false => {}
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

/// Appends what is left of `data`, which stays as it is. `false` when it has more pieces than can be seen at once.
pub(super) fn append(data: &impl Buf, to: &mut Vec<u8>) -> bool {
    let mut pieces = [std::io::IoSlice::new(&[]); 16];
    let count = data.chunks_vectored(&mut pieces);
    let before = to.len();
    pieces.iter().take(count).for_each(|piece| to.extend_from_slice(piece));
    to.len() - before == data.remaining()
}
