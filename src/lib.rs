#![allow(dead_code, unused_imports)]
//! Split HTTP traffic by rules written as text.

mod check;
pub mod diagnostic;
mod limits;
pub mod schema;
pub mod split;
mod syntax;

pub use limits::Limits;
