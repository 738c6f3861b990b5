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
//! | `pointsman_followed_total` | `cluster` | decisions that were made upstream |
//! | `pointsman_follow_refused_total` | `reason` | those that came from a stranger (`untrusted`), or could not be read or named no cluster (`unusable`) |
//! | `pointsman_reloads_total` | `outcome` | new texts, `accepted` and `rejected` |
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
//! | `pointsman_series_left_out` | | statements and targets that are not shown, for want of [room](Publisher::most) |
//!
//! `kind` is `route`, `cluster` or `default`, `state` is `live`, `shadow` or `paused`. All label values are names from
//! the rules or from the application, and none comes from a request: so there are as many series as the rules have
//! statements and targets, and no more than [the bound](Publisher::most).

#[cfg(feature = "health")]
mod health;
mod publisher;
#[cfg(feature = "source")]
mod source;

pub use publisher::Publisher;
