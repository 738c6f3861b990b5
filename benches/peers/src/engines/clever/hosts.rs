//! Rules of a host and a prefix: compared one by one while they are few, found by the host and then by the prefix when
//! they are many.

use hashbrown::HashTable;
use http::Request;

use super::table::{Hasher, Prefixes};
use super::{Engine, NONE, Place, Text, rule, scan};
use crate::model::{Condition, Rule};

/// As many rules are compared one by one.
const FEW: usize = 4;
/// Hashes ignore the bit in which upper and lower case differ.
const CASE: u64 = 0x2020_2020_2020_2020;

pub(super) struct Few {
    rules: Vec<(Text, Text)>,
}

pub(super) struct Hosts {
    hasher: Hasher,
    table: HashTable<Host>,
}

struct Host {
    /// The host, and behind it the prefix of its first rule: they are read together.
    bytes: Text,
    host: u32,
    place: Place,
    /// All rules of the host, where there are several.
    more: Option<Box<Prefixes>>,
}

fn pair(rule: &Rule) -> Option<(&str, &str)> {
    match rule.all.as_slice() {
        [Condition::HostIs(host), Condition::PathStartsWith(prefix)] => Some((host, prefix)),
        _ => None,
    }
}

/// Hosts and prefixes, if that is all there is.
fn pairs(rules: &[Rule]) -> Option<Vec<(&str, &str)>> {
    rules.iter().map(pair).collect()
}

// === impl Few ===

impl Few {
    pub(super) fn new(rules: &[Rule]) -> Option<Self> {
        if rules.len() > FEW {
            return None;
        }
        let rules = pairs(rules)?
            .into_iter()
            .map(|(host, prefix)| (host.as_bytes().into(), prefix.as_bytes().into()));
        Some(Few { rules: rules.collect() })
    }
}

impl Engine for Few {
    type Answer = Place;

    fn decide(&self, request: &Request<()>) -> Place {
        let path = request.uri().path().as_bytes();
        for (place, (host, prefix)) in self.rules.iter().enumerate() {
            // The path is at hand, the host has to be looked for.
            if path.starts_with(prefix) && scan::host(request).is_some_and(|sent| scan::is_host(sent, host)) {
                return place as Place;
            }
        }
        NONE
    }

    fn rule(&self, place: Place) -> Option<usize> {
        rule(place)
    }
}

// === impl Hosts ===

impl Hosts {
    pub(super) fn new(rules: &[Rule]) -> Option<Self> {
        let mut pairs: Vec<(&str, &str, Place)> =
            (0..).zip(pairs(rules)?).map(|(at, (host, prefix))| (host, prefix, at)).collect();
        // Stable, so the first rule of a host comes first.
        pairs.sort_by_key(|(host, ..)| *host);
        let hasher = Hasher::new();
        let mut table = HashTable::with_capacity(pairs.chunk_by(|a, b| a.0 == b.0).count());
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            let (host, prefix, place) = group[0];
            let all: Vec<(&str, Place)> = group.iter().map(|(_, prefix, place)| (*prefix, *place)).collect();
            let entry = Host {
                bytes: [host.as_bytes(), prefix.as_bytes()].concat().into(),
                host: host.len() as u32,
                place,
                more: (all.len() > 1).then(|| Box::new(Prefixes::new(&all))),
            };
            table.insert_unique(hasher.hash(host.as_bytes(), CASE), entry, |entry| {
                hasher.hash(entry.host(), CASE)
            });
        }
        Some(Hosts { hasher, table })
    }

    fn find(&self, host: &[u8]) -> Option<&Host> {
        self.table.find(self.hasher.hash(host, CASE), |entry| scan::is_same(host, entry.host()))
    }
}

impl Engine for Hosts {
    type Answer = Place;

    fn decide(&self, request: &Request<()>) -> Place {
        let Some(sent) = scan::host(request) else { return NONE };
        // Mostly there is no port.
        let entry = self.find(sent).or_else(|| self.find(scan::without_port(sent)?));
        let path = request.uri().path().as_bytes();
        match entry {
            Some(Host { more: Some(prefixes), .. }) => prefixes.get(path),
            Some(entry) if path.starts_with(&entry.bytes[entry.host as usize..]) => entry.place,
            _ => NONE,
        }
    }

    fn rule(&self, place: Place) -> Option<usize> {
        rule(place)
    }
}

// === impl Host ===

impl Host {
    fn host(&self) -> &[u8] {
        &self.bytes[..self.host as usize]
    }
}
