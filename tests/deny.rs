//! Denied requests, on real servers as an application has them.
#![cfg(all(feature = "deny", feature = "axum"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use allocation_counter::measure;
use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use pointsman::engine::StatementKind;
use pointsman::gateway::{DenyLayer, Refused};
use pointsman::{CanonicalPathLayer, Engine, Schema, TrafficSplitLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const RULES: &str = r#"
shadow deny later: header(user-agent) contains "Bad"     => 410
deny bots:    header(user-agent) contains "BadBot"       => 403 "no \"robots\" here"
deny silent:  path under "/secret"                       => 404
deny "a b%":  path under "/odd"                          => 499 "odd"
paused deny all: true                                    => 503
default => prod
"#;

fn engine(rules: &str) -> Engine {
    let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Deny]);
    Engine::builder().schema(schema).build(rules).expect("sound rules")
}

async fn serve(deny: &DenyLayer, engine: &Engine) -> SocketAddr {
    let layers = ServiceBuilder::new().layer(TrafficSplitLayer::new(engine.clone())).layer(deny.clone());
    let app = Router::new().fallback(any(async || "from prod")).layer(layers);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// Head and body of the response; the server closes.
async fn send(addr: SocketAddr, line: &str, headers: &str) -> (String, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        String::from_utf8(response).unwrap()
    };
    let response = tokio::time::timeout(Duration::from_secs(60), exchange).await.expect("the server answers");
    let (head, body) = response.split_once("\r\n\r\n").expect("a whole response");
    (head.to_owned(), body.to_owned())
}

/// The lines of a head without the date, sorted.
fn lines(head: &str) -> Vec<&str> {
    let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("date:")).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn a_401_and_a_407_have_the_challenge_that_the_application_set_and_nothing_else_has() {
    let rules = "deny a: path == \"/401\" => 401 deny b: path == \"/407\" => 407 deny c: path == \"/403\" => 403 default => prod";
    let engine = engine(rules);
    let challenge = HeaderValue::from_static(r#"Bearer realm="shop", Basic realm="shop""#);
    let with = serve(&DenyLayer::new().challenge(challenge), &engine).await;
    let without = serve(&DenyLayer::new(), &engine).await;
    for (path, name) in
        [("401", Some("www-authenticate")), ("407", Some("proxy-authenticate")), ("403", None)]
    {
        for (addr, name) in [(with, name), (without, None)] {
            let (head, _) = send(addr, &format!("GET /{path}"), "").await;
            assert!(head.starts_with(&format!("HTTP/1.1 {path} ")), "{head}");
            let found: Vec<_> = head.lines().filter(|line| line.contains("authenticate:")).collect();
            let wanted = name.map(|name| format!(r#"{name}: Bearer realm="shop", Basic realm="shop""#));
            assert_eq!(found, Vec::from_iter(wanted));
        }
    }
}

#[tokio::test]
async fn a_denied_request_gets_the_text_of_the_rule_and_no_more_about_it() {
    let (deny, engine) = (DenyLayer::new(), engine(RULES));
    let addr = serve(&deny, &engine).await;

    let (head, body) = send(addr, "GET /", "user-agent: BadBot/1.0\r\naccept: */*\r\n").await;
    assert_eq!(body, r#"no "robots" here"#);
    assert_eq!(
        lines(&head),
        [
            "HTTP/1.1 403 Forbidden",
            "cache-control: no-store",
            "connection: close",
            "content-length: 16",
            "content-type: text/plain; charset=utf-8",
            "vary: accept",
        ]
    );

    let (head, body) = send(addr, "GET /secret/x", "").await;
    assert_eq!(body, "");
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    assert!(head.contains("content-length: 0") && !head.contains("content-type"), "{head}");

    let (_, body) = send(addr, "GET /", "user-agent: Good\r\n").await;
    assert_eq!(body, "from prod");
}

#[tokio::test]
async fn who_asks_for_json_gets_a_problem() {
    let (deny, engine) = (DenyLayer::new(), engine(RULES));
    let addr = serve(&deny, &engine).await;
    let accept = "accept: application/json, text/plain, */*\r\n";

    let (head, body) = send(addr, "GET /", &format!("user-agent: BadBot\r\n{accept}")).await;
    assert!(head.contains("content-type: application/problem+json\r\n"), "{head}");
    assert_eq!(
        body,
        r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"no \"robots\" here"}"#
    );
    let (_, body) = send(addr, "GET /secret", accept).await;
    assert_eq!(body, r#"{"type":"about:blank","title":"Not Found","status":404}"#);
    // A status that nobody registered has no phrase.
    let (head, body) = send(addr, "GET /odd", accept).await;
    assert!(head.starts_with("HTTP/1.1 499"), "{head}");
    assert_eq!(body, r#"{"type":"about:blank","status":499,"detail":"odd"}"#);
}

#[tokio::test]
async fn head_gets_the_header_of_get_and_no_body() {
    let (deny, engine) = (DenyLayer::new(), engine(RULES));
    let addr = serve(&deny, &engine).await;
    for accept in ["", "accept: application/problem+json\r\n"] {
        let headers = format!("user-agent: BadBot\r\n{accept}");
        let (get, body) = send(addr, "GET /", &headers).await;
        let (head, none) = send(addr, "HEAD /", &headers).await;
        assert_eq!(lines(&head), lines(&get));
        assert!(!body.is_empty());
        assert_eq!(none, "");
    }
}

#[tokio::test]
async fn a_denied_request_is_answered_before_its_body_has_come() {
    let (deny, engine) = (DenyLayer::new(), engine(RULES));
    let addr = serve(&deny, &engine).await;
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        // Of ten megabytes, ten bytes come.
        let request =
            b"POST / HTTP/1.1\r\nhost: a\r\nuser-agent: BadBot\r\ncontent-length: 10000000\r\n\r\n0123456789";
        stream.write_all(request).await.unwrap();
        let mut response = Vec::new();
        // The server closes, as it cannot know where a next request would begin.
        stream.read_to_end(&mut response).await.unwrap();
        String::from_utf8(response).unwrap()
    };
    let response =
        tokio::time::timeout(Duration::from_secs(60), exchange).await.expect("an answer and a close");
    assert!(response.starts_with("HTTP/1.1 403 Forbidden"), "{response}");

    // Who waits to be asked for it is not.
    let continues = "user-agent: BadBot\r\nexpect: 100-continue\r\ncontent-length: 10\r\n";
    let (head, _) = send(addr, "POST /", continues).await;
    assert!(head.starts_with("HTTP/1.1 403 Forbidden"), "{head}");
}

#[tokio::test]
async fn testers_are_told_the_rule() {
    let deny = DenyLayer::new().rule_header(HeaderName::from_static("x-rule"));
    let engine = engine(RULES);
    let addr = serve(&deny, &engine).await;
    let (head, _) = send(addr, "GET /", "user-agent: BadBot\r\n").await;
    assert!(head.contains("x-rule: bots"), "{head}");
    let (head, _) = send(addr, "GET /odd", "").await;
    assert!(head.contains("x-rule: a%20b%25"), "{head}");
    let (head, _) = send(addr, "GET /", "").await;
    assert!(!head.contains("x-rule"), "{head}");
}

#[tokio::test]
async fn shadows_are_counted_and_deny_nothing() {
    let (deny, engine) = (DenyLayer::new(), engine(RULES));
    let addr = serve(&deny, &engine).await;
    let (head, _) = send(addr, "GET /", "user-agent: Bad\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, _) = send(addr, "GET /", "user-agent: BadBot\r\n").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let counts = |deny: &DenyLayer| -> Vec<_> {
        deny.counts().into_iter().map(|count| (count.statement, count.denied, count.shadow)).collect()
    };
    let named = |name: &str, denied, shadow| (name.to_owned(), denied, shadow);
    assert_eq!(
        counts(&deny),
        [
            named("later", 0, 2),
            named("bots", 1, 0),
            named("silent", 0, 0),
            named("a b%", 0, 0),
            named("all", 0, 0)
        ]
    );

    // The shadow becomes live, and goes on counting; what has another answer begins anew.
    let text = RULES.replace("shadow deny", "deny").replace("404", "403");
    engine.replace(text.as_str()).unwrap();
    let (head, _) = send(addr, "GET /", "user-agent: Bad\r\n").await;
    assert!(head.starts_with("HTTP/1.1 410"), "{head}");
    send(addr, "GET /secret", "").await;
    let counts = counts(&deny);
    assert_eq!(counts[0], named("later", 1, 2));
    assert_eq!(counts[2], named("silent", 1, 0));
}

#[tokio::test]
async fn a_request_that_was_decided_by_rules_that_are_gone_is_still_denied() {
    let (deny, engine) = (DenyLayer::new(), engine(RULES));
    let service = deny.clone().layer_over();
    let mut request = Request::get("/secret").body(Body::empty()).unwrap();
    let decision = engine.decide(&request);
    request.extensions_mut().insert(decision);
    engine.replace("deny other: path == \"/other\" => 400\ndefault => prod").unwrap();
    // Somebody else has come by the new rules.
    let mut later = Request::get("/other").body(Body::empty()).unwrap();
    let decision = engine.decide(&later);
    later.extensions_mut().insert(decision);
    assert_eq!(service.clone().oneshot(later).await.unwrap().status(), StatusCode::BAD_REQUEST);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.extensions().get::<Refused>().unwrap().to_string(), "deny silent");
}

#[tokio::test]
async fn no_spelling_of_a_path_walks_around_a_deny() {
    let admin = || engine("deny admin: path under \"/admin\" => 403\ndefault => prod");
    let layers = |engine| ServiceBuilder::new().layer(TrafficSplitLayer::new(engine)).layer(DenyLayer::new());
    let router = || {
        let says = |what: &'static str| any(async move |uri: http::Uri| format!("{what} {uri}"));
        Router::new().route("/admin/{*page}", says("admin")).fallback(says("public"))
    };
    let served = async |app: axum::routing::IntoMakeService<_>| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        addr
    };
    const ODD: [&str; 5] = [
        "/admin/../public",
        "//admin/x",
        "/x/../admin/x",
        "/%61dmin/%2e%2e/public",
        "/admin/./../public?a=//%",
    ];

    // What it is for: the router has its reading, and the rule another one.
    let bare = Router::new().fallback_service(router().layer(layers(admin())));
    let bare = served(bare.into_make_service()).await;
    assert_eq!(send(bare, "GET /admin/../public", "").await.1, "admin /admin/../public");

    // Around the router, as a service, all of them see one path.
    let around =
        ServiceBuilder::new().layer(CanonicalPathLayer::rewriting()).layer(layers(admin())).service(router());
    let around = Router::new().fallback_service(around);
    let around = served(around.into_make_service()).await;
    let mut bodies = Vec::new();
    for path in ODD {
        bodies.push(send(around, &format!("GET {path}"), "").await.1);
    }
    assert_eq!(bodies, ["public /public", "", "", "public /public", "public /public?a=//%"]);

    // As layers of the router, they see what has been routed already; so it is refused.
    let inside = router().layer(layers(admin())).layer(CanonicalPathLayer::new());
    let inside = served(inside.into_make_service()).await;
    for path in ODD {
        let (head, _) = send(inside, &format!("GET {path}"), "").await;
        assert!(head.starts_with("HTTP/1.1 400"), "{path}: {head}");
    }
    let (head, _) = send(inside, "GET /admin/x", "").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}

#[test]
fn a_canonical_path_is_passed_as_it_is_and_costs_nothing() {
    let inner =
        service_fn(|request: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(request))));
    let call = |layer: CanonicalPathLayer, uri: &str| {
        let mut service =
            layer.layer(inner.map_response(|response: Response<Request<()>>| response.map(Some)));
        let request = Request::get(uri).body(()).unwrap();
        let mut answer = None;
        let info = measure(|| {
            let future = std::pin::pin!(service.call(request));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            if let std::task::Poll::Ready(Ok(response)) = future.poll(&mut cx) {
                answer = Some(response);
            }
        });
        let answer = answer.expect("answers at once");
        (answer.status(), answer.into_body().map(|request| request.uri().to_string()), info.count_total)
    };
    for uri in [
        "/",
        "/shop/%2F%C3%BC/~a/...?b=/../c%&%7e//%zz",
        "/?",
        "http://shop.example:81/a/?x",
        "http://shop.example/",
        "*",
    ] {
        for layer in [CanonicalPathLayer::new(), CanonicalPathLayer::rewriting()] {
            assert_eq!(call(layer, uri), (StatusCode::OK, Some(uri.to_owned()), 0), "{uri}");
        }
    }
    for (uri, wanted) in [
        ("/admin/../x?b=/../c%&%7e", "/x?b=/../c%&%7e"),
        ("//a?", "/a?"),
        ("http://u@shop.example:81//a/%7e", "http://u@shop.example:81/a/~"),
        ("/a%", "/a%25"),
        ("/\u{fc}", "/%C3%BC"),
        ("/../..", "/"),
    ] {
        let (status, seen, _) = call(CanonicalPathLayer::rewriting(), uri);
        assert_eq!((status, seen.as_deref()), (StatusCode::OK, Some(wanted)), "{uri}");
        assert_eq!(call(CanonicalPathLayer::new(), uri).0, StatusCode::BAD_REQUEST, "{uri}");
    }
    // Three times as long, it is no target any more.
    let long = format!("/{}", "\u{fc}".repeat(15_000));
    assert_eq!(call(CanonicalPathLayer::rewriting(), &long).0, StatusCode::BAD_REQUEST);
}

/// Over a service that answers at once, without a server.
trait Over {
    fn layer_over(
        self,
    ) -> impl Service<
        Request<Body>,
        Response = Response<impl http_body::Body<Data = bytes::Bytes, Error = axum::Error>>,
        Error = Infallible,
        Future: Send,
    > + Clone;
}

impl Over for DenyLayer {
    fn layer_over(
        self,
    ) -> impl Service<
        Request<Body>,
        Response = Response<impl http_body::Body<Data = bytes::Bytes, Error = axum::Error>>,
        Error = Infallible,
        Future: Send,
    > + Clone {
        let inner =
            service_fn(|_: Request<Body>| std::future::ready(Ok(Response::new(Body::from("from prod")))));
        ServiceBuilder::new().layer(self).service(inner)
    }
}

#[tokio::test]
async fn requests_without_a_decision_pass() {
    let response = DenyLayer::new().layer_over().oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "from prod");
}

#[test]
fn a_request_that_no_deny_matches_allocates_nothing() {
    let (deny, engine) = (DenyLayer::new(), engine(RULES));
    let inner =
        service_fn(|request: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(request))));
    let mut service = ServiceBuilder::new().layer(deny).service(inner);
    let mut request = Request::get("/").body(()).unwrap();
    request.extensions_mut().insert(engine.decide(&Request::get("/").body(()).unwrap()));
    let mut call = |request| {
        let future = std::pin::pin!(service.call(request));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(future.poll(&mut cx).is_ready());
    };
    call(Request::get("/").body(()).unwrap());
    let info = measure(|| call(request));
    assert_eq!(info.count_total, 0);
}
