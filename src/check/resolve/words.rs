//! Words that several messages share.

use crate::diagnostic::{Code, Problem, Span};
use crate::schema::Type;
use crate::syntax::ast::Text;

pub(super) fn never(span: Span, reason: &str, instead: Option<String>) -> Problem {
    let problem = Problem::new(Code::NeverEqual, span, reason);
    match instead {
        Some(instead) => problem.label(instead),
        None => problem,
    }
}

pub(super) fn duplicate(kind: &str, name: &Text<'_>, first: Span) -> Problem {
    Problem::new(Code::DuplicateName, name.span, format!("a second {kind} `{}`", name.node))
        .label("choose another name")
        .related(first, "the first stands")
}

pub(super) fn conversion(a: Type, b: Type) -> &'static str {
    match (a, b) {
        (Type::String, Type::Int) | (Type::Int, Type::String) => "read the string as an int: `int(…)`",
        (Type::String, Type::Version) | (Type::Version, Type::String) => {
            "read the string as a version: `version(…)`"
        }
        _ => "both sides have one type",
    }
}

/// What a field is called in other places.
pub(super) fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "remote_addr" | "client_ip" | "remote_ip" | "src_ip" | "source_ip" | "addr" => "ip",
        "hostname" | "authority" | "domain" | "server_name" | "http_host" => "host",
        "url" | "uri" | "request_uri" | "request_path" => "path",
        "time" | "date" | "timestamp" => "now",
        "args" | "params" | "query_string" => "raw_query",
        "verb" | "request_method" => "method",
        _ => return None,
    })
}

pub(super) fn some_names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<_> = names.take(6).map(|name| format!("`{}`", clip(name))).collect();
    if names.len() == 6 {
        names.pop();
        return format!("{} and others", names.join(", "));
    }
    names.join(", ")
}

/// A piece of the author's text, short enough for a sentence.
pub(in crate::check) fn clip(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String =
        chars.by_ref().take(40).map(|c| if crate::diagnostic::unseen(c) { ' ' } else { c }).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}
