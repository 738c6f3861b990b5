//! What the gateway says while it runs, on stderr: which rules went live, what was refused and why, which servers are out.

use std::collections::HashMap;
use std::time::Duration;

use pointsman::middleware::{Health, UpstreamState};
use pointsman::source::{Status, StatusReader};
use pointsman::{Engine, RuleSet};
use tokio::time::interval;

/// How often servers are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Tells what happens, until it is dropped.
pub(crate) struct Console {
    engine: Engine,
    told: Told,
}

/// What has been said last.
#[derive(Default)]
struct Told {
    revision: u64,
    rejected: Option<String>,
    /// What is wrong with the source.
    failing: Option<String>,
    last_good: Option<String>,
}

// === impl Console ===

impl Console {
    pub(crate) fn new(engine: &Engine) -> Self {
        let mut console = Console { engine: engine.clone(), told: Told::default() };
        console.rules();
        console
    }

    /// Follows the rules.
    pub(crate) async fn follow(mut self, mut source: StatusReader) {
        let mut status = source.status();
        loop {
            self.source(&status);
            self.rules();
            status = source.changed().await;
        }
    }

    /// The rules that run, if they are new.
    fn rules(&mut self) {
        let rules = self.engine.rules();
        if rules.revision() != self.told.revision {
            self.told.revision = rules.revision();
            say(&live(&rules));
        }
    }

    fn source(&mut self, status: &Status) {
        let running = status.running.revision;
        // A text that is refused again and again is told once.
        let rejected = status.rejected.as_ref().map(|rejected| rejected.digest.to_string());
        if let Some(refused) = status.rejected.as_ref().filter(|_| rejected != self.told.rejected) {
            say(&format!("{}\nrules refused; revision {running} goes on", refused.diagnostics));
        }
        self.told.rejected = rejected;

        let failure = status.source.last_error.as_ref().filter(|_| status.source.failures > 0);
        let failing = failure.map(|failure| failure.message.clone());
        match &failing {
            Some(why) if failing != self.told.failing => {
                say(&format!("no rules from {}: {why}; revision {running} goes on", status.source.name));
            }
            None if self.told.failing.is_some() => say(&format!("{} is back", status.source.name)),
            _ => {}
        }
        self.told.failing = failing;

        let problem = status.last_good.as_ref().and_then(|file| file.problem.clone());
        if let Some(problem) = problem.as_ref().filter(|_| problem != self.told.last_good) {
            say(&format!("the last good rules are not kept: {problem}"));
        }
        self.told.last_good = problem;
    }
}

/// One line, and the lints if there are some.
fn live(rules: &RuleSet) -> String {
    with_lints(rules, &format!("rules live: revision {}, ", rules.revision()))
}

/// For rules that were only looked at.
pub(crate) fn sound(rules: &RuleSet) -> String {
    with_lints(rules, "the rules are sound: ")
}

fn with_lints(rules: &RuleSet, line: &str) -> String {
    let statements = rules.statements().len() + rules.gateway().len();
    let lints = rules.lints();
    match lints.len() + lints.left_out() {
        0 => format!("{line}{statements} statements"),
        warnings => format!("{lints}\n{line}{statements} statements, {warnings} warnings"),
    }
}

/// Looks at the servers every now and then.
pub(crate) async fn watch(health: Health) {
    let mut out = HashMap::<(String, String), u64>::new();
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        for cluster in health.status().clusters {
            for server in cluster.upstreams {
                let name = format!("{} of {}", server.name, cluster.cluster);
                let key = (cluster.cluster.clone(), server.name);
                let healthy = server.state == UpstreamState::Healthy;
                if !healthy && out.get(&key) != Some(&server.ejections) {
                    let failures = server.consecutive_failures;
                    say(&format!("server {name} is out, after {failures} failures in a row"));
                    out.insert(key, server.ejections);
                } else if healthy && out.remove(&key).is_some() {
                    say(&format!("server {name} is back"));
                }
            }
        }
    }
}

#[allow(clippy::print_stderr, reason = "to be read in a terminal")]
pub(crate) fn say(what: &str) {
    eprintln!("{what}");
}
