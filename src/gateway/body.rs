//! The body of a response that may be our own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response: the inner service's, or one that a layer of the gateway made.
    ///
    /// Its data is of the inner body's type, which has to be made of [`Bytes`] for that, as `Bytes` are themselves: so a
    /// server that takes the one takes the other.
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

/// An empty body, such as of an answer that a layer further out gives.
impl<B> Default for GatewayBody<B> {
    fn default() -> Self {
        GatewayBody { inner: Kind::Own { data: None } }
    }
}

impl<B> Body for GatewayBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().inner.project() {
            KindProjection::Inner { body } => body.poll_frame(cx),
            KindProjection::Own { data } => {
                Poll::Ready(data.take().map(|data| Ok(Frame::data(B::Data::from(data)))))
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
