//! A follower outlives what panics while it compiles. No code of the application runs there but what it logs with.
#![cfg(all(feature = "source", feature = "tracing"))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use pointsman::Engine;
use pointsman::source::{
    Follower, Following, Origin, Source, SourceError, SourceState, Status, Text, Update,
};
use tokio::sync::mpsc;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Panics at every event of ours.
struct Broken;

impl Subscriber for Broken {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pointsman"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("the log is broken");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Told(mpsc::UnboundedReceiver<Text>);

impl Source for Told {
    async fn next(&mut self) -> Result<Update, SourceError> {
        match self.0.recv().await {
            Some(text) => Ok(text.into()),
            None => std::future::pending().await,
        }
    }
}

async fn seen(following: &mut Following, right: impl FnMut(&Status) -> bool) -> Status {
    let reader = following.reader();
    match tokio::time::timeout(Duration::from_secs(20), following.wait_for(right)).await {
        Ok(status) => status,
        Err(_) => panic!("it never came to that:\n{}", reader.status()),
    }
}

#[tokio::test]
async fn what_panics_while_compiling_refuses_the_text_and_the_follower_lives_on() {
    tracing::subscriber::set_global_default(Broken).unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    let say = |text: &str, version: &str| tell.send(Text::new("shop.rules", text, version)).unwrap();
    say("default => gray", "1");
    let builder = Engine::builder().clusters(["gray", "prod"]);
    let (engine, mut following) = Follower::new(builder, Told(told)).start().await.unwrap();

    // Before the swap: refused.
    say("default => prd", "2");
    let status = seen(&mut following, |status| status.rejected.is_some()).await;
    assert_eq!((status.source.state, status.source.failures), (SourceState::Reachable, 0));
    let rejected = status.rejected.unwrap();
    let first = rejected.diagnostics.iter().next().unwrap();
    assert_eq!((&*rejected.version, first.code().as_str()), ("2", "panicked"));
    assert_eq!(
        (first.source_name(), first.message()),
        ("shop.rules", "compiling panicked: the log is broken")
    );
    assert_eq!((engine.rules().text(), engine.rules().revision()), ("default => gray", 1));
    // After it: they run, and that is what the status says.
    say("default => prod", "3");
    let status = seen(&mut following, |status| status.running.version == "3").await;
    assert_eq!((status.running.origin, status.running.revision), (Origin::Source, 2));
    assert!(status.rejected.is_none() && status.following, "{status}");
}
