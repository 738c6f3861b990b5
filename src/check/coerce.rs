//! Literals take the type that the other side asks for.

use std::net::IpAddr;

use super::resolve::clip;
use crate::diagnostic::{Code, Problem, Span};
use crate::schema::{Time, Type, Value, Version};
use crate::syntax::ast::{Literal, Member};
use crate::syntax::literal;

/// The type a literal has when nothing asks for another.
pub(super) fn natural(literal: &Literal<'_>) -> Option<Type> {
    match literal {
        Literal::String(_) => Some(Type::String),
        Literal::Int(_) => Some(Type::Int),
        Literal::Bool(_) => Some(Type::Bool),
        Literal::Ip(_) => Some(Type::Ip),
        Literal::Decimal(_) => Some(Type::Percent),
        Literal::Cidr(_) => None,
    }
}

/// The literal as a value of type `ty`.
pub(super) fn coerce(literal: &Literal<'_>, span: Span, ty: Type) -> Result<Value<'static>, Problem> {
    match (literal, ty) {
        (Literal::String(s), Type::String) => Ok(Value::from((*s).to_owned())),
        (Literal::String(s), Type::Version) => {
            Version::parse(s.as_bytes()).map(Value::Version).ok_or_else(|| {
                Problem::new(Code::BadLiteral, span, format!("`{}` is not a version", clip(s)))
                    .label("as in \"2\", \"v2.3\" or \"2.3.0-rc.1\"; numbers have no leading zeros")
            })
        }
        (Literal::String(s), Type::Time) => Time::parse(s).map(Value::Time).ok_or_else(|| {
            let problem = Problem::new(Code::BadLiteral, span, format!("`{}` is not an instant", clip(s)));
            if Time::parse(&format!("{s}Z")).is_some() {
                problem.label("add the offset from UTC, as `Z` or `+08:00`")
            } else {
                problem.label("write it as RFC 3339 does: \"2026-11-27T00:00:00+08:00\"")
            }
        }),
        (Literal::String(s), Type::Ip) if s.contains('/') => {
            literal::network(
                s.split('/').next().unwrap_or(""),
                s.split_once('/').map_or("", |(_, p)| p),
                span,
            )?;
            Err(network_where_address(span, s))
        }
        (Literal::String(s), Type::Ip) => literal::address(s, span).map(Value::Ip),
        (Literal::Int(i), Type::Int) => Ok(Value::Int(*i)),
        (Literal::Int(i), Type::Percent) => match u32::try_from(*i) {
            Ok(i @ 0..=100) => Ok(Value::Percent(i * 10_000)),
            _ => Err(percent_range(span, &i.to_string())),
        },
        (Literal::Decimal(d), Type::Percent) => match u32::try_from(*d) {
            Ok(d @ 0..=1_000_000) => Ok(Value::Percent(d)),
            _ => Err(percent_range(span, &crate::schema::decimal4(*d).to_string())),
        },
        (Literal::Bool(b), Type::Bool) => Ok(Value::Bool(*b)),
        (Literal::Ip(ip), Type::Ip) => Ok(Value::Ip(*ip)),
        (Literal::Cidr(net), Type::Ip) => Err(network_where_address(span, &net.to_string())),
        (Literal::Decimal(d), _) => Err(Problem::new(
            Code::TypeMismatch,
            span,
            format!("`{}` is a decimal, which only a percentage is compared with", Literal::Decimal(*d)),
        )
        .label(match ty {
            Type::Version => "a version is written in quotes".to_owned(),
            _ => format!("here stands {}", with_article(ty)),
        })),
        (found, _) => {
            let found_type = natural(found).unwrap_or(Type::Ip);
            Err(Problem::new(
                Code::TypeMismatch,
                span,
                format!("expected {}, found {}", with_article(ty), with_article(found_type)),
            )
            .label(match (ty, found) {
                (Type::String, other) => format!("as a string it is `\"{other}\"`"),
                (Type::Bool, _) => "a bool is compared with `true` or `false`, or stands alone".to_owned(),
                (Type::Time, _) => "write it as RFC 3339 does: \"2026-11-27T00:00:00+08:00\"".to_owned(),
                (Type::Int, Literal::String(s)) if s.parse::<i64>().is_ok() => {
                    format!("as an int it is `{s}`")
                }
                (Type::Version, Literal::Int(i)) => format!("as a version it is `\"{i}\"`"),
                _ => format!("{} stands here", with_article(ty)),
            }))
        }
    }
}

/// The member of a list as an inclusive range of values of type `ty`.
pub(super) fn member(member: &Member<'_>, ty: Type) -> Result<(Value<'static>, Value<'static>), Problem> {
    match member {
        Member::One(one) => {
            let net = match (&one.node, ty) {
                (Literal::Cidr(net), Type::Ip) => Some(*net),
                (Literal::String(s), Type::Ip) if s.contains('/') => {
                    let (address, prefix) = s.split_once('/').unwrap_or((s, ""));
                    Some(literal::network(address, prefix, one.span)?)
                }
                _ => None,
            };
            match net {
                Some(net) => Ok((Value::Ip(net.network()), Value::Ip(net.broadcast()))),
                None => coerce(&one.node, one.span, ty).map(|value| (value.clone(), value)),
            }
        }
        Member::Range((from, to)) => {
            let span = from.span.to(to.span);
            let (from, to) = (coerce(&from.node, from.span, ty)?, coerce(&to.node, to.span, ty)?);
            let reversed = match (&from, &to) {
                (Value::Int(a), Value::Int(b)) => a > b,
                (Value::Version(a), Value::Version(b)) => a > b,
                (Value::Time(a), Value::Time(b)) => a > b,
                (Value::Ip(a), Value::Ip(b)) => match (a, b) {
                    (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                        return Err(Problem::new(Code::BadLiteral, span, "a range from IPv4 to IPv6")
                            .label("write one range for each family"));
                    }
                    _ => a > b,
                },
                _ => {
                    return Err(Problem::new(Code::TypeMismatch, span, format!("a range of {ty}s"))
                        .label("ranges are of ints, addresses, versions or instants"));
                }
            };
            if reversed {
                return Err(Problem::new(Code::BadLiteral, span, "a range that ends before it starts")
                    .label("the lower end comes first"));
            }
            Ok((from, to))
        }
    }
}

fn percent_range(span: Span, found: &str) -> Problem {
    Problem::new(Code::BadLiteral, span, format!("`{found}` is not a percentage"))
        .label("percentages go from 0 to 100")
}

fn network_where_address(span: Span, found: &str) -> Problem {
    Problem::new(Code::TypeMismatch, span, format!("`{}` is a network, not an address", clip(found)))
        .label(format!("ask `in [{found}]`"))
}

pub(super) fn with_article(ty: Type) -> &'static str {
    match ty {
        Type::String => "a string",
        Type::Int => "an int",
        Type::Bool => "a bool",
        Type::Ip => "an ip",
        Type::Version => "a version",
        Type::Time => "a time",
        Type::Percent => "a percentage",
    }
}
