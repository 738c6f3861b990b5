//! The index leaves rules out and changes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "helpers of tests"
)]

mod common;

use std::fmt::Write;
use std::time::SystemTime;

use common::Choices;
use http::Request;
use pointsman::{Engine, Moment};
use proptest::prelude::*;

/// Many short rules over one pool of values, as real rule sets are.
fn many_rules(c: &mut Choices<'_>) -> String {
    let mut text = String::from("list words = [\"a\", \"2.3.0\", \"42\"]\n");
    for i in 0..8 + c.below(200) {
        let state = c.one(&["", "", "", "", "shadow ", "paused "]);
        let depth = c.below(3).saturating_sub(1);
        let cluster = c.one(&["gray", "prod", "next", "gray 1, prod 1 by cookie(uid)"]);
        let condition = common::condition(c, depth);
        let gateway = [
            "deny d{i}: {} => 403",
            "limit l{i}: {} => 5/s by cookie(uid)",
            "cache c{i}: {} => 5s by host",
            "mirror m{i}: {} => next",
            "capture p{i}: {} => 5 for 5s",
            "count t{i}: {} => top 5 by header(x) per 5s",
        ];
        match c.below(12) {
            kind @ 0..6 => {
                let statement = gateway[kind].replace("{i}", &i.to_string()).replace("{}", &condition);
                writeln!(text, "{state}{statement}").unwrap();
            }
            6 => writeln!(text, "{state}route r{i}: {condition} => gray else next").unwrap(),
            _ => writeln!(text, "{state}route r{i}: {condition} => {cluster}").unwrap(),
        }
    }
    text + "default => prod"
}

/// The route of the index, which is that of all rules and of the reference.
#[track_caller]
fn same(engine: &Engine, request: &Request<()>, moment: Moment) -> Option<u32> {
    let [index, all, reference] =
        engine.decide_three_ways_at(request, moment, |cluster| moment.chance >> (cluster % 64) & 1 == 0);
    assert!(index == all && all == reference, "{index:?}, {all:?}, {reference:?}\n{}", engine.rules().text());
    index.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 512 }))]

    #[test]
    fn an_index_changes_no_decision(
        rules in prop::collection::vec(any::<u8>(), 200..4000), requests in prop::collection::vec(any::<u8>(), 0..4000),
    ) {
        let text = many_rules(&mut Choices::new(&rules));
        let engine = Engine::builder().schema(common::schema()).build(&*text).unwrap();
        let c = &mut Choices::new(&requests);
        for _ in 0..100 {
            let moment = common::moment(c);
            same(&engine, &common::request(c), moment);
            if c.is_empty() {
                break;
            }
        }
    }
}

fn engine(rules: impl Iterator<Item = String>) -> Engine {
    let routes: Vec<String> =
        rules.enumerate().map(|(at, condition)| format!("route r{at}: {condition} => gray")).collect();
    let text = format!("{}\ndefault => prod", routes.join("\n"));
    Engine::builder().clusters(["gray", "prod"]).build(text).unwrap()
}

fn request(host: &str, path: &str, cookie: &str) -> Request<()> {
    Request::get(path).header("host", host).header("cookie", cookie).body(()).unwrap()
}

const MOMENT: Moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 0 };

#[track_caller]
fn decides(engine: &Engine, request: &Request<()>, rule: Option<u32>) {
    assert_eq!(same(engine, request, MOMENT), rule);
}

#[test]
fn rules_are_found_by_what_the_fewest_share() {
    // One host for all, so that the path has to lead to them.
    let rules =
        engine((0..500).map(|i| {
            format!(r#"host == "shop.example.com" && path starts_with "/p{i}/" && cookie(x) == "1""#)
        }));
    for i in [0, 7, 77, 499] {
        decides(&rules, &request("shop.example.com", &format!("/p{i}/x"), "x=1"), Some(i));
        decides(&rules, &request("shop.example.com", &format!("/p{i}/x"), "x=2"), None);
        decides(&rules, &request("other.example.com", &format!("/p{i}/x"), "x=1"), None);
    }
}

#[test]
fn what_many_rules_share_leads_to_a_node_of_their_own() {
    let rules = engine(
        (0..900).map(|i| format!(r#"host == "h{}.example.com" && path starts_with "/p{}/""#, i / 30, i % 30)),
    );
    for i in [0, 31, 450, 899] {
        let (host, path) = (format!("h{}.example.com", i / 30), format!("/p{}/x", i % 30));
        decides(&rules, &request(&host, &path, ""), Some(i));
        decides(&rules, &request(&host, "/", ""), None);
    }
    assert!(rules.rules().disassemble().contains("node 1"));
}

#[test]
fn the_first_rule_of_several_that_are_found_decides() {
    let rules = engine((0..64).map(|i| match i % 4 {
        0 => format!(r#"cookie(a) == "{}""#, i / 8),
        1 => format!(r#"path under "/x/{}""#, i / 8),
        2 => format!(r#"host under "d{}.example.com""#, i / 8),
        _ => format!(r#"int(cookie(n)) in [{}..{}] && path != "/never""#, i, i + 20),
    }));
    decides(&rules, &request("a.d3.example.com", "/x/2/y", "a=5; n=1000"), Some(17));
    decides(&rules, &request("a.d3.example.com", "/x/7/y", "a=5; n=1000"), Some(26));
    decides(&rules, &request("a.d9.example.com", "/x/70", "a=5; n=1000"), Some(40));
    decides(&rules, &request("a.d9.example.com", "/x/70", "a=50; n=12"), Some(3));
    decides(&rules, &request("a.d9.example.com", "/x/70", "a=50; n=85"), None);
    // Two values of one field lead to two rules.
    decides(&rules, &request("a.d9.example.com", "/x/70", "a=7; a=2"), Some(16));
}

#[test]
fn prefixes_of_many_lengths_and_expressions_are_found() {
    let rules = engine((1..200).map(|i| match i % 2 {
        0 => format!(r#"path matches "^/v{i}/(items|users)/[0-9]+$""#),
        _ => format!(r#"path starts_with "/{}/""#, "x".repeat(i)),
    }));
    decides(&rules, &request("a", "/v20/items/7", ""), Some(19));
    decides(&rules, &request("a", "/v20/users/7", ""), Some(19));
    decides(&rules, &request("a", "/v20/other/7", ""), None);
    for i in [1, 33, 199] {
        decides(&rules, &request("a", &format!("/{}/", "x".repeat(i)), ""), Some(i as u32 - 1));
    }
}

#[test]
fn expressions_on_one_field_are_searched_as_one() {
    let rules =
        engine((0..100).map(|i| format!(r#"header(user-agent) matches "Bot-{i}/[0-9]+" || path == "/{i}""#)));
    assert!(rules.rules().disassemble().contains("with group 0"));
    let sent = |agents: &[&str]| {
        let mut request = request("a", "/", "");
        for agent in agents {
            request.headers_mut().append("user-agent", agent.parse().unwrap());
        }
        request
    };
    decides(&rules, &sent(&["Mozilla Bot-17/2"]), Some(17));
    decides(&rules, &sent(&["Bot-99/1 Bot-45/3"]), Some(45));
    decides(&rules, &sent(&["Bot-88/x", "Bot-77/1", "Bot-9/"]), Some(77));
    decides(&rules, &sent(&["Bot-/1"]), None);
    decides(&rules, &sent(&[]), None);
}

#[test]
fn a_report_says_what_leads_to_a_route() {
    let rules = engine((0..40).map(|i| match i % 4 {
        0 => format!(r#"host == "h{i}" || host in ["x{i}", "y{i}"]"#),
        1 => format!(r#"cookie(a) == "{i}" || ip in [10.0.{i}.0/24]"#),
        2 => format!(r#"lower(header(x)) starts_with "a{i}" && path != "/{i}""#),
        _ => format!(r#"path != "/{i}""#),
    }));
    insta::assert_snapshot!(rules.rules().reach(), @r#"
    10 rules are found by the range of ip, or by the text of cookie(a)
    10 rules are found by the start of lower(header(x))
    10 rules are found by the text of host
    10 rules are asked for every request: r3, r7, r11, r15, r19, r23, r27, r31, …
    "#);
    let routes = rules.rules().reach().routes;
    assert_eq!((routes.len(), routes[3].by.len(), &*routes[5].route), (40, 0, "r5"));
    let few = engine((0..3).map(|i| format!(r#"host == "h{i}""#)));
    insta::assert_snapshot!(few.rules().reach(), @r#"
        3 rules are asked for every request: r0, r1, r2
    "#);
}

#[test]
fn many_names_of_a_kind_are_read_together() {
    let rules = engine((0..60).map(|i| match i % 3 {
        0 => format!(r#"cookie(c{i}) == "x{i}""#),
        1 => format!(r#"query(q{i}) in ["x{i}", "y"]"#),
        _ => format!(r#"header(x-{i}) == "x{i}" && !exists(cookie(c0))"#),
    }));
    let mut sent = Request::get("/?q1=n&q31=&q4=%79&%7131=y").body(()).unwrap();
    let decided = |sent: &Request<()>| same(&rules, sent, MOMENT);
    assert_eq!(decided(&sent), Some(4));
    *sent.uri_mut() = "/?q1=n&q31=&%7131=y".parse().unwrap();
    assert_eq!(decided(&sent), Some(31));
    for (name, value) in
        [("cookie", "c30 = x30 ; c9=x; c9=\"x9\""), ("cookie", "c9=z; c33=x33"), ("x-14", "x14")]
    {
        sent.headers_mut().append(name, value.parse().unwrap());
    }
    assert_eq!(decided(&sent), Some(9));
    sent.headers_mut().remove("cookie");
    assert_eq!(decided(&sent), Some(14));
    sent.headers_mut().insert("cookie", "c0=; c30=x30".parse().unwrap());
    assert_eq!(decided(&sent), Some(30));
}
