//! What follows when client and server have switched to another protocol: bytes, both ways.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::time::timeout;

use super::body::Download;
use super::client::Open;

/// How long the two sides have to let go of their streams.
const SWITCH: Duration = Duration::from_secs(10);

/// The tunnels of all workers, which count as connections.
#[derive(Clone)]
pub(crate) struct Tunnels {
    pub(crate) open: Arc<Open>,
}

/// Sends the response down, and then whatever comes. Ends when both sides have ended, or one fails.
pub(crate) fn join(response: Response<Download>, client: OnUpgrade, tunnels: &Tunnels) -> Response<Download> {
    let (head, body) = response.into_parts();
    // A connection that was switched is never back in its pool.
    if let Download::Streamed(streamed) = body
        && let Some(connection) = streamed.into_connection()
    {
        let counted = tunnels.open.count();
        tokio::spawn(async move {
            let _counted = counted;
            let both = timeout(SWITCH, async { tokio::join!(connection.finish(), client) });
            if let Ok((Some((mut server, early)), Ok(client))) = both.await {
                let mut client = TokioIo::new(client);
                if client.write_all(&early).await.is_ok() {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            }
        });
    }
    Response::from_parts(head, Download::empty())
}
