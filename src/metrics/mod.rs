//! What an engine counts, for the [`metrics`](https://docs.rs/metrics) facade.
//!
//! Decisions are counted already, at seats of their own for each thread, so nothing is added to the path of a request. A
//! [`Publisher`] reads those counts and sets the metrics to them: when they are scraped, or every few seconds where
//! they are pushed.
//!
//! | metric | labels | what it is |
//! |---|---|---|
//! | `pointsman_decisions_total` | | decisions by the rules |
//! | `pointsman_chosen_total` | `kind`, `statement`, `target`, `state` | how often a statement chose a target; a shadow, what it would have |
//! | `pointsman_no_key_total` | `kind`, `statement`, `state` | how often a request had no key to be split by |
//! | `pointsman_fallbacks_total` | `kind`, `statement`, `target`, `instead_of`, `state` | how often a target gave way to its fallback, having no available server |
//! | `pointsman_followed_total` | `cluster` | decisions that were made upstream |
//! | `pointsman_follow_refused_total` | `reason` | those that came from a stranger (`untrusted`), or could not be read or named no cluster (`unusable`) |
//! | `pointsman_reloads_total` | `outcome` | new texts, `accepted` and `rejected` |
//! | `pointsman_unheeded_total` | `kind` | requests that matched a live statement of the service gateway whose layer [is not there](crate::Engine::unheeded): to be 0 |
//! | `pointsman_rules_revision` | | the revision that runs |
//! | `pointsman_in_flight` | `cluster` | requests at hand |
//! | `pointsman_source_stale_seconds` | | how long ago the [source](Publisher::source) was last known to have what runs |
//! | `pointsman_source_reachable` | | 1 while it answers |
//! | `pointsman_source_failures` | | how many attempts in a row have failed |
//! | `pointsman_source_rejected` | | 1 while it has a text that was refused |
//! | `pointsman_last_good_failing` | | 1 while the last good rules cannot be kept in their file |
//! | `pointsman_upstream_healthy` | `cluster`, `upstream` | 1 while an [upstream](Publisher::health) is not taken out |
//! | `pointsman_upstream_requests_total`, `pointsman_upstream_failures_total` | `cluster`, `upstream` | requests that it was given, and those that failed |
//! | `pointsman_upstream_ejections_total` | `cluster`, `upstream` | how often it was taken out |
//! | `pointsman_cluster_unavailable_total` | `cluster` | requests that no upstream of the cluster took |
//! | `pointsman_shed_total`, `pointsman_timed_out_total` | `cluster` | requests that the [bounds](Publisher::isolate) of a cluster refused |
//! | `pointsman_series_left_out` | | counts of statements that are not shown, for want of [room](Publisher::most) |
//!
//! `kind` is `route`, `cluster`, `default` or a kind of [the service gateway](crate::docs::language), whose `target` is what
//! the statement does, as `403` or `100/s`; `state` is `live`, `shadow` or `paused`. So `pointsman_chosen_total{kind="limit"}` is how
//! many requests a limit matched. What became of them say its layers, each with its feature:
//!
//! | metric | labels | what it is |
//! |---|---|---|
//! | `pointsman_denied_total` | `statement`, `state` | requests that a [`deny`](crate::gateway) answered; as a shadow, would have |
//! | `pointsman_limited_total` | `statement`, `state` | requests that a `limit` refused; as a shadow, would have |
//! | `pointsman_limit_forgotten_total` | `statement` | keys that were forgotten before their buckets were full |
//! | `pointsman_limit_bytes` | | what the tables of keys take |
//! | `pointsman_cache_requests_total` | `statement`, `outcome` | requests, as `hit`, `stale`, `coalesced`, `miss`, `not_cached`, `bypass`, `shadow` |
//! | `pointsman_cache_revalidations_total`, `pointsman_cache_revalidated_total` | `statement` | how often a backend was asked whether a stored response holds, and it did |
//! | `pointsman_cache_waited_in_vain_total` | `statement` | how often a request waited for another one in vain |
//! | `pointsman_cache_stored_total` | `statement` | responses that were stored |
//! | `pointsman_cache_refused_total` | `statement`, `reason` | and those that were not, as `no_store`, `private`, `set_cookie`, `too_large`, `overloaded` |
//! | `pointsman_cache_removed_total` | `reason` | `evicted`, `expired`, `invalidated`, `purged` |
//! | `pointsman_cache_bytes`, `pointsman_cache_entries` | | what is stored |
//! | `pointsman_mirror_sent_total` | `statement` | copies that were sent |
//! | `pointsman_mirror_answered_total` | `statement`, `class` | their answers, `1xx` to `5xx` |
//! | `pointsman_mirror_failed_total` | `statement`, `reason` | copies without one: `error`, `timed_out`, `panicked`, `ended` |
//! | `pointsman_mirror_compared_total` | `statement`, `outcome` | whether the class was that of the real answer: `same`, `different` |
//! | `pointsman_mirror_microseconds_total` | `statement` | how long the answers took in all |
//! | `pointsman_mirror_dropped_total` | `statement`, `reason` | what was not copied: `no_service`, `full`, `too_large`, `too_slow`, `incomplete`, `unsafe_method`, `upgrade`, `copy`, `no_runtime` |
//! | `pointsman_mirror_in_flight` | | copies under way |
//! | `pointsman_captured_total` | `statement` | exchanges that were captured |
//! | `pointsman_capture_late_total` | `statement` | requests that matched after it had ended |
//! | `pointsman_capture_lost_total` | `reason` | exchanges `pushed_out` by newer ones, bodies `truncated`, `overlong`, `no_room` |
//! | `pointsman_capture_exchanges`, `pointsman_capture_bytes` | | what is kept |
//! | `pointsman_responses_total` | `cluster`, `class` | responses, `1xx` to `5xx` and `other` |
//! | `pointsman_responses_lost_total` | `cluster`, `reason` | `error`: none came; `cancelled`: given up before; `cut`: its body did not end |
//! | `pointsman_responses_refused_total` | `cluster` | requests for it that a `deny` or a `limit` answered |
//! | `pointsman_responses_cached_total` | `cluster` | requests for it that the cache answered without it |
//! | `pointsman_response_headers_seconds_bucket`, `pointsman_response_ends_seconds_bucket` | `cluster`, `le` | how long responses took, to their header and to their end |
//!
//! A statement that new rules change is counted on from where it was.
//!
//! All label values are names from the rules or from the application, and none comes from a request: so there are as many
//! series as the rules have statements and targets, and no more than [the bound](Publisher::most).

#[cfg(feature = "analyse")]
mod analyse;
#[cfg(feature = "cache")]
mod cache;
#[cfg(feature = "capture")]
mod capture;
#[cfg(feature = "deny")]
mod deny;
#[cfg(feature = "health")]
mod health;
#[cfg(feature = "isolate")]
mod isolate;
#[cfg(feature = "limit")]
mod limit;
#[cfg(feature = "mirror")]
mod mirror;
mod publisher;
#[allow(dead_code, reason = "without a layer there is nothing on it")]
mod sheet;
#[cfg(feature = "source")]
mod source;

pub use publisher::Publisher;
