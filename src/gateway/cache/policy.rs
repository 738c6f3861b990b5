//! What RFC 9111 says of a response: whether a shared cache may store it, and how long it may be used.
//!
//! `http-cache-semantics` decides whether a response is storable and how long it is fresh. It sees the response's header
//! fields in one clean form that we make: directives in lower case, quoted strings taken apart, numbers within bounds, dates
//! in the one format that it reads. As they come they would lead it astray: it takes `No-Store` for an unknown word, and an
//! `Age` near 2⁶⁴ for a reason to panic. What the rule allows is left out of what it sees. The numbers that it gives are kept,
//! it is not. The stale extensions (RFC 5861), a request's directives and the age are ours.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::header::{
    AGE, CACHE_CONTROL, DATE, ETAG, EXPIRES, HeaderName, LAST_MODIFIED, PRAGMA, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::counts::Refusal;
use crate::engine::Cache;

/// For how long a stored response may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    received: SystemTime,
    initial_age: Duration,
    lifetime: Duration,
    /// How long beyond that while it is fetched anew,
    while_revalidate: Duration,
    /// and when that fails.
    if_error: Duration,
    /// Whether a client may ask for it when it is stale, by `max-stale`.
    may_be_stale: bool,
}

/// What may be done with a stored response now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Fresh,
    /// The client takes it as it is.
    Stale,
    /// It answers, and is fetched anew meanwhile.
    StaleWhileRevalidate,
    /// The backend is asked first.
    Ask,
}

/// The directives of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) only_if_cached: bool,
    max_age: Option<Duration>,
    min_fresh: Option<Duration>,
    max_stale: Option<Duration>,
}

/// The directives of a response.
#[derive(Debug, Default)]
struct Said {
    no_store: bool,
    no_cache: bool,
    private: bool,
    must_revalidate: bool,
    s_maxage: bool,
    max_age: bool,
    while_revalidate: Duration,
    if_error: Duration,
    /// All that concerns the semantics, in the form that they are given.
    clean: String,
}

/// Statuses that a cache may store without being told for how long, and this one does not: they are about what is odd in one
/// request, such as a header field that its key does not have, and would be told to all others.
const OF_THE_REQUEST: [StatusCode; 3] =
    [StatusCode::METHOD_NOT_ALLOWED, StatusCode::URI_TOO_LONG, StatusCode::NOT_IMPLEMENTED];

/// RFC 9111, 1.2.2: what is more counts as this.
const MOST_SECONDS: u64 = 1 << 31;

// === impl Terms ===

impl Terms {
    /// Whether a response may be stored, and on what terms. The request has nothing that speaks against it.
    pub(super) fn of(
        rule: &Cache,
        status: StatusCode,
        headers: &HeaderMap,
        asked: SystemTime,
        received: SystemTime,
    ) -> Result<Self, Refusal> {
        let said = Said::in_headers(headers, rule.private);
        if said.no_store {
            return Err(Refusal::NoStore);
        }
        if said.private && !rule.private {
            return Err(Refusal::Private);
        }
        if headers.contains_key(SET_COOKIE) && !rule.set_cookie {
            return Err(Refusal::SetCookie);
        }
        // What is no name selects by something that we do not know.
        let is_name = |name: &[u8]| name.is_empty() || name != b"*" && HeaderName::from_bytes(name).is_ok();
        let mut varies =
            headers.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
        if !varies.all(|name| is_name(name.trim_ascii())) {
            return Err(Refusal::Vary);
        }
        let date = headers.get(DATE).and_then(date);
        let policy = policy(status, &said, headers, date, received);
        if !policy.is_storable() {
            return Err(Refusal::Status);
        }
        let explicit = said.s_maxage || said.max_age || headers.contains_key(EXPIRES);
        if !explicit && OF_THE_REQUEST.contains(&status) {
            return Err(Refusal::Status);
        }
        let lifetime = match (said.no_cache, explicit) {
            (true, _) => Duration::ZERO,
            (false, true) => policy.time_to_live(received),
            (false, false) => rule.fresh,
        };
        let forbids = said.must_revalidate || said.no_cache;
        // What the rule adds does not change the sense of `max-age=0`: ask each time.
        let by_rule = if said.s_maxage { Duration::ZERO } else { rule.stale };
        let while_revalidate = if lifetime.is_zero() { Duration::ZERO } else { by_rule };
        let allowed =
            |own: Duration, by_rule: Duration| if forbids { Duration::ZERO } else { own.max(by_rule) };
        let terms = Terms {
            received,
            initial_age: initial_age(headers, date, asked, received),
            lifetime,
            while_revalidate: allowed(said.while_revalidate, while_revalidate),
            if_error: allowed(said.if_error, by_rule),
            may_be_stale: !forbids && !said.s_maxage,
        };
        let validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
        let last = terms.lifetime + terms.while_revalidate.max(terms.if_error);
        if validator || terms.initial_age < last { Ok(terms) } else { Err(Refusal::Expired) }
    }

    /// RFC 9111, 4.2.3.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        self.initial_age + now.duration_since(self.received).unwrap_or_default()
    }

    /// What is left of its freshness in seconds; less than none when it is stale.
    pub(super) fn time_to_live(&self, now: SystemTime) -> i64 {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        seconds(self.lifetime).saturating_sub(seconds(self.age(now)))
    }

    /// What may be done for a request.
    pub(super) fn usable(&self, now: SystemTime, wanted: &Wanted) -> Use {
        let age = self.age(now);
        let left = self.lifetime.saturating_sub(age);
        if wanted.own()
            || wanted.max_age.is_some_and(|most| age > most)
            || wanted.min_fresh.is_some_and(|least| left < least)
        {
            return Use::Ask;
        }
        if age < self.lifetime {
            return Use::Fresh;
        }
        let overdue = age.saturating_sub(self.lifetime);
        if overdue < self.while_revalidate {
            Use::StaleWhileRevalidate
        } else if self.may_be_stale && wanted.max_stale.is_some_and(|most| overdue <= most) {
            Use::Stale
        } else {
            Use::Ask
        }
    }

    /// Whether it may answer when the backend fails.
    pub(super) fn usable_on_error(&self, now: SystemTime, wanted: &Wanted) -> bool {
        !wanted.no_cache && self.age(now).saturating_sub(self.lifetime) < self.if_error
    }

    /// How long it is of any use without being confirmed, from when it is stored.
    pub(super) fn keep(&self) -> Duration {
        (self.lifetime + self.while_revalidate.max(self.if_error)).saturating_sub(self.initial_age)
    }
}

/// RFC 9111, 4.2.3: as old as its date says, or as old as it was when it was sent.
fn initial_age(
    headers: &HeaderMap,
    date: Option<SystemTime>,
    asked: SystemTime,
    received: SystemTime,
) -> Duration {
    let apparent = date.and_then(|date| received.duration_since(date).ok()).unwrap_or_default();
    let value = headers.get(AGE).and_then(|value| value.to_str().ok()).map_or(Duration::ZERO, |age| {
        seconds(age.split(',').next().unwrap_or_default().trim()).unwrap_or_default()
    });
    let delay = received.duration_since(asked).unwrap_or_default();
    // A date says nothing of less than a second.
    Duration::from_secs(apparent.as_secs()).max(value + delay)
}

/// The crate's judgement on what we show it.
fn policy(
    status: StatusCode,
    said: &Said,
    headers: &HeaderMap,
    date: Option<SystemTime>,
    received: SystemTime,
) -> CachePolicy {
    let mut response = Response::new(());
    *response.status_mut() = status;
    let clean = response.headers_mut();
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            clean.insert(name, value);
        }
    };
    if !said.clean.is_empty() {
        put(CACHE_CONTROL, &said.clean);
    }
    if let Some(at) = date {
        put(DATE, &httpdate::fmt_http_date(at));
    }
    if let Some(expires) = headers.get(EXPIRES) {
        // What is no date lies in the past (RFC 9111, 5.3).
        put(EXPIRES, &self::date(expires).map_or(Cow::from("0"), |at| httpdate::fmt_http_date(at).into()));
    }
    let options =
        CacheOptions { shared: true, immutable_min_time_to_live: Duration::ZERO, ..CacheOptions::default() };
    CachePolicy::new_options(&Request::new(()), &response, received, options)
}

/// A date in any of the three formats of RFC 9110, 5.6.7.
pub(super) fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn in_headers(headers: &HeaderMap) -> Self {
        let mut wanted = Wanted::default();
        if !headers.contains_key(CACHE_CONTROL) {
            // RFC 9111, 5.4.
            wanted.no_cache = pragma_no_cache(headers);
            return wanted;
        }
        directives(headers, |name, value| {
            // What is no number asks for the most.
            let span = || value.map_or(Duration::ZERO, |value| seconds(value).unwrap_or_default());
            match name {
                "no-store" => wanted.no_store = true,
                "no-cache" => wanted.no_cache = true,
                "only-if-cached" => wanted.only_if_cached = true,
                "max-age" => wanted.max_age = Some(span()),
                "min-fresh" => wanted.min_fresh = value.and_then(seconds),
                "max-stale" => wanted.max_stale = Some(value.map_or(Duration::MAX, |_| span())),
                _ => {}
            }
        });
        wanted
    }

    /// Whether only what is fetched for this very request will do.
    pub(super) fn own(&self) -> bool {
        self.no_cache || self.max_age == Some(Duration::ZERO)
    }
}

// === impl Said ===

impl Said {
    fn in_headers(headers: &HeaderMap, private_allowed: bool) -> Self {
        let mut said = Said::default();
        directives(headers, |name, value| {
            let span = || value.and_then(seconds).unwrap_or_default();
            match name {
                "no-store" => said.no_store = true,
                "no-cache" => said.no_cache = true,
                "private" => said.private = true,
                "must-revalidate" | "proxy-revalidate" => said.must_revalidate = true,
                "s-maxage" => said.s_maxage = true,
                "max-age" => said.max_age = true,
                "stale-while-revalidate" => said.while_revalidate = span(),
                "stale-if-error" => said.if_error = span(),
                _ => {}
            }
            match name {
                "s-maxage" | "max-age" => said.clean(&format!("{name}={}", span().as_secs())),
                "no-store" | "no-cache" | "public" | "must-revalidate" => said.clean(name),
                "private" if !private_allowed => said.clean(name),
                _ => {}
            }
        });
        if !headers.contains_key(CACHE_CONTROL) && pragma_no_cache(headers) {
            said.no_cache = true;
            said.clean("no-cache");
        }
        said
    }

    fn clean(&mut self, directive: &str) {
        if !self.clean.is_empty() {
            self.clean.push(',');
        }
        self.clean.push_str(directive);
    }
}

// === directives ===

/// Calls `found` for each directive: its name in lower case, and its argument without quotes.
fn directives(headers: &HeaderMap, mut found: impl FnMut(&str, Option<&str>)) {
    for value in headers.get_all(CACHE_CONTROL) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let mut rest = &*text;
        while let Some((directive, after)) = next_directive(rest) {
            rest = after;
            let (name, argument) = match directive.split_once('=') {
                Some((name, argument)) => (name.trim(), Some(argument.trim())),
                None => (directive.trim(), None),
            };
            let argument = argument.map(|text| {
                text.strip_prefix('"').map_or(text, |text| text.strip_suffix('"').unwrap_or(text))
            });
            if !name.is_empty() {
                found(&name.to_ascii_lowercase(), argument);
            }
        }
    }
}

/// The text up to a comma that stands in no quoted string, and what is behind it.
fn next_directive(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() {
        return None;
    }
    let (mut quoted, mut escaped) = (false, false);
    let comma = text.bytes().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    });
    Some(comma.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?))).unwrap_or((text, "")))
}

/// RFC 9111, 1.2.2.
fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Too many digits are too large a number.
    digits.then(|| Duration::from_secs(text.parse().unwrap_or(MOST_SECONDS).min(MOST_SECONDS)))
}

fn pragma_no_cache(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PRAGMA).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("no-cache"))
}
