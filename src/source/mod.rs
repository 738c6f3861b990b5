//! Where rule text comes from, and the follower that keeps the last good one running.
//!
//! ```text
//!  Source: file, http, etcd, redis, your own
//!    │ texts, errors
//!    ▼
//!  Follower ── compiles, swaps ──▶ Engine, which decides all the time
//!    ├─▶ LastGood: the file to start from without the source
//!    └─▶ Status: what runs, since when, from where, what was refused, how stale
//! ```
//!
//! - A [`Source`] gives texts as they change. There are some here, a feature each, and one's own is a method.
//! - A [`Follower`] starts an engine with the first and follows the rest, until its handle is dropped.
//! - [`LastGood`] is a file with the rules that were accepted last, for a start without the source.
//! - [`Status`] says how it all does, at any time.
//!
//! Whatever a source does, it does not touch requests: they are decided by the rules that were accepted last, and
//! neither wait for the source nor for what is being compiled.
//!
//! What each source guarantees, and what happens when it fails, is in [the guide](crate::docs::operations).

mod backoff;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "file")]
mod file;
mod follow;
#[cfg(feature = "http")]
mod http;
mod last_good;
mod open;
#[cfg(feature = "redis")]
mod redis;
mod start;
mod status;
mod text;

pub use backoff::Backoff;
pub use error::{SourceError, SourceErrorKind};
#[cfg(feature = "etcd")]
pub use etcd::EtcdSource;
#[cfg(feature = "file")]
pub use file::FileSource;
pub use follow::{Follower, Following, StatusReader};
#[cfg(feature = "http")]
pub use http::{HttpSource, NoBody, PlainBody, PlainHttp, UriError};
pub use last_good::{Kept, LastGood, LastGoodError, LastGoodErrorKind};
#[cfg(feature = "redis")]
pub use redis::RedisSource;
pub use start::{StartError, Tried};
pub use status::{Failure, LastGoodStatus, Origin, Rejected, Running, SourceState, SourceStatus, Status};
pub use text::{Source, Text, Update};
