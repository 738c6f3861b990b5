//! Decisions that were made upstream are followed when they come from a trusted peer, and only then.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response};
use pointsman::engine::StatementKind;
use pointsman::schema::Trusted;
use pointsman::{Carrier, Clusters, Decision, Engine, Follow, PeerAddr, PropagateLayer, TrafficSplitLayer};
use tower::{Layer, ServiceExt, service_fn};

const CLUSTER: HeaderName = HeaderName::from_static("x-cluster");
const FRIEND: &str = "10.1.2.3:4711";
const STRANGER: &str = "192.0.2.7:4711";

const RULES: &str = "
route spoofed: header(baggage) contains \"pointsman\" || exists(header(x-cluster)) => spoofed
default => prod";

fn engine() -> Engine {
    Engine::builder().clusters(["gray", "prod", "spoofed"]).build(RULES).unwrap()
}

fn follow(carrier: Carrier) -> Follow {
    Follow::new(carrier, Trusted::networks(["10.0.0.0/8"]).unwrap())
}

fn request(peer: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !peer.is_empty() {
        request = request.extension(PeerAddr(peer.parse().unwrap()));
    }
    request.body(()).unwrap()
}

/// What the service behind the layer gets.
async fn through(layer: &TrafficSplitLayer, request: Request<()>) -> (Decision, Request<()>) {
    let service =
        layer.layer(service_fn(async |request: Request<()>| Ok::<_, Infallible>(Response::new(request))));
    let request = service.oneshot(request).await.unwrap().into_body();
    (request.extensions().get::<Decision>().unwrap().clone(), request)
}

fn baggage(request: &Request<()>) -> Vec<&str> {
    request.headers().get_all("baggage").iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_trusted_peer_is_followed_and_the_rules_are_not_asked() {
    let engine = engine();
    let layer = TrafficSplitLayer::new(engine.clone()).follow(follow(Carrier::default()));
    let asked = request(FRIEND, &[("baggage", "a=1,pointsman=gray;since=monday")]);
    let (decision, request) = through(&layer, asked).await;
    assert_eq!((decision.cluster(), decision.rule(), decision.statement()), ("gray", None, "followed"));
    assert!(decision.is_followed());
    assert_eq!(decision.cluster_index(), 0);
    // It is passed on.
    assert_eq!(baggage(&request), ["a=1,pointsman=gray;since=monday"]);

    let explanation = decision.explain(&request);
    assert!(explanation.followed && explanation.steps.is_empty() && explanation.rule.is_none());
    assert_eq!(explanation.to_string(), "gray as upstream decided, revision 1");
    let own = engine.explain(&request);
    assert_eq!((&*own.cluster, own.followed), ("spoofed", false));
    assert!(format!("{decision:?}").contains("followed: true"));
}

#[tokio::test]
async fn followed_decisions_are_counted_apart_and_survive_new_rules() {
    let engine = engine();
    let follow = follow(Carrier::default());
    let layer = TrafficSplitLayer::new(engine.clone()).follow(follow.clone());
    let gray = || request(FRIEND, &[("baggage", "pointsman=gray")]);
    // Whoever holds a decision may still count by its rules.
    let held = through(&layer, gray()).await;
    through(&layer, request(FRIEND, &[])).await;
    engine.replace("default => gray").unwrap();
    through(&layer, gray()).await;
    through(&layer, request(FRIEND, &[("baggage", "pointsman=prod")])).await;
    let counters = engine.counters();
    assert_eq!(counters.followed, [("gray".into(), 2), ("prod".into(), 1), ("spoofed".into(), 0)]);
    assert_eq!((counters.decisions, counters.of(StatementKind::Default, "default")), (1, 1));
    assert_eq!((follow.untrusted(), follow.unusable()), (0, 0));
    let table = counters.to_string();
    assert!(table.contains("           2  followed => gray\n") && !table.contains("spoofed"), "{table}");
    // Nobody does any more, and the old rules' counts have moved.
    drop(held);
    engine.replace("default => prod").unwrap();
    engine.decide(&request(FRIEND, &[]));
    assert_eq!(engine.counters().followed, counters.followed);
}

#[tokio::test]
async fn the_rules_decide_where_a_trusted_peer_says_nothing_usable() {
    let follow = follow(Carrier::default());
    let layer = TrafficSplitLayer::new(engine()).follow(follow.clone());
    let (decision, _) = through(&layer, request(FRIEND, &[("baggage", "a=1")])).await;
    assert_eq!(decision.statement(), "default");
    assert_eq!(follow.unusable(), 0);
    for (at, value) in [
        "pointsman=gray,pointsman=gray",
        "pointsman=grey",
        "pointsman=gray%",
        "pointsman",
        "pointsman=",
        "pointsman=GRAY",
    ]
    .iter()
    .enumerate()
    {
        let (decision, _) = through(&layer, request(FRIEND, &[("baggage", value)])).await;
        assert_eq!((decision.statement(), decision.is_followed()), ("spoofed", false), "{value}");
        assert_eq!(follow.unusable(), at as u64 + 1, "{value}");
    }
    assert_eq!(follow.untrusted(), 0);
}

#[tokio::test]
async fn only_the_clusters_that_were_asked_for_are_followed() {
    let follow = follow(Carrier::header(CLUSTER)).only(["gray"]);
    let layer = TrafficSplitLayer::new(engine()).follow(follow.clone());
    for (cluster, statement) in [("gray", "followed"), ("prod", "spoofed"), ("another", "spoofed")] {
        let (decision, _) = through(&layer, request(FRIEND, &[("x-cluster", cluster)])).await;
        assert_eq!(decision.statement(), statement, "{cluster}");
    }
    assert_eq!((follow.untrusted(), follow.unusable()), (0, 0));
}

#[tokio::test]
async fn what_a_stranger_carries_is_taken_away_before_the_rules_look() {
    let carrier = Carrier::default().and_header(CLUSTER);
    let follow = follow(carrier);
    let layer = TrafficSplitLayer::new(engine()).follow(follow.clone());
    for peer in [STRANGER, ""] {
        let headers = [("baggage", "a=1, pointsman=gray"), ("x-cluster", "gray"), ("baggage", "b=2")];
        let (decision, request) = through(&layer, request(peer, &headers)).await;
        assert_eq!(decision.statement(), "default");
        assert_eq!(baggage(&request), ["a=1,b=2"]);
        assert!(!request.headers().contains_key(CLUSTER));
    }
    assert_eq!((follow.untrusted(), follow.unusable()), (2, 0));
    // What is no business of ours stays, byte by byte.
    let (_, request) =
        through(&layer, request(STRANGER, &[("baggage", " a = 1 ,,x"), ("baggage", "b")])).await;
    assert_eq!(baggage(&request), [" a = 1 ,,x", "b"]);
    assert_eq!(follow.untrusted(), 2);
    // A forged peer in a header is no peer.
    let forged = [("x-forwarded-for", "10.1.2.3"), ("baggage", "pointsman=gray")];
    let (decision, _) = through(&layer, self::request(STRANGER, &forged)).await;
    assert_eq!(decision.statement(), "default");
}

#[tokio::test]
async fn a_service_that_trusts_nobody_follows_nobody() {
    let nobody = Trusted::networks::<[&str; 0]>([]).unwrap();
    let layer = TrafficSplitLayer::new(engine()).follow(Follow::new(Carrier::default(), nobody));
    let (decision, request) = through(&layer, request(FRIEND, &[("baggage", "pointsman=gray")])).await;
    assert_eq!((decision.statement(), baggage(&request)), ("default", vec![]));
}

#[tokio::test]
async fn the_header_of_a_proxy_before_us_is_followed_and_replaced_by_ours() {
    let layer =
        TrafficSplitLayer::new(engine()).request_header(CLUSTER).follow(follow(Carrier::header(CLUSTER)));
    let values = |request: &Request<()>| -> Vec<HeaderValue> {
        request.headers().get_all(CLUSTER).iter().cloned().collect()
    };
    let (decision, request_) = through(&layer, request(FRIEND, &[("x-cluster", "gr%61y")])).await;
    assert_eq!(
        (decision.statement(), values(&request_)),
        ("followed", vec![HeaderValue::from_static("gray")])
    );
    let (decision, request_) = through(&layer, request(STRANGER, &[("x-cluster", "gray")])).await;
    assert_eq!(
        (decision.statement(), values(&request_)),
        ("default", vec![HeaderValue::from_static("prod")])
    );
}

#[tokio::test]
async fn a_followed_request_is_served_and_counted_by_its_cluster() {
    let engine = engine();
    let services = ["gray", "prod", "spoofed"].map(|name| {
        (name, service_fn(move |_: Request<()>| async move { Ok::<_, Infallible>(Response::new(name)) }))
    });
    let layer = TrafficSplitLayer::new(engine.clone()).follow(follow(Carrier::default())).count_in_flight();
    let service = layer.layer(Clusters::new(&engine, services).unwrap());
    let response = service.oneshot(request(FRIEND, &[("baggage", "pointsman=gray")])).await.unwrap();
    assert_eq!(*response.body().get_ref(), "gray");
    assert_eq!(layer.in_flight().count("gray").unwrap(), 1);
}

#[tokio::test]
async fn a_request_goes_out_with_its_decision_or_with_none() {
    let propagate = PropagateLayer::new(Carrier::default());
    let client =
        propagate.layer(service_fn(async |request: Request<()>| Ok::<_, Infallible>(Response::new(request))));
    let send = async |request: Request<()>| client.clone().oneshot(request).await.unwrap().into_body();
    let decision = engine().follow("gray").unwrap();

    let sent = send(
        Request::get("/").header("baggage", "a=1,pointsman=x").extension(decision.clone()).body(()).unwrap(),
    );
    assert_eq!(baggage(&sent.await), ["a=1,pointsman=gray"]);
    // A client's own word does not pass for ours.
    let sent = send(request("", &[("baggage", "a=1,pointsman=gray")])).await;
    assert_eq!(baggage(&sent), ["a=1"]);
    assert_eq!(propagate.left_out(), 0);

    let full = vec!["k=v"; 64].join(",");
    let sent = send(Request::get("/").header("baggage", &*full).extension(decision).body(()).unwrap()).await;
    assert_eq!(baggage(&sent), [&*full]);
    assert_eq!(propagate.clone().left_out(), 1);
}

#[test]
fn following_takes_part_in_all_threads_counts() {
    let engine = Arc::new(engine());
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let engine = engine.clone();
            std::thread::spawn(move || (0..1000).for_each(|_| drop(engine.follow("prod").unwrap())))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(engine.counters().followed[1], ("prod".to_owned(), 8000));
}

#[tokio::test]
async fn a_number_of_hops_makes_nobody_trusted() {
    let engine = engine();
    let follow = Follow::new(Carrier::default(), Trusted::hops(1));
    let layer = TrafficSplitLayer::new(engine.clone()).follow(follow.clone());
    for peer in [FRIEND, STRANGER, ""] {
        let (decision, request) = through(&layer, request(peer, &[("baggage", "pointsman=gray")])).await;
        assert_eq!((decision.cluster(), decision.statement()), ("prod", "default"), "{peer}");
        assert!(baggage(&request).is_empty());
    }
    assert_eq!(follow.untrusted(), 3);
}
