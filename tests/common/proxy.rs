//! A TCP proxy that does what networks do.

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of the connections that there are, and of new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Bytes go both ways.
    Up,
    /// Connections are accepted and stay open, and nothing comes through.
    Stalls,
    /// Connections are reset.
    Resets,
    /// The side to the client is ended; what the client sends goes nowhere.
    HalfCloses,
    /// After that many bytes from now on, the side to the client is ended.
    CutsAfter(usize),
    /// The server is not what it was: these bytes come instead.
    Garbage,
}

pub struct Proxy {
    pub addr: SocketAddr,
    network: watch::Sender<Network>,
    accepted: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of `to`, on a port that the system chose.
    pub async fn before(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (network, state) = watch::channel(Network::Up);
        let accepted = Arc::new(AtomicU64::new(0));
        let count = accepted.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(client, to, state.clone()));
            }
        });
        Proxy { addr, network, accepted, accepting }
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// How many connections there were.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.network.send_replace(Network::Resets);
    }
}

async fn carry(mut client: TcpStream, to: SocketAddr, mut state: watch::Receiver<Network>) {
    let mut server: Option<TcpStream> = None;
    let mut answered = 0;
    let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        let network = *state.borrow_and_update();
        match network {
            Network::Up | Network::CutsAfter(_) => {}
            Network::Stalls => {
                if state.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Network::Resets => {
                let _ = client.set_zero_linger();
                return;
            }
            Network::HalfCloses => break,
            Network::Garbage => {
                let _ = client.write_all(b"\x16\x03\x01 this is no answer to anything\r\n\r\n\0\0\xff").await;
                break;
            }
        }
        if server.is_none() {
            server = TcpStream::connect(to).await.ok();
        }
        let Some(server) = &mut server else {
            // As if nobody listened.
            let _ = client.set_zero_linger();
            return;
        };
        tokio::select! {
            changed = state.changed() => {
                if changed.is_err() { return }
                answered = 0;
            }
            read = client.read(&mut up) => match read {
                Ok(0) | Err(_) => return,
                Ok(n) => if server.write_all(&up[..n]).await.is_err() { return },
            },
            read = server.read(&mut down) => match read {
                Ok(0) | Err(_) => return,
                Ok(n) => {
                    let most = match network {
                        Network::CutsAfter(most) => most.saturating_sub(answered),
                        _ => n,
                    };
                    answered += n.min(most);
                    if client.write_all(&down[..n.min(most)]).await.is_err() { return }
                    if n >= most && network != Network::Up { break }
                },
            },
        }
    }
    // The client may go on sending for a while.
    let _ = client.shutdown().await;
    let _ = tokio::time::timeout(Duration::from_secs(60), async {
        while client.read(&mut up).await.is_ok_and(|n| n > 0) {}
    })
    .await;
}
