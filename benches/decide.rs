//! How long a decision takes: by how many rules there are, and by which of them matches.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench may stop")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Request;
use pointsman::{Condition, Engine};

mod load;

fn decide(criterion: &mut Criterion) {
    let plain = load::requests();
    let answers = [
        ("first", load::with_header(&plain, "x-first"), Some("r0")),
        ("last", load::with_header(&plain, "x-last"), None),
        ("none", plain.clone(), None),
    ];
    for count in [1, 20, 1_000] {
        let engine = load::engine(&load::mixed(count));
        let last = format!("r{}", count - 1);
        let mut group = criterion
            .benchmark_group(format!("decide, {count} {}", if count == 1 { "rule" } else { "rules" }));
        group.throughput(Throughput::Elements(1));
        for (name, requests, rule) in &answers {
            let rule = if *name == "last" { Some(last.as_str()) } else { *rule };
            assert!(
                requests.iter().all(|request| engine.decide(request).rule() == rule),
                "{name} of {count}"
            );
            each(&mut group, &format!("{name} matches"), requests, |request| engine.decide(request));
        }
    }
}

/// Single rules of the kinds that most rule sets are made of.
fn one_rule(criterion: &mut Criterion) {
    let requests = load::requests();
    let mut group = criterion.benchmark_group("decide, one rule");
    group.throughput(Throughput::Elements(1));
    for (name, rules) in [("host and path prefix", load::W1), ("host and cookie in list", load::W2)] {
        let engine: Engine = load::engine(rules);
        each(&mut group, name, &requests, |request| engine.decide(request));
    }
    let condition = Condition::new(r#"host == "shop.example.com" && path starts_with "/checkout/""#);
    let condition = condition.expect("is sound");
    each(&mut group, "host and path prefix, as a condition", &requests, |request| condition.matches(request));
}

fn explain(criterion: &mut Criterion) {
    let requests = load::requests();
    let engine = load::engine(&load::mixed(20));
    let mut group = criterion.benchmark_group("explain, 20 rules");
    each(&mut group, "none matches", &requests, |request| engine.explain(request));
}

/// Takes one request after the other.
fn each<R>(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    requests: &[Request<()>],
    mut f: impl FnMut(&Request<()>) -> R,
) {
    group.bench_function(name, |bencher| {
        let mut next = requests.iter().cycle();
        bencher.iter(|| next.next().map(|request| f(black_box(request))));
    });
}

criterion_group!(benches, decide, one_rule, explain);
criterion_main!(benches);
