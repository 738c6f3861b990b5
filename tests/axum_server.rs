//! A real axum server on loopback, and clients that write bytes.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName};
use axum::routing::{any, get};
use pointsman::schema::{ClientAddr, Schema, Trusted};
use pointsman::{CanonicalPathLayer, Clusters, Decision, Engine, TrafficSplitLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CLUSTER: HeaderName = HeaderName::from_static("x-cluster");

// === the server and the client ===

fn engine(rules: &str) -> Engine {
    engine_with(ClientAddr::peer(), rules)
}

fn engine_with(client: ClientAddr, rules: &str) -> Engine {
    let schema = Schema::new().clusters(["gray", "prod"]).client_addr(client);
    Engine::builder().schema(schema).build(rules).expect("sound rules")
}

/// `cluster rule`, as the extractor gives it, for any method and path.
fn why() -> Router {
    Router::new().fallback(any(async |decision: Decision| {
        format!("{} {}", decision.cluster(), decision.rule().unwrap_or("default"))
    }))
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// Sends bytes and returns all that comes back until the server closes.
async fn raw(addr: SocketAddr, request: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        String::from_utf8_lossy(&response).into_owned()
    };
    tokio::time::timeout(Duration::from_secs(60), exchange).await.expect("the server answers")
}

/// Head and body of the response to a request with these further lines.
async fn send(addr: SocketAddr, target: &str, lines: &str) -> (String, String) {
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\n{lines}\r\n");
    let response = raw(addr, request.as_bytes()).await;
    let (head, body) = response.split_once("\r\n\r\n").expect("a whole response");
    (head.to_owned(), body.to_owned())
}

#[track_caller]
fn starts(response: &str, status: &str) {
    let line = response.lines().next().unwrap_or_default();
    assert!(line.ends_with(status) || line.contains(&format!(" {status} ")), "{response}");
}

// === tags ===

#[tokio::test]
async fn every_request_carries_its_decision() {
    let engine = engine("route testers: cookie(tester) == \"yes\" => gray\ndefault => prod");
    let app = why().layer(TrafficSplitLayer::new(engine.clone()).response_header(CLUSTER));
    let addr = serve(app).await;

    let (head, body) = send(addr, "/", "cookie: tester=yes\r\n").await;
    assert_eq!(body, "gray testers");
    assert!(head.contains("x-cluster: gray"), "{head}");
    let (head, body) = send(addr, "/", "").await;
    assert_eq!(body, "prod default");
    assert!(head.contains("x-cluster: prod"), "{head}");
    assert_eq!(engine.counters().decisions, 2);
}

#[tokio::test]
async fn a_clients_own_copy_of_the_request_header_is_removed_and_invisible_to_rules() {
    let engine = engine("route spoofed: exists(header(x-cluster)) => gray\ndefault => prod");
    let echo = async |headers: HeaderMap| {
        let values: Vec<_> =
            headers.get_all(CLUSTER).iter().map(|v| v.to_str().unwrap().to_owned()).collect();
        values.join("+")
    };
    let app =
        Router::new().route("/", get(echo)).layer(TrafficSplitLayer::new(engine).request_header(CLUSTER));
    let addr = serve(app).await;

    for spoofed in ["", "x-cluster: gray\r\n", "X-Cluster: gray\r\nx-cluster: \u{e9}\r\nX-CLUSTER:\r\n"] {
        let (_, body) = send(addr, "/", spoofed).await;
        assert_eq!(body, "prod", "{spoofed:?}");
    }
}

#[tokio::test]
async fn the_response_header_replaces_what_the_handler_set() {
    let app = Router::new()
        .route("/", get(async || [(CLUSTER, "liar")]))
        .layer(TrafficSplitLayer::new(engine("default => prod")).response_header(CLUSTER));
    let (head, _) = send(serve(app).await, "/", "").await;
    assert_eq!(head.matches("x-cluster").count(), 1, "{head}");
    assert!(head.contains("x-cluster: prod"), "{head}");
}

#[tokio::test]
async fn the_layer_sees_what_layers_outside_it_left() {
    #[derive(Clone)]
    struct Plan(&'static str);
    let schema = Schema::new()
        .clusters(["gray", "prod"])
        .string_field("plan", |request| request.extensions.get::<Plan>().map(|plan| plan.0));
    let engine = Engine::builder()
        .schema(schema)
        .build("route pro: plan == \"pro\" => gray\ndefault => prod")
        .unwrap();
    let app = why().layer(TrafficSplitLayer::new(engine)).layer(axum::Extension(Plan("pro")));
    assert_eq!(send(serve(app).await, "/", "").await.1, "gray pro");
}

#[tokio::test]
async fn outside_of_a_nested_router_rules_see_the_whole_path() {
    let rules =
        "route api: path under \"/api/v2\" => gray\nroute cut: path under \"/v2\" => prod\ndefault => prod";
    let layer = || TrafficSplitLayer::new(engine(rules));
    let addr = serve(Router::new().nest("/api", why()).layer(layer())).await;
    assert_eq!(send(addr, "/api/v2/items", "").await.1, "gray api");
    let addr = serve(Router::new().nest("/api", why().layer(layer()))).await;
    assert_eq!(send(addr, "/api/v2/items", "").await.1, "prod cut");
}

// === the extractor ===

#[tokio::test]
async fn without_the_layer_the_extractor_says_what_to_do() {
    let app = why().route(
        "/optional",
        get(async |decision: Option<Decision>| format!("{:?}", decision.map(|d| d.cluster().to_owned()))),
    );
    let addr = serve(app).await;
    let (head, body) = send(addr, "/", "").await;
    starts(&head, "500");
    assert!(body.contains("add one with `Router::layer`"), "{body}");
    let (head, body) = send(addr, "/optional", "").await;
    starts(&head, "200");
    assert_eq!(body, "None");
}

// === clusters ===

#[tokio::test]
async fn clusters_are_the_fallback_of_a_router() {
    let engine = engine("route testers: cookie(tester) == \"yes\" => gray\ndefault => prod");
    let router = |name: &'static str| {
        Router::<()>::new().route("/items/7/", get(name)).route(
            "/items/{id}",
            get(async move |Path(id): Path<u32>, decision: Decision| {
                format!("{name}={} {id}", decision.cluster())
            }),
        )
    };
    let clusters = Clusters::new(&engine, [("prod", router("prod")), ("gray", router("gray"))]).unwrap();
    let app = Router::new()
        .route("/health", get("ok"))
        .route_service("/items/7/", clusters.clone())
        .fallback_service(clusters)
        .layer(TrafficSplitLayer::new(engine.clone()));
    let addr = serve(app).await;

    assert_eq!(send(addr, "/health", "").await.1, "ok");
    assert_eq!(send(addr, "/items/7", "").await.1, "prod=prod 7");
    assert_eq!(send(addr, "/items/7", "cookie: tester=yes\r\n").await.1, "gray=gray 7");
    assert_eq!(send(addr, "/items/7/", "cookie: tester=yes\r\n").await.1, "gray");
    starts(&send(addr, "/nowhere", "cookie: tester=yes\r\n").await.0, "404");
    // The layer decided, and Clusters did not do so again.
    assert_eq!(engine.counters().decisions, 5);
}

// === the client's address ===

#[tokio::test]
async fn the_peer_is_the_clients_address() {
    let rules = "route local: ip == 127.0.0.1 => gray\ndefault => prod";
    let addr = serve(why().layer(TrafficSplitLayer::new(engine(rules)))).await;
    assert_eq!(send(addr, "/", "").await.1, "gray local");
    assert_eq!(send(addr, "/", "x-forwarded-for: 192.0.2.1\r\n").await.1, "gray local");
}

#[tokio::test]
async fn a_trusted_proxy_speaks_for_its_client_and_nobody_else_does() {
    let rules = "route office: ip in [192.0.2.0/24] => gray\ndefault => prod";
    let forwarded = "x-forwarded-for: 192.0.2.1, 203.0.113.9\r\nx-forwarded-for: 192.0.2.7\r\n";
    for (trusted, want) in [("127.0.0.0/8", "gray office"), ("10.0.0.0/8", "prod default")] {
        let client = ClientAddr::x_forwarded_for(Trusted::networks([trusted]).unwrap());
        let addr = serve(why().layer(TrafficSplitLayer::new(engine_with(client, rules)))).await;
        assert_eq!(send(addr, "/", forwarded).await.1, want, "{trusted}");
        // What the client wrote itself, left of the first untrusted address, counts for nothing.
        let spoofed = "x-forwarded-for: 192.0.2.1, 203.0.113.9\r\n";
        assert_eq!(send(addr, "/", spoofed).await.1, "prod default", "{trusted}");
    }
}

// === bad input ===

#[tokio::test]
async fn a_path_with_two_readings_is_refused() {
    let rules = "route admin: path under \"/admin\" => gray\ndefault => prod";
    let engine = engine(rules);
    let app = why().layer(TrafficSplitLayer::new(engine.clone())).layer(CanonicalPathLayer::new());
    let addr = serve(app).await;

    for path in [
        "//admin",
        "/x/../admin",
        "/%61dmin",
        "/./admin",
        "/x/%2e%2e/admin",
        "/a%",
        "/a%2",
        "/a%zz",
        "/%c3%bc",
    ] {
        let (head, body) = send(addr, path, "").await;
        starts(&head, "400");
        assert_eq!(body, "", "{path}");
    }
    assert_eq!(engine.counters().decisions, 0);
    for (path, want) in [
        ("/admin", "gray admin"),
        ("/admin/x%2F%C3%BC?back=//a/../b%", "gray admin"),
        ("/", "prod default"),
        ("/...", "prod default"),
        ("http://shop.example.com", "prod default"),
        ("http://shop.example.com/admin", "gray admin"),
    ] {
        assert_eq!(send(addr, path, "").await.1, want, "{path}");
    }
    let options = raw(addr, b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    starts(&options, "200");
}

#[tokio::test]
async fn without_that_layer_rules_see_one_path_and_the_handler_another() {
    let rules = "route admin: path under \"/admin\" => gray\ndefault => prod";
    let addr = serve(why().layer(TrafficSplitLayer::new(engine(rules)))).await;
    for path in ["//admin", "/x/../admin", "/%61dmin", "/admin/%", "/admin/%2", "/admin?%"] {
        assert_eq!(send(addr, path, "").await.1, "gray admin", "{path}");
    }
    for path in ["/%", "/admin%", "/%admin"] {
        assert_eq!(send(addr, path, "").await.1, "prod default", "{path}");
    }
}

#[tokio::test]
async fn a_request_without_a_host_has_none() {
    let rules = "route hostless: !exists(host) => gray\ndefault => prod";
    let addr = serve(why().layer(TrafficSplitLayer::new(engine(rules)))).await;
    let response = raw(addr, b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(response.ends_with("gray hostless"), "{response}");
    let response = raw(addr, b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(response.ends_with("gray hostless"), "{response}");
    assert_eq!(send(addr, "/", "").await.1, "prod default");
}

#[tokio::test]
async fn a_hundred_binary_headers_are_read_as_bytes() {
    let rules = "route bytes: header(x-96) starts_with \"\\u{e9}\" && cookie(uid) == \"1001\" => gray\n\
                 route version: version(header(x-1)) >= \"0\" || int(header(x-2)) >= 0 => prod\n\
                 default => prod";
    let addr = serve(why().layer(TrafficSplitLayer::new(engine(rules)))).await;
    let mut request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncookie: uid=1001\r\n".to_vec();
    // A hundred lines are what hyper takes.
    for n in 0..97 {
        request.extend(format!("x-{n}: ").bytes());
        request.extend("\u{e9}".bytes().chain(0x80..=0xff).chain(*b"\t\"\\;,%").chain([0x80 + n]));
        request.extend(b"\r\n");
    }
    request.extend(b"\r\n");
    let response = raw(addr, &request).await;
    assert!(response.ends_with("gray bytes"), "{response}");
}

#[tokio::test]
async fn two_thousand_cookies_are_all_read() {
    let rules = "route last: cookie(uid) == \"1001\" && cookie(c0) == \"0\" && !exists(cookie(c2000)) => gray\n\
                 default => prod";
    let addr = serve(why().layer(TrafficSplitLayer::new(engine(rules)))).await;
    let mut cookies = String::from("c0=0");
    for n in 1..1999 {
        cookies.push_str(&format!("; c{n}={n:x<24}"));
    }
    cookies.push_str("; uid=1001");
    assert!((60 << 10..=64 << 10).contains(&cookies.len()), "{}", cookies.len());
    assert_eq!(send(addr, "/", &format!("cookie: {cookies}\r\n")).await.1, "gray last");
    assert_eq!(send(addr, "/", &format!("cookie: {cookies}; c2000=\r\n")).await.1, "prod default");
}
