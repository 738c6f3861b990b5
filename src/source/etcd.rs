//! Rules that etcd has.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, Error, EventType, GetOptions, KvClient, WatchOptions, WatchResponse, WatchStream,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{SourceError, SourceErrorKind};
use super::text::{Source, Text, Update};
use crate::limits::Limits;

/// A rule text that is the value of a key in etcd, or those of all keys with a prefix, which are one rule set together.
///
/// The values are read as of one revision of the store, and watched from the next one on, so that nothing is missed
/// in between; a change is there as soon as etcd has told it. When the connection is lost they are read again, and
/// likewise when etcd has compacted what was to be watched from. Several endpoints are members of one cluster; one that
/// has lost its leader is left.
///
/// [Now and then](EtcdSource::check) it is asked for its keys, without values: so a connection that is dead, a
/// permission that was taken and a notification that got lost are noticed, and the [status](super::Status::stale) knows
/// that what runs is what etcd has.
///
/// A key that is not there is an error of the kind [`Absent`](SourceErrorKind::Absent), also when it was there before:
/// the rules go on, and are not replaced by none. Such an error, bytes that are not UTF-8 and a text that is too large are
/// said once, and are over with the next change.
///
/// With TLS: depend on `etcd-client` of the same version with its feature `tls-ring` or `tls-aws-lc`, and give endpoints of
/// `https`. This crate chooses none.
///
/// ```
/// use pointsman::source::{EtcdSource, Follower};
/// use pointsman::Engine;
///
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let source = EtcdSource::key(["http://etcd-1:2379", "http://etcd-2:2379"], "shop/rules").user("shop", "secret");
/// let builder = Engine::builder().clusters(["gray", "prod"]);
/// let (engine, following) = Follower::new(builder, source).last_good("/var/lib/shop/rules.good").start().await?;
/// # let _ = (engine, following);
/// # Ok(())
/// # }
/// ```
pub struct EtcdSource {
    endpoints: Vec<String>,
    user: Option<(String, String)>,
    what: What,
    timeout: Duration,
    check: Duration,
    limit: usize,
    connection: Option<Connection>,
    /// Whether the last error was about what etcd has, which is not said again while it lasts.
    complained: bool,
}

#[derive(Debug, Clone)]
enum What {
    Key(String),
    Prefix(String),
}

struct Connection {
    kv: KvClient,
    /// Kept, as the connection ends with it.
    _client: Client,
    watch: WatchStream,
    values: Values,
    due: Instant,
}

/// What etcd has, by key.
type Values = BTreeMap<Vec<u8>, Value>;

struct Value {
    bytes: Vec<u8>,
    /// The revision of the store at which it got that value.
    revision: i64,
}

/// The HTTP/2 pings. A server may be set to take more than one in 5 s for an attack.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);
/// What a message has besides values.
const OVERHEAD: usize = 1 << 20;

// === impl EtcdSource ===

impl EtcdSource {
    /// The value of one key.
    pub fn key<E: Into<String>>(endpoints: impl IntoIterator<Item = E>, key: impl Into<String>) -> Self {
        EtcdSource::of(endpoints, What::Key(key.into()))
    }

    /// The values of all keys that begin with `prefix`, put together in the order of the keys: see
    /// [`Rules::joined`](crate::Rules::joined). Keys that are put in one transaction are seen at once.
    pub fn prefix<E: Into<String>>(
        endpoints: impl IntoIterator<Item = E>,
        prefix: impl Into<String>,
    ) -> Self {
        EtcdSource::of(endpoints, What::Prefix(prefix.into()))
    }

    fn of<E: Into<String>>(endpoints: impl IntoIterator<Item = E>, what: What) -> Self {
        EtcdSource {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            user: None,
            what,
            timeout: Duration::from_secs(5),
            check: Duration::from_secs(30),
            limit: Limits::default().text_bytes,
            connection: None,
            complained: false,
        }
    }

    /// Logs in by a name and a password.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// How long etcd has for an answer. Default: 5 s.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// How often it is asked whether all is as it should be. Default: every 30 s; less than 10 ms counts as that. Costs
    /// etcd a read of the keys without their values.
    #[must_use]
    pub fn check(mut self, every: Duration) -> Self {
        self.check = every.max(Duration::from_millis(10));
        self
    }

    /// The most bytes of all values together. Default: 4 MiB, as [`Limits::text_bytes`].
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Connects, reads, and watches from the next revision on.
    async fn connect(&self) -> Result<Connection, SourceError> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.timeout)
            .with_keep_alive(PING, PONG)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password);
        }
        let client = self.within(Client::connect(&self.endpoints, Some(options))).await?;
        let most = self.limit.saturating_add(OVERHEAD);
        let mut kv = client.kv_client().max_decoding_message_size(most);
        // What is compacted between the reading and the watching is read again.
        loop {
            let (values, revision) = self.read(&mut kv, self.what.get()).await?;
            let mut watches = client.watch_client().max_decoding_message_size(most);
            let options = self.what.watch().with_start_revision(revision.saturating_add(1));
            let mut watch = self.within(watches.watch(self.what.name(), Some(options))).await?;
            let Some(created) = self.within(watch.message()).await? else { return Err(ended()) };
            if created.compact_revision() > revision {
                continue;
            }
            self.sound(&created)?;
            let due = Instant::now() + self.check;
            return Ok(Connection { kv, _client: client, watch, values, due });
        }
    }

    /// What etcd has, and as of which revision.
    async fn read(&self, kv: &mut KvClient, options: GetOptions) -> Result<(Values, i64), SourceError> {
        let mut response = self.within(kv.get(self.what.name(), Some(options))).await?;
        let revision = response.header().map_or(0, |header| header.revision());
        let values = response.take_kvs().into_iter().map(|kv| {
            let revision = kv.mod_revision();
            let (key, bytes) = kv.into_key_value();
            (key, Value { bytes, revision })
        });
        Ok((values.collect(), revision))
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, SourceError> {
        match timeout(self.timeout, asked).await {
            Ok(answer) => answer.map_err(|error| broken(error, self.limit)),
            Err(_) => {
                let message = format!("etcd did not answer within {:?}", self.timeout);
                Err(SourceError::new(SourceErrorKind::Unreachable, message))
            }
        }
    }

    /// Whether etcd goes on watching.
    fn sound(&self, response: &WatchResponse) -> Result<(), SourceError> {
        if !response.canceled() {
            return Ok(());
        }
        let kind = match response.cancel_reason() {
            reason if reason.contains("permission denied") => SourceErrorKind::Denied,
            _ => SourceErrorKind::Unreachable,
        };
        let reason = match response.compact_revision() {
            0 => response.cancel_reason().to_owned(),
            revision => format!("revisions before {revision} are compacted"),
        };
        Err(SourceError::new(kind, format!("etcd does not watch any more: {reason}")))
    }

    /// Waits for events, or for the next time to check: then it is false. Takes all that is there.
    async fn events(&self, connection: &mut Connection) -> Result<bool, SourceError> {
        let mut changed = false;
        loop {
            // What has arrived is taken before anything is made of it.
            let until = if changed { Instant::now() } else { connection.due };
            let message = match timeout_at(until, connection.watch.message()).await {
                Err(_) => return Ok(changed),
                Ok(message) => message.map_err(|error| broken(error, self.limit))?,
            };
            let message = message.ok_or_else(ended)?;
            self.sound(&message)?;
            for event in message.events() {
                let Some(kv) = event.kv() else { continue };
                changed = true;
                match event.event_type() {
                    EventType::Put => {
                        let value = Value { bytes: kv.value().to_vec(), revision: kv.mod_revision() };
                        connection.values.insert(kv.key().to_vec(), value);
                    }
                    EventType::Delete => _ = connection.values.remove(kv.key()),
                }
            }
            // Somewhat too large is told, and watched until it is not. What is far too large is not kept.
            let size = size(&connection.values);
            if size > self.limit.saturating_mul(2).saturating_add(OVERHEAD) {
                return Err(SourceError::too_large(&self.what, self.limit, Some(size as u64)));
            }
        }
    }

    /// Asks whether the keys are those that are known, each at its revision.
    async fn checks(&self, connection: &mut Connection) -> Result<bool, SourceError> {
        let (keys, _) = self.read(&mut connection.kv, self.what.get().with_keys_only()).await?;
        connection.due = Instant::now() + self.check;
        let known = connection.values.iter().map(|(key, value)| (key, value.revision));
        Ok(keys.iter().map(|(key, value)| (key, value.revision)).eq(known))
    }

    /// What the values are as a text.
    fn text(&self, values: &Values) -> Result<Text, SourceError> {
        let size = size(values);
        if size > self.limit {
            return Err(SourceError::too_large(&self.what, self.limit, Some(size as u64)));
        }
        let texts = values.iter().map(|(key, value)| {
            let key = String::from_utf8_lossy(key).into_owned();
            let text = SourceError::utf8(format_args!("the value of `{key}`"), value.bytes.clone())?;
            Ok((key, text))
        });
        let texts: Vec<(String, String)> = texts.collect::<Result<_, SourceError>>()?;
        let Some(revision) = values.values().map(|value| value.revision).max() else {
            return Err(SourceError::new(SourceErrorKind::Absent, format!("{} is not there", self.what)));
        };
        let version = revision.to_string();
        Ok(match (&self.what, texts) {
            (What::Prefix(_), texts) => Text::joined(texts, version),
            (What::Key(_), texts) => {
                let (key, text) = texts.into_iter().next().unwrap_or_default();
                Text::new(key, text, version)
            }
        })
    }

    /// What is to be said; nothing if there is nothing new.
    async fn look(&mut self) -> Result<Option<Update>, SourceError> {
        let Some(mut connection) = self.connection.take() else {
            let connection = self.connect().await?;
            let text = self.text(&connection.values);
            self.connection = Some(connection);
            return Ok(Some(text?.into()));
        };
        let changed = self.events(&mut connection).await?;
        let agreed = changed || self.checks(&mut connection).await?;
        if !agreed {
            // Events are on their way, or were lost: either way, what there is tells.
            connection = self.connect().await?;
        }
        let text = (changed || !agreed).then(|| self.text(&connection.values));
        self.connection = Some(connection);
        match text {
            Some(text) => Ok(Some(text?.into())),
            None => Ok((!self.complained).then_some(Update::Unchanged)),
        }
    }
}

fn size(values: &Values) -> usize {
    values.values().map(|value| value.bytes.len()).sum()
}

impl Source for EtcdSource {
    async fn next(&mut self) -> Result<Update, SourceError> {
        loop {
            match self.look().await {
                Ok(None) => {}
                Ok(Some(update)) => {
                    self.complained = false;
                    return Ok(update);
                }
                Err(error) => {
                    // With a connection, it is what etcd has that is wrong.
                    self.complained = self.connection.is_some();
                    return Err(error);
                }
            }
        }
    }

    fn name(&self) -> String {
        // A user's name and password are no part of a name.
        let place = |endpoint: &String| endpoint.rsplit(['/', '@']).next().unwrap_or_default().to_owned();
        let places: Vec<String> = self.endpoints.iter().map(place).collect();
        format!("etcd {} {}", places.join(","), self.what)
    }
}

impl fmt::Debug for EtcdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdSource")
            .field("endpoints", &self.endpoints)
            .field("what", &self.what)
            .field("timeout", &self.timeout)
            .field("check", &self.check)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

// === impl What ===

impl What {
    fn name(&self) -> &str {
        match self {
            What::Key(name) | What::Prefix(name) => name,
        }
    }

    fn get(&self) -> GetOptions {
        match self {
            What::Key(_) => GetOptions::new(),
            What::Prefix(_) => GetOptions::new().with_prefix(),
        }
    }

    fn watch(&self) -> WatchOptions {
        match self {
            What::Key(_) => WatchOptions::new(),
            What::Prefix(_) => WatchOptions::new().with_prefix(),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Key(key) => write!(f, "key `{key}`"),
            What::Prefix(prefix) => write!(f, "prefix `{prefix}`"),
        }
    }
}

// === errors ===

fn ended() -> SourceError {
    SourceError::new(SourceErrorKind::Unreachable, "etcd ended the watch")
}

fn broken(error: Error, limit: usize) -> SourceError {
    // As gRPC numbers them.
    const INVALID_ARGUMENT: i32 = 3;
    const PERMISSION_DENIED: i32 = 7;
    const RESOURCE_EXHAUSTED: i32 = 8;
    const OUT_OF_RANGE: i32 = 11;
    const UNAUTHENTICATED: i32 = 16;
    // A status repeats itself in all its forms; its message is what says something.
    if let Error::GRpcStatus(status) = &error {
        let (kind, what) = match (i32::from(status.code()), status.message()) {
            (OUT_OF_RANGE | RESOURCE_EXHAUSTED, message) if message.contains("length too large") => {
                return SourceError::too_large("what etcd has", limit, None);
            }
            (PERMISSION_DENIED | UNAUTHENTICATED, _) => (SourceErrorKind::Denied, "etcd refuses us"),
            // Wrong names and passwords, and none where some are needed.
            (INVALID_ARGUMENT, message)
                if ["auth", "user name", "password", "permission"]
                    .iter()
                    .any(|word| message.contains(word)) =>
            {
                (SourceErrorKind::Denied, "etcd refuses us")
            }
            _ => (SourceErrorKind::Unreachable, "etcd cannot be asked"),
        };
        return SourceError::new(kind, format!("{what}: {}", status.message()));
    }
    let (kind, message) = match &error {
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            (SourceErrorKind::Other, "the settings for etcd are wrong")
        }
        _ => (SourceErrorKind::Unreachable, "etcd cannot be asked"),
    };
    SourceError::new(kind, message).because(error)
}
