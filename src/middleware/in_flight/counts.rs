//! The counters, and how "none" is known without a lock.
//!
//! A thread counts at a seat of its own, as the engine's decisions are counted: on the path of a request nothing is
//! written that another core writes too, but where a response ends on another thread than it began on. No counter
//! goes down. What has begun and what has ended are counted apart, because a sum over seats is not read at one
//! instant: with a single counter that goes up and down, a request that moves from a seat that was read to one that was
//! not would be missed. Reading all that has ended *first* and all that has begun *after* makes equality exact: both
//! only grow, and no request ends before it has begun, so where the sums are equal there was an instant between the two
//! at which nothing was in flight.
//!
//! A request that is being decided has no cluster yet, though it may hold rules that were just replaced. So entering is
//! counted as well, before the rules are read. Whoever waits looks at each seat until it has been seen with nobody
//! deciding: after that, all who may have read earlier rules are counted at their clusters.
//!
//! Every operation is sequentially consistent, for there are two places where a thread writes one word and reads another
//! and a second thread does it the other way round: entering against the swap of the rules, ending against a waiter that
//! registers. One of the two must see the other. On the path of a request these are additions, which cost the same in any
//! order, and loads, which do on x86.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::engine::{Engine, own_seats, thread_number};

/// All counts of a layer and its clones.
pub(super) struct Counts {
    engine: Engine,
    seats: Box<[Arc<Seat>]>,
    waiters: Arc<AllWaiters>,
}

/// A thread's place. Aligned so that no two share a cache line, or two lines that are fetched together.
#[repr(align(128))]
pub(super) struct Seat {
    waiters: Arc<AllWaiters>,
    /// [`ENTERED`], [`UNDECIDED`], then two for each cluster: begun and ended.
    cells: Box<[AtomicU64]>,
}

/// How many came to be decided.
const ENTERED: usize = 0;
/// How many of them left without a decision: a field of the application panicked.
const UNDECIDED: usize = 1;
/// The first cell of the clusters.
const CLUSTERS: usize = 2;

/// Those who wait.
struct AllWaiters {
    /// For requests that are being decided.
    deciding: Waiters,
    /// For those of a cluster.
    clusters: Box<[Waiters]>,
}

/// Those who wait for one thing.
#[derive(Default)]
pub(super) struct Waiters {
    /// How many there are: nearly always none, so that every core has it at hand.
    count: AtomicUsize,
    wakers: Mutex<Vec<(u64, Waker)>>,
}

/// A request in flight, which ends when this is dropped.
pub(super) struct Token {
    seat: Arc<Seat>,
    /// None while it is being decided.
    cluster: Option<usize>,
}

// === impl Counts ===

impl Counts {
    pub(super) fn new(engine: Engine) -> Self {
        let waiters = || Waiters::default();
        let clusters = engine.clusters().map(|_| waiters()).collect();
        let waiters = Arc::new(AllWaiters { deciding: waiters(), clusters });
        let seats = (0..own_seats()).map(|_| Arc::new(Seat::new(&waiters))).collect();
        Counts { engine, seats, waiters }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Counts a request that is about to be decided. To be called before the rules are read.
    #[expect(clippy::indexing_slicing, reason = "the number of seats is a power of two")]
    pub(super) fn enter(&self) -> Token {
        let seat = self.seats[thread_number() & (self.seats.len() - 1)].clone();
        seat.add(ENTERED);
        Token { seat, cluster: None }
    }

    /// How many requests a cluster has at hand, more or less at one time.
    pub(super) fn in_flight(&self, cluster: usize) -> u64 {
        let ended = self.sum(CLUSTERS + 2 * cluster + 1);
        self.sum(CLUSTERS + 2 * cluster).saturating_sub(ended)
    }

    /// Whether there was an instant during the call at which a cluster had none; always so when it has none and gets
    /// none meanwhile.
    pub(super) fn is_idle(&self, cluster: usize) -> bool {
        self.in_flight(cluster) == 0
    }

    /// The seats, by number.
    pub(super) fn seats(&self) -> std::ops::Range<usize> {
        0..self.seats.len()
    }

    /// Whether there was an instant during the call at which nobody was deciding at a seat.
    pub(super) fn has_decided(&self, seat: usize) -> bool {
        self.seats.get(seat).is_none_or(|seat| {
            let begun: u64 = seat.cells.iter().skip(CLUSTERS).step_by(2).map(|cell| cell.load(SeqCst)).sum();
            let left = begun + seat.read(UNDECIDED);
            // Read last, for the reason that is given above.
            seat.read(ENTERED) == left
        })
    }

    pub(super) fn waiters_for_decisions(&self) -> &Waiters {
        &self.waiters.deciding
    }

    pub(super) fn waiters_for(&self, cluster: usize) -> Option<&Waiters> {
        self.waiters.clusters.get(cluster)
    }

    fn sum(&self, cell: usize) -> u64 {
        self.seats.iter().map(|seat| seat.read(cell)).sum()
    }
}

// === impl Seat ===

impl Seat {
    fn new(waiters: &Arc<AllWaiters>) -> Self {
        // Room at the end: the allocator may put what another thread writes right behind.
        const LINE: usize = 16;
        let cells = CLUSTERS + 2 * waiters.clusters.len() + LINE;
        Seat { waiters: waiters.clone(), cells: (0..cells).map(|_| AtomicU64::new(0)).collect() }
    }

    fn add(&self, cell: usize) {
        if let Some(cell) = self.cells.get(cell) {
            cell.fetch_add(1, SeqCst);
        }
    }

    fn read(&self, cell: usize) -> u64 {
        self.cells.get(cell).map_or(0, |cell| cell.load(SeqCst))
    }
}

// === impl Token ===

impl Token {
    /// The request has been decided, and counts for its cluster from now on.
    pub(super) fn place(&mut self, cluster: usize) {
        self.seat.add(CLUSTERS + 2 * cluster);
        self.cluster = Some(cluster);
        self.seat.waiters.deciding.wake();
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let waiters = &self.seat.waiters;
        match self.cluster {
            Some(cluster) => {
                self.seat.add(CLUSTERS + 2 * cluster + 1);
                if let Some(waiters) = waiters.clusters.get(cluster) {
                    waiters.wake();
                }
            }
            None => {
                self.seat.add(UNDECIDED);
                waiters.deciding.wake();
            }
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

// === impl Waiters ===

impl Waiters {
    /// From now on, or again, `waker` is woken. To be called before looking whether there is something to wait for.
    pub(super) fn register(&self, id: u64, waker: &Waker) {
        let mut wakers = self.lock();
        match wakers.iter_mut().find(|(known, _)| *known == id) {
            Some((_, known)) => known.clone_from(waker),
            None => wakers.push((id, waker.clone())),
        }
        self.count.store(wakers.len(), SeqCst);
    }

    pub(super) fn leave(&self, id: u64) {
        let mut wakers = self.lock();
        wakers.retain(|(known, _)| *known != id);
        self.count.store(wakers.len(), SeqCst);
    }

    /// Wakes all who wait. One load when nobody does.
    #[inline]
    fn wake(&self) {
        if self.count.load(SeqCst) > 0 {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        // Whatever a waker does, it does not do it under the lock.
        let wakers: Vec<Waker> = self.lock().iter().map(|(_, waker)| waker.clone()).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
