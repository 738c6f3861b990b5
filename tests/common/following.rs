//! What the tests of sources have in common: rules that tell each other apart, and waiting for a status.

#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::future::Future;
use std::time::Duration;

use pointsman::source::{Backoff, Follower, Following, Source, SourceErrorKind, SourceState, Status};
use pointsman::{Engine, EngineBuilder};

// How long each test file waits for what must come.
use super::PATIENCE;

pub const GRAY: &str = "default => gray\n";
pub const PROD: &str = "default => prod\n";

pub fn builder() -> EngineBuilder {
    Engine::builder().clusters(["gray", "prod"])
}

/// Follows a source that is asked again soon.
pub async fn follow(source: impl Source) -> (Engine, Following) {
    let backoff = Backoff { first: Duration::from_millis(20), most: Duration::from_millis(200) };
    Follower::new(builder(), source).built_in("default => gray").backoff(backoff).start().await.unwrap()
}

#[track_caller]
pub fn decides(engine: &Engine, cluster: &str) {
    assert_eq!(engine.decide(&http::Request::new(())).cluster(), cluster);
}

pub async fn until(following: &mut Following, right: impl FnMut(&Status) -> bool) -> Status {
    let reader = following.reader();
    match tokio::time::timeout(PATIENCE, following.wait_for(right)).await {
        Ok(status) => status,
        Err(_) => panic!("it never came to that:\n{}", reader.status()),
    }
}

pub async fn fails(following: &mut Following, kind: SourceErrorKind) -> Status {
    let is = |status: &Status| {
        status.source.failures > 0
            && status.source.last_error.as_ref().is_some_and(|error| error.kind == kind)
    };
    let status = until(following, is).await;
    println!("{}", status.source.last_error.as_ref().unwrap().message);
    assert!(status.following);
    status
}

pub async fn runs(following: &mut Following, engine: &Engine, text: &str) -> Status {
    let status =
        until(following, |status| engine.rules().text() == text && status.source.failures == 0).await;
    assert_eq!(status.source.state, SourceState::Reachable);
    status
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
