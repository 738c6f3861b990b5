//! Rhai: one script, a line a rule.
//!
//! What the language lacks is given to it as functions on prepared values: sets, networks, regular expressions. A
//! version is a number. An absent field is empty, which no rule asks for.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::IpAddr;

use http::Request;
use ipnet::IpNet;
use regex::Regex;
use rhai::{AST, Dynamic, ImmutableString, Scope};

use super::{Build, Engine, extract};
use crate::model::{self, Condition, Field, Rule};

struct Rhai {
    engine: rhai::Engine,
    fields: Vec<(String, Field)>,
    script: AST,
}

/// What the functions take by number.
#[derive(Clone, Default)]
struct Prepared {
    lists: Vec<HashSet<String>>,
    networks: Vec<Vec<IpNet>>,
    regexes: Vec<String>,
}

pub(super) fn prepare(rules: &[Rule]) -> Option<Build<'_>> {
    let fields: Vec<_> = model::fields(rules).into_iter().map(|field| (field.to_string(), field)).collect();
    let mut prepared = Prepared::default();
    let mut script = String::new();
    for (at, rule) in rules.iter().enumerate() {
        let conditions: Vec<String> = rule.all.iter().map(|each| condition(each, &mut prepared)).collect();
        writeln!(script, "if {} {{ return {at}; }}", conditions.join(" && ")).expect("a string takes all");
    }
    script += "-1\n";
    Some(Box::new(move |_| Some(Box::new(Rhai::new(&script, &fields, prepared.clone())))))
}

fn condition(condition: &Condition, prepared: &mut Prepared) -> String {
    let field = condition.field();
    match condition {
        Condition::Method(method) => format!("{field} == {method:?}"),
        Condition::HostIs(value)
        | Condition::HeaderIs(_, value)
        | Condition::CookieIs(_, value)
        | Condition::QueryIs(_, value) => format!("{field} == {value:?}"),
        Condition::PathStartsWith(prefix) => format!("{field}.starts_with({prefix:?})"),
        Condition::PathUnder(base) => format!("({field} == {base:?} || {field}.starts_with(\"{base}/\"))"),
        Condition::PathMatches(pattern) => {
            prepared.regexes.push(pattern.clone());
            format!("like({field}, {})", prepared.regexes.len() - 1)
        }
        Condition::HeaderContains(_, part) => format!("{field}.contains({part:?})"),
        Condition::VersionAtLeast(_, least) => format!("{field} >= {}", extract::version_number(least)),
        Condition::CookieIn(_, list) => {
            prepared.lists.push(list.iter().cloned().collect());
            format!("listed({field}, {})", prepared.lists.len() - 1)
        }
        Condition::IpIn(networks) => {
            prepared.networks.push(networks.clone());
            format!("within({field}, {})", prepared.networks.len() - 1)
        }
    }
}

// === impl Rhai ===

impl Rhai {
    fn new(script: &str, fields: &[(String, Field)], prepared: Prepared) -> Self {
        let mut engine = rhai::Engine::new();
        let Prepared { lists, networks, regexes } = prepared;
        let regexes: Vec<Regex> =
            regexes.iter().map(|pattern| Regex::new(pattern).expect("patterns are sound")).collect();
        engine.register_fn("listed", move |text: ImmutableString, list: i64| {
            lists[list as usize].contains(text.as_str())
        });
        engine.register_fn("within", move |ip: IpAddr, list: i64| {
            networks[list as usize].iter().any(|network| network.contains(&ip))
        });
        engine.register_fn("like", move |text: ImmutableString, regex: i64| {
            regexes[regex as usize].is_match(&text)
        });
        let script = engine.compile(script).unwrap_or_else(|error| panic!("{error}"));
        Rhai { engine, fields: fields.to_vec(), script }
    }
}

impl Engine for Rhai {
    type Answer = i64;

    fn decide(&self, request: &Request<()>) -> i64 {
        let mut scope = Scope::new();
        for (name, field) in &self.fields {
            let value = match field {
                Field::Version(header) => {
                    let version = extract::version(request, header);
                    version.map_or(-1, |version| extract::version_number(&version)).into()
                }
                Field::Ip => Dynamic::from(extract::ip(request).unwrap_or([0, 0, 0, 0].into())),
                _ => extract::text(request, field).as_deref().unwrap_or_default().into(),
            };
            scope.push_constant_dynamic(name.as_str(), value);
        }
        self.engine.eval_ast_with_scope(&mut scope, &self.script).unwrap_or_else(|error| panic!("{error}"))
    }

    fn rule(&self, answer: i64) -> Option<usize> {
        usize::try_from(answer).ok()
    }
}
