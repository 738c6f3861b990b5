//! The rules that can match, in the order of the text.

use smallvec::SmallVec;

use crate::bytecode::{Index, Lead, Lookup, Row, To};

/// Rows of rules and look-ups to come. One row is at hand and taken from for as long as nothing that waits has an
/// earlier rule; the others are in a binary heap, as rows overlap and may be as many as a request has values.
pub(super) struct Queue<'p> {
    index: &'p Index,
    /// The row at hand, and its next rule; `NONE` at its end.
    row: Row,
    rule: u32,
    /// The first rule of what waits, or `NONE`.
    bound: u32,
    heap: SmallVec<[Waiting; 16]>,
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

// === impl Queue ===

impl<'p> Queue<'p> {
    pub(super) fn new(index: &'p Index) -> Self {
        let mut queue =
            Queue { index, row: Row::default(), rule: NONE, bound: NONE, heap: SmallVec::new(), last: NONE };
        queue.node(0);
        queue
    }

    /// Takes what comes next.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Next<'p>> {
        loop {
            if self.rule <= self.bound && self.rule != NONE {
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

    /// Puts the row at hand back and takes what waits first: another row, or a look-up. `None` when nothing waits.
    fn change(&mut self) -> Option<Option<&'p Lookup>> {
        let top = *self.heap.first()?;
        let at_hand = Waiting { rule: self.rule, what: What::Rules(self.row) };
        match top.what {
            What::Rules(row) => {
                self.replace(at_hand);
                (self.row, self.rule) = (row, top.rule);
                Some(None)
            }
            What::Lookup { node, at } => {
                let node_of = self.index.nodes.get(node as usize)?;
                let rule = node_of.lookups.get(at as usize + 1).map_or(NONE, |next| next.first);
                self.replace(Waiting { rule, what: What::Lookup { node, at: at + 1 } });
                Some(Some(node_of.lookups.get(at as usize)?))
            }
        }
    }

    /// Puts in what a look-up leads to.
    pub(super) fn put(&mut self, lead: Lead) {
        match lead.to() {
            To::Rules(row) => self.rules(row),
            To::Node(node) => self.node(node),
            To::Several(row) => {
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

    // === the heap ===

    fn push(&mut self, waiting: Waiting) {
        let mut at = self.heap.len();
        self.heap.push(waiting);
        while at > 0 && self.rule_at(at) < self.rule_at((at - 1) / 2) {
            self.heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        self.bound = self.rule_at(0);
    }

    /// Puts something in the place of the top, unless there is nothing left of it.
    fn replace(&mut self, by: Waiting) {
        if by.rule == NONE {
            self.heap.swap_remove(0);
        } else if let Some(top) = self.heap.first_mut() {
            *top = by;
        }
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let least = if self.rule_at(right) < self.rule_at(left) { right } else { left };
            if self.rule_at(at) <= self.rule_at(least) {
                break;
            }
            self.heap.swap(at, least);
            at = least;
        }
        self.bound = self.rule_at(0);
    }

    fn rule_at(&self, at: usize) -> u32 {
        self.heap.get(at).map_or(NONE, |waiting| waiting.rule)
    }
}
