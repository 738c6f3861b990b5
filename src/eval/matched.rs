//! What a request matched besides its route.

use smallvec::SmallVec;

use crate::split::KEYS;

/// The gateway statements that a request matched, with their keys. Made only when there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matched {
    hits: SmallVec<[Entry; 4]>,
    /// All keys, one behind the other.
    keys: SmallVec<[u8; 64]>,
    /// The clusters that had no available server, so that another took their place.
    pub(crate) unavailable: SmallVec<[u32; 2]>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    statement: u32,
    cluster: Option<u32>,
    /// Whether it has a key; that starts where the one before ends,
    keyed: bool,
    /// and ends here.
    end: u32,
}

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
        if hit.key.is_some_and(|key| self.keys.len() + key.len() > KEYS) {
            return false;
        }
        self.keys.extend_from_slice(hit.key.unwrap_or_default());
        let (keyed, end) = (hit.key.is_some(), self.keys.len() as u32);
        self.hits.push(Entry { statement: hit.statement, cluster: hit.cluster, keyed, end });
        true
    }

    pub(crate) fn get(&self, at: usize) -> Option<Hit<'_>> {
        let entry = self.hits.get(at)?;
        let before = at.checked_sub(1).and_then(|before| self.hits.get(before));
        let start = before.map_or(0, |before| before.end);
        let key = self.keys.get(start as usize..entry.end as usize).filter(|_| entry.keyed);
        Some(Hit { statement: entry.statement, cluster: entry.cluster, key })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Hit<'_>> {
        (0..self.hits.len()).filter_map(|at| self.get(at))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_taken_is_what_there_is(
            hits in proptest::collection::vec(
                (any::<u32>(), proptest::option::of(any::<u32>()), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))),
                0..20,
            ),
        ) {
            let mut matched = Matched::default();
            let hits = hits.iter().map(|(statement, cluster, key)| Hit { statement: *statement, cluster: *cluster, key: key.as_deref() });
            let taken: Vec<_> = hits.filter(|hit| matched.push(*hit)).collect();
            prop_assert_eq!(matched.iter().collect::<Vec<_>>(), taken);
        }
    }

    /// As many as a text may have statements: a look at each must not be one at all before it.
    #[test]
    fn many_without_a_key_are_gone_through_at_once() {
        let mut matched = Matched::default();
        for statement in 0..50_000 {
            assert!(matched.push(Hit { statement, cluster: None, key: None }));
        }
        let begin = Instant::now();
        assert_eq!(matched.iter().count(), 50_000);
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}
