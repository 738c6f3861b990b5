//! How a layer further out knows that an answer came from the cache.

use http::StatusCode;

/// That the cache answered and not the cluster of the decision; in the extensions of the response, where a layer further out
/// finds it, such as one that writes a log. The client is told by `Cache-Status`, if that is wanted.
///
/// A stored response that the cluster has just confirmed is an answer of the cluster and has no mark.
///
/// ```
/// # #[cfg(feature = "cache")]
/// # {
/// use http::Response;
/// use pointsman::gateway::Cached;
///
/// /// Whose time it was, for a log.
/// fn by<B>(response: &Response<B>) -> &'static str {
///     match response.extensions().get::<Cached>() {
///         None => "cluster",
///         Some(Cached::Answered) => "cache",
///         Some(_) => "cache, as the cluster failed",
///     }
/// }
/// # assert_eq!(by(&Response::new(())), "cluster");
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cached {
    /// The cluster was not asked for this request: what was stored answered, or what another request brought, or that
    /// nothing is stored (`only-if-cached`).
    Answered,
    /// The cluster was asked and failed with this status; a stale response took the place of that.
    InsteadOf(StatusCode),
    /// The cluster was asked and its service returned an error; a stale response took the place of that.
    InsteadOfError,
}
