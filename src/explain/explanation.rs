//! What an explanation is, and how people read it.

use std::fmt;

use crate::check::typed::State;
use crate::diagnostic::visible;
use crate::schema::{StatementKind, Type, decimal4};

/// Why a request goes where it goes.
///
/// `Display` writes it for people; with the feature `serde` it serialises, for instance as JSON. Values come
/// from the request as they are: an explanation can hold cookies and other secrets, and should be shown to those
/// only who may see the request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Explanation {
    /// The declared cluster that was chosen.
    pub cluster: String,
    /// The route that decided; `None` for the default, and when it was followed.
    pub rule: Option<String>,
    /// The `deny` that answers in place of the cluster.
    pub denied: Option<String>,
    /// Whether the decision was made upstream and taken over. The rules were not asked then, so there are no steps.
    pub followed: bool,
    /// The revision of the rule set.
    pub revision: u64,
    /// The statements of the service gateway that had a say, kind by kind; then the routes in their order, up to the one
    /// that decided.
    pub steps: Vec<Step>,
    /// How the clusters of the outcome were chosen, from the statement's down to the declared one.
    pub dealt: Vec<Dealt>,
    /// The clusters without an available server whose place others took, in the order of the attempts.
    pub fallbacks: Vec<Fallback>,
}

/// A cluster took the place of one that had no available server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Fallback {
    /// The declared cluster without an available server.
    pub cluster: String,
    /// What stands behind `else`: a declared cluster, or one made of others.
    pub instead: String,
}

/// One rule: a route, or a statement of the service gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Step {
    /// What it is.
    #[cfg_attr(feature = "serde", serde(serialize_with = "displayed"))]
    pub kind: StatementKind,
    /// Its name.
    pub rule: String,
    /// Whether it is live, a shadow or paused.
    #[cfg_attr(feature = "serde", serde(serialize_with = "state_name"))]
    pub state: State,
    /// Whether its condition was true; `None` when it is paused and was not looked at.
    pub matched: Option<bool>,
    /// The comparisons that were made, in their order. Those that could not change the verdict any more are not
    /// among them.
    pub looked_at: Vec<Look>,
    /// How a shadow's outcome would have been dealt, or that the key of a split was absent.
    pub dealt: Option<Dealt>,
    /// The key of a statement of the service gateway that has one.
    pub key: Option<String>,
    /// Whether such a statement did not apply because the request has no key. Of a route, whose outcome is dealt by a key, it
    /// is always `false`: [`dealt`](Self::dealt) tells.
    pub no_key: bool,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Look {
    /// As it stands in the text.
    pub condition: String,
    /// The values of its left side, as text; none when absent. Long ones and long rows are cut, and say so with
    /// `…`. Bytes that are not UTF-8 are escaped.
    pub seen: Vec<String>,
    /// The type of those values.
    #[cfg_attr(feature = "serde", serde(serialize_with = "displayed"))]
    pub ty: Type,
    /// What came out.
    pub verdict: bool,
}

/// How one of several clusters was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Dealt {
    /// The statement whose outcome it is: a route's or a cluster's name, or `default`.
    pub of: String,
    /// The target that was chosen; `None` when the key was absent and the route therefore did not match.
    pub target: Option<String>,
    /// Whether the request has no key to be dealt by, though the statement names one. With a `target`, chance has chosen
    /// it; without, the route did not match.
    pub no_key: bool,
    /// The target's weight and the sum of all, in steps of 0.0001; `None` when the route did not match for want
    /// of a key. Serialised as they are written: `[95.0, 100.0]`.
    #[cfg_attr(feature = "serde", serde(serialize_with = "decimals"))]
    pub weight: Option<(u64, u64)>,
    /// The key's text; `None` when chance decided, as it does for the default and for clusters when the key is
    /// absent, or when the route did not match for want of a key.
    pub key: Option<String>,
    /// The bucket of the key, or of the chance that decided in its place, from 0 to 999,999 in steps of 0.0001
    /// percent: what `percent` of the key would be with this salt. It identifies the dealing and does not decide
    /// it: which cluster it goes to depends on all names and weights. `None` when the route did not match for
    /// want of a key. Serialised in percent, as it is written: `67.7766`.
    #[cfg_attr(feature = "serde", serde(serialize_with = "percent"))]
    pub bucket: Option<u32>,
}

// === impl Explanation ===

impl Explanation {
    /// Of a decision that was made upstream.
    pub(crate) fn followed(cluster: &str, revision: u64) -> Self {
        let cluster = cluster.to_owned();
        Explanation {
            cluster,
            rule: None,
            denied: None,
            followed: true,
            revision,
            steps: Vec::new(),
            dealt: Vec::new(),
            fallbacks: Vec::new(),
        }
    }
}

// === impl Display ===

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.followed {
            return write!(f, "{} as upstream decided, revision {}", visible(&self.cluster), self.revision);
        }
        if let Some(denied) = &self.denied {
            write!(f, "denied by {}, else ", visible(denied))?;
        }
        write!(f, "{} by ", visible(&self.cluster))?;
        match &self.rule {
            Some(rule) => write!(f, "route {}", visible(rule))?,
            None => f.write_str("default")?,
        }
        write!(f, ", revision {}", self.revision)?;
        for step in &self.steps {
            write!(f, "\n{step}")?;
        }
        if self.rule.is_none() {
            f.write_str("\n  default")?;
        }
        for dealt in &self.dealt {
            write!(f, "\n         {dealt}")?;
        }
        for fallback in &self.fallbacks {
            write!(f, "\n         {fallback}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cluster, instead) = (visible(&self.cluster), visible(&self.instead));
        write!(f, "{cluster} has no available server, so {instead}")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Live => "",
            State::Shadow => " (shadow: counted, does not act)",
            State::Paused => " (paused: not looked at)",
        };
        let keyless = self.no_key || self.dealt.as_ref().is_some_and(|dealt| dealt.target.is_none());
        let verdict = match self.matched {
            Some(true) if keyless => ": yes, but no key",
            Some(true) => ": yes",
            Some(false) => ": no",
            None => "",
        };
        write!(f, "  {} {}{verdict}{state}", self.kind, visible(&self.rule))?;
        if let Some(key) = &self.key {
            write!(f, " by \"{}\"", escaped(key))?;
        }
        for look in &self.looked_at {
            write!(f, "\n    {look}")?;
        }
        match &self.dealt {
            Some(dealt) => write!(f, "\n         {dealt}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.verdict { "yes" } else { "no" };
        write!(f, "{verdict:<4} {}", visible(&self.condition))?;
        match self.seen.as_slice() {
            [] => f.write_str("  -- absent"),
            seen if self.ty == Type::String => {
                let quoted: Vec<_> = seen.iter().map(|value| format!("\"{}\"", escaped(value))).collect();
                write!(f, "  -- {}", quoted.join(", "))
            }
            seen => write!(f, "  -- {}", seen.join(", ")),
        }
    }
}

impl fmt::Display for Dealt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = visible(&self.of);
        let Some(target) = &self.target else {
            return write!(f, "split of {of}: no key in the request, so the next route is asked");
        };
        write!(f, "split of {of}: {}", visible(target))?;
        if let Some((weight, all)) = self.weight {
            write!(f, " {} of {}", decimal4(weight), decimal4(all))?;
        }
        let bucket = decimal4(u64::from(self.bucket.unwrap_or(0)));
        match &self.key {
            Some(key) => write!(f, ", by key \"{}\" (bucket {bucket})", escaped(key)),
            None if self.no_key => write!(f, ", no key in the request, so by chance (bucket {bucket})"),
            None => write!(f, ", by chance (bucket {bucket})"),
        }
    }
}

/// For one line of a terminal.
fn escaped(text: &str) -> String {
    text.escape_debug().to_string().replace("\\'", "'")
}

#[cfg(feature = "serde")]
fn displayed<S: serde::Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(feature = "serde")]
#[allow(clippy::ref_option, reason = "serde calls it")]
fn percent<S: serde::Serializer>(bucket: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&bucket.map(|bucket| f64::from(bucket) / 10_000.0), serializer)
}

#[cfg(feature = "serde")]
#[allow(clippy::ref_option, reason = "serde calls it")]
fn decimals<S: serde::Serializer>(weight: &Option<(u64, u64)>, serializer: S) -> Result<S::Ok, S::Error> {
    let decimal = |steps: u64| steps as f64 / 10_000.0;
    serde::Serialize::serialize(&weight.map(|(weight, all)| (decimal(weight), decimal(all))), serializer)
}

#[cfg(feature = "serde")]
fn state_name<S: serde::Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}
