//! A condition without a rule set, for those who want only the matcher.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::pipeline;
use super::settings::{BuildError, validate};
use crate::diagnostic::Diagnostics;
use crate::eval::Run;
use crate::limits::Limits;
use crate::schema::{Input, RequestHead, Schema};

/// A typed and compiled condition over a request. A clone is a pointer.
///
/// ```
/// use http::Request;
/// use pointsman::Condition;
///
/// let beta = Condition::new(r#"cookie(uid) in ["1001", "1002"] && path under "/checkout""#)?;
///
/// let request = Request::get("/checkout/pay").header("cookie", "uid=1002").body(())?;
/// assert!(beta.matches(&request));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `percent` without a salt of its own uses the empty one; see [`Condition::compile`] for a name.
#[derive(Clone)]
pub struct Condition {
    inner: Arc<Inner>,
}

struct Inner {
    compiled: pipeline::CompiledCondition,
    schema: Schema,
    text: String,
}

// === impl Condition ===

impl Condition {
    /// Compiles a condition over the built-in fields, within the default limits.
    ///
    /// # Errors
    ///
    /// When the text is not a sound condition.
    pub fn new(text: &str) -> Result<Self, Diagnostics> {
        let compiled = pipeline::run_condition(text, "", &Schema::default(), &Limits::default())?;
        Ok(Condition {
            inner: Arc::new(Inner { compiled, schema: Schema::default(), text: text.to_owned() }),
        })
    }

    /// Compiles a condition over the fields and lists of `schema`. `name` is the default salt of `percent`, as a
    /// route's name is.
    ///
    /// # Errors
    ///
    /// When a name in the schema cannot be used, or the text is not a sound condition.
    pub fn compile(name: &str, text: &str, schema: &Schema, limits: &Limits) -> Result<Self, BuildError> {
        validate(schema).map_err(BuildError::Schema)?;
        let compiled = pipeline::run_condition(text, name, schema, limits).map_err(BuildError::Rules)?;
        Ok(Condition { inner: Arc::new(Inner { compiled, schema: schema.clone(), text: text.to_owned() }) })
    }

    /// Whether it is true of a request, now.
    pub fn matches<'r>(&self, request: impl Into<RequestHead<'r>>) -> bool {
        let needs_now = self.inner.compiled.program.needs_now();
        let now = if needs_now { SystemTime::now() } else { SystemTime::UNIX_EPOCH };
        self.matches_at(request, now)
    }

    /// Whether it is true of a request at a time.
    pub fn matches_at<'r>(&self, request: impl Into<RequestHead<'r>>, now: SystemTime) -> bool {
        let input = Input { head: request.into(), now, client: &self.inner.schema.client, available: None };
        Run::new(&self.inner.compiled.program, &input, 0).matches()
    }

    /// What the reference evaluator says, which walks the condition as it is written; for tests that hold the
    /// two against each other.
    #[doc(hidden)]
    pub fn reference_at<'r>(&self, request: impl Into<RequestHead<'r>>, now: SystemTime) -> bool {
        let input = Input { head: request.into(), now, client: &self.inner.schema.client, available: None };
        crate::check::reference::holds(&self.inner.compiled.typed, &input, &mut ())
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// What is understood but surely not meant.
    pub fn lints(&self) -> &Diagnostics {
        &self.inner.compiled.lints
    }

    /// The program, for people to read.
    pub fn disassemble(&self) -> String {
        self.inner.compiled.program.to_string()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.inner.text).finish()
    }
}
