//! The Common Expression Language: one program a rule, asked in order.
//!
//! Strings are borrowed from the request. What the language lacks, or compiles anew at each evaluation, is given to it as
//! functions on prepared values: sets, networks, regular expressions. A version is a number. An absent field is empty,
//! which no rule asks for.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use cel::common::types::{CelBool, CelBytes, CelInt, CelString};
use cel::common::value::{CowVal, Val};
use cel::{Context, Env, ExecutionError, FunctionContext, Program, Value};
use http::Request;
use ipnet::IpNet;
use regex::Regex;

use super::{Build, Engine, extract};
use crate::model::{self, Condition, Field, Rule};

struct Cel {
    root: Context<'static, 'static>,
    fields: Vec<(String, Field)>,
    programs: Vec<Program>,
}

/// What the functions take by number.
#[derive(Clone, Default)]
struct Prepared {
    lists: Vec<HashSet<String>>,
    networks: Vec<Vec<IpNet>>,
    regexes: Vec<String>,
}

type Function = Box<
    dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError> + Send + Sync,
>;

pub(super) fn prepare(rules: &[Rule]) -> Option<Build<'_>> {
    let fields: Vec<_> = model::fields(rules).into_iter().map(|field| (field.to_string(), field)).collect();
    let mut prepared = Prepared::default();
    let mut render = |rule: &Rule| {
        let conditions: Vec<String> = rule.all.iter().map(|each| condition(each, &mut prepared)).collect();
        conditions.join(" && ")
    };
    let texts: Vec<String> = rules.iter().map(&mut render).collect();
    Some(Box::new(move |deadline| {
        let env = Arc::new(Env::stdlib());
        let root = root(&env, prepared.clone());
        let mut programs = Vec::with_capacity(texts.len());
        deadline.each(&texts, |_, text| {
            programs.push(env.compile(text).unwrap_or_else(|error| panic!("{error}")));
        })?;
        Some(Box::new(Cel { root, fields: fields.clone(), programs }))
    }))
}

fn condition(condition: &Condition, prepared: &mut Prepared) -> String {
    let field = condition.field();
    match condition {
        Condition::Method(method) => format!("{field} == {method:?}"),
        Condition::HostIs(value)
        | Condition::HeaderIs(_, value)
        | Condition::CookieIs(_, value)
        | Condition::QueryIs(_, value) => format!("{field} == {value:?}"),
        Condition::PathStartsWith(prefix) => format!("{field}.startsWith({prefix:?})"),
        Condition::PathUnder(base) => format!("({field} == {base:?} || {field}.startsWith(\"{base}/\"))"),
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

fn root(env: &Arc<Env>, prepared: Prepared) -> Context<'static, 'static> {
    let Prepared { lists, networks, regexes } = prepared;
    let regexes: Vec<Regex> =
        regexes.iter().map(|pattern| Regex::new(pattern).expect("patterns are sound")).collect();
    let mut root = Context::with_env(Arc::clone(env));
    let mut add =
        |name: &str, function: Function| root.add_function(name, function).expect("the name is free");
    add(
        "listed",
        Box::new(move |call| Ok(bool(text(call).is_some_and(|text| lists[number(call)].contains(text))))),
    );
    add(
        "like",
        Box::new(move |call| Ok(bool(text(call).is_some_and(|text| regexes[number(call)].is_match(text))))),
    );
    add(
        "within",
        Box::new(move |call| {
            let bytes = call.args[0].downcast_ref::<CelBytes<'_>>().map(|bytes| bytes.inner());
            let ip = bytes.and_then(|bytes| match bytes.len() {
                4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
                _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
            });
            let networks = &networks[number(call)];
            Ok(bool(ip.is_some_and(|ip| networks.iter().any(|network| network.contains(&ip)))))
        }),
    );
    root
}

/// The first argument.
fn text<'a>(call: &'a FunctionContext<'_, '_>) -> Option<&'a str> {
    call.args[0].downcast_ref::<CelString<'_>>().map(|text| text.inner())
}

/// The second argument.
fn number(call: &FunctionContext<'_, '_>) -> usize {
    call.args[1].downcast_ref::<CelInt>().map_or(0, |number| *number.inner() as usize)
}

fn bool<'c, 'v>(value: bool) -> CowVal<'c, 'v> {
    CowVal::owned(CelBool::from(value))
}

impl Engine for Cel {
    type Answer = Option<usize>;

    fn decide(&self, request: &Request<()>) -> Option<usize> {
        let mut scope = self.root.new_inner_scope();
        for (name, field) in &self.fields {
            let value: Box<dyn Val + '_> = match field {
                Field::Version(header) => {
                    let version = extract::version(request, header);
                    Box::new(CelInt::from(version.map_or(-1, |version| extract::version_number(&version))))
                }
                Field::Ip => {
                    let octets = match extract::ip(request) {
                        Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
                        Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
                        None => Vec::new(),
                    };
                    Box::new(CelBytes::from(octets))
                }
                _ => Box::new(CelString::from(extract::text(request, field).unwrap_or_default())),
            };
            scope.add_variable_as_val(name.as_str(), value);
        }
        self.programs.iter().position(|program| matches!(program.execute(&scope), Ok(Value::Bool(true))))
    }

    fn rule(&self, answer: Option<usize>) -> Option<usize> {
        answer
    }
}
