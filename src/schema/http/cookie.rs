//! The cookies of a request.
//!
//! Rules ask for one or two of twenty cookies, so nothing is split into a map: the lines are searched for
//! the name, and each place found is checked to be the name of a pair.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::header::{COOKIE, HeaderMap, HeaderValue, ValueIter};
use memchr::memmem;

use super::word;

/// The name of a cookie, made ready to be searched for.
#[derive(Debug, Clone)]
pub(crate) struct Name(Arc<Searched>);

#[derive(Debug)]
struct Searched {
    text: Box<[u8]>,
    /// `None` for a name that no pair can have.
    finder: Option<memmem::Finder<'static>>,
}

/// The values of one cookie; what [`Name::values`] gives.
#[derive(Debug)]
pub(crate) struct Values<'r, 'n> {
    finder: Option<&'n memmem::Finder<'static>>,
    lines: ValueIter<'r, HeaderValue>,
    /// What is left of the current line; starts at the start of a pair.
    rest: &'r [u8],
}

// === impl Name ===

impl Name {
    /// Takes the name as a rule writes it. Costs as much as a few searches, and is to be kept.
    pub(crate) fn new(name: &[u8]) -> Self {
        let finder = possible(name).then(|| memmem::Finder::new(name).into_owned());
        Name(Arc::new(Searched { text: name.into(), finder }))
    }

    /// The name as it was given.
    pub(crate) fn text(&self) -> &[u8] {
        &self.0.text
    }

    /// Whether a pair can have this name.
    pub(crate) fn is_possible(&self) -> bool {
        self.0.finder.is_some()
    }

    /// The values of this cookie over all Cookie lines, of which HTTP/2 sends several, in order.
    ///
    /// Pairs are split at `;`, in quotes too, and at their first `=`. White space (SP and HTAB) around name
    /// and value and then one pair of double quotes around the value are removed (RFC 6265, sections 4.1.1
    /// and 5.2); nothing is decoded. Names are compared case-sensitively. A pair without `=` and one with an
    /// empty name are no cookies: section 5.2 has browsers ignore both, and there is no name to ask for them
    /// by.
    ///
    /// Reads each line once, whatever it holds, and does not allocate.
    pub(crate) fn values<'r, 'n>(&'n self, headers: &'r HeaderMap) -> Values<'r, 'n> {
        Values { finder: self.0.finder.as_ref(), lines: headers.get_all(COOKIE).iter(), rest: &[] }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

// === impl Values ===

impl<'r> Iterator for Values<'r, '_> {
    type Item = &'r [u8];

    fn next(&mut self) -> Option<&'r [u8]> {
        let finder = self.finder?;
        loop {
            // Each turn leaves behind what it has read: a pair that only contains the name is left whole,
            // so `xuid=xuid=xuid=…` costs one turn.
            let Some(at) = finder.find(self.rest) else {
                self.rest = self.lines.next()?.as_bytes();
                continue;
            };
            let (before, found) = self.rest.split_at_checked(at)?;
            let after = found.get(finder.needle().len()..)?;
            let (tail, rest) = match word::find(b';', after) {
                Some(end) => (after.get(..end)?, after.get(end + 1..)?),
                None => (after, [].as_slice()),
            };
            self.rest = rest;
            // A header value has no ASCII white space but SP and HTAB.
            let first = matches!(before.trim_ascii_end(), [] | [.., b';']);
            if let (true, [b'=', value @ ..]) = (first, tail.trim_ascii_start()) {
                return Some(unquoted(value.trim_ascii()));
            }
        }
    }
}

/// All cookies of a request, name and value, in order: for those who ask for many names. The same pairs as
/// [`Name::values`] finds, in one pass.
pub(crate) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = headers.get_all(COOKIE).iter();
    lines.flat_map(|line| word::split(b';', line.as_bytes())).filter_map(|pair| {
        let (name, value) = pair.split_at_checked(word::find(b'=', pair)?)?;
        Some((name.trim_ascii(), unquoted(value.get(1..)?.trim_ascii())))
    })
}

/// Whether a pair can have this name. Others must not be searched for: `a=b` stands in `a=b=c`.
fn possible(name: &[u8]) -> bool {
    let space = |byte: Option<&u8>| byte.is_none_or(|b| matches!(b, b' ' | b'\t'));
    !space(name.first()) && !space(name.last()) && !name.iter().any(|b| matches!(b, b'=' | b';'))
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[impl AsRef<[u8]>]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line.as_ref()).unwrap())).collect()
    }

    #[track_caller]
    fn is(lines: &[&str], name: &str, want: &[&str]) {
        let headers = headers(lines);
        let want: Vec<_> = want.iter().map(|v| v.as_bytes()).collect();
        assert_eq!(Name::new(name.as_bytes()).values(&headers).collect::<Vec<_>>(), want, "{lines:?} {name}");
    }

    #[test]
    fn all_values_of_a_name_come_in_order() {
        is(&["uid=1; a=2; uid=3"], "uid", &["1", "3"]);
        is(&["uid=1;a=2;uid=3"], "a", &["2"]);
        is(&["uid=1"], "Uid", &[]);
        is(&[], "uid", &[]);
    }

    #[test]
    fn all_lines_are_read() {
        is(&["uid=1", "a=2", "b=3; uid=4"], "uid", &["1", "4"]);
    }

    #[test]
    fn a_name_counts_only_where_a_pair_starts() {
        is(&["xuid=1; uidx=2; a=uid=3; a=b uid=4; a=uid; uid=5"], "uid", &["5"]);
        is(&["xuid=uid=uid=1"], "uid", &[]);
        is(&["a=b", "uid=1"], "uid", &["1"]);
        is(&["aa=1; a=2"], "a", &["2"]);
        is(&["aaa=1; aa=2"], "aa", &["2"]);
    }

    #[test]
    fn white_space_around_name_and_value_is_removed() {
        is(&[" uid = 1 ;\tuid\t=\t2\t; uid=3 4  "], "uid", &["1", "2", "3 4"]);
        is(&["u id=1"], "u id", &["1"]);
    }

    #[test]
    fn one_pair_of_quotes_around_a_value_is_removed() {
        is(
            &[r#"a="1"; a=" 2 "; a=""3""; a="; a=""; a="4; a=5""#],
            "a",
            &["1", " 2 ", "\"3\"", "\"", "", "\"4", "5\""],
        );
        is(&[r#"a="1;b=2""#], "b", &["2\""]);
    }

    #[test]
    fn nothing_is_decoded() {
        is(&["a=%41+%; %61=x"], "a", &["%41+%"]);
        is(&["a=b=c=="], "a", &["b=c=="]);
        is(&["a=\u{e9}"], "a", &["\u{e9}"]);
    }

    #[test]
    fn a_value_may_be_empty() {
        is(&["a=; a= ;a="], "a", &["", "", ""]);
    }

    #[test]
    fn a_pair_without_an_equals_sign_or_without_a_name_is_no_cookie() {
        is(&["a; a ; uid=1; a"], "a", &[]);
        is(&["=1; ; ;; =", ""], "", &[]);
    }

    #[test]
    fn a_name_that_no_pair_can_have_has_no_values() {
        is(&["a=b=c; a;b=c"], "a=b", &[]);
        is(&["a=b; c=d"], "b; c", &[]);
        is(&["a=1; a=2"], " a", &[]);
        is(&["a=1; a =2"], "a ", &[]);
    }

    #[test]
    fn a_name_is_its_text() {
        let name = Name::new(b"uid");
        assert_eq!((name.text(), name.is_possible()), (&b"uid"[..], true));
        assert!(name == Name::new(b"uid") && name != Name::new(b"UID"));
        assert!(["a=b", "a;b", " a", "a ", ""].iter().all(|name| !Name::new(name.as_bytes()).is_possible()));
    }

    #[test]
    fn hostile_lines_cost_no_more_than_their_length() {
        let start = Instant::now();
        for part in ["uid", "xuid=", "uid;", "uid ", " uid=uid", "u", "  ", ";", "uiuid=", "uid= ;"] {
            let headers = headers(&[part.repeat((1 << 20) / part.len())]);
            let found = Name::new(b"uid").values(&headers).count();
            assert!(found <= 1 || part == "uid= ;", "{part}");
        }
        // Milliseconds when linear, a quarter of an hour when not; and a busy machine is no mistake.
        assert!(start.elapsed() < Duration::from_secs(120));
    }

    fn told(lines: &[String], name: &str) -> Vec<String> {
        let mut values = Vec::new();
        for pair in lines.iter().flat_map(|line| line.split(';')) {
            if let Some((key, value)) = pair.split_once('=') {
                let value = value.trim_ascii();
                let inside = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                if key.trim_ascii() == name && !name.is_empty() {
                    values.push(inside.unwrap_or(value).to_owned());
                }
            }
        }
        values
    }

    proptest! {
        #[test]
        fn values_are_what_the_documentation_tells(
            lines in prop::collection::vec("[ab=; \t\"]{0,12}", 0..3),
            name in "[ab=; ]{0,3}",
        ) {
            let headers = headers(&lines);
            let ready = Name::new(name.as_bytes());
            let got: Vec<_> = ready.values(&headers).collect();
            let want = told(&lines, &name);
            let want: Vec<_> = want.iter().map(String::as_bytes).collect();
            prop_assert_eq!(&got, &want);
            // Of a name that no pair can have, pairs would find what nobody can ask for.
            if ready.is_possible() {
                let told: Vec<_> =
                    pairs(&headers).filter(|pair| pair.0 == name.as_bytes()).map(|pair| pair.1).collect();
                prop_assert_eq!(told, want);
            }
        }
    }
}
