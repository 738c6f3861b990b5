//! A program for people to read.

use std::fmt::{self, Display};

use super::program::{Check, Op, Outcome, Program, Slot, SlotId, Target, Test};

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
        for (at, op) in self.ops.iter().enumerate() {
            match *op {
                Op::Test { test, yes, no } => writeln!(f, "{at:>4}  test t{test}  yes {yes}  no {no}")?,
                Op::Hit { hit, next } => match self.hits.get(hit as usize) {
                    Some(hit) => {
                        let acts = if hit.acts { "hit" } else { "count" };
                        writeln!(f, "{at:>4}  {acts} route {} o{}  else {next}", hit.route, hit.outcome)?;
                    }
                    None => writeln!(f, "{at:>4}  hit ?  else {next}")?,
                },
                Op::End => writeln!(f, "{at:>4}  end")?,
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
        let Some(deal) = &self.deal else {
            return f.write_str(&self.targets.first().map(name).unwrap_or_default());
        };
        for (i, (target, (_, weight))) in self.targets.iter().zip(deal.split.weights()).enumerate() {
            let joint = if i > 0 { ", " } else { "" };
            write!(f, "{joint}{} {}", name(target), crate::schema::decimal4(weight))?;
        }
        match deal.key {
            Some(key) => write!(f, " by {key}, seed {:016x}", deal.seed),
            None => f.write_str(" by chance"),
        }
    }
}
