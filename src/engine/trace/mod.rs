//! What the engine tells `tracing`: each decision, as fields of the span that the request is in, and new rules, as events.
//!
//! Without the feature `tracing` the same functions do nothing.

#[cfg(not(feature = "tracing"))]
mod disabled;
#[cfg(feature = "tracing")]
mod enabled;

#[cfg(not(feature = "tracing"))]
pub(crate) use disabled::{accepted, decided, rejected, unheeded};
#[cfg(feature = "tracing")]
pub(crate) use enabled::{accepted, decided, rejected, unheeded};
