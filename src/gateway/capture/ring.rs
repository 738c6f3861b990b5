//! The exchanges that are kept: the newest, as many as there is room for.

use std::collections::VecDeque;
use std::sync::Arc;

use super::exchange::Captured;

#[derive(Debug, Default)]
pub(super) struct Ring {
    /// From the oldest to the newest, each with the bytes that are gone when it goes.
    kept: VecDeque<(Arc<Captured>, usize)>,
    bytes: usize,
}

// === impl Ring ===

impl Ring {
    /// Adds one, and returns how many older ones had to go. One that is larger than there is room for at all goes itself.
    pub(super) fn push(&mut self, captured: Captured, most: usize, most_bytes: usize) -> usize {
        // The text of the rules counts for the oldest of those beside each other that share it.
        let last = self.kept.back().map(|(last, _)| &last.decision.text);
        let shared = last.is_some_and(|text| Arc::ptr_eq(text, &captured.decision.text));
        let bytes = captured.bytes() + if shared { 0 } else { captured.decision.text.len() };
        self.bytes += bytes;
        self.kept.push_back((Arc::new(captured), bytes));
        let before = self.kept.len();
        while (self.kept.len() > most || self.bytes > most_bytes) && self.pop() {}
        before - self.kept.len()
    }

    /// Drops the oldest.
    fn pop(&mut self) -> bool {
        let Some((oldest, bytes)) = self.kept.pop_front() else { return false };
        self.bytes -= bytes;
        if let Some((next, bytes)) = self.kept.front_mut()
            && Arc::ptr_eq(&next.decision.text, &oldest.decision.text)
        {
            *bytes += oldest.decision.text.len();
            self.bytes += oldest.decision.text.len();
        }
        true
    }

    pub(super) fn clear(&mut self) {
        *self = Ring::default();
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// In the order in which they began.
    pub(super) fn all(&self) -> Vec<Arc<Captured>> {
        let mut all: Vec<_> = self.kept.iter().map(|(captured, _)| captured.clone()).collect();
        all.sort_by_key(|captured| captured.began);
        all
    }
}
