//! The body of a response that may be our own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response: the inner service's, or one that a layer of the gateway made.
    #[derive(Debug)]
    pub struct GatewayBody<B> {
        #[pin]
        inner: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Own { data: Option<Bytes> },
    }
}

/// A piece of a [`GatewayBody`].
#[derive(Debug)]
pub struct GatewayData<D>(Piece<D>);

#[derive(Debug)]
enum Piece<D> {
    Inner(D),
    Own(Bytes),
}

// === impl GatewayBody ===

impl<B> GatewayBody<B> {
    /// The inner service's body.
    pub(crate) fn inner(body: B) -> Self {
        GatewayBody { inner: Kind::Inner { body } }
    }

    /// A body of our own; an empty one has no frame.
    pub(crate) fn own(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        GatewayBody { inner: Kind::Own { data: Some(data).filter(|data| !data.is_empty()) } }
    }
}

impl<B: Body> Body for GatewayBody<B> {
    type Data = GatewayData<B::Data>;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().inner.project() {
            KindProjection::Inner { body } => {
                body.poll_frame(cx).map_ok(|frame| frame.map_data(|data| GatewayData(Piece::Inner(data))))
            }
            KindProjection::Own { data } => {
                Poll::Ready(data.take().map(|data| Ok(Frame::data(GatewayData(Piece::Own(data))))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Own { data } => data.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Kind::Inner { body } => body.size_hint(),
            Kind::Own { data } => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
        }
    }
}

// === impl GatewayData ===

impl<D: Buf> Buf for GatewayData<D> {
    fn remaining(&self) -> usize {
        match &self.0 {
            Piece::Inner(data) => data.remaining(),
            Piece::Own(data) => data.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match &self.0 {
            Piece::Inner(data) => data.chunk(),
            Piece::Own(data) => data.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, to: &mut [std::io::IoSlice<'a>]) -> usize {
        match &self.0 {
            Piece::Inner(data) => data.chunks_vectored(to),
            Piece::Own(data) => data.chunks_vectored(to),
        }
    }

    fn advance(&mut self, count: usize) {
        match &mut self.0 {
            Piece::Inner(data) => data.advance(count),
            Piece::Own(data) => data.advance(count),
        }
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        match &mut self.0 {
            Piece::Inner(data) => data.copy_to_bytes(length),
            Piece::Own(data) => data.copy_to_bytes(length),
        }
    }
}
