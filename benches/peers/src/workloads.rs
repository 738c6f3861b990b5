//! The workloads: which rules, and which requests. Made when they are measured, as the large ones are large.

use http::Request;
use semver::Version;

use crate::model::{Condition, Rule};
use crate::requests::{self, REQUESTS, Random, Shape, TENANT};

/// Rules, and what is asked of them.
pub(crate) struct Workload {
    pub(crate) rules: Vec<Rule>,
    pub(crate) cases: Vec<Case>,
    /// Requests that are checked and not timed: see [`requests::odd`].
    pub(crate) odd: [&'static [Request<()>]; 2],
}

/// One row of the table.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) requests: &'static [Request<()>],
    pub(crate) matches: Matches,
}

/// How many of the requests some rule matches; a workload that is not what it says measures nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matches {
    All,
    Some,
    None,
}

/// A workload that is not made yet.
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) about: &'static str,
    make: Box<dyn Fn(&str) -> Workload>,
}

// === impl Spec ===

impl Spec {
    fn new(name: impl Into<String>, about: &'static str, make: impl Fn(&str) -> Workload + 'static) -> Self {
        Spec { name: name.into(), about, make: Box::new(make) }
    }

    pub(crate) fn make(&self) -> Workload {
        (self.make)(&self.name)
    }
}

/// All that the table has, in its order.
pub(crate) fn all() -> Vec<Spec> {
    let mut specs = vec![Spec::new("W1", "one rule: `host == … && path starts_with …`", one_rule)];
    for members in [10, 1_000, 100_000] {
        specs.push(Spec::new(
            format!("W2-{members}"),
            "one rule: `host == … && cookie(uid) in [N]`",
            move |name| cookie_in_list(name, members),
        ));
    }
    specs.push(Spec::new("W3", "20 mixed rules, none matches", mixed));
    for rules in [10, 1_000, 100_000, 1_000_000] {
        specs.push(Spec::new(
            format!("W4-{rules}"),
            "N rules: `host == Hᵢ && path starts_with Pᵢ`",
            move |name| host_and_prefix(name, rules),
        ));
    }
    for rules in [1_000, 100_000] {
        specs.push(Spec::new(format!("W4-one-host-{rules}"), "the same with one host", move |name| {
            shared_host(name, rules)
        }));
    }
    for rules in [1_000, 100_000] {
        specs.push(Spec::new(format!("W5-cookie-{rules}"), "N rules: `cookie(uid) in [3]`", move |name| {
            cookie_rules(name, rules)
        }));
        specs.push(Spec::new(
            format!("W5-header-{rules}"),
            "N rules: `header(x-tenant) == …`",
            move |name| header_rules(name, rules),
        ));
    }
    specs.push(Spec::new("W6", "100 anchored regular expressions on the path, the last matches", regexes));
    specs.push(Spec::new("W7-cookie", "a Cookie of 64 KiB without the name", long_cookie));
    specs.push(Spec::new("W7-query", "1,000 parameters, the last is asked for", long_query));
    specs
}

/// The two workloads whose growth is drawn.
pub(crate) fn growing(rules: usize) -> [Spec; 2] {
    [
        Spec::new("W4", "`host == Hᵢ && path starts_with Pᵢ`", move |name| {
            let mut workload = host_and_prefix(name, rules);
            workload.cases.truncate(1);
            workload
        }),
        Spec::new("W5", "`cookie(uid) in [3]`", move |name| cookie_rules(name, rules)),
    ]
}

// === the workloads ===

/// Draws the requests of a case; `change` makes the `i`th request of a shop into the case's.
fn case(
    name: impl Into<String>,
    matches: Matches,
    random: &mut Random,
    change: impl Fn(usize, &mut Shape, &mut Random),
) -> Case {
    let requests = (0..REQUESTS).map(|i| {
        let mut shape = Shape::shop(i, random);
        change(i, &mut shape, random);
        shape.request(random)
    });
    Case { name: name.into(), requests: requests.collect::<Vec<_>>().leak(), matches }
}

/// Odd requests, all of which are like one that matches but for one thing.
fn odd(host: String, target: String, uid: String, tenant: String) -> [&'static [Request<()>]; 2] {
    let (one_value, many_values) = requests::odd(&Shape { host, target, uid, tenant });
    [one_value.leak(), many_values.leak()]
}

const SHOP: &str = "shop.example.com";
const CHECKOUT: &str = "/checkout/item-1";

fn one_rule(name: &str) -> Workload {
    let rule = [Condition::HostIs(SHOP.to_owned()), Condition::PathStartsWith("/checkout/".to_owned())];
    Workload {
        rules: vec![Rule::new(rule)],
        cases: vec![case(name, Matches::Some, &mut Random::new(1), |_, _, _| ())],
        odd: odd(SHOP.to_owned(), CHECKOUT.to_owned(), "1".to_owned(), "1".to_owned()),
    }
}

fn cookie_in_list(name: &str, members: usize) -> Workload {
    let member = |i: usize| (20_000_000 + 7 * i).to_string();
    let list = (0..members).map(member).collect();
    let rule = [Condition::HostIs(SHOP.to_owned()), Condition::CookieIn("uid", list)];
    let cases = vec![case(name, Matches::Some, &mut Random::new(2), |i, shape, random| {
        if i % 2 == 0 {
            shape.uid = member(random.below(members));
        }
    })];
    Workload {
        rules: vec![Rule::new(rule)],
        cases,
        odd: odd(SHOP.to_owned(), CHECKOUT.to_owned(), member(members - 1), "1".to_owned()),
    }
}

fn mixed(name: &str) -> Workload {
    let rule = |i: usize| {
        let condition = match i % 10 {
            0 => Condition::CookieIn("uid", (0..5).map(|at| format!("u{i}{at}")).collect()),
            1 => {
                return Rule::new([
                    Condition::HostIs(format!("h{i}.example.com")),
                    Condition::PathStartsWith(format!("/p{i}/")),
                ]);
            }
            2 => Condition::VersionAtLeast("x-app-version", Version::new(9, i as u64, 0)),
            3 => {
                return Rule::new([
                    Condition::PathUnder(format!("/internal/{i}")),
                    Condition::Method("POST"),
                ]);
            }
            4 => Condition::IpIn(vec![
                format!("10.{}.0.0/24", i % 256).parse().expect("is a network"),
                format!("2001:db8:{i:x}::/48").parse().expect("is a network"),
            ]),
            5 => Condition::QueryIs("preview", format!("v{i}")),
            6 => Condition::HeaderContains("user-agent", format!("Bot-{i}/")),
            7 => Condition::PathMatches(format!("^/v{i}/items/[0-9]+$")),
            8 => Condition::HeaderIs("x-canary", format!("always-{i}")),
            _ => Condition::CookieIs("plan", format!("gold-{i}")),
        };
        Rule::new([condition])
    };
    Workload {
        rules: (0..20).map(rule).collect(),
        cases: vec![case(name, Matches::None, &mut Random::new(3), |_, _, _| ())],
        odd: odd("h1.example.com".to_owned(), "/p1/x".to_owned(), "u103".to_owned(), "1".to_owned()),
    }
}

fn tenant_host(i: usize) -> String {
    format!("t{i}.example.com")
}

fn tenant_prefix(i: usize) -> String {
    format!("/p{i}/")
}

fn host_and_prefix(name: &str, count: usize) -> Workload {
    let rule =
        |i| Rule::new([Condition::HostIs(tenant_host(i)), Condition::PathStartsWith(tenant_prefix(i))]);
    let hit = case(format!("{name}-hit"), Matches::All, &mut Random::new(4), |_, shape, random| {
        let rule = random.below(count);
        shape.host = tenant_host(rule);
        shape.target = format!("{}item-{}?page=1&sort=price", tenant_prefix(rule), random.below(100_000));
    });
    // Every other one with the host of a rule and the path of its neighbour.
    let miss = case(format!("{name}-miss"), Matches::None, &mut Random::new(5), |i, shape, random| {
        let rule = random.below(count);
        shape.host = tenant_host(if i % 2 == 0 { rule } else { count + rule });
        shape.target = format!("{}item-{}?page=1&sort=price", tenant_prefix(rule + 1), random.below(100_000));
    });
    Workload {
        rules: (0..count).map(rule).collect(),
        cases: vec![hit, miss],
        odd: odd(tenant_host(7), "/p7/x".to_owned(), "1".to_owned(), "1".to_owned()),
    }
}

fn shared_host(name: &str, count: usize) -> Workload {
    let rule =
        |i| Rule::new([Condition::HostIs(SHOP.to_owned()), Condition::PathStartsWith(tenant_prefix(i))]);
    let hit = case(name, Matches::All, &mut Random::new(6), |_, shape, random| {
        shape.host = SHOP.to_owned();
        shape.target = format!("{}item-{}?page=1", tenant_prefix(random.below(count)), random.below(100_000));
    });
    Workload {
        rules: (0..count).map(rule).collect(),
        cases: vec![hit],
        odd: odd(SHOP.to_owned(), "/p7/x".to_owned(), "1".to_owned(), "1".to_owned()),
    }
}

fn cookie_rules(name: &str, count: usize) -> Workload {
    let member = |i: usize, at: usize| (20_000_000 + 3 * i + at).to_string();
    let rule = |i| Rule::new([Condition::CookieIn("uid", (0..3).map(|at| member(i, at)).collect())]);
    let hit = case(name, Matches::All, &mut Random::new(7), |_, shape, random| {
        shape.uid = member(random.below(count), random.below(3));
    });
    Workload {
        rules: (0..count).map(rule).collect(),
        cases: vec![hit],
        odd: odd(SHOP.to_owned(), CHECKOUT.to_owned(), member(7, 1), "1".to_owned()),
    }
}

fn header_rules(name: &str, count: usize) -> Workload {
    let rule = |i| Rule::new([Condition::HeaderIs(TENANT, format!("tenant-{i}"))]);
    let hit = case(name, Matches::All, &mut Random::new(8), |_, shape, random| {
        shape.tenant = format!("tenant-{}", random.below(count));
    });
    Workload {
        rules: (0..count).map(rule).collect(),
        cases: vec![hit],
        odd: odd(SHOP.to_owned(), CHECKOUT.to_owned(), "1".to_owned(), "tenant-7".to_owned()),
    }
}

fn regexes(name: &str) -> Workload {
    let rule = |i| Rule::new([Condition::PathMatches(format!("^/v{i}/items/[0-9]+$"))]);
    let hit = case(name, Matches::All, &mut Random::new(9), |_, shape, random| {
        shape.target = format!("/v99/items/{}?page=1", random.below(1_000_000));
    });
    Workload {
        rules: (0..100).map(rule).collect(),
        cases: vec![hit],
        odd: odd(SHOP.to_owned(), "/v7/items/1".to_owned(), "1".to_owned(), "1".to_owned()),
    }
}

/// Few requests, so that they stay in the processor's cache, as one that has just been read would be.
const LONG: usize = 4;

fn long_cookie(name: &str) -> Workload {
    let mut random = Random::new(10);
    let requests: Vec<_> = (0..LONG).map(|_| requests::long_cookie(&mut random)).collect();
    Workload {
        rules: vec![Rule::new([Condition::CookieIs("uid", "20000001".to_owned())])],
        cases: vec![Case { name: name.to_owned(), requests: requests.leak(), matches: Matches::None }],
        odd: odd(SHOP.to_owned(), CHECKOUT.to_owned(), "20000001".to_owned(), "1".to_owned()),
    }
}

fn long_query(name: &str) -> Workload {
    let mut random = Random::new(11);
    let requests: Vec<_> = (0..LONG).map(|_| requests::long_query(&mut random)).collect();
    Workload {
        rules: vec![Rule::new([Condition::QueryIs("preview", "v1".to_owned())])],
        cases: vec![Case { name: name.to_owned(), requests: requests.leak(), matches: Matches::All }],
        odd: odd(SHOP.to_owned(), CHECKOUT.to_owned(), "1".to_owned(), "1".to_owned()),
    }
}
