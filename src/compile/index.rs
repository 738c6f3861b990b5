//! The index over the rules of a program; see [`bytecode::Index`](crate::bytecode::Index).
//!
//! A rule is found by that of its alternatives whose tests the fewest rules share. Where many share what is still the
//! best, they make a node of their own below it, and are found there by another alternative.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::needs::Needs;
use crate::bytecode::{
    Affixes, Check, Index, Keys, Lead, Lookup, Node, Parts, Row, Slot, SlotId, Spans, Table, To,
};
use crate::schema::{Field, Time, Type, Value, Version};

/// Where rules are made by the thousand, few of them are indexed as many are elsewhere.
const SMALL: bool = cfg!(any(test, fuzzing));
/// Below so many rules, asking all of them costs less than looking them up.
const FEWEST: usize = if SMALL { 1 } else { 8 };
/// What a table has to save to be worth a look.
const WORTH: usize = if SMALL { 1 } else { 4 };
/// From how many rules on that share what leads to them a node of their own is tried.
const SHARED: usize = if SMALL { 2 } else { 16 };
/// How deep nodes may lie below one another.
const DEEPEST: usize = 4;
/// How many members of lists may be keys more than once, besides some for each rule: a text names a list more often than it
/// writes one.
const COPIES: usize = if SMALL { 8 } else { 65_536 };
/// Up to so many members are not worth counting.
const FEW_MEMBERS: usize = if SMALL { 1 } else { 16 };
/// Of how many lengths the affixes of one table may be: each is one look-up.
const LENGTHS: usize = 8;

/// Makes the index, if there is one that saves work.
pub(super) fn build(parts: &Parts, needs: &Needs) -> Option<Index> {
    let rules: Vec<u32> = (0..needs.len() as u32).collect();
    if rules.len() < FEWEST || u32::try_from(rules.len()).is_err() {
        return None;
    }
    let mut builder = Builder {
        parts,
        needs,
        counts: vec![0; parts.tests.len()],
        custom: custom(&parts.slots),
        flags: vec![0; rules.len()],
        spare: 8 * rules.len(),
        lists: HashSet::new(),
        copies: 8 * rules.len() + COPIES,
        index: Index::default(),
    };
    builder.node(&rules, &mut Vec::new());
    let index = builder.index;
    if index.rules.len().max(index.leads.len()) > Lead::MOST {
        return None;
    }
    index.nodes.first().is_some_and(|root| !root.lookups.is_empty()).then_some(index)
}

struct Builder<'p> {
    parts: &'p Parts,
    needs: &'p Needs,
    /// How many rules of the node that is being made could be found by each test; zero in between.
    counts: Vec<u32>,
    /// The slots that call what the application registered.
    custom: Vec<bool>,
    /// What is known of each rule of the node that is being made; nothing in between.
    flags: Vec<u8>,
    /// How many more rules may be put into nodes below others.
    spare: usize,
    /// The lists whose members are keys already, by address.
    lists: HashSet<usize>,
    /// How many more members may be keys once more, of another field or below another node.
    copies: usize,
    index: Index,
}

/// Some test leads to the rule.
const LED: u8 = 1;
/// One of the tests that should lead to the rule does not.
const LOST: u8 = 2;

/// What is known of a table before it is made.
#[derive(Default)]
struct Draft<'p> {
    texts: Vec<(&'p [u8], Lead)>,
    ranges: Vec<(Value<'static>, Value<'static>, Lead)>,
    first: Option<u32>,
}

/// How a table compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Texts,
    Starts,
    Ends,
    Ranges(Type),
}

// === impl Builder ===

impl<'p> Builder<'p> {
    /// Adds a node for `rules`, all of which `above` is true of, and says where it is.
    fn node(&mut self, rules: &[u32], above: &mut Vec<u32>) -> u32 {
        let place = self.index.nodes.len();
        self.index.nodes.push(Node { lookups: Vec::new(), rest: Row::default() });
        let mut found = self.chosen(rules, above);
        let mut sizes: HashMap<(SlotId, Kind), usize> = HashMap::new();
        for (test, _) in &found {
            if let Some(table) = self.table(*test) {
                *sizes.entry(table).or_default() += 1;
            }
        }
        let worth = |table: Option<(SlotId, Kind)>| {
            table.and_then(|table| sizes.get(&table)).is_some_and(|size| *size >= WORTH)
        };
        // A rule that one of its tests cannot lead to is one of the rest.
        for row in found.chunk_by(|a, b| a.0 == b.0) {
            let Some((test, _)) = row.first() else { continue };
            // Below the root, where a test leads to all rules, asking it once for all of them is what rules do anyway.
            let splits = above.is_empty() || row.len() < rules.len();
            let flag =
                if splits && worth(self.table(*test)) && self.affords(*test) { LED } else { LED | LOST };
            for (_, rule) in row {
                self.flags.iter_mut().skip(*rule as usize).take(1).for_each(|flags| *flags |= flag);
            }
        }
        let flags = &self.flags;
        let is_led = |rule: u32| flags.get(rule as usize).is_some_and(|flags| *flags == LED);
        found.retain(|(_, rule)| is_led(*rule));
        let rest: Vec<u32> = rules.iter().copied().filter(|rule| !is_led(*rule)).collect();
        for rule in rules {
            self.flags.iter_mut().skip(*rule as usize).take(1).for_each(|flags| *flags = 0);
        }
        let rest = self.row(rest.into_iter());
        let mut drafts: HashMap<(SlotId, Kind), Draft<'p>> = HashMap::new();
        for row in found.chunk_by(|a, b| a.0 == b.0) {
            let Some((test, first)) = row.first().copied() else { continue };
            let Some(table) = self.table(test) else { continue };
            let lead = self.lead(row, test, above);
            let draft = drafts.entry(table).or_default();
            draft.first = Some(draft.first.map_or(first, |known| known.min(first)));
            self.add(draft, test, lead);
        }
        let mut lookups: Vec<Lookup> = drafts
            .into_iter()
            .map(|((slot, kind), draft)| {
                let first = draft.first.unwrap_or(0);
                Lookup { slot, plain: None, first, table: self.finish(kind, draft) }
            })
            .collect();
        lookups.sort_by_key(|lookup| (lookup.first, lookup.slot));
        if let Some(node) = self.index.nodes.get_mut(place) {
            *node = Node { lookups, rest };
        }
        place as u32
    }

    /// By which tests the rules are found: pairs of test and rule, in order.
    fn chosen(&mut self, rules: &[u32], above: &[u32]) -> Vec<(u32, u32)> {
        let mut counts = std::mem::take(&mut self.counts);
        let usable = |rule: u32, alternative: &[u32]| {
            !alternative.iter().any(|test| above.contains(test) || !self.is_asked(rule, *test, above))
        };
        let touched = |counts: &mut [u32], by: fn(u32) -> u32| {
            for rule in rules {
                for alternative in self.needs.of(*rule).filter(|tests| usable(*rule, tests)) {
                    for test in alternative {
                        counts.iter_mut().skip(*test as usize).take(1).for_each(|count| *count = by(*count));
                    }
                }
            }
        };
        touched(&mut counts, |count| count.saturating_add(1));
        let mut found = Vec::with_capacity(rules.len());
        for rule in rules {
            let cost = |alternative: &&[u32]| {
                let shared = |test: &u32| u64::from(counts.get(*test as usize).copied().unwrap_or(0));
                let kinds =
                    alternative.iter().filter_map(|test| self.table(*test).map(|(_, kind)| kind)).max();
                let custom = alternative.iter().any(|test| self.is_custom(*test));
                (custom, alternative.iter().map(shared).sum::<u64>(), kinds)
            };
            let best = self.needs.of(*rule).filter(|tests| usable(*rule, tests)).min_by_key(cost);
            found.extend(best.into_iter().flatten().map(|test| (*test, *rule)));
        }
        touched(&mut counts, |_| 0);
        self.counts = counts;
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Where a test leads that all rules of `row` are found by.
    fn lead(&mut self, row: &[(u32, u32)], test: u32, above: &mut Vec<u32>) -> Lead {
        if row.len() >= SHARED && above.len() < DEEPEST && self.spare >= row.len() {
            above.push(test);
            let rules: Vec<u32> = row.iter().map(|(_, rule)| *rule).collect();
            let usable = |rule: &&u32| {
                self.needs.of(**rule).any(|tests| !tests.iter().any(|test| above.contains(test)))
            };
            let elsewhere = rules.iter().filter(usable).count() >= rules.len() / 2;
            let node = elsewhere.then(|| {
                self.spare -= rules.len();
                self.node(&rules, above)
            });
            above.pop();
            if let Some(node) = node {
                return Lead::pack(To::Node(node));
            }
        }
        Lead::pack(To::Rules(self.row(row.iter().map(|(_, rule)| *rule))))
    }

    fn row(&mut self, rules: impl Iterator<Item = u32>) -> Row {
        let start = self.index.rules.len() as u32;
        self.index.rules.extend(rules);
        Row { start, end: self.index.rules.len() as u32 }
    }

    /// Whether a rule asks a test's slot before all others, but for tests that are true of it. An application's field is
    /// read when a rule asks for it, and not for a look-up that the rule would not have come to.
    fn is_asked(&self, rule: u32, test: u32, above: &[u32]) -> bool {
        if !self.is_custom(test) {
            return true;
        }
        let start = self.parts.rules.get(rule as usize).map_or(usize::MAX, |rule| rule.start as usize);
        let steps = self.parts.steps.get(start..).unwrap_or_default();
        let slot = |test: u32| self.parts.tests.get(test as usize).map(|test| test.slot);
        steps
            .iter()
            .find(|step| !above.contains(&step.test))
            .is_some_and(|step| slot(step.test) == slot(test))
    }

    fn is_custom(&self, test: u32) -> bool {
        let slot = self.parts.tests.get(test as usize).map(|test| test.slot.0 as usize);
        slot.and_then(|slot| self.custom.get(slot)).is_some_and(|custom| *custom)
    }

    // === tables ===

    /// Whether there is room for the keys of a test, which are then counted.
    fn affords(&mut self, test: u32) -> bool {
        let test = self.parts.tests.get(test as usize);
        let Some(Check::In(list)) = test.map(|test| &test.check) else { return true };
        if list.len() <= FEW_MEMBERS || self.lists.insert(list.address()) {
            return true;
        }
        let left = self.copies.checked_sub(list.len());
        self.copies = left.unwrap_or(self.copies);
        left.is_some()
    }

    /// The table of a test.
    fn table(&self, test: u32) -> Option<(SlotId, Kind)> {
        let test = self.parts.tests.get(test as usize)?;
        let kind = match &test.check {
            Check::Text(_) => Kind::Texts,
            Check::In(list) if list.ty() == Type::String => Kind::Texts,
            Check::In(list) => Kind::Ranges(list.ty()),
            Check::StartsWith(_) | Check::PathUnder(_) | Check::Matches(_) | Check::Among(..) => Kind::Starts,
            Check::EndsWith(_) | Check::HostUnder(_) => Kind::Ends,
            Check::Int(..) => Kind::Ranges(Type::Int),
            Check::Ip(_) => Kind::Ranges(Type::Ip),
            Check::Version(..) => Kind::Ranges(Type::Version),
            Check::Time(..) => Kind::Ranges(Type::Time),
            _ => return None,
        };
        Some((test.slot, kind))
    }

    /// Adds what satisfies a test.
    fn add(&self, draft: &mut Draft<'p>, test: u32, lead: Lead) {
        let Some(test) = self.parts.tests.get(test as usize) else { return };
        let mut one = |value: Value<'static>| draft.ranges.push((value.clone(), value, lead));
        match &test.check {
            Check::Text(text) | Check::StartsWith(text) | Check::EndsWith(text) => {
                draft.texts.push((text, lead));
            }
            Check::PathUnder(root) => {
                draft.texts.push((root.strip_suffix(b"/").unwrap_or(root), lead));
            }
            Check::HostUnder(domain) => {
                draft.texts.push((domain.strip_suffix(b".").unwrap_or(domain), lead));
            }
            Check::Matches(pattern) | Check::Among(pattern, _) => {
                draft.texts.extend(pattern.starts().into_iter().flatten().map(|start| (&**start, lead)));
            }
            Check::In(list) => {
                draft.texts.extend(list.texts().map(|text| (text, lead)));
                draft.ranges.extend(list.ranges().into_iter().map(|(from, to)| (from, to, lead)));
            }
            Check::Int(_, i) => one(Value::Int(*i)),
            Check::Ip(ip) => one(Value::Ip(*ip)),
            Check::Version(_, version) => one(Value::Version((**version).clone())),
            Check::Time(_, time) => one(Value::Time(**time)),
            _ => {}
        }
    }

    fn finish(&mut self, kind: Kind, draft: Draft<'p>) -> Table {
        macro_rules! spans {
            ($variant:ident, $ty:ty) => {{
                let ranges = draft.ranges.into_iter().filter_map(|range| match range {
                    (Value::$variant(from), Value::$variant(to), lead) => Some((from, to, lead)),
                    _ => None,
                });
                Spans::<$ty>::new(ranges.collect())
            }};
        }
        match kind {
            Kind::Texts => Table::Texts(self.keys(draft.texts.iter().copied())),
            Kind::Starts => Table::Starts(self.affixes(&draft.texts, |text, length| text.get(..length))),
            Kind::Ends => Table::Ends(
                self.affixes(&draft.texts, |text, length| text.get(text.len().checked_sub(length)?..)),
            ),
            Kind::Ranges(Type::Ip) => Table::Ips(spans!(Ip, IpAddr)),
            Kind::Ranges(Type::Version) => Table::Versions(spans!(Version, Version)),
            Kind::Ranges(Type::Time) => Table::Times(spans!(Time, Time)),
            Kind::Ranges(_) => Table::Ints(spans!(Int, i64)),
        }
    }

    fn affixes(&mut self, texts: &[(&[u8], Lead)], cut: impl Fn(&[u8], usize) -> Option<&[u8]>) -> Affixes {
        let lengths = lengths(texts.iter().map(|(text, _)| text.len()).collect());
        let known = |text: &[u8]| {
            lengths.get(lengths.partition_point(|length| *length <= text.len()).checked_sub(1)?).copied()
        };
        let parts = texts.iter().filter_map(|(text, lead)| Some((cut(text, known(text)?)?, *lead)));
        let keys = self.keys(parts);
        Affixes { lengths: lengths.iter().map(|length| *length as u32).collect(), keys }
    }

    /// Makes one row of those that are so short that it takes no more memory than to name them.
    fn join(&mut self, leads: &mut Vec<Lead>) {
        let short = |lead: &Lead| match lead.to() {
            To::Rules(row) if row.end - row.start <= 2 => Some(row),
            _ => None,
        };
        let mut rules: Vec<u32> =
            leads.iter().filter_map(short).flat_map(|row| self.index.rules(row)).copied().collect();
        rules.sort_unstable();
        rules.dedup();
        leads.retain(|lead| short(lead).is_none());
        if !rules.is_empty() {
            leads.push(Lead::pack(To::Rules(self.row(rules.into_iter()))));
        }
    }

    fn keys<'t>(&mut self, texts: impl Iterator<Item = (&'t [u8], Lead)>) -> Keys {
        let mut keys = Keys::default();
        keys.reserve(texts.size_hint().0);
        let mut several: HashMap<u64, Vec<Lead>> = HashMap::new();
        for (text, lead) in texts {
            let hash = self.index.hash(text);
            if let Some(known) = keys.insert(hash, lead)
                && known != lead
            {
                several.entry(hash).or_insert_with(|| vec![known]).push(lead);
            }
        }
        for (hash, mut leads) in several {
            leads.sort_unstable();
            leads.dedup();
            self.join(&mut leads);
            if let [only] = leads.as_slice() {
                keys.insert(hash, *only);
                continue;
            }
            let start = self.index.leads.len() as u32;
            self.index.leads.extend(leads);
            keys.insert(hash, Lead::pack(To::Several(Row { start, end: self.index.leads.len() as u32 })));
        }
        keys
    }
}

/// The lengths by which affixes of these lengths are known: all, if they are few, else some that divide them evenly.
/// The shortest is always among them.
fn lengths(mut all: Vec<usize>) -> Vec<usize> {
    all.sort_unstable();
    let mut distinct = all.clone();
    distinct.dedup();
    if distinct.len() > LENGTHS {
        distinct = (0..LENGTHS).filter_map(|part| all.get(part * all.len() / LENGTHS).copied()).collect();
        distinct.dedup();
    }
    distinct
}

/// Which slots ask a field of the application.
fn custom(slots: &[Slot]) -> Vec<bool> {
    let mut custom: Vec<bool> = Vec::with_capacity(slots.len());
    for slot in slots {
        let below = slot.needs().iter().any(|need| custom.get(need.0 as usize).is_some_and(|custom| *custom));
        custom.push(below || matches!(slot, Slot::Field(Field::Custom(..))));
    }
    custom
}
