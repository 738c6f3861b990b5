//! Text to tree. The only file that knows pest.
//!
//! A text is parsed statement by statement. After a mistake the parser goes on at the next line that starts
//! with a statement's word, so one text gives all its mistakes at once.

use std::iter::Peekable;

use pest::Parser as _;
use pest::error::{ErrorVariant, InputLocation};
use pest::iterators::{Pair, Pairs};

use super::ast::{
    Action, Arena, By, Cluster, Comment, Compare, Condition, File, Function, Gateway, In, Item, List,
    Literal, Member, Operand, Outcome, Place, Relation, Rule as RouteRule, Set, Spanned, State, Statement,
    StatementKind, Target, Text, Value,
};
use super::expect::{Expected, no_statement, shown, unexpected};
use super::scan::{self, Scan, skip_blank};
use super::{about_how_many, is_acting, is_bare, is_reserved, is_starter, is_word, literal, quick};
use crate::diagnostic::{Code, Problem, Problems, Span};
use crate::limits::Limits;

#[derive(pest_derive::Parser)]
#[grammar = "syntax/grammar.pest"]
struct Grammar;

/// A tree or the problem that stands in its way.
type Parsed<T> = Result<T, Problem>;

/// Parses a whole text. What could be understood is in the file, the rest in `problems`.
pub(crate) fn parse_file<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> File<'t> {
    file(text, arena, limits, problems, quick::statement)
}

/// As [`parse_file`]; what `quick` cannot read, the grammar does.
pub(super) fn file<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
    mut quick: impl FnMut(&'t str, usize, &'t Arena, &Limits) -> Option<(Statement<'t>, usize)>,
) -> File<'t> {
    let mut file = File::default();
    if !fits(text, limits, problems) {
        file.incomplete = true;
        return file;
    }
    file.items.reserve(about_how_many(text));
    // Only needed when something cannot be read quickly, and made before anything is said.
    let mut known: Option<Scan> = None;
    let mut at = quick::start(text);
    let mut gap_start = at;
    loop {
        at = skip_blank(text, at);
        let rest = text.get(at..).unwrap_or("");
        if rest.is_empty() {
            break;
        }
        if file.items.len() >= limits.statements {
            known.get_or_insert_with(|| look(text, limits, problems));
            problems.push(
                Problem::new(
                    Code::TooLarge,
                    Span::new(at, at + 1),
                    format!("more than {} statements", limits.statements),
                )
                .help("the application can raise the limit `statements`"),
            );
            file.incomplete = true;
            return file;
        }
        let deep = known.as_ref().is_some_and(|scan| scan.is_deep(at));
        let parsed = match if deep { None } else { quick(text, at, arena, limits) } {
            Some((statement, end)) => Ok((Some(statement), end)),
            None => {
                let scan = known.get_or_insert_with(|| look(text, limits, problems));
                let next = scan.next(at);
                // A text that nests too deep must not reach the parser, which recurses.
                let whole = !scan.is_deep(at);
                whole
                    .then(|| statement(text, at, next.unwrap_or(text.len()), arena, limits, problems))
                    .flatten()
                    .ok_or(next)
            }
        };
        match parsed {
            Ok((Some(node), end)) => {
                let gap = text.get(gap_start..at).unwrap_or("");
                let (mut above, mut blank_before) =
                    comments_above(gap, gap_start == 0 || file.items.is_empty());
                let span = Span::new(at, end);
                for inside in scan::comments(span.of(text)) {
                    above.push(Comment {
                        text: comment_text(inside.of(span.of(text))),
                        // It is printed above the statement and stays with it: the blank line goes first.
                        blank_before: std::mem::take(&mut blank_before),
                    });
                }
                let (beside, after) = comment_beside(text, end);
                file.items.push(Item { statement: Spanned::new(node, span), above, blank_before, beside });
                at = after;
                gap_start = at;
            }
            Ok((None, end)) => {
                file.broken.extend(defined_name(rest));
                at = end;
                gap_start = at;
            }
            Err(next) => {
                file.broken.extend(defined_name(rest));
                // What is passed over may have had the default in it.
                let passed = text.get(at..next.unwrap_or(text.len())).unwrap_or("");
                if memchr::memmem::find(passed.as_bytes(), b"default").is_some() {
                    file.broken.push("default".to_owned());
                }
                let Some(next) = next else { return file };
                at = next;
                gap_start = at;
            }
        }
    }
    file.end = comments_above(text.get(gap_start..).unwrap_or(""), file.items.is_empty()).0;
    file
}

/// Scans the text, and says where it nests too deep.
fn look(text: &str, limits: &Limits, problems: &mut Problems) -> Scan {
    let scan = scan::scan(text, limits.effective_depth());
    for &at in &scan.too_deep {
        problems.push(too_deep(at, limits));
    }
    scan
}

/// Parses a condition that stands alone.
pub(crate) fn parse_condition<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Spanned<Condition<'t>>> {
    quick::condition(text, arena, limits).or_else(|| slow_condition(text, arena, limits, problems))
}

/// Parses an outcome that stands alone: what follows `=>`.
pub(crate) fn parse_outcome<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Outcome<'t>> {
    quick::outcome(text, arena, limits).or_else(|| slow_outcome(text, arena, limits, problems))
}

/// Parses what a statement of the service gateway does, standing alone.
pub(crate) fn parse_action<'t>(
    text: &'t str,
    kind: StatementKind,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Action<'t>> {
    quick::action(text, kind, arena, limits).or_else(|| slow_action(text, kind, arena, limits, problems))
}

/// Parses the members of a list that stands alone, brackets included.
pub(crate) fn parse_list<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<&'t [Member<'t>]> {
    quick::members(text, arena, limits).or_else(|| slow_list(text, arena, limits, problems))
}

pub(super) fn slow_condition<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Spanned<Condition<'t>>> {
    piece(text, arena, limits, problems, Rule::lone_condition, |b, pair| {
        let span = b.span(&pair);
        let node = b.condition(pair);
        b.expect_end(node, span)
    })
}

pub(super) fn slow_outcome<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Outcome<'t>> {
    piece(text, arena, limits, problems, Rule::lone_outcome, |b, pair| b.outcome(pair))
}

pub(super) fn slow_action<'t>(
    text: &'t str,
    kind: StatementKind,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Action<'t>> {
    let what = match kind {
        StatementKind::Deny => Rule::lone_deny,
        StatementKind::Limit => Rule::lone_limit,
        StatementKind::Cache => Rule::lone_cache,
        StatementKind::Mirror => Rule::lone_mirror,
        StatementKind::Capture => Rule::lone_capture,
        StatementKind::Count => Rule::lone_count,
        StatementKind::Route | StatementKind::Cluster | StatementKind::Default => return None,
    };
    piece(text, arena, limits, problems, what, |b, pair| b.action(pair))
}

pub(super) fn slow_list<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<&'t [Member<'t>]> {
    piece(text, arena, limits, problems, Rule::lone_set, |b, pair| b.members(pair))
}

fn piece<'t, T>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
    what: Rule,
    build: impl FnOnce(&mut Builder<'t, '_>, Pair<'t, Rule>) -> Parsed<T>,
) -> Option<T> {
    if !fits(text, limits, problems) {
        return None;
    }
    if let Some(&at) = scan::scan(text, limits.effective_depth()).too_deep.first() {
        problems.push(too_deep(at, limits));
        return None;
    }
    let start = skip_blank(text, 0);
    let rest = text.get(start..).unwrap_or("");
    let pair = match Grammar::parse(what, rest) {
        Ok(mut pairs) => pairs.next()?,
        Err(error) => {
            problems.push(syntax_error(text, start, &error));
            return None;
        }
    };
    let mut builder = Builder { text, offset: start, arena, limits, problems };
    build(&mut builder, pair).map_err(|problem| problems.push(problem)).ok()
}

fn fits(text: &str, limits: &Limits, problems: &mut Problems) -> bool {
    if text.len() <= limits.text_bytes {
        return true;
    }
    problems.push(
        Problem::new(
            Code::TooLarge,
            Span::new(0, 0),
            format!("the text has {} bytes, {} are allowed", text.len(), limits.text_bytes),
        )
        .help("move long lists into the application, or raise the limit `text_bytes`"),
    );
    false
}

fn too_deep(at: usize, limits: &Limits) -> Problem {
    let depth = limits.effective_depth();
    Problem::new(Code::TooLarge, Span::new(at, at + 1), format!("nested deeper than {depth}"))
        .label("parentheses, brackets and `!` count")
        .help("`a || b || c` needs no parentheses; the application can raise the limit `depth`")
}

/// Parses the statement at `at`. `None` when it failed; the inner `None` when it was understood well enough to
/// go on behind it, though not well enough to keep.
///
/// pest gets the text up to `end`, the next place to go on: what it says of a mistake costs it a walk over all
/// that it was given.
fn statement<'t>(
    text: &'t str,
    at: usize,
    end: usize,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<(Option<Statement<'t>>, usize)> {
    let rest = text.get(at..end).unwrap_or("");
    let mut words = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
    let first = words.next().unwrap_or("");
    let stated = matches!(first, "paused" | "shadow");
    let kind = if stated { scan::second_word(rest) } else { first };
    let what = match kind {
        "list" if !stated => Rule::list,
        "cluster" if !stated => Rule::cluster,
        "default" if !stated => Rule::default,
        "deny" => Rule::deny,
        "limit" => Rule::limit,
        "cache" => Rule::cache,
        "mirror" => Rule::mirror,
        "capture" => Rule::capture,
        "count" => Rule::count,
        "route" => Rule::rule,
        _ if stated => Rule::rule,
        _ => {
            problems.push(no_statement(text, at));
            return None;
        }
    };
    let pair = match Grammar::parse(what, rest) {
        Ok(mut pairs) => pairs.next()?,
        Err(error) => {
            problems.push(refine(text, at, syntax_error(text, at, &error)));
            return None;
        }
    };
    let end = at + end_of(&pair);
    if !starts_word(text, skip_blank(text, end))
        && let Err(error) = Grammar::parse(Rule::whole, rest)
    {
        // What follows is no statement: the grammar knows better what could have stood there.
        problems.push(refine(text, at, syntax_error(text, at, &error)));
        return None;
    }
    let mut builder = Builder { text, offset: at, arena, limits, problems };
    match builder.statement(pair) {
        Ok(statement) => Some((Some(statement), end)),
        Err(problem) => {
            problems.push(problem);
            Some((None, end))
        }
    }
}

/// Whether a word stands at `at` that might be meant to start a statement, or nothing at all.
fn starts_word(text: &str, at: usize) -> bool {
    let rest = text.get(at..).unwrap_or("");
    let word =
        rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).next().unwrap_or("");
    rest.is_empty() || (is_word(word) && !continues(word) && (is_bare(word) || is_starter(word)))
}

/// Whether a word that is not reserved goes on with an outcome.
fn continues(word: &str) -> bool {
    matches!(word, "salt" | "else" | "burst" | "stale" | "for" | "per" | "with")
}

/// Better words for the mistakes that can only be made at the head of a statement.
fn refine(text: &str, start: usize, problem: Problem) -> Problem {
    let head = text.get(start..problem.span.start).unwrap_or("").trim();
    if let Some(example) = example(head)
        && problem.label.is_none()
    {
        return problem.label(example);
    }
    let found = problem.span.of(text);
    let place = problem.span;
    if matches!(head, "paused" | "shadow") {
        if matches!(found, "default" | "list" | "cluster") {
            return Problem::new(Code::Syntax, place, format!("`{found}` cannot be {head}"))
                .label("only rules can; a rule starts with `route`");
        }
        if matches!(found, "paused" | "shadow") {
            return Problem::new(Code::Syntax, place, "a rule is either paused or shadow")
                .label("delete one of the two");
        }
    }
    let starts_next = is_starter(found) && problem.code == Code::Syntax;
    if starts_next && head.ends_with(',') {
        return problem.label("nothing stands behind the `,`");
    }
    if is_kind(head) && matches!(found, ":" | "") {
        return problem.label("a route has a name: `route staff: …`");
    }
    problem
}

/// Whether a statement has got as far as its kind.
fn is_kind(head: &str) -> bool {
    is_acting(head.strip_prefix("paused ").or(head.strip_prefix("shadow ")).unwrap_or(head))
}

/// How the outcome of a statement of the service gateway is written, if this is the head of one as far as `=>`.
fn example(head: &str) -> Option<&'static str> {
    let mut words = head.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
    let mut kind = words.next()?;
    if matches!(kind, "paused" | "shadow") {
        kind = scan::second_word(head);
    }
    let outcome = head.contains("=>");
    match kind {
        "deny" if outcome => Some("as in `=> 403` or `=> 400 \"x-uid must be a number\"`"),
        "limit" if outcome => Some("as in `=> 100/s burst 200 by cookie(uid) ?? ip`"),
        "cache" if outcome => Some("as in `=> 30s stale 10s by host`"),
        "mirror" if outcome => Some("as in `=> shadow_cluster`"),
        "capture" if outcome => Some("as in `=> 50 for 10m`"),
        "count" if outcome => Some("as in `=> top 20 by ip per 15s`"),
        _ => None,
    }
}

/// The name that a statement with a mistake would have given: nobody is told that it is unknown.
fn defined_name(statement: &str) -> Option<String> {
    let mut words = statement
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .filter(|w| !w.is_empty());
    match words.find(|word| !matches!(*word, "paused" | "shadow"))? {
        "default" => Some("default".to_owned()),
        "list" | "cluster" => words.next().map(str::to_owned),
        _ => None,
    }
}

fn syntax_error(text: &str, offset: usize, error: &pest::error::Error<Rule>) -> Problem {
    let at = offset
        + match error.location {
            InputLocation::Pos(at) => at,
            InputLocation::Span((start, _)) => start,
        };
    let tried = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives.as_slice(),
        ErrorVariant::CustomError { .. } => &[],
    };
    // pest stops where the token starts that it could not take; blanks before it belong to no token.
    unexpected(text, skip_blank(text, at), tried.iter().filter_map(|tried| expected(*tried)).collect())
}

fn expected(tried: Rule) -> Option<Expected> {
    Some(match tried {
        Rule::name | Rule::target => Expected::Name,
        Rule::condition
        | Rule::value
        | Rule::group
        | Rule::call
        | Rule::call_name
        | Rule::argument
        | Rule::bare
        | Rule::not => Expected::Operand,
        Rule::boolean | Rule::salt => Expected::Literal,
        Rule::or
        | Rule::and
        | Rule::not_in
        | Rule::in_
        | Rule::coalesce
        | Rule::modulo
        | Rule::relation
        | Rule::equal
        | Rule::unequal
        | Rule::at_most
        | Rule::at_least
        | Rule::below
        | Rule::above
        | Rule::starts_with
        | Rule::ends_with
        | Rule::contains
        | Rule::under
        | Rule::matches => Expected::Operator,
        Rule::colon => Expected::Colon,
        Rule::equals => Expected::Equals,
        Rule::arrow => Expected::Arrow,
        Rule::comma => Expected::Comma,
        Rule::weight => Expected::Weight,
        Rule::by => Expected::By,
        Rule::open => Expected::Open,
        Rule::close => Expected::Close,
        Rule::set | Rule::bracket => Expected::Bracket,
        Rule::unbracket => Expected::Unbracket,
        Rule::dots => Expected::Range,
        Rule::next => Expected::Next,
        Rule::kw_salt => Expected::Salt,
        Rule::kind | Rule::kw_route => Expected::Kind,
        Rule::quantity => Expected::Quantity,
        Rule::text => Expected::Text,
        Rule::option => Expected::Option,
        Rule::fallback => Expected::Name,
        Rule::kw_else => Expected::Word("`else`"),
        Rule::kw_burst => Expected::Word("`burst`"),
        Rule::kw_stale => Expected::Word("`stale`"),
        Rule::kw_for => Expected::Word("`for`"),
        Rule::kw_top => Expected::Word("`top`"),
        Rule::kw_per => Expected::Word("`per`"),
        Rule::with | Rule::kw_with => Expected::Word("`with`"),
        _ => return None,
    })
}

// === comments ===

fn comment_text(comment: &str) -> &str {
    comment.strip_prefix('#').unwrap_or(comment).trim_end()
}

/// The comments of a gap between statements, and whether a blank line stands before what follows it. Blank
/// lines at the start of a text do not count.
fn comments_above(gap: &str, first: bool) -> (Vec<Comment<'_>>, bool) {
    let mut comments: Vec<Comment<'_>> = Vec::new();
    if gap == "\n" {
        // As it is nearly everywhere.
        return (comments, false);
    }
    let mut blank = false;
    // The first piece is the end of the line before, the last the start of the statement's own.
    let inner = if first { 0 } else { 1 };
    let mut lines = gap.split('\n').enumerate().peekable();
    while let Some((i, line)) = lines.next() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix('#') {
            let blank_before = blank && !(first && comments.is_empty());
            comments.push(Comment { text: text.trim_end(), blank_before });
            blank = false;
        } else if i >= inner && lines.peek().is_some() && line.is_empty() {
            blank = true;
        }
    }
    let blank_before = blank && !(first && comments.is_empty());
    (comments, blank_before)
}

/// The comment between the end of a statement and the end of its line, and where it ends.
fn comment_beside(text: &str, end: usize) -> (Option<&str>, usize) {
    let rest = text.get(end..).unwrap_or("");
    let behind = rest.trim_start_matches([' ', '\t', '\r']);
    if !behind.starts_with('#') {
        return (None, end);
    }
    let comment = behind.split('\n').next().unwrap_or("");
    (Some(comment_text(comment)), end + (rest.len() - behind.len()) + comment.len())
}

// === tree ===

struct Builder<'t, 'p> {
    text: &'t str,
    /// Where pest's input starts in the text.
    offset: usize,
    arena: &'t Arena,
    limits: &'p Limits,
    problems: &'p mut Problems,
}

/// An operand or a whole expression before it is known whether it is a condition.
#[derive(Clone, Copy)]
enum Node<'t> {
    Condition(Condition<'t>),
    Value(Value<'t>),
    Set(Set<'t>),
}

type Row<'t> = Peekable<Pairs<'t, Rule>>;

impl<'t> Builder<'t, '_> {
    fn span(&self, pair: &Pair<'_, Rule>) -> Span {
        Span::new(self.offset + pair.as_span().start(), self.offset + end_of(pair))
    }

    fn statement(&mut self, pair: Pair<'t, Rule>) -> Parsed<Statement<'t>> {
        let what = pair.as_rule();
        let whole = self.span(&pair);
        let (mut state, mut name, mut condition, mut outcome, mut action, mut members) =
            (State::Live, None, None, None, None, [].as_slice());
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::state if part.as_str().starts_with("paused") => state = State::Paused,
                Rule::state => state = State::Shadow,
                Rule::name => name = Some(self.name(part)?),
                Rule::condition => {
                    let span = self.span(&part);
                    let node = self.condition(part);
                    condition = Some(self.expect_end(node, span)?);
                }
                Rule::outcome => outcome = Some(self.outcome(part)?),
                Rule::set => members = self.members(part)?,
                Rule::denial
                | Rule::rate
                | Rule::storing
                | Rule::copying
                | Rule::capturing
                | Rule::counting => action = Some(self.action(part)?),
                _ => {}
            }
        }
        // The grammar gives every part; the error can only be reached if the two fall apart.
        let missing = || Problem::new(Code::Syntax, whole, "the statement is not complete");
        Ok(match what {
            Rule::list => Statement::List(List { name: name.ok_or_else(missing)?, members }),
            Rule::cluster => Statement::Cluster(Cluster {
                name: name.ok_or_else(missing)?,
                outcome: outcome.ok_or_else(missing)?,
            }),
            Rule::default => Statement::Default(outcome.ok_or_else(missing)?),
            Rule::rule => Statement::Rule(RouteRule {
                state,
                name: name.ok_or_else(missing)?,
                condition: condition.ok_or_else(missing)?,
                outcome: outcome.ok_or_else(missing)?,
            }),
            _ => Statement::Gateway(Gateway {
                state,
                name: name.ok_or_else(missing)?,
                condition: condition.ok_or_else(missing)?,
                action: action.ok_or_else(missing)?,
            }),
        })
    }

    /// What a statement of the service gateway does.
    fn action(&mut self, pair: Pair<'t, Rule>) -> Parsed<Action<'t>> {
        let (what, whole) = (pair.as_rule(), self.span(&pair));
        let (mut quantities, mut texts, mut by) = (Vec::new(), Vec::new(), None);
        let (mut burst, mut cluster) = (false, None);
        for part in pair.into_inner() {
            let span = self.span(&part);
            match part.as_rule() {
                Rule::quantity => quantities.push(Spanned::new(part.as_str(), span)),
                Rule::kw_burst | Rule::kw_stale => burst = true,
                Rule::name => cluster = Some(self.name(part)?),
                Rule::value => {
                    let node = self.expression(&mut part.into_inner().peekable())?;
                    by = Some(self.as_value(node, span)?);
                }
                Rule::text => {
                    for token in part.into_inner() {
                        if let Literal::String(text) = self.literal(&token)? {
                            texts.push(Spanned::new(text, span));
                        }
                    }
                }
                Rule::with => {
                    for option in part.into_inner().filter(|part| part.as_rule() == Rule::option) {
                        texts.push(Spanned::new(option.as_str(), self.span(&option)));
                    }
                }
                _ => {}
            }
        }
        let missing = || Problem::new(Code::Syntax, whole, "the outcome is not complete");
        let mut quantities = quantities.into_iter();
        let mut next = || quantities.next().ok_or_else(missing);
        Ok(match what {
            Rule::denial => {
                Action::Deny { status: read(next()?, literal::status)?, text: texts.first().copied() }
            }
            Rule::rate => {
                let rate = read(next()?, literal::rate)?;
                let burst = if burst { Some(read(next()?, literal::amount)?) } else { None };
                Action::Limit { rate, burst, by }
            }
            Rule::storing => {
                let fresh = read(next()?, literal::duration)?;
                let stale = if burst { Some(read(next()?, literal::duration)?) } else { None };
                Action::Cache { fresh, stale, by, with: self.arena.alloc_slice_copy(&texts) }
            }
            Rule::copying => Action::Mirror {
                cluster: cluster.ok_or_else(missing)?,
                with: self.arena.alloc_slice_copy(&texts),
            },
            Rule::capturing => Action::Capture {
                exchanges: read(next()?, literal::amount)?,
                lasts: read(next()?, literal::duration)?,
            },
            _ => Action::Count {
                top: read(next()?, literal::amount)?,
                by: by.ok_or_else(missing)?,
                per: read(next()?, literal::duration)?,
            },
        })
    }

    fn name(&mut self, pair: Pair<'t, Rule>) -> Parsed<Text<'t>> {
        let span = self.span(&pair);
        let Some(inner) = pair.into_inner().next() else {
            return Err(Problem::new(Code::Syntax, span, "a name is missing"));
        };
        if inner.as_rule() == Rule::string {
            let name = literal::string(inner.as_str(), span, self.arena)?;
            if name.is_empty() {
                return Err(Problem::new(Code::Syntax, span, "a name is empty")
                    .label("give it at least one character"));
            }
            return Ok(Spanned::new(name, span));
        }
        let name = inner.as_str();
        if !is_bare(name) {
            if name == "by" {
                return Err(Problem::new(Code::Syntax, span, "`by` follows a comma")
                    .label("no comma stands before it: `gray 5, prod 95 by cookie(uid)`"));
            }
            return Err(Problem::new(Code::Syntax, span, format!("`{name}` is a reserved word"))
                .label(format!("as a name it needs quotes: `\"{name}\"`")));
        }
        Ok(Spanned::new(name, span))
    }

    fn outcome(&mut self, pair: Pair<'t, Rule>) -> Parsed<Outcome<'t>> {
        let place = Place(self.span(&pair));
        let (mut targets, mut by) = (Vec::new(), None);
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::target => {
                    let span = self.span(&part);
                    let mut target: Option<Target<'_>> = None;
                    for part in part.into_inner() {
                        match (part.as_rule(), &mut target) {
                            (Rule::weight, Some(target)) => {
                                let span = self.span(&part);
                                target.weight =
                                    Some(Spanned::new(literal::weight(part.as_str(), span)?, span));
                            }
                            (Rule::fallback, Some(target)) => {
                                for name in part.into_inner() {
                                    target.fallback = Some(self.name(name)?);
                                }
                            }
                            (Rule::kw_else, _) => {}
                            _ => {
                                let cluster = self.name(part)?;
                                target = Some(Target { cluster, weight: None, fallback: None });
                            }
                        }
                    }
                    targets.push(
                        target.ok_or_else(|| Problem::new(Code::Syntax, span, "a cluster is missing"))?,
                    );
                }
                Rule::value => {
                    let span = self.span(&part);
                    let node = self.expression(&mut part.into_inner().peekable())?;
                    by = Some(By { key: self.as_value(node, span)?, salt: None });
                }
                Rule::salt => {
                    let span = self.span(&part);
                    for token in part.into_inner() {
                        if let (Literal::String(salt), Some(by)) = (self.literal(&token)?, &mut by) {
                            by.salt = Some(Spanned::new(salt, span));
                        }
                    }
                }
                _ => {}
            }
        }
        let Some((first, others)) = targets.split_first() else {
            return Err(Problem::new(Code::Syntax, place.0, "a cluster is missing"));
        };
        let others = self.arena.alloc_slice_copy(others);
        Ok(Outcome { first: *first, others, by: by.map(|by| &*self.arena.alloc(by)), place })
    }

    fn members(&mut self, pair: Pair<'t, Rule>) -> Parsed<&'t [Member<'t>]> {
        let span = self.span(&pair);
        let mut members: Vec<Member<'t>> = Vec::new();
        let mut range = false;
        for part in pair.into_inner() {
            let at = self.span(&part);
            let literal = match part.as_rule() {
                Rule::bracket | Rule::unbracket | Rule::comma => continue,
                Rule::dots => {
                    range = true;
                    continue;
                }
                _ => match self.literal(&part) {
                    Ok(literal) => Spanned::new(literal, at),
                    Err(problem) => {
                        // Every bad member is worth a line; the list goes on.
                        self.problems.push(problem);
                        range = false;
                        continue;
                    }
                },
            };
            match members.pop() {
                Some(Member::One(from)) if range => {
                    members.push(Member::Range(self.arena.alloc((from, literal))));
                }
                last => {
                    members.extend(last);
                    members.push(Member::One(literal));
                }
            }
            range = false;
            if members.len() > self.limits.list_members {
                return Err(Problem::new(
                    Code::TooLarge,
                    span,
                    format!("a list of more than {} members", self.limits.list_members),
                )
                .help("let the application supply the list, or raise the limit `list_members`"));
            }
        }
        Ok(self.arena.alloc_slice_copy(&members))
    }

    fn literal(&mut self, pair: &Pair<'t, Rule>) -> Parsed<Literal<'t>> {
        let span = self.span(pair);
        let token = pair.as_str();
        match pair.as_rule() {
            Rule::string => literal::string(token, span, self.arena).map(Literal::String),
            Rule::raw => Ok(Literal::String(literal::raw(token))),
            Rule::boolean => Ok(Literal::Bool(token == "true")),
            _ => literal::number(token, span),
        }
    }

    // === expressions, from loosest to tightest ===

    fn condition(&mut self, pair: Pair<'t, Rule>) -> Parsed<(Node<'t>, Span)> {
        self.expression(&mut pair.into_inner().peekable())
    }

    fn expect_end(&mut self, node: Parsed<(Node<'t>, Span)>, span: Span) -> Parsed<Spanned<Condition<'t>>> {
        let node = node?;
        self.as_condition(node, span)
    }

    fn expression(&mut self, row: &mut Row<'t>) -> Parsed<(Node<'t>, Span)> {
        self.joined(row, Rule::or, Condition::Or, |b, row| {
            b.joined(row, Rule::and, Condition::And, Builder::negation)
        })
    }

    /// A row of conditions joined by one operator.
    fn joined(
        &mut self,
        row: &mut Row<'t>,
        operator: Rule,
        join: fn(&'t [Spanned<Condition<'t>>]) -> Condition<'t>,
        mut part: impl FnMut(&mut Self, &mut Row<'t>) -> Parsed<(Node<'t>, Span)>,
    ) -> Parsed<(Node<'t>, Span)> {
        let first = part(self, row)?;
        if row.peek().is_none_or(|pair| pair.as_rule() != operator) {
            return Ok(first);
        }
        let mut all = first.1;
        let mut parts = Vec::new();
        let mut next = first;
        loop {
            let span = next.1;
            all = all.to(span);
            // `(a || b) || c` is one row: the printer writes no parentheses that change nothing.
            match (self.as_condition(next, span)?, operator) {
                (Spanned { node: Condition::Or(inner), .. }, Rule::or)
                | (Spanned { node: Condition::And(inner), .. }, Rule::and) => parts.extend(inner),
                (other, _) => parts.push(other),
            }
            if row.next_if(|pair| pair.as_rule() == operator).is_none() {
                return Ok((Node::Condition(join(self.arena.alloc_slice_copy(&parts))), all));
            }
            next = part(self, row)?;
        }
    }

    fn negation(&mut self, row: &mut Row<'t>) -> Parsed<(Node<'t>, Span)> {
        let mut nots: Vec<Span> = Vec::new();
        while let Some(not) = row.next_if(|pair| pair.as_rule() == Rule::not) {
            nots.push(self.span(&not));
        }
        let (node, span) = self.comparison(row)?;
        if nots.is_empty() {
            return Ok((node, span));
        }
        let mut condition = self.as_condition((node, span), span)?;
        while let Some(not) = nots.pop() {
            let span = not.to(condition.span);
            condition = Spanned::new(Condition::Not(self.arena.alloc(condition)), span);
        }
        Ok((Node::Condition(condition.node), condition.span))
    }

    fn comparison(&mut self, row: &mut Row<'t>) -> Parsed<(Node<'t>, Span)> {
        let is_comparison = |what| matches!(what, Rule::relation | Rule::in_ | Rule::not_in);
        let (left, left_span) = self.remainder(row)?;
        let Some(operator) = row.next_if(|pair| is_comparison(pair.as_rule())) else {
            return Ok((left, left_span));
        };
        let operator_span = self.span(&operator);
        let left = self.as_value((left, left_span), left_span)?;
        let (right, right_span) = self.remainder(row)?;
        let span = left_span.to(right_span);
        let condition = if operator.as_rule() == Rule::relation {
            let right = self.as_value((right, right_span), right_span)?;
            let relation = Spanned::new(relation(&operator), operator_span);
            Condition::Compare(self.arena.alloc(Compare { left, relation, right }))
        } else {
            let negated = operator.as_rule() == Rule::not_in;
            let set = Spanned::new(self.as_set(right, right_span)?, right_span);
            Condition::In(self.arena.alloc(In { left, negated, set }))
        };
        if let Some(chained) = row.peek().filter(|pair| is_comparison(pair.as_rule())) {
            let found = chained.as_str();
            return Err(Problem::new(
                Code::Syntax,
                self.span(chained),
                format!("`{found}` follows a comparison"),
            )
            .label("comparisons do not chain; join them with `&&`"));
        }
        Ok((Node::Condition(condition), span))
    }

    fn remainder(&mut self, row: &mut Row<'t>) -> Parsed<(Node<'t>, Span)> {
        let (mut node, mut span) = self.coalesce(row)?;
        while let Some(operator) = row.next_if(|pair| pair.as_rule() == Rule::modulo) {
            if let Node::Value(Value::Modulo(..)) = node {
                return Err(Problem::new(Code::Syntax, self.span(&operator), "`%` follows `%`")
                    .label("one remainder is all that can be asked for"));
            }
            let value = self.as_value((node, span), span)?;
            let (divisor, at) = self.coalesce(row)?;
            let Node::Value(Value::Literal(Literal::Int(divisor @ 1..))) = divisor else {
                return Err(Problem::new(Code::TypeMismatch, at, "`%` needs a positive int on its right")
                    .label("as in `int(cookie(uid)) % 100`"));
            };
            span = span.to(at);
            node = Node::Value(Value::Modulo(value, Spanned::new(divisor, at)));
        }
        Ok((node, span))
    }

    fn coalesce(&mut self, row: &mut Row<'t>) -> Parsed<(Node<'t>, Span)> {
        let (first, mut span) = self.operand(row)?;
        if row.peek().is_none_or(|pair| pair.as_rule() != Rule::coalesce) {
            return Ok((first, span));
        }
        let mut sides = Vec::new();
        let mut side = (first, span);
        loop {
            span = span.to(side.1);
            let at = side.1;
            match self.as_value(side, at)? {
                Spanned { node: Value::Coalesce(inner), .. } => sides.extend(*inner),
                other => sides.push(other),
            }
            if row.next_if(|pair| pair.as_rule() == Rule::coalesce).is_none() {
                return Ok((Node::Value(Value::Coalesce(self.arena.alloc_slice_copy(&sides))), span));
            }
            side = self.operand(row)?;
        }
    }

    fn operand(&mut self, row: &mut Row<'t>) -> Parsed<(Node<'t>, Span)> {
        let Some(pair) = row.next() else {
            let at = Span::new(self.text.len(), self.text.len());
            return Err(Problem::new(Code::Syntax, at, "an operand is missing"));
        };
        let span = self.span(&pair);
        let node = match pair.as_rule() {
            Rule::not => {
                return Err(Problem::new(Code::Syntax, span, "`!` stands inside a comparison")
                    .label("negate the whole comparison: `!(a == b)`, or `a != b`"));
            }
            Rule::group => {
                let mut inner = pair.into_inner().peekable();
                inner.next();
                return Ok(match self.expression(&mut inner)? {
                    // A condition is what stands inside: an explanation shows it so.
                    (node @ Node::Condition(_), inside) => (node, inside),
                    // Of a value a message points at the parentheses.
                    (node, _) => (node, span),
                });
            }
            Rule::set => Node::Set(Set::Literal(self.members(pair)?)),
            Rule::call => Node::Value(self.call(pair)?),
            Rule::bare => match pair.as_str() {
                "true" => Node::Value(Value::Literal(Literal::Bool(true))),
                "false" => Node::Value(Value::Literal(Literal::Bool(false))),
                word => Node::Value(Value::Field { name: Spanned::new(word, span), argument: None }),
            },
            _ => Node::Value(Value::Literal(self.literal(&pair)?)),
        };
        Ok((node, span))
    }

    fn call(&mut self, pair: Pair<'t, Rule>) -> Parsed<Value<'t>> {
        let whole = self.span(&pair);
        let mut inner = pair.into_inner().peekable();
        let Some(name) = inner.next() else {
            return Err(Problem::new(Code::Syntax, whole, "a name is missing"));
        };
        let name = Spanned::new(name.as_str(), self.span(&name));
        let function = Function::named(name.node);
        inner.next_if(|pair| pair.as_rule() == Rule::open);
        let mut arguments: Vec<(Node<'t>, Span)> = Vec::new();
        while inner.peek().is_some_and(|pair| !matches!(pair.as_rule(), Rule::close)) {
            match inner.next_if(|pair| pair.as_rule() == Rule::argument) {
                Some(argument) if function.is_none() || !is_reserved(argument.as_str()) => {
                    let span = self.span(&argument);
                    let name = Spanned::new(argument.as_str(), span);
                    arguments.push((Node::Value(Value::Field { name, argument: None }), span));
                }
                Some(argument) => {
                    let literal = match argument.as_str() {
                        "true" => Literal::Bool(true),
                        "false" => Literal::Bool(false),
                        word => {
                            return Err(Problem::new(
                                Code::Syntax,
                                self.span(&argument),
                                format!("expected a field or a literal, found `{word}`"),
                            )
                            .label("this word is reserved"));
                        }
                    };
                    arguments.push((Node::Value(Value::Literal(literal)), self.span(&argument)));
                }
                None => arguments.push(self.expression(&mut inner)?),
            }
            inner.next_if(|pair| pair.as_rule() == Rule::comma);
        }
        if let Some(function) = function {
            let arguments = arguments
                .into_iter()
                .map(|(node, span)| self.as_value((node, span), span))
                .collect::<Parsed<Vec<_>>>()?;
            let arguments = self.arena.alloc_slice_copy(&arguments);
            return Ok(Value::Call { function: Spanned::new(function, name.span), arguments });
        }
        let text = |node| match node {
            Node::Value(Value::Field { name, argument: None }) => Some(name.node),
            Node::Value(Value::Literal(Literal::String(text))) => Some(text),
            _ => None,
        };
        let count = arguments.len();
        let mut arguments = arguments.into_iter();
        match (count, arguments.next()) {
            (1, Some((node, span))) => match text(node) {
                Some(argument) => Ok(Value::Field { name, argument: Some(Spanned::new(argument, span)) }),
                None => Err(self.not_a_field_name(&name, span)),
            },
            (0, _) => Err(Problem::new(
                Code::BadArgument,
                whole,
                format!("`{}()` has no argument", name.node),
            )
            .label(
                "name what is meant, as in `header(x-canary)`; a field without argument has no parentheses",
            )),
            _ => Err(self.not_a_field_name(&name, whole)),
        }
    }

    fn not_a_field_name(&self, name: &Spanned<&str>, span: Span) -> Problem {
        let functions = Function::ALL.iter().map(|(name, _)| *name);
        let near = crate::diagnostic::nearest(name.node, functions);
        match near {
            Some(near) => {
                Problem::new(Code::UnknownField, name.span, format!("unknown function `{}`", name.node))
                    .did_you_mean(Some(near))
            }
            None if is_reserved(name.node) => {
                Problem::new(Code::Syntax, name.span, format!("`{}` stands between its operands", name.node))
                    .label(format!("as in `path {} \"/api\"`", name.node))
            }
            None => {
                let problem = Problem::new(
                    Code::BadArgument,
                    span,
                    format!("`{}` is no function, and a field takes one name", name.node),
                )
                .label("functions are `lower`, `len`, `int`, `version`, `exists` and `percent`");
                match name.node {
                    "has" | "defined" | "is_set" | "present" => {
                        problem.help("whether there is a value asks `exists(…)`")
                    }
                    "hash" | "crc32" | "bucket" | "rand" | "random" => problem.help(
                        "a stable share of keys is `percent(KEY) < 5`; by chance is a split without `by`",
                    ),
                    _ => problem,
                }
            }
        }
    }

    // === what a node must be ===

    fn as_condition(&mut self, (node, _): (Node<'t>, Span), span: Span) -> Parsed<Spanned<Condition<'t>>> {
        match node {
            Node::Condition(condition) => Ok(Spanned::new(condition, span)),
            Node::Value(value) => Ok(Spanned::new(Condition::Value(self.arena.alloc(value)), span)),
            Node::Set(_) => Err(self.lonely_list(span)),
        }
    }

    fn as_value(&mut self, (node, _): (Node<'t>, Span), span: Span) -> Parsed<Operand<'t>> {
        match node {
            Node::Value(value) => Ok(Spanned::new(self.arena.alloc(value), span)),
            Node::Condition(_) => Err(Problem::new(
                Code::NotACondition,
                span,
                format!("{} is a condition, not a value", shown(span.of(self.text))),
            )
            .label("conditions are joined with `&&` and `||`, not compared")),
            Node::Set(_) => Err(self.lonely_list(span)),
        }
    }

    fn as_set(&mut self, node: Node<'t>, span: Span) -> Parsed<Set<'t>> {
        match node {
            Node::Set(set) => Ok(set),
            Node::Value(Value::Field { name, argument: None }) => Ok(Set::Named(name.node)),
            // A list's name may need quotes; whether it is one is for the check to know.
            Node::Value(Value::Literal(Literal::String(name))) => Ok(Set::Named(name)),
            Node::Value(Value::Literal(literal)) if !matches!(literal, Literal::Bool(_)) => {
                let text = span.of(self.text);
                Err(Problem::new(Code::TypeMismatch, span, "`in` needs a list on its right")
                    .label(format!("one value is a list too: `[{text}]`")))
            }
            Node::Value(_) | Node::Condition(_) => {
                Err(Problem::new(Code::TypeMismatch, span, "`in` needs a list on its right")
                    .label("write `[…]` or the name of a list"))
            }
        }
    }

    fn lonely_list(&self, span: Span) -> Problem {
        Problem::new(Code::TypeMismatch, span, "a list stands where none can be")
            .label("lists follow `in` or `not in`")
    }
}

/// Where the last token of a pair ends. Its own span may take in the blanks before something optional that did
/// not come.
fn end_of(pair: &Pair<'_, Rule>) -> usize {
    let mut end = pair.as_span().end();
    let mut last = pair.clone().into_inner().next_back();
    while let Some(inner) = last {
        end = inner.as_span().end();
        last = inner.into_inner().next_back();
    }
    end
}

/// Reads a quantity.
fn read<T>(token: Spanned<&str>, read: impl FnOnce(&str, Span) -> Result<T, Problem>) -> Parsed<Spanned<T>> {
    Ok(Spanned::new(read(token.node, token.span)?, token.span))
}

fn relation(pair: &Pair<'_, Rule>) -> Relation {
    match pair.as_str() {
        "==" => Relation::Equal,
        "!=" => Relation::Unequal,
        "<" => Relation::Below,
        "<=" => Relation::AtMost,
        ">" => Relation::Above,
        ">=" => Relation::AtLeast,
        "starts_with" => Relation::StartsWith,
        "ends_with" => Relation::EndsWith,
        "contains" => Relation::Contains,
        "under" => Relation::Under,
        _ => Relation::Matches,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Diagnostics, Source};

    fn read<'t>(text: &'t str, arena: &'t Arena) -> Result<File<'t>, String> {
        let mut problems = Problems::new(100);
        let file = parse_file(text, arena, &Limits::default(), &mut problems);
        if problems.has_errors() {
            return Err(Diagnostics::new(problems, &Source::named("rules"), text).to_string());
        }
        Ok(file)
    }

    const SHOP: &str = r#"
# Shop traffic. The first route that matches decides.

list beta   = ["1001", "1002", "1003"]
list office = [10.0.0.0/8, 192.168.0.0/16, 2001:db8::/32]

cluster prod = prod_a 50, prod_b 50 by cookie(uid)      # a logical cluster made of two

route testers:  header(x-canary) == "always"                        => gray
route staff:    cookie(uid) in beta || ip in office                 => gray
route app:      version(header(x-app-version)) >= "2.3.0"
                && host == "shop.example.com"                       => gray
route checkout: path under "/checkout" => gray 5, prod 95 by cookie(uid)
paused route sale: now >= "2026-11-27T00:00:00+08:00"               => gray
shadow route next: percent(cookie(uid), "next-checkout") < 0.5      => gray
default => prod
"#;

    #[test]
    fn the_shop_is_read_and_printed() {
        let arena = Arena::new();
        let file = read(SHOP, &arena).unwrap();
        let text = crate::syntax::print::print(&file);
        insta::assert_snapshot!(text, @r##"
        # Shop traffic. The first route that matches decides.

        list beta = ["1001", "1002", "1003"]
        list office = [10.0.0.0/8, 192.168.0.0/16, 2001:db8::/32]

        cluster prod = prod_a 50, prod_b 50 by cookie(uid) # a logical cluster made of two

        route testers: header(x-canary) == "always" => gray
        route staff: cookie(uid) in beta || ip in office => gray
        route app: version(header(x-app-version)) >= "2.3.0" && host == "shop.example.com" => gray
        route checkout: path under "/checkout" => gray 5, prod 95 by cookie(uid)
        paused route sale: now >= "2026-11-27T00:00:00+08:00" => gray
        shadow route next: percent(cookie(uid), "next-checkout") < 0.5 => gray
        default => prod
        "##);
        assert_eq!(read(&text, &arena).unwrap(), file);
    }

    #[test]
    fn a_comment_within_a_statement_stays_with_it() {
        let text =
            "default => a\n\nroute x: # why\n  host == \"x\" => b\n\n# up\n\nroute y: # in\n true => a\n";
        let arena = Arena::new();
        let file = read(text, &arena).unwrap();
        let printed = crate::syntax::print::print(&file);
        insta::assert_snapshot!(printed, @r##"
        default => a

        # why
        route x: host == "x" => b

        # up

        # in
        route y: true => a
        "##);
        assert_eq!(read(&printed, &arena).unwrap(), file);
    }
}
