//! One connection to a server, and one request on it.
//!
//! hyper's connection is a future beside the request's, which is usually spawned. Here the two are polled together, in the
//! task of the client: so a request wakes no other task, and a client that goes away takes its connection along.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout};

use super::args::Limits;
use super::body::{BoxError, Download, Upload};
use super::fault::Fault;
use super::patience::Patience;
use super::upstream::{Held, Upstream};

/// The most that the head of a response may have, and that is read ahead of a body.
const BUFFER: usize = 64 * 1024;

/// A connection on which at most one request is.
pub(crate) struct Connection {
    send: SendRequest<Upload>,
    // None when it was given up.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Upload>>,
    patience: Patience,
    /// Whether the driver has ended, and must not be asked any more.
    over: bool,
    /// Whether it has had a request before, so that the server may just be about to close it.
    used: bool,
}

/// Why a request failed, and the request if nothing of it was sent.
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    pub(crate) unsent: Option<Box<Request<Upload>>>,
    pub(crate) was_used: bool,
}

/// A response's body that is still coming.
pub(crate) struct Streamed {
    body: Incoming,
    // None once it is over.
    connection: Option<Box<Connection>>,
    held: Held,
    waiting: bool,
    /// Why it was cut, until the client has what came before.
    cut: Option<BoxError>,
}

// === impl Connection ===

impl Connection {
    /// Connects.
    pub(crate) async fn open(to: SocketAddr, limits: Limits) -> Result<Box<Self>, Fault> {
        let stream = match timeout(limits.connect, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return Err(Fault::Refused),
            Err(_) => return Err(Fault::ConnectTimeout),
        };
        // Both ways matter little where it fails.
        let _ = stream.set_nodelay(true);
        let handshake = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream));
        let (send, driver) = handshake.await.map_err(Fault::Broken)?;
        Ok(Box::new(Connection {
            send,
            driver: Some(driver),
            patience: Patience::new(limits.upstream),
            over: false,
            used: false,
        }))
    }

    /// Whether it could have a request, as far as we know. Leaves it with nobody to wake.
    pub(crate) fn is_idle(&mut self) -> bool {
        !self.drive(&mut Context::from_waker(Waker::noop())) && self.send.is_ready()
    }

    /// Reads and writes what can be. Returns whether the connection has come to its end.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(driver) = self.driver.as_mut().filter(|_| !self.over) {
            self.over = driver.poll_without_shutdown(cx).is_ready();
        }
        self.over
    }

    /// When it got its last request, or began to be waited for.
    pub(crate) fn since(&self) -> Instant {
        self.patience.since()
    }

    /// Sends a request, and waits for the head of the response.
    pub(crate) async fn exchange(
        mut self: Box<Self>,
        request: Box<Request<Upload>>,
        held: Held,
    ) -> Result<Response<Download>, Failed> {
        let progress = request.body().progress();
        let mut seen = 0;
        self.patience.restart();
        // The response can only come out of what the driver does, and that is polled right before it: so nobody needs to
        // be woken for it, and no budget may stop it.
        let (mut begun, mut quiet) = (false, false);
        let received = {
            let mut response = pin!(unconstrained(self.send.try_send_request(*request)));
            poll_fn(|cx| {
                let mut nobody = Context::from_waker(Waker::noop());
                // What woke us is mostly all of the response. Read for nobody, it leaves the connection with nobody to
                // wake, as the pool wants it; and to take its body wakes nobody either, which would be ourselves.
                if begun && progress.is_none() {
                    self.drive(&mut nobody);
                    if let Poll::Ready(received) = response.as_mut().poll(&mut nobody) {
                        quiet = true;
                        return Poll::Ready(received.map_err(Some));
                    }
                }
                begun = true;
                let over = self.drive(cx);
                if let Poll::Ready(received) = response.as_mut().poll(&mut nobody) {
                    return Poll::Ready(received.map_err(Some));
                }
                if over {
                    // A request that it has not begun comes back.
                    self.driver = None;
                    let received = response.as_mut().poll(&mut nobody);
                    return received.map_err(Some);
                }
                while self.patience.poll(cx).is_ready() {
                    match &progress {
                        // The body goes on, and the answer may come after it.
                        Some(progress) if progress.frames() != seen => {
                            seen = progress.frames();
                            self.patience.restart();
                        }
                        _ => return Poll::Ready(Err(None)),
                    }
                }
                Poll::Pending
            })
            .await
        };
        let was_used = std::mem::replace(&mut self.used, true);
        let failed = |fault| Failed { fault, unsent: None, was_used };
        match received {
            Ok(response) => Ok(self.carry(response, held, quiet)),
            Err(Some(mut error)) => {
                let unsent = error.take_message().map(Box::new);
                let fault = match &progress {
                    Some(progress) if progress.has_failed() => Fault::ClientGone,
                    _ => Fault::Broken(error.into_error()),
                };
                Err(Failed { unsent, ..failed(fault) })
            }
            Err(None) => match &progress {
                Some(progress) if progress.is_starving() => Err(failed(Fault::ClientTimeout)),
                _ => Err(failed(Fault::Timeout)),
            },
        }
    }

    /// The response, and whoever still has to read it. `quiet` where the connection has nobody to wake.
    fn carry(
        mut self: Box<Self>,
        response: Response<Incoming>,
        held: Held,
        quiet: bool,
    ) -> Response<Download> {
        // A short body is here together with its head.
        let idle = self.send.is_ready() && if quiet { !self.over } else { self.is_idle() };
        if idle {
            held.check_in(self);
            return response.map(Download::Whole);
        }
        response.map(|body| {
            Download::Streamed(Box::new(Streamed {
                body,
                connection: Some(self),
                held,
                waiting: false,
                cut: None,
            }))
        })
    }

    /// Runs HTTP to its end, where the stream is free for another protocol. Returns it, and what was read of that.
    pub(crate) async fn finish(mut self: Box<Self>) -> Option<(TcpStream, Bytes)> {
        poll_fn(|cx| if self.drive(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        let parts = self.driver?.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

// === impl Streamed ===

impl Streamed {
    pub(crate) fn body(&self) -> &Incoming {
        &self.body
    }

    /// The connection, which is to become something else.
    pub(crate) fn into_connection(mut self) -> Option<Box<Connection>> {
        self.connection.take()
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(cut) = self.cut.take() {
            return Poll::Ready(Some(Err(cut)));
        }
        match ready!(self.poll_next(cx)) {
            Some(Err(cut)) => {
                // hyper drops what it has not written when a body fails. So it gets to write first.
                self.connection = None;
                self.cut = Some(cut);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => {
                self.waiting = false;
                if frame.is_none() {
                    self.end();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // As with the head: what comes comes from the driver, polled below.
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(&mut nobody) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let over = connection.drive(cx);
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(&mut nobody) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if over {
            return Poll::Ready(Some(Err("the connection ended before the body".into())));
        }
        // Only what we wait for counts, not what the client takes to read.
        if !self.waiting {
            self.waiting = true;
            connection.patience.restart();
        }
        ready!(connection.patience.poll(cx));
        Poll::Ready(Some(Err("the server did not go on in time".into())))
    }

    /// Gives the connection back, if nothing is left on it.
    fn end(&mut self) {
        if let Some(mut connection) = self.connection.take()
            && connection.is_idle()
        {
            self.held.check_in(connection);
        }
    }
}

impl Drop for Streamed {
    /// A body whose length was said is not polled again when all of it was read.
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }
}

// === kept ones ===

/// A request on a connection of this upstream: a kept one, or a new one if there is none or none is wanted.
pub(crate) async fn send(
    upstream: &Arc<Upstream>,
    request: Box<Request<Upload>>,
    fresh: bool,
) -> Result<Response<Download>, Failed> {
    let held = upstream.hold();
    let kept = if fresh { None } else { upstream.check_out() };
    let connection = match kept {
        Some(connection) => connection,
        None => match Connection::open(upstream.addr(), upstream.limits()).await {
            Ok(connection) => connection,
            Err(fault) => return Err(Failed { fault, unsent: Some(request), was_used: false }),
        },
    };
    connection.exchange(request, held).await
}
