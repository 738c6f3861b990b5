//! Values: fields, functions, `??` and `%`.

use super::words::{clip, elsewhere};
use super::{Resolver, Side};
use crate::check::coerce::{self, with_article};
use crate::check::typed::Expr;
use crate::diagnostic::{Code, Problem, Span, nearest};
use crate::schema::{BuiltIn, Field, Type};
use crate::split;
use crate::syntax::ast::{self, Function, Literal, Operand, Spanned, Text};

impl Resolver<'_> {
    pub(super) fn side<'v>(&mut self, value: &'v ast::Value<'v>, span: Span, salt: &str) -> Option<Side<'v>> {
        match value {
            ast::Value::Literal(literal) => Some(Side::Literal(literal, span)),
            _ => self.expr(value, span, salt).map(Side::Expr),
        }
    }

    /// An expression that may not be a literal.
    pub(super) fn operand(&mut self, value: Operand<'_>, salt: &str) -> Option<Expr> {
        match self.side(value.node, value.span, salt)? {
            Side::Expr(expr) => Some(expr),
            Side::Literal(..) => {
                self.problems.push(
                    Problem::new(Code::TypeMismatch, value.span, "a literal stands where a field should")
                        .label("a field has no quotes"),
                );
                None
            }
        }
    }

    pub(super) fn expr(&mut self, value: &ast::Value<'_>, span: Span, salt: &str) -> Option<Expr> {
        match value {
            ast::Value::Literal(literal) => {
                let ty = coerce::natural(literal).unwrap_or(Type::Ip);
                let result = coerce::coerce(literal, span, ty);
                self.note(result).map(|value| Expr::Literal(Box::new(value)))
            }
            ast::Value::Field { name, argument } => self.field(name, argument.as_ref()).map(Expr::Field),
            ast::Value::Call { function, arguments } => self.call(function, arguments, span, salt),
            ast::Value::Coalesce(sides) => self.coalesce(sides, salt),
            ast::Value::Modulo(of, divisor) => {
                let expr = self.operand(*of, salt)?;
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

    pub(super) fn coalesce(&mut self, sides: &[Operand<'_>], salt: &str) -> Option<Expr> {
        // The first side that is no literal says the type of those that are.
        let resolved: Vec<_> = sides.iter().map(|side| self.side(side.node, side.span, salt)).collect();
        let sides_resolved = resolved.into_iter().collect::<Option<Vec<_>>>()?;
        let ty = sides_resolved.iter().find_map(|side| match side {
            Side::Expr(expr) => Some(expr.ty()),
            Side::Literal(..) => None,
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
                Side::Literal(literal, at) => {
                    let result = coerce::coerce(literal, at, ty);
                    exprs.push(self.note(result).map(|value| Expr::Literal(Box::new(value))));
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

    pub(super) fn field(&mut self, name: &Text<'_>, argument: Option<&Text<'_>>) -> Option<Field> {
        let built_in = BuiltIn::named(name.node);
        let custom = self.names.field(name.node);
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
                let example = match name.node {
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
        let argument_text = argument.map_or("", |argument| argument.node);
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
            (None, custom) => custom
                .map(|custom| Field::Custom(custom.clone(), argument.map(|argument| argument.node.into()))),
        }
    }

    pub(super) fn unknown_field(&mut self, name: &Text<'_>, argument: Option<&Text<'_>>) {
        let fields = BuiltIn::ALL.iter().map(|field| field.name);
        let custom = self.names.schema.fields.iter().map(|field| field.registered().name.as_str());
        let functions = Function::ALL.iter().map(|(name, _)| *name);
        let what = if argument.is_some() { "field or function" } else { "field" };
        let is_list = self.lists.contains_key(name.node) || self.names.list(name.node).is_some();
        self.problems.push_with(Code::UnknownField, || {
            let problem =
                Problem::new(Code::UnknownField, name.span, format!("unknown {what} `{}`", clip(name.node)));
            if is_list {
                problem.label(format!("it is a list: ask `… in {}`", name.node))
            } else if Function::named(name.node).is_some() {
                problem.label(format!("it is a function: `{}(…)`", name.node))
            } else {
                let known = fields.chain(custom);
                let near = if argument.is_some() {
                    nearest(name.node, known.chain(functions))
                } else {
                    nearest(name.node, known)
                };
                match elsewhere(name.node).or(near) {
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

    pub(super) fn call(
        &mut self,
        function: &Spanned<Function>,
        arguments: &[Operand<'_>],
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
            Function::Exists => self.operand(*argument, salt)?,
            _ => self.expr(argument.node, argument.span, salt)?,
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

    pub(super) fn percent(&mut self, arguments: &[Operand<'_>], span: Span, salt: &str) -> Option<Expr> {
        let (key, salt) = match arguments {
            [key] => (*key, salt),
            [key, Spanned { node: ast::Value::Literal(Literal::String(salt)), .. }] => (*key, *salt),
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
}
