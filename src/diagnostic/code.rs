//! The stable names of what can be wrong.

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Understood, but surely not meant. The rules run all the same, unless the application asks otherwise.
    Lint,
    /// Not understood. The rules do not run.
    Error,
}

/// What kind of problem it is: a stable name for programs, as the message is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The text is not what the grammar expects at this place.
    Syntax,
    /// A bound of [`Limits`](crate::Limits) is passed.
    TooLarge,
    /// A literal cannot be read: an address, an int, an escape, a time.
    BadLiteral,
    /// A regular expression cannot be compiled.
    BadRegex,
    /// No field or function has this name.
    UnknownField,
    /// No list has this name.
    UnknownList,
    /// No cluster has this name.
    UnknownCluster,
    /// No statement starts with this word, or not in this version.
    UnknownStatement,
    /// A field has no argument, or has one too many.
    BadArgument,
    /// The two sides, or a function and its operand, do not fit.
    TypeMismatch,
    /// A value stands where a condition is needed, or the other way round.
    NotACondition,
    /// Two statements of one kind have one name.
    DuplicateName,
    /// `default` is missing, or stands twice.
    Default,
    /// A split cannot be dealt: weights, keys, a cluster that contains itself.
    BadSplit,
    /// Compiling panicked: a bug, of this crate or of what the application has put in.
    Panicked,
    /// The condition is never true.
    NeverMatches,
    /// An earlier route takes every request that this one could.
    NeverReached,
    /// No condition uses the list.
    UnusedList,
    /// A member adds nothing to its list.
    DuplicateMember,
    /// No request can have this value, or none that is meant: a client may send the method `get`.
    NeverEqual,
}

// === impl Severity ===

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Lint => "warning",
            Severity::Error => "error",
        })
    }
}

// === impl Code ===

impl Code {
    /// Whether this is an error or a lint; a code is always the same.
    pub fn severity(self) -> Severity {
        match self {
            Code::NeverMatches
            | Code::NeverReached
            | Code::UnusedList
            | Code::DuplicateMember
            | Code::NeverEqual => Severity::Lint,
            _ => Severity::Error,
        }
    }

    /// The name in kebab case, as `unknown-field`.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Syntax => "syntax",
            Code::TooLarge => "too-large",
            Code::BadLiteral => "bad-literal",
            Code::BadRegex => "bad-regex",
            Code::UnknownField => "unknown-field",
            Code::UnknownList => "unknown-list",
            Code::UnknownCluster => "unknown-cluster",
            Code::UnknownStatement => "unknown-statement",
            Code::BadArgument => "bad-argument",
            Code::TypeMismatch => "type-mismatch",
            Code::NotACondition => "not-a-condition",
            Code::DuplicateName => "duplicate-name",
            Code::Default => "default",
            Code::BadSplit => "bad-split",
            Code::Panicked => "panicked",
            Code::NeverMatches => "never-matches",
            Code::NeverReached => "never-reached",
            Code::UnusedList => "unused-list",
            Code::DuplicateMember => "duplicate-member",
            Code::NeverEqual => "never-equal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
