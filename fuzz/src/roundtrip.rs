use pointsman::{Engine, Limits, format};

use super::small;

/// The canonical text is a fixed point, keeps every comment in its order, and compiles, to the same program, exactly
/// when the text does.
pub fn roundtrip(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Printing must not push a text over a bound that the text itself keeps.
    let roomy = Limits { text_bytes: 1 << 24, ..Limits::default() };
    let Ok(once) = format(text, &Limits { text_bytes: small().text_bytes, ..roomy }) else { return };
    let twice = format(&once, &roomy).unwrap_or_else(|problems| panic!("{once}\n{problems}"));
    assert_eq!(once, twice, "from {text:?}");
    assert_eq!(comments(text), comments(&once), "{text:?} became {once:?}");

    let builds = |text: &str| {
        let builder = Engine::builder().clusters(["gray", "prod", "prod_a", "prod_b"]).limits(roomy);
        match builder.build(text) {
            Ok(engine) => Ok(engine.rules().disassemble()),
            Err(_) => Err(()),
        }
    };
    assert_eq!(builds(text), builds(&once), "{text:?} became {once:?}");
}

/// The comments of a text that parses, without what surrounds them: found by a reader of our own, so that the
/// parser and the printer cannot forget one together.
fn comments(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut word = false;
    while let Some(c) = rest.chars().next() {
        let behind = match c {
            '#' => {
                let line = rest.split('\n').next().unwrap_or(rest);
                found.push(line[1..].trim());
                line.len()
            }
            '"' => quoted(rest),
            'r' if !word => raw(rest).unwrap_or(1),
            _ => c.len_utf8(),
        };
        word = c.is_ascii_alphanumeric() || c == '_' || c == '-';
        rest = &rest[behind..];
    }
    found
}

/// How long the quoted string is that a text begins with.
fn quoted(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// How long the raw string is that a text begins with.
fn raw(text: &str) -> Option<usize> {
    let fence = text[1..].len() - text[1..].trim_start_matches('#').len();
    let body = text[1 + fence..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(fence));
    Some(1 + fence + 1 + body.find(&end)? + end.len())
}
