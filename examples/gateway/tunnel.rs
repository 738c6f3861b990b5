//! What follows when client and server have switched to another protocol: bytes, both ways.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{sleep, timeout};

use super::args::Args;
use super::body::Download;
use super::client::Open;

/// How long the two sides have to let go of their streams.
const SWITCH: Duration = Duration::from_secs(10);
/// What is read at once, each way.
const PIECE: usize = 8 * 1024;

/// The tunnels of all workers, which count as connections.
#[derive(Clone)]
pub(crate) struct Tunnels {
    pub(crate) open: Arc<Open>,
    /// How long one side may be silent when the other one has ended.
    pub(crate) idle: Duration,
}

impl Tunnels {
    pub(crate) fn new(open: &Arc<Open>, args: &Args) -> Self {
        Tunnels { open: open.clone(), idle: args.patience.idle }
    }
}

/// Sends the response down, and then whatever comes. Ends when both sides have ended, or one fails, or one has ended and the
/// other says nothing more: a server that does not mind that its client is gone would keep both streams for good.
pub(crate) fn join(response: Response<Download>, client: OnUpgrade, tunnels: &Tunnels) -> Response<Download> {
    let (head, body) = response.into_parts();
    // A connection that was switched is never back in its pool.
    if let Download::Streamed(streamed) = body
        && let Some(connection) = streamed.into_connection()
    {
        let (counted, idle) = (tunnels.open.count(), tunnels.idle);
        tokio::spawn(async move {
            let _counted = counted;
            let both = timeout(SWITCH, async { tokio::join!(connection.finish(), client) });
            if let Ok((Some((server, early)), Ok(client))) = both.await {
                let mut client = TokioIo::new(client);
                if client.write_all(&early).await.is_ok() {
                    let _ = pass(client, server, idle).await;
                }
            }
        });
    }
    Response::from_parts(head, Download::empty())
}

/// Bytes, both ways.
async fn pass<C, S>(client: C, server: S, idle: Duration) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (from_client, to_client) = split(client);
    let (from_server, to_server) = split(server);
    let pieces = AtomicU64::new(0);
    let mut up = pin!(copy(from_client, to_server, &pieces));
    let mut down = pin!(copy(from_server, to_client, &pieces));
    tokio::select! {
        ended = &mut up => {
            ended?;
            outlast(down, &pieces, idle).await
        }
        ended = &mut down => {
            ended?;
            outlast(up, &pieces, idle).await
        }
    }
}

/// One way, to its end, of which the other side learns.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    pieces: &AtomicU64,
) -> io::Result<()> {
    let mut piece = Vec::with_capacity(PIECE);
    while from.read_buf(&mut piece).await? > 0 {
        to.write_all(&piece).await?;
        piece.clear();
        pieces.fetch_add(1, Relaxed);
    }
    to.shutdown().await
}

/// The way that is left, for as long as something comes.
async fn outlast(
    mut way: impl Future<Output = io::Result<()>> + Unpin,
    pieces: &AtomicU64,
    idle: Duration,
) -> io::Result<()> {
    loop {
        let before = pieces.load(Relaxed);
        tokio::select! {
            ended = &mut way => return ended,
            () = sleep(idle) => {}
        }
        if pieces.load(Relaxed) == before {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}
