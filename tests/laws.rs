//! The laws of the rule language, on generated rules and requests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests"
)]

mod common;

use std::collections::BTreeMap;
use std::time::SystemTime;

use common::{Choices, KINDS, Piece, RuleText, decide, moment};
use http::{Request, Uri};
use pointsman::engine::Moment;
use pointsman::schema::canonical_path;
use pointsman::{Condition, Engine, Limits, State, Statements};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn cases(cases: u32) -> ProptestConfig {
    // What failed once is written to `tests/laws.regressions` and tried first from then on.
    let regressions = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(regressions)), ..ProptestConfig::default() }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..160)
}

fn compile(text: &str) -> Condition {
    let text = text.replace(" words", " [\"a\", \"2.3.0\", \"42\"]");
    match Condition::compile("salt", &text, &common::schema(), &Limits::default()) {
        Ok(condition) => condition,
        Err(error) => panic!("{text}\n{error}"),
    }
}

/// What both evaluators say, which is the same.
#[track_caller]
fn holds(text: &str, request: &Request<()>, now: SystemTime) -> bool {
    let condition = compile(text);
    let compiled = condition.matches_at(request, now);
    let reference = condition.reference_at(request, now);
    assert_eq!(compiled, reference, "{text}\n{request:?}\n{}", condition.disassemble());
    compiled
}

#[track_caller]
fn engine(text: &str) -> Engine {
    match Engine::builder().schema(common::schema()).build(text) {
        Ok(engine) => engine,
        Err(error) => panic!("{text}\n{error}"),
    }
}

// === conditions ===

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn the_program_says_what_the_reference_says(rules in bytes(), requests in prop::collection::vec(bytes(), 1..6)) {
        let condition = compile(&common::condition(&mut Choices::new(&rules), 4));
        for request in &requests {
            let mut c = Choices::new(request);
            let now = common::now(&mut c);
            let request = common::request(&mut c);
            prop_assert_eq!(
                condition.matches_at(&request, now),
                condition.reference_at(&request, now),
                "{}\n{:?}", condition.text(), request
            );
        }
    }

    #[test]
    fn de_morgan_holds(rules in bytes(), request in bytes()) {
        let c = &mut Choices::new(&rules);
        let (a, b) = (common::condition(c, 2), common::condition(c, 2));
        let c = &mut Choices::new(&request);
        let now = common::now(c);
        let request = common::request(c);
        let holds = |text: String| holds(&text, &request, now);
        prop_assert_eq!(holds(format!("!(({a}) && ({b}))")), holds(format!("!({a}) || !({b})")), "{} {}", a, b);
        prop_assert_eq!(holds(format!("!(({a}) || ({b}))")), holds(format!("!({a}) && !({b})")), "{} {}", a, b);
        prop_assert_eq!(holds(format!("!({a})")), !holds(a.clone()), "{}", a);
        prop_assert_eq!(holds(format!("({a}) && ({b})")), holds(a.clone()) && holds(b.clone()), "{} {}", a, b);
        prop_assert_eq!(holds(format!("({a}) || ({b})")), holds(a.clone()) || holds(b.clone()), "{} {}", a, b);
    }

    #[test]
    fn unequal_and_not_in_are_plain_negations(rules in bytes(), request in bytes()) {
        let c = &mut Choices::new(&request);
        let now = common::now(c);
        let request = common::request(c);
        let c = &mut Choices::new(&rules);
        for kind in KINDS {
            let text = common::test(kind, c);
            for (plain, negated) in [(" == ", " != "), (" in ", " not in ")] {
                if text.matches(plain).count() == 1 && !text.contains(" not ") {
                    let turned = text.replace(plain, negated);
                    prop_assert_eq!(holds(&turned, &request, now), holds(&format!("!({text})"), &request, now), "{}", text);
                    prop_assert_eq!(holds(&turned, &request, now), holds(&format!("not {text}"), &request, now), "{}", text);
                }
            }
        }
    }

    #[test]
    fn percent_is_monotone(key in "[a-z0-9]{0,12}", salt in "[a-z]{0,3}", a in 0_u32..=1_000_000, b in 0_u32..=1_000_000) {
        let (low, high) = (a.min(b), a.max(b));
        let request = Request::get("/").header("x-a", key).body(()).unwrap();
        let inside = |steps: u32| {
            let text = format!("percent(header(x-a), {salt:?}) < {}.{:04}", steps / 10_000, steps % 10_000);
            holds(&text, &request, SystemTime::UNIX_EPOCH)
        };
        prop_assert!(!inside(low) || inside(high));
        prop_assert!(!inside(0) && inside(1_000_000));
    }
}

/// One step of a generator of bytes that is the same everywhere.
fn stream(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn the_generators_take_both_branches_of_every_operator() {
    let mut seen: BTreeMap<&str, [u32; 2]> = BTreeMap::new();
    for (at, kind) in KINDS.iter().enumerate() {
        for round in 0..60 {
            let rules = stream(at as u64 * 1000 + round, 40);
            let condition = compile(&common::test(kind, &mut Choices::new(&rules)));
            for other in 0..4 {
                let bytes = stream(0xface + round * 31 + other, 120);
                let c = &mut Choices::new(&bytes);
                let now = common::now(c);
                let verdict = condition.matches_at(&common::request(c), now);
                seen.entry(kind).or_default()[usize::from(verdict)] += 1;
            }
        }
    }
    for (kind, [no, yes]) in &seen {
        // One in forty at least.
        assert!(no.min(yes) * 40 >= no + yes, "{kind}: {no} no, {yes} yes\n{seen:?}");
    }
    let mut whole = [0_u32; 2];
    for round in 0..600 {
        let condition = compile(&common::condition(&mut Choices::new(&stream(round, 120)), 4));
        let bytes = stream(round + 77_000, 120);
        let c = &mut Choices::new(&bytes);
        let now = common::now(c);
        whole[usize::from(condition.matches_at(&common::request(c), now))] += 1;
    }
    assert!(whole[0].min(whole[1]) >= 120, "{whole:?}");
}

// === rule sets ===

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn deciding_is_what_explaining_says(rules in bytes(), requests in prop::collection::vec(bytes(), 1..8)) {
        let engine = engine(&common::rule_set(&mut Choices::new(&rules)).text());
        for request in &requests {
            let c = &mut Choices::new(request);
            let moment = moment(c);
            decide(&engine, &common::request(c), moment);
        }
    }

    #[test]
    fn formatting_keeps_the_meaning_and_is_idempotent(rules in bytes(), requests in prop::collection::vec(bytes(), 1..5)) {
        let text = common::rule_set(&mut Choices::new(&rules)).text();
        let formatted = pointsman::format(&text, &Limits::default()).unwrap();
        prop_assert_eq!(&pointsman::format(&formatted, &Limits::default()).unwrap(), &formatted);
        let (before, after) = (engine(&text), engine(&formatted));
        prop_assert_eq!(before.rules().disassemble(), after.rules().disassemble());
        for request in &requests {
            let c = &mut Choices::new(request);
            let moment = moment(c);
            let request = common::request(c);
            prop_assert_eq!(decide(&before, &request, moment), decide(&after, &request, moment));
        }
    }

    #[test]
    fn comments_survive_a_reprint_in_order(rules in bytes()) {
        let c = &mut Choices::new(&rules);
        let rules = common::rule_set(c);
        let (text, comments) = rules.commented(c);
        let formatted = pointsman::format(&text, &Limits::default()).unwrap();
        let mut rest = formatted.as_str();
        for comment in &comments {
            let mark = format!("# {comment}\n");
            let Some(at) = rest.find(&mark) else { panic!("`{comment}` is lost or moved:\n{text}\n---\n{formatted}") };
            rest = &rest[at + mark.len()..];
        }
        prop_assert_eq!(&pointsman::format(&formatted, &Limits::default()).unwrap(), &formatted, "{}", text);
        prop_assert_eq!(engine(&rules.text()).rules().disassemble(), engine(&formatted).rules().disassemble());
    }

    #[test]
    fn statements_one_by_one_are_the_same_text(rules in bytes(), requests in prop::collection::vec(bytes(), 1..4)) {
        let rules = common::rule_set(&mut Choices::new(&rules));
        let one = engine(&rules.text());
        let two = Engine::builder().schema(common::schema()).build(statements(&rules)).unwrap();
        prop_assert_eq!(one.rules().disassemble(), two.rules().disassemble());
        let formatted = pointsman::format(&rules.text(), &Limits::default()).unwrap();
        let built = two.rules();
        prop_assert_eq!(built.text(), formatted.as_str());
        prop_assert_eq!(one.rules().lints().len(), built.lints().len());
        for request in &requests {
            let c = &mut Choices::new(request);
            let moment = moment(c);
            let request = common::request(c);
            prop_assert_eq!(decide(&one, &request, moment), decide(&two, &request, moment));
        }
    }

    #[test]
    fn a_lint_that_a_route_never_decides_is_true(rules in bytes(), requests in prop::collection::vec(bytes(), 1..12)) {
        let engine = engine(&common::rule_set(&mut Choices::new(&rules)).text());
        let rules = engine.rules();
        let never = common::never_decides(&rules);
        for request in &requests {
            let c = &mut Choices::new(request);
            let moment = moment(c);
            let request = common::request(c);
            if let (_, Some(rule)) = decide(&engine, &request, moment) {
                prop_assert!(!never.contains(&rule), "{}\n{}\n{:?}", rules.text(), rules.lints(), request);
            }
        }
    }
}

fn statements(rules: &RuleText) -> Statements {
    rules.statements.iter().fold(Statements::new(), |all, piece| match piece {
        Piece::List(name, members) => all.list(name, members),
        Piece::Cluster(name, outcome) => all.cluster(name, outcome),
        Piece::Route("", name, condition, outcome) => all.route(name, condition, outcome),
        Piece::Route("shadow ", name, condition, outcome) => all.shadow_route(name, condition, outcome),
        Piece::Route(_, name, condition, outcome) => all.paused_route(name, condition, outcome),
        Piece::Gateway(kind, state, name, condition, outcome) => {
            let state = match *state {
                "" => State::Live,
                "shadow " => State::Shadow,
                _ => State::Paused,
            };
            all.rule(state, *kind, name, condition, outcome)
        }
        Piece::Default(outcome) => all.default(outcome),
    })
}

// === paths ===

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_path_and_its_canonical_form_decide_alike(
        parts in prop::collection::vec(prop::sample::select(vec!["/", "a", "b", "..", ".", "%61", "%2f", "%2F", "%5c", "\\", "%", "checkout", "%2e", "//", "1", "%00", "~", "%7e"]), 0..10),
        rules in bytes(),
    ) {
        let path = format!("/{}", parts.concat());
        let canonical = canonical_path(path.as_bytes()).into_owned();
        prop_assert_eq!(&canonical_path(&canonical).into_owned(), &canonical);
        let request = |path: &[u8]| {
            let mut request = Request::new(());
            Uri::try_from(path).map(|uri| { *request.uri_mut() = uri; request })
        };
        let (Ok(raw), Ok(same)) = (request(path.as_bytes()), request(&canonical)) else { return Ok(()) };
        if raw.uri().authority().is_some() {
            // `//a` alone is a network-path reference to no parser we know, but be sure.
            return Ok(());
        }
        let c = &mut Choices::new(&rules);
        for kind in ["== path", "under path"] {
            let text = common::test(kind, c);
            let at = SystemTime::UNIX_EPOCH;
            prop_assert_eq!(holds(&text, &raw, at), holds(&text, &same, at), "{} {:?}", text, path);
        }
        let literal = String::from_utf8(canonical).unwrap().replace('\\', "\\\\");
        for text in [format!("path == \"{literal}\""), format!("path under \"{literal}\""), format!("path in [\"{literal}\"]")] {
            prop_assert!(holds(&text, &raw, SystemTime::UNIX_EPOCH), "{} {:?}", text, path);
        }
    }
}

// === splits through rule text ===

const CLUSTERS: [&str; 4] = ["gray", "prod", "next", "old-er"];

/// The cluster of each of so many keys.
fn dealt(outcome: &str, keys: usize) -> Vec<String> {
    let engine = engine(&format!("route checkout: true => {outcome} by header(x-a)\ndefault => gray"));
    let moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 0 };
    (0..keys)
        .map(|key| {
            let request = Request::get("/").header("x-a", format!("user-{key}")).body(()).unwrap();
            decide(&engine, &request, moment).0
        })
        .collect()
}

fn outcome(weights: &[u32; 4], order: &[usize; 4]) -> String {
    let arms: Vec<_> =
        order.iter().map(|&i| format!("{} {}.{}", CLUSTERS[i], weights[i] / 10, weights[i] % 10)).collect();
    arms.join(", ")
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn weights_move_no_more_keys_than_they_must(mut before in [0_u32..500, 0_u32..500, 0_u32..500, 0_u32..500], mut after in [0_u32..500, 0_u32..500, 0_u32..500, 0_u32..500]) {
        before[0] += 1;
        after[0] += 1;
        let order = [0, 1, 2, 3];
        let (old, new) = (dealt(&outcome(&before, &order), 200), dealt(&outcome(&after, &order), 200));
        let place = |name: &String| CLUSTERS.iter().position(|c| c == name).unwrap();
        // Whether the weight of `to` grew by the larger factor than that of `from`.
        let grew_more = |from: usize, to: usize| u64::from(after[to]) * u64::from(before[from]) > u64::from(after[from]) * u64::from(before[to]);
        for (old, new) in old.iter().zip(&new) {
            let (from, to) = (place(old), place(new));
            prop_assert!(before[from] > 0 && after[to] > 0);
            prop_assert!(from == to || grew_more(from, to), "{old} to {new}: {before:?} {after:?}");
        }
    }

    #[test]
    fn the_order_of_arms_and_a_common_factor_decide_nothing(weights in [1_u32..500, 0_u32..500, 0_u32..500, 0_u32..500]) {
        let plain = dealt(&outcome(&weights, &[0, 1, 2, 3]), 120);
        prop_assert_eq!(&plain, &dealt(&outcome(&weights, &[3, 1, 0, 2]), 120));
        prop_assert_eq!(&plain, &dealt(&outcome(&weights.map(|w| w * 10), &[2, 3, 0, 1]), 120));
    }
}

#[test]
fn shares_are_the_weights() {
    let dealt = dealt("gray 5, prod 80, next 15", 10_000);
    for (cluster, share) in [("gray", 500.0), ("prod", 8000.0), ("next", 1500.0), ("old-er", 0.0_f64)] {
        let count = dealt.iter().filter(|c| *c == cluster).count() as f64;
        // Five standard deviations; the keys are fixed, so it holds or it does not.
        let spread = 5.0 * (share * (1.0 - share / 10_000.0)).sqrt();
        assert!((count - share).abs() <= spread, "{cluster}: {count}");
    }
}

#[test]
fn salts_are_independent_and_one_salt_is_shared() {
    let engine = engine(concat!(
        "route both: percent(header(x-a), \"one\") < 50 && percent(header(x-a), \"two\") < 50 => gray\n",
        "route one: percent(header(x-a), \"one\") < 50 => prod\n",
        "route two: percent(header(x-a), \"two\") < 50 => next\n",
        "default => old-er",
    ));
    let moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 0 };
    let mut counts = BTreeMap::new();
    for key in 0..8_000 {
        let request = Request::get("/").header("x-a", format!("k{key}")).body(()).unwrap();
        *counts.entry(decide(&engine, &request, moment).0).or_insert(0) += 1;
    }
    for cluster in CLUSTERS {
        // A quarter each, within five standard deviations.
        assert!((1_806..=2_194).contains(&counts[cluster]), "{counts:?}");
    }
    // The default salt is the route's name: the same name and an explicit salt share their buckets.
    let named = |text: &str| -> Vec<bool> {
        let engine = self::engine(text);
        (0..500)
            .map(|key| {
                let request = Request::get("/").header("x-a", format!("k{key}")).body(()).unwrap();
                decide(&engine, &request, moment).0 == "gray"
            })
            .collect()
    };
    let default = named("route exp: percent(header(x-a)) < 30 => gray\ndefault => prod");
    assert_eq!(default, named("route other: percent(header(x-a), \"exp\") < 30 => gray\ndefault => prod"));
    assert_ne!(default, named("route other: percent(header(x-a)) < 30 => gray\ndefault => prod"));
    let dealt = |text: &str| -> Vec<String> {
        let engine = self::engine(text);
        let key = |i| Request::get("/").header("x-a", format!("k{i}")).body(()).unwrap();
        (0..500).map(|i| decide(&engine, &key(i), moment).0.to_owned()).collect()
    };
    let by = |name: &str, salt: &str| {
        dealt(&format!("route {name}: true => gray 50, prod 50 by header(x-a){salt}\ndefault => next"))
    };
    assert_eq!(
        by("a", ""),
        by("b", " salt \"a\""),
        "a rule that is renamed keeps its dealing by its old name"
    );
    assert_ne!(by("a", ""), by("b", ""));
    assert_ne!(by("a", ""), by("a", " salt \"2\""), "another salt deals anew");
}
