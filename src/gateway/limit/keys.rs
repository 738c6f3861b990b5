//! The buckets of keys, in a table that does not grow.
//!
//! A key has its place in one of many small sets, by a hash that nobody outside can foretell. A set holds a few keys, each as
//! that hash and the time at which its bucket is full again. When a new key comes to a set that is full, the key goes whose
//! bucket is fullest: what has been forgotten is a full bucket, so forgetting that one gives the fewest tokens away. Whose
//! bucket is full again anyway gives none.
//!
//! So a flood of addresses, each with a few requests, pushes out its own addresses and other keys that have spent as little,
//! and not those that a limit holds back.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many keys a set has.
const WAYS: usize = 8;

/// The table.
pub(super) struct Keys {
    sets: Box<[Mutex<Set>]>,
    /// `SipHash`: who could choose keys of one hash would spend another's tokens.
    seed: RandomState,
    forgotten: AtomicU64,
}

/// Where a key is, and its name there. Zero is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(u64);

#[derive(Default)]
struct Set([Entry; WAYS]);

/// A key. One that is not there has a bucket that has been full for ever, and so has an empty place.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    hash: u64,
    /// When its bucket is full again.
    full: u64,
}

// === impl Keys ===

impl Keys {
    /// For about as many keys: rounded up to whole sets.
    pub(super) fn new(keys: usize) -> Self {
        let sets = (0..keys.div_ceil(WAYS).max(1)).map(|_| Mutex::default()).collect();
        Keys { sets, seed: RandomState::new(), forgotten: AtomicU64::new(0) }
    }

    pub(super) fn place(&self, key: &[u8]) -> Place {
        Place(self.seed.hash_one(key).max(1))
    }

    /// Asks `with` when the bucket of a key is full again, and takes what it says to be so from now on. Under one lock.
    pub(super) fn change<T, E>(
        &self,
        place: Place,
        now: u64,
        with: impl FnOnce(Option<u64>) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        let mut set = self.set(place);
        let known = set.0.iter().position(|entry| entry.hash == place.0);
        let (outcome, full) = with(known.and_then(|at| set.0.get(at)).map(|entry| entry.full))?;
        let entry = match known {
            Some(at) => set.0.get_mut(at),
            None => set.0.iter_mut().min_by_key(|entry| entry.full),
        };
        if let Some(entry) = entry {
            if known.is_none() && entry.full > now {
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
            *entry = Entry { hash: place.0, full };
        }
        Ok(outcome)
    }

    /// Fills the bucket of a key by some time, if it is still there.
    pub(super) fn give_back(&self, place: Place, time: u64) {
        if let Some(entry) = self.set(place).0.iter_mut().find(|entry| entry.hash == place.0) {
            entry.full = entry.full.saturating_sub(time);
        }
    }

    /// How many keys went before their buckets were full.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// What the table takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a product of two numbers, divided by what one of them is less than"
    )]
    fn set(&self, place: Place) -> MutexGuard<'_, Set> {
        let at = (u128::from(place.0) * self.sets.len() as u128) >> 64;
        self.sets[at as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("sets", &self.sets.len()).field("forgotten", &self.forgotten()).finish()
    }
}
