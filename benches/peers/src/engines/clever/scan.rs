//! Fields as bytes, found where they are.

use http::{Request, header};
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
        Some((start, rest)) => is_same(start, host) && (rest.is_empty() || is_port(rest)),
        None => false,
    }
}

/// Mostly without a difference in case, and then quicker.
#[inline]
pub(super) fn is_same(sent: &[u8], host: &[u8]) -> bool {
    sent == host || sent.eq_ignore_ascii_case(host)
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

    /// Gives the values of the cookie on a line, until one will do.
    #[inline]
    pub(super) fn any_cookie(&self, line: &[u8], mut will_do: impl FnMut(&[u8]) -> bool) -> bool {
        self.any_place(line, |before, after| match before.trim_ascii_end().last() {
            None | Some(b';') => match after.trim_ascii_start().strip_prefix(b"=") {
                Some(rest) => will_do(rest[..memchr(b';', rest).unwrap_or(rest.len())].trim_ascii()),
                None => false,
            },
            Some(_) => false,
        })
    }

    /// Gives the values of the parameter, not decoded, until one will do.
    #[inline]
    pub(super) fn any_parameter(&self, query: &[u8], mut will_do: impl FnMut(&[u8]) -> bool) -> bool {
        let plainly = self.any_place(query, |before, after| match (before.last(), after.split_first()) {
            (None | Some(b'&'), None | Some((b'&', _))) => will_do(b""),
            (None | Some(b'&'), Some((b'=', rest))) => {
                will_do(&rest[..memchr(b'&', rest).unwrap_or(rest.len())])
            }
            _ => false,
        });
        // The name may be spelled otherwise.
        plainly || (memchr(b'%', query).is_some() && any_spelling(query, self.finder.needle(), will_do))
    }

    /// Gives what stands before and after the name, wherever it stands.
    #[inline]
    fn any_place(&self, text: &[u8], mut test: impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        let mut from = 0;
        while let Some(found) = self.finder.find(&text[from..]) {
            let at = from + found;
            from = at + self.finder.needle().len();
            if test(&text[..at], &text[from..]) {
                return true;
            }
        }
        false
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
