//! Which routes are never reached, because an earlier one takes every request that they could.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher as _;
use std::mem::discriminant;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt as _, HashSet};
use smallvec::SmallVec;

use super::lint::{Look, PARTS, Range, number, ordinal, repeated, within};
use super::typed::{Condition, Expr, Order, Predicate, Route, Set, State, Test};
use crate::diagnostic::{Code, Problem, Problems};
use crate::schema::Value;

/// How many parts of conditions, and members of their lists, are compared for one route covering another, besides
/// routes whose conditions are equal. Beyond this a rule set is too long to find them all in a moment.
const PAIRS: usize = 1_000_000;
/// How many bytes of a literal are searched at the price of one comparison.
const SEARCHED: usize = 64;
/// The same for a regular expression: bytes of the literal times bytes of the compiled expression, of which each state
/// may be alive at each byte.
const MATCHED: usize = 8_192;
/// A prefix is known by so many of its bytes: the most that it has.
const STARTS: [usize; 5] = [32, 24, 16, 8, 4];

/// Earlier routes that may cover a later one, found by what the later one must ask for then.
///
/// To imply `host == "a"`, a condition must ask for that very text, or for a list of nothing else; to imply that a
/// path starts in some way, it must ask for a path that starts so. So of an earlier route one test of such a kind is
/// enough to tell nearly all later ones that it does not cover. Those that have none are looked at by all.
struct Earlier<'r> {
    hasher: &'r RandomState,
    routes: Vec<(&'r Route, &'r Look)>,
    keys: HashMap<u64, Vec<u32>>,
    rest: Vec<u32>,
}

/// The keys of one test.
type Keys = SmallVec<[u64; 8]>;

// === impl Earlier ===

impl<'r> Earlier<'r> {
    fn new(hasher: &'r RandomState) -> Self {
        Earlier { hasher, routes: Vec::new(), keys: HashMap::new(), rest: Vec::new() }
    }

    fn push(&mut self, route: &'r Route, look: &'r Look) {
        let at = self.routes.len() as u32;
        self.routes.push((route, look));
        let parts = match &route.condition {
            Condition::All(parts) if parts.len() <= PARTS => parts.as_slice(),
            other => std::slice::from_ref(other),
        };
        // Each of them must be implied, so any one will do: the one that fewest others stand under.
        let crowd =
            |keys: &Keys| keys.iter().filter_map(|key| self.keys.get(key)).map(Vec::len).sum::<usize>();
        let keys = parts.iter().filter_map(|part| wide_keys(part, self.hasher)).min_by_key(crowd);
        match keys {
            Some(keys) => keys.into_iter().for_each(|key| self.keys.entry(key).or_default().push(at)),
            None => self.rest.push(at),
        }
    }

    /// The first that passes, of those that may cover a route. Once the budget is spent, none is looked at.
    fn find(
        &self,
        route: &Route,
        budget: &mut usize,
        passes: impl Fn(&Route, &mut usize) -> bool,
    ) -> Option<(&'r Route, &'r Look)> {
        let mut keys = Keys::new();
        narrow_keys(&route.condition, self.hasher, &mut keys);
        keys.sort_unstable();
        keys.dedup();
        let rows = keys.iter().filter_map(|key| self.keys.get(key)).chain([&self.rest]);
        // The earliest of all rows comes first; there are as many rows as the condition has tests.
        let mut rows: BinaryHeap<Reverse<(u32, &[u32])>> =
            rows.filter_map(|row| row.split_first()).map(|(first, after)| Reverse((*first, after))).collect();
        if !spend(budget, rows.len()) {
            return None;
        }
        while let Some(Reverse((at, after))) = rows.pop() {
            rows.extend(after.split_first().map(|(first, after)| Reverse((*first, after))));
            let earlier = self.routes.get(at as usize)?;
            if !spend(budget, 1) {
                return None;
            }
            if passes(earlier.0, budget) {
                return Some(*earlier);
            }
        }
        None
    }
}

/// The keys of a test that must be implied; whatever implies it has one of them. `None` where that is not known.
fn wide_keys(condition: &Condition, hasher: &RandomState) -> Option<Keys> {
    let Condition::Test(Test { expr, predicate, negated: false, .. }) = condition else { return None };
    match predicate {
        Predicate::Compare(Order::Equal, Value::String(text)) => {
            Some(Keys::from_iter([whole(expr, text, hasher)]))
        }
        Predicate::In(Set::Members(_, members)) if members.len() <= PARTS => {
            let key = |(text, _): &Range| {
                if let Value::String(text) = text { Some(whole(expr, text, hasher)) } else { None }
            };
            members.iter().map(key).collect()
        }
        Predicate::StartsWith(text) => start(expr, text, hasher),
        Predicate::PathUnder(root) => start(expr, root.strip_suffix(b"/").unwrap_or(root), hasher),
        _ => None,
    }
}

/// The keys of all that a condition asks for, by any of which it may imply another.
fn narrow_keys(condition: &Condition, hasher: &RandomState, keys: &mut Keys) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) if parts.len() <= PARTS => {
            parts.iter().for_each(|part| narrow_keys(part, hasher, keys));
        }
        Condition::Test(Test { expr, predicate, negated: false, .. }) => {
            let text = match predicate {
                Predicate::Compare(Order::Equal, Value::String(text)) => &**text,
                // All of them must satisfy what is implied, so the first must.
                Predicate::In(Set::Members(_, members)) => match members.first() {
                    Some((Value::String(text), _)) => text,
                    _ => return,
                },
                Predicate::StartsWith(text) | Predicate::PathUnder(text) => text,
                _ => return,
            };
            keys.push(whole(expr, text, hasher));
            keys.extend(
                STARTS
                    .iter()
                    .filter_map(|length| text.get(..*length))
                    .map(|part| hasher.hash_one((true, expr, part))),
            );
        }
        _ => {}
    }
}

fn whole(expr: &Expr, text: &[u8], hasher: &RandomState) -> u64 {
    hasher.hash_one((false, expr, text))
}

fn start(expr: &Expr, text: &[u8], hasher: &RandomState) -> Option<Keys> {
    let part = STARTS.iter().find_map(|length| text.get(..*length))?;
    Some(Keys::from_iter([hasher.hash_one((true, expr, part))]))
}

// === reach ===

/// Routes of which every request is taken by an earlier one.
pub(super) fn unreached(routes: &[Route], looks: &[Look], hasher: &RandomState, problems: &mut Problems) {
    // Few conditions stand twice, and only those are kept.
    let repeated = repeated(looks.iter().map(|look| look.hash).collect());
    #[expect(clippy::mutable_key_type, reason = "what is mutable in a regular expression is its cache")]
    let mut equal: HashMap<&Condition, (&Route, &Look)> = HashMap::new();
    let mut earlier = Earlier::new(hasher);
    let mut always: Option<(&Route, &Look)> = None;
    let mut budget = PAIRS;
    for (route, look) in routes.iter().zip(looks) {
        // Only a live route without a key takes every request that its condition matches.
        let takes_all =
            route.state == State::Live && route.outcome.deal.as_ref().is_none_or(|deal| deal.key.is_none());
        let covering = always.or_else(|| {
            if repeated.contains(&look.hash) {
                match equal.entry(&route.condition) {
                    Entry::Occupied(first) => return Some(*first.get()),
                    Entry::Vacant(entry) if takes_all => _ = entry.insert((route, look)),
                    Entry::Vacant(_) => {}
                }
            }
            // They are not equal, or the first of those that are would have been found.
            let covers = |first: &Route, budget: &mut usize| {
                implies_other(&route.condition, &first.condition, 4, budget)
            };
            if budget > 0 { earlier.find(route, &mut budget, covers) } else { None }
        });
        // One that is never true has been told so already; a paused one is not reached anyway.
        if let Some((first, at)) = covering
            && route.state != State::Paused
            && look.truth != Some(false)
        {
            problems.push(
                Problem::new(
                    Code::NeverReached,
                    look.name,
                    format!("the route `{}` is never reached", route.name),
                )
                .label(format!("`{}` takes every request that it could", first.name))
                .related(at.name, "that route stands")
                .help("put the narrower route first"),
            );
        }
        if takes_all && budget > 0 {
            earlier.push(route, look);
        }
        if takes_all && look.truth == Some(true) {
            always.get_or_insert((route, look));
        }
    }
}

/// Whether `wide` is surely true wherever `narrow` is. `depth` bounds the work on nested rows.
#[inline]
fn implies(narrow: &Condition, wide: &Condition, depth: usize, budget: &mut usize) -> bool {
    // Rows in rows multiply: each step is paid for, and not only each pair of routes.
    if !spend(budget, 1) {
        return false;
    }
    match (narrow, wide) {
        // The usual case: of one thing at most is asked whether it is equal.
        (Condition::Test(narrow), Condition::Test(wide)) => {
            same(&narrow.expr, &wide.expr)
                && ((narrow.negated == wide.negated
                    && spend(budget, length(narrow).min(length(wide)) / SEARCHED)
                    && narrow.predicate == wide.predicate)
                    || (depth > 0 && test_implies(narrow, wide, budget)))
        }
        _ => {
            (discriminant(narrow) == discriminant(wide) && equal(narrow, wide, budget))
                || implies_other(narrow, wide, depth, budget)
        }
    }
}

/// As [`implies`], of another condition.
fn implies_other(narrow: &Condition, wide: &Condition, depth: usize, budget: &mut usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let short = |parts: &[Condition]| parts.len() <= PARTS;
    match (narrow, wide) {
        (_, Condition::Constant(true)) => true,
        (Condition::Any(parts), _) if short(parts) => {
            parts.iter().all(|part| implies(part, wide, depth, budget))
        }
        (_, Condition::All(parts)) if short(parts) => {
            parts.iter().all(|part| implies(narrow, part, depth, budget))
        }
        (_, Condition::Any(parts))
            if short(parts) && parts.iter().any(|part| implies(narrow, part, depth, budget)) =>
        {
            true
        }
        (Condition::All(parts), _) if short(parts) => {
            parts.iter().any(|part| implies(part, wide, depth, budget))
        }
        (Condition::Test(narrow), Condition::Test(wide)) => {
            same(&narrow.expr, &wide.expr) && test_implies(narrow, wide, budget)
        }
        _ => false,
    }
}

/// Whether two conditions are equal. Long ones may differ at their ends only, so that each step is paid for here too.
fn equal(a: &Condition, b: &Condition, budget: &mut usize) -> bool {
    match (a, b) {
        (Condition::Not(a), Condition::Not(b)) => spend(budget, 1) && equal(a, b, budget),
        (Condition::All(a), Condition::All(b)) | (Condition::Any(a), Condition::Any(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| spend(budget, 1) && equal(a, b, budget))
        }
        (Condition::Test(a), Condition::Test(b)) => {
            spend(budget, length(a).min(length(b)) / SEARCHED) && a == b
        }
        _ => a == b,
    }
}

/// How long a test is in the text, which is as long as it takes to compare.
fn length(test: &Test) -> usize {
    test.span.end - test.span.start
}

/// Whether the two are equal; most that are not are different fields.
#[inline]
fn same(a: &Expr, b: &Expr) -> bool {
    match (a, b) {
        (Expr::Field(a), Expr::Field(b)) => discriminant(a) == discriminant(b) && a == b,
        _ => a == b,
    }
}

/// As [`implies`], of two tests of one expression that are not equal.
fn test_implies(narrow: &Test, wide: &Test, budget: &mut usize) -> bool {
    match (narrow.negated, wide.negated) {
        (false, false) => predicate_implies(&narrow.predicate, &wide.predicate, budget),
        // Not in the larger list: not in the smaller one either.
        (true, true) => predicate_implies(&wide.predicate, &narrow.predicate, budget),
        _ => false,
    }
}

/// Whether every value that satisfies `narrow` satisfies `wide`, another predicate.
fn predicate_implies(narrow: &Predicate, wide: &Predicate, budget: &mut usize) -> bool {
    match (narrow, wide) {
        // Two that are not equal.
        (Predicate::Compare(Order::Equal, value), other @ Predicate::Compare(Order::Equal, _)) => {
            affordable(value, other, budget);
            false
        }
        (Predicate::Compare(Order::Equal, value), wide) => {
            affordable(value, wide, budget) && satisfies(value, wide)
        }
        (Predicate::In(Set::Members(_, narrow)), Predicate::In(Set::Members(_, wide))) => {
            spend(budget, narrow.len() + wide.len()) && members_within(narrow, wide)
        }
        (Predicate::In(Set::Members(_, narrow)), Predicate::In(Set::Supplied(wide))) => {
            // Both ends in a list do not put in it what lies between them.
            spend(budget, narrow.len()) && narrow.iter().all(|(from, to)| from == to && wide.contains(from))
        }
        (Predicate::In(Set::Members(_, members)), wide) => {
            members.len() <= PARTS
                && members
                    .iter()
                    .all(|(from, to)| from == to && affordable(from, wide, budget) && satisfies(from, wide))
        }
        (Predicate::Compare(a, x), Predicate::Compare(b, y)) => {
            let Some((x, y)) = ordinal(x).zip(ordinal(y)) else {
                return match (number(x), number(y)) {
                    (Some(x), Some(y)) => narrower(*a, x.cmp(&y), *b),
                    _ => false,
                };
            };
            narrower(*a, x.cmp(&y), *b)
        }
        (Predicate::StartsWith(a), Predicate::StartsWith(b)) => a.starts_with(b),
        (Predicate::EndsWith(a), Predicate::EndsWith(b)) => a.ends_with(b),
        (
            Predicate::StartsWith(a) | Predicate::EndsWith(a) | Predicate::Contains(a),
            Predicate::Contains(b),
        ) => memchr::memmem::find(a, b).is_some(),
        // The end that means nothing goes first: `/v2/` itself is under `/v2//`, and what is below it is not.
        (Predicate::PathUnder(a), Predicate::PathUnder(b)) => {
            crate::schema::http::path_under(a.strip_suffix(b"/").unwrap_or(a), b)
        }
        (Predicate::HostUnder(a), Predicate::HostUnder(b)) => {
            crate::schema::http::host_under(a.strip_suffix(b".").unwrap_or(a), b)
        }
        _ => false,
    }
}

/// Pays for some work, and says whether anything is left.
fn spend(budget: &mut usize, work: usize) -> bool {
    *budget = budget.saturating_sub(work);
    *budget > 0
}

/// Pays for the search of a value, and says whether anything is left.
fn affordable(value: &Value<'_>, predicate: &Predicate, budget: &mut usize) -> bool {
    let length = if let Value::String(text) = value { text.len() } else { 0 };
    let work = match predicate {
        Predicate::Matches(pattern) => length.saturating_mul(pattern.bytes()) / MATCHED,
        _ => length / SEARCHED,
    };
    spend(budget, work)
}

/// Whether every member of one list is in the other.
fn members_within(narrow: &[Range], wide: &[Range]) -> bool {
    let exact: HashSet<&Range> = wide.iter().collect();
    let ranges = wide.iter().filter(|(from, to)| from != to);
    let few = ranges.clone().count() <= PARTS;
    narrow.iter().all(|member| {
        exact.contains(member)
            || (few
                && ranges
                    .clone()
                    .any(|(from, to)| within(&member.0, from, to) && within(&member.1, from, to)))
    })
}

/// Whether `… a x` implies `… b y`, when `x` compares to `y` as `ordering` says.
fn narrower(a: Order, ordering: std::cmp::Ordering, b: Order) -> bool {
    match (a, b) {
        (Order::Below, Order::Below | Order::AtMost) | (Order::AtMost, Order::AtMost) => ordering.is_le(),
        (Order::AtMost, Order::Below) => ordering.is_lt(),
        (Order::Above, Order::Above | Order::AtLeast) | (Order::AtLeast, Order::AtLeast) => ordering.is_ge(),
        (Order::AtLeast, Order::Above) => ordering.is_gt(),
        _ => false,
    }
}

/// Whether one value satisfies a predicate that needs no request.
fn satisfies(value: &Value<'_>, predicate: &Predicate) -> bool {
    let text: &[u8] = match value {
        Value::String(text) => text,
        _ => b"",
    };
    match predicate {
        Predicate::Compare(order, other) => match ordinal(value).zip(ordinal(other)) {
            Some((a, b)) => order.holds(a.cmp(&b)),
            None => match (number(value), number(other)) {
                (Some(a), Some(b)) => order.holds(a.cmp(&b)),
                // What has no order is only asked to be equal.
                _ => value == other,
            },
        },
        Predicate::In(Set::Supplied(list)) => list.contains(value),
        Predicate::In(Set::Members(_, members)) => members.iter().any(|(from, to)| within(value, from, to)),
        Predicate::StartsWith(part) => text.starts_with(part),
        Predicate::EndsWith(part) => text.ends_with(part),
        Predicate::Contains(part) => memchr::memmem::find(text, part).is_some(),
        Predicate::PathUnder(root) => crate::schema::http::path_under(text, root),
        Predicate::HostUnder(domain) => crate::schema::http::host_under(text, domain),
        Predicate::Matches(pattern) => pattern.is_match(text),
        Predicate::IsTrue => *value == Value::Bool(true),
        Predicate::CompareTo(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::resolve_condition;
    use crate::diagnostic::Problems;
    use crate::limits::Limits;
    use crate::schema::{Names, Schema};
    use crate::syntax::{Arena, parse_condition};

    fn test() -> impl Strategy<Value = String> {
        let text = || {
            prop::sample::select(vec!["/", "/v2", "/v2/", "/v2/a", "/v2/abcdefgh", "/v2/abcdefgh/ij", "x"])
        };
        let field = prop::sample::select(vec!["path", "cookie(uid)", "lower(cookie(uid))"]);
        let comparison = prop_oneof![
            text().prop_map(|text| format!("== \"{text}\"")),
            text().prop_map(|text| format!("!= \"{text}\"")),
            text().prop_map(|text| format!("starts_with \"{text}\"")),
            text().prop_map(|text| format!("contains \"{text}\"")),
            prop::collection::vec(text(), 1..3).prop_map(|texts| format!("in {texts:?}")),
            prop::collection::vec(text(), 1..3).prop_map(|texts| format!("not in {texts:?}")),
        ];
        let under = text().prop_map(|text| format!("path under \"{text}\""));
        prop_oneof![4 => (field, comparison).prop_map(|(field, comparison)| format!("{field} {comparison}")), 1 => under]
    }

    fn condition() -> impl Strategy<Value = String> {
        test().prop_recursive(3, 8, 3, |inner| {
            (prop::collection::vec(inner, 1..4), 0..3).prop_map(|(parts, row)| match row {
                0 => format!("({})", parts.join(" && ")),
                1 => format!("({})", parts.join(" || ")),
                _ => format!("!({})", parts[0]),
            })
        })
    }

    fn typed(text: &str) -> Condition {
        let (schema, limits, arena) = (Schema::new(), Limits::default(), Arena::new());
        let mut problems = Problems::new(limits.diagnostics);
        let tree = parse_condition(text, &arena, &limits, &mut problems).unwrap();
        resolve_condition(&tree, text, "", &Names::new(&schema), &limits, &mut problems).unwrap()
    }

    proptest! {
        #[test]
        fn what_implies_a_test_has_one_of_its_keys(narrow in condition(), wide in condition()) {
            let hasher = RandomState::default();
            let (narrow, wide) = (typed(&narrow), typed(&wide));
            let mut budget = PAIRS;
            let parts = if let Condition::All(parts) = &wide { parts.as_slice() } else { std::slice::from_ref(&wide) };
            let mut keys = Keys::new();
            narrow_keys(&narrow, &hasher, &mut keys);
            if implies(&narrow, &wide, 4, &mut budget) {
                for wide in parts.iter().filter_map(|part| wide_keys(part, &hasher)) {
                    prop_assert!(wide.iter().any(|key| keys.contains(key)));
                }
            }
        }
    }
}
