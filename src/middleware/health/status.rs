//! What an operator asks: who is out, since how many failures, and until when.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::accrual::{State, Upstream};
use super::group::Group;
use crate::diagnostic::visible;

/// How the upstreams do at one time; from [`Health::status`](super::Health::status).
///
/// `Display` is a report with a line for each upstream; with the feature `serde` it serialises.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HealthStatus {
    /// Those clusters that have upstreams here, in the order of their declaration.
    pub clusters: Vec<ClusterHealth>,
}

/// How the upstreams of a cluster do.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ClusterHealth {
    /// The name of the cluster.
    pub cluster: String,
    /// Whether one of them takes a request now.
    pub available: bool,
    /// How many requests there were that none took.
    pub unavailable: u64,
    /// In the order in which they were given.
    pub upstreams: Vec<UpstreamHealth>,
}

/// How an upstream does. All counts are since the start.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct UpstreamHealth {
    /// As the application calls it.
    pub name: String,
    /// Whether it takes requests.
    pub state: UpstreamState,
    /// Failures with no success between them, up to now. While it is out, those that took it out.
    pub consecutive_failures: u32,
    /// Requests that it was given.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
    /// How often it was taken out, not counting that it stayed out after a probe.
    pub ejections: u64,
    /// How often it was probed.
    pub probes: u64,
    /// How often it should have been taken out and was not, as [too many
    /// others](super::HealthSettings::max_ejection_percent) were.
    pub overflows: u64,
}

/// Whether an upstream takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum UpstreamState {
    /// It does.
    Healthy,
    /// It does not.
    #[non_exhaustive]
    Ejected {
        /// How long until a request may probe it; nothing when one may now.
        #[cfg_attr(feature = "serde", serde(serialize_with = "seconds", rename = "due_in_seconds"))]
        due_in: Duration,
    },
    /// It has been given one, and its answer is awaited.
    Probing,
}

// === impl ClusterHealth ===

impl ClusterHealth {
    pub(super) fn of(cluster: &str, group: &Group) -> Self {
        let now = group.clock.now();
        ClusterHealth {
            cluster: cluster.to_owned(),
            available: group.is_available(),
            unavailable: group.refused.load(Ordering::Relaxed),
            upstreams: group.upstreams.iter().map(|upstream| UpstreamHealth::of(upstream, now)).collect(),
        }
    }
}

// === impl UpstreamHealth ===

impl UpstreamHealth {
    fn of(upstream: &Upstream, now: u64) -> Self {
        let counts = &upstream.counts;
        UpstreamHealth {
            name: upstream.name.to_string(),
            state: match upstream.state() {
                State::Healthy { .. } => UpstreamState::Healthy,
                State::Ejected { until } => {
                    UpstreamState::Ejected { due_in: Duration::from_micros(until.saturating_sub(now)) }
                }
                State::Probing => UpstreamState::Probing,
            },
            consecutive_failures: upstream.consecutive(),
            requests: counts.requests.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
            ejections: counts.ejections.load(Ordering::Relaxed),
            probes: counts.probes.load(Ordering::Relaxed),
            overflows: counts.overflows.load(Ordering::Relaxed),
        }
    }
}

// === display ===

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for cluster in &self.clusters {
            write!(f, "{between}{cluster}")?;
            between = "\n";
        }
        Ok(())
    }
}

impl fmt::Display for ClusterHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let available = if self.available { "available" } else { "unavailable" };
        write!(f, "{}: {available}, {} requests refused", visible(&self.cluster), self.unavailable)?;
        self.upstreams.iter().try_for_each(|upstream| write!(f, "\n  {upstream}"))
    }
}

impl fmt::Display for UpstreamHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UpstreamHealth { state, requests, failures, ejections, probes, .. } = self;
        write!(f, "{}: {state}; ", visible(&self.name))?;
        write!(f, "requests {requests}, failures {failures} ({} in a row), ", self.consecutive_failures)?;
        write!(f, "ejections {ejections}, probes {probes}")?;
        if self.overflows > 0 {
            write!(f, ", kept as too many were out {}", self.overflows)?;
        }
        Ok(())
    }
}

impl fmt::Display for UpstreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpstreamState::Healthy => f.write_str("healthy"),
            UpstreamState::Ejected { due_in: Duration::ZERO } => f.write_str("ejected, due a probe"),
            UpstreamState::Ejected { due_in } => {
                write!(f, "ejected, due a probe in {:.1} s", due_in.as_secs_f64())
            }
            UpstreamState::Probing => f.write_str("probing"),
        }
    }
}

#[cfg(feature = "serde")]
fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
