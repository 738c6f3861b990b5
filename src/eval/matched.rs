//! What a request matched besides its route.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use smallvec::SmallVec;

use crate::split::KEYS;

/// The gateway statements that a request matched, with their keys. Made only when there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matched {
    hits: SmallVec<[Entry; 4]>,
    /// The keys, one behind the other; statements by the same key mostly have it together.
    keys: SmallVec<[u8; 64]>,
    /// The clusters that had no available server, so that another took their place.
    pub(crate) unavailable: SmallVec<[u32; 2]>,
    /// The kinds of statements that a layer has looked after.
    pub(crate) heeded: Heeded,
}

/// A bit for each kind.
#[derive(Debug, Default)]
pub(crate) struct Heeded(AtomicU8);

#[derive(Debug, Clone, Copy)]
struct Entry {
    statement: u32,
    cluster: Option<u32>,
    /// Where its key starts and ends.
    key: Option<(u32, u32)>,
}

/// Among how many of the latest entries a key is looked for before it is taken down once more.
pub(super) const ALIKE: usize = 8;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit<'m> {
    /// The statement's index in the text.
    pub(crate) statement: u32,
    /// The declared cluster that a mirror leads to.
    pub(crate) cluster: Option<u32>,
    /// The text of the key, if the statement has one.
    pub(crate) key: Option<&'m [u8]>,
}

// === impl Matched ===

impl Matched {
    /// Takes one more. Not if its key does not fit in any more.
    pub(crate) fn push(&mut self, hit: Hit<'_>) -> bool {
        let place = match hit.key.map(|key| self.place(key)) {
            Some(None) => return false,
            place => place.flatten(),
        };
        self.hits.push(Entry { statement: hit.statement, cluster: hit.cluster, key: place });
        true
    }

    /// Where a key stands, or is put now. A client that sends one of a megabyte gets rid of no statement by it that has the
    /// same key as an earlier one.
    fn place(&mut self, key: &[u8]) -> Option<(u32, u32)> {
        let mut latest = self.hits.iter().rev().take(ALIKE).filter_map(|entry| entry.key);
        if let Some(known) = latest.find(|place| self.key(*place) == Some(key)) {
            return Some(known);
        }
        let start = self.keys.len();
        if start + key.len() > KEYS {
            return None;
        }
        self.keys.extend_from_slice(key);
        Some((start as u32, self.keys.len() as u32))
    }

    fn key(&self, (start, end): (u32, u32)) -> Option<&[u8]> {
        self.keys.get(start as usize..end as usize)
    }

    pub(crate) fn get(&self, at: usize) -> Option<Hit<'_>> {
        let entry = self.hits.get(at)?;
        let key = entry.key.and_then(|place| self.key(place));
        Some(Hit { statement: entry.statement, cluster: entry.cluster, key })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Hit<'_>> {
        (0..self.hits.len()).filter_map(|at| self.get(at))
    }
}

// === impl Heeded ===

impl Heeded {
    // The layers of a request have it one after the other, so nobody's mark is lost between the two.
    pub(crate) fn add(&self, bit: u8) {
        self.0.store(self.0.load(Relaxed) | bit, Relaxed);
    }

    pub(crate) fn has(&self, bit: u8) -> bool {
        self.0.load(Relaxed) & bit != 0
    }
}

impl Clone for Heeded {
    fn clone(&self) -> Self {
        Heeded(AtomicU8::new(self.0.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(statement: u32, key: Option<&[u8]>) -> Hit<'_> {
        Hit { statement, cluster: None, key }
    }

    #[test]
    fn a_long_key_is_there_for_each_statement_that_has_it() {
        let (long, other) = ([b'x'; KEYS - 1], [b'y'; KEYS]);
        let mut matched = Matched::default();
        assert!((0..3).all(|at| matched.push(hit(at, Some(&long)))));
        assert!(
            matched.push(hit(3, None))
                && !matched.push(hit(4, Some(&other)))
                && matched.push(hit(5, Some(b"z")))
        );
        let keys: Vec<_> = matched.iter().map(|hit| hit.key).collect();
        assert_eq!(keys, [Some(&long[..]), Some(&long), Some(&long), None, Some(b"z")]);
        assert_eq!(matched.keys.len(), KEYS);
    }
}
