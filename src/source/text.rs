//! What a source gives, and the trait that gives it.

use std::fmt;
use std::future::Future;

use super::error::SourceError;
use crate::engine::{Digest, Rules};

/// Where rule text comes from. Easy to write oneself: one method, which is called over and over by the
/// [`Follower`](super::Follower).
///
/// ```
/// use pointsman::source::{Source, SourceError, SourceErrorKind, Text, Update};
///
/// /// Rows of a table, say, which somebody else sends as they change.
/// struct Table(std::sync::mpsc::Receiver<(u64, String)>);
///
/// impl Source for Table {
///     async fn next(&mut self) -> Result<Update, SourceError> {
///         match self.0.try_recv() {
///             Ok((row, rules)) => Ok(Text::new("routing.rules", rules, row.to_string()).into()),
///             // Here it would wait.
///             Err(_) => Err(SourceError::new(SourceErrorKind::Unreachable, "the database is gone")),
///         }
///     }
///
///     fn name(&self) -> String {
///         "table routing".to_owned()
///     }
/// }
/// ```
pub trait Source: Send + 'static {
    /// Says what the rules are. The first call answers as soon as it can with what is there; each one after that
    /// waits until there is something else. What changes several times between two calls may be given once, as it
    /// is in the end.
    ///
    /// It runs on the application's runtime, so it must not block. It is never called while an earlier call is
    /// under way, and no call is given up before the follower ends, for which dropping the future has to be enough.
    ///
    /// # Errors
    ///
    /// When there is nothing to give. The follower then waits, longer after each failure in a row, and calls again:
    /// after an error, answer with what is there, as at first.
    fn next(&mut self) -> impl Future<Output = Result<Update, SourceError>> + Send;

    /// What the source is called in the status and in messages, as `file /etc/shop.rules`. Without secrets.
    fn name(&self) -> String {
        "source".to_owned()
    }
}

/// What a source says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Update {
    /// This is the text now.
    Text(Text),
    /// The source was asked, and what it gave last is still what it has. Not needed, but only so does the
    /// [status](super::Status::stale) know that nobody was cut off.
    Unchanged,
}

/// A rule text and the version that its source has for it.
#[derive(Clone)]
pub struct Text {
    rules: Rules<'static>,
    version: String,
    digest: Digest,
    identity: Digest,
}

// === impl Text ===

impl Text {
    /// A text. Its diagnostics begin with `name`; `version` is what the source calls it: an ETag, a revision, a time.
    pub fn new(name: impl Into<String>, text: impl Into<String>, version: impl Into<String>) -> Self {
        Text::of(Rules::named(name.into(), text.into()), version.into())
    }

    /// Several texts with their names that are one rule set: see [`Rules::joined`].
    pub fn joined<N: Into<String>, T: AsRef<str>>(
        texts: impl IntoIterator<Item = (N, T)>,
        version: impl Into<String>,
    ) -> Self {
        Text::of(Rules::joined(texts), version.into())
    }

    fn of(rules: Rules<'static>, version: String) -> Self {
        let digest = Digest::of(rules.text().unwrap_or(""));
        let identity = rules.identity(digest);
        Text { rules, version, digest, identity }
    }

    /// The text as a whole.
    pub fn text(&self) -> &str {
        // It was made from texts.
        self.rules.text().unwrap_or("")
    }

    /// What the source calls it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The digest of the text.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// As the digest, and of the names and places of its parts too: what is refused in some parts may be sound in others.
    pub(super) fn identity(&self) -> Digest {
        self.identity
    }

    /// As an engine takes it.
    pub fn rules(&self) -> &Rules<'static> {
        &self.rules
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("version", &self.version).field("digest", &self.digest).finish()
    }
}

impl From<Text> for Update {
    fn from(text: Text) -> Self {
        Update::Text(text)
    }
}
