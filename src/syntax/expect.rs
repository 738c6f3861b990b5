//! What to say when the grammar stops.
//!
//! pest tells the furthest place it reached and which rules it tried there. What the author sees is in their
//! own terms: what was found, what can stand there, and for the slips that everybody makes, what to write.

use super::{is_reserved, is_word};
use crate::diagnostic::{Code, Problem, Span, nearest};

/// What may stand at a place, in the order in which it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expected {
    Name,
    Operand,
    Literal,
    Operator,
    Colon,
    Equals,
    Arrow,
    Comma,
    Weight,
    By,
    Salt,
    Open,
    Close,
    Bracket,
    Unbracket,
    Range,
    Kind,
    Quantity,
    Text,
    Option,
    Word(&'static str),
    Statement,
    Next,
}

/// The statements there are, for a misspelt one.
const STATEMENTS: &[&str] = &[
    "list", "cluster", "default", "paused", "shadow", "route", "deny", "limit", "cache", "mirror", "capture",
    "count",
];

// === impl Expected ===

impl Expected {
    fn phrase(self) -> &'static str {
        match self {
            Expected::Name => "a name",
            Expected::Operand => "a field, a function, a literal or `(`",
            Expected::Literal => "a literal",
            Expected::Operator => "an operator",
            Expected::Colon => "`:`",
            Expected::Equals => "`=`",
            Expected::Arrow => "`=>`",
            Expected::Comma => "`,`",
            Expected::Weight => "a weight",
            Expected::By => "`by`",
            Expected::Salt => "`salt`",
            Expected::Open => "`(`",
            Expected::Close => "`)`",
            Expected::Bracket => "`[`",
            Expected::Unbracket => "`]`",
            Expected::Range => "`..`",
            Expected::Kind => "`route`",
            Expected::Quantity => "a number",
            Expected::Text => "a text in quotes",
            Expected::Option => "an option",
            Expected::Word(word) => word,
            Expected::Statement => "a statement",
            Expected::Next => "the next statement",
        }
    }
}

/// The problem at byte `at` of the statement or piece that stands in `text` up to its end.
pub(super) fn unexpected(text: &str, at: usize, mut expected: Vec<Expected>) -> Problem {
    expected.sort_unstable();
    expected.dedup();
    if expected.contains(&Expected::Operand) {
        // The opening brackets are operands too.
        expected.retain(|e| !matches!(e, Expected::Open | Expected::Bracket | Expected::Literal));
    }
    let span = token_at(text, at);
    let found = span.of(text);
    let phrases: Vec<_> = expected.iter().map(|e| e.phrase()).collect();
    let wanted = match phrases.as_slice() {
        [] => "something else".to_owned(),
        [one] => (*one).to_owned(),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    };
    let shown = match raw_end(text, at) {
        Some(end) if !text.get(at..).is_some_and(|rest| is_closed(rest, &end)) => {
            let message = format!("a raw string has no closing `{end}` on its line");
            return Problem::new(Code::Syntax, span, message).label("it starts here");
        }
        Some(_) => "a raw string".to_owned(),
        None if found.is_empty() => "the end of the text".to_owned(),
        None => shown(found),
    };
    if found == "\"" && is_unclosed(text, at) {
        return Problem::new(Code::Syntax, span, "a string has no closing quote on its line")
            .label("it starts here; a quote within a string is written `\\\"`");
    }
    let problem = Problem::new(Code::Syntax, span, format!("expected {wanted}, found {shown}"));
    match slip(text, at, found, &expected) {
        Some(hint) => problem.label(hint),
        None => problem,
    }
}

/// The problem of a statement that starts with something that starts none.
pub(super) fn no_statement(text: &str, at: usize) -> Problem {
    let span = token_at(text, at);
    let found = span.of(text);
    if is_word(found) && !is_reserved(found) {
        let problem = Problem::new(Code::UnknownStatement, span, format!("unknown statement `{found}`"));
        return match nearest(found, STATEMENTS.iter().copied()) {
            Some(near) => problem.label(format!("did you mean `{near}`?")),
            None => problem
                .label("a statement starts with `list`, `cluster`, `route`, `paused`, `shadow` or `default`"),
        };
    }
    let problem = unexpected(text, at, vec![Expected::Statement]);
    match &problem.label {
        None => problem
            .label("a statement starts with `list`, `cluster`, `route`, `paused`, `shadow` or `default`"),
        Some(_) => problem,
    }
}

/// What people write who mean something else.
fn slip(text: &str, at: usize, found: &str, expected: &[Expected]) -> Option<String> {
    let wants = |e: Expected| expected.contains(&e);
    let before = text.get(..at).unwrap_or("").trim_end();
    let fixed = match found {
        "=" | "===" | "=~" if wants(Expected::Operator) => match found {
            "=~" => "a regular expression is asked with `matches`",
            _ => "equality is written `==`",
        },
        "=" if before.ends_with("==") => "equality is written `==`",
        "=" | ":" if wants(Expected::Arrow) => "the outcome follows `=>`",
        "->" | "<-" => "the outcome follows `=>`",
        "~" | "~=" | "!~" => {
            "a regular expression is asked with `matches`, and refused with `!(… matches …)`"
        }
        "<>" => "inequality is written `!=`",
        ">" if before.ends_with('<') => "inequality is written `!=`",
        "=" if before.ends_with("!=") => "inequality is written `!=`",
        ")" if wants(Expected::Operator) && !wants(Expected::Close) => "no parenthesis is open here",
        "&" => "and is written `&&`",
        "|" => "or is written `||`",
        "??=" | "?" => "a default is written `a ?? b`",
        "'" | "‘" | "’" | "“" | "”" | "`" => "strings stand in double quotes",
        ";" => "statements need no `;` between them",
        "\u{a0}" => "this is a no-break space; write a plain one",
        "\u{feff}" => "this is a byte order mark in the middle of the text; delete it",
        "\0" => "this is a NUL byte; delete it",
        "==" if wants(Expected::Equals) => "this takes a single `=`",
        "=" if wants(Expected::Colon) => "the name of a route is followed by `:`",
        ":" if wants(Expected::Equals) => "the name is followed by `=`",
        "=>" if wants(Expected::Colon) => "after the name stands `:` and a condition; `true` is one",
        "=>" if wants(Expected::Operand) && before.ends_with(':') => "a condition is missing; `true` is one",
        "=>" if wants(Expected::Operand) => "the operator before it has nothing on its right side",
        "in" | "under" | "matches" | "contains" if wants(Expected::Operand) => {
            "the operator has nothing on its left side"
        }
        "{" | "}" => "there are no braces; a list stands in `[ ]`, a condition in `( )`",
        "/" if text.get(at..).is_some_and(|rest| rest.starts_with("//")) => "a comment starts with `#`",
        "*" | "+" | "/" => "there is no arithmetic but `%`",
        "%" if wants(Expected::Comma) => "weights are plain numbers, relative to their sum",
        "=>" | "&&" | "||" | "" if before.ends_with('%') => "a percentage is written without `%`",
        "," if wants(Expected::Close) && before.rfind('(').is_some_and(|open| is_after_in(before, open)) => {
            "a list stands in `[ ]`"
        }
        "like" | "regex" | "regexp" => {
            "there are `starts_with`, `ends_with`, `contains`, `under` and `matches`"
        }
        "is" if wants(Expected::Operator) => "a value is compared with `==`; what is absent is `!exists(…)`",
        _ if wants(Expected::Bracket) && !wants(Expected::Operand) && !found.is_empty() => {
            "the members of a list stand in `[ ]`"
        }
        _ if wants(Expected::Name) && !found.is_ascii() => {
            "any other name than letters, digits, `_` and `-` can be quoted"
        }
        "." if wants(Expected::Close) => {
            "a name with other characters than letters, digits, `_` and `-` stands in quotes"
        }
        "" if wants(Expected::Operand) => "the text ends too early",
        "" if wants(Expected::Close) => "a parenthesis is not closed",
        "" if wants(Expected::Unbracket) => "a bracket is not closed",
        _ if wants(Expected::Colon) && !found.is_empty() => "the name of a route is followed by `:`",
        _ if expected == [Expected::Arrow] && is_word(found) => "the outcome follows `=>`",
        "&&" | "||" | "and" | "or" | "not" if wants(Expected::By) => {
            "a condition stands before `=>`; after the outcome the next statement starts"
        }
        _ if wants(Expected::Operator) && is_word(found) => {
            let near = nearest(
                found,
                ["starts_with", "ends_with", "contains", "under", "matches", "and", "or", "in", "not"],
            );
            return match near {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None => wants(Expected::Arrow).then(|| "the outcome follows `=>`".to_owned()),
            };
        }
        _ if wants(Expected::Name) && found.starts_with(|c: char| c.is_ascii_digit()) => {
            "a name starts with a letter or `_`; any other can be quoted"
        }
        _ => return None,
    };
    Some(fixed.to_owned())
}

/// Whether the parenthesis at `open` follows `in`.
fn is_after_in(before: &str, open: usize) -> bool {
    before.get(..open).is_some_and(|head| head.trim_end().ends_with(" in"))
}

fn is_unclosed(text: &str, at: usize) -> bool {
    let line = text.get(at + 1..).unwrap_or("");
    let line = line.split('\n').next().unwrap_or("");
    !line.replace("\\\\", "").replace("\\\"", "").contains('"')
}

/// What ends the raw string that starts at `at`, if one does.
fn raw_end(text: &str, at: usize) -> Option<String> {
    let fence = text.get(at..)?.strip_prefix('r')?;
    let hashes = fence.len() - fence.trim_start_matches('#').len();
    fence.get(hashes..)?.starts_with('"').then(|| format!("\"{}", "#".repeat(hashes)))
}

/// Whether the raw string that `rest` starts with has its end on its line.
fn is_closed(rest: &str, end: &str) -> bool {
    let line = rest.split('\n').next().unwrap_or("");
    line.get(1 + end.len()..).is_some_and(|body| body.contains(end))
}

/// The token at `at`, for people: a word, a run of operator characters, or one character.
pub(super) fn token_at(text: &str, at: usize) -> Span {
    let rest = text.get(at..).unwrap_or("");
    let Some(first) = rest.chars().next() else { return Span::new(text.len(), text.len()) };
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let operator = |c: char| "=<>!&|~?-".contains(c);
    let run = |keep: &dyn Fn(char) -> bool| rest.find(|c| !keep(c)).unwrap_or(rest.len());
    let length = match first {
        '-' if rest.get(1..).is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit())) => {
            1 + rest.get(1..).map_or(0, |r| r.find(|c| !word(c)).unwrap_or(r.len()))
        }
        c if word(c) && c != '-' => run(&word),
        c if operator(c) => run(&operator),
        c => c.len_utf8(),
    };
    Span::new(at, at + length)
}

/// A piece of the author's text inside a sentence, clipped.
pub(super) fn shown(found: &str) -> String {
    let clipped: String = found.chars().take(60).flat_map(char::escape_debug).collect();
    let clipped = clipped.replace("\\\"", "\"").replace("\\'", "'");
    let dots = if found.chars().nth(60).is_some() { "…" } else { "" };
    format!("`{clipped}{dots}`")
}
