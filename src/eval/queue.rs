//! The rules that can match, in the order of the text.

use smallvec::SmallVec;

use crate::bytecode::{Index, Lead, Lookup, Row, To};

/// Rows of rules and look-ups to come. One row is at hand and taken from for as long as nothing that waits has an
/// earlier rule. Of what waits, the first is at hand too, and often the only one; the others are in a binary heap, as
/// rows overlap and may be as many as a request has values.
pub(super) struct Queue<'p> {
    index: &'p Index,
    /// The row at hand, and its next rule; `NONE` at its end.
    row: Row,
    rule: u32,
    /// What has the first rule of all that wait; that of `NONE` when nothing waits.
    first: Waiting,
    heap: SmallVec<[Waiting; 8]>,
    /// The rule that was given last; more than one row may have it.
    last: u32,
}

/// What waits, and the first rule that it has.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    rule: u32,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Rules(Row),
    /// A node's look-up; those behind it wait until it is its turn.
    Lookup {
        node: u32,
        at: u32,
    },
}

/// No rule: beyond all there can be.
const NONE: u32 = u32::MAX;

/// What comes next.
pub(super) enum Next<'p> {
    /// A rule that can match.
    Rule(u32),
    /// A look-up, whose leads are to be put into the queue.
    Lookup(&'p Lookup),
}

// === impl Waiting ===

impl Waiting {
    /// Nothing.
    const NONE: Waiting = Waiting { rule: NONE, what: What::Rules(Row { start: 0, end: 0 }) };
}

// === impl Queue ===

impl<'p> Queue<'p> {
    #[inline]
    pub(super) fn new(index: &'p Index) -> Self {
        let mut queue = Queue {
            index,
            row: Row::default(),
            rule: NONE,
            first: Waiting::NONE,
            heap: SmallVec::new(),
            last: NONE,
        };
        queue.node(0);
        queue
    }

    /// Takes what comes next.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Next<'p>> {
        loop {
            if self.rule <= self.first.rule && self.rule != NONE {
                let rule = self.rule;
                self.row.start += 1;
                self.rule = self.index.rules(self.row).first().copied().unwrap_or(NONE);
                if rule != self.last {
                    self.last = rule;
                    return Some(Next::Rule(rule));
                }
            } else if let Some(lookup) = self.change()? {
                return Some(Next::Lookup(lookup));
            }
        }
    }

    /// Takes what waits first: a row for the one at hand, or a look-up. `None` when nothing waits.
    #[inline]
    fn change(&mut self) -> Option<Option<&'p Lookup>> {
        let first = self.first;
        if first.rule == NONE {
            return None;
        }
        self.first = self.pop();
        match first.what {
            What::Rules(row) => {
                self.push(Waiting { rule: self.rule, what: What::Rules(self.row) });
                (self.row, self.rule) = (row, first.rule);
                Some(None)
            }
            What::Lookup { node, at } => {
                let lookups = &*self.index.nodes.get(node as usize)?.lookups;
                if let Some(next) = lookups.get(at as usize + 1) {
                    self.push(Waiting { rule: next.first, what: What::Lookup { node, at: at + 1 } });
                }
                Some(Some(lookups.get(at as usize)?))
            }
        }
    }

    /// Puts in what a look-up leads to.
    #[inline]
    pub(super) fn put(&mut self, lead: Lead) {
        match lead.to() {
            To::Rules(row) => self.rules(row),
            To::Node(node) => self.node(node),
            To::Several(row) => self.several(row),
        }
    }

    #[inline(never)]
    fn several(&mut self, row: Row) {
        let index = self.index;
        for lead in index.leads(row) {
            match lead.to() {
                To::Rules(row) => self.rules(row),
                To::Node(node) => self.node(node),
                // The verifier saw that there is none.
                To::Several(_) => {}
            }
        }
    }

    fn node(&mut self, node: u32) {
        let Some(entered) = self.index.nodes.get(node as usize) else { return };
        self.rules(entered.rest);
        if let Some(first) = entered.lookups.first() {
            self.push(Waiting { rule: first.first, what: What::Lookup { node, at: 0 } });
        }
    }

    fn rules(&mut self, row: Row) {
        if let Some(first) = self.index.rules(row).first() {
            self.push(Waiting { rule: *first, what: What::Rules(row) });
        }
    }

    #[inline]
    fn push(&mut self, waiting: Waiting) {
        let later = if waiting.rule < self.first.rule {
            std::mem::replace(&mut self.first, waiting)
        } else {
            waiting
        };
        if later.rule != NONE {
            self.push_later(later);
        }
    }

    #[inline]
    fn pop(&mut self) -> Waiting {
        if self.heap.is_empty() { Waiting::NONE } else { self.pop_later() }
    }

    // === the heap ===

    #[inline(never)]
    fn push_later(&mut self, waiting: Waiting) {
        let mut at = self.heap.len();
        self.heap.push(waiting);
        while at > 0 && self.rule_at(at) < self.rule_at((at - 1) / 2) {
            self.heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    #[inline(never)]
    fn pop_later(&mut self) -> Waiting {
        if self.heap.is_empty() {
            return Waiting::NONE;
        }
        let top = self.heap.swap_remove(0);
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let least = if self.rule_at(right) < self.rule_at(left) { right } else { left };
            if self.rule_at(at) <= self.rule_at(least) {
                return top;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }

    fn rule_at(&self, at: usize) -> u32 {
        self.heap.get(at).map_or(NONE, |waiting| waiting.rule)
    }
}
