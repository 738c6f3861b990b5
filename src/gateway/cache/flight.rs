//! Requests for the same at the same time: one goes, the others wait for what it brings.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::store::Ticket;
use super::stored::Stored;

/// All that is being fetched.
#[derive(Default)]
pub(super) struct Flights {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    under_way: HashMap<Box<[u8]>, Flight, foldhash::fast::RandomState>,
    next: u64,
    /// What was for one alone lately, by its hash, each in a place of its own as long as no other takes it. Whoever comes for
    /// such a thing would wait for nothing.
    alone: Vec<Option<(u64, Instant)>>,
}

/// How many of these are remembered, and how long.
const ALONE: usize = 1024;
const ALONE_FOR: Duration = Duration::from_secs(5);

struct Flight {
    id: u64,
    /// What was purged when it began: who comes after a later purge does not wait for it.
    ticket: Ticket,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// What a fetch brought.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Stored(Arc<Stored>),
    /// Something that is for the one alone who fetched it.
    NotStorable,
    /// The backend failed.
    Failed,
}

pub(super) enum Joined {
    Lead(Lead),
    /// What the last one brought was for it alone.
    Alone,
    Wait(watch::Receiver<Option<Outcome>>),
}

/// The one who goes. Dropped without an outcome, it lets another lead.
pub(super) struct Lead {
    flights: Arc<Flights>,
    key: Box<[u8]>,
    id: u64,
    outcome: watch::Sender<Option<Outcome>>,
}

// === impl Flights ===

impl Flights {
    /// Waits for a fetch under way, or begins one; neither where that was in vain lately.
    pub(super) fn join(self: &Arc<Self>, key: &[u8], ticket: Ticket) -> Joined {
        let mut table = self.table();
        if let Some(flight) = table.under_way.get(key).filter(|flight| flight.ticket == ticket) {
            return Joined::Wait(flight.outcome.clone());
        }
        if table.is_alone(key) {
            return Joined::Alone;
        }
        table.next += 1;
        let id = table.next;
        let (outcome, receiver) = watch::channel(None);
        table.under_way.insert(key.into(), Flight { id, ticket, outcome: receiver });
        Joined::Lead(Lead { flights: self.clone(), key: key.into(), id, outcome })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Table ===

impl Table {
    fn is_alone(&self, key: &[u8]) -> bool {
        let (hash, place) = self.place(key);
        let known = self.alone.get(place).copied().flatten();
        known.is_some_and(|(known, until)| known == hash && Instant::now() < until)
    }

    fn remember_alone(&mut self, key: &[u8]) {
        let (hash, place) = self.place(key);
        self.alone.resize(ALONE, None);
        if let Some(known) = self.alone.get_mut(place) {
            *known = Some((hash, Instant::now() + ALONE_FOR));
        }
    }

    fn place(&self, key: &[u8]) -> (u64, usize) {
        let hash = self.under_way.hasher().hash_one(key);
        (hash, hash as usize % ALONE)
    }
}

// === impl Lead ===

impl Lead {
    /// Tells those who wait. Those who come from now on find what was stored.
    pub(super) fn finish(self, outcome: Outcome) {
        if matches!(outcome, Outcome::NotStorable) {
            self.flights.table().remember_alone(&self.key);
        }
        self.leave();
        self.outcome.send_replace(Some(outcome));
    }

    fn leave(&self) {
        let mut table = self.flights.table();
        if table.under_way.get(&*self.key).is_some_and(|flight| flight.id == self.id) {
            table.under_way.remove(&*self.key);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave();
    }
}
