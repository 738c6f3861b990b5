//! Joining an engine and services: every cluster gets one, and only one.

use std::collections::HashMap;
use std::fmt;

use super::dispatch::{Each, Only, Or};
use super::{Clusters, ClustersError};
use crate::engine::Engine;

/// Takes the first service of a chain; made by [`Clusters::chain`].
#[derive(Debug)]
#[must_use]
pub struct ChainStart<'e> {
    names: Names<'e>,
}

/// Takes services of different types, one after the other, and joins them with an engine; made by
/// [`ChainStart::service`].
#[must_use]
pub struct Chain<'e, D> {
    names: Names<'e>,
    services: D,
}

/// Which clusters there are, and what was given for them.
#[derive(Debug)]
struct Names<'e> {
    engine: &'e Engine,
    indices: HashMap<&'e str, usize>,
    /// By cluster.
    given: Vec<bool>,
    error: ClustersError,
}

// === impl Clusters ===

impl<S> Clusters<Each<S>> {
    /// Joins an engine with services of one type, each under the name of its cluster, in any order.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use pointsman::{Clusters, Engine};
    /// use std::convert::Infallible;
    /// use tower::{ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let names = ["gray", "prod_a", "prod_b"];
    /// let engine = Engine::builder().clusters(names).build("default => prod_b")?;
    /// let clusters = Clusters::new(&engine, names.map(|name| {
    ///     (name, service_fn(move |_: Request<()>| async move { Ok::<_, Infallible>(Response::new(name)) }))
    /// }))?;
    /// assert_eq!(clusters.oneshot(Request::new(())).await?.into_body(), "prod_b");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When a declared cluster is missing, when one is given twice, and when a name is no declared cluster; the
    /// error names all of them.
    pub fn new<N: AsRef<str>>(
        engine: &Engine,
        services: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Self, ClustersError> {
        let mut names = Names::new(engine);
        let mut by_cluster: Vec<(usize, S)> =
            services.into_iter().map(|(name, service)| (names.give(name.as_ref()), service)).collect();
        names.finish()?;
        by_cluster.sort_by_key(|(cluster, _)| *cluster);
        let services = Each::new(by_cluster.into_iter().map(|(_, service)| service));
        // There are as many as the engine has clusters, and an engine has at least that of its default.
        services.map(|services| Clusters::join(engine.clone(), services)).ok_or_else(ClustersError::default)
    }
}

impl Clusters<()> {
    /// Begins to join an engine with services of different types, one after the other, in any order. The order
    /// is that of comparisons, from the last to the first: put the busiest service last.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use pointsman::{Clusters, Engine};
    /// use std::{convert::Infallible, time::Duration};
    /// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = Engine::builder().clusters(["gray", "prod"]).build("default => prod")?;
    /// let gray = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new("gray")));
    /// let prod = service_fn(async |_: Request<()>| Ok::<_, BoxError>(Response::new("prod")));
    ///
    /// let clusters = Clusters::chain(&engine)
    ///     .service("gray", ServiceBuilder::new().load_shed().concurrency_limit(100).service(gray))
    ///     .service("prod", ServiceBuilder::new().timeout(Duration::from_secs(30)).service(prod))
    ///     .build()?;
    /// assert_eq!(clusters.oneshot(Request::new(())).await.unwrap().into_body(), "prod");
    /// # Ok(())
    /// # }
    /// ```
    pub fn chain(engine: &Engine) -> ChainStart<'_> {
        ChainStart { names: Names::new(engine) }
    }
}

// === impl ChainStart ===

impl<'e> ChainStart<'e> {
    /// Adds the service of a cluster.
    pub fn service<S>(mut self, cluster: impl AsRef<str>, service: S) -> Chain<'e, Only<S>> {
        self.names.give(cluster.as_ref());
        Chain { names: self.names, services: Only::new(service) }
    }
}

// === impl Chain ===

impl<'e, D> Chain<'e, D> {
    /// Adds the service of another cluster. Names are looked at in [`Chain::build`].
    pub fn service<S>(mut self, cluster: impl AsRef<str>, service: S) -> Chain<'e, Or<D, S>> {
        let cluster = self.names.give(cluster.as_ref());
        Chain { names: self.names, services: Or::new(self.services, cluster, service) }
    }

    /// Joins the services with the engine.
    ///
    /// # Errors
    ///
    /// When a declared cluster is missing, when one is given twice, and when a name is no declared cluster; the
    /// error names all of them.
    pub fn build(self) -> Result<Clusters<D>, ClustersError> {
        let engine = self.names.engine.clone();
        self.names.finish()?;
        Ok(Clusters::join(engine, self.services))
    }
}

impl<D> fmt::Debug for Chain<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("names", &self.names).finish_non_exhaustive()
    }
}

// === impl Names ===

impl<'e> Names<'e> {
    fn new(engine: &'e Engine) -> Self {
        let indices: HashMap<_, _> = engine.clusters().zip(0..).collect();
        let given = vec![false; engine.clusters().len()];
        Names { engine, indices, given, error: ClustersError::default() }
    }

    /// The index of a cluster that is given a service. For a name that is none, any: there will be an error.
    fn give(&mut self, name: &str) -> usize {
        let Some(&cluster) = self.indices.get(name) else {
            self.error.unknown(name, self.engine.clusters());
            return usize::MAX;
        };
        match self.given.get_mut(cluster) {
            Some(given) if !*given => *given = true,
            _ => self.error.duplicate(name),
        }
        cluster
    }

    fn finish(mut self) -> Result<(), ClustersError> {
        for (name, given) in self.engine.clusters().zip(&self.given) {
            if !given {
                self.error.missing(name);
            }
        }
        self.error.into_result()
    }
}
