//! What is understood but surely not meant.
//!
//! Three questions, none of them answered by guessing: can this literal ever be equal, can this condition ever be
//! true, and is every request that it takes already taken by an earlier route?

use std::collections::hash_map::Entry;
use std::hash::BuildHasher as _;

use foldhash::{HashMap, HashMapExt as _, HashSet};

use super::cover;
use super::typed::{Condition, Expr, Order, Predicate, Route, Set, Test};
use crate::diagnostic::{Code, Problem, Problems, Span};
use crate::schema::{Field, Value, canonical_path};
use crate::syntax::ast::Member;

/// A member of a list: both ends included.
pub(super) type Range = (Value<'static>, Value<'static>);
/// How many parts of one condition are compared with each other.
pub(super) const PARTS: usize = 64;

/// What is found out of each route while it is at hand, for the lints of the rules as a whole.
pub(super) struct Routes {
    looks: Vec<Look>,
    hasher: foldhash::fast::RandomState,
}

/// What is found out of one route.
pub(super) struct Look {
    pub(super) name: Span,
    condition: Span,
    pub(super) truth: Option<bool>,
    /// Of the condition.
    pub(super) hash: u64,
}

// === impl Routes ===

impl Routes {
    pub(super) fn new(about: usize) -> Self {
        Routes { looks: Vec::with_capacity(about), hasher: Default::default() }
    }

    /// Looks at the next route, in whose condition impossible literals were found, or not.
    pub(super) fn look(&mut self, name: Span, at: Span, condition: &Condition, impossible: bool) {
        let (truth, hash) = (truth(condition, impossible), self.hasher.hash_one(condition));
        self.looks.push(Look { name, condition: at, truth, hash });
    }

    /// Lints the routes that were looked at.
    pub(super) fn tell(self, routes: &[Route], problems: &mut Problems) {
        for look in &self.looks {
            if look.truth == Some(false) {
                never_matches(look.condition, problems);
            }
        }
        cover::unreached(routes, &self.looks, &self.hasher, problems);
    }
}

/// Lints one condition, in which impossible literals were found, or not.
pub(super) fn condition(condition: &Condition, span: Span, impossible: bool, problems: &mut Problems) {
    if truth(condition, impossible) == Some(false) {
        never_matches(span, problems);
    }
}

fn never_matches(span: Span, problems: &mut Problems) {
    // A literal that can never be equal has been pointed at already, and is the better place to look.
    let told =
        |p: &Problem| p.code == Code::NeverEqual && span.start <= p.span.start && p.span.end <= span.end;
    if !problems.kept.iter().any(told) {
        problems.push(
            Problem::new(Code::NeverMatches, span, "this condition is never true")
                .label("no request can satisfy it"),
        );
    }
}

// === members ===

/// A member that adds nothing to its list, and the one that has it already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Duplicate {
    pub(super) at: usize,
    first: usize,
    within: bool,
}

/// Members that add nothing, by their `ranges` as values of one type.
pub(super) fn duplicates(ranges: &[Range]) -> Vec<Duplicate> {
    let mut found = Vec::new();
    let mut seen: HashMap<&Range, usize> = HashMap::with_capacity(ranges.len());
    let mut single = Vec::with_capacity(ranges.len());
    for (at, range) in ranges.iter().enumerate() {
        match seen.entry(range) {
            Entry::Occupied(first) => found.push(Duplicate { at, first: *first.get(), within: false }),
            Entry::Vacant(entry) => {
                entry.insert(at);
                single.push(at);
            }
        }
    }
    // Sorted by start, longest first: whatever lies within an earlier range comes after it.
    let key = |at: &usize| ranges.get(*at).and_then(|(from, to)| ordinal(from).zip(ordinal(to)));
    let mut ordered: Vec<_> = single.iter().filter_map(|at| key(at).map(|key| (key, *at))).collect();
    ordered.sort_by(|((a, a_end), _), ((b, b_end), _)| a.cmp(b).then(b_end.cmp(a_end)));
    let mut widest: Option<(Ordinal<'_>, usize)> = None;
    for ((_, end), at) in ordered {
        match &widest {
            Some((reach, first)) if end <= *reach => {
                found.push(Duplicate { at, first: *first, within: true })
            }
            _ => widest = Some((end, at)),
        }
    }
    found
}

/// What is said of a member that adds nothing.
pub(super) fn duplicate(members: &[Member<'_>], duplicate: Duplicate) -> Option<Problem> {
    let (member, first) = members.get(duplicate.at).zip(members.get(duplicate.first))?;
    let (what, label) = if duplicate.within {
        ("a member lies within another", "delete it, or the wider one")
    } else {
        ("a member stands twice", "delete one")
    };
    Some(
        Problem::new(Code::DuplicateMember, member.span(), what)
            .label(label)
            .related(first.span(), "the first stands"),
    )
}

/// Where a value of a type with order stands; addresses of the two families never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ordinal<'v> {
    Int(i64),
    Ip(std::net::IpAddr),
    Version(&'v crate::schema::Version),
    Time(crate::schema::Time),
}

pub(super) fn ordinal<'v>(value: &'v Value<'_>) -> Option<Ordinal<'v>> {
    match value {
        Value::Int(i) => Some(Ordinal::Int(*i)),
        Value::Ip(ip) => Some(Ordinal::Ip(*ip)),
        Value::Version(version) => Some(Ordinal::Version(version)),
        Value::Time(time) => Some(Ordinal::Time(*time)),
        _ => None,
    }
}

// === literals ===

/// What is said of a star. Where it stands for all that is below, as in `/admin/*` and `*.example.com`, `under` does.
fn no_wildcards(field: &str, joint: &[u8], text: &[u8]) -> Option<(String, Option<String>)> {
    let root = match joint {
        b"/" => text.strip_suffix(b"/*").or_else(|| text.strip_suffix(b"/**")),
        _ => text.strip_prefix(b"*."),
    };
    let root = root.filter(|root| !root.is_empty() && !root.contains(&b'*'));
    let instead = match root {
        Some(root) => format!("write `{field} under \"{}\"`", String::from_utf8_lossy(root)),
        None => format!("ask `{field} under …` or `{field} matches …`"),
    };
    Some(("there are no wildcards here: `*` is itself".into(), Some(instead)))
}

/// Why no request that anybody means has this value, and what to write instead.
pub(super) fn impossible(expr: &Expr, value: &Value<'_>) -> Option<(String, Option<String>)> {
    match (expr, value) {
        (Expr::Len(_), Value::Int(..=-1)) => Some(("a length is never negative".into(), None)),
        (Expr::Modulo(_, divisor), Value::Int(i)) if !(0..*divisor).contains(i) => Some((
            format!("a remainder of {divisor} is never {i}"),
            Some(format!("it goes from 0 to {}", divisor - 1)),
        )),
        (Expr::Field(Field::Port), Value::Int(i)) if !(0..=65_535).contains(i) => {
            Some((format!("a port is never {i}"), Some("ports go from 0 to 65535".into())))
        }
        (Expr::Percent(..), Value::Percent(1_000_000)) => {
            Some(("a percentage of a key is never 100".into(), Some("it is below 100; ask `< 100`".into())))
        }
        (expr, Value::String(text)) => impossible_text(expr, text, Whole::Yes),
        _ => None,
    }
}

/// As [`impossible`], for the literals of `starts_with`, `ends_with`, `contains` and `under`.
pub(super) fn impossible_part(expr: &Expr, predicate: &Predicate) -> Option<(String, Option<String>)> {
    match predicate {
        Predicate::StartsWith(text) => impossible_text(expr, text, Whole::Start),
        Predicate::EndsWith(text) | Predicate::Contains(text) => impossible_text(expr, text, Whole::No),
        Predicate::PathUnder(root) => {
            let root = root.strip_suffix(b"/").unwrap_or(root);
            if root.is_empty() {
                // Everything is under the root.
                return None;
            }
            impossible_text(expr, root, Whole::Yes)
        }
        Predicate::HostUnder(domain) => match domain.strip_prefix(b".").filter(|rest| !rest.is_empty()) {
            Some(rest) => Some((
                "a host name has no part before its first dot that is empty".into(),
                Some(format!(
                    "`under` takes in the subdomains already: \"{}\"",
                    String::from_utf8_lossy(rest)
                )),
            )),
            None => match domain.strip_suffix(b".").unwrap_or(domain) {
                // Everything is under the root.
                b"" => None,
                domain => impossible_text(expr, domain, Whole::Yes),
            },
        },
        _ => None,
    }
}

/// How much of a value the literal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    Start,
    No,
}

fn impossible_text(expr: &Expr, text: &[u8], whole: Whole) -> Option<(String, Option<String>)> {
    match expr {
        Expr::Field(field) if is_plain(field, text) => None,
        _ => fault(expr, text, whole),
    }
}

/// Whether a text is such a host or path that there is no fault with it, as nearly all are: parts that are not
/// empty, of letters that need no escape.
fn is_plain(field: &Field, text: &[u8]) -> bool {
    let (joint, rest) = match (field, text) {
        (Field::Host, text) => (b'.', text),
        (Field::Path, [b'/', rest @ ..]) => (b'/', rest),
        _ => return false,
    };
    let mut starts = true;
    for &byte in rest {
        let goes_on = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => true,
            b'A'..=b'Z' | b'_' | b'~' => joint == b'/',
            byte => (byte == joint || byte == b'.') && !starts,
        };
        if !goes_on {
            return false;
        }
        starts = byte == joint;
    }
    // A path may end with a slash.
    joint == b'/' || !starts
}

fn fault(expr: &Expr, text: &[u8], whole: Whole) -> Option<(String, Option<String>)> {
    let upper = text.iter().any(u8::is_ascii_uppercase);
    let lower = || String::from_utf8_lossy(&text.to_ascii_lowercase()).into_owned();
    let say = |reason: &str, instead: Option<String>| {
        Some((reason.to_owned(), instead.map(|i| format!("write \"{i}\""))))
    };
    match expr {
        Expr::Lower(_) if upper => say("`lower(…)` has no upper-case letters", Some(lower())),
        Expr::Field(Field::Host) if upper => say("`host` has no upper-case letters", Some(lower())),
        Expr::Field(Field::Host) if text.contains(&b'*') => no_wildcards("host", b".", text),
        Expr::Field(Field::Host) if whole == Whole::Yes && text.is_empty() => {
            Some(("`host` is never empty text".into(), Some("ask `!exists(host)`".into())))
        }
        Expr::Field(Field::Host) if whole == Whole::Yes && text.ends_with(b".") => {
            say("`host` has no dot at its end", Some(lower().trim_end_matches('.').to_owned()))
        }
        Expr::Field(Field::Host) if text.contains(&b'/') => {
            Some(("`host` is a name and nothing else".into(), Some("ask `scheme` and `path` as well".into())))
        }
        Expr::Field(Field::Host)
            if whole == Whole::Yes
                && text.iter().filter(|b| **b == b':').count() > 1
                && !text.contains(&b'[') =>
        {
            say("an IPv6 literal in `host` keeps its brackets", Some(format!("[{}]", lower())))
        }
        Expr::Field(Field::Host) if text.contains(&b':') && !text.contains(&b'[') && whole == Whole::Yes => {
            Some(("`host` has no port".into(), Some("ask `port` as well".into())))
        }
        Expr::Field(Field::Path) if text.contains(&b'?') || text.contains(&b'#') => {
            Some(("`path` ends before `?` and `#`".into(), Some("a parameter is `query(NAME)`".into())))
        }
        Expr::Field(Field::Path) if text.contains(&b'*') && text != b"*" => no_wildcards("path", b"/", text),
        Expr::Field(Field::Path) if whole == Whole::Yes && text != b"*" => {
            let canonical = canonical_path(text);
            if *canonical == *text && !text.is_empty() {
                return None;
            }
            let instead =
                if text.is_empty() { "/".into() } else { String::from_utf8_lossy(&canonical).into_owned() };
            say("`path` is canonical and never this", Some(instead))
        }
        Expr::Field(Field::Path)
            if whole == Whole::Start && !text.is_empty() && !text.starts_with(b"/") && text != b"*" =>
        {
            say("`path` starts with `/`", Some(format!("/{}", String::from_utf8_lossy(text))))
        }
        Expr::Field(Field::Path) if text.windows(2).any(|two| two == b"//") => Some((
            "`path` is canonical: no two `/` follow each other".into(),
            Some("`raw_path` is as received".into()),
        )),
        Expr::Field(Field::Path)
            if text.windows(4).any(|four| four == b"/../")
                || text.windows(3).any(|three| three == b"/./") =>
        {
            Some((
                "`path` is canonical: it has no dot segments".into(),
                Some("`raw_path` is as received".into()),
            ))
        }
        Expr::Field(Field::Path) if lower_escape(text) => {
            Some(("`path` is canonical: its escapes are upper case".into(), Some("as in \"%2F\"".into())))
        }
        Expr::Field(Field::RawPath) if text.contains(&b'?') => {
            Some(("`raw_path` ends before `?`".into(), Some("a parameter is `query(NAME)`".into())))
        }
        Expr::Field(Field::RawQuery) if whole == Whole::Start && text.starts_with(b"?") => {
            Some(("`raw_query` starts behind `?`".into(), None))
        }
        Expr::Field(Field::Method) if whole == Whole::Yes => {
            const METHODS: [&str; 9] =
                ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
            let meant =
                METHODS.iter().find(|m| m.as_bytes().eq_ignore_ascii_case(text) && m.as_bytes() != text)?;
            say("methods are written in upper case", Some((*meant).to_owned()))
        }
        Expr::Field(Field::Scheme) if upper => say("a scheme is lower case", Some(lower())),
        Expr::Field(Field::Cookie(_)) if text.contains(&b';') => {
            Some(("a cookie's value has no `;`".into(), None))
        }
        Expr::Field(Field::Cookie(_)) if whole == Whole::Yes && text.trim_ascii() != text => say(
            "a cookie's value has no white space around it, but in quotes",
            Some(String::from_utf8_lossy(text.trim_ascii()).into_owned()),
        ),
        Expr::Field(Field::Header(_) | Field::Cookie(_))
            if text.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 127) =>
        {
            Some(("a header has no control characters".into(), None))
        }
        _ => None,
    }
}

/// Whether an escape is written with a lower-case letter.
fn lower_escape(text: &[u8]) -> bool {
    text.windows(3).any(|three| match three {
        [b'%', a, b] => {
            a.is_ascii_hexdigit()
                && b.is_ascii_hexdigit()
                && (a.is_ascii_lowercase() || b.is_ascii_lowercase())
        }
        _ => false,
    })
}

// === truth ===

/// Whether a condition is the same for every request; `None` when that is not certain. Without `impossible` it has
/// no literal of which [`impossible`] or [`impossible_part`] says anything, and they are not asked again.
fn truth(condition: &Condition, impossible: bool) -> Option<bool> {
    match condition {
        Condition::Constant(constant) => Some(*constant),
        Condition::Not(inner) => truth(inner, impossible).map(|truth| !truth),
        Condition::Test(test) => (never_satisfied(test, impossible)).then_some(test.negated),
        Condition::All(parts) => match row(parts, false, impossible) {
            Some(false) => Some(false),
            _ if contradict(parts) => Some(false),
            truth => truth,
        },
        Condition::Any(parts) => row(parts, true, impossible),
    }
}

/// Whether a row of conditions is the same for every request, when one that is `decides` decides.
fn row(parts: &[Condition], decides: bool, impossible: bool) -> Option<bool> {
    let mut all = Some(!decides);
    for part in parts {
        match truth(part, impossible) {
            Some(truth) if truth == decides => return Some(decides),
            Some(_) => {}
            None => all = None,
        }
    }
    all
}

/// Whether no value can satisfy the predicate.
fn never_satisfied(test: &Test, impossible: bool) -> bool {
    match &test.predicate {
        Predicate::In(Set::Members(_, members)) => {
            // Of an empty list, all members are impossible.
            members.len() <= PARTS
                && members.iter().all(|(from, to)| from == to && never_equal(&test.expr, from))
        }
        Predicate::In(Set::Supplied(_))
        | Predicate::IsTrue
        | Predicate::CompareTo(..)
        | Predicate::Matches(_) => false,
        Predicate::Compare(Order::Equal, value) => impossible && never_equal(&test.expr, value),
        Predicate::Compare(order, value) => {
            let (least, most) = bounds(&test.expr);
            let Some(value) = number(value) else { return false };
            match order {
                Order::Below => value <= least,
                Order::AtMost => value < least,
                Order::Above => value >= most,
                Order::AtLeast => value > most,
                Order::Equal => false,
            }
        }
        part @ (Predicate::StartsWith(text)
        | Predicate::EndsWith(text)
        | Predicate::Contains(text)
        | Predicate::PathUnder(text)
        | Predicate::HostUnder(text)) => {
            impossible
                && impossible_part(&test.expr, part).is_some()
                && !possible_on_purpose(&test.expr, text)
        }
    }
}

/// Whether no request at all has this value.
fn never_equal(expr: &Expr, value: &Value<'_>) -> bool {
    let on_purpose = matches!(value, Value::String(text) if possible_on_purpose(expr, text));
    impossible(expr, value).is_some() && !on_purpose
}

/// Whether a client that means to can send what [`impossible`] warns of: a method in lower case, two dots behind a
/// host, a star, blanks in the quotes of a cookie. The author surely did not mean it, but nothing follows from it.
fn possible_on_purpose(expr: &Expr, text: &[u8]) -> bool {
    match expr {
        Expr::Field(Field::Method | Field::Scheme | Field::RawQuery) => true,
        Expr::Field(Field::Host) => text.starts_with(b".") || text.ends_with(b".") || text.contains(&b'*'),
        Expr::Field(Field::Path) => text.contains(&b'*'),
        Expr::Field(Field::Cookie(_)) => text.trim_ascii() != text,
        _ => false,
    }
}

/// The smallest and the largest number that an expression can be.
fn bounds(expr: &Expr) -> (i64, i64) {
    match expr {
        Expr::Percent(..) => (0, 999_999),
        Expr::Len(_) => (0, i64::MAX),
        Expr::Modulo(_, divisor) => (0, divisor - 1),
        Expr::Field(Field::Port) => (0, 65_535),
        _ => (i64::MIN, i64::MAX),
    }
}

pub(super) fn number(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(i) => Some(*i),
        Value::Percent(p) => Some(i64::from(*p)),
        _ => None,
    }
}

/// Whether two parts of a row of `&&` cannot both be true.
fn contradict(parts: &[Condition]) -> bool {
    let parts = parts.get(..parts.len().min(PARTS)).unwrap_or(parts);
    parts.iter().enumerate().any(|(i, a)| {
        parts.iter().skip(i + 1).any(|b| match (a, b) {
            (Condition::Test(a), Condition::Test(b)) if a.expr == b.expr => {
                (a.predicate == b.predicate && a.negated != b.negated)
                    || (!a.negated && !b.negated && a.expr.is_single() && apart(&a.predicate, &b.predicate))
            }
            (Condition::Not(a), b) | (b, Condition::Not(a)) => **a == *b,
            _ => false,
        })
    })
}

/// Whether no single value satisfies both.
fn apart(a: &Predicate, b: &Predicate) -> bool {
    match (a, b) {
        (Predicate::Compare(Order::Equal, a), Predicate::Compare(Order::Equal, b)) => a != b,
        (Predicate::Compare(Order::Equal, value), Predicate::In(Set::Members(_, members)))
        | (Predicate::In(Set::Members(_, members)), Predicate::Compare(Order::Equal, value)) => {
            members.len() <= PARTS && !members.iter().any(|(from, to)| within(value, from, to))
        }
        (Predicate::Compare(a, low), Predicate::Compare(b, high)) => {
            let Some((low, high)) = number(low).zip(number(high)) else { return false };
            match (a, b) {
                (Order::Above | Order::AtLeast, Order::Below | Order::AtMost) => {
                    empty_between(*a, low, *b, high)
                }
                (Order::Below | Order::AtMost, Order::Above | Order::AtLeast) => {
                    empty_between(*b, high, *a, low)
                }
                (Order::Equal, order) => !order.holds(low.cmp(&high)),
                (order, Order::Equal) => !order.holds(high.cmp(&low)),
                _ => false,
            }
        }
        _ => false,
    }
}

/// Whether no whole number is above `low` and below `high`.
fn empty_between(above: Order, low: i64, below: Order, high: i64) -> bool {
    let least = if above == Order::Above { low.checked_add(1) } else { Some(low) };
    let most = if below == Order::Below { high.checked_sub(1) } else { Some(high) };
    match (least, most) {
        (Some(least), Some(most)) => least > most,
        _ => true,
    }
}

pub(super) fn within(value: &Value<'_>, from: &Value<'_>, to: &Value<'_>) -> bool {
    match (ordinal(value), ordinal(from), ordinal(to)) {
        (Some(value), Some(from), Some(to)) => from <= value && value <= to,
        _ => value == from,
    }
}

// === hashes ===

/// The hashes that stand there more than once. To sort them takes less than to ask a large table for each.
pub(super) fn repeated(mut hashes: Vec<u64>) -> HashSet<u64> {
    hashes.sort_unstable();
    hashes
        .windows(2)
        .filter_map(|two| {
            if let [a, b] = two
                && a == b
            {
                Some(*a)
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_fault_with_what_is_plain() {
        let letters = b"aA1.-/_~%?#:*[";
        let mut texts = vec![Vec::new()];
        let mut plain = 0;
        for _ in 0..5 {
            for text in &texts {
                for field in [Field::Host, Field::Path] {
                    let is_plain = is_plain(&field, text);
                    let expr = Expr::Field(field);
                    for whole in [Whole::Yes, Whole::Start, Whole::No] {
                        let fault = fault(&expr, text, whole);
                        assert!(!is_plain || fault.is_none(), "{expr:?} {:?}", String::from_utf8_lossy(text));
                    }
                    plain += usize::from(is_plain);
                }
            }
            let longer = |text: &Vec<u8>| letters.map(|letter| [text.as_slice(), &[letter]].concat());
            texts = texts.iter().flat_map(longer).collect();
        }
        assert!(plain > 500, "{plain}");
    }
}
