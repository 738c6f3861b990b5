//! Rule sets and requests made from bytes, so that a property test and a fuzzer can share them.
//!
//! Literals and request values are drawn from one small pool: both answers of every operator are then common.

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::time::{Duration, SystemTime};

use arbitrary::Unstructured;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use pointsman::engine::{Moment, StatementKind};
use pointsman::schema::{ClientAddr, List, PeerAddr, Schema, Trusted, Type, Version};
use pointsman::{Engine, RuleSet};

/// Choices read from bytes. When they run out every choice is the first, which is the simplest: so a generator
/// always ends, and fewer bytes make smaller things.
pub struct Choices<'b> {
    bytes: Unstructured<'b>,
}

impl<'b> Choices<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Choices { bytes: Unstructured::new(bytes) }
    }

    /// A number below `n`, which is at most 256: one byte.
    pub fn below(&mut self, n: usize) -> usize {
        let most = n.clamp(1, 256) - 1;
        self.bytes.int_in_range(0..=most).unwrap_or(0)
    }

    pub fn one<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.below(of.len())]
    }

    /// True once in `n`; never when the bytes have run out.
    pub fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

// === the pool ===

const WORDS: &[&str] = &[
    "a",
    "b",
    "1001",
    "42",
    "-7",
    "2.3.0",
    "v2.3",
    "10.0.0.1",
    "a.b",
    "A",
    "",
    "abc",
    "gray x",
    "é",
    "1.0.0-rc.1",
    "007",
];
const PATHS: &[&str] =
    &["/", "/a", "/a/b", "/a/b/c", "/ab", "/a%2Fb", "/checkout", "/checkout/1", "/A", "/a/"];
const RAW_PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/b",
    "//a",
    "/a/../a",
    "/%61",
    "/a/./b/c",
    "/ab",
    "/a%2fb",
    "/checkout/1",
    "/checkout",
    "/A",
    "/a/",
    "/a/b/..",
    "/%zz",
    "/a\\b",
];
const HOSTS: &[&str] = &["example.com", "a.example.com", "b.a.example.com", "aexample.com", "test", "[::1]"];
const IPS: &[&str] = &["10.0.0.1", "10.0.0.9", "10.1.0.0", "192.168.0.1", "2001:db8::1", "::1"];
const NETS: &[&str] = &["10.0.0.0/8", "10.0.0.0/24", "192.168.0.0/16", "2001:db8::/32", "::/0", "0.0.0.0/0"];
const INTS: &[&str] = &["0", "1", "2", "42", "-7", "7", "80", "8080", "1001"];
const VERSIONS: &[&str] = &["1", "2.3", "v2.3.0", "1.0.0-rc.1", "1.0.0-rc.2", "2.3.1+build"];
const TIMES: &[&str] = &["2026-01-01T00:00:00Z", "2026-06-01T00:00:00+02:00", "2027-01-01T00:00:00Z"];
const PERCENTS: &[&str] = &["0", "5", "50", "99.9999", "12.5", "100"];
const REGEXES: &[&str] = &["^a", "b$", "[0-9]+", "", r"^\\d{2,}$", "a|b", "(?i)A"];
pub const SALTS: &[&str] = &["", "x", "y"];

/// What the generated rules may mention.
pub fn schema() -> Schema {
    let header = |name: &'static str| {
        move |head: pointsman::schema::RequestHead<'_>| -> Vec<String> {
            let values = head.headers.get_all(name).iter();
            values.filter_map(|v| v.to_str().ok()).map(str::to_owned).collect()
        }
    };
    let (staff, seats, app, seen, from) =
        (header("x-staff"), header("x-seats"), header("x-app"), header("x-seen"), header("x-from"));
    Schema::new()
        .clusters(["gray", "prod", "next", "old-er"])
        .gateway(StatementKind::GATEWAY)
        .list("vips", List::strings(["a", "1001", "abc"]))
        .list("ports", List::int_ranges([1..=2, 42..=90]))
        .list("nets", List::networks(["10.0.0.0/24", "::1"]).unwrap())
        .client_addr(ClientAddr::x_forwarded_for(Trusted::networks(["192.168.0.0/16"]).unwrap()))
        .field("is_staff", Type::Bool, move |head, out| {
            staff(head).iter().filter_map(|v| v.parse::<bool>().ok()).for_each(|v| out.push(v));
        })
        .field("seats", Type::Int, move |head, out| {
            seats(head).iter().filter_map(|v| v.parse::<i64>().ok()).for_each(|v| out.push(v));
        })
        .field("app", Type::Version, move |head, out| {
            app(head).iter().filter_map(|v| Version::parse(v.as_bytes())).for_each(|v| out.push(v));
        })
        .field("seen", Type::Time, move |head, out| {
            seen(head).iter().filter_map(|v| instant(v)).for_each(|v| out.push(v));
        })
        .field("from", Type::Ip, move |head, out| {
            from(head).iter().filter_map(|v| v.parse::<std::net::IpAddr>().ok()).for_each(|v| out.push(v));
        })
        .keyed_field("tag", Type::String, |head, name, out| {
            for value in head.headers.get_all("x-tag") {
                if let Some(value) = value.to_str().ok().and_then(|v| v.strip_prefix(name)) {
                    out.push(value);
                }
            }
        })
}

pub fn instant(text: &str) -> Option<SystemTime> {
    text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

// === requests ===

/// A request whose values come from the pool, each absent, once or several times.
pub fn request(c: &mut Choices<'_>) -> Request<()> {
    let mut request = Request::new(());
    let path = c.one(RAW_PATHS);
    let query = match c.below(4) {
        0 => String::new(),
        1 => format!("?q={}", c.one(WORDS).replace(' ', "+").replace('é', "%C3%A9")),
        2 => format!("?p=1&q={}&q={}", c.one(INTS), c.one(VERSIONS).replace('+', "%2B")),
        _ => "?q&p=%zz".to_owned(),
    };
    let uri = match c.below(8) {
        7 => format!("http://{}:8080{path}{query}", c.one(&HOSTS[..4])),
        _ => format!("{path}{query}"),
    };
    *request.uri_mut() = uri.parse::<Uri>().unwrap();
    *request.method_mut() = c.one(&[&Method::GET, &Method::POST]).clone();
    let mut add = |name: &str, value: &str| {
        let (name, value) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
        request.headers_mut().append(name.unwrap(), value.unwrap());
    };
    match c.below(6) {
        0 => {}
        5 => {
            add("host", c.one(HOSTS));
            add("host", c.one(HOSTS));
        }
        4 => add("host", &format!("{}.:80", c.one(&HOSTS[..4]).to_uppercase())),
        _ => add("host", c.one(HOSTS)),
    }
    for (name, pool) in [
        ("x-a", &WORDS[..8]),
        ("x-b", &WORDS[..8]),
        ("x-n", INTS),
        ("x-v", VERSIONS),
        ("x-seats", INTS),
        ("x-app", VERSIONS),
        ("x-seen", TIMES),
        ("x-from", IPS),
        ("x-staff", &["true", "false"]),
        ("x-tag", &["vipa", "vip1001", "t"]),
    ] {
        for _ in 0..[1, 1, 0, 2, 1][c.below(5)] {
            add(name, c.one(pool));
        }
    }
    for _ in 0..[1, 0, 1, 2][c.below(4)] {
        let line = match c.below(3) {
            0 => format!("uid={}", c.one(WORDS)),
            1 => format!("n={}; uid=\"{}\"; uid={}", c.one(INTS), c.one(WORDS), c.one(INTS)),
            _ => format!("xuid=1; n={}", c.one(INTS)),
        };
        add("cookie", &line);
    }
    if c.below(3) == 2 {
        add("x-forwarded-for", &format!("{}, {}", c.one(IPS), c.one(&["192.168.0.1", "10.0.0.1", "junk"])));
    }
    if c.below(4) != 3 {
        let ip: std::net::IpAddr = c.one(IPS).parse().unwrap();
        request.extensions_mut().insert(PeerAddr((ip, 443).into()));
    }
    request
}

/// The engine's clock.
pub fn now(c: &mut Choices<'_>) -> SystemTime {
    let at = instant(c.one(TIMES)).unwrap();
    if c.rarely(2) { at + Duration::from_secs(1) } else { at }
}

/// The engine's clock, and chance.
pub fn moment(c: &mut Choices<'_>) -> Moment {
    Moment { now: now(c), chance: (c.below(256) as u64).wrapping_mul(0x0123_4567_89ab_cdef) }
}

// === decisions ===

/// The cluster and the route that decided.
pub type Answer = (String, Option<String>);

/// The decision, which is the explanation's too.
#[track_caller]
pub fn decide(engine: &Engine, request: &Request<()>, moment: Moment) -> Answer {
    let decision = engine.decide_at(request, moment);
    let explanation = engine.explain_at(request, moment);
    let decided = (decision.cluster().to_owned(), decision.rule().map(str::to_owned));
    let explained = (explanation.cluster.clone(), explanation.rule.clone());
    assert_eq!(decided, explained, "{}\n{request:?}\n{explanation}", engine.rules().text());
    assert_eq!(decision.explain(request), explanation);
    let matched: Vec<_> =
        decision.matches().map(|hit| (hit.statement().kind(), hit.statement().name())).collect();
    let told = explanation.steps.iter().filter(|step| step.kind != StatementKind::Route);
    let told: Vec<_> = told
        .filter(|step| step.matched == Some(true) && !step.no_key)
        .map(|step| (step.kind, &*step.rule))
        .collect();
    assert_eq!(matched, told, "{}\n{request:?}\n{explanation}", engine.rules().text());
    let denied = decision.denied().map(|hit| hit.statement().name());
    assert_eq!(denied, explanation.denied.as_deref(), "{}", engine.rules().text());
    let down = |cluster: usize| moment.chance >> (cluster % 64) & 1 == 0;
    let [index, all, reference] = engine.decide_three_ways_at(request, moment, down);
    assert!(index == all && all == reference, "{index:?}, {all:?}, {reference:?}\n{}", engine.rules().text());
    decided
}

// === conditions ===

/// The operators that a comparison can have, with the kinds of operands; for the count of both verdicts.
pub const KINDS: &[&str] = &[
    "== string",
    "!= string",
    "in strings",
    "not in strings",
    "in named",
    "not in named",
    "in supplied",
    "starts_with",
    "ends_with",
    "contains",
    "matches",
    "under path",
    "under host",
    "== int",
    "< int",
    "in ints",
    "in int ranges",
    "% int",
    "len",
    "in ips",
    "== ip",
    "not in ips",
    "< version",
    "== version",
    "in versions",
    "now",
    "in times",
    "percent",
    "is_staff",
    "== bool",
    "exists",
    "?? string",
    "field == field",
    "field < field",
    "== path",
    "== host",
    "port",
    "raw",
    "literal first",
];

fn quote(text: &str) -> String {
    format!("\"{text}\"")
}

fn string_field(c: &mut Choices<'_>) -> &'static str {
    c.one(&[
        "header(x-a)",
        "header(x-b)",
        "cookie(uid)",
        "query(q)",
        "header(\"X-A\")",
        "tag(vip)",
        "lower(header(x-a))",
        "raw_query",
    ])
}

fn int_field(c: &mut Choices<'_>) -> &'static str {
    c.one(&["int(header(x-n))", "seats", "int(cookie(n))", "len(cookie(uid))", "int(query(q))"])
}

fn strings(c: &mut Choices<'_>) -> String {
    let members: Vec<_> = (0..c.below(4) + 1).map(|_| quote(c.one(WORDS))).collect();
    format!("[{}{}]", members.join(", "), if c.rarely(3) { "," } else { "" })
}

fn order(c: &mut Choices<'_>) -> &'static str {
    c.one(&["<", "<=", ">", ">="])
}

/// A key of a split or of `percent`.
pub fn key(c: &mut Choices<'_>) -> String {
    c.one(&[
        "cookie(uid)",
        "cookie(uid) ?? ip",
        "header(x-a) ?? seats ?? now",
        "ip",
        "lower(header(x-b))",
        "int(header(x-n)) % 7",
        "cookie(none)",
    ])
    .to_owned()
}

/// One comparison of a kind of [`KINDS`]. Its lists are `words`, a named list of strings, and the supplied ones.
pub fn test(kind: &str, c: &mut Choices<'_>) -> String {
    let f = string_field(c);
    match kind {
        "== string" => format!("{f} == {}", quote(c.one(&WORDS[..8]))),
        "!= string" => format!("{f} != {}", quote(c.one(&WORDS[..8]))),
        "in strings" => format!("{f} in {}", strings(c)),
        "not in strings" => format!("{f} not in {}", strings(c)),
        "in named" => format!("{f} in words"),
        "not in named" => format!("{f} not  in words"),
        "in supplied" => match c.below(3) {
            0 => format!("{f} in vips"),
            1 => format!("{} in ports", int_field(c)),
            _ => format!("{} not in nets", c.one(&["ip", "from"])),
        },
        "starts_with" => format!("{f} starts_with {}", quote(c.one(WORDS))),
        "ends_with" => format!("{f} ends_with {}", quote(c.one(WORDS))),
        "contains" => format!("{f} contains {}", quote(c.one(WORDS))),
        "matches" => format!("{f} matches {}", quote(c.one(REGEXES))),
        "under path" => format!("path under {}", quote(c.one(PATHS))),
        "under host" => format!("host under {}", quote(c.one(HOSTS))),
        "== int" => format!("{} {} {}", int_field(c), c.one(&["==", "!="]), c.one(INTS)),
        "< int" => format!("{} {} {}", int_field(c), order(c), c.one(INTS)),
        "in ints" => {
            format!("{} {} [{}, {}]", int_field(c), c.one(&["in", "not in"]), c.one(INTS), c.one(INTS))
        }
        "in int ranges" => format!(
            "{} in [{}, {}]",
            int_field(c),
            c.one(&["-7..2", "0..0", "40..90"]),
            c.one(&["1", "1000..2000"])
        ),
        "% int" => format!(
            "{} % {} {} {}",
            int_field(c),
            c.one(&["2", "3", "7", "1"]),
            c.one(&["==", "<", "!=", ">="]),
            c.one(&["0", "1", "2"])
        ),
        "len" => format!("len({f}) {} {}", c.one(&["==", "<", ">="]), c.one(&["0", "1", "3"])),
        "in ips" => format!("{} in [{}, {}]", c.one(&["ip", "from"]), c.one(NETS), c.one(IPS)),
        "== ip" => format!("{} {} {}", c.one(&["ip", "from"]), c.one(&["==", "!="]), c.one(IPS)),
        "not in ips" => {
            format!("{} not in [10.0.0.0..10.0.0.5, {}]", c.one(&["ip", "from"]), quote(c.one(NETS)))
        }
        "< version" => format!(
            "{} {} {}",
            c.one(&["version(header(x-v))", "app", "version(query(q))"]),
            order(c),
            quote(c.one(VERSIONS))
        ),
        "== version" => format!(
            "{} {} {}",
            c.one(&["version(header(x-v))", "app"]),
            c.one(&["==", "!="]),
            quote(c.one(VERSIONS))
        ),
        "in versions" => format!(
            "{} in [\"1\"..\"2\", {}]",
            c.one(&["version(header(x-v))", "app"]),
            quote(c.one(VERSIONS))
        ),
        "now" => format!(
            "{} {} {}",
            c.one(&["now", "seen"]),
            c.one(&["<", "<=", ">", ">=", "=="]),
            quote(c.one(TIMES))
        ),
        "in times" => format!(
            "{} in [\"2026-01-01T00:00:00Z\"..\"2026-02-01T00:00:00Z\", {}]",
            c.one(&["now", "seen"]),
            quote(c.one(TIMES))
        ),
        "percent" => match c.below(2) {
            0 => format!("percent({}) {} {}", key(c), c.one(&["<", ">="]), c.one(PERCENTS)),
            _ => format!("percent({}, {}) {} {}", key(c), quote(c.one(SALTS)), order(c), c.one(PERCENTS)),
        },
        "is_staff" => "is_staff".to_owned(),
        "== bool" => format!(
            "{} {} {}",
            c.one(&["is_staff", "exists(cookie(uid))"]),
            c.one(&["==", "!="]),
            c.one(&["true", "false"])
        ),
        "exists" => format!(
            "exists({})",
            c.one(&["cookie(uid)", "host", "ip", "port", "raw_query", "version(header(x-v))", f])
        ),
        "?? string" => format!(
            "cookie(uid) ?? {f} ?? \"abc\" {} {}",
            c.one(&["==", "!=", "contains"]),
            quote(c.one(WORDS))
        ),
        "field == field" => format!("{f} {} {}", c.one(&["==", "!="]), string_field(c)),
        "field < field" => format!("{} {} {}", int_field(c), order(c), int_field(c)),
        "== path" => format!("path {} {}", c.one(&["==", "!="]), quote(c.one(PATHS))),
        "== host" => format!("host {} {}", c.one(&["==", "!="]), quote(c.one(HOSTS))),
        "port" => format!("port {} {}", c.one(&["==", "!=", "<", ">"]), c.one(&["80", "8080"])),
        "raw" => format!(
            "{} {} {}",
            c.one(&["raw_path", "method"]),
            c.one(&["contains", "starts_with", "=="]),
            quote(c.one(&["/a", "GET", "%", ".."]))
        ),
        "literal first" => format!("{} {} {}", c.one(INTS), c.one(&["<", ">=", "=="]), int_field(c)),
        other => panic!("no such kind: {other}"),
    }
}

/// A condition with rows, negations and parentheses, spelled in many ways.
pub fn condition(c: &mut Choices<'_>, depth: usize) -> String {
    if depth == 0 {
        return test(KINDS[c.below(KINDS.len())], c);
    }
    let space = c.one(&[" ", "\n    ", "  \t"]);
    match c.below(10) {
        0..=2 => test(KINDS[c.below(KINDS.len())], c),
        3 | 4 => row(c, depth, &["&&", "and"], space),
        5 | 6 => row(c, depth, &["||", "or"], space),
        7 => format!("!({})", condition(c, depth - 1)),
        8 => format!("{}{}", c.one(&["not ", "!", "! !"]), test(KINDS[c.below(KINDS.len())], c)),
        _ => c.one(&["true", "false", "!true"]).to_owned(),
    }
}

fn row(c: &mut Choices<'_>, depth: usize, operators: &[&str], space: &str) -> String {
    let count = c.below(3) + 2;
    let mut out = format!("({}", condition(c, depth - 1));
    for _ in 1..count {
        let operator = c.one(operators);
        out += &format!("{space}{operator}{space}{}", condition(c, depth - 1));
    }
    // Without parentheses the row takes in what stands beside it; the text is a condition all the same.
    if c.rarely(3) { out.split_off(1) } else { out + ")" }
}

// === rule sets ===

/// A rule set in pieces, from which a text or `Statements` can be made.
#[derive(Debug, Clone)]
pub struct RuleText {
    pub statements: Vec<Piece>,
}

#[derive(Debug, Clone)]
pub enum Piece {
    List(String, String),
    Cluster(String, String),
    /// State, name, condition, outcome.
    Route(&'static str, String, String, String),
    /// Kind, state, name, condition, outcome.
    Gateway(StatementKind, &'static str, String, String, String),
    Default(String),
}

pub fn rule_set(c: &mut Choices<'_>) -> RuleText {
    let mut statements = vec![Piece::List("words".into(), "[\"a\", \"2.3.0\", \"42\"]".into())];
    let clusters = c.below(3);
    for i in 0..clusters {
        statements.push(Piece::Cluster(format!("made{i}"), outcome(c, i)));
    }
    for i in 0..c.below(5) + 1 {
        let state = c.one(&["", "", "", "shadow ", "paused "]);
        let name = match c.below(4) {
            3 => format!("a name {i}"),
            _ => format!("r-{i}"),
        };
        let condition = condition(c, 3);
        statements.push(Piece::Route(state, name, condition, outcome(c, clusters)));
    }
    for i in 0..c.below(8).saturating_sub(3) {
        statements.insert(c.below(statements.len() + 1), gateway(c, i));
    }
    statements.push(Piece::Default(outcome(c, clusters)));
    if c.rarely(4) {
        statements.rotate_left(1);
    }
    RuleText { statements }
}

/// A statement of the service gateway.
fn gateway(c: &mut Choices<'_>, at: usize) -> Piece {
    let kind = StatementKind::GATEWAY[c.below(6)];
    let state = c.one(&["", "", "", "shadow ", "paused "]);
    let condition = condition(c, 2);
    let times = ["30s", "10m", "250ms", "90s", "24h", "7d", "1500ms"];
    let by = |c: &mut Choices<'_>| if c.below(2) == 0 { String::new() } else { format!(" by {}", key(c)) };
    let outcome = match kind {
        StatementKind::Deny => c.one(&["403", "400 \"no\"", "503 r\"a\\d\"", "599"]).to_owned(),
        StatementKind::Limit => {
            let rate = c.one(&["100/s", "5/10s", "1/m burst 3", "60/60s burst 60", "1/d"]);
            format!("{rate}{}", by(c))
        }
        StatementKind::Cache => {
            let stale = c.one(&["", " stale 10s", " stale 0s"]);
            let with = c.one(&["", " with private", " with set_cookie, authorization"]);
            format!("{}{stale}{}{with}", c.one(&times), by(c))
        }
        StatementKind::Mirror => c.one(&["next", "gray with unsafe", "\"old-er\""]).to_owned(),
        StatementKind::Capture => format!("{} for {}", c.one(&["1", "50"]), c.one(&times)),
        _ => format!("top {} by {} per {}", c.one(&["1", "20"]), key(c), c.one(&times)),
    };
    Piece::Gateway(kind, state, format!("g{at}"), condition, outcome)
}

/// An outcome that may name the first `made` logical clusters.
fn outcome(c: &mut Choices<'_>, made: usize) -> String {
    let mut names: Vec<String> = ["gray", "prod", "next", "old-er", "\"gray\""].map(str::to_owned).to_vec();
    names.extend((0..made).map(|i| format!("made{i}")));
    let name = |c: &mut Choices<'_>| names[c.below(names.len())].clone();
    let fallback = |c: &mut Choices<'_>, of: &str| {
        let other = name(c);
        let same = other.trim_matches('"') == of.trim_matches('"');
        if c.below(4) > 0 || same { String::new() } else { format!(" else {other}") }
    };
    if c.below(2) == 0 {
        let one = name(c);
        let fallback = fallback(c, &one);
        return one + &fallback;
    }
    let mut arms: Vec<String> = Vec::new();
    for _ in 0..c.below(3) + 2 {
        let arm = name(c);
        if !arms.iter().any(|other| other.trim_matches('"') == arm.trim_matches('"')) {
            arms.push(arm);
        }
    }
    if arms.len() < 2 {
        return arms.remove(0);
    }
    let fallbacks: Vec<_> = arms.iter().map(|arm| fallback(c, arm)).collect();
    let weights: Vec<&str> = arms.iter().map(|_| c.one(&["1", "50", "0.5", "99.9999", "0"])).collect();
    let all_zero = weights.iter().all(|w| *w == "0");
    let arms: Vec<_> = arms
        .iter()
        .zip(weights)
        .zip(fallbacks)
        .map(|((arm, weight), fallback)| format!("{arm} {}{fallback}", if all_zero { "1" } else { weight }))
        .collect();
    match c.below(4) {
        3 => arms.join(","),
        2 => format!("{} by {} salt {}", arms.join(", "), key(c), c.one(&["\"a\"", "r\"spring\"", "\"\""])),
        _ => format!("{} by {}", arms.join(", "), key(c)),
    }
}

impl RuleText {
    /// As one text.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// One statement each.
    pub fn lines(&self) -> Vec<String> {
        let quoted = |name: &str| if name.contains(' ') { quote(name) } else { name.to_owned() };
        let line = |piece: &Piece| match piece {
            Piece::List(name, members) => format!("list {} = {members}", quoted(name)),
            Piece::Cluster(name, outcome) => format!("cluster {} = {outcome}", quoted(name)),
            Piece::Route(state, name, condition, outcome) => {
                format!("{state}route {}: {condition} => {outcome}", quoted(name))
            }
            Piece::Gateway(kind, state, name, condition, outcome) => {
                format!("{state}{kind} {name}: {condition} => {outcome}")
            }
            Piece::Default(outcome) => format!("default => {outcome}"),
        };
        self.statements.iter().map(line).collect()
    }

    /// The text with a comment at every place that may have one, and the comments in their order.
    pub fn commented(&self, c: &mut Choices<'_>) -> (String, Vec<String>) {
        let (mut text, mut comments) = (String::new(), Vec::new());
        let mut comment = |text: &mut String, end: &str| {
            let words =
                format!("{} {}", c.one(&["why", "#", "\"a", "route x: true => y", "é ("]), comments.len());
            *text += &format!("# {words}{end}");
            comments.push(words);
        };
        for (i, line) in self.lines().iter().enumerate() {
            if i % 3 != 1 {
                comment(&mut text, "\n");
            }
            if i % 4 == 2 {
                text += "\n";
                comment(&mut text, "\n\n");
            }
            // A line that is broken already has a place inside the statement.
            match line.split_once("\n    ") {
                Some((head, tail)) => {
                    text += head;
                    text += " ";
                    comment(&mut text, "\n");
                    text += tail;
                }
                None => text += line,
            }
            if i % 2 == 0 {
                text += "  ";
                comment(&mut text, "");
            }
            text += "\n";
        }
        comment(&mut text, "");
        (text, comments)
    }
}

// === what a rule set says of itself ===

/// The routes of which a lint says that they never decide.
pub fn never_decides(rules: &RuleSet) -> Vec<String> {
    let text = rules.text();
    let kinds = ["route ", "shadow route ", "paused route "];
    let routes = rules.statements().into_iter().filter(|s| s.kind == StatementKind::Route);
    let names: Vec<_> = routes.map(|statement| statement.name).collect();
    // Each route of a generated text begins a line; in another text the lint is let pass.
    let starts: Vec<usize> = text
        .char_indices()
        .filter(|(at, _)| *at == 0 || text.as_bytes()[at - 1] == b'\n')
        .filter(|(at, _)| kinds.iter().any(|kind| text[*at..].starts_with(kind)))
        .map(|(at, _)| at)
        .collect();
    if starts.len() != names.len() {
        return Vec::new();
    }
    rules
        .lints()
        .iter()
        .filter(|lint| matches!(lint.code().as_str(), "never-reached" | "never-matches"))
        .filter_map(|lint| {
            let before = starts.iter().filter(|start| **start <= lint.span().start).count();
            // Another statement can have a lint as well, in the lines behind a route.
            let between = &text[starts[before.checked_sub(1)?]..lint.span().start];
            let kinds = StatementKind::GATEWAY.map(StatementKind::word);
            let inside = !between.lines().skip(1).any(|line| {
                let line = line.trim_start_matches("paused ").trim_start_matches("shadow ");
                line.starts_with("default") || kinds.iter().any(|kind| line.starts_with(&format!("{kind} ")))
            });
            names.get(before - 1).filter(|_| inside).cloned()
        })
        .collect()
}
