//! What is published is what was counted, and no more series than there may be.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;

use http::{Request, Response};
use metrics_exporter_prometheus::PrometheusBuilder;
use pointsman::metrics::Publisher;
use pointsman::schema::Trusted;
use pointsman::{Carrier, Engine, Follow, TrafficSplitLayer};
use tower::{Layer, ServiceExt, service_fn};

const RULES: &str = "
cluster prod = prod_a 1, prod_b 0 by cookie(uid)
route testers: header(x-canary) == \"always\" => gray
shadow route next: path under \"/next\" => gray
paused route sale: true => gray
default => prod";

fn engine(rules: &str) -> Engine {
    Engine::builder().clusters(["gray", "prod_a", "prod_b"]).build(rules).unwrap()
}

/// The lines of the page, without its comments.
fn page(publisher: &Publisher) -> Vec<String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        publisher.publish();
        let page = recorder.handle().render();
        page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    })
}

#[track_caller]
fn has(page: &[String], line: &str) {
    assert!(page.iter().any(|known| known == line), "no `{line}` in\n{}", page.join("\n"));
}

#[tokio::test]
async fn what_is_published_is_what_was_counted() {
    let engine = engine(RULES);
    let nobody = Trusted::networks::<[&str; 0]>([]).unwrap();
    let follow = Follow::new(Carrier::default(), nobody);
    let layer = TrafficSplitLayer::new(engine.clone()).follow(follow.clone()).count_in_flight();
    let publisher = Publisher::new(engine.clone()).in_flight(layer.in_flight()).follow(follow);
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
    let ask = |path: &str, header: (&str, &str)| {
        service.clone().oneshot(Request::get(path).header(header.0, header.1).body(()).unwrap())
    };
    let held = [
        ask("/", ("x-canary", "always")).await.unwrap(),
        ask("/next", ("cookie", "uid=1")).await.unwrap(),
        ask("/", ("baggage", "pointsman=gray")).await.unwrap(),
    ];
    engine.follow("prod_b").unwrap();
    engine.replace("default => nobody").unwrap_err();
    engine.replace(format!("{RULES} # the same")).unwrap();
    ask("/", ("x-canary", "always")).await.unwrap();

    let page = page(&publisher);
    for line in [
        "pointsman_decisions_total 4",
        r#"pointsman_chosen_total{kind="route",statement="testers",target="gray",state="live"} 2"#,
        r#"pointsman_chosen_total{kind="route",statement="next",target="gray",state="shadow"} 1"#,
        r#"pointsman_chosen_total{kind="route",statement="sale",target="gray",state="paused"} 0"#,
        r#"pointsman_chosen_total{kind="default",statement="default",target="prod",state="live"} 2"#,
        r#"pointsman_chosen_total{kind="cluster",statement="prod",target="prod_a",state="live"} 2"#,
        r#"pointsman_chosen_total{kind="cluster",statement="prod",target="prod_b",state="live"} 0"#,
        r#"pointsman_no_key_total{kind="cluster",statement="prod",state="live"} 1"#,
        r#"pointsman_followed_total{cluster="gray"} 0"#,
        r#"pointsman_followed_total{cluster="prod_b"} 1"#,
        r#"pointsman_follow_refused_total{reason="untrusted"} 1"#,
        r#"pointsman_follow_refused_total{reason="unusable"} 0"#,
        r#"pointsman_reloads_total{outcome="accepted"} 1"#,
        r#"pointsman_reloads_total{outcome="rejected"} 1"#,
        "pointsman_rules_revision 2",
        r#"pointsman_in_flight{cluster="gray"} 1"#,
        r#"pointsman_in_flight{cluster="prod_a"} 2"#,
        r#"pointsman_in_flight{cluster="prod_b"} 0"#,
        "pointsman_series_left_out 0",
    ] {
        has(&page, line);
    }
    drop(held);
    has(&self::page(&publisher), r#"pointsman_in_flight{cluster="prod_a"} 0"#);
    has(&self::page(&publisher), "pointsman_decisions_total 4");
}

#[test]
fn there_are_no_more_series_than_there_may_be() {
    let routes = |revision: usize, count: usize| -> String {
        let route = |at| format!("route r{revision}-{at}: host == \"h{at}\" => gray\n");
        (0..count).map(route).collect::<String>() + "cluster prod = prod_a 1, prod_b 1\ndefault => prod"
    };
    let engine = engine(&routes(0, 10));
    let publisher = Publisher::new(engine.clone()).most(8);
    let chosen =
        |page: &[String]| page.iter().filter(|line| line.starts_with("pointsman_chosen_total")).count();
    let first = page(&publisher);
    assert_eq!(chosen(&first), 8);
    // The default and the cluster's two come first.
    has(&first, "pointsman_series_left_out 5");
    has(&first, r#"pointsman_chosen_total{kind="default",statement="default",target="prod",state="live"} 0"#);
    has(&first, r#"pointsman_chosen_total{kind="cluster",statement="prod",target="prod_b",state="live"} 0"#);
    // A stream of new names makes no more of them: a recorder may keep those that it has seen.
    for revision in 1..20 {
        engine.replace(routes(revision, 3)).unwrap();
        let page = page(&publisher);
        assert_eq!(chosen(&page), 3, "revision {revision}");
        has(&page, "pointsman_series_left_out 3");
    }
}

#[test]
fn in_flight_of_several_layers_is_added_up() {
    let engine = engine(RULES);
    let layers = [(); 2].map(|()| TrafficSplitLayer::new(engine.clone()).count_in_flight());
    let publisher =
        layers.iter().fold(Publisher::new(engine), |publisher, layer| publisher.in_flight(layer.in_flight()));
    let pending = service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>());
    let held = layers.map(|layer| tower::Service::call(&mut layer.layer(pending), Request::new(())));
    has(&page(&publisher), r#"pointsman_in_flight{cluster="prod_a"} 2"#);
    drop(held);
}

#[cfg(feature = "source")]
#[tokio::test]
async fn how_a_source_does_is_published() {
    use pointsman::source::{Follower, Source, SourceError, Text, Update};
    use tokio::sync::mpsc;

    struct Sent(mpsc::Receiver<&'static str>);

    impl Source for Sent {
        async fn next(&mut self) -> Result<Update, SourceError> {
            match self.0.recv().await {
                Some(text) => Ok(Text::new("sent", text, "v").into()),
                None => std::future::pending().await,
            }
        }

        fn name(&self) -> String {
            "sent".into()
        }
    }

    let (sender, receiver) = mpsc::channel(1);
    sender.send("default => gray").await.unwrap();
    let builder = Engine::builder().clusters(["gray"]);
    let (engine, mut following) = Follower::new(builder, Sent(receiver)).start().await.unwrap();
    let publisher = Publisher::new(engine).source(following.reader());
    let flags = |page: &[String], rejected: u8, failures: u8| {
        has(page, "pointsman_source_reachable 1");
        has(page, &format!("pointsman_source_rejected {rejected}"));
        has(page, &format!("pointsman_source_failures {failures}"));
        assert!(page.iter().any(|line| line.starts_with("pointsman_source_stale_seconds ")));
    };
    flags(&page(&publisher), 0, 0);
    sender.send("default => grey").await.unwrap();
    following.wait_for(|status| status.rejected.is_some()).await;
    let page = page(&publisher);
    flags(&page, 1, 0);
    has(&page, r#"pointsman_reloads_total{outcome="rejected"} 1"#);
}

// === the service gateway ===

#[cfg(all(feature = "deny", feature = "limit"))]
mod refusals {
    use pointsman::Schema;
    use pointsman::engine::StatementKind;
    use pointsman::gateway::{DenyLayer, LimitLayer};
    use tower::ServiceBuilder;

    use super::*;

    const REFUSING: &str = "
        deny bots: header(x-bot) == \"1\" => 403
        shadow deny all: true => 400
        limit users: true => 2/h by cookie(uid)
        shadow limit few: true => 1/h
        default => prod";

    struct Gateway {
        engine: Engine,
        deny: DenyLayer,
        limit: LimitLayer,
    }

    impl Gateway {
        fn new(rules: &str) -> Self {
            let schema =
                Schema::new().clusters(["prod"]).gateway([StatementKind::Deny, StatementKind::Limit]);
            let engine = Engine::builder().schema(schema).build(rules).unwrap();
            Gateway { engine, deny: DenyLayer::new(), limit: LimitLayer::new() }
        }

        fn publisher(&self) -> Publisher {
            Publisher::new(self.engine.clone()).deny(self.deny.clone()).limit(self.limit.clone())
        }

        async fn ask(&self, header: (&str, &str)) {
            let service = ServiceBuilder::new()
                .layer(TrafficSplitLayer::new(self.engine.clone()))
                .layer(self.deny.clone())
                .layer(self.limit.clone())
                .service(service_fn(async |_: Request<()>| {
                    Ok::<_, Infallible>(Response::new(String::new()))
                }));
            let request = Request::get("/").header(header.0, header.1).body(()).unwrap();
            service.oneshot(request).await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_was_denied_and_limited_is_published() {
        let gateway = Gateway::new(REFUSING);
        for header in [("x-bot", "1"), ("cookie", "uid=7"), ("cookie", "uid=7"), ("cookie", "uid=7")] {
            gateway.ask(header).await;
        }
        let page = page(&gateway.publisher());
        for line in [
            r#"pointsman_denied_total{statement="bots",state="live"} 1"#,
            r#"pointsman_denied_total{statement="bots",state="shadow"} 0"#,
            r#"pointsman_denied_total{statement="all",state="live"} 0"#,
            // The one that was denied is not asked it.
            r#"pointsman_denied_total{statement="all",state="shadow"} 3"#,
            r#"pointsman_limited_total{statement="users",state="live"} 1"#,
            r#"pointsman_limited_total{statement="few",state="shadow"} 1"#,
            r#"pointsman_limit_forgotten_total{statement="users"} 0"#,
            r#"pointsman_chosen_total{kind="limit",statement="users",target="2/h",state="live"} 3"#,
        ] {
            has(&page, line);
        }
        // A table for the keys of `users`; `few` has none.
        has(&page, "pointsman_limit_bytes 1114112");
    }

    #[tokio::test]
    async fn a_statement_that_changes_or_goes_and_comes_back_is_counted_on() {
        let gateway = Gateway::new("deny bots: true => 403 default => prod");
        let publisher = gateway.publisher();
        let line = |count: u64| format!(r#"pointsman_denied_total{{statement="bots",state="live"}} {count}"#);
        let bot = ("x-bot", "1");
        for _ in 0..3 {
            gateway.ask(bot).await;
        }
        has(&page(&publisher), &line(3));
        // Another answer is another statement, which counts from zero.
        gateway.engine.replace("deny bots: true => 404 default => prod").unwrap();
        gateway.ask(bot).await;
        assert_eq!(gateway.deny.counts()[0].denied, 1);
        has(&page(&publisher), &line(4));
        has(&page(&publisher), &line(4));
        gateway.engine.replace("deny others: true => 403 default => prod").unwrap();
        gateway.ask(bot).await;
        has(&page(&publisher), &line(4));
        // More than it had counted before it went.
        gateway.engine.replace("deny bots: true => 403 default => prod").unwrap();
        for _ in 0..5 {
            gateway.ask(bot).await;
        }
        has(&page(&publisher), &line(9));
    }

    #[tokio::test]
    async fn layers_of_several_listeners_are_added_up_and_have_no_more_series_than_there_may_be() {
        let gateway = Gateway::new(REFUSING);
        gateway.ask(("x-bot", "1")).await;
        // Another engine's, under the same name.
        let other = Gateway::new("deny bots: true => 403 default => prod");
        other.ask(("x-bot", "1")).await;
        let publisher = gateway.publisher().deny(other.deny.clone());
        has(&page(&publisher), r#"pointsman_denied_total{statement="bots",state="live"} 2"#);

        // Six of the engine's: five statements, and one without a key.
        let publisher = gateway.publisher().most(8);
        for revision in 0..5 {
            let page = page(&publisher);
            let denied = page.iter().filter(|line| line.starts_with("pointsman_denied_total")).count();
            assert!(denied <= 2, "{denied} in revision {revision}:\n{}", page.join("\n"));
            let left = page.iter().find_map(|line| line.strip_prefix("pointsman_series_left_out ")).unwrap();
            assert!(left.parse::<u64>().unwrap() >= 2, "{left}");
            gateway.engine.replace(REFUSING.replace("bots", &format!("bots{revision}"))).unwrap();
            gateway.ask(("x-bot", "1")).await;
        }
    }
}

#[cfg(all(feature = "cache", feature = "capture"))]
#[tokio::test]
async fn what_a_cache_and_a_capture_did_is_published() {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use pointsman::Schema;
    use pointsman::engine::StatementKind;
    use pointsman::gateway::capture::CaptureBody;
    use pointsman::gateway::{CacheLayer, CaptureLayer};
    use tower::ServiceBuilder;

    let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Cache, StatementKind::Capture]);
    let rules = "cache all: true => 1h capture debug: true => 2 for 1h default => prod";
    let engine = Engine::builder().schema(schema).build(rules).unwrap();
    let (cache, capture) = (CacheLayer::new(), CaptureLayer::new().exchanges(1));
    let service = ServiceBuilder::new()
        .layer(TrafficSplitLayer::new(engine.clone()))
        .layer(capture.clone())
        .layer(cache.clone())
        .service(service_fn(async |request: Request<CaptureBody<Full<Bytes>>>| {
            let response = Response::builder()
                .header("cache-control", if request.uri().path() == "/mine" { "private" } else { "public" });
            Ok::<_, Infallible>(response.body(Full::<Bytes>::from("page")).unwrap())
        }));
    for path in ["/", "/", "/mine"] {
        let request = Request::get(path).body(Full::default()).unwrap();
        service.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    }
    let publisher = Publisher::new(engine).cache(cache.cache()).capture(capture.captures());
    let page = page(&publisher);
    for line in [
        r#"pointsman_cache_requests_total{statement="all",outcome="hit"} 1"#,
        r#"pointsman_cache_requests_total{statement="all",outcome="miss"} 2"#,
        r#"pointsman_cache_requests_total{statement="all",outcome="stale"} 0"#,
        r#"pointsman_cache_stored_total{statement="all"} 1"#,
        r#"pointsman_cache_refused_total{statement="all",reason="private"} 1"#,
        r#"pointsman_cache_removed_total{reason="evicted"} 0"#,
        "pointsman_cache_entries 1",
        r#"pointsman_captured_total{statement="debug"} 2"#,
        r#"pointsman_capture_late_total{statement="debug"} 1"#,
        r#"pointsman_capture_lost_total{reason="pushed_out"} 1"#,
        "pointsman_capture_exchanges 1",
    ] {
        has(&page, line);
    }
    assert!(!page.iter().any(|line| line == "pointsman_cache_bytes 0"), "{page:?}");
}

#[cfg(feature = "mirror")]
#[tokio::test]
async fn what_became_of_copies_is_published() {
    use pointsman::Schema;
    use pointsman::engine::StatementKind;
    use pointsman::gateway::MirrorLayer;
    use pointsman::gateway::mirror::{MirrorBody, MirrorTee};
    use tower::ServiceBuilder;

    let schema = Schema::new().clusters(["prod", "next"]).gateway([StatementKind::Mirror]);
    let engine = Engine::builder().schema(schema).build("mirror next: true => next default => prod").unwrap();
    let next = service_fn(async |_: Request<MirrorBody>| {
        Ok::<_, Infallible>(Response::builder().status(500).body(String::new()).unwrap())
    });
    let mirror = MirrorLayer::new(&engine, [("next", next)]).unwrap();
    let service = ServiceBuilder::new()
        .layer(TrafficSplitLayer::new(engine.clone()))
        .layer(mirror.clone())
        .service(service_fn(async |_: Request<MirrorTee<String>>| {
            Ok::<_, Infallible>(Response::new(String::new()))
        }));
    for method in ["GET", "POST"] {
        let request = Request::builder().method(method).body(String::new()).unwrap();
        service.clone().oneshot(request).await.unwrap();
    }
    for _ in 0..1000 {
        if mirror.under_way() == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let page = page(&Publisher::new(engine).mirror(mirror));
    for line in [
        r#"pointsman_mirror_sent_total{statement="next"} 1"#,
        r#"pointsman_mirror_answered_total{statement="next",class="5xx"} 1"#,
        r#"pointsman_mirror_answered_total{statement="next",class="2xx"} 0"#,
        r#"pointsman_mirror_compared_total{statement="next",outcome="different"} 1"#,
        r#"pointsman_mirror_failed_total{statement="next",reason="timed_out"} 0"#,
        r#"pointsman_mirror_dropped_total{statement="next",reason="unsafe_method"} 1"#,
        "pointsman_mirror_in_flight 0",
    ] {
        has(&page, line);
    }
}

#[cfg(feature = "analyse")]
#[tokio::test(start_paused = true)]
async fn how_clusters_answer_is_published_side_by_side() {
    use pointsman::gateway::AnalyseLayer;
    use std::time::Duration;
    use tower::ServiceBuilder;

    let engine = Engine::builder()
        .clusters(["gray", "prod"])
        .build("route r: exists(header(x-canary)) => gray default => prod")
        .unwrap();
    let analyse = AnalyseLayer::with_clock(engine.clone(), || tokio::time::Instant::now().into_std());
    let service = ServiceBuilder::new()
        .layer(TrafficSplitLayer::new(engine.clone()))
        .layer(analyse.clone())
        .service(service_fn(async |request: Request<()>| {
            let (status, millis) = match request.uri().path() {
                "/slow" => (503, 100),
                "/never" => return std::future::pending().await,
                "/day" => (200, 86_400_000),
                _ => (200, 1),
            };
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok::<_, Infallible>(Response::builder().status(status).body(String::new()).unwrap())
        }));
    for (path, header) in [("/", "x-canary"), ("/slow", "x-canary"), ("/", "x"), ("/", "x"), ("/day", "x")] {
        let request = Request::get(path).header(header, "1").body(()).unwrap();
        drop(service.clone().oneshot(request).await.unwrap());
    }
    let never = service.oneshot(Request::get("/never").body(()).unwrap());
    tokio::time::timeout(Duration::from_secs(1), never).await.unwrap_err();
    let page = page(&Publisher::new(engine).analyse(analyse));
    for line in [
        r#"pointsman_responses_total{cluster="gray",class="2xx"} 1"#,
        r#"pointsman_responses_total{cluster="gray",class="5xx"} 1"#,
        r#"pointsman_responses_total{cluster="prod",class="2xx"} 3"#,
        r#"pointsman_responses_total{cluster="prod",class="5xx"} 0"#,
        r#"pointsman_responses_lost_total{cluster="prod",reason="cancelled"} 1"#,
        r#"pointsman_responses_refused_total{cluster="prod"} 0"#,
        r#"pointsman_responses_cached_total{cluster="prod"} 0"#,
        r#"pointsman_response_headers_seconds_bucket{cluster="gray",le="0.000512"} 0"#,
        r#"pointsman_response_headers_seconds_bucket{cluster="gray",le="0.002048"} 1"#,
        r#"pointsman_response_headers_seconds_bucket{cluster="gray",le="0.065536"} 1"#,
        r#"pointsman_response_headers_seconds_bucket{cluster="gray",le="0.131072"} 2"#,
        r#"pointsman_response_headers_seconds_bucket{cluster="gray",le="67.108864"} 2"#,
        r#"pointsman_response_headers_seconds_bucket{cluster="gray",le="+Inf"} 2"#,
        r#"pointsman_response_headers_seconds_bucket{cluster="prod",le="67.108864"} 2"#,
        r#"pointsman_response_headers_seconds_bucket{cluster="prod",le="+Inf"} 3"#,
    ] {
        has(&page, line);
    }
}

#[cfg(feature = "isolate")]
#[tokio::test(start_paused = true)]
async fn what_the_bounds_of_a_cluster_refused_is_published() {
    use pointsman::middleware::IsolateLayer;
    use std::time::Duration;

    let hangs = service_fn(|_: Request<()>| std::future::pending::<Result<Response<String>, Infallible>>());
    let bounds = IsolateLayer::new().concurrency(1).timeout(Duration::from_secs(1));
    // A limit each.
    let services = [bounds.layer(hangs), bounds.layer(hangs)];
    let other = IsolateLayer::new().concurrency(0);
    let ask = |service| tower::ServiceExt::oneshot(service, Request::new(()));
    let [one, two] = services;
    drop(tokio::join!(ask(one.clone()), ask(one), ask(two)));
    other.layer(hangs).oneshot(Request::new(())).await.unwrap();
    let publisher = Publisher::new(engine(RULES))
        .isolate("gray", bounds)
        .isolate("gray", other.clone())
        .isolate("prod_a", other);
    let page = page(&publisher);
    has(&page, r#"pointsman_timed_out_total{cluster="gray"} 2"#);
    has(&page, r#"pointsman_shed_total{cluster="gray"} 2"#);
    has(&page, r#"pointsman_shed_total{cluster="prod_a"} 1"#);
}
