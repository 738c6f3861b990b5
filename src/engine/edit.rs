//! Changes to a rule text that a release needs: other weights, a rule paused or resumed.
//!
//! The text is the whole state, so a release is an edit of it. Only the characters in question change; comments, blank
//! lines and the way that everything else is written stay as somebody wrote them.

use std::fmt::{self, Display};

use super::ruleset::RuleSet;
use crate::diagnostic::{Diagnostics, Problems, Source, Span, nearest, visible};
use crate::limits::Limits;
use crate::schema::decimal4;
use crate::split::Split;
use crate::syntax::ast::{File, Outcome, State, Statement, StatementKind};
use crate::syntax::{self, Arena};

/// Which statement is meant: its name, or its kind and its name where two kinds share one.
///
/// ```
/// use pointsman::engine::{StatementKind, StatementName};
///
/// let either: StatementName = "prod".into();
/// let cluster: StatementName = (StatementKind::Cluster, "prod").into();
/// let default: StatementName = "default".into();
/// # let _ = (either, cluster, default);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementName<'n> {
    kind: Option<StatementKind>,
    name: &'n str,
}

/// Why a text was not edited; from [`with_weights`] and [`with_state`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct EditError(Box<Reason>);

/// What kind of mistake an [`EditError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EditErrorKind {
    /// The text cannot be parsed; [`EditError::diagnostics`] say why.
    Text,
    /// No statement has that name.
    UnknownStatement,
    /// More than one statement has that name.
    AmbiguousStatement,
    /// The statement has no weights: it names one cluster only.
    NotASplit,
    /// The statement does not name that cluster.
    UnknownTarget,
    /// The weights are none: not a number, out of bounds, all zero, or two for one cluster.
    Weight,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("the rule text cannot be parsed")]
    Text(#[source] Diagnostics),
    #[error("there is no {what} `{}`{}", visible(.name), Near(.near.as_deref()))]
    UnknownStatement { what: &'static str, name: String, near: Option<String> },
    #[error("{}", Ambiguous(.name, .kinds))]
    AmbiguousStatement { name: String, kinds: Vec<StatementKind> },
    #[error("{of} has no weights to change: it names one cluster only")]
    NotASplit { of: String },
    #[error("`{}` has no weight in {of}", visible(.target))]
    NoWeight { of: String, target: String },
    #[error("{of} does not name the cluster `{}`{}", visible(.target), Near(.near.as_deref()))]
    UnknownTarget { of: String, target: String, near: Option<String> },
    #[error("the cluster `{}` is given two weights", visible(.target))]
    TwoWeights { target: String },
    #[error("the weight of `{}`: {message}", visible(.target))]
    Weight { target: String, message: String },
    #[error("the weights of {of}: {message}")]
    Weights { of: String, message: String },
}

/// A text that stands in the place of another.
type Change = (Span, String);

// === the edits ===

/// The text with other weights in one statement: a route, the default, or a logical cluster.
///
/// A weight is whatever is displayed as the language writes it: `80`, `0.5`, `"99.9999"`. Clusters that are not named keep
/// theirs, and a weight that is the same already is left as it was written. Clusters are neither added nor taken away;
/// a single cluster has no weight, and gets none.
///
/// The result is a text, to be put where the text came from: a rule set that follows a file or a store is edited there, or
/// the next reload undoes it. Otherwise [`Engine::replace`](crate::Engine::replace) takes it. Names are not looked up
/// here, so a text that compiled before compiles after; the bounds of [`Limits`] but for the depth are the compiler's
/// to hold.
///
/// Costs one parse and a copy of the text: some microseconds for each statement.
///
/// ```
/// let text = "cluster prod = prod_a 50, prod_b 50 by cookie(uid)   # even, since May\ndefault => prod\n";
/// let shifted = pointsman::with_weights(text, "prod", [("prod_a", 0), ("prod_b", 100)])?;
/// assert_eq!(
///     shifted,
///     "cluster prod = prod_a 0, prod_b 100 by cookie(uid)   # even, since May\ndefault => prod\n",
/// );
///
/// let error = pointsman::with_weights(text, "prod", [("prod_c", 5)]).unwrap_err();
/// assert_eq!(error.to_string(), "cluster prod does not name the cluster `prod_c`, did you mean `prod_a`?");
/// # Ok::<(), pointsman::EditError>(())
/// ```
///
/// # Errors
///
/// When the text cannot be parsed, the statement or a cluster is not in it, the statement is no split, a weight is no
/// weight of the language, or the weights together are none: all zero, or too large.
pub fn with_weights<'n, T: AsRef<str>, W: Display>(
    text: &str,
    statement: impl Into<StatementName<'n>>,
    weights: impl IntoIterator<Item = (T, W)>,
) -> Result<String, EditError> {
    let arena = &Arena::new();
    let file = parse(text, arena)?;
    let (kind, name, outcome) = find(&file, statement.into())?;
    let of = || label(kind, name);
    if outcome.others.is_empty() {
        return Err(Reason::NotASplit { of: of() }.into());
    }
    let mut given: Vec<(&str, u64)> = Vec::new();
    let mut changes: Vec<Change> = Vec::new();
    for (target, weight) in weights {
        let target = target.as_ref();
        let Some(found) = outcome.targets().find(|known| known.cluster.node == target) else {
            let near = nearest(target, outcome.targets().map(|target| target.cluster.node));
            let near = near.map(str::to_owned);
            return Err(Reason::UnknownTarget { of: of(), target: target.to_owned(), near }.into());
        };
        let Some(old) = &found.weight else {
            return Err(Reason::NoWeight { of: of(), target: target.to_owned() }.into());
        };
        if given.iter().any(|(other, _)| *other == target) {
            return Err(Reason::TwoWeights { target: target.to_owned() }.into());
        }
        let steps = steps(&weight.to_string())
            .map_err(|message| Reason::Weight { target: target.to_owned(), message })?;
        given.push((found.cluster.node, steps));
        if steps != old.node {
            changes.push((old.span, decimal4(steps).to_string()));
        }
    }
    let new = |target: &str, old: u64| {
        given.iter().find(|(name, _)| *name == target).map_or(old, |(_, weight)| *weight)
    };
    let arms = outcome.targets().map(|target| {
        let old = target.weight.as_ref().map_or(0, |weight| weight.node);
        (target.cluster.node, new(target.cluster.node, old))
    });
    Split::new(arms).map_err(|error| Reason::Weights { of: of(), message: error.to_string() })?;
    Ok(splice(text, changes))
}

/// The text with one rule live, a shadow, or paused: a route, or a statement of the service gateway.
///
/// `paused route x: …` becomes `route x: …` and back: the word before `route` is written, replaced or taken away, with
/// the blanks behind it. A rule that is in that state already is left alone. What is paused and then made live is
/// what it was; a shadow that is paused is, when made live, a shadow no more.
///
/// What was said of [`with_weights`] about the result and the cost is true here too. A route that acts again may be found
/// never to be reached: that is a lint, as it would have been without the pause.
///
/// ```
/// use pointsman::State;
/// use pointsman::engine::StatementKind;
///
/// let text = "route sale: path under \"/sale\" => gray  # ends on Sunday\ndefault => prod\n";
/// let paused = pointsman::with_state(text, "sale", State::Paused)?;
/// assert_eq!(paused, format!("paused {text}"));
/// assert_eq!(pointsman::with_state(&paused, "sale", State::Live)?, text);
///
/// // Where two kinds share a name, the kind says which.
/// let text = "deny sale: path under \"/sale\" => 403\nroute sale: path under \"/sale\" => gray\ndefault => prod\n";
/// let shadow = pointsman::with_state(text, (StatementKind::Deny, "sale"), State::Shadow)?;
/// assert_eq!(shadow, format!("shadow {text}"));
/// # Ok::<(), pointsman::EditError>(())
/// ```
///
/// # Errors
///
/// When the text cannot be parsed, or has no rule of that name, or two.
pub fn with_state<'n>(
    text: &str,
    rule: impl Into<StatementName<'n>>,
    state: State,
) -> Result<String, EditError> {
    let arena = &Arena::new();
    let file = parse(text, arena)?;
    let wanted = rule.into();
    let rules = file.items.iter().filter_map(|item| {
        let (kind, name, before) = match &item.statement.node {
            Statement::Rule(rule) => (StatementKind::Route, rule.name.node, rule.state),
            Statement::Gateway(gateway) => (gateway.action.kind(), gateway.name.node, gateway.state),
            Statement::List(_) | Statement::Cluster(_) | Statement::Default(_) => return None,
        };
        wanted.kind.is_none_or(|wanted| wanted == kind).then_some((kind, name, (before, item.statement.span)))
    });
    let (_, _, (before, span)) = the_one(rules, &wanted, "rule", |name| name == wanted.name)?;
    Ok(splice(text, state_change(text, before, span, state)))
}

/// The statement that is meant, of all that may be.
fn the_one<'t, T>(
    of_kind: impl Iterator<Item = (StatementKind, &'t str, T)> + Clone,
    wanted: &StatementName<'_>,
    what: &'static str,
    is_meant: impl Fn(&str) -> bool,
) -> Result<(StatementKind, &'t str, T), EditError> {
    let mut found = of_kind.clone().filter(|(_, name, _)| is_meant(name));
    let Some(first) = found.next() else {
        let near = nearest(wanted.name, of_kind.map(|(_, name, _)| name)).map(str::to_owned);
        let what = wanted.kind.map_or(what, StatementKind::word);
        return Err(Reason::UnknownStatement { what, name: wanted.name.to_owned(), near }.into());
    };
    let mut kinds: Vec<_> = found.map(|(kind, ..)| kind).collect();
    if !kinds.is_empty() {
        kinds.insert(0, first.0);
        return Err(Reason::AmbiguousStatement { name: first.1.to_owned(), kinds }.into());
    }
    Ok(first)
}

fn state_change(text: &str, before: State, span: Span, state: State) -> Option<Change> {
    // A statement starts with the word, or with its kind where there is none.
    let old = word(before);
    let word_end = span.start + old.len();
    let behind = text.get(word_end..).unwrap_or("");
    let blanks = behind.len() - behind.trim_start_matches([' ', '\t']).len();
    match (before, state) {
        (before, after) if before == after => None,
        (State::Live, _) => Some((Span::new(span.start, span.start), format!("{} ", word(state)))),
        (_, State::Live) => Some((Span::new(span.start, word_end + blanks), String::new())),
        _ => Some((Span::new(span.start, word_end), word(state).to_owned())),
    }
}

/// The word before the kind.
fn word(state: State) -> &'static str {
    match state {
        State::Live => "",
        State::Shadow | State::Paused => state.as_str(),
    }
}

/// Reads a weight as it stands in a text into steps of 0.0001.
fn steps(written: &str) -> Result<u64, String> {
    syntax::literal::weight(written, Span::default()).map_err(|problem| match problem.label {
        Some(label) => format!("{}; {label}", problem.message),
        None => problem.message,
    })
}

/// Puts the changes, which do not overlap, into the text.
fn splice(text: &str, changes: impl IntoIterator<Item = Change>) -> String {
    let mut changes: Vec<Change> = changes.into_iter().collect();
    changes.sort_by_key(|(span, _)| span.start);
    let mut out = String::with_capacity(text.len() + 16 * changes.len());
    let mut at = 0;
    for (span, new) in changes {
        out.push_str(text.get(at..span.start).unwrap_or(""));
        out.push_str(&new);
        at = span.end;
    }
    out.push_str(text.get(at..).unwrap_or(""));
    out
}

fn parse<'t>(text: &'t str, arena: &'t Arena) -> Result<File<'t>, EditError> {
    // How much a text may ask for is for those to say who compile it. Only the stack has to be safe here.
    let limits = Limits {
        text_bytes: usize::MAX,
        depth: Limits::MAX_DEPTH,
        statements: usize::MAX,
        list_members: usize::MAX,
        ..Limits::default()
    };
    let mut problems = Problems::new(limits.diagnostics);
    let file = syntax::parse_file(text, arena, &limits, &mut problems);
    if problems.has_errors() {
        let diagnostics = Diagnostics::new(problems, &Source::named("rules"), text);
        return Err(Reason::Text(diagnostics).into());
    }
    Ok(file)
}

// === finding a statement ===

/// A statement with an outcome: its kind, its name, and the outcome.
type Found<'f, 't> = (StatementKind, &'t str, &'f Outcome<'t>);

/// The statements with an outcome.
fn outcomes<'f, 't>(file: &'f File<'t>) -> impl Iterator<Item = Found<'f, 't>> + Clone {
    file.items.iter().filter_map(|item| match &item.statement.node {
        Statement::Cluster(cluster) => Some((StatementKind::Cluster, cluster.name.node, &cluster.outcome)),
        Statement::Rule(rule) => Some((StatementKind::Route, rule.name.node, &rule.outcome)),
        Statement::Default(outcome) => Some((StatementKind::Default, "default", outcome)),
        Statement::List(_) | Statement::Gateway(_) => None,
    })
}

fn find<'f, 't>(file: &'f File<'t>, wanted: StatementName<'_>) -> Result<Found<'f, 't>, EditError> {
    let of_kind = outcomes(file).filter(|(kind, ..)| wanted.kind.is_none_or(|wanted| wanted == *kind));
    // There is one default, whatever it is called.
    let any_name = wanted.kind == Some(StatementKind::Default);
    the_one(of_kind, &wanted, "statement", |name| any_name || name == wanted.name)
}

fn label(kind: StatementKind, name: &str) -> String {
    match kind {
        StatementKind::Default => "the default".to_owned(),
        kind => format!("{kind} {}", visible(name)),
    }
}

// === impl RuleSet ===

impl RuleSet {
    /// This text with other weights in one statement; see [`with_weights`].
    ///
    /// ```
    /// use pointsman::Engine;
    ///
    /// let engine = Engine::builder()
    ///     .clusters(["prod_a", "prod_b"])
    ///     .build("cluster prod = prod_a 100, prod_b 0\ndefault => prod")?;
    /// let shifted = engine.rules().with_weights("prod", [("prod_a", 99.5), ("prod_b", 0.5)])?;
    /// engine.replace(shifted)?;
    /// assert_eq!(engine.rules().text(), "cluster prod = prod_a 99.5, prod_b 0.5\ndefault => prod");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the statement or a cluster is not in it, the statement is no split, or the weights are none.
    pub fn with_weights<'n, T: AsRef<str>, W: Display>(
        &self,
        statement: impl Into<StatementName<'n>>,
        weights: impl IntoIterator<Item = (T, W)>,
    ) -> Result<String, EditError> {
        with_weights(self.text(), statement, weights)
    }

    /// This text with one rule live, a shadow, or paused; see [`with_state`].
    ///
    /// # Errors
    ///
    /// When there is no such rule, or two of that name and the kind is not said.
    pub fn with_state<'n>(
        &self,
        rule: impl Into<StatementName<'n>>,
        state: State,
    ) -> Result<String, EditError> {
        with_state(self.text(), rule, state)
    }
}

// === impl StatementName ===

impl<'n> From<&'n str> for StatementName<'n> {
    fn from(name: &'n str) -> Self {
        StatementName { kind: None, name }
    }
}

impl<'n> From<&'n String> for StatementName<'n> {
    fn from(name: &'n String) -> Self {
        StatementName { kind: None, name }
    }
}

impl<'n> From<(StatementKind, &'n str)> for StatementName<'n> {
    fn from((kind, name): (StatementKind, &'n str)) -> Self {
        StatementName { kind: Some(kind), name }
    }
}

// === impl EditError ===

impl EditError {
    /// What kind of mistake it is.
    pub fn kind(&self) -> EditErrorKind {
        match &*self.0 {
            Reason::Text(_) => EditErrorKind::Text,
            Reason::UnknownStatement { .. } => EditErrorKind::UnknownStatement,
            Reason::AmbiguousStatement { .. } => EditErrorKind::AmbiguousStatement,
            Reason::NotASplit { .. } | Reason::NoWeight { .. } => EditErrorKind::NotASplit,
            Reason::UnknownTarget { .. } => EditErrorKind::UnknownTarget,
            Reason::TwoWeights { .. } | Reason::Weight { .. } | Reason::Weights { .. } => {
                EditErrorKind::Weight
            }
        }
    }

    /// What is wrong with the text, when it cannot be parsed.
    pub fn diagnostics(&self) -> Option<&Diagnostics> {
        match &*self.0 {
            Reason::Text(diagnostics) => Some(diagnostics),
            _ => None,
        }
    }
}

impl From<Reason> for EditError {
    fn from(reason: Reason) -> Self {
        EditError(Box::new(reason))
    }
}

/// What was probably meant.
struct Near<'a>(Option<&'a str>);

struct Ambiguous<'a>(&'a str, &'a [StatementKind]);

impl Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(near) => write!(f, ", did you mean `{}`?", visible(near)),
            None => Ok(()),
        }
    }
}

impl Display for Ambiguous<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ambiguous(name, kinds) = self;
        let name = visible(name);
        match kinds {
            [one, other, ..] if one != other => {
                write!(f, "a {one} and a {other} are called `{name}`, say the kind too")
            }
            [kind, ..] => write!(f, "two statements `{kind}` are called `{name}`"),
            [] => write!(f, "two statements are called `{name}`"),
        }
    }
}
