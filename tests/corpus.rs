//! The law of the rule language, case by case and by both evaluators: `tests/corpus/*.jsonl`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

#[allow(dead_code, reason = "the printing is tested in `conformance.rs`")]
#[path = "../examples/conformance/run.rs"]
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use run::Report;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn files() -> BTreeMap<String, PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let cases = entries.filter(|path| path.extension().is_some_and(|e| e == "jsonl"));
    cases.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path)).collect()
}

#[test]
fn every_case_holds_for_both_evaluators() {
    let mut report = Report::default();
    for path in files().values() {
        report.file(path);
    }
    assert!(report.failed.is_empty(), "{report}");
    // Exactly, so that none is lost in silence; a new case changes the number.
    assert_eq!((report.passed, report.skipped.len()), (827, 0), "{report}");
}

#[test]
fn ids_are_unique_and_say_their_file() {
    let mut seen = BTreeMap::new();
    for (name, path) in files() {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let id = case["id"].as_str().unwrap().to_owned();
            assert!(id.starts_with(&format!("{name}/")), "{id} in {name}");
            assert!(case["note"].is_string(), "{id} says nothing");
            assert!(seen.insert(id.clone(), ()).is_none(), "{id} stands twice");
        }
    }
}

#[test]
fn every_rule_set_decides_the_same_once_it_is_formatted() {
    let mut formatted = 0;
    for path in files().values() {
        let mut report = Report::default();
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let mut case: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(rules) = case["rules"].as_str().filter(|_| case["kind"] == "route") else { continue };
            let once = pointsman::format(rules, &pointsman::Limits::default()).unwrap();
            assert_eq!(pointsman::format(&once, &pointsman::Limits::default()).unwrap(), once);
            case["rules"] = once.into();
            report.text("formatted", &case.to_string());
            formatted += 1;
        }
        assert!(report.failed.is_empty(), "{report}");
    }
    assert!(formatted > 20);
}
