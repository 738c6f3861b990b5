//! Three small clusters of our own, for whoever only wants to look.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

use super::args::Members;

/// What runs when no file is named.
pub(crate) const RULES: &str = r#"# The gateway's demo: three clusters, of two servers each.
cluster prod = prod_a 50, prod_b 50 by cookie(uid)

deny    bots:     header(user-agent) contains "BadBot"             => 403 "no robots here"
deny    bad_item: path under "/item" && !(int(query(id)) > 0)      => 400 "id must be a positive number"
limit   search:   path under "/search"                             => 3/10s by cookie(uid) ?? ip
cache   catalog:  path under "/catalog"                            => 30s stale 10s
capture debug:    cookie(uid) == "4711"                            => 50 for 10m
mirror  next:     path under "/checkout"                           => gray
count   paths:    true                                             => top 20 by path per 15s
shadow limit all: true                                             => 1/s by ip

route testers:  header(x-canary) == "always" => gray else prod
route checkout: path under "/checkout"       => gray 5 else prod, prod 95 by cookie(uid)
default => prod
"#;

/// Whom they are for.
pub(crate) const CLUSTERS: [&str; 3] = ["gray", "prod_a", "prod_b"];

/// For how long a server is gone that was told to stop.
const STOPPED: Duration = Duration::from_secs(10);

/// Starts the servers, on ports that the system chooses.
pub(crate) async fn clusters() -> io::Result<Vec<Members>> {
    let mut clusters = Vec::new();
    for name in CLUSTERS {
        let servers = vec![server(name, 1).await?, server(name, 2).await?];
        clusters.push(Members { name: name.to_owned(), servers });
    }
    Ok(clusters)
}

/// What to try.
pub(crate) fn welcome(at: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "
a split, by a cookie      curl --cookie uid=1001 http://{at}/
a route                   curl -H 'x-canary: always' http://{at}/
deny                      curl -i -A BadBot/1.0 http://{at}/
deny, as JSON             curl -i -H 'accept: application/json' 'http://{at}/item?id=x'
limit, at the fourth      curl -i http://{at}/search
cache, look at `age`      curl -i --cookie uid=1001 http://{at}/catalog/7
capture                   curl --cookie uid=4711 http://{at}/ && curl http://{admin}/_pointsman/captures.har
mirror and all counts     curl http://{at}/checkout && curl http://{admin}/_pointsman/
clusters side by side     curl http://{admin}/_pointsman/analysis
why a request goes where  curl -H 'x-canary: always' http://{admin}/_pointsman/explain/checkout
HTTP/2                    curl --http2-prior-knowledge http://{at}/
a fallback: stops the two servers of gray for ten seconds, then asks for gray
                          curl -H 'x-canary: always' http://{at}/stop http://{at}/stop
                          for i in 1 2 3 4 5; do curl -H 'x-canary: always' http://{at}/; done"
    )
}

/// Answers with its name, and is gone for a while when it is told to stop.
async fn server(cluster: &'static str, number: u32) -> io::Result<SocketAddr> {
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let at = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            serve(listener, cluster, number).await;
            sleep(STOPPED).await;
            listener = loop {
                match TcpListener::bind(at).await {
                    Ok(listener) => break listener,
                    // Another one has the port for now.
                    Err(_) => sleep(STOPPED).await,
                }
            };
        }
    });
    Ok(at)
}

/// Takes connections until one brings the word to stop; then all of them end.
async fn serve(listener: TcpListener, cluster: &'static str, number: u32) {
    let (stop, mut stopped) = watch::channel(());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            _ = stopped.changed() => return,
        };
        let (stop, mut stopped) = (stop.clone(), stop.subscribe());
        let answer = service_fn(move |request: Request<Incoming>| {
            let path = request.uri().path();
            let stops = path == "/stop";
            let says = if stops { "stops" } else { path };
            let response = Response::new(format!("{cluster}, server {number}: {says}\n"));
            let stop = stops.then(|| stop.clone());
            async move {
                stop.iter().for_each(|stop| _ = stop.send(()));
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(async move {
            let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            tokio::select! {
                _ = &mut connection => return,
                _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
}
