//! The upper floor: what a competent engineer types by hand. One rule is asked after the other; each field is read when
//! it is first needed, and once. Rules that are all alike are a list of what differs.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashSet;

use http::Request;
use ipnet::IpNet;
use regex::Regex;
use semver::Version;

use super::{Build, Engine, Run, extract};
use crate::model::{self, Condition, Field, Rule};

/// More texts are not asked for by any workload.
const TEXTS: usize = 8;

/// Rules of several kinds.
struct Mixed {
    texts: Vec<Field>,
    rules: Vec<Vec<Test>>,
}

/// `host == … && path starts_with …`
struct Prefixes(Vec<(String, String)>);

/// `path matches …`
struct Regexes(Vec<Regex>);

/// `header(…) == …`
struct Headers(&'static str, Vec<String>);

/// `cookie(…) in …`
struct Cookies(&'static str, Vec<HashSet<String>>);

/// A question about the text with this number.
enum Test {
    Is(usize, String),
    StartsWith(usize, String),
    Under(usize, String),
    Contains(usize, String),
    Matches(usize, Regex),
    In(usize, HashSet<String>),
    VersionAtLeast(&'static str, Version),
    IpIn(Vec<IpNet>),
}

pub(super) fn prepare(rules: &[Rule]) -> Option<Build<'_>> {
    Some(Box::new(move |_| {
        let prefixes = || rules.iter().map(prefix).collect::<Option<_>>().map(|rules| boxed(Prefixes(rules)));
        let regexes = || rules.iter().map(regex).collect::<Option<_>>().map(|rules| boxed(Regexes(rules)));
        let headers = || {
            let (names, values): (Vec<_>, _) = rules.iter().map(header).collect::<Option<_>>()?;
            same(&names).map(|name| boxed(Headers(name, values)))
        };
        let cookies = || {
            let (names, lists): (Vec<_>, _) = rules.iter().map(cookie).collect::<Option<_>>()?;
            same(&names).map(|name| boxed(Cookies(name, lists)))
        };
        let mixed = || Some(boxed(Mixed::new(rules)));
        prefixes().or_else(regexes).or_else(headers).or_else(cookies).or_else(mixed)
    }))
}

fn boxed(engine: impl Engine) -> Box<dyn Run> {
    Box::new(engine)
}

fn same(names: &[&'static str]) -> Option<&'static str> {
    let first = names.first()?;
    names.iter().all(|name| name == first).then_some(*first)
}

// === rules that are alike ===

fn prefix(rule: &Rule) -> Option<(String, String)> {
    match rule.all.as_slice() {
        [Condition::HostIs(host), Condition::PathStartsWith(prefix)] => Some((host.clone(), prefix.clone())),
        _ => None,
    }
}

fn regex(rule: &Rule) -> Option<Regex> {
    match rule.all.as_slice() {
        [Condition::PathMatches(pattern)] => Some(Regex::new(pattern).expect("patterns are sound")),
        _ => None,
    }
}

fn header(rule: &Rule) -> Option<(&'static str, String)> {
    match rule.all.as_slice() {
        [Condition::HeaderIs(name, value)] => Some((name, value.clone())),
        _ => None,
    }
}

fn cookie(rule: &Rule) -> Option<(&'static str, HashSet<String>)> {
    match rule.all.as_slice() {
        [Condition::CookieIn(name, list)] => Some((name, list.iter().cloned().collect())),
        _ => None,
    }
}

impl Engine for Prefixes {
    type Answer = Option<usize>;

    fn decide(&self, request: &Request<()>) -> Option<usize> {
        let host = extract::host(request)?;
        let path = request.uri().path();
        self.0.iter().position(|(want, prefix)| host == want.as_str() && path.starts_with(prefix))
    }

    fn rule(&self, answer: Option<usize>) -> Option<usize> {
        answer
    }
}

impl Engine for Regexes {
    type Answer = Option<usize>;

    fn decide(&self, request: &Request<()>) -> Option<usize> {
        let path = request.uri().path();
        self.0.iter().position(|regex| regex.is_match(path))
    }

    fn rule(&self, answer: Option<usize>) -> Option<usize> {
        answer
    }
}

impl Engine for Headers {
    type Answer = Option<usize>;

    fn decide(&self, request: &Request<()>) -> Option<usize> {
        let value = extract::header(request, self.0)?;
        self.1.iter().position(|want| want == value)
    }

    fn rule(&self, answer: Option<usize>) -> Option<usize> {
        answer
    }
}

impl Engine for Cookies {
    type Answer = Option<usize>;

    fn decide(&self, request: &Request<()>) -> Option<usize> {
        let value = extract::cookie(request, self.0)?;
        self.1.iter().position(|list| list.contains(value))
    }

    fn rule(&self, answer: Option<usize>) -> Option<usize> {
        answer
    }
}

// === impl Mixed ===

impl Mixed {
    fn new(rules: &[Rule]) -> Self {
        let fields = model::fields(rules);
        // One cell is enough for what the workloads ask.
        assert!(fields.iter().filter(|field| matches!(field, Field::Version(_))).count() <= 1);
        let is_text = |field: &&Field| !matches!(field, Field::Version(_) | Field::Ip);
        let texts: Vec<Field> = fields.iter().filter(is_text).copied().collect();
        assert!(texts.len() <= TEXTS);
        let rules =
            rules.iter().map(|rule| rule.all.iter().map(|condition| test(condition, &texts)).collect());
        Mixed { rules: rules.collect(), texts }
    }
}

fn test(condition: &Condition, texts: &[Field]) -> Test {
    let field = condition.field();
    let at = texts.iter().position(|text| *text == field).unwrap_or_default();
    match condition {
        Condition::Method(method) => Test::Is(at, (*method).to_owned()),
        Condition::HostIs(value)
        | Condition::HeaderIs(_, value)
        | Condition::CookieIs(_, value)
        | Condition::QueryIs(_, value) => Test::Is(at, value.clone()),
        Condition::PathStartsWith(prefix) => Test::StartsWith(at, prefix.clone()),
        Condition::PathUnder(base) => Test::Under(at, base.clone()),
        Condition::PathMatches(pattern) => {
            Test::Matches(at, Regex::new(pattern).expect("patterns are sound"))
        }
        Condition::HeaderContains(_, part) => Test::Contains(at, part.clone()),
        Condition::VersionAtLeast(name, least) => Test::VersionAtLeast(name, least.clone()),
        Condition::CookieIn(_, list) => Test::In(at, list.iter().cloned().collect()),
        Condition::IpIn(networks) => Test::IpIn(networks.clone()),
    }
}

impl Engine for Mixed {
    type Answer = Option<usize>;

    fn decide(&self, request: &Request<()>) -> Option<usize> {
        let texts: [OnceCell<Option<Cow<'_, str>>>; TEXTS] = [const { OnceCell::new() }; TEXTS];
        let version = OnceCell::new();
        let text =
            |at: &usize| texts[*at].get_or_init(|| extract::text(request, &self.texts[*at])).as_deref();
        let holds = |test: &Test| match test {
            Test::Is(at, want) => text(at) == Some(want),
            Test::StartsWith(at, prefix) => text(at).is_some_and(|text| text.starts_with(prefix)),
            Test::Under(at, base) => {
                let rest = text(at).and_then(|text| text.strip_prefix(base.as_str()));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Test::Contains(at, part) => text(at).is_some_and(|text| text.contains(part)),
            Test::Matches(at, regex) => text(at).is_some_and(|text| regex.is_match(text)),
            Test::In(at, set) => text(at).is_some_and(|text| set.contains(text)),
            Test::VersionAtLeast(name, least) => {
                let version = version.get_or_init(|| extract::version(request, name));
                version.as_ref().is_some_and(|version| version >= least)
            }
            Test::IpIn(networks) => {
                extract::ip(request).is_some_and(|ip| networks.iter().any(|network| network.contains(&ip)))
            }
        };
        self.rules.iter().position(|rule| rule.iter().all(holds))
    }

    fn rule(&self, answer: Option<usize>) -> Option<usize> {
        answer
    }
}
