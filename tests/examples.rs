//! Runs every example, and looks at what it shows.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::future::Future;

#[cfg(feature = "axum")]
#[path = "../examples/call_chain.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod call_chain;
#[path = "../examples/check.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod check;
#[path = "../examples/clusters.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod clusters;
#[path = "../examples/condition.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod condition;
#[cfg(feature = "axum")]
#[path = "../examples/custom_fields.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod custom_fields;
#[path = "../examples/explain.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod explain;
#[cfg(all(feature = "axum", feature = "file"))]
#[path = "../examples/follow_file.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod follow_file;
#[path = "../examples/hot_swap.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod hot_swap;
#[cfg(all(feature = "axum", feature = "file", feature = "serde"))]
#[path = "../examples/node.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod node;
#[cfg(all(feature = "axum", feature = "metrics"))]
#[path = "../examples/prometheus.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod prometheus;
#[cfg(feature = "etcd")]
#[path = "../examples/propagation.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod propagation;
#[cfg(feature = "axum")]
#[path = "../examples/quickstart.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod quickstart;
#[path = "../examples/release.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod release;

#[cfg(feature = "axum")]
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[track_caller]
fn shows(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
}

#[test]
fn condition_matches_newer_apps_and_shows_mistakes() {
    let mut out = Vec::new();
    condition::run(&mut out).unwrap();
    shows(
        &text(out),
        &[
            "app 2.10.0: true",
            "app v2.3: true",
            "app 2.3.0-rc.1: false",
            "without a version: false",
            "did you mean `host`?",
            "condition:1:1",
        ],
    );
}

#[test]
fn explain_shows_values_program_and_all_mistakes() {
    let mut out = Vec::new();
    explain::run(&mut out).unwrap();
    let text = text(out);
    shows(
        &text,
        &[
            "prod by route checkout, revision 1",
            "route next: no (shadow: counted, does not act)",
            "header(x-canary) == \"always\"  -- absent",
            "split of checkout: prod 95 of 100, by key \"1001\" (bucket 41.1361)",
            "s0 = header(x-canary)",
            "checkout.rules:1:",
            "checkout.rules:2:",
            "checkout.rules:3:",
            "did you mean `prod`?",
        ],
    );
    assert_eq!(text.contains("\"revision\": 1"), cfg!(feature = "serde"));
}

#[test]
fn hot_swap_moves_each_user_once() {
    let mut out = Vec::new();
    hot_swap::run(&mut out).unwrap();
    let text = text(out);
    shows(&text, &["uid 1001: ", "uid 1002: ", "revision 101", "did you mean `prod`?", "still revision 101"]);
    for line in text.lines().filter(|line| line.starts_with("uid")) {
        assert!(line.matches("then").count() <= 1 && line.contains("gray"), "{line}");
    }
}

#[cfg(feature = "etcd")]
#[path = "common/folder.rs"]
mod folder;
#[cfg(feature = "etcd")]
#[path = "common/servers.rs"]
mod servers;

#[cfg(feature = "etcd")]
#[test]
fn propagation_reaches_every_engine() {
    if servers::program("etcd").is_none() {
        return;
    }
    let mut out = Vec::new();
    block_on(propagation::run(&mut out, 3, 100)).unwrap();
    let text = text(out);
    shows(&text, &["3 engines, 100 rules"]);
    assert_eq!(text.matches("live after the put began: min ").count(), 5, "{text}");
}

#[test]
fn clusters_reach_three_services() {
    let mut out = Vec::new();
    block_on(clusters::run(&mut out)).unwrap();
    shows(
        &text(out),
        &[
            "always -> gray: the new shop",
            "uid=1001 -> prod_b: ",
            "uid=1002 -> prod_a: ",
            "error: the cluster `gray` has no service",
        ],
    );
}

#[test]
fn a_release_loses_no_request() {
    let mut out = Vec::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(release::run(&mut out)).unwrap();
    let text = text(out);
    shows(
        &text,
        &["x-try: prod_a -> prod_a v2", "x-try: prod_b -> prod_b v2", "the text is as it was", "prod_b v1"],
    );
    for (stopped, other) in [("prod_a", "prod_b"), ("prod_b", "prod_a")] {
        let all = format!("all at {other}");
        let by = text.lines().find_map(|line| line.strip_prefix(&all)).unwrap();
        assert!(by.contains(other) && !by.contains(stopped), "{text}");
    }
    let last = text.lines().last().unwrap();
    let (requests, failed) = last.split_once(" requests, ").unwrap();
    assert!(requests.parse::<u64>().unwrap() >= 20_000, "{text}");
    assert_eq!(failed, "0 failed", "{text}");
}

#[cfg(feature = "axum")]
#[test]
fn gray_stays_gray_all_the_way_and_a_client_cannot_say_so() {
    let mut out = Vec::new();
    block_on(call_chain::run(&mut out)).unwrap();
    shows(
        &text(out),
        &[
            "x-canary: never -> web: prod (default), orders: prod (default), stock: prod (default)",
            "x-canary: always -> web: gray (testers), orders: gray (followed), stock: gray (followed)",
            "baggage: pointsman=gray -> web: prod (default), orders: prod (default), stock: prod (default)",
            "web: 3 decided, 0 gray, 0 prod followed",
            "stock: 2 decided, 1 gray, 0 prod followed",
        ],
    );
}

#[cfg(all(feature = "axum", feature = "metrics"))]
#[test]
fn prometheus_shows_what_was_decided() {
    let mut out = Vec::new();
    block_on(prometheus::run(&mut out)).unwrap();
    shows(
        &text(out),
        &[
            "# TYPE pointsman_decisions_total counter\npointsman_decisions_total 12\n",
            r#"pointsman_chosen_total{kind="route",statement="testers",target="gray",state="live"} 1"#,
            r#"pointsman_chosen_total{kind="route",statement="next",target="gray",state="shadow"} 1"#,
            r#"pointsman_reloads_total{outcome="rejected"} 1"#,
            r#"pointsman_in_flight{cluster="prod_a"} 0"#,
        ],
    );
}

#[cfg(feature = "axum")]
#[test]
fn custom_fields_see_the_authenticated_user() {
    let mut out = Vec::new();
    block_on(custom_fields::run(&mut out)).unwrap();
    shows(
        &text(out),
        &[
            "ann 200 OK: gray by staff",
            "bob 200 OK: gray by trial",
            "cem 200 OK: prod by ramp",
            "401 Unauthorized",
        ],
    );
}

#[cfg(feature = "axum")]
mod shop {
    use std::net::{Ipv4Addr, SocketAddr};

    use http_body_util::{BodyExt, Empty};
    use hyper::body::Bytes;
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use pointsman::{Engine, Rules};
    use tokio::net::TcpListener;

    use super::{Result, block_on, quickstart, shows};

    const UID: (&str, &str) = ("cookie", "uid=1001");
    const HOST: (&str, &str) = ("host", "shop.example.com");

    /// A shop that is open, on a port that the system chose.
    struct Shop(SocketAddr);

    impl Shop {
        async fn open() -> Result<Self> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let shop = Shop(listener.local_addr()?);
            let app = quickstart::app()?.into_make_service_with_connect_info::<SocketAddr>();
            tokio::spawn(axum::serve(listener, app).into_future());
            Ok(shop)
        }

        async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Result<String> {
            let mut request = http::Request::get(format!("http://{}{path}", self.0));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let client = Client::builder(TokioExecutor::new()).build_http();
            let response = client.request(request.body(Empty::<Bytes>::new())?).await?;
            assert!(response.status().is_success(), "{path}: {}", response.status());
            Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
        }
    }

    #[test]
    fn quickstart_answers_with_the_cluster() {
        block_on(async {
            let shop = Shop::open().await?;
            for (path, headers, answer) in [
                ("/", &[HOST, UID][..], "prod_b (by default)\n"),
                ("/", &[HOST, UID, ("x-canary", "always")], "gray (by testers)\n"),
                ("/", &[UID, ("x-canary", "never")], "prod_b (by not_testers)\n"),
                ("/", &[("cookie", "theme=dark; uid=7")], "gray (by staff)\n"),
                ("/api/cart", &[("x-app-version", "2.10.1")], "gray (by app)\n"),
                ("/api/cart", &[("x-app-version", "2.2.9"), UID], "prod_b (by default)\n"),
                ("/checkout/pay", &[HOST, UID], "prod_b (by checkout)\n"),
                // Nobody is at the office because they say so.
                ("/", &[UID, ("x-forwarded-for", "10.0.0.1")], "prod_b (by default)\n"),
            ] {
                assert_eq!(shop.ask(path, headers).await?, answer, "{path} {headers:?}");
            }
            Result::Ok(())
        })
        .unwrap();
    }

    #[test]
    fn quickstart_says_why() {
        block_on(async {
            let shop = Shop::open().await?;
            let why = shop.ask("/_why", &[HOST, UID]).await?;
            shows(
                &why,
                &[
                    "prod_b by default, revision 1",
                    "cookie(uid) in staff  -- \"1001\"",
                    "ip in office  -- 127.0.0.1",
                    "path under \"/checkout\"  -- \"/\"",
                    "route sale (paused: not looked at)",
                    "split of prod: prod_b 50 of 100, by key \"1001\"",
                ],
            );
            let why = shop.ask("/_why/checkout/pay?step=2", &[HOST, UID]).await?;
            shows(
                &why,
                &[
                    "prod_b by route checkout",
                    "\"/checkout/pay\"",
                    "split of checkout: prod 95 of 100, by key \"1001\"",
                ],
            );
            let why = shop.ask("/_why/", &[("x-canary", "always")]).await?;
            shows(&why, &["gray by route testers"]);
            Result::Ok(())
        })
        .unwrap();
    }

    #[test]
    fn quickstart_counts_requests_and_not_questions() {
        block_on(async {
            let shop = Shop::open().await?;
            shop.ask("/", &[HOST, UID]).await?;
            shop.ask("/checkout", &[HOST, UID]).await?;
            shop.ask("/_why", &[HOST, UID]).await?;
            let counters = shop.ask("/_counters", &[]).await?;
            shows(&counters, &["2  decisions\n"]);
            let line = counters.lines().find(|line| line.contains("checkout") && line.contains("prod"));
            assert!(line.is_some_and(|line| line.trim_start().starts_with("1 ")), "{counters}");
            Result::Ok(())
        })
        .unwrap();
    }

    #[test]
    fn quickstart_names_the_port_it_was_given() {
        let welcome = quickstart::welcome(Ok(([127, 0, 0, 1], 4711).into()));
        shows(&welcome, &["curl -H 'Host: shop.example.com' --cookie uid=1001 localhost:4711/_why\n"]);
    }

    #[test]
    fn shop_rules_have_no_lints() {
        let rules = include_str!("../examples/shop.rules");
        let clusters = ["gray", "next", "prod_a", "prod_b"];
        let engine = Engine::builder().clusters(clusters).build(Rules::named("shop.rules", rules)).unwrap();
        assert!(engine.rules().lints().is_empty(), "{}", engine.rules().lints());
    }
}

#[cfg(all(feature = "axum", feature = "file"))]
#[tokio::test]
async fn a_shop_follows_its_file() {
    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::ServiceExt;

    let folder = std::env::temp_dir().join(format!("pointsman-follow-file-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let rules = folder.join("shop.rules");
    let (app, mut following) = follow_file::app(&rules).await.unwrap();
    let ask = async |path: &str| {
        let response = app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
    };
    assert_eq!(ask("/").await, "prod by default\n");
    std::fs::write(folder.join("new"), "default => gray").unwrap();
    std::fs::rename(folder.join("new"), &rules).unwrap();
    let status = following.wait_for(|status| status.running.revision > 1).await;
    assert_eq!(ask("/").await, "gray by default\n");
    assert!(ask("/_status").await.contains(&status.running.digest.to_string()));
    drop(following);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn check_says_the_digest_that_nodes_will_have_or_what_is_wrong() {
    let shop = std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shop.rules"));
    let digest = pointsman::engine::Digest::of(std::fs::read(&shop).unwrap());
    assert_eq!(check::check(std::slice::from_ref(&shop)).unwrap(), digest);
    // Two files are one rule set, which may not declare a name twice.
    let twice = check::check(&[shop.clone(), shop]).unwrap_err().to_string();
    assert!(twice.contains("shop.rules:"), "{twice}");
}

#[cfg(all(feature = "axum", feature = "file", feature = "serde"))]
#[tokio::test]
async fn a_node_is_ready_without_its_source_and_its_page_has_the_names_that_the_guide_says() {
    use axum::body::{Body, to_bytes};
    use http::{Request, StatusCode};
    use tower::ServiceExt;

    let folder = std::env::temp_dir().join(format!("pointsman-node-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let known = node::Known::default();
    let desk = node::desk(known.clone());
    let ask = async |path: &str| {
        let request = Request::get(path).header("cookie", "uid=7").body(Body::empty()).unwrap();
        let response = desk.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec();
        (status, String::from_utf8(body).unwrap())
    };
    assert_eq!(ask("/live").await.0, StatusCode::OK);
    for path in ["/ready", "/rules", "/explain"] {
        assert_eq!(ask(path).await.0, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }

    let (shop, following) = node::shop(&folder.join("not-there.rules"), &known).await.unwrap();
    let (status, body) = ask("/ready").await;
    assert!(status == StatusCode::OK && body.contains("one failure"), "{status} {body}");
    let (_, why) = ask("/explain/checkout").await;
    assert!(why.starts_with("prod_") && why.contains("by key \"7\""), "{why}");

    let response = shop.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let page: serde_json::Value = serde_json::from_str(&ask("/rules").await.1).unwrap();
    let in_flight = page["in_flight"].as_object().unwrap();
    assert_eq!(in_flight.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), 1, "{page}");
    drop(response);

    let guide = include_str!("../src/docs/operations.md");
    let named: Vec<&str> =
        guide.lines().filter_map(|line| line.strip_prefix("| `.")?.split('`').next()).collect();
    assert!(named.len() >= 8, "{named:?}");
    for name in named {
        let place = format!("/{}", name.replace('.', "/"));
        assert!(page.pointer(&place).is_some(), "no {name} in {page}");
    }
    drop(following);
    std::fs::remove_dir_all(&folder).unwrap();
}
