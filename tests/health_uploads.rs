//! What clients do with their uploads says nothing about an upstream. By real servers.
#![cfg(all(feature = "health", feature = "axum"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::IntoResponse;
use axum::routing::post;
use http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use pointsman::Engine;
use pointsman::middleware::{Health, HealthSettings, UploadBody, UploadLayer, UpstreamState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceBuilder, ServiceExt, service_fn};

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// A gateway before one upstream that reads whole bodies, and works.
async fn gateway() -> (SocketAddr, Health) {
    gateway_before(serve(Router::new().route("/", post(async |_: Bytes| "read"))).await).await
}

async fn gateway_before(upstream: SocketAddr) -> (SocketAddr, Health) {
    let engine = Engine::builder().clusters(["prod"]).build("default => prod").unwrap();
    let health = Health::new(&engine, HealthSettings::new().timeout(Duration::from_millis(200)));
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let send = service_fn(move |mut request: Request<Body>| {
        let client = client.clone();
        async move {
            *request.uri_mut() = format!("http://{upstream}/").parse().unwrap();
            client.request(request).await.map(|response| response.map(Body::new))
        }
    });
    let upstreams = ServiceBuilder::new()
        .layer(UploadLayer::new())
        .map_request(|request: Request<UploadBody<Body>>| request.map(Body::new))
        .service(health.upstreams("prod", [(upstream.to_string(), send)]).unwrap());
    let app = Router::new().fallback(async move |request: Request<Body>| {
        upstreams.oneshot(request).await.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
    });
    (serve(app).await, health)
}

/// Begins a body, and goes on as it is told to.
async fn upload(addr: SocketAddr, breaks_off: bool) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc").await.unwrap();
    if breaks_off {
        stream.shutdown().await.unwrap();
    }
    // Until the answer begins, or the connection ends.
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await.unwrap();
}

fn state(health: &Health) -> UpstreamState {
    health.status().clusters[0].upstreams[0].state
}

#[tokio::test]
async fn uploads_that_break_off_take_no_upstream_out() {
    let (addr, health) = gateway().await;
    for _ in 0..5 {
        upload(addr, true).await;
    }
    assert_eq!(state(&health), UpstreamState::Healthy);
}

#[tokio::test]
async fn uploads_that_are_slow_take_no_upstream_out() {
    let (addr, health) = gateway().await;
    for _ in 0..5 {
        upload(addr, false).await;
    }
    assert_eq!(state(&health), UpstreamState::Healthy);
}

#[tokio::test]
async fn an_upstream_that_hangs_over_a_whole_body_is_taken_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    // It takes connections, and answers nothing.
    let hangs = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connection) = listener.accept().await {
            held.push(connection);
        }
    });
    let (addr, health) = gateway_before(upstream).await;
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    for _ in 0..5 {
        let request = Request::post(format!("http://{addr}/")).body(Body::from("whole")).unwrap();
        assert_eq!(client.request(request).await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    }
    assert_ne!(state(&health), UpstreamState::Healthy);
    hangs.abort();
}
