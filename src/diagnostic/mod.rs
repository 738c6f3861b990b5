//! What we tell the author of a rule: where, what was found, what was expected, and what to do.
//!
//! While a text is compiled, every room adds its `Problem`s to one `Problems`; at the end they become
//! [`Diagnostics`], which know lines and columns and can be shown on their own.
//!
//! ```text
//! error: unknown field `hots`
//!  --> checkout.rules:4:14
//!   |
//! 4 | route staff: hots == "a.example" => gray
//!   |              ^^^^ did you mean `host`?
//! ```

mod code;
mod nearest;
mod problem;
mod report;
mod source;

pub use code::{Code, Severity};
pub(crate) use nearest::nearest;
pub(crate) use problem::{Problem, Problems};
pub use report::{Diagnostic, Diagnostics};
pub(crate) use report::{unseen, visible};
pub use source::Span;
pub(crate) use source::{Piece, Source};
