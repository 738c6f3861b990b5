//! A request and the service that it goes to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    /// The response of a cluster's service. One that is ready has been called before this is polled; another is called as
    /// soon as it is.
    ///
    /// tower's `Oneshot` does the same and asks for readiness when it is polled. Until then it has the request in itself,
    /// which every layer further out moves with its own future: with a stack of them that costs more than the call. So a
    /// service that needs a runtime, as timeouts do, has to be called within one, and not only polled there.
    #[must_use = "futures do nothing unless polled"]
    pub struct CallFuture<S: Service<Request>, Request> {
        #[pin]
        state: State<S, Request, S::Future, S::Error>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, Request, F, E> {
        Called { #[pin] future: F },
        // What is seldom is boxed, for the same reason.
        Waiting { waiting: Option<Box<(S, Request)>> },
        Failed { error: Option<E> },
    }
}

// === impl CallFuture ===

impl<S: Service<Request>, Request> CallFuture<S, Request> {
    pub(super) fn new(mut service: S, request: Request) -> Self {
        // Nobody is woken for this; one that is not ready is asked again, by whoever polls.
        let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        let state = match ready {
            Poll::Ready(Ok(())) => State::Called { future: service.call(request) },
            Poll::Ready(Err(error)) => State::Failed { error: Some(error) },
            Poll::Pending => State::Waiting { waiting: Some(Box::new((service, request))) },
        };
        CallFuture { state }
    }
}

impl<S: Service<Request>, Request> Future for CallFuture<S, Request> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut state = self.as_mut().project().state;
            let future = match state.as_mut().project() {
                StateProjection::Called { future } => return future.poll(cx),
                StateProjection::Waiting { waiting } => {
                    if let Some(waiting) = waiting {
                        ready!(waiting.0.poll_ready(cx))?;
                    }
                    waiting.take().map(|waiting| {
                        let (mut service, request) = *waiting;
                        service.call(request)
                    })
                }
                StateProjection::Failed { error } => match error.take() {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => None,
                },
            };
            match future {
                Some(future) => state.set(State::Called { future }),
                // Polled again after it was done.
                None => return Poll::Pending,
            }
        }
    }
}

impl<S: Service<Request>, Request> fmt::Debug for CallFuture<S, Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{Ready, ready};
    use std::rc::Rc;

    use tower::ServiceExt as _;

    use super::*;

    /// Ready when the gate is open, and to be called only then; counts the calls.
    #[derive(Clone)]
    struct Gated {
        open: Rc<Cell<Option<bool>>>,
        ready: bool,
        calls: Rc<Cell<usize>>,
    }

    impl Service<u8> for Gated {
        type Response = u8;
        type Error = &'static str;
        type Future = Ready<Result<u8, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            match self.open.get() {
                Some(true) => {
                    self.ready = true;
                    Poll::Ready(Ok(()))
                }
                Some(false) => Poll::Ready(Err("broken")),
                None => Poll::Pending,
            }
        }

        fn call(&mut self, request: u8) -> Self::Future {
            assert!(self.ready, "called before it was ready");
            self.calls.set(self.calls.get() + 1);
            ready(Ok(request + 1))
        }
    }

    fn gated(open: Option<bool>) -> Gated {
        Gated { open: Rc::new(Cell::new(open)), ready: false, calls: Rc::default() }
    }

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_is_ready_is_called_at_once() {
        let service = gated(Some(true));
        let mut future = CallFuture::new(service.clone(), 1);
        assert_eq!(service.calls.get(), 1);
        assert_eq!(poll(&mut future), Poll::Ready(Ok(2)));
    }

    #[test]
    fn what_is_not_is_called_once_when_it_is() {
        let service = gated(None);
        let mut future = CallFuture::new(service.clone(), 1);
        assert_eq!((poll(&mut future), poll(&mut future)), (Poll::Pending, Poll::Pending));
        assert_eq!(service.calls.get(), 0);
        service.open.set(Some(true));
        assert_eq!(poll(&mut future), Poll::Ready(Ok(2)));
        assert_eq!(service.calls.get(), 1);
    }

    #[test]
    fn an_error_of_readiness_is_the_answer_now_or_later() {
        let mut now = CallFuture::new(gated(Some(false)), 1);
        assert_eq!(poll(&mut now), Poll::Ready(Err("broken")));
        assert_eq!(poll(&mut now), Poll::Pending, "and then it waits, as futures may");

        let service = gated(None);
        let mut later = CallFuture::new(service.clone(), 1);
        assert_eq!(poll(&mut later), Poll::Pending);
        service.open.set(Some(false));
        assert_eq!(poll(&mut later), Poll::Ready(Err("broken")));
        assert_eq!(service.calls.get(), 0);
    }

    /// Whoever waits is woken: the waker of the last poll counts, not the one of nobody.
    #[tokio::test(flavor = "current_thread")]
    async fn a_place_that_gets_free_wakes_who_waits_for_it() {
        let held = tower::limit::ConcurrencyLimit::new(
            tower::service_fn(|wait: tokio::sync::oneshot::Receiver<u8>| wait),
            1,
        );
        let (send, wait) = tokio::sync::oneshot::channel();
        let first = tokio::spawn(held.clone().oneshot(wait));
        tokio::task::yield_now().await;
        let (second, behind) = tokio::sync::oneshot::channel();
        second.send(2).unwrap();
        let behind = tokio::spawn(CallFuture::new(held, behind));
        tokio::task::yield_now().await;
        assert!(!behind.is_finished());
        send.send(1).unwrap();
        assert_eq!((first.await.unwrap().unwrap(), behind.await.unwrap().unwrap()), (1, 2));
    }
}
