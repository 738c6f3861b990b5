//! What `tracing` is told: which upstream was taken out, and which came back.
//!
//! Without the feature `tracing` the same function does nothing.

#[cfg(not(feature = "tracing"))]
mod disabled;
#[cfg(feature = "tracing")]
mod enabled;

#[cfg(not(feature = "tracing"))]
pub(super) use disabled::changed;
#[cfg(feature = "tracing")]
pub(super) use enabled::changed;
