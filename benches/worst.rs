//! What a hostile rule author can cost: the worst texts that the default limits accept, and the worst rule sets on the
//! worst requests. The language reference states what this prints.
//!
//! ```text
//! cargo bench --bench worst              # all of it takes minutes
//! cargo bench --bench worst -- contains  # rows with that word
//! ```
//!
//! Time is the wall's, memory the most that one thread held at once beyond what it held before.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a bench may stop, and prints")]

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use allocation_counter::measure;
use http::{HeaderValue, Request};
use pointsman::engine::Moment;
use pointsman::{Engine, Limits};

const CLUSTERS: [&str; 2] = ["a", "b"];
const DEFAULT: &str = "default=>a";

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| name.contains(word.as_str()));
    println!("| text | bytes | accepted | time | memory |\n|---|---:|---|---:|---:|");
    for (name, rules) in texts() {
        if wanted(name) {
            text(name, &rules);
        }
    }
    println!("\n| rules | their bytes | request's bytes | questions | time | memory | explained in |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, rules, request) in decisions() {
        if wanted(name) {
            decision(name, &rules, &request);
        }
    }
}

// === texts ===

/// The size of the largest text.
const MOST: usize = 4 << 20;

/// As many pieces as fit into a text of a size, between a head and a tail.
fn fill(size: usize, head: &str, tail: &str, piece: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    for at in 0..Limits::default().list_members {
        let piece = piece(at);
        if text.len() + piece.len() + tail.len() > size {
            break;
        }
        text += &piece;
    }
    text + tail
}

/// One route whose condition is a row of alternatives.
fn row(size: usize, piece: impl Fn(usize) -> String) -> String {
    fill(size, "route r:", &format!("false=>b\n{DEFAULT}"), |at| piece(at) + "||")
}

/// As many statements as are allowed, the default among them.
fn statements(piece: impl Fn(usize) -> String) -> String {
    (1..Limits::default().statements).map(piece).collect::<String>() + DEFAULT
}

/// One list in one route.
fn list(member: impl Fn(usize) -> String) -> String {
    fill(MOST, "route r:int(query(q))in[", &format!("]=>b\n{DEFAULT}"), member)
}

fn texts() -> Vec<(&'static str, String)> {
    let network = |at: usize| format!("{}.{}.{}.0/24,", at >> 16, at >> 8 & 255, at & 255);
    let logical = |at: usize| match at {
        1 => "cluster c1=a\n".to_owned(),
        _ => format!("cluster c{at}=c{} 1,a 1 by ip\n", at - 1),
    };
    vec![
        ("one comparison, again and again", row(MOST, |_| "ip==1.1.1.1".into())),
        ("comparisons, each its own", row(MOST, |at| format!("port=={at}"))),
        ("fields, each its own", row(MOST, |at| format!("query(q{at})==\"\""))),
        ("most statements", statements(|at| format!("route r{at}:port=={at}=>b\n"))),
        (
            "routes that nearly cover each other",
            statements(|at| format!("route r{at}:path==\"/{}\"&&port>={at}=>b\n", at % 7)),
        ),
        ("clusters of clusters", statements(logical)),
        ("splits", statements(|at| format!("route r{at}:port=={at}=>a 1,b {} by ip\n", at % 9 + 1))),
        ("most members, all equal", list(|_| "1,".into())),
        ("members, each its own", list(|at| format!("{at},"))),
        ("networks", fill(MOST, "route r:ip in[", &format!("]=>b\n{DEFAULT}"), network)),
        ("expressions, small", row(MOST, |at| format!("host matches\"{at}x*\""))),
        ("expressions, largest", expressions(LARGE)),
        ("broken statements", fill(MOST, "", "", |_| "route\n".into())),
        ("brackets that never close", fill(MOST, "route r:", "", |_| "(".into())),
    ]
}

/// So many regular expressions of nearly the largest size; those beyond do not fit into a program.
const LARGE: usize = 64;

fn expressions(count: usize) -> String {
    let mut text = "route r:".to_owned();
    for at in 0..count {
        let _ = write!(text, r#"header(x)matches"(?s-u:a.{{9000}}b){at}"||"#);
    }
    text + "false=>b\n" + DEFAULT
}

fn text(name: &str, text: &str) {
    let mut accepted = None;
    let mut took = Duration::MAX;
    let mut memory = 0;
    for _ in 0..3 {
        let info = measure(|| {
            let start = Instant::now();
            let built = Engine::builder().clusters(CLUSTERS).build(text);
            took = took.min(start.elapsed());
            accepted = Some(built.map(drop).map_err(|error| error.to_string()));
        });
        memory = memory.max(info.bytes_max);
    }
    let accepted = match accepted.expect("it ran") {
        Ok(()) => "yes".to_owned(),
        Err(error) => format!("no: {}", first_line(&error)),
    };
    println!("| {name} | {} | {accepted} | {} | {} |", text.len(), time(took), bytes(memory));
}

// === decisions ===

/// A sixteenth of the largest text: what a decision takes grows with the rules, and nobody waits for minutes.
const PART: usize = MOST / 16;

/// As many bytes as hyper's server takes in one head.
const HEAD: usize = 400_000;

/// A request with a query as long as the `http` crate takes.
fn query(unit: &str) -> Request<()> {
    Request::get(format!("/?{}", unit.repeat(65_500 / unit.len()))).body(()).expect("is a request")
}

fn header(name: &'static str, unit: &[u8]) -> Request<()> {
    let value = HeaderValue::from_bytes(&unit.repeat(HEAD / unit.len())).expect("is a value");
    Request::get("/").header(name, value).body(()).expect("is a request")
}

fn decisions() -> Vec<(&'static str, String, Request<()>)> {
    let chain = |at: usize| format!("{}query(q)??\"{at}\"{}==\"\"", "lower(".repeat(30), ")".repeat(30));
    let split = |at| format!("shadow route r{at}:true=>a 1,b 1 by lower(header(x)??\"{at}\")\n");
    vec![
        ("int(query(q)) % N == 9", row(PART, |at| format!("int(query(q))%{}==9", at + 2)), query("q=1&")),
        ("lower(lower(… query(q) ?? N)) == \"\"", row(PART, chain), query("q=A&")),
        (
            "int(query(q)) % N > len(query(q))",
            row(PART, |at| format!("int(query(q))%{}>len(query(q))", at + 9)),
            query("q=1&"),
        ),
        ("query(qN) == \"\"", row(PART, |at| format!("query(q{at})==\"\"")), query("q&")),
        ("cookie(cN) == \"\"", row(PART, |at| format!("cookie(c{at})==\"\"")), header("cookie", b"c=;")),
        (
            "header(x) contains N",
            row(PART, |at| format!("header(x)contains\"aaaab{at}\"")),
            header("x", b"a"),
        ),
        (
            "lower(header(x) ?? N) == \"\"",
            row(PART, |at| format!("lower(header(x)??\"{at}\")==\"\"")),
            header("x", b"A"),
        ),
        ("splits by lower(header(x) ?? N)", fill(PART, "", DEFAULT, split), header("x", b"A")),
        (
            "header(x) matches, small",
            row(PART, |at| format!("header(x)matches\"a[ab]{{9}}b{at}\"")),
            header("x", b"a"),
        ),
        ("header(x) matches, one of the largest", expressions(1), header("x", b"ab")),
    ]
}

fn decision(name: &str, text: &str, request: &Request<()>) {
    let engine = match Engine::builder().clusters(CLUSTERS).build(text) {
        Ok(engine) => engine,
        Err(error) => {
            return println!(
                "| {name} | {} |  |  | refused: {} |",
                text.len(),
                first_line(&error.to_string())
            );
        }
    };
    let questions = engine.rules().disassemble().lines().filter(|line| line.contains("  test t")).count();
    let moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 0 };
    let mut took = Duration::ZERO;
    let info = measure(|| {
        let start = Instant::now();
        drop(engine.decide_at(request, moment));
        took = start.elapsed();
    });
    let start = Instant::now();
    drop(engine.explain_at(request, moment));
    let explained = start.elapsed();
    let size =
        request.uri().to_string().len() + request.headers().values().map(HeaderValue::len).sum::<usize>();
    println!(
        "| {name} | {size} | {questions} | {} | {} | {} |",
        time(took),
        bytes(info.bytes_max),
        time(explained)
    );
}

/// The start of a message.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(60).collect()
}

// === figures ===

fn time(took: Duration) -> String {
    match took {
        _ if took < Duration::from_millis(1) => format!("{} µs", took.as_micros()),
        _ if took < Duration::from_secs(1) => format!("{} ms", took.as_millis()),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} B"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
