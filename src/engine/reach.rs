//! Which routes are found by what a request has, and which are asked for every request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::bytecode::{Index, Lead, Program, Rule, Slot, SlotId, To};
use crate::check::typed::Rules;
use crate::diagnostic::visible;
use crate::schema::StatementKind;

/// How the routes of a rule set are reached; from [`RuleSet::reach`](super::RuleSet::reach).
///
/// A route that something leads to costs nothing for requests that do not have it, however many such routes there are.
/// The others are asked, one after the other, until one decides.
///
/// ```
/// use pointsman::Engine;
///
/// let tenants: String = (0..1000).map(|i| format!("route t{i}: host == \"t{i}.example.com\" => gray\n")).collect();
/// let rules = format!("{tenants} route bots: !(header(user-agent) contains \"Mozilla\") => gray\n default => prod");
/// let engine = Engine::builder().clusters(["gray", "prod"]).build(rules)?;
/// let reach = engine.rules().reach();
/// assert_eq!(reach.routes[0].by, ["the text of host"]);
/// let table = reach.to_string();
/// assert!(table.contains("1000 rules are found by the text of host"));
/// assert!(table.contains("1 rule is asked for every request: bots"));
/// # Ok::<(), pointsman::BuildError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Reach {
    /// The statements of the service gateway kind by kind, then the routes in text order, as far as they can match at all; paused ones and those that are never true are left out.
    pub routes: Vec<Reached>,
}

/// How one route is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Reached {
    /// A route, or a statement of the service gateway.
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::ruleset::kind_name"))]
    pub kind: StatementKind,
    /// Its name.
    pub route: String,
    /// What leads to it, any of them; empty for a route that is asked for every request.
    pub by: Vec<String>,
}

/// How many routes a line of the table names.
const NAMED: usize = 8;

// === impl Reach ===

impl Reach {
    pub(super) fn of(rules: &Rules, program: &Program) -> Self {
        let mut by = vec![Vec::new(); program.rules().len()];
        if let Some(index) = program.index() {
            Walk { program, index, by: &mut by }.node(0, "");
        }
        let name = |rule: &Rule| match rule.kind {
            StatementKind::Route => rules.routes.get(rule.route as usize).map(|route| &route.name),
            _ => rules.gateway.get(rule.route as usize).map(|statement| &statement.name),
        };
        let reached = |(rule, by): (&Rule, Vec<String>)| Reached {
            kind: rule.kind,
            route: name(rule).map_or(String::new(), |name| name.to_string()),
            by,
        };
        Reach { routes: program.rules().iter().zip(by).map(reached).collect() }
    }
}

/// A table for people: what leads to how many routes, and which are asked for every request.
impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ways: BTreeMap<String, usize> = BTreeMap::new();
        for reached in self.routes.iter().filter(|reached| !reached.by.is_empty()) {
            *ways.entry(reached.by.join(", or by ")).or_default() += 1;
        }
        for (way, count) in ways {
            writeln!(f, "{count:>5} {} found by {way}", if count == 1 { "rule is" } else { "rules are" })?;
        }
        let always: Vec<_> = self.routes.iter().filter(|reached| reached.by.is_empty()).collect();
        if let Some((named, count)) =
            Some((always.iter().take(NAMED), always.len())).filter(|(_, count)| *count > 0)
        {
            let named: Vec<_> = named.map(|reached| visible(&reached.route).to_string()).collect();
            let more = if count > NAMED { ", …" } else { "" };
            let are = if count == 1 { "rule is" } else { "rules are" };
            writeln!(f, "{count:>5} {are} asked for every request: {}{more}", named.join(", "))?;
        }
        Ok(())
    }
}

/// A walk over all that an index leads to.
struct Walk<'w> {
    program: &'w Program,
    index: &'w Index,
    by: &'w mut [Vec<String>],
}

// === impl Walk ===

impl Walk<'_> {
    /// `above` is what leads to the node. Nodes are not deeper than some.
    fn node(&mut self, node: u32, above: &str) {
        let Some(node) = self.index.nodes.get(node as usize) else { return };
        if !above.is_empty() {
            self.rules(self.index.rules(node.rest), above);
        }
        for lookup in &node.lookups {
            let then = if above.is_empty() { "" } else { " and then " };
            let by =
                format!("{above}{then}the {} of {}", lookup.table.name(), slot(self.program, lookup.slot));
            // The members of a list all lead to one place.
            let leads: BTreeSet<Lead> = lookup.table.leads().collect();
            leads.into_iter().for_each(|lead| self.lead(lead, &by));
        }
    }

    fn lead(&mut self, lead: Lead, by: &str) {
        match lead.to() {
            To::Rules(row) => self.rules(self.index.rules(row), by),
            To::Node(node) => self.node(node, by),
            To::Several(row) => self.index.leads(row).iter().for_each(|lead| self.lead(*lead, by)),
        }
    }

    fn rules(&mut self, rules: &[u32], way: &str) {
        for rule in rules {
            if let Some(by) = self.by.get_mut(*rule as usize)
                && !by.iter().any(|known| known == way)
            {
                by.push(way.to_owned());
            }
        }
    }
}

/// A slot as a rule would write it.
fn slot(program: &Program, id: SlotId) -> String {
    let Some(found) = program.slots().get(id.0 as usize) else { return String::new() };
    let of = |id: &SlotId| slot(program, *id);
    match found {
        Slot::Literal(_) => "…".to_owned(),
        Slot::Field(field) => field.to_string(),
        Slot::Lower(inner) => format!("lower({})", of(inner)),
        Slot::Len(inner) => format!("len({})", of(inner)),
        Slot::Int(inner) => format!("int({})", of(inner)),
        Slot::Version(inner) => format!("version({})", of(inner)),
        Slot::Exists(inner) => format!("exists({})", of(inner)),
        Slot::Percent(inner, _) => format!("percent({})", of(inner)),
        Slot::Coalesce(sides) => sides.iter().map(of).collect::<Vec<_>>().join(" ?? "),
        Slot::Modulo(inner, divisor) => format!("{} % {divisor}", of(inner)),
    }
}
