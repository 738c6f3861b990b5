//! The last rules that were accepted, in a file.
//!
//! ```text
//! pointsman-last-good 1 length=16 digest=381a… time=2026-11-22T20:00:00Z version=W/"7" checksum=09c5…
//! default => prod
//! ```
//!
//! The checksum is that of the line before it, the digest that of the text; both are XXH3-128. So a bit that turned
//! over is found wherever it is.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::open::{Opened, open};
use super::text::Text;
use crate::engine::Digest;

/// A file that has the last rules which were accepted, for a start without the source.
///
/// Writing is atomic: a temporary file beside it, flushed to the disk, renamed, and the directory flushed. Whoever reads
/// finds the rules of before or those of after, also when the process or the machine stopped in between. Reading
/// believes nothing: what is torn, cut off or turned over is reported and not given out.
///
/// A file belongs to one process: two that share one take turns to replace it whole. The [`Follower`](super::Follower) reads and writes it by itself; here it is for tools
/// that want to look:
///
/// ```
/// use pointsman::source::{LastGood, LastGoodErrorKind, Text};
///
/// # let directory = std::env::temp_dir().join(format!("pointsman-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let file = LastGood::new(directory.join("shop.good"));
/// assert_eq!(file.load().unwrap_err().kind(), LastGoodErrorKind::Absent);
///
/// file.store(&Text::new("shop.rules", "default => prod\n", "7"))?;
/// let kept = file.load()?;
/// assert_eq!((kept.text.text(), kept.text.version()), ("default => prod\n", "7"));
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Both block, the second until the disk has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    path: PathBuf,
    limit: usize,
}

/// What was kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Kept {
    /// The text, with the version that its source had for it.
    pub text: Text,
    /// When it was written.
    pub stored: SystemTime,
}

/// Why the last good rules could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {inner}", .path.display())]
pub struct LastGoodError {
    path: PathBuf,
    #[source]
    inner: Inner,
}

/// What kind of thing is wrong with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum LastGoodErrorKind {
    /// There is none.
    Absent,
    /// It cannot be read.
    Unreadable,
    /// It is a directory, a device or a pipe.
    NotAFile,
    /// It has no bytes.
    Empty,
    /// It is shorter than it says.
    Truncated,
    /// It is not what was written.
    Damaged,
    /// It was written by another version of this crate, in a form that this one does not know.
    OtherFormat,
    /// It has more bytes than the limit allows.
    TooLarge,
    /// It cannot be written: the disk is full, the directory read-only.
    Unwritable,
}

#[derive(Debug, thiserror::Error)]
enum Inner {
    #[error("there is none")]
    Absent,
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    #[error("is no file")]
    NotAFile,
    #[error("is empty")]
    Empty,
    #[error("is cut off: {found} bytes of the text, {length} were written")]
    Truncated { found: usize, length: usize },
    #[error("is cut off before the end of its first line")]
    NoLine,
    #[error("is damaged: {0}")]
    Damaged(&'static str),
    #[error("has the format {0:?}, which this version does not know")]
    OtherFormat(String),
    #[error("has {size} bytes, {limit} are allowed")]
    TooLarge { size: u64, limit: usize },
    #[error("cannot be written: {0}")]
    Unwritable(&'static str, #[source] io::Error),
}

const MAGIC: &str = "pointsman-last-good";
const FORMAT: &str = "1";
/// How a file is called while it is written.
const TEMPORARY: &str = ".tmp";
/// One that is that old is nobody's any more.
const ABANDONED: Duration = Duration::from_secs(60);
/// The most bytes of the first line; an ETag may be long.
const LINE: usize = 64 << 10;

// === impl LastGood ===

impl LastGood {
    /// The file at `path`. Its directory must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        LastGood { path: path.into(), limit: 64 << 20 }
    }

    /// The most bytes of a text that is read. Default: 64 MiB; what an engine takes is bounded by
    /// [`Limits::text_bytes`](crate::Limits::text_bytes) too.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what was kept.
    ///
    /// # Errors
    ///
    /// When there is nothing, or it is not to the last bit what was written.
    pub fn load(&self) -> Result<Kept, LastGoodError> {
        self.read().and_then(|bytes| parse(&bytes)).map_err(|inner| self.error(inner))
    }

    /// Keeps a text in the place of the one before.
    ///
    /// # Errors
    ///
    /// When it cannot be written. The one before is then still there; only if it was the directory that could not be
    /// flushed, it is this one.
    pub fn store(&self, text: &Text) -> Result<(), LastGoodError> {
        self.write(&render(text, SystemTime::now())).map_err(|inner| self.error(inner))
    }

    fn error(&self, inner: Inner) -> LastGoodError {
        LastGoodError { path: self.path.clone(), inner }
    }

    fn read(&self) -> Result<Vec<u8>, Inner> {
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Inner::Absent,
            _ => Inner::Unreadable(error),
        };
        let Opened::File(file, metadata) = open(&self.path).map_err(unreadable)? else {
            return Err(Inner::NotAFile);
        };
        let most = self.limit.saturating_add(LINE);
        let size = metadata.len();
        if size > most as u64 {
            return Err(Inner::TooLarge { size, limit: self.limit });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        // It may grow meanwhile.
        file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Inner> {
        let failed = |what| move |error| Inner::Unwritable(what, error);
        let Some(name) = self.path.file_name() else { return Err(Inner::NotAFile) };
        // One writes at a time in this process, as one that outlives its handle may meet the next; each process has a name
        // of its own. By chance, as in containers that share a volume every process may have the number 1.
        static OWN: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
        static WRITING: Mutex<()> = Mutex::new(());
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        self.sweep(name);
        let mut temporary = name.to_owned();
        temporary.push(format!(".{}{TEMPORARY}", *OWN));
        let temporary = self.path.with_file_name(temporary);
        // Made anew, as what is there may be another's link.
        let _ = fs::remove_file(&temporary);
        let written = File::options().write(true).create_new(true).open(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        if let Err(error) = written {
            // It may hold what little is left of the disk.
            let _ = fs::remove_file(&temporary);
            return Err(Inner::Unwritable("the temporary file", error));
        }
        fs::rename(&temporary, &self.path).map_err(failed("the new name"))?;
        sync_directory(&self.path).map_err(failed("the directory"))
    }
}

impl LastGood {
    /// Takes away what processes left that were killed while they wrote.
    fn sweep(&self, name: &OsStr) {
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let Ok(entries) = fs::read_dir(directory.unwrap_or(Path::new("."))) else { return };
        for entry in entries.flatten() {
            let left = entry.file_name();
            let number = left.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
            let number = number.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(TEMPORARY.as_bytes()));
            let is_ours =
                number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit));
            let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
            if is_ours && age().is_some_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl<P: Into<PathBuf>> From<P> for LastGood {
    fn from(path: P) -> Self {
        LastGood::new(path)
    }
}

/// Makes a new name last.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Elsewhere a directory is no file that could be flushed.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

// === impl LastGoodError ===

impl LastGoodError {
    /// What kind of thing is wrong.
    pub fn kind(&self) -> LastGoodErrorKind {
        match self.inner {
            Inner::Absent => LastGoodErrorKind::Absent,
            Inner::Unreadable(_) => LastGoodErrorKind::Unreadable,
            Inner::NotAFile => LastGoodErrorKind::NotAFile,
            Inner::Empty => LastGoodErrorKind::Empty,
            Inner::Truncated { .. } | Inner::NoLine => LastGoodErrorKind::Truncated,
            Inner::Damaged(_) => LastGoodErrorKind::Damaged,
            Inner::OtherFormat(_) => LastGoodErrorKind::OtherFormat,
            Inner::TooLarge { .. } => LastGoodErrorKind::TooLarge,
            Inner::Unwritable(..) => LastGoodErrorKind::Unwritable,
        }
    }

    /// Which file it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The message and that of the system's error behind it.
    pub(super) fn chain(&self) -> String {
        match &self.inner {
            Inner::Unreadable(error) | Inner::Unwritable(_, error) => format!("{self}: {error}"),
            _ => self.to_string(),
        }
    }
}

// === the form ===

fn render(text: &Text, time: SystemTime) -> Vec<u8> {
    let (length, digest) = (text.text().len(), text.digest());
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let version = Escaped(text.version());
    let line = format!("{MAGIC} {FORMAT} length={length} digest={digest} time={time} version={version}");
    let mut bytes = format!("{line} checksum={}\n", Digest::of(&line)).into_bytes();
    bytes.extend_from_slice(text.text().as_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Result<Kept, Inner> {
    if bytes.is_empty() {
        return Err(Inner::Empty);
    }
    let Some(end) = memchr::memchr(b'\n', bytes) else { return Err(Inner::NoLine) };
    let (line, rest) = bytes.split_at(end);
    let text = rest.get(1..).unwrap_or(b"");
    let line = std::str::from_utf8(line).map_err(|_| Inner::Damaged("its first line is no text"))?;
    // The form first: of another form we know nothing.
    let mut words = line.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(Inner::Damaged("it does not begin as such a file does"));
    }
    match words.next() {
        Some(FORMAT) => {}
        other => return Err(Inner::OtherFormat(other.unwrap_or("").chars().take(20).collect())),
    }
    let (checked, checksum) =
        line.rsplit_once(" checksum=").ok_or(Inner::Damaged("its first line has no checksum"))?;
    if Digest::of(checked).to_string() != checksum {
        return Err(Inner::Damaged("the checksum of its first line differs"));
    }
    // From here on it is what was written, so nothing of this fails.
    let unsound = || Inner::Damaged("its first line is not sound");
    let mut field = |name| words.next().and_then(|word| word.strip_prefix(name)).ok_or_else(unsound);
    let length: usize = field("length=")?.parse().map_err(|_| unsound())?;
    let digest: Digest = field("digest=")?.parse().map_err(|_| unsound())?;
    let stored: jiff::Timestamp = field("time=")?.parse().map_err(|_| unsound())?;
    let version = unescape(field("version=")?).ok_or_else(unsound)?;
    if text.len() < length {
        return Err(Inner::Truncated { found: text.len(), length });
    }
    if text.len() > length {
        return Err(Inner::Damaged("there is more than was written"));
    }
    if Digest::of(text) != digest {
        return Err(Inner::Damaged("the digest of the text differs"));
    }
    let text = String::from_utf8(text.to_vec()).map_err(|_| Inner::Damaged("the text is no UTF-8"))?;
    Ok(Kept { text: Text::new("last known good", text, version), stored: stored.into() })
}

/// A version that stands between blanks.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_graphic() && byte != b'%' {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let text = Text::new("a", "route a: host == \"ü\" => gray\ndefault => prod\n", "W/\"7\" 100%\nü");
        render(&text, SystemTime::now())
    }

    #[test]
    fn what_was_written_reads_back() {
        let kept = parse(&sample()).unwrap();
        assert_eq!(kept.text.version(), "W/\"7\" 100%\nü");
        assert_eq!(kept.text.text(), "route a: host == \"ü\" => gray\ndefault => prod\n");
        assert!(kept.stored.elapsed().unwrap().as_secs() < 60);
        let empty = render(&Text::new("a", "", ""), SystemTime::now());
        assert_eq!(parse(&empty).unwrap().text.text(), "");
    }

    #[test]
    fn every_bit_that_turns_over_is_found() {
        let good = sample();
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(parse(&bad).is_err(), "bit {at}: {:?}", String::from_utf8_lossy(&bad));
        }
    }

    #[test]
    fn every_cut_and_every_addition_is_found() {
        let good = sample();
        for length in 0..good.len() {
            let error = parse(&good[..length]).unwrap_err();
            assert!(
                matches!(error, Inner::Empty | Inner::NoLine | Inner::Truncated { .. }),
                "{length}: {error}"
            );
        }
        for byte in 0..=255 {
            let mut bad = good.clone();
            bad.push(byte);
            assert!(parse(&bad).is_err(), "{byte}");
        }
        // What a disk that was not flushed may hold.
        assert!(parse(&vec![0; good.len()]).is_err());
        let mut torn = good.clone();
        torn[good.len() / 2..].fill(0);
        assert!(parse(&torn).is_err());
    }

    #[test]
    fn writers_that_meet_leave_a_whole_file_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("pointsman-writers-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let left = File::create(folder.join("good.123.tmp")).unwrap();
        left.set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        File::create(folder.join("good.456.tmp")).unwrap();
        File::create(folder.join("good.x.tmp")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let store = |writer: usize| {
            let file = LastGood::new(folder.join("good"));
            for at in 0..20 {
                let text = "x".repeat(1_000 * writer + at);
                file.store(&Text::new("a", text, "1")).unwrap();
                file.load().unwrap();
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|writer| _ = scope.spawn(move || store(writer))));
        let names =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        assert_eq!(names, ["good", "good.456.tmp", "good.x.tmp"]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn another_format_is_named() {
        let text = String::from_utf8(sample()).unwrap();
        let error = parse(text.replacen(" 1 ", " 2 ", 1).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "has the format \"2\", which this version does not know");
    }
}
