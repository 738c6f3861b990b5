//! Conditions and comparisons.

use super::words::{clip, conversion};
use super::{Resolver, Side};
use crate::check::coerce::{self, with_article};
use crate::check::lint;
use crate::check::typed::{Condition, Expr, Order, Predicate, Test};
use crate::diagnostic::{Code, Problem, Span};
use crate::schema::{Field, Pattern, PatternError, Type, Value};
use crate::syntax::ast::{self, Literal, Operand, Relation, Spanned};

impl Resolver<'_> {
    pub(super) fn condition(
        &mut self,
        condition: &Spanned<ast::Condition<'_>>,
        salt: &str,
    ) -> Option<Condition> {
        let span = condition.span;
        match &condition.node {
            ast::Condition::Or(parts) => self.row(parts, salt).map(Condition::Any),
            ast::Condition::And(parts) => self.row(parts, salt).map(Condition::All),
            ast::Condition::Not(inner) => Some(Condition::Not(Box::new(self.condition(inner, salt)?))),
            ast::Condition::Value(value) => self.bare(value, span, salt),
            ast::Condition::In(asked) => {
                let expr = self.operand(asked.left, salt);
                let test = self.membership(expr, asked.left.span, &asked.set, asked.negated, span)?;
                Some(Condition::Test(test))
            }
            ast::Condition::Compare(compare) => {
                let ast::Compare { left, relation, right } = compare;
                let sides = (self.side(left.node, left.span, salt), self.side(right.node, right.span, salt));
                let (Some(left_side), Some(right_side)) = sides else { return None };
                let (expr, predicate) = self.comparison(left, left_side, relation, right, right_side)?;
                let negated = relation.node == Relation::Unequal;
                Some(Condition::Test(Test { expr, predicate, negated, span }))
            }
        }
    }

    fn row(&mut self, parts: &[Spanned<ast::Condition<'_>>], salt: &str) -> Option<Vec<Condition>> {
        let mut row = Vec::with_capacity(parts.len());
        for part in parts {
            if let Some(part) = self.condition(part, salt) {
                row.push(part);
            }
        }
        (row.len() == parts.len()).then_some(row)
    }

    /// A value that stands alone.
    pub(super) fn bare(&mut self, value: &ast::Value<'_>, span: Span, salt: &str) -> Option<Condition> {
        if let ast::Value::Literal(Literal::Bool(constant)) = value {
            return Some(Condition::Constant(*constant));
        }
        let (ty, expr) = match self.side(value, span, salt)? {
            Side::Literal(literal, _) => (coerce::natural(literal).unwrap_or(Type::Ip), None),
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

    pub(super) fn membership(
        &mut self,
        expr: Option<Expr>,
        left: Span,
        set: &Spanned<ast::Set<'_>>,
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
            self.duplicates(members, std::slice::from_ref(&set_value));
            self.impossible_members(&expr, members);
        }
        Some(Test { expr, predicate: Predicate::In(set_value), negated, span })
    }

    /// A comparison as an expression and what is asked of it; a literal on the left changes sides.
    pub(super) fn comparison(
        &mut self,
        left: &Operand<'_>,
        left_side: Side<'_>,
        relation: &Spanned<Relation>,
        right: &Operand<'_>,
        right_side: Side<'_>,
    ) -> Option<(Expr, Predicate)> {
        let order = match relation.node {
            Relation::Equal | Relation::Unequal => Order::Equal,
            Relation::Below => Order::Below,
            Relation::AtMost => Order::AtMost,
            Relation::Above => Order::Above,
            Relation::AtLeast => Order::AtLeast,
            word => return self.string_test(left, left_side, word, relation.span, right, &right_side),
        };
        match (left_side, right_side) {
            (Side::Literal(..), Side::Literal(..)) => {
                self.problems.push(
                    Problem::new(Code::TypeMismatch, left.span.to(right.span), "two literals are compared")
                        .label("one side is a field; a field has no quotes"),
                );
                None
            }
            (Side::Expr(expr), Side::Literal(literal, at)) => {
                self.literal_test(expr, left.span, literal, at, order, relation)
            }
            (Side::Literal(literal, at), Side::Expr(expr)) => {
                self.literal_test(expr, right.span, literal, at, order.turned(), relation)
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

    /// A comparison with a literal on its right; `relation` is as it was written.
    fn literal_test(
        &mut self,
        expr: Expr,
        span: Span,
        literal: &Literal<'_>,
        at: Span,
        order: Order,
        relation: &Spanned<Relation>,
    ) -> Option<(Expr, Predicate)> {
        self.ordered(&expr, span, order, relation)?;
        let value = self.literal_for(&expr, span, literal, at)?;
        if order == Order::Equal {
            self.impossible(&expr, &value, at);
        }
        Some((expr, Predicate::Compare(order, value)))
    }

    /// Whether values of this type are in order, if order is asked for.
    pub(super) fn ordered(
        &mut self,
        expr: &Expr,
        span: Span,
        order: Order,
        relation: &Spanned<Relation>,
    ) -> Option<()> {
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

    pub(super) fn literal_for(
        &mut self,
        expr: &Expr,
        span: Span,
        literal: &Literal<'_>,
        at: Span,
    ) -> Option<Value<'static>> {
        let ty = expr.ty();
        let result = coerce::coerce(literal, at, ty).map_err(|problem| {
            // The usual mistake: a number or a version against text.
            match (ty, literal) {
                (Type::String, Literal::Int(i)) => {
                    let shown = clip(span.of(self.text));
                    problem.label(format!("write `\"{i}\"`, or `int({shown})` on the other side"))
                }
                (Type::String, Literal::Bool(b)) => problem.label(format!("write `\"{b}\"`")),
                (Type::String, Literal::Ip(ip)) => problem.label(format!("write `\"{ip}\"`")),
                _ => problem,
            }
        });
        self.note(result)
    }

    pub(super) fn string_test(
        &mut self,
        left: &Operand<'_>,
        left_side: Side<'_>,
        relation: Relation,
        relation_span: Span,
        right: &Operand<'_>,
        right_side: &Side<'_>,
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
            Side::Literal(Literal::String(literal), _) => *literal,
            Side::Literal(..) | Side::Expr(_) => {
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
            Relation::Matches => Predicate::Matches(self.pattern(literal, right.span)?),
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
        if let Some(why) = lint::impossible_part(&expr, &predicate) {
            self.never(right.span, why);
        }
        Some((expr, predicate))
    }

    pub(super) fn pattern(&mut self, text: &str, span: Span) -> Option<Pattern> {
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
}
