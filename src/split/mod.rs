//! Weights and a key become one cluster: the stable hash, least movement.
//!
//! Three questions, answered in this order and each from the answer before:
//!
//! 1. [`seed`]: which experiment is this? A salt becomes the seed of a hash.
//! 2. [`hash`]: where does this key stand in it? Done once a decision, whatever is asked next.
//! 3. [`bucket`] for `percent(KEY) < 5`, or [`Split::pick`] for `=> gray 5, prod 95 by KEY`.
//!
//! All of it is a pure function of bytes and weights, and its results are a promise: the same on every
//! platform, for as long as the major version stays. The language reference defines it byte by byte, and
//! `tests/vectors/` holds a second implementation and what it computed.
//!
//! ```
//! use pointsman::split::{self, Split};
//!
//! let weights = |gray, prod| Split::new([("gray", gray), ("prod", prod)]);
//! let (before, after) = (weights(5, 95)?, weights(10, 90)?);
//!
//! let seed = split::seed(b"checkout");
//! for uid in 0..1000 {
//!     let hash = split::hash(format!("{uid}").as_bytes(), seed);
//!     // Whoever saw the gray release still sees it when its share grows.
//!     assert!(before.pick(hash) == 1 || after.pick(hash) == 0);
//! }
//! # Ok::<(), split::SplitError>(())
//! ```

mod error;
mod hash;
mod weighted;

#[cfg(test)]
mod tests;

/// How many fallbacks one decision tries at most: clusters may stand in for clusters that are made of clusters that
/// others stand in for.
pub(crate) const FALLBACKS: usize = 16;

pub use error::SplitError;
pub use hash::{BUCKETS, bucket, hash, seed};
pub use weighted::{MAX_TOTAL, Split};
