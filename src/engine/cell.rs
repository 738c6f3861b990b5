//! The one pointer that is swapped. The only file that knows arc-swap.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value that is read without waiting and replaced whole.
#[derive(Debug)]
pub(super) struct Cell<T>(ArcSwap<T>);

// === impl Cell ===

impl<T> Cell<T> {
    pub(super) fn new(value: Arc<T>) -> Self {
        Cell(ArcSwap::new(value))
    }

    /// The current value. What is returned stays whole, whatever is stored meanwhile.
    pub(super) fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    pub(super) fn store(&self, value: Arc<T>) {
        self.0.store(value);
    }
}
