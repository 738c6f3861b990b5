//! The header fields that tell a client about limits: `Retry-After`, and `RateLimit-Policy` and `RateLimit` as
//! draft-ietf-httpapi-ratelimit-headers-11 has them, which are lists of structured fields (RFC 9651).

use std::fmt::Write;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::bucket::{Rate, Verdict};
use crate::engine::Limit;
use crate::gateway::answer::Fields;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The largest integer of structured fields.
const LARGEST: u128 = 999_999_999_999_999;

/// The two fields, while they are written.
#[derive(Debug, Default)]
pub(super) struct Lists {
    policy: String,
    limit: String,
}

// === impl Lists ===

impl Lists {
    /// Adds a limit by the name of its statement.
    pub(super) fn push(&mut self, name: &str, limit: &Limit, rate: Rate, verdict: Verdict) {
        let (left, next) = match verdict {
            Verdict::Taken { left, next } => (left, next),
            Verdict::Refused { wait } => (0, wait),
        };
        for list in [&mut self.policy, &mut self.limit] {
            if !list.is_empty() {
                list.push_str(", ");
            }
            push_string(list, name);
        }
        let (quota, window) = quota(limit, rate);
        let _ = write!(self.policy, ";q={quota};w={window}");
        let _ = write!(self.limit, ";r={left}");
        if !next.is_zero() {
            let _ = write!(self.limit, ";t={}", seconds(next));
        }
    }

    /// The fields, if there is a limit.
    pub(super) fn fields(self) -> Option<Fields> {
        let value = |list: String| HeaderValue::try_from(list).ok();
        (!self.policy.is_empty()).then_some(())?;
        Some([(POLICY, value(self.policy)?), (LIMIT, value(self.limit)?)])
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

/// As a string of structured fields, which has printable ASCII. Of other characters, and of `%`, each byte is `%` and two
/// hexadecimal digits.
fn push_string(to: &mut String, name: &str) {
    to.push('"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => to.extend(['\\', char::from(byte)]),
            b' '..=b'~' if byte != b'%' => to.push(char::from(byte)),
            _ => {
                let _ = write!(to, "%{byte:02X}");
            }
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::bucket::Buckets;
    use super::*;

    fn fields(name: &str, limit: Limit, share: f64, taken: u32) -> [String; 2] {
        let buckets = Buckets::new(limit, 0);
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
        let buckets = Buckets::new(limit(10, 1_000, 10), 0);
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
    fn seconds_are_rounded_up() {
        let rounded = [0, 1, 999_999_999, 1_000_000_000, 1_000_000_001]
            .map(|nanos| seconds(Duration::from_nanos(nanos)));
        assert_eq!(rounded, [0, 1, 1, 1, 2]);
    }
}
