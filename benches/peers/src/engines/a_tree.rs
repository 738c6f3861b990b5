//! A-Tree: all expressions in one structure, which finds all that match. The first of them is the answer.
//!
//! It has equality and lists, and nothing on parts of a string. A prefix that ends with `/` is asked of the list of all
//! such prefixes of the path; other rules it cannot say.

use a_tree::{ATree, AttributeDefinition};
use http::Request;

use super::{Build, Engine, extract};
use crate::model::{self, Condition, Field, Rule};

struct Tree {
    fields: Vec<(String, Field)>,
    tree: ATree<usize>,
}

pub(super) fn prepare(rules: &[Rule]) -> Option<Build<'_>> {
    let fields: Vec<_> = model::fields(rules).into_iter().map(|field| (field.to_string(), field)).collect();
    let render = |rule: &Rule| {
        let conditions: Option<Vec<String>> = rule.all.iter().map(condition).collect();
        Some(conditions?.join(" and "))
    };
    let texts: Vec<String> = rules.iter().map(render).collect::<Option<_>>()?;
    Some(Box::new(move |deadline| {
        let attributes: Vec<_> = fields.iter().map(|(name, field)| attribute(name, field)).collect();
        let mut tree = ATree::new(&attributes).unwrap_or_else(|error| panic!("{error}"));
        deadline.each(&texts, |at, text| tree.insert(&at, text).unwrap_or_else(|error| panic!("{error}")))?;
        Some(Box::new(Tree { fields: fields.clone(), tree }))
    }))
}

fn attribute(name: &str, field: &Field) -> AttributeDefinition {
    match field {
        Field::Path => AttributeDefinition::string_list(name),
        _ => AttributeDefinition::string(name),
    }
}

fn condition(condition: &Condition) -> Option<String> {
    let field = condition.field();
    match condition {
        Condition::Method(method) => Some(format!("{field} = {method:?}")),
        Condition::HostIs(value)
        | Condition::HeaderIs(_, value)
        | Condition::CookieIs(_, value)
        | Condition::QueryIs(_, value) => Some(format!("{field} = {value:?}")),
        Condition::PathStartsWith(prefix) if prefix.ends_with('/') => {
            Some(format!("{field} one of [{prefix:?}]"))
        }
        Condition::CookieIn(_, list) => Some(format!("{field} in {list:?}")),
        Condition::PathStartsWith(_)
        | Condition::PathUnder(_)
        | Condition::PathMatches(_)
        | Condition::HeaderContains(..)
        | Condition::VersionAtLeast(..)
        | Condition::IpIn(_) => None,
    }
}

impl Engine for Tree {
    type Answer = Option<usize>;

    fn decide(&self, request: &Request<()>) -> Option<usize> {
        let mut event = self.tree.make_event();
        for (name, field) in &self.fields {
            let set = match field {
                Field::Path => {
                    let path = request.uri().path();
                    let prefixes: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..=at]).collect();
                    event.with_string_list(name, &prefixes)
                }
                _ => match extract::text(request, field) {
                    Some(text) => event.with_string(name, &text),
                    None => Ok(()),
                },
            };
            set.expect("the types are the tree's");
        }
        let event = event.build().expect("absent fields are undefined");
        self.tree.search(&event).expect("the event is the tree's").matches().iter().map(|at| **at).min()
    }

    fn rule(&self, answer: Option<usize>) -> Option<usize> {
        answer
    }
}
