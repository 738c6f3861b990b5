//! The rules that can match, in the order of the text.

use smallvec::SmallVec;

use crate::bytecode::{Index, Lead, Lookup, Row, To};

/// Rows of rules and look-ups to come, the one with the first rule on top: a binary heap, as rows overlap and may be as
/// many as a request has values.
pub(super) struct Queue<'p> {
    index: &'p Index,
    heap: SmallVec<[Waiting; 16]>,
    /// The rule that was given last; more than one row may have it.
    last: Option<u32>,
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
    Lookup { node: u32, at: u32 },
}

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
        let mut queue = Queue { index, heap: SmallVec::new(), last: None };
        queue.node(0);
        queue
    }

    /// Takes what comes next.
    pub(super) fn next(&mut self) -> Option<Next<'p>> {
        loop {
            let top = self.heap.first_mut()?;
            match top.what {
                What::Rules(row) => {
                    let rule = top.rule;
                    let row = Row { start: row.start + 1, end: row.end };
                    match self.index.rules(row).first() {
                        Some(next) => *top = Waiting { rule: *next, what: What::Rules(row) },
                        None => drop(self.heap.swap_remove(0)),
                    }
                    self.sink();
                    if self.last != Some(rule) {
                        self.last = Some(rule);
                        return Some(Next::Rule(rule));
                    }
                }
                What::Lookup { node, at } => {
                    let node_of = self.index.nodes.get(node as usize)?;
                    let lookup = node_of.lookups.get(at as usize)?;
                    match node_of.lookups.get(at as usize + 1) {
                        Some(next) => {
                            *top = Waiting { rule: next.first, what: What::Lookup { node, at: at + 1 } };
                        }
                        None => drop(self.heap.swap_remove(0)),
                    }
                    self.sink();
                    return Some(Next::Lookup(lookup));
                }
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
        while at > 0 {
            let above = (at - 1) / 2;
            if self.rule(above) <= self.rule(at) {
                return;
            }
            self.heap.swap(above, at);
            at = above;
        }
    }

    /// Brings what is on top to its place.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let least = if self.rule(right) < self.rule(left) { right } else { left };
            if least >= self.heap.len() || self.rule(at) <= self.rule(least) {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }

    fn rule(&self, at: usize) -> u32 {
        self.heap.get(at).map_or(u32::MAX, |waiting| waiting.rule)
    }
}
