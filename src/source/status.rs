//! What an operator asks: what runs, since when, from where, what was refused, and is the source there.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::error::{SourceError, SourceErrorKind};
use super::last_good::{Kept, LastGood, LastGoodError};
use super::text::Text;
use crate::diagnostic::{Diagnostics, visible};
use crate::engine::{Digest, Engine, RuleSet};

/// What runs and how the source does, at one time. Made by [`Following::status`](super::Following::status).
///
/// `Display` is a report of some lines; with the feature `serde` it serialises, times as in RFC 3339.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// The rules by which requests are decided.
    pub running: Running,
    /// The text that was refused last, until the source gives one that is not.
    pub rejected: Option<Rejected>,
    /// The source.
    pub source: SourceStatus,
    /// How long ago the source was last known to have what runs; counted from the start if it never was. Grows while
    /// the source is out of reach, while it has a text that was refused, and until it says again that nothing changed.
    #[cfg_attr(feature = "serde", serde(serialize_with = "seconds", rename = "stale_seconds"))]
    pub stale: Duration,
    /// The last good rules in their file, if there is to be one.
    pub last_good: Option<LastGoodStatus>,
    /// Whether the source is still followed: until the handle is dropped.
    pub following: bool,
}

/// The rules by which requests are decided.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Running {
    /// Counts the rule sets of this engine, from 1. Of no meaning to other nodes.
    pub revision: u64,
    /// The same on every node that runs this text.
    pub digest: Digest,
    /// Since when.
    #[cfg_attr(feature = "serde", serde(serialize_with = "time"))]
    pub since: SystemTime,
    /// Who gave them.
    pub origin: Origin,
    /// What the source calls the text; also of last good rules, whose source that was. Empty for others.
    pub version: String,
}

/// Who gave the rules that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Origin {
    /// The source.
    Source,
    /// The file with the last good ones, at the start.
    LastGood,
    /// The program, at the start.
    BuiltIn,
    /// The application, which called [`Engine::replace`](crate::Engine::replace). They run until the source has a new
    /// text, which is another one than they took the place of.
    Application,
}

/// A text that was refused.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Rejected {
    /// What the source calls it.
    pub version: String,
    /// Its digest.
    pub digest: Digest,
    /// When the source gave it, the last time if it was several times.
    #[cfg_attr(feature = "serde", serde(serialize_with = "time"))]
    pub at: SystemTime,
    /// What is wrong with it.
    pub diagnostics: Diagnostics,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) identity: Digest,
}

/// How the source does.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SourceStatus {
    /// What it is called.
    pub name: String,
    /// Whether it answers.
    pub state: SourceState,
    /// Since when it has been in that state.
    #[cfg_attr(feature = "serde", serde(serialize_with = "time"))]
    pub since: SystemTime,
    /// When it said something last, a text, an error, or that nothing changed.
    #[cfg_attr(feature = "serde", serde(serialize_with = "maybe_time"))]
    pub last_attempt: Option<SystemTime>,
    /// When it was last known to have what runs.
    #[cfg_attr(feature = "serde", serde(serialize_with = "maybe_time"))]
    pub agreed: Option<SystemTime>,
    /// How many attempts in a row have failed; zero when the last one did not.
    pub failures: u32,
    /// The last error, which stays when all is well again.
    pub last_error: Option<Failure>,
}

/// Whether a source answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum SourceState {
    /// It has not said anything yet.
    Waiting,
    /// It answers; also when what it says is that there is nothing, or nothing for us.
    Reachable,
    /// It does not.
    Unreachable,
}

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Failure {
    /// What kind of thing went wrong.
    pub kind: SourceErrorKind,
    /// What happened, with the errors behind it.
    pub message: String,
    /// When.
    #[cfg_attr(feature = "serde", serde(serialize_with = "time"))]
    pub at: SystemTime,
}

/// The file with the last good rules.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LastGoodStatus {
    /// Where it is.
    pub path: PathBuf,
    /// The digest of what is in it, as far as this process wrote or read it.
    pub digest: Option<Digest>,
    /// When that was written.
    #[cfg_attr(feature = "serde", serde(serialize_with = "maybe_time"))]
    pub stored: Option<SystemTime>,
    /// Why it could not be read at the start, or written since. `None` once it could be written.
    pub problem: Option<String>,
}

/// What the follower's tasks know.
#[derive(Debug, Clone)]
pub(super) struct State {
    began: Instant,
    /// What runs, as far as we put it there; not before the engine is there.
    running: Option<Running>,
    engine: Option<Engine>,
    pub(super) rejected: Option<Rejected>,
    pub(super) source: SourceStatus,
    pub(super) last_good: Option<LastGoodStatus>,
    /// What the source gave last, while it stands by it.
    told: Option<Told>,
    /// The last text of several parts that was found to be sound.
    sound: Option<Digest>,
    agreed: Option<Instant>,
    pub(super) ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    digest: Digest,
    identity: Digest,
}

// === impl State ===

impl State {
    pub(super) fn new(name: String, last_good: Option<&LastGood>) -> Self {
        let source = SourceStatus {
            name,
            state: SourceState::Waiting,
            since: SystemTime::now(),
            last_attempt: None,
            agreed: None,
            failures: 0,
            last_error: None,
        };
        let last_good = last_good.map(|file| LastGoodStatus {
            path: file.path().to_owned(),
            digest: None,
            stored: None,
            problem: None,
        });
        State {
            began: Instant::now(),
            running: None,
            engine: None,
            rejected: None,
            source,
            last_good,
            told: None,
            sound: None,
            agreed: None,
            ended: false,
        }
    }

    /// The source gave a text. Returns whether it is another one than it gave before.
    pub(super) fn told(&mut self, text: &Text) -> bool {
        self.answered(SourceState::Reachable);
        self.source.failures = 0;
        let told = Told { digest: text.digest(), identity: text.identity() };
        let new = self.told != Some(told);
        self.told = Some(told);
        if self.is_sound(text) {
            self.agree();
        }
        new
    }

    /// The source says that it has what it had. Returns whether that is news.
    pub(super) fn unchanged(&mut self) -> bool {
        let news = self.source.failures > 0 || self.source.state != SourceState::Reachable;
        self.answered(SourceState::Reachable);
        self.source.failures = 0;
        self.agree();
        news
    }

    pub(super) fn failed(&mut self, error: &SourceError) {
        if error.kind().is_an_answer() {
            self.answered(SourceState::Reachable);
            // What it gave before it has no more, or not for us.
            self.told = None;
        } else {
            self.answered(SourceState::Unreachable);
        }
        self.source.failures = self.source.failures.saturating_add(1);
        self.source.last_error =
            Some(Failure { kind: error.kind(), message: error.chain(), at: SystemTime::now() });
    }

    fn answered(&mut self, state: SourceState) {
        let now = SystemTime::now();
        self.source.last_attempt = Some(now);
        if self.source.state != state {
            self.source.state = state;
            self.source.since = now;
        }
    }

    /// If the source has what runs, now is when that was known.
    fn agree(&mut self) {
        let Some(told) = self.told else { return };
        let is_refused = self.rejected.as_ref().is_some_and(|rejected| rejected.identity == told.identity);
        if !is_refused && self.engine.as_ref().is_some_and(|engine| engine.rules().digest() == told.digest) {
            self.agreed = Some(Instant::now());
            self.source.agreed = Some(SystemTime::now());
            self.rejected = None;
        }
    }

    /// The engine is there.
    pub(super) fn starts(&mut self, engine: &Engine, origin: Origin, version: &str) {
        self.engine = Some(engine.clone());
        self.runs(&engine.rules(), origin, version);
    }

    pub(super) fn runs(&mut self, rules: &RuleSet, origin: Origin, version: &str) {
        self.running = Some(Running {
            revision: rules.revision(),
            digest: rules.digest(),
            since: rules.made(),
            origin,
            version: version.to_owned(),
        });
        self.agree();
    }

    /// The source has what runs, whoever gave it before: from now on it is the source's.
    pub(super) fn runs_already(&mut self, rules: &RuleSet, text: &Text) {
        match &mut self.running {
            Some(running) if running.revision == rules.revision() => {
                running.origin = Origin::Source;
                text.version().clone_into(&mut running.version);
            }
            _ => self.runs(rules, Origin::Source, text.version()),
        }
        self.agree();
    }

    /// Whether a text that has the characters of one that is sound is known to be sound too.
    pub(super) fn is_sound(&self, text: &Text) -> bool {
        text.rules().is_whole() || self.sound == Some(text.identity())
    }

    pub(super) fn found_sound(&mut self, text: &Text) {
        self.sound = Some(text.identity());
    }

    /// Whether this is the text that we put in last, and the application has put in other rules since.
    pub(super) fn was_replaced(&self, digest: Digest) -> bool {
        let running = self.engine.as_ref().map(|engine| engine.rules().revision());
        self.running.as_ref().is_some_and(|ours| ours.digest == digest && Some(ours.revision) != running)
    }

    /// The source gave a text that is sound. Returns whether that is news.
    pub(super) fn nothing_to_refuse(&mut self) -> bool {
        self.rejected.take().is_some()
    }

    pub(super) fn refused(&mut self, text: &Text, diagnostics: Diagnostics) {
        self.rejected = Some(Rejected {
            version: text.version().to_owned(),
            digest: text.digest(),
            at: SystemTime::now(),
            diagnostics,
            identity: text.identity(),
        });
    }

    pub(super) fn refused_again(&mut self, text: &Text) {
        if let Some(rejected) = &mut self.rejected {
            text.version().clone_into(&mut rejected.version);
            rejected.at = SystemTime::now();
        }
    }

    /// What came of reading or writing the file.
    pub(super) fn kept(&mut self, kept: Result<(Digest, SystemTime), &LastGoodError>) {
        if let Some(file) = &mut self.last_good {
            match kept {
                Ok((digest, stored)) => {
                    file.digest = Some(digest);
                    file.stored = Some(stored);
                    file.problem = None;
                }
                Err(error) => file.problem = Some(error.chain()),
            }
        }
    }

    pub(super) fn loaded(&mut self, kept: &Kept) {
        self.kept(Ok((kept.text.digest(), kept.stored)));
    }

    /// What is told, with what the engine says by itself.
    pub(super) fn status(&self, engine: &Engine) -> Status {
        let rules = engine.rules();
        let known = self.running.as_ref().filter(|running| running.revision == rules.revision());
        let running = known.cloned().unwrap_or_else(|| Running {
            revision: rules.revision(),
            digest: rules.digest(),
            since: rules.made(),
            origin: Origin::Application,
            version: String::new(),
        });
        Status {
            running,
            rejected: self.rejected.clone(),
            source: self.source.clone(),
            stale: self.agreed.unwrap_or(self.began).elapsed(),
            last_good: self.last_good.clone(),
            following: !self.ended,
        }
    }
}

// === impl Status ===

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Running { revision, digest, since, origin, version } = &self.running;
        write!(f, "running: revision {revision}, digest {digest}, from {origin}")?;
        if !version.is_empty() {
            write!(f, " (version {})", visible(version))?;
        }
        writeln!(f, " since {}", shown(*since))?;
        let SourceStatus { name, state, since, failures, last_error, .. } = &self.source;
        write!(f, "source: {}, {state} since {}", visible(name), shown(*since))?;
        match failures {
            0 => {}
            1 => f.write_str(", one failure")?,
            _ => write!(f, ", {failures} failures in a row")?,
        }
        writeln!(f, "\nstale: {:.1} s", self.stale.as_secs_f64())?;
        if let Some(Failure { kind, message, at }) = last_error {
            writeln!(f, "last error: {kind}, {} at {}", visible(message), shown(*at))?;
        }
        if let Some(LastGoodStatus { path, digest, stored, problem }) = &self.last_good {
            let path = path.display().to_string();
            write!(f, "last good: {}", visible(&path))?;
            if let (Some(digest), Some(stored)) = (digest, stored) {
                write!(f, ", digest {digest} stored {}", shown(*stored))?;
            }
            if let Some(problem) = problem {
                // Where the path stands again, it is left out.
                let problem =
                    problem.strip_prefix(&path).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(problem);
                write!(f, ", {}", visible(problem))?;
            }
            writeln!(f)?;
        }
        if let Some(Rejected { version, digest, at, diagnostics, .. }) = &self.rejected {
            f.write_str("rejected: ")?;
            if !version.is_empty() {
                write!(f, "version {}, ", visible(version))?;
            }
            write!(f, "digest {digest} at {}\n{diagnostics}\n", shown(*at))?;
        }
        if !self.following {
            writeln!(f, "no longer followed")?;
        }
        Ok(())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Source => "the source",
            Origin::LastGood => "the last good ones",
            Origin::BuiltIn => "the program",
            Origin::Application => "the application",
        })
    }
}

impl fmt::Display for SourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SourceState::Waiting => "waiting",
            SourceState::Reachable => "reachable",
            SourceState::Unreachable => "unreachable",
        })
    }
}

// === times ===

/// To the millisecond, in UTC.
fn shown(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}

#[cfg(feature = "serde")]
fn time<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(*time))
}

#[cfg(feature = "serde")]
#[allow(clippy::ref_option, reason = "serde calls it")]
fn maybe_time<S: serde::Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_some(&shown(*time)),
        None => serializer.serialize_none(),
    }
}

#[cfg(feature = "serde")]
fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
