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

/// Where the values of one look-up lead, each lead once: many values may lead to one place, and what lies behind it
/// would be multiplied by them, node by node.
pub(super) struct Leads {
    found: SmallVec<[Lead; 4]>,
    /// At how many those that came twice are looked for.
    full: usize,
    /// How many more may be looked through.
    left: usize,
}

/// So many leads, besides some for each rule, are looked through for one look-up. Where there are more, to ask all rules
/// takes less.
const LOOKED_THROUGH: usize = if SMALL { 4 } else { 1_024 };
/// So many may come of one look-up.
const LEADS: usize = if SMALL { 8 } else { 16_384 };
/// So many rows and look-ups may wait.
const WAITING: usize = if SMALL { 12 } else { 65_536 };
/// Where rules are made by the thousand, few are many.
const SMALL: bool = cfg!(any(test, fuzzing));

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

// === impl Leads ===

impl Leads {
    #[inline]
    pub(super) fn new() -> Self {
        Leads { found: SmallVec::new(), full: 0, left: 0 }
    }

    /// Begins a look-up among so many rules.
    #[inline]
    pub(super) fn begin(&mut self, rules: usize) {
        self.found.clear();
        (self.full, self.left) = (32, LOOKED_THROUGH + 4 * rules);
    }

    #[inline]
    pub(super) fn push(&mut self, index: &Index, lead: Lead) {
        match lead.to() {
            To::Several(row) => index.leads(row).iter().for_each(|lead| self.one(*lead)),
            _ => self.one(lead),
        }
    }

    /// Whether there are too many, so that no more need be looked for.
    #[inline]
    pub(super) fn are_too_many(&self) -> bool {
        self.left == 0
    }

    #[inline]
    fn one(&mut self, lead: Lead) {
        // Equal values often stand together.
        if self.found.last() != Some(&lead) && !self.are_too_many() {
            if self.found.len() >= self.full {
                self.forget_twice();
            }
            self.found.push(lead);
        }
    }

    #[cold]
    fn forget_twice(&mut self) {
        self.left = self.left.saturating_sub(self.found.len());
        self.found.sort_unstable();
        self.found.dedup();
        self.full = (2 * self.found.len()).max(32);
        if self.found.len() > LEADS {
            self.left = 0;
        }
    }

    /// Each lead once, unless there are too many.
    #[inline]
    fn each_once(&mut self) -> Option<&[Lead]> {
        if self.found.len() > 1 {
            self.forget_twice();
        }
        (!self.are_too_many()).then_some(&*self.found)
    }
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

    /// Puts in what a look-up leads to. False when that is more than it is worth: then all rules are to be asked that
    /// come after those which were given.
    #[inline]
    pub(super) fn put(&mut self, leads: &mut Leads) -> bool {
        let Some(leads) = leads.each_once() else { return false };
        for lead in leads {
            match lead.to() {
                To::Rules(row) => self.rules(row),
                To::Node(node) => self.node(node),
                // They were taken apart.
                To::Several(_) => {}
            }
        }
        self.heap.len() < WAITING
    }

    /// The first rule behind those that were given.
    pub(super) fn behind(&self) -> u32 {
        // Behind none of them, the first.
        self.last.wrapping_add(1)
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
