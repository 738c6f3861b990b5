//! What is counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a response was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Refusal {
    /// The response says `no-store`.
    NoStore,
    /// It says `private`, and the rule does not allow that.
    Private,
    /// It sets a cookie, and the rule does not allow that.
    SetCookie,
    /// It varies by more than header fields, `Vary: *`.
    Vary,
    /// Its status, with what it says itself, is not one that a cache stores.
    Status,
    /// It is too old already to be used even once, and has nothing to be confirmed by.
    Expired,
    /// The body is longer than the limit.
    TooLarge,
    /// The body failed, was shorter or longer than it said, or the client went away and it did not end soon.
    Incomplete,
    /// It has trailers.
    Trailers,
    /// Too many bodies are being read at this time.
    Overloaded,
    /// The cache was purged while it was fetched, or its target was changed.
    Outdated,
    /// There is no tokio runtime to read the body in.
    NoRuntime,
}

/// What a cache holds and has done, from [`ResponseCache::counts`](super::ResponseCache::counts).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CacheCounts {
    /// How much is stored, as far as it is counted against the capacity: keys, header fields, bodies, and what each entry
    /// takes besides.
    pub bytes: u64,
    /// How many targets have stored responses, each perhaps several.
    pub entries: u64,
    /// How many entries were pushed out for want of room.
    pub evicted: u64,
    /// How many were of no use any more.
    pub expired: u64,
    /// How many were removed because a request changed their target.
    pub invalidated: u64,
    /// How many were purged.
    pub purged: u64,
    /// The `cache` statements of the rules that decided last.
    pub rules: Vec<CacheRuleCounts>,
}

/// What one `cache` statement has done, since it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CacheRuleCounts {
    /// The statement's name.
    pub name: String,
    /// Requests that it matched as a shadow.
    pub shadowed: u64,
    /// Requests that were answered with a fresh response.
    pub hits: u64,
    /// Requests that were answered with a stale one: while it was fetched anew, because the backend failed, or because the
    /// client wanted it.
    pub stale_hits: u64,
    /// Requests that were answered with what another one fetched that was under way.
    pub coalesced: u64,
    /// Requests that went to the backend with nothing stored to ask about.
    pub misses: u64,
    /// Requests that could not be answered, and wanted nothing from the backend.
    pub not_cached: u64,
    /// Requests that the cache has nothing to do with: another method, a range, `no-store`, credentials.
    pub bypassed: u64,
    /// How often the backend was asked whether a stored response still holds,
    pub revalidations: u64,
    /// and how often it did.
    pub revalidated: u64,
    /// How often a request waited for another one in vain, for as long as it may.
    pub waited_in_vain: u64,
    /// How many responses were stored.
    pub stored: u64,
    /// How many were not, and why; only reasons that there were. Serialised as a map.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_map"))]
    pub refused: Vec<(Refusal, u64)>,
}

/// The same while it is counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) shadowed: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) stale_hits: AtomicU64,
    pub(super) coalesced: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) not_cached: AtomicU64,
    pub(super) bypassed: AtomicU64,
    pub(super) revalidations: AtomicU64,
    pub(super) revalidated: AtomicU64,
    pub(super) waited_in_vain: AtomicU64,
    pub(super) stored: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

// === impl Refusal ===

impl Refusal {
    const ALL: [Refusal; 12] = [
        Refusal::NoStore,
        Refusal::Private,
        Refusal::SetCookie,
        Refusal::Vary,
        Refusal::Status,
        Refusal::Expired,
        Refusal::TooLarge,
        Refusal::Incomplete,
        Refusal::Trailers,
        Refusal::Overloaded,
        Refusal::Outdated,
        Refusal::NoRuntime,
    ];

    /// In one word, such as `no_store`.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::NoStore => "no_store",
            Refusal::Private => "private",
            Refusal::SetCookie => "set_cookie",
            Refusal::Vary => "vary",
            Refusal::Status => "status",
            Refusal::Expired => "expired",
            Refusal::TooLarge => "too_large",
            Refusal::Incomplete => "incomplete",
            Refusal::Trailers => "trailers",
            Refusal::Overloaded => "overloaded",
            Refusal::Outdated => "outdated",
            Refusal::NoRuntime => "no_runtime",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl CacheCounts ===

impl CacheCounts {
    /// Those of a statement, by its name. `None` if the rules that decided last have none, or no request has matched any yet.
    pub fn rule(&self, name: &str) -> Option<&CacheRuleCounts> {
        self.rules.iter().find(|rule| rule.name == name)
    }
}

// === impl CacheRuleCounts ===

impl CacheRuleCounts {
    /// How many responses were not stored for a reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused.iter().find(|(refusal, _)| *refusal == reason).map_or(0, |(_, count)| *count)
    }
}

// === impl Tally ===

impl Tally {
    pub(super) fn refuse(&self, reason: Refusal) {
        if let Some(count) = self.refused.get(reason as usize) {
            add(count);
        }
    }

    pub(super) fn read(&self, name: &str) -> CacheRuleCounts {
        let refused =
            Refusal::ALL.iter().zip(&self.refused).map(|(reason, count)| (*reason, count.load(Relaxed)));
        CacheRuleCounts {
            name: name.to_owned(),
            shadowed: self.shadowed.load(Relaxed),
            hits: self.hits.load(Relaxed),
            stale_hits: self.stale_hits.load(Relaxed),
            coalesced: self.coalesced.load(Relaxed),
            misses: self.misses.load(Relaxed),
            not_cached: self.not_cached.load(Relaxed),
            bypassed: self.bypassed.load(Relaxed),
            revalidations: self.revalidations.load(Relaxed),
            revalidated: self.revalidated.load(Relaxed),
            waited_in_vain: self.waited_in_vain.load(Relaxed),
            stored: self.stored.load(Relaxed),
            refused: refused.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

/// One more.
pub(super) fn add(count: &AtomicU64) {
    count.fetch_add(1, Relaxed);
}

// === serde ===

#[cfg(feature = "serde")]
fn as_map<S: serde::Serializer>(refused: &[(Refusal, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(refused.iter().map(|(reason, count)| (reason, count)))
}
