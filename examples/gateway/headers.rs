//! What one hop says to the next and nobody else, and what the gateway adds (RFC 9110 7.6, RFC 7239's predecessors).

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const HTTP: HeaderValue = HeaderValue::from_static("http");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const ONLY_TE: HeaderValue = HeaderValue::from_static("te");
const ONLY_UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const UPGRADE_AND_TE: HeaderValue = HeaderValue::from_static("upgrade, te");

/// The fields that one hop minds, of those that a head has: found in one pass, as most heads have hardly any, and to look
/// a name up in the map costs as much as a dozen that are passed by.
#[derive(Clone, Copy)]
pub(crate) struct Seen(u32);

/// What is between two hops whether `Connection` names it or not.
static HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HTTP2_SETTINGS,
];

/// Names that `Connection` cannot take away: without them the message would be another one.
static KEPT: [HeaderName; 2] = [HOST, CONTENT_LENGTH];

/// The client's address, as it stands in a field. Made once a connection, and left with each request.
#[derive(Clone)]
pub(crate) struct ClientName(HeaderValue);

impl ClientName {
    pub(crate) fn new(client: IpAddr) -> Self {
        let name = HeaderValue::try_from(client.to_canonical().to_string());
        ClientName(name.unwrap_or(HeaderValue::from_static("unknown")))
    }
}

/// Takes away what is only between the client and us. `Upgrade` stays where the client asks for one.
pub(crate) fn tidy_request(headers: &mut HeaderMap, seen: Seen, may_upgrade: bool) {
    if !seen.any() && !seen.has(Seen::EXPECT) {
        return;
    }
    let upgrades = may_upgrade && wants_upgrade(headers);
    let trailers =
        headers.get_all(TE).iter().any(|te| tokens(te).any(|te| te.eq_ignore_ascii_case("trailers")));
    remove_hop_by_hop(headers, seen, upgrades);
    if trailers {
        headers.insert(TE, TRAILERS);
    }
    // We wait for the client's body ourselves; the upstream gets it as it comes.
    if headers.get(EXPECT).is_some_and(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        headers.remove(EXPECT);
    }
}

/// Takes away what is only between the upstream and us. `Upgrade` stays where protocols are switched.
pub(crate) fn tidy_response(headers: &mut HeaderMap, seen: Seen, switching: bool) {
    if !seen.any() {
        return;
    }
    // Of two lengths, the chunks are the true one.
    if seen.has(Seen::TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers, seen, switching);
    if switching {
        headers.insert(CONNECTION, ONLY_UPGRADE);
    }
}

/// Says what is meant between us and the upstream, and who the client is.
pub(crate) fn announce(headers: &mut HeaderMap, seen: Seen, client: Option<&ClientName>) {
    let connection = match (seen.has(Seen::UPGRADE), seen.has(Seen::TE)) {
        (false, false) => None,
        (false, true) => Some(ONLY_TE),
        (true, false) => Some(ONLY_UPGRADE),
        (true, true) => Some(UPGRADE_AND_TE),
    };
    if let Some(connection) = connection {
        headers.insert(CONNECTION, connection);
    }
    if let Some(ClientName(client)) = client {
        if seen.has(Seen::FORWARDED_FOR) {
            forwarded_for(headers, client);
        } else {
            headers.insert(FORWARDED_FOR, client.clone());
        }
    }
    headers.insert(FORWARDED_PROTO, HTTP);
    match headers.get(HOST).cloned() {
        Some(host) => headers.insert(FORWARDED_HOST, host),
        None => headers.remove(FORWARDED_HOST),
    };
}

/// Appends the client to those who were named before it, in one field.
fn forwarded_for(headers: &mut HeaderMap, client: &HeaderValue) {
    let mut chain = Vec::new();
    for before in headers.get_all(FORWARDED_FOR) {
        chain.extend_from_slice(before.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(client.as_bytes());
    let value = HeaderValue::from_maybe_shared(Bytes::from(chain)).unwrap_or_else(|_| client.clone());
    headers.insert(FORWARDED_FOR, value);
}

/// Whether a request has exactly the codings that hyper takes off: none, or chunked once.
pub(crate) fn only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Makes the host of the request the one field that upstreams look at. False where it cannot be said which it is.
pub(crate) fn one_host(headers: &mut HeaderMap, target: Option<&Authority>, required: bool) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() || first.is_some_and(|host| !host.as_bytes().iter().all(|byte| may_name_host(*byte)))
    {
        return false;
    }
    let Some(target) = target else { return first.is_some() || !required };
    // What the target says counts, whatever the field says (RFC 9112 3.2.2).
    let Ok(host) = HeaderValue::from_str(target.as_str()) else { return false };
    if !host.as_bytes().iter().all(|byte| may_name_host(*byte)) {
        return false;
    }
    headers.insert(HOST, host);
    true
}

/// What stands in `host [":" port]` (RFC 3986 3.2.2); `@` does not, as no user is named here.
fn may_name_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// Whether the client asks for a protocol that we let through. HTTP/2 is none: an upstream that switched to it would
/// get requests that nobody looked at.
fn wants_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(CONNECTION);
    let asked = connection.iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let mut protocols = headers.get_all(UPGRADE).iter().flat_map(tokens).peekable();
    asked
        && protocols.peek().is_some()
        && protocols.all(|protocol| !protocol.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("h2")))
        && !headers.get_all(UPGRADE).iter().any(|value| value.to_str().is_err())
}

/// Removes what is there of [`HOP`], and what `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap, seen: Seen, keep_upgrade: bool) {
    if seen.has(Seen::CONNECTION) {
        remove_named(headers);
    }
    for (at, name) in HOP.iter().enumerate() {
        if seen.has(1 << at) && !(keep_upgrade && *name == UPGRADE) {
            headers.remove(name);
        }
    }
}

/// Removes what `Connection` names.
fn remove_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        // What mostly stands there, and alone.
        .filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"keep-alive"))
        .flat_map(tokens)
        // The usual words, which name no field that is left.
        .filter(|name| !["keep-alive", "close", "upgrade", "te"].contains(name))
        .filter_map(|name| HeaderName::try_from(name).ok())
        .filter(|name| !KEPT.contains(name) && *name != UPGRADE)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

// === impl Seen ===

impl Seen {
    // The bits of `HOP` are the places there.
    const CONNECTION: u32 = 1;
    pub(crate) const TE: u32 = 1 << 5;
    pub(crate) const TRANSFER_ENCODING: u32 = 1 << 6;
    pub(crate) const UPGRADE: u32 = 1 << 7;
    const HOP: u32 = (1 << 9) - 1;
    const EXPECT: u32 = 1 << 9;
    const FORWARDED_FOR: u32 = 1 << 10;

    /// Looks at all names.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Seen(headers.keys().fold(0, |seen, name| seen | Seen::bit(name)))
    }

    // Texts are told apart by their lengths first, names as they are kept are not.
    fn bit(name: &HeaderName) -> u32 {
        match name.as_str() {
            "connection" => Seen::CONNECTION,
            "keep-alive" => 1 << 1,
            "proxy-connection" => 1 << 2,
            "proxy-authenticate" => 1 << 3,
            "proxy-authorization" => 1 << 4,
            "te" => Seen::TE,
            "transfer-encoding" => Seen::TRANSFER_ENCODING,
            "upgrade" => Seen::UPGRADE,
            "http2-settings" => 1 << 8,
            "expect" => Seen::EXPECT,
            "x-forwarded-for" => Seen::FORWARDED_FOR,
            _ => 0,
        }
    }

    /// Whether there is one of these.
    pub(crate) fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Whether there is something that is only between two hops.
    fn any(self) -> bool {
        self.has(Seen::HOP)
    }
}

/// The members of a list in a field; a value that is no text has none.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_the_places() {
        for (at, name) in HOP.iter().enumerate() {
            assert_eq!(Seen::bit(name), 1 << at, "{name}");
        }
        assert_eq!(Seen::HOP, (1 << HOP.len()) - 1);
    }
}
