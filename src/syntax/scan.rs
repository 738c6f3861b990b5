//! One look at the raw text before it is parsed: how deep it nests, where statements start, where comments are.
//!
//! It knows strings and comments and nothing else, takes linear time and never recurses. The nesting is
//! counted here so that the parser, which does recurse, is never asked to go deeper than allowed.

use super::{RESERVED, is_word};
use crate::diagnostic::Span;

/// What matters of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// From `#` to the end of the line.
    Comment,
    /// A whole string, raw or not; or an opening quote without its end, which the parser will refuse.
    String,
    /// A word: letters, digits, `_` and `-`.
    Word,
    Open,
    Close,
    /// `!` or `not`.
    Not,
    /// `&&`, `||`, `,`, `=>` or a statement: what ends a row of `!`.
    Other,
    Newline,
}

/// What the scan found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Where a line starts with a word that starts statements: places to go on after a mistake.
    pub(super) anchors: Vec<usize>,
    /// Where the nesting passes the limit, once for each stretch between two anchors.
    pub(super) too_deep: Vec<usize>,
    /// The deepest nesting that is allowed.
    pub(super) deepest: usize,
}

/// Scans the whole text. `depth` is how deep brackets and `!` may nest.
pub(super) fn scan(text: &str, depth: usize) -> Scan {
    let mut scan = Scan::default();
    let (mut open, mut nots, mut line_start, mut reported) = (0_usize, 0_usize, true, false);
    // How many `!` stand before each open bracket: they nest too.
    let mut nots_outside: Vec<usize> = Vec::new();
    for (token, span) in tokens(text) {
        match token {
            Token::Newline => line_start = true,
            Token::Comment => {}
            Token::Word if line_start && starts_statement(span.of(text)) => {
                (open, nots, reported) = (0, 0, false);
                nots_outside.clear();
                scan.anchors.push(span.start);
            }
            Token::Open => {
                open += 1;
                if nots_outside.len() <= depth {
                    nots_outside.push(nots);
                }
            }
            Token::Close => {
                open = open.saturating_sub(1);
                nots = nots_outside.pop().unwrap_or(0);
            }
            Token::Not => nots += 1,
            Token::Word | Token::String | Token::Other => nots = nots_outside.last().copied().unwrap_or(0),
        }
        if token != Token::Newline {
            line_start = line_start && token == Token::Comment;
        }
        if open + nots <= depth {
            scan.deepest = scan.deepest.max(open + nots);
        }
        if open + nots > depth && !reported {
            reported = true;
            scan.too_deep.push(span.start);
        }
    }
    scan
}

/// The comments of `text`, each from its `#` to the end of its line.
pub(super) fn comments(text: &str) -> impl Iterator<Item = Span> + '_ {
    let any = memchr::memchr(b'#', text.as_bytes()).is_some();
    let scanned = if any { text } else { "" };
    tokens(scanned).filter(|(token, _)| *token == Token::Comment).map(|(_, span)| span)
}

fn starts_statement(word: &str) -> bool {
    is_word(word) && RESERVED.get(..11).is_some_and(|kinds| kinds.contains(&word))
}

fn tokens(text: &str) -> impl Iterator<Item = (Token, Span)> + '_ {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at;
            let byte = *bytes.get(at)?;
            let rest = bytes.get(at..).unwrap_or_default();
            let line = || memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (token, length) = match byte {
                b' ' | b'\t' | b'\r' => (None, 1),
                b'\n' => (Some(Token::Newline), 1),
                b'#' => (Some(Token::Comment), line()),
                b'"' => (Some(Token::String), string(rest)),
                b'r' if raw(rest).is_some() => (Some(Token::String), raw(rest).unwrap_or(1)),
                b'(' | b'[' => (Some(Token::Open), 1),
                b')' | b']' => (Some(Token::Close), 1),
                b'!' if rest.get(1) != Some(&b'=') => (Some(Token::Not), 1),
                b if b.is_ascii_alphanumeric() || b == b'_' => {
                    let end = rest.iter().position(|b| !b.is_ascii_alphanumeric() && !b"_-".contains(b));
                    let length = end.unwrap_or(rest.len());
                    let not = rest.get(..length) == Some(b"not");
                    (Some(if not { Token::Not } else { Token::Word }), length)
                }
                _ => (Some(Token::Other), 1),
            };
            at = start + length;
            if let Some(token) = token {
                return Some((token, Span::new(start, at)));
            }
        }
    })
}

/// The length of the string that `rest` starts with; to the end of the line when it has no end.
fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = rest.get(at..).and_then(|tail| memchr::memchr3(b'"', b'\\', b'\n', tail)) {
        at += found;
        match rest.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') if rest.get(at + 1) != Some(&b'\n') => at = (at + 2).min(rest.len()),
            _ => return at,
        }
    }
    rest.len()
}

/// The length of the raw string that `rest` starts with, if it does.
fn raw(rest: &[u8]) -> Option<usize> {
    let hashes = rest.get(1..)?.iter().take_while(|b| **b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let body = 2 + hashes;
    let inside = rest.get(body..)?;
    for found in memchr::memchr2_iter(b'"', b'\n', inside) {
        if inside.get(found) == Some(&b'\n') {
            return Some(body + found);
        }
        let tail = inside.get(found + 1..found + 1 + hashes);
        if tail.is_some_and(|tail| tail.iter().all(|b| *b == b'#')) {
            return Some(body + found + 1 + hashes);
        }
    }
    Some(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_outside_strings_and_comments() {
        let deep = |text: &str, depth| scan(text, depth).too_deep;
        assert_eq!(deep("((x))", 2), Vec::<usize>::new());
        assert_eq!(deep("((x))", 1), [1]);
        assert_eq!(deep(r#""((((" # (((("#, 0), Vec::<usize>::new());
        assert_eq!(deep(r##"r#"(("("# ("##, 0), [10]);
        assert_eq!(deep("!!x && !y", 1), [1]);
        assert_eq!(deep("a != b && !x", 1), Vec::<usize>::new());
        assert_eq!(deep("!(!(x))", 3), [3]);
        assert_eq!(deep("not not x", 1), [4]);
    }

    #[test]
    fn a_statement_at_a_line_start_is_a_place_to_go_on() {
        let text = "route a: (\n  # route c\n  paused route b: x\nroutes\n \"\nroute\"\nlist";
        let found: Vec<_> = scan(text, 9).anchors.iter().map(|&at| &text[at..at + 4]).collect();
        assert_eq!(found, ["rout", "paus", "rout", "list"]);
    }

    #[test]
    fn a_row_of_quotes_or_hashes_takes_linear_time() {
        for unit in ["\"", "r#", "r\"", "#", "\\", "r##\"", "(", "!"] {
            let _ = scan(&unit.repeat(200_000), 64);
        }
    }
}
