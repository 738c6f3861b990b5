//! Decisions a second with one thread and with two, with and without new rules every 100 ms: what threads share, they
//! only read.
//!
//! Each figure is the median of rounds of 300 ms that take turns, so that a busy moment of the machine costs all alike.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a bench may stop")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pointsman::Engine;

mod load;

const ROUND: Duration = Duration::from_millis(300);
const ROUNDS: usize = 7;
const SWAP: Duration = Duration::from_millis(100);

fn main() {
    println!(
        "{:<12} {:>8} {:>16} {:>16} {:>7}",
        "rules", "swapped", "1 thread, M/s", "2 threads, M/s", "ratio"
    );
    for (name, rules) in [("one", load::W1.to_owned()), ("20 mixed", load::mixed(20))] {
        let engine = load::engine(&rules);
        let mut rates: [[Vec<f64>; 2]; 2] = Default::default();
        for _ in 0..ROUNDS {
            for (swapped, rates) in rates.iter_mut().enumerate() {
                for (threads, rates) in rates.iter_mut().enumerate() {
                    rates.push(round(&engine, (swapped == 1).then_some(rules.as_str()), threads + 1));
                }
            }
        }
        for (swapped, rates) in rates.iter_mut().enumerate() {
            let [one, two] = rates.each_mut().map(|rates| median(rates));
            let swapped = if swapped == 1 { "yes" } else { "no" };
            println!("{name:<12} {swapped:>8} {:>16.2} {:>16.2} {:>7.2}", one / 1e6, two / 1e6, two / one);
        }
    }
}

/// Decisions a second of so many threads together.
fn round(engine: &Engine, swapped: Option<&str>, threads: usize) -> f64 {
    let ended = AtomicBool::new(false);
    let start = Instant::now();
    let decided: u64 = thread::scope(|scope| {
        let deciders: Vec<_> = (0..threads).map(|_| scope.spawn(|| decide(engine, &ended))).collect();
        while start.elapsed() < ROUND {
            thread::sleep(SWAP.min(ROUND.saturating_sub(start.elapsed())));
            if let Some(rules) = swapped {
                engine.replace(rules).expect("the rules are sound");
            }
        }
        ended.store(true, Ordering::Relaxed);
        deciders.into_iter().map(|decider| decider.join().expect("does not panic")).sum()
    });
    decided as f64 / start.elapsed().as_secs_f64()
}

/// Decides until told to end; how often.
fn decide(engine: &Engine, ended: &AtomicBool) -> u64 {
    let requests = load::requests();
    let mut decided = 0;
    while !ended.load(Ordering::Relaxed) {
        for request in &requests {
            black_box(engine.decide(black_box(request)));
        }
        decided += requests.len() as u64;
    }
    decided
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
