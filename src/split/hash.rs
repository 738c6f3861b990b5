//! A salt and a key become 64 bits, and those a place among a million.
//!
//! XXH3 is specified in the
//! [xxHash repository](https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md) and frozen there
//! since its version 0.8.0.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How many buckets there are: 100 percent in steps of 0.0001.
pub const BUCKETS: u32 = 1_000_000;

/// The seed that a salt stands for. Worth keeping: a rule's salt does not change between requests.
pub fn seed(salt: &[u8]) -> u64 {
    xxh3_64(salt)
}

/// The hash of a key. One hash serves a [`bucket`] and any number of [`Split`](super::Split)s, and the
/// bucket says nothing about the cluster.
#[inline]
pub fn hash(key: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(key, seed)
}

/// Where a hash stands among [`BUCKETS`], from 0: `percent(KEY) < 5` is `bucket(hash) < 50_000`.
///
/// The high bits decide and not a remainder, so that buckets come in the order of the hashes and their
/// sizes differ by one hash in 2^44.
#[inline]
pub fn bucket(hash: u64) -> u32 {
    // Below BUCKETS, so it fits.
    ((u128::from(hash) * u128::from(BUCKETS)) >> 64) as u32
}
