//! Names and types: from the tree as it was written to the typed rules.
//!
//! Every function goes on after a mistake as far as it can, so that one look gives all of them; what could not
//! be resolved is `None`, and the problem is in `problems`.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::coerce::{self, with_article};
use super::lint;
use super::typed::{
    Condition, Deal, Expr, Logical, Members, Order, Outcome, Predicate, Route, Rules, Set, Target, Test,
};
use crate::diagnostic::{Code, Problem, Problems, Span, nearest};
use crate::limits::Limits;
use crate::schema::{BuiltIn, Field, Names, Pattern, PatternError, Type, Value};
use crate::split::{self, Split};
use crate::syntax::ast::{self, Function, Literal, Member, Relation, Spanned, Statement};

/// Resolves a whole text. `None` if anything in it is an error.
pub(crate) fn resolve_file(
    file: &ast::File,
    text: &str,
    names: &Names<'_>,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Rules> {
    if file.incomplete {
        // Names that are missing may well be in the rest.
        return None;
    }
    Resolver::new(file, text, names, limits, problems).file(file)
}

/// Resolves a condition that stands alone; `salt` is what `percent` uses without one of its own.
pub(crate) fn resolve_condition(
    condition: &Spanned<ast::Condition>,
    text: &str,
    salt: &str,
    names: &Names<'_>,
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Condition> {
    let empty = ast::File::default();
    let mut resolver = Resolver::new(&empty, text, names, limits, problems);
    let resolved = resolver.condition(condition, salt)?;
    if !resolver.problems.has_errors() {
        lint::condition(&resolved, condition.span, resolver.problems);
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
}

struct NamedList<'a> {
    list: &'a ast::List,
    used: bool,
    /// By the type it is asked for; `None` where a member does not fit.
    typed: Vec<(Type, Option<Set>)>,
}

/// A comparison's side before its partner is known.
enum Side {
    Literal(Spanned<Literal>),
    Expr(Expr),
}

impl<'a> Resolver<'a> {
    fn new(
        file: &'a ast::File,
        text: &'a str,
        names: &'a Names<'a>,
        limits: &'a Limits,
        problems: &'a mut Problems,
    ) -> Self {
        Resolver {
            text,
            names,
            limits,
            problems,
            lists: BTreeMap::new(),
            logical: BTreeMap::new(),
            broken: file.broken.iter().map(String::as_str).collect(),
            patterns: HashMap::new(),
            pattern_bytes: 0,
        }
    }

    fn file(&mut self, file: &'a ast::File) -> Option<Rules> {
        let clusters = self.declare(file);
        let mut rules = Rules {
            clusters: self.names.schema.clusters.clone(),
            logical: Vec::new(),
            routes: Vec::new(),
            default: Outcome { targets: Vec::new(), deal: None },
        };
        for cluster in &clusters {
            if let Some(outcome) = self.outcome(&cluster.outcome, &cluster.name.node) {
                rules.logical.push(Logical { name: cluster.name.node.as_str().into(), outcome });
            }
        }
        self.cycles(&clusters, &rules);
        let mut seen: HashMap<&str, Span> = HashMap::new();
        let mut default: Option<(Span, Option<Outcome>)> = None;
        for item in &file.items {
            match &item.statement.node {
                Statement::List(_) | Statement::Cluster(_) => {}
                Statement::Rule(rule) => {
                    if let Some(first) = seen.insert(&rule.name.node, rule.name.span) {
                        self.problems.push(duplicate("route", &rule.name, first));
                    }
                    let condition = self.condition(&rule.condition, &rule.name.node);
                    let outcome = self.outcome(&rule.outcome, &rule.name.node);
                    let Some((condition, outcome)) = condition.zip(outcome) else { continue };
                    rules.routes.push(Route {
                        name: rule.name.node.as_str().into(),
                        state: rule.state,
                        condition,
                        outcome,
                        name_span: rule.name.span,
                        condition_span: rule.condition.span,
                    });
                }
                Statement::Default(outcome) => {
                    let span = item.statement.span;
                    let head = Span::new(span.start, (span.start + "default".len()).min(span.end));
                    if let Some((first, _)) = &default {
                        self.problems.push(
                            Problem::new(Code::Default, head, "a second `default`")
                                .label("there is one, and it decides when no route does")
                                .related(*first, "the first stands"),
                        );
                    }
                    let resolved = self.outcome(outcome, "default");
                    default.get_or_insert((head, resolved));
                }
            }
        }
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
        self.unused_lists();
        lint::rules(&rules, self.problems);
        Some(rules)
    }

    /// Makes all names known before any is looked up: statements may stand in any order.
    fn declare(&mut self, file: &'a ast::File) -> Vec<&'a ast::Cluster> {
        let mut clusters: Vec<&ast::Cluster> = Vec::new();
        let mut index = 0;
        for item in &file.items {
            match &item.statement.node {
                Statement::List(list) => {
                    if self.names.list(&list.name.node).is_some() {
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
                    match self.lists.get(list.name.node.as_str()) {
                        Some(first) => {
                            let first = first.list.name.span;
                            self.problems.push(duplicate("list", &list.name, first));
                        }
                        None => {
                            self.lists.insert(&list.name.node, named);
                        }
                    }
                }
                Statement::Cluster(cluster) => {
                    let name = cluster.name.node.as_str();
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
                Statement::Rule(_) | Statement::Default(_) => {}
            }
        }
        clusters
    }

    // === outcomes ===

    fn outcome(&mut self, outcome: &ast::Outcome, name: &str) -> Option<Outcome> {
        let salt = outcome.salt.as_ref().map_or(name, |salt| salt.node.as_str());
        let targets: Vec<Option<Target>> =
            outcome.targets.iter().map(|target| self.cluster(&target.cluster)).collect();
        let key = outcome.key.as_ref().map(|key| self.key(key, salt));
        let several = outcome.targets.len() > 1;
        let mut sound = true;
        if !several {
            if let Some(weight) = outcome.targets.first().and_then(|target| target.weight.as_ref()) {
                sound = false;
                self.problems.push(
                    Problem::new(Code::BadSplit, weight.span, "a weight on the only cluster")
                        .label("delete it, or name the others and their weights")
                        .help("for a part of the requests, ask `percent(KEY) < 5` in the condition; the rest goes on to the next rule"),
                );
            }
            if let Some(key) = &outcome.key {
                sound = false;
                self.problems.push(
                    Problem::new(Code::BadSplit, key.span, "`by` with a single cluster")
                        .label("there is nothing to deal out; delete it"),
                );
            }
            let targets = targets.into_iter().collect::<Option<Vec<_>>>()?;
            return sound.then_some(Outcome { targets, deal: None });
        }
        if outcome.targets.len() > self.limits.targets {
            self.problems.push(
                Problem::new(
                    Code::TooLarge,
                    outcome.place.0,
                    format!(
                        "{} clusters in one outcome, {} are allowed",
                        outcome.targets.len(),
                        self.limits.targets
                    ),
                )
                .help("the application can raise the limit `targets`"),
            );
            return None;
        }
        let mut named: HashMap<&str, Span> = HashMap::new();
        for target in &outcome.targets {
            if target.weight.is_none() {
                sound = false;
                self.problems.push(
                    Problem::new(
                        Code::BadSplit,
                        target.cluster.span,
                        format!("`{}` has no weight", target.cluster.node),
                    )
                    .label("one of several clusters has a weight, as in `gray 5, prod 95`"),
                );
            }
            if let Some(earlier) = named.insert(&target.cluster.node, target.cluster.span) {
                sound = false;
                self.problems.push(
                    Problem::new(
                        Code::BadSplit,
                        target.cluster.span,
                        format!("`{}` stands twice", target.cluster.node),
                    )
                    .label("give it one weight")
                    .related(earlier, "the first stands"),
                );
            }
        }
        if !sound {
            return None;
        }
        let arms = outcome
            .targets
            .iter()
            .map(|target| (target.cluster.node.as_str(), target.weight.as_ref().map_or(0, |w| w.node)));
        let split = match Split::new(arms) {
            Ok(split) => split,
            Err(error) => {
                let problem = Problem::new(Code::BadSplit, outcome.place.0, error.to_string());
                self.problems.push(if error.is_all_zero() {
                    problem.label("give at least one cluster a weight above 0")
                } else {
                    problem
                });
                return None;
            }
        };
        let key = match key {
            Some(None) => return None,
            Some(key) => key,
            None => None,
        };
        let targets = targets.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Outcome { targets, deal: Some(Deal { split, seed: split::seed(salt.as_bytes()), key }) })
    }

    fn cluster(&mut self, name: &Spanned<String>) -> Option<Target> {
        if let Some(index) = self.logical.get(name.node.as_str()) {
            return Some(Target::Logical(*index));
        }
        if let Some(index) = self.names.cluster(&name.node) {
            return Some(Target::Cluster(index));
        }
        if !self.broken.contains(name.node.as_str()) {
            let declared = &self.names.schema.clusters;
            let known = self.logical.keys().copied().chain(declared.iter().map(|c| &**c));
            self.problems.push_with(Code::UnknownCluster, || {
                let problem = Problem::new(
                    Code::UnknownCluster,
                    name.span,
                    format!("unknown cluster `{}`", clip(&name.node)),
                );
                match nearest(&name.node, known) {
                    Some(near) => problem.did_you_mean(Some(near)),
                    None if declared.is_empty() => problem
                        .label("the application declares no clusters")
                        .help("in Rust: `Schema::clusters`"),
                    None => problem.label(format!("known: {}", some_names(declared.iter().map(|c| &**c)))),
                }
            });
        }
        None
    }

    /// A logical cluster that contains itself, however far down.
    fn cycles(&mut self, clusters: &[&ast::Cluster], rules: &Rules) {
        if rules.logical.len() != clusters.len() {
            return;
        }
        // 0: not seen, 1: on the way, 2: done. The way is kept by hand, so that its length costs no stack.
        let mut state = vec![0_u8; rules.logical.len()];
        for start in 0..rules.logical.len() {
            let mut way = vec![(start, 0)];
            while let Some((at, next)) = way.pop() {
                if next == 0 {
                    if state.get(at) != Some(&0) {
                        continue;
                    }
                    state.iter_mut().skip(at).take(1).for_each(|s| *s = 1);
                }
                let target = rules.logical.get(at).and_then(|logical| logical.outcome.targets.get(next));
                match target {
                    None => state.iter_mut().skip(at).take(1).for_each(|s| *s = 2),
                    Some(target) => {
                        way.push((at, next + 1));
                        if let Target::Logical(inner) = target {
                            let inner = *inner as usize;
                            if state.get(inner) == Some(&1) {
                                if let Some(cluster) = clusters.get(at) {
                                    let span = cluster
                                        .outcome
                                        .targets
                                        .get(next)
                                        .map_or(cluster.name.span, |t| t.cluster.span);
                                    self.problems.push(
                                        Problem::new(
                                            Code::BadSplit,
                                            span,
                                            format!("the cluster `{}` contains itself", cluster.name.node),
                                        )
                                        .label(
                                            "in the end, every cluster is one that the application declares",
                                        ),
                                    );
                                }
                            } else {
                                way.push((inner, 0));
                            }
                        }
                    }
                }
            }
        }
    }

    /// A key's canonical text is hashed, so that types may mix.
    fn key(&mut self, key: &Spanned<ast::Value>, salt: &str) -> Option<Expr> {
        let expr = match &key.node {
            ast::Value::Coalesce(sides) => {
                let sides: Vec<_> = sides.iter().map(|side| self.key_side(side, salt)).collect();
                Expr::Coalesce(sides.into_iter().collect::<Option<_>>()?)
            }
            _ => self.key_side(key, salt)?,
        };
        if expr.is_constant() {
            self.problems.push(
                Problem::new(Code::TypeMismatch, key.span, "the key is the same for every request")
                    .label("a key comes from the request, as `cookie(uid)` does"),
            );
            return None;
        }
        Some(expr)
    }

    fn key_side(&mut self, side: &Spanned<ast::Value>, salt: &str) -> Option<Expr> {
        let expr = match self.side(side, salt)? {
            Side::Literal(literal) => {
                let ty = coerce::natural(&literal.node).unwrap_or(Type::Ip);
                Expr::Literal(self.note(coerce::coerce(&literal, ty))?)
            }
            Side::Expr(expr) => expr,
        };
        if expr.ty() == Type::Percent {
            self.problems.push(
                Problem::new(Code::TypeMismatch, side.span, "a percentage is not a key")
                    .label("hash the key itself"),
            );
            return None;
        }
        Some(expr)
    }

    // === conditions ===

    fn condition(&mut self, condition: &Spanned<ast::Condition>, salt: &str) -> Option<Condition> {
        let span = condition.span;
        match &condition.node {
            ast::Condition::Or(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| self.condition(part, salt)).collect();
                Some(Condition::Any(parts.into_iter().collect::<Option<_>>()?))
            }
            ast::Condition::And(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| self.condition(part, salt)).collect();
                Some(Condition::All(parts.into_iter().collect::<Option<_>>()?))
            }
            ast::Condition::Not(inner) => Some(Condition::Not(Box::new(self.condition(inner, salt)?))),
            ast::Condition::Value(value) => self.bare(value, span, salt),
            ast::Condition::In { left, negated, set } => {
                let expr = self.operand(left, salt);
                let test = self.membership(expr, left.span, set, *negated, span)?;
                Some(Condition::Test(test))
            }
            ast::Condition::Compare { left, relation, right } => {
                let sides = (self.side(left, salt), self.side(right, salt));
                let (Some(left_side), Some(right_side)) = sides else { return None };
                let (expr, predicate) = self.comparison(left, left_side, relation, right, right_side)?;
                let negated = relation.node == Relation::Unequal;
                Some(Condition::Test(Test { expr, predicate, negated, span }))
            }
        }
    }

    /// A value that stands alone.
    fn bare(&mut self, value: &ast::Value, span: Span, salt: &str) -> Option<Condition> {
        if let ast::Value::Literal(Literal::Bool(constant)) = value {
            return Some(Condition::Constant(*constant));
        }
        let (ty, expr) = match self.side(&Spanned::new(value.clone(), span), salt)? {
            Side::Literal(literal) => (coerce::natural(&literal.node).unwrap_or(Type::Ip), None),
            Side::Expr(expr) => (expr.ty(), Some(expr)),
        };
        match expr {
            Some(expr) if ty == Type::Bool => {
                Some(Condition::Test(Test { expr, predicate: Predicate::IsTrue, negated: false, span }))
            }
            _ => {
                let shown = span.of(self.text);
                let problem = Problem::new(
                    Code::NotACondition,
                    span,
                    format!("`{}` is {}, not a condition", clip(shown), with_article(ty)),
                );
                self.problems.push(match expr {
                    Some(_) => problem.label("compare it, or ask `exists(…)`"),
                    None => problem.label("a condition looks at the request"),
                });
                None
            }
        }
    }

    fn membership(
        &mut self,
        expr: Option<Expr>,
        left: Span,
        set: &Spanned<ast::Set>,
        negated: bool,
        span: Span,
    ) -> Option<Test> {
        let ty = expr.as_ref().map(Expr::ty);
        if let Some(ty @ (Type::Bool | Type::Percent)) = ty {
            let label = match ty {
                Type::Percent => "compare it with `<` and `>=`",
                _ => "it stands alone, or is compared with `true` or `false`",
            };
            self.problems.push(
                Problem::new(
                    Code::TypeMismatch,
                    left,
                    format!("{} is not asked with `in`", with_article(ty)),
                )
                .label(label),
            );
            return None;
        }
        let set_value = match &set.node {
            ast::Set::Named(name) => self.named_list(name, set.span, ty),
            ast::Set::Literal(members) => ty.and_then(|ty| self.members(members, ty)),
        };
        let (expr, set_value) = expr.zip(set_value)?;
        if let ast::Set::Literal(members) = &set.node {
            self.impossible_members(&expr, members);
        }
        Some(Test { expr, predicate: Predicate::In(set_value), negated, span })
    }

    /// A comparison as an expression and what is asked of it; a literal on the left changes sides.
    fn comparison(
        &mut self,
        left: &Spanned<ast::Value>,
        left_side: Side,
        relation: &Spanned<Relation>,
        right: &Spanned<ast::Value>,
        right_side: Side,
    ) -> Option<(Expr, Predicate)> {
        let order = match relation.node {
            Relation::Equal | Relation::Unequal => Order::Equal,
            Relation::Below => Order::Below,
            Relation::AtMost => Order::AtMost,
            Relation::Above => Order::Above,
            Relation::AtLeast => Order::AtLeast,
            word => return self.string_test(left, left_side, word, relation.span, right, right_side),
        };
        match (left_side, right_side) {
            (Side::Literal(_), Side::Literal(_)) => {
                self.problems.push(
                    Problem::new(Code::TypeMismatch, left.span.to(right.span), "two literals are compared")
                        .label("one side is a field; a field has no quotes"),
                );
                None
            }
            (Side::Expr(expr), Side::Literal(literal)) => {
                let value = self
                    .ordered(&expr, left.span, order, relation)
                    .and_then(|()| self.literal_for(&expr, left.span, &literal))?;
                if order == Order::Equal {
                    self.impossible(&expr, &value, literal.span);
                }
                Some((expr, Predicate::Compare(order, value)))
            }
            (Side::Literal(literal), Side::Expr(expr)) => {
                let value = self
                    .ordered(&expr, right.span, order, relation)
                    .and_then(|()| self.literal_for(&expr, right.span, &literal))?;
                if order == Order::Equal {
                    self.impossible(&expr, &value, literal.span);
                }
                Some((expr, Predicate::Compare(order.turned(), value)))
            }
            (Side::Expr(a), Side::Expr(b)) => {
                self.ordered(&a, left.span, order, relation)?;
                if a.ty() != b.ty() {
                    self.problems.push(
                        Problem::new(
                            Code::TypeMismatch,
                            left.span.to(right.span),
                            format!("{} is compared with {}", with_article(a.ty()), with_article(b.ty())),
                        )
                        .label(conversion(a.ty(), b.ty())),
                    );
                    return None;
                }
                Some((a, Predicate::CompareTo(order, b)))
            }
        }
    }

    /// Whether values of this type are in order, if order is asked for.
    fn ordered(&mut self, expr: &Expr, span: Span, order: Order, relation: &Spanned<Relation>) -> Option<()> {
        let ty = expr.ty();
        if order == Order::Equal || matches!(ty, Type::Int | Type::Version | Type::Time | Type::Percent) {
            return Some(());
        }
        let symbol = relation.node.symbol();
        let shown = clip(span.of(self.text));
        let problem =
            Problem::new(Code::TypeMismatch, relation.span, format!("`{symbol}` does not compare {ty}s"));
        self.problems.push(match ty {
            Type::String => problem.label(format!("say as what: `int({shown})` or `version({shown})`")),
            Type::Ip => problem.label("ask `in` with a network or a range"),
            _ => problem.label("it compares ints, versions, instants and percentages"),
        });
        None
    }

    fn literal_for(&mut self, expr: &Expr, span: Span, literal: &Spanned<Literal>) -> Option<Value<'static>> {
        let ty = expr.ty();
        let shown = clip(span.of(self.text));
        let result = coerce::coerce(literal, ty).map_err(|problem| {
            // The usual mistake: a number or a version against text.
            match (ty, &literal.node) {
                (Type::String, Literal::Int(i)) => {
                    problem.label(format!("write `\"{i}\"`, or `int({shown})` on the other side"))
                }
                (Type::String, Literal::Bool(b)) => problem.label(format!("write `\"{b}\"`")),
                (Type::String, Literal::Ip(ip)) => problem.label(format!("write `\"{ip}\"`")),
                _ => problem,
            }
        });
        self.note(result)
    }

    fn string_test(
        &mut self,
        left: &Spanned<ast::Value>,
        left_side: Side,
        relation: Relation,
        relation_span: Span,
        right: &Spanned<ast::Value>,
        right_side: Side,
    ) -> Option<(Expr, Predicate)> {
        let symbol = relation.symbol();
        let Side::Expr(expr) = left_side else {
            self.problems.push(
                Problem::new(Code::TypeMismatch, left.span, format!("a literal stands before `{symbol}`"))
                    .label("the field stands on the left, the literal on the right"),
            );
            return None;
        };
        if expr.ty() != Type::String {
            let problem = Problem::new(
                Code::TypeMismatch,
                left.span,
                format!("`{symbol}` asks a string, this is {}", with_article(expr.ty())),
            );
            self.problems.push(match (relation, expr.ty()) {
                (Relation::Under | Relation::StartsWith, Type::Ip) => {
                    problem.label("ask `in` with a network")
                }
                _ => problem,
            });
            return None;
        }
        let literal = match right_side {
            Side::Literal(Spanned { node: Literal::String(literal), .. }) => literal,
            Side::Literal(_) | Side::Expr(_) => {
                self.problems.push(
                    Problem::new(
                        Code::TypeMismatch,
                        right.span,
                        format!("`{symbol}` needs a string literal on its right"),
                    )
                    .label(format!("as in `path {symbol} \"/api\"`")),
                );
                return None;
            }
        };
        let bytes: Box<[u8]> = literal.as_bytes().into();
        let predicate = match relation {
            Relation::StartsWith => Predicate::StartsWith(bytes),
            Relation::EndsWith => Predicate::EndsWith(bytes),
            Relation::Contains => Predicate::Contains(bytes),
            Relation::Matches => Predicate::Matches(self.pattern(&literal, right.span)?),
            _ => match expr {
                Expr::Field(Field::Path) => Predicate::PathUnder(bytes),
                Expr::Field(Field::Host) => Predicate::HostUnder(bytes),
                _ => {
                    let problem = Problem::new(
                        Code::TypeMismatch,
                        relation_span,
                        format!("`under` does not know the hierarchy of `{}`", clip(left.span.of(self.text))),
                    );
                    self.problems.push(match expr {
                        Expr::Field(Field::RawPath) => problem.label("ask `path`, which is canonical"),
                        _ => problem
                            .label("it asks `path` and `host`; for other strings there is `starts_with`"),
                    });
                    return None;
                }
            },
        };
        if let Some((reason, instead)) = lint::impossible_part(&expr, &predicate) {
            self.problems.push(never(right.span, &reason, instead));
        }
        Some((expr, predicate))
    }

    fn pattern(&mut self, text: &str, span: Span) -> Option<Pattern> {
        if let Some(known) = self.patterns.get(text) {
            return known.clone();
        }
        if self.pattern_bytes > self.limits.program_bytes {
            // Told once; those that were not looked at may be sound.
            return None;
        }
        let compiled = match Pattern::new(text, self.limits.regex_bytes) {
            Ok(pattern) => {
                self.pattern_bytes = self.pattern_bytes.saturating_add(pattern.bytes());
                Some(pattern)
            }
            Err(PatternError::TooLarge) => {
                // Finding out took as long as compiling one of that size.
                self.pattern_bytes = self.pattern_bytes.saturating_add(self.limits.regex_bytes);
                self.problems.push(
                    Problem::new(
                        Code::BadRegex,
                        span,
                        format!("the regular expression takes more than {} bytes once compiled", self.limits.regex_bytes),
                    )
                    .label("fewer or smaller repetitions are needed")
                    .help("`(?-u)` makes classes such as `\\w` small; the application can raise the limit `regex_bytes`"),
                );
                None
            }
            Err(PatternError::Syntax(reason)) => {
                self.problems.push(
                    Problem::new(
                        Code::BadRegex,
                        span,
                        format!("the regular expression cannot be read: {reason}"),
                    )
                    .label(
                        "the dialect is that of the Rust `regex` crate: no look-around, no back-references",
                    ),
                );
                None
            }
        };
        self.patterns.insert(text.to_owned(), compiled.clone());
        if self.pattern_bytes > self.limits.program_bytes {
            self.problems.push(
                Problem::new(
                    Code::TooLarge,
                    span,
                    format!(
                        "the regular expressions up to here take more than {} bytes once compiled",
                        self.limits.program_bytes
                    ),
                )
                .label("those after it were not looked at")
                .help("the application can raise the limit `program_bytes`"),
            );
            return None;
        }
        compiled
    }

    // === values ===

    fn side(&mut self, value: &Spanned<ast::Value>, salt: &str) -> Option<Side> {
        match &value.node {
            ast::Value::Literal(literal) => Some(Side::Literal(Spanned::new(literal.clone(), value.span))),
            _ => self.expr(value, salt).map(Side::Expr),
        }
    }

    /// An expression that may not be a literal.
    fn operand(&mut self, value: &Spanned<ast::Value>, salt: &str) -> Option<Expr> {
        match self.side(value, salt)? {
            Side::Expr(expr) => Some(expr),
            Side::Literal(_) => {
                self.problems.push(
                    Problem::new(Code::TypeMismatch, value.span, "a literal stands where a field should")
                        .label("a field has no quotes"),
                );
                None
            }
        }
    }

    fn expr(&mut self, value: &Spanned<ast::Value>, salt: &str) -> Option<Expr> {
        match &value.node {
            ast::Value::Literal(literal) => {
                let ty = coerce::natural(literal).unwrap_or(Type::Ip);
                let result = coerce::coerce(&Spanned::new(literal.clone(), value.span), ty);
                self.note(result).map(Expr::Literal)
            }
            ast::Value::Field { name, argument } => self.field(name, argument.as_ref()).map(Expr::Field),
            ast::Value::Call { function, arguments } => self.call(function, arguments, value.span, salt),
            ast::Value::Coalesce(sides) => self.coalesce(sides, salt),
            ast::Value::Modulo(of, divisor) => {
                let expr = self.operand(of, salt)?;
                if expr.ty() != Type::Int {
                    let shown = clip(of.span.of(self.text));
                    let problem = Problem::new(
                        Code::TypeMismatch,
                        of.span,
                        format!("`%` needs an int, this is {}", with_article(expr.ty())),
                    );
                    self.problems.push(match expr.ty() {
                        Type::String => {
                            problem.label(format!("read it as one: `int({shown}) % {}`", divisor.node))
                        }
                        _ => problem,
                    });
                    return None;
                }
                Some(Expr::Modulo(Box::new(expr), divisor.node))
            }
        }
    }

    fn coalesce(&mut self, sides: &[Spanned<ast::Value>], salt: &str) -> Option<Expr> {
        // The first side that is no literal says the type of those that are.
        let resolved: Vec<_> = sides.iter().map(|side| self.side(side, salt)).collect();
        let sides_resolved = resolved.into_iter().collect::<Option<Vec<_>>>()?;
        let ty = sides_resolved.iter().find_map(|side| match side {
            Side::Expr(expr) => Some(expr.ty()),
            Side::Literal(_) => None,
        });
        let Some(ty) = ty else {
            let span = sides.first().zip(sides.last()).map_or(Span::default(), |(a, b)| a.span.to(b.span));
            self.problems.push(
                Problem::new(Code::TypeMismatch, span, "`??` between literals only")
                    .label("the first one always wins"),
            );
            return None;
        };
        let mut exprs = Vec::new();
        for (side, at) in sides_resolved.into_iter().zip(sides) {
            match side {
                Side::Literal(literal) => {
                    let result = coerce::coerce(&literal, ty);
                    exprs.push(self.note(result).map(Expr::Literal));
                }
                Side::Expr(expr) if expr.ty() == ty => exprs.push(Some(expr)),
                Side::Expr(expr) => {
                    self.problems.push(
                        Problem::new(
                            Code::TypeMismatch,
                            at.span,
                            format!("`??` between {} and {}", with_article(ty), with_article(expr.ty())),
                        )
                        .label("its sides have one type, except in the key of a split or `percent`"),
                    );
                    exprs.push(None);
                }
            }
        }
        exprs.into_iter().collect::<Option<_>>().map(Expr::Coalesce)
    }

    fn field(&mut self, name: &Spanned<String>, argument: Option<&Spanned<String>>) -> Option<Field> {
        let built_in = BuiltIn::named(&name.node);
        let custom = self.names.field(&name.node);
        let keyed = match (built_in, custom) {
            (Some(built_in), _) => built_in.keyed,
            (None, Some(custom)) => custom.registered().keyed,
            (None, None) => {
                self.unknown_field(name, argument);
                return None;
            }
        };
        match (keyed, argument) {
            (true, None) => {
                let example = match name.node.as_str() {
                    "header" => "header(user-agent)".to_owned(),
                    "cookie" => "cookie(uid)".to_owned(),
                    name => format!("{name}(NAME)"),
                };
                self.problems.push(
                    Problem::new(Code::BadArgument, name.span, format!("`{}` needs an argument", name.node))
                        .label(format!("as in `{example}`")),
                );
                return None;
            }
            (false, Some(argument)) => {
                self.problems.push(
                    Problem::new(
                        Code::BadArgument,
                        argument.span,
                        format!("`{}` takes no argument", name.node),
                    )
                    .label(format!("write `{}`", name.node)),
                );
                return None;
            }
            _ => {}
        }
        let argument_text = argument.map_or("", |argument| argument.node.as_str());
        match (built_in, custom) {
            (Some(built_in), _) => {
                let field = built_in.with(argument_text);
                if field.is_none() {
                    let span = argument.map_or(name.span, |argument| argument.span);
                    let what = built_in.name;
                    let label = match what {
                        "header" => "letters, digits and `!#$%&'*+-.^_`|~`, at least one",
                        _ => "at least one character, neither `=` nor `;`, and no blanks around it",
                    };
                    let found = clip(argument_text);
                    self.problems.push(
                        Problem::new(Code::BadArgument, span, format!("`{found}` is not a {what} name"))
                            .label(label),
                    );
                }
                field
            }
            (None, custom) => custom.map(|custom| {
                Field::Custom(custom.clone(), argument.map(|argument| argument.node.as_str().into()))
            }),
        }
    }

    fn unknown_field(&mut self, name: &Spanned<String>, argument: Option<&Spanned<String>>) {
        let fields = BuiltIn::ALL.iter().map(|field| field.name);
        let custom = self.names.schema.fields.iter().map(|field| field.registered().name.as_str());
        let functions = Function::ALL.iter().map(|(name, _)| *name);
        let what = if argument.is_some() { "field or function" } else { "field" };
        let list = self.lists.get_mut(name.node.as_str());
        let is_list = list.is_some() || self.names.list(&name.node).is_some();
        // It was meant to be used.
        list.into_iter().for_each(|list| list.used = true);
        self.problems.push_with(Code::UnknownField, || {
            let problem =
                Problem::new(Code::UnknownField, name.span, format!("unknown {what} `{}`", clip(&name.node)));
            if is_list {
                problem.label(format!("it is a list: ask `… in {}`", name.node))
            } else if Function::named(&name.node).is_some() {
                problem.label(format!("it is a function: `{}(…)`", name.node))
            } else {
                let known = fields.chain(custom);
                let near = if argument.is_some() {
                    nearest(&name.node, known.chain(functions))
                } else {
                    nearest(&name.node, known)
                };
                match elsewhere(&name.node).or(near) {
                    Some(near) => problem.did_you_mean(Some(near)),
                    None if argument.is_some() => problem.label(
                        "functions are `lower`, `len`, `int`, `version`, `exists` and `percent`; fields with a name \
                         `header`, `cookie` and `query`",
                    ),
                    None => problem.label(
                        "a string stands in quotes; a header is `header(NAME)`, a cookie `cookie(NAME)`",
                    ),
                }
            }
        });
    }

    fn call(
        &mut self,
        function: &Spanned<Function>,
        arguments: &[Spanned<ast::Value>],
        span: Span,
        salt: &str,
    ) -> Option<Expr> {
        let name = function.node.name();
        if function.node == Function::Percent {
            return self.percent(arguments, span, salt);
        }
        let [argument] = arguments else {
            self.problems.push(
                Problem::new(
                    Code::BadArgument,
                    span,
                    format!("`{name}` takes one argument, found {}", arguments.len()),
                )
                .label(format!("as in `{name}(cookie(uid))`")),
            );
            return None;
        };
        let expr = match function.node {
            // Whether a literal exists is not worth asking; the other functions of literals are merely odd.
            Function::Exists => self.operand(argument, salt)?,
            _ => self.expr(argument, salt)?,
        };
        if function.node == Function::Exists {
            return Some(Expr::Exists(Box::new(expr)));
        }
        if expr.ty() != Type::String {
            let problem = Problem::new(
                Code::TypeMismatch,
                argument.span,
                format!("`{name}` takes a string, this is {}", with_article(expr.ty())),
            );
            let same = matches!(
                (function.node, expr.ty()),
                (Function::Int, Type::Int) | (Function::Version, Type::Version)
            );
            self.problems.push(if same {
                problem.label(format!("it is one already; delete `{name}`"))
            } else {
                problem
            });
            return None;
        }
        let of = Box::new(expr);
        Some(match function.node {
            Function::Len => Expr::Len(of),
            Function::Int => Expr::Int(of),
            Function::Version => Expr::Version(of),
            _ => Expr::Lower(of),
        })
    }

    fn percent(&mut self, arguments: &[Spanned<ast::Value>], span: Span, salt: &str) -> Option<Expr> {
        let (key, salt) = match arguments {
            [key] => (key, salt),
            [key, Spanned { node: ast::Value::Literal(Literal::String(salt)), .. }] => (key, salt.as_str()),
            [_, other] => {
                self.problems.push(
                    Problem::new(Code::BadArgument, other.span, "the salt is not a string literal")
                        .label("as in `percent(cookie(uid), \"checkout\")`"),
                );
                return None;
            }
            _ => {
                self.problems.push(
                    Problem::new(
                        Code::BadArgument,
                        span,
                        format!(
                            "`percent` takes a key and maybe a salt, found {} arguments",
                            arguments.len()
                        ),
                    )
                    .label("as in `percent(cookie(uid) ?? ip) < 5`"),
                );
                return None;
            }
        };
        let expr = self.key(key, salt)?;
        Some(Expr::Percent(Box::new(expr), split::seed(salt.as_bytes())))
    }

    // === lists ===

    /// The list of this name for values of type `ty`; with no type it is only looked up.
    fn named_list(&mut self, name: &str, span: Span, ty: Option<Type>) -> Option<Set> {
        if let Some(list) = self.names.list(name) {
            let ty = ty?;
            return if list.ty() == ty {
                Some(Set::Supplied(list.clone()))
            } else {
                self.wrong_list(name, span, list.ty(), ty);
                None
            };
        }
        if span.of(self.text).starts_with(['"', 'r']) && !self.lists.contains_key(name) {
            let text = span.of(self.text);
            if text != name && !self.broken.contains(name) {
                self.problems.push(
                    Problem::new(Code::TypeMismatch, span, "`in` needs a list on its right")
                        .label(format!("one value is a list too: `[{}]`", clip(text))),
                );
                return None;
            }
        }
        let Some(named) = self.lists.get_mut(name) else {
            if !self.broken.contains(name) {
                let supplied = self.names.schema.lists.iter().map(|(name, _)| name.as_str());
                let field = BuiltIn::named(name).is_some() || self.names.field(name).is_some();
                let lists = &self.lists;
                self.problems.push_with(Code::UnknownList, || {
                    let known: Vec<&str> = lists.keys().copied().chain(supplied).collect();
                    let problem =
                        Problem::new(Code::UnknownList, span, format!("unknown list `{}`", clip(name)));
                    match nearest(name, known.iter().copied()) {
                        Some(near) => problem.did_you_mean(Some(near)),
                        None if field => problem.label("it is a field; compare fields with `==`"),
                        None if known.is_empty() => {
                            problem.label("there are no lists; write `list NAME = [ … ]` or `[ … ]` here")
                        }
                        None => problem.label(format!("known: {}", some_names(known.into_iter()))),
                    }
                });
            }
            return None;
        };
        named.used = true;
        let ty = ty?;
        if let Some((_, set)) = named.typed.iter().find(|(known, _)| *known == ty) {
            return set.clone();
        }
        let list = named.list;
        let natural = natural_type(&list.members);
        let fits = match natural {
            None => true,
            Some(Type::String) => matches!(ty, Type::String | Type::Version | Type::Time | Type::Ip),
            Some(natural) => natural == ty,
        };
        let set = if fits {
            self.members(&list.members, ty)
        } else {
            self.wrong_list(name, span, natural.unwrap_or(ty), ty);
            None
        };
        if let Some(named) = self.lists.get_mut(name) {
            named.typed.push((ty, set.clone()));
        }
        set
    }

    fn wrong_list(&mut self, name: &str, span: Span, found: Type, wanted: Type) {
        let problem = Problem::new(
            Code::TypeMismatch,
            span,
            format!("`{name}` is a list of {found}s, the left side is {}", with_article(wanted)),
        );
        self.problems.push(match (found, wanted) {
            (Type::Int, Type::String) => problem.label("read the left side as an int: `int(…)`"),
            (Type::Version, Type::String) => problem.label("read the left side as a version: `version(…)`"),
            _ => problem,
        });
    }

    /// Members as ranges of type `ty`, all of them checked.
    fn members(&mut self, members: &[Member], ty: Type) -> Option<Set> {
        let before = self.problems.errors();
        let mut ranges = Vec::with_capacity(members.len());
        for member in members {
            let result = coerce::member(member, ty);
            ranges.extend(self.note(result));
        }
        if self.problems.errors() > before {
            return None;
        }
        lint::duplicate_members(members, &ranges, self.problems);
        Some(Set::Members(ty, Members::new(ranges)))
    }

    /// Lists that no sound condition asks are checked all the same.
    fn check_lists(&mut self) {
        let mut unchecked: Vec<&ast::List> =
            self.lists.values().filter(|named| named.typed.is_empty()).map(|named| named.list).collect();
        // Which problems are kept when there are too many must not change from run to run.
        unchecked.sort_by_key(|list| list.name.span.start);
        for list in unchecked {
            let Some(ty) = natural_type(&list.members) else { continue };
            if matches!(ty, Type::Bool | Type::Percent) {
                let span = list.members.first().map_or(list.name.span, Member::span);
                self.problems.push(
                    Problem::new(Code::TypeMismatch, span, format!("a list of {ty}s"))
                        .label("lists hold strings, ints, addresses, versions or instants"),
                );
                continue;
            }
            // Quoted ranges are of versions or instants; which, only a use can say.
            let quoted_range = |member: &Member| matches!(member, Member::Range(from, _) if matches!(from.node, Literal::String(_)));
            if ty == Type::String && list.members.iter().any(quoted_range) {
                continue;
            }
            let _ = self.members(&list.members, ty);
        }
    }

    fn unused_lists(&mut self) {
        let mut unused: Vec<&ast::List> =
            self.lists.values().filter(|named| !named.used).map(|named| named.list).collect();
        unused.sort_by_key(|list| list.name.span.start);
        for list in unused {
            self.problems.push(
                Problem::new(
                    Code::UnusedList,
                    list.name.span,
                    format!("no condition uses the list `{}`", list.name.node),
                )
                .label("delete it, or ask it with `in`"),
            );
        }
    }

    // === lints that need a place ===

    fn impossible_members(&mut self, expr: &Expr, members: &[Member]) {
        for member in members {
            if let Member::One(one) = member
                && let Ok(value) = coerce::coerce(one, expr.ty())
            {
                self.impossible(expr, &value, one.span);
            }
        }
    }

    fn impossible(&mut self, expr: &Expr, value: &Value<'_>, span: Span) {
        if let Some((reason, instead)) = lint::impossible(expr, value) {
            self.problems.push(never(span, &reason, instead));
        }
    }

    fn note<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }
}

fn never(span: Span, reason: &str, instead: Option<String>) -> Problem {
    let problem = Problem::new(Code::NeverEqual, span, reason);
    match instead {
        Some(instead) => problem.label(instead),
        None => problem,
    }
}

/// What a field is called in other places.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "remote_addr" | "client_ip" | "remote_ip" | "src_ip" | "source_ip" | "addr" => "ip",
        "hostname" | "authority" | "domain" | "server_name" | "http_host" => "host",
        "url" | "uri" | "request_uri" | "request_path" => "path",
        "time" | "date" | "timestamp" => "now",
        "args" | "params" | "query_string" => "raw_query",
        "verb" | "request_method" => "method",
        _ => return None,
    })
}

/// The type that the members say they have: an address among them, or else the first.
fn natural_type(members: &[Member]) -> Option<Type> {
    let types = members.iter().map(|member| match member {
        Member::One(one) | Member::Range(one, _) => coerce::natural(&one.node).unwrap_or(Type::Ip),
    });
    types.clone().find(|ty| *ty == Type::Ip).or(types.into_iter().next())
}

fn duplicate(kind: &str, name: &Spanned<String>, first: Span) -> Problem {
    Problem::new(Code::DuplicateName, name.span, format!("a second {kind} `{}`", name.node))
        .label("choose another name")
        .related(first, "the first stands")
}

fn conversion(a: Type, b: Type) -> &'static str {
    match (a, b) {
        (Type::String, Type::Int) | (Type::Int, Type::String) => "read the string as an int: `int(…)`",
        (Type::String, Type::Version) | (Type::Version, Type::String) => {
            "read the string as a version: `version(…)`"
        }
        _ => "both sides have one type",
    }
}

fn some_names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut names: Vec<_> = names.take(6).map(|name| format!("`{}`", clip(name))).collect();
    if names.len() == 6 {
        names.pop();
        return format!("{} and others", names.join(", "));
    }
    names.join(", ")
}

/// A piece of the author's text, short enough for a sentence.
fn clip(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String =
        chars.by_ref().take(40).map(|c| if crate::diagnostic::unseen(c) { ' ' } else { c }).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}
