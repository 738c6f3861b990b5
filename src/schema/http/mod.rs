//! The built-in HTTP fields, read from a request's head.
//!
//! Each file reads one thing and knows nothing of rules: bytes in, bytes or an address out. All of it is
//! linear in what the request holds, refuses nothing and never panics; what cannot be read is absent. What
//! needs no decoding is borrowed from the request, and then nothing is allocated.
//!
//! ```
//! use http::Request;
//! use pointsman::schema::{ClientAddr, PeerAddr, RequestHead, Trusted, canonical_path};
//!
//! let request = Request::get("/a/../checkout")
//!     .header("x-forwarded-for", "203.0.113.7, 10.0.0.2")
//!     .extension(PeerAddr("10.0.0.1:4711".parse()?))
//!     .body(())?;
//! let head = RequestHead::from(&request);
//!
//! assert_eq!(&*canonical_path(head.uri.path().as_bytes()), b"/checkout");
//! let client = ClientAddr::x_forwarded_for(Trusted::networks(["10.0.0.0/8"])?);
//! assert_eq!(client.resolve(head), Some("203.0.113.7".parse()?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authority;
mod client;
mod cookie;
mod escape;
mod path;
mod query;
mod word;

pub(crate) use authority::{host, host_as_it_is, host_under, port};
pub use client::{ClientAddr, NetworkError, PeerAddr, Trusted};
pub(crate) use cookie::{Name as CookieName, pairs as cookie_pairs};
pub use path::canonical as canonical_path;
pub(crate) use path::{is_canonical, under as path_under};
pub(crate) use query::{pairs as query_pairs, values as query_values};
