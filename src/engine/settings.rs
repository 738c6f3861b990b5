//! How an engine is put together, and what can be wrong with that.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::engine::Engine;
use super::rules::Rules;
use crate::diagnostic::Diagnostics;
use crate::limits::Limits;
use crate::schema::{BuiltIn, Schema, Type};
use crate::syntax::ast::Function;
use crate::syntax::is_bare;

/// Puts an [`Engine`] together; made by [`Engine::builder`].
#[derive(Clone, Default)]
#[must_use]
pub struct EngineBuilder {
    pub(super) schema: Schema,
    pub(super) limits: Limits,
    pub(super) strict: bool,
    pub(super) clock: Option<Clock>,
    pub(super) chance: Option<Chance>,
}

pub(super) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
pub(super) type Chance = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Why an engine could not be built.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A name in the [`Schema`] cannot be used.
    #[error("{0}")]
    Schema(SchemaError),
    /// The rules are not sound.
    #[error("{0}")]
    Rules(Diagnostics),
}

/// A name in a [`Schema`] that rules could not use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} `{name}` {why}")]
pub struct SchemaError {
    what: &'static str,
    name: String,
    why: &'static str,
}

// === impl BuildError ===

/// The same as `Display`: it is what `main` and `unwrap` show.
impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl EngineBuilder ===

impl EngineBuilder {
    /// What rules may mention: clusters, fields, lists. Without it, there are the built-in fields and no
    /// clusters. Clusters that were declared before stay declared.
    pub fn schema(mut self, schema: Schema) -> Self {
        let before = std::mem::take(&mut self.schema.clusters);
        self.schema = schema;
        self.schema.clusters.splice(0..0, before);
        self
    }

    /// Declares the clusters, for applications with nothing else to put into a [`Schema`].
    pub fn clusters<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.schema = self.schema.clusters(names);
        self
    }

    /// How much a rule text may ask for.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Refuses rules with lints as if they were errors.
    pub fn deny_lints(mut self, deny: bool) -> Self {
        self.strict = deny;
        self
    }

    /// What `now` is; the system's clock by default. Called once a decision, and only if a rule asks for `now`.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Where splits without a key take their chance from: 64 random bits. Called once a decision, and only if
    /// the rules have a split. The default is quick and not for secrets.
    pub fn chance(mut self, chance: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.chance = Some(Arc::new(chance));
        self
    }

    /// Compiles the first rules. Costs about as much as [`Engine::replace`].
    ///
    /// # Errors
    ///
    /// When a name in the schema cannot be used, or the rules are not sound.
    pub fn build<'a>(self, rules: impl Into<Rules<'a>>) -> Result<Engine, BuildError> {
        validate(&self.schema).map_err(BuildError::Schema)?;
        Engine::new(self, &rules.into()).map_err(BuildError::Rules)
    }
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("schema", &self.schema)
            .field("limits", &self.limits)
            .field("deny_lints", &self.strict)
            .finish_non_exhaustive()
    }
}

// === the schema's names ===

/// Finds the first name that rules could not use.
pub(super) fn validate(schema: &Schema) -> Result<(), SchemaError> {
    let bad = |what, name: &str, why| Err(SchemaError { what, name: name.to_owned(), why });
    let mut seen = std::collections::HashSet::new();
    for name in &schema.clusters {
        if name.is_empty() {
            return bad("cluster", name, "has no name");
        }
        if !seen.insert(&**name) {
            return bad("cluster", name, "is declared twice");
        }
    }
    seen.clear();
    for field in &schema.fields {
        let field = field.registered();
        let name = field.name.as_str();
        if !is_bare(name) {
            return bad(
                "field",
                name,
                "is no name a rule can write: a letter or `_`, then letters, digits, `_`, `-`, and no reserved word",
            );
        }
        if BuiltIn::named(name).is_some() {
            return bad("field", name, "is built in");
        }
        if Function::named(name).is_some() {
            return bad("field", name, "is a function");
        }
        if field.ty == Type::Percent {
            return bad("field", name, "cannot be a percentage; use an int");
        }
        if !seen.insert(name) {
            return bad("field", name, "is registered twice");
        }
    }
    seen.clear();
    for (name, _) in &schema.lists {
        if name.is_empty() {
            return bad("list", name, "has no name");
        }
        if !seen.insert(name) {
            return bad("list", name, "is supplied twice");
        }
    }
    Ok(())
}
