//! The whole call chain: a request that is gray here stays gray in the services behind.
//!
//! [`carrier`](self::carrier) says how a decision is written into a request and read from it,
//! [`propagate`](self::propagate) is the side that calls, [`follow`](self::follow) the side that is called.

mod carrier;
mod follow;
mod propagate;

pub(crate) use carrier::header_value;
pub use carrier::{Carrier, CarrierError};
pub use follow::Follow;
pub use propagate::{Propagate, PropagateLayer};
