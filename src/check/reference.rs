//! The reference evaluator: the law as code.
//!
//! It walks the typed rules in the order in which they are written and does what the language page says, with
//! no regard for cost. Everything that is quicker is held against it by tests; explanations come from it.

use super::typed::{Condition, Expr, Logical, Outcome, Predicate, Route, Rules, Set, State, Target, Test};
use crate::schema::http::{host_under, path_under};
use crate::schema::{Arena, Available, Input, Order, StatementKind, Value, Version, any_compares, parse_int};
use crate::split::{self, FALLBACKS, KEYS};

/// Up to how many pairs of values are compared one by one.
const PAIRS: usize = 1 << 14;

/// Who wants to know what was looked at. `()` does not.
pub(crate) trait Observer {
    /// A rule is about to be looked at.
    fn rule(&mut self, _at: At) {}
    /// A paused rule is passed over.
    fn paused(&mut self, _at: At) {}
    /// A comparison was made: the values of its left side, and its verdict after negation.
    fn test(&mut self, _test: &Test, _seen: &[Value<'_>], _verdict: bool) {}
    /// The rule's condition was found true or false.
    fn verdict(&mut self, _at: At, _verdict: bool) {}
    /// A statement of the service gateway was asked for its key.
    fn keyed(&mut self, _at: At, _key: Option<&[u8]>) {}
    /// A cluster had no available server, and another takes its place.
    fn fell_back(&mut self, _from: u32, _to: Target) {}
    /// An outcome with several targets was dealt, or could not be: `None` when there is no key.
    fn dealt(&mut self, _of: Dealer, _dealt: Option<Dealt>) {}
}

/// A rule, by its place among the routes or among the statements of the service gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Route(usize),
    Gateway(usize),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// `None`: the default.
    pub(crate) route: Option<usize>,
    pub(crate) cluster: u32,
    /// The statements of the service gateway that matched.
    pub(crate) matched: Vec<Noted>,
}

/// A statement of the service gateway that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Its index in the text.
    pub(crate) statement: usize,
    pub(crate) key: Option<Vec<u8>>,
    /// Where a mirror leads.
    pub(crate) cluster: Option<u32>,
}

/// Decides as the language page says.
pub(crate) fn decide(rules: &Rules, input: &Input<'_>, chance: u64, observer: &mut impl Observer) -> Verdict {
    let matched = guard(rules, input, chance, observer);
    for (index, route) in rules.routes.iter().enumerate() {
        let at = At::Route(index);
        if route.state == State::Paused {
            observer.paused(at);
            continue;
        }
        observer.rule(at);
        let verdict = holds(&route.condition, input, observer);
        observer.verdict(at, verdict);
        if !verdict {
            continue;
        }
        let Some(chosen) = route_target(route, index, input, chance, observer) else { continue };
        if route.state == State::Live {
            let cluster = settle(rules, &route.outcome, chosen, input, chance, observer);
            return Verdict { route: Some(index), cluster, matched };
        }
    }
    let chosen = total_target(&rules.default, Dealer::Default, input, chance, observer);
    let cluster = settle(rules, &rules.default, chosen, input, chance, observer);
    Verdict { route: None, cluster, matched }
}

/// The statements of the service gateway that match.
pub(crate) fn guard(
    rules: &Rules,
    input: &Input<'_>,
    chance: u64,
    observer: &mut impl Observer,
) -> Vec<Noted> {
    let mut matched = Vec::new();
    let (mut denied, mut cached, mut held) = (false, false, 0);
    for kind in StatementKind::GATEWAY {
        for (index, statement) in rules.gateway.iter().enumerate().filter(|(_, s)| s.kind() == kind) {
            // A denied request is neither limited, cached nor mirrored, and the first cache is the one.
            let over = match kind {
                StatementKind::Deny | StatementKind::Limit | StatementKind::Mirror => denied,
                StatementKind::Cache => denied || cached,
                _ => false,
            };
            let at = At::Gateway(index);
            if over {
                continue;
            }
            if statement.state == State::Paused {
                observer.paused(at);
                continue;
            }
            observer.rule(at);
            let verdict = holds(&statement.condition, input, observer);
            observer.verdict(at, verdict);
            if !verdict {
                continue;
            }
            let key = statement.key.as_ref().map(|key| first_text(key, input));
            let key = key.map(|key| key.filter(|key| held + key.len() <= KEYS));
            held += key.iter().flatten().map(Vec::len).sum::<usize>();
            if let Some(key) = &key {
                observer.keyed(at, key.as_deref());
                if key.is_none() {
                    continue;
                }
            }
            // Whom a copy goes to is no part of why the request goes where it goes.
            let cluster =
                statement.mirror.as_ref().map(|mirror| settle(rules, mirror, 0, input, chance, &mut ()));
            matched.push(Noted { statement: index, key: key.flatten(), cluster });
            denied |= kind == StatementKind::Deny && statement.state == State::Live;
            cached |= kind == StatementKind::Cache && statement.state == State::Live;
        }
    }
    matched
}

/// A route without a key in the request does not match.
fn route_target(
    route: &Route,
    index: usize,
    input: &Input<'_>,
    chance: u64,
    observer: &mut impl Observer,
) -> Option<usize> {
    let Some(deal) = &route.outcome.deal else { return Some(0) };
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
) -> usize {
    let Some(deal) = &outcome.deal else { return 0 };
    let key = deal.key.as_ref().and_then(|key| first_text(key, input));
    deal_out(outcome, key, chance, dealer, observer)
}

fn deal_out(
    outcome: &Outcome,
    key: Option<Vec<u8>>,
    chance: u64,
    dealer: Dealer,
    observer: &mut impl Observer,
) -> usize {
    let Some(deal) = &outcome.deal else { return 0 };
    let hash = match &key {
        Some(key) => split::hash(key, deal.seed),
        None => split::hash(&chance.to_le_bytes(), deal.seed),
    };
    let target = deal.split.pick(hash);
    observer.dealt(dealer, Some(Dealt { target, bucket: split::bucket(hash), key }));
    target
}

/// The target at this place, and what stands in for it.
fn target(outcome: &Outcome, chosen: usize) -> (Target, Option<Target>) {
    (outcome.targets.get(chosen).copied().unwrap_or(Target::Cluster(0)), outcome.fallback(chosen))
}

/// From a target down to a declared cluster; and where that has no available server, the way from what stands in for
/// the last target that has such, and so on.
fn settle(
    rules: &Rules,
    outcome: &Outcome,
    chosen: usize,
    input: &Input<'_>,
    chance: u64,
    observer: &mut impl Observer,
) -> u32 {
    let (mut at, fallback) = target(outcome, chosen);
    let mut fallbacks: Vec<Target> = fallback.into_iter().collect();
    let mut left = FALLBACKS;
    loop {
        match at {
            Target::Cluster(cluster) => {
                let available = input.available.is_none_or(|Available(available)| available(cluster));
                match if available || left == 0 { None } else { fallbacks.pop() } {
                    None => return cluster,
                    Some(fallback) => {
                        observer.fell_back(cluster, fallback);
                        left -= 1;
                        at = fallback;
                    }
                }
            }
            Target::Logical(index) => match rules.logical.get(index as usize) {
                Some(Logical { outcome, .. }) => {
                    let chosen = total_target(outcome, Dealer::Logical(index), input, chance, observer);
                    let (next, fallback) = target(outcome, chosen);
                    fallbacks.extend(fallback);
                    at = next;
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
