//! Where requests come in: what no upstream may see is refused here, or taken away.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pointsman::PeerAddr;
use tower::{Service, ServiceExt};

use super::body::{BoxError, Download};
use super::client::{Active, Activity};
use super::cluster::refusal;
use super::headers::{self, ClientName, Seen};

/// The body of what a client gets. The request counts as active as long as it lives.
pub(crate) struct Answer<B> {
    body: Side<B>,
    _active: Active,
}

/// The stack of one connection. A request gives it back as soon as it has called it, so that it is seldom cloned: a clone
/// is a reference count for each layer, and those are all workers'.
pub(crate) struct Turns<S> {
    // Locked by its connection alone, and never across a wait.
    places: Mutex<Places<S>>,
}

struct Places<S> {
    original: S,
    free: Option<S>,
}

enum Side<B> {
    Ours(Download),
    Stack(B),
}

/// Takes one request through the stack.
pub(crate) async fn handle<S, B>(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    name: ClientName,
    activity: Arc<Activity>,
    turns: Arc<Turns<S>>,
) -> Result<Response<Answer<B>>, Infallible>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
{
    let active = activity.begin(request.version() == Version::HTTP_2);
    if let Err((status, why)) = admit(&mut request) {
        let mut response = refusal(status, why);
        // What follows on this connection may not be what it seems.
        if request.version() != Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        return Ok(response.map(|body| Answer { body: Side::Ours(body), _active: active }));
    }
    request.extensions_mut().insert(PeerAddr(peer));
    request.extensions_mut().insert(name);
    let mut stack = turns.take();
    let response = stack.ready().await?.call(request);
    turns.give_back(stack);
    let response = response.await?;
    Ok(response.map(|body| Answer { body: Side::Stack(body), _active: active }))
}

/// Leaves a request as it is meant, with one host, a target that begins with `/` and what the client says to us gone.
///
/// hyper has refused what is no HTTP: a bare CR, a folded line, a space before a colon, two lengths, a length that is
/// no number, a coding that does not end in chunks. A length beside chunks it drops, and closes afterwards. What we send
/// on is written anew from what was understood, so an upstream reads what the rules have read.
fn admit(request: &mut Request<Incoming>) -> Result<(), (StatusCode, &'static str)> {
    let bad = |why| Err((StatusCode::BAD_REQUEST, why));
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "this method is not for gateways"));
    }
    let seen = Seen::of(request.headers());
    if seen.has(Seen::TRANSFER_ENCODING) && !headers::only_chunked(request.headers()) {
        return Err((StatusCode::NOT_IMPLEMENTED, "the only transfer coding here is chunked"));
    }
    let uri = request.uri();
    let target = uri.authority().cloned();
    match uri.path_and_query() {
        Some(path) if target.is_none() || uri.scheme().is_some() => {
            if !(path.as_str().starts_with('/')
                || path.as_str() == "*" && *request.method() == Method::OPTIONS)
            {
                return bad("the target does not begin with `/`");
            }
            if target.is_some() {
                *request.uri_mut() = Uri::from(path.clone());
            }
        }
        _ => return bad("the target is no path"),
    }
    let http11 = request.version() == Version::HTTP_11;
    let required = request.version() != Version::HTTP_10;
    let headers = request.headers_mut();
    if !headers::one_host(headers, target.as_ref(), required) {
        return bad("there is to be one host, and one that can be");
    }
    headers::tidy_request(headers, seen, http11);
    Ok(())
}

// === impl Turns ===

impl<S: Clone> Turns<S> {
    pub(crate) fn new(original: S) -> Self {
        Turns { places: Mutex::new(Places { original, free: None }) }
    }

    fn take(&self) -> S {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.free.take().unwrap_or_else(|| places.original.clone())
    }

    fn give_back(&self, stack: S) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).free = Some(stack);
    }
}

// === impl Answer ===

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.body {
            Side::Ours(body) => Pin::new(body).poll_frame(cx),
            Side::Stack(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Side::Ours(body) => body.is_end_stream(),
            Side::Stack(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Side::Ours(body) => body.size_hint(),
            Side::Stack(body) => body.size_hint(),
        }
    }
}
