//! What must not be kept: taken out before anything is.

use std::collections::BTreeSet;

use http::header::{
    AUTHORIZATION, CONTENT_LOCATION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    PROXY_AUTHORIZATION, REFERER, SET_COOKIE,
};
use http::{HeaderMap as Headers, Uri};

use crate::schema::http::query_pairs;

/// What stands in the place of a value.
pub(super) const REDACTED: &str = "[redacted]";

/// Whose values are taken out. Names stay.
#[derive(Debug, Clone)]
pub(super) struct Redact {
    /// All values of these.
    pub(super) headers: Vec<HeaderName>,
    pub(super) all_cookies: bool,
    pub(super) all_set_cookies: bool,
    /// Whose values stay.
    pub(super) cookies: BTreeSet<Vec<u8>>,
    /// Of the target, of targets in header fields, and of forms.
    pub(super) query: BTreeSet<Vec<u8>>,
}

// === impl Redact ===

impl Default for Redact {
    fn default() -> Self {
        Redact {
            headers: vec![AUTHORIZATION, PROXY_AUTHORIZATION],
            all_cookies: true,
            all_set_cookies: true,
            cookies: BTreeSet::new(),
            query: BTreeSet::new(),
        }
    }
}

impl Redact {
    pub(super) fn add_header(&mut self, name: HeaderName) {
        if name == COOKIE {
            self.all_cookies = true;
        } else if name == SET_COOKIE {
            self.all_set_cookies = true;
        } else {
            self.headers.push(name);
        }
    }

    pub(super) fn allow_header(&mut self, name: &HeaderName) {
        if name == COOKIE {
            self.all_cookies = false;
        } else if name == SET_COOKIE {
            self.all_set_cookies = false;
        } else {
            self.headers.retain(|known| known != name);
        }
    }

    /// The header fields, each line for itself, and the names of what was taken out.
    pub(super) fn headers(&self, headers: &Headers, out: &mut BTreeSet<String>) -> Vec<(String, String)> {
        lines(headers)
            .map(|(name, value)| {
                let text = self.header(name, value);
                if text.contains(REDACTED) {
                    out.insert(name.to_string());
                }
                (name.to_string(), text)
            })
            .collect()
    }

    fn header(&self, name: &HeaderName, value: &HeaderValue) -> String {
        let bytes = value.as_bytes();
        if value.is_sensitive() || self.headers.contains(name) {
            REDACTED.to_owned()
        } else if name == COOKIE && self.all_cookies {
            let pairs: Vec<_> = bytes.split(|b| *b == b';').map(|pair| self.pair(pair)).collect();
            pairs.join("; ")
        } else if name == SET_COOKIE && self.all_set_cookies {
            let mut parts = bytes.splitn(2, |b| *b == b';');
            let pair = self.pair(parts.next().unwrap_or_default());
            // The attributes are no secret.
            match parts.next() {
                Some(attributes) => format!("{pair};{}", String::from_utf8_lossy(attributes)),
                None => pair,
            }
        } else if name == HOST {
            without_user(&String::from_utf8_lossy(bytes)).to_owned()
        } else if [REFERER, LOCATION, CONTENT_LOCATION].contains(name) {
            self.reference(&String::from_utf8_lossy(bytes))
        } else {
            String::from_utf8_lossy(bytes).into_owned()
        }
    }

    /// A cookie. One without a name is nothing but a value.
    fn pair(&self, pair: &[u8]) -> String {
        let pair = pair.trim_ascii();
        let (name, value) = match pair.iter().position(|b| *b == b'=') {
            Some(at) => {
                (pair.get(..at).unwrap_or_default().trim_ascii(), pair.get(at + 1..).unwrap_or_default())
            }
            None => (&[] as &[u8], pair),
        };
        let named = pair.contains(&b'=');
        match (named, pair.is_empty() || (named && self.cookies.contains(name))) {
            (true, true) => {
                format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
            }
            (true, false) => format!("{}={REDACTED}", String::from_utf8_lossy(name)),
            (false, true) => String::new(),
            (false, false) => REDACTED.to_owned(),
        }
    }

    /// The target of a request, without user and password.
    pub(super) fn uri(&self, uri: &Uri) -> String {
        let Some(authority) = uri.authority() else { return self.target(&uri.to_string()) };
        let authority = without_user(authority.as_str());
        match uri.scheme_str() {
            // The form of `CONNECT`.
            None => authority.to_owned(),
            Some(scheme) => {
                let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
                format!("{scheme}://{authority}{}", self.target(rest))
            }
        }
    }

    /// A URI reference of a header field, without user and password.
    fn reference(&self, text: &str) -> String {
        let (before, after) = text.split_once("//").unwrap_or(("", text));
        let end = after.find(['/', '?', '#', '\\']).unwrap_or(after.len());
        let (authority, rest) = after.split_at_checked(end).unwrap_or((after, ""));
        // Only a scheme stands before an authority.
        let is_authority = text.contains("//") && !before.contains(['/', '?', '#']);
        match authority.rsplit_once('@').filter(|_| is_authority) {
            Some((_, host)) => self.target(&format!("{before}//{host}{rest}")),
            None => self.target(text),
        }
    }

    /// A URI with its parameters looked at, those of the query and those that stand in the fragment as in a query.
    fn target(&self, text: &str) -> String {
        if self.query.is_empty() {
            return text.to_owned();
        }
        let (rest, fragment) = match text.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (text, None),
        };
        let mut shown = match rest.split_once('?') {
            Some((path, query)) => format!("{path}?{}", self.form(query)),
            None => rest.to_owned(),
        };
        if let Some(fragment) = fragment {
            shown.push('#');
            shown.push_str(&self.form(fragment));
        }
        shown
    }

    /// Parameters as forms write them.
    pub(super) fn form(&self, text: &str) -> String {
        let pair = |pair: &str| {
            let named =
                query_pairs(pair.as_bytes()).next().is_some_and(|(name, _)| self.query.contains(&*name));
            match pair.split_once('=').filter(|_| named) {
                Some((name, _)) => format!("{name}={REDACTED}"),
                None => pair.to_owned(),
            }
        };
        text.split('&').map(pair).collect::<Vec<_>>().join("&")
    }
}

/// The lines of header fields, in the order that a map has them in.
fn lines(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    headers.iter()
}

/// An authority without what stands before `@`.
pub(super) fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(redact: &Redact, name: &str, value: &str) -> String {
        let headers: HeaderMap =
            [(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())]
                .into_iter()
                .collect();
        redact.headers(&headers, &mut BTreeSet::new()).remove(0).1
    }

    #[test]
    fn names_stay_and_values_go() {
        let redact = Redact::default();
        for (name, value, want) in [
            ("authorization", "Bearer abc", "[redacted]"),
            ("proxy-authorization", "Basic abc", "[redacted]"),
            (
                "cookie",
                "uid=1; session=a=b;x = 3 ; =4; bare;",
                "uid=[redacted]; session=[redacted]; x=[redacted]; =[redacted]; [redacted]; ",
            ),
            ("set-cookie", "session=abc; Path=/; HttpOnly", "session=[redacted]; Path=/; HttpOnly"),
            ("set-cookie", "abc", "[redacted]"),
            ("x-api-key", "abc", "abc"),
            ("referer", "https://a.test/?token=1", "https://a.test/?token=1"),
            ("referer", "https://user:secret@a.test/b?c=d@e", "https://a.test/b?c=d@e"),
            ("location", "//user:secret@a.test", "//a.test"),
            ("location", "/a//user@b", "/a//user@b"),
            ("content-location", "http://a@b:c@a.test#x", "http://a.test#x"),
            ("host", "user:secret@a.test", "a.test"),
        ] {
            assert_eq!(shown(&redact, name, value), want);
        }
    }

    #[test]
    fn what_is_named_is_redacted_and_what_is_allowed_is_not() {
        let mut redact = Redact::default();
        redact.add_header(HeaderName::from_static("x-api-key"));
        redact.allow_header(&AUTHORIZATION);
        redact.allow_header(&SET_COOKIE);
        redact.cookies.insert(b"uid".to_vec());
        redact.query.insert(b"to ken".to_vec());
        for (name, value, want) in [
            ("authorization", "Bearer abc", "Bearer abc"),
            ("x-api-key", "abc", "[redacted]"),
            ("cookie", "uid=1; session=2; UID=3", "uid=1; session=[redacted]; UID=[redacted]"),
            ("set-cookie", "session=abc; Path=/", "session=abc; Path=/"),
            (
                "referer",
                "https://a.test/?a=1&to+ken=2&to%20ken&b#c",
                "https://a.test/?a=1&to+ken=[redacted]&to%20ken&b#c",
            ),
            ("location", "/x?to%20ken=%41", "/x?to%20ken=[redacted]"),
            ("location", "https://app.test/#to+ken=1&b=2", "https://app.test/#to+ken=[redacted]&b=2"),
            ("location", "/x?a=1#to+ken=1?c", "/x?a=1#to+ken=[redacted]"),
        ] {
            assert_eq!(shown(&redact, name, value), want);
        }
        let uri = |text: &'static str| redact.uri(&Uri::from_static(text));
        assert_eq!(uri("/a?to+ken=1&&b=2"), "/a?to+ken=[redacted]&&b=2");
        assert_eq!(uri("http://user:secret@a.test:80/b?to+ken=1"), "http://a.test:80/b?to+ken=[redacted]");
        assert_eq!(uri("a.test:443"), "a.test:443");
        assert_eq!(uri("*"), "*");
    }

    #[test]
    fn a_value_that_is_marked_as_sensitive_is_redacted() {
        let mut value = HeaderValue::from_static("secret");
        value.set_sensitive(true);
        assert_eq!(Redact::default().header(&HeaderName::from_static("x-any"), &value), REDACTED);
    }
}
