//! Why a source could not say what the rules are.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a [`Source`](super::Source) has no text to give. The rules that run go on.
///
/// `Display` says what happened; [`source`](std::error::Error::source) is the error behind it, if there is one.
///
/// ```
/// use pointsman::source::{SourceError, SourceErrorKind};
///
/// let error = SourceError::new(SourceErrorKind::Unreachable, "the configuration server does not answer")
///     .because(std::io::Error::other("connection reset"));
/// assert_eq!(error.kind(), SourceErrorKind::Unreachable);
/// assert_eq!(error.chain(), "the configuration server does not answer: connection reset");
/// ```
#[derive(Debug, Clone)]
pub struct SourceError {
    kind: SourceErrorKind,
    message: Cow<'static, str>,
    because: Option<Arc<dyn std::error::Error + Send + Sync>>,
    retry_after: Option<Duration>,
}

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// It does not answer, or the connection broke.
    Unreachable,
    /// It answers, and there is no text: the file is gone, the key was wiped.
    Absent,
    /// There is something, and it is no text: bytes that are not UTF-8, a directory in the place of a file.
    Invalid,
    /// There is more than the source's limit allows.
    TooLarge,
    /// It does not let us: wrong credentials, missing permission.
    Denied,
    /// Anything else.
    Other,
}

// === impl SourceError ===

impl SourceError {
    /// An error of that kind. The message is for the operator: in lower case, without a full stop.
    pub fn new(kind: SourceErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        SourceError { kind, message: message.into(), because: None, retry_after: None }
    }

    /// There are more bytes than `limit` allows; `size` says how many, where that is known.
    pub fn too_large(what: impl fmt::Display, limit: usize, size: Option<u64>) -> Self {
        let message = match size {
            Some(size) => format!("{what} has {size} bytes, {limit} are allowed"),
            None => format!("{what} has more than the {limit} bytes that are allowed"),
        };
        SourceError::new(SourceErrorKind::TooLarge, message)
    }

    /// Bytes as a text.
    ///
    /// # Errors
    ///
    /// When they are not UTF-8; the error says where.
    pub fn utf8(what: impl fmt::Display, bytes: Vec<u8>) -> Result<String, Self> {
        String::from_utf8(bytes).map_err(|error| {
            let error = error.utf8_error();
            let message = format!("{what} is not UTF-8 from byte {} on", error.valid_up_to());
            SourceError::new(SourceErrorKind::Invalid, message)
        })
    }

    /// Adds the error behind it.
    #[must_use]
    pub fn because(mut self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.because = Some(Arc::from(error.into()));
        self
    }

    /// Asks not to be called again before that time has passed, as a server may. What is longer than
    /// [`Backoff::LONGEST_ASKED`](super::Backoff::LONGEST_ASKED) counts as that.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> SourceErrorKind {
        self.kind
    }

    /// How long the source asked to be left alone.
    pub fn asked_to_wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The message and those of all errors behind it, in one line.
    pub fn chain(&self) -> String {
        let mut chain = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            let message = error.to_string();
            // Some errors repeat what is behind them.
            if !chain.ends_with(&message) {
                chain.push_str(": ");
                chain.push_str(&message);
            }
            next = error.source();
        }
        chain
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.because {
            Some(error) => Some(&**error),
            None => None,
        }
    }
}

// === impl SourceErrorKind ===

impl SourceErrorKind {
    /// Whether the source answered, though not with a text: asking again at once would not help.
    pub fn is_an_answer(self) -> bool {
        match self {
            SourceErrorKind::Absent
            | SourceErrorKind::Invalid
            | SourceErrorKind::TooLarge
            | SourceErrorKind::Denied => true,
            SourceErrorKind::Unreachable | SourceErrorKind::Other => false,
        }
    }
}

impl fmt::Display for SourceErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SourceErrorKind::Unreachable => "unreachable",
            SourceErrorKind::Absent => "absent",
            SourceErrorKind::Invalid => "invalid",
            SourceErrorKind::TooLarge => "too large",
            SourceErrorKind::Denied => "denied",
            SourceErrorKind::Other => "other",
        })
    }
}
