//! Upstreams that cannot be taken.

use std::fmt;

use crate::diagnostic::{nearest, visible};

/// Upstreams that cannot be those of a cluster; from [`Health::upstreams`](super::Health::upstreams).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamsError {
    cluster: String,
    inner: Inner,
}

/// What is wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpstreamsErrorKind {
    /// The application declared no such cluster.
    UnknownCluster,
    /// The cluster has its upstreams already.
    GivenTwice,
    /// There is not one of them.
    Empty,
    /// Two of them have one name.
    DuplicateName,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inner {
    Unknown { near: Option<String> },
    Twice,
    Empty,
    Duplicate { name: String },
}

// === impl UpstreamsError ===

impl UpstreamsError {
    pub(super) fn unknown<'a>(cluster: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let near = nearest(cluster, known).map(str::to_owned);
        UpstreamsError { cluster: cluster.to_owned(), inner: Inner::Unknown { near } }
    }

    pub(super) fn twice(cluster: &str) -> Self {
        UpstreamsError { cluster: cluster.to_owned(), inner: Inner::Twice }
    }

    pub(super) fn empty(cluster: &str) -> Self {
        UpstreamsError { cluster: cluster.to_owned(), inner: Inner::Empty }
    }

    pub(super) fn duplicate(cluster: &str, name: &str) -> Self {
        UpstreamsError { cluster: cluster.to_owned(), inner: Inner::Duplicate { name: name.to_owned() } }
    }

    /// What is wrong.
    pub fn kind(&self) -> UpstreamsErrorKind {
        match self.inner {
            Inner::Unknown { .. } => UpstreamsErrorKind::UnknownCluster,
            Inner::Twice => UpstreamsErrorKind::GivenTwice,
            Inner::Empty => UpstreamsErrorKind::Empty,
            Inner::Duplicate { .. } => UpstreamsErrorKind::DuplicateName,
        }
    }

    /// The cluster that was asked for.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }
}

impl fmt::Display for UpstreamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = visible(&self.cluster);
        match &self.inner {
            Inner::Unknown { near: None } => write!(f, "no cluster `{cluster}` is declared"),
            Inner::Unknown { near: Some(near) } => {
                write!(f, "no cluster `{cluster}` is declared, did you mean `{}`?", visible(near))
            }
            Inner::Twice => write!(f, "the cluster `{cluster}` has its upstreams already"),
            Inner::Empty => write!(f, "the cluster `{cluster}` is given no upstream"),
            Inner::Duplicate { name } => {
                write!(f, "the cluster `{cluster}` is given two upstreams `{}`", visible(name))
            }
        }
    }
}

impl std::error::Error for UpstreamsError {}
