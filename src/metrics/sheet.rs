//! What is published besides the engine's counts: of several layers added up, and never less than before.
//!
//! A layer counts a statement anew when new rules change it; a counter of the facade must not go back. So what
//! was counted before is kept here and added.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use metrics::{counter, gauge};

/// All that is published of layers, by metric and labels.
#[derive(Default)]
pub(super) struct Sheet {
    counters: HashMap<(&'static str, Labels), Vec<Tally>>,
    gauges: BTreeMap<&'static str, f64>,
    /// Which of several layers is being read.
    pub(super) source: usize,
    /// How many counters have the name of a statement as a label, and how many may.
    statements: usize,
    most: usize,
    left_out: u32,
}

type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// What one layer counted.
struct Tally {
    source: usize,
    /// By statements that are gone.
    before: u64,
    latest: u64,
    is_there: bool,
}

// === impl Sheet ===

impl Sheet {
    /// To be called before layers are read; so many counters of statements may be in all.
    pub(super) fn begin(&mut self, most: usize) {
        self.most = most;
        self.left_out = 0;
        self.gauges.values_mut().for_each(|value| *value = 0.0);
        self.counters.values_mut().flatten().for_each(|tally| tally.is_there = false);
    }

    /// What a statement counted, if there is room for its series.
    pub(super) fn statement<const N: usize>(
        &mut self,
        metric: &'static str,
        statement: &str,
        labels: [(&'static str, &'static str); N],
        count: u64,
    ) {
        let labels = labels.map(|(name, value)| (name, Cow::Borrowed(value)));
        let key: Labels =
            std::iter::once(("statement", Cow::Owned(statement.to_owned()))).chain(labels).collect();
        if !self.counters.contains_key(&(metric, key.clone())) {
            if self.statements >= self.most {
                self.left_out = self.left_out.saturating_add(1);
                return;
            }
            self.statements += 1;
        }
        self.add(metric, key, count);
    }

    /// What was counted for a cluster of the application's.
    pub(super) fn cluster<const N: usize>(
        &mut self,
        metric: &'static str,
        cluster: &str,
        labels: [(&'static str, Cow<'static, str>); N],
        count: u64,
    ) {
        let cluster = ("cluster", Cow::Owned(cluster.to_owned()));
        self.add(metric, std::iter::once(cluster).chain(labels).collect(), count);
    }

    /// What was counted for the whole of a layer.
    pub(super) fn whole<const N: usize>(
        &mut self,
        metric: &'static str,
        labels: [(&'static str, &'static str); N],
        count: u64,
    ) {
        self.add(metric, labels.map(|(name, value)| (name, Cow::Borrowed(value))).into(), count);
    }

    /// How much there is at the moment.
    pub(super) fn now(&mut self, metric: &'static str, value: f64) {
        *self.gauges.entry(metric).or_default() += value;
    }

    fn add(&mut self, metric: &'static str, labels: Labels, count: u64) {
        let tallies = self.counters.entry((metric, labels)).or_default();
        // A layer below two engines may count for two statements of one name.
        let own = |tally: &&mut Tally| tally.source == self.source && !tally.is_there;
        match tallies.iter_mut().find(own) {
            Some(tally) => {
                if count < tally.latest {
                    tally.before = tally.before.saturating_add(tally.latest);
                }
                tally.latest = count;
                tally.is_there = true;
            }
            None => {
                tallies.push(Tally { source: self.source, before: 0, latest: count, is_there: true });
            }
        }
    }

    /// Tells the recorder, and how many series had no room.
    pub(super) fn publish(&mut self) -> u32 {
        for ((metric, labels), tallies) in &mut self.counters {
            let mut sum: u64 = 0;
            for tally in tallies {
                if !tally.is_there {
                    // When the statement comes back, it counts from zero.
                    tally.before = tally.before.saturating_add(std::mem::take(&mut tally.latest));
                }
                sum = sum.saturating_add(tally.before).saturating_add(tally.latest);
            }
            counter!(*metric, labels as &Labels).absolute(sum);
        }
        for (metric, value) in &self.gauges {
            gauge!(*metric).set(*value);
        }
        self.left_out
    }

    /// How many counters there are that have the name of a statement.
    pub(super) fn statements(&self) -> usize {
        self.statements
    }
}
