//! Tree to meaning: names are found, types fit, and what is surely not meant is pointed at.
//!
//! ```text
//! statements ──resolve──▶ Rules (typed) ──lint──▶ warnings
//!                           │
//!                           ├─▶ compile: what runs
//!                           └─▶ reference: the law, slow and obvious
//! ```

pub(crate) mod action;
mod coerce;
mod cover;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod lint;
pub(crate) mod reference;
mod resolve;
pub(crate) mod typed;

pub(crate) use resolve::{resolve_condition, resolve_file, resolve_text};
