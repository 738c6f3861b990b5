//! A proxy that decides nothing, as one writes it with hyper-util's server and client: what the gateway is held against.
//!
//! It takes the address to listen at and the upstream's. It adds the fields that the others add and does nothing else: no
//! timeouts, no retry, hop-by-hop fields as they come, one upstream.

use std::error::Error;

use http::header::{HOST, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (args.next(), args.next()) else {
        return Err("give the address to listen at, and the upstream's".into());
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(&listen, upstream.parse()?))
}

async fn serve(listen: &str, upstream: Authority) -> Result<(), Box<dyn Error>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(256).build(connector);
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, upstream) = (client.clone(), upstream.clone());
        let peer = HeaderValue::try_from(peer.ip().to_string())?;
        tokio::spawn(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                let mut target = std::mem::take(request.uri_mut()).into_parts();
                target.scheme = Some(Scheme::HTTP);
                target.authority = Some(upstream.clone());
                // A target without a path, which no client in the benchmark sends, is asked for as `/`.
                *request.uri_mut() = Uri::from_parts(target).unwrap_or_default();
                let headers = request.headers_mut();
                if let Some(host) = headers.get(HOST).cloned() {
                    headers.insert(FORWARDED_HOST, host);
                }
                headers.insert(FORWARDED_FOR, peer.clone());
                headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
                client.request(request)
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
