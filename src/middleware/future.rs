//! What happens on a response's way out.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http::header::{HeaderName, HeaderValue};
use pin_project_lite::pin_project;

pin_project! {
    /// The response of [`TrafficSplit`](super::TrafficSplit): the inner service's, and perhaps a header or two more.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        headers: [Option<(HeaderName, HeaderValue)>; 2],
    }
}

// === impl ResponseFuture ===

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, headers: [Option<(HeaderName, HeaderValue)>; 2]) -> Self {
        ResponseFuture { inner, headers }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        for (name, value) in this.headers.iter_mut().filter_map(Option::take) {
            // Fails at 32,768 names; such a response goes out as it is.
            let _ = response.headers_mut().try_insert(name, value);
        }
        Poll::Ready(Ok(response))
    }
}
