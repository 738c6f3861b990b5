//! Meaning to program: fold what is constant, share what is asked twice, lower to steps, and index the rules by what
//! they need to be true.

mod fold;
mod index;
mod lower;
mod needs;

pub(crate) use lower::{CompileError, compile, compile_condition};
