//! Upstreams that are taken out, probed and brought back, on time that is paused.
#![cfg(feature = "health")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use std::future::{Future, pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Extensions, Request, Response, StatusCode};
use pointsman::middleware::{
    Health, HealthSettings, IsolateLayer, Refused, UpstreamHealth, UpstreamState, Upstreams,
    UpstreamsErrorKind, UpstreamsFuture, Watched,
};
use pointsman::schema::{Schema, StatementKind};
use pointsman::{Clusters, Decision, Engine, TrafficSplitLayer};
use tokio::time::{Instant, advance};
use tower::util::{BoxCloneSyncService, Oneshot};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock::{self, Mock};

type Mocked = Mock<Request<()>, Response<&'static str>>;
type Handle = mock::Handle<Request<()>, Response<&'static str>>;

const SECOND: Duration = Duration::from_secs(1);

fn engine() -> Engine {
    Engine::builder().clusters(["gray", "prod"]).build("default => prod").unwrap()
}

/// Three failures, a second, without chance.
fn settings() -> HealthSettings {
    HealthSettings::new().consecutive_failures(3).ejection_time(SECOND, 8 * SECOND).jitter(0.0)
}

/// What upstreams answer with, which can be set: a status, `ERROR` or `HANG`.
#[derive(Clone)]
struct Answers(Arc<[AtomicU16]>, Arc<[AtomicUsize]>);

const ERROR: u16 = 1;
const HANG: u16 = 2;

type Boxed = BoxCloneSyncService<Request<()>, Response<usize>, &'static str>;

impl Answers {
    fn new(upstreams: usize) -> Self {
        Answers(
            (0..upstreams).map(|_| AtomicU16::new(200)).collect(),
            (0..upstreams).map(|_| AtomicUsize::new(0)).collect(),
        )
    }

    fn set(&self, upstream: usize, answer: u16) {
        self.0[upstream].store(answer, Ordering::Relaxed);
    }

    /// How many requests it has seen.
    fn seen(&self, upstream: usize) -> usize {
        self.1[upstream].load(Ordering::Relaxed)
    }

    fn services(&self) -> Vec<(String, Boxed)> {
        let service = |at: usize| {
            let answers = self.clone();
            BoxCloneSyncService::new(service_fn(move |_: Request<()>| {
                let answers = answers.clone();
                async move {
                    answers.1[at].fetch_add(1, Ordering::Relaxed);
                    let status = match answers.0[at].load(Ordering::Relaxed) {
                        ERROR => return Err("refused"),
                        HANG => pending().await,
                        status => StatusCode::from_u16(status).unwrap(),
                    };
                    let mut response = Response::new(at);
                    *response.status_mut() = status;
                    Ok(response)
                }
            }))
        };
        (0..self.0.len()).map(|at| (format!("u{at}"), service(at))).collect()
    }
}

fn some(upstreams: usize, settings: HealthSettings) -> (Health, Answers, Upstreams<Boxed>) {
    let health = Health::new(&engine(), settings);
    let answers = Answers::new(upstreams);
    let gray = health.upstreams("gray", answers.services()).unwrap();
    (health, answers, gray)
}

async fn ask<S, B>(service: &Upstreams<S>) -> Result<Response<B>, S::Error>
where
    S: Service<Request<()>, Response = Response<B>> + Clone,
    B: Default,
{
    service.clone().oneshot(Request::new(())).await
}

fn upstream(health: &Health, at: usize) -> UpstreamHealth {
    health.status().clusters[0].upstreams[at].clone()
}

fn state(health: &Health, at: usize) -> UpstreamState {
    upstream(health, at).state
}

fn is_ejected(health: &Health, at: usize) -> bool {
    matches!(state(health, at), UpstreamState::Ejected { .. })
}

async fn fail(gray: &Upstreams<Boxed>, times: usize) {
    for _ in 0..times {
        let failed = ask(gray).await.map_or(true, |response| response.status().is_server_error());
        assert!(failed);
    }
}

// === out ===

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_take_an_upstream_out_and_a_success_starts_the_count_anew() {
    for answer in [ERROR, 502, 503, 504, HANG] {
        let (health, answers, gray) = some(1, settings());
        for _ in 0..5 {
            answers.set(0, answer);
            fail(&gray, 2).await;
            answers.set(0, 200);
            assert_eq!(ask(&gray).await.unwrap().status(), StatusCode::OK);
        }
        assert_eq!((state(&health, 0), upstream(&health, 0).failures), (UpstreamState::Healthy, 10));
        answers.set(0, answer);
        fail(&gray, 3).await;
        assert!(is_ejected(&health, 0), "by {answer}: {}", health.status());
        assert_eq!(upstream(&health, 0).consecutive_failures, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_is_a_failure_where_the_settings_say_so() {
    let (health, answers, gray) = some(1, settings());
    for status in [500, 501, 429, 404, 505] {
        answers.set(0, status);
        for _ in 0..5 {
            assert_eq!(ask(&gray).await.unwrap().status(), status);
        }
    }
    assert_eq!((state(&health, 0), upstream(&health, 0).failures), (UpstreamState::Healthy, 0));

    let (health, answers, gray) = some(1, settings().failure_status(|status| status == 500));
    answers.set(0, 503);
    fail(&gray, 5).await;
    assert_eq!(state(&health, 0), UpstreamState::Healthy);
    answers.set(0, 500);
    fail(&gray, 3).await;
    assert!(is_ejected(&health, 0));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_is_a_504_and_a_failure() {
    let (health, answers, gray) = some(1, settings().timeout(5 * SECOND));
    answers.set(0, HANG);
    for _ in 0..3 {
        let begin = Instant::now();
        let response = ask(&gray).await.unwrap();
        assert_eq!((response.status(), begin.elapsed()), (StatusCode::GATEWAY_TIMEOUT, 5 * SECOND));
        assert_eq!(response.extensions().get(), Some(&Refused::TimedOut));
    }
    assert!(is_ejected(&health, 0));
}

#[tokio::test(start_paused = true)]
async fn a_share_of_failures_takes_an_upstream_out_and_old_ones_do_not_count() {
    let settings = settings().consecutive_failures(0).failure_rate(0.5, 20, 8 * SECOND);
    let (health, answers, gray) = some(1, settings);
    let round = async |failures: usize, successes: usize| {
        answers.set(0, 503);
        for _ in 0..failures {
            ask(&gray).await.unwrap();
        }
        answers.set(0, 200);
        for _ in 0..successes {
            ask(&gray).await.unwrap();
        }
    };
    // All, but too few.
    round(19, 0).await;
    assert_eq!(state(&health, 0), UpstreamState::Healthy);
    // They are forgotten, though nothing has taken their place in the window.
    advance(9 * SECOND).await;
    round(9, 20).await;
    // 19 of 39, then 20 of 40.
    round(10, 0).await;
    assert_eq!(state(&health, 0), UpstreamState::Healthy);
    round(1, 0).await;
    assert!(is_ejected(&health, 0));
}

#[tokio::test(start_paused = true)]
async fn no_more_are_out_than_the_settings_allow() {
    let (health, answers, gray) = some(4, settings().max_ejection_percent(50));
    (0..4).for_each(|at| answers.set(at, ERROR));
    for _ in 0..100 {
        assert!(ask(&gray).await.is_err(), "it is an upstream's answer");
    }
    assert_eq!((0..4).filter(|at| is_ejected(&health, *at)).count(), 2, "{}", health.status());
    assert!((0..4).any(|at| upstream(&health, at).overflows > 0));

    // Rounded down: of one that is none.
    let (health, answers, gray) = some(1, settings().max_ejection_percent(99));
    answers.set(0, ERROR);
    fail(&gray, 10).await;
    assert_eq!((state(&health, 0), upstream(&health, 0).overflows), (UpstreamState::Healthy, 8));
}

// === whose turn ===

#[tokio::test(start_paused = true)]
async fn requests_are_dealt_evenly_to_those_that_are_left() {
    let (health, answers, gray) = some(4, settings().ejection_time(1000 * SECOND, 1000 * SECOND));
    for _ in 0..100 {
        ask(&gray).await.unwrap();
    }
    assert_eq!([0, 1, 2, 3].map(|at| answers.seen(at)), [25; 4]);

    answers.set(1, ERROR);
    for _ in 0..12 {
        let _ = ask(&gray).await;
    }
    assert!(is_ejected(&health, 1));
    let before = [0, 1, 2, 3].map(|at| answers.seen(at));
    for _ in 0..300 {
        assert_eq!(ask(&gray).await.unwrap().status(), StatusCode::OK);
    }
    let more: Vec<_> = (0..4).map(|at| answers.seen(at) - before[at]).collect();
    assert_eq!(more, [100, 0, 100, 100]);
}

#[tokio::test(start_paused = true)]
async fn without_an_upstream_left_the_answer_is_a_503_at_once_that_says_when() {
    let (health, answers, gray) = some(2, settings().ejection_time(7 * SECOND / 2, 8 * SECOND));
    (0..2).for_each(|at| answers.set(at, ERROR));
    fail(&gray, 6).await;
    assert!(!health.is_available(0));
    let seen = answers.seen(0) + answers.seen(1);
    for _ in 0..50 {
        let begin = Instant::now();
        let response = ask(&gray).await.unwrap();
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "4");
        assert_eq!(response.extensions().get(), Some(&Refused::Unavailable));
    }
    assert_eq!(answers.seen(0) + answers.seen(1), seen);
    assert_eq!(health.status().clusters[0].unavailable, 50);
}

// === back ===

fn mocked(settings: HealthSettings) -> (Health, Upstreams<Mocked>, Handle) {
    let health = Health::new(&engine(), settings);
    let (service, mut handle) = mock::pair();
    handle.allow(u64::MAX);
    let gray = health.upstreams("gray", [("u0", service)]).unwrap();
    (health, gray, handle)
}

type Call = tokio::task::JoinHandle<Result<Response<&'static str>, tower::BoxError>>;

fn call(gray: &Upstreams<Mocked>) -> Call {
    let future: UpstreamsFuture<Oneshot<Mocked, Request<()>>> = gray.clone().call(Request::new(()));
    tokio::spawn(future)
}

async fn fail_all(gray: &Upstreams<Mocked>, handle: &mut Handle, times: usize) {
    for _ in 0..times {
        let task = call(gray);
        handle.next_request().await.unwrap().1.send_error("down");
        assert!(task.await.unwrap().is_err());
    }
}

async fn refused(gray: &Upstreams<Mocked>) -> bool {
    let mut gray = gray.clone();
    let response = tokio::time::timeout(Duration::ZERO, gray.call(Request::new(()))).await;
    response.is_ok_and(|response| response.unwrap().extensions().get() == Some(&Refused::Unavailable))
}

#[tokio::test(start_paused = true)]
async fn one_request_alone_probes_and_its_success_brings_the_upstream_back() {
    let (health, gray, mut handle) = mocked(settings());
    fail_all(&gray, &mut handle, 3).await;
    advance(SECOND - Duration::from_millis(1)).await;
    assert!(!health.is_available(0) && refused(&gray).await);
    advance(Duration::from_millis(1)).await;

    // Asking claims nothing, however often.
    assert!((0..10).all(|_| health.is_available(0)));
    assert_eq!(state(&health, 0).to_string(), "ejected, due a probe");
    let probe = call(&gray);
    assert_eq!(state(&health, 0), UpstreamState::Probing);
    assert!(!health.is_available(0));
    for _ in 0..10 {
        assert!(refused(&gray).await);
    }
    let (_, answer) = handle.next_request().await.unwrap();
    assert!(handle.poll_request().is_pending(), "only one");
    answer.send_response(Response::new("back"));
    assert_eq!(probe.await.unwrap().unwrap().into_body(), "back");
    assert_eq!(state(&health, 0), UpstreamState::Healthy);
    assert!(health.is_available(0));
    let UpstreamHealth { ejections, probes, consecutive_failures, .. } = upstream(&health, 0);
    assert_eq!((ejections, probes, consecutive_failures), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn each_probe_that_fails_doubles_the_time_up_to_the_most() {
    let (health, gray, mut handle) = mocked(settings());
    fail_all(&gray, &mut handle, 3).await;
    for seconds in [1, 2, 4, 8, 8, 8] {
        assert_eq!(state(&health, 0).to_string(), format!("ejected, due a probe in {seconds}.0 s"));
        advance(seconds * SECOND - Duration::from_millis(1)).await;
        assert!(refused(&gray).await);
        advance(Duration::from_millis(1)).await;
        fail_all(&gray, &mut handle, 1).await;
    }
    assert_eq!((upstream(&health, 0).ejections, upstream(&health, 0).probes), (1, 6));
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_again_soon_after_it_came_back_is_out_for_longer() {
    let (health, gray, mut handle) = mocked(settings());
    let succeed = async |handle: &mut Handle| {
        let task = call(&gray);
        handle.next_request().await.unwrap().1.send_response(Response::new(""));
        assert!(task.await.unwrap().is_ok());
    };
    for (back_for, seconds) in [(0, 1), (0, 2), (1, 4), (3, 8), (9, 1)] {
        advance(back_for * SECOND).await;
        fail_all(&gray, &mut handle, 3).await;
        let expected = format!("ejected, due a probe in {seconds}.0 s");
        assert_eq!(state(&health, 0).to_string(), expected, "back for {back_for} s");
        advance(seconds * SECOND).await;
        succeed(&mut handle).await;
        assert_eq!(state(&health, 0), UpstreamState::Healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_abandoned_says_nothing_and_another_follows() {
    let (health, gray, mut handle) = mocked(settings());
    fail_all(&gray, &mut handle, 3).await;
    advance(SECOND).await;
    fail_all(&gray, &mut handle, 1).await;
    advance(2 * SECOND).await;
    let probe = call(&gray);
    let held = handle.next_request().await.unwrap();
    probe.abort();
    assert!(probe.await.unwrap_err().is_cancelled());
    drop(held);
    // As long as the first time, and not for ever.
    assert_eq!(state(&health, 0).to_string(), "ejected, due a probe in 1.0 s");
    advance(SECOND).await;
    // The failures before it are not forgotten.
    fail_all(&gray, &mut handle, 1).await;
    assert_eq!(state(&health, 0).to_string(), "ejected, due a probe in 4.0 s");
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_never_polled_gives_the_probe_back() {
    let (health, gray, mut handle) = mocked(settings());
    fail_all(&gray, &mut handle, 3).await;
    advance(SECOND).await;
    drop(gray.clone().call(Request::new(())));
    advance(SECOND).await;
    assert!(health.is_available(0));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_ends_with_the_timeout() {
    let (health, gray, mut handle) = mocked(settings().timeout(5 * SECOND));
    fail_all(&gray, &mut handle, 3).await;
    advance(SECOND).await;
    let probe = call(&gray);
    let held = handle.next_request().await.unwrap();
    assert_eq!(probe.await.unwrap().unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(state(&health, 0).to_string(), "ejected, due a probe in 2.0 s");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn what_began_before_an_upstream_was_taken_out_changes_nothing_later() {
    let (health, gray, mut handle) = mocked(settings().timeout(100 * SECOND));
    let old: Vec<_> = (0..10).map(|_| call(&gray)).collect();
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(handle.next_request().await.unwrap().1);
    }
    fail_all(&gray, &mut handle, 3).await;

    // While it is out: no success brings it back.
    held.pop().unwrap().send_response(Response::new("late"));
    tokio::task::yield_now().await;
    assert!(is_ejected(&health, 0));
    // While it is probed.
    advance(SECOND).await;
    let probe = call(&gray);
    let (_, answer) = handle.next_request().await.unwrap();
    held.pop().unwrap().send_response(Response::new("late"));
    held.pop().unwrap().send_error("late");
    tokio::task::yield_now().await;
    assert_eq!(state(&health, 0), UpstreamState::Probing);
    answer.send_response(Response::new("back"));
    assert!(probe.await.unwrap().is_ok());
    // And when it is back: seven failures of before do not take it out.
    held.into_iter().for_each(|answer| answer.send_error("late"));
    for task in old {
        let _ = task.await.unwrap();
    }
    assert_eq!(state(&health, 0), UpstreamState::Healthy);
    assert_eq!(upstream(&health, 0).failures, 11);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_client_left_or_that_was_shed_before_it_is_no_failure() {
    let health = Health::new(&engine(), settings().consecutive_failures(1));
    let (service, mut handle): (Mocked, Handle) = mock::pair();
    handle.allow(u64::MAX);
    let bounded = IsolateLayer::new().concurrency(1).layer(service);
    let gray = health.upstreams("gray", [("u0", bounded)]).unwrap();
    let task = tokio::spawn(gray.clone().oneshot(Request::new(())));
    let held = handle.next_request().await.unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&gray).await.unwrap().extensions().get(), Some(&Refused::Shed));
    }
    task.abort();
    let _ = task.await;
    drop(held);
    assert_eq!((state(&health, 0), upstream(&health, 0).failures), (UpstreamState::Healthy, 0));
}

#[tokio::test(start_paused = true)]
async fn jitter_adds_up_to_its_share_and_differs() {
    let mut times = Vec::new();
    for _ in 0..100 {
        let (health, answers, gray) = some(1, settings().jitter(0.5));
        answers.set(0, ERROR);
        fail(&gray, 3).await;
        let UpstreamState::Ejected { due_in, .. } = state(&health, 0) else { panic!("is out") };
        times.push(due_in);
    }
    assert!(times.iter().all(|time| (SECOND..=SECOND * 3 / 2).contains(time)), "{times:?}");
    assert!(*times.iter().max().unwrap() - *times.iter().min().unwrap() > SECOND / 4, "{times:?}");
}

#[test]
fn of_many_threads_one_has_the_probe() {
    // Real time and real threads: what is looked at is who got through.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let base = Duration::from_millis(20);
        let settings = settings().consecutive_failures(1).ejection_time(base, base);
        let (health, answers, gray) = some(1, settings);
        answers.set(0, ERROR);
        let end = Instant::now() + Duration::from_millis(500);
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (gray, health) = (gray.clone(), health.clone());
                tokio::spawn(async move {
                    while Instant::now() < end {
                        if health.is_available(0) {
                            let _ = ask(&gray).await;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let seen = upstream(&health, 0);
        // Before the first failure was known, each thread may have got one through.
        assert!((seen.probes..=seen.probes + 8).contains(&seen.requests), "{seen:?}");
        assert_eq!(seen.requests, seen.failures);
        assert_eq!(answers.seen(0) as u64, seen.requests);
        assert!((1..=25).contains(&seen.probes), "one each 20 ms: {seen:?}");
    });
}

// === joining ===

// === decided ===

/// Gray, which has `prod` as its fallback, and what decides by `available`.
fn decided(
    settings: HealthSettings,
    available: impl Fn(&Health, usize, &mut Extensions) -> bool + Send + Sync + 'static,
) -> (
    Health,
    Answers,
    impl Service<Request<()>, Response = Response<usize>, Error = &'static str, Future: Send> + Clone,
) {
    let rules = "route only: header(x-only) == \"gray\" => gray\ndefault => gray else prod";
    let engine = Engine::builder().clusters(["gray", "prod"]).build(rules).unwrap();
    let health = Health::new(&engine, settings);
    let answers = Answers::new(1);
    let gray = health.upstreams("gray", answers.services()).unwrap();
    let prod =
        BoxCloneSyncService::new(service_fn(|_: Request<()>| ready(Ok::<_, &str>(Response::new(PROD)))));
    let prod = health.upstreams("prod", [("prod", prod)]).unwrap();
    let clusters = Clusters::new(&engine, [("gray", gray), ("prod", prod)]).unwrap();
    let asked = health.clone();
    let layer = TrafficSplitLayer::new(engine)
        .available_with(move |cluster, extensions| available(&asked, cluster, extensions));
    // What is between may take its time, and what it has not sent yet is decided.
    let between = service_fn(move |request: Request<()>| {
        let clusters = clusters.clone();
        async move {
            tokio::task::yield_now().await;
            clusters.oneshot(request).await
        }
    });
    (health, answers, layer.layer(between))
}

const PROD: usize = 99;

fn reserve(health: &Health, cluster: usize, extensions: &mut Extensions) -> bool {
    health.reserve(cluster, extensions)
}

#[tokio::test(start_paused = true)]
async fn of_requests_decided_while_a_probe_is_due_one_has_it_and_the_others_their_fallback() {
    let (health, answers, mut gateway) = decided(settings(), reserve);
    answers.set(0, ERROR);
    for _ in 0..3 {
        assert!(gateway.call(Request::new(())).await.is_err());
    }
    assert_eq!(gateway.call(Request::new(())).await.unwrap().into_body(), PROD);
    answers.set(0, 200);
    advance(SECOND).await;
    // All are decided before the first is sent.
    let calls: Vec<_> = (0..10).map(|_| gateway.call(Request::new(()))).collect();
    let mut bodies = Vec::new();
    for call in calls.into_iter().rev() {
        let response = call.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        bodies.push(response.into_body());
    }
    bodies.sort_unstable();
    assert_eq!((bodies[0], &bodies[1..]), (0, &[PROD; 9][..]));
    assert_eq!((upstream(&health, 0).probes, state(&health, 0)), (1, UpstreamState::Healthy));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_was_kept_for_a_request_that_is_not_sent_is_due_again_at_once() {
    let (health, answers, mut gateway) = decided(settings(), reserve);
    answers.set(0, ERROR);
    for _ in 0..3 {
        assert!(gateway.call(Request::new(())).await.is_err());
    }
    advance(SECOND).await;
    let decided = gateway.call(Request::new(()));
    assert_eq!(state(&health, 0), UpstreamState::Probing);
    assert!(!health.is_available(0));
    // As when it was denied, or the client went away before it was sent.
    drop(decided);
    assert!(is_ejected(&health, 0) && health.is_available(0));
    assert_eq!((upstream(&health, 0).probes, upstream(&health, 0).requests), (0, 3));
    answers.set(0, 200);
    assert_eq!(gateway.call(Request::new(())).await.unwrap().into_body(), 0);
    assert_eq!((upstream(&health, 0).probes, state(&health, 0)), (1, UpstreamState::Healthy));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_one_request_is_not_anothers() {
    let (health, answers, mut gateway) = decided(settings(), reserve);
    answers.set(0, ERROR);
    for _ in 0..3 {
        assert!(gateway.call(Request::new(())).await.is_err());
    }
    answers.set(0, 200);
    advance(SECOND).await;
    let kept = gateway.call(Request::new(()));
    // It has no `else`, so nobody asked for it; then the probe is not its own.
    let only = Request::get("/").header("x-only", "gray").body(()).unwrap();
    let refused = gateway.call(only).await.unwrap();
    assert_eq!(refused.extensions().get(), Some(&Refused::Unavailable));
    assert_eq!(kept.await.unwrap().into_body(), 0);
    assert_eq!(upstream(&health, 0).probes, 1);
    // A claim for one cluster is none for another, and asking twice for one request keeps one.
    for _ in 0..3 {
        answers.set(0, ERROR);
        assert!(gateway.call(Request::new(())).await.is_err());
    }
    advance(8 * SECOND).await;
    let mut extensions = Extensions::new();
    assert!(health.reserve(0, &mut extensions) && health.reserve(0, &mut extensions));
    assert!(health.reserve(1, &mut extensions) && health.reserve(usize::MAX, &mut extensions));
    assert!(!health.reserve(0, &mut Extensions::new()));
    drop(extensions);
    assert!(health.is_available(0));
}

#[tokio::test(start_paused = true)]
async fn where_a_copy_goes_keeps_no_probe_and_the_request_of_a_copy_for_the_same_cluster_has_it() {
    for (default, has_it) in [("prod", false), ("gray else prod", true)] {
        let rules = format!("cluster c = gray else prod\nmirror m: true => c\ndefault => {default}");
        let schema = Schema::new().clusters(["gray", "prod"]).gateway([StatementKind::Mirror]);
        let engine = Engine::builder().schema(schema).build(rules).unwrap();
        let health = Health::new(&engine, settings().consecutive_failures(1));
        let gray = health.watch("gray", ["u0"]).unwrap();
        gray.begin(0).unwrap().failed();
        advance(SECOND).await;
        let asked = health.clone();
        let layer = TrafficSplitLayer::new(engine)
            .available_with(move |cluster, extensions| asked.reserve(cluster, extensions));
        let service = layer.layer(service_fn(|request| ready(Ok::<_, &str>(Response::new(request)))));
        let mut request = service.oneshot(Request::new(())).await.unwrap().into_body();
        let decision = request.extensions().get::<Decision>().unwrap();
        assert_eq!(decision.cluster(), if has_it { "gray" } else { "prod" });
        assert_eq!(decision.matches().next().unwrap().cluster_index(), Some(0));
        // The request is still under way.
        assert_eq!(health.is_available(0), !has_it);
        assert_eq!(gray.begin_reserved(request.extensions_mut()).is_some(), has_it);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_no_request_with_a_fallback_is_refused_while_its_cluster_is_probed() {
    let quick = settings().consecutive_failures(1).ejection_time(SECOND / 1000, SECOND / 1000);
    let (health, answers, mut gateway) = decided(quick, reserve);
    answers.set(0, 502);
    // Out, and each probe fails.
    assert_eq!(gateway.call(Request::new(())).await.unwrap().status(), StatusCode::BAD_GATEWAY);
    let threads = (0..4).map(|_| {
        let mut gateway = gateway.clone();
        tokio::spawn(async move {
            let (mut refused, mut fell_back) = (0, 0);
            for _ in 0..5_000 {
                let call = gateway.call(Request::new(()));
                tokio::task::yield_now().await;
                let response = call.await.unwrap();
                refused += usize::from(response.extensions().get() == Some(&Refused::Unavailable));
                fell_back += usize::from(*response.body() == PROD);
            }
            (refused, fell_back)
        })
    });
    let threads: Vec<_> = threads.collect();
    let (mut refused, mut fell_back) = (0, 0);
    for thread in threads {
        let counts = thread.await.unwrap();
        refused += counts.0;
        fell_back += counts.1;
    }
    let probes = upstream(&health, 0).probes;
    println!("{probes} probes and {fell_back} fallbacks of 20,000 requests, {refused} refused");
    assert_eq!(refused, 0);
    assert!(probes > 1 && fell_back > 0);
}

#[test]
fn upstreams_that_do_not_fit_are_named() {
    let health = Health::new(&engine(), settings());
    let give = |cluster: &str, names: &[&str]| {
        let services = names.iter().map(|name| (*name, Answers::new(1).services().remove(0).1));
        health.upstreams(cluster, services)
    };
    for (cluster, names, kind, message) in [
        (
            "gary",
            &["a"][..],
            UpstreamsErrorKind::UnknownCluster,
            "no cluster `gary` is declared, did you mean `gray`?",
        ),
        ("gray", &[], UpstreamsErrorKind::Empty, "the cluster `gray` is given no upstream"),
        (
            "gray",
            &["a", "b", "a"],
            UpstreamsErrorKind::DuplicateName,
            "the cluster `gray` is given two upstreams `a`",
        ),
    ] {
        let error = give(cluster, names).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str(), error.cluster()), (kind, message, cluster));
    }
    // None of these took the place.
    give("gray", &["a", "b"]).unwrap();
    let error = give("gray", &["c"]).unwrap_err();
    assert_eq!(error.kind(), UpstreamsErrorKind::GivenTwice);
    // Nobody looks after these.
    assert!(health.is_available(1) && health.is_available(99));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_may_have_settings_of_its_own() {
    let health = Health::new(&engine(), settings());
    let answers = Answers::new(1);
    let own = settings().consecutive_failures(1);
    let gray = health.upstreams_with(own, "gray", answers.services()).unwrap();
    answers.set(0, ERROR);
    fail(&gray, 1).await;
    assert!(is_ejected(&health, 0));
}

#[tokio::test(start_paused = true)]
async fn no_setting_makes_a_busy_loop_or_a_time_that_overflows() {
    let zero = HealthSettings::new()
        .consecutive_failures(1)
        .ejection_time(Duration::ZERO, Duration::ZERO)
        .jitter(f64::NAN);
    let (health, answers, gray) = some(1, zero);
    answers.set(0, ERROR);
    fail(&gray, 1).await;
    assert!(!health.is_available(0), "for a millisecond");
    advance(Duration::from_millis(1)).await;
    assert!(health.is_available(0));

    let most = HealthSettings::new()
        .consecutive_failures(1)
        .failure_rate(f64::NAN, 0, Duration::ZERO)
        .timeout(Duration::MAX)
        .ejection_time(Duration::MAX, Duration::MAX)
        .jitter(f64::INFINITY);
    let (health, answers, gray) = some(1, most);
    answers.set(0, ERROR);
    fail(&gray, 1).await;
    assert!(is_ejected(&health, 0) && !health.is_available(0));
    assert_eq!(ask(&gray).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn the_status_prints_and_serialises() {
    let (health, answers, gray) = some(2, settings());
    answers.set(1, ERROR);
    for _ in 0..6 {
        let _ = ask(&gray).await;
    }
    assert_eq!(
        health.status().to_string(),
        "gray: available, 0 requests refused\n  \
         u0: healthy; requests 3, failures 0 (0 in a row), ejections 0, probes 0\n  \
         u1: ejected, due a probe in 1.0 s; requests 3, failures 3 (3 in a row), ejections 1, probes 0"
    );
    #[cfg(feature = "serde")]
    {
        let json = serde_json::to_value(health.status()).unwrap();
        assert_eq!(json["clusters"][0]["upstreams"][0]["state"], "healthy");
        assert_eq!(json["clusters"][0]["upstreams"][1]["state"]["ejected"]["due_in_seconds"], 1.0);
    }
}

#[tokio::test]
async fn choosing_and_asking_allocate_nothing() {
    let health = Health::new(&engine(), settings().failure_rate(0.5, 20, SECOND));
    // One of three is out, so that it is looked at each.
    let upstream = |works: bool| {
        service_fn(move |_: Request<()>| ready(if works { Ok(Response::new(())) } else { Err("down") }))
    };
    let gray = [("a", upstream(true)), ("b", upstream(false)), ("c", upstream(true))];
    let gray = health.upstreams("gray", gray).unwrap();
    for _ in 0..9 {
        let _ = ask(&gray).await;
    }
    assert!(is_ejected(&health, 1));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        let request = Request::new(());
        let seen = allocation_counter::measure(|| {
            assert!(health.is_available(0));
            let response = pin!(gray.clone().oneshot(request)).poll(&mut context);
            assert!(matches!(response, Poll::Ready(Ok(_))));
        });
        assert_eq!(seen.count_total, 0);
    }
}

#[cfg(feature = "tracing")]
#[tokio::test(start_paused = true)]
async fn the_log_says_who_was_taken_out_and_came_back() {
    use std::io;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    // Twice: what other tests say first, while only this thread listens, nobody hears from then on, until all is asked again.
    for _ in 0..2 {
        tracing::callsite::rebuild_interest_cache();
        log.0.lock().unwrap().clear();
        let (_health, answers, gray) = some(1, settings());
        answers.set(0, ERROR);
        fail(&gray, 3).await;
        advance(SECOND).await;
        fail(&gray, 1).await;
        advance(2 * SECOND).await;
        answers.set(0, 200);
        ask(&gray).await.unwrap();
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = log.lines().map(|line| line.trim().split_once(' ').unwrap()).collect();
    assert_eq!(
        lines,
        [
            ("WARN", "pointsman: upstream taken out cluster=gray upstream=u0 failures=3 seconds=1.0"),
            ("INFO", "pointsman: upstream stays out cluster=gray upstream=u0 seconds=2.0"),
            ("INFO", "pointsman: upstream is back cluster=gray upstream=u0"),
        ]
    );
}

// === chosen by the application ===

fn watched(settings: HealthSettings) -> (Health, Watched) {
    let health = Health::new(&engine(), settings);
    let gray = health.watch("gray", ["u0", "u1"]).unwrap();
    (health, gray)
}

#[tokio::test(start_paused = true)]
async fn what_one_clone_is_told_all_know() {
    let (health, gray) = watched(settings());
    let others: Vec<_> = (0..3).map(|_| gray.clone()).collect();
    for other in &others {
        assert!(gray.all_healthy() && gray.is_usable(0));
        other.begin(0).unwrap().failed();
    }
    assert!(is_ejected(&health, 0) && !gray.all_healthy());
    for other in &others {
        assert!(!other.is_usable(0) && other.begin(0).is_none());
        assert!(other.is_usable(1));
        other.begin(1).unwrap().succeeded();
    }
    assert!(health.is_available(0));
    assert_eq!((upstream(&health, 0).requests, upstream(&health, 1).requests), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn the_probe_that_is_due_is_one_attempt_and_decides() {
    let (health, gray) = watched(settings());
    (0..3).for_each(|_| gray.begin(0).unwrap().failed());
    advance(SECOND).await;
    assert!(gray.is_usable(0));
    let probe = gray.begin(0).unwrap();
    assert!(!gray.is_usable(0) && gray.begin(0).is_none(), "one alone probes");
    probe.failed();
    advance(SECOND).await;
    assert!(!gray.is_usable(0), "twice as long");
    advance(SECOND).await;
    gray.begin(0).unwrap().succeeded();
    assert_eq!(state(&health, 0), UpstreamState::Healthy);
    assert!(gray.all_healthy());
    assert_eq!(upstream(&health, 0).probes, 2);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_was_kept_is_begun_by_its_request() {
    let (health, gray) = watched(settings());
    for _ in 0..6 {
        let at = usize::from(!gray.is_usable(0));
        gray.begin(at).unwrap().failed();
    }
    assert!(!health.is_available(0));
    advance(SECOND).await;
    let (mut one, mut other, mut none) = (Extensions::new(), Extensions::new(), Extensions::new());
    // Two are out, and both are due.
    assert!(health.reserve(0, &mut one) && health.reserve(0, &mut other));
    assert!(!health.reserve(0, &mut none) && !gray.is_usable(0) && !gray.is_usable(1));
    assert!(gray.begin_reserved(&mut none).is_none());
    let (first, attempt) = gray.begin_reserved(&mut one).unwrap();
    attempt.succeeded();
    assert!(gray.is_usable(first) && gray.begin_reserved(&mut one).is_none());
    let (second, attempt) = gray.begin_reserved(&mut other).unwrap();
    attempt.failed();
    assert!(first != second && !gray.is_usable(second));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_dropped_says_nothing_and_a_status_says_what_the_settings_say() {
    let (health, gray) = watched(settings());
    for _ in 0..10 {
        drop(gray.begin(0).unwrap());
    }
    (0..2).for_each(|_| gray.begin(0).unwrap().responded(StatusCode::BAD_GATEWAY));
    gray.begin(0).unwrap().responded(StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!((upstream(&health, 0).failures, upstream(&health, 0).consecutive_failures), (2, 0));
    (0..3).for_each(|_| gray.begin(0).unwrap().responded(StatusCode::BAD_GATEWAY));
    assert!(is_ejected(&health, 0));
    // A probe that nobody waits for is no success.
    advance(SECOND).await;
    drop(gray.begin(0).unwrap());
    assert!(is_ejected(&health, 0));
}

#[tokio::test(start_paused = true)]
async fn who_finds_none_is_counted_and_told_when_to_come_again() {
    let (health, gray) = watched(settings());
    for at in [0, 1] {
        (0..3).for_each(|_| gray.begin(at).unwrap().failed());
        advance(SECOND / 4).await;
    }
    assert!(!health.is_available(0) && health.is_available(1));
    assert_eq!(gray.refused(), SECOND / 2);
    assert_eq!(health.status().clusters[0].unavailable, 1);
    assert!(gray.begin(2).is_none() && !gray.is_usable(2));
}

#[tokio::test]
async fn a_cluster_is_watched_or_has_services() {
    let (health, _) = watched(settings());
    let kind = |watched: Result<Watched, pointsman::middleware::UpstreamsError>| watched.unwrap_err().kind();
    assert_eq!(kind(health.watch("gray", ["u0"])), UpstreamsErrorKind::GivenTwice);
    assert_eq!(kind(health.watch("grey", ["u0"])), UpstreamsErrorKind::UnknownCluster);
    assert_eq!(kind(health.watch("prod", ["u0", "u0"])), UpstreamsErrorKind::DuplicateName);
    assert_eq!(kind(health.watch("prod", [""; 0])), UpstreamsErrorKind::Empty);
}
