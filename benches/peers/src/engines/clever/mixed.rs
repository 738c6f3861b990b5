//! Rules of many kinds. Each is asked by its most telling condition, together with all rules that ask the same field:
//! every field is read once, or not at all. What is left of a rule is asked when that condition holds.

use std::net::IpAddr;

use aho_corasick::packed;
use http::{HeaderName, Request, header};
use pointsman::schema::PeerAddr;
use semver::Version;

use super::paths::Patterns;
use super::scan::{self, Name};
use super::table::Strings;
use super::{Engine, NONE, Place, Text, rule};
use crate::model::{Condition, Rule};

pub(super) struct Mixed {
    paths: Option<Paths>,
    networks: Networks,
    queries: Vec<(Name, Vec<(Text, Place)>)>,
    headers: Vec<(HeaderName, Header)>,
    cookies: Vec<(Name, Strings)>,
}

/// Patterns of paths: an automaton says whether any matches, and mostly none does.
struct Paths {
    any: Patterns,
    each: Vec<(Patterns, Rest, Place)>,
}

/// What a rule asks beside its path.
struct Rest {
    host: Option<Text>,
    method: Option<&'static str>,
}

#[derive(Default)]
struct Networks {
    /// Bits, mask, rule.
    v4: Vec<(u32, u32, Place)>,
    v6: Vec<(u128, u128, Place)>,
}

/// What is asked of a header.
enum Header {
    Is(Strings),
    Contains(Parts),
    AtLeast(Vec<(Version, Place)>),
}

/// Parts of a text: a search for all says whether any is there.
struct Parts {
    any: packed::Searcher,
    each: Vec<(String, Place)>,
}

/// The model's conditions by field; a rule of several has a path among them.
#[derive(Default)]
struct Groups<'r> {
    paths: Vec<(String, Rest, Place)>,
    networks: Networks,
    queries: Vec<(&'static str, Vec<(&'r str, Place)>)>,
    is: Vec<(&'static str, Vec<(&'r str, Place)>)>,
    contains: Vec<(&'static str, Vec<(&'r str, Place)>)>,
    at_least: Vec<(&'static str, Vec<(&'r Version, Place)>)>,
    cookies: Vec<(&'static str, Vec<(&'r str, Place)>)>,
}

// === impl Mixed ===

impl Mixed {
    pub(super) fn new(rules: &[Rule]) -> Option<Self> {
        let mut groups = Groups::default();
        for (rule, place) in rules.iter().zip(0..) {
            groups.add(rule, place)?;
        }
        let is =
            groups.is.into_iter().map(|(name, values)| (name, Header::Is(Strings::new(values.into_iter()))));
        let contains = groups.contains.into_iter().map(|(name, parts)| {
            let any = packed::Searcher::new(parts.iter().map(|(part, _)| part)).expect("parts are few");
            let each = parts.into_iter().map(|(part, place)| (part.to_owned(), place));
            (name, Header::Contains(Parts { any, each: each.collect() }))
        });
        let at_least = groups.at_least.into_iter().map(|(name, versions)| {
            let versions = versions.into_iter().map(|(version, place)| (version.clone(), place));
            (name, Header::AtLeast(versions.collect()))
        });
        let queries = groups.queries.into_iter().map(|(name, values)| {
            let values = values.into_iter().map(|(value, place)| (value.as_bytes().into(), place));
            (Name::new(name), values.collect())
        });
        let cookies = groups
            .cookies
            .into_iter()
            .map(|(name, values)| (Name::new(name), Strings::new(values.into_iter())));
        Some(Mixed {
            queries: queries.collect(),
            headers: is
                .chain(contains)
                .chain(at_least)
                .map(|(name, header)| (HeaderName::from_static(name), header))
                .collect(),
            cookies: cookies.collect(),
            networks: groups.networks,
            paths: match groups.paths.is_empty() {
                true => None,
                false => Some(Paths::new(groups.paths)?),
            },
        })
    }
}

impl Engine for Mixed {
    type Answer = Place;

    fn decide(&self, request: &Request<()>) -> Place {
        let mut best = NONE;
        if let Some(paths) = &self.paths {
            best = paths.first(request);
        }
        if !self.networks.is_empty() {
            best = best.min(self.networks.first(request));
        }
        if !self.queries.is_empty()
            && let Some(query) = request.uri().query()
        {
            for (name, values) in &self.queries {
                best = best.min(first_parameter(name, values, query.as_bytes()));
            }
        }
        for (name, header) in &self.headers {
            for value in request.headers().get_all(name) {
                best = best.min(header.first(value.as_bytes()));
            }
        }
        if !self.cookies.is_empty() {
            for line in request.headers().get_all(header::COOKIE) {
                for (name, values) in &self.cookies {
                    name.any_cookie(line.as_bytes(), |value| {
                        best = best.min(values.get(value));
                        best == 0
                    });
                }
            }
        }
        best
    }

    fn rule(&self, place: Place) -> Option<usize> {
        rule(place)
    }
}

fn first_parameter(name: &Name, values: &[(Text, Place)], query: &[u8]) -> Place {
    let mut best = NONE;
    name.any_parameter(query, |sent| {
        let found = values.iter().find(|(value, _)| scan::is_decoded(sent, value));
        best = found.map_or(best, |(_, place)| best.min(*place));
        // The very first is as good as it gets.
        best == values[0].1
    });
    best
}

// === impl Paths ===

impl Paths {
    fn new(paths: Vec<(String, Rest, Place)>) -> Option<Self> {
        let patterns: Vec<&String> = paths.iter().map(|(pattern, ..)| pattern).collect();
        let any = Patterns::new(&patterns)?;
        let each = paths.iter().map(|(pattern, ..)| Patterns::new(&[pattern])).collect::<Option<Vec<_>>>()?;
        let each = each.into_iter().zip(paths).map(|(pattern, (_, rest, place))| (pattern, rest, place));
        Some(Paths { any, each: each.collect() })
    }

    fn first(&self, request: &Request<()>) -> Place {
        let path = request.uri().path().as_bytes();
        if self.any.first(path) == NONE {
            return NONE;
        }
        let holds = |(pattern, rest, _): &&(Patterns, Rest, Place)| {
            pattern.first(path) != NONE && rest.holds(request)
        };
        self.each.iter().find(holds).map_or(NONE, |(.., place)| *place)
    }
}

impl Rest {
    fn holds(&self, request: &Request<()>) -> bool {
        let host = self.host.as_ref();
        let host = host.is_none_or(|host| scan::host(request).is_some_and(|sent| scan::is_host(sent, host)));
        host && self.method.is_none_or(|method| request.method() == method)
    }
}

// === impl Networks ===

impl Networks {
    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    fn first(&self, request: &Request<()>) -> Place {
        let Some(peer) = request.extensions().get::<PeerAddr>() else { return NONE };
        let place = match peer.0.ip() {
            IpAddr::V4(ip) => {
                self.v4.iter().find(|(bits, mask, _)| ip.to_bits() & mask == *bits).map(|found| found.2)
            }
            IpAddr::V6(ip) => {
                self.v6.iter().find(|(bits, mask, _)| ip.to_bits() & mask == *bits).map(|found| found.2)
            }
        };
        place.unwrap_or(NONE)
    }
}

// === impl Header ===

impl Header {
    fn first(&self, value: &[u8]) -> Place {
        match self {
            Header::Is(values) => values.get(value),
            Header::Contains(parts) => parts.first(value),
            Header::AtLeast(versions) => first_version(versions, value),
        }
    }
}

fn first_version(versions: &[(Version, Place)], value: &[u8]) -> Place {
    // Whatever follows, a number that is too low is too low.
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).take(9);
    let major = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    if versions.iter().all(|(least, _)| major < least.major) {
        return NONE;
    }
    let version = std::str::from_utf8(value).ok().and_then(|text| Version::parse(text).ok());
    let found =
        version.and_then(|version| versions.iter().find(|(least, _)| version.cmp_precedence(least).is_ge()));
    found.map_or(NONE, |(_, place)| *place)
}

impl Parts {
    fn first(&self, value: &[u8]) -> Place {
        if self.any.find(value).is_none() {
            return NONE;
        }
        let found = self.each.iter().find(|(part, _)| memchr::memmem::find(value, part.as_bytes()).is_some());
        found.map_or(NONE, |(_, place)| *place)
    }
}

// === impl Groups ===

impl<'r> Groups<'r> {
    fn add(&mut self, rule: &'r Rule, place: Place) -> Option<()> {
        let mut path = None;
        let mut rest = Rest { host: None, method: None };
        for condition in &rule.all {
            match condition {
                Condition::PathStartsWith(prefix) => {
                    path = Some(format!("^{}", regex_syntax::escape(prefix)))
                }
                Condition::PathUnder(base) => path = Some(format!("^{}(/|$)", regex_syntax::escape(base))),
                Condition::PathMatches(pattern) => path = Some(pattern.clone()),
                Condition::HostIs(host) => rest.host = Some(host.as_bytes().into()),
                Condition::Method(method) => rest.method = Some(method),
                _ if rule.all.len() > 1 => return None,
                Condition::HeaderIs(name, value) => add(&mut self.is, name, value, place),
                Condition::HeaderContains(name, part) => add(&mut self.contains, name, part, place),
                Condition::VersionAtLeast(name, least) => add(&mut self.at_least, name, least, place),
                Condition::CookieIs(name, value) => add(&mut self.cookies, name, value, place),
                Condition::CookieIn(name, list) => {
                    list.iter().for_each(|member| add(&mut self.cookies, name, member, place));
                }
                Condition::QueryIs(name, value) => add(&mut self.queries, name, value, place),
                Condition::IpIn(networks) => {
                    networks.iter().for_each(|network| self.networks.add(network, place))
                }
            }
        }
        match path {
            Some(path) => self.paths.push((path, rest, place)),
            None if rest.host.is_some() || rest.method.is_some() => return None,
            None => (),
        }
        Some(())
    }
}

fn add<'r, T: ?Sized>(
    groups: &mut Vec<(&'static str, Vec<(&'r T, Place)>)>,
    name: &'static str,
    value: &'r T,
    place: Place,
) {
    match groups.iter_mut().find(|(other, _)| *other == name) {
        Some((_, values)) => values.push((value, place)),
        None => groups.push((name, vec![(value, place)])),
    }
}

impl Networks {
    fn add(&mut self, network: &ipnet::IpNet, place: Place) {
        match network {
            ipnet::IpNet::V4(network) => {
                self.v4.push((network.network().to_bits(), network.netmask().to_bits(), place));
            }
            ipnet::IpNet::V6(network) => {
                self.v6.push((network.network().to_bits(), network.netmask().to_bits(), place));
            }
        }
    }
}
