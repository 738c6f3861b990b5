//! Hostile texts and requests: each is compiled correctly or refused with a clear error, in bounded time and on
//! a small stack; and each request gets the right decision.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    clippy::type_complexity,
    reason = "helpers of tests"
)]

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method, Request, Uri};
use pointsman::engine::Moment;
use pointsman::schema::{ClientAddr, PeerAddr, RequestHead, Schema, Trusted, Type, Value, Values};
use pointsman::{BuildError, Condition, Diagnostics, Engine, Limits, Statements};

/// Room for a debug build on a busy machine; what grows with the square of its input takes minutes.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 20 });

/// How often something is repeated: in a debug build, which parses many times slower, a twentieth of it. What
/// the issue names is repeated in full.
const fn sized(count: usize) -> usize {
    if cfg!(debug_assertions) { count / 20 } else { count }
}

const MOMENT: Moment = Moment { now: SystemTime::UNIX_EPOCH, chance: 0 };

/// Runs `f` on a thread with the 2 MiB stack of a spawned thread, and not with the main thread's 8.
#[track_caller]
fn quickly<R: Send + 'static>(what: &str, f: impl FnOnce() -> R + Send + 'static) -> R {
    let start = Instant::now();
    let result = std::thread::Builder::new().stack_size(2 << 20).spawn(f).unwrap().join();
    let took = start.elapsed();
    eprintln!("{what}: {took:?}");
    assert!(took < PATIENCE, "{what} took {took:?}");
    result.unwrap_or_else(|_| panic!("{what} panicked"))
}

fn clusters() -> Schema {
    Schema::new().clusters(["gray", "prod"])
}

/// Builds an engine, drops it where it was built, and asks it for the answer to a plain request.
#[track_caller]
fn build(what: &str, text: String) -> Result<(String, usize), Diagnostics> {
    quickly(what, move || {
        // Parsing is most of the time, so long texts are parsed once.
        let short = text.len() < 1 << 16;
        let formatted = short.then(|| pointsman::format(&text, &Limits::default()));
        let engine = match Engine::builder().schema(clusters()).build(&text) {
            Ok(engine) => engine,
            Err(BuildError::Rules(problems)) => return Err(problems),
            Err(BuildError::Schema(error)) => panic!("{error}"),
            Err(error) => panic!("{error}"),
        };
        if let Some(formatted) = formatted {
            let formatted = formatted.unwrap();
            assert_eq!(
                pointsman::format(&formatted, &Limits::default()).unwrap(),
                formatted,
                "formatted twice"
            );
        }
        let request = Request::get("/").header("host", "a.test").body(()).unwrap();
        let decision = engine.decide_at(&request, MOMENT);
        let explanation = engine.explain_at(&request, MOMENT);
        assert_eq!(decision.cluster(), explanation.cluster);
        assert!(!explanation.to_string().is_empty());
        Ok((decision.cluster().to_owned(), engine.rules().lints().len()))
    })
}

/// The text compiles and decides for `cluster`.
#[track_caller]
fn decides(what: &str, text: String, cluster: &str) {
    match build(what, text) {
        Ok((decided, _)) => assert_eq!(decided, cluster, "{what}"),
        Err(problems) => panic!("{what} was refused:\n{}", clip(&problems.to_string())),
    }
}

/// The text is refused, and the first message says so; all messages together are short enough to read.
#[track_caller]
fn refused(what: &str, text: String, says: &str) {
    match build(what, text) {
        Ok(_) => panic!("{what} was compiled"),
        Err(problems) => {
            let shown = problems.to_string();
            assert!(shown.len() < 2 << 20, "{what}: {} bytes of messages", shown.len());
            assert!(shown.contains(says), "{what} says:\n{}", clip(&shown));
            assert!(
                !shown.contains('\0') && !shown.contains('\u{202e}'),
                "{what} shows what it should escape"
            );
        }
    }
}

fn clip(text: &str) -> String {
    text.chars().take(1500).collect()
}

fn route(condition: &str) -> String {
    format!("route a: {condition} => gray\ndefault => prod\n")
}

/// The condition alone is refused with the same words.
#[track_caller]
fn condition_refused(what: &str, text: String, says: &'static str) {
    refused(what, route(&text), says);
    let alone = quickly(what, move || Condition::new(&text).map(drop).map_err(|e| e.to_string()));
    let error = alone.expect_err(what);
    assert!(error.contains(says), "{what} says:\n{}", clip(&error));
}

#[track_caller]
fn condition_decides(what: &str, text: String, verdict: bool) {
    decides(what, route(&text), if verdict { "gray" } else { "prod" });
    quickly(what, move || {
        let condition = Condition::new(&text).unwrap();
        let request = Request::get("/").header("host", "a.test").body(()).unwrap();
        assert_eq!(condition.matches(&request), verdict);
        assert_eq!(condition.reference_at(&request, SystemTime::UNIX_EPOCH), verdict);
    });
}

// === the list of the issue ===

#[test]
fn ten_thousand_parentheses_are_too_deep() {
    let text = format!("{}host == \"a.test\"{}", "(".repeat(10_000), ")".repeat(10_000));
    condition_refused("10,000 parentheses", text, "nested deeper than 32");
}

#[test]
fn as_many_parentheses_as_are_allowed_are_fine() {
    let text = format!("{}host == \"a.test\"{}", "(".repeat(32), ")".repeat(32));
    condition_decides("32 parentheses", text, true);
    let limits = Limits { depth: usize::MAX, ..Limits::default() };
    let nested = |depth: usize| format!("{}host == \"a.test\"{}", "(".repeat(depth), ")".repeat(depth));
    quickly("the deepest that any setting allows", move || {
        assert!(Condition::compile("", &nested(Limits::MAX_DEPTH), &Schema::new(), &limits).is_ok());
        assert!(Condition::compile("", &nested(Limits::MAX_DEPTH + 1), &Schema::new(), &limits).is_err());
    });
}

#[test]
fn the_deepest_mixtures_fit_on_the_stack() {
    let limits = Limits { depth: usize::MAX, ..Limits::default() };
    for (open, close) in [
        ("!(", ")"),
        ("(host != \"b\" && ", ")"),
        ("!!(x(\"y\") || ", ")"),
        ("lower(", ")"),
        ("(host == lower(", "))"),
    ] {
        let mut depth = 140;
        // Whatever counts how: find the deepest that is let through, and see that all stages survive it.
        quickly(open, move || {
            while depth > 0 {
                let core = if open == "lower(" { "host" } else { "host == \"a.test\"" };
                let inner = format!("{}{core}{}", open.repeat(depth), close.repeat(depth));
                let text = if open == "lower(" { format!("{inner} == \"a.test\"") } else { inner };
                let text = text.replace("x(\"y\")", "exists(cookie(y))");
                let rules = format!("route a: {text} => gray\ndefault => prod");
                let _ =
                    Engine::builder().clusters(["gray", "prod"]).limits(limits).build(&rules).map(|engine| {
                        let request = Request::get("/").header("host", "a.test").body(()).unwrap();
                        let _ = engine.decide(&request);
                        let _ = engine.explain(&request).to_string();
                    });
                let _ = pointsman::format(&rules, &limits);
                depth -= 3.min(depth);
            }
        });
    }
}

#[test]
fn a_hundred_thousand_ors_are_compiled() {
    let row = |operator: &str| vec!["host == \"a.test\""; 100_001].join(operator);
    decides("100,000 ||", route(&row(" || ")), "gray");
    decides("100,000 &&", route(&row("&&")), "gray");
    let different: Vec<_> = (0..sized(100_000)).map(|i| format!("cookie(a)==\"{i}\"")).collect();
    decides("100,000 || of different tests", route(&different.join("||")), "prod");
    let mixed: Vec<_> = (0..sized(50_000)).map(|i| format!("(path==\"/{i}\"&&port=={i})")).collect();
    decides("50,000 groups", route(&mixed.join("||")), "prod");
}

#[test]
fn four_mebibytes_of_ors_are_judged() {
    let row = "a||".repeat(sized((4 << 20) / 3 - 20));
    refused("4 MiB of a||a||…", route(&format!("{row}a")), "unknown field `a`");
    decides("4 MiB of true||…", route(&format!("{}true", "true||".repeat(sized(600_000)))), "gray");
    decides(
        "4 MiB of ??",
        route(&format!("cookie(a){} == \"x\"", "??cookie(a)".repeat(sized(300_000)))),
        "prod",
    );
}

#[test]
fn a_line_of_ten_megabytes_is_too_large() {
    refused("a 10 MB line", route(&"x".repeat(10_000_000)), "bytes, 4194304 are allowed");
    refused("a 10 MB comment", format!("# {}", "x".repeat(10_000_000)), "bytes, 4194304 are allowed");
    let limits = Limits { text_bytes: 16 << 20, ..Limits::default() };
    let line = format!("route a: host == \"{}\" => gray\ndefault => prod", "x".repeat(10_000_000));
    quickly("a 10 MB string where that is allowed", move || {
        let engine = Engine::builder().schema(clusters()).limits(limits).build(&line).unwrap();
        let request = Request::get("/").header("host", "a.test").body(()).unwrap();
        assert_eq!(engine.decide(&request).cluster(), "prod");
        assert!(engine.explain(&request).to_string().len() < 1000);
    });
    let line = format!("route a: {} => gray\ndefault => prod", "x".repeat(10_000_000));
    quickly("a 10 MB name where that is allowed", move || {
        let error = Engine::builder().schema(clusters()).limits(limits).build(&line).unwrap_err();
        assert!(error.to_string().len() < 11_000_000);
    });
}

#[test]
fn a_nul_is_refused_outside_strings_and_kept_inside() {
    refused("a NUL", "route a\0: host == \"x\" => gray\ndefault => prod".into(), "expected");
    refused("a NUL alone", "\0".into(), "expected");
    condition_refused("a NUL in a condition", "host == \0".into(), "expected");
    decides("a NUL in a string", route("header(x) == \"\0\""), "prod");
    decides("a NUL in a comment", "# \0\ndefault => prod".into(), "prod");
}

#[test]
fn a_lone_quote_is_refused() {
    refused("a lone quote", "\"".into(), "closing quote");
    condition_refused("a quote without its end", "host == \"a".into(), "quote");
    refused("a raw string without its end", route("host == r#\"a\""), "a raw string has no closing");
    refused("4 MiB of quotes", "\"".repeat(sized(4 << 20)), "expected");
}

#[test]
fn an_unknown_statement_is_refused() {
    refused("an unknown statement", "rotue a: true => gray\ndefault => prod".into(), "did you mean `route`?");
    refused(
        "a statement of the gateway",
        "deny a: true => 403\ndefault => prod".into(),
        "does not serve `deny`",
    );
}

#[test]
fn a_reversed_range_is_refused() {
    condition_refused("reversed ints", "port in [5..1]".into(), "a range that ends before it starts");
    condition_refused(
        "reversed ips",
        "ip in [10.0.0.9..10.0.0.1]".into(),
        "a range that ends before it starts",
    );
    condition_refused("two families", "ip in [10.0.0.1..::1]".into(), "a range from IPv4 to IPv6");
}

#[test]
fn a_regex_that_explodes_is_refused() {
    for regex in ["(a{1000}){1000}", "((a{100}){100}){100}", r"\\w{5000}", "(?:[^a]{1000}|b{1000}){500}"] {
        condition_refused(regex, format!("path matches \"{regex}\""), "once compiled");
    }
    let deep = format!("path matches \"{}a{}\"", "(".repeat(5000), ")".repeat(5000));
    condition_refused("5,000 groups of a regex", deep, "cannot be read");
    let long = format!("path matches \"{}\"", "a|".repeat(sized(1_000_000)));
    refused("1,000,000 alternatives", route(&long), "once compiled");
    let many: String =
        (0..2_000).map(|i| format!("route r{i}: path matches \"^/{i}/[a-z]+\" => gray\n")).collect();
    decides("2,000 regexes", format!("{many}default => prod"), "prod");
    let same: String =
        (0..sized(20_000)).map(|i| format!("route r{i}: path matches r\"\\w{{1000}}\" => gray\n")).collect();
    refused("20,000 times a bad regex", format!("{same}default => prod"), "once compiled");
}

#[test]
fn a_regex_is_linear_in_the_request() {
    let condition = Condition::new(
        r#"header(x) matches "(a+)+$" || header(x) matches "(a|a)*b" || header(x) matches "(.*)*=""#,
    )
    .unwrap();
    quickly("a regex that would explode elsewhere", move || {
        let value = format!("{}!", "a".repeat(sized(60_000)));
        let request = Request::get("/").header("x", value).body(()).unwrap();
        assert!(!condition.matches(&request));
    });
}

// === our own ===

#[test]
fn ten_thousand_negations_are_too_deep() {
    condition_refused("10,000 !", format!("{}(host == \"x\")", "!".repeat(10_000)), "nested deeper than 32");
    condition_refused(
        "10,000 not",
        format!("{}host == \"x\"", "not ".repeat(10_000)),
        "nested deeper than 32",
    );
    condition_refused("! and ( in turns", "!(".repeat(10_000), "nested deeper than 32");
}

#[test]
fn deep_calls_are_too_deep() {
    let text = format!("{}host{} == \"x\"", "lower(".repeat(10_000), ")".repeat(10_000));
    condition_refused("10,000 lower(", text, "nested deeper than 32");
    condition_refused("10,000 [", format!("host in {}", "[".repeat(10_000)), "nested deeper than 32");
    let key = format!("default => gray 1, prod 1 by {}host{}", "lower(".repeat(10_000), ")".repeat(10_000));
    refused("a deep key", key, "nested deeper than 32");
}

#[test]
fn a_million_members_are_compiled_and_more_are_refused() {
    let most = sized(1_000_000);
    let limits = Limits { text_bytes: 32 << 20, list_members: most, ..Limits::default() };
    let list = |count: usize| {
        let members: Vec<_> = (0..count).map(|i| i.to_string()).collect();
        format!("route a: port in [{}] => gray\ndefault => prod", members.join(","))
    };
    let (fits, over) = (list(most), list(most + 1));
    quickly("1,000,000 members", move || {
        let engine = Engine::builder().schema(clusters()).limits(limits).build(&fits).unwrap();
        let request = Request::get("/").header("host", "a:80").body(()).unwrap();
        assert_eq!(engine.decide(&request).cluster(), "gray");
    });
    quickly("1,000,001 members", move || {
        let error = Engine::builder().schema(clusters()).limits(limits).build(&over).unwrap_err();
        assert!(error.to_string().contains(&format!("a list of more than {most} members")));
    });
}

#[test]
fn a_hundred_thousand_bad_members_give_a_thousand_messages() {
    let text = route(&format!("ip in [{}]", "1.2.3.999,".repeat(sized(400_000))));
    match build("400,000 bad members", text) {
        Ok(_) => panic!("compiled"),
        Err(problems) => assert_eq!(problems.len(), 1_000),
    }
    let text = route(&format!("host in [{}]", "\"a\",".repeat(sized(700_000))));
    decides("700,000 duplicate members", text, "prod");
}

#[test]
fn a_hundred_thousand_statements_each_with_an_error_give_a_thousand_messages() {
    let bodies: [(&str, fn(usize) -> String); 9] = [
        ("no statement", |i| format!("rout r{i}: x\n")),
        ("bad grammar", |i| format!("route r{i}: == => gray\n")),
        ("unknown field", |i| format!("route r{i}: hots{i} == \"x\" => gray\n")),
        ("unknown cluster", |i| format!("route r{i}: true => gry{i}\n")),
        ("unknown list", |i| format!("route r{i}: ip in lst{i} => gray\n")),
        ("a broken list, and unknown", |i| format!("list l{i} = [\nroute r{i}: ip in m{i} => gray\n")),
        ("the same name", |_| "route r: host == \"x\" => gray\n".to_owned()),
        ("too deep", |i| format!("route r{i}: {} => gray\n", "(".repeat(65))),
        ("lone quotes", |i| format!("route \"r{i}: true => gray\n")),
    ];
    for (what, body) in bodies {
        let mut text = String::new();
        // Behind a line that starts no statement all is skipped to the next that does.
        let most = if what == "no statement" { 1 } else { 1_000 };
        // One less than are allowed, for the default.
        for i in 0..sized(99_999) {
            let line = body(i);
            if text.len() + line.len() > (4 << 20) - 100 {
                break;
            }
            text.push_str(&line);
        }
        text.push_str("default => prod\n");
        match build(what, text) {
            Ok(_) => panic!("{what} compiled"),
            Err(problems) => {
                assert_eq!(problems.len(), most, "{what}");
                assert!(problems.to_string().len() < 1 << 20, "{what}");
            }
        }
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "the full number of statements takes half a minute")]
fn as_many_statements_as_are_allowed_are_compiled_and_more_are_refused() {
    let routes = |count: usize| -> String {
        let body: String = (1..count).map(|i| format!("route r{i}: port=={}=>gray\n", i % 70_000)).collect();
        format!("{body}default => prod")
    };
    decides("100,000 statements", routes(100_000), "prod");
    refused("100,001 statements", routes(100_001), "more than 100000 statements");
}

#[test]
fn a_hundred_thousand_names_of_each_kind_take_linear_time() {
    let each = |count: usize, line: fn(usize) -> String| -> String {
        (0..count).map(line).chain(["default => prod\n".to_owned()]).collect()
    };
    decides("99,000 clusters", each(sized(99_000), |i| format!("cluster c{i} = prod\n")), "prod");
    let chain = |deep: fn(usize) -> bool| -> String {
        let end = |at: usize| if deep(at) { format!("c{}", at + 1) } else { "prod".to_owned() };
        let chain: String = (0..sized(99_000)).map(|at| format!("cluster c{at} = {}\n", end(at))).collect();
        format!("{chain}cluster c{} = prod\ndefault => c0\n", sized(99_000))
    };
    decides("99,000 clusters in chains of 32", chain(|at| at % 32 != 31), "prod");
    refused("99,000 clusters in a chain", chain(|_| true), "clusters are nested deeper than 32");
    decides("99,000 lists", each(sized(99_000), |i| format!("list l{i} = [{i}]\n")), "prod");
    let pairs = each(sized(40_000), |i| format!("list l{i} = [{i}]\nroute r{i}: port in l{i} => gray\n"));
    decides("40,000 lists in use", pairs, "prod");
    let near = each(sized(45_000), |i| format!("cluster c{i} = prod\nroute r{i}: true => d{i}\n"));
    refused("45,000 clusters and as many unknown ones", near, "unknown cluster");
    let broken = each(sized(45_000), |i| format!("cluster c{i} = \nroute r{i}: true => c{i}\n"));
    refused("45,000 broken clusters, all of them named", broken, "error");
    let same = each(sized(99_000), |_| "cluster c = prod\n".to_owned());
    refused("99,000 clusters of one name", same, "a second cluster `c`");
}

#[test]
fn a_split_over_very_many_clusters_takes_linear_time() {
    let arms: Vec<_> = (0..sized(200_000)).map(|_| "gray 1").collect();
    refused("200,000 times one arm", format!("default => {} by ip", arms.join(",")), "256 are allowed");
    let unknown: Vec<_> = (0..sized(200_000)).map(|i| format!("c{i} 1")).collect();
    refused("200,000 unknown arms", format!("default => {} by ip", unknown.join(",")), "unknown cluster");
    let many: String = (0..256).map(|i| format!("cluster c{i} = prod\n")).collect();
    let arms: Vec<_> = (0..256).map(|i| format!("c{i} 1")).collect();
    decides("as many arms as are allowed", format!("{many}default => {} by ip", arms.join(",")), "prod");
}

#[test]
fn lists_that_begin_alike_take_linear_time() {
    let alike: String = (0..sized(60_000))
        .map(|i| format!("route r{i}: method in [\"a\",\"b\",\"c\",\"d\",\"{i}\",\"e\"]=>gray\n"))
        .collect();
    decides("60,000 lists that begin and end alike", format!("{alike}default => prod"), "prod");
    let long: Vec<_> = (0..sized(100_000)).map(|i| format!("\"{i}\"")).collect();
    let uses: String =
        (0..sized(50_000)).map(|i| format!("route r{i}: header(h{i}) in long => gray\n")).collect();
    decides(
        "a long list with 50,000 uses",
        format!("list long = [{}]\n{uses}default => prod", long.join(",")),
        "prod",
    );
    let uses: String = (0..sized(30_000))
        .map(|i| format!("route r{i}: port == {i} && header(h) not in long => gray\n"))
        .collect();
    decides(
        "a long list, always the same test",
        format!("list long = [{}]\n{uses}default => prod", long.join(",")),
        "prod",
    );
}

#[test]
fn routes_that_nearly_cover_each_other_take_linear_time() {
    let wide: Vec<_> = (0..60).map(|i| format!("port == {i}")).collect();
    let row = wide.join("||");
    let text: String =
        (0..sized(3_000)).map(|i| format!("route r{i}: ({row}) && path == \"/{i}\" => gray\n")).collect();
    decides("3,000 rows of 60", format!("{text}default => prod"), "prod");
    // Without optimisations a level of the check takes tens of KiB, and each parenthesis here is two levels.
    let high = 30;
    let deep: String = (0..high).map(|i| format!("(port == {i} || path == \"/{i}\" && ")).collect();
    let text: String = (0..sized(1_000))
        .map(|i| format!("route r{i}: {deep}port == {i}{} => gray\n", ")".repeat(high)))
        .collect();
    decides("1,000 towers", format!("{text}default => prod"), "prod");
    let tests: Vec<_> = (0..sized(100_000)).map(|i| format!("!(port == {i})")).collect();
    decides("100,000 negations in a row", route(&tests.join("&&")), "gray");
}

#[test]
fn very_long_names_are_compiled_or_refused() {
    let name = "n".repeat(sized(1_000_000));
    decides(
        "a long route name",
        format!("route {name}: host == \"a.test\" => gray\ndefault => prod"),
        "gray",
    );
    decides("a long cluster name", format!("cluster {name} = prod\ndefault => {name}"), "prod");
    refused("a long unknown name", format!("default => {name}"), "unknown cluster");
    refused("a long unknown field", route(&format!("{name} == \"x\"")), "unknown field");
    decides("a long cookie name", route(&format!("cookie({name}) == \"x\"")), "prod");
    decides("a long salt", route(&format!("percent(ip, \"{name}\") < 5")), "prod");
    refused(
        "a long int",
        route(&format!("port == {}", "9".repeat(sized(1_000_000)))),
        "too large for an int",
    );
    refused(
        "a long weight",
        format!("default => gray {}, prod 1", "9".repeat(sized(1_000_000))),
        "too large",
    );
    refused(
        "a long address",
        route(&format!("ip in [{}]", "1:".repeat(sized(500_000)))),
        "is not an address",
    );
    refused(
        "a long version",
        route(&format!("version(host) == \"1.{}\"", "9".repeat(sized(1_000_000)))),
        "is not a version",
    );
    refused(
        "a long time",
        route(&format!("now == \"{}\"", "9".repeat(sized(1_000_000)))),
        "is not an instant",
    );
    decides(
        "a long pre-release",
        route(&format!("version(host) == \"1-{}\"", "a.".repeat(sized(500_000)) + "a")),
        "prod",
    );
}

#[test]
fn whatever_is_unclosed_is_refused() {
    for text in [
        "route",
        "route a",
        "route a:",
        "route a: (",
        "route a: host",
        "route a: host ==",
        "route a: host == \"x\"",
        "route a: host == \"x\" =>",
        "route a: host in",
        "route a: host in [",
        "route a: host in [\"x\"",
        "route a: host in [\"x\",",
        "route a: port in [1..",
        "route a: cookie(",
        "route a: cookie(a",
        "route a: percent(ip,",
        "default",
        "default =>",
        "default => gray 5,",
        "default => gray 5, prod 5 by",
        "list",
        "list a",
        "list a =",
        "list a = [",
        "cluster",
        "cluster a",
        "cluster a =",
        "paused",
        "shadow",
        "paused route",
        "!",
        "(",
        ")",
        "[",
        "]",
        "=>",
        "&&",
        "||",
        "??",
        "%",
        "..",
        ",",
        ":",
        "=",
        "r",
        "r#",
        "r#\"",
        "\\",
        "\"\\",
        "route a: host == \"\\",
        "route a: host == \"\\u{",
        "route a: host == \"\\u{110000}\"",
    ] {
        refused(text, text.to_owned(), "error");
        refused(text, format!("{text}\ndefault => prod"), "error");
    }
}

#[test]
fn every_prefix_of_a_rule_set_is_compiled_or_refused() {
    let text = "\u{feff}list l = [\"é\", r#\"\"\"#] # ü\ncluster c = gray 1.5, prod 2 by cookie(\"a b\") ?? ip\nshadow route \"x y\": !(lower(host) in l) and int(query(n)) % 7 < 3 or version(header(v)) not in [\"1\"..\"2\"] => c\npaused route z: ip in [10.0.0.0/8, ::1..::9] => prod\ndefault => c";
    quickly("prefixes", move || {
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let _ = Engine::builder().schema(clusters()).build(&text[..at]).map_err(|e| e.to_string());
            let _ = Engine::builder().schema(clusters()).build(&text[at..]).map_err(|e| e.to_string());
        }
    });
    assert!(Engine::builder().schema(clusters()).build(text).is_ok());
}

#[test]
fn line_ends_and_marks_of_other_systems_are_read() {
    decides("CRLF", "# x\r\nroute a: host == \"a.test\"\r\n  => gray\r\ndefault => prod\r\n".into(), "gray");
    decides("a BOM", "\u{feff}route a: host == \"a.test\" => gray\ndefault => prod".into(), "gray");
    decides("a BOM before a comment", "\u{feff}# x\ndefault => prod".into(), "prod");
    refused("a BOM in the middle", "default => prod\n\u{feff}".into(), "expected");
    refused("CR alone ends no comment", "# x\rdefault => prod".into(), "there is no `default`");
    refused("a no-break space", "default\u{a0}=> prod".into(), "error");
}

#[test]
fn text_that_turns_its_direction_is_shown_escaped() {
    refused("a bidi name", route("ho\u{202e}st == \"x\""), "error");
    refused("a bidi cluster", "default => \"\u{202e}prod\"".into(), "unknown cluster");
    decides("a bidi string", route("header(x) == \"\u{202e}\""), "prod");
    let formatted = pointsman::format("default => \"\u{202e}prod\"", &Limits::default()).unwrap();
    assert_eq!(formatted, "default => \"\\u{202e}prod\"\n");
}

#[test]
fn texts_of_next_to_nothing_lack_a_default() {
    for text in ["", " ", "\n\n\n", "#", "###", "# \n#\n", "\u{feff}"] {
        refused(text, text.to_owned(), "there is no `default`");
    }
    refused("4 MiB of #", "#".repeat(sized(4 << 20)), "there is no `default`");
    refused("4 MiB of lines of #", "#\n".repeat(sized(2 << 20)), "there is no `default`");
    decides(
        "4 MiB of comments and a default",
        format!("{}default => prod", "#\n".repeat(sized((2 << 20) - 20))),
        "prod",
    );
    refused("4 MiB of spaces", " ".repeat(sized(4 << 20)), "there is no `default`");
    refused("4 MiB of line ends", "\n".repeat(sized(4 << 20)), "there is no `default`");
    let blanks =
        format!("route a: host{}== \"a.test\" => gray\ndefault => prod", " # x\n".repeat(sized(800_000)));
    decides("800,000 comments in a statement", blanks, "gray");
}

#[test]
fn rows_of_one_token_are_refused_in_linear_time() {
    for unit in [
        "(",
        ")",
        "!",
        "[",
        "\"",
        "\\",
        "r#",
        "r#\"",
        "=>",
        "..",
        "% ",
        "?? ",
        "not ",
        "in ",
        ",",
        "1.",
        "::",
        "1/",
        "-",
        "é",
        "\u{202e}",
        "default ",
        "route ",
        "list\n",
        "route\n",
        "route a:\n",
        "a(",
        "a ",
        "\"a\" ",
        "\"a\n",
        "a.b.c",
        "\u{0}",
    ] {
        let text = unit.repeat(sized(2 << 20) / unit.len());
        refused(unit, text.clone(), "error");
        refused(unit, route(&text), "error");
        refused(unit, format!("default => {text}"), "error");
        refused(unit, format!("list a = [{text}]\ndefault => prod"), "error");
    }
}

#[test]
fn escapes_are_read_strictly() {
    decides("escapes", route(r#"header(x) == "\u{0}\u{10ffff}\t\n\r\\\"" || host == "\u{61}.test""#), "gray");
    for bad in [r"\u{d800}", r"\u{}", r"\u{1234567}", r"\u{g}", r"\u", r"\x41", r"\0", r"\u{41", r"\'"] {
        condition_refused(bad, format!("host == \"{bad}\""), "error");
    }
    refused(
        "1,000,000 escapes",
        route(&format!("host == \"{}\"", r"\u{d800}".repeat(sized(400_000)))),
        "error",
    );
    decides(
        "500,000 good escapes",
        route(&format!("host == \"{}\"", r"\u{e9}".repeat(sized(500_000)))),
        "prod",
    );
}

#[test]
fn a_program_that_is_too_large_is_refused() {
    let limits = Limits { program_bytes: 10_000, ..Limits::default() };
    let text = route(&format!("host in [{}]", "\"0123456789\",".repeat(1_000)));
    let many = (0..1000).map(|i| format!("\"{i}\"")).collect::<Vec<_>>().join(",");
    let text = text.replace("\"0123456789\",", "") + &format!("\nroute b: host in [{many}] => gray");
    let error = Engine::builder().schema(clusters()).limits(limits).build(&text).unwrap_err().to_string();
    assert!(error.contains("10000 are allowed"), "{error}");
    // A condition inside `!` or rows is copied nowhere: the program grows with the text, and not faster.
    let size = |n: usize| {
        let row: Vec<_> =
            (0..n).map(|i| format!("(port == {i} || path == \"/{i}\" && !(host == \"{i}\"))")).collect();
        Condition::new(&row.join(" && ")).unwrap().disassemble().len()
    };
    assert!(size(2_000) < 12 * size(200), "{} {}", size(2_000), size(200));
}

#[test]
fn pieces_cannot_bring_statements_of_their_own() {
    for condition in [
        "true => gray\nroute b: true",
        "true #",
        "true) || (true",
        "host == \"x\" => gray",
        "",
        "# true",
        "(",
        "\"",
        "true\ndefault => gray\n",
        "r#\"",
        "host in [\"a\"",
        "true =>",
    ] {
        let rules =
            Statements::new().route("a", condition, "gray").route("z", "true", "prod").default("prod");
        match Engine::builder().schema(clusters()).build(rules) {
            // A comment at the end of a piece ends with it.
            Ok(engine) => {
                assert_eq!(condition, "true #");
                assert_eq!(engine.rules().statements().len(), 3);
            }
            Err(error) => assert!(error.to_string().contains("route a, condition"), "{condition}: {error}"),
        }
    }
    for outcome in [
        "gray\nroute b: true => gray",
        "gray =>",
        "gray 1, prod 1 by",
        "",
        "\"",
        "gray #\nx",
        "gray by ip\ndefault",
    ] {
        let rules = Statements::new().route("a", "true", outcome).default("prod");
        let error = Engine::builder().schema(clusters()).build(rules).unwrap_err().to_string();
        assert!(error.contains("route a, outcome"), "{outcome}: {error}");
    }
    let names =
        ["", "\0", "a\nroute b: true => gray", "\" : true => gray #", "\\", "default", "é", "\u{202e}"];
    for name in names {
        let rules = Statements::new().route(name, "host == \"a.test\"", "gray").default("prod");
        match Engine::builder().schema(clusters()).build(rules) {
            Ok(engine) => assert_eq!(engine.rules().statements()[0].name, name),
            Err(error) => assert!(name.is_empty(), "{name:?}: {error}"),
        }
    }
}

#[test]
fn a_hundred_thousand_statements_one_by_one_take_linear_time() {
    quickly("statements one by one", || {
        let mut rules = Statements::new();
        for i in 0..sized(30_000) {
            rules = rules.route(&format!("r{i}"), format!("port == {}", i % 65_536), "gray");
        }
        assert!(Engine::builder().schema(clusters()).build(rules.clone().default("prod")).is_ok());
        for i in 0..sized(30_000) {
            rules = rules.route(&format!("s{i}"), "port ==", "gray");
        }
        let error = Engine::builder().schema(clusters()).build(rules.default("prod")).unwrap_err();
        assert!(error.to_string().contains("route s0, condition"));
    });
}

// === hostile requests ===

/// Rules that look at everything.
const NOSY: &str = r#"
list nets = [10.0.0.0/8, ::/0]
cluster both = gray 1, prod 1 by cookie(uid) ?? header(x) ?? path
route a: lower(path) matches "^/zzz" || raw_path contains "zzz" || raw_query ends_with "zzz" => gray
route b: cookie(uid) == "1999" => gray
route c: query(q) in ["zzz"] || len(header(x)) > 100000 || int(header(x)) % 7 == 9 => gray
route d: host under "zzz" || port in [70000..80000] || scheme == "zzz" || method == "zzz" => gray
route e: version(header(x)) > "9" || ip in nets && exists(cookie(none)) => gray
shadow route f: percent(header(x)) < 50 => both
route g: path under "/checkout" => gray 1, prod 1 by cookie(key)
default => prod
"#;

/// The engine's answer, which is the reference's too.
#[track_caller]
fn decide<B: Send + Sync + 'static>(what: &str, request: Request<B>, cluster: &str) {
    let proxies = Trusted::networks(["10.0.0.0/8"]).unwrap();
    let schema = clusters().client_addr(ClientAddr::x_forwarded_for(proxies));
    let what_owned = what.to_owned();
    let decided = quickly(what, move || {
        let engine = Engine::builder().schema(schema).build(NOSY).unwrap();
        let decision = engine.decide_at(&request, MOMENT);
        let explanation = engine.explain_at(&request, MOMENT);
        assert_eq!(explanation.cluster, decision.cluster(), "{what_owned}");
        assert_eq!(explanation.rule.as_deref(), decision.rule(), "{what_owned}");
        assert!(explanation.to_string().len() < 20_000, "{what_owned}");
        decision.cluster().to_owned()
    });
    assert_eq!(decided, cluster, "{what}");
}

#[test]
fn two_thousand_cookies_are_read() {
    let cookies: Vec<_> = (0..2_000).map(|i| format!("uid={i:04}; a{i:04}=xxxxxxxxxxxxx")).collect();
    let line = cookies.join("; ");
    assert!(line.len() <= 64 << 10, "{}", line.len());
    decide("2,000 cookies in a line", Request::get("/").header("cookie", line).body(()).unwrap(), "gray");
    let mut request = Request::get("/").body(()).unwrap();
    for i in 0..2_000 {
        request.headers_mut().append("cookie", format!("uid={i}").parse().unwrap());
    }
    decide("2,000 lines of a cookie", request, "gray");
    let line = "uid=;".repeat(sized(13_000));
    decide("13,000 empty cookies", Request::get("/").header("cookie", line).body(()).unwrap(), "prod");
}

#[test]
fn a_hundred_binary_headers_are_read() {
    let mut request = Request::get("/").body(()).unwrap();
    for i in 0..100_u32 {
        let bytes: Vec<u8> = (0..600_u32).map(|j| (128 + (i * 7 + j * 13) % 128) as u8).collect();
        request.headers_mut().append("x", HeaderValue::from_bytes(&bytes).unwrap());
        request.headers_mut().append("cookie", HeaderValue::from_bytes(&bytes).unwrap());
        request.headers_mut().append("host", HeaderValue::from_bytes(&bytes).unwrap());
        request.headers_mut().append("x-forwarded-for", HeaderValue::from_bytes(&bytes).unwrap());
    }
    request.extensions_mut().insert(PeerAddr("10.0.0.1:1".parse().unwrap()));
    decide("100 binary headers", request, "prod");
}

#[test]
fn broken_escapes_are_read() {
    for path in [
        "/%",
        "/%2",
        "/%zz",
        "/%%%",
        "/%25%",
        "/a%2e%2e%2",
        "/%00",
        "/%C3%28?q=%",
        "/?q=%&%=%&q=%z",
        "/?&&&==&q",
        "/?+%",
    ] {
        decide(path, Request::get(path).body(()).unwrap(), "prod");
    }
    let long = format!("/{}?q={}", "%2".repeat(sized(15_000)), "%z".repeat(sized(15_000)));
    decide("30,000 broken escapes", Request::get(long).body(()).unwrap(), "prod");
    let dots = format!("/{}", "a/../".repeat(sized(12_000)));
    decide("12,000 dot segments", Request::get(dots).body(()).unwrap(), "prod");
    let query = format!("/?{}", "q=zz&".repeat(sized(12_000)));
    decide("12,000 parameters", Request::get(query).body(()).unwrap(), "prod");
}

#[test]
fn unusual_targets_are_read() {
    let request = |method: Method, uri: &str| Request::builder().method(method).uri(uri).body(()).unwrap();
    decide("no Host", request(Method::GET, "/"), "prod");
    decide("the asterisk form", request(Method::OPTIONS, "*"), "prod");
    decide("CONNECT", request(Method::CONNECT, "a.test:443"), "prod");
    decide("the absolute form", request(Method::GET, "http://a.test:1/checkout"), "prod");
    decide("another method", request(Method::from_bytes(b"X!#$%&'*+-.^_`|~").unwrap(), "/"), "prod");
    decide("an empty request", Request::new(()), "prod");
    let path = format!("/{}", "a".repeat(sized(65_000)));
    decide("the longest path", request(Method::GET, &path), "prod");
    let uri = Uri::try_from(&b"/caf\xc3\xa9?q=\xc3\xa9"[..]);
    if let Ok(uri) = uri {
        let mut binary = Request::new(());
        *binary.uri_mut() = uri;
        decide("a path with bytes beyond ASCII", binary, "prod");
    }
}

/// Many rules of every kind that an index knows, all of which have the same few values at stake.
fn indexed() -> String {
    let route = |at: usize| {
        format!(
            "route c{at}: cookie(uid) in [\"{at}\", \"u{at}\"] => gray\n\
             route h{at}: host under \"h{at}.test\" && path under \"/h{at}\" => gray\n\
             route p{at}: path starts_with \"/p{at}/\" && cookie(uid) == \"a\" => gray\n\
             route q{at}: query(q{at}) == \"{at}\" || int(query(n)) in [{at}..{at}] => gray\n\
             route x{at}: header(x) ends_with \"-{at}\" && version(header(v)) >= \"{at}.0.0\" => gray\n\
             shadow route s{at}: cookie(uid) == \"a\" && header(x) matches \"^{at}\" => gray\n"
        )
    };
    (0..sized(2_000)).map(route).collect::<String>() + "default => prod"
}

/// The decision by an index of many rules, which is that without it.
#[track_caller]
fn decide_by_index(requests: Vec<(&str, Request<()>, &str)>) {
    let engine = Engine::builder().schema(clusters()).build(indexed()).unwrap();
    for (what, request, cluster) in requests {
        let engine = engine.clone();
        let decided = quickly(what, move || {
            let [index, all, reference] = engine.decide_three_ways_at(&request, MOMENT, |_| true);
            assert!(index == all && all == reference, "{index:?} {all:?} {reference:?}");
            engine.decide_at(&request, MOMENT).cluster().to_owned()
        });
        assert_eq!(decided, cluster, "{what}");
    }
}

#[test]
fn heads_that_are_made_to_be_slow_are_decided_by_an_index() {
    let get = |uri: &str| Request::get(uri.to_owned());
    let cookie = |line: String| get("/").header("cookie", line).body(()).unwrap();
    let parameters = |name: &str| {
        let query: Vec<_> = (0..1_000).map(|at| format!("{name}{at}=v")).collect();
        get(&format!("/?{}&n=5", query.join("&"))).body(()).unwrap()
    };
    let mut lines = get("/").body(()).unwrap();
    let mut versions = get("/").header("x", "a-1").body(()).unwrap();
    for at in 0..sized(2_000) {
        lines.headers_mut().append("x", format!("{at}-{}", at + 100_000).parse().unwrap());
        versions.headers_mut().append("v", format!("0.{at}.0").parse().unwrap());
    }
    let host = |name: String| get("/").header("host", name).body(()).unwrap();
    decide_by_index(vec![
        ("64 KiB of `;`", cookie(";".repeat(65_536)), "prod"),
        ("64 KiB of `=`", cookie("=".repeat(65_536)), "prod"),
        ("a name in names", cookie("xuid=".repeat(13_000) + "3"), "prod"),
        ("a name in values", cookie("x=uid=3;".repeat(8_000)), "prod"),
        ("a name at the end", cookie("xuid=3;".repeat(9_000) + " uid=3"), "gray"),
        ("many values", cookie((0..6_000).map(|at| format!("uid=v{at};")).collect()), "prod"),
        ("one value many times", cookie("uid=a;".repeat(10_000)), "prod"),
        ("1,000 parameters", parameters("p"), "gray"),
        ("1,000 parameters that rules ask for", parameters("q"), "gray"),
        ("lines of a header", lines, "prod"),
        ("versions", versions, "prod"),
        ("a long path", get(&format!("/{}", "p".repeat(65_000))).body(()).unwrap(), "prod"),
        ("a path of slashes", get(&"/".repeat(65_000)).body(()).unwrap(), "prod"),
        ("a path of escapes", get(&format!("/{}", "%2f".repeat(21_000))).body(()).unwrap(), "prod"),
        ("a path of escaped letters", get(&format!("/{}", "%70".repeat(21_000))).body(()).unwrap(), "prod"),
        ("a path of segments", get(&"/p1".repeat(21_000)).body(()).unwrap(), "prod"),
        ("a host of labels", host("h1.".repeat(20_000) + "test"), "prod"),
        ("a host of dots", host(".".repeat(60_000)), "prod"),
    ]);
}

/// The decision by the index of some rules, which is that without it.
#[track_caller]
fn decide_both_ways(what: &str, text: String, request: Request<()>, cluster: &str) {
    let decided = quickly(what, move || {
        let engine = Engine::builder().schema(clusters()).build(text).unwrap();
        let [index, all, reference] = engine.decide_three_ways_at(&request, MOMENT, |_| true);
        assert!(index == all && all == reference, "{index:?} {all:?} {reference:?}");
        engine.decide_at(&request, MOMENT).cluster().to_owned()
    });
    assert_eq!(decided, cluster, "{what}");
}

fn rules(count: usize, condition: impl Fn(usize) -> String) -> String {
    let route = |at: usize| format!("route r{at}: {} => gray\n", condition(at));
    (0..count).map(route).collect::<String>() + "default => prod"
}

#[test]
fn values_that_lead_to_one_place_lead_there_once() {
    // Each of four look-ups below one another was asked by each value of the one above it, again and again.
    let shared = r#"cookie(a) == "x" && cookie(b) == "x" && cookie(c) == "x" && cookie(d) == "x""#;
    let cookie: String = ["a", "b", "c", "d"].map(|name| format!("{name}=x;").repeat(1_000)).concat();
    let request = || Request::get("/y").header("cookie", cookie.clone()).body(()).unwrap();
    let text = rules(16, |at| format!("{shared} && path != \"/{at}\""));
    decide_both_ways("nodes below nodes", text, request(), "gray");
    let text = rules(64, |at| format!("{shared} && path == \"/{at}\""));
    decide_both_ways("nodes below nodes, in vain", text, request(), "prod");

    // The same row of rules was walked once for each value.
    let query = |unit: &str| Request::get(format!("/?{}", unit.repeat(sized(16_000)))).body(()).unwrap();
    let text = rules(1_000, |at| format!("query(q) == \"x\" && port != {at} && !exists(query(q))"));
    decide_both_ways("one value, many times", text, query("q=x&"), "prod");
}

#[test]
fn values_that_lead_to_overlapping_rows_take_no_more_than_all_rules() {
    // Rows times values waited at once, until there was no memory.
    let query: String = (0..sized(16_000)).map(|at| format!("q={}&", at % 90)).collect();
    let request = || Request::get(format!("/?{query}")).body(()).unwrap();
    let text = rules(sized(20_000), |at| format!("int(query(q)) in [0..{}] && host == \"h\"", 100 + at));
    decide_both_ways("ranges in ranges", text, request(), "prod");
    let text = rules(sized(20_000), |at| format!("query(q) in [\"1\", \"y{at}\"] && host == \"h\""));
    decide_both_ways("lists with a member in common", text, request(), "prod");
}

#[test]
fn a_list_that_many_fields_are_asked_for_is_no_table_for_each() {
    let members: Vec<String> = (0..4_096).map(|at| at.to_string()).collect();
    for slots in [4, sized(1_000)] {
        let text = rules(4 * slots, |at| format!("int(query(q{})) in l && port != {at}", at / 4));
        let text = format!("list l = [{}]\n{text}", members.join(", "));
        decide_both_ways("a list for many", text, Request::get("/?q1=9999&q2=x").body(()).unwrap(), "prod");
    }
}

#[test]
fn a_condition_of_very_many_tests_is_held_against_the_routes_above_within_bounds() {
    let count = sized(60_000);
    let text: String = (0..count).map(|at| format!("route r{at}: host == \"h{at}\" => gray\n")).collect();
    let rows: Vec<String> = (0..count).map(|at| format!("host == \"h{at}\"")).collect();
    let rows: Vec<String> = rows.chunks(50).map(|row| format!("({})", row.join(" || "))).collect();
    let rows: Vec<String> = rows.chunks(50).map(|row| format!("({})", row.join(" && "))).collect();
    let last = format!("route last: {} => gray\n", rows.join(" || "));
    decide_both_ways("a tree of tests", text + &last + "default => prod", Request::new(()), "prod");
}

#[test]
fn expressions_on_many_fields_are_not_compiled_for_each() {
    let text = rules(sized(10_000), |at| format!("header(x{}) matches \"x[ab]{{9}}{}\"", at / 100, at % 100));
    let request = Request::get("/").header("x7", "aaxabababab").header("x3", "xababababa7").body(()).unwrap();
    decide_both_ways("expressions", text, request, "gray");
}

#[test]
fn a_million_members_are_asked_for_one() {
    let members: Vec<String> = (0..sized(1_000_000)).map(|at| format!("member-{at}")).collect();
    let last = members.last().unwrap().clone();
    let schema = clusters().list("members", pointsman::schema::List::strings(members));
    let text = "route a: cookie(uid) in members || header(x) in members => gray default => prod";
    let engine = Engine::builder().schema(schema).build(text).unwrap();
    for (value, cluster) in [(last.as_str(), "gray"), ("member-", "prod"), ("", "prod")] {
        let request = Request::get("/").header("cookie", format!("uid={value}")).body(()).unwrap();
        assert_eq!(engine.decide_at(&request, MOMENT).cluster(), cluster, "{value}");
    }
}

#[test]
fn a_long_row_of_proxies_is_walked_once() {
    let hops = "10.0.0.1, ".repeat(6_000) + "10.0.0.2";
    let mut request = Request::get("/").header("x-forwarded-for", hops).body(()).unwrap();
    request.extensions_mut().insert(PeerAddr("10.0.0.1:1".parse().unwrap()));
    decide("6,000 proxies", request, "prod");
}

#[test]
fn values_against_values_are_compared_within_bounds() {
    // Some value of one side against some of the other: a line of 64 KiB has 10,000 on each side, and pairs of
    // them are a hundred million comparisons.
    for (left, order, right, pair) in [
        ("cookie(a)", "==", "cookie(b) ?? \"N\"", "a=x;b=y;"),
        ("int(cookie(a))", "<", "int(cookie(b) ?? \"N\")", "a=2;b=1;"),
        ("int(cookie(a))", ">=", "int(cookie(b) ?? \"N\")", "a=1;b=2;"),
        ("version(cookie(a))", ">", "version(cookie(b) ?? \"N\")", "a=1;b=2;"),
    ] {
        let row = |count: usize| {
            let one = |n: usize| format!("{left} {order} {}", right.replace('N', &n.to_string()));
            Condition::new(&(0..count).map(one).collect::<Vec<_>>().join(" || ")).unwrap()
        };
        let with = |count: usize, last: &str| {
            let line = pair.repeat(count) + last;
            Request::get("/").header("cookie", line).body(()).unwrap()
        };
        let one = row(1);
        // Few pairs, and more than the reference compares one by one.
        for count in [20, 200] {
            for (last, verdict) in [("", false), ("a=7;b=7;b=9;a=10", true)] {
                let request = with(count, last);
                assert_eq!(one.matches(&request), verdict, "{}", one.text());
                assert_eq!(one.reference_at(&request, SystemTime::UNIX_EPOCH), verdict);
            }
        }
        // Seconds in a debug build; with all pairs, minutes. The reference is what explains.
        let (condition, request) = (row(sized(400)), with(8_000, ""));
        quickly("values against values", move || {
            assert!(!condition.matches(&request));
            assert!(!condition.reference_at(&request, SystemTime::UNIX_EPOCH));
        });
    }
}

/// More values than are kept for later questions, of which some come before and some after the bound: found by
/// the fuzz target `program`.
#[test]
fn what_is_made_of_forgotten_values_is_forgotten_too() {
    let text = r#"
        route a: int(query(z)) ?? len(header(x)) == 99 => gray
        route b: lower(query(z) ?? header(x)) == "b" => gray
        route c: (int(query(z)) ?? len(header(x))) % 7 == 3 && int(query(z)) ?? len(header(x)) == 10 => gray
        default => prod
    "#;
    let engine = Engine::builder().schema(clusters()).build(text).unwrap();
    for values in [16_383, 16_384, 16_385, 17_000] {
        let query = "z&".repeat(values);
        let request = Request::get(format!("/?{query}")).header("x", "0123456789").body(()).unwrap();
        assert_eq!(engine.decide_at(&request, MOMENT).rule(), Some("c"), "{values}");
        assert_eq!(engine.explain_at(&request, MOMENT).rule.as_deref(), Some("c"));
    }
}

#[test]
fn rows_in_rows_are_compared_within_bounds() {
    // Whether one such route covers another takes 64^4 steps, and there is a square of pairs.
    let tests = |count: usize, test: &dyn Fn(usize) -> String, operator: &str, last: &str| {
        let mut row: Vec<_> = (0..count).map(test).collect();
        row.push(last.to_owned());
        format!("({})", row.join(operator))
    };
    let mut text = String::new();
    for k in 0..12 {
        let row =
            |i: usize| tests(63, &|j| format!("port=={}", 1000 + i * 64 + j + k * 5_000), "||", "port<20");
        text += &format!("route w{k}:{}=>gray\n", (0..64).map(row).collect::<Vec<_>>().join("&&"));
    }
    for k in 0..12 {
        let last = |i: usize| if i < 63 { "port<20".to_owned() } else { format!("port>{k}") };
        let row =
            |i: usize| tests(63, &|j| format!("port!={}", 1000 + i * 64 + j + k * 5_000), "&&", &last(i));
        text += &format!("route n{k}:{}=>gray\n", (0..64).map(row).collect::<Vec<_>>().join("||"));
    }
    decides("rows in rows", format!("{text}default => prod"), "prod");
}

#[test]
fn long_literals_are_searched_within_bounds() {
    // Each literal is a value that each of the routes before it may take: the product of both is searched.
    let mut text = String::new();
    for i in 0..sized(20_000) {
        text += &format!("route r{i}:raw_query contains \"aaaaaaaaaaaab{i}\"=>gray\n");
    }
    for i in 0..45 {
        text += &format!("route l{i}:raw_query==\"{}{i}\"=>gray\n", "a".repeat(sized(65_536)));
    }
    decides("long literals", format!("{text}default => prod"), "prod");
}

#[test]
fn a_line_may_end_behind_any_word() {
    let text = "list l = [\"a.test\"] paused route a: host == \"a.test\" => gray \
                shadow route b: not ( host in l ) => gray route c: host not in l => gray \
                cluster c = gray 1 , prod 2 by cookie ( uid ) ?? ip salt \"x\" default => prod";
    for blank in ["\n", "\r\n", " # x\n", "\n\n\t"] {
        decides(blank, text.replace(' ', blank), "prod");
    }
}

#[test]
fn the_same_mistakes_have_the_same_messages() {
    let lists: String = (1..9).map(|i| format!("list abc{i} = [\"x\"]\ncluster k{i} = gray\n")).collect();
    let text = format!(
        "{lists}route a: host in abc => gray\nroute b: host in zzzzzzzzz => gray\nroute c: true => kk\ndefault => prod"
    );
    let say = || Engine::builder().schema(clusters()).build(&text).unwrap_err().to_string();
    let first = say();
    assert!(first.contains("did you mean `abc1`?") && first.contains("did you mean `k1`?"), "{first}");
    for _ in 0..20 {
        assert_eq!(say(), first);
    }
}

#[test]
fn names_cannot_speak_to_a_terminal() {
    const NAME: &str = r#""a\u{1b}[31m\n\u{202e}""#;
    let clean = |shown: &str, lines: usize| {
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
        assert_eq!(shown.lines().count(), lines, "{shown}");
    };
    let said = |text: &str| match Engine::builder().schema(clusters()).build(text) {
        Ok(engine) => engine.rules().lints().to_string(),
        Err(error) => error.to_string(),
    };
    for (text, lines) in [
        ("route N: port == 1 => gray\nroute N: port == 2 => gray\ndefault => prod", 6),
        ("route N: port == 1 => gray\nroute b: port == 1 => gray\ndefault => prod", 7),
        ("list N = []\ndefault => prod", 5),
        ("cluster N = N\ndefault => prod", 5),
        ("route a: host under N => gray\ndefault => prod", 5),
    ] {
        let name = if text.contains("under") { NAME.replace("\"a", "\".a") } else { NAME.to_owned() };
        clean(&said(&text.replace('N', &name)), lines);
    }
    let rules = Statements::new().route("a\u{1b}\n", "hst == \"a\"", "gray").default("prod");
    clean(&Engine::builder().schema(clusters()).build(rules).unwrap_err().to_string(), 5);
    let text = format!(
        "cluster {NAME} = gray 1, prod 1 by host\nroute {NAME}: host == \"a\u{1b}\" => gray\nshadow route s: true => {NAME}\ndefault => {NAME}"
    );
    let engine = Engine::builder().schema(clusters()).build(&text).unwrap();
    let request = Request::get("/").body(()).unwrap();
    let _ = engine.decide_at(&request, MOMENT);
    clean(&engine.explain_at(&request, MOMENT).to_string(), 6);
    clean(&engine.counters().to_string(), 7);
}

#[test]
fn a_mapped_address_of_an_application_is_ipv4() {
    let field = |_: RequestHead<'_>, values: &mut Values<'_, '_>| {
        values.push(Value::Ip("::ffff:10.0.0.1".parse().unwrap()));
    };
    let schema = Schema::new().field("seen", Type::Ip, field);
    for text in ["seen in [10.0.0.0/8]", "seen == 10.0.0.1", "!(seen in [::/0])"] {
        let condition = Condition::compile("", text, &schema, &Limits::default()).unwrap();
        assert!(condition.matches(&Request::get("/").body(()).unwrap()), "{text}");
    }
}

#[test]
fn a_network_that_ends_among_mapped_addresses_keeps_its_others() {
    let condition = Condition::new("ip in [::fffe:0:0/95]").unwrap();
    for (peer, verdict) in [("[::fffe:0:1]:1", true), ("[::ffff:1.2.3.4]:1", false), ("[::1:0:0:0]:1", false)]
    {
        let mut request = Request::get("/").body(()).unwrap();
        request.extensions_mut().insert(PeerAddr(peer.parse().unwrap()));
        assert_eq!(condition.matches(&request), verdict, "{peer}");
        assert_eq!(condition.reference_at(&request, SystemTime::UNIX_EPOCH), verdict, "{peer}");
    }
}

#[test]
fn what_is_not_too_deep_is_not_too_deep_once_it_is_formatted() {
    // The printer puts parentheses behind `!`, and `not` may negate a comparison of nested functions.
    for (open, close) in
        [("not ", ""), ("!", ""), ("!lower(", ")"), ("not (host not in [\"x\"] and not ", ")")]
    {
        for depth in 0..8 {
            let limits = Limits { depth, ..Limits::default() };
            for row in 0..8 {
                let negated = open.repeat(row);
                let text = route(&format!("{negated}lower(host) == \"a\"{}", close.repeat(row)));
                if let Ok(formatted) = pointsman::format(&text, &limits) {
                    let again = pointsman::format(&formatted, &limits);
                    assert_eq!(again.as_deref(), Ok(formatted.as_str()), "{depth} {text}");
                }
            }
        }
    }
    let limits = Limits { depth: 1, ..Limits::default() };
    assert!(pointsman::format(&route("host not in l or !(is_staff)"), &limits).is_err());
    assert!(pointsman::format(&route("host not in l and port in [1]"), &limits).is_ok());
}
