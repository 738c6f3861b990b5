//! One rule set, whole and immutable, and what it decides.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use http::HeaderValue;

use super::digest::Digest;
use super::pipeline::Compiled;
use crate::check::action::GatewayStatement;
use crate::check::reference;
use crate::check::typed::{self, State};
use crate::diagnostic::Diagnostics;
use crate::eval::{Matched, Outcome, Run};
use crate::explain::{Explanation, explain};
use crate::schema::{Available, Input, RequestHead, Schema, StatementKind};

use super::engine::Moment;
use super::matches::Held;
use super::reach::Reach;
use super::seats::Hold;

/// A compiled rule set with its revision: what an engine decides by at one time.
pub struct RuleSet {
    revision: u64,
    made: SystemTime,
    pub(super) schema: Arc<Schema>,
    pub(super) compiled: Compiled,
    /// Made when it is first asked for, and as a header's value then too.
    digest: OnceLock<(Digest, HeaderValue)>,
}

/// Where a request goes: a cluster, the route that said so, and the revision of the rules.
///
/// The middleware leaves it in the request's extensions. A clone costs one reference count.
#[derive(Clone)]
pub struct Decision {
    hold: Hold,
    route: Option<u32>,
    cluster: u32,
    followed: bool,
    moment: Moment,
    pub(super) matched: Held,
}

/// The route's and the cluster's place, and the counters that go up.
pub(super) type ThreeWays = (Option<u32>, u32, Vec<u32>, Vec<NotedAs>);
/// A statement of the service gateway that matched, its key, and where it leads.
pub(super) type NotedAs = (u32, Option<Vec<u8>>, Option<u32>);

/// A statement of a rule set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Statement {
    /// What it is.
    #[cfg_attr(feature = "serde", serde(serialize_with = "kind_name"))]
    pub kind: StatementKind,
    /// Its name; `default` for the default.
    pub name: String,
    /// Whether it is live, a shadow or paused.
    #[cfg_attr(feature = "serde", serde(serialize_with = "state_name"))]
    pub state: State,
    /// The clusters it may choose, with their weights in steps of 0.0001 where there are several.
    pub targets: Vec<(String, Option<u64>)>,
}

// === impl RuleSet ===

impl RuleSet {
    pub(super) fn new(compiled: Compiled, schema: Arc<Schema>, revision: u64) -> Self {
        RuleSet { revision, made: SystemTime::now(), schema, compiled, digest: OnceLock::new() }
    }

    /// Counts the rule sets of one engine, from 1.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When it took the place of the one before, or the engine was built with it.
    pub fn made(&self) -> SystemTime {
        self.made
    }

    /// The text, as it was given; canonical for rules that were built one by one.
    pub fn text(&self) -> &str {
        &self.compiled.text
    }

    /// The text, to be kept for longer than the rules.
    #[cfg(feature = "capture")]
    pub(crate) fn shared_text(&self) -> &Arc<str> {
        &self.compiled.text
    }

    /// The clusters that the application declared.
    #[cfg(feature = "capture")]
    pub(crate) fn clusters(&self) -> &[Arc<str>] {
        &self.compiled.typed.clusters
    }

    /// What the field `ip` holds.
    #[cfg(feature = "capture")]
    pub(crate) fn client_ip(&self, head: RequestHead<'_>) -> Option<std::net::IpAddr> {
        self.schema.client.resolve(head)
    }

    /// The digest of [the text](RuleSet::text): the same on every node that runs it. Made when it is first asked
    /// for, and kept.
    pub fn digest(&self) -> Digest {
        self.digested().0
    }

    /// The digest as a header's value. A clone is a reference count.
    pub(crate) fn digest_value(&self) -> &HeaderValue {
        &self.digested().1
    }

    fn digested(&self) -> &(Digest, HeaderValue) {
        self.digest.get_or_init(|| {
            let digest = Digest::of(self.text());
            // Hexadecimal digits are always a valid value.
            let value = HeaderValue::try_from(digest.to_string());
            (digest, value.unwrap_or_else(|_| HeaderValue::from_static("")))
        })
    }

    /// What all rule sets of one engine share, and those of no other do.
    #[cfg(feature = "gateway")]
    pub(crate) fn engine(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// What is understood but surely not meant.
    pub fn lints(&self) -> &Diagnostics {
        &self.compiled.lints
    }

    /// The statements that choose clusters: routes and the default in text order, then the logical clusters.
    pub fn statements(&self) -> Vec<Statement> {
        let typed = &self.compiled.typed;
        let statement = |kind, name: &str, state, outcome: &typed::Outcome| Statement {
            kind,
            name: name.to_owned(),
            state,
            targets: outcome
                .targets
                .iter()
                .enumerate()
                .map(|(at, target)| {
                    let weights = outcome.deal.as_ref().map(|deal| deal.split.weights());
                    let weight = weights.and_then(|mut weights| weights.nth(at)).map(|(_, weight)| weight);
                    (typed.target_name(*target).to_owned(), weight)
                })
                .collect(),
        };
        let routes =
            typed.routes.iter().map(|r| statement(StatementKind::Route, &r.name, r.state, &r.outcome));
        let default = statement(StatementKind::Default, "default", State::Live, &typed.default);
        let logical =
            typed.logical.iter().map(|l| statement(StatementKind::Cluster, &l.name, State::Live, &l.outcome));
        routes.chain(std::iter::once(default)).chain(logical).collect()
    }

    /// The statements of the service gateway, in text order.
    pub fn gateway(&self) -> &[GatewayStatement] {
        &self.compiled.typed.gateway
    }

    /// Which routes an index finds by what a request has, and which are asked for every request: where a decision's
    /// time goes. Takes time in proportion to the rules.
    pub fn reach(&self) -> Reach {
        Reach::of(&self.compiled.typed, &self.compiled.program)
    }

    /// The program, for people to read.
    pub fn disassemble(&self) -> String {
        self.compiled.program.to_string()
    }

    pub(super) fn needs_now(&self) -> bool {
        self.compiled.program.needs_now()
    }

    pub(super) fn needs_chance(&self) -> bool {
        self.compiled.program.needs_chance()
    }

    /// Says why, by walking the rules as they are written. Does not count.
    pub(super) fn explain(
        &self,
        head: RequestHead<'_>,
        moment: Moment,
        available: Option<&dyn Fn(u32) -> bool>,
    ) -> Explanation {
        let input = Input { available: available.map(Available), ..self.input(head, moment.now) };
        explain(&self.compiled.typed, &self.compiled.spans, self.revision, &input, moment.chance).0
    }

    pub(super) fn decide_three_ways(
        &self,
        head: RequestHead<'_>,
        moment: Moment,
        available: &dyn Fn(u32) -> bool,
    ) -> [ThreeWays; 3] {
        let input = Input { available: Some(Available(available)), ..self.input(head, moment.now) };
        let Compiled { program, typed, .. } = &self.compiled;
        let (mut by_index, mut by_all) = (Vec::new(), Vec::new());
        let index = Run::new(program, &input, moment.chance).decide(|cell| by_index.push(cell));
        let all = Run::new(program, &input, moment.chance).decide_by_all(|cell| by_all.push(cell));
        let told = reference::decide(typed, &input, moment.chance, &mut ());
        let route = told.route.and_then(|route| u32::try_from(route).ok());
        let counted = by_all.clone();
        let noted = |matched: Option<Arc<Matched>>| -> Vec<NotedAs> {
            let hits = matched.iter().flat_map(|matched| matched.iter());
            hits.map(|hit| (hit.statement, hit.key.map(<[u8]>::to_vec), hit.cluster)).collect()
        };
        let told_of = told.matched.into_iter();
        let told_of = told_of.map(|noted| (noted.statement as u32, noted.key, noted.cluster)).collect();
        [
            (index.route, index.cluster, by_index, noted(index.matched)),
            (all.route, all.cluster, by_all, noted(all.matched)),
            (route, told.cluster, counted, told_of),
        ]
    }

    /// The counter of decisions for a cluster that were followed: behind those of the program.
    pub(super) fn followed_cell(&self, cluster: u32) -> u32 {
        u32::try_from(self.compiled.program.cells()).unwrap_or(u32::MAX).saturating_add(cluster)
    }

    fn input<'r>(&'r self, head: RequestHead<'r>, now: SystemTime) -> Input<'r> {
        Input { head, now, client: &self.schema.client, available: None }
    }
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleSet")
            .field("revision", &self.revision)
            .field("routes", &self.compiled.typed.routes.len())
            .finish_non_exhaustive()
    }
}

// === impl Decision ===

impl Decision {
    /// Decides. Counts.
    #[inline]
    pub(super) fn of(
        hold: Hold,
        head: RequestHead<'_>,
        moment: Moment,
        available: Option<&dyn Fn(u32) -> bool>,
    ) -> Self {
        let seat = &**hold.seat();
        let rules = &seat.rules;
        let input = Input { available: available.map(Available), ..rules.input(head, moment.now) };
        let Outcome { route, cluster, matched } =
            Run::new(&rules.compiled.program, &input, moment.chance).decide(|cell| seat.count(cell));
        Decision { hold, route, cluster, followed: false, moment, matched }
    }

    /// Takes a decision over that was made upstream. Counts, and asks the statements of the service gateway where there
    /// is a request.
    pub(super) fn follow(
        hold: Hold,
        cluster: u32,
        head: Option<RequestHead<'_>>,
        moment: Moment,
        available: Option<&dyn Fn(u32) -> bool>,
    ) -> Self {
        let seat = &**hold.seat();
        let rules = &seat.rules;
        seat.count(rules.followed_cell(cluster));
        let matched = head.and_then(|head| {
            let input = Input { available: available.map(Available), ..rules.input(head, moment.now) };
            Run::new(&rules.compiled.program, &input, moment.chance).guard(&mut |cell| seat.count(cell))
        });
        Decision { hold, route: None, cluster, followed: true, moment, matched }
    }

    /// Says why: the same rules, at the same moment, so it names this cluster, as long as the request is still
    /// the one that was decided. A [request header](crate::TrafficSplitLayer::request_header) that the layer set
    /// or took away after deciding is such a change, for rules that look at it. Walks the rules as they are written, at
    /// leisure; counts nothing.
    ///
    /// Of a decision that was [followed](Self::is_followed), the explanation says that and nothing of the rules, which were
    /// not asked; what they would say, [`Engine::explain`](super::Engine::explain) does.
    pub fn explain<'r>(&self, request: impl Into<RequestHead<'r>>) -> Explanation {
        if self.followed {
            return Explanation::followed(self.cluster(), self.revision());
        }
        let unavailable = self.matched.as_ref().map_or(&[][..], |matched| &matched.unavailable);
        let available = |cluster: u32| !unavailable.contains(&cluster);
        self.hold.seat().rules.explain(request.into(), self.moment, Some(&available))
    }

    /// The name of the cluster, one of those that the application declared.
    pub fn cluster(&self) -> &str {
        self.hold.seat().rules.compiled.typed.clusters.get(self.cluster as usize).map_or("", |name| name)
    }

    /// The cluster's place among those that the application declared, from 0. The same for the engine's whole
    /// life.
    pub fn cluster_index(&self) -> usize {
        self.cluster as usize
    }

    /// Whether it was made upstream and taken over, by [`Follow`](crate::Follow) or
    /// [`Engine::follow`](super::Engine::follow). The rules were not asked then.
    pub fn is_followed(&self) -> bool {
        self.followed
    }

    /// The name of the route that decided; `None` for the default, and when the decision was
    /// [followed](Self::is_followed).
    pub fn rule(&self) -> Option<&str> {
        let route = self.hold.seat().rules.compiled.typed.routes.get(self.route? as usize)?;
        Some(&route.name)
    }

    /// The name of the statement that decided: the route's, or `default`; or `followed` when no statement of these rules
    /// [did](Self::is_followed).
    pub fn statement(&self) -> &str {
        if self.followed { "followed" } else { self.rule().unwrap_or("default") }
    }

    /// The revision of the rules that decided, or that ran when the decision was followed.
    pub fn revision(&self) -> u64 {
        self.hold.seat().rules.revision
    }

    /// The time and the chance that the rules were told, each only as far as they ask for it: else the Unix epoch and 0.
    /// With these, [`Engine::decide_at`](super::Engine::decide_at) decides the same again.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// The rules that decided.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.hold.seat().rules
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("cluster", &self.cluster())
            .field("rule", &self.rule())
            .field("followed", &self.followed)
            .field("revision", &self.revision())
            .finish()
    }
}

// === serde ===

#[cfg(feature = "serde")]
pub(super) fn kind_name<S: serde::Serializer>(
    kind: &StatementKind,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

#[cfg(feature = "serde")]
pub(super) fn state_name<S: serde::Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Request;

    use super::*;
    use crate::engine::Engine;
    use crate::schema::Type;

    /// How many tests a decision asks, each answer that is remembered counted once.
    fn asked(engine: &Engine, request: &Request<()>) -> usize {
        let rules = engine.rules();
        let input = rules.input(request.into(), SystemTime::UNIX_EPOCH);
        let mut run = Run::new(&rules.compiled.program, &input, 0);
        run.decide_by_all(|_| {});
        run.asked
    }

    #[test]
    fn what_is_dear_is_asked_once_a_request_however_many_rules_have_it() {
        let dear = r#"header(user-agent) matches "(?i)bot" && cookie(uid) in beta && header(x) contains "y""#;
        let routes = |count: usize| {
            let route =
                |at| format!("{} route r{at}: {dear} && port == {at} => gray", ["", "shadow"][at % 2]);
            let routes: Vec<_> = (0..count).map(route).collect();
            let text = format!("list beta = [\"1\", \"2\"]\n{}\ndefault => prod", routes.join("\n"));
            Engine::builder().clusters(["gray", "prod"]).build(text).unwrap()
        };
        let request =
            Request::get("/").header("user-agent", "a Bot").header("cookie", "uid=2").header("x", "xyz");
        let request = request.body(()).unwrap();
        // The port is another for each.
        assert_eq!((asked(&routes(1), &request), asked(&routes(100), &request)), (4, 3 + 100));
    }

    #[test]
    fn a_field_is_read_once_a_request_however_many_rules_ask_for_it() {
        static READ: AtomicUsize = AtomicUsize::new(0);
        let schema =
            Schema::new().clusters(["gray", "prod"]).keyed_field("claim", Type::String, |_, name, values| {
                READ.fetch_add(1, Ordering::Relaxed);
                values.push(name.to_owned());
            });
        let route =
            |at| format!("route r{at}: claim(sub) == \"{at}\" || lower(claim(sub)) == \"x{at}\" => gray\n");
        let text: String = (0..100).map(route).collect();
        let engine = Engine::builder().schema(schema).build(text + "default => prod").unwrap();
        engine.decide(&Request::new(()));
        assert_eq!(READ.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn texts_of_one_hash_lead_to_all_their_rules() {
        let route = |at: usize| {
            let prefix = "abcdefghijklmnopqrst".get(..4 + at % 16).unwrap();
            format!(
                "route c{at}: cookie(uid) in [\"{at}\", \"x{at}\"] => gray\n\
                 route p{at}: path starts_with \"/{prefix}\" && header(x) == \"{at}\" => gray\n\
                 shadow route h{at}: host under \"{at}.test\" => gray\n"
            )
        };
        let text = (0..200).map(route).collect::<String>() + "default => prod";
        let moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 0 };
        // Half of the indexes have few hashes.
        for _ in 0..8 {
            let engine = Engine::builder().clusters(["gray", "prod"]).build(text.as_str()).unwrap();
            for at in 0..220 {
                let request = Request::get("/abcdefghijk/")
                    .header("cookie", format!("uid=x{}", at + 7))
                    .header("x", at.to_string())
                    .header("host", format!("a.{at}.test"))
                    .body(())
                    .unwrap();
                let [index, all, reference] = engine.decide_three_ways_at(&request, moment, |_| true);
                assert!(index == all && all == reference, "{at}: {index:?} {all:?} {reference:?}");
                assert_eq!(index.0.is_some(), at < 200, "{at}");
            }
        }
    }
}
