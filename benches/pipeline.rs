//! How long it takes from text to rules that decide.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench may stop")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pointsman::{Limits, format};

mod load;

fn pipeline(criterion: &mut Criterion) {
    let limits = Limits::default();
    for count in [20, 1_000] {
        let text = load::mixed(count);
        let engine = load::engine("default => prod");
        let mut group = criterion.benchmark_group(format!("pipeline, {count} rules"));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function("parse and print", |b| b.iter(|| format(black_box(&text), &limits)));
        group.bench_function("check", |b| b.iter(|| engine.check(black_box(text.as_str()))));
        group.bench_function("replace", |b| b.iter(|| engine.replace(black_box(text.as_str()))));
    }
}

/// Many rules that differ in their literals only, as a table in a database gives them.
fn simple(criterion: &mut Criterion) {
    let count = 10_000;
    let mut text: String = (0..count)
        .map(|i| format!("route r{i}: host == \"h{i}.example.com\" && path starts_with \"/p{i}/\" => gray\n"))
        .collect();
    text.push_str("default => prod\n");
    let engine = load::engine("default => prod");
    let mut group = criterion.benchmark_group(format!("pipeline, {count} simple rules"));
    group.throughput(Throughput::Elements(count)).sample_size(10);
    group.bench_function("replace", |b| b.iter(|| engine.replace(black_box(text.as_str()))));
}

criterion_group!(benches, pipeline, simple);
criterion_main!(benches);
