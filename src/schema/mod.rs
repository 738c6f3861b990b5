//! What a rule may mention: fields, types, values; the built-in HTTP fields read from a request.

mod request;
mod value;

pub mod http;

pub use self::http::{ClientAddr, NetworkError, PeerAddr, Trusted, canonical_path};
pub use request::RequestHead;
pub(crate) use value::decimal4;
pub use value::{Time, Type, Value, Version};
