//! Rules that Redis has.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo as _, ProtocolVersion, PushInfo, PushKind,
    RedisError,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::{SourceError, SourceErrorKind};
use super::text::{Source, Text, Update};
use crate::engine::Digest;
use crate::limits::Limits;

/// Between two readings that found nothing new; twice as long after each, as each sends the whole text.
const PACE: Duration = Duration::from_millis(20);
const SLOWEST: Duration = Duration::from_millis(320);

/// A rule text that is the string at a key in Redis 6 or later, or in what speaks like it.
///
/// Redis tells of changes by itself: the connection asks to be told when the key that it read is [set, deleted, expired
/// or evicted](https://redis.io/docs/latest/develop/reference/client-side-caching/), which needs no setting of the server
/// and nothing of those who write. Where a proxy or a permission stands against that, [a
/// channel](RedisSource::channel) does. What is told is only ever a reason to read the key. It is read [now and
/// then](RedisSource::check) anyway, so that what nobody told costs time and nothing else, and a dead connection is
/// noticed.
///
/// A key that is not there is an error of the kind [`Absent`](SourceErrorKind::Absent), also when it was there before:
/// the rules go on, and are not replaced by none. Such an error, a key that is no string, bytes that are not UTF-8 and a
/// text that is too large are said once, and are over with the next change.
///
/// Redis has no revisions, so the [version](Text::version) of a text is empty: its [digest](Text::digest) says which it
/// is. With TLS: depend on `redis` of the same version with one of its features for it, and give a URL of `rediss`. This
/// crate chooses none.
///
/// ```
/// use pointsman::source::{Follower, RedisSource};
/// use pointsman::Engine;
///
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let source = RedisSource::new("redis://shop:secret@cache:6379/0", "shop:rules")?;
/// let builder = Engine::builder().clusters(["gray", "prod"]);
/// let (engine, following) = Follower::new(builder, source).last_good("/var/lib/shop/rules.good").start().await?;
/// # let _ = (engine, following);
/// # Ok(())
/// # }
/// ```
pub struct RedisSource {
    client: Client,
    key: String,
    channel: Option<String>,
    timeout: Duration,
    check: Duration,
    limit: usize,
    connection: Option<Connection>,
    /// What was said last, so that it is not said again.
    said: Option<Said>,
}

struct Connection {
    commands: MultiplexedConnection,
    told: Arc<Told>,
    due: Instant,
}

/// What the server told on its own. However often it does, it is one thing to know.
#[derive(Default)]
struct Told {
    something: Notify,
    closed: AtomicBool,
}

#[derive(PartialEq, Eq)]
enum Said {
    Text(Digest),
    Error(SourceErrorKind, String),
}

// === impl RedisSource ===

impl RedisSource {
    /// The string at `key` of the server at `url`: `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`.
    ///
    /// The user needs the commands `MULTI`, `EXEC`, `EXISTS`, `STRLEN` and `GETRANGE`, and either `CLIENT TRACKING` or
    /// `SUBSCRIBE`.
    ///
    /// # Errors
    ///
    /// When the URL is not sound.
    pub fn new(url: &str, key: impl Into<String>) -> Result<Self, SourceError> {
        let wrong =
            |error| SourceError::new(SourceErrorKind::Other, "the URL for redis is not sound").because(error);
        let info = url.into_connection_info().map_err(wrong)?;
        // What the server tells on its own comes between the answers, which the older protocol does not know.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings)).map_err(wrong)?;
        Ok(RedisSource {
            client,
            key: key.into(),
            channel: None,
            timeout: Duration::from_secs(5),
            check: Duration::from_secs(30),
            limit: Limits::default().text_bytes,
            connection: None,
            said: None,
        })
    }

    /// Listens to a channel instead of asking to be told of the key. Whoever changes the key publishes something there
    /// after, no matter what: `MULTI`, `SET`, `PUBLISH`, `EXEC`. With the server's setting `notify-keyspace-events`
    /// that may be the server itself, whose channel is `__keyspace@0__:KEY`.
    #[must_use]
    pub fn channel(mut self, name: impl Into<String>) -> Self {
        self.channel = Some(name.into());
        self
    }

    /// How long the server has for an answer. Default: 5 s.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// How often the key is read, whatever was told. Default: every 30 s; less than 10 ms counts as that. Each time the
    /// whole text is sent.
    #[must_use]
    pub fn check(mut self, every: Duration) -> Self {
        self.check = every.max(Duration::from_millis(10));
        self
    }

    /// The most bytes of the text. Default: 4 MiB, as [`Limits::text_bytes`]. No more is sent.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Connects, and has changes told from now on.
    async fn connect(&self) -> Result<Connection, RedisError> {
        let told = Arc::new(Told::default());
        let sender = {
            let told = told.clone();
            move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    told.closed.store(true, Ordering::Release);
                }
                // The answer to our own asking is nothing new.
                if push.kind != PushKind::Subscribe {
                    told.something.notify_one();
                }
                Ok::<_, std::convert::Infallible>(())
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(sender);
        let mut commands = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        match &self.channel {
            Some(channel) => commands.subscribe(channel).await?,
            None => redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec_async(&mut commands).await?,
        }
        Ok(Connection { commands, told, due: Instant::now() })
    }

    /// What the key has; the inner error is about that.
    async fn read(&self, connection: &mut Connection) -> Result<Result<Text, SourceError>, RedisError> {
        let last = isize::try_from(self.limit).unwrap_or(isize::MAX);
        let mut pipe = redis::pipe();
        pipe.atomic().exists(&self.key).strlen(&self.key).getrange(&self.key, 0, last);
        let (exists, size, bytes): (bool, u64, Vec<u8>) = pipe.query_async(&mut connection.commands).await?;
        connection.due = Instant::now() + self.check;
        if !exists {
            let message = format!("key `{}` is not there", self.key);
            return Ok(Err(SourceError::new(SourceErrorKind::Absent, message)));
        }
        if size > self.limit as u64 {
            return Ok(Err(SourceError::too_large(
                format_args!("key `{}`", self.key),
                self.limit,
                Some(size),
            )));
        }
        let text = SourceError::utf8(format_args!("the value of `{}`", self.key), bytes);
        Ok(text.map(|text| Text::new(&*self.key, text, "")))
    }

    /// What is to be said; nothing if there is nothing new.
    async fn look(&mut self) -> Result<Option<Update>, SourceError> {
        // Taken out, so that it is gone if something is wrong with it.
        let (mut connection, fresh) = match self.connection.take() {
            Some(connection) => (connection, false),
            None => (self.connect().await.map_err(broken)?, true),
        };
        let due = !fresh && timeout_at(connection.due, connection.told.something.notified()).await.is_err();
        if connection.told.closed.load(Ordering::Acquire) {
            return Err(SourceError::new(SourceErrorKind::Unreachable, "redis closed the connection"));
        }
        let read = match self.read(&mut connection).await {
            Ok(read) => read,
            // The connection is as good as before.
            Err(error) if has_code(&error, &["WRONGTYPE"]) => {
                connection.due = Instant::now() + self.check;
                Err(SourceError::new(SourceErrorKind::Invalid, format!("key `{}` is no string", self.key)))
            }
            Err(error) => return Err(broken(error)),
        };
        self.connection = Some(connection);
        let said = match &read {
            Ok(text) => Said::Text(text.digest()),
            Err(error) => Said::Error(error.kind(), error.chain()),
        };
        // After a lost connection, an error that lasts has to be told from that.
        if self.said.as_ref() == Some(&said) && (read.is_ok() || !fresh) {
            return Ok(((due || fresh) && read.is_ok()).then_some(Update::Unchanged));
        }
        self.said = Some(said);
        read.map(|text| Some(text.into()))
    }
}

impl Source for RedisSource {
    async fn next(&mut self) -> Result<Update, SourceError> {
        let mut pause = PACE;
        loop {
            let begun = Instant::now();
            match self.look().await {
                // However often somebody says that it changed, it is not read without a pause.
                Ok(None) => {
                    if begun.elapsed() > SLOWEST {
                        pause = PACE;
                    }
                    sleep(pause).await;
                    pause = (2 * pause).min(SLOWEST);
                }
                Ok(Some(update)) => return Ok(update),
                Err(error) => {
                    // Said by somebody who was refused, what is there is news again.
                    if error.kind().is_an_answer() && self.connection.is_none() {
                        self.said = None;
                    }
                    return Err(error);
                }
            }
        }
    }

    fn name(&self) -> String {
        format!("redis {} key `{}`", self.client.get_connection_info().addr(), self.key)
    }
}

impl fmt::Debug for RedisSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSource")
            .field("name", &self.name())
            .field("channel", &self.channel)
            .field("timeout", &self.timeout)
            .field("check", &self.check)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

// === errors ===

fn broken(error: RedisError) -> SourceError {
    let (kind, message) = match error.kind() {
        ErrorKind::AuthenticationFailed => (SourceErrorKind::Denied, "redis refuses us"),
        _ if has_code(&error, &["WRONGPASS", "NOAUTH", "NOPERM"]) => {
            (SourceErrorKind::Denied, "redis refuses us")
        }
        ErrorKind::InvalidClientConfig => (SourceErrorKind::Other, "the settings for redis are wrong"),
        ErrorKind::RESP3NotSupported => (SourceErrorKind::Other, "redis is older than version 6"),
        _ => (SourceErrorKind::Unreachable, "redis cannot be asked"),
    };
    SourceError::new(kind, message).because(error)
}

/// Whether the server answered with one of these codes, to a command or to one of several.
fn has_code(error: &RedisError, codes: &[&str]) -> bool {
    let errors = error.clone().into_server_errors();
    errors.is_some_and(|errors| errors.iter().any(|(_, error)| codes.contains(&error.code())))
}
