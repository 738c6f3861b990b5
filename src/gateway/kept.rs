//! What a layer keeps for each statement, over revisions of the rules.

use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;

use crate::engine::{GatewayStatement, RuleSet, StatementKind};

/// Something for each statement of one kind, by the statement's place in [`RuleSet::gateway`]. When new rules come, a
/// statement that [continues](GatewayStatement::continues) an earlier one goes on with what that one had.
pub(super) struct Kept<T> {
    kind: StatementKind,
    /// Read once a request that matched something, written once a rule set.
    current: RwLock<Arc<Table<T>>>,
}

/// What is kept under one rule set.
pub(super) struct Table<T> {
    revision: u64,
    /// By the place among all gateway statements; `None` for those of other kinds.
    entries: Box<[Option<Entry<T>>]>,
    /// Their places. There may be as many as a text has statements, and each is looked for when new rules come.
    places: HashMap<Box<str>, usize>,
}

type Entry<T> = (GatewayStatement, Arc<T>);

// === impl Kept ===

impl<T> Kept<T> {
    pub(super) fn new(kind: StatementKind) -> Self {
        let nothing = Table { revision: 0, entries: Box::default(), places: HashMap::default() };
        Kept { kind, current: RwLock::new(Arc::new(nothing)) }
    }

    /// What is kept under these rules; `make` makes what is new. Decisions by earlier rules, of which there are some when
    /// rules change, get what the latest have.
    pub(super) fn under(&self, rules: &RuleSet, make: impl Fn(&GatewayStatement) -> T) -> Arc<Table<T>> {
        let table = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if table.revision >= rules.revision() { table } else { self.renew(rules, make) }
    }

    /// What was kept last.
    pub(super) fn latest(&self) -> Arc<Table<T>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cold]
    fn renew(&self, rules: &RuleSet, make: impl Fn(&GatewayStatement) -> T) -> Arc<Table<T>> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.revision < rules.revision() {
            let entry = |statement: &GatewayStatement| {
                (statement.kind() == self.kind).then(|| {
                    let kept = current.find(statement).cloned().unwrap_or_else(|| Arc::new(make(statement)));
                    (statement.clone(), kept)
                })
            };
            let entries: Box<[_]> = rules.gateway().iter().map(entry).collect();
            // Of one kind, a name is there once.
            let place = |(at, entry): (usize, &Option<Entry<T>>)| Some((entry.as_ref()?.0.name().into(), at));
            let places = entries.iter().enumerate().filter_map(place).collect();
            *current = Arc::new(Table { revision: rules.revision(), entries, places });
        }
        current.clone()
    }
}

// === impl Table ===

impl<T> Table<T> {
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
        let (kept, entry) = self.entries.get(*self.places.get(statement.name())?)?.as_ref()?;
        statement.continues(kept).then_some(entry)
    }
}

impl<T> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::engine::Engine;
    use crate::schema::Schema;

    fn engine(text: &str) -> Engine {
        let schema = Schema::new().clusters(["prod"]).gateway(StatementKind::GATEWAY);
        Engine::builder().schema(schema).build(text).unwrap()
    }

    /// What each `limit` of a text has, by its name; what is new has the revision in which it came.
    fn had(kept: &Kept<u64>, rules: &RuleSet) -> Vec<(String, u64)> {
        let table = kept.under(rules, |_| rules.revision());
        table.iter().map(|(statement, made)| (statement.name().to_owned(), **made)).collect()
    }

    #[test]
    fn what_goes_on_has_what_it_had_wherever_it_stands() {
        let kept = Kept::new(StatementKind::Limit);
        let engine = engine("limit a: true => 1/s limit b: true => 1/s limit c: true => 1/s default => prod");
        had(&kept, &engine.rules());
        let text = "deny a: true => 403 paused limit c: false => 1/s limit d: true => 1/s limit b: true => 2/s \
                    limit a: true => 1/s default => prod";
        engine.replace(text).unwrap();
        let now = |name: &str, made| (name.to_owned(), made);
        assert_eq!(had(&kept, &engine.rules()), [now("c", 1), now("d", 2), now("b", 2), now("a", 1)]);
    }

    /// As a gateway has that limits each of its customers. Requests wait while it is looked for what they had.
    #[test]
    fn many_statements_find_what_they_had_at_once() {
        let kept = Kept::new(StatementKind::Limit);
        let limits: Vec<_> =
            (0..20_000).map(|at| format!("limit l{at}: host == \"h{at}\" => 5/s\n")).collect();
        let text = |limits: &mut dyn Iterator<Item = &String>| {
            limits.map(String::as_str).chain(["default => prod"]).collect::<String>()
        };
        let engine = engine(&text(&mut limits.iter()));
        had(&kept, &engine.rules());
        engine.replace(text(&mut limits.iter().rev())).unwrap();
        let rules = engine.rules();
        let begin = Instant::now();
        let table = kept.under(&rules, |_| rules.revision());
        let took = begin.elapsed();
        assert!(table.iter().all(|(_, made)| **made == 1));
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}
