//! Where the responses are, within a bound of bytes.
//!
//! moka holds them: one entry for a target, with the responses of which one is selected by the request's header fields. Beside it
//! stands an index from a target to its entries, one for each key and cluster, for requests that change the target and match no
//! `cache` statement themselves; and the epochs, by which a response is not stored that was fetched before a purge and ends
//! after it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::HeaderMap;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::sync::Cache;
use smallvec::SmallVec;

use super::counts::add;
use super::key::{Key, Target};
use super::stored::Stored;

pub(super) struct Store {
    cache: Cache<Key, Arc<Resource>, foldhash::fast::RandomState>,
    index: Arc<Mutex<Index>>,
    epochs: RwLock<Epochs>,
    hasher: foldhash::fast::RandomState,
    variants: usize,
    serial: AtomicU64,
    pub(super) happened: Arc<Happened>,
}

/// What became of entries, other than being replaced.
#[derive(Debug, Default)]
pub(super) struct Happened {
    pub(super) evicted: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) invalidated: AtomicU64,
    pub(super) purged: AtomicU64,
}

/// What is stored for a target: responses, of which the request selects one.
pub(super) struct Resource {
    rule: Arc<str>,
    target: Arc<Target>,
    /// Counts all that were ever stored: a later one has a larger number.
    serial: u64,
    /// The latest first; at least one.
    variants: SmallVec<[Arc<Stored>; 1]>,
}

/// The entries of each target, by its hash, with the serial number of what they have at least. Another target of the same hash
/// does no harm.
type Index = HashMap<u64, SmallVec<[(Key, u64); 1]>, foldhash::fast::RandomState>;

/// How often all, and the targets of a hash, were purged.
struct Epochs {
    all: u64,
    targets: Box<[u64; EPOCHS]>,
}

const EPOCHS: usize = 1024;

/// What an entry takes besides its key and responses: moka's nodes, the index, the pointers.
const ENTRY: usize = 512;

/// When a fetch began: what has been purged since is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    all: u64,
    target: u64,
}

/// Entries go when they are of no use any more. One that can be confirmed stays until there is no room.
struct Useless;

// === impl Store ===

impl Store {
    pub(super) fn new(capacity: u64, variants: usize) -> Self {
        let hasher = foldhash::fast::RandomState::default();
        let index = Arc::new(Mutex::new(Index::default()));
        let happened = Arc::new(Happened::default());
        let (gone, causes) = (index.clone(), happened.clone());
        let cache = Cache::builder()
            .max_capacity(capacity)
            .weigher(|key: &Key, resource: &Arc<Resource>| {
                u32::try_from(resource.size(key)).unwrap_or(u32::MAX)
            })
            .expire_after(Useless)
            .eviction_listener(move |key: Arc<Key>, resource: Arc<Resource>, cause| {
                match cause {
                    RemovalCause::Size => add(&causes.evicted),
                    RemovalCause::Expired => add(&causes.expired),
                    RemovalCause::Replaced => return,
                    RemovalCause::Explicit => {}
                }
                forget(&mut lock(&gone), resource.target.hash, &key, resource.serial);
            })
            .build_with_hasher(hasher.clone());
        let epochs = RwLock::new(Epochs { all: 0, targets: Box::new([0; EPOCHS]) });
        Store { cache, index, epochs, hasher, variants, serial: AtomicU64::new(0), happened }
    }

    pub(super) fn hash(&self, what: impl Hash) -> u64 {
        self.hasher.hash_one(what)
    }

    /// The response that a request selects.
    pub(super) fn get(&self, key: &[u8], request: &HeaderMap) -> Found {
        match self.cache.get(key) {
            None => Found::default(),
            Some(resource) => {
                let stored = resource.variants.iter().find(|stored| stored.is_selected_by(request)).cloned();
                Found { stored, resource: Some(resource) }
            }
        }
    }

    pub(super) fn ticket(&self, target: u64) -> Ticket {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner).ticket(target)
    }

    /// Stores a response in place of the one that the same requests select. `false` when its target was purged since.
    pub(super) fn put(
        &self,
        key: &Key,
        target: &Arc<Target>,
        rule: &Arc<str>,
        stored: &Arc<Stored>,
        ticket: Ticket,
    ) -> bool {
        // Held until it is in, so that a purge either comes first and is seen here, or later and finds it.
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        if epochs.ticket(target.hash) != ticket {
            return false;
        }
        self.change(key, |earlier| {
            let mut variants = SmallVec::new();
            variants.push(stored.clone());
            if let Some(earlier) = earlier {
                let others = earlier.variants.iter().filter(|other| !other.same_selection(stored));
                variants.extend(others.take(self.variants.saturating_sub(1)).cloned());
            }
            Some((rule.clone(), target.clone(), variants))
        });
        drop(epochs);
        // Otherwise the bound would be passed by what some dozens of requests store.
        self.cache.run_pending_tasks();
        true
    }

    /// Removes one response.
    pub(super) fn remove(&self, key: &Key, gone: &Arc<Stored>) {
        self.change(key, |earlier| {
            let earlier = earlier?;
            let others = earlier.variants.iter().filter(|stored| !Arc::ptr_eq(stored, gone));
            Some((earlier.rule.clone(), earlier.target.clone(), others.cloned().collect()))
        });
    }

    /// Puts something in the place of what is stored under a key: nothing at all where it has no responses.
    fn change(
        &self,
        key: &Key,
        make: impl FnOnce(Option<&Resource>) -> Option<(Arc<str>, Arc<Target>, SmallVec<[Arc<Stored>; 1]>)>,
    ) {
        let mut made = None;
        self.cache.entry(key.clone()).and_compute_with(|earlier| {
            let earlier = earlier.map(|entry| entry.into_value());
            match make(earlier.as_deref()) {
                None => Op::Nop,
                Some((_, _, variants)) if variants.is_empty() => Op::Remove,
                Some((rule, target, variants)) => {
                    let serial = self.serial.fetch_add(1, Relaxed);
                    made = Some((target.hash, serial));
                    Op::Put(Arc::new(Resource { rule, target, serial, variants }))
                }
            }
        });
        let Some((target, serial)) = made else { return };
        note(&mut lock(&self.index), target, key, serial);
        // It may have been pushed out before it was noted.
        if !self.cache.contains_key(key) {
            forget(&mut lock(&self.index), target, key, serial);
        }
    }

    /// Removes all that is stored for a target (RFC 9111, 4.4).
    pub(super) fn invalidate(&self, target: u64) {
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(epoch) = epochs.targets.get_mut(target as usize % EPOCHS) {
            *epoch += 1;
        }
        drop(epochs);
        let keys: SmallVec<[Key; 4]> = match lock(&self.index).get(&target) {
            None => return,
            Some(keys) => keys.iter().map(|(key, _)| key.clone()).collect(),
        };
        self.remove_all(keys.iter(), &self.happened.invalidated);
    }

    /// Removes all entries that are meant, and says how many they were.
    pub(super) fn purge(&self, mut meant: impl FnMut(&Resource) -> bool) -> u64 {
        self.epochs.write().unwrap_or_else(PoisonError::into_inner).all += 1;
        let keys: Vec<_> =
            self.cache.iter().filter(|(_, resource)| meant(resource)).map(|(key, _)| key).collect();
        self.remove_all(keys.iter().map(|key| &**key), &self.happened.purged)
    }

    fn remove_all<'k>(&self, keys: impl Iterator<Item = &'k Key>, count: &AtomicU64) -> u64 {
        let removed = keys.filter(|key| self.cache.remove(*key).is_some()).count() as u64;
        count.fetch_add(removed, Relaxed);
        self.cache.run_pending_tasks();
        removed
    }

    /// Bytes and entries.
    pub(super) fn holds(&self) -> (u64, u64) {
        self.cache.run_pending_tasks();
        (self.cache.weighted_size(), self.cache.entry_count())
    }
}

/// An entry is there.
fn note(index: &mut Index, target: u64, key: &Key, serial: u64) {
    let keys = index.entry(target).or_default();
    match keys.iter_mut().find(|(known, _)| known == key) {
        Some((_, latest)) => *latest = serial.max(*latest),
        None => keys.push((key.clone(), serial)),
    }
}

/// An entry is gone, unless a later one has taken its place: moka tells us when it finds the time.
fn forget(index: &mut Index, target: u64, key: &Key, serial: u64) {
    if let Some(keys) = index.get_mut(&target) {
        keys.retain(|(known, latest)| known != key || *latest > serial);
        if keys.is_empty() {
            index.remove(&target);
        }
    }
}

fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was found under a key.
#[derive(Default)]
pub(super) struct Found {
    /// What the request selects,
    pub(super) stored: Option<Arc<Stored>>,
    /// of all that there is.
    pub(super) resource: Option<Arc<Resource>>,
}

// === impl Resource ===

impl Resource {
    pub(super) fn rule(&self) -> &str {
        &self.rule
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn latest(&self) -> Option<&Arc<Stored>> {
        self.variants.first()
    }

    fn size(&self, key: &Key) -> usize {
        let stored: usize = self.variants.iter().map(|stored| stored.size()).sum();
        stored + key.len() + self.target.size() + ENTRY
    }

    fn keep(&self) -> Option<Duration> {
        let keep = |stored: &Arc<Stored>| (!stored.has_validator()).then(|| stored.terms.keep());
        // `None`, which is without end, if one of them has no end.
        self.variants.iter().map(keep).collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

// === impl Epochs ===

impl Epochs {
    fn ticket(&self, target: u64) -> Ticket {
        Ticket { all: self.all, target: self.targets.get(target as usize % EPOCHS).copied().unwrap_or(0) }
    }
}

// === impl Useless ===

impl Expiry<Key, Arc<Resource>> for Useless {
    fn expire_after_create(&self, _: &Key, resource: &Arc<Resource>, _: Instant) -> Option<Duration> {
        resource.keep()
    }

    fn expire_after_update(
        &self,
        _: &Key,
        resource: &Arc<Resource>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        resource.keep()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::StatusCode;

    use super::*;
    use crate::engine::Cache as Statement;
    use crate::gateway::cache::policy::Terms;

    fn stored(size: usize) -> Arc<Stored> {
        let second = Duration::from_secs(1);
        let rule = Statement {
            fresh: second,
            stale: Duration::ZERO,
            keyed: false,
            private: false,
            set_cookie: false,
            authorization: false,
        };
        let now = SystemTime::UNIX_EPOCH;
        let headers = HeaderMap::new();
        let terms = Terms::of(&rule, StatusCode::OK, &headers, now, now).unwrap();
        Arc::new(Stored::new(StatusCode::OK, &headers, vec![0; size].into(), terms, &headers, now))
    }

    /// Two threads store, remove and invalidate a few targets in a store with room for some of them.
    #[test]
    fn the_index_has_what_the_store_has_whatever_happened() {
        let store = Store::new(20_000, 2);
        let rule: Arc<str> = "r".into();
        let put = |at: u64, by: u64| {
            let target = Arc::new(Target::new(at, &at.to_le_bytes()));
            let key: Key = [at.to_le_bytes(), by.to_le_bytes()].as_flattened().into();
            let stored = stored(1000 + by as usize);
            store.put(&key, &target, &rule, &stored, store.ticket(at));
            (key, stored)
        };
        let work = |seed: u64| {
            for round in 0..5_000_u64 {
                let dice = (round * 7 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                let (key, stored) = put(dice % 23, dice / 23 % 3);
                match dice / 69 % 8 {
                    0 => store.remove(&key, &stored),
                    1 => store.invalidate(dice % 23),
                    2 if round % 100 == 0 => drop(store.purge(|_| true)),
                    _ => {}
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| work(1));
            scope.spawn(|| work(2));
        });
        let (bytes, entries) = store.holds();
        assert!(bytes <= 20_000 && entries > 0);
        let indexed: usize = lock(&store.index).values().map(|keys| keys.len()).sum();
        assert_eq!(indexed as u64, entries);
        for target in 0..23 {
            store.invalidate(target);
        }
        assert_eq!((store.holds(), lock(&store.index).len()), ((0, 0), 0));
    }
}
