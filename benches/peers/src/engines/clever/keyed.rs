//! Rules on one cookie or one header: one lookup in what all of them ask for.

use http::{HeaderName, Request, header};

use super::scan::{self, Name};
use super::table::Strings;
use super::{Engine, NONE, Place, Text, rule};
use crate::model::{Condition, Rule};

/// One rule: a host, and a cookie in a list.
pub(super) struct Guarded {
    host: Text,
    name: Name,
    list: Strings,
}

pub(super) struct Cookies {
    name: Name,
    values: Strings,
}

pub(super) struct Headers {
    name: HeaderName,
    values: Strings,
}

// === impl Guarded ===

impl Guarded {
    pub(super) fn new(rules: &[Rule]) -> Option<Self> {
        let [Rule { all }] = rules else { return None };
        let [Condition::HostIs(host), Condition::CookieIn(name, list)] = all.as_slice() else { return None };
        let list = Strings::new(list.iter().map(|member| (member.as_str(), 0)));
        Some(Guarded { host: host.as_bytes().into(), name: Name::new(name), list })
    }
}

impl Engine for Guarded {
    type Answer = Place;

    fn decide(&self, request: &Request<()>) -> Place {
        let Some(host) = scan::host(request) else { return NONE };
        if !scan::is_host(host, &self.host) {
            return NONE;
        }
        let mut lines = request.headers().get_all(header::COOKIE).iter();
        let listed =
            lines.any(|line| self.name.any_cookie(line.as_bytes(), |value| self.list.get(value) == 0));
        if listed { 0 } else { NONE }
    }

    fn rule(&self, place: Place) -> Option<usize> {
        rule(place)
    }
}

// === impl Cookies ===

impl Cookies {
    pub(super) fn new(rules: &[Rule]) -> Option<Self> {
        let mut cookie = None;
        let mut values: Vec<(&str, Place)> = Vec::new();
        for (rule, place) in rules.iter().zip(0..) {
            let (name, members) = match rule.all.as_slice() {
                [Condition::CookieIs(name, value)] => (*name, std::slice::from_ref(value)),
                [Condition::CookieIn(name, list)] => (*name, list.as_slice()),
                _ => return None,
            };
            if *cookie.get_or_insert(name) != name {
                return None;
            }
            values.extend(members.iter().map(|member| (member.as_str(), place)));
        }
        Some(Cookies { name: Name::new(cookie?), values: Strings::new(values.into_iter()) })
    }
}

impl Engine for Cookies {
    type Answer = Place;

    fn decide(&self, request: &Request<()>) -> Place {
        let mut best = NONE;
        for line in request.headers().get_all(header::COOKIE) {
            self.name.any_cookie(line.as_bytes(), |value| {
                best = best.min(self.values.get(value));
                best == 0
            });
        }
        best
    }

    fn rule(&self, place: Place) -> Option<usize> {
        rule(place)
    }
}

// === impl Headers ===

impl Headers {
    pub(super) fn new(rules: &[Rule]) -> Option<Self> {
        let mut header = None;
        let mut values: Vec<(&str, Place)> = Vec::new();
        for (rule, place) in rules.iter().zip(0..) {
            let [Condition::HeaderIs(name, value)] = rule.all.as_slice() else { return None };
            if *header.get_or_insert(*name) != *name {
                return None;
            }
            values.push((value, place));
        }
        Some(Headers { name: HeaderName::from_static(header?), values: Strings::new(values.into_iter()) })
    }
}

impl Engine for Headers {
    type Answer = Place;

    fn decide(&self, request: &Request<()>) -> Place {
        let values = request.headers().get_all(&self.name).iter();
        values.map(|value| self.values.get(value.as_bytes())).min().unwrap_or(NONE)
    }

    fn rule(&self, place: Place) -> Option<usize> {
        rule(place)
    }
}
