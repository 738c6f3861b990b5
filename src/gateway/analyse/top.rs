//! The keys of a `count`, in windows of time.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use super::space_saving::{Counter, Merged, SpaceSaving};
use crate::diagnostic::visible;
use crate::engine::{Top, own_seats, thread_number};

/// Which keys came most often in one window of a `count`; from [`AnalyseLayer::top_keys`](super::AnalyseLayer::top_keys).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TopKeys {
    /// The statement's name.
    pub statement: String,
    /// How long a window lasts.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::gateway::seconds", rename = "per_seconds"))]
    pub per: Duration,
    /// How long this one has lasted: `per` when it is whole.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::gateway::seconds", rename = "lasted_seconds")
    )]
    pub lasted: Duration,
    /// How many requests were counted in it.
    pub total: u64,
    /// How many were not, in all windows, because another thread or a reader was just there, or because
    /// [there is no room](super::AnalyseLayer::bytes) for the keys of one more statement.
    pub dropped: u64,
    /// A key that is not here came at most as often as this, or as the last one that is here, whichever is more.
    pub missed: u64,
    /// The keys, the one that came most often first.
    pub keys: Vec<KeyCount>,
}

/// How often a key came: at most `count` times, and at least `count - error` times.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyCount {
    /// The key; what is no UTF-8 in it is replaced.
    pub key: String,
    /// Whether this is only the start of a longer one.
    pub clipped: bool,
    /// How often it came at most.
    pub count: u64,
    /// By how much that may be too high.
    pub error: u64,
}

/// What is kept for a `count`.
#[derive(Debug)]
pub(super) struct Windows {
    top: Top,
    /// Made when a key first comes, and each when its thread does.
    seats: OnceLock<Box<[OnceLock<Box<Seat>>]>>,
    /// Keys for whose thread there was no room.
    no_room: AtomicU64,
    room: Arc<Room>,
}

/// What the seats of all windows of a layer may take, as if all were full.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicUsize,
    most: AtomicUsize,
}

/// A thread's place, aligned so that no two share a cache line.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Seat {
    /// Waited for by readers only.
    window: Mutex<Window>,
    dropped: AtomicU64,
}

/// The window that is filled, and the one before.
#[derive(Debug, Default)]
struct Window {
    number: u64,
    current: SpaceSaving,
    last: SpaceSaving,
}

/// Counters for each key that is asked for. With ten, no count is wrong by more than a tenth of what each key would have if
/// all requests were of the top in equal parts.
const COUNTERS: usize = 10;

/// Bytes of a counter at most, in both windows: its part of a row and of a table that have just grown, and the longest key
/// in the place of one that was nearly as long.
const COUNTER: usize = 768;

/// At least as many, and at most.
const FEW: usize = 64;
const MANY: usize = 4_096;

// === impl Windows ===

impl Windows {
    pub(super) fn new(top: Top, room: Arc<Room>) -> Self {
        Windows { top, seats: OnceLock::new(), no_room: AtomicU64::new(0), room }
    }

    /// Counts a key; `now` is since a start that is the same each time.
    pub(super) fn count(&self, hash: u64, key: &[u8], now: Duration) {
        let Some(seat) = self.seat() else {
            self.no_room.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut window = match seat.window.try_lock() {
            Ok(window) => window,
            Err(TryLockError::Poisoned(window)) => window.into_inner(),
            Err(TryLockError::WouldBlock) => {
                seat.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        window.turn(self.number(now).0);
        window.current.count(hash, key, self.counters());
    }

    /// The keys of the window that is being filled, or of the last whole one.
    pub(super) fn read(&self, statement: &str, now: Duration, whole: bool) -> TopKeys {
        let (number, lasted) = self.number(now);
        let seats = || self.seats.get().into_iter().flatten().filter_map(OnceLock::get);
        // Copied under the lock and added up without.
        let summaries: Vec<SpaceSaving> = seats()
            .map(|seat| {
                let mut window = seat.window.lock().unwrap_or_else(PoisonError::into_inner);
                window.turn(number);
                if whole { window.last.clone() } else { window.current.clone() }
            })
            .collect();
        let merged = Merged::of(summaries.iter(), self.counters());
        let top = usize::try_from(self.top.top).unwrap_or(usize::MAX);
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TopKeys {
            statement: statement.to_owned(),
            per: self.top.per,
            lasted: if whole { self.top.per } else { lasted },
            total: merged.total,
            dropped: seats().map(|seat| &seat.dropped).chain([&self.no_room]).map(load).sum(),
            missed: merged.missed,
            keys: merged.counters.into_iter().take(top).map(KeyCount::from).collect(),
        }
    }

    /// The place of this thread, if there is room for it.
    fn seat(&self) -> Option<&Seat> {
        let seats = match self.seats.get() {
            Some(seats) => seats,
            None => self.room.make(&self.seats, size_of::<OnceLock<Box<Seat>>>() * own_seats(), || {
                (0..own_seats()).map(|_| OnceLock::new()).collect()
            })?,
        };
        let seat = seats.get(thread_number() & (seats.len() - 1))?;
        match seat.get() {
            Some(seat) => Some(seat),
            None => self.room.make(seat, self.seat_bytes(), Box::default).map(|seat| &**seat),
        }
    }

    fn seat_bytes(&self) -> usize {
        size_of::<Seat>() + self.counters() * COUNTER
    }

    /// Which window it is, and how long it has lasted.
    fn number(&self, now: Duration) -> (u64, Duration) {
        let (now, per) = (now.as_nanos(), self.top.per.as_nanos().max(1));
        let lasted = u64::try_from(now % per).unwrap_or(u64::MAX);
        (u64::try_from(now / per).unwrap_or(u64::MAX), Duration::from_nanos(lasted))
    }

    fn counters(&self) -> usize {
        usize::try_from(self.top.top).unwrap_or(MANY).saturating_mul(COUNTERS).clamp(FEW, MANY)
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        let Some(seats) = self.seats.get() else { return };
        let taken = seats.iter().filter(|seat| seat.get().is_some()).count();
        let bytes = size_of_val(&**seats) + taken * self.seat_bytes();
        self.room.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// === impl Room ===

impl Room {
    pub(super) fn new(most: usize) -> Self {
        Room { taken: AtomicUsize::new(0), most: AtomicUsize::new(most) }
    }

    pub(super) fn set(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Makes what is not there, if there are so many bytes for it.
    #[cold]
    fn make<'c, T>(&self, cell: &'c OnceLock<T>, bytes: usize, make: impl FnOnce() -> T) -> Option<&'c T> {
        let most = self.most.load(Ordering::Relaxed);
        let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= most);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let mut made = false;
        let there = cell.get_or_init(|| {
            made = true;
            make()
        });
        if !made {
            // Another thread was quicker.
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
        }
        Some(there)
    }
}

// === impl Window ===

impl Window {
    /// Begins a new window, if it is time.
    fn turn(&mut self, number: u64) {
        // A reader may have been here with a later time.
        if number <= self.number {
            return;
        }
        if number == self.number + 1 {
            std::mem::swap(&mut self.current, &mut self.last);
        } else {
            self.last.clear();
        }
        self.current.clear();
        self.number = number;
    }
}

// === impl KeyCount ===

impl From<Counter> for KeyCount {
    fn from(counter: Counter) -> Self {
        let key = String::from_utf8(counter.key)
            .unwrap_or_else(|bytes| String::from_utf8_lossy(bytes.as_bytes()).into_owned());
        KeyCount { key, clipped: counter.clipped, count: counter.count, error: counter.error }
    }
}

/// A key a line: `12345  203.0.113.7`, and `12345 (-12)` where it may have come less often.
impl fmt::Display for TopKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} requests in {:?}", visible(&self.statement), self.total, self.lasted)?;
        for key in &self.keys {
            let more = if key.clipped { "…" } else { "" };
            let error = if key.error > 0 { format!(" (-{})", key.error) } else { String::new() };
            writeln!(f, "{:>10}{error}  {}{more}", key.count, visible(&key.key))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER: Duration = Duration::from_secs(15);

    fn windows() -> Windows {
        Windows::new(Top { top: 2, per: PER }, Arc::new(Room::new(usize::MAX)))
    }

    fn keys(top: &TopKeys) -> Vec<(&str, u64)> {
        top.keys.iter().map(|key| (key.key.as_str(), key.count)).collect()
    }

    #[test]
    fn a_window_ends_on_time_and_the_last_one_is_kept() {
        let windows = windows();
        let at = |seconds| Duration::from_secs(seconds);
        for (second, key) in [(0, 1), (7, 2), (14, 2), (15, 3)] {
            windows.count(key, &[b'0' + key as u8], at(second));
        }
        let now = windows.read("t", at(20), false);
        assert_eq!((keys(&now), now.total, now.lasted), (vec![("3", 1)], 1, Duration::from_secs(5)));
        let last = windows.read("t", at(20), true);
        assert_eq!((keys(&last), last.total, last.lasted), (vec![("2", 2), ("1", 1)], 3, PER));
        // Nobody came in the third window: in the fourth, the last one is empty.
        assert_eq!(windows.read("t", at(44), true).total, 1);
        assert_eq!(windows.read("t", at(45), true).total, 0);
        // A time that was taken before a reader's goes into the window that is open.
        windows.count(9, b"9", at(44));
        assert_eq!(keys(&windows.read("t", at(46), false)), [("9", 1)]);
        // After a long time both are new.
        windows.count(9, b"9", at(1000));
        assert_eq!(windows.read("t", at(1000), true).total, 0);
    }

    #[test]
    fn threads_are_added_up_and_what_one_was_in_the_way_of_is_counted() {
        let windows = windows();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..1000_u64).for_each(|at| windows.count(at % 3, &[b'a' + (at % 3) as u8], PER))
                });
            }
            // Readers are in the way.
            (0..50).for_each(|_| drop(windows.read("t", PER, false)));
        });
        let top = windows.read("t", PER, false);
        assert_eq!(top.total + top.dropped, 8000);
        assert!(top.total >= 1000, "{top}");
        assert_eq!(top.keys.len(), 2);
        assert!(top.keys.iter().all(|key| key.error == 0));
    }

    #[test]
    fn a_reader_holds_nobody_up() {
        let windows = windows();
        windows.count(1, b"1", PER);
        let seat = windows.seat().unwrap();
        let held = seat.window.lock().unwrap();
        windows.count(1, b"1", PER);
        drop(held);
        let top = windows.read("t", PER, false);
        assert_eq!((top.total, top.dropped), (1, 1));
    }

    #[test]
    fn keys_are_shown_a_line_each() {
        let windows = windows();
        (0..3).for_each(|_| windows.count(1, b"203.0.113.7\n", PER));
        windows.count(2, &[b'x'; 130], PER);
        let shown = windows.read("top ip", PER * 2, true).to_string();
        let wanted = format!(
            "top ip: 4 requests in 15s\n{:>10}  203.0.113.7\\n\n{:>10}  {}…\n",
            3,
            1,
            "x".repeat(128)
        );
        assert_eq!(shown, wanted);
    }
}
