//! Edits of a text change what they are asked to, and no other byte.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests"
)]

mod common;

use common::Choices;
use insta::assert_snapshot;
use pointsman::engine::{EditErrorKind, Statement, StatementKind, StatementName};
use pointsman::{Engine, Limits, State, format, with_state, with_weights};
use proptest::prelude::*;

const SHOP: &str = "\u{feff}# even since May
cluster prod = prod_a  50.0 , # the old one
               \"prod_b\" 50 by cookie(uid)   # the new one
paused  route sale: now >= \"2026-11-27T00:00:00+08:00\" => gray
shadow # for a week
route next: percent(cookie(uid)) < 0.5 => gray 5,prod 95
route prod: host == \"x\" => gray
default=>gray 0.5,prod 99.5\r
";

fn shop(statement: &str, weights: &[(&str, &str)]) -> String {
    with_weights(SHOP, statement, weights.iter().copied()).unwrap()
}

#[test]
fn the_weights_of_a_cluster_change_and_nothing_else() {
    let cluster = (StatementKind::Cluster, "prod");
    let shifted = with_weights(SHOP, cluster, [("prod_b", 80), ("prod_a", 20)]).unwrap();
    assert_eq!(shifted, SHOP.replace("50.0 ,", "20 ,").replace("\"prod_b\" 50", "\"prod_b\" 80"));
}

#[test]
fn routes_and_the_default_have_weights_too() {
    assert_eq!(shop("next", &[("gray", "12.5")]), SHOP.replace("gray 5,prod", "gray 12.5,prod"));
    assert_eq!(shop("default", &[("gray", "1.5000")]), SHOP.replace("gray 0.5", "gray 1.5"));
    let default = (StatementKind::Default, "");
    assert_eq!(with_weights(SHOP, default, [("prod", 0)]).unwrap(), SHOP.replace("prod 99.5", "prod 0"));
}

#[test]
fn a_weight_that_is_the_same_stays_as_it_was_written() {
    let cluster = (StatementKind::Cluster, "prod");
    assert_eq!(with_weights(SHOP, cluster, [("prod_a", 50), ("prod_b", 50)]).unwrap(), SHOP);
    assert_eq!(with_weights(SHOP, cluster, [("prod_a", 50.0)]).unwrap(), SHOP);
    assert_eq!(with_weights::<&str, u8>(SHOP, cluster, []).unwrap(), SHOP);
}

#[test]
fn a_rule_is_paused_resumed_and_made_a_shadow() {
    let state = |route, state| with_state(SHOP, route, state).unwrap();
    assert_eq!(state("sale", State::Live), SHOP.replace("paused  route", "route"));
    assert_eq!(state("sale", State::Shadow), SHOP.replace("paused  route", "shadow  route"));
    assert_eq!(state("sale", State::Paused), SHOP);
    assert_eq!(state("next", State::Live), SHOP.replace("shadow #", "#"));
    assert_eq!(state("prod", State::Paused), SHOP.replace("route prod", "paused route prod"));
    // Where nothing stands between two statements, nothing is needed.
    let close = "default => \"a\"route x: true => \"a\"";
    let paused = with_state(close, "x", State::Paused).unwrap();
    assert_eq!(format(&paused, &Limits::default()).unwrap(), "default => a\npaused route x: true => a\n");
    assert_eq!(with_state(&paused, "x", State::Live).unwrap(), close);
}

#[test]
fn what_cannot_be_edited_says_why() {
    let error = |statement: StatementName<'_>, weights: &[(&str, &str)]| {
        let error = with_weights(SHOP, statement, weights.iter().copied()).unwrap_err();
        format!("{:?}: {error}", error.kind())
    };
    let cluster: StatementName<'_> = (StatementKind::Cluster, "prod").into();
    let all = [
        error("prod".into(), &[("prod_a", "5")]),
        error("nxet".into(), &[("gray", "5")]),
        error("sael".into(), &[]),
        error((StatementKind::Cluster, "next").into(), &[]),
        error("sale".into(), &[("gray", "5")]),
        error((StatementKind::Route, "prod").into(), &[("gray", "5")]),
        error(cluster, &[("prod_c", "5")]),
        error(cluster, &[("gray", "5")]),
        error(cluster, &[("prod_a", "5"), ("prod_a", "6")]),
        error(cluster, &[("prod_a", "0"), ("prod_b", "0")]),
        error(cluster, &[("prod_a", "-1")]),
        error(cluster, &[("prod_a", "0.00001")]),
        error(cluster, &[("prod_a", "5 by cookie(x)")]),
        error(cluster, &[("prod_a", "")]),
        error(cluster, &[("prod_a", "1000000001")]),
        error(cluster, &[("prod_a", "NaN")]),
    ];
    assert_snapshot!(all.join("\n"), @"
    AmbiguousStatement: a cluster and a route are called `prod`, say the kind too
    UnknownStatement: there is no statement `nxet`, did you mean `next`?
    UnknownStatement: there is no statement `sael`, did you mean `sale`?
    UnknownStatement: there is no cluster `next`
    NotASplit: route sale has no weights to change: it names one cluster only
    NotASplit: route prod has no weights to change: it names one cluster only
    UnknownTarget: cluster prod does not name the cluster `prod_c`, did you mean `prod_a`?
    UnknownTarget: cluster prod does not name the cluster `gray`
    Weight: the cluster `prod_a` is given two weights
    Weight: the weights of cluster prod: every weight is 0, so no cluster would get anything
    Weight: the weight of `prod_a`: `-1` is negative; percentages and weights are 0 or more
    Weight: the weight of `prod_a`: `0.00001` has more than four decimal places; steps of 0.0001 are the finest there are
    Weight: the weight of `prod_a`: `5 by cookie(x)` is not a decimal number; write it as `5` or `0.25`
    Weight: the weight of `prod_a`: `` is not a decimal number; write it as `5` or `0.25`
    Weight: the weight of `prod_a`: the weight `1000000001` is too large; weights go to 1000000000 and are relative to their sum
    Weight: the weight of `prod_a`: `NaN` is not a decimal number; write it as `5` or `0.25`
    ");
}

#[test]
fn a_text_that_cannot_be_parsed_is_not_edited() {
    let text = "cluster prod = a 5, b 5\nroute x host == \"x\" => a\ndefault => prod";
    let error = with_weights(text, "prod", [("a", 6)]).unwrap_err();
    assert_eq!(error.kind(), EditErrorKind::Text);
    let diagnostics = error.diagnostics().unwrap().to_string();
    assert!(diagnostics.contains("rules:2:9"), "{diagnostics}");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), diagnostics);
    assert_eq!(with_state(text, "x", State::Live).unwrap_err().kind(), EditErrorKind::Text);

    let twice = "route x: true => a route x: false => b default => a";
    let error = with_state(twice, "x", State::Paused).unwrap_err();
    assert_eq!(error.kind(), EditErrorKind::AmbiguousStatement);
    assert_eq!(error.to_string(), "two statements `route` are called `x`");
    let error = with_weights(twice, "x", [("a", 1)]).unwrap_err();
    assert_eq!(error.kind(), EditErrorKind::AmbiguousStatement);

    let none = "default => a 5, b";
    let error = with_weights(none, "default", [("b", 1)]).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (EditErrorKind::NotASplit, "`b` has no weight in the default".into())
    );
    let too_large = "default => a 1000000000";
    let too_large =
        format!("{too_large}{}", (0..100).map(|i| format!(", b{i} 1000000000")).collect::<String>());
    let lighter = with_weights(&too_large, "default", [("a", 0)]).unwrap();
    let error = with_weights(&lighter, "default", [("a", 1)]).unwrap_err();
    assert_eq!(error.kind(), EditErrorKind::Weight);
    assert_eq!(error.to_string(), "the weights of the default: the weights add up to more than 100000000000");
}

#[test]
fn a_rule_set_edits_its_own_text() {
    let rules = "route x: host == \"x\" => prod_a 1, prod_b 1\ndefault => prod_a";
    let engine = Engine::builder().clusters(["prod_a", "prod_b"]).build(rules).unwrap();
    let shifted = engine.rules().with_weights("x", [("prod_b", 3)]).unwrap();
    engine.replace(&shifted).unwrap();
    engine.replace(engine.rules().with_state("x", State::Paused).unwrap()).unwrap();
    assert_eq!(
        engine.rules().text(),
        "paused route x: host == \"x\" => prod_a 1, prod_b 3\ndefault => prod_a"
    );
}

// === laws ===

fn engine(text: &str) -> Engine {
    match Engine::builder().schema(common::schema()).build(text) {
        Ok(engine) => engine,
        Err(error) => panic!("{text}\n{error}"),
    }
}

fn statements(text: &str) -> Vec<Statement> {
    engine(text).rules().statements()
}

/// Steps of 0.0001 as text.
fn written(steps: u64) -> String {
    format!("{}.{:04}", steps / 10_000, steps % 10_000)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..160)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn other_weights_change_those_weights_and_come_back_to_the_same_bytes(
        rules in bytes(),
        new in prop::collection::vec(prop_oneof![0_u64..3, 0_u64..=10_000_000_000_000], 8),
    ) {
        let (text, _) = common::rule_set(&mut Choices::new(&rules)).commented(&mut Choices::new(&rules));
        let before = statements(&text);
        for (at, statement) in before.iter().enumerate() {
            let Some(old): Option<Vec<u64>> = statement.targets.iter().map(|(_, weight)| *weight).collect() else {
                continue;
            };
            let weights = |values: &[u64]| -> Vec<(String, String)> {
                statement.targets.iter().zip(values).map(|((name, _), value)| (name.clone(), written(*value))).collect()
            };
            let name = (statement.kind, &*statement.name);
            let edited = with_weights(&text, name, weights(&new));
            let new = &new[..old.len()];
            if new.iter().all(|weight| *weight == 0) {
                prop_assert_eq!(edited.unwrap_err().kind(), EditErrorKind::Weight);
                continue;
            }
            let edited = edited.unwrap();
            let mut expected = before.clone();
            for (target, new) in expected[at].targets.iter_mut().zip(new) {
                target.1 = Some(*new);
            }
            prop_assert_eq!(statements(&edited), expected, "{}", edited);
            prop_assert_eq!(with_weights(&text, name, weights(&old)).unwrap(), &*text);
            prop_assert_eq!(with_weights(&edited, name, weights(&old)).unwrap(), &*text);
            // What is left of both without the digits is the same.
            let rest = |text: &str| text.replace(|c: char| c.is_ascii_digit() || c == '.', "");
            prop_assert_eq!(rest(&edited), rest(&text));
        }
    }

    #[test]
    fn a_state_changes_that_state_and_a_pause_leaves_no_trace(rules in bytes()) {
        let (text, _) = common::rule_set(&mut Choices::new(&rules)).commented(&mut Choices::new(&rules));
        let before = statements(&text);
        for (at, statement) in before.iter().enumerate().filter(|(_, s)| s.kind == StatementKind::Route) {
            for state in [State::Live, State::Shadow, State::Paused] {
                let edited = with_state(&text, &statement.name, state).unwrap();
                let mut expected = before.clone();
                expected[at].state = state;
                prop_assert_eq!(statements(&edited), expected, "{}", edited);
                if statement.state == State::Live || state != State::Live {
                    prop_assert_eq!(with_state(&edited, &statement.name, statement.state).unwrap(), &*text);
                }
                if statement.state == state {
                    prop_assert_eq!(&*edited, &*text);
                }
            }
        }
    }
}
