//! Nothing: the feature `tracing` is off.

use crate::diagnostic::Diagnostics;
use crate::engine::{Decision, RuleSet};
use crate::schema::StatementKind;

#[inline]
pub(crate) fn decided(_: &Decision) {}

#[inline]
pub(crate) fn accepted(_: &RuleSet) {}

#[inline]
pub(crate) fn rejected(_: &Diagnostics) {}

#[inline]
pub(crate) fn unheeded(_: StatementKind, _: u64) {}
