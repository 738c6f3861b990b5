//! Responses kept in memory, and answered from there.
//!
//! [`policy`](self::policy) says what may be stored and for how long, [`stored`](self::stored) is a response that is,
//! [`key`](self::key) is what it is stored under, [`store`](self::store) keeps them within a bound, [`flight`](self::flight)
//! lets one fetch for many, [`body`](self::body) collects what passes, [`fetch`](self::fetch) puts them together.

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
