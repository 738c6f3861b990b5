//! What is answered in the place of a service.

use std::time::Duration;

use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

/// Why a request was answered by [`IsolateLayer`](super::IsolateLayer) or [`Health`](crate::middleware::Health) and not by
/// a service. It is in the extensions of such a response, so that logs can tell these from a service's own `503` and `504`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// There were as many requests as the limit of concurrency allows: `503 Service Unavailable`. The service has not
    /// seen this one.
    Shed,
    /// There was no response within the timeout: `504 Gateway Timeout`. The service may have acted on the request.
    TimedOut,
    /// No upstream of the cluster takes requests: `503 Service Unavailable`. None has seen this one.
    Unavailable,
}

// === impl Refused ===

impl Refused {
    /// The status of the response.
    pub const fn status(self) -> StatusCode {
        match self {
            Refused::Shed | Refused::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Refused::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Without a body, and with `Retry-After` in whole seconds: rounded up, and one at least.
    pub(in crate::middleware) fn response<B: Default>(self, retry_after: Option<Duration>) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        if let Some(time) = retry_after {
            let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
