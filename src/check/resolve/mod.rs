//! Names and types: from the tree as it was written to the typed rules.
//!
//! Every function goes on after a mistake as far as it can, so that one look gives all of them; what could not
//! be resolved is `None`, and the problem is in `problems`.
//!
//! Here is the rule set as a whole: which names there are. The files beside resolve what stands in a statement.

mod condition;
mod gateway;
mod list;
mod outcome;
mod value;
mod words;

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt as _, HashSet};
use smallvec::SmallVec;

pub(super) use self::words::clip;
use self::words::{duplicate, never};
use super::typed::{Condition, Expr, Logical, Outcome, Route, Rules, Set};
use super::{coerce, lint};
use crate::diagnostic::{Code, Problem, Problems, Span};
use crate::limits::Limits;
use crate::schema::{Names, Pattern, Type, Value};
use crate::syntax;
use crate::syntax::ast::{self, Arena, Literal, Member, Spanned, Statement, StatementKind, Text};

/// Parses and resolves a whole text. No rules if anything in it is an error.
pub(crate) fn resolve_text(text: &str, names: &Names<'_>, limits: &Limits) -> (Option<Rules>, Problems) {
    one_by_one(text, names, limits).unwrap_or_else(|| {
        let mut problems = Problems::new(limits.diagnostics);
        let arena = &Arena::new();
        let file = syntax::parse_file(text, arena, limits, &mut problems);
        (resolve_file(&file, text, names, limits, &mut problems), problems)
    })
}

/// Resolves each statement as soon as it is read, so that the trees of a long text never leave the nearest memory.
/// `None` if one of them cannot be read quickly, or two have one name: what is wrong would have to be said in between.
fn one_by_one(text: &str, names: &Names<'_>, limits: &Limits) -> Option<(Option<Rules>, Problems)> {
    let mut problems = Problems::new(limits.diagnostics);
    let arena = Arena::new();
    let declared = syntax::declarations(text, &arena, limits)?;
    let mut resolver = Resolver::new(text, names, limits, &mut problems);
    let mut draft = resolver.begin(declared.iter().map(|statement| &statement.node));
    let mut names = Vec::with_capacity(syntax::about_how_many(text));
    let hasher = RandomState::default();
    syntax::each(text, limits, declared, |statement| {
        names.extend(acting(&statement.node).map(|(kind, name)| hasher.hash_one((kind, name.node))));
        resolver.statement(&statement, &mut draft);
    })?;
    if !lint::repeated(names).is_empty() {
        return None;
    }
    Some((resolver.end(draft), problems))
}

/// Resolves a whole file. `None` if anything in it is an error.
pub(crate) fn resolve_file(
    file: &ast::File<'_>,
    text: &str,
    names: &Names<'_>,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Rules> {
    if file.incomplete {
        // Names that are missing may well be in the rest.
        return None;
    }
    let mut resolver = Resolver::new(text, names, limits, problems);
    resolver.broken = file.broken.iter().map(String::as_str).collect();
    let mut draft = resolver.begin(file.items.iter().map(|item| &item.statement.node));
    let mut names: HashMap<(StatementKind, &str), Span> = HashMap::new();
    for item in &file.items {
        if let Some((kind, name)) = acting(&item.statement.node)
            && let Some(first) = names.insert((kind, name.node), name.span)
        {
            resolver.problems.push(duplicate(kind.word(), name, first));
        }
        resolver.statement(&item.statement, &mut draft);
    }
    resolver.end(draft)
}

/// The kind and name of a statement with a condition. Of one kind, each name is there once.
fn acting<'s, 't>(statement: &'s Statement<'t>) -> Option<(StatementKind, &'s Text<'t>)> {
    match statement {
        Statement::Rule(rule) => Some((StatementKind::Route, &rule.name)),
        Statement::Gateway(gateway) => Some((gateway.action.kind(), &gateway.name)),
        Statement::List(_) | Statement::Cluster(_) | Statement::Default(_) => None,
    }
}

/// Resolves a condition that stands alone; `salt` is what `percent` uses without one of its own.
pub(crate) fn resolve_condition(
    condition: &Spanned<ast::Condition<'_>>,
    text: &str,
    salt: &str,
    names: &Names<'_>,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Condition> {
    let mut resolver = Resolver::new(text, names, limits, problems);
    let resolved = resolver.condition(condition, salt)?;
    if !resolver.problems.has_errors() {
        lint::condition(&resolved, condition.span, resolver.impossible > 0, resolver.problems);
    }
    Some(resolved)
}

struct Resolver<'a> {
    text: &'a str,
    names: &'a Names<'a>,
    limits: &'a Limits,
    problems: &'a mut Problems,
    // In order: the names that a problem mentions must not change from run to run.
    lists: BTreeMap<&'a str, NamedList<'a>>,
    logical: BTreeMap<&'a str, u32>,
    /// Names that a statement with a mistake would have given.
    broken: HashSet<&'a str>,
    patterns: HashMap<String, Option<Pattern>>,
    /// What compiling the patterns took, sound or not.
    pattern_bytes: usize,
    /// How many literals can never be equal.
    impossible: usize,
}

/// A rule set on its way.
struct Draft {
    rules: Rules,
    lints: lint::Routes,
    /// Of each gateway statement.
    gateway: Vec<gateway::Look>,
    /// Where it stands, and what it is if it is sound.
    default: Option<(Span, Option<Outcome>)>,
}

struct NamedList<'a> {
    list: &'a ast::List<'a>,
    used: bool,
    /// By the type it is asked for; `None` where a member does not fit.
    typed: Vec<(Type, Option<Set>)>,
}

/// A comparison's side before its partner is known.
enum Side<'v> {
    Literal(&'v Literal<'v>, Span),
    Expr(Expr),
}

impl<'a> Resolver<'a> {
    fn new(text: &'a str, names: &'a Names<'a>, limits: &'a Limits, problems: &'a mut Problems) -> Self {
        Resolver {
            text,
            names,
            limits,
            problems,
            lists: BTreeMap::new(),
            logical: BTreeMap::new(),
            broken: HashSet::default(),
            patterns: HashMap::new(),
            pattern_bytes: 0,
            impossible: 0,
        }
    }

    /// Makes all names known before any is looked up: statements may stand in any order.
    fn begin(&mut self, statements: impl Iterator<Item = &'a Statement<'a>>) -> Draft {
        let clusters = self.declare(statements);
        let about = syntax::about_how_many(self.text);
        let mut rules = Rules {
            clusters: self.names.schema.clusters.clone(),
            logical: Vec::new(),
            inner_first: Vec::new(),
            routes: Vec::with_capacity(about),
            default: Outcome { targets: SmallVec::new(), deal: None, fallbacks: None },
            gateway: Vec::new(),
        };
        for cluster in &clusters {
            if let Some(outcome) = self.outcome(&cluster.outcome, cluster.name.node) {
                rules.logical.push(Logical { name: cluster.name.node.into(), outcome });
            }
        }
        rules.inner_first = self.inner_first(&clusters, &rules);
        Draft { rules, lints: lint::Routes::new(about), gateway: Vec::new(), default: None }
    }

    /// Resolves a statement that decides; what is declared is known.
    fn statement(&mut self, statement: &Spanned<Statement<'_>>, draft: &mut Draft) {
        match &statement.node {
            Statement::List(_) | Statement::Cluster(_) => {}
            Statement::Rule(rule) => {
                let impossible = self.impossible;
                let condition = self.condition(&rule.condition, rule.name.node);
                let outcome = self.outcome(&rule.outcome, rule.name.node);
                let (Some(condition), Some(outcome)) = (condition, outcome) else { return };
                let impossible = self.impossible > impossible;
                draft.lints.look(rule.name.span, rule.condition.span, &condition, impossible);
                draft.rules.routes.push(Route {
                    name: rule.name.node.into(),
                    state: rule.state,
                    condition,
                    outcome,
                });
            }
            Statement::Gateway(gateway) => {
                if let Some((statement, look)) = self.gateway(gateway) {
                    draft.rules.gateway.push(statement);
                    draft.gateway.push(look);
                }
            }
            Statement::Default(outcome) => {
                let span = statement.span;
                let head = Span::new(span.start, (span.start + "default".len()).min(span.end));
                if let Some((first, _)) = &draft.default {
                    self.problems.push(
                        Problem::new(Code::Default, head, "a second `default`")
                            .label("there is one, and it decides when no route does")
                            .related(*first, "the first stands"),
                    );
                }
                let resolved = self.outcome(outcome, "default");
                draft.default.get_or_insert((head, resolved));
            }
        }
    }

    /// What only all statements together can tell.
    fn end(&mut self, draft: Draft) -> Option<Rules> {
        let Draft { mut rules, lints, gateway, default } = draft;
        if default.is_none() && !self.broken.contains("default") {
            let end = self.text.len();
            self.problems.push(
                Problem::new(Code::Default, Span::new(end, end), "there is no `default`")
                    .label("add `default => CLUSTER`: where requests go that no route takes"),
            );
        }
        self.check_lists();
        rules.default = default.and_then(|(_, outcome)| outcome)?;
        if self.problems.has_errors() {
            return None;
        }
        self.lint_lists();
        for (statement, (span, impossible)) in rules.gateway.iter().zip(gateway) {
            lint::condition(&statement.condition, span, impossible, self.problems);
        }
        lints.tell(&rules.routes, self.problems);
        Some(rules)
    }

    fn declare(&mut self, statements: impl Iterator<Item = &'a Statement<'a>>) -> Vec<&'a ast::Cluster<'a>> {
        let mut clusters: Vec<&ast::Cluster<'_>> = Vec::new();
        let mut index = 0;
        for statement in statements {
            match statement {
                Statement::List(list) => {
                    if self.names.list(list.name.node).is_some() {
                        self.problems.push(
                            Problem::new(
                                Code::DuplicateName,
                                list.name.span,
                                format!("the application supplies a list `{}`", list.name.node),
                            )
                            .label("choose another name"),
                        );
                    }
                    let named = NamedList { list, used: false, typed: Vec::new() };
                    match self.lists.get(list.name.node) {
                        Some(first) => {
                            let first = first.list.name.span;
                            self.problems.push(duplicate("list", &list.name, first));
                        }
                        None => {
                            self.lists.insert(list.name.node, named);
                        }
                    }
                }
                Statement::Cluster(cluster) => {
                    let name = cluster.name.node;
                    if self.names.cluster(name).is_some() {
                        self.problems.push(
                            Problem::new(
                                Code::DuplicateName,
                                cluster.name.span,
                                format!("the application declares a cluster `{name}`"),
                            )
                            .label("a cluster made of others needs a name of its own"),
                        );
                    }
                    match self.logical.get(name).and_then(|first| clusters.get(*first as usize)) {
                        Some(first) => {
                            self.problems.push(duplicate("cluster", &cluster.name, first.name.span));
                        }
                        None => {
                            self.logical.insert(name, index);
                            index += 1;
                            clusters.push(cluster);
                        }
                    }
                }
                Statement::Rule(_) | Statement::Gateway(_) | Statement::Default(_) => {}
            }
        }
        clusters
    }

    // === lints that need a place ===

    fn impossible_members(&mut self, expr: &Expr, members: &[Member<'_>]) {
        for member in members {
            if let Member::One(one) = member
                && let Ok(value) = coerce::coerce(&one.node, one.span, expr.ty())
            {
                self.impossible(expr, &value, one.span);
            }
        }
    }

    fn impossible(&mut self, expr: &Expr, value: &Value<'_>, span: Span) {
        if let Some(why) = lint::impossible(expr, value) {
            self.never(span, why);
        }
    }

    fn never(&mut self, span: Span, (reason, instead): (String, Option<String>)) {
        self.impossible += 1;
        self.problems.push(never(span, &reason, instead));
    }

    fn note<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }
}
