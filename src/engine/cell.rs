//! The one pointer that is swapped. The only file that knows arc-swap.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value that is read without waiting and replaced whole.
#[derive(Debug)]
pub(crate) struct Cell<T>(ArcSwap<T>);

// === impl Cell ===

impl<T> Cell<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Cell(ArcSwap::new(value))
    }

    /// The current value. What is returned stays whole, whatever is stored meanwhile; it is to be let go soon, as
    /// a thread has only some to hold at a time without a reference count.
    #[inline]
    pub(crate) fn load(&self) -> impl Deref<Target = Arc<T>> {
        self.0.load()
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        self.0.store(value);
    }
}
