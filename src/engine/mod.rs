//! Rule sets, decisions, and the engine that hands out the one for the other.
//!
//! The only room that runs the pipeline: text to tree to meaning to program. A [`RuleSet`] is immutable; an
//! [`Engine`] holds the current one and swaps it whole.

mod cell;
mod condition;
mod counters;
mod digest;
#[allow(clippy::module_inception, reason = "the engine is what the room is about")]
mod engine;
mod pipeline;
mod reach;
mod rules;
mod ruleset;
mod seats;
mod settings;

pub use condition::Condition;
pub use counters::{Count, Counters};
pub use digest::{BadDigest, Digest};
pub use engine::{Engine, Moment};
pub use pipeline::format;
pub use reach::{Reach, Reached};
pub use rules::{Rules, Statements};
pub use ruleset::{Decision, RuleSet, Statement, StatementKind};
pub use settings::{BuildError, EngineBuilder, SchemaError};
