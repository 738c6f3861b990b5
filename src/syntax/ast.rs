//! The tree of a rule text, as it was written.
//!
//! Nothing is resolved here: a word is a word, whether a field of that name exists or not. Nodes know where
//! they stand and compare without it.

use crate::diagnostic::Span;

/// A node and where it stands. Two are equal when their nodes are.
#[derive(Debug, Clone)]
pub(crate) struct Spanned<T> {
    pub(crate) node: T,
    pub(crate) span: Span,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct File {
    pub(crate) items: Vec<Item>,
    /// Comments after the last statement.
    pub(crate) end: Vec<Comment>,
    /// Names of lists and clusters, and `default`, whose statements were not understood.
    pub(crate) broken: Vec<String>,
    /// Not all of the text was looked at, because it is too large.
    pub(crate) incomplete: bool,
}

/// A statement with the comments that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) statement: Spanned<Statement>,
    /// The comments above it and within it.
    pub(crate) above: Vec<Comment>,
    /// A blank line between the comments above, or the statement before, and this one.
    pub(crate) blank_before: bool,
    /// The comment on the line where it ends.
    pub(crate) beside: Option<String>,
}

/// A comment without its `#`, and whether a blank line stands before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comment {
    pub(crate) text: String,
    pub(crate) blank_before: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most statements are rules, the largest")]
pub(crate) enum Statement {
    List(List),
    Cluster(Cluster),
    Rule(Rule),
    Default(Outcome),
}

/// `list NAME = [ … ]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) name: Spanned<String>,
    pub(crate) members: Vec<Member>,
}

/// `cluster NAME = OUTCOME`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) name: Spanned<String>,
    pub(crate) outcome: Outcome,
}

/// `[paused | shadow] KIND NAME: CONDITION => OUTCOME`. There is one kind so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) state: State,
    pub(crate) name: Spanned<String>,
    pub(crate) condition: Spanned<Condition>,
    pub(crate) outcome: Outcome,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) targets: Vec<Target>,
    pub(crate) key: Option<Spanned<Value>>,
    /// In place of the statement's name.
    pub(crate) salt: Option<Spanned<String>>,
    pub(crate) place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) cluster: Spanned<String>,
    /// In steps of 0.0001.
    pub(crate) weight: Option<Spanned<u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Or(Vec<Spanned<Condition>>),
    And(Vec<Spanned<Condition>>),
    Not(Box<Spanned<Condition>>),
    /// A value that stands alone: `true`, `is_staff`, `exists(…)`.
    Value(Value),
    Compare {
        left: Spanned<Value>,
        relation: Spanned<Relation>,
        right: Spanned<Value>,
    },
    In {
        left: Spanned<Value>,
        negated: bool,
        set: Spanned<Set>,
    },
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Set {
    Named(String),
    Literal(Vec<Member>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    One(Spanned<Literal>),
    /// `a..b`, both included.
    Range(Spanned<Literal>, Spanned<Literal>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Literal(Literal),
    /// `name` or `name(argument)`.
    Field {
        name: Spanned<String>,
        argument: Option<Spanned<String>>,
    },
    Call {
        function: Spanned<Function>,
        arguments: Vec<Spanned<Value>>,
    },
    /// `a ?? b ?? …`: the first that is not empty.
    Coalesce(Vec<Spanned<Value>>),
    Modulo(Box<Spanned<Value>>, Spanned<i64>),
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Literal {
    String(String),
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

// === impl Member ===

impl Member {
    pub(crate) fn span(&self) -> Span {
        match self {
            Member::One(one) => one.span,
            Member::Range(from, to) => from.span.to(to.span),
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
