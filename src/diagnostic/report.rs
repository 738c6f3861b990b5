//! Problems with their places, ready to be shown.

use std::borrow::Cow;
use std::fmt;

use unicode_width::UnicodeWidthChar as _;

use super::source::{Lines, Place};
use super::{Code, Problem, Problems, Severity, Source, Span};

/// The most characters of a source line that are shown.
const WIDEST: usize = 100;

/// One problem of a text, complete: it can be kept and shown when the text is gone.
///
/// `Display` renders it with its source line and a caret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    code: Code,
    span: Span,
    message: String,
    label: Option<String>,
    help: Option<String>,
    note: Option<String>,
    place: Place,
    excerpt: String,
    caret: (usize, usize),
}

/// All problems of one text, in the order of their places.
///
/// As an error it means that at least one of them is an error, or that the application asked for lints to be
/// errors. `Display` renders them all.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
    left_out: usize,
}

// === impl Diagnostic ===

impl Diagnostic {
    /// The stable name of the kind of problem.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Error or lint.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// What is wrong, in one line, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What stands at the caret: the next step, or what was found.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// What to do, when that takes a sentence.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The text's name as it was given, or for rules that were built one by one the statement's, as
    /// `route staff, condition`.
    pub fn source_name(&self) -> &str {
        &self.place.name
    }

    /// The line, from 1; within the piece for rules that were built one by one.
    pub fn line(&self) -> usize {
        self.place.line
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> usize {
        self.place.column
    }

    /// The range of bytes of the text.
    pub fn span(&self) -> Span {
        self.span
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { name, line, column, .. } = &self.place;
        let (message, name) = (&self.message, visible(name));
        let gutter = line.to_string().len();
        writeln!(f, "{}: {message}", self.severity())?;
        writeln!(f, "{:gutter$}--> {name}:{line}:{column}", "")?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{}", format!("{line} | {}", self.excerpt).trim_end())?;
        let (before, width) = self.caret;
        let carets = "^".repeat(width);
        let label = self.label.as_deref().unwrap_or("");
        write!(f, "{}", format!("{:gutter$} | {:before$}{carets} {label}", "", "").trim_end())?;
        for (kind, text) in [("note", &self.note), ("help", &self.help)] {
            if let Some(text) = text {
                write!(f, "\n{:gutter$} = {kind}: {text}", "")?;
            }
        }
        Ok(())
    }
}

// === impl Diagnostics ===

impl Diagnostics {
    /// Finds lines and columns for all problems: one pass over the text, when there are any.
    pub(crate) fn new(problems: Problems, source: &Source, text: &str) -> Self {
        let Problems { mut kept, left_out, .. } = problems;
        if kept.is_empty() {
            return Diagnostics::default();
        }
        let lines = Lines::of(text);
        kept.sort_by_key(|problem| source.order(problem.span.start));
        let items = kept.into_iter().map(|problem| locate(problem, source, text, &lines)).collect();
        Diagnostics { items, left_out }
    }

    /// The diagnostics, in the order of their places.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// How many there are, but for those that were left out.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many more there were than [`Limits::diagnostics`](crate::Limits::diagnostics) allows to keep.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether there is an error among them.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.severity() == Severity::Error)
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.items.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            item.fmt(f)?;
        }
        if self.left_out > 0 {
            write!(f, "\n\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

/// The same as `Display`: it is what `main` and `unwrap` show.
impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Diagnostics {}

/// Control characters, and those that turn the direction of writing or cannot be seen.
pub(crate) fn unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(feature = "serde")]
impl serde::Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut out = serializer.serialize_struct("Diagnostic", 9)?;
        out.serialize_field("severity", &self.severity().to_string())?;
        out.serialize_field("code", self.code.as_str())?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("label", &self.label)?;
        out.serialize_field("help", &self.help)?;
        out.serialize_field("source", &self.place.name)?;
        out.serialize_field("line", &self.place.line)?;
        out.serialize_field("column", &self.place.column)?;
        out.serialize_field("span", &(self.span.start, self.span.end))?;
        out.end()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Diagnostics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.items)
    }
}

/// The most characters of a message, a label or a note.
const LONGEST: usize = 400;

/// A text for one line of a terminal: what cannot be seen, or would turn the line, is escaped as in a string.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(unseen) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if unseen(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

// === places ===

fn locate(problem: Problem, source: &Source, text: &str, lines: &Lines) -> Diagnostic {
    let place = source.place(text, lines, problem.span.start);
    let (excerpt, caret) = excerpt(text, &place, problem.span);
    let note = problem.related.map(|(span, what)| {
        let there = source.place(text, lines, span.start);
        if there.name == place.name {
            format!("{what} at {}:{}", there.line, there.column)
        } else {
            format!("{what} at {}:{}:{}", there.name, there.line, there.column)
        }
    });
    // Names and literals come from the text or from the application, may hold anything and be of any length.
    let seen = |text: String| match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", visible(text.get(..at).unwrap_or(""))),
        None => visible(&text).into_owned(),
    };
    let Problem { code, span, message, label, help, .. } = problem;
    let (message, label, help, note) = (seen(message), label.map(seen), help.map(seen), note.map(seen));
    Diagnostic { code, span, message, label, help, note, place, excerpt, caret }
}

/// The part of the line that is shown, and where the carets go. Control characters and tabs become blanks, so
/// that the carets stand where they should and a text cannot speak to a terminal.
fn excerpt(text: &str, place: &Place, span: Span) -> (String, (usize, usize)) {
    let range = &place.line_range;
    let start = span.start.min(range.end);
    let width = text.get(start..span.end.min(range.end)).map_or(1, |s| s.chars().count());
    let column = place.column - 1;
    // Only the part around the caret is walked: a line may be megabytes long.
    let reach = WIDEST * 4;
    let near = |at: usize| (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    let from = near(start.saturating_sub(reach).max(range.start).min(range.end));
    let to = near(start.saturating_add(reach).min(range.end));
    let before = text.get(from..start).unwrap_or("").chars().count();
    let chars: Vec<char> = text.get(from..to).unwrap_or("").chars().collect();
    let all_shown = from == range.start && to == range.end && chars.len() <= WIDEST;
    let skip = if all_shown || column < WIDEST / 2 { 0 } else { before.saturating_sub(WIDEST / 2) };
    let cut_front = from > range.start || skip > 0;
    let cut_back = to < range.end || chars.len() > skip + WIDEST;
    let mut line = String::new();
    line.push_str(if cut_front { "…" } else { "" });
    line.extend(chars.iter().skip(skip).take(WIDEST).map(|c| if unseen(*c) { ' ' } else { *c }));
    // From characters to columns: some take two, as those of 灰度 do, and combining ones none.
    let offset = before.saturating_sub(skip) + usize::from(cut_front);
    let columns = |c: char| c.width().unwrap_or(0);
    let caret = line.chars().take(offset).map(columns).sum();
    let carets: usize = line.chars().skip(offset).take(width).map(columns).sum();
    line.push_str(if cut_back { "…" } else { "" });
    (line, (caret, carets.max(1)))
}
