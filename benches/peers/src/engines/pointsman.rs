//! This crate.

use std::fmt::Write;

use http::Request;
use pointsman::{Decision, Engine, Limits};

use super::Build;
use crate::model::{Condition, Rule};

pub(super) fn prepare(rules: &[Rule]) -> Option<Build<'_>> {
    let mut text = String::new();
    for (at, rule) in rules.iter().enumerate() {
        let conditions: Vec<String> = rule.all.iter().map(condition).collect();
        writeln!(text, "route r{at}: {} => gray", conditions.join(" && ")).expect("a string takes all");
    }
    text += "default => prod\n";
    Some(Box::new(move |_| Some(Box::new(build(&text)))))
}

fn build(text: &str) -> Engine {
    const MOST: usize = 1 << 40;
    let limits = Limits {
        text_bytes: MOST,
        statements: MOST,
        list_members: MOST,
        regex_bytes: MOST,
        program_bytes: MOST,
        ..Limits::default()
    };
    let engine = Engine::builder().clusters(["gray", "prod"]).limits(limits).build(text);
    engine.unwrap_or_else(|error| panic!("{error}"))
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Method(method) => format!("method == {method:?}"),
        Condition::HostIs(host) => format!("host == {host:?}"),
        Condition::PathStartsWith(prefix) => format!("path starts_with {prefix:?}"),
        Condition::PathUnder(base) => format!("path under {base:?}"),
        Condition::PathMatches(pattern) => format!("path matches r\"{pattern}\""),
        Condition::HeaderIs(name, value) => format!("header({name}) == {value:?}"),
        Condition::HeaderContains(name, part) => format!("header({name}) contains {part:?}"),
        Condition::VersionAtLeast(name, least) => format!("version(header({name})) >= \"{least}\""),
        Condition::CookieIs(name, value) => format!("cookie({name}) == {value:?}"),
        Condition::CookieIn(name, list) => format!("cookie({name}) in {list:?}"),
        Condition::QueryIs(name, value) => format!("query({name}) == {value:?}"),
        Condition::IpIn(networks) => format!("ip in {networks:?}"),
    }
}

impl super::Engine for Engine {
    type Answer = Decision;

    fn decide(&self, request: &Request<()>) -> Decision {
        Engine::decide(self, request)
    }

    fn rule(&self, decision: Decision) -> Option<usize> {
        decision.rule().and_then(|name| name.strip_prefix('r')?.parse().ok())
    }
}
