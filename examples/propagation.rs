//! How long a new text takes from etcd into many engines: 50 in this process, each with a watch of its own.
//!
//! Run it with `cargo run --release --features etcd --example propagation`. It starts an etcd of its own, which has to be
//! installed; `ETCD=http://HOST:PORT` takes one that runs, and a key of this example in it. `NODES` and `RULES` are how
//! many of each.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::Client;
use pointsman::Engine;
use pointsman::engine::Digest;
use pointsman::source::{EtcdSource, Follower, Following};

const KEY: &str = "pointsman-example/propagation";
const ROUNDS: usize = 5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&mut std::io::stdout(), number("NODES", 50), number("RULES", 10_000)))
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// A shop's rules; another text for each round.
fn rules(count: usize, round: usize) -> String {
    let mut text = format!("# round {round}\n");
    for at in 0..count {
        let _ = writeln!(text, r#"route r{at}: host == "h{at}.example.com" && path under "/p{at}" => gray"#);
    }
    text + "default => prod\n"
}

pub(crate) async fn run(out: &mut impl Write, nodes: usize, count: usize) -> Result<()> {
    let (_etcd, endpoint) = match std::env::var("ETCD") {
        Ok(endpoint) => (None, endpoint),
        Err(_) => Etcd::start().map(|etcd| (Some(etcd.0), etcd.1))?,
    };
    let mut client = connect(&endpoint).await?;
    client.put(KEY, rules(count, 0), None).await?;

    let mut followings: Vec<Following> = Vec::with_capacity(nodes);
    for _ in 0..nodes {
        let builder = Engine::builder().clusters(["gray", "prod"]);
        let source = EtcdSource::key([endpoint.clone()], KEY);
        let follower = Follower::new(builder, source).start_within(Duration::from_secs(60));
        followings.push(follower.start().await?.1);
    }
    writeln!(out, "{nodes} engines, {count} rules, {} bytes", rules(count, 0).len())?;
    for round in 1..=ROUNDS {
        let text = rules(count, round);
        let digest = Digest::of(&text);
        let waiting: Vec<_> = followings
            .iter()
            .map(|following| {
                let mut reader = following.reader();
                tokio::spawn(async move {
                    reader.wait_for(|status| status.running.digest == digest).await;
                    Instant::now()
                })
            })
            .collect();
        let begin = Instant::now();
        client.put(KEY, text, None).await?;
        let put = begin.elapsed();
        let mut live = Vec::with_capacity(nodes);
        for node in waiting {
            live.push(node.await?.duration_since(begin).as_secs_f64() * 1e3);
        }
        live.sort_by(f64::total_cmp);
        let at =
            |share: usize| live.get((live.len().saturating_sub(1)) * share / 100).copied().unwrap_or(0.0);
        writeln!(
            out,
            "live after the put began: min {:.0} ms, median {:.0} ms, max {:.0} ms (etcd took it after {:.0} ms)",
            at(0),
            at(50),
            at(100),
            put.as_secs_f64() * 1e3
        )?;
    }
    Ok(())
}

/// Waits until it has a leader.
async fn connect(endpoint: &str) -> Result<Client> {
    let begin = Instant::now();
    loop {
        let mut client = Client::connect([endpoint], None).await?;
        let ready = tokio::time::timeout(Duration::from_secs(1), client.get(KEY, None)).await;
        match ready {
            Ok(Ok(_)) => return Ok(client),
            _ if begin.elapsed() > Duration::from_secs(20) => return Err("etcd is not ready".into()),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// An etcd that ends with this.
struct Etcd {
    child: Child,
    data: PathBuf,
}

impl Etcd {
    fn start() -> Result<(Self, String)> {
        let free =
            || Ok::<_, std::io::Error>(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port());
        let (client, peer) =
            (format!("http://127.0.0.1:{}", free()?), format!("http://127.0.0.1:{}", free()?));
        let data = std::env::temp_dir().join(format!("pointsman-propagation-{}", std::process::id()));
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(&data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("etcd cannot be started ({error}); install it, or name one with ETCD")
            })?;
        Ok((Etcd { child, data }, client))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
