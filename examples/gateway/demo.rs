//! Three small clusters of our own, for whoever only wants to look.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::args::Members;

/// What runs when no file is named.
pub(crate) const RULES: &str = r#"# The gateway's demo: three clusters, of two servers each.
cluster prod = prod_a 50, prod_b 50 by cookie(uid)
route testers:  header(x-canary) == "always" => gray
route checkout: path under "/checkout"       => gray 5, prod 95 by cookie(uid)
default => prod
"#;

/// Starts the servers, on ports that the system chooses.
pub(crate) async fn clusters() -> io::Result<Vec<Members>> {
    let mut clusters = Vec::new();
    for name in ["gray", "prod_a", "prod_b"] {
        let servers = vec![server(name, 1).await?, server(name, 2).await?];
        clusters.push(Members { name: name.to_owned(), servers });
    }
    Ok(clusters)
}

/// What to try.
pub(crate) fn welcome(at: SocketAddr) -> String {
    format!(
        "\ncurl http://{at}/\ncurl --cookie uid=1001 http://{at}/\ncurl -H 'x-canary: always' http://{at}/\n\
         curl --http2-prior-knowledge http://{at}/"
    )
}

async fn server(cluster: &'static str, number: u32) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let at = listener.local_addr()?;
    let answer = service_fn(move |request: Request<Incoming>| {
        let path = request.uri().path();
        ready(Ok::<_, Infallible>(Response::new(format!("{cluster}, server {number}: {path}\n"))))
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    Ok(at)
}
