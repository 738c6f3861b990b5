//! The buckets of keys, in a table that does not grow.
//!
//! A key has its place in one of many small sets, by a hash that nobody outside can foretell. A set holds a few keys, each as
//! that hash and the time at which its bucket is full again. When a new key comes to a set that is full, the key goes whose
//! bucket is fullest: what has been forgotten is a full bucket, so forgetting that one gives the fewest tokens away. Whose
//! bucket is full again anyway gives none.
//!
//! So a flood of addresses, each with a few requests, pushes out its own addresses and other keys that have spent as little,
//! and not those that a limit holds back.
//!
//! The tables of a layer are bounded together: limits that come when there is no room for one more share the last.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// How many keys a set has.
const WAYS: usize = 8;

/// A table.
pub(super) struct Keys {
    sets: Box<[Mutex<Set>]>,
}

/// What all tables of a layer may take together.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// By the tables that limits have for themselves.
    taken: AtomicUsize,
    /// That of all other limits.
    shared: OnceLock<Arc<Keys>>,
}

/// The table of a limit.
#[derive(Debug)]
pub(super) enum Table {
    Own(Keys, Arc<Room>),
    Shared(Arc<Keys>),
}

/// What makes a key's place from it.
///
/// `SipHash`: who could choose keys of one hash would spend another's tokens. Limits that share a table have a seed each.
#[derive(Debug, Default)]
pub(super) struct Seed(RandomState);

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
        Keys { sets: (0..sets(keys)).map(|_| Mutex::default()).collect() }
    }

    /// Asks `with` when the bucket of a key is full again, and takes what it says to be so from now on. Under one lock. Says
    /// also whether another key went for it before its bucket was full.
    pub(super) fn change<T, E>(
        &self,
        place: Place,
        now: u64,
        with: impl FnOnce(Option<u64>) -> Result<(T, u64), E>,
    ) -> Result<(T, bool), E> {
        let mut set = self.set(place);
        let known = set.0.iter().position(|entry| entry.hash == place.0);
        let (outcome, full) = with(known.and_then(|at| set.0.get(at)).map(|entry| entry.full))?;
        let entry = match known {
            Some(at) => set.0.get_mut(at),
            None => set.0.iter_mut().min_by_key(|entry| entry.full),
        };
        let mut forgot = false;
        if let Some(entry) = entry {
            forgot = known.is_none() && entry.full > now;
            *entry = Entry { hash: place.0, full };
        }
        Ok((outcome, forgot))
    }

    /// Fills the bucket of a key by some time, if it is still there.
    pub(super) fn give_back(&self, place: Place, time: u64) {
        if let Some(entry) = self.set(place).0.iter_mut().find(|entry| entry.hash == place.0) {
            entry.full = entry.full.saturating_sub(time);
        }
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
        f.debug_struct("Keys").field("sets", &self.sets.len()).finish()
    }
}

/// In how many sets so many keys have place.
fn sets(keys: usize) -> usize {
    keys.div_ceil(WAYS).max(1)
}

// === impl Room ===

impl Room {
    /// A table for about so many keys, as long as there are bytes for it and for one more that other limits share; and then
    /// that one.
    pub(super) fn table(self: &Arc<Self>, keys: usize, most: usize) -> Table {
        // Never more than may be, but one set.
        let shared = sets(keys).min(most / size_of::<Mutex<Set>>()).max(1);
        let bytes = sets(keys).saturating_mul(size_of::<Mutex<Set>>());
        let left = most.saturating_sub(shared * size_of::<Mutex<Set>>());
        let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= left);
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
            return Table::Own(Keys::new(keys), self.clone());
        }
        let keys = self.shared.get_or_init(|| Arc::new(Keys::new(shared * WAYS)));
        Table::Shared(keys.clone())
    }

    /// What all tables take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.taken.load(Ordering::Relaxed) + self.shared.get().map_or(0, |keys| keys.bytes())
    }
}

// === impl Table ===

impl Table {
    pub(super) fn keys(&self) -> &Keys {
        match self {
            Table::Own(keys, _) => keys,
            Table::Shared(keys) => keys,
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if let Table::Own(keys, room) = self {
            room.taken.fetch_sub(keys.bytes(), Ordering::Relaxed);
        }
    }
}

// === impl Seed ===

impl Seed {
    pub(super) fn place(&self, key: &[u8]) -> Place {
        Place(self.0.hash_one(key).max(1))
    }
}
