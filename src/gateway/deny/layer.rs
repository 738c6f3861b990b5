//! What is set up once, and what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use tower_layer::Layer;

use super::service::DenyService;
use crate::engine::{Action, GatewayStatement, StatementKind};
use crate::gateway::answer::Answer;
use crate::gateway::kept::Kept;

/// Answers requests that a live `deny` matches, with its status and text, in place of a cluster.
///
/// Reads the [`Decision`](crate::Decision) that a [`TrafficSplitLayer`](crate::TrafficSplitLayer) outside it left; a request
/// without one passes, so this layer has to be inside of that one; [`Engine::unheeded`](crate::Engine::unheeded) tells when it is
/// not. Outside of both belongs a [`CanonicalPathLayer`](crate::CanonicalPathLayer): rules see the canonical path, and what is
/// behind sees the one that the client wrote, such as `/admin/../public`. All clones, and all services that they make, share the
/// counts. Those of several engines stand one behind the other, so each should have a layer of its own.
///
/// # The answer
///
/// - A client that names `application/problem+json`, `application/json` or `application/*` in `Accept`, and does not like
///   plain text better, gets a problem (RFC 9457): `{"type":"about:blank","title":"Forbidden","status":403,"detail":"…"}`.
///   All others get the text as `text/plain; charset=utf-8`; those with `*/*` too. Without a text there is no `detail`, and
///   the plain answer is empty.
/// - `HEAD` gets the same header fields and no body.
/// - `Cache-Control: no-store`, as the next request may meet other rules; and `Vary: accept`.
/// - With 401 `WWW-Authenticate` and with 407 `Proxy-Authenticate`, if there is a [`challenge`](Self::challenge); RFC 9110 wants
///   one with both. Without one, better write 403.
/// - Nothing about the rule but its text. For testers, [`rule_header`](Self::rule_header) names it; for layers further out,
///   the response has [`Refused`](crate::gateway::Refused) in its extensions.
///
/// # The request's body
///
/// It is dropped unread. What comes of the connection is the server's affair: hyper reads what has already come and
/// otherwise closes an HTTP/1.1 connection after the answer, and resets the one stream of HTTP/2. A client that sends
/// `Expect: 100-continue` sends no body at all.
///
/// # Cost
///
/// A request that no `deny` matches costs one look at its extensions. An answer costs a header map and a few reference
/// counts, as its bodies are made once a rule set; and a lock for reading, which is written when rules change.
///
/// # Errors
///
/// None of its own. A denied request does not reach the inner service, which was asked for its readiness nevertheless.
///
/// # Examples
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use pointsman::engine::StatementKind;
/// use pointsman::gateway::DenyLayer;
/// use pointsman::{CanonicalPathLayer, Engine, Schema, TrafficSplitLayer};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Deny]);
/// let engine = Engine::builder().schema(schema).build(
///     r#"deny bots:  header(user-agent) contains "BadBot" => 403 "no robots"
///        deny admin: path under "/admin"                  => 404
///        default => prod"#,
/// )?;
/// let deny = DenyLayer::new();
/// let service = ServiceBuilder::new()
///     .layer(CanonicalPathLayer::rewriting())
///     .layer(TrafficSplitLayer::new(engine))
///     .layer(deny.clone())
///     .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
///
/// let request = Request::get("/").header("user-agent", "BadBot/1.0").body(())?;
/// let response = service.oneshot(request).await?;
/// assert_eq!(response.status(), StatusCode::FORBIDDEN);
/// assert_eq!(deny.counts()[0].denied, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DenyLayer {
    pub(super) rule_header: Option<HeaderName>,
    pub(super) challenge: Option<HeaderValue>,
    pub(super) kept: Arc<Kept<Denial>>,
}

/// What is kept for a `deny`.
#[derive(Debug)]
pub(super) struct Denial {
    pub(super) answer: Answer,
    denied: AtomicU64,
    shadow: AtomicU64,
}

/// How often a `deny` answered; from [`DenyLayer::counts`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DenyCount {
    /// The statement's name.
    pub statement: String,
    /// How many requests it answered.
    pub denied: u64,
    /// How many it would have, while it was a shadow.
    pub shadow: u64,
}

// === impl DenyLayer ===

impl DenyLayer {
    /// Makes the layer.
    pub fn new() -> Self {
        DenyLayer { rule_header: None, challenge: None, kept: Arc::new(Kept::new(StatementKind::Deny)) }
    }

    /// Names the statement in a header of its answers, for testers. What is no visible ASCII is escaped, as by
    /// [`TrafficSplitLayer::request_header`](crate::TrafficSplitLayer::request_header).
    #[must_use]
    pub fn rule_header(mut self, name: HeaderName) -> Self {
        self.rule_header = Some(name);
        self
    }

    /// How a client may authenticate, such as `Bearer realm="shop"`: in `WWW-Authenticate` of answers with 401, and in
    /// `Proxy-Authenticate` of those with 407 (RFC 9110, 15.5.2 and 15.5.8). Several challenges stand in one value, with commas.
    /// `Basic` makes browsers ask for a password.
    ///
    /// By default there is none, as only the application knows what its clients have.
    #[must_use]
    pub fn challenge(mut self, challenge: HeaderValue) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// How often each `deny` of the latest rules answered, in the order of the text. A statement that new rules have too,
    /// with the same answer, goes on counting.
    ///
    /// There are none before a first request has matched one.
    pub fn counts(&self) -> Vec<DenyCount> {
        let count = |(statement, denial): (&GatewayStatement, &Arc<Denial>)| DenyCount {
            statement: statement.name().to_owned(),
            denied: denial.denied.load(Ordering::Relaxed),
            shadow: denial.shadow.load(Ordering::Relaxed),
        };
        self.kept.latest().iter().map(count).collect()
    }
}

impl Default for DenyLayer {
    fn default() -> Self {
        DenyLayer::new()
    }
}

impl<S> Layer<S> for DenyLayer {
    type Service = DenyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DenyService::new(self.clone(), inner)
    }
}

// === impl Denial ===

impl Denial {
    pub(super) fn new(statement: &GatewayStatement) -> Self {
        let (status, text) = match statement.action() {
            Action::Deny(deny) => (deny.status, deny.text.as_deref()),
            _ => (StatusCode::FORBIDDEN, None),
        };
        let answer = Answer::new(statement, status, text);
        Denial { answer, denied: AtomicU64::new(0), shadow: AtomicU64::new(0) }
    }

    pub(super) fn count(&self, live: bool) {
        let cell = if live { &self.denied } else { &self.shadow };
        cell.fetch_add(1, Ordering::Relaxed);
    }
}
