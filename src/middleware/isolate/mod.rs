//! Bounds of one cluster, so that it cannot take what the others need.
//!
//! ```text
//! request ─► LoadShed ─► ConcurrencyLimit ─► Timeout ─► carry ─► the service
//!               503                            504        └ its errors go around tower's
//! ```
//!
//! The first three are tower's own; [`service`](self::service) puts them together, [`carry`](self::carry) keeps the
//! service's errors apart from theirs, and [`refused`](self::refused) is what they become.

mod carry;
mod refused;
mod service;

pub use refused::Refused;
pub use service::{Isolate, IsolateFuture, IsolateLayer};
