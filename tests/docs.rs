//! What the documentation shows is what the crate does.
//!
//! Every block marked `rules` or `condition` is compiled, every table of conditions is evaluated, and the
//! messages of the README are compared with what is really printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers here are tests too, which clippy cannot see"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use http::Request;
use pointsman::schema::{PeerAddr, Schema, StatementKind, canonical_path};
use pointsman::{Condition, Diagnostics, Engine, Limits, Rules};

const LANGUAGE: &str = include_str!("../src/docs/language.md");
const GATEWAY: &str = include_str!("../src/docs/gateway.md");
const CONTRIBUTING: &str = include_str!("../.github/CONTRIBUTING.md");
const README: &str = include_str!("../README.md");

/// All pages, by name.
const PAGES: [(&str, &str); 8] = [
    ("README.md", README),
    ("language.md", LANGUAGE),
    ("gateway.md", GATEWAY),
    ("operations.md", include_str!("../src/docs/operations.md")),
    ("hashing.md", include_str!("../src/docs/hashing.md")),
    ("releasing.md", include_str!("../src/docs/releasing.md")),
    ("CHANGELOG.md", include_str!("../CHANGELOG.md")),
    ("SECURITY.md", include_str!("../.github/SECURITY.md")),
];

/// What a test application declares: enough for every page.
const CLUSTERS: [&str; 6] = ["gray", "prod", "prod_a", "prod_b", "prod-a", "next"];

// === blocks ===

/// The fenced blocks of a page whose info string starts with `mark`.
fn blocks<'p>(page: &'p str, mark: &str) -> Vec<&'p str> {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("\n```") {
        let (info, body) = after.split_once('\n').expect("an open fence");
        // An empty block closes at once.
        let (block, next) = if let Some(next) = body.strip_prefix("```") {
            ("", next)
        } else {
            body.split_once("\n```").expect("a closed fence")
        };
        if info.split([',', ' ']).next() == Some(mark) {
            blocks.push(block);
        }
        rest = next;
    }
    blocks
}

fn schema(rules: &str) -> Schema {
    // A page may define a logical cluster that another page takes as declared.
    let own = |name: &&&str| !rules.lines().any(|line| line.starts_with(&format!("cluster {name} ")));
    Schema::new()
        .clusters(CLUSTERS.iter().filter(own))
        .gateway(StatementKind::GATEWAY)
        .string_field("plan", |_| Some("pro"))
        .bool_field("is_staff", |_| Some(true))
}

#[test]
fn every_rule_set_compiles_without_lints() {
    let mut seen = 0;
    for (page, text) in PAGES {
        for block in blocks(text, "rules") {
            let engine = Engine::builder().schema(schema(block)).build(block);
            let engine = engine.unwrap_or_else(|problems| panic!("{page}:\n{problems}"));
            assert!(engine.rules().lints().is_empty(), "{page}:\n{}", engine.rules().lints());
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} rule sets");
}

#[test]
fn every_condition_compiles_without_lints() {
    let mut seen = 0;
    for (page, text) in PAGES {
        for block in blocks(text, "condition") {
            let condition = Condition::compile("", block, &schema(""), &Limits::default());
            let condition = condition.unwrap_or_else(|problems| panic!("{page}:\n{problems}"));
            assert!(condition.lints().is_empty(), "{page}:\n{}", condition.lints());
            seen += 1;
        }
    }
    assert!(seen >= 1, "{seen} conditions");
}

// === tables ===

struct Table<'p> {
    head: Vec<&'p str>,
    rows: Vec<Vec<&'p str>>,
}

/// The tables of a page. A `|` that is no border is written `\|`, which no table here needs.
fn tables(page: &str) -> Vec<Table<'_>> {
    let mut tables: Vec<Table<'_>> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        let Some(inside) = line.strip_prefix('|').and_then(|line| line.trim_end().strip_suffix('|')) else {
            open = false;
            continue;
        };
        let cells: Vec<_> = inside.split('|').map(str::trim).collect();
        match tables.last_mut() {
            Some(table) if open => {
                assert_eq!(cells.len(), table.head.len(), "{line}");
                if !cells.iter().all(|cell| cell.chars().all(|c| c == '-')) {
                    table.rows.push(cells);
                }
            }
            _ => tables.push(Table { head: cells, rows: Vec::new() }),
        }
        open = true;
    }
    tables
}

/// The code spans of a cell.
fn spans(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn code(cell: &str) -> &str {
    let spans = spans(cell);
    assert_eq!(spans.len(), 1, "one code span is needed in {cell}");
    spans[0]
}

/// A request as a table writes it: `GET /path`, then header lines, `peer ADDRESS` and `now INSTANT`.
struct Asked {
    request: Request<()>,
    now: SystemTime,
}

fn asked(cell: &str) -> Asked {
    let mut request = Request::new(());
    let mut now = SystemTime::UNIX_EPOCH;
    for span in spans(cell) {
        if let Some(peer) = span.strip_prefix("peer ") {
            request.extensions_mut().insert(PeerAddr((peer.parse::<std::net::IpAddr>().unwrap(), 80).into()));
        } else if let Some(instant) = span.strip_prefix("now ") {
            assert_eq!(instant, "2026-11-26T16:00:00Z", "the one instant that is known here");
            now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_795_708_800);
        } else if let Some((name, value)) = span.split_once(": ") {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        } else {
            let (method, uri) = span.split_once(' ').unwrap();
            *request.method_mut() = method.parse().unwrap();
            *request.uri_mut() = uri.parse().unwrap();
        }
    }
    Asked { request, now }
}

fn compiled(condition: &str) -> Condition {
    Condition::compile("", condition, &schema(""), &Limits::default())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn answers(condition: &str, request: &str, want: &str) {
    let compiled = compiled(condition);
    let Asked { request: head, now } = asked(request);
    let want = match want {
        "yes" => true,
        "no" => false,
        other => panic!("{other} is no answer"),
    };
    assert_eq!(compiled.matches_at(&head, now), want, "{condition} asked of {request}");
    assert_eq!(compiled.reference_at(&head, now), want, "reference: {condition} asked of {request}");
}

#[test]
fn every_table_of_conditions_has_the_right_answers() {
    let mut seen = 0;
    for table in tables(LANGUAGE) {
        match table.head.as_slice() {
            ["condition", "request", "answer"] => {
                for row in &table.rows {
                    answers(code(row[0]), row[1], row[2]);
                    seen += 1;
                }
            }
            ["condition", requests @ ..] => {
                for row in &table.rows {
                    for (request, want) in requests.iter().zip(&row[1..]) {
                        answers(code(row[0]), request, want);
                        seen += 1;
                    }
                }
            }
            _ => {}
        }
    }
    assert!(seen > 150, "{seen} answers");
}

#[test]
fn every_path_has_the_canonical_form_that_is_shown() {
    let table = tables(LANGUAGE).into_iter().find(|table| table.head[0] == "as received").unwrap();
    for row in &table.rows {
        let canonical = canonical_path(code(row[0]).as_bytes());
        assert_eq!(canonical, code(row[1]).as_bytes(), "{}", String::from_utf8_lossy(&canonical));
        assert_eq!(canonical_path(&canonical), canonical);
    }
}

fn codes(problems: &Diagnostics) -> Vec<&'static str> {
    problems.iter().map(|problem| problem.code().as_str()).collect()
}

#[test]
fn every_mistake_has_the_code_that_is_shown() {
    let table = tables(LANGUAGE).into_iter().find(|table| table.head[0] == "refused condition").unwrap();
    for row in &table.rows {
        let problems = Condition::new(code(row[0])).expect_err(row[0]);
        assert_eq!(codes(&problems), [code(row[1])], "{problems}");
    }
}

#[test]
fn every_lint_has_the_code_that_is_shown() {
    let table = tables(LANGUAGE).into_iter().find(|table| table.head[0] == "condition with a lint").unwrap();
    for row in &table.rows {
        let condition = Condition::new(code(row[0])).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(codes(condition.lints()).contains(&code(row[1])), "{}: {}", row[0], condition.lints());
    }
}

#[test]
fn the_bounds_are_the_defaults() {
    // Taken apart by name: a new bound does not compile before it is in the table; then `bounds.rs` tries it.
    let Limits {
        text_bytes,
        depth,
        statements,
        list_members,
        targets,
        regex_bytes,
        program_bytes,
        diagnostics,
    } = Limits::default();
    let known = [
        ("text_bytes", text_bytes),
        ("depth", depth),
        ("statements", statements),
        ("list_members", list_members),
        ("targets", targets),
        ("regex_bytes", regex_bytes),
        ("program_bytes", program_bytes),
        ("diagnostics", diagnostics),
    ];
    let table = tables(LANGUAGE).into_iter().find(|table| table.head[0] == "bound").unwrap();
    let stated: Vec<(&str, usize)> =
        table.rows.iter().map(|row| (code(row[0]), row[1].parse().expect(row[1]))).collect();
    assert_eq!(stated, known);
    assert!(LANGUAGE.contains(&format!("at most {}, whatever is set", Limits::MAX_DEPTH)));
}

#[cfg(all(
    feature = "cache",
    feature = "capture",
    feature = "health",
    feature = "limit",
    feature = "mirror"
))]
#[test]
fn the_bounds_of_the_gateway_are_the_defaults() {
    use pointsman::gateway::{CacheLayer, CaptureLayer, LimitLayer, MirrorLayer};
    use pointsman::middleware::HealthSettings;

    let engine = Engine::builder().schema(schema("")).build("default => prod").unwrap();
    let next = tower::service_fn(async |_: Request<pointsman::gateway::mirror::MirrorBody>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
    });
    let known = [
        ("LimitLayer", format!("{:?}", LimitLayer::new())),
        ("CacheBuilder", format!("{:?}", CacheLayer::builder())),
        ("MirrorLayer", format!("{:?}", MirrorLayer::new(&engine, [("next", next)]).unwrap())),
        ("CaptureLayer", format!("{:?}", CaptureLayer::new())),
        ("HealthSettings", format!("{:?}", HealthSettings::new())),
    ];
    let table = tables(GATEWAY).into_iter().find(|table| table.head[0] == "setting").unwrap();
    let mut seen = 0;
    for row in table.rows.iter().filter(|row| row[1] != "none") {
        let (layer, setting) = code(row[0]).split_once("::").unwrap();
        let (_, shown) = known.iter().find(|(name, _)| *name == layer).unwrap();
        let wanted = format!(" {setting}: {}", row[1]);
        let ends = |rest: &str| rest.starts_with([',', ' ']);
        assert!(shown.split(&wanted).skip(1).any(ends), "no `{wanted}` in {shown}");
        seen += 1;
    }
    assert_eq!(seen, 15);
}

// === the README ===

/// A rule set with three mistakes.
const MISTAKEN: &str = r#"list beta = ["1001", "1002"]
route testers: header(x-canary) = "always" => gray
route staff: cookie(uid) in betta || hots == "shop.example.com" => gray
default => prod
"#;

/// The README's rule set, with a logical cluster and a shadow.
const EXPLAINED: &str = r#"
list office = [10.0.0.0/8, 2001:db8::/32]
cluster prod = prod_a 50, prod_b 50 by cookie(uid)

route testers:      header(x-canary) == "always"             => gray
route staff:        cookie(uid) in ["1001"] || ip in office  => gray
shadow route next:  path under "/checkout" && percent(cookie(uid)) < 20  => gray
route checkout:     path under "/checkout"                   => gray 5, prod 95 by cookie(uid)
default => prod
"#;

#[track_caller]
fn shows(text: &str) {
    let block = format!("```text\n{}\n```\n", text.trim_end());
    assert!(README.contains(&block), "README.md does not show:\n{block}");
}

#[test]
fn the_message_in_the_readme_is_a_real_one() {
    let engine = Engine::builder().clusters(["gray", "prod"]).build("default => prod").unwrap();
    let problems = engine.replace(Rules::named("shop.rules", MISTAKEN)).unwrap_err();
    shows(&problems.to_string());
}

#[test]
fn the_explanation_in_the_readme_is_a_real_one() {
    let engine = Engine::builder().clusters(["gray", "prod_a", "prod_b"]).build(EXPLAINED).unwrap();
    let request = Request::get("/x/../checkout/pay")
        .header("cookie", "uid=1002; theme=dark")
        .extension(PeerAddr("192.0.2.1:4711".parse().unwrap()))
        .body(())
        .unwrap();
    let explanation = engine.explain(&request);
    shows(&explanation.to_string());
    assert_eq!(explanation.cluster, engine.decide(&request).cluster());
}

#[test]
fn the_rules_that_the_fuzzer_asks_compile() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets/every_field.rules");
    // Not part of the published package.
    let Ok(rules) = fs::read_to_string(path) else { return };
    let engine = Engine::builder().clusters(["gray", "prod", "prod_a", "prod_b"]).build(&rules);
    engine.unwrap_or_else(|problems| panic!("{problems}"));
}

// === the rooms ===

/// The Rust files of a room, as text.
fn sources(room: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(room).unwrap_or_else(|error| panic!("{}: {error}", room.display()));
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

#[test]
fn no_room_imports_what_it_may_not() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let table = tables(CONTRIBUTING).into_iter().find(|table| table.head[0] == "room").unwrap();
    let rooms: Vec<&str> = table.rows.iter().map(|row| code(row[0])).collect();
    for (at, row) in table.rows.iter().enumerate() {
        let room = rooms[at];
        let mut may = if row[2] == "all above" { rooms[..at].to_vec() } else { spans(row[2]) };
        // Itself, the bounds, and what is no room of ours but a root of a path.
        may.extend([room, "limits"]);
        let folder = src.join(room);
        if !folder.exists() {
            continue;
        }
        for (path, text) in sources(&folder) {
            for mention in text.split("crate::").skip(1) {
                let other = mention.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).next().unwrap();
                let known = rooms.contains(&other);
                assert!(!known || may.contains(&other), "{}: {room} imports {other}", path.display());
            }
        }
    }
    for entry in fs::read_dir(&src).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() && name != "docs" {
            assert!(rooms.contains(&name.as_str()), "CONTRIBUTING.md does not name the room {name}");
        }
    }
}
