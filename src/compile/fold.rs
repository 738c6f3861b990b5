//! Conditions made simpler without changing what they mean.

use std::borrow::Cow;

use crate::check::typed::Condition;

/// The same condition without constants inside. Rows in rows and `!!` stay as they are: they cost no step.
pub(super) fn fold(condition: &Condition) -> Cow<'_, Condition> {
    if has_constant(condition) { Cow::Owned(without(condition)) } else { Cow::Borrowed(condition) }
}

fn has_constant(condition: &Condition) -> bool {
    match condition {
        Condition::Constant(_) => true,
        Condition::Test(_) => false,
        Condition::Not(inner) => has_constant(inner),
        Condition::All(parts) | Condition::Any(parts) => parts.iter().any(has_constant),
    }
}

fn without(condition: &Condition) -> Condition {
    match condition {
        Condition::Constant(_) | Condition::Test(_) => condition.clone(),
        Condition::Not(inner) => match without(inner) {
            Condition::Constant(constant) => Condition::Constant(!constant),
            inner => Condition::Not(Box::new(inner)),
        },
        Condition::All(parts) => row(parts, false),
        Condition::Any(parts) => row(parts, true),
    }
}

/// A row of `&&`, which `false` decides, or of `||`, which `true` decides.
fn row(parts: &[Condition], any: bool) -> Condition {
    let mut out = Vec::with_capacity(parts.len());
    for part in parts {
        match without(part) {
            Condition::Constant(constant) if constant == any => return Condition::Constant(any),
            Condition::Constant(_) => {}
            other => out.push(other),
        }
    }
    match any {
        _ if out.is_empty() => Condition::Constant(!any),
        true => Condition::Any(out),
        false => Condition::All(out),
    }
}
