//! Problems as they are found, before anybody asks for lines and columns.

use super::{Code, Severity, Span};

/// One problem, with its place as a range of bytes.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) span: Span,
    pub(crate) message: String,
    /// Stands at the caret: the next step, or what was found.
    pub(crate) label: Option<String>,
    /// Stands below: what to do, when that takes a sentence.
    pub(crate) help: Option<String>,
    /// Another place that matters, with what it is.
    pub(crate) related: Option<(Span, &'static str)>,
}

/// All problems of one text, as many as are kept.
#[derive(Debug)]
pub(crate) struct Problems {
    pub(crate) kept: Vec<Problem>,
    pub(crate) left_out: usize,
    most: usize,
    errors: usize,
    /// How many lints are kept: an error may take the place of one.
    lints: usize,
}

// === impl Problem ===

impl Problem {
    pub(crate) fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Problem { code, span, message: message.into(), label: None, help: None, related: None }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn related(mut self, span: Span, what: &'static str) -> Self {
        self.related = Some((span, what));
        self
    }

    /// ``did you mean `host`?`` at the caret, when there is a near name.
    pub(crate) fn did_you_mean(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.label(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

// === impl Problems ===

impl Problems {
    pub(crate) fn new(most: usize) -> Self {
        Problems { kept: Vec::new(), left_out: 0, most: most.max(1), errors: 0, lints: 0 }
    }

    /// Adds a problem. When there are too many, an error takes the place of a lint.
    pub(crate) fn push(&mut self, problem: Problem) {
        let is_error = problem.code.severity() == Severity::Error;
        self.errors += usize::from(is_error);
        if self.kept.len() < self.most {
            self.lints += usize::from(!is_error);
            self.kept.push(problem);
            return;
        }
        self.left_out += 1;
        if is_error
            && self.lints > 0
            && let Some(lint) = self.kept.iter_mut().rev().find(|p| p.code.severity() == Severity::Lint)
        {
            *lint = problem;
            self.lints -= 1;
        }
    }

    /// As `push`, for a problem that is dear to put into words: it is only made if it will be kept.
    pub(crate) fn push_with(&mut self, code: Code, problem: impl FnOnce() -> Problem) {
        let is_error = code.severity() == Severity::Error;
        if self.kept.len() < self.most || (is_error && self.lints > 0) {
            self.push(problem());
        } else {
            self.errors += usize::from(is_error);
            self.left_out += 1;
        }
    }

    /// Adds the problems of a piece that starts at byte `offset` of the whole text.
    pub(crate) fn extend_shifted(&mut self, piece: Problems, offset: usize) {
        let shift = |span: Span| Span::new(span.start + offset, span.end + offset);
        self.left_out += piece.left_out;
        for mut problem in piece.kept {
            problem.span = shift(problem.span);
            problem.related = problem.related.map(|(span, what)| (shift(span), what));
            self.push(problem);
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }
}
