//! Responses kept in memory, and answered from there.
//!
//! `policy` says what may be stored and for how long, `stored` is a response that is, `key` is what it is stored under,
//! `store` keeps them within a bound, `flight` lets one fetch for many, `body` collects what passes, `fetch` puts them
//! together.

mod body;
mod counts;
mod fetch;
mod flight;
mod key;
mod layer;
mod policy;
mod service;
mod status;
mod store;
mod stored;

pub use body::CacheBody;
pub use counts::{CacheCounts, CacheRuleCounts, Refusal};
pub use layer::{CacheBuilder, CacheLayer, ResponseCache};
pub use service::{CacheFuture, CacheService};
