//! How many requests each cluster has at hand, and when it has none any more.
//!
//! [`counts`](self::counts) holds the counters and what makes "none" exact, [`drained`](self::drained) waits for it,
//! [`service`](self::service) and [`body`](self::body) say from when to when a request counts.

mod body;
mod counts;
mod drained;
mod service;

use std::fmt;
use std::sync::Arc;

use crate::diagnostic::{nearest, visible};

pub use body::InFlightBody;
pub use drained::Drained;
pub use service::{InFlightFuture, InFlightLayer, InFlightSplit};

use counts::Counts;

/// How many requests each cluster has at hand; from [`InFlightLayer::in_flight`]. A clone is a pointer to the same counts.
///
/// # What counts
///
/// A request counts for the cluster of its decision, from the decision until the body of its response has ended or was
/// dropped, the service failed, or the future was dropped, as by a timeout or by a client that went away. It counts for that
/// cluster also when the application sends it elsewhere.
///
/// # What is not seen
///
/// - What goes on after an upgrade: of a WebSocket the handshake counts, and the connection that it leaves does not.
/// - A body that somebody else reads: a service that takes the body out of an inner response, such as a cache that
///   reads on for itself, ends the count when it answers.
/// - Requests that do not pass this layer: of another layer or another process. A clone of the layer shares its
///   counts.
///
/// # Examples
///
/// Stopping the old version of a cluster, with nothing lost:
///
/// ```
/// use http::{Request, Response};
/// use pointsman::{Engine, TrafficSplitLayer};
/// use std::convert::Infallible;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder()
///     .clusters(["prod_a", "prod_b"])
///     .build("cluster prod = prod_a 100, prod_b 0\ndefault => prod")?;
/// let layer = TrafficSplitLayer::new(engine.clone()).count_in_flight();
/// let in_flight = layer.in_flight();
/// let service = layer.layer(service_fn(async |_: Request<()>| {
///     Ok::<_, Infallible>(Response::new("a body".to_owned()))
/// }));
///
/// let response = service.oneshot(Request::new(())).await?;
/// assert_eq!(in_flight.count("prod_a")?, 1);
///
/// // No new ones, then wait for the old ones.
/// engine.replace(engine.rules().with_weights("prod", [("prod_a", 0), ("prod_b", 100)])?)?;
/// let drained = in_flight.drained("prod_a")?;
/// drop(response);
/// drained.await;
/// // Now the server of prod_a may stop.
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct InFlight {
    counts: Arc<Counts>,
}

/// A name that is no declared cluster; from [`InFlight`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCluster {
    name: String,
    near: Option<String>,
}

// === impl InFlight ===

impl InFlight {
    /// How many requests a declared cluster has at hand. Those that come and go while it is counted may be in or not.
    ///
    /// Adds up the counts of all threads: some nanoseconds for each core.
    ///
    /// # Errors
    ///
    /// When the application declared no such cluster. One that the rules make of others has no count.
    pub fn count(&self, cluster: &str) -> Result<u64, UnknownCluster> {
        self.index(cluster).map(|cluster| self.counts.in_flight(cluster))
    }

    /// How many requests each declared cluster has at hand, in the order of their declaration.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.counts.engine().clusters().enumerate().map(|(at, name)| (name, self.counts.in_flight(at)))
    }

    /// Waits until a declared cluster has no request at hand.
    ///
    /// Change the rules first, so that no new request goes there; then ask. What was decided by rules that were replaced
    /// before the future is first polled is waited for, to the last: also a request that another thread has
    /// decided and not begun to serve. So when it is done, and no rule sends requests there, none will come.
    ///
    /// Where rules go on sending requests there, or other services [decide that](crate::Follow) and are followed, the future is done at a moment at which there were none, and says nothing
    /// about those that are decided after it; on a busy cluster that moment may never come. There is no limit of
    /// time: put it into a timeout, as a client may read a response for hours.
    ///
    /// # Errors
    ///
    /// When the application declared no such cluster.
    pub fn drained(&self, cluster: &str) -> Result<Drained, UnknownCluster> {
        self.index(cluster).map(|cluster| Drained::new(self.counts.clone(), cluster))
    }

    fn index(&self, cluster: &str) -> Result<usize, UnknownCluster> {
        let mut clusters = self.counts.engine().clusters();
        clusters.position(|name| name == cluster).ok_or_else(|| {
            let near = nearest(cluster, self.counts.engine().clusters()).map(str::to_owned);
            UnknownCluster { name: cluster.to_owned(), near }
        })
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.counts()).finish()
    }
}

// === impl UnknownCluster ===

impl UnknownCluster {
    /// The name that was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for UnknownCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no cluster `{}` is declared", visible(&self.name))?;
        match &self.near {
            Some(near) => write!(f, ", did you mean `{}`?", visible(near)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnknownCluster {}
