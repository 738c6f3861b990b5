//! A captured request as a case for tests: so that what surprised once is asked again each time.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use serde::Serialize;

use super::exchange::{Captured, MatchRecord, matches};
use crate::diagnostic::visible;
use crate::engine::{BuildError, Engine, Moment};
use crate::schema::{PeerAddr, Schema};

/// Why a captured exchange is no case; from [`Captured::case`].
#[derive(Debug)]
pub struct CaseError(Why);

#[derive(Debug)]
enum Why {
    Followed,
    Rules(BuildError),
    Request(&'static str),
    Differs { was: Answer, comes: Answer, redacted: Vec<String> },
}

/// What is wrong with a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaseErrorKind {
    /// The decision was made upstream, and no rule was asked.
    Followed,
    /// The rules do not compile without the application, as they mention its fields or lists.
    Rules,
    /// The request cannot be written down.
    Request,
    /// Replayed, the request is decided otherwise: what the rules looked at was redacted, or came from the application.
    Differs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    cluster: String,
    rule: Option<String>,
    matches: Vec<MatchRecord>,
}

/// A line of `tests/conformance/README.md`.
#[derive(Serialize)]
struct Case<'c> {
    id: String,
    source: &'static str,
    kind: &'static str,
    rules: &'c str,
    clusters: Vec<&'c str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateway: Vec<&'static str>,
    request: CaseRequest<'c>,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    chance: u64,
    expect: Expect<'c>,
    note: String,
}

#[derive(Serialize)]
struct CaseRequest<'c> {
    method: &'c str,
    uri: &'c str,
    headers: &'c [(String, String)],
    peer: Option<IpAddr>,
}

#[derive(Serialize)]
struct Expect<'c> {
    cluster: &'c str,
    rule: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matches: Option<Vec<String>>,
}

// === impl Captured ===

impl Captured {
    /// The request and its decision as a conformance case: one line of JSON in the format of `tests/conformance/README.md`, that
    /// `cargo run --example conformance -- FILE` runs.
    ///
    /// The case is whole in itself: it has the text of the rules, the clusters, and as far as rules ask for them the
    /// time and the chance. `peer` is what the rules saw as `ip`, wherever that came from.
    ///
    /// What was redacted is redacted in the case, whose `note` says what that was. Before a case is handed out it is
    /// replayed: so one that there is gives the same decision. Where rules ask for what is redacted, that need not be, and then there is an error; say with
    /// [`allow_cookie`](super::CaptureLayer::allow_cookie) or [`allow_header`](super::CaptureLayer::allow_header) which
    /// values may stay.
    ///
    /// Compiles the rules, and takes the time that this takes.
    ///
    /// # Errors
    ///
    /// When the decision was not made by these rules and this request alone, or comes out otherwise without what was redacted.
    pub fn case(&self) -> Result<String, CaseError> {
        let decision = &self.decision;
        if decision.followed {
            return Err(CaseError(Why::Followed));
        }
        let was = Answer {
            cluster: decision.cluster.clone(),
            rule: decision.rule.clone(),
            matches: decision.matches.clone(),
        };
        let comes = self.replay()?;
        if was != comes {
            let redacted = self.request.redacted.iter().cloned().collect();
            return Err(CaseError(Why::Differs { was, comes, redacted }));
        }
        // All keys are strings, so nothing can fail.
        Ok(serde_json::to_string(&self.written()).unwrap_or_default())
    }

    /// What these rules decide for the request as it is captured, in a process that knows nothing else.
    fn replay(&self) -> Result<Answer, CaseError> {
        let decision = &self.decision;
        let schema = Schema::new().clusters(&*decision.clusters).gateway(decision.kinds.iter().copied());
        let engine = Engine::builder()
            .schema(schema)
            .build(&*decision.text)
            .map_err(|error| CaseError(Why::Rules(error)))?;
        let request = self.request().map_err(|what| CaseError(Why::Request(what)))?;
        let decided = engine.decide_at(&request, decision.moment);
        Ok(Answer {
            cluster: decided.cluster().to_owned(),
            rule: decided.rule().map(str::to_owned),
            matches: matches(&decided),
        })
    }

    fn request(&self) -> Result<Request<()>, &'static str> {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(self.request.method.as_bytes()).map_err(|_| "method")?;
        *request.uri_mut() = self.request.target.parse::<Uri>().map_err(|_| "target")?;
        for (name, value) in &self.request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "header fields")?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| "header fields")?;
            request.headers_mut().try_append(name, value).map_err(|_| "header fields")?;
        }
        if let Some(client) = self.request.client {
            request.extensions_mut().insert(PeerAddr(SocketAddr::new(client, 49152)));
        }
        Ok(request)
    }

    fn written(&self) -> Case<'_> {
        let decision = &self.decision;
        let Moment { now, chance } = decision.moment;
        let began = jiff::Timestamp::try_from(self.began).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let mut note = format!("captured by {}", self.by.join(", "));
        if !self.request.redacted.is_empty() {
            let redacted: Vec<_> = self.request.redacted.iter().map(String::as_str).collect();
            note += &format!("; redacted: {}", redacted.join(", "));
        }
        let hit = |hit: &MatchRecord| {
            let shadow = if hit.live { "" } else { "shadow " };
            format!("{shadow}{} {}", hit.kind, hit.name)
        };
        let served = !decision.kinds.is_empty();
        Case {
            id: format!("captured/{began:.6}"),
            source: concat!("captured by ", env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
            kind: "route",
            rules: &decision.text,
            clusters: decision.clusters.iter().map(|name| &**name).collect(),
            gateway: decision.kinds.iter().map(|kind| kind.word()).collect(),
            request: CaseRequest {
                method: &self.request.method,
                uri: &self.request.target,
                headers: &self.request.headers,
                peer: self.request.client,
            },
            now: jiff::Timestamp::try_from(now)
                .ok()
                .filter(|now| *now != jiff::Timestamp::UNIX_EPOCH)
                .map(|now| now.to_string()),
            chance,
            expect: Expect {
                cluster: &decision.cluster,
                rule: decision.rule.as_deref(),
                matches: served.then(|| decision.matches.iter().map(hit).collect()),
            },
            note,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

// === impl CaseError ===

impl CaseError {
    /// What is wrong.
    pub fn kind(&self) -> CaseErrorKind {
        match &self.0 {
            Why::Followed => CaseErrorKind::Followed,
            Why::Rules(_) => CaseErrorKind::Rules,
            Why::Request(_) => CaseErrorKind::Request,
            Why::Differs { .. } => CaseErrorKind::Differs,
        }
    }
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Followed => f.write_str("the decision was followed, no rule was asked"),
            Why::Rules(_) => f.write_str("the rules do not compile without the application"),
            Why::Request(what) => write!(f, "the request cannot be written down: its {what}"),
            Why::Differs { was, comes, redacted } => {
                write!(f, "{was} came, and replayed {comes}")?;
                match redacted.as_slice() {
                    [] => f.write_str("; what the application's fields say is not captured"),
                    names => write!(f, "; redacted: {}", names.join(", ")),
                }
            }
        }
    }
}

impl std::error::Error for CaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Why::Rules(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.as_deref().unwrap_or("default");
        write!(f, "{} by {}", visible(&self.cluster), visible(rule))?;
        for (at, MatchRecord { kind, name, .. }) in self.matches.iter().enumerate() {
            let before = if at == 0 { " with " } else { ", " };
            write!(f, "{before}{kind} {}", visible(name))?;
        }
        Ok(())
    }
}
