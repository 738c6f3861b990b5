//! The lower floor: as well as we can write it by hand, for each shape of rules that the workloads have.
//!
//! What it may do: look at the rules beforehand, in any order and for as long as it likes; ask the cheaper condition
//! first; read bytes instead of strings. What it may not do: be wrong for any request. Hosts match in any case and with
//! any port, cookies on all lines and with any white space, parameters in any spelling, values that come twice, and the
//! first rule always wins.

use super::{Build, Engine, Run};
use crate::model::Rule;

mod hosts;
mod keyed;
mod mixed;
mod paths;
mod scan;
mod table;

pub(super) fn prepare(rules: &[Rule]) -> Option<Build<'_>> {
    Some(Box::new(move |_| {
        let few = || boxed(hosts::Few::new(rules));
        let hosts = || boxed(hosts::Hosts::new(rules));
        let guarded = || boxed(keyed::Guarded::new(rules));
        let cookies = || boxed(keyed::Cookies::new(rules));
        let headers = || boxed(keyed::Headers::new(rules));
        let paths = || boxed(paths::Paths::new(rules));
        let mixed = || boxed(mixed::Mixed::new(rules));
        few().or_else(hosts).or_else(guarded).or_else(cookies).or_else(headers).or_else(paths).or_else(mixed)
    }))
}

fn boxed<E: Engine>(engine: Option<E>) -> Option<Box<dyn Run>> {
    Some(Box::new(engine?))
}

/// Numbers of rules take less room than `usize`, and `NONE` less than an `Option`.
type Place = u32;
const NONE: Place = Place::MAX;

/// What a rule compares with: bytes, as the request's are.
type Text = Box<[u8]>;

/// The answer as a number of the model.
fn rule(place: Place) -> Option<usize> {
    (place != NONE).then_some(place as usize)
}
