//! One look at the raw text before it is parsed: how deep it nests, where statements start, where comments are.
//!
//! It knows strings and comments and nothing else, takes linear time and never recurses. The nesting is
//! counted here so that the parser, which does recurse, is never asked to go deeper than allowed.

use super::{is_acting, is_starter};
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
    /// `&&`, `||`, `,` or `=>`: what ends that which a row of `!` negates.
    Join,
    /// Any other operator.
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
}

/// Scans the whole text. `depth` is how deep brackets and `!` may nest.
///
/// No sound statement goes over an anchor. A line within a statement can start with such a word in two places:
/// as an argument, which is known by the parenthesis behind it, and behind `paused` or `shadow`.
pub(super) fn scan(text: &str, depth: usize) -> Scan {
    let mut scan = Scan::default();
    let mut nesting = Nesting::default();
    let (mut line_start, mut reported) = (true, false);
    let mut previous = Token::Newline;
    // The start of a line that may turn out to be an argument.
    let mut argument: Option<usize> = None;
    // Whether `paused` or `shadow` was the token before.
    let mut stated = false;
    for (token, span) in tokens(text) {
        // `not` behind an operand is half of `not in`.
        let operand = matches!(previous, Token::Word | Token::String | Token::Close);
        let token = if token == Token::Not && operand { Token::Other } else { token };
        match token {
            Token::Newline => {
                line_start = true;
                continue;
            }
            Token::Comment => continue,
            _ => {}
        }
        if let Some(at) = argument.take()
            && token != Token::Close
        {
            scan.anchors.push(at);
            (nesting, reported) = (Nesting::default(), false);
        }
        let word = if token == Token::Word { span.of(text) } else { "" };
        let goes_on = std::mem::replace(&mut stated, matches!(word, "paused" | "shadow")) && is_acting(word);
        if line_start && !goes_on && is_starter(word) {
            if previous == Token::Open {
                argument = Some(span.start);
            } else {
                scan.anchors.push(span.start);
                (nesting, reported) = (Nesting::default(), false);
            }
        }
        nesting.take(token, previous, depth);
        if nesting.open + nesting.nots > depth && !reported {
            reported = true;
            scan.too_deep.push(span.start);
        }
        (previous, line_start) = (token, false);
    }
    scan.anchors.extend(argument);
    scan
}

// === impl Scan ===

impl Scan {
    /// The first place to go on behind `at`.
    pub(super) fn next(&self, at: usize) -> Option<usize> {
        self.anchors.get(self.anchors.partition_point(|&anchor| anchor <= at)).copied()
    }

    /// Whether the text nests too deep between `at` and the next place to go on.
    pub(super) fn is_deep(&self, at: usize) -> bool {
        let deep = self.too_deep.get(self.too_deep.partition_point(|&deep| deep < at));
        deep.is_some_and(|&deep| self.next(at).is_none_or(|next| deep < next))
    }
}

/// How deep the text nests at a place.
#[derive(Debug, Default)]
struct Nesting {
    open: usize,
    /// The `!` of the row that holds here, and one for the parentheses in which the printer puts a comparison.
    nots: usize,
    /// How many `!` stand before each open bracket: they nest too.
    outside: Vec<usize>,
}

// === impl Nesting ===

impl Nesting {
    fn take(&mut self, token: Token, previous: Token, depth: usize) {
        match token {
            Token::Open => {
                self.open += 1;
                if self.outside.len() <= depth {
                    self.outside.push(self.nots);
                }
            }
            Token::Close => {
                self.open = self.open.saturating_sub(1);
                self.nots = self.outside.pop().unwrap_or(0);
            }
            Token::Not => self.nots += 1,
            Token::Word | Token::String if previous == Token::Not => self.nots += 1,
            Token::Join => self.nots = self.outside.last().copied().unwrap_or(0),
            Token::Word | Token::String | Token::Other | Token::Newline | Token::Comment => {}
        }
    }
}

/// The first byte at or after `at` that is neither white space nor comment.
#[inline]
pub(super) fn skip_blank(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = at;
    loop {
        match bytes.get(at) {
            Some(b' ' | b'\t' | b'\r' | b'\n') => at += 1,
            Some(b'#') => {
                let rest = bytes.get(at..).unwrap_or_default();
                at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            }
            _ => return at,
        }
    }
}

/// The word behind the first one of `text`.
pub(super) fn second_word(text: &str) -> &str {
    let word = |at: usize| {
        let rest = text.get(at..).unwrap_or("");
        rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).next().unwrap_or("")
    };
    word(skip_blank(text, word(0).len()))
}

/// The comments of `text`, each from its `#` to the end of its line.
pub(super) fn comments(text: &str) -> impl Iterator<Item = Span> + '_ {
    let any = memchr::memchr(b'#', text.as_bytes()).is_some();
    let scanned = if any { text } else { "" };
    tokens(scanned).filter(|(token, _)| *token == Token::Comment).map(|(_, span)| span)
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
                b'&' | b'|' | b',' => (Some(Token::Join), 1),
                b'=' if rest.get(1) == Some(&b'>') => (Some(Token::Join), 2),
                b if b.is_ascii_alphanumeric() || b == b'_' => {
                    let end = rest.iter().position(|b| !b.is_ascii_alphanumeric() && !b"_-".contains(b));
                    let length = end.unwrap_or(rest.len());
                    let token = match rest.get(..length) {
                        Some(b"not") => Token::Not,
                        Some(b"and" | b"or") => Token::Join,
                        _ => Token::Word,
                    };
                    (Some(token), length)
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
        assert_eq!(deep("a != b && !x", 2), Vec::<usize>::new());
        assert_eq!(deep("a not in b or not x and !y", 2), Vec::<usize>::new());
        // As `!(lower(x) == lower(y))`.
        assert_eq!(deep("!lower(x) == lower(y)", 3), Vec::<usize>::new());
        assert_eq!(deep("!lower(x) == lower(y)", 2), [6]);
        assert_eq!(deep("!x == lower(y)", 2), [11]);
        assert_eq!(deep("!(!(x))", 3), [3]);
        assert_eq!(deep("not not x", 1), [4]);
    }

    #[test]
    fn a_statement_at_a_line_start_is_a_place_to_go_on() {
        let text = "route a: (\n  # route c\n  paused route b: x\nroutes\n \"\nroute\"\nlist";
        let found: Vec<_> =
            scan(text, 9).anchors.iter().map(|&at| text.get(at..at + 4).unwrap_or("")).collect();
        assert_eq!(found, ["rout", "paus", "rout", "list"]);
    }

    #[test]
    fn an_argument_is_no_statement() {
        let anchors = |text: &str| scan(text, 9).anchors;
        assert_eq!(anchors("route a: header(\n route # c\n ) == \"x\""), [0]);
        assert_eq!(anchors("route a: header(\nroute b: x"), [0, 17]);
        assert_eq!(anchors("route a: header(\nroute"), [0, 17]);
    }

    #[test]
    fn a_route_behind_its_state_starts_no_statement() {
        let anchors = |text: &str| scan(text, 9).anchors;
        assert_eq!(anchors("paused\nroute a: x"), [0]);
        assert_eq!(anchors("shadow # c\n\n route a: x\nroute b: x"), [0, 24]);
        assert_eq!(anchors("paused\nlist a"), [0, 7]);
        assert_eq!(anchors("paused a\nroute b"), [0, 9]);
    }

    #[test]
    fn a_row_of_quotes_or_hashes_takes_linear_time() {
        for unit in ["\"", "r#", "r\"", "#", "\\", "r##\"", "(", "!"] {
            let _ = scan(&unit.repeat(200_000), 64);
        }
    }
}
