//! Any text, resolved statement by statement and as a whole file that the grammar read: the same rules and the same
//! problems.
//!
//! A target of the fuzzer, and a test over the texts that the repository holds: nothing of it is in a build of the
//! crate.

use super::{resolve_file, resolve_text};
use crate::diagnostic::Problems;
use crate::limits::Limits;
use crate::schema::{List, Names, Schema, Type};
use crate::syntax::{self, Arena};

/// Resolves a text both ways.
pub(crate) fn one_by_one(text: &str) {
    let schema = Schema::new()
        .clusters(["gray", "prod", "a", "b", "host", "next"])
        .list("vips", List::strings(["a", "b"]))
        .field("is_staff", Type::Bool, |_, _| {})
        .field("seats", Type::Int, |_, _| {})
        .keyed_field("tag", Type::String, |_, _, _| {});
    let names = Names::new(&schema);
    for diagnostics in [3, 1_000] {
        let limits = Limits { diagnostics, list_members: 100, regex_bytes: 1 << 14, ..Limits::default() };
        let mut problems = Problems::new(diagnostics);
        let arena = Arena::new();
        let file = syntax::fuzzing::parse_slowly(text, &arena, &limits, &mut problems);
        let whole = (resolve_file(&file, text, &names, &limits, &mut problems), problems);
        syntax::fuzzing::same(text, &resolve_text(text, &names, &limits), &whole);
    }
}

#[cfg(test)]
mod tests {
    use crate::syntax::fuzzing::{made, texts};

    #[test]
    fn what_people_write_is_resolved_one_by_one() {
        texts().iter().for_each(|text| super::one_by_one(text));
    }

    #[test]
    fn many_texts_from_any_bytes() {
        made(1_000).for_each(|text| super::one_by_one(&text));
    }
}
