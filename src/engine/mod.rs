//! Rule sets, decisions, and the engine that hands out the one for the other.
//!
//! The only room that runs the pipeline: text to tree to meaning to program. A [`RuleSet`] is immutable; an
//! [`Engine`] holds the current one and swaps it whole.

pub(crate) mod cell;
mod condition;
mod counters;
mod digest;
mod edit;
#[allow(clippy::module_inception, reason = "the engine is what the room is about")]
mod engine;
#[cfg(feature = "source")]
mod identity;
mod matches;
mod pipeline;
mod reach;
mod rules;
mod ruleset;
mod seats;
mod settings;
mod trace;

pub use condition::Condition;
pub use counters::{Count, Counters, Reloads};
pub use digest::{BadDigest, Digest};
pub use edit::{EditError, EditErrorKind, StatementName, with_state, with_weights};
pub use engine::{Engine, Moment};
pub use matches::{Match, Matches};
pub use pipeline::format;
pub use reach::{Reach, Reached};
pub use rules::{Rules, Statements};
pub use ruleset::{Decision, RuleSet, Statement};
pub(crate) use seats::{own_seats, thread_number};
pub use settings::{BuildError, EngineBuilder, SchemaError};
pub(crate) use trace::decided;

pub use crate::check::action::{Action, Cache, Capture, Deny, GatewayStatement, Limit, Mirror, Top};
pub use crate::schema::StatementKind;
