//! Text to tree and back: the grammar, the parser, the tree with its spans, and the printer.
//!
//! ```text
//! text ──scan──▶ nesting, places to go on after a mistake, comments
//!      ──parse─▶ File (tree with spans)  ──print──▶ canonical text
//! ```
//!
//! `parse(print(file)) == file` for every file: nodes compare without their spans.

pub(crate) mod ast;
mod expect;
pub(crate) mod literal;
mod parse;
pub(crate) mod print;
mod scan;

pub(crate) use parse::{parse_condition, parse_file, parse_list, parse_outcome};

/// Words that cannot be a name without quotes: they start statements or join conditions.
pub(crate) const RESERVED: &[&str] = &[
    "list",
    "cluster",
    "default",
    "paused",
    "shadow",
    "route",
    "deny",
    "limit",
    "cache",
    "capture",
    "mirror",
    "by",
    "and",
    "or",
    "not",
    "in",
    "starts_with",
    "ends_with",
    "contains",
    "under",
    "matches",
    "true",
    "false",
];

/// Whether `word` starts statements.
pub(crate) fn is_starter(word: &str) -> bool {
    RESERVED.get(..STARTERS).is_some_and(|starters| starters.contains(&word))
}

/// How many words at the head of [`RESERVED`] start statements.
const STARTERS: usize = 11;

/// The statements of the service gateway, which have their names already.
pub(crate) const GATEWAY_KINDS: &[&str] = &["deny", "limit", "cache", "capture", "mirror"];

/// Whether `name` can be written without quotes.
pub(crate) fn is_bare(name: &str) -> bool {
    is_word(name) && !RESERVED.contains(&name)
}

/// Whether `name` has the shape of a name, reserved or not.
pub(crate) fn is_word(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
