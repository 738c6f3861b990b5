//! A response that is kept: its header fields, what selects it, and what it answers.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE,
    CONTENT_TYPE, DATE, ETAG, EXPIRES, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
    PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::policy::{Terms, date};

/// A stored response. Nothing in it shares memory with what it came in.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) terms: Terms,
    /// The fields that `Vary` names, and their values in the request.
    vary: Vary,
}

pub(super) type Vary = Box<[(HeaderName, Option<Box<[u8]>>)]>;

/// Fields that are about a connection and not about the response (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What a 304 does not change: it is about the body, which stays.
const OF_THE_BODY: [HeaderName; 4] = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_TYPE, CONTENT_RANGE];

/// What a 304 of ours has of the stored response (RFC 9110, 15.4.5).
const OF_NOT_MODIFIED: [HeaderName; 6] = [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY];

// === impl Stored ===

impl Stored {
    pub(super) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
        terms: Terms,
        request: &HeaderMap,
        received: SystemTime,
    ) -> Self {
        let mut kept = own(headers);
        if !kept.contains_key(DATE) {
            insert(&mut kept, DATE, &httpdate::fmt_http_date(received));
        }
        if status != StatusCode::NO_CONTENT {
            insert(&mut kept, CONTENT_LENGTH, &body.len().to_string());
        }
        let vary = selecting(headers, request);
        Stored { status, headers: kept, body, terms, vary }
    }

    /// The same after the backend has said that it still holds (RFC 9111, 4.3.4).
    pub(super) fn renewed(&self, headers: HeaderMap, terms: Terms, request: &HeaderMap) -> Self {
        let vary = selecting(&headers, request);
        Stored { status: self.status, headers, body: self.body.clone(), terms, vary }
    }

    /// Its header fields, brought up to date by those of a 304.
    pub(super) fn updated_headers(&self, by: &HeaderMap, received: SystemTime) -> HeaderMap {
        let mut headers = self.headers.clone();
        let new = own(by);
        for name in new.keys().filter(|name| !OF_THE_BODY.contains(name)) {
            headers.remove(name);
            for value in new.get_all(name) {
                append(&mut headers, name.clone(), value.clone());
            }
        }
        if !new.contains_key(DATE) {
            insert(&mut headers, DATE, &httpdate::fmt_http_date(received));
        }
        headers
    }

    /// Whether a 304 with these header fields can be about it.
    pub(super) fn is_meant_by(&self, not_modified: &HeaderMap) -> bool {
        match (self.headers.get(ETAG), not_modified.get(ETAG)) {
            (Some(ours), Some(theirs)) => opaque(ours.as_bytes()) == opaque(theirs.as_bytes()),
            _ => true,
        }
    }

    /// Makes a request ask whether it still holds. `false` if it has nothing to ask by.
    pub(super) fn ask(&self, request: &mut HeaderMap) -> bool {
        let mut asks = false;
        for (field, validator) in [(IF_NONE_MATCH, ETAG), (IF_MODIFIED_SINCE, LAST_MODIFIED)] {
            if let Some(value) = self.headers.get(validator) {
                asks |= request.try_insert(field, value.clone()).is_ok();
            }
        }
        asks
    }

    pub(super) fn has_validator(&self) -> bool {
        self.headers.contains_key(ETAG) || self.headers.contains_key(LAST_MODIFIED)
    }

    pub(super) fn is_selected_by(&self, request: &HeaderMap) -> bool {
        self.vary.iter().all(|(name, value)| combined(request, name).as_deref() == value.as_deref())
    }

    pub(super) fn same_selection(&self, other: &Stored) -> bool {
        self.vary == other.vary
    }

    /// The names that select among the responses of its target.
    pub(super) fn selecting_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.vary.iter().map(|(name, _)| name)
    }

    /// How much memory it takes.
    pub(super) fn size(&self) -> usize {
        // A field takes its two texts and its place in the map.
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 112).sum();
        let vary: usize =
            self.vary.iter().map(|(_, value)| value.as_ref().map_or(0, |value| value.len()) + 64).sum();
        self.body.len() + headers + vary + size_of::<Self>()
    }

    /// The response to a request: whole, without its body, or that the client has it already.
    pub(super) fn answer(&self, method: &Method, request: &HeaderMap, now: SystemTime) -> Response<Bytes> {
        let unchanged = is_unchanged(self.status, &self.headers, request);
        let mut response = Response::new(Bytes::new());
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.headers_mut() = not_modified(&self.headers);
        } else {
            *response.status_mut() = self.status;
            *response.headers_mut() = self.headers.clone();
            if *method != Method::HEAD {
                *response.body_mut() = self.body.clone();
            }
        }
        insert(response.headers_mut(), AGE, &self.terms.age(now).as_secs().to_string());
        response
    }
}

/// Whether the client has this response already, by what it says (RFC 9110, 13.2.2).
pub(super) fn is_unchanged(status: StatusCode, headers: &HeaderMap, request: &HeaderMap) -> bool {
    if status != StatusCode::OK {
        return false;
    }
    if request.contains_key(IF_NONE_MATCH) {
        let ours = headers.get(ETAG).map(|tag| opaque(tag.as_bytes()));
        return request.get_all(IF_NONE_MATCH).iter().any(|value| {
            value.as_bytes().trim_ascii() == b"*"
                || ours.is_some_and(|ours| tags(value.as_bytes()).any(|tag| opaque(tag) == ours))
        });
    }
    let since = request.get(IF_MODIFIED_SINCE).and_then(date);
    let changed = headers.get(LAST_MODIFIED).or_else(|| headers.get(DATE)).and_then(date);
    since.zip(changed).is_some_and(|(since, changed)| changed <= since)
}

/// What a 304 has of the header fields of a response.
pub(super) fn not_modified(headers: &HeaderMap) -> HeaderMap {
    let mut some = HeaderMap::new();
    let modified = (!headers.contains_key(ETAG)).then_some(LAST_MODIFIED);
    for name in OF_NOT_MODIFIED.into_iter().chain(modified) {
        for value in headers.get_all(&name) {
            append(&mut some, name.clone(), value.clone());
        }
    }
    some
}

/// The fields that `Vary` names, with what the request has of them.
fn selecting(response: &HeaderMap, request: &HeaderMap) -> Vary {
    let values = response.get_all(VARY).iter().filter_map(|value| value.to_str().ok());
    let names =
        values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse::<HeaderName>().ok());
    let mut fields: Vec<_> = names.map(|name| (combined(request, &name), name)).collect();
    fields.sort_by(|(_, one), (_, other)| one.as_str().cmp(other.as_str()));
    fields.dedup();
    fields.into_iter().map(|(value, name)| (name, value)).collect()
}

/// All values of a field as one (RFC 9110, 5.3).
pub(super) fn combined(headers: &HeaderMap, name: &HeaderName) -> Option<Box<[u8]>> {
    let mut values = headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
    let mut all = values.next()?.to_vec();
    for value in values {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value);
    }
    Some(all.into())
}

/// A copy that shares no memory with the buffer that the header was read into, without what is about the connection.
fn own(headers: &HeaderMap) -> HeaderMap {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<_> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut copy = HeaderMap::with_capacity(headers.keys_len() + 2);
    for (name, value) in headers {
        let of_the_connection =
            HOP_BY_HOP.contains(name) || named.iter().any(|named| named.eq_ignore_ascii_case(name.as_str()));
        if of_the_connection || *name == AGE {
            continue;
        }
        // Both were valid, and are.
        if let (Ok(name), Ok(mut copied)) =
            (HeaderName::from_bytes(name.as_str().as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            copied.set_sensitive(value.is_sensitive());
            append(&mut copy, name, copied);
        }
    }
    copy
}

pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        // Fails at 32,768 names.
        let _ = headers.try_insert(name, value);
    }
}

pub(super) fn append(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    let _ = headers.try_append(name, value);
}

// === entity-tags ===

/// A tag without its mark of weakness: `If-None-Match` compares weakly (RFC 9110, 8.8.3.2).
fn opaque(tag: &[u8]) -> &[u8] {
    let tag = tag.trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The tags of a list. A comma may stand inside the quotes of one.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    list.split(move |byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    })
}
