//! The layers of the service gateway put together: in one stack, and wrongly.
#![cfg(all(
    feature = "analyse",
    feature = "cache",
    feature = "capture",
    feature = "deny",
    feature = "limit",
    feature = "metrics",
    feature = "mirror"
))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use pointsman::engine::StatementKind;
use pointsman::gateway::{AnalyseLayer, CacheLayer, CaptureLayer, DenyLayer, LimitLayer, MirrorLayer};
use pointsman::{CanonicalPathLayer, Clusters, Engine, Schema, TrafficSplitLayer};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

type Body = Full<Bytes>;

const RULES: &str = r#"
deny    admin:  path under "/admin"       => 403 "no"
limit   all:    path under "/limited"     => 1000/s
cache   all:    path under "/cached"      => 30s
mirror  next:   path under "/mirrored"    => next
capture debug:  path under "/captured"    => 50 for 10m
count   top_ip: path under "/counted"     => top 20 by path per 15s
shadow deny later: true                   => 410
default => prod
"#;

fn engine() -> Engine {
    let schema = Schema::new().clusters(["prod", "next"]).gateway(StatementKind::GATEWAY);
    Engine::builder().schema(schema).build(RULES).unwrap()
}

/// A server, which says which path it has seen.
fn server<B: 'static>()
-> impl Service<Request<B>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(|request: Request<B>| {
        let seen = request.uri().path().to_owned();
        std::future::ready(Ok(Response::new(Body::from(seen))))
    })
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "shop.test").body(Body::default()).unwrap()
}

/// How many requests nobody heeded, of the kinds of which there are some.
fn unheeded(engine: &Engine) -> Vec<(StatementKind, u64)> {
    engine.unheeded().filter(|(_, requests)| *requests > 0).collect()
}

#[tokio::test]
async fn canonical_paths_are_outermost_of_all_layers_of_the_gateway() {
    for (canonical, status, body) in [
        (CanonicalPathLayer::new(), StatusCode::BAD_REQUEST, ""),
        (CanonicalPathLayer::rewriting(), StatusCode::OK, "/public"),
    ] {
        let engine = engine();
        let servers = ["prod", "next"].map(|name| (name, server()));
        let stack = ServiceBuilder::new()
            .layer(canonical)
            .layer(TrafficSplitLayer::new(engine.clone()).count_in_flight())
            .layer(AnalyseLayer::new(engine.clone()))
            .layer(CaptureLayer::new())
            .layer(DenyLayer::new())
            .layer(LimitLayer::new())
            .layer(CacheLayer::new())
            .layer(MirrorLayer::new(&engine, [("next", server())]).unwrap())
            .service(Clusters::new(&engine, servers).unwrap());
        let response = stack.clone().oneshot(get("/admin/../public")).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);

        for path in ["/limited", "/cached", "/mirrored", "/captured", "/counted", "/"] {
            let response = stack.clone().oneshot(get(path)).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), path);
        }
        let response = stack.oneshot(get("/admin")).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(unheeded(&engine), [], "every kind has its layer");
    }
}

#[tokio::test]
async fn a_statement_that_nobody_heeds_is_counted() {
    let engine = engine();
    let servers = || Clusters::new(&engine, ["prod", "next"].map(|name| (name, server()))).unwrap();
    // One layer is not there, and the other is outside of what decides.
    let wrong = ServiceBuilder::new()
        .layer(DenyLayer::new())
        .layer(TrafficSplitLayer::new(engine.clone()))
        .service(servers());
    for (path, kind) in [
        ("/admin/x", StatementKind::Deny),
        ("/limited", StatementKind::Limit),
        ("/cached", StatementKind::Cache),
        ("/mirrored", StatementKind::Mirror),
        ("/captured", StatementKind::Capture),
        ("/counted", StatementKind::Count),
    ] {
        let before = unheeded(&engine).len();
        assert_eq!(wrong.clone().oneshot(get(path)).await.unwrap().status(), StatusCode::OK);
        let after = unheeded(&engine);
        assert!(after.len() == before + 1 && after.contains(&(kind, 1)), "{path}: {after:?}");
    }
    // What matches nothing, or only shadows, needs no layer.
    wrong.oneshot(get("/")).await.unwrap();
    assert_eq!(unheeded(&engine).len(), 6);

    // Where nobody has decided before.
    servers().oneshot(get("/admin")).await.unwrap();
    assert_eq!(engine.unheeded().next(), Some((StatementKind::Deny, 2)));

    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || pointsman::metrics::Publisher::new(engine).publish());
    let page = recorder.handle().render();
    assert!(page.contains(r#"pointsman_unheeded_total{kind="deny"} 2"#), "{page}");
}

#[tokio::test]
async fn layers_of_ones_own_heed_too() {
    let engine = engine();
    let servers = Clusters::new(&engine, ["prod", "next"].map(|name| (name, server()))).unwrap();
    let own = ServiceBuilder::new().layer(TrafficSplitLayer::new(engine.clone())).map_request(
        |request: Request<Body>| {
            request.extensions().get::<pointsman::Decision>().unwrap().heed(StatementKind::Limit);
            request
        },
    );
    own.service(servers).oneshot(get("/limited")).await.unwrap();
    assert_eq!(unheeded(&engine), []);
}
