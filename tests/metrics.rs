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
