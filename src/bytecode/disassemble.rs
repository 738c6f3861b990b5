//! A program for people to read.

use std::fmt::{self, Display};

use super::index::Index;
use super::program::{Check, Choice, Outcome, Program, Slot, SlotId, Step, Target, Test};

impl Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, slot) in self.slots.iter().enumerate() {
            writeln!(f, "s{at} = {slot}")?;
        }
        for (at, test) in self.tests.iter().enumerate() {
            writeln!(f, "t{at} = {test}")?;
        }
        for (at, outcome) in self.outcomes.iter().enumerate() {
            writeln!(f, "o{at} = {outcome}")?;
        }
        let ends = self.rules.iter().skip(1).map(|rule| rule.start as usize).chain([self.steps.len()]);
        for (at, (rule, end)) in self.rules.iter().zip(ends).enumerate() {
            let acts = if rule.acts { "" } else { "  (counts only)" };
            writeln!(f, "rule {at}: {} {} o{}{acts}", rule.kind, rule.route, rule.outcome)?;
            for (at, step) in self.steps.iter().enumerate().take(end).skip(rule.start as usize) {
                writeln!(f, "{at:>4}  t{}  yes {}  no {}", step.test, Place(step.yes), Place(step.no))?;
            }
        }
        match &self.index {
            Some(index) => index.fmt(f),
            None => Ok(()),
        }
    }
}

/// Where a step leads.
struct Place(u32);

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Step::TRUE => f.write_str("true"),
            Step::FALSE => f.write_str("false"),
            at => write!(f, "{at}"),
        }
    }
}

impl Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, node) in self.nodes.iter().enumerate() {
            writeln!(f, "node {at}: always rules {:?}", self.rules(node.rest))?;
            for lookup in &node.lookups {
                let what = lookup.table.name();
                writeln!(
                    f,
                    "      {what} of {}: {} keys, from rule {}",
                    lookup.slot,
                    lookup.table.len(),
                    lookup.first
                )?;
            }
        }
        Ok(())
    }
}

impl Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Literal(value) => value.with_text(|text| write!(f, "\"{}\"", text.escape_ascii())),
            Slot::Field(field) => field.fmt(f),
            Slot::Lower(of) => write!(f, "lower({of})"),
            Slot::Len(of) => write!(f, "len({of})"),
            Slot::Int(of) => write!(f, "int({of})"),
            Slot::Version(of) => write!(f, "version({of})"),
            Slot::Exists(of) => write!(f, "exists({of})"),
            Slot::Percent(of, seed) => write!(f, "percent({of}, seed {seed:016x})"),
            Slot::Coalesce(sides) => {
                for (i, side) in sides.iter().enumerate() {
                    let joint = if i > 0 { " ?? " } else { "" };
                    write!(f, "{joint}{side}")?;
                }
                Ok(())
            }
            Slot::Modulo(of, divisor) => write!(f, "{of} % {divisor}"),
        }
    }
}

impl Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &[u8]| format!("\"{}\"", text.escape_ascii());
        write!(f, "{} ", self.slot)?;
        match &self.check {
            Check::IsTrue => f.write_str("is true")?,
            Check::Bool(b) => write!(f, "== {b}")?,
            Check::Text(text) => write!(f, "== {}", quoted(text))?,
            Check::Int(order, i) => write!(f, "{} {i}", order.symbol())?,
            Check::Percent(order, p) => {
                write!(f, "{} {}", order.symbol(), crate::schema::decimal4(u64::from(*p)))?
            }
            Check::Time(order, time) => write!(f, "{} {time}", order.symbol())?,
            Check::Version(order, version) => write!(f, "{} {version}", order.symbol())?,
            Check::Ip(ip) => write!(f, "== {ip}")?,
            Check::Against(order, other) => write!(f, "{} {other}", order.symbol())?,
            Check::In(list) => write!(f, "in {list:?}")?,
            Check::StartsWith(text) => write!(f, "starts_with {}", quoted(text))?,
            Check::EndsWith(text) => write!(f, "ends_with {}", quoted(text))?,
            Check::Contains(finder) => write!(f, "contains {}", quoted(finder.needle()))?,
            Check::PathUnder(root) => write!(f, "under {}", quoted(root))?,
            Check::HostUnder(domain) => write!(f, "under {}", quoted(domain))?,
            Check::Matches(pattern) => write!(f, "matches {:?}", pattern.text())?,
            Check::Among(pattern, group) => write!(f, "matches {:?}, with group {group}", pattern.text())?,
        }
        match self.memo {
            Some(memo) => write!(f, "  (remembered as m{memo})"),
            None => Ok(()),
        }
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |target: &Target| match target {
            Target::Cluster(index) => format!("cluster {index}"),
            Target::Outcome(index) => format!("o{index}"),
        };
        let fallback = |at: usize| match self.fallback(at) {
            Some((fallback, _)) => format!(" else {}", name(&fallback)),
            None => String::new(),
        };
        let deal = match &self.choice {
            Choice::One(target) => return write!(f, "{}{}", name(target), fallback(0)),
            Choice::Note(None) => return f.write_str("noted"),
            Choice::Note(Some(key)) => return write!(f, "noted by {key}"),
            Choice::Deal(deal) => deal,
        };
        for (i, (target, (_, weight))) in deal.targets.iter().zip(deal.split.weights()).enumerate() {
            let joint = if i > 0 { ", " } else { "" };
            write!(f, "{joint}{} {}{}", name(target), crate::schema::decimal4(weight), fallback(i))?;
        }
        match deal.key {
            Some(key) => write!(f, " by {key}, seed {:016x}", deal.seed),
            None => f.write_str(" by chance"),
        }
    }
}
