//! Why there are no rules to start with.

use std::fmt;

use super::status::Origin;
use crate::diagnostic::Diagnostics;
use crate::engine::SchemaError;

/// Why a [`Follower`](super::Follower) could not start.
///
/// ```text
/// there are no rules to start with
///   the source: connection refused
///   the last good ones: /var/lib/shop/rules.good: there is none
/// ```
#[derive(Clone, thiserror::Error)]
pub struct StartError(Inner);

#[derive(Debug, Clone)]
enum Inner {
    NoRules(Vec<Tried>),
    Schema(SchemaError),
    NoRuntime,
}

/// Rules that a start was tried with, in vain.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Tried {
    /// Whose rules.
    pub origin: Origin,
    /// Why they were not taken, in one line.
    pub why: String,
    /// What is wrong with the text, if there was one.
    pub diagnostics: Option<Diagnostics>,
}

// === impl StartError ===

impl StartError {
    pub(super) fn no_rules(tried: Vec<Tried>) -> Self {
        StartError(Inner::NoRules(tried))
    }

    pub(super) fn schema(error: SchemaError) -> Self {
        StartError(Inner::Schema(error))
    }

    pub(super) fn no_runtime() -> Self {
        StartError(Inner::NoRuntime)
    }

    /// What was tried, in this order; nothing where the application itself is at fault.
    pub fn tried(&self) -> &[Tried] {
        match &self.0 {
            Inner::NoRules(tried) => tried,
            _ => &[],
        }
    }

    /// The name in the schema that cannot be used, if that is it.
    pub fn schema_error(&self) -> Option<&SchemaError> {
        match &self.0 {
            Inner::Schema(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Schema(error) => error.fmt(f),
            Inner::NoRuntime => f.write_str("following a source needs a tokio runtime"),
            Inner::NoRules(tried) => {
                f.write_str("there are no rules to start with")?;
                for Tried { origin, why, diagnostics } in tried {
                    write!(f, "\n  {origin}: {why}")?;
                    if let Some(diagnostics) = diagnostics {
                        write!(f, "\n{diagnostics}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// The same as `Display`: it is what `main` and `unwrap` show.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Tried ===

impl Tried {
    pub(super) fn new(origin: Origin, why: String) -> Self {
        Tried { origin, why, diagnostics: None }
    }

    pub(super) fn unsound(diagnostics: Diagnostics) -> Self {
        let why = match diagnostics.len() + diagnostics.left_out() {
            1 => "the text has a mistake".to_owned(),
            count => format!("the text has {count} mistakes"),
        };
        Tried { origin: Origin::Source, why, diagnostics: Some(diagnostics) }
    }

    pub(super) fn of(self, origin: Origin) -> Self {
        Tried { origin, ..self }
    }
}
