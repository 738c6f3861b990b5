//! The gateway as a process, servers that misbehave, and clients that write bytes.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// More than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Builds the example as this test was built, so that it is never an old one, and says where it is.
fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let features = [
            ("analyse", cfg!(feature = "analyse")),
            ("axum", cfg!(feature = "axum")),
            ("cache", cfg!(feature = "cache")),
            ("capture", cfg!(feature = "capture")),
            ("deny", cfg!(feature = "deny")),
            ("etcd", cfg!(feature = "etcd")),
            ("file", cfg!(feature = "file")),
            ("health", cfg!(feature = "health")),
            ("http", cfg!(feature = "http")),
            ("limit", cfg!(feature = "limit")),
            ("metrics", cfg!(feature = "metrics")),
            ("mirror", cfg!(feature = "mirror")),
            ("redis", cfg!(feature = "redis")),
            ("serde", cfg!(feature = "serde")),
            ("tracing", cfg!(feature = "tracing")),
        ];
        let features: Vec<_> = features.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["build", "--example", "gateway", "--message-format=json", "--no-default-features"]);
        cargo.args(["--features", &features.join(",")]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let built = cargo.stderr(Stdio::inherit()).output().unwrap();
        assert!(built.status.success());
        let lines = String::from_utf8(built.stdout).unwrap();
        let found = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found = found.filter(|message| message["target"]["name"] == "gateway");
        found.find_map(|message| message["executable"].as_str().map(PathBuf::from)).unwrap()
    })
}

// === the gateway ===

pub struct Gateway {
    child: Child,
    pub at: SocketAddr,
    pub admin: SocketAddr,
    /// What it says on stderr, line by line.
    pub says: Seen,
    /// What it prints after it has started.
    pub prints: Seen,
}

impl Gateway {
    pub fn start(args: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--threads", "1"]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (says, prints) = (Seen::default(), Seen::default());
        let (noted, errors) = (says.clone(), BufReader::new(child.stderr.take().unwrap()).lines());
        std::thread::spawn(move || {
            for line in errors.map_while(Result::ok) {
                // For whoever reads why a test has failed.
                eprintln!("{line}");
                noted.note(line);
            }
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = || {
            let line = lines.next().unwrap().unwrap();
            let address = line.split("http://").nth(1).unwrap();
            address.split('/').next().unwrap().parse().unwrap()
        };
        let (at, admin) = (address(), address());
        // What it says later is not to block it.
        let noted = prints.clone();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| noted.note(line)));
        Gateway { child, at, admin, says, prints }
    }

    /// In front of one server.
    pub fn before(server: SocketAddr, args: &[&str]) -> Self {
        let cluster = format!("one={server}");
        Gateway::start(&[&["--cluster", &*cluster][..], args].concat())
    }

    pub async fn client(&self) -> Wire {
        Wire::new(TcpStream::connect(self.at).await.unwrap())
    }

    /// One request on a connection of its own: everything that comes back.
    pub async fn ask(&self, request: &str) -> String {
        let mut client = self.client().await;
        client.send(request).await;
        client.rest().await
    }

    pub async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await
    }

    pub async fn page(&self, path: &str) -> String {
        let mut client = Wire::new(TcpStream::connect(self.admin).await.unwrap());
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
        let page = client.rest().await;
        page.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// A response of an operators' page, with its head.
    pub async fn admin(&self, line: &str, fields: &str) -> String {
        let mut client = Wire::new(TcpStream::connect(self.admin).await.unwrap());
        let head = format!("{line} HTTP/1.1\r\nhost: a\r\n{fields}connection: close");
        client.send(format!("{head}\r\n\r\n")).await;
        client.rest().await
    }

    pub async fn post_admin(&self, path: &str, fields: &str) -> String {
        self.admin(&format!("POST {path}"), &format!("content-length: 0\r\n{fields}")).await
    }

    /// The most memory that it had at a time, in bytes.
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// Waits until it has said a line of which this is a part, so many times.
    pub async fn said(&self, part: &str, times: usize) {
        let count = || self.says.all().iter().filter(|line| line.contains(part)).count();
        until(&format!("{part:?} on stderr"), async || (count() == times).then_some(())).await;
    }

    pub async fn status(&self) -> Value {
        serde_json::from_str(&self.page("/_pointsman/").await).unwrap()
    }

    pub fn program(&self) -> &'static PathBuf {
        binary()
    }

    /// As an operator or an orchestrator does.
    pub fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, ended).await.expect("the gateway ends")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub async fn until<T>(what: &str, mut is: impl AsyncFnMut() -> Option<T>) -> T {
    let waited = async {
        loop {
            if let Some(found) = is().await {
                return found;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("never: {what}"))
}

// === servers ===

/// What a server has seen.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub async fn at_least(&self, count: usize) -> Vec<String> {
        until("the server sees it", async || Some(self.all()).filter(|all| all.len() >= count)).await
    }
}

/// A server that does what it is told with each connection; these are counted from 0.
pub async fn server<F: Future<Output = ()> + Send + 'static>(
    each: impl Fn(Wire, usize, Seen) -> F + Send + 'static,
) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let seen = Seen::default();
    let noted = seen.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(each(Wire::new(stream), number, noted.clone()));
        }
    });
    (at, seen)
}

/// A server that switches to another protocol and says something there, hears four bytes, answers, and notes the end.
pub async fn chatting() -> (SocketAddr, Seen) {
    server(|mut wire, _, seen| async move {
        seen.note(wire.head().await);
        // The first frame comes with the head.
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
        )
        .await;
        seen.note(wire.exactly(4).await);
        wire.send("and back").await;
        seen.note(format!("end {}", wire.rest().await));
    })
    .await
}

/// A server that notes every head, prefixed by the number of the connection, and gives the same answer to each.
pub async fn answering(answer: &'static str) -> (SocketAddr, Seen) {
    server(move |mut wire, number, seen| async move {
        while let Some(head) = wire.maybe_head().await {
            let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            let body = wire.exactly(length).await;
            seen.note(format!("{number} {head}{body}"));
            wire.send(answer).await;
        }
    })
    .await
}

/// A port at which nobody listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap()
}

/// The value of a field.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value.trim()))
}

// === bytes ===

/// A connection on which bytes are written and read. Nothing waits longer than [`PATIENCE`].
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Wire { stream, read: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("it is read");
    }

    /// As [`Self::send`]; whether it could be.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("it is read").is_ok()
    }

    /// Reads some more. False at the end, or when the connection is broken.
    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await.expect("something comes");
        read.is_ok_and(|count| count > 0)
    }

    async fn through(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|bytes| bytes == end.as_bytes()) {
                let rest = self.read.split_off(at + end.len());
                return Some(text(&std::mem::replace(&mut self.read, rest)));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next head, or `None` when there is none any more.
    pub async fn maybe_head(&mut self) -> Option<String> {
        self.through("\r\n\r\n").await
    }

    pub async fn head(&mut self) -> String {
        self.maybe_head().await.expect("a head")
    }

    pub async fn line(&mut self) -> String {
        self.through("\r\n").await.expect("a line")
    }

    pub async fn exactly(&mut self, count: usize) -> String {
        while self.read.len() < count {
            assert!(self.more().await, "{count} bytes, not only {:?}", text(&self.read));
        }
        let rest = self.read.split_off(count);
        text(&std::mem::replace(&mut self.read, rest))
    }

    /// All that comes until the other side has closed.
    pub async fn rest(&mut self) -> String {
        while self.more().await {}
        text(&std::mem::take(&mut self.read))
    }

    /// Says that nothing more is sent; still reads.
    pub async fn ends_writing(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Closes at once and without a word: a reset.
    #[allow(deprecated, reason = "what it warns of is what is wanted: zero seconds do not block")]
    pub fn reset(self) {
        self.stream.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
