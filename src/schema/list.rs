//! Lists of values, as `in` asks them.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Time, Type, Value, Version};

/// A list of values of one type, for the `in` of a rule.
///
/// The application supplies those that are too long for a rule text or that it knows better: a million strings
/// is a normal size. Built once, then shared: a clone is a pointer.
///
/// ```
/// use pointsman::schema::List;
///
/// let beta = List::strings(["1001", "1002"]);
/// assert_eq!(beta.len(), 2);
/// let office = List::networks(["10.0.0.0/8", "2001:db8::1"])?;
/// assert_eq!(office.len(), 2);
/// # Ok::<(), pointsman::schema::BadMember>(())
/// ```
#[derive(Clone)]
pub struct List(Arc<Members>);

/// A text that cannot be a member of the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct BadMember {
    text: String,
    expected: &'static str,
}

enum Members {
    // Seeded per process, so that nobody can send keys that collide.
    Strings(HashSet<Box<[u8]>, foldhash::fast::RandomState>),
    Ints(Ranges<i64>),
    Ips { v4: Ranges<u32>, v6: Ranges<u128> },
    Versions(Ranges<Version>),
    Times(Ranges<Time>),
}

/// Inclusive ranges, sorted, none touching another: a member is found by halving.
struct Ranges<T>(Box<[(T, T)]>);

// === impl List ===

impl List {
    /// Strings, compared byte by byte. A look-up hashes once and costs the same whatever the length.
    pub fn strings<S: AsRef<[u8]>>(members: impl IntoIterator<Item = S>) -> Self {
        List::new(Members::Strings(members.into_iter().map(|s| Box::from(s.as_ref())).collect()))
    }

    /// Ints. A look-up costs the logarithm of the length, as with every list but strings.
    pub fn ints(members: impl IntoIterator<Item = i64>) -> Self {
        List::int_ranges(members.into_iter().map(|i| i..=i))
    }

    /// Ranges of ints; empty ones are left out.
    pub fn int_ranges(members: impl IntoIterator<Item = RangeInclusive<i64>>) -> Self {
        List::new(Members::Ints(Ranges::new(members.into_iter().map(RangeInclusive::into_inner).collect())))
    }

    /// Addresses.
    pub fn ips(members: impl IntoIterator<Item = IpAddr>) -> Self {
        List::ip_ranges(members.into_iter().map(|ip| (ip, ip)))
    }

    /// Networks in CIDR notation, and single addresses, as text. IPv4-mapped ones are IPv4.
    ///
    /// # Errors
    ///
    /// When a text is neither, or a network has bits set after its prefix.
    pub fn networks<S: AsRef<str>>(members: impl IntoIterator<Item = S>) -> Result<Self, BadMember> {
        let ranges = members.into_iter().map(|text| {
            let text = text.as_ref();
            network(text)
                .ok_or_else(|| BadMember { text: text.to_owned(), expected: "a network or an address" })
        });
        Ok(List::ip_ranges(ranges.collect::<Result<Vec<_>, _>>()?))
    }

    /// Versions, as text.
    ///
    /// # Errors
    ///
    /// When a text is not a [`Version`].
    pub fn versions<S: AsRef<str>>(members: impl IntoIterator<Item = S>) -> Result<Self, BadMember> {
        let versions = members.into_iter().map(|text| {
            let text = text.as_ref();
            let version = Version::parse(text.as_bytes())
                .ok_or_else(|| BadMember { text: text.to_owned(), expected: "a version" })?;
            Ok((version.clone(), version))
        });
        Ok(List::new(Members::Versions(Ranges::new(versions.collect::<Result<_, _>>()?))))
    }

    /// Ranges of instants, both ends included.
    pub fn times(members: impl IntoIterator<Item = RangeInclusive<SystemTime>>) -> Self {
        let ranges = members.into_iter().map(|range| (Time::from(*range.start()), Time::from(*range.end())));
        List::new(Members::Times(Ranges::new(ranges.collect())))
    }

    /// Inclusive ranges of values of type `ty`; what has another type is left out.
    pub(crate) fn of_ranges(
        ty: Type,
        members: impl IntoIterator<Item = (Value<'static>, Value<'static>)>,
    ) -> Self {
        let members = members.into_iter();
        macro_rules! ranges {
            ($variant:ident) => {
                members.filter_map(|pair| match pair {
                    (Value::$variant(from), Value::$variant(to)) => Some((from, to)),
                    _ => None,
                })
            };
        }
        match ty {
            Type::Int => List::new(Members::Ints(Ranges::new(ranges!(Int).collect()))),
            Type::Ip => List::ip_ranges(ranges!(Ip)),
            Type::Version => List::new(Members::Versions(Ranges::new(ranges!(Version).collect()))),
            Type::Time => List::new(Members::Times(Ranges::new(ranges!(Time).collect()))),
            _ => List::new(Members::Strings(ranges!(String).map(|(s, _)| Box::from(s.as_ref())).collect())),
        }
    }

    /// The type of the members.
    pub fn ty(&self) -> Type {
        match *self.0 {
            Members::Strings(_) => Type::String,
            Members::Ints(_) => Type::Int,
            Members::Ips { .. } => Type::Ip,
            Members::Versions(_) => Type::Version,
            Members::Times(_) => Type::Time,
        }
    }

    /// How many members there are; ranges that overlap count once.
    pub fn len(&self) -> usize {
        match &*self.0 {
            Members::Strings(set) => set.len(),
            Members::Ints(ranges) => ranges.0.len(),
            Members::Ips { v4, v6 } => v4.0.len() + v6.0.len(),
            Members::Versions(ranges) => ranges.0.len(),
            Members::Times(ranges) => ranges.0.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `value` is a member; a value of another type is not.
    pub fn contains(&self, value: &Value<'_>) -> bool {
        match (&*self.0, value) {
            (_, Value::String(text)) => self.contains_text(text),
            (Members::Ints(ranges), Value::Int(i)) => ranges.contains(i),
            (Members::Ips { v4, .. }, Value::Ip(IpAddr::V4(ip))) => v4.contains(&u32::from(*ip)),
            (Members::Ips { v6, .. }, Value::Ip(IpAddr::V6(ip))) => v6.contains(&u128::from(*ip)),
            (Members::Versions(ranges), Value::Version(v)) => ranges.contains(v),
            (Members::Times(ranges), Value::Time(t)) => ranges.contains(t),
            _ => false,
        }
    }

    /// Whether a text is a member.
    pub(crate) fn contains_text(&self, text: &[u8]) -> bool {
        match &*self.0 {
            Members::Strings(set) => set.contains(text),
            _ => false,
        }
    }

    /// The members of a list of strings.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let texts = match &*self.0 {
            Members::Strings(set) => Some(set),
            _ => None,
        };
        texts.into_iter().flatten().map(|text| &**text)
    }

    /// The members of any other list, as inclusive ranges.
    pub(crate) fn ranges(&self) -> Vec<(Value<'static>, Value<'static>)> {
        fn all<T: Clone>(
            ranges: &Ranges<T>,
            value: impl Fn(T) -> Value<'static>,
        ) -> impl Iterator<Item = (Value<'static>, Value<'static>)> {
            ranges.0.iter().map(move |(from, to)| (value(from.clone()), value(to.clone())))
        }
        match &*self.0 {
            Members::Strings(_) => Vec::new(),
            Members::Ints(ranges) => all(ranges, Value::Int).collect(),
            Members::Ips { v4, v6 } => {
                let v4 = all(v4, |ip| Value::Ip(std::net::Ipv4Addr::from(ip).into()));
                v4.chain(all(v6, |ip| Value::Ip(std::net::Ipv6Addr::from(ip).into()))).collect()
            }
            Members::Versions(ranges) => all(ranges, Value::Version).collect(),
            Members::Times(ranges) => all(ranges, Value::Time).collect(),
        }
    }

    /// Whether the two are one and the same in memory.
    /// What no other list has for as long as this one lives.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(crate) fn is_same(&self, other: &List) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// An estimate of the memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let each = match &*self.0 {
            Members::Strings(set) => {
                return set.capacity() * 17 + set.iter().map(|s| s.len()).sum::<usize>();
            }
            Members::Ints(_) | Members::Times(_) | Members::Ips { .. } => 32,
            Members::Versions(_) => 80,
        };
        self.len() * each
    }

    fn new(members: Members) -> Self {
        List(Arc::new(members))
    }

    fn ip_ranges(members: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (from, to) in members {
            match (from.to_canonical(), to.to_canonical(), from, to) {
                (IpAddr::V4(from), IpAddr::V4(to), ..) => v4.push((u32::from(from), u32::from(to))),
                // As they are: `::/80` ends with an address that is IPv4-mapped, and is IPv6 all the same.
                (_, _, IpAddr::V6(from), IpAddr::V6(to)) => v6.push((u128::from(from), u128::from(to))),
                // No range holds addresses of both families.
                _ => {}
            }
        }
        List::new(Members::Ips { v4: Ranges::new(v4), v6: Ranges::new(v6) })
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The members themselves may be a million people's ids.
        write!(f, "List({} × {})", self.len(), self.ty())
    }
}

/// The first and last address of a network or of one address.
fn network(text: &str) -> Option<(IpAddr, IpAddr)> {
    let Some((address, prefix)) = text.split_once('/') else {
        let ip = text.parse::<IpAddr>().ok()?;
        return Some((ip, ip));
    };
    let net = ipnet::IpNet::new(address.parse().ok()?, prefix.parse().ok()?).ok()?;
    // `::ffff:10.0.0.0/104` is `10.0.0.0/8`; both ends become IPv4 on their own.
    (net.trunc() == net).then(|| (net.network(), net.broadcast()))
}

// === impl Ranges ===

impl<T: Ord + Clone> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.retain(|(from, to)| from <= to);
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let overlaps = next.0 <= last.1;
            if overlaps && next.1 > last.1 {
                last.1 = next.1.clone();
            }
            overlaps
        });
        Ranges(ranges.into_boxed_slice())
    }

    fn contains(&self, value: &T) -> bool {
        let next = self.0.partition_point(|(from, _)| from <= value);
        next.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, to)| value <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_are_one_and_reversed_ones_are_none() {
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
        let list = List::int_ranges([5..=9, 1..=3, 8..=12, 30..=20, i64::MAX..=i64::MAX]);
        assert_eq!(list.len(), 3);
        let members: Vec<i64> = (0..40).filter(|i| list.contains(&Value::Int(*i))).collect();
        assert_eq!(members, [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert!(list.contains(&Value::Int(i64::MAX)));
        assert!(!list.contains(&Value::from("5")));
    }

    #[test]
    fn a_network_holds_its_addresses_in_either_spelling() {
        let list = List::networks(["10.0.0.0/8", "::ffff:192.168.0.0/112", "2001:db8::/32"]).unwrap();
        let holds = |ip: &str| list.contains(&Value::ip(ip.parse().unwrap()));
        assert!(
            holds("10.1.2.3") && holds("::ffff:10.1.2.3") && holds("192.168.255.255") && holds("2001:db8::1")
        );
        assert!(!holds("11.0.0.0") && !holds("2001:db9::") && !holds("192.169.0.0"));
        let list = List::networks(["::/80", "::8000:0:0/81"]).unwrap();
        assert!(list.contains(&Value::ip("::1".parse().unwrap())));
        assert!(!list.contains(&Value::ip("::ffff:192.0.2.1".parse().unwrap())));
        let bad = List::networks(["10.0.0.1/8"]).unwrap_err();
        assert_eq!(bad.to_string(), "`10.0.0.1/8` is not a network or an address");
    }
}
