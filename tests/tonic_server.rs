//! A tonic server over real HTTP/2, with a service and a codec written by hand, so that no protoc is needed.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BufMut;
use http::{HeaderName, Request, Response};
use hyper::body::{Buf, Bytes};
use pointsman::schema::{ClientAddr, Schema};
use pointsman::{CanonicalPathLayer, Clusters, Decision, Engine, TrafficSplitLayer};
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::NamedService;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Server};
use tower::{Service, service_fn};

const CLUSTER: HeaderName = HeaderName::from_static("x-cluster");

/// Messages are bytes, as they are.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// What `tonic-build` would generate for `service Why { rpc Why(bytes) returns (bytes); }`.
#[derive(Clone)]
struct Why {
    name: &'static str,
}

impl NamedService for Why {
    const NAME: &'static str = "test.Why";
}

impl Service<Request<Body>> for Why {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let name = self.name;
        let answer = service_fn(move |request: tonic::Request<Bytes>| async move {
            let Some(decision) = request.extensions().get::<Decision>() else {
                return Err(Status::internal("no decision"));
            };
            let tag = request.metadata().get(CLUSTER.as_str()).map(|tag| tag.to_str().unwrap().to_owned());
            let answer = format!(
                "{name}: {} {} {}",
                decision.cluster(),
                decision.rule().unwrap_or("default"),
                tag.unwrap_or_default()
            );
            Ok(tonic::Response::new(Bytes::from(answer)))
        });
        Box::pin(async move { Ok(tonic::server::Grpc::new(Plain).unary(answer, request).await) })
    }
}

/// Calls `test.Why/Why` with one metadata entry; gives the answer and the response's tag.
async fn ask(addr: SocketAddr, key: &'static str, value: &str) -> (String, String) {
    let exchange = async {
        let channel = Channel::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap();
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let mut request = tonic::Request::new(Bytes::from_static(b"why?"));
        request.metadata_mut().insert(key, value.parse().unwrap());
        let path = http::uri::PathAndQuery::from_static("/test.Why/Why");
        let response = client.unary(request, path, Plain).await.unwrap();
        let tag = response.metadata().get("x-tester").unwrap().to_str().unwrap().to_owned();
        (String::from_utf8(response.into_inner().to_vec()).unwrap(), tag)
    };
    tokio::time::timeout(Duration::from_secs(60), exchange).await.unwrap()
}

fn engine() -> Engine {
    // Where tonic leaves the peer's address.
    let client = ClientAddr::peer().with_peer(|request| {
        request.extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr).map(|addr| addr.ip())
    });
    Engine::builder()
        .schema(Schema::new().clusters(["gray", "prod"]).client_addr(client))
        .build(
            r#"
            route strangers: ip != 127.0.0.1 => prod
            route app: version(header(x-app-version)) >= "2.3.0" && path under "/test.Why" => gray
            default => prod
            "#,
        )
        .unwrap()
}

fn tag(engine: &Engine) -> TrafficSplitLayer {
    TrafficSplitLayer::new(engine.clone())
        .request_header(CLUSTER)
        .response_header(HeaderName::from_static("x-tester"))
}

#[tokio::test]
async fn rules_read_the_metadata_of_a_call() {
    let engine = engine();
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = incoming.local_addr().unwrap();
    let server = Server::builder()
        .layer(CanonicalPathLayer::new())
        .layer(tag(&engine))
        .add_service(Why { name: "one" })
        .serve_with_incoming(incoming);
    tokio::spawn(server);

    for (key, value, answer, tester) in [
        ("x-app-version", "2.3.1", "one: gray app gray", "gray"),
        ("x-app-version", "2.2", "one: prod default prod", "prod"),
        ("x-cluster", "gray", "one: prod default prod", "prod"),
    ] {
        assert_eq!(ask(addr, key, value).await, (answer.to_owned(), tester.to_owned()));
    }
    assert_eq!(engine.counters().decisions, 3);
}

#[tokio::test]
async fn a_call_that_is_counted_keeps_its_trailers() {
    let engine = engine();
    let counted = tag(&engine).count_in_flight();
    let in_flight = counted.in_flight();
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = incoming.local_addr().unwrap();
    tokio::spawn(
        Server::builder().layer(counted).add_service(Why { name: "one" }).serve_with_incoming(incoming),
    );
    // The status of a call is in its trailers.
    let (answer, _) = ask(addr, "x-app-version", "3").await;
    assert_eq!(answer, "one: gray app gray");
    let drained = in_flight.drained("gray").unwrap();
    tokio::time::timeout(Duration::from_secs(60), drained).await.unwrap();
    assert_eq!(in_flight.count("gray").unwrap(), 0);
}

#[tokio::test]
async fn a_grpc_service_per_cluster() {
    /// Gives a service built of parts the name that tonic routes by.
    #[derive(Clone)]
    struct Named<S>(S);

    impl<S> NamedService for Named<S> {
        const NAME: &'static str = Why::NAME;
    }

    impl<S: Service<R>, R> Service<R> for Named<S> {
        type Response = S::Response;
        type Error = S::Error;
        type Future = S::Future;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: R) -> Self::Future {
            self.0.call(request)
        }
    }

    let engine = engine();
    let services = ["prod", "gray"].map(|name| (name, Why { name }));
    let clusters = Clusters::new(&engine, services).unwrap();
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = incoming.local_addr().unwrap();
    let server =
        Server::builder().layer(tag(&engine)).add_service(Named(clusters)).serve_with_incoming(incoming);
    tokio::spawn(server);

    assert_eq!(ask(addr, "x-app-version", "2.3").await.0, "gray: gray app gray");
    assert_eq!(ask(addr, "x-app-version", "2.3-rc.1").await.0, "prod: prod default prod");
}
