//! Program and request to outcome: the loop, and its memory for one decision.
//!
//! Nothing here knows what a rule text looks like. A [`Run`] lives on the stack for one decision; it reads
//! each field at most once, and allocates only when something has to be decoded or the program asks for more
//! slots than fit in its inline part.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod run;

pub(crate) use run::Run;
