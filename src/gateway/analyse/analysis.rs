//! What was recorded, clusters side by side.

use std::fmt;
use std::time::Duration;

use super::histogram::{CELLS, start};
use crate::diagnostic::visible;

/// How each cluster does, since the layer was made or [between two times](Analysis::since); from
/// [`AnalyseLayer::analysis`](super::AnalyseLayer::analysis).
///
/// Shows itself as a table, one cluster a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Analysis {
    /// All declared clusters, in the order of their declaration.
    pub clusters: Vec<ClusterAnalysis>,
}

/// How a cluster does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ClusterAnalysis {
    /// Its name.
    pub cluster: String,
    /// How many responses of each class: 1xx, 2xx, 3xx, 4xx, 5xx, and any others.
    pub classes: [u64; 6],
    /// Requests that would have gone there, which a `deny` or a `limit` answered. They are in no other count.
    pub refused: u64,
    /// Requests that would have gone there, which the [cache](crate::gateway::Cached) answered without it. They are in no other
    /// count; a failure of the cluster that a stale response took the place of is counted as what it was.
    pub cached: u64,
    /// Requests for which the inner service returned an error and no response.
    pub errors: u64,
    /// Requests that were given up before there was a response, as when the client went away.
    pub cancelled: u64,
    /// Responses whose body broke off, or was given up before its end.
    pub cut: u64,
    /// From when a request came to when the header of its response was there.
    pub headers: Latencies,
    /// From when a request came to when the body of its response had ended, which the client's speed is part of.
    pub ends: Latencies,
}

/// How long something took, each time known to within 3.2 % either way, and to the microsecond below 32.
#[derive(Clone, PartialEq, Eq)]
pub struct Latencies {
    cells: Vec<u64>,
}

// === impl Analysis ===

impl Analysis {
    /// What was recorded since an earlier analysis of the same layer.
    ///
    /// ```
    /// use pointsman::gateway::AnalyseLayer;
    /// # let engine = pointsman::Engine::builder().clusters(["prod"]).build("default => prod")?;
    /// let layer = AnalyseLayer::new(engine);
    /// let before = layer.analysis();
    /// // … a ramp goes on for five minutes …
    /// println!("{}", layer.analysis().since(&before));
    /// # Ok::<(), pointsman::BuildError>(())
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Analysis) -> Analysis {
        let cluster = |now: &ClusterAnalysis| {
            let then = earlier.clusters.iter().find(|then| then.cluster == now.cluster);
            then.map_or_else(|| now.clone(), |then| now.since(then))
        };
        Analysis { clusters: self.clusters.iter().map(cluster).collect() }
    }

    /// A cluster by its name.
    pub fn cluster(&self, name: &str) -> Option<&ClusterAnalysis> {
        self.clusters.iter().find(|cluster| cluster.cluster == name)
    }
}

impl fmt::Display for Analysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEAD: [&str; 15] = [
            "cluster",
            "2xx",
            "3xx",
            "4xx",
            "5xx",
            "errors",
            "cut",
            "refused",
            "cached",
            "header p50",
            "p90",
            "p99",
            "end p50",
            "p90",
            "p99",
        ];
        let line = |it: &ClusterAnalysis| {
            let [_, ok, redirect, client, server, _] = it.classes;
            let count = |count: u64| count.to_string();
            let time = |times: &Latencies, quantile| times.quantile(quantile).map_or("-".into(), shown);
            [
                visible(&it.cluster).into_owned(),
                count(ok),
                count(redirect),
                count(client),
                count(server),
                count(it.errors + it.cancelled),
                count(it.cut),
                count(it.refused),
                count(it.cached),
                time(&it.headers, 0.5),
                time(&it.headers, 0.9),
                time(&it.headers, 0.99),
                time(&it.ends, 0.5),
                time(&it.ends, 0.9),
                time(&it.ends, 0.99),
            ]
        };
        let lines: Vec<_> =
            std::iter::once(HEAD.map(str::to_owned)).chain(self.clusters.iter().map(line)).collect();
        let mut widths = [0; 15];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        for line in &lines {
            let mut cells = line.iter().zip(widths);
            if let Some((name, width)) = cells.next() {
                write!(f, "{name:<width$}")?;
            }
            for (cell, width) in cells {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A time to three digits: `850µs`, `12.3ms`, `1.23s`.
fn shown(time: Duration) -> String {
    let (value, unit) = match time.as_micros() {
        0..1_000 => return format!("{}µs", time.as_micros()),
        1_000..1_000_000 => (time.as_secs_f64() * 1e3, "ms"),
        _ => (time.as_secs_f64(), "s"),
    };
    let digits = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.digits$}{unit}")
}

// === impl ClusterAnalysis ===

impl ClusterAnalysis {
    pub(super) fn new(name: &str) -> Self {
        ClusterAnalysis {
            cluster: name.to_owned(),
            classes: [0; 6],
            refused: 0,
            cached: 0,
            errors: 0,
            cancelled: 0,
            cut: 0,
            headers: Latencies::new(),
            ends: Latencies::new(),
        }
    }

    /// How many responses there were, of whatever class.
    pub fn responses(&self) -> u64 {
        self.classes.iter().sum()
    }

    fn since(&self, then: &ClusterAnalysis) -> ClusterAnalysis {
        let mut classes = self.classes;
        classes.iter_mut().zip(then.classes).for_each(|(now, then)| *now = now.saturating_sub(then));
        ClusterAnalysis {
            cluster: self.cluster.clone(),
            classes,
            refused: self.refused.saturating_sub(then.refused),
            cached: self.cached.saturating_sub(then.cached),
            errors: self.errors.saturating_sub(then.errors),
            cancelled: self.cancelled.saturating_sub(then.cancelled),
            cut: self.cut.saturating_sub(then.cut),
            headers: self.headers.since(&then.headers),
            ends: self.ends.since(&then.ends),
        }
    }
}

// === impl Latencies ===

impl Latencies {
    fn new() -> Self {
        Latencies { cells: vec![0; CELLS] }
    }

    pub(super) fn add(&mut self, cells: impl Iterator<Item = u64>) {
        self.cells.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += cell);
    }

    fn since(&self, then: &Latencies) -> Latencies {
        let cells = self.cells.iter().zip(&then.cells).map(|(now, then)| now.saturating_sub(*then));
        Latencies { cells: cells.collect() }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// The time within which a part of them was done: half of them with 0.5. The middle of a cell. Nothing when there were
    /// none.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        let wanted = ((part.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut sum = 0;
        let cell = self.cells.iter().position(|cell| {
            sum += cell;
            sum >= wanted
        })?;
        let (from, to) = (start(cell), start(cell + 1));
        // Cells below the last exact one hold one microsecond.
        Some(if to - from > Duration::from_micros(1) { from + (to - from) / 2 } else { from })
    }

    /// How many took at most as long, for each cell that has some: from the shortest to the longest, added up, as a
    /// histogram for Prometheus is. The time is where a cell ends.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut sum = 0;
        self.cells.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(cell, count)| {
            sum += count;
            (start(cell + 1), sum)
        })
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Latencies");
        debug.field("count", &self.count());
        for (name, part) in QUANTILES {
            debug.field(name, &self.quantile(part));
        }
        debug.finish()
    }
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// As the count and some quantiles in microseconds: `{"count":9,"p50_microseconds":120,"p90_microseconds":500,…}`.
#[cfg(feature = "serde")]
impl serde::Serialize for Latencies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(1 + QUANTILES.len()))?;
        map.serialize_entry("count", &self.count())?;
        for (name, part) in QUANTILES {
            let micros = self.quantile(part).map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
            map.serialize_entry(&format_args!("{name}_microseconds"), &micros)?;
        }
        map.end()
    }
}
