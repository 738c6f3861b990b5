//! What a request matched besides its route.

use smallvec::SmallVec;

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
    /// Where its key ends, which starts where the one before ends.
    key: Option<u32>,
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
    pub(crate) fn push(&mut self, hit: Hit<'_>) {
        let key = hit.key.map(|key| {
            self.keys.extend_from_slice(key);
            self.keys.len() as u32
        });
        self.hits.push(Entry { statement: hit.statement, cluster: hit.cluster, key });
    }

    pub(crate) fn get(&self, at: usize) -> Option<Hit<'_>> {
        let entry = self.hits.get(at)?;
        let start = self.hits.get(..at)?.iter().rev().find_map(|earlier| earlier.key).unwrap_or(0);
        let key = entry.key.and_then(|end| self.keys.get(start as usize..end as usize));
        Some(Hit { statement: entry.statement, cluster: entry.cluster, key })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Hit<'_>> {
        (0..self.hits.len()).filter_map(|at| self.get(at))
    }
}
