//! The decision as an argument of an axum handler.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::engine::Decision;

/// There is no [`Decision`] to extract: the handler is not behind a
/// [`TrafficSplitLayer`](super::TrafficSplitLayer).
///
/// A mistake in the program and not in the request, so the response is `500 Internal Server Error`, and says
/// what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no decision to extract: this handler is not behind a `TrafficSplitLayer`, add one with `Router::layer` after the route"
)]
#[non_exhaustive]
pub struct NoDecision;

// === impl NoDecision ===

impl IntoResponse for NoDecision {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

// === impl Decision ===

/// With the feature `axum`, handlers take the decision as an argument.
///
/// Costs a clone. Fails with [`NoDecision`] when no layer made one; `Option<Decision>` never fails.
///
/// ```
/// use axum::{Router, routing::get};
/// use pointsman::{Decision, Engine, TrafficSplitLayer};
///
/// async fn index(decision: Decision) -> String {
///     format!("{} by {:?}\n", decision.cluster(), decision.rule())
/// }
///
/// let engine = Engine::builder().clusters(["prod"]).build("default => prod")?;
/// let app: Router = Router::new().route("/", get(index)).layer(TrafficSplitLayer::new(engine));
/// # let _ = app;
/// # Ok::<(), pointsman::BuildError>(())
/// ```
impl<S: Send + Sync> FromRequestParts<S> for Decision {
    type Rejection = NoDecision;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get().cloned().ok_or(NoDecision)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Decision {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}
