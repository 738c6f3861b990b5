//! The contract between compile and eval: a flat program that has been verified.
//!
//! A [`Program`] is a row of ops that only jump forward, so it ends. There is no operand stack: an op asks one
//! test and goes on at one of two places. What is asked of lives in *slots*, each filled at most once a
//! decision and only when a test needs it; a slot is a field, or a function of earlier slots.
//!
//! ```text
//! 0  test 0        yes 2  no 1      t0: s0 == "always"        s0 = header(x-canary)
//! 1  test 1        yes 2  no 3      t1: s1 in 3 strings       s1 = cookie(uid)
//! 2  hit route 0   else 3
//! 3  end
//! ```

mod disassemble;
mod program;
mod verify;

pub(crate) use program::{Check, Deal, Hit, Op, Outcome, Owner, Program, Slot, SlotId, Target, Test};
pub(crate) use verify::{Invalid, Parts};
