//! What a request passes between the client and the clusters. To change the gateway, begin here.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use pointsman::gateway::analyse::AnalyseBody;
use pointsman::gateway::cache::CacheBody;
use pointsman::gateway::capture::CaptureBody;
use pointsman::gateway::{
    AnalyseLayer, CacheLayer, CaptureLayer, DenyLayer, GatewayBody, LimitLayer, MirrorLayer,
};
use pointsman::middleware::{Health, HealthSettings, InFlightBody, InFlightLayer};
use pointsman::{CanonicalPathLayer, Clusters, ClustersError, Engine, TrafficSplitLayer};
use tower::{Service, ServiceBuilder};

use super::access::AccessLog;
use super::args::{Args, Members};
use super::body::Download;
use super::cluster::{Cluster, Guard, Room};
use super::tunnel::Tunnels;
use super::upstream::Upstream;

/// What all workers have in common of the stack. Each layer is made once and cloned for each worker, so that what it counts
/// and keeps is the process's: buckets, stored responses, captures.
pub(crate) struct Layers {
    pub(crate) engine: Engine,
    pub(crate) health: Health,
    pub(crate) split: InFlightLayer,
    pub(crate) analyse: AnalyseLayer,
    pub(crate) capture: CaptureLayer,
    pub(crate) deny: DenyLayer,
    pub(crate) limit: LimitLayer,
    pub(crate) cache: CacheLayer,
    pub(crate) mirror: MirrorLayer,
    access_log: Option<AccessLog>,
    /// By cluster, as on the command line.
    pub(crate) guards: Vec<Guard>,
    /// Where copies go, with connections of their own: they are to take none from requests, and what becomes of them says
    /// nothing about a server's health.
    shadows: Vec<Cluster>,
}

/// What a client gets: the body of a server's response, or of our own, and those that watch it.
pub(crate) type StackBody =
    InFlightBody<AnalyseBody<CaptureBody<GatewayBody<GatewayBody<CacheBody<Download>>>>>>;

// === impl Layers ===

impl Layers {
    pub(crate) fn new(engine: &Engine, args: &Args, tunnels: &Tunnels) -> Result<Self, Box<dyn Error>> {
        let health = Health::new(engine, HealthSettings::new().consecutive_failures(args.eject_after));
        let guard = |members: &Members| {
            let watched = health.watch(&members.name, names(members))?;
            Ok(Guard { watched: Some(watched), room: args.limit.map(|most| Arc::new(Room::new(most))) })
        };
        let guards = args.clusters.iter().map(guard).collect::<Result<_, Box<dyn Error>>>()?;
        let shadow = |members: &Members| cluster(members, args, tunnels, Guard::default());
        let shadows: Vec<_> = args.clusters.iter().map(shadow).collect();
        let mirrors = args.clusters.iter().map(|members| &members.name).zip(shadows.iter().cloned());
        let asked = health.clone();
        Ok(Layers {
            engine: engine.clone(),
            health,
            split: TrafficSplitLayer::new(engine.clone())
                .available_with(move |cluster, kept| asked.reserve(cluster, kept))
                .count_in_flight(),
            analyse: AnalyseLayer::new(engine.clone()),
            capture: CaptureLayer::new().bytes(args.capture_bytes),
            deny: DenyLayer::new(),
            limit: LimitLayer::new().share(args.share)?,
            cache: CacheLayer::builder().capacity(args.cache_bytes).build(),
            mirror: MirrorLayer::new(engine, mirrors)?,
            access_log: args.access_log.then(AccessLog::start).transpose()?,
            guards,
            shadows,
        })
    }

    /// The stack of one worker, whose clusters are its own.
    pub(crate) fn stack(
        &self,
        clusters: Vec<(String, Cluster)>,
    ) -> Result<
        impl Service<Request<Incoming>, Response = Response<StackBody>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
        ClustersError,
    > {
        Ok(ServiceBuilder::new()
            // Servers read the path that the rules have read: no `deny` is walked around by another spelling.
            .layer(CanonicalPathLayer::rewriting())
            // Decides, and counts what is in flight.
            .layer(self.split.clone())
            .option_layer(self.access_log.clone())
            // What a decision asks for besides its cluster is done here, in this order.
            .layer(self.analyse.clone())
            .layer(self.capture.clone())
            .layer(self.deny.clone())
            .layer(self.limit.clone())
            .layer(self.cache.clone())
            .layer(self.mirror.clone())
            .service(Clusters::new(&self.engine, clusters)?))
    }

    /// The clusters of one worker.
    pub(crate) fn clusters(&self, args: &Args, tunnels: &Tunnels) -> Vec<(String, Cluster)> {
        let guarded = args.clusters.iter().zip(&self.guards);
        guarded
            .map(|(members, guard)| (members.name.clone(), cluster(members, args, tunnels, guard.clone())))
            .collect()
    }

    /// Where copies go.
    pub(crate) fn shadows(&self) -> impl Iterator<Item = &Cluster> {
        self.shadows.iter()
    }
}

/// A cluster with connections of its own.
pub(crate) fn cluster(members: &Members, args: &Args, tunnels: &Tunnels, guard: Guard) -> Cluster {
    let servers = members.servers.iter().map(|addr| Arc::new(Upstream::new(*addr, args.patience)));
    Cluster::new(servers, tunnels.clone(), guard)
}

/// By their addresses; one that is named twice is two servers.
fn names(members: &Members) -> Vec<String> {
    let mut seen = HashMap::new();
    let name = |addr: &std::net::SocketAddr| {
        let count = seen.entry(*addr).and_modify(|count| *count += 1).or_insert(1);
        if *count == 1 { addr.to_string() } else { format!("{addr} ({count})") }
    };
    members.servers.iter().map(name).collect()
}
