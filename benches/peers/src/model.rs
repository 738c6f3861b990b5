//! What every engine is given: rules as plain data, and what they mean.
//!
//! [`Reference`] is slow and obvious. Every answer of every engine is held against it before anything is timed.

use std::collections::HashMap;
use std::fmt;

use http::Request;
use ipnet::IpNet;
use pointsman::schema::PeerAddr;
use regex::bytes::Regex;
use semver::Version;

/// One rule: it matches when all its conditions do. Of several that match, the first decides.
pub(crate) struct Rule {
    pub(crate) all: Vec<Condition>,
}

/// One question about a request. What is asked of a header, a cookie or a parameter that occurs more than once is true
/// when some value makes it true, and false of one that is absent.
pub(crate) enum Condition {
    Method(&'static str),
    /// The host of the target, else of the Host header; lower case, without a port.
    HostIs(String),
    /// The path as received.
    PathStartsWith(String),
    /// By whole segments: `/a` and `/a/b`, and not `/ab`.
    PathUnder(String),
    PathMatches(String),
    HeaderIs(&'static str, String),
    HeaderContains(&'static str, String),
    /// Semver precedence; a header that is no version is not at least any.
    VersionAtLeast(&'static str, Version),
    CookieIs(&'static str, String),
    CookieIn(&'static str, Vec<String>),
    /// Values are decoded.
    QueryIs(&'static str, String),
    /// The peer's address.
    IpIn(Vec<IpNet>),
}

/// What a condition asks for. Peers are given these fields, and only those that some rule mentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Method,
    Host,
    Path,
    Header(&'static str),
    Version(&'static str),
    Cookie(&'static str),
    Query(&'static str),
    Ip,
}

/// The meaning of rules, as plainly as it can be written.
pub(crate) struct Reference<'r> {
    rules: &'r [Rule],
    regexes: HashMap<&'r str, Regex>,
}

/// A request, taken apart.
struct Facts<'r> {
    request: &'r Request<()>,
    host: Option<String>,
    cookies: Vec<(Vec<u8>, Vec<u8>)>,
    query: Vec<(Vec<u8>, Vec<u8>)>,
}

// === impl Rule ===

impl Rule {
    pub(crate) fn new(all: impl Into<Vec<Condition>>) -> Self {
        Rule { all: all.into() }
    }
}

/// The fields that rules mention, each once.
pub(crate) fn fields(rules: &[Rule]) -> Vec<Field> {
    let mut fields = Vec::new();
    for condition in rules.iter().flat_map(|rule| &rule.all) {
        let field = condition.field();
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    fields
}

// === impl Condition ===

impl Condition {
    pub(crate) fn field(&self) -> Field {
        match self {
            Condition::Method(_) => Field::Method,
            Condition::HostIs(_) => Field::Host,
            Condition::PathStartsWith(_) | Condition::PathUnder(_) | Condition::PathMatches(_) => Field::Path,
            Condition::HeaderIs(name, _) | Condition::HeaderContains(name, _) => Field::Header(name),
            Condition::VersionAtLeast(name, _) => Field::Version(name),
            Condition::CookieIs(name, _) | Condition::CookieIn(name, _) => Field::Cookie(name),
            Condition::QueryIs(name, _) => Field::Query(name),
            Condition::IpIn(_) => Field::Ip,
        }
    }
}

// === impl Field ===

impl fmt::Display for Field {
    /// A name that is an identifier in every language.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Method => f.write_str("method"),
            Field::Host => f.write_str("host"),
            Field::Path => f.write_str("path"),
            Field::Header(name) => write!(f, "header_{}", name.replace('-', "_")),
            Field::Version(name) => write!(f, "version_{}", name.replace('-', "_")),
            Field::Cookie(name) => write!(f, "cookie_{name}"),
            Field::Query(name) => write!(f, "query_{name}"),
            Field::Ip => f.write_str("ip"),
        }
    }
}

// === impl Reference ===

impl<'r> Reference<'r> {
    pub(crate) fn new(rules: &'r [Rule]) -> Self {
        let patterns = rules.iter().flat_map(|rule| &rule.all).filter_map(|condition| match condition {
            Condition::PathMatches(pattern) => Some(pattern.as_str()),
            _ => None,
        });
        let compile = |pattern| (pattern, Regex::new(pattern).expect("patterns are sound"));
        Reference { rules, regexes: patterns.map(compile).collect() }
    }

    /// The first rule that matches.
    pub(crate) fn answer(&self, request: &Request<()>) -> Option<usize> {
        let facts = Facts::of(request);
        self.rules.iter().position(|rule| rule.all.iter().all(|condition| self.holds(condition, &facts)))
    }

    fn holds(&self, condition: &Condition, facts: &Facts<'_>) -> bool {
        let Facts { request, host, cookies, query } = facts;
        let path = request.uri().path();
        let header = |name: &str, test: &dyn Fn(&[u8]) -> bool| {
            request.headers().get_all(name).iter().any(|value| test(value.as_bytes()))
        };
        match condition {
            Condition::Method(method) => request.method() == *method,
            Condition::HostIs(want) => host.as_ref() == Some(want),
            Condition::PathStartsWith(prefix) => path.starts_with(prefix),
            Condition::PathUnder(base) => path == base || path.starts_with(&format!("{base}/")),
            Condition::PathMatches(pattern) => self.regexes[pattern.as_str()].is_match(path.as_bytes()),
            Condition::HeaderIs(name, want) => header(name, &|value| value == want.as_bytes()),
            Condition::HeaderContains(name, part) => {
                header(name, &|value| value.windows(part.len()).any(|window| window == part.as_bytes()))
            }
            Condition::VersionAtLeast(name, least) => header(name, &|value| {
                let version = std::str::from_utf8(value).ok().and_then(|text| Version::parse(text).ok());
                version.is_some_and(|version| version.cmp_precedence(least).is_ge())
            }),
            Condition::CookieIs(name, want) => {
                cookies.iter().any(|(key, value)| key == name.as_bytes() && value == want.as_bytes())
            }
            Condition::CookieIn(name, list) => cookies
                .iter()
                .filter(|(key, _)| key == name.as_bytes())
                .any(|(_, value)| list.iter().any(|member| member.as_bytes() == value)),
            Condition::QueryIs(name, want) => {
                query.iter().any(|(key, value)| key == name.as_bytes() && value == want.as_bytes())
            }
            Condition::IpIn(networks) => {
                let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip());
                peer.is_some_and(|ip| networks.iter().any(|network| network.contains(&ip)))
            }
        }
    }
}

// === impl Facts ===

impl<'r> Facts<'r> {
    fn of(request: &'r Request<()>) -> Self {
        let pairs = |text: &[u8], separator: u8| -> Vec<(Vec<u8>, Vec<u8>)> {
            let pairs = text.split(|byte| *byte == separator);
            pairs
                .map(|pair| {
                    let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
                    (pair[..at].to_vec(), pair[at..].strip_prefix(b"=").unwrap_or_default().to_vec())
                })
                .collect()
        };
        let lines = request.headers().get_all("cookie").iter();
        let cookies = lines
            .flat_map(|line| pairs(line.as_bytes(), b';'))
            .map(|(name, value)| (name.trim_ascii().to_vec(), value.trim_ascii().to_vec()))
            .collect();
        let query = pairs(request.uri().query().unwrap_or_default().as_bytes(), b'&');
        let query = query.iter().map(|(name, value)| (decoded(name), decoded(value))).collect();
        Facts { request, host: host(request), cookies, query }
    }
}

fn host(request: &Request<()>) -> Option<String> {
    let text = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get("host")?.to_str().ok()?,
    };
    let port = text.rfind(':').filter(|at| text[at + 1..].bytes().all(|byte| byte.is_ascii_digit()));
    Some(text[..port.unwrap_or(text.len())].to_ascii_lowercase())
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut plain = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => plain.push(b' '),
            (byte, ..) => plain.push(byte),
        }
        at += 1;
    }
    plain
}
