//! Text to tree and back: the grammar, the parser, the tree with its spans, and the printer.
//!
//! ```text
//! text ──quick─▶ statement (tree with spans), one by one
//!      └─ or, where that gives up,
//!        ──scan──▶ nesting, places to go on after a mistake, comments
//!        ──parse─▶ statement, or what is wrong with it
//!
//! statements and comments: File ──print──▶ canonical text
//! ```
//!
//! `parse(print(file)) == file` for every file: nodes compare without their spans.

pub(crate) mod ast;
mod bytes;
mod expect;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod literal;
mod parse;
pub(crate) mod print;
mod quick;
mod scan;

pub(crate) use ast::Arena;
use bytes::is_letter;
pub(crate) use parse::{parse_action, parse_condition, parse_file, parse_list, parse_outcome};
pub(crate) use quick::{declarations, each};

/// Makes the questions out of the one list of words. They are asked for every word of a text.
macro_rules! reserved {
    (starters: $($starter:literal)* others: $($other:literal)*) => {
        /// Words that cannot be a name without quotes: they start statements or join conditions.
        #[cfg(test)]
        pub(crate) const RESERVED: &[&str] = &[$($starter,)* $($other),*];

        /// Whether `word` starts statements.
        pub(crate) fn is_starter(word: &str) -> bool {
            matches!(word, $($starter)|*)
        }

        /// Whether `word` cannot be a name without quotes.
        pub(crate) fn is_reserved(word: &str) -> bool {
            matches!(word, $($starter)|* | $($other)|*)
        }
    };
}

reserved! {
    starters: "list" "cluster" "default" "paused" "shadow" "route" "deny" "limit" "cache" "capture" "mirror"
        "count"
    others: "by" "and" "or" "not" "in" "starts_with" "ends_with" "contains" "under" "matches" "true" "false"
}

/// Whether `word` starts statements that may be paused or shadows.
pub(crate) fn is_acting(word: &str) -> bool {
    word == "route" || ast::StatementKind::GATEWAY.iter().any(|kind| kind.word() == word)
}

/// About how many statements a text has: to make room for them, as to move them costs as much as to make them.
pub(crate) fn about_how_many(text: &str) -> usize {
    text.len() / 64
}

/// Whether `name` can be written without quotes.
pub(crate) fn is_bare(name: &str) -> bool {
    is_word(name) && !is_reserved(name)
}

/// Whether `name` has the shape of a name, reserved or not.
pub(crate) fn is_word(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') && bytes.all(is_letter)
}
