//! Servers on loopback made of tower services, and clients for them.

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::{Body, Bytes, Incoming};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pointsman::PeerAddr;
use tokio::net::{TcpListener, TcpStream};
use tower::util::MapRequest;
use tower::{BoxError, Service, ServiceExt, service_fn};

/// Serves each connection with clones of one service, and leaves the peer's address with each request.
pub async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    raw(move |stream, peer| {
        let service: MapRequest<S, _> = service.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddr(peer));
            request
        });
        async move {
            let service = TowerToHyperService::new(service);
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

/// Does with each connection what it is told.
pub async fn raw<F>(serve: impl Fn(TcpStream, SocketAddr) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            tokio::spawn(serve(stream, peer));
        }
    });
    addr
}

/// Sends requests on to a server, as a gateway's cluster does.
pub fn proxy<B>(
    addr: SocketAddr,
) -> impl Service<Request<B>, Response = Response<Incoming>, Error = Error, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let client = Client::builder(TokioExecutor::new()).build_http();
    service_fn(move |mut request: Request<B>| {
        let client = client.clone();
        async move {
            let mut target = std::mem::take(request.uri_mut()).into_parts();
            target.scheme = Some(Scheme::HTTP);
            target.authority = Some(Authority::try_from(addr.to_string()).unwrap());
            *request.uri_mut() = Uri::from_parts(target).unwrap();
            *request.version_mut() = http::Version::HTTP_11;
            client.request(request).await
        }
    })
}

/// A body in memory.
pub fn full(data: impl Into<Bytes>) -> http_body_util::Full<Bytes> {
    http_body_util::Full::new(data.into())
}

pub async fn text<B: Body>(body: B) -> String
where
    B::Error: std::fmt::Debug,
{
    use http_body_util::BodyExt;
    String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned()
}

/// Waits for what must come.
#[track_caller]
pub fn until(what: &str, mut right: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let begin = Instant::now();
    let what = what.to_owned();
    async move {
        while !right() {
            assert!(begin.elapsed() < Duration::from_secs(60), "it never came to that: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
