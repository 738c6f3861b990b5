//! The cache: RFC 9111 case by case, and what a table cannot show: many at once, bodies that stream, bounds, purges.
#![cfg(feature = "cache")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use pointsman::gateway::cache::{CacheBody, CacheBuilder, CacheRuleCounts, Refusal};
use pointsman::gateway::{CacheLayer, ResponseCache};
use pointsman::schema::StatementKind;
use pointsman::{Engine, Schema, TrafficSplitLayer};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt, service_fn};

type Answer<B> = Response<CacheBody<B>>;
/// A request's body.
type Sent = String;
type Client<B> = BoxCloneService<Request<Sent>, Answer<B>, &'static str>;

/// 2023-11-14 22:13:20.
fn begin() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// Milliseconds since then.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn set(&self, seconds: u64) {
        self.0.store(seconds * 1000, SeqCst);
    }

    fn layer(&self, builder: CacheBuilder) -> CacheLayer {
        let clock = self.0.clone();
        builder.clock(move || begin() + Duration::from_millis(clock.load(SeqCst))).build()
    }
}

fn engine(rules: &str) -> Engine {
    let schema = Schema::new().clusters(["gray", "prod"]).gateway([StatementKind::Cache]);
    Engine::builder()
        .schema(schema)
        .build(format!("{rules}\nroute g: header(x-gray) == \"1\" => gray\ndefault => prod"))
        .unwrap()
}

fn client<S, B>(engine: &Engine, layer: &CacheLayer, backend: S) -> Client<B>
where
    S: Service<Request<Sent>, Response = Response<B>, Error = &'static str> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Error: Send,
{
    BoxCloneService::new(TrafficSplitLayer::new(engine.clone()).layer(layer.layer(backend)))
}

fn get(path: &str) -> Request<Sent> {
    Request::get(path).body(Sent::new()).unwrap()
}

/// Lets all tasks run until none has anything more to do at this time.
async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

async fn text<B: Body<Data: Send, Error: std::fmt::Debug>>(response: Answer<B>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn counts(cache: &ResponseCache) -> CacheRuleCounts {
    cache.counts().rules.remove(0)
}

// === RFC 9111 ===

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "a_minute")]
    rule: String,
    steps: Vec<Step>,
}

fn a_minute() -> String {
    "60s".to_owned()
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at: Option<u64>,
    method: Option<String>,
    path: Option<String>,
    #[serde(default)]
    ask: Fields,
    backend: Option<Backend>,
    is: Option<Values>,
    status: Option<Status>,
    body: Option<String>,
    age: Option<u64>,
    #[serde(default)]
    has: Fields,
    #[serde(default)]
    lacks: Vec<String>,
    #[serde(default)]
    sent: Fields,
    #[serde(default)]
    kept: Vec<String>,
    calls: Option<usize>,
}

type Fields = BTreeMap<String, Values>;

#[derive(serde::Deserialize, Clone)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

#[derive(serde::Deserialize, Clone)]
#[serde(untagged)]
enum Backend {
    Fails(#[allow(dead_code, reason = "its text is for the reader")] String),
    Answers(BTreeMap<String, serde_json::Value>),
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Status {
    Code(u16),
    Fails(#[allow(dead_code, reason = "its text is for the reader")] String),
}

impl Values {
    /// With dates in the place of `@30`.
    fn all(&self) -> Vec<String> {
        let date = |text: &String| match text.strip_prefix('@').map(|seconds| seconds.parse::<i64>().unwrap())
        {
            Some(seconds) => {
                let at = SystemTime::UNIX_EPOCH
                    + Duration::from_secs(1_700_000_000u64.saturating_add_signed(seconds));
                httpdate::fmt_http_date(at)
            }
            None => text.clone(),
        };
        match self {
            Values::One(text) => vec![date(text)],
            Values::Several(texts) => texts.iter().map(date).collect(),
        }
    }
}

fn put(fields: &Fields, headers: &mut HeaderMap) {
    for (name, values) in fields {
        for value in values.all() {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
    }
}

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[derive(Default)]
struct Origin {
    answers: Option<Backend>,
    calls: usize,
    last: HeaderMap,
}

fn from_origin(
    origin: &Mutex<Origin>,
    request: &Request<Sent>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let mut origin = origin.lock().unwrap();
    origin.calls += 1;
    origin.last = request.headers().clone();
    let Some(Backend::Answers(fields)) = &origin.answers else { return Err("away") };
    let status = fields.get("status").map_or(200, |status| status.as_u64().unwrap() as u16);
    let bodiless = [204, 304].contains(&status) || request.method() == Method::HEAD;
    let body = if bodiless { String::new() } else { origin.calls.to_string() };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let fields = fields.iter().filter(|(name, _)| *name != "status");
    let fields = fields.map(|(name, value)| (name.clone(), serde_json::from_value(value.clone()).unwrap()));
    put(&fields.collect(), response.headers_mut());
    Ok(response)
}

/// What is wrong, if anything is.
async fn run(case: &Case) -> Result<(), String> {
    let clock = Clock::default();
    let layer = clock.layer(CacheLayer::builder().cache_status("t"));
    let origin = Arc::new(Mutex::new(Origin::default()));
    let inner = origin.clone();
    let backend = service_fn(move |request: Request<Sent>| {
        let response = from_origin(&inner, &request);
        async move { response }
    });
    let client = client(&engine(&format!("cache c: true => {}", case.rule)), &layer, backend);
    for (at, step) in case.steps.iter().enumerate() {
        if let Some(seconds) = step.at {
            clock.set(seconds);
        }
        if let Some(backend) = &step.backend {
            origin.lock().unwrap().answers = Some(backend.clone());
        }
        let mut request = Request::new(Sent::new());
        *request.method_mut() = step.method.as_deref().unwrap_or("GET").parse().unwrap();
        *request.uri_mut() = step.path.as_deref().unwrap_or("/").parse().unwrap();
        put(&step.ask, request.headers_mut());
        let result = client.clone().oneshot(request).await;
        let wrong = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
            Err(format!("{}\n  step {}: {what} is {found:?}, not {expected:?}", case.name, at + 1))
        };
        let response = match (result, &step.status) {
            (Err(_), Some(Status::Fails(_))) => continue,
            (Err(error), _) => return wrong("the response", &error, &"one"),
            (Ok(response), _) => response,
        };
        let status = match step.status {
            Some(Status::Code(code)) => code,
            Some(Status::Fails(_)) => return wrong("the response", &response.status(), &"an error"),
            None => 200,
        };
        if response.status() != status {
            return wrong("the status", &response.status(), &status);
        }
        let headers = response.headers().clone();
        if let Some(is) = &step.is {
            let is: Vec<_> = match is {
                Values::One(text) => vec![format!("t; {text}")],
                Values::Several(_) => {
                    let mut all = is.all();
                    let last = all.len() - 1;
                    all[last] = format!("t; {}", all[last]);
                    all
                }
            };
            if values(&headers, "cache-status") != is {
                return wrong("cache-status", &values(&headers, "cache-status"), &is);
            }
        }
        if let Some(age) = step.age
            && values(&headers, "age") != [age.to_string()]
        {
            return wrong("the age", &values(&headers, "age"), &age);
        }
        for (name, expected) in &step.has {
            if values(&headers, name) != expected.all() {
                return wrong(name, &values(&headers, name), &expected.all());
            }
        }
        for name in &step.lacks {
            if headers.contains_key(name) {
                return wrong(name, &values(&headers, name), &"absent");
            }
        }
        let body = text(response).await;
        if step.body.as_ref().is_some_and(|expected| body != *expected) {
            return wrong("the body", &body, &step.body);
        }
        settle().await;
        let origin = origin.lock().unwrap();
        for (name, expected) in &step.sent {
            if values(&origin.last, name) != expected.all() {
                return wrong(name, &values(&origin.last, name), &expected.all());
            }
        }
        for name in &step.kept {
            if origin.last.contains_key(name) {
                return wrong(name, &values(&origin.last, name), &"absent");
            }
        }
        if step.calls.is_some_and(|calls| calls != origin.calls) {
            return wrong("the number of calls", &origin.calls, &step.calls);
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn rfc_9111_case_by_case() {
    let cases =
        include_str!("cache/rfc9111.jsonl").lines().map(|line| serde_json::from_str::<Case>(line).unwrap());
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases {
        count += 1;
        wrong.extend(run(&case).await.err());
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    // Exactly, so that none is lost in silence.
    assert_eq!(count, 149);
}

/// Texts that some part of the way would take for something that they are not.
const ODD: &[&[u8]] = &[
    b"",
    b",",
    b"=",
    b"\"",
    b"\"\\",
    b"max-age",
    b"max-age=",
    b"max-age=\"",
    b"max-age=18446744073709551615",
    b"max-age=10, max-age=20",
    b"s-maxage=99999999999999999999, private=\"a",
    b"stale-while-revalidate=18446744073709551616",
    b"stale-if-error=4294967296, max-stale=18446744073709551615, min-fresh=18446744073709551615",
    b"no-cache=\"set-cookie\", must-revalidate",
    b"public, immutable",
    b"18446744073709551615",
    b"-1",
    b"0",
    b"*",
    b"W/",
    b"\"a\", W/\"b",
    b"x-odd, , cookie, \xff\xfe, a b",
    b"Thu, 01 Jan 1970 00:00:00 GMT",
    b"Fri, 31 Dec 9999 23:59:59 GMT",
    b"Thu, 01 Jan 0001 00:00:00 GMT",
    b"Sunday, 06-Nov-94 08:49:37 GMT",
    b"\xff\x80",
    b"304",
    b"a, close, x-odd, content-length",
];

/// Whatever stands in the header fields, there is an answer, and the time goes forwards and back.
#[tokio::test(start_paused = true)]
async fn nothing_in_a_header_field_makes_it_fail() {
    const FIELDS: [&str; 16] = [
        "cache-control",
        "pragma",
        "age",
        "date",
        "expires",
        "vary",
        "etag",
        "last-modified",
        "if-none-match",
        "if-modified-since",
        "connection",
        "cache-status",
        "content-length",
        "x-odd",
        "host",
        "set-cookie",
    ];
    const STATUSES: [u16; 8] = [200, 200, 200, 204, 304, 404, 503, 999];
    let mut state = 1_u64;
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let clock = Clock::default();
    let layer = clock.layer(CacheLayer::builder().cache_status("a \"b\" \u{e9}\n").capacity(100_000));
    let next: Arc<Mutex<(u16, HeaderMap)>> = Arc::default();
    let inner = next.clone();
    let backend = service_fn(move |_: Request<Sent>| {
        let (status, headers) = inner.lock().unwrap().clone();
        let mut response = Response::new(Full::<Bytes>::from("body"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        *response.headers_mut() = headers;
        async move { Ok(response) }
    });
    let client = client(&engine("cache c: true => 60s stale 60s with private, set_cookie"), &layer, backend);
    for round in 0..20_000 {
        let mut odd = |most: usize| {
            let mut headers = HeaderMap::new();
            for _ in 0..below(most) {
                let value = HeaderValue::from_bytes(ODD[below(ODD.len())]).unwrap();
                headers.append(FIELDS[below(FIELDS.len())], value);
            }
            (headers, below(1000))
        };
        let (headers, dice) = odd(8);
        *next.lock().unwrap() = (STATUSES[dice % STATUSES.len()], headers);
        let (headers, dice) = odd(4);
        clock.set(if dice % 10 == 0 { 0 } else { round * 5 + dice as u64 });
        let mut request = get(["/a", "/b", "/c"][dice % 3]);
        *request.headers_mut() = headers;
        let response = client.clone().oneshot(request).await.unwrap();
        assert!(response.headers().contains_key("cache-status"));
        if round % 50 == 0 {
            layer.cache().purge_all();
        }
        assert!(["body", ""].contains(&&*text(response).await));
    }
    let counts = layer.cache().counts();
    let rule = counts.rule("c").unwrap();
    assert!(
        rule.hits > 500 && rule.stale_hits > 100 && rule.revalidated > 50 && rule.stored > 500,
        "{counts:?}"
    );
}

// === what a response is stored under ===

/// Answers with how often it was called.
fn counting(
    calls: &Arc<AtomicUsize>,
) -> impl Service<Request<Sent>, Response = Response<Full<Bytes>>, Error = &'static str, Future: Send>
+ Clone
+ Send
+ use<> {
    let calls = calls.clone();
    service_fn(move |_: Request<Sent>| {
        let count = calls.fetch_add(1, SeqCst) + 1;
        async move { Ok(Response::new(Full::from(count.to_string()))) }
    })
}

#[tokio::test(start_paused = true)]
async fn clusters_keys_and_statements_have_responses_of_their_own() {
    let calls = Arc::default();
    let rules = "cache a: path under \"/a\" => 60s by header(x-user)\ncache all: true => 60s";
    let layer = CacheLayer::new();
    let client = client(&engine(rules), &layer, counting(&calls));
    let ask = async |path: &str, fields: &[(&'static str, &'static str)]| {
        let mut request = get(path);
        for (name, value) in fields {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        let body = text(client.clone().oneshot(request).await.unwrap()).await;
        settle().await;
        body
    };
    for _ in 0..2 {
        assert_eq!(ask("/a", &[("x-user", "1")]).await, "1");
        assert_eq!(ask("/a", &[("x-user", "2")]).await, "2");
        assert_eq!(ask("/a", &[("x-user", "1"), ("x-gray", "1")]).await, "3");
        // Without the key the statement does not apply, and the next one does.
        assert_eq!(ask("/a", &[]).await, "4");
        assert_eq!(ask("/b", &[]).await, "5");
    }
    let counts = layer.cache().counts();
    let names: Vec<_> =
        counts.rules.iter().map(|rule| (&*rule.name, rule.stored, rule.hits, rule.misses)).collect();
    assert_eq!(names, [("a", 3, 3, 3), ("all", 2, 2, 2)]);
    assert_eq!(counts.entries, 5);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_is_counted_and_does_not_act() {
    let calls = Arc::default();
    let layer = CacheLayer::builder().cache_status("t").build();
    let client = client(&engine("shadow cache c: true => 60s"), &layer, counting(&calls));
    for expected in ["1", "2"] {
        let response = client.clone().oneshot(get("/")).await.unwrap();
        assert!(!response.headers().contains_key("cache-status"));
        assert_eq!(text(response).await, expected);
    }
    let counts = counts(&layer.cache());
    assert_eq!((counts.shadowed, counts.misses, counts.stored), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_statement_that_goes_on_keeps_what_it_stored_and_one_that_changed_does_not() {
    let calls = Arc::default();
    let layer = CacheLayer::new();
    let engine = engine("cache c: path under \"/\" => 60s");
    let client = client(&engine, &layer, counting(&calls));
    let ask = async || {
        let body = text(client.clone().oneshot(get("/")).await.unwrap()).await;
        settle().await;
        body
    };
    assert_eq!(ask().await, "1");
    engine.replace("cache c: true => 60s\ndefault => prod").unwrap();
    assert_eq!(ask().await, "1");
    engine.replace("cache c: true => 50s\ndefault => prod").unwrap();
    assert_eq!(ask().await, "2");
    engine.replace("default => prod").unwrap();
    assert_eq!(ask().await, "3");
    // By its name all goes that it stored, before the change too.
    assert_eq!(layer.cache().purge_rule("c"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_changed_target_is_forgotten_under_every_statement_key_and_cluster() {
    let calls = Arc::default();
    let layer = CacheLayer::new();
    // The statements match no POST.
    let rules = "cache a: method == \"GET\" => 60s by header(x-user)\ncache b: method == \"GET\" => 60s";
    let client = client(&engine(rules), &layer, counting(&calls));
    let ask = async |method: &str, path: &str, field: &'static str| {
        let mut request = get(path);
        *request.method_mut() = method.parse().unwrap();
        if !field.is_empty() {
            request.headers_mut().insert(field, HeaderValue::from_static("1"));
        }
        let body = text(client.clone().oneshot(request).await.unwrap()).await;
        settle().await;
        body
    };
    for field in ["", "x-user", "x-gray"] {
        ask("GET", "/a", field).await;
    }
    ask("GET", "/b", "").await;
    assert_eq!(layer.cache().counts().entries, 4);
    ask("POST", "/a", "").await;
    let counts = layer.cache().counts();
    assert_eq!((counts.entries, counts.invalidated), (1, 3));
    assert_eq!(ask("GET", "/b", "").await, "4");
    assert_eq!(ask("GET", "/a", "").await, "6");
}

#[tokio::test(start_paused = true)]
async fn of_the_responses_that_vary_the_latest_are_kept() {
    let calls = Arc::new(AtomicUsize::new(0));
    let layer = CacheLayer::builder().variants(3).build();
    let inner = counting(&calls).map_response(|mut response| {
        response.headers_mut().insert("vary", HeaderValue::from_static("x-a"));
        response
    });
    let client = client(&engine("cache c: true => 60s"), &layer, inner);
    let ask = async |value: u16| {
        let mut request = get("/");
        request.headers_mut().insert("x-a", value.into());
        let body = text(client.clone().oneshot(request).await.unwrap()).await;
        settle().await;
        body
    };
    for value in 1..=4 {
        assert_eq!(ask(value).await, value.to_string());
    }
    for value in 2..=4 {
        assert_eq!(ask(value).await, value.to_string());
    }
    assert_eq!(ask(1).await, "5");
    assert_eq!(layer.cache().counts().entries, 1);
}

// === many at once ===

/// What a backend says to the first request, the second and so on.
type Answers = dyn Fn(usize, &Request<Sent>) -> Result<Response<Full<Bytes>>, &'static str> + Send + Sync;
type Answered = Result<Answer<Full<Bytes>>, &'static str>;

/// A backend that answers when it is let.
#[derive(Clone)]
struct Gate {
    calls: Arc<AtomicUsize>,
    open: Arc<Semaphore>,
    answer: Arc<Answers>,
}

impl Gate {
    fn new(
        answer: impl Fn(usize, &Request<Sent>) -> Result<Response<Full<Bytes>>, &'static str>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Gate { calls: Arc::default(), open: Arc::new(Semaphore::new(0)), answer: Arc::new(answer) }
    }

    fn saying(fields: &'static [(&'static str, &'static str)]) -> Self {
        Gate::new(move |call, _| {
            let mut response = Response::new(Full::from(call.to_string()));
            for (name, value) in fields {
                response.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            Ok(response)
        })
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    fn service(
        &self,
    ) -> impl Service<Request<Sent>, Response = Response<Full<Bytes>>, Error = &'static str, Future: Send>
    + Clone
    + Send
    + use<> {
        let gate = self.clone();
        service_fn(move |request: Request<Sent>| {
            let gate = gate.clone();
            let call = gate.calls.fetch_add(1, SeqCst) + 1;
            async move {
                gate.open.acquire().await.unwrap().forget();
                (gate.answer)(call, &request)
            }
        })
    }
}

fn stampede(
    client: &Client<Full<Bytes>>,
    count: usize,
    request: impl Fn(usize) -> Request<Sent>,
) -> Vec<JoinHandle<Answered>> {
    (0..count).map(|at| tokio::spawn(client.clone().oneshot(request(at)))).collect()
}

async fn bodies(answers: Vec<JoinHandle<Answered>>) -> BTreeMap<String, usize> {
    let mut bodies = BTreeMap::new();
    for answer in answers {
        let body = match answer.await.unwrap() {
            Ok(response) => text(response).await,
            Err(error) => error.to_owned(),
        };
        *bodies.entry(body).or_default() += 1;
    }
    bodies
}

fn said<const N: usize>(pairs: [(&str, usize); N]) -> BTreeMap<String, usize> {
    pairs.map(|(text, count)| (text.to_owned(), count)).into()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_for_one_missing_response_reach_the_backend_once() {
    let gate = Gate::saying(&[]);
    let layer = CacheLayer::new();
    let client = client(&engine("cache c: true => 60s"), &layer, gate.service());
    let answers = stampede(&client, 1000, |_| get("/"));
    settle().await;
    assert_eq!(gate.calls(), 1);
    gate.open.add_permits(1000);
    assert_eq!(bodies(answers).await, said([("1", 1000)]));
    let counts = counts(&layer.cache());
    assert_eq!((gate.calls(), counts.misses, counts.coalesced, counts.stored), (1, 1, 999, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_for_one_alone_lets_all_others_go_at_once() {
    let gate = Gate::saying(&[("cache-control", "private")]);
    let layer = CacheLayer::new();
    let client = client(&engine("cache c: true => 60s"), &layer, gate.service());
    let answers = stampede(&client, 100, |_| get("/"));
    settle().await;
    assert_eq!(gate.calls(), 1);
    gate.open.add_permits(1);
    settle().await;
    // All of them are there before any of them is answered.
    assert_eq!(gate.calls(), 100);
    gate.open.add_permits(99);
    let bodies = bodies(answers).await;
    assert_eq!((bodies.len(), bodies.values().max()), (100, Some(&1)));
    let counts = counts(&layer.cache());
    assert_eq!((counts.misses, counts.coalesced, counts.refused(Refusal::Private)), (100, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_was_for_one_alone_lately() {
    let gate = Gate::saying(&[("cache-control", "private")]);
    let layer = CacheLayer::new();
    let client = client(&engine("cache c: true => 60s"), &layer, gate.service());
    gate.open.add_permits(1);
    client.clone().oneshot(get("/")).await.unwrap();
    let answers = stampede(&client, 10, |_| get("/"));
    settle().await;
    assert_eq!(gate.calls(), 11, "all at once");
    gate.open.add_permits(10);
    assert_eq!(bodies(answers).await.len(), 10);
    // Of another thing nothing is known, and after some seconds of this one neither.
    tokio::time::advance(Duration::from_secs(6)).await;
    for (path, calls) in [("/other", 12), ("/", 22)] {
        let answers = stampede(&client, 10, |_| get(path));
        settle().await;
        assert_eq!(gate.calls(), calls, "{path}");
        gate.open.add_permits(10);
        assert_eq!(bodies(answers).await.len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_one_who_goes_is_cancelled_another_goes() {
    let gate = Gate::saying(&[]);
    let layer = CacheLayer::new();
    let client = client(&engine("cache c: true => 60s"), &layer, gate.service());
    let mut answers = stampede(&client, 10, |_| get("/"));
    settle().await;
    let first = answers.remove(0);
    first.abort();
    settle().await;
    assert_eq!(gate.calls(), 2);
    gate.open.add_permits(10);
    assert_eq!(bodies(answers).await, said([("2", 9)]));
    assert_eq!(gate.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_the_backend_fails_another_goes_and_then_all() {
    let gate = Gate::new(|_, _| Err("away"));
    let layer = CacheLayer::new();
    let client = client(&engine("cache c: true => 60s"), &layer, gate.service());
    let answers = stampede(&client, 10, |_| get("/"));
    for calls in [1, 2, 3, 10] {
        settle().await;
        assert_eq!(gate.calls(), calls);
        gate.open.add_permits(1);
    }
    gate.open.add_permits(10);
    assert_eq!(bodies(answers).await, said([("away", 10)]));
}

#[tokio::test(start_paused = true)]
async fn when_the_backend_fails_all_who_wait_have_what_is_stale() {
    let gate = Gate::new(|call, _| if call == 1 { Ok(Response::new(Full::from("1"))) } else { Err("away") });
    let clock = Clock::default();
    let layer = clock.layer(CacheLayer::builder());
    let client = client(&engine("cache c: true => 60s stale 60s"), &layer, gate.service());
    gate.open.add_permits(1);
    bodies(stampede(&client, 1, |_| get("/"))).await;
    clock.set(70);
    let fresh = |_| Request::get("/").header("cache-control", "min-fresh=1").body(Sent::new()).unwrap();
    let answers = stampede(&client, 10, fresh);
    settle().await;
    assert_eq!(gate.calls(), 2);
    gate.open.add_permits(1);
    assert_eq!(bodies(answers).await, said([("1", 10)]));
    assert_eq!((gate.calls(), counts(&layer.cache()).stale_hits), (2, 10));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_the_wait() {
    let gate = Gate::saying(&[]);
    let layer = CacheLayer::builder().wait(Duration::from_secs(2)).build();
    let client = client(&engine("cache c: true => 60s"), &layer, gate.service());
    let begin = tokio::time::Instant::now();
    let answers = stampede(&client, 10, |_| get("/"));
    settle().await;
    assert_eq!(gate.calls(), 1);
    tokio::time::sleep(Duration::from_millis(1999)).await;
    assert_eq!(gate.calls(), 1);
    tokio::time::sleep(Duration::from_millis(2)).await;
    settle().await;
    assert_eq!(gate.calls(), 10);
    gate.open.add_permits(10);
    assert_eq!(bodies(answers).await.len(), 10);
    assert!(begin.elapsed() < Duration::from_secs(3));
    assert_eq!(counts(&layer.cache()).waited_in_vain, 9);
}

#[tokio::test(start_paused = true)]
async fn of_those_who_select_different_responses_one_each_goes() {
    let gate = Gate::new(|_, request| {
        let value = request.headers()["x-a"].to_str().unwrap().to_owned();
        Ok(Response::builder().header("vary", "x-a").body(Full::from(value)).unwrap())
    });
    let layer = CacheLayer::new();
    let client = client(&engine("cache c: true => 60s"), &layer, gate.service());
    let answers =
        stampede(&client, 90, |at| Request::get("/").header("x-a", at % 3).body(Sent::new()).unwrap());
    settle().await;
    assert_eq!(gate.calls(), 1);
    gate.open.add_permits(1);
    settle().await;
    assert_eq!(gate.calls(), 3);
    gate.open.add_permits(2);
    assert_eq!(bodies(answers).await, said([("0", 30), ("1", 30), ("2", 30)]));
    assert_eq!(gate.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_fetched_anew_once_however_many_it_answers() {
    let gate = Gate::saying(&[]);
    let clock = Clock::default();
    let layer = clock.layer(CacheLayer::builder());
    let client = client(&engine("cache c: true => 60s stale 60s"), &layer, gate.service());
    gate.open.add_permits(1);
    bodies(stampede(&client, 1, |_| get("/"))).await;
    clock.set(61);
    assert_eq!(bodies(stampede(&client, 100, |_| get("/"))).await, said([("1", 100)]));
    settle().await;
    assert_eq!(gate.calls(), 2);
    gate.open.add_permits(1);
    settle().await;
    assert_eq!(bodies(stampede(&client, 1, |_| get("/"))).await, said([("2", 1)]));
    assert_eq!((gate.calls(), counts(&layer.cache()).stale_hits), (2, 100));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_in_the_background_that_never_ends_is_given_up_and_tried_again() {
    let gate = Gate::saying(&[]);
    let clock = Clock::default();
    let layer = clock.layer(CacheLayer::builder().wait(Duration::from_secs(5)));
    let client = client(&engine("cache c: true => 60s stale 60s"), &layer, gate.service());
    gate.open.add_permits(1);
    bodies(stampede(&client, 1, |_| get("/"))).await;
    clock.set(61);
    for calls in [2, 3] {
        bodies(stampede(&client, 3, |_| get("/"))).await;
        settle().await;
        assert_eq!(gate.calls(), calls);
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_wants_its_own_waits_for_nobody() {
    let gate = Gate::saying(&[]);
    let layer = CacheLayer::new();
    let client = client(&engine("cache c: true => 60s"), &layer, gate.service());
    let answers = stampede(&client, 10, |_| {
        Request::get("/").header("cache-control", "no-cache").body(Sent::new()).unwrap()
    });
    settle().await;
    assert_eq!(gate.calls(), 10);
    gate.open.add_permits(10);
    assert_eq!(bodies(answers).await.len(), 10);
}

// === readiness ===

/// Panics when it is called without having been ready; a clone is not ready.
struct Strict(bool);

impl Clone for Strict {
    fn clone(&self) -> Self {
        Strict(false)
    }
}

impl Service<Request<Sent>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0 = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Sent>) -> Self::Future {
        assert!(std::mem::take(&mut self.0), "it was not asked whether it is ready");
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let private = request.uri().path() == "/private";
            let control = if private { "private" } else { "max-age=1" };
            Ok(Response::builder().header("cache-control", control).body(Full::from("x")).unwrap())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_called_was_ready() {
    let clock = Clock::default();
    let layer = clock.layer(CacheLayer::builder());
    let client = client(&engine("cache c: !(path == \"/out\") => 60s stale 60s"), &layer, Strict(false));
    for (at, path) in [(0, "/out"), (0, "/"), (0, "/private"), (2, "/"), (70, "/")] {
        clock.set(at);
        assert_eq!(bodies(stampede(&client, 5, |_| get(path))).await, said([("x", 5)]), "{at} {path}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let counts = counts(&layer.cache());
    assert_eq!((counts.stored, counts.stale_hits), (3, 5));
}

// === bodies that stream ===

/// Frames that a test sends.
struct Stream(mpsc::UnboundedReceiver<Result<Frame<Bytes>, &'static str>>);

impl Body for Stream {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        self.0.poll_recv(cx)
    }
}

type Sender = mpsc::UnboundedSender<Result<Frame<Bytes>, &'static str>>;

/// A client, and the sending end of each response's body in its turn.
fn streaming(layer: &CacheLayer, bodies: usize) -> (Client<Stream>, Vec<Sender>) {
    let (senders, receivers): (Vec<_>, VecDeque<_>) = (0..bodies).map(|_| mpsc::unbounded_channel()).unzip();
    let receivers = Arc::new(Mutex::new(receivers));
    let backend = service_fn(move |_: Request<Sent>| {
        let receiver = receivers.lock().unwrap().pop_front();
        async move { receiver.map(|receiver| Response::new(Stream(receiver))).ok_or("no more") }
    });
    (client(&engine("cache c: true => 60s"), layer, backend), senders)
}

fn data(size: usize) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from(vec![b'x'; size])))
}

#[tokio::test(start_paused = true)]
async fn a_body_is_passed_on_as_it_comes_and_stored_at_its_end() {
    let layer = CacheLayer::new();
    let (client, mut senders) = streaming(&layer, 1);
    let mut first = client.clone().oneshot(get("/")).await.unwrap();
    senders[0].send(data(3)).unwrap();
    assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "xxx");
    assert_eq!(layer.cache().counts().entries, 0);
    senders[0].send(data(2)).unwrap();
    senders.clear();
    assert_eq!(text(first).await, "xx");
    assert_eq!(text(client.oneshot(get("/")).await.unwrap()).await, "xxxxx");
    assert_eq!(counts(&layer.cache()).hits, 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_past_the_limit_is_passed_on_whole_and_not_stored() {
    let layer = CacheLayer::builder().body_limit(10).build();
    let (client, mut senders) = streaming(&layer, 2);
    let first = client.clone().oneshot(get("/")).await.unwrap();
    let second = tokio::spawn(client.clone().oneshot(get("/")));
    for _ in 0..10 {
        senders[0].send(data(4)).unwrap();
    }
    settle().await;
    // Known before the body has ended: who waits goes.
    assert!(second.is_finished());
    // Three pieces were read, the others wait for the client.
    assert!(!senders[0].is_closed());
    senders.remove(0);
    assert_eq!(text(first).await.len(), 40);
    let counts = counts(&layer.cache());
    assert_eq!((counts.refused(Refusal::TooLarge), counts.stored), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_says_to_be_too_long_is_not_collected() {
    let layer = CacheLayer::builder().body_limit(10).build();
    let backend = sized(11);
    let client = client(&engine("cache c: true => 60s"), &layer, backend);
    assert_eq!(text(client.oneshot(get("/")).await.unwrap()).await, "xxxxxxxxxxx");
    assert_eq!(counts(&layer.cache()).refused(Refusal::TooLarge), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_is_not_stored_and_fails_for_the_client() {
    let layer = CacheLayer::new();
    let (client, senders) = streaming(&layer, 1);
    let mut first = client.clone().oneshot(get("/")).await.unwrap();
    senders[0].send(data(3)).unwrap();
    senders[0].send(Err("reset")).unwrap();
    assert!(first.frame().await.unwrap().is_ok());
    assert_eq!(first.frame().await.unwrap().unwrap_err(), "reset");
    assert_eq!(client.oneshot(get("/")).await.unwrap_err(), "no more");
    assert_eq!(counts(&layer.cache()).refused(Refusal::Incomplete), 1);
}

#[tokio::test(start_paused = true)]
async fn trailers_are_passed_on_and_keep_a_response_out() {
    let layer = CacheLayer::new();
    let (client, senders) = streaming(&layer, 1);
    let mut first = client.clone().oneshot(get("/")).await.unwrap();
    senders[0].send(data(3)).unwrap();
    senders[0]
        .send(Ok(Frame::trailers(HeaderMap::from_iter([("x-a".parse().unwrap(), "1".parse().unwrap())]))))
        .unwrap();
    drop(senders);
    assert!(first.frame().await.unwrap().unwrap().is_data());
    assert_eq!(first.frame().await.unwrap().unwrap().into_trailers().unwrap()["x-a"], "1");
    assert!(first.frame().await.is_none());
    assert_eq!(counts(&layer.cache()).refused(Refusal::Trailers), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_holds_up_nobody_who_waits() {
    let layer = CacheLayer::new();
    let (client, mut senders) = streaming(&layer, 1);
    // Never read.
    let _first = client.clone().oneshot(get("/")).await.unwrap();
    let second = tokio::spawn(client.oneshot(get("/")));
    senders[0].send(data(5)).unwrap();
    senders.clear();
    assert_eq!(text(second.await.unwrap().unwrap()).await, "xxxxx");
}

#[tokio::test(start_paused = true)]
async fn a_body_whose_client_went_away_is_read_on_for_as_long_as_the_wait() {
    let layer = CacheLayer::builder().wait(Duration::from_secs(5)).build();
    let (client, mut senders) = streaming(&layer, 2);
    drop(client.clone().oneshot(get("/soon")).await.unwrap());
    drop(client.clone().oneshot(get("/late")).await.unwrap());
    let late = senders.pop().unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    senders[0].send(data(5)).unwrap();
    senders.clear();
    settle().await;
    assert_eq!(text(client.oneshot(get("/soon")).await.unwrap()).await, "xxxxx");
    assert!(!late.is_closed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Nobody reads it any more.
    assert!(late.is_closed());
    assert_eq!(counts(&layer.cache()).refused(Refusal::Incomplete), 1);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_collected_at_a_time_have_a_bound() {
    let layer = CacheLayer::builder().capacity(10_000).build();
    let (client, mut senders) = streaming(&layer, 3);
    let mut answers = Vec::new();
    for (at, sender) in senders.iter().enumerate() {
        answers.push(client.clone().oneshot(get(&format!("/{at}"))).await.unwrap());
        sender.send(data(4_000)).unwrap();
        settle().await;
    }
    senders.clear();
    for answer in answers {
        assert_eq!(text(answer).await.len(), 4_000);
    }
    let counts = counts(&layer.cache());
    assert_eq!((counts.refused(Refusal::Overloaded), counts.stored), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_body_in_tiny_pieces_counts_for_what_they_take() {
    let layer = CacheLayer::builder().capacity(10_000).build();
    let (client, mut senders) = streaming(&layer, 1);
    let answer = client.oneshot(get("/")).await.unwrap();
    (0..100).for_each(|_| senders[0].send(data(1)).unwrap());
    senders.clear();
    assert_eq!(text(answer).await.len(), 100);
    assert_eq!(counts(&layer.cache()).refused(Refusal::Overloaded), 1);
}

// === bounds and purges ===

fn sized(
    size: usize,
) -> impl Service<Request<Sent>, Response = Response<Full<Bytes>>, Error = &'static str, Future: Send> + Clone + Send
{
    service_fn(move |_: Request<Sent>| async move { Ok(Response::new(Full::from(vec![b'x'; size]))) })
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_stays_within_the_capacity() {
    let layer = CacheLayer::builder().capacity(1 << 20).build();
    let client = client(&engine("cache c: true => 60s"), &layer, sized(10_000));
    for at in 0..1000 {
        text(client.clone().oneshot(get(&format!("/{at}"))).await.unwrap()).await;
        settle().await;
        assert!(layer.cache().counts().bytes <= 1 << 20);
    }
    let counts = layer.cache().counts();
    assert!((50..=104).contains(&counts.entries), "{counts:?}");
    assert_eq!(counts.rules[0].stored, 1000);
    assert!(counts.evicted >= 890, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn purges_take_what_is_meant() {
    let layer = CacheLayer::new();
    let calls = Arc::default();
    let client =
        client(&engine("cache a: path under \"/a\" => 60s\ncache b: true => 60s"), &layer, counting(&calls));
    let targets = [
        "http://x.test/a/1",
        "http://x.test/a/2",
        "http://x.test/ab",
        "http://y.test:81/a/1",
        "http://y.test:81/c?q=1",
        "http://x.test/z/../a/3",
    ];
    let fill = async || {
        for target in targets {
            text(client.clone().oneshot(get(target)).await.unwrap()).await;
            settle().await;
        }
        assert_eq!(layer.cache().counts().entries, 6);
    };
    let cache = layer.cache();
    for (prefix, count) in [
        ("/", 6),
        ("/a", 5),
        ("/a/", 4),
        ("/a/3", 1),
        ("/z", 1),
        ("/c?q=1", 1),
        ("/c?q=2", 0),
        ("x.test", 4),
        ("x.test/a/", 3),
        ("https://X.test/a/1", 1),
        ("y.test", 2),
        ("y.test/", 0),
        ("y.test:81/", 2),
        ("http://y.test:81/c", 1),
        ("/http://", 0),
    ] {
        fill().await;
        assert_eq!(cache.purge_prefix(prefix), count, "{prefix}");
        assert_eq!(cache.counts().entries, 6 - count, "{prefix}");
    }
    fill().await;
    assert_eq!(cache.purge_rule("a"), 4);
    assert_eq!(cache.purge_rule("a"), 0);
    assert_eq!(cache.purge_all(), 2);
    let counts = cache.counts();
    assert_eq!((counts.entries, counts.bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_before_a_purge_is_not_stored_after_it() {
    for purge in [true, false] {
        let gate = Gate::saying(&[]);
        let layer = CacheLayer::new();
        let client = client(&engine("cache c: method == \"GET\" => 60s"), &layer, gate.service());
        let early = stampede(&client, 1, |_| get("/"));
        settle().await;
        if purge {
            layer.cache().purge_all();
        } else {
            gate.open.add_permits(1);
            // The first request has the permit; the next is for this one.
            gate.open.forget_permits(1);
            let post = tokio::spawn(client.clone().oneshot(Request::post("/").body(Sent::new()).unwrap()));
            settle().await;
            gate.open.add_permits(2);
            settle().await;
            post.await.unwrap().unwrap();
            assert_eq!(bodies(early).await, said([("1", 1)]));
            // The first was stored before the POST had ended, or not at all.
            gate.open.add_permits(1);
            assert_eq!(bodies(stampede(&client, 1, |_| get("/"))).await, said([("3", 1)]));
            continue;
        }
        // Who comes after the purge does not wait for what began before it.
        let late = stampede(&client, 2, |_| get("/"));
        settle().await;
        assert_eq!(gate.calls(), 2);
        gate.open.add_permits(2);
        assert_eq!(bodies(early).await, said([("1", 1)]));
        assert_eq!(bodies(late).await, said([("2", 2)]));
        assert_eq!(counts(&layer.cache()).refused(Refusal::Outdated), 1);
        assert_eq!(bodies(stampede(&client, 1, |_| get("/"))).await, said([("2", 1)]));
    }
}

/// Each task changes a target of its own and reads it back, while others read it, all is purged now and then, and there is
/// room for a part of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changed_a_target_reads_the_change() {
    const TASKS: usize = 16;
    let versions: Arc<[AtomicUsize; TASKS]> = Arc::default();
    let inner = versions.clone();
    let backend = service_fn(move |request: Request<Sent>| {
        let versions = inner.clone();
        async move {
            let target: usize = request.uri().path().trim_start_matches('/').parse().unwrap();
            if request.method() == Method::POST {
                versions[target].fetch_add(1, SeqCst);
                tokio::task::yield_now().await;
                return Ok(Response::new(Full::<Bytes>::default()));
            }
            let body = format!("{target} {} {}", versions[target].load(SeqCst), "x".repeat(1000));
            tokio::task::yield_now().await;
            Ok(Response::new(Full::from(body)))
        }
    });
    let layer = CacheLayer::builder().capacity(24_000).build();
    let client = client(&engine("cache c: method == \"GET\" => 60s"), &layer, backend);
    let read = async |client: Client<Full<Bytes>>, target: usize| {
        let body = text(client.oneshot(get(&format!("/{target}"))).await.unwrap()).await;
        let (found, rest) = body.split_once(' ').unwrap();
        assert_eq!(found, target.to_string());
        rest.split_once(' ').unwrap().0.parse::<usize>().unwrap()
    };
    let tasks = (0..TASKS).map(|own| {
        let (client, cache, versions) = (client.clone(), layer.cache(), versions.clone());
        tokio::spawn(async move {
            for round in 1..=200 {
                let post = Request::post(format!("/{own}")).body(Sent::new()).unwrap();
                client.clone().oneshot(post).await.unwrap();
                for other in 0..4 {
                    assert_eq!(read(client.clone(), own).await, round);
                    let other = (own + other + round) % TASKS;
                    let at_least = if other == own { round } else { 0 };
                    let version = read(client.clone(), other).await;
                    assert!((at_least..=versions[other].load(SeqCst)).contains(&version));
                }
                if round % 50 == own {
                    cache.purge_all();
                }
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for task in tasks {
        task.await.unwrap();
    }
    let counts = layer.cache().counts();
    let rule = counts.rule("c").unwrap();
    assert!(rule.hits + rule.coalesced > 1000 && counts.invalidated > 1000, "{counts:?}");
    println!("{counts:?}");
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn counts_serialise() {
    let gate = Gate::saying(&[("cache-control", "no-store")]);
    gate.open.add_permits(1);
    let layer = CacheLayer::new();
    let client = client(&engine("cache c: true => 60s"), &layer, gate.service());
    bodies(stampede(&client, 1, |_| get("/"))).await;
    let json = serde_json::to_value(layer.cache().counts()).unwrap();
    assert_eq!(json["rules"][0]["name"], "c");
    assert_eq!(json["rules"][0]["misses"], 1);
    assert_eq!(json["rules"][0]["refused"], serde_json::json!({"no_store": 1}));
    assert_eq!(json["bytes"], 0);
}

// === cost ===

#[test]
fn a_request_that_no_statement_matches_allocates_nothing_more() {
    type Inner = std::future::Ready<Result<Response<Full<Bytes>>, &'static str>>;
    let engine = engine("cache c: path == \"/c\" => 60s");
    let layer = CacheLayer::new();
    let mut service = layer.layer(service_fn(|_: Request<Sent>| -> Inner {
        std::future::ready(Ok(Response::new(Full::default())))
    }));
    let request = |method: &str, path: &str| {
        let mut request = Request::builder().method(method).uri(path).body(Sent::new()).unwrap();
        let decision = engine.decide(&request);
        request.extensions_mut().insert(decision);
        request
    };
    let mut cx = Context::from_waker(Waker::noop());
    // From now on the statement has been matched.
    let mut matched = std::pin::pin!(service.call(request("GET", "/c")));
    assert!(matched.as_mut().poll(&mut cx).is_ready());
    for method in ["GET", "POST"] {
        let request = request(method, "/x");
        let info = allocation_counter::measure(|| {
            let mut future = std::pin::pin!(service.call(request));
            assert!(matches!(future.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
        });
        assert_eq!(info.count_total, 0, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hit_allocates_for_its_header_fields_and_little_more() {
    let engine = engine("cache c: true => 60s");
    let layer = CacheLayer::new();
    let backend = service_fn(async |_: Request<Sent>| {
        let response = Response::builder().header("content-type", "text/html").header("etag", "\"abc\"");
        Ok::<_, &'static str>(response.header("x-a", "b").body(Full::<Bytes>::from("body")).unwrap())
    });
    let mut service = layer.layer(backend);
    let request = || {
        let mut request = Request::get("http://shop.example.com/catalog/7?page=2").body(Sent::new()).unwrap();
        let decision = engine.decide(&request);
        request.extensions_mut().insert(decision);
        request
    };
    text(service.call(request()).await.unwrap()).await;
    settle().await;
    let mut most = 0;
    for _ in 0..100 {
        let request = request();
        let info = allocation_counter::measure(|| {
            let mut future = std::pin::pin!(service.call(request));
            assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        });
        most = info.count_total.max(most);
    }
    println!("{most} allocations");
    // Two of a map of header fields, those of `Age`, and now and then some of moka's.
    assert!(most <= 16, "{most}");
    assert_eq!(counts(&layer.cache()).hits, 100);
}

#[test]
fn without_a_runtime_everything_is_passed_on() {
    let engine = engine("cache c: true => 60s");
    let layer = CacheLayer::new();
    let calls = Arc::default();
    let client = client(&engine, &layer, counting(&calls));
    for expected in ["1", "2"] {
        let mut cx = Context::from_waker(Waker::noop());
        let mut future =
            std::pin::pin!(async { text(client.clone().oneshot(get("/")).await.unwrap()).await });
        assert_eq!(future.as_mut().poll(&mut cx), Poll::Ready(expected.to_owned()));
    }
    assert_eq!(counts(&layer.cache()).refused(Refusal::NoRuntime), 2);
}

// === end to end ===

#[tokio::test]
async fn an_axum_server_behind_a_cache_over_real_connections() {
    use axum::Router;
    use axum::routing::get;
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;

    let calls = Arc::new(AtomicUsize::new(0));
    let page = {
        let calls = calls.clone();
        async move || {
            let count = calls.fetch_add(1, SeqCst) + 1;
            (
                [("cache-control", "max-age=100"), ("etag", "\"v1\"")],
                format!("page {count} {}", "x".repeat(200_000)),
            )
        }
    };
    let layer = CacheLayer::builder().cache_status("edge").build();
    let cache = layer.cache();
    let engine = engine("cache c: method in [\"GET\", \"HEAD\"] => 60s");
    let app: Router = Router::new()
        .route("/page", get(page).post(async || "done"))
        .layer(layer)
        .layer(TrafficSplitLayer::new(engine));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let ask = async |method: &str, fields: &[(&str, &str)]| {
        let request = Request::builder().method(method).uri(format!("http://{address}/page"));
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = client.request(request.body(Full::default()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts, body.collect().await.unwrap().to_bytes())
    };
    let status = |parts: &http::response::Parts| parts.headers["cache-status"].to_str().unwrap().to_owned();

    let (parts, body) = ask("GET", &[]).await;
    assert_eq!(status(&parts), "edge; fwd=uri-miss; fwd-status=200; stored");
    assert!(body.starts_with(b"page 1 ") && body.len() == 200_007);
    let (parts, again) = ask("GET", &[]).await;
    assert!(status(&parts).starts_with("edge; hit; ttl="), "{}", status(&parts));
    assert_eq!((again, parts.headers["content-length"].to_str().unwrap()), (body, "200007"));
    let (parts, body) = ask("HEAD", &[]).await;
    assert_eq!((body.len(), parts.headers["content-length"].to_str().unwrap()), (0, "200007"));
    let (parts, body) = ask("GET", &[("if-none-match", "\"v1\"")]).await;
    assert_eq!(
        (parts.status, body.len(), &parts.headers["etag"]),
        (StatusCode::NOT_MODIFIED, 0, &HeaderValue::from_static("\"v1\""))
    );
    assert_eq!(calls.load(SeqCst), 1);

    ask("POST", &[]).await;
    let (_, body) = ask("GET", &[]).await;
    assert!(body.starts_with(b"page 2 "));
    cache.purge_prefix("/pa");
    let asked: Vec<_> = (0..50).map(|_| ask("GET", &[])).collect();
    let mut set = futures_all(asked).await;
    assert!(set.drain(..).all(|(_, body)| body.starts_with(b"page 3 ")));
    assert_eq!(calls.load(SeqCst), 3);
}

/// All of them, at once.
async fn futures_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in futures.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(done) => *output = Some(done),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

/// In HTTP/2 nothing in a request's head says that a body follows. Stored under a target alone, what a backend makes of one
/// would be told to all others.
#[tokio::test]
async fn what_a_backend_makes_of_a_body_is_for_nobody_else() {
    let engine = engine("cache all: true => 60s");
    let layer = CacheLayer::new();
    let backend = service_fn(async |request: Request<Sent>| {
        Ok::<_, &'static str>(Response::new(Full::<Bytes>::from(request.into_body())))
    });
    let client = client(&engine, &layer, backend);
    let ask = async |body: &str| {
        let mut request = Request::get("/search").body(body.to_owned()).unwrap();
        *request.version_mut() = http::Version::HTTP_2;
        let response = client.clone().oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    };
    assert_eq!(ask("poison").await, "poison");
    assert_eq!(ask("").await, "");
    assert_eq!(ask("other").await, "other");
    assert_eq!(layer.cache().counts().rules[0].bypassed, 2);
}
