//! Which rules can match: found by the values that a request has, instead of by asking one rule after the other.
//!
//! For many a rule there is a test without which it cannot be true, and a table leads from the values that satisfy
//! such tests to the rules. What a table leads to is evaluated in full all the same: an index leaves rules out, and
//! never decides. It may lead to too many rules, as when two texts have one hash.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::net::IpAddr;

use super::program::SlotId;
use crate::schema::{Plain, Time, Value, Version};

/// A tree of look-ups. The first node is asked for every request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    pub(crate) nodes: Vec<Node>,
    /// What [`Lead::Several`] is made of.
    pub(crate) leads: Vec<Lead>,
    /// Rules, in rows that ascend.
    pub(crate) rules: Vec<u32>,
    /// Seeded for each index, so that nobody can send texts that collide.
    pub(crate) state: foldhash::fast::RandomState,
}

/// Rules that are looked up together.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// By the first rule that each leads to: one that is not reached is not looked at.
    pub(crate) lookups: Vec<Lookup>,
    /// The rules of this node that nothing leads to: they can always match.
    pub(crate) rest: Row,
}

/// One table, asked with each value of a slot.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    pub(crate) slot: SlotId,
    /// The slot, if it is one that needs no place among the others; filled in by the verifier.
    pub(crate) plain: Option<Plain>,
    /// The first rule that it can lead to.
    pub(crate) first: u32,
    pub(crate) table: Table,
}

#[derive(Debug, Clone)]
pub(crate) enum Table {
    /// By the whole text.
    Texts(Keys),
    /// By how a text starts.
    Starts(Affixes),
    /// By how a text ends.
    Ends(Affixes),
    Ints(Spans<i64>),
    Ips(Spans<IpAddr>),
    Versions(Spans<Version>),
    Times(Spans<Time>),
}

/// What the hash of a text leads to.
pub(crate) type Keys = HashMap<u64, Lead, BuildHasherDefault<AsItIs>>;

/// How texts start or end, by a few lengths. A longer affix is known by its first or last bytes.
#[derive(Debug, Clone)]
pub(crate) struct Affixes {
    /// Ascending, none of them 0.
    pub(crate) lengths: Vec<u32>,
    pub(crate) keys: Keys,
}

/// Ranges, both ends included, that may overlap: an interval tree that lies in a row (Cormen et al., Introduction
/// to Algorithms, 14.3). The middle of a stretch is its root.
#[derive(Debug, Clone)]
pub(crate) struct Spans<T> {
    /// By the lower end.
    spans: Vec<Span<T>>,
}

#[derive(Debug, Clone)]
struct Span<T> {
    from: T,
    to: T,
    /// The highest end in the stretch of which this is the root.
    reach: T,
    lead: Lead,
}

/// A stretch of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Row {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Where a value leads: packed, as there are as many as there are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lead {
    start: u32,
    end: u32,
}

/// A [`Lead`], unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// A row of [`Index::rules`].
    Rules(Row),
    /// A later node: many rules share what leads here.
    Node(u32),
    /// A row of [`Index::leads`].
    Several(Row),
}

/// Hands on the 64 bits that are a hash already.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AsItIs(u64);

// === impl Index ===

impl Index {
    /// The hash of a text or of a part of one.
    #[inline]
    pub(crate) fn hash(&self, text: &[u8]) -> u64 {
        let hash = self.state.hash_one(text);
        // Every other index of a test has few hashes, so that texts share them.
        if cfg!(test) && self.state.hash_one("few") & 1 == 0 { hash & 15 } else { hash }
    }

    pub(crate) fn rules(&self, row: Row) -> &[u32] {
        self.rules.get(row.start as usize..row.end as usize).unwrap_or_default()
    }

    pub(crate) fn leads(&self, row: Row) -> &[Lead] {
        self.leads.get(row.start as usize..row.end as usize).unwrap_or_default()
    }

    /// An estimate of the memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let lookups = self.nodes.iter().flat_map(|node| &node.lookups);
        size_of_val(&*self.rules)
            + size_of_val(&*self.leads)
            + size_of_val(&*self.nodes)
            + lookups.map(|lookup| size_of::<Lookup>() + lookup.table.bytes()).sum::<usize>()
    }
}

// === impl Node ===

impl Node {
    /// The first rule that can be reached from here.
    pub(super) fn first(&self, index: &Index) -> Option<u32> {
        let looked_up = self.lookups.first().map(|lookup| lookup.first);
        let rest = index.rules(self.rest).first().copied();
        looked_up.into_iter().chain(rest).min()
    }
}

// === impl Table ===

impl Table {
    /// Tells where a value leads.
    #[inline]
    pub(crate) fn look_up(&self, index: &Index, value: &Value<'_>, found: impl FnMut(Lead)) {
        match (self, value) {
            (_, Value::String(text)) => self.look_up_text(index, text, found),
            (Table::Ints(spans), Value::Int(i)) => spans.look_up(i, found),
            (Table::Ips(spans), Value::Ip(ip)) => spans.look_up(ip, found),
            (Table::Versions(spans), Value::Version(version)) => spans.look_up(version, found),
            (Table::Times(spans), Value::Time(time)) => spans.look_up(time, found),
            _ => {}
        }
    }

    /// The same of a text.
    #[inline]
    pub(crate) fn look_up_text(&self, index: &Index, text: &[u8], mut found: impl FnMut(Lead)) {
        match self {
            Table::Texts(keys) => {
                if let Some(lead) = keys.get(&index.hash(text)) {
                    found(*lead);
                }
            }
            Table::Starts(affixes) => {
                for &length in &affixes.lengths {
                    let Some(part) = text.get(..length as usize) else { return };
                    if let Some(lead) = affixes.keys.get(&index.hash(part)) {
                        found(*lead);
                    }
                }
            }
            Table::Ends(affixes) => {
                for &length in &affixes.lengths {
                    let Some(start) = text.len().checked_sub(length as usize) else { return };
                    let part = text.get(start..).unwrap_or_default();
                    if let Some(lead) = affixes.keys.get(&index.hash(part)) {
                        found(*lead);
                    }
                }
            }
            _ => {}
        }
    }

    /// All leads, for those who look at the index as a whole; one that several keys have comes as often.
    pub(crate) fn leads(&self) -> Box<dyn Iterator<Item = Lead> + '_> {
        match self {
            Table::Texts(keys) => Box::new(keys.values().copied()),
            Table::Starts(affixes) | Table::Ends(affixes) => Box::new(affixes.keys.values().copied()),
            Table::Ints(spans) => Box::new(spans.leads()),
            Table::Ips(spans) => Box::new(spans.leads()),
            Table::Versions(spans) => Box::new(spans.leads()),
            Table::Times(spans) => Box::new(spans.leads()),
        }
    }

    /// What a value is compared by.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Table::Texts(_) => "text",
            Table::Starts(_) => "start",
            Table::Ends(_) => "end",
            Table::Ints(_) | Table::Ips(_) | Table::Versions(_) | Table::Times(_) => "range",
        }
    }

    /// How many keys or ranges there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Table::Texts(keys) => keys.len(),
            Table::Starts(affixes) | Table::Ends(affixes) => affixes.keys.len(),
            Table::Ints(spans) => spans.spans.len(),
            Table::Ips(spans) => spans.spans.len(),
            Table::Versions(spans) => spans.spans.len(),
            Table::Times(spans) => spans.spans.len(),
        }
    }

    fn bytes(&self) -> usize {
        // A key, a lead and a byte of control for each place.
        let keys = |keys: &Keys| keys.capacity() * 8 / 7 * 17;
        match self {
            Table::Texts(texts) => keys(texts),
            Table::Starts(affixes) | Table::Ends(affixes) => keys(&affixes.keys) + affixes.lengths.len() * 4,
            Table::Ints(spans) => size_of_val(&*spans.spans),
            Table::Ips(spans) => size_of_val(&*spans.spans),
            Table::Versions(spans) => size_of_val(&*spans.spans),
            Table::Times(spans) => size_of_val(&*spans.spans),
        }
    }
}

// === impl Spans ===

impl<T: Ord + Clone> Spans<T> {
    pub(crate) fn new(mut ranges: Vec<(T, T, Lead)>) -> Self {
        ranges.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        let mut spans: Vec<Span<T>> =
            ranges.into_iter().map(|(from, to, lead)| Span { from, reach: to.clone(), to, lead }).collect();
        reach(&mut spans);
        Spans { spans }
    }

    /// Takes the logarithm of the number of ranges for each that is found, and for none.
    fn look_up(&self, value: &T, mut found: impl FnMut(Lead)) {
        // One stretch a level waits, and a row has no more levels than a length has bits.
        let mut waiting = smallvec::SmallVec::<[&[Span<T>]; 32]>::new();
        waiting.push(&self.spans);
        while let Some(stretch) = waiting.pop() {
            let (before, rest) = stretch.split_at(stretch.len() / 2);
            let Some((root, after)) = rest.split_first() else { continue };
            if root.reach < *value {
                continue;
            }
            if root.from <= *value {
                if *value <= root.to {
                    found(root.lead);
                }
                waiting.push(after);
            }
            waiting.push(before);
        }
    }

    fn leads(&self) -> impl Iterator<Item = Lead> {
        self.spans.iter().map(|span| span.lead)
    }
}

/// Sets how far each stretch reaches, and says it of the whole. As deep as a length has bits.
fn reach<T: Ord + Clone>(spans: &mut [Span<T>]) -> Option<T> {
    let (before, rest) = spans.split_at_mut(spans.len() / 2);
    let (root, after) = rest.split_first_mut()?;
    let below = reach(before).max(reach(after));
    if below.as_ref().is_some_and(|below| *below > root.reach) {
        root.reach = below?;
    }
    Some(root.reach.clone())
}

// === impl Lead ===

impl Lead {
    /// The bit of `end` that says that it is a row of leads.
    const SEVERAL: u32 = 1 << 31;
    /// Rows end here at the latest.
    pub(crate) const MOST: usize = (1 << 31) - 2;

    pub(crate) fn pack(to: To) -> Self {
        match to {
            To::Rules(Row { start, end }) => Lead { start, end },
            To::Several(Row { start, end }) => Lead { start, end: end | Self::SEVERAL },
            To::Node(node) => Lead { start: node, end: u32::MAX },
        }
    }

    #[inline]
    pub(crate) fn to(self) -> To {
        let Lead { start, end } = self;
        match end {
            u32::MAX => To::Node(start),
            _ if end & Self::SEVERAL != 0 => To::Several(Row { start, end: end & !Self::SEVERAL }),
            _ => To::Rules(Row { start, end }),
        }
    }
}

// === impl AsItIs ===

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Never asked: a key is one `u64`.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lead(at: usize) -> Lead {
        Lead::pack(To::Rules(Row { start: at as u32, end: at as u32 + 1 }))
    }

    #[test]
    fn nobody_knows_the_hashes_of_an_index() {
        let hashes = [(), ()].map(|()| Index::default().state.hash_one("uid"));
        assert!(hashes[0] != hashes[1]);
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let row = Row { start: 3, end: (1 << 31) - 2 };
        for to in
            [To::Rules(row), To::Several(row), To::Node(0), To::Node(u32::MAX), To::Rules(Row::default())]
        {
            assert_eq!(Lead::pack(to).to(), to);
        }
    }

    proptest! {
        #[test]
        fn spans_find_all_that_hold_a_value_and_no_other(
            ranges in prop::collection::vec((0..40_i64, 0..12_i64), 0..40), value in -1..60_i64,
        ) {
            let spans = ranges.iter().enumerate().map(|(at, (from, len))| (*from, from + len, lead(at))).collect();
            let mut found = Vec::new();
            Spans::new(spans).look_up(&value, |lead| found.push(lead));
            let holds = |(from, len): &(i64, i64)| (*from..=from + len).contains(&value);
            let want: Vec<Lead> =
                ranges.iter().enumerate().filter(|(_, range)| holds(range)).map(|(at, _)| lead(at)).collect();
            prop_assert_eq!(found.len(), want.len());
            prop_assert!(want.iter().all(|lead| found.contains(lead)));
        }
    }
}
