//! Where a piece of text came from.

use std::cell::Cell;
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
    /// Its place among the statements, as the application gave them.
    pub(crate) order: usize,
    pub(crate) range: Range<usize>,
}

/// Where the lines of a text start, and the place that was asked for last: places are asked for in their order,
/// and a line may be megabytes long.
#[derive(Debug)]
pub(crate) struct Lines {
    starts: Vec<usize>,
    /// From where, to where, and how many characters that are.
    counted: Cell<(usize, usize, usize)>,
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

// === impl Lines ===

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let starts = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        Lines { starts: std::iter::once(0).chain(starts).collect(), counted: Cell::default() }
    }

    /// The index of the line that byte `at` is in.
    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|&start| start <= at).saturating_sub(1)
    }

    /// How many characters stand from `start` to `at`.
    fn characters(&self, text: &str, start: usize, at: usize) -> usize {
        let (from, to, before) = self.counted.get();
        let known = if from == start && to <= at { before } else { 0 };
        let rest = if known > 0 { to..at } else { start..at };
        let count = known + text.get(rest).map_or(0, |rest| rest.chars().count());
        self.counted.set((start, at, count));
        count
    }
}

// === impl Source ===

impl Source {
    /// A text with a name.
    pub(crate) fn named(name: impl Into<Arc<str>>) -> Self {
        Source::Text(name.into())
    }

    /// What the problems of a place are sorted by: the order in which the author wrote.
    pub(crate) fn order(&self, at: usize) -> (usize, usize) {
        match self {
            Source::Text(_) => (0, at),
            Source::Pieces(pieces) => {
                let next = pieces.partition_point(|piece| piece.range.start <= at);
                (pieces.get(next.saturating_sub(1)).map_or(0, |piece| piece.order), at)
            }
        }
    }

    /// The place of byte `at`.
    pub(crate) fn place(&self, text: &str, lines: &Lines, at: usize) -> Place {
        let at = (0..=at.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        let (name, from, to) = match self {
            // What is missing at the end is shown at the last line that says something.
            Source::Text(_) if at == text.len() && at > text.trim_end().len() => {
                return self.place(text.trim_end(), lines, at);
            }
            Source::Pieces(pieces)
                if at == text.len()
                    && pieces.last().is_some_and(|piece| piece.range.start < text.trim_end().len())
                    && at > text.trim_end().len() =>
            {
                return self.place(text.trim_end(), lines, at);
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
        let line = lines.line(at);
        let start = lines.starts.get(line).copied().unwrap_or(0).max(from);
        let end =
            lines.starts.get(line + 1).map_or(text.len(), |next| next - 1).min(text.len()).min(to).max(at);
        let column = lines.characters(text, start, at) + 1;
        Place { name, line: line - lines.line(from).min(line) + 1, column, line_range: start..end }
    }
}
