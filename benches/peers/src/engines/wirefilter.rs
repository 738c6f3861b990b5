//! Cloudflare's filters, as published: one filter a rule, asked in order.
//!
//! The release has one value a field and no versions: a version is a number here. An absent field is given an empty
//! value, which no rule asks for. And it borrows values for as long as the scheme lives, so here both live on. A server
//! could not do that; it would need `unsafe`, or a scheme and its filters anew for each request.

use std::borrow::Cow;

use http::Request;
use wirefilter::{ExecutionContext, Filter, LhsValue, Scheme, Type};

use super::{Build, Engine, extract};
use crate::model::{self, Condition, Field, Rule};

struct Wirefilter {
    scheme: &'static Scheme,
    fields: Vec<(String, Field)>,
    filters: Vec<Filter<'static>>,
}

pub(super) fn prepare(rules: &[Rule]) -> Option<Build<'_>> {
    let fields: Vec<_> = model::fields(rules).into_iter().map(|field| (field.to_string(), field)).collect();
    let render = |rule: &Rule| rule.all.iter().map(condition).collect::<Vec<_>>().join(" && ");
    let texts: Vec<String> = rules.iter().map(render).collect();
    Some(Box::new(move |deadline| {
        let types = fields.iter().map(|(name, field)| (name.clone(), ty(field)));
        // Filters borrow it, and the process ends soon.
        let scheme: &'static Scheme =
            Box::leak(Box::new(Scheme::try_from_iter(types).expect("each field is once")));
        let mut filters = Vec::with_capacity(texts.len());
        deadline.each(&texts, |_, text| {
            filters.push(scheme.parse(text).unwrap_or_else(|error| panic!("{error}")).compile());
        })?;
        Some(Box::new(Wirefilter { scheme, fields: fields.clone(), filters }))
    }))
}

fn ty(field: &Field) -> Type {
    match field {
        Field::Version(_) => Type::Int,
        Field::Ip => Type::Ip,
        _ => Type::Bytes,
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
        Condition::PathStartsWith(prefix) => starts_with(&field, prefix),
        Condition::PathUnder(base) => {
            format!("({field} == {base:?} || {})", starts_with(&field, &format!("{base}/")))
        }
        Condition::PathMatches(pattern) => format!("{field} matches \"{pattern}\""),
        Condition::HeaderContains(_, part) => format!("{field} contains {part:?}"),
        Condition::VersionAtLeast(_, least) => format!("{field} >= {}", extract::version_number(least)),
        Condition::CookieIn(_, list) => {
            let members: Vec<String> = list.iter().map(|member| format!("{member:?}")).collect();
            format!("{field} in {{{}}}", members.join(" "))
        }
        Condition::IpIn(networks) => {
            let members: Vec<String> = networks.iter().map(ToString::to_string).collect();
            format!("{field} in {{{}}}", members.join(" "))
        }
    }
}

/// A range of texts: there is no operator for prefixes, and this is far cheaper than an expression for each.
fn starts_with(field: &Field, prefix: &str) -> String {
    let (last, start) = prefix.as_bytes().split_last().expect("no prefix is empty");
    let start = String::from_utf8_lossy(start);
    format!("({field} >= {prefix:?} && {field} < \"{start}{}\")", char::from(last + 1))
}

impl Engine for Wirefilter {
    type Answer = Option<usize>;

    fn decide(&self, request: &'static Request<()>) -> Option<usize> {
        let mut context = ExecutionContext::new(self.scheme);
        for (name, field) in &self.fields {
            let value: LhsValue<'_> = match field {
                Field::Version(header) => {
                    let version = extract::version(request, header);
                    version.map_or(-1, |version| extract::version_number(&version) as i32).into()
                }
                Field::Ip => extract::ip(request).unwrap_or([0, 0, 0, 0].into()).into(),
                _ => match extract::text(request, field) {
                    None => "".into(),
                    Some(Cow::Borrowed(text)) => text.into(),
                    // No request that is timed has a host in upper case or an escape.
                    Some(Cow::Owned(text)) => (&*text.leak()).into(),
                },
            };
            context.set_field_value(name, value).expect("the types are the scheme's");
        }
        self.filters.iter().position(|filter| filter.execute(&context).expect("the scheme is the same"))
    }

    fn rule(&self, answer: Option<usize>) -> Option<usize> {
        answer
    }
}
