//! Probes that are kept for a request between its decision and its cluster.

use std::sync::{Arc, Mutex, PoisonError};

use http::Extensions;
use smallvec::SmallVec;

use super::group::{Group, Reservation, Ticket};

/// What goes with a request in its extensions. Whoever drops the last copy gives back what was not used.
#[derive(Debug, Clone, Default)]
pub(super) struct Reserved(Arc<Mutex<SmallVec<[Reservation; 1]>>>);

// === impl Reserved ===

impl Reserved {
    /// Keeps the probe that a group is due for the request that these extensions will be of. Whether the group takes it.
    #[cold]
    pub(super) fn keep(group: &Arc<Group>, extensions: &mut Extensions) -> bool {
        // Where a copy of it goes was perhaps asked before.
        if extensions.get::<Reserved>().is_some_and(|reserved| reserved.has(group)) {
            return true;
        }
        match group.reserve() {
            None => false,
            Some(None) => true,
            Some(Some(reservation)) => {
                let Reserved(all) = extensions.get_or_insert_default();
                all.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
                true
            }
        }
    }

    /// The probe that was kept for a request of a group. A request has one cluster: what was kept of others is given back.
    pub(super) fn take(group: &Arc<Group>, extensions: &mut Extensions) -> Option<(usize, Ticket)> {
        let Reserved(all) = extensions.remove()?;
        let reservation = {
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            let at = all.iter().position(|one| one.is_of(group))?;
            all.remove(at)
        };
        reservation.begin()
    }

    fn has(&self, group: &Arc<Group>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|one| one.is_of(group))
    }
}
