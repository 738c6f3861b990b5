//! Following a source that does as the test says: the start, texts good and bad, failures, the status, the last good
//! rules in their file.
#![cfg(feature = "source")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pointsman::engine::Digest;
use pointsman::schema::Schema;
use pointsman::source::{
    Backoff, Follower, Following, LastGood, LastGoodErrorKind, Origin, Source, SourceError, SourceErrorKind,
    SourceState, Status, Text, Update,
};
use pointsman::{Engine, EngineBuilder, Rules, Statements};
use tokio::sync::mpsc;
use tokio::time::Instant;

#[path = "common/folder.rs"]
mod folder;
use folder::Folder;

const GRAY: &str = "default => gray";
const PROD: &str = "default => prod";
const BAD: &str = "default => prd";

fn builder() -> EngineBuilder {
    Engine::builder().clusters(["gray", "prod"])
}

fn text(text: &str, version: &str) -> Result<Update, SourceError> {
    Ok(Text::new("shop.rules", text, version).into())
}

fn failure(kind: SourceErrorKind) -> Result<Update, SourceError> {
    Err(SourceError::new(kind, "the cable").because(std::io::Error::other("is out")))
}

/// Says what it is told to say, and notes when it was asked and that it is gone.
struct Scripted {
    says: mpsc::UnboundedReceiver<Result<Update, SourceError>>,
    asked: Arc<std::sync::Mutex<Vec<Instant>>>,
    /// Dropped with the source.
    _alive: Arc<()>,
}

struct Script {
    say: mpsc::UnboundedSender<Result<Update, SourceError>>,
    asked: Arc<std::sync::Mutex<Vec<Instant>>>,
    alive: Arc<()>,
}

impl Source for Scripted {
    async fn next(&mut self) -> Result<Update, SourceError> {
        self.asked.lock().unwrap().push(Instant::now());
        match self.says.recv().await {
            Some(update) => update,
            None => std::future::pending().await,
        }
    }

    fn name(&self) -> String {
        "script".to_owned()
    }
}

impl Script {
    fn new(first: impl IntoIterator<Item = Result<Update, SourceError>>) -> (Script, Scripted) {
        let (say, says) = mpsc::unbounded_channel();
        first.into_iter().for_each(|update| say.send(update).unwrap());
        let (asked, alive) = (Arc::default(), Arc::new(()));
        let scripted = Scripted { says, asked: Arc::clone(&asked), _alive: alive.clone() };
        (Script { say, asked, alive }, scripted)
    }

    fn say(&self, update: Result<Update, SourceError>) {
        self.say.send(update).unwrap();
    }

    /// The times between one call and the next.
    fn waits(&self) -> Vec<Duration> {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn is_gone(&self) -> bool {
        Arc::strong_count(&self.alive) == 1
    }
}

async fn started(first: &str) -> (Script, Engine, Following) {
    let (script, source) = Script::new([text(first, "1")]);
    let (engine, following) = Follower::new(builder(), source).start().await.unwrap();
    (script, engine, following)
}

fn runs(engine: &Engine) -> String {
    engine.rules().text().to_owned()
}

/// Waits for a status, and not for ever.
async fn seen(following: &mut Following, right: impl FnMut(&Status) -> bool) -> Status {
    match tokio::time::timeout(Duration::from_secs(600), following.wait_for(right)).await {
        Ok(status) => status,
        Err(_) => panic!("never seen"),
    }
}

// === the start ===

#[tokio::test(start_paused = true)]
async fn the_source_comes_first_then_the_last_good_then_what_is_built_in() {
    use SourceErrorKind::{Absent, Denied, Invalid, Other, TooLarge, Unreachable};
    let good = || vec![text(PROD, "8")];
    let never = Vec::new;
    let fails = |kind| vec![failure(kind), failure(kind)];
    for (says, kept, built_in, expected, version) in [
        (good(), Some(GRAY), None, Origin::Source, "8"),
        (good(), None, Some(GRAY), Origin::Source, "8"),
        // Unreachable first, and there in time.
        (vec![failure(Unreachable), failure(Other), text(PROD, "8")], Some(GRAY), None, Origin::Source, "8"),
        (never(), Some(GRAY), Some(PROD), Origin::LastGood, "7"),
        (fails(Unreachable), Some(GRAY), None, Origin::LastGood, "7"),
        (fails(Absent), Some(GRAY), None, Origin::LastGood, "7"),
        (fails(Invalid), Some(GRAY), None, Origin::LastGood, "7"),
        (fails(TooLarge), Some(GRAY), None, Origin::LastGood, "7"),
        (fails(Denied), Some(GRAY), None, Origin::LastGood, "7"),
        (vec![text(BAD, "8")], Some(GRAY), None, Origin::LastGood, "7"),
        (vec![text(BAD, "8")], None, Some(GRAY), Origin::BuiltIn, ""),
        (never(), Some(BAD), Some(GRAY), Origin::BuiltIn, ""),
    ] {
        let what = format!("{says:?}, {kept:?}, {built_in:?}");
        let folder = Folder::new();
        let file = LastGood::new(folder.path("rules.good"));
        if let Some(kept) = kept {
            file.store(&Text::new("a", kept, "7")).unwrap();
        }
        let (_script, source) = Script::new(says);
        let mut follower = Follower::new(builder(), source).last_good(file);
        if let Some(rules) = built_in {
            follower = follower.built_in(rules);
        }
        let (engine, following) = follower.start().await.unwrap();
        let running = following.status().running;
        assert_eq!((running.origin, &*running.version), (expected, version), "{what}");
        assert_eq!((running.revision, running.digest), (1, engine.rules().digest()), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_without_rules_says_what_was_tried() {
    let folder = Folder::new();
    let (script, source) = Script::new([failure(SourceErrorKind::Unreachable)]);
    let path = folder.path("rules.good");
    let begun = Instant::now();
    let follower = Follower::new(builder(), source).last_good(&path).built_in(BAD);
    let error = follower.start_within(Duration::from_secs(2)).start().await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    assert_eq!(
        error.to_string(),
        format!(
            "there are no rules to start with\n  \
             the source: the cable: is out\n  \
             the last good ones: {}: there is none\n  \
             the program: the text has a mistake\n\
             error: unknown cluster `prd`\n --> rules:1:12\n  |\n\
             1 | default => prd\n  |            ^^^ did you mean `prod`?",
            path.display()
        )
    );
    let origins: Vec<_> = error.tried().iter().map(|tried| tried.origin).collect();
    assert_eq!(origins, [Origin::Source, Origin::LastGood, Origin::BuiltIn]);
    tokio::task::yield_now().await;
    assert!(script.is_gone(), "nothing is followed");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_no_text_is_not_waited_for() {
    let (_script, source) = Script::new([failure(SourceErrorKind::Absent)]);
    let begun = Instant::now();
    let follower = Follower::new(builder(), source).built_in(Statements::new().default("gray"));
    let (_engine, following) = follower.start().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(following.status().source.state, SourceState::Reachable);
}

#[tokio::test]
async fn a_name_that_cannot_be_used_is_said_at_once() {
    let (_script, source) = Script::new([text(PROD, "1")]);
    let builder = builder().schema(Schema::new().string_field("host", |_| None));
    let error = Follower::new(builder, source).built_in(GRAY).start().await.unwrap_err();
    assert!(error.schema_error().is_some());
    assert_eq!(error.to_string(), "the field `host` is built in");
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let (_script, source) = Script::new([]);
    let mut start = Box::pin(Follower::new(builder(), source).start());
    let waker = std::task::Waker::noop();
    match start.as_mut().poll(&mut std::task::Context::from_waker(waker)) {
        std::task::Poll::Ready(Err(error)) => {
            assert_eq!(error.to_string(), "following a source needs a tokio runtime");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_source_says_later_takes_the_place_of_what_was_started_with() {
    let (script, source) = Script::new([]);
    let (engine, mut following) = Follower::new(builder(), source).built_in(GRAY).start().await.unwrap();
    assert_eq!(following.status().source.state, SourceState::Waiting);
    script.say(text(PROD, "2"));
    let status = following.wait_for(|status| status.running.origin == Origin::Source).await;
    assert_eq!((&*runs(&engine), &*status.running.version, status.running.revision), (PROD, "2", 2));
}

#[tokio::test(start_paused = true)]
async fn texts_that_were_refused_at_the_start_are_counted() {
    for (says, kept, refused) in [
        (text(PROD, "1"), BAD, 0),
        (failure(SourceErrorKind::Absent), PROD, 0),
        (text(BAD, "1"), PROD, 1),
        (failure(SourceErrorKind::Absent), BAD, 1),
        (text(BAD, "1"), "default => gry", 2),
    ] {
        let folder = Folder::new();
        let file = LastGood::new(folder.path("rules.good"));
        file.store(&Text::new("a", kept, "7")).unwrap();
        let (_script, source) = Script::new([says]);
        let follower = Follower::new(builder(), source).last_good(file).built_in(GRAY);
        let (engine, _following) = follower.start().await.unwrap();
        let reloads = engine.reloads();
        assert_eq!((reloads.accepted, reloads.rejected), (0, refused), "{kept}");
    }
}

/// A text whose compiling takes longer than the pace of the follower.
fn long(last: &str) -> String {
    let mut text: String =
        (0..20_000).map(|at| format!("route r{at}: cookie(uid) == \"{at}\" => gray\n")).collect();
    text.push_str(last);
    text
}

#[tokio::test]
async fn a_text_that_comes_while_the_first_rules_are_made_is_not_lost() {
    let at_once = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(1) };
    let absent = || failure(SourceErrorKind::Absent);
    // What it says first, what it says when the limit is over, and whose rules are the first.
    for (says, late, origin) in [
        (vec![text(&long(GRAY), "1"), text(PROD, "2")], None, Origin::Source),
        (vec![text(&long(BAD), "1"), text(PROD, "2")], None, Origin::BuiltIn),
        (vec![absent(), text(PROD, "2")], None, Origin::BuiltIn),
        (vec![], Some(text(PROD, "2")), Origin::BuiltIn),
    ] {
        let what = format!("{origin}, {} at first", says.len());
        let in_time = if late.is_some() { Duration::from_millis(20) } else { Duration::from_secs(60) };
        let (script, source) = Script::new(says);
        let follower = Follower::new(builder(), source).built_in(Rules::from(long(GRAY)));
        let starting = tokio::spawn(async move {
            let (engine, following) = follower.start_within(in_time).backoff(at_once).start().await.unwrap();
            let first = following.status();
            (engine, following, first)
        });
        if let Some(late) = late {
            tokio::time::sleep(in_time + Duration::from_millis(5)).await;
            script.say(late);
        }
        let (engine, mut following, first) = starting.await.unwrap();
        assert_eq!((first.running.origin, first.running.revision), (origin, 1), "{what}");
        // It was there before the engine was.
        assert!(first.source.last_attempt.is_some() && first.source.failures == 0, "{what}: {first}");
        let right = following.wait_for(|status| status.running.version == "2");
        let status = tokio::time::timeout(Duration::from_secs(60), right).await;
        let status = status.unwrap_or_else(|_| panic!("{what}: it never ran"));
        assert_eq!((status.running.origin, &*runs(&engine)), (Origin::Source, PROD), "{what}");
    }
}

// === following ===

#[tokio::test(start_paused = true)]
async fn a_bad_text_is_refused_and_remembered_until_there_is_a_good_one() {
    let (script, engine, mut following) = started(GRAY).await;
    script.say(text(BAD, "2"));
    let status = following.wait_for(|status| status.rejected.is_some()).await;
    let rejected = status.rejected.unwrap();
    assert_eq!((&*rejected.version, rejected.digest), ("2", Digest::of(BAD)));
    assert!(rejected.diagnostics.to_string().contains("shop.rules:1:12"), "{}", rejected.diagnostics);
    assert_eq!((&*runs(&engine), status.running.revision, &*status.running.version), (GRAY, 1, "1"));

    // The same under another name is not compiled again; the first again ends the matter.
    script.say(text(BAD, "3"));
    following.wait_for(|status| status.rejected.as_ref().is_some_and(|bad| bad.version == "3")).await;
    script.say(text(GRAY, "4"));
    let status = following.wait_for(|status| status.rejected.is_none()).await;
    assert_eq!(status.running.revision, 1);
    script.say(text(BAD, "5"));
    following.wait_for(|status| status.rejected.is_some()).await;
    script.say(text(PROD, "6"));
    let status = following.wait_for(|status| status.running.version == "6").await;
    assert!(status.rejected.is_none());
    assert_eq!((&*runs(&engine), status.running.revision), (PROD, 2));
}

#[tokio::test(start_paused = true)]
async fn the_same_characters_in_other_parts_are_another_text() {
    let joined = |parts: &[(&str, &str)], version: &str| Ok(Text::joined(parts.to_vec(), version).into());
    let whole = [("1.rules", "# one"), ("2.rules", "default =>\n  gray")];
    let torn = [("1.rules", "# one\ndefault =>"), ("2.rules", "  gray")];
    let renamed = [("1.rules", "# one\ndefault =>"), ("3.rules", "  gray")];
    let (script, engine, mut following) = started(PROD).await;
    let refused = |status: &Status, version: &str| {
        status.rejected.as_ref().is_some_and(|rejected| rejected.version == version)
    };
    let shown = |status: Status| status.rejected.unwrap().diagnostics.to_string();

    // Refused, and then sound.
    script.say(joined(&torn, "2"));
    let status = seen(&mut following, |status| refused(status, "2")).await;
    assert!(shown(status).contains("2.rules:1"));
    script.say(joined(&whole, "3"));
    let status = seen(&mut following, |status| status.running.version == "3").await;
    assert_eq!((status.running.revision, status.rejected.is_none()), (2, true), "{status}");

    // It runs, and is refused.
    script.say(joined(&torn, "4"));
    let status = seen(&mut following, |status| refused(status, "4")).await;
    assert_eq!((&*status.running.version, engine.reloads().rejected), ("3", 2));
    // That it is unchanged does not make it what runs.
    script.say(Ok(Update::Unchanged));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let status = following.status();
    assert!(status.rejected.is_some() && status.stale.as_secs() >= 9, "{status}");
    // Under other names, what is wrong is elsewhere.
    script.say(joined(&renamed, "5"));
    let status = seen(&mut following, |status| refused(status, "5")).await;
    assert!(shown(status).contains("3.rules:1"));
    script.say(joined(&whole, "6"));
    let status = seen(&mut following, |status| status.running.version == "6").await;
    assert_eq!((status.running.revision, status.rejected.is_none()), (2, true), "{status}");

    // The same where the application has put in its own.
    engine.replace(GRAY).unwrap();
    script.say(joined(&torn, "7"));
    seen(&mut following, |status| refused(status, "7")).await;
    script.say(joined(&whole, "8"));
    let status = seen(&mut following, |status| status.rejected.is_none()).await;
    assert_eq!((&*runs(&engine), status.running.origin), (GRAY, Origin::Application));
}

#[tokio::test(start_paused = true)]
async fn an_equal_text_is_no_new_revision() {
    let (script, engine, mut following) = started(GRAY).await;
    let before = engine.rules();
    script.say(text(GRAY, "2"));
    let status = following.wait_for(|status| status.running.version == "2").await;
    assert_eq!((status.running.revision, status.running.digest), (1, before.digest()));
    assert!(Arc::ptr_eq(&before, &engine.rules()));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_comes_back_empty_is_asked_again_soon() {
    use SourceErrorKind::{Absent, Unreachable};
    let (script, engine, mut following) = started(PROD).await;
    // Long gone, so that the waits have grown; then there, with nothing, and soon with something.
    (0..12).for_each(|_| script.say(failure(Unreachable)));
    script.say(failure(Absent));
    following
        .wait_for(|status| status.source.last_error.as_ref().is_some_and(|error| error.kind == Absent))
        .await;
    let back = Instant::now();
    script.say(text(GRAY, "2"));
    following.wait_for(|status| status.running.version == "2").await;
    assert_eq!(runs(&engine), GRAY);
    assert!(back.elapsed() < Duration::from_secs(1), "{:?}", back.elapsed());
    // The same answer over and over is asked for less and less often.
    (0..12).for_each(|_| script.say(failure(Absent)));
    following.wait_for(|status| status.source.failures == 12).await;
    assert!(back.elapsed() > Duration::from_secs(60), "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn failures_are_waited_out_longer_each_time_and_forgotten_when_all_was_well_for_a_while() {
    let (script, engine, mut following) = started(GRAY).await;
    for _ in 0..12 {
        script.say(failure(SourceErrorKind::Unreachable));
    }
    script.say(text(PROD, "2"));
    script.say(failure(SourceErrorKind::Other));
    let status = following.wait_for(|status| status.source.failures == 12).await;
    assert_eq!(status.source.state, SourceState::Unreachable);
    assert_eq!(status.source.last_error.as_ref().unwrap().message, "the cable: is out");
    assert_eq!(runs(&engine), GRAY);
    let status = following.wait_for(|status| status.running.version == "2").await;
    assert_eq!((status.source.state, status.source.failures), (SourceState::Reachable, 0));
    assert!(status.source.last_error.is_some(), "it stays to be read");
    following.wait_for(|status| status.source.failures == 1).await;
    // That was too soon; half a minute is long enough.
    script.say(text(GRAY, "3"));
    following.wait_for(|status| status.running.version == "3").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    script.say(failure(SourceErrorKind::Other));
    following.wait_for(|status| status.source.failures == 1).await;
    script.say(failure(SourceErrorKind::Other));
    following.wait_for(|status| status.source.failures == 2).await;

    // The first came after a success.
    let waits = &script.waits()[1..];
    let most = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000];
    for (wait, most) in waits.iter().zip(most.map(Duration::from_millis)) {
        assert!((most / 2..=most + Duration::from_millis(2)).contains(wait), "{waits:?}");
    }
    // A failure, a text, and half a minute that ends with a failure.
    let [.., soon, _, last] = waits else { panic!("{waits:?}") };
    assert!(*soon >= Duration::from_secs(15), "{waits:?}");
    assert!(*last <= Duration::from_millis(30_102), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_may_ask_to_be_left_alone_for_an_hour_and_no_longer() {
    let (script, _engine, mut following) = started(GRAY).await;
    for wait in [Duration::from_secs(120), Duration::MAX] {
        script.say(Err(SourceError::new(SourceErrorKind::Unreachable, "busy").retry_after(wait)));
    }
    script.say(text(PROD, "2"));
    following.wait_for(|status| status.running.version == "2").await;
    let waits: Vec<_> = script.waits()[1..3].iter().map(Duration::as_secs).collect();
    assert_eq!(waits, [120, 3600]);
}

/// Says the same for ever, at once.
struct Restless<F>(F, Arc<AtomicU64>);

impl<F: FnMut(u64) -> Result<Update, SourceError> + Send + 'static> Source for Restless<F> {
    async fn next(&mut self) -> Result<Update, SourceError> {
        (self.0)(self.1.fetch_add(1, Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_waits_does_not_make_us_busy() {
    type Says = fn(u64) -> Result<Update, SourceError>;
    let cases: [(&str, Says, u64); 9] = [
        (
            "a text and errors",
            |n| if n % 2 == 0 { text(PROD, "1") } else { failure(SourceErrorKind::Unreachable) },
            40,
        ),
        (
            "texts and errors",
            |n| {
                if n % 2 == 0 {
                    text(&format!("# {n}\ndefault => prod"), "1")
                } else {
                    failure(SourceErrorKind::Absent)
                }
            },
            40,
        ),
        (
            "two errors",
            |n| failure([SourceErrorKind::Absent, SourceErrorKind::Unreachable][n as usize % 2]),
            40,
        ),
        (
            "other words each time",
            |n| Err(SourceError::new(SourceErrorKind::Invalid, format!("the word {n}"))),
            40,
        ),
        ("errors", |_| failure(SourceErrorKind::Unreachable), 20),
        ("absence", |_| failure(SourceErrorKind::Absent), 20),
        ("the same", |_| text(PROD, "1"), 320),
        ("nothing new", |n| if n == 0 { text(PROD, "1") } else { Ok(Update::Unchanged) }, 320),
        ("another each time", |n| text(&format!("# {n}\ndefault => prod"), "1"), 3100),
    ];
    for (name, says, most) in cases {
        let asked = Arc::new(AtomicU64::new(0));
        let source = Restless(says, asked.clone());
        let (engine, following) = Follower::new(builder(), source).built_in(GRAY).start().await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let asked = asked.load(Ordering::Relaxed);
        println!("{name}: asked {asked} times in a minute, revision {}", engine.rules().revision());
        assert!((2..=most).contains(&asked), "{name}: {asked}");
        drop(following);
    }
}

#[tokio::test]
async fn texts_in_between_are_left_out_and_the_last_one_runs() {
    // Compiling takes longer than the pace.
    let big = |n: u64| {
        let mut text: String =
            (0..4000).map(|at| format!("route r{at}: cookie(uid) == \"{n}-{at}\" => gray\n")).collect();
        text.push_str(PROD);
        text
    };
    let asked = Arc::new(AtomicU64::new(0));
    let says = move |n| if n < 40 { text(&big(n), &n.to_string()) } else { Ok(Update::Unchanged) };
    let source = Restless(says, asked);
    let (engine, mut following) = Follower::new(builder(), source).start().await.unwrap();
    let status = tokio::time::timeout(
        Duration::from_secs(120),
        following.wait_for(|status| status.running.version == "39"),
    );
    let status = status.await.unwrap();
    println!("40 texts were {} revisions", status.running.revision);
    assert!(status.running.revision <= 30 && engine.rules().text().contains("\"39-0\""));
}

#[tokio::test(start_paused = true)]
async fn staleness_grows_until_the_source_says_that_it_has_what_runs() {
    let (script, _engine, mut following) = started(GRAY).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(following.status().stale.as_secs(), 10);
    let agreed = following.status().source.agreed;
    script.say(Ok(Update::Unchanged));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(following.status().stale.as_secs(), 1);
    assert_ne!(following.status().source.agreed, agreed);

    // What was refused is not what runs, and neither is nothing.
    script.say(text(BAD, "2"));
    following.wait_for(|status| status.rejected.is_some()).await;
    script.say(Ok(Update::Unchanged));
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!((8..=9).contains(&following.status().stale.as_secs()), "{}", following.status());
    script.say(failure(SourceErrorKind::Absent));
    script.say(Ok(Update::Unchanged));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(following.status().stale.as_secs() >= 18);

    // But losing it does not make it forget.
    script.say(text(GRAY, "3"));
    script.say(failure(SourceErrorKind::Unreachable));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!((4..=5).contains(&following.status().stale.as_secs()), "{}", following.status());
    script.say(Ok(Update::Unchanged));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(following.status().stale.as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_application_replaces_is_said_to_be_its_own() {
    let (script, engine, mut following) = started(GRAY).await;
    let before = std::time::SystemTime::now();
    engine.replace(PROD).unwrap();
    let running = following.status().running;
    assert_eq!(
        (running.origin, running.revision, running.digest),
        (Origin::Application, 2, Digest::of(PROD))
    );
    // Not now, but then.
    assert_eq!((running.since, following.status().running.since), (engine.rules().made(), running.since));
    assert!((before..=std::time::SystemTime::now()).contains(&running.since));
    // The source has the same, then another.
    script.say(text(PROD, "2"));
    let status = following.wait_for(|status| status.running.origin == Origin::Source).await;
    assert_eq!((status.running.revision, &*status.running.version), (2, "2"));
    script.say(text(GRAY, "3"));
    following.wait_for(|status| status.running.revision == 3).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_application_replaced_stays_until_the_source_has_a_new_text() {
    let (script, engine, mut following) = started(GRAY).await;
    let told = |version| text(GRAY, version);
    engine.replace(PROD).unwrap();
    // It says again what it said, as after a reconnect.
    script.say(told("1"));
    script.say(told("2"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((&*runs(&engine), following.status().running.origin), (PROD, Origin::Application));
    script.say(text(BAD, "3"));
    following.wait_for(|status| status.rejected.is_some()).await;
    script.say(told("4"));
    let status = following.wait_for(|status| status.rejected.is_none()).await;
    assert_eq!((&*runs(&engine), status.running.revision), (PROD, 2));

    // A new one ends it, and then the first is a new one too.
    script.say(text("# new\ndefault => gray", "5"));
    following.wait_for(|status| status.running.version == "5").await;
    script.say(told("6"));
    let status = following.wait_for(|status| status.running.version == "6").await;
    assert_eq!((&*runs(&engine), status.running.revision), (GRAY, 4));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_ends_it_and_leaves_the_rules() {
    let (script, engine, following) = started(GRAY).await;
    let mut reader = following.reader();
    assert!(reader.status().following);
    drop(following);
    tokio::task::yield_now().await;
    assert!(script.is_gone());
    let status = reader.wait_for(|status| !status.following).await;
    assert_eq!(status.running.digest, Digest::of(GRAY));
    assert_eq!(runs(&engine), GRAY);
}

#[test]
fn what_is_being_compiled_when_the_handle_goes_is_not_swapped_in() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = runtime.block_on(async {
        let (script, engine, mut following) = started(GRAY).await;
        let mut big: String =
            (0..50_000).map(|at| format!("route r{at}: cookie(uid) == \"{at}\" => gray\n")).collect();
        big.push_str(PROD);
        script.say(text(&big, "2"));
        // It is there, and takes long.
        following.changed().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        engine
    });
    // Waits for what is being compiled.
    drop(runtime);
    assert_eq!(engine.rules().revision(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_ends_the_following_and_nothing_else() {
    let source =
        Restless(|n| if n == 0 { text(GRAY, "1") } else { panic!("a bug of the source") }, Arc::default());
    let (engine, following) = Follower::new(builder(), source).start().await.unwrap();
    let mut reader = following.reader();
    reader.wait_for(|status| !status.following).await;
    assert_eq!(engine.decide(&http::Request::new(())).cluster(), "gray");
    assert!(following.status().to_string().contains("no longer followed"));
}

#[tokio::test(start_paused = true)]
async fn the_status_is_a_report_for_people() {
    let folder = Folder::new();
    let (script, source) = Script::new([text(GRAY, "1\n")]);
    let path = folder.path("rules.good");
    let (_engine, mut following) = Follower::new(builder(), source).last_good(&path).start().await.unwrap();
    following.wait_for(|status| status.last_good.as_ref().is_some_and(|file| file.digest.is_some())).await;
    script.say(failure(SourceErrorKind::Unreachable));
    script.say(text(BAD, "2"));
    let status = following.wait_for(|status| status.rejected.is_some()).await;
    let shown = status.to_string();
    for line in [
        &format!("running: revision 1, digest {}, from the source (version 1\\n) since 20", Digest::of(GRAY)),
        "source: script, reachable since 20",
        "stale: 0.",
        "last error: unreachable, the cable: is out at 20",
        &format!("last good: {}, digest {} stored 20", path.display(), Digest::of(GRAY)),
        &format!("rejected: version 2, digest {} at 20", Digest::of(BAD)),
        "error: unknown cluster `prd`",
    ] {
        assert!(shown.contains(line), "no `{line}` in:\n{shown}");
    }
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn the_status_serialises() {
    let (script, _engine, mut following) = started(GRAY).await;
    script.say(failure(SourceErrorKind::TooLarge));
    script.say(text(BAD, "2"));
    let status = following.wait_for(|status| status.rejected.is_some()).await;
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["running"]["origin"], "source");
    assert_eq!(json["running"]["digest"], Digest::of(GRAY).to_string());
    assert_eq!(json["source"]["state"], "reachable");
    assert_eq!(json["source"]["last_error"]["kind"], "too-large");
    assert_eq!(json["rejected"]["diagnostics"][0]["code"], "unknown-cluster");
    assert!(json["running"]["since"].as_str().unwrap().ends_with('Z'));
    assert!(json["stale_seconds"].is_number() && json["last_good"].is_null());
}

// === the last good rules ===

#[tokio::test(start_paused = true)]
async fn what_was_accepted_last_is_kept_and_what_was_refused_is_not() {
    let folder = Folder::new();
    let file = LastGood::new(folder.path("rules.good"));
    let (script, source) = Script::new([text(GRAY, "1")]);
    let follower = Follower::new(builder(), source).last_good(file.clone());
    let (_engine, mut following) = follower.start().await.unwrap();
    let mut kept = async |digest| {
        let status =
            following.wait_for(|status| status.last_good.as_ref().unwrap().digest == Some(digest)).await;
        assert_eq!(status.last_good.unwrap().problem, None);
    };
    kept(Digest::of(GRAY)).await;
    script.say(text(BAD, "2"));
    script.say(text(PROD, "3"));
    kept(Digest::of(PROD)).await;
    let kept = file.load().unwrap();
    assert_eq!((kept.text.text(), kept.text.version()), (PROD, "3"));
    let left = std::fs::read_dir(folder.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["rules.good"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_what_was_written_is_reported_and_not_served() {
    let folder = Folder::new();
    let good = LastGood::new(folder.path("good"));
    good.store(&Text::new("a", PROD, "7")).unwrap();
    let bytes = std::fs::read(good.path()).unwrap();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let other = String::from_utf8(bytes.clone()).unwrap().replacen(" 1 ", " 9 ", 1).into_bytes();
    for (name, content, kind) in [
        ("empty", Some(Vec::new()), LastGoodErrorKind::Empty),
        ("cut", Some(bytes[..bytes.len() - 1].to_vec()), LastGoodErrorKind::Truncated),
        ("flipped", Some(flipped), LastGoodErrorKind::Damaged),
        ("zeros", Some(vec![0; bytes.len()]), LastGoodErrorKind::Truncated),
        ("other", Some(other), LastGoodErrorKind::OtherFormat),
        ("rules", Some(b"default => prod\n".to_vec()), LastGoodErrorKind::Damaged),
        ("large", Some(vec![b'a'; 70_000]), LastGoodErrorKind::TooLarge),
        ("directory", None, LastGoodErrorKind::NotAFile),
    ] {
        let path = folder.path(name);
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::create_dir(&path).unwrap(),
        }
        let file = LastGood::new(&path).limit(100);
        assert_eq!(file.load().unwrap_err().kind(), kind, "{name}");
        let (_script, source) = Script::new([failure(SourceErrorKind::Absent)]);
        let follower = Follower::new(builder(), source).last_good(file).built_in(GRAY);
        let (_engine, following) = follower.start().await.unwrap();
        let status = following.status();
        assert_eq!(status.running.origin, Origin::BuiltIn, "{name}");
        let problem = status.last_good.unwrap().problem.unwrap();
        assert!(problem.contains(&*path.display().to_string()), "{name}: {problem}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_in_the_place_of_the_file_is_not_waited_for() {
    let folder = Folder::new();
    let path = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(LastGood::new(path).load().unwrap_err().kind(), LastGoodErrorKind::NotAFile);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_written_holds_up_nothing_and_is_tried_again() {
    let folder = Folder::new();
    let path = folder.path("not/there/rules.good");
    let (script, source) = Script::new([text(GRAY, "1")]);
    let (engine, mut following) = Follower::new(builder(), source).last_good(&path).start().await.unwrap();
    let problem = |status: &pointsman::source::Status| status.last_good.as_ref().unwrap().problem.clone();
    let status = following.wait_for(|status| problem(status).is_some()).await;
    assert!(problem(&status).unwrap().contains("cannot be written"), "{status}");
    script.say(text(PROD, "2"));
    following.wait_for(|status| status.running.version == "2").await;
    assert_eq!(runs(&engine), PROD);

    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    following.wait_for(|status| problem(status).is_none()).await;
    assert_eq!(LastGood::new(path).load().unwrap().text.text(), PROD);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_before_it_could_be_written_is_not_kept() {
    let folder = Folder::new();
    let file = LastGood::new(folder.path("rules.good"));
    let (script, source) = Script::new([text(GRAY, "1")]);
    let follower = Follower::new(builder(), source).last_good(file.clone());
    let (_engine, mut following) = follower.start().await.unwrap();
    let kept = |status: &pointsman::source::Status| status.last_good.clone().unwrap();
    following.wait_for(|status| kept(status).digest == Some(Digest::of(GRAY))).await;

    // Nothing can be written as long as this is in the way.
    let in_the_way = folder.path(&format!("rules.good.{}.tmp", std::process::id()));
    std::fs::create_dir(&in_the_way).unwrap();
    script.say(text(PROD, "2"));
    following.wait_for(|status| kept(status).problem.is_some()).await;
    script.say(text(GRAY, "3"));
    following.wait_for(|status| status.running.version == "3").await;
    std::fs::remove_dir(&in_the_way).unwrap();
    let status = following.wait_for(|status| kept(status).problem.is_none()).await;
    assert_eq!(kept(&status).digest, Some(Digest::of(GRAY)));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(file.load().unwrap().text.text(), GRAY);
}

#[tokio::test(start_paused = true)]
async fn what_the_file_has_is_not_written_again() {
    let folder = Folder::new();
    let file = LastGood::new(folder.path("rules.good"));
    file.store(&Text::new("a", GRAY, "7")).unwrap();
    let (script, source) = Script::new([failure(SourceErrorKind::Absent)]);
    let follower = Follower::new(builder(), source).last_good(file.clone());
    let (_engine, mut following) = follower.start().await.unwrap();
    script.say(text(GRAY, "8"));
    following.wait_for(|status| status.running.version == "8").await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(file.load().unwrap().text.version(), "7");
}

// === other processes ===

/// What this program does when it is started again by one of its tests, and nothing otherwise.
#[test]
fn as_another_process() {
    let Ok(task) = std::env::var("POINTSMAN_TEST_TASK") else { return };
    let path = PathBuf::from(std::env::var_os("POINTSMAN_TEST_PATH").unwrap());
    match &*task {
        "keep" => keep_for_ever(&path),
        "fill" => fill(&path),
        other => panic!("{other}"),
    }
}

fn this_program() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "as_another_process", "--nocapture", "--test-threads=1"]);
    command
}

/// Revision N: its own number, and a length that differs from that before.
fn revision(n: u64) -> String {
    let mut text = format!("# {n}\n");
    for at in 0..(n * 7919) % 200 {
        text.push_str(&format!("route r{at}: cookie(uid) == \"{n}\" => gray\n"));
    }
    text + PROD
}

/// Follows a source that has another revision each time, and starts where the file says.
fn keep_for_ever(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let first = match LastGood::new(path).load() {
            Ok(kept) => kept.text.version().parse::<u64>().unwrap() + 1,
            Err(error) => {
                assert_eq!(error.kind(), LastGoodErrorKind::Absent);
                1
            }
        };
        let says = move |n: u64| text(&revision(first + n), &(first + n).to_string());
        let source = Restless(says, Arc::default());
        let follower = Follower::new(builder(), source).last_good(path);
        let (_engine, _following) = follower.start().await.unwrap();
        std::future::pending::<()>().await;
    });
}

#[test]
fn killed_two_hundred_times_while_it_writes_it_always_leaves_a_whole_revision() {
    let folder = Folder::new();
    let path = folder.path("rules.good");
    let (mut last, mut before_the_first, mut advanced) = (0, 0, 0);
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200 {
        let mut child = this_program()
            .env("POINTSMAN_TEST_TASK", "keep")
            .env("POINTSMAN_TEST_PATH", &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Some are killed as they start, most while they write.
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros(chance >> 48) + Duration::from_millis(round % 5));
        assert!(child.try_wait().unwrap().is_none(), "round {round}: the child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        match LastGood::new(&path).load() {
            Ok(kept) => {
                let n: u64 = kept.text.version().parse().unwrap();
                assert_eq!(kept.text.text(), revision(n), "round {round}");
                assert!(n >= last, "round {round}: revision {n} after {last}");
                advanced += u64::from(n > last);
                last = n;
            }
            Err(error) => {
                assert_eq!((error.kind(), last), (LastGoodErrorKind::Absent, 0), "round {round}: {error}");
                before_the_first += 1;
            }
        }
    }
    println!(
        "200 kills: {advanced} rounds wrote, {before_the_first} before the first, revision {last} at the end"
    );
    assert!(advanced > 50, "{advanced} rounds wrote anything");
}

/// Follows into a directory with room for one small text and no large one.
fn fill(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let file = LastGood::new(directory.join("rules.good"));
        let (script, source) = Script::new([text(GRAY, "1")]);
        let follower = Follower::new(builder(), source).last_good(file.clone());
        let (engine, mut following) = follower.start().await.unwrap();
        let stored = |status: &pointsman::source::Status| status.last_good.as_ref().unwrap().digest;
        following.wait_for(|status| stored(status) == Some(Digest::of(GRAY))).await;
        let large = format!("# {}\n{PROD}", "x".repeat(60_000));
        script.say(text(&large, "2"));
        let problem = |status: &pointsman::source::Status| status.last_good.as_ref().unwrap().problem.clone();
        let status = following.wait_for(|status| problem(status).is_some()).await;
        assert!(problem(&status).unwrap().contains("No space left on device"), "{status}");
        assert_eq!(runs(&engine), large);
        assert_eq!(file.load().unwrap().text.text(), GRAY, "the one before is whole");
        // Less to write fits again: nothing is left behind that fills the disk.
        script.say(text(PROD, "3"));
        following.wait_for(|status| stored(status) == Some(Digest::of(PROD))).await;
        assert_eq!(file.load().unwrap().text.version(), "3");
        println!("the disk was full");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_leaves_the_file_of_before() {
    let folder = Folder::new();
    let run = |script: &str| {
        let mut command = Command::new("unshare");
        let program = this_program();
        command.args(["-rm", "sh", "-c", script]).arg(program.get_program()).args(program.get_args());
        command.env("POINTSMAN_TEST_TASK", "fill").env("POINTSMAN_TEST_PATH", folder.path(""));
        command.output()
    };
    let mount = "mount -t tmpfs -o size=32k tmpfs \"$POINTSMAN_TEST_PATH\"";
    if !run(mount).is_ok_and(|output| output.status.success()) {
        println!("skipped: a file system of its own cannot be mounted here");
        return;
    }
    let output = run(&format!("{mount} && exec \"$0\" \"$@\"")).unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("the disk was full"), "{shown}");
}
