//! What a layer keeps for each statement, over revisions of the rules.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use smallvec::SmallVec;

use crate::engine::cell::Cell;
use crate::engine::{GatewayStatement, RuleSet, StatementKind};
use crate::schema::Schema;

/// Something for each statement of one kind, by the statement's place in [`RuleSet::gateway`]. When new rules come, a
/// statement that [continues](GatewayStatement::continues) an earlier one goes on with what that one had.
///
/// Revisions are those of one engine, so each has its own: a layer that stands below two would else hold the requests of one to
/// the statements of the other, and let pass what it does not find there.
pub(super) struct Kept<T> {
    kind: StatementKind,
    /// By engine; mostly there is one. Read once a request that matched something, and on all threads; written once a rule
    /// set.
    current: Cell<Tables<T>>,
    /// Held by the one who writes.
    renewing: Mutex<()>,
}

type Tables<T> = SmallVec<[Current<T>; 1]>;

/// What the latest rules of an engine have.
struct Current<T> {
    /// What all rule sets of the engine share, and no other has. As long as this is here, no other comes to its place.
    engine: Weak<Schema>,
    table: Arc<Table<T>>,
}

/// What is kept under one rule set.
pub(super) struct Table<T> {
    revision: u64,
    /// By the place among all gateway statements; `None` for those of other kinds.
    entries: Box<[Option<Entry<T>>]>,
    /// The places of those there are, sorted by name: no two of one kind have the same.
    by_name: Box<[usize]>,
}

type Entry<T> = (GatewayStatement, Arc<T>);

// === impl Kept ===

impl<T> Kept<T> {
    pub(super) fn new(kind: StatementKind) -> Self {
        Kept { kind, current: Cell::new(Arc::default()), renewing: Mutex::default() }
    }

    /// What is kept under these rules; `make` makes what is new. Decisions by earlier rules, of which there are some when
    /// rules change, get what the latest have.
    pub(super) fn under(&self, rules: &RuleSet, make: impl Fn(&GatewayStatement) -> T) -> Arc<Table<T>> {
        match self.current.load().iter().find(|known| known.knows(rules)) {
            Some(known) => known.table.clone(),
            None => self.renew(rules, make),
        }
    }

    /// Whether these rules, or later ones of their engine, have been here.
    #[inline]
    pub(super) fn knows(&self, rules: &RuleSet) -> bool {
        self.current.load().iter().any(|known| known.knows(rules))
    }

    /// What was kept last; of several engines, one behind the other. One that is gone stays until another has new rules.
    pub(super) fn latest(&self) -> Arc<Table<T>> {
        match self.current.load().as_slice() {
            [one] => one.table.clone(),
            all => {
                let entries = all.iter().flat_map(|known| known.table.entries.iter().cloned());
                Arc::new(Table::new(0, entries.collect()))
            }
        }
    }

    #[cold]
    fn renew(&self, rules: &RuleSet, make: impl Fn(&GatewayStatement) -> T) -> Arc<Table<T>> {
        let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load();
        // Another was quicker.
        if let Some(known) = current.iter().find(|known| known.knows(rules)) {
            return known.table.clone();
        }
        let known = current.iter().find(|known| known.is_of(rules)).map(|known| &known.table);
        let entry = |statement: &GatewayStatement| {
            (statement.kind() == self.kind).then(|| {
                let kept = known.and_then(|known| known.find(statement)).cloned();
                (statement.clone(), kept.unwrap_or_else(|| Arc::new(make(statement))))
            })
        };
        let entries = rules.gateway().iter().map(entry).collect();
        let table = Arc::new(Table::new(rules.revision(), entries));
        // Of engines that are gone nobody comes any more.
        let alive = current.iter().filter(|known| known.engine.strong_count() > 0);
        let mut tables: Tables<T> = alive.cloned().collect();
        match tables.iter_mut().find(|known| known.is_of(rules)) {
            Some(known) => known.table = table.clone(),
            None => tables.push(Current { engine: Arc::downgrade(rules.engine()), table: table.clone() }),
        }
        self.current.store(Arc::new(tables));
        table
    }
}

// === impl Current ===

impl<T> Current<T> {
    #[inline]
    fn is_of(&self, rules: &RuleSet) -> bool {
        std::ptr::eq(self.engine.as_ptr(), Arc::as_ptr(rules.engine()))
    }

    /// Whether it is of these rules, or of later ones of their engine.
    #[inline]
    fn knows(&self, rules: &RuleSet) -> bool {
        self.is_of(rules) && self.table.revision >= rules.revision()
    }
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Current { engine: self.engine.clone(), table: self.table.clone() }
    }
}

// === impl Table ===

impl<T> Table<T> {
    fn new(revision: u64, entries: Box<[Option<Entry<T>>]>) -> Self {
        let mut by_name: Box<[usize]> =
            entries.iter().enumerate().filter_map(|(at, entry)| entry.as_ref().map(|_| at)).collect();
        let name =
            |at: &usize| entries.get(*at).and_then(Option::as_ref).map(|(statement, _)| statement.name());
        by_name.sort_unstable_by(|one, other| name(one).cmp(&name(other)));
        Table { revision, entries, by_name }
    }

    /// What is kept for a statement, found by its place or, under other rules than it came from, by what it is.
    pub(super) fn get(&self, index: usize, statement: &GatewayStatement) -> Option<&Arc<T>> {
        match self.entries.get(index) {
            Some(Some((kept, entry))) if statement.continues(kept) => Some(entry),
            _ => self.find(statement),
        }
    }

    /// All of them, in the order of the text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&GatewayStatement, &Arc<T>)> {
        self.entries.iter().flatten().map(|(statement, entry)| (statement, entry))
    }

    fn find(&self, statement: &GatewayStatement) -> Option<&Arc<T>> {
        let entry = |at: &usize| self.entries.get(*at).and_then(Option::as_ref);
        // Requests wait for new tables, which look up each of up to 100,000 statements here.
        let at = self
            .by_name
            .binary_search_by(|at| entry(at).map(|(kept, _)| kept.name()).cmp(&Some(statement.name())));
        let (kept, found) = self.by_name.get(at.ok()?).and_then(entry)?;
        statement.continues(kept).then_some(found)
    }
}

impl<T> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("kind", &self.kind).finish_non_exhaustive()
    }
}
