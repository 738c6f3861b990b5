//! Kong's router: one matcher a rule, the priority its place.
//!
//! It has no lists of strings, so a list is a tree of `||`; and no versions, so a version is a number. A field that is
//! absent has no value.

use atc_router::ast::{Type, Value};
use atc_router::context::Context;
use atc_router::router::Router;
use atc_router::schema::Schema;
use http::Request;
use uuid::Uuid;

use super::{Build, Engine, extract};
use crate::model::{self, Condition, Field, Rule};

struct Atc {
    schema: &'static Schema,
    fields: Vec<(String, Field)>,
    router: Router<'static>,
}

pub(super) fn prepare(rules: &[Rule]) -> Option<Build<'_>> {
    let fields: Vec<_> = model::fields(rules).into_iter().map(|field| (field.to_string(), field)).collect();
    let render = |rule: &Rule| rule.all.iter().map(condition).collect::<Vec<_>>().join(" && ");
    let texts: Vec<String> = rules.iter().map(render).collect();
    Some(Box::new(move |deadline| {
        let mut schema = Schema::default();
        for (name, field) in &fields {
            schema.add_field(name, ty(field));
        }
        // The router borrows it, and the process ends soon.
        let schema: &'static Schema = Box::leak(Box::new(schema));
        let mut router = Router::new(schema);
        deadline.each(&texts, |at, text| {
            let id = Uuid::from_u128(at as u128);
            router.add_matcher(texts.len() - at, id, text).unwrap_or_else(|error| panic!("{error}"));
        })?;
        Some(Box::new(Atc { schema, fields: fields.clone(), router }))
    }))
}

fn ty(field: &Field) -> Type {
    match field {
        Field::Version(_) => Type::Int,
        Field::Ip => Type::IpAddr,
        _ => Type::String,
    }
}

fn condition(condition: &Condition) -> String {
    let field = condition.field();
    match condition {
        Condition::Method(method) => format!("{field} == {method:?}"),
        Condition::HostIs(value)
        | Condition::HeaderIs(_, value)
        | Condition::CookieIs(_, value)
        | Condition::QueryIs(_, value) => format!("{field} == {value:?}"),
        Condition::PathStartsWith(prefix) => format!("{field} ^= {prefix:?}"),
        Condition::PathUnder(base) => format!("({field} == {base:?} || {field} ^= \"{base}/\")"),
        Condition::PathMatches(pattern) => format!("{field} ~ r#\"{pattern}\"#"),
        Condition::HeaderContains(_, part) => format!("{field} contains {part:?}"),
        Condition::VersionAtLeast(_, least) => format!("{field} >= {}", extract::version_number(least)),
        Condition::CookieIn(_, list) => any(list, &|member| format!("{field} == {member:?}")),
        Condition::IpIn(networks) => any(networks, &|network| format!("{field} in {network}")),
    }
}

/// A tree of alternatives that is no deeper than it must be.
fn any<T>(members: &[T], render: &dyn Fn(&T) -> String) -> String {
    match members {
        [member] => render(member),
        _ => {
            let (left, right) = members.split_at(members.len() / 2);
            format!("({} || {})", any(left, render), any(right, render))
        }
    }
}

impl Engine for Atc {
    type Answer = Option<Uuid>;

    fn decide(&self, request: &Request<()>) -> Option<Uuid> {
        let mut context = Context::new(self.schema);
        for (name, field) in &self.fields {
            let value = match field {
                Field::Version(header) => extract::version(request, header)
                    .map(|version| Value::Int(extract::version_number(&version))),
                Field::Ip => extract::ip(request).map(Value::IpAddr),
                _ => extract::text(request, field).map(|text| Value::String(text.into_owned())),
            };
            if let Some(value) = value {
                context.add_value(name, value);
            }
        }
        self.router.execute(&mut context);
        context.result.map(|matched| matched.uuid)
    }

    fn rule(&self, id: Option<Uuid>) -> Option<usize> {
        id.map(|id| id.as_u128() as usize)
    }
}
