//! Rules in a file, or in the files of a directory.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{SourceError, SourceErrorKind};
use super::open::{Opened, open};
use super::text::{Source, Text, Update};
use crate::engine::Digest;
use crate::limits::Limits;

/// A file with rules, or a directory whose files ending in `.rules` are one rule set together.
///
/// Changes are seen by the system's notifications, for which the directory is watched and not the file: so a file that
/// is replaced by another under its name is seen, and so is the swap of a symbolic link by which Kubernetes updates
/// a mounted `ConfigMap`. Besides, all is read again [now and then](FileSource::reread), so that a notification
/// that got lost, or a file system that sends none, costs time and nothing else.
///
/// A change is read when nothing has happened for 50 ms, or after half a second if something happens all the time.
/// What changes while it is read is read again. That makes it unlikely to see a file that is written in place when it is
/// half written, and not impossible: write another file and rename it, as editors do.
///
/// What goes wrong is said once and not repeated while it lasts: the file is gone, unreadable, no file, no UTF-8, too
/// large. It is over as soon as the file is there again.
///
/// ```
/// use pointsman::Engine;
/// use pointsman::source::{FileSource, Follower};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("pointsman-doc-file-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("shop.rules");
/// std::fs::write(&path, "default => prod\n")?;
/// let builder = Engine::builder().clusters(["gray", "prod"]);
/// let (engine, mut following) = Follower::new(builder, FileSource::new(&path)).start().await?;
/// assert_eq!(engine.rules().text(), "default => prod\n");
///
/// std::fs::write(path.with_extension("new"), "default => gray\n")?;
/// std::fs::rename(path.with_extension("new"), &path)?;
/// following.wait_for(|status| status.running.revision == 2).await;
/// assert_eq!(engine.rules().text(), "default => gray\n");
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileSource {
    place: Place,
    reread: Duration,
    watch: Arc<Watch>,
    /// What was said last, so that it is not said again.
    said: Option<Said>,
    /// When all is read again, whatever happens.
    due: Instant,
}

/// What is read.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    directory: bool,
    limit: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Text(Digest),
    Error(SourceErrorKind, String),
}

/// The notifications.
#[derive(Debug, Default)]
struct Watch {
    happened: Arc<Notify>,
    /// Whether any event in the directory may be about us: the file is a link, and what it leads through has other names.
    any: Arc<AtomicBool>,
    watcher: Mutex<Option<RecommendedWatcher>>,
}

/// How long nothing has to happen before a change is read.
const SETTLE: Duration = Duration::from_millis(50);
/// How long that is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often something is read that changes while it is read.
const ATTEMPTS: usize = 5;
/// The most files of a directory.
const FILES: usize = 10_000;
const ENDING: &str = "rules";

// === impl FileSource ===

impl FileSource {
    /// The rules in the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FileSource::at(path.into(), false)
    }

    /// The rules in the files of a directory whose names end in `.rules` and do not begin with a dot, put together in the
    /// order of their names. They are one rule set: see [`Rules::joined`](crate::Rules::joined). Directories below
    /// are not looked into.
    ///
    /// Files that are changed one after the other are seen one after the other. What has to change at once belongs into
    /// one file, or behind a symbolic link to the directory that is swapped.
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        FileSource::at(path.into(), true)
    }

    fn at(path: PathBuf, directory: bool) -> Self {
        FileSource {
            place: Place { path, directory, limit: Limits::default().text_bytes },
            reread: Duration::from_secs(10),
            watch: Arc::default(),
            said: None,
            due: Instant::now(),
        }
    }

    /// The most bytes, of all files together. Default: 4 MiB, as [`Limits::text_bytes`].
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.place.limit = bytes;
        self
    }

    /// How often all is read again, whatever the notifications say. Default: 10 s; less than a tenth of a second
    /// counts as that.
    #[must_use]
    pub fn reread(mut self, every: Duration) -> Self {
        self.reread = every.max(Duration::from_millis(100));
        self
    }

    /// Reads, after having made sure of the notifications: what happens behind the reading is then noticed.
    async fn read(&self) -> Result<Text, SourceError> {
        let (place, watch) = (self.place.clone(), self.watch.clone());
        let reading = tokio::task::spawn_blocking(move || {
            watch.begin(&place);
            place.read()
        });
        reading
            .await
            .unwrap_or_else(|_| Err(SourceError::new(SourceErrorKind::Other, "reading was given up")))
    }

    /// Waits for an event and until it is over, or for the next time to read anyway: then it is true.
    async fn wait(&self) -> bool {
        let happened = &self.watch.happened;
        if timeout_at(self.due, happened.notified()).await.is_err() {
            return true;
        }
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience && timeout(SETTLE, happened.notified()).await.is_ok() {}
        false
    }
}

impl Source for FileSource {
    async fn next(&mut self) -> Result<Update, SourceError> {
        loop {
            let due = self.said.is_none() || self.wait().await;
            if due {
                self.due = Instant::now() + self.reread;
            }
            let read = self.read().await;
            let said = match &read {
                Ok(text) => Said::Text(text.identity()),
                Err(error) => Said::Error(error.kind(), error.chain()),
            };
            if self.said.as_ref() != Some(&said) {
                self.said = Some(said);
                return read.map(Update::Text);
            }
            if due && read.is_ok() {
                return Ok(Update::Unchanged);
            }
        }
    }

    fn name(&self) -> String {
        let what = if self.place.directory { "directory" } else { "file" };
        format!("{what} {}", self.place.path.display())
    }
}

// === impl Watch ===

impl Watch {
    /// Watches where the files are, anew, as the directory may be another one by now. Without notifications there
    /// is still the reading now and then.
    fn begin(&self, place: &Place) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        if watcher.is_none() {
            *watcher = self.watcher(place).ok();
        }
        let Some(watcher) = &mut *watcher else { return };
        let link = fs::symlink_metadata(&place.path).is_ok_and(|metadata| metadata.is_symlink());
        self.any.store(link, Ordering::Relaxed);
        let parent = place.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let own = place.directory.then_some(&*place.path);
        for directory in own.into_iter().chain([parent.unwrap_or(Path::new("."))]) {
            let _ = watcher.unwatch(directory);
            let _ = watcher.watch(directory, RecursiveMode::NonRecursive);
        }
    }

    fn watcher(&self, place: &Place) -> notify::Result<RecommendedWatcher> {
        let (happened, any) = (self.happened.clone(), self.any.clone());
        let (own, directory) = (place.path.file_name().map(OsStr::to_owned), place.directory);
        notify::recommended_watcher(move |event: notify::Result<Event>| {
            let about_us = |event: &Event| {
                event.paths.is_empty()
                    || event.paths.iter().filter_map(|path| path.file_name()).any(|name| {
                        Some(name) == own.as_deref()
                            // As Kubernetes names what it swaps.
                            || name.as_encoded_bytes().starts_with(b"..")
                            || directory && is_rules(Path::new(name))
                    })
            };
            let wakes = match &event {
                // Our own reading among them.
                Ok(Event { kind: EventKind::Access(kind), .. })
                    if *kind != AccessKind::Close(AccessMode::Write) =>
                {
                    false
                }
                Ok(event) => event.need_rescan() || any.load(Ordering::Relaxed) || about_us(event),
                Err(_) => true,
            };
            if wakes {
                happened.notify_one();
            }
        })
    }
}

// === impl Place ===

/// What a file was when it was read: if it is the same after, it was not changed in between.
#[derive(Debug, PartialEq, Eq)]
struct Print {
    length: u64,
    modified: Option<SystemTime>,
    /// Which file it is, where the system numbers them.
    number: (u64, u64),
}

impl Place {
    fn read(&self) -> Result<Text, SourceError> {
        for _ in 0..ATTEMPTS {
            let text = if self.directory { self.read_directory()? } else { self.read_file()? };
            if let Some(text) = text {
                return Ok(text);
            }
            // On a thread that may block.
            std::thread::sleep(SETTLE);
        }
        let message = format!("{} changes all the time", self.path.display());
        Err(SourceError::new(SourceErrorKind::Other, message))
    }

    /// `None` if it changed in between.
    fn read_file(&self) -> Result<Option<Text>, SourceError> {
        let Some((text, print)) = read(&self.path, self.limit, self.limit)? else { return Ok(None) };
        let version = print.modified.map(shown).unwrap_or_default();
        Ok(Some(Text::new(self.path.display().to_string(), text, version)))
    }

    fn read_directory(&self) -> Result<Option<Text>, SourceError> {
        let before = self.list()?;
        let mut texts = Vec::with_capacity(before.len());
        let mut left = self.limit;
        for (path, _) in &before {
            let Some((text, _)) = read(path, left, self.limit)? else { return Ok(None) };
            left -= text.len().min(left);
            texts.push((path.display().to_string(), text));
        }
        // A file that was added, removed or replaced while others were read would make a set that never was.
        if self.list()? != before {
            return Ok(None);
        }
        let newest = before.iter().filter_map(|(_, print)| print.modified).max().map(shown);
        let version = format!("{} files, {}", texts.len(), newest.unwrap_or_default());
        Ok(Some(Text::joined(texts, version)))
    }

    /// The files of the directory in the order of their names.
    fn list(&self) -> Result<Vec<(PathBuf, Print)>, SourceError> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(|error| unreadable(&self.path, error))? {
            let path = entry.map_err(|error| unreadable(&self.path, error))?.path();
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && is_rules(&path) {
                paths.push(path);
            }
            if paths.len() > FILES {
                let message = format!("{} has more than {FILES} files", self.path.display());
                return Err(SourceError::new(SourceErrorKind::TooLarge, message));
            }
        }
        if paths.is_empty() {
            let message = format!("{} has no files ending in .{ENDING}", self.path.display());
            return Err(SourceError::new(SourceErrorKind::Absent, message));
        }
        paths.sort();
        let print = |path: PathBuf| {
            let metadata = fs::metadata(&path).map_err(|error| unreadable(&path, error))?;
            Ok((path, Print::of(&metadata)))
        };
        paths.into_iter().map(print).collect()
    }
}

fn is_rules(path: &Path) -> bool {
    path.extension() == Some(OsStr::new(ENDING))
}

/// Reads a file. `None` if it changed in between.
fn read(path: &Path, left: usize, limit: usize) -> Result<Option<(String, Print)>, SourceError> {
    let unreadable = |error| unreadable(path, error);
    let (mut file, metadata) = match open(path).map_err(unreadable)? {
        Opened::File(file, metadata) => (file, metadata),
        Opened::Other => {
            let what = if path.is_dir() { "a directory" } else { "no file" };
            let message = format!("{} is {what}", path.display());
            return Err(SourceError::new(SourceErrorKind::Invalid, message));
        }
    };
    let before = Print::of(&metadata);
    if before.length > left as u64 {
        return Err(SourceError::too_large(path.display(), limit, Some(before.length)));
    }
    let mut bytes = Vec::with_capacity(before.length as usize);
    file.by_ref().take(left as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let after = Print::of(&file.metadata().map_err(unreadable)?);
    if before != after || bytes.len() as u64 != after.length {
        return Ok(None);
    }
    Ok(Some((SourceError::utf8(path.display(), bytes)?, after)))
}

fn unreadable(path: &Path, error: io::Error) -> SourceError {
    let path = path.display();
    let (kind, message) = match error.kind() {
        io::ErrorKind::NotFound => (SourceErrorKind::Absent, format!("{path} is not there")),
        io::ErrorKind::NotADirectory => (SourceErrorKind::Invalid, format!("{path} is no directory")),
        io::ErrorKind::PermissionDenied => (SourceErrorKind::Denied, format!("{path} may not be read")),
        _ => (SourceErrorKind::Unreachable, format!("{path} cannot be read")),
    };
    SourceError::new(kind, message).because(error)
}

fn shown(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| time.to_string())
}

// === impl Print ===

impl Print {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let number = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let number = (0, 0);
        Print { length: metadata.len(), modified: metadata.modified().ok(), number }
    }
}
