//! Deciding allocates nothing.
//!
//! `allocation-counter` counts the allocations of one thread, so that tests beside each other do not disturb it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use allocation_counter::measure;
use http::{Request, Response};
use pointsman::engine::Moment;
use pointsman::schema::{ClientAddr, List, PeerAddr, Schema, StatementKind, Trusted};
use pointsman::{Condition, Engine, Limits, TrafficSplitLayer};
use tower::{Layer, Service, service_fn};

/// Twenty rules of all kinds; a request walks through most of them.
const RULES: &str = r#"
list beta   = ["1001", "1002", "1003", "1004"]
list office = [10.0.0.0/8, 192.168.0.0/16, 2001:db8::/32]
cluster prod = prod_a 50, prod_b 50 by cookie(uid) ?? ip

route r01: header(x-canary) == "always" => gray
route r02: cookie(uid) in beta || ip in office => gray
route r03: version(header(x-app-version)) >= "99.3" && host == "shop.example.com" => gray
route r04: host under "internal.example.com" => gray
route r05: path under "/admin" && method == "POST" => gray
route r06: path matches "^/v[0-9]+/items/[0-9]+$" && header(x-tenant) == "t" => gray
route r07: percent(cookie(uid), "none") < 0 || query(debug) == "1" => gray
route r08: int(cookie(bucket)) % 100 >= 100 => gray
route r09: lower(header(x-region)) in ["ap-south-1", "us-east-1"] => gray
route r10: header(user-agent) contains "Googlebot" || header(user-agent) matches "(?i)bingbot/[0-9.]+" => gray
route r11: cookie(session) in sessions => gray
route r12: port in [8000..8099] || scheme == "ws" => gray
route r13: now >= "2030-01-01T00:00:00Z" => gray
route r14: path starts_with "/static/" || path ends_with ".css" => gray
route r15: raw_query contains "preview=" && exists(header(x-preview)) => gray
shadow route r16: percent(cookie(uid), "next") < 50 => prod
paused route r17: true => gray
route r18: len(cookie(uid)) > 64 || header(accept-language) starts_with "zz" => gray
route r19: cookie(absent) ?? cookie(uid) == "nobody" => gray
route r20: path under "/checkout" => gray 5, prod 95 by cookie(uid)
default => prod
"#;

fn schema() -> Schema {
    let proxies = Trusted::networks(["10.0.0.0/8"]).unwrap();
    Schema::new()
        .clusters(["gray", "prod_a", "prod_b"])
        .list("sessions", List::strings((0..1000).map(|i| format!("s-{i}"))))
        .client_addr(ClientAddr::x_forwarded_for(proxies))
}

/// Fifteen headers, of which one is a Cookie of 600 bytes.
fn request(path: &str) -> Request<()> {
    let mut cookie =
        String::from("_ga=GA1.2.1234567890.1700000000; theme=dark; uid=424242; bucket=37; session=s-77x");
    while cookie.len() <= 570 {
        cookie.push_str("; filler=0123456789abcdefghij");
    }
    cookie.push_str(&"x".repeat(600 - cookie.len()));
    let request = Request::get(path)
        .header("host", "shop.example.com:8443")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "en-GB,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("referer", "https://shop.example.com/")
        .header("cookie", cookie)
        .header("x-forwarded-for", "203.0.113.7, 10.1.2.3")
        .header("x-request-id", "0af7651916cd43dd8448eb211c80319c")
        .header("x-app-version", "2.3.0-rc.1")
        .header("x-region", "eu-west-1")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "same-origin")
        .header("upgrade-insecure-requests", "1")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .extension(PeerAddr("10.1.2.4:443".parse().unwrap()))
        .body(())
        .unwrap();
    assert_eq!((request.headers().len(), request.headers()["cookie"].len()), (15, 600));
    request
}

#[test]
fn deciding_on_twenty_rules_allocates_nothing() {
    let engine = Engine::builder().schema(schema()).build(RULES).unwrap();
    assert_eq!(engine.rules().statements().len(), 22);
    let moment = Moment { now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), chance: 7 };
    for (path, rule) in
        [("/checkout/pay?step=2", Some("r20")), ("/v2/items/17?a=b%20c", None), ("/app.css", Some("r14"))]
    {
        let request = request(path);
        // The caches of a regular expression and the counters of a thread are made when first needed.
        for _ in 0..3 {
            assert_eq!(engine.decide_at(&request, moment).rule(), rule);
            let _ = engine.decide(&request);
        }
        let info = measure(|| {
            for _ in 0..100 {
                assert_eq!(engine.decide_at(&request, moment).rule(), rule);
            }
        });
        assert_eq!(info.count_total, 0, "decide_at for {path}");
        let info = measure(|| {
            for _ in 0..100 {
                drop(engine.decide(&request));
            }
        });
        assert_eq!(info.count_total, 0, "decide for {path}");
    }
}

#[test]
fn deciding_by_two_engines_in_turn_allocates_nothing() {
    let engines = [(); 2].map(|()| Engine::builder().schema(schema()).build(RULES).unwrap());
    let request = request("/app.css");
    let decide = || engines.iter().for_each(|engine| drop(engine.decide(&request)));
    decide();
    let info = measure(|| (0..100).for_each(|_| decide()));
    assert_eq!(info.count_total, 0);
}

#[test]
fn many_decisions_held_at_once_allocate_nothing() {
    let engine = Engine::builder().schema(schema()).build(RULES).unwrap();
    let request = request("/app.css");
    let mut held = Vec::with_capacity(200);
    held.push(engine.decide(&request));
    let info = measure(|| {
        for _ in 0..3 {
            held.extend((0..199).map(|_| engine.decide(&request)));
            held.clear();
        }
    });
    assert_eq!(info.count_total, 0);
    assert_eq!(engine.counters().decisions, 3 * 199 + 1);
}

#[test]
fn a_condition_allocates_nothing() {
    let text = r#"!(cookie(uid) in ["1001", "1002"]) && version(header(x-app-version)) >= "2" && ip in [203.0.113.0/24]
        && path under "/checkout" && header(user-agent) matches "Firefox/1[0-9]+" && percent(cookie(uid)) >= 0
        && int(cookie(bucket)) % 10 == 7 && lower(header(x-region)) == "eu-west-1" && host under "example.com""#;
    let condition = Condition::compile("c", text, &schema(), &Limits::default()).unwrap();
    let request = request("/checkout/pay");
    assert!(condition.matches(&request));
    let info = measure(|| {
        for _ in 0..100 {
            assert!(condition.matches(&request));
        }
    });
    assert_eq!(info.count_total, 0);
}

/// As many allocations as without counting: the extension of the request is the only one.
#[test]
fn counting_what_is_in_flight_allocates_nothing_more() {
    let engine = Engine::builder().schema(schema()).build(RULES).unwrap();
    let answer = |_: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(())));
    let plain = TrafficSplitLayer::new(engine);
    let counted = plain.clone().count_in_flight();
    let (mut plain, mut counting) = (plain.layer(service_fn(answer)), counted.layer(service_fn(answer)));
    let mut requests = (0..6).map(|_| request("/checkout/pay")).collect::<Vec<_>>().into_iter();
    let mut next = || requests.next().unwrap();
    let context = || Context::from_waker(Waker::noop());
    let mut ask = |request| drop(pin!(plain.call(request)).poll(&mut context()));
    let mut ask_counting = |request| drop(pin!(counting.call(request)).poll(&mut context()));
    for _ in 0..2 {
        ask(next());
        ask_counting(next());
    }
    let (one, other) = (next(), next());
    let without = measure(|| ask(one)).count_total;
    let with = measure(|| ask_counting(other)).count_total;
    assert_eq!((without, with), (1, 1));
    assert_eq!(counted.in_flight().count("prod_a").unwrap(), 0);
}

/// A hundred thousand rules that each make their own values of one field must not keep them all: a request of a few
/// kilobytes would take gigabytes.
#[test]
fn the_memory_of_a_decision_does_not_grow_with_the_rules() {
    const RULES: usize = 2000;
    let peak = |rule: &dyn Fn(usize) -> String, request: &Request<()>| {
        let mut rules: String = (0..RULES).map(|i| rule(i) + "\n").collect();
        rules += "default => prod";
        let engine = Engine::builder().clusters(["gray", "prod"]).build(&*rules).unwrap();
        let moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 7 };
        let info = measure(|| {
            let decision = engine.decide_at(request, moment);
            assert_eq!(
                decision.rule(),
                Some("r1999"),
                "the last of them, which looks at what is kept and what is not"
            );
        });
        assert_eq!(engine.explain_at(request, moment).rule.as_deref(), Some("r1999"));
        info.bytes_max
    };
    let last = |i| if i + 1 == RULES { "!exists(query(none))" } else { "exists(query(none))" };

    // 2,000 values a rule: 160 MB if all were kept.
    let query: Vec<_> = (0..=2000).map(|i| format!("q={i}")).collect();
    let request = Request::get(format!("/?{}", query.join("&"))).body(()).unwrap();
    let rule = |i| format!("route r{i}: int(query(q)) % {} == {} && {} => gray", i + 2, i + 1, last(i));
    let values = peak(&rule, &request);
    assert!(values < 4 << 20, "{values}");

    // 16 KB of text a rule: 32 MB.
    let request = Request::get("/").header("x", "A".repeat(16_001)).body(()).unwrap();
    let rule = |i| format!("route r{i}: lower(header(x) ?? \"{i}\") != \"x\" && {} => gray", last(i));
    let bytes = peak(&rule, &request);
    assert!(bytes < 4 << 20, "{bytes}");

    // So are pre-releases.
    let request_of_version = Request::get("/").header("x", format!("1.0.0-{}", "a".repeat(16_001)));
    let request_of_version = request_of_version.body(()).unwrap();
    let rule = |i| format!("route r{i}: version(header(x) ?? \"{i}\") < \"2\" && {} => gray", last(i));
    let versions = peak(&rule, &request_of_version);
    assert!(versions < 4 << 20, "{versions}");

    // The keys of splits are made in the same way.
    let rule = |i| {
        let key = format!("lower(header(x) ?? \"{i}\")");
        let state = if i + 1 == RULES { "" } else { "shadow " };
        format!("{state}route r{i}: true => gray 1, prod 1 by {key}")
    };
    let keys = peak(&rule, &request);
    assert!(keys < 4 << 20, "{keys}");
}

/// Nor with the sides of one `??`, which are made one after another until one is not empty.
#[test]
fn the_memory_of_a_decision_does_not_grow_with_the_sides_of_a_question() {
    let request = Request::get("/").header("x", "A".repeat(16_001)).body(()).unwrap();
    let sides: Vec<_> = (0..2000).map(|i| format!("int(lower(header(x) ?? \"{i}\"))")).collect();
    // 16 KB of text a side: 32 MB.
    for condition in
        [format!("{} ?? 7 == 7", sides.join(" ?? ")), format!("7 == {} ?? 7", sides.join(" ?? "))]
    {
        let condition = Condition::new(&condition).unwrap();
        let mut matches = false;
        let info = measure(|| matches = condition.matches(&request));
        assert!(matches && info.bytes_max < 4 << 20, "{}", info.bytes_max);
    }
}

/// Of the service gateway's statements those that match, with their keys, are one allocation.
#[test]
fn what_matches_of_the_service_gateway_is_one_allocation() {
    let text = "deny bots: header(user-agent) contains \"BadBot\" => 403
        limit one: true => 5/s by cookie(uid) ?? ip
        limit two: path under \"/search\" => 5/s
        cache c: method == \"GET\" => 5s by host
        count t: true => top 5 by cookie(uid) per 5s
        default => prod";
    let schema = Schema::new().clusters(["prod"]).gateway(StatementKind::GATEWAY);
    let engine = Engine::builder().schema(schema).build(text).unwrap();
    let nothing =
        Engine::builder().schema(Schema::new().clusters(["prod"])).build("default => prod").unwrap();
    let request = request("/search");
    for _ in 0..2 {
        engine.decide(&request);
        nothing.decide(&request);
    }
    let mut matched = 0;
    let info = measure(|| matched = engine.decide(&request).matches().count());
    assert_eq!((matched, info.count_total), (4, 1));
    let info = measure(|| matched = nothing.decide(&request).matches().count());
    assert_eq!((matched, info.count_total), (0, 0));
}

#[test]
fn the_memory_of_a_decision_does_not_grow_with_the_keys_of_the_service_gateway() {
    let rule = |i: usize| format!("limit l{i}: true => 5/s by lower(header(x{}) ?? \"{i}\")\n", i % 100);
    let text = (0..2000).map(rule).collect::<String>() + "default => prod";
    let schema = Schema::new().clusters(["prod"]).gateway(StatementKind::GATEWAY);
    let engine = Engine::builder().schema(schema).build(text).unwrap();
    // 16 KB of text a statement, each unlike the last: 32 MB.
    let mut request = Request::get("/").body(()).unwrap();
    for i in 0..100 {
        let name = http::HeaderName::try_from(format!("x{i}")).unwrap();
        request.headers_mut().insert(name, format!("{i}{}", "A".repeat(16_000)).parse().unwrap());
    }
    engine.decide(&request);
    let mut matched = 0;
    let info = measure(|| matched = engine.decide(&request).matches().count());
    // 65 keys fit; of the rules behind, those match that have the key of one of the last eight.
    assert_eq!(matched, 65 + 19 * 8);
    assert!(info.bytes_max < 8 << 20, "{}", info.bytes_max);
}

#[test]
fn the_counting_counts() {
    let info = measure(|| drop(String::from("x")));
    assert_eq!(info.count_total, 1);
}
