//! Replaces the rules while requests are being decided: a release that grows from 0 to 100 %.
//!
//! Run it with `cargo run --example hot_swap`.

use std::error::Error;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use http::Request;
use pointsman::{Diagnostics, Engine};

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut std::io::stdout())
}

fn rules(percent: u32) -> String {
    format!(
        "route release: path under \"/\" => gray {percent}, prod {} by cookie(uid)\n\
         default => prod",
        100 - percent
    )
}

pub(crate) fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder().clusters(["gray", "prod"]).build(rules(0))?;

    let done = AtomicBool::new(false);
    let (released, moves) = thread::scope(|scope| {
        // A clone is a pointer: give one to everybody who decides.
        let workers = [1001, 1002].map(|uid| {
            let (engine, done) = (engine.clone(), &done);
            scope.spawn(move || follow(uid, &engine, done))
        });
        let released = release(&engine);
        done.store(true, Ordering::Relaxed);
        (released, workers.map(thread::ScopedJoinHandle::join))
    });
    released?;
    for moves in moves {
        let (uid, moves) = moves.map_err(|_| "a thread panicked")?;
        // Each stayed with the old version until its share came, and with the new one from then on.
        writeln!(out, "uid {uid}: {}", moves.join(", then "))?;
    }
    writeln!(out, "{} decisions, revision {}", engine.counters().decisions, engine.rules().revision())?;

    // A bad text changes nothing, and says what is wrong with it.
    if let Err(problems) = engine.replace("default => prodd") {
        writeln!(out, "\n{problems}\n\nstill revision {}", engine.rules().revision())?;
    }
    Ok(())
}

fn release(engine: &Engine) -> Result<(), Diagnostics> {
    (1..=100).try_for_each(|percent| engine.replace(rules(percent)).map(drop))
}

/// Asks for one user's cluster over and over, and notes each change.
fn follow(uid: u32, engine: &Engine, done: &AtomicBool) -> (u32, Vec<String>) {
    let mut request = Request::new(());
    if let Ok(cookie) = format!("uid={uid}").parse() {
        request.headers_mut().insert("cookie", cookie);
    }
    let mut moves = Vec::new();
    let mut last = String::new();
    loop {
        let finished = done.load(Ordering::Relaxed);
        let decision = engine.decide(&request);
        if decision.cluster() != last {
            last = decision.cluster().to_owned();
            moves.push(format!("{last} from revision {}", decision.revision()));
        }
        if finished {
            return (uid, moves);
        }
    }
}
