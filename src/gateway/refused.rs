//! How a layer further out knows that an answer is the gateway's own.

use std::fmt;
use std::sync::Arc;

use crate::engine::StatementKind;

/// Which statement answered in place of a cluster; in the extensions of the response, where a layer further out finds it,
/// such as one that writes a log. The client is not told.
///
/// ```
/// # #[cfg(feature = "deny")]
/// # {
/// use http::Response;
/// use pointsman::gateway::Refused;
///
/// /// A line of a log.
/// fn line<B>(response: &Response<B>) -> String {
///     match response.extensions().get::<Refused>() {
///         Some(refused) => format!("{} by {} {}", response.status(), refused.kind(), refused.statement()),
///         None => response.status().to_string(),
///     }
/// }
/// # assert_eq!(line(&Response::new(())), "200 OK");
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub(super) kind: StatementKind,
    pub(super) statement: Arc<str>,
}

// === impl Refused ===

impl Refused {
    /// `deny` or `limit`.
    pub fn kind(&self) -> StatementKind {
        self.kind
    }

    /// The name of the statement.
    pub fn statement(&self) -> &str {
        &self.statement
    }
}

/// `deny bots`, `limit search`.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.statement)
    }
}
