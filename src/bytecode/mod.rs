//! The contract between compile and eval: a flat program that has been verified.
//!
//! A [`Program`] is a row of rules, each with steps that only lead forward, so it ends. There is no operand stack: a
//! step asks one test and goes on at one of two places. What is asked of lives in *slots*, each filled at most once a
//! decision and only when a test needs it; a slot is a field, or a function of earlier slots. An [`Index`] says which
//! rules can match at all.
//!
//! ```text
//! rule 0: route 0, o0
//!   0  t0  yes 1  no false        t0: s0 == "shop.example.com"   s0 = host
//!   1  t1  yes true  no false     t1: s1 in 3 strings            s1 = cookie(uid)
//! ```

mod disassemble;
mod index;
mod program;
mod verify;

pub(crate) use index::{Affixes, Index, Keys, Lead, Lookup, Node, Row, Spans, Table, To};
pub(crate) use program::{
    Check, Choice, Deal, Group, Outcome, Owner, Program, Rule, Slot, SlotId, Step, Target, Test,
};
pub(crate) use verify::{Invalid, Parts};
