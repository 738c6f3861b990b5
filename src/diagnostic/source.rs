//! Where a piece of text came from.

use std::ops::Range;
use std::sync::Arc;

/// A range of bytes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// What the offsets of a text mean to its author.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// One text with a name, as `checkout.rules`: places are lines.
    Text(Arc<str>),
    /// Pieces that the application handed over one by one: places are statements. In order of their ranges.
    Pieces(Vec<Piece>),
}

/// One piece: what it is called, and where it stands in the joined text.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) label: String,
    pub(crate) range: Range<usize>,
}

/// A place as its author knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) line_range: Range<usize>,
}

// === impl Span ===

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Span { start, end }
    }

    /// From the start of `self` to the end of `other`.
    pub(crate) fn to(self, other: Span) -> Self {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The text that the span covers; empty if it does not fit.
    pub(crate) fn of<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start..self.end).unwrap_or("")
    }
}

// === impl Source ===

impl Source {
    /// A text with a name.
    pub(crate) fn named(name: impl Into<Arc<str>>) -> Self {
        Source::Text(name.into())
    }

    /// The place of byte `at`. `starts` are the offsets at which the lines of `text` start.
    pub(crate) fn place(&self, text: &str, starts: &[usize], at: usize) -> Place {
        let at = (0..=at.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        let (name, from, to) = match self {
            // What is missing at the end is shown at the last line that says something.
            Source::Text(_) if at == text.len() && at > text.trim_end().len() => {
                return self.place(text.trim_end(), starts, at);
            }
            Source::Text(name) => (name.to_string(), 0, text.len()),
            Source::Pieces(pieces) => {
                let next = pieces.partition_point(|piece| piece.range.start <= at);
                match pieces.get(next.saturating_sub(1)) {
                    Some(piece) => (piece.label.clone(), piece.range.start, piece.range.end),
                    None => (String::new(), 0, text.len()),
                }
            }
        };
        let line_of = |at: usize| starts.partition_point(|&start| start <= at).saturating_sub(1);
        let line = line_of(at);
        let start = starts.get(line).copied().unwrap_or(0).max(from);
        let end = memchr::memchr(b'\n', text.as_bytes().get(at..).unwrap_or_default())
            .map_or(text.len(), |n| at + n)
            .min(to)
            .max(at);
        let column = text.get(start..at).map_or(1, |before| before.chars().count() + 1);
        Place { name, line: line - line_of(from).min(line) + 1, column, line_range: start..end }
    }
}
