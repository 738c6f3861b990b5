//! Dispatch to a service per cluster: which one, when it is ready, and when they do not go together.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use pointsman::middleware::{Only, Or, TrafficSplit};
use pointsman::{Clusters, Decision, Engine, TrafficSplitLayer};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_test::mock::{self, Mock};

const RULES: &str = r#"
    route a: header(to) == "a" => a
    route b: header(to) == "b" => b
    default => c
"#;

fn engine() -> Engine {
    Engine::builder().clusters(["a", "b", "c"]).build(RULES).unwrap()
}

fn to(cluster: &str) -> Request<()> {
    Request::get("/").header("to", cluster).body(()).unwrap()
}

/// Says its name.
#[derive(Clone)]
struct Named(&'static str);

impl<B> Service<Request<B>> for Named {
    type Response = Response<&'static str>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Response::new(self.0)))
    }
}

async fn body<S, T>(service: &S, request: Request<()>) -> T
where
    S: Service<Request<()>, Response = Response<T>, Error = Infallible> + Clone,
{
    service.clone().oneshot(request).await.unwrap().into_body()
}

// === which service ===

#[tokio::test]
async fn each_cluster_has_its_service_whatever_the_order() {
    let engine = engine();
    for order in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"], ["c", "a", "b"]] {
        let each = Clusters::new(&engine, order.map(|name| (name, Named(name)))).unwrap();
        let [first, second, third] = order;
        let chain = Clusters::chain(&engine)
            .service(first, Named(first))
            .service(second, Named(second))
            .service(third, Named(third))
            .build()
            .unwrap();
        for cluster in ["a", "b", "c"] {
            assert_eq!(body(&each, to(cluster)).await, cluster);
            assert_eq!(body(&chain, to(cluster)).await, cluster);
        }
    }
}

#[tokio::test]
async fn one_cluster_is_enough() {
    let engine = Engine::builder().clusters(["all"]).build("default => all").unwrap();
    assert_eq!(body(&Clusters::new(&engine, [("all", Named("all"))]).unwrap(), to("")).await, "all");
    let chain = Clusters::chain(&engine).service("all", Named("all")).build().unwrap();
    assert_eq!(body(&chain, to("")).await, "all");
}

#[tokio::test]
async fn a_decision_that_was_made_is_not_made_again() {
    let engine = engine();
    let clusters = Clusters::new(&engine, ["a", "b", "c"].map(|name| (name, Named(name)))).unwrap();
    let split = TrafficSplitLayer::new(engine.clone()).layer(clusters.clone());
    assert_eq!(body(&split, to("a")).await, "a");
    assert_eq!(engine.counters().decisions, 1);

    // Also when the rules were replaced between decision and dispatch.
    let mut request = to("a");
    let decision = engine.decide(&request);
    request.extensions_mut().insert(decision);
    engine.replace("default => c").unwrap();
    assert_eq!(body(&clusters, request).await, "a");
    assert_eq!(engine.counters().decisions, 2);
}

#[tokio::test]
async fn without_a_decision_or_with_a_strangers_the_own_engine_decides() {
    let engine = engine();
    let tell = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(request.extensions().get::<Decision>().cloned().unwrap()))
    });
    let clusters = Clusters::new(&engine, ["a", "b", "c"].map(|name| (name, tell))).unwrap();

    let decision = body(&clusters, to("b")).await;
    assert_eq!((decision.cluster(), decision.rule()), ("b", Some("b")));

    let stranger = Engine::builder().clusters(["x", "y", "z", "w"]).build("default => w").unwrap();
    let nested = TrafficSplitLayer::new(stranger.clone()).layer(clusters);
    assert_eq!(body(&nested, to("b")).await.cluster(), "b");
    assert_eq!((stranger.counters().decisions, engine.counters().decisions), (1, 2));
}

// === readiness ===

type Mocked = Mock<Request<()>, Response<&'static str>>;
type Handle = mock::Handle<Request<()>, Response<&'static str>>;

type Three<S> = Clusters<Or<Or<Only<S>, S>, S>>;

fn mocked() -> (Three<Mocked>, [Handle; 3]) {
    let [(a, ha), (b, hb), (c, hc)]: [(Mocked, Handle); 3] = [mock::pair(), mock::pair(), mock::pair()];
    let clusters =
        Clusters::chain(&engine()).service("a", a).service("b", b).service("c", c).build().unwrap();
    (clusters, [ha, hb, hc])
}

#[tokio::test]
async fn a_cluster_that_is_never_ready_delays_nobody_else() {
    let (mut clusters, [mut a, mut b, _c]) = mocked();
    a.allow(0);
    let stuck: Vec<_> = (0..100).map(|_| tokio::spawn(clusters.clone().oneshot(to("a")))).collect();
    for _ in 0..100 {
        let (response, ()) = tokio::join!(clusters.ready().await.unwrap().call(to("b")), async {
            b.next_request().await.unwrap().1.send_response(Response::new("b"));
        });
        assert_eq!(response.unwrap().into_body(), "b");
    }
    assert!(a.poll_request().is_pending());

    // And when it recovers, those that waited go on.
    a.allow(u64::MAX);
    for _ in 0..stuck.len() {
        a.next_request().await.unwrap().1.send_response(Response::new("late"));
    }
    for response in stuck {
        assert_eq!(response.await.unwrap().unwrap().into_body(), "late");
    }
}

#[tokio::test]
async fn a_cluster_that_fails_fails_its_own_requests_only() {
    let (clusters, [mut a, mut b, c]) = mocked();
    a.send_error("a is not ready");
    let error = clusters.clone().oneshot(to("a")).await.unwrap_err();
    assert_eq!(error.to_string(), "a is not ready");

    drop(c);
    assert!(clusters.clone().oneshot(to("c")).await.is_err());

    let (response, ()) = tokio::join!(clusters.clone().oneshot(to("b")), async {
        b.next_request().await.unwrap().1.send_error("b failed");
    });
    assert_eq!(response.unwrap_err().to_string(), "b failed");

    for (name, handle) in [("a", &mut a), ("b", &mut b)] {
        let (response, ()) = tokio::join!(clusters.clone().oneshot(to(name)), async {
            handle.next_request().await.unwrap().1.send_response(Response::new(name));
        });
        assert_eq!(response.unwrap().into_body(), name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_inside_a_cluster_is_its_own() {
    let engine = engine();
    let hangs = service_fn(async |_: Request<()>| pending::<Result<Response<&str>, BoxError>>().await);
    let slow = ServiceBuilder::new().timeout(Duration::from_secs(5)).concurrency_limit(1).service(hangs);
    let full = ServiceBuilder::new().load_shed().concurrency_limit(1).service(hangs);
    let clusters = Clusters::chain(&engine)
        .service("a", slow)
        .service("b", full)
        .service("c", service_fn(async |_: Request<()>| Ok(Response::new("c"))))
        .build()
        .unwrap();

    let start = Instant::now();
    let held = tokio::spawn(clusters.clone().oneshot(to("b")));
    tokio::task::yield_now().await;
    let shed = clusters.clone().oneshot(to("b")).await.unwrap_err();
    assert!(shed.is::<tower::load_shed::error::Overloaded>());
    let late = tokio::spawn(clusters.clone().oneshot(to("a")));
    assert_eq!(clusters.clone().oneshot(to("c")).await.unwrap().into_body(), "c");
    assert_eq!(start.elapsed(), Duration::ZERO);

    assert!(late.await.unwrap().unwrap_err().is::<tower::timeout::error::Elapsed>());
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    held.abort();
}

/// Counts how often it is asked and called, and insists on being asked first.
#[derive(Default)]
struct Probe {
    asked: Arc<AtomicUsize>,
    called: Arc<AtomicUsize>,
    ready: bool,
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Probe { asked: self.asked.clone(), called: self.called.clone(), ready: false }
    }
}

impl Service<Request<()>> for Probe {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been asked");
        self.called.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::new(())))
    }
}

#[tokio::test]
async fn readiness_is_asked_of_exactly_the_service_that_is_called() {
    let engine = engine();
    let probes = ["a", "b", "c"].map(|name| (name, Probe::default()));
    let clusters = Clusters::new(&engine, probes.clone()).unwrap();
    let mut clusters = TrafficSplitLayer::new(engine).layer(clusters);
    for cluster in ["a", "a", "c", "a"] {
        clusters.ready().await.unwrap().call(to(cluster)).await.unwrap();
    }
    for ((name, probe), times) in probes.iter().zip([3, 0, 1]) {
        assert_eq!(probe.asked.load(Ordering::SeqCst), times, "{name}");
        assert_eq!(probe.called.load(Ordering::SeqCst), times, "{name}");
    }
}

// === joining ===

#[test]
fn every_mistake_of_a_join_is_named() {
    let engine = Engine::builder().clusters(["gray", "prod_a", "prod_b"]).build("default => gray").unwrap();
    let message = |names: &[&str]| {
        let services = names.iter().map(|name| (*name, Named("")));
        Clusters::new(&engine, services).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(message(&["prod_b", "gray", "prod_a"]), Ok(()));
    for (names, want) in [
        (&["prod_a", "gray"][..], "the cluster `prod_b` has no service"),
        (&["prod_a"], "the clusters `gray`, `prod_b` have no service"),
        (&[], "the clusters `gray`, `prod_a`, `prod_b` have no service"),
        (&["gray", "prod_a", "prod_b", "payments"], "there is no cluster `payments`"),
        (&["gray", "prod_a", "prod_b", "gray", "gray"], "the cluster `gray` has more than one service"),
        (
            &["grey", "prod_a", "prod_b", "prod_b"],
            "the cluster `gray` has no service; there is no cluster `grey`, did you mean `gray`?; \
             the cluster `prod_b` has more than one service",
        ),
    ] {
        assert_eq!(message(names), Err(want.to_owned()));
    }

    let error = Clusters::chain(&engine)
        .service("grey", Named(""))
        .service("prod_a", Named(""))
        .service("prod_a", Named(""))
        .build()
        .unwrap_err();
    assert_eq!(error.without_service().collect::<Vec<_>>(), ["gray", "prod_b"]);
    assert_eq!(error.not_declared().collect::<Vec<_>>(), ["grey"]);
    assert_eq!(error.given_twice().collect::<Vec<_>>(), ["prod_a"]);
}

#[test]
fn a_cluster_that_only_the_rules_make_has_no_service_of_its_own() {
    let engine = Engine::builder()
        .clusters(["a", "b"])
        .build("cluster both = a 1, b 1 by cookie(uid)\ndefault => both")
        .unwrap();
    let names = |names: &[&'static str]| {
        Clusters::new(&engine, names.iter().map(|name| (*name, Named(name)))).map(drop)
    };
    assert_eq!(names(&["a", "b"]), Ok(()));
    assert_eq!(names(&["a", "b", "both"]).unwrap_err().not_declared().collect::<Vec<_>>(), ["both"]);
}

#[tokio::test]
async fn rules_cannot_bring_a_cluster_without_a_service() {
    let engine = engine();
    let clusters = Clusters::new(&engine, ["a", "b", "c"].map(|name| (name, Named(name)))).unwrap();
    let problems = engine.replace("route new: path == \"/\" => d\ndefault => c").unwrap_err();
    assert!(problems.to_string().contains("unknown cluster `d`"), "{problems}");
    assert_eq!(engine.rules().revision(), 1);
    assert_eq!(body(&clusters, to("a")).await, "a");

    engine.replace("default => b").unwrap();
    assert_eq!(body(&clusters, to("a")).await, "b");
}

// === bounds ===

#[test]
fn what_servers_ask_for_is_given_when_the_parts_give_it() {
    fn server<S>(_: S)
    where
        S: Service<Request<()>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
    }
    let engine = engine();
    let boxed = BoxCloneSyncService::new(Named("a"));
    let chain = Clusters::chain(&engine)
        .service("a", boxed.clone())
        .service("b", Named("b"))
        .service("c", service_fn(async |_: Request<()>| Ok(Response::new("c"))))
        .build()
        .unwrap();
    server(chain);
    let each = Clusters::new(&engine, ["a", "b", "c"].map(|name| (name, boxed.clone()))).unwrap();
    server::<TrafficSplit<_>>(TrafficSplitLayer::new(engine).layer(each));
}

#[tokio::test]
async fn parts_that_stay_on_one_thread_are_welcome() {
    use std::rc::Rc;
    let engine = Engine::builder().clusters(["all"]).build("default => all").unwrap();
    let local: Rc<str> = Rc::from("local");
    let service =
        service_fn(move |_: Request<Rc<str>>| ready(Ok::<_, Infallible>(Response::new(local.clone()))));
    let clusters = Clusters::new(&engine, [("all", service)]).unwrap();
    let response = clusters.oneshot(Request::new(Rc::from("x"))).await.unwrap();
    assert_eq!(&**response.body(), "local");
}
