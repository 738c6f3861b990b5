//! Programs that no rule text would become: what the verifier accepts runs, ends and says what a slow walk says,
//! and what it refuses was to be refused.
//!
//! A target of the fuzzer, and a test over what it found: nothing of it is in a build of the crate.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test"
)]

use std::time::{Duration, SystemTime};

use arbitrary::{Result, Unstructured};
use http::{Method, Request};
use memchr::memmem::Finder;

use super::matched::{ALIKE, Matched};
use super::run::{Outcome, Run};
use crate::bytecode::{
    self, Check, Choice, Deal, Owner, Parts, Program, Rule, Slot, SlotId, Step, Target, Test,
};
use crate::schema::http::CookieName;
use crate::schema::{
    Available, ClientAddr, Field, Input, List, Order, Pattern, RequestHead, StatementKind, Value, Version,
};
use crate::split::{self, FALLBACKS, KEYS, Split};

/// Builds a program from bytes, and holds verifier and evaluator to their words. Whether it was accepted; `None` when
/// the bytes are too few for a program.
pub(crate) fn program(data: &[u8]) -> Option<bool> {
    let u = &mut Unstructured::new(data);
    let parts = parts(u).ok()?;
    match parts.clone().verify() {
        Ok(program) => {
            assert_eq!(flaw(&parts), None, "accepted: {parts:?}");
            runs(&program, u);
            Some(true)
        }
        Err(why) => {
            assert!(flaw(&parts).is_some(), "refused because {why}: {parts:?}");
            Some(false)
        }
    }
}

/// Runs a program on a few requests.
fn runs(program: &Program, u: &mut Unstructured<'_>) {
    assert!(!program.to_string().is_empty());
    for _ in 0..3 {
        let Ok(request) = request(u) else { return };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u.arbitrary::<u32>().unwrap_or(0).into());
        let client = ClientAddr::default();
        let chance = u.arbitrary().unwrap_or(0);
        let up = |cluster: u32| chance >> (cluster % 64) & 1 == 0;
        let available = Some(Available(&up));
        let input = Input { head: RequestHead::from(&request), now, client: &client, available };

        let mut counted = Vec::new();
        let outcome = Run::new(program, &input, chance).decide(|cell| counted.push(cell));
        let outcome = Walked::from(outcome);
        assert!(counted.iter().all(|cell| (*cell as usize) < program.cells()), "{counted:?}\n{program}");
        let walked = walk(program, input, chance);
        assert_eq!((&outcome, &counted), (&walked.0, &walked.1), "{program}");
        let mut guarded = Vec::new();
        let guard = Run::new(program, &input, chance).guard(&mut |cell| guarded.push(cell));
        assert_eq!(noted(guard.as_deref()), outcome.noted, "{program}");
        assert!(counted.starts_with(&guarded), "{guarded:?} {counted:?} {program}");
        let matches = Run::new(program, &input, chance).matches();
        // A condition's program matches if it is true; a rule set's, if any route's condition is.
        assert!(matches || outcome.route.is_none(), "{program}");
    }
}

/// A decision that can be compared.
#[derive(Debug, PartialEq, Eq)]
struct Walked {
    route: Option<u32>,
    cluster: u32,
    noted: Vec<Noted>,
}

/// A statement of the service gateway, its key, and where it leads.
type Noted = (u32, Option<Vec<u8>>, Option<u32>);

impl From<Outcome> for Walked {
    fn from(outcome: Outcome) -> Self {
        let Outcome { route, cluster, matched } = outcome;
        Walked { route, cluster, noted: noted(matched.as_deref()) }
    }
}

fn noted(matched: Option<&Matched>) -> Vec<Noted> {
    let hits = matched.into_iter().flat_map(Matched::iter);
    hits.map(|hit| (hit.statement, hit.key.map(<[u8]>::to_vec), hit.cluster)).collect()
}

/// The decision and its counts by a walk that remembers nothing from one step to the next.
fn walk(program: &Program, input: Input<'_>, chance: u64) -> (Walked, Vec<u32>) {
    let ask = |test: u32| Run::new(program, &input, chance).ask(&program.tests()[test as usize]);
    let deal = |outcome: u32| Run::new(program, &input, chance).deal(&program.outcomes()[outcome as usize]);
    let text = |slot: SlotId| Run::new(program, &input, chance).text_of(slot);
    let holds = |rule: usize| {
        let start = program.rules()[rule].start;
        let end = program.rules().get(rule + 1).map_or(program.steps().len(), |next| next.start as usize);
        let mut at = if start as usize == end { Step::TRUE } else { start };
        // Steps lead forward, so there are no more turns than steps; the row is indexed to be sure.
        while at < Step::FALSE {
            let step = program.steps()[at as usize];
            let next = if ask(step.test) { step.yes } else { step.no };
            assert!(next > at);
            at = next;
        }
        at == Step::TRUE
    };
    let mut counted = Vec::new();
    let settle = |outcome: u32, chosen: usize, counted: &mut Vec<u32>| {
        let outcome = &program.outcomes()[outcome as usize];
        let mut open: Vec<(Target, u32)> = outcome.fallback(chosen).into_iter().collect();
        let mut target = outcome.targets()[chosen];
        let mut tries = 0;
        loop {
            match target {
                Target::Cluster(cluster) => {
                    let up = input.available.is_none_or(|Available(up)| up(cluster));
                    if up || open.is_empty() || tries == FALLBACKS {
                        return cluster;
                    }
                    tries += 1;
                    let (fallback, cell) = open.pop().unwrap();
                    counted.push(cell);
                    target = fallback;
                }
                Target::Outcome(index) => {
                    let outcome = &program.outcomes()[index as usize];
                    let chosen = deal(index).unwrap_or_else(|| {
                        counted.push(outcome.keyless());
                        let deal = outcome.deal().expect("only a key can be absent");
                        deal.split.pick(split::hash(&chance.to_le_bytes(), deal.seed))
                    });
                    counted.push(outcome.cell + chosen as u32);
                    open.extend(outcome.fallback(chosen));
                    target = outcome.targets()[chosen];
                }
            }
        }
    };
    let mut noted = Vec::new();
    let (mut denied, mut cached, mut held) = (false, false, 0);
    for (at, rule) in program.rules().iter().enumerate() {
        let outcome = &program.outcomes()[rule.outcome as usize];
        match rule.kind {
            StatementKind::Deny | StatementKind::Limit | StatementKind::Mirror if denied => continue,
            StatementKind::Cache if denied || cached => continue,
            _ if !holds(at) => continue,
            StatementKind::Route => {
                let Some(chosen) = deal(rule.outcome) else {
                    counted.push(outcome.keyless());
                    continue;
                };
                counted.push(outcome.cell + chosen as u32);
                if rule.acts {
                    let cluster = settle(rule.outcome, chosen, &mut counted);
                    return (Walked { route: Some(rule.route), cluster, noted }, counted);
                }
            }
            kind => {
                let alike = |key: &Vec<u8>| {
                    noted.iter().rev().take(ALIKE).any(|(_, other, _): &Noted| other.as_ref() == Some(key))
                };
                let fits = |key: &Vec<u8>| alike(key) || held + key.len() <= KEYS;
                let key = match outcome.key().map(|key| text(key).filter(fits)) {
                    Some(None) => {
                        counted.push(outcome.keyless());
                        continue;
                    }
                    key => key.flatten(),
                };
                held += key.as_ref().filter(|key| !alike(key)).map_or(0, Vec::len);
                let leads = kind == StatementKind::Mirror;
                let cluster = leads.then(|| settle(rule.outcome, 0, &mut counted));
                counted.push(outcome.cell);
                noted.push((rule.route, key, cluster));
                denied |= rule.acts && kind == StatementKind::Deny;
                cached |= rule.acts && kind == StatementKind::Cache;
            }
        }
    }
    let default = program.outcomes().len() as u32 - 1;
    let outcome = &program.outcomes()[default as usize];
    let chosen = deal(default).unwrap_or_else(|| {
        counted.push(outcome.keyless());
        let deal = outcome.deal().expect("only a key can be absent");
        deal.split.pick(split::hash(&chance.to_le_bytes(), deal.seed))
    });
    counted.push(outcome.cell + chosen as u32);
    let cluster = settle(default, chosen, &mut counted);
    (Walked { route: None, cluster, noted }, counted)
}

/// What is wrong with a program, said a second time and as a list of what must hold.
fn flaw(parts: &Parts) -> Option<&'static str> {
    let Parts { rules, steps, tests, slots, outcomes, groups: _, index: _, memos, cells, clusters } = parts;
    let is = |place: u32, len: usize| (place as usize) < len;
    let starts: Vec<usize> = rules.iter().map(|rule| rule.start as usize).chain([steps.len()]).collect();
    let rows_sound = starts[0] == 0 && starts.is_sorted() && starts.iter().all(|start| *start <= steps.len());
    let steps_sound = rows_sound
        && starts.windows(2).all(|row| {
            (row[0]..row[1]).all(|at| {
                let step = steps[at];
                let ahead = |to: u32| to >= u32::MAX - 1 || (at < to as usize && is(to, row[1]));
                is(step.test, tests.len()) && ahead(step.yes) && ahead(step.no)
            })
        });
    let tests_sound = tests.iter().all(|test| {
        let other = if let Check::Against(_, other) = test.check { is(other.0, slots.len()) } else { true };
        is(test.slot.0, slots.len()) && other
    });
    let remembered: Vec<u32> = tests.iter().filter_map(|test| test.memo).collect();
    let slots_sound = slots.iter().enumerate().all(|(at, slot)| {
        slot.needs().iter().all(|need| is(need.0, at)) && !matches!(slot, Slot::Modulo(_, i64::MIN..=0))
    });
    let arms = |outcome: &bytecode::Outcome| outcome.deal().map_or(1, |deal| deal.split.len());
    let outcomes_sound = outcomes.iter().enumerate().all(|(at, outcome)| {
        let targets = outcome.targets().iter().all(|target| match *target {
            Target::Cluster(cluster) => cluster < *clusters,
            Target::Outcome(inner) => is(inner, at),
        });
        let notes = matches!(outcome.choice, Choice::Note(_));
        let inner = |target: &Target| match *target {
            Target::Cluster(_) => true,
            Target::Outcome(inner) => {
                is(inner, at) && !matches!(outcomes[inner as usize].choice, Choice::Note(_))
            }
        };
        let stand_ins = outcome.fallbacks.as_deref();
        let fallbacks = stand_ins.is_none_or(|all| {
            all.len() == outcome.targets().len()
                && all.iter().flatten().all(|target| match *target {
                    Target::Cluster(cluster) => cluster < *clusters,
                    Target::Outcome(_) => inner(target),
                })
        });
        let before: usize = outcomes[..at].iter().map(bytecode::Outcome::cells).sum();
        targets
            && fallbacks
            && outcome.targets().iter().all(inner)
            && (notes || !outcome.targets().is_empty())
            && (notes || outcome.targets().len() == arms(outcome))
            && outcome.key().is_none_or(|key| is(key.0, slots.len()))
            && outcome.cell as usize == before
    });
    let route = |rule: &Rule| rule.kind == StatementKind::Route;
    let kinds_sound = rules.is_sorted_by_key(route)
        && rules
            .iter()
            .all(|rule| outcomes.get(rule.outcome as usize).is_none_or(|outcome| fits(rule.kind, outcome)));
    let all_cells: usize = outcomes.iter().map(bytecode::Outcome::cells).sum();
    [
        (rows_sound, "rules"),
        (steps_sound, "steps"),
        (tests_sound, "tests"),
        (remembered.iter().copied().eq(0..*memos), "memos"),
        (slots_sound, "slots"),
        // Too few are made here to stand on one another deeper than the verifier allows.
        (rules.iter().all(|rule| is(rule.outcome, outcomes.len())), "the rules' outcomes"),
        (outcomes_sound, "outcomes"),
        (
            outcomes.last().is_some_and(|outcome| {
                outcome.owner == Owner::Default && !matches!(outcome.choice, Choice::Note(_))
            }),
            "the default",
        ),
        (kinds_sound, "kinds"),
        (*cells as usize == all_cells, "cells"),
    ]
    .into_iter()
    .find_map(|(sound, what)| (!sound).then_some(what))
}

fn fits(kind: StatementKind, outcome: &bytecode::Outcome) -> bool {
    match (&outcome.choice, kind) {
        (Choice::One(_), StatementKind::Route | StatementKind::Mirror)
        | (Choice::Deal(_), StatementKind::Route) => true,
        (Choice::Note(_), kind) => !matches!(kind, StatementKind::Route | StatementKind::Mirror),
        _ => false,
    }
}

// === programs from bytes ===

/// Mostly sound parts: one choice in some hundred is any at all.
fn parts(u: &mut Unstructured<'_>) -> Result<Parts> {
    let mut parts = Parts { clusters: u.int_in_range(1..=3)?, ..Parts::default() };
    for at in 0..u.int_in_range(1..=12)? {
        let slot = slot(u, at)?;
        parts.slots.push(slot);
    }
    let slots = parts.slots.len() as u32;
    for _ in 0..u.int_in_range(1..=8)? {
        let memo = if u.ratio(1, 3)? { Some(parts.memos) } else { None };
        parts.memos += u32::from(memo.is_some());
        let test = Test { slot: SlotId(place(u, slots)?), check: check(u, slots)?, plain: None, memo };
        parts.tests.push(test);
    }
    let outcomes = u.int_in_range(1..=4)?;
    for at in 0..outcomes {
        let last = at + 1 == outcomes;
        let owner = if last { Owner::Default } else { Owner::Route(at) };
        let owner = if u.ratio(1, 150)? { Owner::Logical(0) } else { owner };
        let notes = !last && u.ratio(1, 3)?;
        let outcome = outcome(u, owner, at, notes, &parts)?;
        parts.cells += outcome.cells() as u32;
        parts.outcomes.push(outcome);
    }
    let rules = u.int_in_range(0..=6)?;
    let gateway = u.int_in_range(0..=rules)?;
    for route in 0..rules {
        let start = parts.steps.len() as u32;
        let kind = if route < gateway { *u.choose(&StatementKind::GATEWAY)? } else { StatementKind::Route };
        let fitting: Vec<u32> =
            (0..).zip(&parts.outcomes).filter(|(_, outcome)| fits(kind, outcome)).map(|(at, _)| at).collect();
        let Ok(chosen) = u.choose(&fitting).copied() else { continue };
        let outcome = if u.ratio(1, 150)? { place(u, outcomes)? } else { chosen };
        parts.rules.push(Rule { start, route, outcome, acts: u.ratio(3, 4)?, kind });
        let end = start + u.int_in_range(0..=6_u32)?;
        for at in start..end {
            let ahead = |u: &mut Unstructured<'_>| match u.int_in_range(0..=150)? {
                150 => u.arbitrary(),
                0..=40 => Ok(Step::TRUE),
                41..=80 => Ok(Step::FALSE),
                _ if at + 1 < end => u.int_in_range(at + 1..=end - 1),
                _ => Ok(Step::FALSE),
            };
            parts.steps.push(Step {
                test: place(u, parts.tests.len() as u32)?,
                yes: ahead(u)?,
                no: ahead(u)?,
            });
        }
    }
    match u.int_in_range(0..=200)? {
        200 => parts.cells = u.int_in_range(0..=20)?,
        199 => parts.memos = u.int_in_range(0..=4)?,
        198 => drop(parts.steps.pop()),
        197 => parts.clusters = 0,
        196 => drop(parts.outcomes.pop()),
        195 => parts.outcomes.reverse(),
        194 => parts.rules.reverse(),
        _ => {}
    }
    Ok(parts)
}

/// A place in a row, once in a while one that is not there.
fn place(u: &mut Unstructured<'_>, len: u32) -> Result<u32> {
    match u.int_in_range(0..=150)? {
        150 => u.arbitrary(),
        _ => u.int_in_range(0..=len.saturating_sub(1)),
    }
}

fn slot(u: &mut Unstructured<'_>, at: u32) -> Result<Slot> {
    if at == 0 || u.ratio(2, 5)? {
        return Ok(Slot::Field(field(u)?));
    }
    let of = SlotId(place(u, at)?);
    Ok(match u.int_in_range(0..=8)? {
        0 => Slot::Literal(value(u)?),
        1 => Slot::Lower(of),
        2 => Slot::Len(of),
        3 => Slot::Int(of),
        4 => Slot::Version(of),
        5 => Slot::Exists(of),
        6 => Slot::Percent(of, u.int_in_range(0..=3)?),
        7 => Slot::Modulo(of, *u.choose(&[1, 2, 3, 7, i64::MAX, 1, 2, 3, 7, 0, -1, i64::MIN])?),
        _ => {
            let sides = u.int_in_range(0..=3)?;
            Slot::Coalesce((0..sides).map(|_| Ok(SlotId(place(u, at)?))).collect::<Result<_>>()?)
        }
    })
}

fn field(u: &mut Unstructured<'_>) -> Result<Field> {
    Ok(match u.int_in_range(0..=11)? {
        0 => Field::Method,
        1 => Field::Scheme,
        2 => Field::Host,
        3 => Field::Port,
        4 => Field::Path,
        5 => Field::RawPath,
        6 => Field::RawQuery,
        7 => Field::Query((*b"q").into()),
        8 => Field::Header(http::HeaderName::from_static("x-a")),
        9 => Field::Cookie(CookieName::new(b"n")),
        10 => Field::Ip,
        _ => Field::Now,
    })
}

const WORDS: [&str; 10] = ["", "a", "A", "abc", "1", "-7", "42", "2.3.0", "/a/b", "a.test"];

fn value(u: &mut Unstructured<'_>) -> Result<Value<'static>> {
    Ok(match u.int_in_range(0..=4)? {
        0 => Value::Int(*u.choose(&[0, 1, -7, 42, i64::MIN, i64::MAX])?),
        1 => Value::Bool(u.arbitrary()?),
        2 => Value::Ip(*u.choose(&["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()])?),
        3 => Value::Version(Version::parse(b"2.3.0").unwrap()),
        _ => Value::from(*u.choose(&WORDS)?),
    })
}

fn check(u: &mut Unstructured<'_>, slots: u32) -> Result<Check> {
    let order = *u.choose(&[Order::Equal, Order::Below, Order::AtMost, Order::Above, Order::AtLeast])?;
    let word = *u.choose(&WORDS)?;
    let bytes = || word.as_bytes().into();
    Ok(match u.int_in_range(0..=15)? {
        0 => Check::IsTrue,
        1 => Check::Bool(u.arbitrary()?),
        2 => Check::Text(bytes()),
        3 => Check::Int(order, *u.choose(&[0, 1, -7, 42])?),
        4 => Check::Percent(order, u.int_in_range(0..=1_000_000)?),
        5 => Check::Time(order, Box::new(SystemTime::UNIX_EPOCH.into())),
        6 => Check::Version(order, Box::new(Version::parse(b"2.3.0").unwrap())),
        7 => Check::Ip("10.0.0.1".parse().unwrap()),
        8 => Check::Against(order, SlotId(place(u, slots)?)),
        9 => Check::In(match u.int_in_range(0..=2)? {
            0 => List::strings(["a", "42"]),
            1 => List::int_ranges([-7..=1, 42..=42]),
            _ => List::networks(["10.0.0.0/8", "::1"]).unwrap(),
        }),
        10 => Check::StartsWith(bytes()),
        11 => Check::EndsWith(bytes()),
        12 => Check::Contains(Box::new(Finder::new(word).into_owned())),
        13 => Check::PathUnder(bytes()),
        14 => Check::HostUnder(bytes()),
        _ => Check::Matches(Pattern::new(u.choose(&["^a", "[0-9]+$", ""])?, 1 << 20).unwrap()),
    })
}

fn outcome(
    u: &mut Unstructured<'_>,
    owner: Owner,
    at: u32,
    notes: bool,
    parts: &Parts,
) -> Result<bytecode::Outcome> {
    let slots = parts.slots.len() as u32;
    let arms = u.int_in_range(1..=3_usize)?;
    let target = |u: &mut Unstructured<'_>| {
        Ok(match at > 0 && u.ratio(1, 3)? {
            true => Target::Outcome(place(u, at)?),
            false => Target::Cluster(place(u, parts.clusters)?),
        })
    };
    let cell = if u.ratio(1, 150)? { u.arbitrary()? } else { parts.cells };
    if notes {
        let key = if u.ratio(1, 2)? { Some(SlotId(place(u, slots)?)) } else { None };
        return Ok(bytecode::Outcome { owner, choice: Choice::Note(key), fallbacks: None, cell });
    }
    let mut fallbacks = None;
    if u.ratio(1, 3)? {
        let len = if u.ratio(1, 50)? { 1 } else { arms };
        let some =
            (0..len).map(|_| Ok(if u.ratio(2, 3)? { Some(target(u)?) } else { None })).collect::<Result<_>>();
        fallbacks = Some(some?);
    }
    if arms == 1 && !u.ratio(1, 50)? {
        return Ok(bytecode::Outcome { owner, choice: Choice::One(target(u)?), fallbacks, cell });
    }
    let targets = (0..arms).map(|_| target(u)).collect::<Result<_>>()?;
    let dealt = if u.ratio(1, 50)? { 1 } else { arms };
    let weights = ["a", "b", "c"].into_iter().zip([5, 1, 2]).take(dealt);
    let key = if u.ratio(3, 4)? { Some(SlotId(place(u, parts.slots.len() as u32)?)) } else { None };
    let split = Split::new(weights).unwrap();
    let deal = Deal { targets, split, seed: u.int_in_range(0..=3)?, key };
    Ok(bytecode::Outcome { owner, choice: Choice::Deal(Box::new(deal)), fallbacks, cell })
}

fn request(u: &mut Unstructured<'_>) -> Result<Request<()>> {
    let uri = *u.choose(&["/", "/a/b?q=42&q=a", "http://a.test:42/%61?q", "/A?q=2.3.0", "*"])?;
    let method = u.choose(&[Method::GET, Method::OPTIONS, Method::CONNECT])?.clone();
    let mut request = Request::builder().method(method).uri(uri);
    for name in ["x-a", "cookie", "host", "x-a", "cookie"] {
        if u.ratio(1, 2)? {
            let word = *u.choose(&WORDS)?;
            request =
                request.header(name, if name == "cookie" { format!("n={word}; n") } else { word.to_owned() });
        }
    }
    Ok(request.body(()).unwrap())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn what_was_found_once() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions/program");
        let mut tried = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let found = super::program(&std::fs::read(&path).unwrap());
            assert!(found.is_some(), "{} is no program any more", path.display());
            tried += 1;
        }
        assert!(tried > 0);
    }

    #[test]
    fn many_programs_from_any_bytes() {
        let mut state = 1_u64;
        let (mut accepted, mut refused) = (0, 0);
        for round in 0..3000 {
            let bytes: Vec<u8> = (0..round % 500)
                .map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                })
                .collect();
            match super::program(&bytes) {
                Some(true) => accepted += 1,
                Some(false) => refused += 1,
                None => {}
            }
        }
        assert!(accepted > 300 && refused > 300, "{accepted} accepted, {refused} refused");
    }
}
