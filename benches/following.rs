//! What following costs a decision: nothing, if all is well. The same engine decides with a follower that takes new rules
//! every 100 ms and without one, in turns, so that both see the same machine.
//!
//! `cargo bench --features source --bench following`
#![allow(missing_docs, reason = "a program")]
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench may stop, and shows"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use http::Request;
use pointsman::Engine;
use pointsman::source::{Follower, Source, SourceError, Text, Update};

mod load;

const EVERY: Duration = Duration::from_millis(100);
const TURN: Duration = Duration::from_millis(500);
const TURNS: usize = 30;

/// Another text every 100 ms; the rules are the same, so that what is measured is.
struct Restless {
    rules: String,
    next: u64,
}

impl Source for Restless {
    async fn next(&mut self) -> Result<Update, SourceError> {
        if self.next > 0 {
            tokio::time::sleep(EVERY).await;
        }
        self.next += 1;
        Ok(Text::new("bench", format!("# {}\n{}", self.next, self.rules), self.next.to_string()).into())
    }
}

/// Nanoseconds of a decision over one turn: of each handful the time, and of those the median and the least.
fn turn(engine: &Engine, requests: &[Request<()>]) -> (f64, f64) {
    let begin = Instant::now();
    let mut times = Vec::with_capacity(1 << 16);
    while begin.elapsed() < TURN {
        let handful = Instant::now();
        for request in requests {
            black_box(engine.decide(black_box(request)).cluster_index());
        }
        times.push(handful.elapsed().as_nanos() as f64 / requests.len() as f64);
    }
    (median(&mut times), times.first().copied().unwrap_or(0.0))
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

fn main() {
    // `cargo test --benches` only wants to see that it runs.
    let turns = if std::env::args().any(|argument| argument == "--bench") { TURNS } else { 1 };
    // The follower has a thread of its own, and compiles on others.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("there are threads");
    let requests = load::requests();
    println!(
        "{:>6} | {:>12} {:>12} {:>7} | {:>12} {:>12} {:>7}",
        "rules", "still", "following", "", "(least)", "", ""
    );
    for count in [1, 20, 1_000] {
        let rules = load::mixed(count);
        let builder = || Engine::builder().clusters(["gray", "prod"]);
        let still = builder().build(&rules).expect("the rules are sound");
        let (mut without, mut with) = (Vec::new(), Vec::new());
        let mut revisions = 0;
        for _ in 0..turns {
            without.push(turn(&still, &requests));
            let source = Restless { rules: rules.clone(), next: 0 };
            let started = runtime.block_on(Follower::new(builder(), source).start());
            let (engine, following) = started.expect("the rules are sound");
            with.push(turn(&engine, &requests));
            revisions += engine.rules().revision() - 1;
            drop(following);
        }
        let column = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let mut pair =
                [&without, &with].map(|turns| median(&mut turns.iter().map(of).collect::<Vec<_>>()));
            let [still, following] = &mut pair;
            (*still, *following, (*following / *still - 1.0) * 100.0)
        };
        let (a, b, more) = column(&|turn| turn.0);
        let (c, d, least) = column(&|turn| turn.1);
        println!(
            "{count:>6} | {a:>9.1} ns {b:>9.1} ns {more:>+6.1}% | {c:>9.1} ns {d:>9.1} ns {least:>+6.1}%  \
             ({revisions} revisions)"
        );
    }
}
