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
use std::thread;
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
    for (title, setting) in [("default", defaults()), ("strict", strict())] {
        println!("\n{title} limits");
        println!("\n| rules | their bytes | request's bytes | questions | time | memory | explained in |");
        println!("|---|---:|---:|---:|---:|---:|---:|");
        for (name, rules, request) in decisions(&setting) {
            if wanted(name) || wanted(title) {
                decision(name, &setting, &rules, &request);
            }
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
    let deep = Limits::default().depth;
    let logical = |at: usize| match at % deep {
        1 => format!("cluster c{at}=a\n"),
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
        ("expressions, largest", expressions(64, 9_000)),
        ("broken statements", fill(MOST, "", "", |_| "route\n".into())),
        ("brackets that never close", fill(MOST, "route r:", "", |_| "(".into())),
    ]
}

/// Regular expressions that keep as many states alive as they repeat.
fn expressions(count: usize, repeated: usize) -> String {
    let mut text = "route r:".to_owned();
    for at in 0..count {
        let _ = write!(text, r#"header(x)matches"(?s-u:a.{{{repeated}}}b){at}"||"#);
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

/// Who may write rules, and what the server lets through.
struct Setting {
    limits: Limits,
    /// Bytes of the rules.
    rules: usize,
    /// Bytes of the request that vary.
    request: usize,
    /// How many small regular expressions.
    small: usize,
    /// How many large ones, and how many states each keeps alive.
    large: (usize, usize),
}

/// The default limits, but a sixteenth of the largest text and one expression: what a decision takes grows with both,
/// and nobody waits for minutes. The request has the longest query that the `http` crate takes.
fn defaults() -> Setting {
    Setting { limits: Limits::default(), rules: MOST / 16, request: 65_500, small: 7_900, large: (1, 9_000) }
}

/// What the language reference recommends where strangers write rules, gone to.
fn strict() -> Setting {
    let limits = Limits {
        text_bytes: 64 << 10,
        depth: 8,
        regex_bytes: 64 << 10,
        program_bytes: 4 << 20,
        ..Limits::default()
    };
    Setting { limits, rules: limits.text_bytes, request: 16 << 10, small: 500, large: (70, 900) }
}

fn decisions(setting: &Setting) -> Vec<(&'static str, String, Request<()>)> {
    let row = |piece: &dyn Fn(usize) -> String| row(setting.rules, piece);
    let query = |unit: &str| {
        let query = unit.repeat(setting.request / unit.len());
        Request::get(format!("/?{query}")).body(()).expect("is a request")
    };
    let header = |name: &'static str, unit: &[u8]| {
        let value = HeaderValue::from_bytes(&unit.repeat(setting.request / unit.len())).expect("is a value");
        Request::get("/").header(name, value).body(()).expect("is a request")
    };
    let depth = setting.limits.depth - 1;
    let (open, close) = ("lower(".repeat(depth), ")".repeat(depth));
    let split = |at| format!("shadow route r{at}:true=>a 1,b 1 by lower(header(x)??\"{at}\")\n");
    let (count, repeated) = setting.large;
    let small: String =
        (0..setting.small).map(|at| format!("header(x)matches\"a[ab]{{9}}b{at}\"||")).collect();
    vec![
        ("`int(query(q)) % N == 9`", row(&|at| format!("int(query(q))%{}==9", at + 2)), query("q=1&")),
        (
            "`int(query(q)) % N > len(query(q))`",
            row(&|at| format!("int(query(q))%{}>len(query(q))", at + 9)),
            query("q=1&"),
        ),
        (
            "`lower(lower(…(query(q) ?? N))) == \"\"`",
            row(&|at| format!("{open}query(q)??\"{at}\"{close}==\"\"")),
            query("q=A&"),
        ),
        ("`query(qN) == \"\"`", row(&|at| format!("query(q{at})==\"\"")), query("q&")),
        ("`cookie(cN) == \"\"`", row(&|at| format!("cookie(c{at})==\"\"")), header("cookie", b"c=;")),
        ("`header(x) contains N`", row(&|at| format!("header(x)contains\"aaaab{at}\"")), header("x", b"a")),
        (
            "`lower(header(x) ?? N) == \"\"`",
            row(&|at| format!("lower(header(x)??\"{at}\")==\"\"")),
            header("x", b"A"),
        ),
        ("splits by `lower(header(x) ?? N)`", fill(setting.rules, "", DEFAULT, split), header("x", b"A")),
        ("`header(x) matches`, small", format!("route r:{small}false=>b\n{DEFAULT}"), header("x", b"a")),
        ("`header(x) matches`, large", expressions(count, repeated), header("x", b"ab")),
    ]
}

fn decision(name: &str, setting: &Setting, text: &str, request: &Request<()>) {
    let engine = match Engine::builder().clusters(CLUSTERS).limits(setting.limits).build(text) {
        Ok(engine) => engine,
        Err(error) => {
            return println!("| {name} | {} | refused: {} |", text.len(), first_line(&error.to_string()));
        }
    };
    let disassembly = engine.rules().disassemble();
    let questions = disassembly.lines().filter(|line| line.contains("  yes ")).count();
    let moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 0 };
    let decide = || {
        let mut took = Duration::ZERO;
        let info = measure(|| {
            let start = Instant::now();
            drop(engine.decide_at(request, moment));
            took = start.elapsed();
        });
        (took, info)
    };
    // A thread of its own has nothing at hand yet.
    let (took, info) = thread::scope(|scope| scope.spawn(decide).join()).expect("does not panic");
    let start = Instant::now();
    drop(engine.explain_at(request, moment));
    let explained = start.elapsed();
    println!(
        "| {name} | {} | {} | {questions} | {} | {} | {} |",
        text.len(),
        setting.request,
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
