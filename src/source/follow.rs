//! The tasks that follow a source, and how an engine starts with it.
//!
//! ```text
//!  Source ─▶ pull ─▶ the latest text ─▶ apply: compile on another thread, swap ─▶ the latest good one ─▶ keep: write
//!              └─────────────────────────────┴──────── what happened ─▶ State ◀──────────────────────────┘
//! ```
//!
//! Three tasks, so that a source that waits, a text that takes long and a disk that hangs do not wait for each other.
//! Between them only the latest counts.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::backoff::Backoff;
use super::error::SourceError;
use super::last_good::{LastGood, LastGoodError};
use super::start::{StartError, Tried};
use super::status::{Origin, Rejected, State, Status};
use super::text::{Source, Text, Update};
use crate::engine::{BuildError, Engine, EngineBuilder, RuleSet, Rules};

/// Starts an engine whose rules come from a [`Source`], and keeps following it.
///
/// The rules at the start are, in this order: those of the source, if it answers within [a
/// limit](Follower::start_within) with a text that is sound; [the last good ones](Follower::last_good); those [built
/// into the program](Follower::built_in).
///
/// From then on each text of the source is compiled on a thread that may block and swapped in as
/// [`Engine::replace`] does, or refused as a whole. Nothing stops that but dropping the handle: after an error it is
/// tried again with [growing waits](Backoff), and what runs goes on. A text that is the same to the last byte as the
/// running one, or as the one refused last, is not compiled; one of several parts only if those are the same too. Rules
/// that the application puts in itself by [`Engine::replace`] stay until the source has another text than the one they
/// took the place of, however often it gives that again. When texts come faster than they can be compiled, those in
/// between are left out.
///
/// ```
/// use pointsman::Engine;
/// use pointsman::source::{Follower, Origin, Source, SourceError, Text, Update};
///
/// struct Fixed(Option<Text>);
///
/// impl Source for Fixed {
///     async fn next(&mut self) -> Result<Update, SourceError> {
///         match self.0.take() {
///             Some(text) => Ok(text.into()),
///             None => std::future::pending().await,
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let source = Fixed(Some(Text::new("shop.rules", "default => prod", "42")));
/// let builder = Engine::builder().clusters(["gray", "prod"]);
/// let (engine, following) = Follower::new(builder, source).built_in("default => gray").start().await?;
///
/// assert_eq!(engine.rules().text(), "default => prod");
/// let running = following.status().running;
/// assert_eq!((running.origin, &*running.version), (Origin::Source, "42"));
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before `start`"]
pub struct Follower<S> {
    engine: EngineBuilder,
    source: S,
    last_good: Option<LastGood>,
    built_in: Option<Rules<'static>>,
    start_within: Duration,
    backoff: Backoff,
}

/// A source that is being followed. Dropping it ends that; the rules that run stay.
#[derive(Debug)]
#[must_use = "dropping it ends the following"]
pub struct Following {
    reader: StatusReader,
    /// Aborts them when dropped.
    _tasks: Tasks,
}

/// Reads the status, for those who have no part in the following: a page for operators, a probe. A clone is some
/// pointers.
#[derive(Clone)]
pub struct StatusReader {
    engine: Engine,
    state: watch::Receiver<State>,
}

/// What the tasks share.
struct Shared {
    state: watch::Sender<State>,
    /// Whether the handle is still there: what is being compiled when it goes must not be swapped in.
    wanted: AtomicBool,
}

/// The tasks, which end with this.
#[derive(Default)]
struct Tasks {
    handles: Vec<AbortHandle>,
    shared: Option<Arc<Shared>>,
}

/// What the source said last.
#[derive(Clone, Default)]
struct Mail {
    /// Numbered, so that the same text twice is seen twice.
    text: Option<(u64, Arc<Text>)>,
    /// The error, if that was an error.
    failed: Option<SourceError>,
}

/// The least time from one call of the source to the next.
const PACE: Duration = Duration::from_millis(20);
/// How often that doubles while a source returns at once and has nothing new.
const DOUBLINGS: u32 = 4;
/// How long a file that could not be written waits, at most.
const KEEP: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };

// === impl Follower ===

impl<S: Source> Follower<S> {
    /// Follows `source` with the engine that `engine` makes.
    pub fn new(engine: EngineBuilder, source: S) -> Self {
        Follower {
            engine,
            source,
            last_good: None,
            built_in: None,
            start_within: Duration::from_secs(3),
            backoff: Backoff::default(),
        }
    }

    /// Keeps what was accepted last in a file, given by its path or as [`LastGood`], and starts with it when the source
    /// cannot be reached or has a text that is not sound. A failure to write it is in the
    /// [status](super::LastGoodStatus::problem) and tried again; it does not hold up anything.
    pub fn last_good(mut self, file: impl Into<LastGood>) -> Self {
        self.last_good = Some(file.into());
        self
    }

    /// The rules to start with when there are no others.
    pub fn built_in(mut self, rules: impl Into<Rules<'static>>) -> Self {
        self.built_in = Some(rules.into());
        self
    }

    /// How long the source has for its first text. Default: 3 s. While it is unreachable it is tried again until then;
    /// when it answers that it has no text, that is taken as the answer.
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.start_within = limit;
        self
    }

    /// How long to wait after failures.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Starts. Takes as long as the source takes to answer and the text to compile. From then on the source is
    /// followed, also when it was not the source that gave the first rules.
    ///
    /// It needs a tokio runtime with time enabled; the sources of this room also need its io.
    ///
    /// # Errors
    ///
    /// When there are no rules to start with: the error says what was tried. When a name in the
    /// [`Schema`](crate::Schema) cannot be used. When this is no tokio runtime.
    pub async fn start(self) -> Result<(Engine, Following), StartError> {
        let Follower { engine: builder, source, last_good, built_in, start_within, backoff } = self;
        let runtime = Handle::try_current().map_err(|_| StartError::no_runtime())?;
        let deadline = Instant::now() + start_within;
        let shared = Arc::new(Shared {
            state: watch::Sender::new(State::new(source.name(), last_good.as_ref())),
            wanted: AtomicBool::new(true),
        });
        let mut tasks = Tasks { handles: Vec::new(), shared: Some(shared.clone()) };
        let (post, mut mail) = watch::channel(Mail::default());
        tasks.add(&runtime, pull(source, post, shared.clone(), backoff));

        let mut tried = Vec::new();
        let (mut first, consumed) = from_source(&builder, &mut mail, deadline, &shared, &mut tried).await?;
        if let (None, Some(file)) = (&first, &last_good) {
            first = from_last_good(&builder, file, &shared, &mut tried).await?;
        }
        if let (None, Some(rules)) = (&first, built_in) {
            first = match build(&builder, rules).await? {
                Ok(engine) => {
                    shared.state.send_modify(|state| state.starts(&engine, Origin::BuiltIn, ""));
                    Some((engine, None))
                }
                Err(tried_in_vain) => {
                    tried.push(tried_in_vain.of(Origin::BuiltIn));
                    None
                }
            };
        }
        let Some((engine, first)) = first else { return Err(StartError::no_rules(tried)) };
        // Those were refused before there was an engine that counts.
        tried
            .iter()
            .filter_map(|tried| tried.diagnostics.as_ref())
            .for_each(|problems| engine.refused(problems));

        let (keep, kept) = watch::channel(first);
        if let Some(file) = last_good {
            tasks.add(&runtime, keep_last_good(file, kept, shared.clone()));
        }
        tasks.add(&runtime, apply(engine.clone(), mail, consumed, keep, shared.clone()));
        let reader = StatusReader { engine: engine.clone(), state: shared.state.subscribe() };
        Ok((engine, Following { reader, _tasks: tasks }))
    }
}

impl<S> fmt::Debug for Follower<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("engine", &self.engine)
            .field("last_good", &self.last_good)
            .field("start_within", &self.start_within)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

// === the start ===

/// An engine, and the text to be kept if it is the source's.
type First = Option<(Engine, Option<Arc<Text>>)>;

/// Waits for the first text of the source, until the deadline or an answer that is none. Returns also the number of the
/// text that it took, sound or not: what came since is for [`apply`].
async fn from_source(
    builder: &EngineBuilder,
    mail: &mut watch::Receiver<Mail>,
    deadline: Instant,
    shared: &Shared,
    tried: &mut Vec<Tried>,
) -> Result<(First, Option<u64>), StartError> {
    let mut last = None;
    loop {
        let Ok(Ok(())) = timeout_at(deadline, mail.changed()).await else {
            let late = "it did not answer in time".to_owned();
            let why = last.map_or(late, |error: SourceError| error.chain());
            tried.push(Tried::new(Origin::Source, why));
            return Ok((None, None));
        };
        let Mail { text, failed } = mail.borrow_and_update().clone();
        if let Some((number, text)) = text {
            let first = match build(builder, text.rules().clone()).await? {
                Ok(engine) => {
                    shared.state.send_modify(|state| {
                        state.found_sound(&text);
                        state.starts(&engine, Origin::Source, text.version());
                    });
                    Some((engine, Some(text)))
                }
                Err(unsound) => {
                    if let Some(diagnostics) = &unsound.diagnostics {
                        shared.state.send_modify(|state| state.refused(&text, diagnostics.clone()));
                    }
                    tried.push(unsound.of(Origin::Source));
                    None
                }
            };
            return Ok((first, Some(number)));
        }
        if let Some(error) = failed {
            if error.kind().is_an_answer() {
                tried.push(Tried::new(Origin::Source, error.chain()));
                return Ok((None, None));
            }
            last = Some(error);
        }
    }
}

async fn from_last_good(
    builder: &EngineBuilder,
    file: &LastGood,
    shared: &Shared,
    tried: &mut Vec<Tried>,
) -> Result<First, StartError> {
    let kept = blocking({
        let file = file.clone();
        move || file.load()
    });
    match kept.await {
        None => tried.push(Tried::new(Origin::LastGood, "reading it was given up".to_owned())),
        Some(Err(error)) => {
            shared.state.send_modify(|state| state.kept(Err(&error)));
            tried.push(Tried::new(Origin::LastGood, error.chain()));
        }
        Some(Ok(kept)) => {
            shared.state.send_modify(|state| state.loaded(&kept));
            match build(builder, kept.text.rules().clone()).await? {
                Ok(engine) => {
                    shared
                        .state
                        .send_modify(|state| state.starts(&engine, Origin::LastGood, kept.text.version()));
                    return Ok(Some((engine, None)));
                }
                Err(unsound) => tried.push(unsound.of(Origin::LastGood)),
            }
        }
    }
    Ok(None)
}

/// Compiles the first rules on a thread that may block.
async fn build(builder: &EngineBuilder, rules: Rules<'static>) -> Result<Result<Engine, Tried>, StartError> {
    let (builder, panicked) = (builder.clone(), rules.clone());
    match compiling(move || builder.build(rules)).await {
        Ok(Ok(engine)) => Ok(Ok(engine)),
        Ok(Err(BuildError::Rules(diagnostics))) => Ok(Err(Tried::unsound(diagnostics))),
        Ok(Err(BuildError::Schema(error))) => Err(StartError::schema(error)),
        Err(panic) => Ok(Err(Tried::unsound(panicked.panicked(&panic)))),
    }
}

/// Runs something as [`blocking`] does, in the whole process no more at a time than there are cores. A hundred engines that
/// are told of one text are then ready one after the other, and not all of them after the last.
///
/// # Errors
///
/// When that panics: what it said.
async fn compiling<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    static COMPILING: OnceLock<Arc<Semaphore>> = OnceLock::new();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let turns = COMPILING.get_or_init(|| Arc::new(Semaphore::new(cores())));
    let turn = turns.clone().acquire_owned().await;
    // Given back when it is done, also if nobody waits for it any more.
    let work = move || {
        let _turn = turn;
        work()
    };
    let failed = match tokio::task::spawn_blocking(work).await {
        Ok(done) => return Ok(done),
        Err(failed) => failed,
    };
    match failed.try_into_panic() {
        Ok(panic) => Err(said(&*panic)),
        // The runtime shuts down, and with it we.
        Err(_) => std::future::pending().await,
    }
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word").to_owned()
}

/// Runs something on a thread that may block; `None` if that panics, or the runtime shuts down.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

// === the tasks ===

/// Asks the source, for ever.
async fn pull<S: Source>(mut source: S, post: watch::Sender<Mail>, shared: Arc<Shared>, backoff: Backoff) {
    let _end = End(shared.clone());
    let mut failures = 0;
    let mut nothing_new = 0;
    let mut complaint = None;
    // Since when it has not failed; when the waits began anew for an answer.
    let (mut well_since, mut anew) = (None, None::<Instant>);
    for number in 0.. {
        let asked = Instant::now();
        match source.next().await {
            Ok(update) => {
                well_since.get_or_insert_with(Instant::now);
                complaint = None;
                let new = match update {
                    Update::Text(text) => {
                        let mut new = false;
                        shared.state.send_modify(|state| new = state.told(&text));
                        post.send_modify(|mail| {
                            *mail = Mail { text: Some((number, Arc::new(text))), failed: None };
                        });
                        new
                    }
                    Update::Unchanged => {
                        shared.state.send_if_modified(State::unchanged);
                        false
                    }
                };
                nothing_new = if new { 0 } else { (nothing_new + 1).min(DOUBLINGS) };
                // Counted from the call, so that a source which waits by itself does not wait twice.
                sleep_until(asked + PACE * (1 << nothing_new)).await;
            }
            Err(error) => {
                // Who answers is there, and is asked again soon, so that it can tell when it has something else to say.
                let said = error.kind().is_an_answer().then(|| (error.kind(), error.chain()));
                let is_new = said.is_some() && said != complaint;
                let now = Instant::now();
                let lasted = |since: Instant| now - since >= backoff.trust();
                // It may also have another complaint each time.
                let is_back = is_new && anew.is_none_or(lasted);
                if is_back {
                    anew = Some(now);
                }
                let was_well = well_since.take().is_some_and(lasted);
                failures = if is_back || was_well { 1 } else { u32::saturating_add(failures, 1) };
                complaint = said;
                let wait = error.asked_to_wait().unwrap_or_default().min(Backoff::LONGEST_ASKED);
                shared.state.send_modify(|state| state.failed(&error));
                post.send_modify(|mail| mail.failed = Some(error));
                sleep(wait.max(backoff.wait(failures))).await;
            }
        }
    }
}

/// Compiles each text and swaps it in, or refuses it; `last` is the number of the one that was tried at the start.
async fn apply(
    engine: Engine,
    mut mail: watch::Receiver<Mail>,
    mut last: Option<u64>,
    keep: watch::Sender<Option<Arc<Text>>>,
    shared: Arc<Shared>,
) {
    let _end = End(shared.clone());
    // Before `changed`: what came while the engine started may be marked as seen.
    loop {
        let text = mail.borrow_and_update().text.clone();
        if let Some((number, text)) = text
            && last != Some(number)
        {
            last = Some(number);
            apply_one(&engine, text, &keep, &shared).await;
        }
        if mail.changed().await.is_err() {
            return;
        }
    }
}

async fn apply_one(
    engine: &Engine,
    text: Arc<Text>,
    keep: &watch::Sender<Option<Arc<Text>>>,
    shared: &Arc<Shared>,
) {
    let (was_refused, is_sound) = {
        let state = shared.state.borrow();
        let was_refused = |rejected: &Rejected| rejected.identity == text.identity();
        (state.rejected.as_ref().is_some_and(was_refused), state.is_sound(&text))
    };
    if was_refused {
        return shared.state.send_modify(|state| state.refused_again(&text));
    }
    let runs = || engine.rules().digest() == text.digest();
    let was_replaced = || shared.state.borrow().was_replaced(text.digest());
    // The characters are known, and the parts are others.
    if !is_sound && (runs() || was_replaced()) {
        let checked = compiling({
            let (engine, text) = (engine.clone(), text.clone());
            move || engine.check(text.rules().clone()).inspect_err(|problems| engine.refused(problems))
        });
        match checked.await {
            Ok(Ok(_)) => shared.state.send_modify(|state| state.found_sound(&text)),
            Ok(Err(diagnostics)) => {
                return shared.state.send_modify(|state| state.refused(&text, diagnostics));
            }
            Err(panic) => return gave_up(engine, &text, &panic, shared).await,
        }
    }
    let rules = engine.rules();
    if rules.digest() == text.digest() {
        shared.state.send_modify(|state| state.runs_already(&rules, &text));
        return keep_this(text, keep);
    }
    if was_replaced() {
        // Nothing new since the application put in its own.
        shared.state.send_if_modified(State::nothing_to_refuse);
        return;
    }
    let before = rules.revision();
    let replaced = compiling({
        let (engine, text, shared) = (engine.clone(), text.clone(), shared.clone());
        move || engine.replace_if(text.rules(), || shared.wanted.load(Ordering::Acquire))
    });
    match replaced.await {
        Ok(Ok(Some(rules))) => took(&rules, text, keep, shared),
        // The handle is gone.
        Ok(Ok(None)) => {}
        Ok(Err(diagnostics)) => shared.state.send_modify(|state| state.refused(&text, diagnostics)),
        Err(panic) => {
            let rules = engine.rules();
            if rules.revision() > before && rules.digest() == text.digest() {
                // It was whoever is told of new rules who panicked: they run.
                return took(&rules, text, keep, shared);
            }
            gave_up(engine, &text, &panic, shared).await;
        }
    }
}

/// A text runs.
fn took(rules: &RuleSet, text: Arc<Text>, keep: &watch::Sender<Option<Arc<Text>>>, shared: &Shared) {
    shared.state.send_modify(|state| {
        state.found_sound(&text);
        state.runs(rules, Origin::Source, text.version());
    });
    keep_this(text, keep);
}

/// Compiling a text panicked: it is refused, and not tried again, so that one text cannot keep us busy.
async fn gave_up(engine: &Engine, text: &Text, panic: &str, shared: &Shared) {
    let diagnostics = text.rules().panicked(panic);
    // Who is told of that may be who panicked.
    let (engine, told) = (engine.clone(), diagnostics.clone());
    let _ = blocking(move || engine.refused(&told)).await;
    shared.state.send_modify(|state| state.refused(text, diagnostics));
}

/// Has a text written, in the place of any that waits for it. The same again does not cut short the wait after a failure.
fn keep_this(text: Arc<Text>, keep: &watch::Sender<Option<Arc<Text>>>) {
    keep.send_if_modified(|wanted| {
        let new = wanted.as_ref().is_none_or(|wanted| wanted.digest() != text.digest());
        if new {
            *wanted = Some(text);
        }
        new
    });
}

/// Writes what was accepted, until it is written or there is something newer. What the file has is not written again.
async fn keep_last_good(file: LastGood, mut kept: watch::Receiver<Option<Arc<Text>>>, shared: Arc<Shared>) {
    let mut failures = 0;
    // After a failure nobody knows: the directory may not have been flushed.
    let mut has = shared.state.borrow().last_good.as_ref().and_then(|file| file.digest);
    loop {
        let text = kept.borrow_and_update().clone();
        let Some(text) = text.filter(|text| has != Some(text.digest())) else {
            match kept.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        let result: Option<Result<(), LastGoodError>> = blocking({
            let (file, text) = (file.clone(), text.clone());
            move || file.store(&text)
        })
        .await;
        let Some(result) = result else { return };
        let stored = result.map(|()| (text.digest(), std::time::SystemTime::now()));
        has = stored.as_ref().ok().map(|(digest, _)| *digest);
        shared.state.send_modify(|state| state.kept(stored.as_ref().copied()));
        failures = if stored.is_ok() { 0 } else { u32::saturating_add(failures, 1) };
        let newer = async { kept.changed().await.is_ok() };
        let newer = match failures {
            0 => newer.await,
            _ => tokio::time::timeout(KEEP.wait(failures), newer).await.unwrap_or(true),
        };
        if !newer {
            return;
        }
    }
}

// === impl Shared ===

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Says that following has ended, however it did.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.ended = true);
    }
}

// === impl Tasks ===

impl Tasks {
    fn add(&mut self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        self.handles.push(runtime.spawn(task).abort_handle());
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.wanted.store(false, Ordering::Release);
        }
        self.handles.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

// === impl Following ===

impl Following {
    /// What runs and how the source does, now.
    pub fn status(&self) -> Status {
        self.reader.status()
    }

    /// As [`StatusReader::changed`].
    pub async fn changed(&mut self) -> Status {
        self.reader.changed().await
    }

    /// As [`StatusReader::wait_for`].
    pub async fn wait_for(&mut self, right: impl FnMut(&Status) -> bool) -> Status {
        self.reader.wait_for(right).await
    }

    /// A reader of the status to give away. It does not keep the following going.
    pub fn reader(&self) -> StatusReader {
        self.reader.clone()
    }
}

// === impl StatusReader ===

impl StatusReader {
    /// What runs and how the source does, now. Copies what is told: some strings, and the diagnostics of a text that
    /// was refused.
    pub fn status(&self) -> Status {
        self.state.borrow().status(&self.engine)
    }

    /// Waits until something has happened since this reader looked last by waiting: a text taken or refused, an error,
    /// a file written. That a source says again what it said is nothing that happened. Of several things in a row
    /// the last is seen. When following has ended it waits for ever, after having said so once.
    pub async fn changed(&mut self) -> Status {
        if self.state.changed().await.is_err() {
            return std::future::pending().await;
        }
        self.state.borrow_and_update().status(&self.engine)
    }

    /// Waits until the status is right; returns at once if it is. Waits for ever if following ends before.
    ///
    /// ```
    /// # use pointsman::source::StatusReader;
    /// # async fn example(mut reader: StatusReader) {
    /// let bad = reader.wait_for(|status| status.rejected.is_some()).await;
    /// eprintln!("{bad}");
    /// # }
    /// ```
    pub async fn wait_for(&mut self, mut right: impl FnMut(&Status) -> bool) -> Status {
        loop {
            let status = self.state.borrow_and_update().status(&self.engine);
            if right(&status) {
                return status;
            }
            if self.state.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

impl fmt::Debug for StatusReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatusReader").field(&self.status()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_panic_says_is_why_the_text_is_refused() {
        let number = 7;
        assert_eq!(compiling(|| panic!("a bug")).await, Err::<(), _>("a bug".to_owned()));
        assert_eq!(compiling(move || panic!("bug {number}")).await, Err::<(), _>("bug 7".to_owned()));
        let odd = compiling(move || std::panic::panic_any(number)).await;
        assert_eq!(odd, Err::<(), _>("without a word".to_owned()));
        assert_eq!(compiling(|| 1).await, Ok(1), "and the turns are given back");
    }
}
