//! Copies that wait for the end of the body.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{Method, Request, Uri, Version};

use super::body::{MirrorBody, append};
use super::counts::Why;
use super::layer::{Settings, Shared, Timer};
use super::shadow::Copy;
use crate::schema::PeerAddr;

/// The copies of one request. Dropped before they are sent, they count as incomplete.
pub(super) struct Pending {
    head: Head,
    body: Vec<u8>,
    copies: Vec<(HeaderValue, Copy)>,
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    why: Why,
}

/// Copies whose body is still coming, and the timer that drops them if that takes too long. Only this holds them, so dropped
/// before they are sent it drops them too.
#[derive(Debug)]
pub(super) struct Collecting {
    pending: Arc<Mutex<Option<Box<Pending>>>>,
    _timer: Timer,
}

/// What a copy has of the request. Extensions are not copied, as what they hold may be for one to take, such as the
/// connection behind an upgrade; but for the peer's address.
#[derive(Debug, Clone)]
pub(super) struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    peer: Option<PeerAddr>,
}

/// Those of one connection (RFC 9110, 7.6.1), which `Connection` need not name, and two that ask for what a copy has not.
const NOT_COPIED: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    TRAILER,
    EXPECT,
];

// === impl Head ===

impl Head {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let mut headers = request.headers().clone();
        let named = request
            .headers()
            .get_all(CONNECTION)
            .iter()
            .flat_map(|line| line.as_bytes().split(|b| *b == b','));
        for name in named.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()) {
            headers.remove(name);
        }
        NOT_COPIED.iter().for_each(|name| drop(headers.remove(name)));
        Head {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers,
            peer: request.extensions().get().copied(),
        }
    }

    fn request(self, marker: (&HeaderName, HeaderValue), body: Bytes) -> Request<MirrorBody> {
        let Head { method, uri, version, mut headers, peer } = self;
        if !body.is_empty() || headers.contains_key(CONTENT_LENGTH) {
            headers.insert(CONTENT_LENGTH, body.len().into());
        }
        // Fails at 32,768 names, which no server lets through; then there is one copy without its mark.
        let _ = headers.try_insert(marker.0.clone(), marker.1);
        let mut request = Request::new(MirrorBody::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        request
    }
}

// === impl Collecting ===

impl Collecting {
    /// Waits for the body. `None` outside of a runtime, where there would be no copy either.
    pub(super) fn begin(pending: Box<Pending>) -> Option<Self> {
        let (most, shared) = (pending.settings.body_timeout, pending.shared.clone());
        let pending = Arc::new(Mutex::new(Some(pending)));
        let weak = Arc::downgrade(&pending);
        // Whoever reads the body may do so at any pace, or not at all, and is not to be woken for this.
        let timer = shared.after(most, move || {
            if let Some(mut pending) = weak.upgrade().and_then(|pending| lock(&pending).take()) {
                pending.why = Why::TooSlow;
            }
        });
        let Some(timer) = timer else {
            lock(&pending).iter_mut().for_each(|pending| pending.why = Why::NoRuntime);
            return None;
        };
        Some(Collecting { pending, _timer: timer })
    }

    /// Takes a piece of the body; `false` when that is too much, or comes too late, and then there will be no copy.
    pub(super) fn push(&self, data: &impl Buf) -> bool {
        lock(&self.pending).as_mut().is_some_and(|pending| pending.push(data))
    }

    /// Sends the copies, unless it is too late.
    pub(super) fn send(self) {
        let pending = lock(&self.pending).take();
        if let Some(pending) = pending {
            pending.send();
        }
    }
}

fn lock(pending: &Mutex<Option<Box<Pending>>>) -> MutexGuard<'_, Option<Box<Pending>>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Pending ===

impl Pending {
    pub(super) fn new(
        head: Head,
        copies: Vec<(HeaderValue, Copy)>,
        settings: Arc<Settings>,
        shared: Arc<Shared>,
    ) -> Self {
        Pending { head, body: Vec::new(), copies, settings, shared, why: Why::Incomplete }
    }

    /// Takes a piece of the body; `false` when that is too much, and then there will be no copy.
    pub(super) fn push(&mut self, data: &impl Buf) -> bool {
        let most = self.settings.body_bytes;
        let length = self.body.len().saturating_add(data.remaining());
        if length <= most && length > self.body.capacity() {
            // Twice as much each time, and never more than there may be.
            let capacity = self.body.capacity().saturating_mul(2).clamp(length, most);
            self.body.reserve_exact(capacity.saturating_sub(self.body.len()));
        }
        let fits = length <= most && append(data, &mut self.body);
        if !fits {
            self.why = Why::TooLarge;
        }
        fits
    }

    /// Sends the copies, with as much of the body as came.
    pub(super) fn send(mut self: Box<Self>) {
        let body = Bytes::from(std::mem::take(&mut self.body));
        for (name, copy) in std::mem::take(&mut self.copies) {
            let request = self.head.clone().request((&self.settings.header, name), body.clone());
            let counts = copy.counts.clone();
            if self.shared.spawn(copy.send(request, self.settings.timeout)).is_some() {
                counts.sent();
            } else {
                counts.dropped(Why::NoRuntime);
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.copies.iter().for_each(|(_, copy)| copy.counts.dropped(self.why));
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("body", &self.body.len()).field("copies", &self.copies.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_one_connection_is_not_copied() {
        let request = Request::post("/a?b=c")
            .header("connection", "x-one, close ,")
            .header("connection", "X-Two")
            .header("x-one", "1")
            .header("x-two", "2")
            .header("x-three", "3")
            .header("te", "trailers")
            .header("transfer-encoding", "chunked")
            .header("expect", "100-continue")
            .header("keep-alive", "timeout=5")
            .header("cookie", "a=b")
            .header("x-pointsman-mirror", "spoofed")
            .extension(PeerAddr(([192, 0, 2, 1], 80).into()))
            .body(())
            .unwrap();
        let marker = (&HeaderName::from_static("x-pointsman-mirror"), HeaderValue::from_static("next"));
        let copy = Head::of(&request).request(marker, Bytes::from_static(b"12345"));
        let mut headers: Vec<_> = copy
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        assert_eq!(headers, ["content-length: 5", "cookie: a=b", "x-pointsman-mirror: next", "x-three: 3"]);
        assert_eq!((copy.method(), copy.uri()), (&Method::POST, &Uri::from_static("/a?b=c")));
        assert!(copy.extensions().get::<PeerAddr>().is_some() && copy.extensions().len() == 1);
    }

    #[test]
    fn a_copy_without_a_body_has_a_length_only_if_the_request_has() {
        let marker = (&HeaderName::from_static("x-m"), HeaderValue::from_static("next"));
        let length = |request: &Request<()>| {
            let copy = Head::of(request).request(marker.clone(), Bytes::new());
            copy.headers().get(CONTENT_LENGTH).cloned()
        };
        assert_eq!(length(&Request::new(())), None);
        let empty = Request::post("/").header(CONTENT_LENGTH, "0").body(()).unwrap();
        assert_eq!(length(&empty), Some(HeaderValue::from(0)));
    }
}
