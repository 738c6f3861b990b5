//! The tree of a rule text, as it was written.
//!
//! Nothing is resolved here: a word is a word, whether a field of that name exists or not. Nodes know where
//! they stand and compare without it.
//!
//! A tree borrows from its text, and from an arena that holds its nodes: so it is made without moving them around,
//! and forgotten at once.

use std::time::Duration;

use crate::diagnostic::Span;
pub(crate) use crate::schema::StatementKind;

/// What holds the nodes of trees.
pub(crate) use bumpalo::Bump as Arena;

/// A node and where it stands. Two are equal when their nodes are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spanned<T> {
    pub(crate) node: T,
    pub(crate) span: Span,
}

/// A name, or another string, as it is meant: without quotes and escapes.
pub(crate) type Text<'t> = Spanned<&'t str>;

/// A value and where it stands.
pub(crate) type Operand<'t> = Spanned<&'t Value<'t>>;

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct File<'t> {
    pub(crate) items: Vec<Item<'t>>,
    /// Comments after the last statement.
    pub(crate) end: Vec<Comment<'t>>,
    /// Names of lists and clusters, and `default`, whose statements were not understood.
    pub(crate) broken: Vec<String>,
    /// Not all of the text was looked at, because it is too large.
    pub(crate) incomplete: bool,
}

/// A statement with the comments that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item<'t> {
    pub(crate) statement: Spanned<Statement<'t>>,
    /// The comments above it and within it.
    pub(crate) above: Vec<Comment<'t>>,
    /// A blank line between the comments above, or the statement before, and this one.
    pub(crate) blank_before: bool,
    /// The comment on the line where it ends.
    pub(crate) beside: Option<&'t str>,
}

/// A comment without its `#`, and whether a blank line stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Comment<'t> {
    pub(crate) text: &'t str,
    pub(crate) blank_before: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statement<'t> {
    List(List<'t>),
    Cluster(Cluster<'t>),
    Rule(Rule<'t>),
    Gateway(Gateway<'t>),
    Default(Outcome<'t>),
}

/// `list NAME = [ … ]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct List<'t> {
    pub(crate) name: Text<'t>,
    pub(crate) members: &'t [Member<'t>],
}

/// `cluster NAME = OUTCOME`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cluster<'t> {
    pub(crate) name: Text<'t>,
    pub(crate) outcome: Outcome<'t>,
}

/// `[paused | shadow] route NAME: CONDITION => OUTCOME`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule<'t> {
    pub(crate) state: State,
    pub(crate) name: Text<'t>,
    pub(crate) condition: Spanned<Condition<'t>>,
    pub(crate) outcome: Outcome<'t>,
}

/// `[paused | shadow] KIND NAME: CONDITION => ACTION`, of the service gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gateway<'t> {
    pub(crate) state: State,
    pub(crate) name: Text<'t>,
    pub(crate) condition: Spanned<Condition<'t>>,
    pub(crate) action: Action<'t>,
}

/// What a statement of the service gateway does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action<'t> {
    /// `403 "text"`
    Deny { status: Spanned<u16>, text: Option<Text<'t>> },
    /// `100/s burst 200 by KEY`
    Limit { rate: Spanned<Rate>, burst: Option<Spanned<u32>>, by: Option<Operand<'t>> },
    /// `30s stale 10s by KEY with OPTION, OPTION`
    Cache {
        fresh: Spanned<Duration>,
        stale: Option<Spanned<Duration>>,
        by: Option<Operand<'t>>,
        with: &'t [Text<'t>],
    },
    /// `CLUSTER with OPTION`
    Mirror { cluster: Text<'t>, with: &'t [Text<'t>] },
    /// `50 for 10m`
    Capture { exchanges: Spanned<u32>, lasts: Spanned<Duration> },
    /// `top 20 by KEY per 15s`
    Count { top: Spanned<u32>, by: Operand<'t>, per: Spanned<Duration> },
}

/// So many in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) count: u32,
    pub(crate) per: Duration,
}

/// Whether a rule is evaluated, and whether it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum State {
    /// Evaluated, counted, and acts.
    Live,
    /// Evaluated and counted, never acts.
    Shadow,
    /// Checked, never evaluated.
    Paused,
}

/// One cluster, or several by weight, dealt by a key or by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome<'t> {
    pub(crate) first: Target<'t>,
    pub(crate) others: &'t [Target<'t>],
    pub(crate) by: Option<&'t By<'t>>,
    pub(crate) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct By<'t> {
    pub(crate) key: Operand<'t>,
    /// In place of the statement's name.
    pub(crate) salt: Option<Text<'t>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'t> {
    pub(crate) cluster: Text<'t>,
    /// In steps of 0.0001.
    pub(crate) weight: Option<Spanned<u64>>,
    /// Where requests go when it has no available server.
    pub(crate) fallback: Option<Text<'t>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition<'t> {
    Or(&'t [Spanned<Condition<'t>>]),
    And(&'t [Spanned<Condition<'t>>]),
    Not(&'t Spanned<Condition<'t>>),
    /// A value that stands alone: `true`, `is_staff`, `exists(…)`.
    Value(&'t Value<'t>),
    Compare(&'t Compare<'t>),
    In(&'t In<'t>),
}

/// `LEFT RELATION RIGHT`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compare<'t> {
    pub(crate) left: Operand<'t>,
    pub(crate) relation: Spanned<Relation>,
    pub(crate) right: Operand<'t>,
}

/// `LEFT in SET` or `LEFT not in SET`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct In<'t> {
    pub(crate) left: Operand<'t>,
    pub(crate) negated: bool,
    pub(crate) set: Spanned<Set<'t>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    Unequal,
    Below,
    AtMost,
    Above,
    AtLeast,
    StartsWith,
    EndsWith,
    Contains,
    Under,
    Matches,
}

/// The right side of `in`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set<'t> {
    Named(&'t str),
    Literal(&'t [Member<'t>]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Member<'t> {
    One(Spanned<Literal<'t>>),
    /// `a..b`, both included.
    Range(&'t (Spanned<Literal<'t>>, Spanned<Literal<'t>>)),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'t> {
    Literal(Literal<'t>),
    /// `name` or `name(argument)`.
    Field {
        name: Text<'t>,
        argument: Option<Text<'t>>,
    },
    Call {
        function: Spanned<Function>,
        arguments: &'t [Operand<'t>],
    },
    /// `a ?? b ?? …`: the first that is not empty.
    Coalesce(&'t [Operand<'t>]),
    Modulo(Operand<'t>, Spanned<i64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Lower,
    Len,
    Int,
    Version,
    Exists,
    Percent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Literal<'t> {
    String(&'t str),
    Int(i64),
    /// In steps of 0.0001; written with a point.
    Decimal(u64),
    Bool(bool),
    Ip(std::net::IpAddr),
    Cidr(ipnet::IpNet),
}

/// A span that never makes a difference between two nodes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place(pub(crate) Span);

// === impl State ===

impl State {
    /// `live`, `shadow` or `paused`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Live => "live",
            State::Shadow => "shadow",
            State::Paused => "paused",
        }
    }
}

// === impl Action ===

impl Action<'_> {
    pub(crate) fn kind(&self) -> StatementKind {
        match self {
            Action::Deny { .. } => StatementKind::Deny,
            Action::Limit { .. } => StatementKind::Limit,
            Action::Cache { .. } => StatementKind::Cache,
            Action::Mirror { .. } => StatementKind::Mirror,
            Action::Capture { .. } => StatementKind::Capture,
            Action::Count { .. } => StatementKind::Count,
        }
    }
}

// === equality without places ===

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

// === impl Spanned ===

impl<T> Spanned<T> {
    pub(crate) fn new(node: T, span: Span) -> Self {
        Spanned { node, span }
    }
}

// === impl Outcome ===

impl<'t> Outcome<'t> {
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target<'t>> + Clone {
        std::iter::once(&self.first).chain(self.others)
    }
}

// === impl Member ===

impl Member<'_> {
    pub(crate) fn span(&self) -> Span {
        match self {
            Member::One(one) => one.span,
            Member::Range((from, to)) => from.span.to(to.span),
        }
    }
}

// === impl Function ===

impl Function {
    pub(crate) const ALL: [(&'static str, Function); 6] = [
        ("lower", Function::Lower),
        ("len", Function::Len),
        ("int", Function::Int),
        ("version", Function::Version),
        ("exists", Function::Exists),
        ("percent", Function::Percent),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }
}

// === impl Relation ===

impl Relation {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Relation::Equal => "==",
            Relation::Unequal => "!=",
            Relation::Below => "<",
            Relation::AtMost => "<=",
            Relation::Above => ">",
            Relation::AtLeast => ">=",
            Relation::StartsWith => "starts_with",
            Relation::EndsWith => "ends_with",
            Relation::Contains => "contains",
            Relation::Under => "under",
            Relation::Matches => "matches",
        }
    }
}
