#![allow(
    missing_docs,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing
)]
use http::Request;
use pointsman::Engine;
use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;
mod load;
fn rss() -> usize {
    let s = std::fs::read_to_string("/proc/self/statm").unwrap();
    s.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
fn ns(engine: &Engine, requests: &[Request<()>]) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..40 {
        let t = Instant::now();
        for _ in 0..8 {
            for r in requests {
                black_box(engine.decide(black_box(r)));
            }
        }
        best = best.min(t.elapsed().as_nanos() as f64 / (8 * requests.len()) as f64);
    }
    best
}
fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    let requests = load::requests();
    for (name, rules) in [
        ("w1", load::W1.to_string()),
        ("w2", load::W2.to_string()),
        ("w3", load::mixed(20)),
        ("mixed1000", load::mixed(1000)),
    ] {
        if only.contains("build") {
            break;
        }
        let engine = load::engine(&rules);
        println!("{name} {:.1} ns", ns(&engine, &requests));
    }
    for n in [10, 1000, 100_000, 1_000_000] {
        let mut text = String::new();
        for i in 0..n {
            writeln!(text, "route r{i}: host == \"h{i}.example.com\" && path starts_with \"/p{i}/\" => gray")
                .unwrap();
        }
        text += "default => prod\n";
        let before = rss();
        let t = Instant::now();
        let engine = Engine::builder()
            .clusters(["gray", "prod"])
            .limits(pointsman::Limits {
                text_bytes: 1 << 30,
                statements: 2_000_000,
                program_bytes: 1 << 31,
                ..Default::default()
            })
            .build(&*text)
            .map_err(|e| println!("{e}"))
            .unwrap();
        let build = t.elapsed();
        let hits: Vec<_> = (0..256)
            .map(|k| {
                let i = k * 7919 % n;
                Request::get(format!("/p{i}/x"))
                    .header("host", format!("h{i}.example.com"))
                    .header("user-agent", "x")
                    .body(())
                    .unwrap()
            })
            .collect();
        println!(
            "w4 {n}: build {:?} = {:.0} ns a rule, rss +{} B a rule, hit {:.1} ns, miss {:.1} ns",
            build,
            build.as_nanos() as f64 / n as f64,
            (rss().saturating_sub(before)) / n,
            ns(&engine, &hits),
            ns(&engine, &requests)
        );
    }
}
