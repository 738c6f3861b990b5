//! What is recorded for each cluster: at a place of the thread's own, so that on the path of a request nothing is written
//! that another core writes too.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::analysis::{Analysis, ClusterAnalysis};
use super::histogram::Histogram;
use crate::engine::{own_seats, thread_number};
use crate::gateway::Cached;

pub(super) type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// All that is recorded.
pub(super) struct Clusters {
    names: Box<[String]>,
    clock: Clock,
    seats: Box<[OnceLock<Arc<Seat>>]>,
}

/// A thread's place.
struct Seat {
    clock: Clock,
    clusters: Box<[OnceLock<Box<Cells>>]>,
}

/// What a thread recorded for a cluster. Aligned so that no two share a cache line, or two lines that are fetched together.
#[repr(align(128))]
struct Cells {
    /// 1xx to 5xx, and others.
    classes: [AtomicU64; 6],
    counts: [AtomicU64; 5],
    headers: Histogram,
    ends: Histogram,
}

/// A count that is none of responses.
#[derive(Debug, Clone, Copy)]
enum Count {
    Refused,
    Cached,
    Errors,
    Cancelled,
    Cut,
}

/// A request, from its beginning to the end of its response; dropped before that, it has been given up.
pub(super) struct Token {
    seat: Arc<Seat>,
    cluster: usize,
    start: Instant,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Body,
    Done,
}

// === impl Clusters ===

impl Clusters {
    pub(super) fn new(names: impl Iterator<Item = String>, clock: Clock) -> Self {
        let seats = (0..own_seats()).map(|_| OnceLock::new()).collect();
        Clusters { names: names.collect(), clock, seats }
    }

    pub(super) fn begin(&self, cluster: usize, start: Instant) -> Option<Token> {
        let seat = self.seats.get(thread_number() & (self.seats.len() - 1))?;
        let seat = seat.get_or_init(|| {
            let clusters = self.names.iter().map(|_| OnceLock::new()).collect();
            Arc::new(Seat { clock: self.clock.clone(), clusters })
        });
        Some(Token { seat: seat.clone(), cluster, start, phase: Phase::Waiting })
    }

    /// All seats added up.
    pub(super) fn read(&self) -> Analysis {
        let cluster = |(at, name): (usize, &String)| {
            let mut sum = ClusterAnalysis::new(name);
            let seats = self.seats.iter().filter_map(OnceLock::get);
            for cells in seats.filter_map(|seat| seat.clusters.get(at)?.get()) {
                cells.add_to(&mut sum);
            }
            sum
        };
        Analysis { clusters: self.names.iter().enumerate().map(cluster).collect() }
    }
}

impl fmt::Debug for Clusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clusters").field("names", &self.names).finish_non_exhaustive()
    }
}

// === impl Cells ===

impl Cells {
    fn new() -> Box<Self> {
        Box::new(Cells {
            classes: [const { AtomicU64::new(0) }; 6],
            counts: [const { AtomicU64::new(0) }; 5],
            headers: Histogram::new(),
            ends: Histogram::new(),
        })
    }

    fn count(&self, what: Count) {
        if let Some(cell) = self.counts.get(what as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn add_to(&self, sum: &mut ClusterAnalysis) {
        for (sum, cell) in sum.classes.iter_mut().zip(&self.classes) {
            *sum += cell.load(Ordering::Relaxed);
        }
        let sums = [&mut sum.refused, &mut sum.cached, &mut sum.errors, &mut sum.cancelled, &mut sum.cut];
        for (sum, cell) in sums.into_iter().zip(&self.counts) {
            *sum += cell.load(Ordering::Relaxed);
        }
        sum.headers.add(self.headers.cells());
        sum.ends.add(self.ends.cells());
    }
}

// === impl Token ===

impl Token {
    /// The response begins.
    pub(super) fn headers(&mut self, status: StatusCode) {
        self.phase = Phase::Body;
        let class = usize::from(status.as_u16() / 100).wrapping_sub(1);
        if let Some(cells) = self.cells() {
            if let Some(cell) = cells.classes.get(class.min(5)) {
                cell.fetch_add(1, Ordering::Relaxed);
            }
            cells.headers.record(self.passed());
        }
    }

    /// The response's body has ended.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Done;
        if let Some(cells) = self.cells() {
            cells.ends.record(self.passed());
        }
    }

    /// The gateway itself answered: nothing of this is the cluster's.
    pub(super) fn refused(&mut self) {
        self.done(Count::Refused);
    }

    /// The cache answered. What is the cluster's of it is that it failed, if it did.
    pub(super) fn cached(&mut self, cached: Cached) {
        match cached {
            Cached::Answered => self.done(Count::Cached),
            Cached::InsteadOf(status) => {
                self.headers(status);
                self.phase = Phase::Done;
            }
            Cached::InsteadOfError => self.error(),
        }
    }

    /// The inner service failed.
    pub(super) fn error(&mut self) {
        self.done(Count::Errors);
    }

    fn done(&mut self, what: Count) {
        self.phase = Phase::Done;
        if let Some(cells) = self.cells() {
            cells.count(what);
        }
    }

    fn cells(&self) -> Option<&Cells> {
        Some(self.seat.clusters.get(self.cluster)?.get_or_init(Cells::new))
    }

    fn passed(&self) -> Duration {
        (self.seat.clock)().saturating_duration_since(self.start)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        match self.phase {
            Phase::Waiting => self.done(Count::Cancelled),
            Phase::Body => self.done(Count::Cut),
            Phase::Done => {}
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token { cluster, phase, .. } = self;
        f.debug_struct("Token").field("cluster", cluster).field("phase", phase).finish_non_exhaustive()
    }
}
