//! How the cost of a decision grows with the number of rules.

pub(crate) mod svg;

use crate::engines::Kind;
use crate::measure::{self, Settings};
use crate::workloads;

pub(crate) const CSV_HEAD: &str = "workload,engine,rules,min_ns";

const RULES: [usize; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// One engine with one number of rules.
pub(crate) struct Point {
    pub(crate) workload: String,
    pub(crate) engine: &'static str,
    pub(crate) rules: usize,
    pub(crate) min_ns: f64,
}

/// Measures all points, and gives each to `seen` as soon as it is there.
pub(crate) fn measure(kinds: &[Kind], settings: &Settings, mut seen: impl FnMut(&Point)) -> Vec<Point> {
    let mut points = Vec::new();
    for rules in RULES {
        for spec in workloads::growing(rules) {
            for row in measure::workload(&spec, kinds, settings) {
                if let Some(numbers) = row.numbers {
                    let workload = spec.name.clone();
                    let point = Point { workload, engine: row.engine, rules, min_ns: numbers.min_ns };
                    seen(&point);
                    points.push(point);
                }
            }
        }
    }
    points
}

impl Point {
    pub(crate) fn csv(&self) -> String {
        let Point { workload, engine, rules, min_ns } = self;
        format!("{workload},{engine},{rules},{min_ns:.1}")
    }
}
