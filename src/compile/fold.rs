//! Conditions made simpler without changing what they mean.

use crate::check::typed::Condition;

/// The same condition without constants inside, with rows flattened and `!` moved no deeper than it stands.
pub(super) fn fold(condition: &Condition) -> Condition {
    match condition {
        Condition::Constant(_) | Condition::Test(_) => condition.clone(),
        Condition::Not(inner) => match fold(inner) {
            Condition::Constant(constant) => Condition::Constant(!constant),
            Condition::Not(inner) => *inner,
            inner => Condition::Not(Box::new(inner)),
        },
        Condition::All(parts) => row(parts, false),
        Condition::Any(parts) => row(parts, true),
    }
}

/// A row of `&&`, which `false` decides, or of `||`, which `true` decides.
fn row(parts: &[Condition], any: bool) -> Condition {
    let mut out: Vec<Condition> = Vec::with_capacity(parts.len());
    for part in parts {
        match (fold(part), any) {
            (Condition::Constant(constant), _) if constant == any => return Condition::Constant(any),
            (Condition::Constant(_), _) => {}
            (Condition::All(inner), false) | (Condition::Any(inner), true) => out.extend(inner),
            (other, _) => out.push(other),
        }
    }
    match (out.len(), any) {
        (0, _) => Condition::Constant(!any),
        (1, _) => out.pop().unwrap_or(Condition::Constant(!any)),
        (_, true) => Condition::Any(out),
        (_, false) => Condition::All(out),
    }
}
