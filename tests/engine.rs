//! The engine as an application uses it: settings, lists, fields, counters, moments, and what it shows.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::Request;
use insta::assert_snapshot;
use pointsman::engine::{Counters, StatementKind};
use pointsman::schema::{List, Schema, Type};
use pointsman::{BuildError, Condition, Engine, Limits, Moment, Rules, State};

const SHOP: &str = r#"
list beta = ["1001", "1002"]
cluster prod = prod_a 50, prod_b 50 by cookie(uid)
route testers: header(x-canary) == "always" => gray
route staff: cookie(uid) in beta || !(ip in [10.0.0.0/8]) && version(header(v)) >= "2.3" => gray
route checkout: path under "/checkout" => gray 5, prod 95 by cookie(uid)
paused route sale: now >= "2026-11-27T00:00:00+08:00" => gray
shadow route next: percent(cookie(uid), "next") < 100 => gray 50, prod 50
default => prod
"#;

fn shop() -> Engine {
    Engine::builder().clusters(["gray", "prod_a", "prod_b"]).build(SHOP).unwrap()
}

fn with_uid(path: &str, uid: &str) -> Request<()> {
    Request::get(path).header("cookie", format!("uid={uid}")).body(()).unwrap()
}

// === what it shows ===

#[test]
fn a_program_can_be_read() {
    assert_snapshot!(shop().rules().disassemble(), @r#"
    s0 = cookie(uid)
    s1 = header(x-canary)
    s2 = header(v)
    s3 = version(s2)
    s4 = ip
    s5 = path
    s6 = percent(s0, seed 6dce25b5bee3bcbf)
    t0 = s1 == "always"
    t1 = s3 >= 2.3.0
    t2 = s4 in List(1 × ip)
    t3 = s0 in List(2 × string)
    t4 = s5 under "/checkout"
    t5 = s6 < 100
    o0 = cluster 1 50, cluster 2 50 by s0, seed 26e1b349344e0842
    o1 = cluster 0
    o2 = cluster 0
    o3 = cluster 0 5, o0 95 by s0, seed c9597d5de43833cc
    o4 = cluster 0 50, o0 50 by chance
    o5 = o0
    rule 0: route 0 o1
       0  t0  yes true  no false
    rule 1: route 1 o2
       1  t3  yes true  no 2
       2  t2  yes false  no 3
       3  t1  yes true  no false
    rule 2: route 2 o3
       4  t4  yes true  no false
    rule 3: route 4 o4  (counts only)
       5  t5  yes true  no false
    "#);
}

#[test]
fn a_condition_s_program_can_be_read() {
    let condition =
        Condition::new(r#"!(lower(header(a)) ?? "x" contains "b") && int(query(n)) % 10 < 3"#).unwrap();
    assert_snapshot!(condition.disassemble(), @r#"
    s0 = query(n)
    s1 = int(s0)
    s2 = s1 % 10
    s3 = header(a)
    s4 = lower(s3)
    s5 = "x"
    s6 = s4 ?? s5
    t0 = s2 < 3
    t1 = s6 contains "b"
    o0 = cluster 0
    rule 0: route 0 o0
       0  t1  yes false  no 1
       1  t0  yes true  no false
    "#);
}

#[test]
fn what_is_dear_and_asked_twice_is_remembered() {
    let text = r#"header(a) contains "a" && host == "b" && header(c) contains "c" || header(d) contains "d"
        || !(host == "b") && !(header(a) contains "a") && !(header(c) contains "c")"#;
    assert_snapshot!(Condition::new(text).unwrap().disassemble(), @r#"
    s0 = header(c)
    s1 = header(a)
    s2 = host
    s3 = header(d)
    t0 = s0 contains "c"  (remembered as m0)
    t1 = s1 contains "a"  (remembered as m1)
    t2 = s2 == "b"
    t3 = s3 contains "d"
    o0 = cluster 0
    rule 0: route 0 o0
       0  t1  yes 1  no 3
       1  t2  yes 2  no 3
       2  t0  yes true  no 3
       3  t3  yes true  no 4
       4  t2  yes false  no 5
       5  t1  yes false  no 6
       6  t0  yes false  no true
    "#);
}

#[test]
fn statements_are_listed_with_their_state_and_weights() {
    let engine = shop();
    let statements = engine.rules().statements();
    let shown: Vec<String> = statements
        .iter()
        .map(|s| format!("{} {} {} {:?}", s.state.as_str(), s.kind, s.name, s.targets))
        .collect();
    assert_snapshot!(shown.join("\n"), @r#"
    live route testers [("gray", None)]
    live route staff [("gray", None)]
    live route checkout [("gray", Some(50000)), ("prod", Some(950000))]
    paused route sale [("gray", None)]
    shadow route next [("gray", Some(500000)), ("prod", Some(500000))]
    live default default [("prod", None)]
    live cluster prod [("prod_a", Some(500000)), ("prod_b", Some(500000))]
    "#);
}

#[test]
fn an_explanation_can_be_read() {
    let engine = shop();
    let mut request = with_uid("/checkout/pay", "1009");
    request.headers_mut().append("cookie", "uid=\"other\"".parse().unwrap());
    assert_snapshot!(engine.explain(&request), @r#"
    prod_a by route checkout, revision 1
      route testers: no
        no   header(x-canary) == "always"  -- absent
      route staff: no
        no   cookie(uid) in beta  -- "1009", "other"
        no   ip in [10.0.0.0/8]  -- absent
        no   version(header(v)) >= "2.3"  -- absent
      route checkout: yes
        yes  path under "/checkout"  -- "/checkout/pay"
             split of checkout: prod 95 of 100, by key "1009" (bucket 23.9624)
             split of prod: prod_a 50 of 100, by key "1009" (bucket 71.536)
    "#);
    let absent = Request::get("/checkout").body(()).unwrap();
    let moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 7 };
    assert_snapshot!(engine.explain_at(&absent, moment), @r#"
    prod_a by default, revision 1
      route testers: no
        no   header(x-canary) == "always"  -- absent
      route staff: no
        no   cookie(uid) in beta  -- absent
        no   ip in [10.0.0.0/8]  -- absent
        no   version(header(v)) >= "2.3"  -- absent
      route checkout: yes, but no key
        yes  path under "/checkout"  -- "/checkout"
             split of checkout: no key in the request, so the next route is asked
      route sale (paused: not looked at)
      route next: no (shadow: counted, does not act)
        no   percent(cookie(uid), "next") < 100  -- absent
      default
             split of prod: prod_a 50 of 100, no key in the request, so by chance (bucket 67.8657)
    "#);
}

#[test]
fn a_comparison_over_several_lines_is_explained_on_one() {
    let engine = Engine::builder()
        .clusters(["gray", "prod"])
        .build("route a: header(x)\n    ==\n  \"two  blanks\" => gray\ndefault => prod")
        .unwrap();
    let why = engine.explain(&Request::get("/").body(()).unwrap());
    assert_eq!(why.steps[0].looked_at[0].condition, "header(x) == \"two  blanks\"");
}

#[cfg(feature = "serde")]
#[test]
fn an_explanation_is_json() {
    let engine = shop();
    let json = serde_json::to_value(engine.explain(&with_uid("/checkout", "1009"))).unwrap();
    assert_eq!(json["rule"], "checkout");
    assert_eq!(json["revision"], 1);
    assert_eq!(json["steps"][1]["looked_at"][0]["condition"], "cookie(uid) in beta");
    assert_eq!(json["steps"][1]["looked_at"][0]["seen"][0], "1009");
    assert_eq!(json["steps"][1]["looked_at"][0]["verdict"], false);
    assert_eq!(json["dealt"][0]["of"], "checkout");
    // As the text has them.
    assert_eq!(json["dealt"][0]["bucket"], 23.9624);
    assert_eq!(json["dealt"][0]["weight"], serde_json::json!([95.0, 100.0]));
    assert_eq!(json["steps"][0]["state"], "live");
    let counters = serde_json::to_value(engine.counters()).unwrap();
    assert_eq!(counters["counts"][0]["kind"], "route");
}

// === moments ===

#[test]
fn a_decision_explains_itself_after_the_rules_have_changed() {
    let engine = Engine::builder()
        .clusters(["gray", "prod"])
        .build("route coin: true => gray 50, prod 50\ndefault => prod")
        .unwrap();
    let request = Request::get("/").body(()).unwrap();
    for _ in 0..64 {
        let decision = engine.decide(&request);
        engine.replace("route coin: true => gray 50, prod 50\ndefault => gray").unwrap();
        let why = decision.explain(&request);
        assert_eq!((why.cluster.as_str(), why.revision), (decision.cluster(), decision.revision()));
    }
}

#[test]
fn the_clock_and_the_chance_are_asked_only_where_rules_need_them() {
    let asked = Arc::new(AtomicU64::new(0));
    let (clock, chance) = (asked.clone(), asked.clone());
    let engine = Engine::builder()
        .clusters(["gray", "prod"])
        .clock(move || {
            clock.fetch_add(1, Ordering::Relaxed);
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
        })
        .chance(move || {
            chance.fetch_add(1_000, Ordering::Relaxed);
            1
        })
        .build("route a: method == \"GET\" => gray\ndefault => prod")
        .unwrap();
    let request = Request::get("/").body(()).unwrap();
    engine.decide(&request);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    engine.replace("route a: now >= \"2027-01-01T00:00:00Z\" && now < \"2028-01-01T00:00:00Z\" => gray\ndefault => prod").unwrap();
    assert_eq!(engine.decide(&request).cluster(), "gray");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    engine.replace("default => gray 1, prod 1").unwrap();
    engine.decide(&request);
    assert_eq!(asked.load(Ordering::Relaxed), 1_001);
}

#[test]
fn by_chance_goes_by_weight() {
    let engine = Engine::builder()
        .clusters(["gray", "prod"])
        .build("default => gray 25, prod 75 by cookie(uid)")
        .unwrap();
    let request = Request::get("/").body(()).unwrap();
    let gray = (0..20_000).filter(|_| engine.decide(&request).cluster() == "gray").count();
    // A quarter, within six standard deviations of 61.
    assert!((4_634..=5_366).contains(&gray), "{gray}");
    assert_eq!(engine.counters().of(StatementKind::Default, "default"), 20_000);
}

// === counters ===

fn count(counters: &Counters, statement: &str, target: Option<&str>) -> Option<(State, u64)> {
    let found = counters.counts.iter().find(|c| c.statement == statement && c.target.as_deref() == target);
    found.map(|c| (c.state, c.count))
}

#[test]
fn every_statement_and_target_is_counted() {
    let engine = shop();
    for uid in 0..100 {
        engine.decide(&with_uid("/checkout", &uid.to_string()));
    }
    // No key: the route's split does not match, the shadow's `percent` neither, and chance decides for `prod`.
    for _ in 0..10 {
        engine.decide(&Request::get("/checkout").body(()).unwrap());
    }
    engine.decide(&with_uid("/", "1001"));
    engine.decide(&with_uid("/", "7"));
    let counters = engine.counters();
    assert_eq!(counters.decisions, 112);
    assert_eq!(counters.of(StatementKind::Route, "checkout"), 100);
    assert_eq!(count(&counters, "checkout", None), Some((State::Live, 10)));
    assert_eq!(counters.of(StatementKind::Route, "staff"), 1);
    assert_eq!(counters.of(StatementKind::Default, "default"), 11);
    assert_eq!(counters.of(StatementKind::Route, "next"), 1, "a shadow counts what reaches it");
    assert_eq!(count(&counters, "sale", Some("gray")), Some((State::Paused, 0)));
    assert_eq!(count(&counters, "prod", None), Some((State::Live, 10)));
    let of_prod: u64 = count(&counters, "checkout", Some("prod")).unwrap().1
        + counters.of(StatementKind::Default, "default");
    assert_eq!(counters.of(StatementKind::Cluster, "prod"), of_prod);
    assert_eq!(count(&counters, "next", Some("gray")).unwrap().0, State::Shadow);
}

#[test]
fn counts_go_on_over_revisions_under_their_names() {
    let engine =
        Engine::builder().clusters(["gray", "prod"]).build("route a: true => gray\ndefault => prod").unwrap();
    let request = Request::get("/").body(()).unwrap();
    let held = engine.decide(&request);
    engine.replace("route a: true => prod\ndefault => prod").unwrap();
    engine.decide(&request);
    assert_eq!(
        engine.counters().of(StatementKind::Route, "a"),
        2,
        "while a decision of the first revision is held"
    );
    drop(held);
    assert_eq!(engine.counters().of(StatementKind::Route, "a"), 2, "and when it is dropped");
    engine.replace("default => prod").unwrap();
    engine.decide(&request);
    let counters = engine.counters();
    assert_eq!(
        (
            counters.of(StatementKind::Route, "a"),
            counters.of(StatementKind::Default, "default"),
            counters.decisions
        ),
        (0, 1, 3)
    );
    assert!(counters.counts.iter().all(|count| count.kind == StatementKind::Default));
}

#[test]
fn threads_that_come_and_go_are_counted() {
    let engine = shop();
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50).for_each(|uid| drop(engine.decide(&with_uid("/", &uid.to_string())))));
            }
        });
    }
    assert_eq!(engine.counters().decisions, 20 * 8 * 50);
}

// === what rules may mention ===

#[test]
fn a_million_strings_are_a_list() {
    let list = List::strings((0..1_000_000).map(|i| format!("user-{i}")));
    let schema = Schema::new().clusters(["gray", "prod"]).list("beta", list);
    let engine = Engine::builder()
        .schema(schema)
        .build("route a: cookie(uid) in beta => gray\ndefault => prod")
        .unwrap();
    assert_eq!(engine.decide(&with_uid("/", "user-999999")).cluster(), "gray");
    assert_eq!(engine.decide(&with_uid("/", "user-1000000")).cluster(), "prod");
    // The list is shared by all revisions, and not built anew.
    engine.replace("route a: cookie(uid) not in beta => gray\ndefault => prod").unwrap();
    assert_eq!(engine.decide(&with_uid("/", "user-1000000")).cluster(), "gray");
}

#[test]
fn supplied_lists_have_every_type() {
    let schema = Schema::new()
        .list("ints", List::int_ranges([1..=5, 10..=10]))
        .list("nets", List::networks(["10.0.0.0/8"]).unwrap())
        .list("versions", List::versions(["2.3.0"]).unwrap())
        .list(
            "times",
            List::times([SystemTime::UNIX_EPOCH..=SystemTime::UNIX_EPOCH + Duration::from_secs(9)]),
        );
    let holds = |text: &str| {
        let condition = Condition::compile("", text, &schema, &Limits::default()).unwrap();
        let request = Request::get("/?n=4&v=v2.3&a=x").body(()).unwrap();
        condition.matches_at(&request, SystemTime::UNIX_EPOCH + Duration::from_secs(9))
    };
    assert!(holds("int(query(n)) in ints") && !holds("len(query(v)) % 4 == 9 || len(query(a)) not in ints"));
    assert!(holds("version(query(v)) in versions"));
    assert!(holds("now in times") && !holds("ip in nets"));
    let wrong = Condition::compile("", "query(n) in ints", &schema, &Limits::default());
    assert!(matches!(wrong, Err(BuildError::Rules(_))));
}

#[test]
fn names_that_rules_could_not_use_are_refused() {
    let refusal = |schema: Schema| match Engine::builder().schema(schema).build("default => a") {
        Err(BuildError::Schema(error)) => error.to_string(),
        other => format!("{other:?}"),
    };
    let field = |name: &str| Schema::new().bool_field(name, |_| None);
    let list = |name: &str| Schema::new().list(name, List::ints([1]));
    let all = [
        refusal(Schema::new().clusters([""])),
        refusal(Schema::new().clusters(["a", "a"])),
        refusal(field("in")),
        refusal(field("a b")),
        refusal(field("host")),
        refusal(field("lower")),
        refusal(field("x").bool_field("x", |_| None)),
        refusal(Schema::new().field("p", Type::Percent, |_, _| {})),
        refusal(list("")),
        refusal(list("l").list("l", List::ints([2]))),
    ];
    assert_snapshot!(all.join("\n"), @r#"
    the cluster `` has no name
    the cluster `a` is declared twice
    the field `in` is no name a rule can write: a letter or `_`, then letters, digits, `_`, `-`, and no reserved word
    the field `a b` is no name a rule can write: a letter or `_`, then letters, digits, `_`, `-`, and no reserved word
    the field `host` is built in
    the field `lower` is a function
    the field `x` is registered twice
    the field `p` cannot be a percentage; use an int
    the list `` has no name
    the list `l` is supplied twice
    "#);
}

#[test]
fn clusters_declared_before_the_schema_stay() {
    let builder = Engine::builder().clusters(["a"]).schema(Schema::new().clusters(["b"])).clusters(["c"]);
    let engine = builder.build("default => a 1, b 1, c 1").unwrap();
    assert_eq!(engine.clusters().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn lints_are_errors_where_the_application_asks() {
    let text = "route a: host == \"A\" => a\ndefault => a";
    assert!(
        Engine::builder().clusters(["a"]).build(text).is_ok_and(|engine| engine.rules().lints().len() == 1)
    );
    let strict = Engine::builder().clusters(["a"]).deny_lints(true);
    assert!(strict.clone().build(text).is_err());
    let engine = strict.build("default => a").unwrap();
    assert!(engine.replace(text).is_err() && engine.check(text).is_err());
    assert_eq!(engine.rules().revision(), 1);
}

#[test]
fn a_custom_field_is_read_once_and_only_if_a_rule_asks() {
    let reads = Arc::new(AtomicU64::new(0));
    let seen = reads.clone();
    let schema =
        Schema::new().clusters(["gray", "prod"]).keyed_field("tag", Type::String, move |_, name, values| {
            seen.fetch_add(1, Ordering::Relaxed);
            values.push(name.to_owned());
            values.push(7_i64);
        });
    let engine = Engine::builder()
        .schema(schema)
        .build(
            "route never: method == \"PUT\" && tag(c) == \"c\" => gray\n\
             route a: tag(a) == \"b\" || tag(a) in [\"c\", \"d\"] || exists(int(tag(a))) => gray\n\
             route b: tag(b) == \"b\" && len(tag(b)) == 1 => gray\n\
             default => prod",
        )
        .unwrap();
    assert_eq!(engine.decide(&Request::get("/").body(()).unwrap()).rule(), Some("b"));
    assert_eq!(reads.load(Ordering::Relaxed), 2, "once for each argument that is looked at");
}

#[test]
fn an_index_reads_no_custom_field_that_no_rule_would_have_asked_for() {
    let reads = Arc::new(AtomicU64::new(0));
    let seen = reads.clone();
    let schema = Schema::new().clusters(["gray", "prod"]).field("plan", Type::String, move |_, values| {
        seen.fetch_add(1, Ordering::Relaxed);
        values.push("plan-70");
    });
    let rules = |condition: &str| -> String {
        (0..100).map(|at| format!("route r{at}: {condition} && plan == \"plan-{at}\" => gray\n")).collect()
    };
    let engine = Engine::builder().schema(schema);
    let text = rules("header(x) contains \"y\"") + "default => prod";
    let guarded = engine.clone().build(text).unwrap();
    let request = |x: &str| Request::get("/").header("x", x).body(()).unwrap();
    assert_eq!(guarded.decide(&request("n")).rule(), None);
    assert_eq!(reads.load(Ordering::Relaxed), 0);
    assert_eq!(guarded.decide(&request("y")).rule(), Some("r70"));
    // Where each rule asks for it first, the index does.
    let open = engine.build(rules("true") + "default => prod").unwrap();
    assert_eq!(open.decide(&request("n")).rule(), Some("r70"));
    assert_eq!(reads.load(Ordering::Relaxed), 2);
    let found = open.rules().reach().to_string();
    assert!(found.contains("plan"), "{found}");
}

/// Decides by an engine when its thread ends.
struct Late(Engine);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.decide(&Request::new(()));
    }
}

thread_local! {
    static LATE: std::cell::RefCell<Vec<Late>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[test]
fn no_count_is_lost_by_threads_that_come_and_go() {
    let engine = Engine::builder().clusters(["a"]).build("default => a").unwrap();
    let held = std::sync::Mutex::new(Vec::new());
    let run = |early: bool| {
        let late = || LATE.with_borrow_mut(|all| all.push(Late(engine.clone())));
        if early {
            late();
        }
        let decisions: Vec<_> = (0..50).map(|_| engine.decide(&Request::new(()))).collect();
        // Half of them are let go of by other threads, which must not count in this one's place.
        let mut held = held.lock().unwrap();
        held.truncate(100);
        held.extend(decisions.into_iter().step_by(2));
        drop(held);
        (0..50).for_each(|_| drop(engine.decide(&Request::new(()))));
        if !early {
            late();
        }
    };
    for at in 0..40 {
        std::thread::scope(|scope| {
            (0..24).for_each(|thread| _ = scope.spawn(move || run(thread % 2 == at % 2)))
        });
        engine.replace("default => a").unwrap();
    }
    drop(held);
    // A scope may end before the destructors of its threads' locals have run.
    let want = 40 * 24 * 101;
    let start = std::time::Instant::now();
    while engine.counters().decisions < want && start.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    assert_eq!(engine.counters().decisions, want);
}

#[test]
fn a_dropped_engine_leaves_the_thread_that_drops_it() {
    let (schema, kept) = {
        let kept = Arc::new(());
        let weak = Arc::downgrade(&kept);
        (Schema::new().clusters(["a"]).field("f", Type::Int, move |_, _| _ = &kept), weak)
    };
    let engine = Engine::builder().schema(schema).build("default => a").unwrap();
    engine.decide(&Request::new(()));
    assert_eq!(kept.strong_count(), 1);
    drop(engine);
    assert_eq!(kept.strong_count(), 0);
}

// === texts put together ===

#[test]
fn texts_put_together_are_one_rule_set() {
    let engine = Engine::builder().clusters(["gray", "prod"]).build("default => gray").unwrap();
    let files = [
        ("10.rules", "\u{feff}route a: cookie(uid) in staff => gray # no line break"),
        ("20.rules", ""),
        ("30.rules", "\u{feff}list staff = [\"1001\"]\n\ndefault => prod\n"),
    ];
    let rules = engine.replace(Rules::joined(files)).unwrap();
    assert_eq!(
        rules.text(),
        "route a: cookie(uid) in staff => gray # no line break\n\nlist staff = [\"1001\"]\n\ndefault => prod\n"
    );
    assert_eq!(engine.decide(&with_uid("/", "1001")).rule(), Some("a"));
    assert_eq!(rules.digest(), engine.replace(rules.text()).unwrap().digest());
}

#[test]
fn a_mistake_leads_to_the_text_it_is_in() {
    let engine = Engine::builder().clusters(["gray", "prod"]).build("default => gray").unwrap();
    let places = |files: &[(&str, &str)]| {
        let problems = engine.replace(Rules::joined(files.iter().copied())).unwrap_err();
        problems
            .iter()
            .map(|p| format!("{}:{}:{}", p.source_name(), p.line(), p.column()))
            .collect::<Vec<_>>()
    };
    // Two statements that are none on their own, and would be one together.
    assert_eq!(
        places(&[("a", "default => prod\nroute x: host =="), ("b", "\"h\" => gray")]),
        ["a:2:17", "b:1:1"]
    );
    // Names that nobody declares, and one that two declare.
    assert_eq!(
        places(&[
            ("a", "\n  route x: hots == \"h\" => gray"),
            ("b", "route x: true => grey\ndefault => prod")
        ]),
        ["a:2:12", "b:1:7", "b:1:18"]
    );
    assert_eq!(places(&[("a", "# nothing"), ("b", "list l = [1]\n\n")]), ["b:1:13"]);
    assert_eq!(places(&[]), ["rules:1:1"]);
}

#[test]
fn rules_are_not_swapped_for_those_with_another_digest_unseen() {
    let engine = shop();
    let digest = engine.rules().digest();
    assert_eq!(digest, engine.replace(SHOP).unwrap().digest(), "the same text");
    assert_ne!(digest, engine.replace(format!("{SHOP}#")).unwrap().digest());
}
