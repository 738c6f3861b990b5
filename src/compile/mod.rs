//! Meaning to program: fold what is constant, share what is asked twice, lower to ops.

mod fold;
mod lower;

pub(crate) use lower::{CompileError, compile, compile_condition};
