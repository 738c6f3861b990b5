//! Fields and events for `tracing`.

use crate::diagnostic::{Diagnostics, visible};
use crate::engine::{Decision, RuleSet};
use crate::schema::StatementKind;

/// What the events go by, whichever file they come from.
const TARGET: &str = "pointsman";

/// Records a decision in the current span: in the fields `cluster`, `rule` and `revision`, as far as it has them.
#[inline]
pub(crate) fn decided(decision: &Decision) {
    let span = tracing::Span::current();
    if !span.is_disabled() {
        span.record("cluster", decision.cluster());
        span.record("rule", decision.statement());
        span.record("revision", decision.revision());
    }
}

/// New rules run.
pub(crate) fn accepted(rules: &RuleSet) {
    tracing::info!(target: TARGET, revision = rules.revision(), lints = rules.lints().len(), "rules replaced");
}

/// A text was refused, and what ran goes on. Only the first problem is told, in one line.
pub(crate) fn rejected(problems: &Diagnostics) {
    let first = problems.iter().next().map(|first| {
        let place = visible(first.source_name());
        format!("{place}:{}:{}: {}", first.line(), first.column(), first.message())
    });
    let count = problems.len() + problems.left_out();
    tracing::warn!(target: TARGET, problems = count, first = first.as_deref(), "rules refused");
}

/// Requests have matched a live statement, and no layer was there to do what it says.
pub(crate) fn unheeded(kind: StatementKind, requests: u64) {
    tracing::error!(
        target: TARGET, kind = kind.word(), requests,
        "statements are not heeded: the layer of this kind is missing or at the wrong place"
    );
}
