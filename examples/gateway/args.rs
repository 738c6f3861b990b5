//! The command line, read by hand: an example should not need a crate for it.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
A reverse proxy that splits traffic by rules.

  gateway [OPTIONS]

  --listen ADDR              where clients come [127.0.0.1:8080]
  --admin ADDR               status and metrics, for operators only [127.0.0.1:8081]
  --rules FILE               the rules, followed while the gateway runs
  --last-good FILE           where the rules that were accepted last are kept
  --cluster NAME=ADDR,ADDR   a cluster and its servers; once for each cluster
  --threads N                worker threads [one for each core]
  --trust CIDR,CIDR          proxies before this one, whose X-Forwarded-For says who the client is
  --eject-after N            failures in a row that take a server out; 0 for never [3]
  --limit N                  requests that a cluster may be at work on; more are answered with 503
  --cache-bytes N            what stored responses may take; as much again while bodies pass [67108864]
  --capture-bytes N          what captured exchanges may take; as much again while they go on [16777216]
  --access-log               a line of JSON on stdout for each request
  --check                    only says whether the rules are sound, and ends
  --share PART               of every `limit` of the rules, where other nodes have the rest [1]
  --head-timeout SECONDS     for a client to send the head of a request [10]
  --idle-timeout SECONDS     for a client to come with a request at all, or to read a response on; and for one side of a
                             WebSocket to say something when the other has ended [75]
  --connect-timeout SECONDS  for an upstream to accept a connection [5]
  --upstream-timeout SECONDS for an upstream, or a client that sends a body, to go on [60]
  --grace SECONDS            for requests in flight when the gateway is told to end [30]
  --help                     this

Without --cluster it starts three small clusters of its own, and rules for them.
What happens to rules and servers is said on stderr.
SIGTERM or ctrl-c ends it: it takes no new connections and waits for what is in flight.
";

/// What the command line asks for.
pub(crate) enum Command {
    Run(Box<Args>),
    Check(Box<Args>),
    Help,
}

/// How the gateway runs.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) rules: Option<PathBuf>,
    pub(crate) last_good: Option<PathBuf>,
    pub(crate) clusters: Vec<Members>,
    pub(crate) threads: usize,
    pub(crate) patience: Limits,
    pub(crate) grace: Duration,
    pub(crate) trust: Vec<String>,
    pub(crate) eject_after: u32,
    pub(crate) limit: Option<usize>,
    pub(crate) share: f64,
    pub(crate) cache_bytes: u64,
    pub(crate) capture_bytes: usize,
    pub(crate) access_log: bool,
    /// Without rules: every request goes to the first cluster. To measure what deciding costs.
    pub(crate) bare: bool,
    demo: bool,
}

/// How long whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    pub(crate) connect: Duration,
    pub(crate) upstream: Duration,
}

/// A cluster and its servers, of which there is at least one.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    pub(crate) name: String,
    pub(crate) servers: Vec<SocketAddr>,
}

/// What is wrong with the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArgsError(String);

// === impl Args ===

impl Args {
    /// Whether the clusters are those of the demo.
    pub(crate) fn is_demo(&self) -> bool {
        self.demo
    }
}

impl Default for Args {
    fn default() -> Self {
        Args {
            listen: ([127, 0, 0, 1], 8080).into(),
            admin: ([127, 0, 0, 1], 8081).into(),
            rules: None,
            last_good: None,
            clusters: Vec::new(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            patience: Limits {
                head: Duration::from_secs(10),
                idle: Duration::from_secs(75),
                connect: Duration::from_secs(5),
                upstream: Duration::from_secs(60),
            },
            grace: Duration::from_secs(30),
            trust: Vec::new(),
            eject_after: 3,
            limit: None,
            share: 1.0,
            cache_bytes: 64 << 20,
            capture_bytes: 16 << 20,
            access_log: false,
            bare: false,
            demo: true,
        }
    }
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Command, ArgsError> {
    let mut wanted = Args::default();
    let mut only_check = false;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let (option, mut inline) = match arg.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option.to_owned(), Some(value.to_owned())),
            _ => (arg, None),
        };
        let mut value = || {
            inline
                .take()
                .or_else(|| args.next())
                .ok_or_else(|| ArgsError(format!("`{option}` needs a value")))
        };
        match &*option {
            "--help" | "-h" => return Ok(Command::Help),
            "--check" => only_check = true,
            "--access-log" => wanted.access_log = true,
            "--bare" => wanted.bare = true,
            "--listen" => wanted.listen = address(&option, &value()?)?,
            "--admin" => wanted.admin = address(&option, &value()?)?,
            "--rules" => wanted.rules = Some(value()?.into()),
            "--last-good" => wanted.last_good = Some(value()?.into()),
            "--cluster" => wanted.clusters.push(members(&value()?)?),
            "--threads" => match value()?.parse() {
                Ok(threads @ 1..=1024) => wanted.threads = threads,
                _ => return Err(ArgsError("`--threads` takes a number from 1 to 1024".to_owned())),
            },
            "--head-timeout" => wanted.patience.head = seconds(&option, &value()?)?,
            "--idle-timeout" => wanted.patience.idle = seconds(&option, &value()?)?,
            "--connect-timeout" => wanted.patience.connect = seconds(&option, &value()?)?,
            "--upstream-timeout" => wanted.patience.upstream = seconds(&option, &value()?)?,
            "--trust" => wanted.trust.extend(value()?.split(',').map(str::to_owned)),
            "--eject-after" => match value()?.parse() {
                Ok(failures) => wanted.eject_after = failures,
                Err(_) => return Err(ArgsError("`--eject-after` takes a number".to_owned())),
            },
            "--limit" => match value()?.parse() {
                Ok(requests @ 1..=1_000_000) => wanted.limit = Some(requests),
                _ => return Err(ArgsError("`--limit` takes a number from 1 to 1000000".to_owned())),
            },
            "--share" => match value()?.parse() {
                Ok(share) => wanted.share = share,
                Err(_) => return Err(ArgsError("`--share` takes a number such as 0.25".to_owned())),
            },
            "--cache-bytes" => wanted.cache_bytes = bytes(&option, &value()?)?,
            "--capture-bytes" => wanted.capture_bytes = bytes(&option, &value()?)?,
            "--grace" => wanted.grace = seconds(&option, &value()?)?,
            other => return Err(ArgsError(format!("there is no `{other}`"))),
        }
    }
    wanted.demo = wanted.clusters.is_empty();
    let wanted = Box::new(wanted);
    Ok(if only_check { Command::Check(wanted) } else { Command::Run(wanted) })
}

fn address(option: &str, text: &str) -> Result<SocketAddr, ArgsError> {
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| ArgsError(format!("`{option}` takes `host:port`, not `{text}`")))
}

fn members(text: &str) -> Result<Members, ArgsError> {
    let (name, servers) = text.split_once('=').unwrap_or((text, ""));
    let servers = servers.split(',').map(|server| address("--cluster", server)).collect::<Result<_, _>>()?;
    Ok(Members { name: name.to_owned(), servers })
}

fn bytes<N: FromStr>(option: &str, text: &str) -> Result<N, ArgsError> {
    text.parse().map_err(|_| ArgsError(format!("`{option}` takes a number of bytes, not `{text}`")))
}

fn seconds(option: &str, text: &str) -> Result<Duration, ArgsError> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=1e6).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| ArgsError(format!("`{option}` takes seconds, not `{text}`")))
}

// === impl ArgsError ===

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ArgsError {}
