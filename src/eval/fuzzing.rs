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

use super::run::{Outcome, Run};
use crate::bytecode::{self, Check, Deal, Hit, Op, Owner, Parts, Program, Slot, SlotId, Target, Test};
use crate::schema::http::CookieName;
use crate::schema::{ClientAddr, Field, Input, List, Order, Pattern, RequestHead, Value, Version};
use crate::split::Split;

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
    assert!(program.ops().is_empty() || !program.to_string().is_empty());
    for _ in 0..3 {
        let Ok(request) = request(u) else { return };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u.arbitrary::<u32>().unwrap_or(0).into());
        let client = ClientAddr::default();
        let input = Input { head: RequestHead::from(&request), now, client: &client };
        let chance = u.arbitrary().unwrap_or(0);

        let mut counted = Vec::new();
        let outcome = Run::new(program, input, chance).decide(|cell| counted.push(cell));
        assert!(counted.iter().all(|cell| (*cell as usize) < program.cells()), "{counted:?}\n{program}");
        assert_eq!((outcome, counted), walk(program, input, chance), "{program}");
        let hits = Run::new(program, input, chance).matches();
        // A condition's program hits if it is true; a rule set's, if any route's condition is.
        assert!(hits || outcome.route.is_none(), "{program}");
    }
}

/// The decision and its counts by a walk that remembers nothing from one op to the next.
fn walk(program: &Program, input: Input<'_>, chance: u64) -> (Outcome, Vec<u32>) {
    let fresh = || {
        let mut run = Run::new(program, input, chance);
        run.begin();
        run
    };
    let mut counted = Vec::new();
    let mut at = 0;
    let (route, mut target) = loop {
        // Jumps go forward, so there are no more steps than ops; the row is indexed to be sure.
        match program.ops()[at as usize] {
            Op::Test { test, yes, no } => {
                at = if fresh().ask(&program.tests()[test as usize]) { yes } else { no }
            }
            Op::Hit { hit, next } => {
                let hit = program.hits()[hit as usize];
                let outcome = &program.outcomes()[hit.outcome as usize];
                match fresh().deal(outcome) {
                    Some(chosen) => {
                        counted.push(outcome.cell + chosen as u32);
                        if hit.acts {
                            break (Some(hit.route), outcome.targets[chosen]);
                        }
                    }
                    None => counted.push(outcome.cell + outcome.targets.len() as u32),
                }
                assert!(next > at);
                at = next;
            }
            Op::End => break (None, Target::Outcome(program.outcomes().len() as u32 - 1)),
        }
    };
    loop {
        match target {
            Target::Cluster(cluster) => return (Outcome { route, cluster }, counted),
            Target::Outcome(index) => {
                let outcome = &program.outcomes()[index as usize];
                let chosen = fresh().deal(outcome).unwrap_or_else(|| {
                    counted.push(outcome.cell + outcome.targets.len() as u32);
                    let deal = outcome.deal.as_ref().expect("only a key can be absent");
                    deal.split.pick(fresh().chance(deal.seed))
                });
                counted.push(outcome.cell + chosen as u32);
                target = outcome.targets[chosen];
            }
        }
    }
}

/// What is wrong with a program, said a second time and as a list of what must hold.
fn flaw(parts: &Parts) -> Option<&'static str> {
    let Parts { ops, tests, slots, hits, outcomes, memos, cells, clusters } = parts;
    let is = |place: u32, len: usize| (place as usize) < len;
    let ahead = |at: usize, to: u32| at < to as usize && is(to, ops.len());
    let ops_sound = ops.iter().enumerate().all(|(at, op)| match *op {
        Op::Test { test, yes, no } => is(test, tests.len()) && ahead(at, yes) && ahead(at, no),
        Op::Hit { hit, next } => is(hit, hits.len()) && ahead(at, next),
        Op::End => true,
    });
    let tests_sound = tests.iter().all(|test| {
        let other = if let Check::Against(_, other) = test.check { is(other.0, slots.len()) } else { true };
        is(test.slot.0, slots.len()) && other
    });
    let remembered: Vec<u32> = tests.iter().filter_map(|test| test.memo).collect();
    let slots_sound = slots.iter().enumerate().all(|(at, slot)| {
        slot.needs().iter().all(|need| is(need.0, at)) && !matches!(slot, Slot::Modulo(_, i64::MIN..=0))
    });
    let arms = |outcome: &bytecode::Outcome| outcome.deal.as_ref().map_or(1, |deal| deal.split.len());
    let outcomes_sound = outcomes.iter().enumerate().all(|(at, outcome)| {
        let targets = outcome.targets.iter().all(|target| match *target {
            Target::Cluster(cluster) => cluster < *clusters,
            Target::Outcome(inner) => is(inner, at),
        });
        let key = outcome.deal.as_ref().and_then(|deal| deal.key);
        let before: usize = outcomes[..at].iter().map(|outcome| outcome.targets.len() + 1).sum();
        targets
            && outcome.targets.len() == arms(outcome)
            && key.is_none_or(|key| is(key.0, slots.len()))
            && outcome.cell as usize == before
    });
    let all_cells: usize = outcomes.iter().map(|outcome| outcome.targets.len() + 1).sum();
    [
        (matches!(ops.last(), Some(Op::End)), "the end"),
        (ops_sound, "ops"),
        (tests_sound, "tests"),
        (remembered.iter().copied().eq(0..*memos), "memos"),
        (slots_sound, "slots"),
        // Too few are made here to stand on one another deeper than the verifier allows.
        (hits.iter().all(|hit| is(hit.outcome, outcomes.len())), "hits"),
        (outcomes_sound, "outcomes"),
        (outcomes.last().is_some_and(|outcome| outcome.owner == Owner::Default), "the default"),
        (*cells as usize == all_cells, "cells"),
    ]
    .into_iter()
    .find_map(|(sound, what)| (!sound).then_some(what))
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
        let test = Test { slot: SlotId(place(u, slots)?), check: check(u, slots)?, memo };
        parts.tests.push(test);
    }
    let outcomes = u.int_in_range(1..=4)?;
    for at in 0..outcomes {
        let owner = if at + 1 == outcomes { Owner::Default } else { Owner::Route(at) };
        let owner = if u.ratio(1, 150)? { Owner::Logical(0) } else { owner };
        let outcome = outcome(u, owner, at, &parts)?;
        parts.cells += outcome.targets.len() as u32 + 1;
        parts.outcomes.push(outcome);
    }
    for route in 0..u.int_in_range(1..=4)? {
        let hit = Hit { route, outcome: place(u, outcomes)?, acts: u.ratio(3, 4)? };
        parts.hits.push(hit);
    }
    let ops = u.int_in_range(1..=24_u32)?;
    for at in 0..ops {
        let ahead = |u: &mut Unstructured<'_>| match u.int_in_range(0..=150)? {
            150 => u.arbitrary(),
            _ => u.int_in_range(at + 1..=ops),
        };
        let op = match u.int_in_range(0..=9)? {
            0..=5 => Op::Test { test: place(u, parts.tests.len() as u32)?, yes: ahead(u)?, no: ahead(u)? },
            6..=8 => Op::Hit { hit: place(u, parts.hits.len() as u32)?, next: ahead(u)? },
            _ => Op::End,
        };
        parts.ops.push(op);
    }
    parts.ops.push(Op::End);
    match u.int_in_range(0..=200)? {
        200 => parts.cells = u.int_in_range(0..=20)?,
        199 => parts.memos = u.int_in_range(0..=4)?,
        198 => drop(parts.ops.pop()),
        197 => parts.clusters = 0,
        196 => drop(parts.outcomes.pop()),
        195 => parts.outcomes.reverse(),
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
        5 => Check::Time(order, SystemTime::UNIX_EPOCH.into()),
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

fn outcome(u: &mut Unstructured<'_>, owner: Owner, at: u32, parts: &Parts) -> Result<bytecode::Outcome> {
    let arms = u.int_in_range(1..=3_usize)?;
    let target = |u: &mut Unstructured<'_>| {
        Ok(match at > 0 && u.ratio(1, 3)? {
            true => Target::Outcome(place(u, at)?),
            false => Target::Cluster(place(u, parts.clusters)?),
        })
    };
    let targets = (0..arms).map(|_| target(u)).collect::<Result<_>>()?;
    let deal = if arms > 1 || u.ratio(1, 50)? {
        let dealt = if u.ratio(1, 50)? { 1 } else { arms };
        let weights = ["a", "b", "c"].into_iter().zip([5, 1, 2]).take(dealt);
        let key = if u.ratio(3, 4)? { Some(SlotId(place(u, parts.slots.len() as u32)?)) } else { None };
        Some(Deal { split: Split::new(weights).unwrap(), seed: u.int_in_range(0..=3)?, key })
    } else {
        None
    };
    let cell = if u.ratio(1, 150)? { u.arbitrary()? } else { parts.cells };
    Ok(bytecode::Outcome { owner, targets, deal, cell })
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
