//! How long things take, in cells that are counted without a lock: 4 KiB.
//!
//! Microseconds below 32 have a cell each. Above, each doubling is cut into 16 equal cells, up to 19 hours, so that a time is
//! known to within 1/32 of itself either way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Microseconds that have a cell of their own, and how many bits they have.
const EXACT: u64 = 1 << EXACT_BITS;
const EXACT_BITS: u32 = 5;
/// Cells of each doubling above: half as many.
const STEPS: u64 = EXACT / 2;
/// What is longer is in the last cell.
const LONGEST_BITS: u32 = 36;

pub(super) const CELLS: usize = (EXACT + (LONGEST_BITS - EXACT_BITS) as u64 * STEPS) as usize;

/// The cells of one thread.
#[derive(Debug)]
pub(super) struct Histogram([AtomicU64; CELLS]);

// === impl Histogram ===

impl Histogram {
    pub(super) fn new() -> Self {
        Histogram([const { AtomicU64::new(0) }; CELLS])
    }

    pub(super) fn record(&self, time: Duration) {
        if let Some(cell) = self.0.get(cell(time)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|cell| cell.load(Ordering::Relaxed))
    }
}

/// The cell of a time.
fn cell(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min((1 << LONGEST_BITS) - 1);
    if micros < EXACT {
        return micros as usize;
    }
    let doubling = micros.ilog2();
    // The highest bit and the four behind it; without the highest it is the step.
    let step = (micros >> (doubling - (EXACT_BITS - 1))) - STEPS;
    (EXACT + u64::from(doubling - EXACT_BITS) * STEPS + step) as usize
}

/// The first time that is in a cell; of the cell behind the last, where all end.
pub(super) fn start(cell: usize) -> Duration {
    let cell = cell as u64;
    let Some(above) = cell.checked_sub(EXACT) else { return Duration::from_micros(cell) };
    let (doubling, step) = (above / STEPS, above % STEPS);
    // The first doubling above has cells of two microseconds.
    Duration::from_micros((STEPS + step) << (doubling + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_in_its_cell_and_cells_are_narrow(micros in prop_oneof![0_u64..200, 0..(1_u64 << LONGEST_BITS)]) {
            let time = Duration::from_micros(micros);
            let at = cell(time);
            prop_assert!(start(at) <= time && time < start(at + 1));
            let width = (start(at + 1) - start(at)).as_micros() as u64;
            prop_assert!(width == 1 || width * 16 <= micros);
        }
    }

    #[test]
    fn cells_follow_each_other_without_a_gap() {
        for at in 0..CELLS {
            assert_eq!(cell(start(at)), at);
            assert!(start(at) < start(at + 1));
        }
        assert_eq!(cell(Duration::MAX), CELLS - 1);
        assert_eq!(size_of::<Histogram>(), 4224);
    }
}
