//! Why: which statement decided, each condition that was looked at with the value seen and its verdict.
//!
//! An explanation is the reference evaluator's own walk, written down; so it says what the rules mean, and a
//! property test holds it equal to what the program decides.

mod explanation;
mod record;

pub use explanation::{Dealt, Explanation, Fallback, Look, Step};
pub(crate) use record::explain;
