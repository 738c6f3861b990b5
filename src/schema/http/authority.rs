//! The host and the port that a request is for.

use std::borrow::Cow;

use http::header::HOST;
use memchr::memrchr;

use super::word::{above, each};
use crate::schema::RequestHead;

/// An authority taken apart, after RFC 3986, section 3.2, and not yet in lower case.
#[derive(Debug, Clone, Copy)]
struct Authority<'r> {
    /// Not empty, without one trailing dot.
    host: &'r [u8],
    port: Option<u16>,
    /// Whether the host has upper-case letters. A port has none.
    upper: bool,
}

/// The host that a request is for: `:authority` or the host of an absolute form, else the Host header
/// (RFC 9110, section 7.2; RFC 9112, section 3.2.2).
///
/// In lower case, without userinfo, port and one trailing dot; the brackets of an IPv6 literal stay. `None`
/// when there is none: no Host, an empty one, one that is no `host [":" port]`, or two that differ. An
/// authority in the target always wins, also when it cannot be read, unless its host is empty.
///
/// Allocates only to bring a host to lower case.
pub(crate) fn host(head: RequestHead<'_>) -> Option<Cow<'_, [u8]>> {
    let Authority { host, upper, .. } = find(head)?;
    Some(if upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

/// The host as it stands in the request, if it is one of lower-case letters, digits, `-` and dots without a port, as
/// most are. Says nothing of any other.
pub(crate) fn host_as_it_is(head: RequestHead<'_>) -> Option<&[u8]> {
    let text = match head.uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => {
            let mut lines = head.headers.get_all(HOST).iter();
            let line = lines.next()?;
            if lines.next().is_some() {
                return None;
            }
            line.as_bytes()
        }
    };
    (is_plain(text) && text.last() != Some(&b'.')).then_some(text)
}

/// Whether all bytes are lower-case letters, digits, `-` or dots, and there are some.
fn is_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<8>() else {
        return !text.is_empty()
            && text.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
    };
    // The high bit of each byte that is none of them.
    let odd = |word: u64| {
        let low = word & each(0x7f);
        let letters = above(low, b'a' - 1) & !above(low, b'z');
        // A slash stands between the dot and the digits.
        let slash = above(low, b'.') & !above(low, b'/');
        let others = above(low, b'-' - 1) & !above(low, b'9') & !slash;
        (word | !(letters | others)) & each(0x80)
    };
    // The last word overlaps the one before it.
    let words = text.as_chunks::<8>().0.iter().chain([last]);
    words.fold(0, |found, word| found | odd(u64::from_le_bytes(*word))) == 0
}

/// The port, from the same place as the host. There is none where there is no host, and none is implied by
/// the scheme.
pub(crate) fn port(head: RequestHead<'_>) -> Option<i64> {
    find(head)?.port.map(i64::from)
}

/// Whether `host` is `domain` or a name below it: `shop.example.com` is under `example.com`, and
/// `badexample.com` is not. Both in lower case.
///
/// One dot at the end of `domain` means nothing, and the root, `.` or nothing, covers every host. Addresses
/// are compared as the text that they are.
pub(crate) fn host_under(host: &[u8], domain: &[u8]) -> bool {
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    match host.strip_suffix(domain) {
        Some([]) => true,
        Some([.., last]) => *last == b'.' || domain.is_empty(),
        None => false,
    }
}

fn find(head: RequestHead<'_>) -> Option<Authority<'_>> {
    if let Some(authority) = head.uri.authority() {
        let text = authority.as_str().as_bytes();
        // Only the target may have userinfo (RFC 9110, section 4.2.4). It ends at the last `@`, as for
        // `http::Uri::host`, which the service behind asks.
        let text = match memrchr(b'@', text) {
            Some(at) => text.get(at + 1..)?,
            None => text,
        };
        if !matches!(text, [] | [b':', ..]) {
            return Authority::read(text);
        }
    }
    let mut lines = head.headers.get_all(HOST).iter();
    // White space around a value is no part of it (RFC 9110, section 5.5); servers have removed it.
    let first = Authority::read(lines.next()?.as_bytes().trim_ascii())?;
    lines
        .all(|line| Authority::read(line.as_bytes().trim_ascii()).is_some_and(|line| line.same(first)))
        .then_some(first)
}

// === impl Authority ===

impl<'r> Authority<'r> {
    /// Reads `host [":" port]`; `None` when it is something else or has no host.
    fn read(text: &'r [u8]) -> Option<Self> {
        let all = kinds(text);
        let (host, port) = match text {
            [b'[', inside @ ..] => {
                // RFC 3986 has no zone, but `%25` and a name are in use for one (RFC 6874).
                let length = inside.iter().position(|&b| b != b':' && kind(b) == OTHER)?;
                if length == 0 || inside.get(length) != Some(&b']') {
                    return None;
                }
                text.split_at_checked(length + 2)?
            }
            // Without a port, as most are.
            _ if all & OTHER == 0 => (text, [].as_slice()),
            _ => text.split_at_checked(text.iter().position(|&b| kind(b) == OTHER)?)?,
        };
        let host = host.strip_suffix(b".").unwrap_or(host);
        if host.is_empty() {
            return None;
        }
        let port = match port {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(number(digits)?),
            _ => return None,
        };
        Some(Authority { host, port, upper: all & UPPER != 0 })
    }

    fn same(self, other: Self) -> bool {
        self.host.eq_ignore_ascii_case(other.host) && self.port == other.port
    }
}

/// A byte of a registered name (RFC 3986, section 3.2.2): unreserved, sub-delimiters, `%`. None beyond
/// ASCII, as internationalised names travel as Punycode.
const PLAIN: u8 = 0;
/// The same, and an upper-case letter.
const UPPER: u8 = 1;
/// Any other byte.
const OTHER: u8 = 2;

const KINDS: [u8; 256] = {
    let mut kinds = [OTHER; 256];
    let mut byte = 0;
    while byte < kinds.len() {
        #[expect(clippy::indexing_slicing, reason = "the loop ends at the length; checked when compiled")]
        {
            kinds[byte] = match byte as u8 {
                b'A'..=b'Z' => UPPER,
                // All from `$` to `.`: sub-delimiters, `%`, `-` and `.`.
                b'a'..=b'z' | b'0'..=b'9' | b'$'..=b'.' | b'!' | b';' | b'=' | b'_' | b'~' => PLAIN,
                _ => OTHER,
            };
        }
        byte += 1;
    }
    kinds
};

fn kind(byte: u8) -> u8 {
    KINDS.get(usize::from(byte)).copied().unwrap_or(OTHER)
}

/// The kinds of all bytes, joined; without a branch for each.
fn kinds(bytes: &[u8]) -> u8 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let join = |kinds, byte: &u8| kinds | kind(*byte);
    rest.iter().fold(chunks.iter().fold(PLAIN, |kinds, chunk| chunk.iter().fold(kinds, join)), join)
}

fn number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u16::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request, Version};
    use proptest::prelude::*;

    use super::*;

    fn request(uri: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::new(());
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = uri.parse().unwrap();
        for host in hosts {
            request.headers_mut().append(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        request
    }

    #[track_caller]
    fn is(uri: &str, hosts: &[&str], want: Option<&str>, want_port: Option<i64>) {
        let request = request(uri, hosts);
        let got = host((&request).into()).map(|host| String::from_utf8_lossy(&host).into_owned());
        assert_eq!((got.as_deref(), port((&request).into())), (want, want_port), "{uri} {hosts:?}");
    }

    #[track_caller]
    fn none(uri: &str, hosts: &[&str]) {
        is(uri, hosts, None, None);
    }

    #[test]
    fn the_host_header_speaks_for_an_origin_form() {
        is("/", &["example.com"], Some("example.com"), None);
        is("/", &["example.com:8080"], Some("example.com"), Some(8080));
        is("*", &["a"], Some("a"), None);
        none("/", &[]);
    }

    #[test]
    fn an_authority_in_the_target_wins_over_the_header() {
        is("http://a.test:81/", &["b.test:82"], Some("a.test"), Some(81));
        is("http://a.test/", &["b.test:82"], Some("a.test"), None);
        is("a.test:443", &["b.test"], Some("a.test"), Some(443));
        is("http://a.test/", &["b.test", "c.test"], Some("a.test"), None);
    }

    #[test]
    fn an_absolute_form_without_a_host_leaves_the_header_to_speak() {
        is("http://:81/", &["b.test:82"], Some("b.test"), Some(82));
        is("http://user@:81/", &["b.test"], Some("b.test"), None);
        none("http://:81/", &[]);
    }

    #[test]
    fn an_authority_that_cannot_be_read_does_not_leave_the_header_to_speak() {
        for uri in ["http://a.test:x/", "http://a.test:65536/", "http://./"] {
            none(uri, &["b.test"]);
        }
    }

    #[test]
    fn userinfo_is_no_part_of_the_host() {
        is("http://user@a.test/", &[], Some("a.test"), None);
        is("http://user:81@a.test:82/", &[], Some("a.test"), Some(82));
        is("http://b.test@c.test@a.test/", &["d.test"], Some("a.test"), None);
        none("/", &["user@a.test"]);
    }

    #[test]
    fn a_host_is_in_lower_case_without_one_trailing_dot() {
        is("/", &["Shop.Example.COM."], Some("shop.example.com"), None);
        is("http://A.test.:80/", &[], Some("a.test"), Some(80));
        is("/", &["a.."], Some("a."), None);
        none("/", &["."]);
        none("/", &[".:80"]);
    }

    #[test]
    fn a_lower_case_host_is_borrowed() {
        for (value, borrowed) in [("a.test:80", true), ("[::1]", true), ("A.test", false)] {
            let request = request("/", &[value]);
            assert_eq!(matches!(host((&request).into()), Some(Cow::Borrowed(_))), borrowed, "{value}");
        }
    }

    #[test]
    fn an_ipv6_literal_keeps_its_brackets() {
        is("/", &["[2001:DB8::1]"], Some("[2001:db8::1]"), None);
        is("/", &["[::1]:80"], Some("[::1]"), Some(80));
        is("http://[::1]:80/", &[], Some("[::1]"), Some(80));
        is("/", &["[fe80::1%25eth0]"], Some("[fe80::1%25eth0]"), None);
        for bad in ["[::1", "::1", "[]", "[::1]x", "[::1].", "[::1]]", "[[::1]", "a[::1]", "[::1]:x"] {
            none("/", &[bad]);
        }
    }

    #[test]
    fn a_host_that_is_none_is_empty() {
        for bad in [
            "",
            " ",
            ":80",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a:b",
            "a:65536",
            "a:99999999999999999999",
            "a:-1",
            "a:+1",
            "a:1:2",
            "a: 80",
            "é.test",
            "a\"b",
            "<a>",
            "http://a",
            "a@b",
        ] {
            none("/", &[bad]);
        }
    }

    #[test]
    fn a_port_is_a_decimal_number_or_absent() {
        is("/", &["a:"], Some("a"), None);
        is("/", &["a:0"], Some("a"), Some(0));
        is("/", &["a:00080"], Some("a"), Some(80));
        is("/", &["a:65535"], Some("a"), Some(65535));
    }

    #[test]
    fn names_of_all_legal_bytes_are_hosts() {
        is("/", &["my_app-1.svc~x"], Some("my_app-1.svc~x"), None);
        is("/", &["10.0.0.1:80"], Some("10.0.0.1"), Some(80));
        is("/", &["a%20b!$&'()*+,;=c"], Some("a%20b!$&'()*+,;=c"), None);
        is("/", &[" a\t"], Some("a"), None);
    }

    #[test]
    fn two_host_lines_that_differ_are_none() {
        none("/", &["a", "b"]);
        none("/", &["a", "a:80"]);
        none("/", &["a", ""]);
        none("/", &["", "a"]);
        none("/", &["a", "a", "b"]);
        is("/", &["a", "A."], Some("a"), None);
        is("/", &["a:80", "A.:080"], Some("a"), Some(80));
    }

    #[test]
    fn host_under_goes_by_whole_labels() {
        for (host, domain) in [
            ("a.test", "a.test"),
            ("b.a.test", "a.test"),
            ("c.b.a.test", "a.test"),
            ("a.test", "test."),
            ("a", ""),
            ("a", "."),
        ] {
            assert!(host_under(host.as_bytes(), domain.as_bytes()), "{host} {domain}");
        }
        for (host, domain) in
            [("ba.test", "a.test"), ("test", "a.test"), ("a.test.b", "a.test"), ("a.test", ".test")]
        {
            assert!(!host_under(host.as_bytes(), domain.as_bytes()), "{host} {domain}");
        }
    }

    #[test]
    fn every_byte_is_plain_or_not_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            let want = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
            for length in 1..20 {
                for at in 0..length {
                    for around in [b'a', b'-', b'9'] {
                        let mut text = vec![around; length];
                        text[at] = byte;
                        assert_eq!(is_plain(&text), want, "{byte} at {at} of {length}");
                    }
                }
            }
        }
        assert!(!is_plain(b""));
    }

    proptest! {
        #[test]
        fn a_host_as_it_is_is_the_host(
            lines in prop::collection::vec("[a-z0-9.:-]{0,3}[a-zA-Z0-9.@: -]{0,12}", 0..3), uri in 0..2_usize,
        ) {
            let uri = ["/", "http://a.test/"][uri];
            let hosts: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
            let request = request(uri, &hosts);
            let head = RequestHead::from(&request);
            if let Some(text) = host_as_it_is(head) {
                let host = host(head);
                prop_assert_eq!(host.as_deref(), Some(text));
            }
        }

        #[test]
        fn any_host_is_read_or_none(value in prop::collection::vec(prop_oneof![32_u8..=126, 128_u8..=255, Just(b'\t')], 0..24)) {
            let mut request = Request::new(());
            request.headers_mut().append(HOST, HeaderValue::from_bytes(&value).unwrap());
            let head = RequestHead::from(&request);
            if let Some(host) = host(head) {
                prop_assert!(!host.is_empty() && !host.iter().any(u8::is_ascii_uppercase));
                prop_assert!(value.to_ascii_lowercase().windows(host.len()).any(|part| part == &*host));
            } else {
                prop_assert_eq!(port(head), None);
            }
        }

        #[test]
        fn host_and_port_are_found_again(name in "[a-zA-Z0-9_-]{1,8}(\\.[a-z0-9]{1,8}){0,3}", dot in any::<bool>(), port in any::<Option<u16>>()) {
            let dot = if dot { "." } else { "" };
            let text = port.map_or(format!("{name}{dot}"), |port| format!("{name}{dot}:{port}"));
            is("/", &[&text], Some(&name.to_ascii_lowercase()), port.map(i64::from));
            is(&format!("http://{text}/"), &["other"], Some(&name.to_ascii_lowercase()), port.map(i64::from));
        }
    }
}
