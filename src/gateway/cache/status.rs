//! `Cache-Status`: what the cache did with a request (RFC 9211).

use std::fmt::{self, Write};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::stored::append;

/// The name of the cache, as it stands in the header.
#[derive(Debug, Clone)]
pub(super) struct StatusName(String);

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Hit {
        ttl: i64,
    },
    /// It went to the backend,
    Forwarded(Why, Option<Brought>),
    /// or another one for the same did.
    Collapsed,
    /// Nothing is stored, and the client wants nothing else.
    NotCached,
}

/// Why it was forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Stale,
    /// The client wants it from there.
    Request,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Brought {
    pub(super) status: Option<u16>,
    pub(super) stored: bool,
}

// === impl StatusName ===

impl StatusName {
    pub(super) fn new(name: &str) -> Self {
        let first = |c: char| c.is_ascii_alphabetic() || c == '*';
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c);
        if name.starts_with(first) && name.chars().all(token) {
            return StatusName(name.to_owned());
        }
        let mut quoted = String::from('"');
        for c in name.chars().filter(|c| matches!(c, ' '..='~')) {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted.push('"');
        StatusName(quoted)
    }

    /// Behind those of the caches that are nearer to the backend.
    pub(super) fn append(&self, headers: &mut HeaderMap, fate: Fate) {
        let mut text = self.0.clone();
        // A string takes everything.
        let _ = write!(text, "; {fate}");
        if let Ok(value) = HeaderValue::try_from(text) {
            append(headers, CACHE_STATUS, value);
        }
    }
}

// === impl Fate ===

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Hit { ttl } => write!(f, "hit; ttl={ttl}"),
            Fate::Collapsed => f.write_str("fwd=miss; collapsed"),
            Fate::NotCached => f.write_str("fwd=miss; detail=only-if-cached"),
            Fate::Forwarded(why, brought) => {
                write!(f, "fwd={why}")?;
                if let Some(status) = brought.and_then(|brought| brought.status) {
                    write!(f, "; fwd-status={status}")?;
                }
                if brought.is_some_and(|brought| brought.stored) { f.write_str("; stored") } else { Ok(()) }
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Bypass => "bypass",
            Why::Method => "method",
            Why::UriMiss => "uri-miss",
            Why::VaryMiss => "vary-miss",
            Why::Stale => "stale",
            Why::Request => "request",
        })
    }
}
