//! Hash tables from byte strings to the first rule that asks for them.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::{NONE, Place, Text};

/// As many strings are compared one by one, by their hashes.
const FEW: usize = 16;

/// Two multiplications for a short string. Seeded, as keys come from strangers.
pub(super) struct Hasher {
    seeds: [u64; 2],
}

/// Byte strings, and for each the first rule that asks for it.
pub(super) struct Strings {
    hasher: Hasher,
    entries: Entries,
}

enum Entries {
    /// Hashes apart from strings, so that they are compared all at once.
    Few([u32; FEW], Vec<(Text, Place)>),
    Many(HashTable<(Text, Place)>),
}

/// Prefixes of paths, and for each the first rule that asks for it.
pub(super) struct Prefixes {
    strings: Strings,
    /// The lengths that there are, from short to long.
    lengths: Vec<usize>,
    /// All end with `/`, so a path has few places where one may end.
    slashed: bool,
}

// === impl Hasher ===

impl Hasher {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Hasher { seeds: [random.hash_one(1), random.hash_one(2)] }
    }

    /// Bits of `mask` do not count: `0x20` in each byte makes two strings that differ in case collide.
    #[inline]
    pub(super) fn hash(&self, bytes: &[u8], mask: u64) -> u64 {
        let length = bytes.len();
        let mut state = self.seeds[0] ^ length as u64;
        let (first, last) = match length {
            0 => (0, 0),
            1..4 => (u64::from(bytes[0]) | u64::from(bytes[length / 2]) << 8, u64::from(bytes[length - 1])),
            4..8 => (four(bytes, 0), four(bytes, length - 4)),
            8..=16 => (eight(bytes, 0), eight(bytes, length - 8)),
            _ => {
                let mut at = 0;
                while at + 16 < length {
                    let (first, last) = (eight(bytes, at), eight(bytes, at + 8));
                    state = folded(state ^ (first | mask), self.seeds[1] ^ (last | mask));
                    at += 16;
                }
                (eight(bytes, length - 16), eight(bytes, length - 8))
            }
        };
        // Once more, so that the bits which a table looks at depend on all.
        folded(folded(state ^ (first | mask), self.seeds[1] ^ (last | mask)), 0x9e37_79b9_7f4a_7c15)
    }
}

fn four(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes[at..at + 4].try_into().expect("four bytes are four");
    u64::from(u32::from_le_bytes(bytes))
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight"))
}

fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

// === impl Strings ===

impl Strings {
    /// Of equal strings the one with the lower place stays.
    pub(super) fn new<'s>(strings: impl Iterator<Item = (&'s str, Place)>) -> Self {
        let hasher = Hasher::new();
        let mut table: HashTable<(Text, Place)> = HashTable::with_capacity(strings.size_hint().0);
        for (string, place) in strings {
            let bytes = string.as_bytes();
            let entry = table.entry(
                hasher.hash(bytes, 0),
                |(key, _)| **key == *bytes,
                |(key, _)| hasher.hash(key, 0),
            );
            let entry = entry.or_insert_with(|| (bytes.into(), place)).into_mut();
            entry.1 = entry.1.min(place);
        }
        if table.len() > FEW {
            table.shrink_to_fit(|(key, _)| hasher.hash(key, 0));
            return Strings { hasher, entries: Entries::Many(table) };
        }
        let few: Vec<_> = table.into_iter().collect();
        let mut hashes = [0; FEW];
        for (hash, (key, _)) in hashes.iter_mut().zip(&few) {
            *hash = hasher.hash(key, 0) as u32;
        }
        Strings { hasher, entries: Entries::Few(hashes, few) }
    }

    /// The first rule that asks for these bytes.
    #[inline]
    pub(super) fn get(&self, bytes: &[u8]) -> Place {
        let hash = self.hasher.hash(bytes, 0);
        match &self.entries {
            Entries::Few(hashes, few) => {
                // Without an early end, so that it becomes a few wide instructions.
                let any = hashes.iter().fold(false, |any, each| any | (*each == hash as u32));
                if any { few_by_hash(hashes, hash as u32, few, bytes) } else { NONE }
            }
            Entries::Many(table) => {
                table.find(hash, |(key, _)| **key == *bytes).map_or(NONE, |(_, place)| *place)
            }
        }
    }
}

fn few_by_hash(hashes: &[u32], hash: u32, few: &[(Text, Place)], bytes: &[u8]) -> Place {
    let mut same = hashes.iter().zip(few).filter(|(each, _)| **each == hash).map(|(_, entry)| entry);
    same.find(|(key, _)| **key == *bytes).map_or(NONE, |(_, place)| *place)
}

// === impl Prefixes ===

impl Prefixes {
    pub(super) fn new(prefixes: &[(&str, Place)]) -> Self {
        let lengths: BTreeSet<usize> = prefixes.iter().map(|(prefix, _)| prefix.len()).collect();
        Prefixes {
            strings: Strings::new(prefixes.iter().copied()),
            lengths: lengths.into_iter().collect(),
            slashed: prefixes.iter().all(|(prefix, _)| prefix.ends_with('/')),
        }
    }

    /// The first rule that asks for a prefix of the path.
    #[inline]
    pub(super) fn get(&self, path: &[u8]) -> Place {
        let mut best = NONE;
        for length in &self.lengths {
            let Some(start) = path.get(..*length) else { break };
            if !self.slashed || start.ends_with(b"/") {
                best = best.min(self.strings.get(start));
            }
        }
        best
    }
}
