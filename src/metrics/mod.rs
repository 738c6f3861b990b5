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
//! | `pointsman_series_left_out` | | statements and targets that are not shown, for want of [room](Publisher::most) |
//!
//! `kind` is `route`, `cluster` or `default`, `state` is `live`, `shadow` or `paused`. All label values are names from
//! the rules or from the application, and none comes from a request: so there are as many series as the rules have
//! statements and targets, and no more than [the bound](Publisher::most).

mod publisher;

pub use publisher::Publisher;
