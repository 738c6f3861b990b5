//! What statements of the service gateway do, as they say it themselves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::typed::{Condition, Expr, Outcome, State};
use crate::syntax::ast::{Rate, StatementKind};
use crate::syntax::print::Lasting;

/// A statement of the service gateway: `KIND NAME: CONDITION => ACTION`. A clone has the same condition and costs as much as its
/// name and key.
#[derive(Debug, Clone)]
pub struct GatewayStatement {
    pub(crate) name: Box<str>,
    pub(crate) state: State,
    /// Shared by all clones, as it may be large.
    pub(crate) condition: Arc<Condition>,
    pub(crate) action: Action,
    /// What stands behind `by`.
    pub(crate) key: Option<Expr>,
    /// Where a mirror leads.
    pub(crate) mirror: Option<Outcome>,
}

/// What a statement of the service gateway does with a request that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// `deny`
    Deny(Deny),
    /// `limit`
    Limit(Limit),
    /// `cache`
    Cache(Cache),
    /// `mirror`
    Mirror(Mirror),
    /// `capture`
    Capture(Capture),
    /// `count`
    Top(Top),
}

/// `deny NAME: CONDITION => 403 "text"`: the answer in place of a cluster's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deny {
    /// From 400 to 599.
    pub status: StatusCode,
    /// What the client is told.
    pub text: Option<Box<str>>,
}

/// `limit NAME: CONDITION => 100/s burst 200 by KEY`: a token bucket, or one for each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// How many requests, at least 1,
    pub count: u32,
    /// in how long.
    pub per: Duration,
    /// How many at once, at least 1; as many as the rate's count where nothing is said.
    pub burst: u32,
    /// Whether each key has a bucket of its own.
    pub keyed: bool,
}

/// `cache NAME: CONDITION => 30s stale 10s by KEY with private`: what may be stored, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cache {
    /// How long a response is fresh that does not say so itself.
    pub fresh: Duration,
    /// How long one may be served beyond that, while it is fetched anew or when that fails.
    pub stale: Duration,
    /// Whether the key is part of what a response is stored under.
    pub keyed: bool,
    /// Whether also responses are stored that say `private`.
    pub private: bool,
    /// Whether also responses are stored that set cookies. The cookies are stored with them.
    pub set_cookie: bool,
    /// Whether also responses to requests with `Authorization` are stored.
    pub authorization: bool,
}

/// `mirror NAME: CONDITION => CLUSTER with unsafe`: a copy to another cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mirror {
    /// Whether also requests are copied whose method may change something (RFC 9110, 9.2.1).
    pub unsafe_methods: bool,
}

/// `capture NAME: CONDITION => 50 for 10m`: exchanges to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capture {
    /// How many are captured at most, at least 1.
    pub exchanges: u32,
    /// How long it goes on at most, from when the statement came.
    pub lasts: Duration,
}

/// `count NAME: CONDITION => top 20 by KEY per 15s`: which keys come most often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Top {
    /// How many keys, at least 1.
    pub top: u32,
    /// How long one count lasts.
    pub per: Duration,
}

// === impl GatewayStatement ===

impl GatewayStatement {
    /// Its name, which no other of its kind has.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `deny`, `limit` and so on.
    pub fn kind(&self) -> StatementKind {
        self.action.kind()
    }

    /// Whether it is live, a shadow or paused.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it is live, and so acts.
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// What it does.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Whether it goes on with what an earlier statement left, such as a limit's buckets: it has the same kind, name, action
    /// and key. Condition and state may have changed.
    pub fn continues(&self, earlier: &GatewayStatement) -> bool {
        self.name == earlier.name && self.action == earlier.action && self.key == earlier.key
    }
}

// === impl Action ===

impl Action {
    /// The kind of statement that does this.
    pub fn kind(&self) -> StatementKind {
        match self {
            Action::Deny(_) => StatementKind::Deny,
            Action::Limit(_) => StatementKind::Limit,
            Action::Cache(_) => StatementKind::Cache,
            Action::Mirror(_) => StatementKind::Mirror,
            Action::Capture(_) => StatementKind::Capture,
            Action::Top(_) => StatementKind::Count,
        }
    }
}

/// In few words, without the key: `403`, `100/s burst 200`, `30s`. Nothing for a mirror, which has a cluster for that.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Deny(deny) => deny.status.as_u16().fmt(f),
            Action::Limit(limit) => {
                Rate { count: limit.count, per: limit.per }.fmt(f)?;
                if limit.burst == limit.count { Ok(()) } else { write!(f, " burst {}", limit.burst) }
            }
            Action::Cache(cache) if cache.stale.is_zero() => Lasting(cache.fresh).fmt(f),
            Action::Cache(cache) => write!(f, "{} stale {}", Lasting(cache.fresh), Lasting(cache.stale)),
            Action::Mirror(_) => Ok(()),
            Action::Capture(capture) => write!(f, "{} for {}", capture.exchanges, Lasting(capture.lasts)),
            Action::Top(top) => write!(f, "top {} per {}", top.top, Lasting(top.per)),
        }
    }
}
