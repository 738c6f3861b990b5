//! The kinds of statements there are.

use std::fmt;

/// The kind of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StatementKind {
    /// `route`
    Route,
    /// `cluster`, made of others
    Cluster,
    /// `default`
    Default,
    /// `deny`
    Deny,
    /// `limit`
    Limit,
    /// `cache`
    Cache,
    /// `mirror`
    Mirror,
    /// `capture`
    Capture,
    /// `count`
    Count,
}

// === impl StatementKind ===

impl StatementKind {
    /// The kinds of the service gateway, in the order in which they are looked at.
    pub const GATEWAY: [StatementKind; 6] = [
        StatementKind::Deny,
        StatementKind::Limit,
        StatementKind::Cache,
        StatementKind::Mirror,
        StatementKind::Capture,
        StatementKind::Count,
    ];

    /// The word that such statements have.
    pub fn word(self) -> &'static str {
        match self {
            StatementKind::Route => "route",
            StatementKind::Cluster => "cluster",
            StatementKind::Default => "default",
            StatementKind::Deny => "deny",
            StatementKind::Limit => "limit",
            StatementKind::Cache => "cache",
            StatementKind::Mirror => "mirror",
            StatementKind::Capture => "capture",
            StatementKind::Count => "count",
        }
    }
}

impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
