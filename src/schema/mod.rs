//! What a rule may mention: fields, types, values; the built-in HTTP fields read from a request.
//!
//! An application describes what is its own in a [`Schema`]; everything HTTP is there already. Each field is a
//! set of [`Value`]s of one [`Type`], read from a [`RequestHead`] when a rule first asks for it.

mod field;
mod kind;
mod list;
mod pattern;
mod request;
mod value;
mod vocabulary;

pub(crate) mod http;

pub use field::Values;
pub(crate) use field::{Arena, Available, BuiltIn, Field, Input, Kind, Plain};
pub use http::{ClientAddr, NetworkError, PeerAddr, Trusted, canonical_path};
pub use kind::StatementKind;
pub use list::{BadMember, List};
pub(crate) use pattern::{Matched, Pattern, PatternError, Patterns};
pub use request::RequestHead;
pub(crate) use value::{Order, any_compares, decimal4, parse_int};
pub use value::{Time, Type, Value, Version};
pub(crate) use vocabulary::Names;
pub use vocabulary::Schema;
