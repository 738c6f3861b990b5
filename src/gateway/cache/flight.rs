//! Requests for the same at the same time: one goes, the others wait for what it brings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

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
}

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
    /// Waits for a fetch under way, or begins one.
    pub(super) fn join(self: &Arc<Self>, key: &[u8], ticket: Ticket) -> Joined {
        let mut table = self.table();
        if let Some(flight) = table.under_way.get(key).filter(|flight| flight.ticket == ticket) {
            return Joined::Wait(flight.outcome.clone());
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

// === impl Lead ===

impl Lead {
    /// Tells those who wait. Those who come from now on find what was stored.
    pub(super) fn finish(self, outcome: Outcome) {
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
