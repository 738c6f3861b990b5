//! Any text, read quickly and by the grammar alone: the same tree, places included, and the same problems.
//!
//! A target of the fuzzer, and a test over the texts that the repository holds: nothing of it is in a build of the
//! crate.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::borrow::Cow;
use std::fmt::Debug;

use arbitrary::{Result, Unstructured};

use super::ast::{Arena, File, StatementKind};
use super::{parse, quick};
use crate::diagnostic::Problems;
use crate::limits::Limits;

/// How a text was read.
pub(crate) struct Reading {
    /// Whether nothing is wrong with it.
    sound: bool,
    statements: usize,
    /// How many of them were read quickly.
    quickly: usize,
}

/// The text of an input; the bytes behind a first zero choose what one is made of.
pub(crate) fn text(data: &[u8]) -> Option<Cow<'_, str>> {
    match data {
        [0, choices @ ..] => {
            let mut maker = Maker { choices: Unstructured::new(choices), text: String::new() };
            maker.statements().expect("choices do not run out: they become the first");
            Some(maker.text.into())
        }
        _ => std::str::from_utf8(data).ok().map(Cow::Borrowed),
    }
}

/// Holds the two readers against each other.
pub(crate) fn quick(text: &str) -> Reading {
    let tight = Limits { text_bytes: 300, depth: 4, statements: 5, list_members: 3, ..Limits::default() };
    agree(text, &tight);
    agree(text, &Limits::default())
}

/// Parses a text by nothing but the grammar.
pub(crate) fn parse_slowly<'t>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    problems: &mut Problems,
) -> File<'t> {
    parse::file(text, arena, limits, problems, |_, _, _, _| None)
}

fn agree(text: &str, limits: &Limits) -> Reading {
    let arena = &Arena::new();
    let mut problems = [Problems::new(20), Problems::new(20)];
    let [said_quickly, said] = &mut problems;
    let mut read = 0;
    let quickly = parse::file(text, arena, limits, said_quickly, |text, at, arena, limits| {
        quick::statement(text, at, arena, limits).inspect(|_| read += 1)
    });
    let slowly = parse_slowly(text, arena, limits, said);
    same(text, &quickly, &slowly);
    same(text, said_quickly, said);
    piece(text, arena, limits, &quick::condition(text, arena, limits), parse::slow_condition);
    piece(text, arena, limits, &quick::outcome(text, arena, limits), parse::slow_outcome);
    piece(text, arena, limits, &quick::members(text, arena, limits), parse::slow_list);
    for kind in StatementKind::GATEWAY {
        let slowly = |text, arena, limits: &Limits, problems: &mut Problems| {
            parse::slow_action(text, kind, arena, limits, problems)
        };
        piece(text, arena, limits, &quick::action(text, kind, arena, limits), slowly);
    }
    Reading { sound: !problems[1].has_errors(), statements: slowly.items.len(), quickly: read }
}

/// A piece that was read quickly is what the grammar makes of it, and nothing is wrong with it.
fn piece<'t, T: Debug>(
    text: &'t str,
    arena: &'t Arena,
    limits: &Limits,
    quickly: &Option<T>,
    slowly: impl Fn(&'t str, &'t Arena, &Limits, &mut Problems) -> Option<T>,
) {
    if quickly.is_some() {
        let mut problems = Problems::new(20);
        same(text, quickly, &slowly(text, arena, limits, &mut problems));
        same(text, &problems, &Problems::new(20));
    }
}

/// Nodes compare without their places, so they are compared as they print.
#[track_caller]
pub(crate) fn same<T: Debug>(text: &str, quickly: &T, slowly: &T) {
    if format!("{quickly:?}") != format!("{slowly:?}") {
        assert_eq!(format!("{quickly:#?}"), format!("{slowly:#?}"), "{text:?}");
    }
}

// === texts ===

const BLANKS: &[&str] = &[" ", "", "  ", "\n", "\t", "\r\n", " # it's \"why\" (\n", "#\n"];
const WORDS: &[&str] = &[
    "host", "path", "a", "r", "uid", "x-canary", "_", "in-list", "notes", "lower", "exists", "percent",
    "true", "false", "cookie", "header", "version", "fe80", "int", "by", "route", "paused", "salt", "not",
    "and", "ors",
];
const STRINGS: &[&str] = &[
    r#""a""#,
    r#""""#,
    r#""é\\\"\n\u{e9}""#,
    r#"r"a\d""#,
    r##"r#"a"b"#"##,
    r#""\x""#,
    r#""a"#,
    r#"r#"a""#,
    "\"\\\n\"",
    "\"a\rb\"",
];
const NUMBERS: &[&str] = &[
    "1",
    "0",
    "42",
    "-7",
    "0.5",
    "99.9999",
    "10.0.0.1",
    "10.0.0.0/8",
    "2001:db8::/32",
    "::1",
    "fe80::1",
    "007",
    "1.2.3",
    "5ms",
    "1_000",
    "0x1F",
    "9223372036854775808",
    "10.0.0.1/8",
    "a:b",
    ":",
    "-",
    "1.",
    "1e5",
    "1:2.3/a",
];
const COMPARATORS: &[&str] = &[
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    " starts_with ",
    " ends_with",
    " contains ",
    " under ",
    " matches ",
    " in ",
    " not in ",
    " not\nin ",
    " in",
    "=",
];
const NOISE: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    ",",
    "..",
    "...",
    ":",
    "=>",
    "=",
    "!",
    "! =",
    "??",
    "%",
    "&",
    "|",
    "&&",
    "||",
    "#",
    "\"",
    "\\",
    "/",
    "'",
    "é",
    "\0",
    "\u{feff}",
    "\u{a0}",
    "route ",
    "default => a",
    " by ",
    " salt ",
    "not ",
    "paused ",
    "list ",
    "{",
    ";",
    "\r",
];

/// Makes texts that are mostly statements.
struct Maker<'b> {
    choices: Unstructured<'b>,
    text: String,
}

// === impl Maker ===

impl Maker<'_> {
    fn statements(&mut self) -> Result<()> {
        for _ in 0..self.below(4)? {
            match self.below(11)? {
                0 => {
                    self.put("default")?;
                    self.put("=>")?;
                    self.outcome()?;
                }
                1 => {
                    self.put("list ")?;
                    self.name()?;
                    self.put("=")?;
                    self.members()?;
                }
                2 => {
                    self.put("cluster ")?;
                    self.name()?;
                    self.put("=")?;
                    self.outcome()?;
                }
                kind @ 8.. => {
                    self.put(["", "paused ", "shadow\n"].get(kind - 8).unwrap_or(&""))?;
                    self.gateway()?;
                }
                kind => {
                    self.put(
                        ["route ", "route ", "route ", "paused route ", "shadow\nroute "]
                            .get(kind - 3)
                            .unwrap_or(&""),
                    )?;
                    self.name()?;
                    self.put(":")?;
                    self.condition(3)?;
                    self.put("=>")?;
                    self.outcome()?;
                }
            }
            self.one(&["\n", "\n\n", " # beside\n", "\n# above\n", " ", "\r\n"])?;
        }
        Ok(())
    }

    fn gateway(&mut self) -> Result<()> {
        let kind = self.choices.choose(&StatementKind::GATEWAY)?;
        self.put(kind.word())?;
        self.text.push(' ');
        self.name()?;
        self.put(":")?;
        self.condition(2)?;
        self.put("=>")?;
        match kind {
            StatementKind::Deny => {
                self.one(&["403", " 400", "600", "4e2"])?;
                if self.below(2)? == 1 {
                    self.blank()?;
                    self.one(STRINGS)?;
                }
            }
            StatementKind::Mirror => {
                self.name()?;
                self.options()?;
            }
            StatementKind::Count => {
                self.put("top ")?;
                self.quantity()?;
                self.key()?;
                self.put(" per ")?;
                self.quantity()?;
            }
            StatementKind::Capture => {
                self.quantity()?;
                self.put(" for ")?;
                self.quantity()?;
            }
            _ => {
                self.quantity()?;
                if self.below(2)? == 1 {
                    let word = self.below(2)?;
                    self.put([" burst ", " stale "].get(word).unwrap_or(&""))?;
                    self.quantity()?;
                }
                if self.below(2)? == 1 {
                    self.key()?;
                }
                self.options()?;
            }
        }
        Ok(())
    }

    fn quantity(&mut self) -> Result<()> {
        self.blank()?;
        self.one(&["5", "100/s", "100/10s", "30s", "10m", "0s", "250ms", "1h", "400d", "1/0s", "05s", "-1"])
    }

    fn key(&mut self) -> Result<()> {
        self.put(" by ")?;
        self.value(2)
    }

    fn options(&mut self) -> Result<()> {
        if self.below(3)? == 2 {
            self.put(" with ")?;
            self.one(&["private", "unsafe, set_cookie", "private,by", "x , y"])?;
        }
        Ok(())
    }

    fn outcome(&mut self) -> Result<()> {
        self.name()?;
        if self.below(3)? == 2 {
            for _ in 0..=self.below(3)? {
                self.text.push(' ');
                self.one(NUMBERS)?;
                self.fallback()?;
                self.put(",")?;
                self.name()?;
            }
            self.text.push(' ');
            self.one(NUMBERS)?;
        }
        self.fallback()?;
        if self.below(4)? == 3 {
            self.put(" by ")?;
            self.value(2)?;
            if self.below(2)? == 1 {
                self.put(" salt ")?;
                self.one(STRINGS)?;
            }
        }
        Ok(())
    }

    fn fallback(&mut self) -> Result<()> {
        if self.below(5)? == 4 {
            self.put(" else ")?;
            self.name()?;
        }
        Ok(())
    }

    fn condition(&mut self, depth: usize) -> Result<()> {
        match self.below(if depth > 0 { 6 } else { 3 })? {
            0 | 1 => {
                self.value(depth)?;
                self.blank()?;
                self.one(COMPARATORS)?;
                self.value(depth)
            }
            2 => self.value(depth),
            3 => {
                self.put("(")?;
                self.condition(depth - 1)?;
                self.put(")")
            }
            4 => {
                self.one(&["!", "not ", "not", "!!", "!not "])?;
                self.condition(depth - 1)
            }
            _ => {
                self.condition(depth - 1)?;
                self.one(&["&&", "||", " and ", " or ", "and", " or("])?;
                self.condition(depth - 1)
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<()> {
        self.blank()?;
        match self.below(if depth > 0 { 10 } else { 5 })? {
            0 => self.one(WORDS),
            1 => self.one(STRINGS),
            2 => self.one(NUMBERS),
            3 | 4 => {
                self.one(&["cookie", "header", "query", "tag", "not", "r"])?;
                self.put("(")?;
                self.blank()?;
                let of = if self.below(3)? == 0 { STRINGS } else { WORDS };
                self.one(of)?;
                self.put(")")
            }
            5 => self.members(),
            6 => {
                self.one(&["lower", "len", "int", "version", "exists", "percent"])?;
                self.put("(")?;
                self.value(depth - 1)?;
                if self.below(4)? == 3 {
                    self.put(",")?;
                    self.value(depth - 1)?;
                }
                self.put(")")
            }
            7 => {
                self.value(depth - 1)?;
                self.put("%")?;
                self.one(NUMBERS)
            }
            8 => {
                self.value(depth - 1)?;
                self.put("??")?;
                self.value(depth - 1)
            }
            _ => {
                self.put("(")?;
                self.value(depth - 1)?;
                self.put(")")
            }
        }
    }

    fn members(&mut self) -> Result<()> {
        self.put("[")?;
        for i in 0..self.below(4)? {
            if i > 0 {
                self.put(",")?;
            }
            self.blank()?;
            let of = if self.below(2)? == 0 { NUMBERS } else { STRINGS };
            self.one(of)?;
            if self.below(4)? == 3 {
                self.put("..")?;
                self.one(NUMBERS)?;
            }
        }
        self.one(&["]", "]", "]", ",]", "\n]"])
    }

    fn name(&mut self) -> Result<()> {
        self.blank()?;
        let of = if self.below(8)? == 7 { STRINGS } else { WORDS };
        self.one(of)
    }

    /// A token behind a blank, and now and then another in its place.
    fn put(&mut self, token: &str) -> Result<()> {
        self.blank()?;
        if self.below(100)? == 99 {
            return self.one(NOISE);
        }
        self.text.push_str(token);
        Ok(())
    }

    fn blank(&mut self) -> Result<()> {
        let blank = if self.below(2)? == 0 { " " } else { self.choices.choose(BLANKS)? };
        self.text.push_str(blank);
        Ok(())
    }

    fn one(&mut self, of: &[&str]) -> Result<()> {
        let one = self.choices.choose(of)?;
        self.text.push_str(one);
        Ok(())
    }

    fn below(&mut self, n: usize) -> Result<usize> {
        self.choices.int_in_range(0..=n - 1)
    }
}

// === texts for tests ===

/// The rule texts and conditions of the cases and targets.
#[cfg(test)]
pub(crate) fn texts() -> Vec<String> {
    let mut texts = files("fuzz/src", ".rules");
    let cases = [files("tests/corpus", ".jsonl"), files("tests/conformance", ".jsonl")].concat();
    for line in cases.iter().flat_map(|file| file.lines()).filter(|line| !line.is_empty()) {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        texts.extend(case["rules"].as_str().map(str::to_owned));
        let condition = case["condition"].as_str();
        texts.extend(condition.map(str::to_owned));
        texts.extend(condition.map(|c| format!("route r: {c} => gray\ndefault => prod")));
    }
    for target in ["quick", "parse", "roundtrip"] {
        texts.extend(files(&format!("fuzz/regressions/{target}"), ""));
    }
    texts
}

#[cfg(test)]
fn files(folder: &str, extension: &str) -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file() && path.to_string_lossy().ends_with(extension));
    files.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// Texts that are made of any bytes.
#[cfg(test)]
pub(crate) fn made(count: usize) -> impl Iterator<Item = String> {
    let mut state = 1_u64;
    (0..count).map(move |round| {
        let mut bytes = vec![0];
        bytes.extend((0..round % 400).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        }));
        text(&bytes).unwrap().into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::{made, quick, texts};

    #[test]
    fn what_people_write_is_read_quickly() {
        let mut statements = 0;
        for text in texts() {
            let reading = quick(&text);
            // Two statements on one line are left to the grammar.
            if reading.sound && !text.contains(" default =>") {
                assert_eq!(reading.quickly, reading.statements, "{text}");
                statements += reading.statements;
            }
        }
        assert!(statements > 1_000, "{statements}");
    }

    #[test]
    fn many_texts_from_any_bytes() {
        let (mut statements, mut quickly) = (0, 0);
        for text in made(3_000) {
            let reading = quick(&text);
            statements += reading.statements;
            quickly += reading.quickly;
        }
        assert!(quickly > 500 && quickly <= statements, "{quickly} of {statements}");
    }
}
