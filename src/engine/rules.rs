//! What a rule set is made from: a text, or statements one by one.

use std::borrow::Cow;
use std::ops::Range;

use crate::diagnostic::{Piece, Problems, Source};
use crate::limits::Limits;
use crate::schema::StatementKind;
use crate::syntax::ast::State;
use crate::syntax::print::Name;
use crate::syntax::{Arena, parse_action, parse_condition, parse_file, parse_list, parse_outcome};

/// Rules to be compiled: a text, a text with a name, several of them, or [`Statements`].
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
    Parts { text: String, parts: Vec<TextPart> },
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

/// A part of a text that was put together from several, as from the files of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextPart {
    name: String,
    range: Range<usize>,
}

#[derive(Debug, Clone)]
struct Statement {
    /// What the statement is called in diagnostics.
    label: String,
    /// Everything before the first piece.
    head: String,
    /// What others may call it by, if anything.
    name: Option<String>,
    parts: Vec<(&'static str, Part, String)>,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Condition,
    Outcome,
    /// Of a statement of the service gateway.
    Action(StatementKind),
    Members,
}

// === impl Rules ===

impl<'a> Rules<'a> {
    /// A text whose diagnostics begin with `name`, as `checkout.rules:4:14`.
    pub fn named(name: impl Into<Cow<'a, str>>, text: impl Into<Cow<'a, str>>) -> Self {
        Rules(Form::Text { name: name.into(), text: text.into() })
    }

    /// Several texts with their names, as the files of a directory: one rule set, in their order. Names are shared, so
    /// one text may declare a list that another uses. A diagnostic leads to the text and its line.
    ///
    /// Each is parsed on its own first, so that no statement can begin in one text and end in the next; that
    /// costs about as much again as parsing. The text of the [`RuleSet`](crate::RuleSet) is all of them, each ended by
    /// a line break.
    ///
    /// ```
    /// use pointsman::{Engine, Rules};
    ///
    /// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => prod")?;
    /// let files = [("10-beta.rules", "route beta: cookie(uid) in staff => gray"), ("90-rest.rules", "default => prd")];
    /// let problems = engine.replace(Rules::joined(files)).unwrap_err();
    /// let places: Vec<_> = problems.iter().map(|p| (p.source_name(), p.line())).collect();
    /// assert_eq!(places, [("10-beta.rules", 1), ("90-rest.rules", 1)]);
    /// # Ok::<(), pointsman::BuildError>(())
    /// ```
    pub fn joined<N: Into<String>, T: AsRef<str>>(texts: impl IntoIterator<Item = (N, T)>) -> Rules<'static> {
        let (text, parts) = join(texts);
        Rules(Form::Parts { text, parts })
    }

    /// The text; all of them where several were [joined](Rules::joined). `None` for [`Statements`], whose text is
    /// written when they are compiled.
    pub fn text(&self) -> Option<&str> {
        match &self.0 {
            Form::Text { text, .. } => Some(text),
            Form::Parts { text, .. } => Some(text),
            Form::Statements(_) => None,
        }
    }
}

/// One text of several, each ended by a line break, and where they stand in it. A byte order mark is left out, as it
/// means something at the beginning only.
fn join<N: Into<String>, T: AsRef<str>>(texts: impl IntoIterator<Item = (N, T)>) -> (String, Vec<TextPart>) {
    let mut joined = String::new();
    let mut parts = Vec::new();
    for (name, text) in texts {
        let text = text.as_ref();
        let start = joined.len();
        joined.push_str(text.strip_prefix('\u{feff}').unwrap_or(text));
        if !text.ends_with('\n') {
            joined.push('\n');
        }
        parts.push(TextPart { name: name.into(), range: start..joined.len() });
    }
    (joined, parts)
}

/// Where the places of a text of parts lead to; and what is wrong with parts that are not whole statements.
pub(super) fn take_apart(text: &str, parts: &[TextPart], limits: &Limits) -> (Source, Problems) {
    let mut problems = Problems::new(limits.diagnostics);
    let piece = |(order, part): (usize, &TextPart)| Piece {
        label: part.name.clone(),
        order,
        range: part.range.clone(),
    };
    let mut pieces: Vec<_> = parts.iter().enumerate().map(piece).collect();
    // What is missing as a whole is missing at the end, or in no file at all.
    if pieces.is_empty() {
        pieces.push(Piece { label: "rules".to_owned(), order: 0, range: 0..text.len() });
    }
    // One part is whole, whatever it holds; and a text that is too large is refused as a whole.
    if parts.len() > 1 && text.len() <= limits.text_bytes {
        for part in parts {
            let mut own = Problems::new(limits.diagnostics);
            // Without the line break, so that what is missing at the end is not missing in the next part.
            let text = text.get(part.range.clone()).unwrap_or("").trim_end();
            parse_file(text, &Arena::new(), limits, &mut own);
            if own.has_errors() {
                problems.extend_shifted(own, part.range.start);
            }
        }
    }
    (Source::Pieces(pieces), problems)
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
        self.add(format!("list {name}"), format!("list {} = ", Name(name)), Some(name), parts)
    }

    /// Adds `cluster NAME = OUTCOME`.
    #[must_use]
    pub fn cluster(self, name: &str, outcome: impl Into<String>) -> Self {
        let parts = vec![("outcome", Part::Outcome, outcome.into())];
        self.add(format!("cluster {name}"), format!("cluster {} = ", Name(name)), Some(name), parts)
    }

    /// Adds `route NAME: CONDITION => OUTCOME`.
    #[must_use]
    pub fn route(self, name: &str, condition: impl Into<String>, outcome: impl Into<String>) -> Self {
        self.rule(State::Live, StatementKind::Route, name, condition, outcome)
    }

    /// Adds a route that is checked and never evaluated.
    #[must_use]
    pub fn paused_route(self, name: &str, condition: impl Into<String>, outcome: impl Into<String>) -> Self {
        self.rule(State::Paused, StatementKind::Route, name, condition, outcome)
    }

    /// Adds a route that is evaluated and counted and never acts.
    #[must_use]
    pub fn shadow_route(self, name: &str, condition: impl Into<String>, outcome: impl Into<String>) -> Self {
        self.rule(State::Shadow, StatementKind::Route, name, condition, outcome)
    }

    /// Adds `[paused | shadow] KIND NAME: CONDITION => OUTCOME`: a route, or a statement of the service gateway.
    ///
    /// ```
    /// use pointsman::schema::{Schema, StatementKind};
    /// use pointsman::{Engine, State, Statements};
    ///
    /// let rules = Statements::new()
    ///     .rule(State::Shadow, StatementKind::Limit, "all", "true", "5000/s")
    ///     .default("prod");
    /// let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Limit]);
    /// let engine = Engine::builder().schema(schema).build(rules)?;
    /// assert_eq!(engine.rules().text(), "shadow limit all: true => 5000/s\ndefault => prod\n");
    /// # Ok::<(), pointsman::BuildError>(())
    /// ```
    #[must_use]
    pub fn rule(
        self,
        state: State,
        kind: StatementKind,
        name: &str,
        condition: impl Into<String>,
        outcome: impl Into<String>,
    ) -> Self {
        let word = match state {
            State::Live => "",
            State::Shadow => "shadow ",
            State::Paused => "paused ",
        };
        let part = if kind == StatementKind::Route { Part::Outcome } else { Part::Action(kind) };
        let parts = vec![("condition", Part::Condition, condition.into()), ("outcome", part, outcome.into())];
        self.add(format!("{kind} {name}"), format!("{word}{kind} {}: ", Name(name)), None, parts)
    }

    /// Adds `default => OUTCOME`.
    #[must_use]
    pub fn default(self, outcome: impl Into<String>) -> Self {
        let parts = vec![("outcome", Part::Outcome, outcome.into())];
        self.add("default".to_owned(), "default => ".to_owned(), Some("default"), parts)
    }

    fn add(
        mut self,
        label: String,
        head: String,
        name: Option<&str>,
        parts: Vec<(&'static str, Part, String)>,
    ) -> Self {
        self.statements.push(Statement { label, head, name: name.map(str::to_owned), parts });
        self
    }

    /// One text of all statements, and where its pieces came from.
    ///
    /// Each piece is parsed on its own first. Statements of which a piece is not what it should be stand behind
    /// the end of what is to be parsed, for diagnostics to show; the sound ones, put together, mean what they
    /// meant alone.
    pub(super) fn join(&self, limits: &Limits) -> Joined {
        let mut joined = Joined {
            text: String::new(),
            sound: 0,
            source: Source::Pieces(Vec::new()),
            problems: Problems::new(limits.diagnostics),
            broken: Vec::new(),
        };
        let mut pieces = Vec::new();
        let mut broken = Vec::new();
        for (order, statement) in self.statements.iter().enumerate() {
            let problems: Vec<Problems> =
                statement.parts.iter().map(|(_, part, piece)| part.problems(piece, limits)).collect();
            if problems.iter().any(Problems::has_errors) {
                broken.push((order, statement, problems));
            } else {
                statement.write(order, &mut joined.text, &mut pieces);
            }
        }
        joined.sound = joined.text.len();
        // What is missing has no piece to be blamed for it.
        let order = self.statements.len();
        pieces.push(Piece { label: "rules".to_owned(), order, range: joined.sound..joined.sound });
        for (order, statement, problems) in broken {
            joined.broken.extend(statement.name.clone());
            let starts = statement.write(order, &mut joined.text, &mut pieces);
            for (problems, start) in problems.into_iter().zip(starts) {
                joined.problems.extend_shifted(problems, start);
            }
        }
        joined.source = Source::Pieces(pieces);
        joined
    }
}

/// Statements put together.
pub(super) struct Joined {
    pub(super) text: String,
    /// How much of the text is to be parsed.
    pub(super) sound: usize,
    pub(super) source: Source,
    pub(super) problems: Problems,
    /// The names that the others would have given.
    pub(super) broken: Vec<String>,
}

// === impl Statement ===

impl Statement {
    /// Writes the statement and says where its parts start.
    fn write(&self, order: usize, text: &mut String, pieces: &mut Vec<Piece>) -> Vec<usize> {
        let start = text.len();
        text.push_str(&self.head);
        pieces.push(Piece { label: self.label.clone(), order, range: start..text.len() });
        let mut starts = Vec::with_capacity(self.parts.len());
        for (i, (what, _, piece)) in self.parts.iter().enumerate() {
            if i > 0 {
                // A comment at the end of a piece ends here too.
                text.push_str("\n=> ");
            }
            let start = text.len();
            starts.push(start);
            text.push_str(piece);
            pieces.push(Piece { label: format!("{}, {what}", self.label), order, range: start..text.len() });
        }
        text.push('\n');
        starts
    }
}

// === impl Part ===

impl Part {
    fn problems(self, piece: &str, limits: &Limits) -> Problems {
        let mut problems = Problems::new(limits.diagnostics);
        let arena = &Arena::new();
        match self {
            Part::Condition => _ = parse_condition(piece, arena, limits, &mut problems),
            Part::Outcome => _ = parse_outcome(piece, arena, limits, &mut problems),
            Part::Action(kind) => _ = parse_action(piece, kind, arena, limits, &mut problems),
            Part::Members => _ = parse_list(piece, arena, limits, &mut problems),
        }
        problems
    }
}
