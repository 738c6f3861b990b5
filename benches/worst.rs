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
use http::{HeaderName, HeaderValue, Request};
use pointsman::engine::Moment;
use pointsman::{Engine, Limits};

const CLUSTERS: [&str; 2] = ["a", "b"];
const DEFAULT: &str = "default=>a";

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| name.contains(word.as_str()));
    println!("| text | bytes | accepted | time | memory |\n|---|---:|---|---:|---:|");
    for (name, make) in texts() {
        if wanted(name) {
            text(name, &make());
        }
    }
    println!(
        "\n| rule set | request | questions | time | memory | explained in |\n|---|---|---:|---:|---:|---:|"
    );
    for (name, make, request) in decisions() {
        if wanted(name) {
            decision(name, &make(), &request());
        }
    }
}

// === texts ===

type Make = fn() -> String;

/// As many pieces as fit into a text of the largest size, between a head and a tail.
fn fill(head: &str, tail: &str, piece: impl Fn(usize) -> String) -> String {
    let room = Limits::default().text_bytes - tail.len();
    let mut text = head.to_owned();
    for at in 0.. {
        let piece = piece(at);
        if text.len() + piece.len() > room {
            break;
        }
        text += &piece;
    }
    text + tail
}

/// As many statements as are allowed, the default among them.
fn statements(piece: impl Fn(usize) -> String) -> String {
    (1..Limits::default().statements).map(piece).collect::<String>() + DEFAULT
}

/// One route whose condition is a row of alternatives.
fn alternatives(piece: impl Fn(usize) -> String) -> String {
    fill("route r:", &format!("false=>b\n{DEFAULT}"), |at| piece(at) + "||")
}

fn texts() -> [(&'static str, Make); 14] {
    [
        ("one comparison, again and again", || alternatives(|_| "ip==1.1.1.1".into())),
        ("comparisons, each its own", || alternatives(|at| format!("port=={at}"))),
        ("fields, each its own", || alternatives(|at| format!("query(q{at})==\"\""))),
        ("most statements", || {
            let mut text: String =
                (1..Limits::default().statements).map(|at| format!("route r{at}:port=={at}=>b\n")).collect();
            text += DEFAULT;
            text
        }),
        ("most members", || {
            let members: String =
                (0..Limits::default().list_members).map(|at| format!("{:x},", at % 7)).collect();
            format!("list l=[{}]\n{DEFAULT}", members.replace(|c: char| c.is_ascii_alphabetic(), "1"))
        }),
        ("members, each its own", || {
            fill("list l=[", &format!("]\nroute r:int(query(q)) in l=>b\n{DEFAULT}"), |at| format!("{at},"))
        }),
        ("networks", || {
            fill("route r:ip in [", &format!("]=>b\n{DEFAULT}"), |at| {
                format!("{}.{}.{}.0/24,", at >> 16, at >> 8 & 255, at & 255)
            })
        }),
        ("clusters of clusters", || {
            fill("cluster c0=a\n", DEFAULT, |at| format!("cluster c{}=c{at},a by ip\n", at + 1))
        }),
        ("splits", || fill("", DEFAULT, |at| format!("route r{at}:true=>a 1,b {}by ip\n", at + 1))),
        ("routes that cover each other", || {
            fill("", DEFAULT, |at| format!("route r{at}:path under\"/{}\"&&port>={at}=>b\n", at % 7))
        }),
        ("regular expressions, small", || alternatives(|at| format!("host matches\"{at}x*\""))),
        ("regular expressions, large", || {
            let mut text = "route r:".to_owned();
            for at in 0..LARGE_REGEXES {
                let _ = write!(text, "host matches\"{at}(?:\\\\pL{{20}}|x)y\"||");
            }
            text + "false=>b\n" + DEFAULT
        }),
        ("broken statements", || fill("", "", |_| "route\n".into())),
        ("brackets that never close", || fill("route r:", "", |_| "(".into())),
    ]
}

/// As many as fit into a program.
const LARGE_REGEXES: usize = 60;

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
        Err(error) => {
            format!("no: {}", error.lines().next().unwrap_or_default().chars().take(60).collect::<String>())
        }
    };
    println!("| {name} | {} | {accepted} | {} | {} |", text.len(), time(took), bytes(memory));
}

// === decisions ===

fn uri(query: String) -> Request<()> {
    // As long as the `http` crate takes them.
    Request::get(format!("/?{}", query.chars().take(65_500).collect::<String>()))
        .body(())
        .expect("is a request")
}

/// A header of as many bytes as hyper's server takes at most in one head.
fn header(value: Vec<u8>) -> Request<()> {
    let mut request = Request::new(());
    let value = HeaderValue::from_bytes(&value).expect("is a value");
    request.headers_mut().insert(HeaderName::from_static("x"), value);
    request
}

const HEAD: usize = 400_000;

type Rows = [(&'static str, Make, fn() -> Request<()>); 10];

fn decisions() -> Rows {
    let values: fn() -> Request<()> = || uri("q=1&".repeat(16_000));
    let names: fn() -> Request<()> = || uri("q&".repeat(32_000));
    let letters: fn() -> Request<()> = || header(b"a".repeat(HEAD));
    [
        ("int(query(q)) % N", || alternatives(|at| format!("int(query(q))%{}==9", at + 2)), values),
        ("query(qN)", || alternatives(|at| format!("query(q{at})==\"\"")), names),
        (
            "cookie(cN)",
            || alternatives(|at| format!("cookie(c{at})==\"\"")),
            || {
                let mut request = header(Vec::new());
                let line = HeaderValue::from_bytes(&b"c=;".repeat(HEAD / 3)).expect("is a value");
                request.headers_mut().insert(http::header::COOKIE, line);
                request
            },
        ),
        ("contains", || alternatives(|at| format!("header(x)contains\"aaaab{at}\"")), letters),
        (
            "lower(… ?? N)",
            || alternatives(|at| format!("lower(header(x)??\"{at}\")==\"\"")),
            || header(b"A".repeat(HEAD)),
        ),
        (
            "keys of splits",
            || {
                fill("", DEFAULT, |at| {
                    format!("route r{at}:true=>a,b by cookie(c)??header(y)??header(x{at})\n")
                })
            },
            letters,
        ),
        (
            "field against field",
            || alternatives(|at| format!("int(query(q))%{}==len(query(q))", at + 2)),
            values,
        ),
        (
            "a % in a % in a %",
            || {
                alternatives(|at| {
                    (0..30).fold("int(query(q))".to_owned(), |all, level| {
                        format!("{all}%{}", 99_999 - level - at)
                    }) + "==9"
                })
            },
            values,
        ),
        ("matches, small", || alternatives(|at| format!("header(x)matches\"a[ab]{{9}}b{at}\"")), letters),
        (
            "matches, large",
            || {
                let mut text = "route r:".to_owned();
                for at in 0..LARGE_REGEXES {
                    let _ = write!(text, "header(x)matches\"(?s-u:a.{{2000}}b){at}\"||");
                }
                text + "false=>b\n" + DEFAULT
            },
            || header(b"ab".iter().copied().cycle().take(HEAD).collect()),
        ),
    ]
}

fn decision(name: &str, text: &str, request: &Request<()>) {
    let engine = Engine::builder().clusters(CLUSTERS).build(text);
    let engine =
        engine.map_err(|error| error.to_string().chars().take(300).collect::<String>()).expect("is accepted");
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
