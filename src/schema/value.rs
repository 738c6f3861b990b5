//! The values a field can have, and their types.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use smallvec::SmallVec;

/// The type of a field, a literal or a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Type {
    /// Bytes, usually but not surely UTF-8.
    String,
    /// A signed 64-bit integer.
    Int,
    /// `true` or `false`.
    Bool,
    /// An IPv4 or IPv6 address; an IPv4-mapped IPv6 address is IPv4.
    Ip,
    /// A version as [semver 2](https://semver.org/spec/v2.0.0.html) orders them.
    Version,
    /// An instant.
    Time,
    /// 0 to 100 in steps of 0.0001: what `percent(…)` gives.
    Percent,
}

/// One value of a field in one request.
///
/// A field has zero or more of them: an absent header none, a header sent twice two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Value<'a> {
    /// See [`Type::String`].
    String(Cow<'a, [u8]>),
    /// See [`Type::Int`].
    Int(i64),
    /// See [`Type::Bool`].
    Bool(bool),
    /// See [`Type::Ip`].
    Ip(IpAddr),
    /// See [`Type::Version`].
    Version(Version),
    /// See [`Type::Time`].
    Time(Time),
    /// See [`Type::Percent`], in steps of 0.0001: 0 to 1,000,000.
    Percent(u32),
}

/// An instant, since the Unix epoch; what the field `now` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    seconds: i64,
    /// Behind that second, less than a billion.
    nanos: u32,
}

/// A version as [semver 2](https://semver.org/spec/v2.0.0.html) orders them, without its build metadata.
///
/// Read leniently: a leading `v` or `V` is allowed and missing parts are 0, so `v2.3` is `2.3.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

/// How two values of one type are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    Equal,
    Below,
    AtMost,
    Above,
    AtLeast,
}

// === impl Order ===

impl Order {
    pub(crate) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Order::Equal => ordering.is_eq(),
            Order::Below => ordering.is_lt(),
            Order::AtMost => ordering.is_le(),
            Order::Above => ordering.is_gt(),
            Order::AtLeast => ordering.is_ge(),
        }
    }

    /// The same with the sides changed.
    pub(crate) fn turned(self) -> Self {
        match self {
            Order::Equal => Order::Equal,
            Order::Below => Order::Above,
            Order::AtMost => Order::AtLeast,
            Order::Above => Order::Below,
            Order::AtLeast => Order::AtMost,
        }
    }

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Order::Equal => "==",
            Order::Below => "<",
            Order::AtMost => "<=",
            Order::Above => ">",
            Order::AtLeast => ">=",
        }
    }
}

// === impl Type ===

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::String => "string",
            Type::Int => "int",
            Type::Bool => "bool",
            Type::Ip => "ip",
            Type::Version => "version",
            Type::Time => "time",
            Type::Percent => "percent",
        })
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    /// The type of this value.
    pub fn ty(&self) -> Type {
        match self {
            Value::String(_) => Type::String,
            Value::Int(_) => Type::Int,
            Value::Bool(_) => Type::Bool,
            Value::Ip(_) => Type::Ip,
            Value::Version(_) => Type::Version,
            Value::Time(_) => Type::Time,
            Value::Percent(_) => Type::Percent,
        }
    }

    /// Whether the two compare so. Values of two types do not; addresses of two families do not either.
    pub(crate) fn compares(&self, order: Order, other: &Value<'_>) -> bool {
        let ordering = match (self, other) {
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Ip(a), Value::Ip(b)) if a.is_ipv4() == b.is_ipv4() => a.cmp(b),
            (Value::Version(a), Value::Version(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.cmp(b),
            (Value::Percent(a), Value::Percent(b)) => a.cmp(b),
            _ => return false,
        };
        order.holds(ordering)
    }

    /// An order over all values; of one type it is that of [`Value::compares`], and addresses of the two
    /// families are never equal.
    fn total(&self, other: &Value<'_>) -> Ordering {
        self.ty().cmp(&other.ty()).then_with(|| match (self, other) {
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Ip(a), Value::Ip(b)) => a.cmp(b),
            (Value::Version(a), Value::Version(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.cmp(b),
            (Value::Percent(a), Value::Percent(b)) => a.cmp(b),
            _ => Ordering::Equal,
        })
    }

    /// A string value that borrows.
    pub(crate) fn bytes(bytes: &'a [u8]) -> Self {
        Value::String(Cow::Borrowed(bytes))
    }

    /// An address, with IPv4-mapped IPv6 turned into IPv4.
    pub(crate) fn ip(ip: IpAddr) -> Self {
        Value::Ip(ip.to_canonical())
    }

    /// Hands the canonical text of the value to `f`, as keys of splits are hashed: a string's own bytes,
    /// a decimal int, an address as RFC 5952 writes it, `major.minor.patch[-pre]`, an RFC 3339 instant in
    /// UTC, `true` or `false`. Does not allocate, but for a version with a long pre-release.
    pub(crate) fn with_text<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        use fmt::Write as _;
        if let Value::String(bytes) = self {
            return f(bytes);
        }
        let mut text = Text(SmallVec::new());
        // Writing to a growing buffer cannot fail.
        let _ = match self {
            Value::String(_) => Ok(()),
            Value::Int(i) => write!(text, "{i}"),
            Value::Bool(b) => write!(text, "{b}"),
            Value::Ip(ip) => write!(text, "{ip}"),
            Value::Version(v) => write!(text, "{v}"),
            Value::Time(t) => write!(text, "{t}"),
            Value::Percent(p) => write!(text, "{}", decimal4(u64::from(*p))),
        };
        f(&text.0)
    }
}

/// Up to this many values of one side, all pairs are compared.
const FEW: usize = 8;

/// Whether some value of one side compares so to some value of the other; of each side, all have one type.
///
/// Each side may have as many values as fit into a request, and their product must not be what it costs: where
/// both have more than a few, it is the length of the row and its logarithm.
pub(crate) fn any_compares(order: Order, these: &[Value<'_>], those: &[Value<'_>]) -> bool {
    let ip = matches!(these, [Value::Ip(_), ..]);
    if these.len().min(those.len()) <= FEW || (ip && order != Order::Equal) {
        return these.iter().any(|a| those.iter().any(|b| a.compares(order, b)));
    }
    let ends = match order {
        Order::Equal => {
            let (short, long) = if these.len() <= those.len() { (these, those) } else { (those, these) };
            let mut sorted: Vec<&Value<'_>> = short.iter().collect();
            sorted.sort_unstable_by(|a, b| a.total(b));
            return long.iter().any(|value| sorted.binary_search_by(|other| other.total(value)).is_ok());
        }
        Order::Below | Order::AtMost => {
            these.iter().min_by(|a, b| a.total(b)).zip(those.iter().max_by(|a, b| a.total(b)))
        }
        Order::Above | Order::AtLeast => {
            these.iter().max_by(|a, b| a.total(b)).zip(those.iter().min_by(|a, b| a.total(b)))
        }
    };
    ends.is_some_and(|(a, b)| a.compares(order, b))
}

/// A number kept in steps of 0.0001, as it is written: `5`, `0.5`, `12.3456`.
pub(crate) fn decimal4(steps: u64) -> impl fmt::Display {
    struct Decimal(u64);
    impl fmt::Display for Decimal {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
            if rest == 0 {
                return write!(f, "{whole}");
            }
            let digits = format!("{rest:04}");
            write!(f, "{whole}.{}", digits.trim_end_matches('0'))
        }
    }
    Decimal(steps)
}

struct Text(SmallVec<[u8; 64]>);

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<IpAddr> for Value<'_> {
    fn from(value: IpAddr) -> Self {
        Value::ip(value)
    }
}

impl From<Time> for Value<'_> {
    fn from(value: Time) -> Self {
        Value::Time(value)
    }
}

impl From<SystemTime> for Value<'_> {
    fn from(value: SystemTime) -> Self {
        Value::Time(value.into())
    }
}

impl From<Version> for Value<'_> {
    fn from(value: Version) -> Self {
        Value::Version(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Value::bytes(value.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Value::bytes(value)
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Value::String(Cow::Owned(value.into_bytes()))
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(value: Cow<'a, str>) -> Self {
        match value {
            Cow::Borrowed(s) => s.into(),
            Cow::Owned(s) => s.into(),
        }
    }
}

// === impl Time ===

/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;

impl Time {
    /// Reads an RFC 3339 instant, which must have an offset.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // RFC 3339 and nothing else: jiff alone also reads ISO 8601's basic format, hours-only offsets
        // and the RFC 9557 suffix.
        let b = text.as_bytes();
        let digits = |range: std::ops::Range<usize>| {
            b.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
        };
        let at = |i: usize, set: &[u8]| b.get(i).is_some_and(|c| set.contains(c));
        let date = digits(0..4) && at(4, b"-") && digits(5..7) && at(7, b"-") && digits(8..10);
        let time = at(10, b"Tt ")
            && digits(11..13)
            && at(13, b":")
            && digits(14..16)
            && at(16, b":")
            && digits(17..19);
        let rest = text.get(19..).filter(|_| date && time)?;
        let offset = match rest.strip_prefix('.') {
            Some(fraction) => {
                let end =
                    fraction.bytes().position(|c| !c.is_ascii_digit()).filter(|&n| (1..=9).contains(&n))?;
                fraction.get(end..)?
            }
            None => rest,
        };
        let o = offset.as_bytes();
        let zoned = matches!(o, b"Z" | b"z")
            || matches!(o, [b'+' | b'-', h1, h2, b':', m1, m2]
                if [h1, h2, m1, m2].iter().all(|c| c.is_ascii_digit()));
        if !zoned {
            return None;
        }
        let nanos = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
        Some(Time {
            seconds: i64::try_from(nanos.div_euclid(SECOND)).ok()?,
            nanos: u32::try_from(nanos.rem_euclid(SECOND)).ok()?,
        })
    }
}

impl From<SystemTime> for Time {
    fn from(value: SystemTime) -> Self {
        let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        match value.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Time { seconds: seconds(since), nanos: since.subsec_nanos() },
            Err(before) => {
                // Down to the whole second before it.
                let up = (1_000_000_000 - before.duration().subsec_nanos()) % 1_000_000_000;
                Time { seconds: -seconds(before.duration()) - i64::from(up > 0), nanos: up }
            }
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.seconds) * SECOND + i128::from(self.nanos);
        match jiff::Timestamp::from_nanosecond(nanos) {
            Ok(stamp) => write!(f, "{stamp}"),
            // Outside the years -9999 to 9999 there is no RFC 3339 text.
            Err(_) => write!(f, "{nanos}ns"),
        }
    }
}

// === impl Version ===

impl Version {
    /// Reads a version; see the type for what is accepted. Allocates only for a pre-release of more than
    /// eight bytes.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (text, build) = match text.split_once('+') {
            Some((text, build)) => (text, Some(build)),
            None => (text, None),
        };
        // Checked by hand and not by `BuildMetadata::new`, which allocates for what never compares.
        let identifiers = |s: &str| {
            s.split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-'))
        };
        if build.is_some_and(|build| !identifiers(build)) {
            return None;
        }
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (core, Some(pre)),
            None => (text, None),
        };
        let mut parts = core.split('.');
        let mut part = |required: bool| match parts.next() {
            Some(part) => number(part),
            None if required => None,
            None => Some(0),
        };
        let (major, minor, patch) = (part(true)?, part(false)?, part(false)?);
        if parts.next().is_some() {
            return None;
        }
        let mut version = semver::Version::new(major, minor, patch);
        if let Some(pre) = pre {
            // An empty pre-release is legal to the crate and not to the grammar of semver.
            version.pre = semver::Prerelease::new(pre).ok().filter(|pre| !pre.is_empty())?;
        }
        Some(Version(version))
    }

    /// Empty where there is none.
    pub(crate) fn pre_release(&self) -> &str {
        &self.0.pre
    }
}

/// A numeric identifier of semver: digits, no leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let canonical = text.len() == 1 || !text.starts_with('0');
    if plain && canonical { text.parse().ok() } else { None }
}

/// An int in a request: an optional `-` and digits, leading zeros allowed.
pub(crate) fn parse_int(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_of_the_clock_is_what_is_written_of_it() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0_i64, 0),
            ("1970-01-01T00:00:01.5Z", 1, 500_000_000),
            ("1969-12-31T23:59:59.25Z", -1, 250_000_000),
            ("1969-12-31T23:59:59Z", -1, 0),
        ] {
            let moment = match u64::try_from(seconds) {
                Ok(seconds) => SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
                Err(_) => SystemTime::UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()),
            } + Duration::from_nanos(nanos);
            let time = Time::parse(text).unwrap();
            assert_eq!((Time::from(moment), time.to_string()), (time, text.to_owned()));
        }
    }

    fn values() -> impl Strategy<Value = (Vec<Value<'static>>, Vec<Value<'static>>)> {
        let row = |value: BoxedStrategy<Value<'static>>| {
            let rows = prop::collection::vec(value, 0..24);
            (rows.clone(), rows).boxed()
        };
        let ip = |(four, low): (bool, u8)| {
            if four { IpAddr::from([10, 0, 0, low]) } else { IpAddr::from([0, 0, 0, 0, 0, 0, 1, low.into()]) }
        };
        prop_oneof![
            row((0..60_i64).prop_map(Value::Int).boxed()),
            row("[ab]{0,5}".prop_map(Value::from).boxed()),
            row(any::<bool>().prop_map(Value::Bool).boxed()),
            row((any::<bool>(), 0..60_u8).prop_map(move |of| Value::Ip(ip(of))).boxed()),
            row((0..60_u32).prop_map(Value::Percent).boxed()),
        ]
    }

    proptest! {
        #[test]
        fn some_pair_compares_or_none((these, those) in values(), apart in 0..60_i64) {
            // Moved apart, so that not nearly all rows have a pair.
            let those: Vec<_> = those
                .into_iter()
                .map(|value| if let Value::Int(i) = value { Value::Int(i + apart) } else { value })
                .collect();
            for order in [Order::Equal, Order::Below, Order::AtMost, Order::Above, Order::AtLeast] {
                let pairs = these.iter().any(|a| those.iter().any(|b| a.compares(order, b)));
                prop_assert_eq!(any_compares(order, &these, &those), pairs, "{:?}", order);
            }
        }
    }
}
