//! Which statements of the service gateway a request matched.

use std::sync::Arc;

use super::ruleset::{Decision, RuleSet};
use crate::check::action::{Action, GatewayStatement};
use crate::eval::Matched;
use crate::schema::StatementKind;
use crate::syntax::ast::State;

/// A statement of the service gateway that a request matched.
#[derive(Debug, Clone, Copy)]
pub struct Match<'d> {
    index: usize,
    statement: &'d GatewayStatement,
    key: Option<&'d [u8]>,
    cluster: Option<usize>,
}

/// The statements of the service gateway that a request matched, in the order deny, limit, cache, mirror, capture, count,
/// and those of one kind in the order of the text; from [`Decision::matches`].
#[derive(Debug, Clone)]
pub struct Matches<'d> {
    rules: &'d RuleSet,
    matched: Option<&'d Matched>,
    next: usize,
}

// === impl Match ===

impl<'d> Match<'d> {
    /// The statement.
    pub fn statement(&self) -> &'d GatewayStatement {
        self.statement
    }

    /// Its place in [`RuleSet::gateway`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether it acts; a shadow is counted and does not.
    pub fn is_live(&self) -> bool {
        self.statement.state == State::Live
    }

    /// The canonical text of the key, where the statement has a `by`.
    pub fn key(&self) -> Option<&'d [u8]> {
        self.key
    }

    /// Where a mirror leads: the index of a declared cluster.
    pub fn cluster_index(&self) -> Option<usize> {
        self.cluster
    }
}

// === impl Matches ===

impl<'d> Iterator for Matches<'d> {
    type Item = Match<'d>;

    fn next(&mut self) -> Option<Match<'d>> {
        let hit = self.matched?.get(self.next)?;
        self.next += 1;
        let index = hit.statement as usize;
        let statement = self.rules.gateway().get(index)?;
        let cluster = hit.cluster.map(|cluster| cluster as usize);
        Some(Match { index, statement, key: hit.key, cluster })
    }
}

// === impl Decision ===

impl Decision {
    /// The statements of the service gateway that the request matched, live ones and shadows. None in a rule set without
    /// such statements, and then this costs nothing.
    ///
    /// The layers of the service gateway read them; whoever builds another one can too.
    pub fn matches(&self) -> Matches<'_> {
        Matches { rules: self.rules(), matched: self.matched.as_deref(), next: 0 }
    }

    /// Says that somebody does what statements of this kind say for this request; to be called by each layer that reads
    /// [`matches`](Self::matches), whether or not it comes to do something. The layers of the service gateway call it. A live
    /// statement that nobody heeds before the request reaches its cluster is [counted](super::Engine::unheeded).
    ///
    /// Where the request matched no statement, this costs nothing, and else a load and a store.
    pub fn heed(&self, kind: StatementKind) {
        if let Some(matched) = &self.matched {
            matched.heeded.add(bit(kind));
        }
    }

    /// The kinds of live statements that nobody has heeded, as bits. None are looked for where the request matched none.
    pub(super) fn unheeded(&self) -> u8 {
        let Some(matched) = self.matched.as_deref() else { return 0 };
        let live = self.matches().filter(Match::is_live).map(|hit| bit(hit.statement.kind()));
        live.filter(|bit| !matched.heeded.has(*bit)).fold(0, |all, bit| all | bit)
    }

    /// The live `deny` that the request matched.
    pub fn denied(&self) -> Option<Match<'_>> {
        self.matches().next_while_deny()
    }
}

impl<'d> Matches<'d> {
    /// Denies come first, and the last of them is the only live one.
    fn next_while_deny(self) -> Option<Match<'d>> {
        self.take_while(|hit| matches!(hit.statement.action, Action::Deny(_))).find(Match::is_live)
    }
}

/// The bit of a kind of the service gateway.
pub(super) fn bit(kind: StatementKind) -> u8 {
    let place = StatementKind::GATEWAY.iter().position(|known| *known == kind);
    place.map_or(0, |place| 1 << place)
}

/// What a decision holds on to.
pub(super) type Held = Option<Arc<Matched>>;
