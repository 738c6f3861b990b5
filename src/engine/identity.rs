//! What a follower asks of rules: whether they are others, and what to say when they cannot be compiled.

use std::ops::Range;

use super::digest::Digest;
use super::rules::{Form, Rules};
use crate::diagnostic::{Code, Diagnostics, Problem, Problems, Source, Span};

impl Rules<'_> {
    /// What is said of rules whose compiling panicked.
    pub(crate) fn panicked(&self, with: &str) -> Diagnostics {
        let name = match &self.0 {
            Form::Text { name, .. } => name,
            _ => "rules",
        };
        let mut problems = Problems::new(1);
        problems
            .push(Problem::new(Code::Panicked, Span::default(), format!("compiling panicked: {with}")).help(
            "this is a bug, and not of the text; report it, unless it is in what the application has put in",
        ));
        Diagnostics::new(problems, &Source::named(name), self.text().unwrap_or(""))
    }

    /// Whether the characters of the text alone say whether it is sound: where it is put together, no statement may go
    /// from one part into the next.
    pub(crate) fn is_whole(&self) -> bool {
        !matches!(&self.0, Form::Parts { parts, .. } if parts.len() > 1)
    }

    /// What tells these rules from others whose text may be the same: the digest of the text, and the names and ranges of
    /// its parts.
    pub(crate) fn identity(&self, digest: Digest) -> Digest {
        let mut all = digest.to_string();
        let mut add = |name: &str, range: Range<usize>| {
            // The length first, so that no name can be taken for what comes after it.
            all.push_str(&format!(" {}..{} {}:{name}", range.start, range.end, name.len()));
        };
        match &self.0 {
            Form::Text { name, text } => add(name, 0..text.len()),
            Form::Parts { parts, .. } => parts.iter().for_each(|part| add(&part.name, part.range.clone())),
            Form::Statements(_) => {}
        }
        Digest::of(all)
    }
}
