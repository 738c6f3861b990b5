//! What a request passes between the client and the clusters. To change the gateway, begin here.

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;
use pointsman::middleware::{InFlightBody, InFlightLayer};
use pointsman::{Clusters, ClustersError, Engine};
use tower::{Service, ServiceBuilder};

use super::body::Download;
use super::cluster::Cluster;

/// The stack of one worker. Layers are made once and cloned here, so that all workers share what they count and keep;
/// the clusters are the worker's own.
pub(crate) fn stack(
    engine: &Engine,
    split: &InFlightLayer,
    clusters: Vec<(String, Cluster)>,
) -> Result<
    impl Service<Request<Incoming>, Response = Response<InFlightBody<Download>>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static,
    ClustersError,
> {
    Ok(ServiceBuilder::new()
        // Decides, and counts what is in flight.
        .layer(split.clone())
        // What a decision asks for besides its cluster is done here, in this order.
        .service(Clusters::new(engine, clusters)?))
}
