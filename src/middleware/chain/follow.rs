//! The side that is called: a decision that was made upstream, if it comes from somebody who is trusted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Request;
use http::header::HeaderName;

use super::Carrier;
use super::carrier::Carried;
use crate::engine::{Decision, Engine};
use crate::schema::{RequestHead, Trusted};

/// Whose decisions a service follows, and how they travel; for [`TrafficSplitLayer::follow`].
///
/// A request from a trusted peer that carries the name of a declared cluster goes to that cluster, and the service's own
/// rules are not asked: gray stays gray. The rules decide
///
/// - when the request carries nothing,
/// - when it carries what is not one readable name: malformed, or two of them, also two that agree,
/// - when the name is no cluster that this application declared, or not [one of those](Self::only) that are followed,
/// - when the peer is not trusted, or unknown. What it carries is then taken away *before* the rules look, so that
///   neither they nor anybody behind take it for our word. Of `baggage`, our member alone is; the rest stays.
///
/// The peer is the one that [`ClientAddr`](crate::ClientAddr) starts from: [`PeerAddr`](crate::PeerAddr), or what the
/// [schema](crate::Schema::client_addr) says. It is the socket's peer, whatever `X-Forwarded-For` says: who speaks is who
/// is connected. A service that clients reach directly trusts no peer: `Trusted::networks` of none.
///
/// [`Decision::is_followed`] tells such a decision from the rules', and
/// [`Counters::followed`](crate::engine::Counters::followed) counts them apart. A clone counts together with the original.
///
/// # Cost
///
/// One look at the `baggage` lines; a name is decoded and looked up. That is less than most rules cost.
///
/// # Examples
///
/// ```
/// use http::{Request, Response};
/// use pointsman::schema::{PeerAddr, Trusted};
/// use pointsman::{Carrier, Decision, Engine, Follow, TrafficSplitLayer};
/// use std::convert::Infallible;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => prod")?;
/// let follow = Follow::new(Carrier::default(), Trusted::networks(["10.0.0.0/8"])?);
/// let service = TrafficSplitLayer::new(engine.clone()).follow(follow.clone()).layer(service_fn(
///     async |request: Request<()>| {
///         let decision = request.extensions().get::<Decision>().expect("the layer leaves one");
///         Ok::<_, Infallible>(Response::new(format!("{} by {}", decision.cluster(), decision.statement())))
///     },
/// ));
///
/// let from = |peer: &str| -> Result<_, Box<dyn std::error::Error>> {
///     let peer = PeerAddr(peer.parse()?);
///     Ok(Request::get("/").header("baggage", "pointsman=gray").extension(peer).body(())?)
/// };
/// let answer = service.clone().oneshot(from("10.0.0.7:4711")?).await?.into_body();
/// assert_eq!(answer, "gray by followed");
/// let answer = service.oneshot(from("192.0.2.7:4711")?).await?.into_body();
/// assert_eq!(answer, "prod by default");
///
/// assert_eq!(engine.counters().followed, [("gray".to_owned(), 1), ("prod".to_owned(), 0)]);
/// assert_eq!((follow.untrusted(), follow.unusable()), (1, 0));
/// # Ok(())
/// # }
/// ```
///
/// [`TrafficSplitLayer::follow`]: crate::TrafficSplitLayer::follow
#[derive(Debug, Clone)]
pub struct Follow {
    carrier: Carrier,
    trusted: Trusted,
    only: Option<Arc<[Box<str>]>>,
    counts: Arc<Counts>,
}

/// What is seldom, or an attack: one place for all threads will do.
#[derive(Debug, Default)]
struct Counts {
    untrusted: AtomicU64,
    unusable: AtomicU64,
}

// === impl Follow ===

impl Follow {
    /// Follows what peers in these networks decided. Nobody is trusted by [`Trusted::hops`]: how many proxies there are does
    /// not say who speaks.
    pub fn new(carrier: Carrier, trusted: Trusted) -> Self {
        Follow { carrier, trusted, only: None, counts: Arc::default() }
    }

    /// Follows decisions for these clusters only, as `["gray"]`; of any other the rules decide, and see what the request
    /// carries. For services that are released each for itself: that web sent a request to its own `prod_b` says
    /// nothing about which half of orders is to serve it.
    #[must_use]
    pub fn only<S: AsRef<str>>(mut self, clusters: impl IntoIterator<Item = S>) -> Self {
        self.only = Some(clusters.into_iter().map(|cluster| cluster.as_ref().into()).collect());
        self
    }

    /// How many requests carried a decision and came from somebody who is not trusted. It was taken away.
    pub fn untrusted(&self) -> u64 {
        self.counts.untrusted.load(Ordering::Relaxed)
    }

    /// How many requests of trusted peers carried what was no name of a declared cluster. The rules decided.
    pub fn unusable(&self) -> u64 {
        self.counts.unusable.load(Ordering::Relaxed)
    }

    fn is_followed(&self, cluster: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| **name == *cluster))
    }

    /// The decision that a request carries, if it is to be followed. Takes away what an untrusted peer sent, and from a request
    /// that is followed the header that is `ours` to set.
    pub(in crate::middleware) fn decide<B>(
        &self,
        engine: &Engine,
        request: &mut Request<B>,
        ours: Option<&HeaderName>,
        available: Option<&dyn Fn(u32) -> bool>,
    ) -> Option<Decision> {
        let add = |count: &AtomicU64| _ = count.fetch_add(1, Ordering::Relaxed);
        if !engine.schema().is_trusted_peer(&self.trusted, RequestHead::from(&*request)) {
            if self.carrier.remove(request.headers_mut()) {
                add(&self.counts.untrusted);
            }
            return None;
        }
        let followed = match self.carrier.read(request.headers()) {
            Carried::Nothing => return None,
            Carried::Cluster(cluster) if !self.is_followed(&cluster) => return None,
            Carried::Cluster(cluster) => {
                // Statements see no more of what only we may set than rules do.
                if let Some(ours) = ours {
                    request.headers_mut().remove(ours);
                }
                engine.follow_request(&cluster, &*request, available)
            }
            Carried::Unreadable => None,
        };
        if followed.is_none() {
            add(&self.counts.unusable);
        }
        followed
    }
}
