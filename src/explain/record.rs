//! The reference evaluator's walk, written down.

use super::explanation::{Dealt, Explanation, Fallback, Look, Step};
use crate::check::reference::{self, At, Dealer, Observer, Verdict};
use crate::check::typed::{Outcome, Rules, State, Target, Test};
use crate::schema::{Input, StatementKind, Value};

/// How many values of one comparison are shown.
const VALUES: usize = 8;
/// How many bytes of one value are shown.
const BYTES: usize = 120;
/// How many characters of one comparison are shown.
const CONDITION: usize = 200;

/// Decides as the reference does, and says why. `text` is what the rules were resolved from.
pub(crate) fn explain(
    rules: &Rules,
    text: &str,
    revision: u64,
    input: &Input<'_>,
    chance: u64,
) -> (Explanation, Verdict) {
    let mut record = Record { rules, text, steps: Vec::new(), dealt: Vec::new(), fallbacks: Vec::new() };
    let verdict = reference::decide(rules, input, chance, &mut record);
    let Record { steps, dealt, fallbacks, .. } = record;
    let cluster = rules.target_name(Target::Cluster(verdict.cluster)).to_owned();
    let rule = verdict.route.and_then(|at| rules.routes.get(at)).map(|route| route.name.to_string());
    let denied = verdict.matched.iter().filter_map(|noted| rules.gateway.get(noted.statement));
    let denied = denied
        .filter(|statement| statement.kind() == StatementKind::Deny && statement.state == State::Live)
        .map(|statement| statement.name.to_string())
        .next();
    (Explanation { cluster, rule, denied, followed: false, revision, steps, dealt, fallbacks }, verdict)
}

struct Record<'a> {
    rules: &'a Rules,
    text: &'a str,
    steps: Vec<Step>,
    dealt: Vec<Dealt>,
    fallbacks: Vec<Fallback>,
}

// === impl Record ===

impl Observer for Record<'_> {
    fn rule(&mut self, at: At) {
        let found = match at {
            At::Route(at) => self.rules.routes.get(at).map(|r| (StatementKind::Route, &r.name, r.state)),
            At::Gateway(at) => self.rules.gateway.get(at).map(|s| (s.kind(), &s.name, s.state)),
        };
        let Some((kind, name, state)) = found else { return };
        self.steps.push(Step {
            kind,
            rule: name.to_string(),
            state,
            matched: None,
            looked_at: Vec::new(),
            dealt: None,
            key: None,
            no_key: false,
        });
    }

    fn keyed(&mut self, _: At, key: Option<&[u8]>) {
        if let Some(step) = self.steps.last_mut() {
            step.no_key = key.is_none();
            step.key = key.map(readable);
        }
    }

    fn fell_back(&mut self, from: u32, to: Target) {
        let name = |target| self.rules.target_name(target).to_owned();
        let fallback = Fallback { cluster: name(Target::Cluster(from)), instead: name(to) };
        self.fallbacks.push(fallback);
    }

    fn test(&mut self, test: &Test, seen: &[Value<'_>], verdict: bool) {
        let condition = one_line(test.span.of(self.text));
        let mut shown: Vec<String> = seen.iter().take(VALUES).map(shown).collect();
        if seen.len() > VALUES {
            shown.push("…".to_owned());
        }
        if let Some(step) = self.steps.last_mut() {
            step.looked_at.push(Look { condition, seen: shown, ty: test.expr.ty(), verdict });
        }
    }

    fn verdict(&mut self, _: At, verdict: bool) {
        if let Some(step) = self.steps.last_mut() {
            step.matched = Some(verdict);
        }
    }

    fn dealt(&mut self, dealer: Dealer, dealt: Option<reference::Dealt>) {
        let rules = self.rules;
        let (of, outcome, acts): (&str, Option<&Outcome>, bool) = match dealer {
            Dealer::Default => ("default", Some(&rules.default), true),
            Dealer::Logical(at) => match rules.logical.get(at as usize) {
                Some(logical) => (&logical.name, Some(&logical.outcome), true),
                None => ("", None, true),
            },
            Dealer::Route(at) => match rules.routes.get(at) {
                Some(route) => (&route.name, Some(&route.outcome), route.state == State::Live),
                None => ("", None, true),
            },
        };
        let target = dealt.as_ref().and_then(|dealt| outcome?.targets.get(dealt.target));
        let entry = Dealt {
            of: of.to_owned(),
            target: target.map(|target| rules.target_name(*target).to_owned()),
            no_key: dealt.as_ref().is_none_or(|dealt| dealt.key.is_none())
                && outcome.and_then(|outcome| outcome.deal.as_ref()).is_some_and(|deal| deal.key.is_some()),
            weight: dealt.as_ref().and_then(|dealt| weight(outcome?, dealt.target)),
            bucket: dealt.as_ref().map(|dealt| dealt.bucket),
            key: dealt.as_ref().and_then(|dealt| dealt.key.as_deref()).map(readable),
        };
        // What did not act belongs to its step, what did to the outcome.
        match self.steps.last_mut() {
            Some(step) if !acts || entry.target.is_none() => step.dealt = Some(entry),
            _ => self.dealt.push(entry),
        }
    }

    fn paused(&mut self, at: At) {
        self.rule(at);
    }
}

/// The weight of a target, and the sum of all.
fn weight(outcome: &Outcome, target: usize) -> Option<(u64, u64)> {
    let split = &outcome.deal.as_ref()?.split;
    let all = split.weights().map(|(_, weight)| weight).sum();
    Some((split.weights().nth(target)?.1, all))
}

/// A value as text.
fn shown(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => readable(text),
        other => other.with_text(|text| String::from_utf8_lossy(text).into_owned()),
    }
}

fn readable(text: &[u8]) -> String {
    let cut = text.get(..BYTES).unwrap_or(text);
    let body = match std::str::from_utf8(cut) {
        Ok(text) => text.to_owned(),
        // A character that was cut in two is escaped, and the dots say that something is missing.
        Err(_) => cut.escape_ascii().to_string(),
    };
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{body}{dots}")
}

/// A piece of rule text on one line, however many it stood on. No string goes over a line, so none is changed.
fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CONDITION) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or("")),
        None => line,
    }
}
