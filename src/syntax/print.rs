//! Tree to canonical text.
//!
//! One statement a line; a long one is broken before its operators. Parsing what was printed gives the same
//! tree, comments included, and printing it again the same text.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use super::ast::{
    Action, Comment, Compare, Condition, File, Item, Literal, Member, Operand, Outcome, Rate, Set, Spanned,
    State, Statement, Text, Value,
};
use super::{is_bare, literal};
use crate::diagnostic::unseen;
use crate::schema::decimal4;

/// Longer lines are broken where they can be.
const WIDTH: usize = 100;

/// The canonical text of a file.
pub(crate) fn print(file: &File<'_>) -> String {
    let mut out = String::new();
    for item in &file.items {
        comments(&mut out, &item.above);
        if item.blank_before {
            out.push('\n');
        }
        out.push_str(&statement(&item.statement.node));
        if let Some(comment) = &item.beside {
            let _ = write!(out, " #{comment}");
        }
        out.push('\n');
    }
    comments(&mut out, &file.end);
    out
}

fn comments(out: &mut String, comments: &[Comment<'_>]) {
    for comment in comments {
        if comment.blank_before {
            out.push('\n');
        }
        let _ = writeln!(out, "#{}", comment.text);
    }
}

/// A statement without a line end.
pub(crate) fn statement(statement: &Statement<'_>) -> String {
    match statement {
        Statement::List(list) => {
            let head = format!("list {} = ", Name(list.name.node));
            let line = format!("{head}{}", Members(list.members));
            if line.chars().count() <= WIDTH { line } else { format!("{head}{}", wrapped(list.members)) }
        }
        Statement::Cluster(cluster) => format!("cluster {} = {}", Name(cluster.name.node), cluster.outcome),
        Statement::Default(outcome) => format!("default => {outcome}"),
        Statement::Rule(rule) => {
            let head = format!("{}route {}:", stated(rule.state), Name(rule.name.node));
            acting(head, &rule.condition, &rule.outcome)
        }
        Statement::Gateway(gateway) => {
            let kind = gateway.action.kind();
            let head = format!("{}{kind} {}:", stated(gateway.state), Name(gateway.name.node));
            acting(head, &gateway.condition, &gateway.action)
        }
    }
}

/// The word before the kind of a statement that is not live.
fn stated(state: State) -> &'static str {
    match state {
        State::Live => "",
        State::Shadow => "shadow ",
        State::Paused => "paused ",
    }
}

/// A condition and what follows from it.
fn acting(head: String, condition: &Spanned<Condition<'_>>, outcome: &impl Display) -> String {
    let line = format!("{head} {} => {outcome}", condition.node);
    if line.chars().count() <= WIDTH {
        return line;
    }
    let (parts, operator) = match &condition.node {
        Condition::Or(parts) => (*parts, "||"),
        Condition::And(parts) => (*parts, "&&"),
        _ => (std::slice::from_ref(condition), ""),
    };
    let mut out = head;
    for (i, part) in parts.iter().enumerate() {
        let inside = Inside(&part.node, operator == "&&");
        let _ = if i == 0 { write!(out, " {inside}") } else { write!(out, "\n    {operator} {inside}") };
    }
    let _ = write!(out, "\n    => {outcome}");
    out
}

fn wrapped(members: &[Member<'_>]) -> String {
    let mut out = String::from("[");
    let mut column = WIDTH;
    for member in members {
        let text = format!("{member},");
        let length = text.chars().count() + 1;
        if column + length > WIDTH {
            out.push_str("\n   ");
            column = 3;
        }
        let _ = write!(out, " {text}");
        column += length;
    }
    out.push_str("\n]");
    out
}

/// A name, in quotes where it needs them.
pub(crate) struct Name<'a>(pub(crate) &'a str);

/// A string in quotes.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

/// A span of time, in the largest unit that has it whole.
pub(crate) struct Lasting(pub(crate) Duration);

struct Members<'a>(&'a [Member<'a>]);

/// A condition within a row; a row of `||` within `&&` stands in parentheses.
struct Inside<'a>(&'a Condition<'a>, bool);

// === impl Display ===

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_bare(self.0) { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if unseen(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

impl Display for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('[')?;
        separated(f, self.0, ", ")?;
        f.write_char(']')
    }
}

impl Display for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::One(one) => one.node.fmt(f),
            Member::Range((from, to)) => write!(f, "{}..{}", from.node, to.node),
        }
    }
}

impl Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::String(s) => Quoted(s).fmt(f),
            Literal::Int(i) => i.fmt(f),
            Literal::Decimal(d) if d % 10_000 == 0 => write!(f, "{}.0", d / 10_000),
            Literal::Decimal(d) => decimal4(*d).fmt(f),
            Literal::Bool(b) => b.fmt(f),
            Literal::Ip(ip) => ip.fmt(f),
            Literal::Cidr(net) => net.fmt(f),
        }
    }
}

impl Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Literal(literal) => literal.fmt(f),
            Value::Field { name, argument: None } => f.write_str(name.node),
            Value::Field { name, argument: Some(argument) } => {
                let bare = super::is_word(argument.node);
                let argument = argument.node;
                if bare {
                    write!(f, "{}({argument})", name.node)
                } else {
                    write!(f, "{}({})", name.node, Quoted(argument))
                }
            }
            Value::Call { function, arguments } => {
                write!(f, "{}(", function.node.name())?;
                separated(f, arguments.iter().map(|argument| argument.node), ", ")?;
                f.write_char(')')
            }
            Value::Coalesce(sides) => {
                for (i, side) in sides.iter().enumerate() {
                    let joint = if i > 0 { " ?? " } else { "" };
                    // `%` binds looser than `??`.
                    match &side.node {
                        Value::Modulo(..) => write!(f, "{joint}({})", side.node)?,
                        other => write!(f, "{joint}{other}")?,
                    }
                }
                Ok(())
            }
            Value::Modulo(value, divisor) => write!(f, "{} % {}", value.node, divisor.node),
        }
    }
}

impl Display for Set<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Set::Named(name) => Name(name).fmt(f),
            Set::Literal(members) => Members(members).fmt(f),
        }
    }
}

impl Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Or(parts) => separated(f, parts.iter().map(|part| Inside(&part.node, false)), " || "),
            Condition::And(parts) => separated(f, parts.iter().map(|part| Inside(&part.node, true)), " && "),
            Condition::Not(inner) => match &inner.node {
                inner @ (Condition::Value(_) | Condition::Not(_)) => write!(f, "!{inner}"),
                inner => write!(f, "!({inner})"),
            },
            Condition::Value(value) => value.fmt(f),
            Condition::Compare(compare) => {
                let Compare { left, relation, right } = compare;
                write!(f, "{} {} {}", left.node, relation.node.symbol(), right.node)
            }
            Condition::In(asked) => {
                let not = if asked.negated { "not " } else { "" };
                write!(f, "{} {not}in {}", asked.left.node, asked.set.node)
            }
        }
    }
}

impl Display for Inside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Inside(or @ Condition::Or(_), true) => write!(f, "({or})"),
            Inside(other, _) => other.fmt(f),
        }
    }
}

impl Display for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, target) in self.targets().enumerate() {
            let joint = if i > 0 { ", " } else { "" };
            write!(f, "{joint}{}", Name(target.cluster.node))?;
            if let Some(weight) = &target.weight {
                write!(f, " {}", decimal4(weight.node))?;
            }
            if let Some(fallback) = &target.fallback {
                write!(f, " else {}", Name(fallback.node))?;
            }
        }
        if let Some(by) = &self.by {
            write!(f, " by {}", by.key.node)?;
            if let Some(salt) = &by.salt {
                write!(f, " salt {}", Quoted(salt.node))?;
            }
        }
        Ok(())
    }
}

impl Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Deny { status, text: None } => status.node.fmt(f),
            Action::Deny { status, text: Some(text) } => write!(f, "{} {}", status.node, Quoted(text.node)),
            Action::Limit { rate, burst, by } => {
                rate.node.fmt(f)?;
                if let Some(burst) = burst {
                    write!(f, " burst {}", burst.node)?;
                }
                keyed(f, *by)
            }
            Action::Cache { fresh, stale, by, with } => {
                Lasting(fresh.node).fmt(f)?;
                if let Some(stale) = stale {
                    write!(f, " stale {}", Lasting(stale.node))?;
                }
                keyed(f, *by)?;
                options(f, with)
            }
            Action::Mirror { cluster, with } => {
                Name(cluster.node).fmt(f)?;
                options(f, with)
            }
            Action::Capture { exchanges, lasts } => {
                write!(f, "{} for {}", exchanges.node, Lasting(lasts.node))
            }
            Action::Count { top, by, per } => {
                write!(f, "top {} by {} per {}", top.node, by.node, Lasting(per.node))
            }
        }
    }
}

fn keyed(f: &mut fmt::Formatter<'_>, by: Option<Operand<'_>>) -> fmt::Result {
    by.map_or(Ok(()), |by| write!(f, " by {}", by.node))
}

fn options(f: &mut fmt::Formatter<'_>, with: &[Text<'_>]) -> fmt::Result {
    if with.is_empty() {
        return Ok(());
    }
    f.write_str(" with ")?;
    separated(f, with.iter().map(|option| option.node), ", ")
}

impl Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let whole = |unit: &u64| millis > 0 && millis % u128::from(*unit) == 0;
        match literal::UNITS.iter().find(|(_, unit)| whole(unit)) {
            Some((name, unit)) => write!(f, "{}{name}", millis / u128::from(*unit)),
            None => f.write_str("0s"),
        }
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = literal::UNITS.iter().find(|(_, unit)| self.per.as_millis() == u128::from(*unit));
        match unit {
            Some((name, _)) => write!(f, "{}/{name}", self.count),
            None => write!(f, "{}/{}", self.count, Lasting(self.per)),
        }
    }
}

fn separated<T: Display>(
    f: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    separator: &str,
) -> fmt::Result {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

/// Comments survive, so an item is printed with them.
impl Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&statement(&self.statement.node))
    }
}
