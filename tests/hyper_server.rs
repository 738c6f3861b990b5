//! A bare hyper server through hyper-util, and clusters of three types of service, one of them an upstream.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderName, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pointsman::{Clusters, Decision, Engine, PeerAddr, TrafficSplitLayer};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, service_fn};

const CLUSTER: HeaderName = HeaderName::from_static("x-cluster");

type Body = Either<Full<Bytes>, Incoming>;

fn text(text: impl Into<Bytes>) -> Body {
    Either::Left(Full::new(text.into()))
}

/// A service written by hand.
#[derive(Clone)]
struct Gray;

impl Service<Request<Incoming>> for Gray {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let decision = request.extensions().get::<Decision>().unwrap();
        ready(Ok(Response::new(text(format!("gray by {}", decision.rule().unwrap())))))
    }
}

/// Serves each connection with clones of one service, and leaves the peer's address with each request.
async fn serve<S>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let service = ServiceBuilder::new()
                .map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(PeerAddr(peer));
                    request
                })
                .service(service.clone());
            tokio::spawn(async move {
                let service = TowerToHyperService::new(service);
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    addr
}

async fn get(addr: SocketAddr, http2: bool, path: &str, uid: &str) -> (StatusCode, String, String) {
    let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
    let request = Request::get(format!("http://{addr}{path}"))
        .header("cookie", format!("uid={uid}"))
        .header(CLUSTER, "spoofed")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let exchange = async {
        let response = client.request(request).await.unwrap();
        let status = response.status();
        let cluster = response.headers()["x-tester"].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, cluster, String::from_utf8_lossy(&body).into_owned())
    };
    tokio::time::timeout(Duration::from_secs(60), exchange).await.unwrap()
}

#[tokio::test]
async fn three_types_of_service_behind_a_bare_hyper_server() {
    // The upstream says what it was sent.
    let upstream = serve(service_fn(async |request: Request<Incoming>| {
        let values: Vec<_> = request.headers().get_all(CLUSTER).iter().map(|v| v.to_str().unwrap()).collect();
        Ok(Response::new(text(format!("upstream {} {}", values.join("+"), request.uri()))))
    }))
    .await;

    let engine = Engine::builder()
        .clusters(["gray", "local", "remote"])
        .build(
            r#"
            route strangers: ip != 127.0.0.1 => remote
            route staff: cookie(uid) == "1001" => gray
            route health: path == "/health" => local
            default => remote
            "#,
        )
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let proxy = service_fn(move |mut request: Request<Incoming>| {
        let client = client.clone();
        async move {
            let mut target = std::mem::take(request.uri_mut()).into_parts();
            target.scheme = Some(Scheme::HTTP);
            target.authority = Some(Authority::try_from(upstream.to_string()).unwrap());
            *request.uri_mut() = Uri::from_parts(target).unwrap();
            *request.version_mut() = http::Version::HTTP_11;
            Ok(match client.request(request).await {
                Ok(response) => response.map(Either::Right),
                Err(error) => {
                    let mut response = Response::new(text(error.to_string()));
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    response
                }
            })
        }
    });
    let clusters = Clusters::chain(&engine)
        .service("gray", Gray)
        .service(
            "local",
            ServiceBuilder::new()
                .concurrency_limit(8)
                .service(service_fn(async |_: Request<Incoming>| Ok(Response::new(text("ok"))))),
        )
        .service("remote", proxy)
        .build()
        .unwrap();
    let tag = TrafficSplitLayer::new(engine.clone())
        .request_header(CLUSTER)
        .response_header(HeaderName::from_static("x-tester"));
    let addr = serve(ServiceBuilder::new().layer(tag).service(clusters)).await;

    for http2 in [false, true] {
        for (path, uid, cluster, body) in [
            ("/", "1001", "gray", "gray by staff"),
            ("/health", "7", "local", "ok"),
            ("/items?page=2", "7", "remote", "upstream remote /items?page=2"),
        ] {
            let (status, tester, got) = get(addr, http2, path, uid).await;
            assert_eq!(status, StatusCode::OK, "{got}");
            assert_eq!((&*tester, &*got), (cluster, body), "http2: {http2}");
        }
    }
    assert_eq!(engine.counters().decisions, 6);
}
