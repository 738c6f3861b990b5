//! The canonical path: the one view of a path that rules have.
//!
//! Two spellings of one path must not be two answers. The usual bypass of a router is a path that it reads
//! in one way and the service behind it in another: `/admin`, `/%61dmin`, `//admin`, `/x/../admin`. So
//! `path` only ever sees the canonical form, which [`canonical`] computes once a request, after RFC 3986,
//! section 6.2.2, and with repeated slashes merged as nginx and Envoy do.

use std::borrow::Cow;

use memchr::{memchr, memrchr};

use super::escape;
use super::word::{above, each, zeros};

/// The canonical form of a path, given as received and without a query.
///
/// In this order:
///
/// 1. A fragment (`#` and what follows) is dropped, and a missing `/` at the start is added.
/// 2. Escapes of unreserved characters are decoded, the others are kept with upper-case digits, and a `%`
///    that begins no escape becomes `%25`. A byte that no path may hold as it is, such as one that is not
///    ASCII, becomes its escape.
/// 3. Repeated `/` are merged.
/// 4. The segments `.` and `..` are removed, also when spelled `%2e`. One at the end leaves its slash, and
///    `..` at the root does nothing.
///
/// Everything else stays as it is: `%2F`, `%5C` and `\` never separate segments, and `%00` stays an escape.
/// The asterisk form `*` (RFC 9112, section 3.2.4) is its own canonical
/// form. So is the empty path.
///
/// Doing it twice changes nothing more. A path that is already canonical is borrowed, so an application can
/// tell by `Cow::Owned` that a client sent something else.
///
/// # Cost
///
/// Linear in the length, whatever the path. A canonical path costs one look at each byte and no allocation,
/// another one at most two allocations.
///
/// # Examples
///
/// ```
/// use pointsman::schema::canonical_path;
/// use std::borrow::Cow;
///
/// assert_eq!(&*canonical_path(b"/a//b/%2e%2e/%7euser%2fx"), b"/a/~user%2Fx");
/// assert!(matches!(canonical_path(b"/checkout/1"), Cow::Borrowed(b"/checkout/1")));
/// ```
pub fn canonical(raw: &[u8]) -> Cow<'_, [u8]> {
    if is_canonical(raw) {
        return Cow::Borrowed(raw);
    }
    let path = match memchr(b'#', raw) {
        Some(end) => raw.get(..end).unwrap_or(raw),
        None => raw,
    };
    // What is left of a fragment may be fine as it is.
    if path.len() < raw.len() && is_canonical(path) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(rebuild(path))
}

/// Whether a path is equal to its canonical form. Linear; a path of letters, digits and single slashes is
/// read eight bytes at a time.
pub(crate) fn is_canonical(raw: &[u8]) -> bool {
    match raw {
        [b'/', ..] => plain(raw) || faultless(raw),
        _ => raw.is_empty() || raw == b"*",
    }
}

/// Whether `path` is `root` or below it, by whole segments: `/v2/x` is under `/v2`, and `/v2example` is not.
///
/// One slash at the end of `root` means nothing, so both `/` and the empty root cover every path that starts
/// with a slash (and not `*`).
pub(crate) fn under(path: &[u8], root: &[u8]) -> bool {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    match path.strip_prefix(root) {
        Some([b'/', ..]) => true,
        Some([]) => !root.is_empty(),
        _ => false,
    }
}

/// Whether no byte of a path that starts with `/` could be a fault. May be false of a canonical path, such
/// as one with an escape or a `/.well-known`, and is quick: most paths end here.
fn plain(raw: &[u8]) -> bool {
    // The high bit of each byte that is no letter, no digit and none of `()*+,-./:;@_`.
    let odd = |word: u64| {
        let low = word & each(0x7f);
        // A small letter is a capital one and a bit more.
        let small = low | each(0x20);
        let letters = above(small, b'a' - 1) & !above(small, b'z');
        let others = above(low, b'(' - 1) & !above(low, b';');
        // Nothing but the byte itself differs from it by nothing.
        let lone = !(above(low ^ each(b'@'), 0) & above(low ^ each(b'_'), 0));
        (word | !(letters | others | lone)) & each(0x80)
    };
    // A mark too many is always above a true one, and one is enough.
    let slashes = |word: u64| zeros(word ^ each(b'/'));
    // `.` and `/`, which differ in one bit.
    let dots = |word: u64| zeros((word | each(1)) ^ each(b'/'));

    let Some(last) = raw.last_chunk::<8>() else {
        return raw.iter().all(|b| !matches!(b, b'%' | b'#') && escape::stands_in_path(*b))
            && !raw.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
    };
    let (mut found, mut slash_before) = (0, 0);
    for word in raw.as_chunks::<8>().0 {
        let word = u64::from_le_bytes(*word);
        let slashes = slashes(word);
        found |= odd(word) | ((slashes << 8 | slash_before) & dots(word));
        slash_before = slashes >> 56;
    }
    // The last word overlaps the one before it, unless it is the same: no pair of bytes is missed.
    let word = u64::from_le_bytes(*last);
    found |= odd(word) | (slashes(word) << 8 & dots(word));
    found == 0
}

/// Whether a path that starts with `/` is canonical, byte by byte.
fn faultless(mut rest: &[u8]) -> bool {
    loop {
        rest = match rest {
            [] => return true,
            [b'/', b'/', ..]
            | [b'/', b'.']
            | [b'/', b'.', b'/', ..]
            | [b'/', b'.', b'.']
            | [b'/', b'.', b'.', b'/', ..]
            | [b'#', ..] => return false,
            [b'%', after @ ..] => match after {
                [high, low, after @ ..] if kept(*high, *low) => after,
                _ => return false,
            },
            [byte, after @ ..] if escape::stands_in_path(*byte) => after,
            _ => return false,
        };
    }
}

/// Whether an escape is as canonical paths have it: upper-case digits, and not of an unreserved character.
fn kept(high: u8, low: u8) -> bool {
    !high.is_ascii_lowercase()
        && !low.is_ascii_lowercase()
        && escape::decode(high, low).is_some_and(|byte| !escape::unreserved(byte))
}

/// The canonical form of a path without a fragment that is not canonical, written anew.
fn rebuild(raw: &[u8]) -> Vec<u8> {
    // Room for the slash in front and a few `%25`; hostile paths grow it.
    let mut out = Vec::with_capacity(raw.len() + 8);
    out.push(b'/');
    // Where the open segment starts in `out`; there is always a slash before it.
    let mut start = out.len();
    let mut rest = raw;
    loop {
        rest = match rest {
            [] => break,
            [b'/', after @ ..] => {
                if close(&mut out, start) {
                    out.push(b'/');
                }
                start = out.len();
                after
            }
            [b'%', high, low, after @ ..] => match escape::decode(*high, *low) {
                Some(byte) if escape::unreserved(byte) => {
                    out.push(byte);
                    after
                }
                Some(_) => {
                    out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
                    after
                }
                None => {
                    out.extend(b"%25");
                    rest.get(1..).unwrap_or_default()
                }
            },
            [b'%', after @ ..] => {
                out.extend(b"%25");
                after
            }
            [byte, after @ ..] if escape::stands_in_path(*byte) => {
                out.push(*byte);
                after
            }
            [byte, after @ ..] => {
                out.extend(escape::encode(*byte));
                after
            }
        };
    }
    close(&mut out, start);
    out
}

/// Ends the segment that starts at `start`. A `..` takes the segment before it away, by a search that stops
/// at what it removes: all of them together are linear. True when the segment stays.
fn close(out: &mut Vec<u8>, start: usize) -> bool {
    match out.get(start..).unwrap_or_default() {
        b"" => false,
        b"." => {
            out.truncate(start);
            false
        }
        b".." => {
            let parent = out.get(..start - 1).and_then(|before| memrchr(b'/', before));
            out.truncate(parent.map_or(1, |slash| slash + 1));
            false
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn text(raw: impl AsRef<[u8]>) -> String {
        String::from_utf8_lossy(&canonical(raw.as_ref())).into_owned()
    }

    #[track_caller]
    fn all(cases: &[(&str, &str)]) {
        for (raw, want) in cases {
            assert_eq!(text(raw), *want, "{raw}");
        }
    }

    /// Segment by segment, as the documentation tells it.
    fn told(raw: &[u8]) -> Vec<u8> {
        let raw = raw.split(|&b| b == b'#').next().unwrap();
        if raw.is_empty() || raw == b"*" {
            return raw.to_vec();
        }
        let mut decoded = vec![b'/'];
        let mut i = 0;
        while i < raw.len() {
            let digits = raw.get(i + 1..i + 3).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
            match (raw[i], digits) {
                (b'%', Some(digits)) => {
                    let digits = std::str::from_utf8(digits).unwrap().to_uppercase();
                    match u8::from_str_radix(&digits, 16).unwrap() {
                        b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => decoded.push(b),
                        _ => decoded.extend(format!("%{digits}").bytes()),
                    }
                    i += 2;
                }
                (b'%', None) => decoded.extend(b"%25"),
                // What RFC 3986 allows in a segment, the slash and the backslash.
                (byte, _) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/\\?".contains(&byte) => {
                    decoded.push(byte);
                }
                (byte, _) => decoded.extend(format!("%{byte:02X}").bytes()),
            }
            i += 1;
        }
        let mut segments: Vec<&[u8]> = Vec::new();
        let mut open = true;
        for segment in decoded.split(|&b| b == b'/') {
            open = match segment {
                b"" | b"." => true,
                b".." => {
                    segments.pop();
                    true
                }
                segment => {
                    segments.push(segment);
                    false
                }
            };
        }
        let mut out = Vec::new();
        for segment in &segments {
            out.push(b'/');
            out.extend_from_slice(segment);
        }
        if open {
            out.push(b'/');
        }
        out
    }

    #[test]
    fn a_canonical_path_is_borrowed() {
        for raw in
            ["/", "/a", "/a/", "/a/b.c/..d/.well-known/...", "/a!b'c", "/%2F%5C%25%00", "/a\\..\\b", "*", ""]
        {
            assert!(matches!(canonical(raw.as_bytes()), Cow::Borrowed(_)), "{raw}");
            assert_eq!(text(raw), *raw);
        }
    }

    #[test]
    fn a_raw_byte_that_no_path_may_hold_is_its_escape() {
        all(&[
            ("/café", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/{x}|[y]^`<z>\"", "/%7Bx%7D%7C%5By%5D%5E%60%3Cz%3E%22"),
            ("/a~b:c@d!e$f&g'(h)*+,;=", "/a~b:c@d!e$f&g'(h)*+,;="),
        ]);
    }

    #[test]
    fn unreserved_escapes_are_decoded_and_others_kept_in_upper_case() {
        all(&[
            ("/%61%7e%2D", "/a~-"),
            ("/%2f%5c%3a%ff%00", "/%2F%5C%3A%FF%00"),
            ("/%2561", "/%2561"),
            ("/%2a", "/%2A"),
        ]);
    }

    #[test]
    fn a_percent_sign_that_begins_no_escape_is_written_as_one() {
        all(&[
            ("/%", "/%25"),
            ("/%2", "/%252"),
            ("/%zz", "/%25zz"),
            ("/%%41", "/%25A"),
            ("/%2%35", "/%2525"),
        ]);
    }

    #[test]
    fn slashes_merge_before_dots_are_removed() {
        all(&[
            ("/a//../b", "/b"),
            ("//", "/"),
            ("///a///b//", "/a/b/"),
            ("/a/..//b", "/b"),
            ("/a//./b", "/a/b"),
        ]);
    }

    #[test]
    fn dot_segments_are_removed_however_they_are_spelled() {
        all(&[
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a/b/../..", "/"),
            ("/../../x", "/x"),
            ("/a/%2E%2e/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/%2e/a", "/a"),
            ("/a/...", "/a/..."),
            ("/a/..b", "/a/..b"),
            ("/a/..%2Fb", "/a/..%2Fb"),
            ("/a/..\\b", "/a/..\\b"),
        ]);
    }

    #[test]
    fn a_fragment_is_dropped_and_a_missing_slash_added() {
        all(&[
            ("/a#b/../c", "/a"),
            ("/a/..#", "/"),
            ("a", "/a"),
            ("..", "/"),
            (".", "/"),
            ("*#", "*"),
            ("*a", "/*a"),
            ("#a", ""),
            ("/a%23b", "/a%23b"),
        ]);
        assert!(matches!(canonical(b"/a#b"), Cow::Borrowed(_)));
    }

    // From `path.jsonl` of the conformance cases, which has them from Envoy's path_utility_test.cc.
    #[test]
    fn the_cases_of_envoy_hold() {
        all(&[
            ("/xyz", "/xyz"),
            ("/a/b/../c", "/a/c"),
            ("a/b/../c", "/a/c"),
            ("/a/..\\c", "/a/..\\c"),
            ("/%5c%25", "/%5C%25"),
            ("/a/b/%2E./c", "/a/c"),
            ("..", "/"),
            ("/./a/b", "/a/b"),
            ("/a/b/%2e%2e/c", "/a/c"),
            ("/xyz/.%00../abc", "/xyz/.%00../abc"),
            ("/xyz/AAAAA%%0000/abc", "/xyz/AAAAA%25%0000/abc"),
            ("/a//b/c", "/a/b/c"),
            ("/a///b/c", "/a/b/c"),
            ("/a//b", "/a/b"),
            ("/abc#", "/abc"),
            ("/abc#fragment?param=value", "/abc"),
        ]);
    }

    #[test]
    fn a_path_of_ordinary_bytes_is_plain_at_any_length() {
        let ordinary = b"/AZaz09_-xmn/b.c/(d):e@f,g+h*i;j,kl/zyxwv";
        for length in 1..=ordinary.len() {
            assert!(plain(&ordinary[..length]), "{length}");
        }
    }

    #[test]
    fn what_is_plain_is_faultless_wherever_in_a_word_a_fault_stands() {
        let ordinary = b"/abcdefg/hijklmn/op";
        let odd = *b"%#<>[]^`{|}\"/. \x00\x1f\x7f\x80\xff~&'?a";
        for length in [8, 9, 12, 16, 17, ordinary.len()] {
            for first in 1..length {
                for byte in 0..=u8::MAX {
                    let mut path = ordinary[..length].to_vec();
                    path[first] = byte;
                    assert!(!plain(&path) || faultless(&path), "{}", path.escape_ascii());
                }
                for second in first + 1..length {
                    for (byte, other) in
                        odd.iter().flat_map(|byte| odd.iter().map(move |other| (byte, other)))
                    {
                        let mut path = ordinary[..length].to_vec();
                        (path[first], path[second]) = (*byte, *other);
                        assert!(!plain(&path) || faultless(&path), "{}", path.escape_ascii());
                    }
                }
            }
        }
    }

    #[test]
    fn hostile_paths_cost_no_more_than_their_length() {
        let start = Instant::now();
        for part in ["/..", "/a/..", "/a", "/%2e%2e", "//", "%", "/./a/../", "/aaaaaaaa/bbbbbbbb/../.."] {
            let raw = part.repeat((1 << 20) / part.len());
            let once = canonical(raw.as_bytes()).into_owned();
            assert!(is_canonical(&once), "{part}");
        }
        let deep = format!("/a{}{}", "/b".repeat(200_000), "/..".repeat(200_000));
        assert_eq!(text(deep), "/a/");
        // Milliseconds when linear, a quarter of an hour when not; and a busy machine is no mistake.
        assert!(start.elapsed() < Duration::from_secs(120));
    }

    #[test]
    fn under_goes_by_whole_segments() {
        for (path, root) in
            [("/v2", "/v2"), ("/v2/", "/v2"), ("/v2/a", "/v2"), ("/v2", "/v2/"), ("/v2/a", "/v2/")]
        {
            assert!(under(path.as_bytes(), root.as_bytes()), "{path} {root}");
        }
        for (path, root) in
            [("/v2example", "/v2"), ("/v", "/v2"), ("/a/v2", "/v2"), ("", "/v2"), ("*", "/"), ("", "")]
        {
            assert!(!under(path.as_bytes(), root.as_bytes()), "{path} {root}");
        }
        for path in ["/", "/a", "/a/b/"] {
            assert!(under(path.as_bytes(), b"/") && under(path.as_bytes(), b""));
        }
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            4 => prop::sample::select(vec!["/", ".", "..", "//", "%2e", "%2E", "%", "%2", "%2f", "%61", "%5c", "%25"])
                .prop_map(|s| s.as_bytes().to_vec()),
            4 => "[a-zA-Z0-9!'/._@:~-]{1,9}".prop_map(String::into_bytes),
            1 => prop::sample::select(vec!["#", "*", "\\", "%00", "%FF", "é", "{x}", "|", "[a]", "^", "`", "<", "\"", " ", "\u{7f}"]).prop_map(|s| s.as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|b| vec![b]),
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn canonical_is_what_the_documentation_tells(raw in hostile()) {
            prop_assert_eq!(canonical(&raw).into_owned(), told(&raw));
        }

        #[test]
        fn canonical_twice_is_canonical_once(raw in hostile()) {
            let once = canonical(&raw).into_owned();
            prop_assert!(is_canonical(&once));
            prop_assert!(matches!(canonical(&once), Cow::Borrowed(twice) if twice == once));
        }

        #[test]
        fn a_path_is_canonical_when_nothing_changes(raw in hostile()) {
            prop_assert_eq!(is_canonical(&raw), told(&raw) == raw);
        }

        #[test]
        fn the_quick_look_never_passes_a_fault(raw in hostile()) {
            let raw = [b"/", raw.as_slice()].concat();
            prop_assert!(!plain(&raw) || faultless(&raw));
        }

        #[test]
        fn under_is_equal_segments_in_front(path in "/[ab/]{0,6}", root in "/[ab/]{0,4}") {
            let (path, root) = (canonical(path.as_bytes()), canonical(root.as_bytes()));
            let segments = |p: &[u8]| p.split(|&b| b == b'/').filter(|s| !s.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>();
            prop_assert_eq!(under(&path, &root), segments(&path).starts_with(&segments(&root)));
        }
    }
}
