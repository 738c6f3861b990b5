//! `deny`: requests that are answered in place of a cluster.
//!
//! ```text
//! deny bots:    header(user-agent) contains "BadBot" => 403
//! deny bad_uid: path under "/api" && !(int(header(x-uid)) > 0) => 400 "x-uid must be a positive number"
//! ```

mod layer;
mod service;

pub use layer::{DenyCount, DenyLayer};
pub use service::DenyService;
