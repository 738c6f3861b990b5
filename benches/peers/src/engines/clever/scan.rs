//! Fields as bytes, found where they are.

use http::{HeaderMap, Request, header};
use memchr::{memchr, memmem};

/// A name that is looked for in cookies or parameters.
pub(super) struct Name {
    finder: memmem::Finder<'static>,
}

// === hosts ===

/// The host as sent: in any case, of a header with its port.
pub(super) fn host(request: &Request<()>) -> Option<&[u8]> {
    match request.uri().host() {
        Some(host) => Some(host.as_bytes()),
        None => request.headers().get(header::HOST).map(|value| value.as_bytes()),
    }
}

/// Whether what was sent is this host, which is in lower case.
pub(super) fn is_host(sent: &[u8], host: &[u8]) -> bool {
    match sent.split_at_checked(host.len()) {
        Some((start, rest)) => start.eq_ignore_ascii_case(host) && (rest.is_empty() || is_port(rest)),
        None => false,
    }
}

fn is_port(rest: &[u8]) -> bool {
    rest.strip_prefix(b":").is_some_and(|port| port.iter().all(u8::is_ascii_digit))
}

/// What was sent, without a port; nothing if it has none.
pub(super) fn without_port(sent: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memrchr(b':', sent)?;
    is_port(&sent[colon..]).then_some(&sent[..colon])
}

// === impl Name ===

impl Name {
    pub(super) fn new(name: &str) -> Self {
        Name { finder: memmem::Finder::new(name).into_owned() }
    }

    /// All values of the cookie, on all lines.
    pub(super) fn cookies<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a [u8]> {
        let lines = headers.get_all(header::COOKIE).iter().map(|line| line.as_bytes());
        lines.flat_map(|line| self.finder.find_iter(line).filter_map(|at| self.cookie(line, at)))
    }

    /// The value of the cookie whose name may stand here.
    fn cookie<'a>(&self, line: &'a [u8], at: usize) -> Option<&'a [u8]> {
        if !matches!(line[..at].trim_ascii_end().last(), None | Some(b';')) {
            return None;
        }
        let rest = line[at + self.finder.needle().len()..].trim_ascii_start().strip_prefix(b"=")?;
        let value = &rest[..memchr(b';', rest).unwrap_or(rest.len())];
        Some(value.trim_ascii())
    }

    /// Gives all values of the parameter, not decoded, until one will do.
    pub(super) fn any_parameter(&self, query: &[u8], mut will_do: impl FnMut(&[u8]) -> bool) -> bool {
        let name = self.finder.needle();
        let plainly = self.finder.find_iter(query).any(|at| {
            if !matches!(query[..at].last(), None | Some(b'&')) {
                return false;
            }
            let rest = &query[at + name.len()..];
            match rest.first() {
                None | Some(b'&') => will_do(b""),
                Some(b'=') => will_do(&rest[1..memchr(b'&', rest).unwrap_or(rest.len())]),
                Some(_) => false,
            }
        });
        // The name may be spelled otherwise.
        plainly || (memchr(b'%', query).is_some() && any_spelling(query, name, will_do))
    }
}

#[cold]
fn any_spelling(query: &[u8], name: &[u8], mut will_do: impl FnMut(&[u8]) -> bool) -> bool {
    query.split(|byte| *byte == b'&').any(|pair| {
        let equals = memchr(b'=', pair).unwrap_or(pair.len());
        is_decoded(&pair[..equals], name) && will_do(pair.get(equals + 1..).unwrap_or_default())
    })
}

/// Whether what was sent, once decoded, is this.
pub(super) fn is_decoded(mut sent: &[u8], text: &[u8]) -> bool {
    for want in text {
        let (byte, rest) = match sent {
            [b'+', rest @ ..] => (b' ', rest),
            [b'%', high, low, rest @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, rest),
                _ => (b'%', &sent[1..]),
            },
            [byte, rest @ ..] => (*byte, rest),
            [] => return false,
        };
        if byte != *want {
            return false;
        }
        sent = rest;
    }
    sent.is_empty()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
