//! What a layer keeps for each statement, over revisions of the rules.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::engine::{GatewayStatement, RuleSet, StatementKind};

/// Something for each statement of one kind, by the statement's place in [`RuleSet::gateway`]. When new rules come, a
/// statement that [continues](GatewayStatement::continues) an earlier one goes on with what that one had.
pub(super) struct Kept<T> {
    kind: StatementKind,
    /// Read once a request that matched something, and on all threads; written once a rule set.
    current: ArcSwap<Table<T>>,
    /// Held by the one who writes.
    renewing: Mutex<()>,
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
        let current = ArcSwap::from_pointee(Table::new(0, Box::default()));
        Kept { kind, current, renewing: Mutex::default() }
    }

    /// What is kept under these rules; `make` makes what is new. Decisions by earlier rules, of which there are some when
    /// rules change, get what the latest have.
    pub(super) fn under(
        &self,
        rules: &RuleSet,
        make: impl Fn(&GatewayStatement) -> T,
    ) -> Guard<Arc<Table<T>>> {
        let table = self.current.load();
        if table.revision >= rules.revision() { table } else { self.renew(rules, make) }
    }

    /// What was kept last.
    pub(super) fn latest(&self) -> Arc<Table<T>> {
        self.current.load_full()
    }

    #[cold]
    fn renew(&self, rules: &RuleSet, make: impl Fn(&GatewayStatement) -> T) -> Guard<Arc<Table<T>>> {
        let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load();
        // Another was quicker.
        if current.revision >= rules.revision() {
            return current;
        }
        let entry = |statement: &GatewayStatement| {
            (statement.kind() == self.kind).then(|| {
                let kept = current.find(statement).cloned().unwrap_or_else(|| Arc::new(make(statement)));
                (statement.clone(), kept)
            })
        };
        let entries = rules.gateway().iter().map(entry).collect();
        self.current.store(Arc::new(Table::new(rules.revision(), entries)));
        self.current.load()
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
