//! The built-in HTTP fields, read from a request's head.
//!
//! Each file reads one thing and knows nothing of rules: bytes in, bytes or an address out. All of it is
//! linear in what the request holds, refuses nothing and never panics; what cannot be read is absent. What
//! needs no decoding is borrowed from the request, and then nothing is allocated.

pub(crate) mod authority;
pub(crate) mod cookie;
mod escape;
pub(crate) mod path;
pub(crate) mod query;
mod word;

pub use path::canonical as canonical_path;
