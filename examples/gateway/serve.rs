//! The workers: threads that share nothing on a request's way.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc::Sender;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use pointsman::Engine;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime;
use tokio::time::{interval, sleep, timeout};
use tower::Service;

use super::args::Args;
use super::body::BoxError;
use super::client::{Activity, ClientIo, Ending, Open, attend};
use super::cluster::{Cluster, Guard};
use super::edge::{self, Turns};
use super::headers::ClientName;
use super::stack::{Layers, cluster};
use super::tunnel::Tunnels;

/// The most that the head of a request may have, and that is read ahead of a body.
const BUFFER: usize = 64 * 1024;
/// How many connections wait to be taken.
const BACKLOG: u32 = 1024;

/// A gateway that runs.
pub(crate) struct Gateway {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// What all workers have in common.
struct Shared {
    args: Args,
    layers: Layers,
    open: Arc<Open>,
    ending: Ending,
}

// === impl Gateway ===

impl Gateway {
    /// Starts the workers, each on a thread of its own.
    pub(crate) fn start(args: &Args, engine: &Engine) -> Result<Self, Box<dyn Error>> {
        let open = Arc::<Open>::default();
        let layers = Layers::new(engine, args, &Tunnels::new(&open, args))?;
        let shared = Arc::new(Shared { args: args.clone(), layers, open, ending: Ending::default() });
        let taken = |error| format!("cannot listen on {}: {error}", args.listen);
        alone(args.listen).map_err(taken)?;
        let mut sockets = vec![bind(args.listen).map_err(taken)?];
        let addr = sockets.iter().map(TcpSocket::local_addr).next().unwrap_or(Ok(args.listen))?;
        while sockets.len() < args.threads {
            sockets.push(bind(addr)?);
        }
        let (ready, all_ready) = mpsc::channel();
        for (number, socket) in sockets.into_iter().enumerate() {
            let (shared, ready) = (shared.clone(), ready.clone());
            thread::Builder::new().name(format!("gateway-{number}")).spawn(move || {
                if let Err(error) = work(socket, &shared, &ready) {
                    let _ = ready.send(Err(error.to_string()));
                }
            })?;
        }
        for _ in 0..args.threads {
            all_ready.recv()??;
        }
        Ok(Gateway { addr, shared })
    }

    /// Where clients come.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn args(&self) -> &Args {
        &self.shared.args
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.shared.layers
    }

    pub(crate) fn open(&self) -> Arc<Open> {
        self.shared.open.clone()
    }

    /// Takes no new connections, and waits until those there are have ended. Returns how many have not.
    pub(crate) async fn drain(&self, limit: Duration) -> usize {
        self.shared.ending.tell();
        let _ = timeout(limit, self.shared.open.none()).await;
        self.shared.open.now()
    }
}

/// Fails where somebody listens already. Sockets that share an address do so with those of another gateway too, which
/// would get some of the connections.
fn alone(at: SocketAddr) -> io::Result<()> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(at)
}

/// A socket of its own for each worker, so that the kernel spreads connections over them.
fn bind(at: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    // So that a client that is gone without a word is noticed, also by a tunnel.
    socket.set_keepalive(true)?;
    socket.bind(at)?;
    Ok(socket)
}

// === a worker ===

fn work(
    socket: TcpSocket,
    shared: &Arc<Shared>,
    ready: &Sender<Result<(), String>>,
) -> Result<(), Box<dyn Error>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let Shared { args, layers, open, .. } = &**shared;
    let tunnels = Tunnels::new(open, args);
    let bare = args.clusters.first().filter(|_| args.bare);
    let bare = bare.map(|members| cluster(members, args, &tunnels, Guard::default()));
    let clusters = layers.clusters(args, &tunnels);
    runtime.block_on(async {
        let listener = socket.listen(BACKLOG)?;
        let swept = clusters.iter().map(|(_, cluster)| cluster).chain(&bare).chain(layers.shadows());
        let swept: Vec<_> = swept.cloned().collect();
        tokio::spawn(async move {
            let mut second = interval(Duration::from_secs(1));
            loop {
                second.tick().await;
                swept.iter().for_each(Cluster::sweep);
            }
        });
        match bare {
            Some(only) => accept(listener, shared, only, ready).await,
            None => accept(listener, shared, layers.stack(clusters)?, ready).await,
        }
        Ok(())
    })
}

/// Takes connections until the gateway ends; then waits for those there are.
async fn accept<S, B>(
    listener: TcpListener,
    shared: &Arc<Shared>,
    stack: S,
    ready: &Sender<Result<(), String>>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let protocols = Arc::new(protocols());
    let _ = ready.send(Ok(()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.ending.told() => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Such as no more descriptors. Whoever ends a connection gives one back.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream, peer, shared.clone(), stack.clone(), protocols.clone()));
    }
    drop(listener);
    shared.open.none().await;
}

async fn serve<S, B>(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    stack: S,
    protocols: Arc<auto::Builder<TokioExecutor>>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let _counted = shared.open.count();
    let activity = Arc::<Activity>::default();
    let io = TokioIo::new(ClientIo::new(stream, activity.clone()));
    let told = activity.clone();
    let name = ClientName::new(peer.ip());
    let turns = Arc::new(Turns::new(stack));
    let service =
        service_fn(move |request| edge::handle(request, peer, name.clone(), told.clone(), turns.clone()));
    let connection = protocols.serve_connection_with_upgrades(io, service);
    let end = |connection: Pin<&mut auto::UpgradeableConnection<'_, _, _, _>>| connection.graceful_shutdown();
    attend(connection, end, &activity, shared.args.patience, &shared.ending).await;
}

fn protocols() -> auto::Builder<TokioExecutor> {
    let mut protocols = auto::Builder::new(TokioExecutor::new());
    protocols.http1().max_buf_size(BUFFER);
    protocols
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(BUFFER as u32)
        .max_concurrent_streams(250)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    protocols
}
