//! Why services and clusters do not go together.

use std::error::Error;
use std::fmt;

use crate::diagnostic::nearest;

/// Services and clusters do not go together; from [`Clusters`](super::Clusters), and where else there is a
/// service for a cluster. Names every mistake at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClustersError {
    missing: Vec<String>,
    /// With what was probably meant.
    unknown: Vec<(String, Option<String>)>,
    duplicate: Vec<String>,
}

// === impl ClustersError ===

impl ClustersError {
    pub(super) fn missing(&mut self, name: &str) {
        self.missing.push(name.to_owned());
    }

    pub(crate) fn unknown<'a>(&mut self, name: &str, known: impl Iterator<Item = &'a str>) {
        self.unknown.push((name.to_owned(), nearest(name, known).map(str::to_owned)));
    }

    pub(crate) fn duplicate(&mut self, name: &str) {
        if !self.duplicate.iter().any(|known| known == name) {
            self.duplicate.push(name.to_owned());
        }
    }

    pub(crate) fn into_result(self) -> Result<(), Self> {
        if self == Self::default() { Ok(()) } else { Err(self) }
    }

    /// The declared clusters without a service, in the order of their declaration.
    pub fn without_service(&self) -> impl ExactSizeIterator<Item = &str> {
        self.missing.iter().map(String::as_str)
    }

    /// The names of services that are no declared clusters.
    pub fn not_declared(&self) -> impl ExactSizeIterator<Item = &str> {
        self.unknown.iter().map(|(name, _)| name.as_str())
    }

    /// The clusters with more than one service.
    pub fn given_twice(&self) -> impl ExactSizeIterator<Item = &str> {
        self.duplicate.iter().map(String::as_str)
    }
}

impl fmt::Display for ClustersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        match self.missing.as_slice() {
            [] => {}
            [one] => {
                write!(f, "the cluster `{one}` has no service")?;
                between = "; ";
            }
            many => {
                write!(f, "the clusters `{}` have no service", many.join("`, `"))?;
                between = "; ";
            }
        }
        for (name, meant) in &self.unknown {
            write!(f, "{between}there is no cluster `{name}`")?;
            if let Some(meant) = meant {
                write!(f, ", did you mean `{meant}`?")?;
            }
            between = "; ";
        }
        for name in &self.duplicate {
            write!(f, "{between}the cluster `{name}` has more than one service")?;
            between = "; ";
        }
        Ok(())
    }
}

impl Error for ClustersError {}
