//! `limit`: token buckets, one for all requests that match or one for each key.
//!
//! ```text
//! limit search: path under "/search" => 100/s burst 200 by cookie(uid) ?? ip
//! limit all:    true                 => 5000/s
//! ```
//!
//! A bucket is one number: when it will be full again (GCRA, the generic cell rate algorithm). Those of keys are in a
//! table that does not grow.

mod bucket;
mod fields;
mod keys;
mod layer;
mod service;

pub use layer::{BadShare, LimitCount, LimitLayer};
pub use service::LimitService;
