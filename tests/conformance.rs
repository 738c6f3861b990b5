//! The cases of other projects, by both evaluators: `tests/conformance/*.jsonl`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[path = "../examples/conformance/run.rs"]
mod run;

use std::path::{Path, PathBuf};

use run::Report;

fn cases(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(file)
}

/// Runs a file and holds the counts against what is known of it, so that no case is lost in silence.
#[track_caller]
fn holds(file: &str, passed: usize, skipped: usize) {
    let mut report = Report::default();
    report.file(&cases(file));
    assert!(report.failed.is_empty(), "{report}");
    assert_eq!((report.passed, report.skipped.len()), (passed, skipped), "{report}");
}

#[test]
fn gateway_api_cases_hold() {
    holds("gateway_api.jsonl", 143, 0);
}

#[test]
fn wirefilter_cases_hold() {
    holds("wirefilter.jsonl", 42, 0);
}

#[test]
fn unleash_cases_hold() {
    holds("unleash.jsonl", 74, 0);
}

#[test]
fn envoy_path_cases_hold() {
    holds("path.jsonl", 18, 0);
}

// === the runner itself ===

fn report(lines: &str) -> (String, bool) {
    let mut report = Report::default();
    report.text("cases.jsonl", lines);
    (report.to_string(), report.failed.is_empty())
}

#[test]
fn what_fails_is_printed_with_its_id_and_both_answers() {
    let (text, well) = report(concat!(
        r#"{"id": "right", "kind": "eval", "condition": "method == \"GET\"", "request": {"method": "GET", "uri": "/", "headers": [], "peer": null}, "expect": {"match": true}}"#,
        "\n\n",
        r#"{"id": "wrong", "kind": "eval", "condition": "method == \"GET\"", "request": {"method": "GET", "uri": "/", "headers": [], "peer": null}, "expect": {"match": false}}"#,
        "\n",
        r#"{"id": "cluster", "kind": "route", "rules": "default => a", "clusters": ["a"], "request": {"method": "GET", "uri": "/", "headers": [], "peer": null}, "expect": {"cluster": "b"}}"#,
        "\n",
        r#"{"id": "refused", "kind": "accept", "condition": "hots == \"x\"", "expect": {"error": false}}"#,
        "\n",
        r#"{"id": "fine", "kind": "reject", "condition": "host == \"x\"", "expect": {"error": true}}"#,
    ));
    assert!(!well);
    insta::assert_snapshot!(text, @r#"
    FAILED wrong
      expected: false
      came:     the program says true, the reference says true
                method == "GET"
    FAILED cluster
      expected: b
      came:     the program says a by default, the reference says a by default, revision 1
                  default
    FAILED refused
      expected: it compiles
      came:     refused:
                error: unknown field `hots`
                 --> condition:1:1
                  |
                1 | hots == "x"
                  | ^^^^ did you mean `host`?
    FAILED fine
      expected: an error
      came:     it compiles
    1 passed, 4 failed
    "#);
}

#[test]
fn a_request_that_cannot_be_held_is_skipped_and_counted() {
    let (text, well) = report(
        r#"{"id": "space", "kind": "eval", "condition": "method == \"GET\"", "request": {"method": "GET", "uri": "/a b", "headers": [], "peer": null}, "expect": {"match": true}}"#,
    );
    assert!(well);
    insta::assert_snapshot!(text, @r#"
    skipped space: the URI "/a b": invalid uri character
    1 skipped: the `http` crate cannot hold the request
    0 passed, 0 failed
    "#);
}

#[test]
fn a_broken_line_has_its_place_and_counts_as_failed() {
    let (text, well) = report(
        "{\"id\": \"x\"\n{}\n[1]\n{\"kind\": \"evil\"}\n{\"kind\": \"eval\", \"condition\": 1, \"expect\": {\"match\": true}}",
    );
    assert!(!well);
    insta::assert_snapshot!(text, @r"
    FAILED cases.jsonl:1:10
      expected: one JSON object
      came:     EOF while parsing an object
    FAILED cases.jsonl:2
      expected: a case
      came:     `kind` is missing
    FAILED cases.jsonl:3
      expected: one JSON object
      came:     another JSON value
    FAILED cases.jsonl:4
      expected: a case
      came:     unknown kind `evil`
    FAILED cases.jsonl:5
      expected: a case
      came:     `condition` is not a string
    0 passed, 5 failed
    ");
}

#[test]
fn a_file_that_is_not_there_counts_as_failed() {
    let mut out = Vec::new();
    let well = run::run_files(&[cases("path.jsonl"), cases("no-such.jsonl")], &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(!well && text.contains("no-such.jsonl\n  expected: a file that can be read"), "{text}");
    assert!(text.ends_with("18 passed, 1 failed\n"), "{text}");
}

#[test]
fn files_without_a_mistake_end_well() {
    let mut out = Vec::new();
    assert!(run::run_files(&[cases("path.jsonl"), cases("wirefilter.jsonl")], &mut out).unwrap());
    assert_eq!(String::from_utf8(out).unwrap(), "60 passed, 0 failed\n");
}
