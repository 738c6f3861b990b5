//! The running rule set, and what each thread has of it for itself.
//!
//! On the path of a request nothing is written that another core writes too: no count, and no count of references.
//! A thread takes the seat of its number; the references that its decisions hold are to the seat.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::counters::{self, Key};
use super::ruleset::RuleSet;

/// A rule set in use.
pub(super) struct Running {
    /// Unlike that of any other, of whatever engine.
    pub(super) id: u64,
    pub(super) rules: Arc<RuleSet>,
    seats: Box<[OnceLock<Arc<Seat>>]>,
}

/// A thread's place at a rule set. Aligned so that no two share a cache line, or two lines that are fetched together.
#[repr(align(128))]
pub(super) struct Seat {
    /// Of the rule set in use.
    id: u64,
    pub(super) rules: Arc<RuleSet>,
    cells: Box<[AtomicU64]>,
}

thread_local! {
    /// The seat that a thread took last.
    static TAKEN: Cell<Option<Arc<Seat>>> = const { Cell::new(None) };
}

// === impl Running ===

impl Running {
    pub(super) fn new(rules: Arc<RuleSet>) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let cores = std::thread::available_parallelism().map_or(8, usize::from);
        let seats = (cores * 4).next_power_of_two().max(16);
        let seats = (0..seats).map(|_| OnceLock::new()).collect();
        Running { id: IDS.fetch_add(1, Ordering::Relaxed), rules, seats }
    }

    /// Gives this thread its seat, which it keeps until it takes another one. Shared with other threads only where
    /// there are many more of them than cores.
    #[expect(clippy::indexing_slicing, reason = "the number of seats is a power of two")]
    pub(super) fn take_seat(&self) -> Arc<Seat> {
        let seat = &self.seats[thread_number() & (self.seats.len() - 1)];
        let seat = seat.get_or_init(|| Arc::new(Seat::new(self.id, self.rules.clone())));
        let _ = TAKEN.try_with(|taken| taken.set(Some(seat.clone())));
        seat.clone()
    }

    /// Whether nobody counts any more: there is no seat that somebody has.
    pub(super) fn is_left(&mut self) -> bool {
        self.seats.iter_mut().filter_map(OnceLock::get_mut).all(|seat| Arc::get_mut(seat).is_some())
    }

    /// The counts by name, and how many decisions they make.
    pub(super) fn counts(&self) -> (BTreeMap<Key, u64>, u64) {
        let compiled = &self.rules.compiled;
        counters::read(&compiled.typed, &compiled.program, |cell| self.sum(cell))
    }

    /// How many decisions for each declared cluster were followed.
    pub(super) fn followed(&self) -> impl Iterator<Item = u64> {
        (0..).take(self.rules.schema.clusters.len()).map(|at| self.sum(self.rules.followed_cell(at)))
    }

    /// A counter, over all seats.
    fn sum(&self, cell: u32) -> u64 {
        let of = |seat: &OnceLock<Arc<Seat>>| {
            seat.get()?.cells.get(cell as usize).map(|cell| cell.load(Ordering::Relaxed))
        };
        self.seats.iter().filter_map(of).sum()
    }
}

// === impl Seat ===

impl Seat {
    /// The seat that this thread took last, if it is one at that rule set in use. Reads what no other thread writes.
    #[inline]
    pub(super) fn taken(id: u64) -> Option<Arc<Self>> {
        TAKEN
            .try_with(|taken| {
                let seat = taken.take()?;
                let found = (seat.id == id).then(|| seat.clone());
                taken.set(Some(seat));
                found
            })
            .ok()
            .flatten()
    }

    fn new(id: u64, rules: Arc<RuleSet>) -> Self {
        // Room at the end: the allocator may put what another thread writes right behind.
        const LINE: usize = 16;
        let cells = rules.compiled.program.cells() + rules.schema.clusters.len() + LINE;
        Seat { id, rules, cells: (0..cells).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Adds one to a counter.
    #[inline]
    pub(super) fn count(&self, cell: u32) {
        if let Some(cell) = self.cells.get(cell as usize) {
            // Nothing is ordered by a count.
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === threads ===

/// A small number that no other living thread has: the numbers of threads that ended are given out again.
pub(crate) fn thread_number() -> usize {
    thread_local! {
        static NUMBER: Number = Number::take();
        // A plain copy: reading it needs no destructor to be checked.
        static QUICK: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let quick = QUICK.try_with(Cell::get).unwrap_or(0);
    if quick != usize::MAX {
        return quick;
    }
    let number = NUMBER.try_with(|number| number.0).unwrap_or(0);
    let _ = QUICK.try_with(|quick| quick.set(number));
    number
}

struct Number(usize);

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { free: Vec::new(), next: 0 });

struct Numbers {
    free: Vec<usize>,
    next: usize,
}

// === impl Number ===

impl Number {
    fn take() -> Self {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.free.pop() {
            return Number(number);
        }
        numbers.next += 1;
        Number(numbers.next - 1)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        NUMBERS.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.0);
    }
}
