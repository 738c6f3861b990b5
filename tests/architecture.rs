//! Holds the table of rooms against the `use` lines of `src/`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a room may import. `limits` is a leaf that any room may import.
const TABLE: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("diagnostic", &["limits"]),
    ("schema", &[]),
    ("split", &[]),
    ("syntax", &["diagnostic", "limits", "schema"]),
    ("check", &["syntax", "schema", "diagnostic", "limits", "split"]),
    ("bytecode", &["schema", "split"]),
    ("compile", &["check", "bytecode", "schema", "split"]),
    ("eval", &["bytecode", "schema", "split"]),
    ("explain", &["check", "schema", "split", "diagnostic"]),
    (
        "engine",
        &[
            "limits",
            "diagnostic",
            "schema",
            "split",
            "syntax",
            "check",
            "bytecode",
            "compile",
            "eval",
            "explain",
        ],
    ),
    ("middleware", &["engine", "schema", "diagnostic"]),
    ("gateway", &["engine", "middleware", "schema", "diagnostic"]),
    ("source", &["engine", "diagnostic"]),
    ("metrics", &["engine", "middleware", "gateway", "source"]),
];

/// Items of another room that may be named where the room as a whole may not.
const ITEMS: &[(&str, &str)] = &[("syntax", "schema::decimal4"), ("syntax", "schema::StatementKind")];

/// Packages that are known to one place only.
const PACKAGES: &[(&str, &[&str])] = &[
    ("pest", &["syntax/parse.rs"]),
    ("pest_derive", &["syntax/parse.rs"]),
    ("arc_swap", &["engine/cell.rs"]),
    ("regex_automata", &["schema/pattern.rs"]),
    ("regex_syntax", &["schema/pattern.rs"]),
    (
        "tokio",
        &[
            "gateway/cache/body.rs",
            "gateway/cache/fetch.rs",
            "gateway/cache/flight.rs",
            "middleware/health/clock.rs",
            "gateway/mirror/layer.rs",
            "gateway/mirror/shadow.rs",
            "source/etcd.rs",
            "source/file.rs",
            "source/follow.rs",
            "source/http.rs",
            "source/redis.rs",
            "source/status.rs",
        ],
    ),
    ("http_cache_semantics", &["gateway/cache/policy.rs"]),
    ("moka", &["gateway/cache/store.rs"]),
    ("base64", &["gateway/capture/har.rs"]),
    ("etcd_client", &["source/etcd.rs"]),
    ("hyper", &["source/http.rs"]),
    ("hyper_util", &["source/http.rs"]),
    // In `mod.rs` it is our own module.
    ("redis", &["source/mod.rs", "source/redis.rs"]),
    ("notify", &["source/file.rs"]),
    ("libc", &["source/open.rs"]),
    ("governor", &["gateway/limit/bucket.rs"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The files of `src/`, each with its path below it.
fn files() -> Vec<(String, String)> {
    let mut folders = vec![source()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(source()).unwrap().display().to_string().replace('\\', "/");
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// The code of a file: without comments, the insides of strings, and the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines()
        .map(|line| {
            let mut out = String::new();
            let mut string = false;
            let mut chars = line.chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '\\' if string => drop(chars.next()),
                    '"' => string = !string,
                    '/' if !string && chars.peek() == Some(&'/') => break,
                    c if !string => out.push(c),
                    _ => {}
                }
            }
            out + "\n"
        })
        .collect()
}

/// The paths that begin with `crate::`, with groups taken apart: `crate::a::{b, c::d}` is `a::b` and `a::c::d`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if !before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            paths(&code[at + "crate::".len()..], "", &mut found);
        }
    }
    found
}

/// Reads one path or group from the start of `text`; returns what is behind it.
fn paths<'t>(text: &'t str, prefix: &str, found: &mut BTreeSet<String>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let next = paths(rest, prefix, found);
            rest = next.trim_start();
            // ` as name`
            let end = rest.find([',', '}']).unwrap_or(rest.len());
            rest = rest[end..].strip_prefix(',').unwrap_or(&rest[end..]);
            if rest.is_empty() {
                return rest;
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
    match rest.strip_prefix("::") {
        Some(rest) => paths(rest, &path, found),
        None => {
            found.insert(path);
            rest
        }
    }
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let room = room(&file);
        if matches!(room, "lib" | "docs") {
            continue;
        }
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{file}: the room `{room}` is not in the table"));
            continue;
        };
        for path in imports(&code(&text)) {
            let from = path.split("::").next().unwrap();
            let at_root = !TABLE.iter().any(|(name, _)| *name == from);
            if at_root {
                // Only `lib.rs` says what stands at the top; inside, a name is taken from its room.
                wrong.push(format!("{file}: `crate::{path}` is not taken from a room"));
                continue;
            }
            if from != room && from != "limits" && !allowed.contains(&from) {
                wrong.push(format!("{file}: `{room}` may not import `crate::{path}`"));
            }
            let only: Vec<_> =
                ITEMS.iter().filter(|(name, item)| *name == room && item.starts_with(from)).collect();
            if !only.is_empty() && !only.iter().any(|(_, item)| *item == path) {
                wrong.push(format!("{file}: of `{from}`, `{room}` may only import {only:?}, not `{path}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_package_is_known_to_one_file() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let code = code(&text);
        for (package, allowed) in PACKAGES {
            let named = code.match_indices(package).any(|(at, _)| {
                let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                !word(code[..at].chars().next_back()) && code[at + package.len()..].starts_with("::")
            });
            if named && !allowed.contains(&file.as_str()) {
                wrong.push(format!("{file} names `{package}`, known to {allowed:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_of_the_table_is_looked_at() {
    let rooms: BTreeSet<String> = files().iter().map(|(file, _)| room(file).to_owned()).collect();
    for (name, _) in TABLE.iter().filter(|(name, _)| !matches!(*name, "middleware" | "gateway" | "source")) {
        assert!(rooms.contains(*name), "there is no room `{name}`");
    }
    // The table names no room that comes later than those that may import it.
    for (at, (name, allowed)) in TABLE.iter().enumerate() {
        for other in *allowed {
            assert!(TABLE[..at].iter().any(|(earlier, _)| earlier == other), "{name} before {other}");
        }
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let code = code(concat!(
        "use crate::schema::{self, Value as V, http::{path, host}};\n",
        "// use crate::comment::x;\nlet x = crate::eval::Run::new(\"crate::string::x\");\n",
        "pub(in crate::check) use mycrate::other;\nuse crate::{\n    limits::Limits,\n    syntax,\n};\n",
        "\n#[cfg(test)]\nmod tests { use crate::engine::X; }",
    ));
    let found: Vec<_> = imports(&code).into_iter().collect();
    assert_eq!(
        found,
        [
            "check",
            "eval::Run::new",
            "limits::Limits",
            "schema::Value",
            "schema::http::host",
            "schema::http::path",
            "schema::self",
            "syntax"
        ]
    );
}
