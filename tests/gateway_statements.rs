//! Which statements of the service gateway a request matches, and where requests go whose cluster is not there.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use std::convert::Infallible;

use http::{Request, Response};
use pointsman::schema::{PeerAddr, Schema, StatementKind, Trusted};
use pointsman::{Carrier, Decision, Engine, Follow, State, TrafficSplitLayer};
use tower::{Layer, ServiceExt, service_fn};

fn engine(text: &str) -> Engine {
    let schema = Schema::new().clusters(["gray", "prod_a", "prod_b", "next"]).gateway(StatementKind::GATEWAY);
    Engine::builder().schema(schema).build(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn get(headers: &[(&str, &str)]) -> Request<()> {
    let request =
        headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap()
}

/// What a request matches, as `kind name`, shadows in parentheses, keys behind a `/`.
fn matched(engine: &Engine, headers: &[(&str, &str)]) -> Vec<String> {
    let decision = engine.decide(&get(headers));
    let told = |hit: pointsman::engine::Match<'_>| {
        let statement = hit.statement();
        let key = hit.key().map(|key| format!("/{}", key.escape_ascii()));
        let told = format!("{} {}{}", statement.kind(), statement.name(), key.unwrap_or_default());
        if hit.is_live() { told } else { format!("({told})") }
    };
    decision.matches().map(told).collect()
}

#[test]
fn kinds_have_their_order_wherever_they_stand() {
    let engine = engine(
        "count e: true => top 5 by header(host) per 1s
         mirror d: true => next
         default => prod_a
         cache c: true => 5s
         capture f: true => 5 for 5s
         limit b: true => 5/s
         limit a: true => 5/m
         deny never: header(x) == \"1\" => 403",
    );
    assert_eq!(
        matched(&engine, &[("host", "a.test")]),
        ["limit b", "limit a", "cache c", "mirror d", "capture f", "count e/a.test"],
    );
}

#[test]
fn a_denied_request_is_neither_limited_cached_nor_mirrored() {
    let engine = engine(
        "deny other: header(x) == \"2\" => 404
         deny first: header(x) == \"1\" => 403 \"no\"
         deny second: exists(header(x)) => 404
         limit l: true => 5/s
         cache c: true => 5s
         mirror m: true => next
         capture p: true => 5 for 5s
         count t: true => top 5 by method per 1s
         route r: header(x) == \"1\" => gray
         default => prod_a",
    );
    assert_eq!(matched(&engine, &[("x", "1")]), ["deny first", "capture p", "count t/GET"]);
    let decision = engine.decide(&get(&[("x", "1")]));
    assert_eq!(decision.denied().unwrap().statement().name(), "first");
    assert_eq!(decision.cluster(), "gray", "where it would have gone");
    let told = decision.explain(&get(&[("x", "1")])).to_string();
    assert!(told.starts_with("denied by first, else gray by route r"), "{told}");
    assert!(engine.decide(&get(&[])).denied().is_none());
}

#[test]
fn the_first_live_cache_is_the_one() {
    let engine = engine(
        "shadow cache a: true => 1s
         paused cache b: true => 2s
         cache c: exists(header(x)) => 3s
         cache d: true => 4s
         cache e: true => 5s
         default => prod_a",
    );
    assert_eq!(matched(&engine, &[("x", "1")]), ["(cache a)", "cache c"]);
    assert_eq!(matched(&engine, &[]), ["(cache a)", "cache d"]);
}

#[test]
fn a_shadow_deny_denies_nobody_and_is_counted() {
    let engine = engine(
        "shadow deny a: true => 403
         limit l: true => 5/s
         default => prod_a",
    );
    assert_eq!(matched(&engine, &[]), ["(deny a)", "limit l"]);
    assert!(engine.decide(&get(&[])).denied().is_none());
    assert_eq!(engine.counters().of(StatementKind::Deny, "a"), 2);
}

#[test]
fn without_its_key_a_statement_does_not_apply_and_that_is_counted() {
    let engine = engine(
        "limit a: true => 5/s by cookie(uid)
         limit b: true => 5/s by cookie(uid) ?? header(x)
         default => prod_a",
    );
    assert_eq!(matched(&engine, &[]), [""; 0]);
    assert_eq!(matched(&engine, &[("x", "1")]), ["limit b/1"]);
    assert_eq!(matched(&engine, &[("cookie", "uid=7")]), ["limit a/7", "limit b/7"]);
    let counted: Vec<_> = engine.counters().to_string().lines().map(|line| line.trim().to_owned()).collect();
    assert_eq!(
        counted,
        [
            "3  default => prod_a",
            "2  limit a => (no key)",
            "1  limit a => 5/s",
            "1  limit b => (no key)",
            "2  limit b => 5/s",
            "3  decisions",
        ],
    );
    let told = engine.explain(&get(&[])).to_string();
    assert!(told.contains("limit a: yes, but no key"), "{told}");
    assert!(engine.explain(&get(&[("x", "1")])).to_string().contains("limit b: yes by \"1\""));
}

#[test]
fn a_mirror_leads_to_a_cluster_also_through_one_made_of_others() {
    let engine = engine(
        "cluster both = next 0, gray 1 by header(x)
         mirror one: true => next
         mirror two: true => both with unsafe
         default => prod_a",
    );
    let decision = engine.decide(&get(&[]));
    let led: Vec<_> = decision.matches().map(|hit| hit.cluster_index().unwrap()).collect();
    assert_eq!(led, [3, 0]);
    // What is counted for the mirror is no decision.
    assert_eq!(engine.counters().decisions, 1);
    assert_eq!(engine.counters().of(StatementKind::Mirror, "two"), 1);
}

#[test]
fn a_sample_of_five_percent_is_inside_that_of_ten() {
    let engine = engine(
        "mirror five: percent(header(x), \"next\") < 5 => next
         mirror ten: percent(header(x), \"next\") < 10 => next
         default => prod_a",
    );
    let (mut five, mut ten) = (0, 0);
    for key in 0..5_000 {
        let matched = matched(&engine, &[("x", &key.to_string())]);
        let has = |name: &str| matched.iter().any(|mirror| mirror == name);
        assert!(has("mirror ten") || !has("mirror five"));
        five += usize::from(has("mirror five"));
        ten += usize::from(has("mirror ten"));
    }
    assert!((150..350).contains(&five) && (400..600).contains(&ten), "{five}, {ten}");
}

#[test]
fn what_does_not_change_goes_on_in_new_rules() {
    let engine = engine("limit a: true => 5/s by header(x)\ndefault => prod_a");
    let before = engine.rules();
    let continues = |text: &str| {
        let after = engine.replace(text).unwrap();
        after.gateway()[0].continues(&before.gateway()[0])
    };
    assert!(continues("limit a: true => 5/s by header(x)\ndefault => gray"));
    assert!(continues("shadow limit a: method == \"GET\" => 5/s burst 5 by header(x)\ndefault => gray"));
    assert!(!continues("limit a: true => 6/s by header(x)\ndefault => gray"));
    assert!(!continues("limit a: true => 5/s by header(y)\ndefault => gray"));
    assert!(!continues("limit b: true => 5/s by header(x)\ndefault => gray"));
}

#[test]
fn only_what_is_served_may_be_said() {
    let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Deny, StatementKind::Limit]);
    let build = |text: &str| Engine::builder().schema(schema.clone()).build(text).map(drop);
    build("deny a: true => 403\nlimit b: true => 5/s\ndefault => prod").unwrap();
    let problems = build("cache c: true => 5s\npaused mirror m: true => prod\ndefault => prod").unwrap_err();
    let told = problems.to_string();
    assert!(told.contains("does not serve `cache`") && told.contains("does not serve `mirror`"), "{told}");
}

#[tokio::test]
async fn a_decision_that_is_followed_is_guarded_all_the_same() {
    let engine = engine(
        "deny bots: header(user-agent) contains \"Bot\" => 403
         limit l: true => 5/s
         default => prod_a",
    );
    let follow = Follow::new(Carrier::default(), Trusted::networks(["10.0.0.0/8"]).unwrap());
    let service = TrafficSplitLayer::new(engine.clone()).follow(follow).layer(service_fn(
        async |request: Request<()>| {
            Ok::<_, Infallible>(Response::new(request.extensions().get::<Decision>().cloned().unwrap()))
        },
    ));
    let request = Request::get("/").header("baggage", "pointsman=gray").header("user-agent", "Bot");
    let request = request.extension(PeerAddr("10.0.0.7:4711".parse().unwrap())).body(()).unwrap();
    let decision = service.oneshot(request).await.unwrap().into_body();
    assert!(decision.is_followed());
    assert_eq!((decision.cluster(), decision.denied().unwrap().statement().name()), ("gray", "bots"));
    assert_eq!(engine.counters().of(StatementKind::Deny, "bots"), 1);
    // Without a request there is nothing to look at.
    assert!(engine.follow("gray").unwrap().denied().is_none());
}

#[tokio::test]
async fn of_a_followed_request_statements_see_nothing_that_only_we_may_set() {
    let engine = engine("deny d: header(x-cluster) == \"gray\" => 403\ndefault => prod_a");
    let follow = Follow::new(Carrier::default(), Trusted::networks(["10.0.0.0/8"]).unwrap());
    let layer = TrafficSplitLayer::new(engine).follow(follow);
    let layer = layer.request_header(http::HeaderName::from_static("x-cluster"));
    let service = layer.layer(service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(request.extensions().get::<Decision>().cloned().unwrap()))
    }));
    for baggage in ["pointsman=gray", "other=1"] {
        let request = Request::get("/").header("baggage", baggage).header("x-cluster", "gray");
        let request = request.extension(PeerAddr("10.0.0.7:4711".parse().unwrap())).body(()).unwrap();
        let decision = service.clone().oneshot(request).await.unwrap().into_body();
        assert_eq!(decision.is_followed(), baggage.starts_with("pointsman"));
        assert!(decision.denied().is_none(), "{baggage}");
    }
}

#[tokio::test]
async fn of_a_followed_request_a_copy_goes_to_the_fallback_and_the_request_where_upstream_said() {
    let text = "cluster shadow_next = next else prod_b\nmirror m: true => shadow_next\ndefault => prod_a";
    let engine = engine(text);
    let at = |name: &str| engine.clusters().position(|cluster| cluster == name).unwrap();
    let (next, gray) = (at("next"), at("gray"));
    let follow = Follow::new(Carrier::default(), Trusted::networks(["10.0.0.0/8"]).unwrap());
    let layer = TrafficSplitLayer::new(engine.clone()).follow(follow);
    for down in [false, true] {
        let layer = layer.clone().available(move |cluster| !(down && [next, gray].contains(&cluster)));
        let service = layer.layer(service_fn(async |request: Request<()>| {
            Ok::<_, Infallible>(Response::new(request.extensions().get::<Decision>().cloned().unwrap()))
        }));
        let request = Request::get("/").header("baggage", "pointsman=gray");
        let request = request.extension(PeerAddr("10.0.0.7:4711".parse().unwrap())).body(()).unwrap();
        let decision = service.oneshot(request).await.unwrap().into_body();
        assert!(decision.is_followed());
        assert_eq!(decision.cluster(), "gray");
        let copies: Vec<_> = decision.matches().map(|hit| hit.cluster_index()).collect();
        assert_eq!(copies, [Some(at(if down { "prod_b" } else { "next" }))]);
    }
}

#[test]
fn where_a_copy_goes_is_no_part_of_why_a_request_goes_where_it_goes() {
    let engine = engine(
        "cluster two = gray 50 else next, prod_b 50 by header(x)
         mirror m: true => two
         default => prod_a",
    );
    let request = get(&[("x", "1")]);
    let decision = engine.decide_where(&request, |_| false);
    assert_eq!(decision.matches().count(), 1);
    let told = decision.explain(&request);
    assert!(told.dealt.is_empty() && told.fallbacks.is_empty(), "{told}");
}

// === fallbacks ===

/// The cluster of a request when only these are available.
fn among(engine: &Engine, available: &[&str]) -> String {
    let names: Vec<String> = engine.clusters().map(str::to_owned).collect();
    let up = |cluster: usize| available.contains(&&*names[cluster]);
    let request = get(&[("x", "1")]);
    let decision = engine.decide_where(&request, up);
    let told = decision.explain(&request);
    assert_eq!(told.cluster, decision.cluster(), "{told}");
    let before = engine.explain_where(&request, up);
    assert_eq!((before.cluster, before.fallbacks), (told.cluster, told.fallbacks));
    decision.cluster().to_owned()
}

#[test]
fn the_nearest_fallback_takes_the_place() {
    let engine = engine(
        "cluster prod = prod_a else prod_b
         route r: true => gray else prod
         default => prod",
    );
    assert_eq!(among(&engine, &["gray", "prod_a", "prod_b"]), "gray");
    assert_eq!(among(&engine, &["prod_a", "prod_b"]), "prod_a");
    assert_eq!(among(&engine, &["prod_b"]), "prod_b");
    // The last one, whoever it is.
    assert_eq!(among(&engine, &[]), "prod_b");
    assert_eq!(among(&engine, &["next"]), "prod_b");
}

#[test]
fn an_inner_fallback_comes_before_an_outer_one() {
    let engine = engine(
        "cluster prod = prod_a 1 else prod_b, next 0
         default => prod else gray",
    );
    assert_eq!(among(&engine, &["gray", "prod_b"]), "prod_b");
    assert_eq!(among(&engine, &["gray"]), "gray");
}

#[test]
fn nothing_is_weighted_anew_and_without_else_nothing_changes() {
    let engine = engine("default => gray 1, prod_a 99 by header(x)");
    for key in 0..200 {
        let request = get(&[("x", &key.to_string())]);
        let (always, never) = (engine.decide(&request), engine.decide_where(&request, |_| false));
        assert_eq!(always.cluster(), never.cluster());
    }
}

#[test]
fn each_target_of_a_split_has_its_own_fallback() {
    let engine = engine("default => gray 50 else prod_a, next 50 else prod_b by header(x)");
    let mut seen = std::collections::BTreeSet::new();
    for key in 0..100 {
        let request = get(&[("x", &key.to_string())]);
        let first = engine.decide(&request).cluster().to_owned();
        let second = engine.decide_where(&request, |_| false).cluster().to_owned();
        seen.insert((first, second));
    }
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [pair("gray", "prod_a"), pair("next", "prod_b")]);
    let counters = engine.counters();
    let fell: Vec<_> = counters.counts.iter().filter(|count| count.instead_of.is_some()).collect();
    assert_eq!(fell.len(), 2);
    assert_eq!(fell.iter().map(|count| count.count).sum::<u64>(), 100);
    // They are counted at their target as well, and once as a decision.
    assert_eq!(counters.decisions, 200);
    assert_eq!(counters.of(StatementKind::Default, "default"), 200);
}

#[test]
fn clusters_that_stand_in_for_each_other_without_end_are_tried_sixteen_times() {
    // Each has two ways to the one before: without a bound the last is asked 2^15 times.
    let chain = |at: usize| format!("cluster c{at} = c{} else c{}\n", at - 1, at - 1);
    let told = Engine::builder().clusters(["gray"]).build(chain(1).replace("c0", "gray") + "default => c1");
    assert!(told.unwrap_err().to_string().contains("stands in for itself"));
    let twins = |at: usize| {
        format!("cluster c{at} = d{0} else e{0}\ncluster d{at} = c{at}\ncluster e{at} = c{at}\n", at - 1)
    };
    let text = (1..16).map(twins).collect::<String>().replace("d0", "gray").replace("e0", "prod_a");
    let engine = engine(&(text + "default => c15"));
    let asked = std::cell::Cell::new(0);
    let decision = engine.decide_where(&get(&[]), |_| {
        asked.set(asked.get() + 1);
        false
    });
    assert_eq!(asked.get(), 16);
    let [index, all, reference] = engine.decide_three_ways_at(
        &get(&[]),
        pointsman::Moment { now: std::time::SystemTime::UNIX_EPOCH, chance: 0 },
        |_| false,
    );
    assert_eq!((index.1, all.1), (reference.1, reference.1));
    assert_eq!(decision.cluster_index() as u32, reference.1);
}

#[test]
fn states_of_gateway_statements_are_edited_by_kind_and_name() {
    let text =
        "deny a: true => 403 # why\nroute a: true => gray\nshadow limit b: true => 5/s\ndefault => prod_a\n";
    let edit = |name: (StatementKind, &'static str), state| pointsman::with_state(text, name, state);
    let paused = edit((StatementKind::Deny, "a"), State::Paused).unwrap();
    assert_eq!(paused, format!("paused {text}"));
    let live = pointsman::with_state(text, "b", State::Live).unwrap();
    assert_eq!(live, text.replace("shadow ", ""));
    let error = pointsman::with_state(text, "a", State::Paused).unwrap_err();
    assert_eq!(error.to_string(), "a deny and a route are called `a`, say the kind too");
    assert!(edit((StatementKind::Cache, "a"), State::Live).is_err());
    // Also those that an engine runs.
    let rules = engine(text).rules();
    assert_eq!(rules.with_state((StatementKind::Deny, "a"), State::Paused).unwrap(), paused);
}

/// One statement may have as many as a text has room for; what that costs grows with them, and not with their square.
#[test]
fn a_hundred_thousand_options_are_refused_at_once() {
    let options: Vec<_> = (0..100_000).map(|at| format!("o{at}")).collect();
    let text = format!("mirror m: true => next with {}\ndefault => gray", options.join(", "));
    let schema = Schema::new().clusters(["gray", "next"]).gateway(StatementKind::GATEWAY);
    let begin = std::time::Instant::now();
    let error = Engine::builder().schema(schema).build(text).unwrap_err();
    let took = begin.elapsed();
    assert!(error.to_string().contains("a `mirror` has no option `o0`"));
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
}
