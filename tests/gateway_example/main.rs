//! Runs the gateway as it is run, before servers and behind clients that do what they should not.
#![cfg(all(
    unix,
    feature = "analyse",
    feature = "cache",
    feature = "capture",
    feature = "deny",
    feature = "file",
    feature = "health",
    feature = "limit",
    feature = "metrics",
    feature = "mirror",
    feature = "serde"
))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs,
    unreachable_pub,
    reason = "a test may fail"
)]

#[path = "../common/folder.rs"]
mod folder;
#[path = "../common/har.rs"]
mod har;
mod parts;

mod bad_clients;
mod bad_servers;
mod everything;
mod health;
mod passing;
mod running;
mod statements;
