//! Heavy hitters in bounded memory: Space-Saving (Metwally, Agrawal and El Abbadi, 2005).
//!
//! There are m counters. A key that has one is counted there. Another takes over the counter with the least count, goes on
//! from that, and remembers it as its error. So with N keys counted
//!
//! - no count is too low, and none is too high by more than its error;
//! - no error is above the least count, which is at most N / m;
//! - a key that has no counter came no more often than the least count: whatever came more than N / m times is there.
//!
//! Two such summaries are added up by adding the counts of each key; one that lacks the key may have had it as often as its
//! least count says, which is added to count and error (Agarwal et al., Mergeable Summaries, 2012). All three sentences stay
//! true.

use std::collections::hash_map::Entry;

use foldhash::HashMap;

/// The longest part of a key that is kept to be shown.
pub(super) const SHOWN: usize = 128;

/// The counters of one window.
#[derive(Debug, Clone, Default)]
pub(super) struct SpaceSaving {
    /// A heap with the least count first.
    counters: Vec<Counter>,
    /// Where in the heap a key is.
    places: HashMap<u64, usize>,
    total: u64,
}

/// A key and its count.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    /// The key itself may be long; two keys of one hash, of 64 bits, would be counted as one.
    pub(super) hash: u64,
    pub(super) count: u64,
    pub(super) error: u64,
    pub(super) key: Vec<u8>,
    pub(super) clipped: bool,
}

/// Summaries that are added up.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) counters: Vec<Counter>,
    pub(super) total: u64,
    /// How often a key may have come that has no counter.
    pub(super) missed: u64,
}

// === impl SpaceSaving ===

impl SpaceSaving {
    /// Counts a key, with as many counters.
    pub(super) fn count(&mut self, hash: u64, key: &[u8], counters: usize) {
        self.total += 1;
        let new = self.counters.len();
        match self.places.entry(hash) {
            Entry::Occupied(at) => {
                let at = *at.get();
                if let Some(counter) = self.counters.get_mut(at) {
                    counter.count += 1;
                }
                self.sink(at);
            }
            Entry::Vacant(place) if new < counters.max(1) => {
                place.insert(new);
                self.counters.push(Counter::new(hash, key));
                self.rise(new);
            }
            Entry::Vacant(place) => {
                let Some(least) = self.counters.first_mut() else { return };
                place.insert(0);
                self.places.remove(&least.hash);
                least.take_over(hash, key);
                self.sink(0);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.counters.clear();
        self.places.clear();
        self.total = 0;
    }

    /// The least count, once there is no counter left; before, no key is missing.
    fn least(&self, counters: usize) -> u64 {
        match self.counters.first() {
            Some(counter) if self.counters.len() >= counters.max(1) => counter.count,
            _ => 0,
        }
    }

    /// Moves a counter down the heap until it is at its place.
    fn sink(&mut self, mut at: usize) {
        let count = |heap: &Vec<Counter>, at: usize| heap.get(at).map_or(u64::MAX, |counter| counter.count);
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let less = if count(&self.counters, right) < count(&self.counters, left) { right } else { left };
            if count(&self.counters, less) >= count(&self.counters, at) {
                return self.note(at);
            }
            self.counters.swap(at, less);
            self.note(at);
            at = less;
        }
    }

    fn rise(&mut self, mut at: usize) {
        while let Some(above) = at.checked_sub(1).map(|below| below / 2)
            && self.counters.get(at).map(|it| it.count) < self.counters.get(above).map(|it| it.count)
        {
            self.counters.swap(at, above);
            self.note(at);
            at = above;
        }
        self.note(at);
    }

    fn note(&mut self, at: usize) {
        if let Some(counter) = self.counters.get(at)
            && let Some(place) = self.places.get_mut(&counter.hash)
        {
            *place = at;
        }
    }
}

// === impl Counter ===

impl Counter {
    fn new(hash: u64, key: &[u8]) -> Self {
        let (key, clipped) = clip(key);
        Counter { hash, count: 1, error: 0, key: key.to_vec(), clipped }
    }

    /// Allocates only where no key as long has been here.
    fn take_over(&mut self, hash: u64, key: &[u8]) {
        let (key, clipped) = clip(key);
        self.hash = hash;
        self.error = self.count;
        self.count += 1;
        self.key.clear();
        self.key.extend_from_slice(key);
        self.clipped = clipped;
    }
}

/// The part of a key that is kept. What is UTF-8 is not cut inside a character.
fn clip(key: &[u8]) -> (&[u8], bool) {
    let Some((start, rest)) = key.split_at_checked(SHOWN).filter(|(_, rest)| !rest.is_empty()) else {
        return (key, false);
    };
    let continues = |byte: &u8| byte & 0xC0 == 0x80;
    let cut = match rest.first() {
        Some(next) if continues(next) => start.iter().rev().take(3).position(|byte| !continues(byte)),
        _ => None,
    };
    (start.get(..SHOWN - cut.map_or(0, |back| back + 1)).unwrap_or(start), true)
}

// === impl Merged ===

impl Merged {
    /// Adds up summaries of as many counters.
    pub(super) fn of<'s>(summaries: impl Iterator<Item = &'s SpaceSaving> + Clone, counters: usize) -> Self {
        let missed: u64 = summaries.clone().map(|summary| summary.least(counters)).sum();
        let mut merged: HashMap<u64, Counter> = HashMap::default();
        let mut total = 0;
        for summary in summaries {
            total += summary.total;
            // All that may have been missed is what the first one starts with; here nothing was.
            let least = summary.least(counters);
            for counter in &summary.counters {
                let sum = merged.entry(counter.hash).or_insert_with(|| Counter {
                    count: missed,
                    error: missed,
                    ..counter.clone()
                });
                sum.count = sum.count + counter.count - least;
                sum.error = sum.error + counter.error - least;
            }
        }
        let mut counters: Vec<_> = merged.into_values().collect();
        counters.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
        Merged { counters, total, missed }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn summary(keys: &[u8], counters: usize) -> SpaceSaving {
        let mut summary = SpaceSaving::default();
        keys.iter().for_each(|&key| summary.count(u64::from(key), &[key], counters));
        summary
    }

    fn is_sound(summary: &SpaceSaving, keys: &[u8], counters: usize) {
        // One for each key, as far as there are.
        let different: BTreeSet<_> = keys.iter().collect();
        assert_eq!(summary.counters.len(), different.len().min(counters));
        assert_eq!(summary.counters.len(), summary.places.len());
        for (at, counter) in summary.counters.iter().enumerate() {
            assert_eq!(summary.places.get(&counter.hash), Some(&at));
            if at > 0 {
                assert!(summary.counters[(at - 1) / 2].count <= counter.count, "no heap");
            }
        }
        // Each key that came adds one to one counter.
        assert_eq!(summary.counters.iter().map(|counter| counter.count).sum::<u64>(), summary.total);
    }

    proptest! {
        #[test]
        fn counts_are_never_too_low_and_too_high_by_no_more_than_their_error(
            shards in proptest::collection::vec(
                // Few keys that come often among many that do not.
                proptest::collection::vec(prop_oneof![0_u8..4, 0_u8..=255], 0..400),
                1..5,
            ),
            counters in 1_usize..40,
        ) {
            let summaries: Vec<_> = shards.iter().map(|keys| summary(keys, counters)).collect();
            summaries.iter().zip(&shards).for_each(|(summary, keys)| is_sound(summary, keys, counters));
            let mut exact = BTreeMap::new();
            shards.iter().flatten().for_each(|key| *exact.entry(*key).or_insert(0_u64) += 1);
            let total: u64 = exact.values().sum();

            let merged = Merged::of(summaries.iter(), counters);
            prop_assert_eq!(merged.total, total);
            // The bound that is documented: at most N / m.
            prop_assert!(merged.missed <= total / counters as u64);
            for counter in &merged.counters {
                let came = exact.remove(&counter.key[0]).unwrap_or(0);
                prop_assert!(counter.count >= came);
                prop_assert!(counter.count - counter.error <= came);
                prop_assert!(counter.error <= merged.missed);
            }
            // Those that are left have no counter.
            for came in exact.values() {
                prop_assert!(*came <= merged.missed);
            }
        }
    }

    #[test]
    fn with_a_counter_for_each_key_counts_are_exact() {
        let merged = Merged::of([summary(b"abracadabra", 5), summary(b"banana", 5)].iter(), 5);
        let counts: Vec<_> =
            merged.counters.iter().map(|it| (it.key[0] as char, it.count, it.error)).collect();
        // The first summary has five keys and is full, so that it may have missed others as often as its least.
        assert_eq!(merged.missed, 1);
        assert_eq!(counts, [('a', 8, 0), ('b', 3, 0), ('n', 3, 1), ('r', 2, 0), ('c', 1, 0), ('d', 1, 0)]);
    }

    #[test]
    fn a_long_key_is_clipped_between_characters() {
        let clipped = |text: &str| {
            let (key, clipped) = clip(text.as_bytes());
            (String::from_utf8(key.to_vec()).unwrap().len(), clipped)
        };
        assert_eq!(clipped(&"x".repeat(128)), (128, false));
        assert_eq!(clipped(&"x".repeat(129)), (128, true));
        assert_eq!(clipped(&format!("{}ä", "x".repeat(127))), (127, true));
        assert_eq!(clipped(&format!("{}🚦", "x".repeat(125))), (125, true));
        assert_eq!(clipped(&format!("{}🚦y", "x".repeat(124))), (128, true));
        // What is no text is cut all the same.
        assert_eq!(clip(&[0x80; 200]), (&[0x80; 128][..], true));
    }
}
