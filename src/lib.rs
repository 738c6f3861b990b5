//! Split HTTP traffic by rules written as text.

pub mod schema;
pub mod split;
