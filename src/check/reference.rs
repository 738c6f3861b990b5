//! The reference evaluator: the law as code.
//!
//! It walks the typed rules in the order in which they are written and does what the language page says, with
//! no regard for cost. Everything that is quicker is held against it by tests; explanations come from it.

use super::typed::{Condition, Expr, Outcome, Predicate, Route, Rules, Set, State, Target, Test};
use crate::schema::http::{host_under, path_under};
use crate::schema::{Arena, Input, Order, Value, Version, any_compares, parse_int};
use crate::split;

/// Up to how many pairs of values are compared one by one.
const PAIRS: usize = 1 << 14;

/// Who wants to know what was looked at. `()` does not.
pub(crate) trait Observer {
    /// A route is about to be looked at.
    fn route(&mut self, _index: usize) {}
    /// A paused route is passed over.
    fn paused(&mut self, _index: usize) {}
    /// A comparison was made: the values of its left side, and its verdict after negation.
    fn test(&mut self, _test: &Test, _seen: &[Value<'_>], _verdict: bool) {}
    /// The route's condition was found true or false.
    fn verdict(&mut self, _index: usize, _verdict: bool) {}
    /// An outcome with several targets was dealt, or could not be: `None` when there is no key.
    fn dealt(&mut self, _of: Dealer, _dealt: Option<Dealt>) {}
}

/// Whose outcome was dealt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dealer {
    Route(usize),
    Default,
    Logical(u32),
}

/// How an outcome was dealt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dealt {
    pub(crate) target: usize,
    /// 0 to 999,999.
    pub(crate) bucket: u32,
    /// The key's text; `None` when chance decided.
    pub(crate) key: Option<Vec<u8>>,
}

impl Observer for () {}

/// Which statement decided and for which declared cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// `None`: the default.
    pub(crate) route: Option<usize>,
    pub(crate) cluster: u32,
}

/// Decides as the language page says.
pub(crate) fn decide(rules: &Rules, input: &Input<'_>, chance: u64, observer: &mut impl Observer) -> Verdict {
    for (index, route) in rules.routes.iter().enumerate() {
        if route.state == State::Paused {
            observer.paused(index);
            continue;
        }
        observer.route(index);
        let matched = holds(&route.condition, input, observer);
        observer.verdict(index, matched);
        if !matched {
            continue;
        }
        let Some(target) = route_target(route, index, input, chance, observer) else { continue };
        if route.state == State::Live {
            return Verdict { route: Some(index), cluster: settle(rules, target, input, chance, observer) };
        }
    }
    let target = total_target(&rules.default, Dealer::Default, input, chance, observer);
    Verdict { route: None, cluster: settle(rules, target, input, chance, observer) }
}

/// A route without a key in the request does not match.
fn route_target(
    route: &Route,
    index: usize,
    input: &Input<'_>,
    chance: u64,
    observer: &mut impl Observer,
) -> Option<Target> {
    let Some(deal) = &route.outcome.deal else { return route.outcome.targets.first().copied() };
    let dealer = Dealer::Route(index);
    match deal.key.as_ref().map(|key| first_text(key, input)) {
        Some(None) => {
            observer.dealt(dealer, None);
            None
        }
        key => Some(deal_out(&route.outcome, key.flatten(), chance, dealer, observer)),
    }
}

/// The default and logical clusters choose by chance when there is no key.
fn total_target(
    outcome: &Outcome,
    dealer: Dealer,
    input: &Input<'_>,
    chance: u64,
    observer: &mut impl Observer,
) -> Target {
    let Some(deal) = &outcome.deal else { return first(outcome) };
    let key = deal.key.as_ref().and_then(|key| first_text(key, input));
    deal_out(outcome, key, chance, dealer, observer)
}

fn deal_out(
    outcome: &Outcome,
    key: Option<Vec<u8>>,
    chance: u64,
    dealer: Dealer,
    observer: &mut impl Observer,
) -> Target {
    let Some(deal) = &outcome.deal else { return first(outcome) };
    let hash = match &key {
        Some(key) => split::hash(key, deal.seed),
        None => split::hash(&chance.to_le_bytes(), deal.seed),
    };
    let target = deal.split.pick(hash);
    observer.dealt(dealer, Some(Dealt { target, bucket: split::bucket(hash), key }));
    outcome.targets.get(target).copied().unwrap_or_else(|| first(outcome))
}

fn first(outcome: &Outcome) -> Target {
    outcome.targets.first().copied().unwrap_or(Target::Cluster(0))
}

/// From a logical cluster down to a declared one.
fn settle(
    rules: &Rules,
    mut target: Target,
    input: &Input<'_>,
    chance: u64,
    observer: &mut impl Observer,
) -> u32 {
    loop {
        match target {
            Target::Cluster(index) => return index,
            Target::Logical(index) => match rules.logical.get(index as usize) {
                Some(logical) => {
                    target = total_target(&logical.outcome, Dealer::Logical(index), input, chance, observer);
                }
                None => return 0,
            },
        }
    }
}

/// Whether a condition is true.
pub(crate) fn holds(condition: &Condition, input: &Input<'_>, observer: &mut impl Observer) -> bool {
    match condition {
        Condition::Constant(constant) => *constant,
        Condition::Not(inner) => !holds(inner, input, observer),
        Condition::All(parts) => parts.iter().all(|part| holds(part, input, observer)),
        Condition::Any(parts) => parts.iter().any(|part| holds(part, input, observer)),
        Condition::Test(test) => {
            let seen = values(&test.expr, input);
            let satisfied = match &test.predicate {
                Predicate::CompareTo(order, other) => {
                    let others = values(other, input);
                    // Every pair, as the page says; but not where there are so many that only a hostile
                    // request has them, as explanations come from here too.
                    match seen.len().saturating_mul(others.len()) {
                        ..=PAIRS => seen.iter().any(|a| others.iter().any(|b| a.compares(*order, b))),
                        _ => any_compares(*order, &seen, &others),
                    }
                }
                predicate => seen.iter().any(|value| satisfies(value, predicate)),
            };
            let verdict = satisfied != test.negated;
            observer.test(test, &seen, verdict);
            verdict
        }
    }
}

fn satisfies(value: &Value<'_>, predicate: &Predicate) -> bool {
    match predicate {
        Predicate::IsTrue => *value == Value::Bool(true),
        Predicate::Compare(order, literal) => value.compares(*order, literal),
        // Needs the request, and was answered above.
        Predicate::CompareTo(..) => false,
        Predicate::In(Set::Supplied(list)) => list.contains(value),
        Predicate::In(Set::Members(_, members)) => members
            .iter()
            .any(|(from, to)| value.compares(Order::AtLeast, from) && value.compares(Order::AtMost, to)),
        Predicate::StartsWith(literal) => text(value).starts_with(literal),
        Predicate::EndsWith(literal) => text(value).ends_with(literal),
        Predicate::Contains(literal) => {
            let text = text(value);
            if text.len().saturating_mul(literal.len()) > PAIRS {
                return memchr::memmem::find(text, literal).is_some();
            }
            literal.is_empty() || text.windows(literal.len()).any(|window| window == &**literal)
        }
        Predicate::PathUnder(root) => path_under(text(value), root),
        Predicate::HostUnder(domain) => host_under(text(value), domain),
        Predicate::Matches(pattern) => pattern.is_match(text(value)),
    }
}

/// The values that an expression has in a request, in order.
pub(crate) fn values<'r>(expr: &Expr, input: &Input<'r>) -> Vec<Value<'r>> {
    match expr {
        Expr::Literal(value) => vec![(**value).clone()],
        Expr::Field(field) => {
            let mut arena = Arena::new();
            field.read(input, &mut arena);
            arena.into_vec()
        }
        Expr::Lower(of) => {
            each(of, input, |value| Some(Value::String(text(value).to_ascii_lowercase().into())))
        }
        Expr::Len(of) => each(of, input, |value| i64::try_from(text(value).len()).ok().map(Value::Int)),
        Expr::Int(of) => each(of, input, |value| parse_int(text(value)).map(Value::Int)),
        Expr::Version(of) => each(of, input, |value| Version::parse(text(value)).map(Value::Version)),
        Expr::Exists(of) => vec![Value::Bool(!values(of, input).is_empty())],
        Expr::Percent(key, seed) => first_text(key, input)
            .map(|key| Value::Percent(split::bucket(split::hash(&key, *seed))))
            .into_iter()
            .collect(),
        Expr::Coalesce(sides) => {
            sides.iter().map(|side| values(side, input)).find(|values| !values.is_empty()).unwrap_or_default()
        }
        Expr::Modulo(of, divisor) => each(of, input, |value| match value {
            Value::Int(i) => i.checked_rem_euclid(*divisor).map(Value::Int),
            _ => None,
        }),
    }
}

fn each<'r>(of: &Expr, input: &Input<'r>, f: impl Fn(&Value<'r>) -> Option<Value<'r>>) -> Vec<Value<'r>> {
    values(of, input).iter().filter_map(f).collect()
}

/// The canonical text of the first value.
fn first_text(expr: &Expr, input: &Input<'_>) -> Option<Vec<u8>> {
    values(expr, input).first().map(|value| value.with_text(<[u8]>::to_vec))
}

fn text<'v>(value: &'v Value<'_>) -> &'v [u8] {
    match value {
        Value::String(text) => text,
        _ => b"",
    }
}
