//! What a rule set is made from: a text, or statements one by one.

use std::borrow::Cow;

use crate::diagnostic::{Diagnostics, Piece, Problems, Source};
use crate::limits::Limits;
use crate::syntax::print::Name;
use crate::syntax::{parse_condition, parse_list, parse_outcome};

/// Rules to be compiled: a text, a text with a name, or [`Statements`].
///
/// ```
/// use pointsman::{Rules, Statements};
///
/// let text: Rules = "default => prod".into();
/// let named = Rules::named("checkout.rules", "default => prod");
/// let built: Rules = Statements::new().default("prod").into();
/// # let _ = (text, named, built);
/// ```
#[derive(Debug, Clone)]
pub struct Rules<'a>(pub(super) Form<'a>);

#[derive(Debug, Clone)]
pub(super) enum Form<'a> {
    Text { name: Cow<'a, str>, text: Cow<'a, str> },
    Statements(Statements),
}

/// Rules one statement at a time, for applications that keep them in a database.
///
/// The pieces are texts of the rule language, and go through the same checks as a text; a diagnostic names the
/// statement in place of the line. A piece can only be what it is meant to be: a condition cannot bring a
/// statement of its own. Nothing is checked before the rules are given to an engine.
///
/// ```
/// use pointsman::{Engine, Statements};
/// use pointsman::schema::Schema;
///
/// let rules = Statements::new()
///     .list("beta", r#"["1001", "1002"]"#)
///     .route("staff", "cookie(uid) in beta", "gray")
///     .route("tenth", "path under \"/checkout\"", "gray 10, prod 90 by cookie(uid)")
///     .default("prod");
/// let engine = Engine::builder().schema(Schema::new().clusters(["gray", "prod"])).build(rules)?;
///
/// let bad = Statements::new().route("staff", "cookie(uid) in betta", "gray").default("prod");
/// let diagnostics = engine.replace(bad).unwrap_err();
/// assert_eq!(diagnostics.iter().next().unwrap().source_name(), "route staff, condition");
/// # Ok::<(), pointsman::BuildError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Statements {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
struct Statement {
    /// What the statement is called in diagnostics.
    label: String,
    /// Everything before the first piece.
    head: String,
    parts: Vec<(&'static str, Part, String)>,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Condition,
    Outcome,
    Members,
}

// === impl Rules ===

impl<'a> Rules<'a> {
    /// A text whose diagnostics begin with `name`, as `checkout.rules:4:14`.
    pub fn named(name: impl Into<Cow<'a, str>>, text: impl Into<Cow<'a, str>>) -> Self {
        Rules(Form::Text { name: name.into(), text: text.into() })
    }
}

impl<'a> From<&'a str> for Rules<'a> {
    fn from(text: &'a str) -> Self {
        Rules::named("rules", text)
    }
}

impl<'a> From<&'a String> for Rules<'a> {
    fn from(text: &'a String) -> Self {
        Rules::named("rules", text.as_str())
    }
}

impl From<String> for Rules<'_> {
    fn from(text: String) -> Self {
        Rules::named("rules", text)
    }
}

impl From<Statements> for Rules<'_> {
    fn from(statements: Statements) -> Self {
        Rules(Form::Statements(statements))
    }
}

// === impl Statements ===

impl Statements {
    /// No statements yet.
    pub fn new() -> Self {
        Statements { statements: Vec::new() }
    }

    /// Adds `list NAME = MEMBERS`; the members stand in brackets.
    #[must_use]
    pub fn list(self, name: &str, members: impl Into<String>) -> Self {
        let parts = vec![("members", Part::Members, members.into())];
        self.add(format!("list {name}"), format!("list {} = ", Name(name)), parts)
    }

    /// Adds `cluster NAME = OUTCOME`.
    #[must_use]
    pub fn cluster(self, name: &str, outcome: impl Into<String>) -> Self {
        let parts = vec![("outcome", Part::Outcome, outcome.into())];
        self.add(format!("cluster {name}"), format!("cluster {} = ", Name(name)), parts)
    }

    /// Adds `route NAME: CONDITION => OUTCOME`.
    #[must_use]
    pub fn route(self, name: &str, condition: impl Into<String>, outcome: impl Into<String>) -> Self {
        self.rule("", name, condition.into(), outcome.into())
    }

    /// Adds a route that is checked and never evaluated.
    #[must_use]
    pub fn paused_route(self, name: &str, condition: impl Into<String>, outcome: impl Into<String>) -> Self {
        self.rule("paused ", name, condition.into(), outcome.into())
    }

    /// Adds a route that is evaluated and counted and never acts.
    #[must_use]
    pub fn shadow_route(self, name: &str, condition: impl Into<String>, outcome: impl Into<String>) -> Self {
        self.rule("shadow ", name, condition.into(), outcome.into())
    }

    /// Adds `default => OUTCOME`.
    #[must_use]
    pub fn default(self, outcome: impl Into<String>) -> Self {
        let parts = vec![("outcome", Part::Outcome, outcome.into())];
        self.add("default".to_owned(), "default => ".to_owned(), parts)
    }

    fn rule(self, state: &str, name: &str, condition: String, outcome: String) -> Self {
        let parts = vec![("condition", Part::Condition, condition), ("outcome", Part::Outcome, outcome)];
        self.add(format!("route {name}"), format!("{state}route {}: ", Name(name)), parts)
    }

    fn add(mut self, label: String, head: String, parts: Vec<(&'static str, Part, String)>) -> Self {
        self.statements.push(Statement { label, head, parts });
        self
    }

    /// One text of all statements, and where its pieces came from.
    ///
    /// Each piece is parsed on its own first. Only when all of them are what they should be is the text worth
    /// parsing: put together, each then means what it meant alone.
    pub(super) fn join(&self, limits: &Limits) -> Result<(String, Source), Diagnostics> {
        let mut text = String::new();
        let mut pieces = Vec::new();
        let mut problems = Problems::new(limits.diagnostics);
        for statement in &self.statements {
            let start = text.len();
            text.push_str(&statement.head);
            pieces.push(Piece { label: statement.label.clone(), range: start..text.len() });
            for (i, (what, part, piece)) in statement.parts.iter().enumerate() {
                if i > 0 {
                    text.push_str("\n=> ");
                }
                let start = text.len();
                let mut found = Problems::new(limits.diagnostics);
                match part {
                    Part::Condition => drop(parse_condition(piece, limits, &mut found)),
                    Part::Outcome => drop(parse_outcome(piece, limits, &mut found)),
                    Part::Members => drop(parse_list(piece, limits, &mut found)),
                }
                problems.extend_shifted(found, start);
                text.push_str(piece);
                pieces
                    .push(Piece { label: format!("{}, {what}", statement.label), range: start..text.len() });
            }
            // A comment at the end of a piece ends here too.
            text.push('\n');
        }
        pieces.push(Piece { label: "rules".to_owned(), range: text.len()..text.len() });
        let source = Source::Pieces(pieces);
        if problems.has_errors() {
            return Err(Diagnostics::new(problems, &source, &text));
        }
        Ok((text, source))
    }
}
