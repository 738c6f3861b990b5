//! Builds engines, holds their answers against the reference, and only then takes their time.
//!
//! Engines run in turn, in rounds that are much shorter than what else a machine does, so that a busy moment costs all of
//! them alike and few rounds at all. Engines that take milliseconds get fewer rounds and fewer requests; every answer
//! that is timed has been checked.

use std::process;
use std::time::{Duration, Instant};

use http::Request;

use crate::engines::{Deadline, Kind, Run, Sort};
use crate::model::{Reference, Rule};
use crate::workloads::{Case, Matches, Spec};

/// How long things may take.
pub(crate) struct Settings {
    /// Building an engine.
    pub(crate) build: Duration,
    /// Checking the answers of an engine to one case.
    pub(crate) check: Duration,
    /// Timing an engine in one case.
    pub(crate) time: Duration,
}

/// One engine in one case.
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) about: &'static str,
    pub(crate) engine: &'static str,
    /// Nothing where the engine cannot say the rules, or is too slow to build.
    pub(crate) numbers: Option<Numbers>,
}

#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) median_ns: f64,
    pub(crate) min_ns: f64,
    /// Allocations a decision.
    pub(crate) allocs: f64,
    pub(crate) build_ns_a_rule: f64,
    /// Bytes that live on after building.
    pub(crate) bytes_a_rule: f64,
}

/// An engine with rules, and what that took.
struct Built {
    run: Box<dyn Run>,
    ns_a_rule: f64,
    bytes_a_rule: f64,
}

/// What an engine is timed with, and what came of it.
struct Turn<'r> {
    run: &'r dyn Run,
    requests: &'static [Request<()>],
    /// How often a round goes through the requests.
    passes: usize,
    /// Whether a round begins with a pass that is not timed, as the others have filled the caches with what is theirs.
    /// Where a pass takes long that makes no difference.
    warm: bool,
    rounds: usize,
    times: Vec<f64>,
}

/// A round is at least this long, so that reading the clock does not count.
const ROUND: Duration = Duration::from_micros(30);
/// Rules are too many for requests that are only checked.
const MANY: usize = 10_000;

// === impl Settings ===

impl Settings {
    pub(crate) fn full() -> Self {
        Settings {
            build: Duration::from_secs(10),
            check: Duration::from_secs(5),
            time: Duration::from_millis(150),
        }
    }

    pub(crate) fn quick() -> Self {
        Settings {
            build: Duration::from_secs(3),
            check: Duration::from_millis(500),
            time: Duration::from_millis(20),
        }
    }
}

/// All engines in all cases of a workload.
pub(crate) fn workload(spec: &Spec, kinds: &[Kind], settings: &Settings) -> Vec<Row> {
    let workload = spec.make();
    let engines: Vec<(&Kind, Option<Built>)> =
        kinds.iter().map(|kind| (kind, build(kind, &workload.rules, settings))).collect();
    let reference = Reference::new(&workload.rules);
    if workload.rules.len() < MANY {
        let [one_value, many_values] = workload.odd;
        let mut expected = answers(&reference, one_value);
        expected.extend(answers(&reference, many_values));
        for (kind, built) in &engines {
            let requests = one_value.iter().chain(many_values.iter().filter(|_| kind.sort == Sort::Exact));
            for (request, expected) in requests.zip(&expected) {
                if let Some(built) = built {
                    compare(&spec.name, kind, built.run.as_ref(), request, *expected);
                }
            }
        }
    }
    let cases = workload.cases.iter();
    cases.flat_map(|case| rows(spec, case, &reference, &engines, settings)).collect()
}

/// Decides `times` requests of a case, for callgrind. `measured` is what it should collect.
pub(crate) fn callgrind(spec: &Spec, case: &str, kind: &Kind, times: usize) {
    let workload = spec.make();
    let settings = Settings { build: Duration::MAX / 4, ..Settings::full() };
    let built = build_once(kind, &workload.rules, &settings);
    let (Some(built), Some(case)) = (built, workload.cases.iter().find(|each| each.name == case)) else {
        fail(&format!("{} cannot do {case}", kind.name));
    };
    built.run.pass(case.requests);
    measured(built.run.as_ref(), case.requests, times);
}

#[inline(never)]
fn measured(run: &dyn Run, requests: &'static [Request<()>], times: usize) {
    let mut left = times;
    while left > 0 {
        let some = &requests[..left.min(requests.len())];
        run.pass(some);
        left -= some.len();
    }
}

// === building ===

/// Builds again and again where that is quick, and takes the least.
fn build(kind: &Kind, rules: &[Rule], settings: &Settings) -> Option<Built> {
    const ENOUGH: Duration = Duration::from_millis(10);
    let begin = Instant::now();
    let mut best = build_once(kind, rules, settings)?;
    for again in 0..30 {
        // A second time in any case that is not slow: the first may wake what is made once a process.
        let enough = if again == 0 { 10 * ENOUGH } else { ENOUGH };
        if begin.elapsed() > enough {
            break;
        }
        let again = build_once(kind, rules, settings)?;
        best.ns_a_rule = best.ns_a_rule.min(again.ns_a_rule);
        // The very first one makes what the engine keeps for the whole process.
        best.bytes_a_rule = best.bytes_a_rule.min(again.bytes_a_rule);
    }
    Some(best)
}

fn build_once(kind: &Kind, rules: &[Rule], settings: &Settings) -> Option<Built> {
    let prepared = (kind.prepare)(rules)?;
    let mut built = None;
    let mut time = Duration::ZERO;
    let memory = allocation_counter::measure(|| {
        let begin = Instant::now();
        built = prepared(Deadline::after(settings.build));
        time = begin.elapsed();
    });
    let count = rules.len() as f64;
    Some(Built {
        run: built?,
        ns_a_rule: time.as_nanos() as f64 / count,
        bytes_a_rule: memory.bytes_current as f64 / count,
    })
}

// === checking ===

fn answers(reference: &Reference<'_>, requests: &[Request<()>]) -> Vec<Option<usize>> {
    requests.iter().map(|request| reference.answer(request)).collect()
}

fn compare(name: &str, kind: &Kind, run: &dyn Run, request: &'static Request<()>, expected: Option<usize>) {
    let answer = run.answer(request);
    if answer != expected {
        fail(&format!("{name}: {} says {answer:?} and not {expected:?} of {request:#?}", kind.name));
    }
}

/// Checks as many requests as there is time for, and says how many, and how long one took.
fn check(
    case: &Case,
    kind: &Kind,
    run: &dyn Run,
    expected: &[Option<usize>],
    limit: Duration,
) -> (usize, Duration) {
    const LEAST: usize = 8;
    let begin = Instant::now();
    let mut checked = 0;
    for (request, expected) in case.requests.iter().zip(expected) {
        if checked >= LEAST && begin.elapsed() > limit {
            break;
        }
        compare(&case.name, kind, run, request, *expected);
        checked += 1;
    }
    (checked, begin.elapsed() / checked.max(1) as u32)
}

/// A wrong answer is worth no number.
pub(crate) fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    process::exit(1);
}

// === timing ===

fn rows(
    spec: &Spec,
    case: &Case,
    reference: &Reference<'_>,
    engines: &[(&Kind, Option<Built>)],
    settings: &Settings,
) -> Vec<Row> {
    let expected = answers(reference, case.requests);
    let matched = expected.iter().flatten().count();
    let sound = match case.matches {
        Matches::All => matched == expected.len(),
        Matches::Some => (1..expected.len()).contains(&matched),
        Matches::None => matched == 0,
    };
    if !sound {
        fail(&format!(
            "{}: {matched} of {} requests match, not {:?}",
            case.name,
            expected.len(),
            case.matches
        ));
    }

    let mut turns: Vec<Option<Turn<'_>>> = engines
        .iter()
        .map(|(kind, built)| {
            let run = built.as_ref()?.run.as_ref();
            let (checked, decision) = check(case, kind, run, &expected, settings.check);
            Some(Turn::new(run, &case.requests[..checked], decision, settings))
        })
        .collect();
    take_turns(&mut turns);

    let rows = engines.iter().zip(turns).map(|((kind, built), turn)| Row {
        workload: case.name.clone(),
        about: spec.about,
        engine: kind.name,
        numbers: built.as_ref().zip(turn).map(|(built, turn)| turn.numbers(built)),
    });
    rows.collect()
}

fn take_turns(turns: &mut [Option<Turn<'_>>]) {
    let most = turns.iter().flatten().map(|turn| turn.rounds).max().unwrap_or_default();
    for round in 0..most {
        for turn in turns.iter_mut().flatten() {
            // Those with fewer rounds spread them over all.
            if round * turn.rounds % most < turn.rounds {
                turn.round();
            }
        }
    }
}

// === impl Turn ===

impl<'r> Turn<'r> {
    fn new(
        run: &'r dyn Run,
        requests: &'static [Request<()>],
        decision: Duration,
        settings: &Settings,
    ) -> Self {
        const LEAST: usize = 3;
        let decision = decision.max(Duration::from_nanos(5)).as_nanos();
        let time = settings.time.as_nanos();
        // A quarter of the time is the most that a round may take; but the mean of less than eight requests says little.
        let some = (time / 4 / decision).max(8).min(requests.len() as u128) as usize;
        let requests = &requests[..some];
        // Again and warm, as the estimate is a cold one.
        let begin = Instant::now();
        run.pass(requests);
        let pass = begin.elapsed().max(Duration::from_nanos(100));
        let passes = (ROUND.as_nanos() / pass.as_nanos()).max(1) as usize;
        let warm = pass < Duration::from_millis(2);
        let round = pass * (passes + usize::from(warm)) as u32;
        let rounds = (time / round.as_nanos()).clamp(LEAST as u128, 1_001) as usize;
        Turn { run, requests, passes, warm, rounds, times: Vec::with_capacity(rounds) }
    }

    fn round(&mut self) {
        if self.warm {
            self.run.pass(self.requests);
        }
        let begin = Instant::now();
        for _ in 0..self.passes {
            self.run.pass(self.requests);
        }
        let time = begin.elapsed().as_nanos() as f64;
        self.times.push(time / (self.passes * self.requests.len()) as f64);
    }

    fn numbers(mut self, built: &Built) -> Numbers {
        self.times.sort_by(f64::total_cmp);
        let memory = allocation_counter::measure(|| self.run.pass(self.requests));
        Numbers {
            median_ns: self.times[self.times.len() / 2],
            min_ns: self.times[0],
            allocs: memory.count_total as f64 / self.requests.len() as f64,
            build_ns_a_rule: built.ns_a_rule,
            bytes_a_rule: built.bytes_a_rule,
        }
    }
}
