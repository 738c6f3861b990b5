//! The typed rules: every name found, every literal read, every type checked.

use std::hash::{BuildHasher as _, Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use super::action::GatewayStatement;
use crate::diagnostic::Span;
pub(crate) use crate::schema::Order;
use crate::schema::{Field, List, Pattern, Type, Value};
use crate::split::Split;
pub(crate) use crate::syntax::ast::State;

/// A whole rule set.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The clusters that the application declared; targets are indices.
    pub(crate) clusters: Vec<Arc<str>>,
    /// The clusters made of others, in text order; none contains itself.
    pub(crate) logical: Vec<Logical>,
    /// The logical clusters, each after those it is made of.
    pub(crate) inner_first: Vec<usize>,
    /// In text order.
    pub(crate) routes: Vec<Route>,
    pub(crate) default: Outcome,
    /// The statements of the service gateway, in text order.
    pub(crate) gateway: Vec<GatewayStatement>,
}

#[derive(Debug, Clone)]
pub(crate) struct Logical {
    pub(crate) name: Arc<str>,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) name: Box<str>,
    pub(crate) state: State,
    pub(crate) condition: Condition,
    pub(crate) outcome: Outcome,
}

/// One target, or several with a split; never none.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) targets: SmallVec<[Target; 1]>,
    /// Present when there is more than one target.
    pub(crate) deal: Option<Box<Deal>>,
    /// One for each target, where one has any: who takes its requests when it has no available server.
    pub(crate) fallbacks: Option<Box<[Option<Target>]>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// An index into the declared clusters.
    Cluster(u32),
    /// An index into the logical clusters.
    Logical(u32),
}

/// How one of several targets is chosen.
#[derive(Debug, Clone)]
pub(crate) struct Deal {
    pub(crate) split: Split,
    pub(crate) seed: u64,
    /// `None`: by chance.
    pub(crate) key: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    Constant(bool),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Test(Test),
}

/// One comparison: true when some value of `expr` satisfies it, then turned round if `negated`.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    pub(crate) expr: Expr,
    pub(crate) predicate: Predicate,
    /// `!=` and `not in`.
    pub(crate) negated: bool,
    /// The comparison as it stands in the text.
    pub(crate) span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Predicate {
    /// A bool value that is true.
    IsTrue,
    Compare(Order, Value<'static>),
    /// Some value of one side against some value of the other.
    CompareTo(Order, Expr),
    In(Set),
    StartsWith(Box<[u8]>),
    EndsWith(Box<[u8]>),
    Contains(Box<[u8]>),
    PathUnder(Box<[u8]>),
    HostUnder(Box<[u8]>),
    Matches(Pattern),
}

/// The right side of `in`, with its type.
#[derive(Debug, Clone)]
pub(crate) enum Set {
    /// Inclusive ranges, as they are written; shared by all that name one list.
    Members(Type, Members),
    /// From the application.
    Supplied(List),
}

/// The members of a list that is written in the text; a clone is a pointer.
#[derive(Debug, Clone)]
pub(crate) struct Members(Arc<Hashed>);

#[derive(Debug)]
struct Hashed {
    /// Of all members. Made once, so that a long list is not walked for each mention of it; and of all, so
    /// that many lists that begin alike do not all fall into one bucket.
    hash: u64,
    members: Box<[(Value<'static>, Value<'static>)]>,
}

/// A value to be had from a request: a set of zero or more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Expr {
    /// Few are: it is a comparison's other side.
    Literal(Box<Value<'static>>),
    Field(Field),
    Lower(Box<Expr>),
    Len(Box<Expr>),
    Int(Box<Expr>),
    Version(Box<Expr>),
    Exists(Box<Expr>),
    Percent(Box<Expr>, u64),
    /// Two sides or more.
    Coalesce(Vec<Expr>),
    /// The divisor is positive.
    Modulo(Box<Expr>, i64),
}

// === impl Rules ===

impl Rules {
    /// The name of a target.
    pub(crate) fn target_name(&self, target: Target) -> &str {
        let name = match target {
            Target::Cluster(at) => self.clusters.get(at as usize),
            Target::Logical(at) => self.logical.get(at as usize).map(|logical| &logical.name),
        };
        name.map_or("", |name| name)
    }
}

// === impl Outcome ===

impl Outcome {
    /// Who takes the requests of a target that has no available server.
    pub(crate) fn fallback(&self, target: usize) -> Option<Target> {
        self.fallbacks.as_ref()?.get(target).copied().flatten()
    }

    /// All clusters that it names.
    pub(crate) fn names(&self) -> impl Iterator<Item = Target> {
        let fallbacks = self.fallbacks.iter().flat_map(|fallbacks| fallbacks.iter().flatten());
        self.targets.iter().chain(fallbacks).copied()
    }
}

// === equality: where it stands does not matter ===

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        self.negated == other.negated && self.expr == other.expr && self.predicate == other.predicate
    }
}

impl Eq for Test {}

impl Hash for Test {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.negated, &self.expr, &self.predicate).hash(state);
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Set::Members(t, a), Set::Members(u, b)) => {
                t == u && (Arc::ptr_eq(&a.0, &b.0) || (a.0.hash == b.0.hash && a.0.members == b.0.members))
            }
            (Set::Supplied(a), Set::Supplied(b)) => a.is_same(b),
            _ => false,
        }
    }
}

impl Eq for Set {}

impl Hash for Set {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Set::Members(ty, members) => (ty, members.0.hash).hash(state),
            Set::Supplied(list) => list.len().hash(state),
        }
    }
}

// === impl Members ===

impl Members {
    pub(crate) fn new(members: Vec<(Value<'static>, Value<'static>)>) -> Self {
        // Seeded once a process, so that nobody can write lists that collide.
        static SEED: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);
        Members(Arc::new(Hashed { hash: SEED.hash_one(&members), members: members.into() }))
    }
}

impl Deref for Members {
    type Target = [(Value<'static>, Value<'static>)];

    fn deref(&self) -> &Self::Target {
        &self.0.members
    }
}

// === impl Expr ===

impl Expr {
    pub(crate) fn ty(&self) -> Type {
        match self {
            Expr::Literal(value) => value.ty(),
            Expr::Field(field) => field.ty(),
            Expr::Lower(_) => Type::String,
            Expr::Len(_) | Expr::Int(_) | Expr::Modulo(..) => Type::Int,
            Expr::Version(_) => Type::Version,
            Expr::Exists(_) => Type::Bool,
            Expr::Percent(..) => Type::Percent,
            Expr::Coalesce(sides) => sides.first().map_or(Type::String, Expr::ty),
        }
    }

    /// Whether it is the same for every request.
    pub(crate) fn is_constant(&self) -> bool {
        match self {
            Expr::Literal(_) => true,
            Expr::Field(_) => false,
            Expr::Lower(of)
            | Expr::Len(of)
            | Expr::Int(of)
            | Expr::Version(of)
            | Expr::Exists(of)
            | Expr::Percent(of, _)
            | Expr::Modulo(of, _) => of.is_constant(),
            // The first side always wins if it is a literal.
            Expr::Coalesce(sides) => {
                sides.first().is_some_and(|side| matches!(side, Expr::Literal(_)))
                    || sides.iter().all(Expr::is_constant)
            }
        }
    }

    /// Whether a request has at most one value of it, whatever it is.
    pub(crate) fn is_single(&self) -> bool {
        match self {
            Expr::Literal(_) | Expr::Exists(_) | Expr::Percent(..) => true,
            Expr::Field(field) => field.is_single(),
            Expr::Lower(of) | Expr::Len(of) | Expr::Int(of) | Expr::Version(of) | Expr::Modulo(of, _) => {
                of.is_single()
            }
            Expr::Coalesce(sides) => sides.iter().all(Expr::is_single),
        }
    }
}
