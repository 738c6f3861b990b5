#![allow(dead_code, unused_imports)]
//! Split HTTP traffic by rules written as text.

mod bytecode;
mod check;
mod compile;
pub mod diagnostic;
pub mod engine;
mod eval;
pub mod explain;
mod limits;
pub mod middleware;
pub mod schema;
pub mod split;
mod syntax;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use engine::{
    BuildError, Condition, Decision, Engine, EngineBuilder, Moment, RuleSet, Rules, Statements, format,
};
pub use explain::Explanation;
pub use limits::Limits;
pub use middleware::{CanonicalPathLayer, Clusters, ClustersError, TrafficSplit, TrafficSplitLayer};
pub use schema::{ClientAddr, PeerAddr, Schema};
pub use syntax::ast::State;
