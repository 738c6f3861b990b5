//! Program and request to outcome: the loop, and its memory for one decision.
//!
//! Nothing here knows what a rule text looks like. A [`Run`] lives on the stack for one decision. It looks at the rules
//! that the index leads to, in the order of the text, reads each field at most once, and allocates only when something
//! has to be decoded or a request has more values than fit in its inline part.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod marks;
mod matched;
mod queue;
mod run;

pub(crate) use matched::Matched;
pub(crate) use run::{Outcome, Run};
