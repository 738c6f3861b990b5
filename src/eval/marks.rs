//! What a decision knows already, by number: kept from one decision of a thread to the next, and cleared by counting
//! on, so that a decision pays for what it asks and not for the size of the rules.

use std::cell::Cell;

use crate::bytecode::SlotId;
use crate::schema::Matched;

/// Numbers of slots and tests with what is known of them in this round.
#[derive(Debug, Default)]
pub(super) struct Marks {
    round: u32,
    slots: Vec<Mark>,
    /// The round shifted by one, and the answer.
    memos: Vec<u32>,
    /// How often each group of expressions was asked.
    groups: Vec<Asked>,
    /// Slots whose values are forgotten before the next question, because enough is kept already.
    pub(super) passing: Vec<SlotId>,
    /// What the last search for several expressions found.
    pub(super) matched: Matched,
}

#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    round: u32,
    times: u32,
}

/// How many expressions of a group are searched for one by one, before all of them are at once: an index may have left
/// few of them to be asked.
const ALONE: u32 = if cfg!(any(test, fuzzing)) { 1 } else { 3 };

#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    round: u32,
    start: u32,
    end: u32,
}

/// Marks that are taken from the thread at the first question, as many a decision has none, and given back at the end.
pub(super) struct Lent {
    slots: usize,
    memos: usize,
    marks: Option<Box<Marks>>,
}

thread_local! {
    /// Taken while a decision is under way: a field of the application may decide something itself.
    static SPARE: Cell<Option<Box<Marks>>> = const { Cell::new(None) };
}

// === impl Lent ===

impl Lent {
    /// For so many slots and memos, on which nothing is known.
    pub(super) fn new(slots: usize, memos: usize) -> Self {
        Lent { slots, memos, marks: None }
    }

    #[inline]
    pub(super) fn get(&mut self) -> &mut Marks {
        let (slots, memos) = (self.slots, self.memos);
        self.marks.get_or_insert_with(|| Marks::take(slots, memos))
    }

    /// Whether some slot's values are to be forgotten.
    #[inline]
    pub(super) fn some_pass(&self) -> bool {
        self.marks.as_ref().is_some_and(|marks| !marks.passing.is_empty())
    }
}

impl Drop for Lent {
    #[inline]
    fn drop(&mut self) {
        if let Some(marks) = self.marks.take() {
            // At the end of a thread there is no place left.
            let _ = SPARE.try_with(|spare| spare.set(Some(marks)));
        }
    }
}

// === impl Marks ===

impl Marks {
    #[inline(never)]
    fn take(slots: usize, memos: usize) -> Box<Self> {
        let mut marks = SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default();
        marks.begin(slots, memos);
        marks
    }

    fn begin(&mut self, slots: usize, memos: usize) {
        if self.slots.len() < slots || self.memos.len() < memos {
            self.grow(slots, memos);
        }
        self.passing.clear();
        self.forget();
    }

    #[cold]
    fn grow(&mut self, slots: usize, memos: usize) {
        self.slots.resize(self.slots.len().max(slots), Mark::default());
        self.memos.resize(self.memos.len().max(memos), 0);
    }

    /// Begins a new round.
    fn forget(&mut self) {
        self.round += 1;
        // One bit is the answer of a memo.
        if self.round > u32::MAX >> 1 {
            self.start_over();
        }
    }

    #[cold]
    fn start_over(&mut self) {
        self.slots.fill(Mark::default());
        self.groups.fill(Asked::default());
        self.memos.fill(0);
        self.round = 1;
    }

    /// Where the values of a slot stand, if it was asked.
    #[inline]
    pub(super) fn slot(&self, slot: u32) -> Option<(u32, u32)> {
        let mark = self.slots.get(slot as usize)?;
        (mark.round == self.round).then_some((mark.start, mark.end))
    }

    #[inline]
    pub(super) fn set_slot(&mut self, slot: u32, start: u32, end: u32) {
        if let Some(mark) = self.slots.get_mut(slot as usize) {
            *mark = Mark { round: self.round, start, end };
        }
    }

    pub(super) fn forget_slot(&mut self, slot: u32) {
        if let Some(mark) = self.slots.get_mut(slot as usize) {
            mark.round = 0;
        }
    }

    /// Asks for an expression of a group; true when all of them are to be searched for.
    pub(super) fn ask_group(&mut self, group: u32) -> bool {
        let group = group as usize;
        if self.groups.len() <= group {
            self.groups.resize(group + 1, Asked::default());
        }
        let Some(asked) = self.groups.get_mut(group) else { return true };
        if asked.round != self.round {
            *asked = Asked { round: self.round, times: 0 };
        }
        asked.times += 1;
        asked.times > ALONE
    }

    /// The answer of a test, if it was asked.
    #[inline]
    pub(super) fn memo(&self, memo: u32) -> Option<bool> {
        let mark = *self.memos.get(memo as usize)?;
        (mark >> 1 == self.round).then_some(mark & 1 == 1)
    }

    #[inline]
    pub(super) fn set_memo(&mut self, memo: u32, answer: bool) {
        if let Some(mark) = self.memos.get_mut(memo as usize) {
            *mark = self.round << 1 | u32::from(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_in_a_new_round() {
        let mut marks = Marks::default();
        marks.begin(2, 2);
        marks.set_slot(1, 3, 5);
        marks.set_memo(1, true);
        marks.set_memo(0, false);
        assert_eq!((marks.slot(0), marks.slot(1)), (None, Some((3, 5))));
        assert_eq!((marks.memo(0), marks.memo(1)), (Some(false), Some(true)));
        marks.forget_slot(1);
        assert_eq!(marks.slot(1), None);
        marks.forget();
        assert_eq!((marks.memo(0), marks.memo(1)), (None, None));
    }

    #[test]
    fn rounds_that_come_again_know_nothing_of_the_first() {
        let mut marks = Marks::default();
        marks.begin(1, 1);
        marks.round = 1;
        marks.set_slot(0, 0, 1);
        marks.set_memo(0, true);
        marks.round = u32::MAX >> 1;
        marks.forget();
        assert_eq!((marks.round, marks.slot(0), marks.memo(0)), (1, None, None));
    }
}
