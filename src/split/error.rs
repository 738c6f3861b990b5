//! Why weights make no split.

use super::weighted::MAX_TOTAL;

/// What is wrong with the weights of a split; from [`Split::new`](super::Split::new).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct SplitError(#[from] Reason);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error("a split needs at least one cluster")]
    Empty,
    #[error("every weight is 0, so no cluster would get anything")]
    AllZero,
    #[error("the weights add up to more than {}", MAX_TOTAL / 10_000)]
    TooHeavy,
    #[error("cluster `{0}` has two weights in one split")]
    Duplicate(Box<str>),
}

// === impl SplitError ===

impl SplitError {
    /// There is no cluster at all.
    pub fn is_empty(&self) -> bool {
        self.0 == Reason::Empty
    }

    /// There are clusters, and all their weights are 0.
    pub fn is_all_zero(&self) -> bool {
        self.0 == Reason::AllZero
    }

    /// The weights add up to more than [`MAX_TOTAL`].
    pub fn is_too_heavy(&self) -> bool {
        self.0 == Reason::TooHeavy
    }

    /// The cluster that is named twice, if that is what is wrong.
    pub fn duplicate(&self) -> Option<&str> {
        match &self.0 {
            Reason::Duplicate(name) => Some(name),
            Reason::Empty | Reason::AllZero | Reason::TooHeavy => None,
        }
    }
}
