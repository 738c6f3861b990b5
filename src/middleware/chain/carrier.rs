//! How a decision travels: as a member of the W3C `baggage` header, or in a header of the application's own.
//!
//! The format is that of W3C Baggage, section 3.3: members between commas, each with a key, a value in which everything but
//! visible ASCII is percent-encoded, and properties behind semicolons. Neither commas nor quotes can stand in a member, so
//! members are found without a parser.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::diagnostic::visible;
use crate::engine::Decision;

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// What every platform passes on, of all `baggage` lines together.
const MEMBERS: usize = 64;
const BYTES: usize = 8192;

/// How a decision travels from a service to those that it calls: the name of its cluster, in a header.
///
/// The default is a member of the W3C [`baggage`](https://www.w3.org/TR/baggage/) header under the key `pointsman`:
/// libraries for tracing pass that header on, so services in between that know nothing of rules pass it on too.
///
/// ```
/// use http::{HeaderMap, HeaderName};
/// use pointsman::{Carrier, Engine};
///
/// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => gray")?;
/// let decision = engine.decide(&http::Request::new(()));
///
/// let mut headers = HeaderMap::new();
/// headers.insert("baggage", "user=alice;vip, session=7".parse()?);
/// assert!(Carrier::default().write(&decision, &mut headers));
/// assert_eq!(headers["baggage"], "user=alice;vip, session=7,pointsman=gray");
///
/// Carrier::header(HeaderName::from_static("x-cluster")).write(&decision, &mut headers);
/// assert_eq!(headers["x-cluster"], "gray");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carrier {
    baggage: Option<Box<str>>,
    header: Option<HeaderName>,
}

/// A text that cannot be the key of a baggage member; from [`Carrier::baggage`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be a baggage key: one is made of letters, digits and any of !#$%&'*+-.^_`|~", visible(.key))]
pub struct CarrierError {
    key: String,
}

/// What a request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carried {
    Nothing,
    Cluster(String),
    /// Not one readable name.
    Unreadable,
}

// === impl Carrier ===

impl Carrier {
    /// As a member of the `baggage` header, under this key.
    ///
    /// # Errors
    ///
    /// When the key is no token as RFC 9110 has it.
    pub fn baggage(key: &str) -> Result<Self, CarrierError> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if key.is_empty() || !key.bytes().all(is_token) {
            return Err(CarrierError { key: key.to_owned() });
        }
        Ok(Carrier { baggage: Some(key.into()), header: None })
    }

    /// In a header of its own, as [`TrafficSplitLayer::request_header`](crate::TrafficSplitLayer::request_header)
    /// writes it: a proxy that sets that header on what it sends on needs nothing else.
    pub fn header(name: HeaderName) -> Self {
        Carrier { baggage: None, header: Some(name) }
    }

    /// In a header of its own as well. When a request is read and the two differ, neither counts.
    #[must_use]
    pub fn and_header(mut self, name: HeaderName) -> Self {
        self.header = Some(name);
        self
    }

    /// Writes the cluster of a decision into the headers of a request that goes out, for clients that are no tower
    /// services; for those there is [`PropagateLayer`](super::PropagateLayer).
    ///
    /// What stood there of ours is replaced. Other members stay as they are and in their order; several `baggage` lines
    /// become one. Says no when the member does not fit: every platform passes on 64 members and 8,192 bytes, and others'
    /// are not dropped for ours. Then the service behind decides by itself.
    ///
    /// Costs some allocations, in proportion to what stands there.
    pub fn write(&self, decision: &Decision, headers: &mut HeaderMap) -> bool {
        let cluster = decision.cluster();
        let mut fits = true;
        if let Some(header) = &self.header {
            fits &= insert(headers, header.clone(), encoded(cluster, is_header_octet).into_bytes());
        }
        if let Some(key) = &self.baggage {
            let mut line = take_others(headers, key);
            let member = format!("{key}={}", encoded(cluster, is_baggage_octet));
            let count = line.split(|b| *b == b',').filter(|member| !member.trim_ascii().is_empty()).count();
            let comma = usize::from(!line.is_empty());
            let has_room = count < MEMBERS && line.len() + comma + member.len() <= BYTES;
            if has_room {
                line.extend_from_slice(if line.is_empty() { b"" } else { b"," });
                line.extend_from_slice(member.as_bytes());
            }
            if !line.is_empty() {
                fits &= insert(headers, BAGGAGE, line);
            }
            fits &= has_room;
        }
        fits
    }

    /// Takes away what stands there of ours, and says whether anything did.
    pub(super) fn remove(&self, headers: &mut HeaderMap) -> bool {
        let mut found = false;
        if let Some(header) = &self.header {
            found |= headers.remove(header).is_some();
        }
        if let Some(key) = &self.baggage
            && members(headers, key).next().is_some()
        {
            found = true;
            let line = take_others(headers, key);
            if !line.is_empty() {
                insert(headers, BAGGAGE, line);
            }
        }
        found
    }

    /// What a request carries. Linear in its `baggage`; allocates only what it returns.
    pub(super) fn read(&self, headers: &HeaderMap) -> Carried {
        let own = self.header.as_ref().map_or(Carried::Nothing, |header| {
            one(headers.get_all(header).iter().map(|value| decoded(value.as_bytes())))
        });
        let member = self.baggage.as_ref().map_or(Carried::Nothing, |key| {
            one(members(headers, key).map(|member| member_value(member).and_then(decoded)))
        });
        match (own, member) {
            (Carried::Nothing, carried) | (carried, Carried::Nothing) => carried,
            (one, other) if one == other => one,
            _ => Carried::Unreadable,
        }
    }
}

/// A member of `baggage` under the key `pointsman`.
impl Default for Carrier {
    fn default() -> Self {
        Carrier { baggage: Some("pointsman".into()), header: None }
    }
}

// === members ===

/// The members under a key, over all lines.
fn members<'h>(headers: &'h HeaderMap, key: &'h str) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(BAGGAGE).iter();
    lines.flat_map(|line| line.as_bytes().split(|b| *b == b',')).filter(|member| is_under(member, key))
}

/// Whether a member has this key, well-formed or not.
fn is_under(member: &[u8], key: &str) -> bool {
    let end = member.iter().position(|b| matches!(b, b'=' | b';')).unwrap_or(member.len());
    member.get(..end).unwrap_or(&[]).trim_ascii() == key.as_bytes()
}

/// What stands between the key and the properties.
fn member_value(member: &[u8]) -> Option<&[u8]> {
    let (head, value) = member.split_at_checked(member.iter().position(|b| *b == b'=')? + 1)?;
    if head.contains(&b';') {
        return None;
    }
    let value = value.split(|b| *b == b';').next()?.trim_ascii();
    value.iter().all(|b| *b == b'%' || is_baggage_octet(*b)).then_some(value)
}

/// Takes all `baggage` lines away and gives them back as one, without the members under a key. A line that has none is
/// not changed in any byte.
fn take_others(headers: &mut HeaderMap, key: &str) -> Vec<u8> {
    let mut all: Vec<u8> = Vec::new();
    for line in headers.get_all(BAGGAGE) {
        let mut kept: Vec<&[u8]> = line.as_bytes().split(|b| *b == b',').collect();
        kept.retain(|member| !is_under(member, key));
        let line = kept.join(&b","[..]);
        let line = line.trim_ascii();
        if !line.is_empty() {
            all.extend_from_slice(if all.is_empty() { b"" } else { b"," });
            all.extend_from_slice(line);
        }
    }
    headers.remove(BAGGAGE);
    all
}

/// Of several values, none is the one.
fn one(mut values: impl Iterator<Item = Option<String>>) -> Carried {
    match (values.next(), values.next()) {
        (None, _) => Carried::Nothing,
        (Some(Some(cluster)), None) => Carried::Cluster(cluster),
        _ => Carried::Unreadable,
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Vec<u8>) -> bool {
    // What we write is visible ASCII, and the rest was a value before. Fails at 32,768 names.
    HeaderValue::try_from(value).is_ok_and(|value| headers.try_insert(name, value).is_ok())
}

// === percent-encoding ===

/// Visible ASCII but for `"`, `,`, `;` and `\`; and for `%`, which begins an escape.
fn is_baggage_octet(byte: u8) -> bool {
    is_header_octet(byte) && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

/// Visible ASCII but for `%`.
fn is_header_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'%'
}

/// Each byte that is not `plain` becomes `%` and two hexadecimal digits.
fn encoded(text: &str, plain: fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            let digit = |digit| char::from(if digit < 10 { b'0' + digit } else { b'A' - 10 + digit });
            out.extend([byte >> 4, byte & 15].map(digit));
        }
    }
    out
}

/// `None` for a broken escape, and for what is not UTF-8.
fn decoded(value: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(*bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(out).ok()
}

/// A cluster's name as the value of a header: escaped until it is visible ASCII, which every peer can read and no proxy
/// trims.
pub(crate) fn header_value(name: &str) -> HeaderValue {
    // Visible ASCII is always a valid value.
    HeaderValue::try_from(encoded(name, is_header_octet)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::Engine;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (BAGGAGE, HeaderValue::from_str(line).unwrap())).collect()
    }

    fn lines(headers: &HeaderMap) -> Vec<&str> {
        headers.get_all(BAGGAGE).iter().map(|line| line.to_str().unwrap()).collect()
    }

    fn decision(cluster: &str) -> Decision {
        let engine = Engine::builder().clusters([cluster, "any"]).build("default => any").unwrap();
        engine.follow(cluster).unwrap()
    }

    fn read(lines: &[&str]) -> Carried {
        Carrier::default().read(&headers(lines))
    }

    fn cluster(name: &str) -> Carried {
        Carried::Cluster(name.to_owned())
    }

    #[test]
    fn every_name_has_a_header_value_of_its_own() {
        for (name, value) in [
            ("prod", "prod"),
            ("prod-a_1.eu/x:80", "prod-a_1.eu/x:80"),
            ("prod eu", "prod%20eu"),
            ("prod%20eu", "prod%2520eu"),
            (" a\t\r\n", "%20a%09%0D%0A"),
            ("größe", "gr%C3%B6%C3%9Fe"),
            ("\u{7f}\0", "%7F%00"),
        ] {
            assert_eq!(header_value(name), value, "{name:?}");
        }
    }

    #[test]
    fn a_member_is_found_wherever_it_stands() {
        for line in [
            "pointsman=gray",
            " \tpointsman =\t gray ; a=1;b",
            "a=b;pointsman=x,pointsman=gray,c=d",
            "Pointsman=x,pointsman=gr%61y",
            ",,pointsman=gray,",
        ] {
            assert_eq!(read(&[line]), cluster("gray"), "{line}");
            assert_eq!(read(&["a=1", line, "b=2"]), cluster("gray"), "{line}");
        }
        assert_eq!(read(&["pointsman=a=b"]), cluster("a=b"));
        assert_eq!(read(&["pointsman="]), cluster(""));
        assert_eq!(read(&["a=pointsman", "pointsman2=x", "xpointsman=x", ""]), Carried::Nothing);
        assert_eq!(read(&[]), Carried::Nothing);
    }

    #[test]
    fn what_is_not_one_readable_name_is_none() {
        for lines in [
            &["pointsman"][..],
            &["pointsman;a=gray"],
            &["pointsman=gray,pointsman=gray"],
            &["pointsman=gray", "pointsman=prod"],
            &["pointsman=gr%6"],
            &["pointsman=gr%zz"],
            &["pointsman=gr%+1"],
            &["pointsman=%ff"],
            &["pointsman=gr ay"],
            &["pointsman=\"gray\""],
            &["pointsman=gr\\ay"],
        ] {
            assert_eq!(read(lines), Carried::Unreadable, "{lines:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(BAGGAGE, HeaderValue::from_bytes(b"pointsman=gr\xc3\xa4y").unwrap());
        assert_eq!(Carrier::default().read(&headers), Carried::Unreadable);
    }

    #[test]
    fn baggage_and_header_must_agree() {
        let name = HeaderName::from_static("x-cluster");
        let both = Carrier::default().and_header(name.clone());
        let mut headers = headers(&["pointsman=gray"]);
        assert_eq!(both.read(&headers), cluster("gray"));
        headers.insert(name.clone(), "gray".parse().unwrap());
        assert_eq!(both.read(&headers), cluster("gray"));
        headers.append(name.clone(), "gray".parse().unwrap());
        assert_eq!(both.read(&headers), Carried::Unreadable);
        headers.insert(name.clone(), "prod".parse().unwrap());
        assert_eq!(both.read(&headers), Carried::Unreadable);
        assert_eq!(Carrier::header(name).read(&headers), cluster("prod"));
        assert!(both.remove(&mut headers));
        assert!(headers.is_empty());
        assert!(!both.remove(&mut headers));
    }

    #[test]
    fn others_stay_as_they_are() {
        for (before, after) in [
            (&[][..], &["pointsman=gray"][..]),
            (&["a = 1;p ,b=%20"], &["a = 1;p ,b=%20,pointsman=gray"]),
            (&["a=1", "b=2"], &["a=1,b=2,pointsman=gray"]),
            (&["pointsman=prod"], &["pointsman=gray"]),
            (&["a=1, pointsman=x;y , b=2", "pointsman", "c=3"], &["a=1, b=2,c=3,pointsman=gray"]),
            (&["not, even = baggage\"; ,,"], &["not, even = baggage\"; ,,,pointsman=gray"]),
        ] {
            let mut map = headers(before);
            assert!(Carrier::default().write(&decision("gray"), &mut map));
            assert_eq!(lines(&map), after, "{before:?}");
        }
        let mut map = headers(&["a=1", "b=2,pointsman=prod"]);
        assert!(Carrier::default().remove(&mut map));
        assert_eq!(lines(&map), ["a=1,b=2"]);
        assert!(!Carrier::default().remove(&mut map));
    }

    #[test]
    fn where_ours_does_not_fit_the_others_stay() {
        let many = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        for (line, fits) in [
            (many(63), true),
            (many(64), false),
            (format!("a={}", "x".repeat(8192 - 2 - 15)), true),
            (format!("a={}", "x".repeat(8192 - 2 - 14)), false),
        ] {
            let mut map = headers(&[&line, "pointsman=old"]);
            assert_eq!(Carrier::default().write(&decision("gray"), &mut map), fits);
            let expected = if fits { format!("{line},pointsman=gray") } else { line };
            assert_eq!(lines(&map), [expected]);
        }
    }

    #[test]
    fn a_key_is_a_token() {
        assert!(Carrier::baggage("my.app-cluster").is_ok());
        for key in ["", "a b", "a=b", "a;b", "é", "a,b"] {
            let error = Carrier::baggage(key).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{key}` cannot be a baggage key")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            name in "\\PC{1,20}|[ -~]{1,20}",
            others in prop::collection::vec("[a-z;=, \t\"%]{0,12}", 0..4),
            header in any::<bool>(),
        ) {
            let others: Vec<&str> = others.iter().map(|line| line.trim()).collect();
            let carrier = if header {
                Carrier::header(HeaderName::from_static("x-cluster"))
            } else {
                Carrier::default()
            };
            let mut map = headers(&others);
            prop_assert!(carrier.write(&decision(&name), &mut map));
            prop_assert_eq!(carrier.read(&map), cluster(&name));
            if header {
                return Ok(());
            }
            let line = lines(&map).join("");
            let (before, member) = line.rsplit_once("pointsman=").unwrap();
            prop_assert!(member.bytes().all(|b| b == b'%' || is_baggage_octet(b)), "{}", line);
            let kept: Vec<&str> = others.into_iter().filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(before.strip_suffix(',').unwrap_or(before), kept.join(","));
        }

        #[test]
        fn any_baggage_is_read_and_taken_away(line in prop::collection::vec(prop_oneof![
            Just("pointsman".to_owned()), "[=;,% \ta]{1,3}",
        ], 0..12)) {
            let line = line.concat();
            let mut map = headers(&[line.trim()]);
            let found = Carrier::default().read(&map) != Carried::Nothing;
            prop_assert_eq!(Carrier::default().remove(&mut map), found);
            prop_assert_eq!(Carrier::default().read(&map), Carried::Nothing);
        }
    }
}
