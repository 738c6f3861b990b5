//! Fields of a request, read as one reads them by hand: `to_str`, `split`, the first value. What `lazy` and the peers are
//! given.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{Request, header};
use pointsman::schema::PeerAddr;
use semver::Version;

use crate::model::Field;

/// The value of a field that is text; a version is not.
pub(super) fn text<'r>(request: &'r Request<()>, field: &Field) -> Option<Cow<'r, str>> {
    match field {
        Field::Method => Some(Cow::Borrowed(request.method().as_str())),
        Field::Host => host(request),
        Field::Path => Some(Cow::Borrowed(request.uri().path())),
        Field::Header(name) => header(request, name).map(Cow::Borrowed),
        Field::Cookie(name) => cookie(request, name).map(Cow::Borrowed),
        Field::Query(name) => query(request, name),
        Field::Version(_) | Field::Ip => None,
    }
}

/// In lower case, without the port.
pub(super) fn host(request: &Request<()>) -> Option<Cow<'_, str>> {
    let text = match request.uri().host() {
        Some(host) => host,
        None => {
            let text = request.headers().get(header::HOST)?.to_str().ok()?;
            match text.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
                _ => text,
            }
        }
    };
    Some(match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    })
}

pub(super) fn header<'r>(request: &'r Request<()>, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

pub(super) fn cookie<'r>(request: &'r Request<()>, name: &str) -> Option<&'r str> {
    let lines = request.headers().get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

pub(super) fn query<'r>(request: &'r Request<()>, name: &str) -> Option<Cow<'r, str>> {
    let pairs = request.uri().query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(key, _)| decoded(key) == name).map(|(_, value)| decoded(value))
}

pub(super) fn ip(request: &Request<()>) -> Option<IpAddr> {
    request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip())
}

pub(super) fn version(request: &Request<()>, name: &str) -> Option<Version> {
    Version::parse(header(request, name)?).ok()
}

/// A number that orders as versions do, but for the words of a pre-release: for languages that have numbers and no
/// versions.
pub(super) fn version_number(version: &Version) -> i64 {
    let numbers = version.major * 1_000_000 + version.minor * 1_000 + version.patch;
    2 * numbers as i64 + i64::from(version.pre.is_empty())
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 2;
            }
            None => plain.push(if bytes[at] == b'+' { b' ' } else { bytes[at] }),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}
