//! Very many statements of the service gateway: what a request of theirs costs beside compiling them.
#![cfg(feature = "deny")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::time::{Duration, Instant};

use http::{Request, Response};
use pointsman::gateway::DenyLayer;
use pointsman::schema::StatementKind;
use pointsman::{Engine, Limits, Schema};
use tower::{Layer, Service, service_fn};

const MANY: usize = 20_000;

fn took<T>(what: impl FnOnce() -> T) -> (Duration, T) {
    let begin = Instant::now();
    let made = what();
    (begin.elapsed(), made)
}

/// All of them match.
fn engine() -> (Duration, Engine, String) {
    let rules: String = (0..MANY).map(|at| format!("shadow deny d{at}: true => 403\n")).collect();
    let rules = rules + "default => prod";
    let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Deny]);
    let (compiled, engine) = took(|| Engine::builder().schema(schema).build(&*rules).unwrap());
    (compiled, engine, rules)
}

// In either case the work was once in proportion to the square of the number, and took many times as long as to compile.

#[test]
fn looking_at_all_that_a_request_matched_is_quicker_than_compiling_it() {
    let (compiled, engine, _) = engine();
    let decision = engine.decide(&Request::new(()));
    let (looked, count) = took(|| decision.matches().count());
    assert_eq!(count, MANY);
    assert!(looked < compiled, "{looked:?}, and {compiled:?} to compile");
}

#[test]
fn the_first_request_after_a_change_is_quicker_than_the_change() {
    let (_, engine, rules) = engine();
    let layer = DenyLayer::new();
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
    }));
    let mut ask = || {
        let mut request = Request::new(());
        let decision = engine.decide(&request);
        request.extensions_mut().insert(decision);
        took(|| drop(service.call(request))).0
    };
    ask();
    // Under one name each with another place.
    let (compiled, _) =
        took(|| engine.replace(&*format!("shadow deny first: true => 404\n{rules}")).unwrap());
    let asked = ask();
    assert!(asked < compiled, "{asked:?}, and {compiled:?} to compile");
    let counts = layer.counts();
    assert_eq!(counts.len(), MANY + 1);
    assert!(counts.iter().skip(1).all(|count| count.shadow == 2) && counts[0].shadow == 1);
}

#[test]
fn very_many_mirrors_to_a_cluster_that_is_as_deep_as_may_be_are_decided_quicker_than_compiled() {
    // A chain as long as there are mirrors took seconds a request: each walks it.
    let depth = Limits::default().depth;
    let chain: String = (1..depth).map(|at| format!("cluster c{at} = c{}\n", at - 1)).collect();
    let mirrors: String = (0..MANY).map(|at| format!("mirror m{at}: true => c{}\n", depth - 1)).collect();
    let rules = format!("cluster c0 = prod\n{chain}{mirrors}default => prod");
    let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Mirror]);
    let (compiled, engine) = took(|| Engine::builder().schema(schema).build(&*rules).unwrap());
    let (decided, decision) = took(|| engine.decide(&Request::new(())));
    assert_eq!(decision.matches().count(), MANY);
    assert!(decided < compiled, "{decided:?}, and {compiled:?} to compile");
}
