//! The running rule set, and what each thread has of it for itself.
//!
//! On the path of a request nothing is written that another core writes too: no count, and no count of references.
//! A thread takes the seat of its number; the references that its decisions hold are to the seat.

use std::cell::{Cell, RefCell};
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
    /// One for each thread, and the last for all that are too many.
    seats: Box<[OnceLock<Arc<Seat>>]>,
}

/// A thread's place at a rule set. Aligned so that no two share a cache line, or two lines that are fetched together.
#[repr(align(128))]
pub(super) struct Seat {
    at: At,
    /// Whether more than one thread may count here.
    shared: bool,
    pub(super) rules: Arc<RuleSet>,
    /// The counters. Each page is made when it is first counted on, so that no request pays for as many as there are rules.
    pages: Box<[OnceLock<Box<Page>>]>,
}

/// Some counters. Aligned as seats are.
#[repr(align(128))]
struct Page([AtomicU64; PAGE]);

const PAGE: usize = 64;

/// Which seat it is: of which rule set in use, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    running: u64,
    number: u32,
}

/// A reference to a seat. The thread that took it gets it back and lends it to a later decision: to count a reference
/// takes as long as reading a field.
pub(super) struct Hold(Option<Arc<Seat>>);

/// The seat that a thread took last.
struct Taken {
    at: Cell<At>,
    /// References to it: one to be cloned, and some that were given back.
    spare: RefCell<Vec<Arc<Seat>>>,
}

/// How many references a thread keeps: about as many as it has requests under way.
const SPARE: usize = 64;

thread_local! {
    static TAKEN: Taken = const { Taken { at: Cell::new(At::NONE), spare: RefCell::new(Vec::new()) } };
}

// === impl Running ===

impl Running {
    pub(super) fn new(rules: Arc<RuleSet>) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let seats = (0..=own_seats()).map(|_| OnceLock::new()).collect();
        Running { id: IDS.fetch_add(1, Ordering::Relaxed), rules, seats }
    }

    /// Gives this thread its seat, which it keeps until it takes another one. Shared with other threads only where
    /// there are many more of them than cores.
    #[cold]
    #[expect(clippy::indexing_slicing, reason = "the number is at most that of the last seat")]
    pub(super) fn take_seat(&self) -> Hold {
        let last = self.seats.len() - 1;
        let number = thread_number().min(last);
        let at = At { running: self.id, number: number as u32 };
        let seat =
            self.seats[number].get_or_init(|| Arc::new(Seat::new(at, number == last, self.rules.clone())));
        let _ = TAKEN.try_with(|taken| taken.change(at, Some(seat.clone())));
        Hold(Some(seat.clone()))
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
        self.seats.iter().filter_map(OnceLock::get).map(|seat| seat.counted(cell)).sum()
    }
}

// === impl Seat ===

impl Seat {
    fn new(at: At, shared: bool, rules: Arc<RuleSet>) -> Self {
        let pages = (rules.compiled.program.cells() + rules.schema.clusters.len()).div_ceil(PAGE);
        Seat { at, shared, rules, pages: (0..pages).map(|_| OnceLock::new()).collect() }
    }

    /// Adds one to a counter. Only for the thread that took the seat, while it decides.
    #[inline]
    pub(super) fn count(&self, cell: u32) {
        let (page, cell) = (cell as usize / PAGE, cell as usize % PAGE);
        let Some(page) = self.pages.get(page) else { return };
        let Some(cell) = page.get_or_init(Page::new).0.get(cell) else { return };
        // Nothing is ordered by a count.
        if self.shared {
            cell.fetch_add(1, Ordering::Relaxed);
        } else {
            // Nobody else writes here, so that nothing is lost between the two.
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    fn counted(&self, cell: u32) -> u64 {
        let (page, cell) = (cell as usize / PAGE, cell as usize % PAGE);
        let page = self.pages.get(page).and_then(OnceLock::get);
        page.and_then(|page| page.0.get(cell)).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

// === impl Page ===

impl Page {
    fn new() -> Box<Self> {
        Box::new(Page([const { AtomicU64::new(0) }; PAGE]))
    }
}

// === impl At ===

impl At {
    const NONE: At = At { running: u64::MAX, number: 0 };
}

// === impl Taken ===

impl Taken {
    fn change(&self, at: At, seat: Option<Arc<Seat>>) {
        self.at.set(at);
        let Ok(mut spare) = self.spare.try_borrow_mut().map(|mut spare| std::mem::take(&mut *spare)) else {
            return;
        };
        // What is dropped may be a whole rule set, with fields of the application that decide something themselves and
        // find no reference here meanwhile.
        spare.clear();
        spare.reserve_exact(SPARE);
        spare.extend(seat);
        if let Ok(mut place) = self.spare.try_borrow_mut()
            && self.at.get() == at
        {
            *place = spare;
        }
    }
}

// === impl Hold ===

impl Hold {
    /// The seat that this thread took last, if it is one at that rule set in use. Reads what no other thread writes.
    #[inline]
    pub(super) fn taken(id: u64) -> Option<Self> {
        let seat = TAKEN.try_with(|taken| {
            if taken.at.get().running != id {
                return None;
            }
            let mut spare = taken.spare.try_borrow_mut().ok()?;
            if spare.len() > 1 { spare.pop() } else { spare.last().cloned() }
        });
        Some(Hold(Some(seat.ok().flatten()?)))
    }

    /// Lets go of what this thread has of a rule set in use.
    pub(super) fn forget(id: u64) {
        let _ = TAKEN.try_with(|taken| {
            if taken.at.get().running == id {
                taken.change(At::NONE, None);
            }
        });
    }

    #[inline]
    #[expect(clippy::unreachable, reason = "only `drop` takes what is held")]
    pub(super) fn seat(&self) -> &Arc<Seat> {
        match &self.0 {
            Some(seat) => seat,
            None => unreachable!("a hold without a seat"),
        }
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        Hold(Some(self.seat().clone()))
    }
}

impl Drop for Hold {
    #[inline]
    fn drop(&mut self) {
        let Some(seat) = self.0.take() else { return };
        // Another thread would take it for its own, and count where it must not.
        let _ = TAKEN.try_with(|taken| {
            if taken.at.get() == seat.at
                && let Ok(mut spare) = taken.spare.try_borrow_mut()
                && spare.len() < spare.capacity()
            {
                spare.push(seat);
            }
        });
    }
}

// === threads ===

/// How many threads have a seat of their own: some for each core, and a power of two.
pub(crate) fn own_seats() -> usize {
    let cores = std::thread::available_parallelism().map_or(8, usize::from);
    (cores * 4).next_power_of_two().max(16)
}

/// A small number that no other living thread has: the numbers of threads that ended are given out again. One that is
/// ending has the highest there is, as its own may be given out already.
pub(crate) fn thread_number() -> usize {
    let number = QUICK.get();
    if number != NONE {
        return number;
    }
    let number = NUMBER.try_with(|number| number.0).unwrap_or(ENDING);
    QUICK.set(number);
    number
}

const NONE: usize = usize::MAX;
const ENDING: usize = usize::MAX - 1;

thread_local! {
    static NUMBER: Number = Number::take();
    // A plain copy: reading it needs no destructor to be checked.
    static QUICK: Cell<usize> = const { Cell::new(NONE) };
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
        // Destructors that run after this one may decide too, and then this thread's seat is another's.
        QUICK.set(ENDING);
        let _ = TAKEN.try_with(|taken| {
            taken.change(At::NONE, None);
        });
        NUMBERS.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.0);
    }
}
