//! The header fields that tell a client about limits: `Retry-After`, and `RateLimit-Policy` and `RateLimit` as
//! draft-ietf-httpapi-ratelimit-headers-11 has them, which are lists of structured fields (RFC 9651).

use std::fmt::Write;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::bucket::{Rate, Verdict};
use crate::engine::Limit;
use crate::gateway::answer::Fields;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The largest integer of structured fields.
const LARGEST: u128 = 999_999_999_999_999;

/// How many limits a response tells of: a text may have thousands that one request matches, and clients read few.
const TOLD: usize = 8;

/// How many bytes the name of a limit may have there, escaped. One with a longer name is not told of, as one that was cut
/// may be another's.
const NAME: usize = 128;

/// The limits that a response tells of: of all, those with the fewest tokens left.
#[derive(Debug, Default)]
pub(super) struct Lists<'n> {
    /// In the order in which they came.
    told: SmallVec<[Told<'n>; TOLD]>,
}

#[derive(Debug)]
struct Told<'n> {
    name: &'n str,
    limit: Limit,
    rate: Rate,
    left: u64,
    next: Duration,
}

// === impl Lists ===

impl<'n> Lists<'n> {
    /// Adds a limit by the name of its statement, or leaves it out when there are enough that are nearer to their end.
    pub(super) fn push(&mut self, name: &'n str, limit: &Limit, rate: Rate, verdict: Verdict) {
        let (left, next) = match verdict {
            Verdict::Taken { left, next } => (left, next),
            Verdict::Refused { wait } => (0, wait),
        };
        if escaped(name).take(NAME + 1).count() > NAME {
            return;
        }
        if self.told.len() == TOLD {
            // Of equals, the one that came last goes.
            let most = self.told.iter().enumerate().max_by_key(|(_, told)| told.left);
            match most.map(|(at, told)| (at, told.left)) {
                Some((at, most)) if left < most => drop(self.told.remove(at)),
                _ => return,
            }
        }
        self.told.push(Told { name, limit: *limit, rate, left, next });
    }

    /// The fields, if there is a limit.
    pub(super) fn fields(&self) -> Option<Fields> {
        let (mut policy, mut limit) = (String::new(), String::new());
        for told in &self.told {
            for list in [&mut policy, &mut limit] {
                if !list.is_empty() {
                    list.push_str(", ");
                }
                list.push('"');
                list.extend(escaped(told.name));
                list.push('"');
            }
            let (quota, window) = quota(&told.limit, told.rate);
            let _ = write!(policy, ";q={quota};w={window}");
            let _ = write!(limit, ";r={}", told.left);
            if !told.next.is_zero() {
                let _ = write!(limit, ";t={}", seconds(told.next));
            }
        }
        let value = |list: String| HeaderValue::try_from(list).ok();
        (!policy.is_empty()).then_some(())?;
        Some([(POLICY, value(policy)?), (LIMIT, value(limit)?)])
    }
}

/// How many requests in how many whole seconds: in the statement's own time where that is possible, in more where a node's
/// share of it is less than one request.
fn quota(limit: &Limit, rate: Rate) -> (u128, u128) {
    const SECOND: u128 = 1_000_000_000;
    let interval = u128::from(rate.interval);
    let window = limit.per.as_nanos().div_ceil(SECOND).max(1);
    // To the nearest, as the interval is rounded.
    let quota = (window * SECOND + interval / 2) / interval;
    let (quota, window) = if quota == 0 { (1, interval.div_ceil(SECOND)) } else { (quota, window) };
    (quota.min(LARGEST), window.min(LARGEST))
}

/// As whole seconds, rounded up: whoever comes then is not too early.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// What stands in a string of structured fields, which has printable ASCII. Of other characters, and of `%`, each byte is `%`
/// and two hexadecimal digits.
fn escaped(name: &str) -> impl Iterator<Item = char> {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0').to_ascii_uppercase();
    name.bytes().flat_map(move |byte| {
        let three = match byte {
            b'"' | b'\\' => [Some('\\'), Some(char::from(byte)), None],
            b' '..=b'~' if byte != b'%' => [Some(char::from(byte)), None, None],
            _ => [Some('%'), Some(digit(byte >> 4)), Some(digit(byte & 15))],
        };
        three.into_iter().flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::super::bucket::{Buckets, Size};
    use super::*;

    fn fields(name: &str, limit: Limit, share: f64, taken: u32) -> [String; 2] {
        let buckets = Buckets::new(limit, Size::alone(0));
        let rate = buckets.rate(share);
        let mut lists = Lists::default();
        let verdict = (0..taken).map(|_| buckets.take(None, rate, 0)).last().unwrap();
        lists.push(name, &limit, rate, verdict);
        lists.fields().unwrap().map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    fn limit(count: u32, millis: u64, burst: u32) -> Limit {
        Limit { count, per: Duration::from_millis(millis), burst, keyed: false }
    }

    #[test]
    fn a_policy_is_of_whole_requests_in_whole_seconds() {
        let policy = |limit, share| fields("l", limit, share, 1)[0].clone();
        assert_eq!(policy(limit(100, 1_000, 200), 1.0), r#""l";q=100;w=1"#);
        assert_eq!(policy(limit(1_000, 3_600_000, 10), 1.0), r#""l";q=1000;w=3600"#);
        // A share, as whole requests where that is possible.
        assert_eq!(policy(limit(100, 1_000, 200), 0.25), r#""l";q=25;w=1"#);
        assert_eq!(policy(limit(1, 1_000, 1), 0.25), r#""l";q=1;w=4"#);
        assert_eq!(policy(limit(1, 1_000, 1), 0.3), r#""l";q=1;w=4"#);
        // There are no parts of seconds.
        assert_eq!(policy(limit(10, 100, 10), 1.0), r#""l";q=100;w=1"#);
        assert_eq!(policy(limit(3, 1_500, 3), 1.0), r#""l";q=4;w=2"#);
        assert_eq!(policy(limit(3, 1_000, 3), 1.0), r#""l";q=3;w=1"#);
    }

    #[test]
    fn what_is_left_and_when_there_is_more() {
        let left = |taken| fields("l", limit(1, 10_000, 3), 1.0, taken)[1].clone();
        assert_eq!(left(1), r#""l";r=2;t=10"#);
        assert_eq!(left(3), r#""l";r=0;t=10"#);
        assert_eq!(left(4), r#""l";r=0;t=10"#);
        assert_eq!(fields("l", limit(100, 1_000, 3), 1.0, 4)[1], r#""l";r=0;t=1"#);
    }

    #[test]
    fn a_name_is_a_string_of_structured_fields_whatever_it_is() {
        let named = |name| fields(name, limit(1, 1_000, 1), 1.0, 1)[0].clone();
        assert_eq!(named("search"), r#""search";q=1;w=1"#);
        assert_eq!(named(r#"a "b" \c"#), r#""a \"b\" \\c";q=1;w=1"#);
        assert_eq!(named("50%, ä\n"), r#""50%25, %C3%A4%0A";q=1;w=1"#);
    }

    #[test]
    fn limits_make_a_list() {
        let mut lists = Lists::default();
        let buckets = Buckets::new(limit(10, 1_000, 10), Size::alone(0));
        for name in ["a", "b"] {
            lists.push(name, buckets.limit(), buckets.rate(1.0), buckets.take(None, buckets.rate(1.0), 0));
        }
        let fields =
            lists.fields().unwrap().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        assert_eq!(
            fields,
            [r#"ratelimit-policy: "a";q=10;w=1, "b";q=10;w=1"#, r#"ratelimit: "a";r=9;t=1, "b";r=8;t=1"#]
        );
        assert!(Lists::default().fields().is_none());
    }

    #[test]
    fn of_very_many_limits_those_are_told_of_that_have_fewest_tokens_left() {
        let one = limit(10, 1_000, 10);
        let rate = Buckets::new(one, Size::alone(0)).rate(1.0);
        let told = |left: &[u64]| {
            let names: Vec<_> = (0..left.len()).map(|at| format!("l{at}")).collect();
            let mut lists = Lists::default();
            for (name, left) in names.iter().zip(left) {
                lists.push(name, &one, rate, Verdict::Taken { left: *left, next: Duration::ZERO });
            }
            lists.fields().unwrap().map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        let all: Vec<u64> = (0..10_000).map(|at| 10_000 - at).collect();
        let wanted: Vec<_> = (9_992..10_000).map(|at| format!("\"l{at}\";r={}", 10_000 - at)).collect();
        assert_eq!(told(&all)[1], wanted.join(", "));
        assert!(told(&all)[0].starts_with("\"l9992\";q=10;w=1, \"l9993\""));
        // In the order of the text; of equals, the first ones.
        let wanted = r#""l0";r=5, "l1";r=5, "l2";r=1, "l3";r=5, "l4";r=5, "l6";r=5, "l7";r=5, "l9";r=0"#;
        assert_eq!(told(&[5, 5, 1, 5, 5, 9, 5, 5, 5, 0, 5])[1], wanted);
    }

    #[test]
    fn a_limit_with_a_very_long_name_is_not_told_of() {
        let one = limit(10, 1_000, 10);
        let told = |name: &str| {
            let (buckets, mut lists) = (Buckets::new(one, Size::alone(0)), Lists::default());
            lists.push(name, &one, buckets.rate(1.0), buckets.take(None, buckets.rate(1.0), 0));
            lists.fields()
        };
        assert!(told(&"x".repeat(128)).is_some() && told(&"ä".repeat(21)).is_some());
        assert!(told(&"x".repeat(129)).is_none() && told(&"ä".repeat(22)).is_none());
        assert!(told(&"x".repeat(4 << 20)).is_none());
    }

    #[test]
    fn seconds_are_rounded_up() {
        let rounded = [0, 1, 999_999_999, 1_000_000_000, 1_000_000_001]
            .map(|nanos| seconds(Duration::from_nanos(nanos)));
        assert_eq!(rounded, [0, 1, 1, 1, 2]);
    }
}
