//! The parameters of a query, as forms write them: `application/x-www-form-urlencoded`.

use std::borrow::Cow;
use std::iter;

use memchr::{memchr2, memmem};

use super::{escape, word};

/// The values of the parameter `name`, in order, from a query without its `?`.
///
/// `&` separates the parameters, and the first `=` the name from the value; `?a` and `?a=` have one empty
/// value. Empty parameters, as between `&&`, are none, and `?=x` is one with an empty name. In names and
/// values `+` is a space and an escape (RFC 3986, section 2.1) is its byte, whatever bytes that makes; what
/// is no escape stays as it is. Names are compared after decoding, case-sensitively.
///
/// One pass over the query; allocates for the values that change when decoded, and for nothing else.
pub(crate) fn values<'r>(raw_query: &'r [u8], name: &[u8]) -> impl Iterator<Item = Cow<'r, [u8]>> {
    // A long query in which nothing is encoded has the name as it is, or has not: that is soon seen.
    let long = raw_query.len() >= LONG && !name.is_empty();
    let plain = long && memchr2(b'+', b'%', raw_query).is_none();
    let start = if plain { first(raw_query, name) } else { Some(0) };
    let mut rest = start.and_then(|start| raw_query.get(start..)).unwrap_or_default();
    iter::from_fn(move || {
        while !rest.is_empty() {
            let pair;
            (pair, rest) = match word::find(b'&', rest) {
                Some(end) => (rest.get(..end)?, rest.get(end + 1..)?),
                None => (rest, [].as_slice()),
            };
            let value = if pair.is_empty() { None } else { value_of(pair, name) };
            if let Some(value) = value {
                return Some(decoded(value));
            }
        }
        None
    })
}

/// From how many bytes on a query is searched for a name before it is taken apart.
const LONG: usize = if cfg!(test) { 4 } else { 128 };

/// Where the first pair starts that begins with `name`.
fn first(raw_query: &[u8], name: &[u8]) -> Option<usize> {
    let starts = |at: &usize| at.checked_sub(1).is_none_or(|before| raw_query.get(before) == Some(&b'&'));
    memmem::find_iter(raw_query, name).find(starts)
}

/// All parameters, name and value, in order: for those who ask for many names. The same as [`values`] finds, in one
/// pass.
pub(crate) fn pairs(raw_query: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    word::split(b'&', raw_query).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = match word::find(b'=', pair) {
            Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
            None => (pair, [].as_slice()),
        };
        (decoded(name), decoded(value))
    })
}

/// The raw value of a parameter when its decoded name is `name`. Looks no further than the first difference.
fn value_of<'r>(pair: &'r [u8], name: &[u8]) -> Option<&'r [u8]> {
    let mut rest = pair;
    for want in name {
        let (byte, after) = if let [b'=', ..] = rest { None } else { next(rest) }?;
        if byte != *want {
            return None;
        }
        rest = after;
    }
    match rest {
        [] => Some(rest),
        [b'=', value @ ..] => Some(value),
        _ => None,
    }
}

/// The first decoded byte, and what comes after it.
fn next(raw: &[u8]) -> Option<(u8, &[u8])> {
    match raw {
        [b'+', after @ ..] => Some((b' ', after)),
        [b'%', high, low, after @ ..] => match escape::decode(*high, *low) {
            Some(byte) => Some((byte, after)),
            None => Some((b'%', raw.get(1..)?)),
        },
        [byte, after @ ..] => Some((*byte, after)),
        [] => None,
    }
}

fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'+', b'%', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let (mut out, mut rest) = (Vec::new(), raw);
    // Copied up to the first change, so that `100%` is borrowed.
    while let Some((byte, after)) = next(rest) {
        let changes = rest.first() != Some(&byte) || rest.len() - after.len() > 1;
        if changes && out.is_empty() {
            out.reserve_exact(raw.len());
            out.extend_from_slice(raw.get(..raw.len() - rest.len()).unwrap_or_default());
        }
        if changes || out.capacity() > 0 {
            out.push(byte);
        }
        rest = after;
    }
    if out.is_empty() { Cow::Borrowed(raw) } else { Cow::Owned(out) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all<'r>(query: &'r str, name: &str) -> Vec<Cow<'r, [u8]>> {
        values(query.as_bytes(), name.as_bytes()).collect()
    }

    #[track_caller]
    fn is(query: &str, name: &str, want: &[&str]) {
        assert_eq!(
            all(query, name),
            want.iter().map(|v| v.as_bytes()).collect::<Vec<_>>(),
            "?{query} {name}"
        );
    }

    #[test]
    fn all_values_of_a_name_come_in_order() {
        is("a=1&b=2&a=3", "a", &["1", "3"]);
        is("a=1&b=2&a=3", "b", &["2"]);
        is("a=1&b=2", "c", &[]);
        is("", "a", &[]);
    }

    #[test]
    fn a_name_alone_has_one_empty_value() {
        is("a", "a", &[""]);
        is("a=", "a", &[""]);
        is("a&a=&a", "a", &["", "", ""]);
    }

    #[test]
    fn empty_parameters_are_none_and_an_equals_sign_first_is_an_empty_name() {
        is("&&a=1&&", "a", &["1"]);
        is("&&", "", &[]);
        is("=x&=&a=1", "", &["x", ""]);
    }

    #[test]
    fn values_are_decoded_and_broken_escapes_stay() {
        is("a=x+y%20z%2B", "a", &["x y z+"]);
        is("a=%&a=%2&a=%zz%41&a=%%41&a=100%+", "a", &["%", "%2", "%zzA", "%A", "100% "]);
        is("a=b=c", "a", &["b=c"]);
        is("a=%25&a=x%2525&a=%2B", "a", &["%", "x%25", "+"]);
        assert_eq!(all("a=%ff%00", "a"), [&b"\xff\x00"[..]]);
        assert_eq!(values(b"a=\xff", b"a").collect::<Vec<_>>(), [&b"\xff"[..]]);
    }

    #[test]
    fn names_compare_after_decoding_and_by_case() {
        is("%61=1&A=2&a+b=3&a%20b=4", "a", &["1"]);
        is("a+b=3&a%20b=4&a%2Bb=5", "a b", &["3", "4"]);
        is("a+b=3&a%2Bb=5", "a+b", &["5"]);
        is("a=b=1&a%3Db=2&a%3db", "a=b", &["2", ""]);
        is("a%26b=1", "a&b", &["1"]);
        is("100%=1&%2=2", "100%", &["1"]);
        is("ab=1&a=2", "a", &["2"]);
    }

    #[test]
    fn values_that_need_no_decoding_are_borrowed() {
        for query in ["a=plain", "%61=plain", "a=100%", "a", "a=%zz%"] {
            assert!(matches!(all(query, "a").as_slice(), [Cow::Borrowed(_)]), "{query}");
        }
    }

    fn told(query: &[u8], name: &[u8]) -> Vec<Vec<u8>> {
        let decode = |raw: &[u8]| {
            let (mut out, mut i) = (Vec::new(), 0);
            while i < raw.len() {
                let hex = raw.get(i + 1..i + 3).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
                match (raw[i], hex) {
                    (b'+', _) => out.push(b' '),
                    (b'%', Some(hex)) => {
                        out.push(u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap());
                        i += 2;
                    }
                    (byte, _) => out.push(byte),
                }
                i += 1;
            }
            out
        };
        let pairs = query.split(|&b| b == b'&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_at(pair.iter().position(|&b| b == b'=').unwrap_or(pair.len()));
            (decode(name), decode(value.get(1..).unwrap_or_default()))
        });
        pairs.filter(|pair| pair.0 == name).map(|pair| pair.1).collect()
    }

    proptest! {
        #[test]
        fn values_are_what_the_documentation_tells(
            query in prop::collection::vec(prop::sample::select(vec!["a", "b", "=", "&", "+", "%", "%61", "%3d", "%26", "2", "\u{e9}"]), 0..16),
            name in "[ab=&+% 2]{0,3}",
        ) {
            let query = query.concat();
            let got: Vec<_> = all(&query, &name).into_iter().map(Cow::into_owned).collect();
            prop_assert_eq!(&got, &told(query.as_bytes(), name.as_bytes()));
            let of_all = pairs(query.as_bytes()).filter(|pair| *pair.0 == *name.as_bytes());
            prop_assert_eq!(of_all.map(|pair| pair.1.into_owned()).collect::<Vec<_>>(), got);
        }

        #[test]
        fn any_bytes_are_a_query(query in prop::collection::vec(any::<u8>(), 0..64), name in prop::collection::vec(any::<u8>(), 0..3)) {
            let got: Vec<_> = values(&query, &name).map(Cow::into_owned).collect();
            prop_assert_eq!(&got, &told(&query, &name));
            let of_all = pairs(&query).filter(|pair| *pair.0 == *name).map(|pair| pair.1.into_owned());
            prop_assert_eq!(of_all.collect::<Vec<_>>(), got);
        }
    }
}
