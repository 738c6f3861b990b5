//! What happens to a request: answered, passed on, or passed on under the cache's eyes.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, IF_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use pin_project_lite::pin_project;
use smallvec::SmallVec;
use tower_service::Service;

use super::body::CacheBody;
use super::counts::add;
use super::fetch::{Asked, can_spawn};
use super::flight::Lead;
use super::key::{Identity, Target, write_key, write_target};
use super::layer::{ResponseCache, Rule, Shared};
use super::policy::{Use, Wanted};
use super::status::{Fate, Why};
use super::stored::Stored;
use crate::engine::{Action, Decision, StatementKind};
use crate::gateway::{Cached, overrides_method};

/// A service whose responses are stored and answered; made by [`CacheLayer`](super::CacheLayer), where there is an example.
///
/// A clone costs a reference count and a clone of the inner service.
#[derive(Debug, Clone)]
pub struct CacheService<S> {
    cache: ResponseCache,
    inner: S,
}

pin_project! {
    /// The response of a [`CacheService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct CacheFuture<F, B: Body, E> {
        #[pin]
        kind: Kind<F, B, E>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F, B: Body, E> {
        Passed { #[pin] inner: F, passed: Passed },
        // Boxed, as all layers further out move what is here.
        Answered { response: Option<Box<Response<CacheBody<B>>>> },
        Fetched { fetch: Fetch<B, E> },
    }
}

/// A state machine with several waits: the one thing that is boxed.
type Fetch<B, E> = Pin<Box<dyn Future<Output = Result<Response<CacheBody<B>>, E>> + Send>>;

/// What is left to do for a request that passes by.
struct Passed {
    status: Option<(Arc<Shared>, Why)>,
    /// The target that it changes if it succeeds.
    changes: Option<(Arc<Shared>, u64)>,
}

/// The first live `cache` statement that a request matched.
struct Ruled<'d> {
    rule: Arc<Rule>,
    cluster: usize,
    by: Option<&'d [u8]>,
}

/// What is to be done with a request.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
enum Plan<B: Body> {
    Pass(Passed),
    Answer(Response<CacheBody<B>>),
    /// Answered with what is stale, and fetched meanwhile.
    AnswerAndFetch(Response<CacheBody<B>>, Asked, Lead),
    Fetch(Asked),
}

// === impl CacheService ===

impl<S> CacheService<S> {
    pub(super) fn new(cache: ResponseCache, inner: S) -> Self {
        CacheService { cache, inner }
    }

    /// What is stored, to be counted and purged.
    pub fn cache(&self) -> ResponseCache {
        self.cache.clone()
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to be changed.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the inner service back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CacheService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    ReqBody: Body + Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Error: Send,
{
    type Response = Response<CacheBody<ResBody>>;
    type Error = S::Error;
    type Future = CacheFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let shared = &self.cache.shared;
        let kind = match plan(shared, &request) {
            Plan::Pass(passed) => Kind::Passed { inner: self.inner.call(request), passed },
            Plan::Answer(response) => Kind::Answered { response: Some(Box::new(response)) },
            Plan::AnswerAndFetch(response, asked, lead) => {
                asked.fetch_in_background(self.take_ready(), request, lead);
                Kind::Answered { response: Some(Box::new(response)) }
            }
            Plan::Fetch(asked) => {
                Kind::Fetched { fetch: Box::pin(asked.fetch(self.take_ready(), self.inner.clone(), request)) }
            }
        };
        CacheFuture { kind }
    }
}

impl<S: Clone> CacheService<S> {
    /// The service that was ready; a clone, which is not, stays.
    fn take_ready(&mut self) -> S {
        let clone = self.inner.clone();
        mem::replace(&mut self.inner, clone)
    }
}

fn plan<ReqBody: Body, B: Body>(shared: &Arc<Shared>, request: &Request<ReqBody>) -> Plan<B> {
    let method = request.method();
    // `None` for those that nobody decided about, too.
    let rule = request.extensions().get::<Decision>().and_then(|decision| rule(shared, decision));
    let reads = [Method::GET, Method::HEAD].contains(method);
    let Some(Ruled { rule, cluster, by }) = rule else {
        return Plan::Pass(Passed { status: None, changes: changes(shared, request) });
    };
    let pass = |why| {
        add(&rule.tally.bypassed);
        let status = shared.status.is_some().then(|| (shared.clone(), why));
        Plan::Pass(Passed { status, changes: changes(shared, request) })
    };
    if !reads {
        return pass(Why::Method);
    }
    let Some(statement) = rule.cache else { return pass(Why::Bypass) };
    let wanted = Wanted::in_headers(request.headers());
    if wanted.no_store
        || is_beyond_us(request.headers())
        // In HTTP/2 a body needs no word of it in the head.
        || !request.body().is_end_stream()
        || overrides_method(request.headers())
        || !has_one_authority(request.uri(), request.headers())
        || (request.headers().contains_key(AUTHORIZATION) && !statement.authorization)
    {
        return pass(Why::Bypass);
    }
    let mut text = SmallVec::<[u8; 256]>::new();
    let start = write_key(rule.number, cluster, by, &mut text);
    write_target(request.uri(), request.headers(), &mut text);
    let target = text.get(start..).unwrap_or_default();
    let found = shared.store.get(&text, request.headers());
    let now = shared.now();
    let usable = found.stored.as_ref().map(|stored| stored.terms.usable(now, &wanted));
    let asked = || {
        let target = Arc::new(Target::new(shared.store.hash(Identity::of(target)), target));
        Asked {
            shared: shared.clone(),
            rule: rule.clone(),
            statement,
            key: (&*text).into(),
            ticket: shared.store.ticket(target.hash),
            target,
            headers: request.headers().clone(),
            wanted,
        }
    };
    let answer = |stored: &Stored| {
        let mut response = stored.answer(method, request.headers(), now).map(CacheBody::own);
        shared.say(response.headers_mut(), Fate::Hit { ttl: stored.terms.time_to_live(now) });
        response.extensions_mut().insert(Cached::Answered);
        response
    };
    if let (Some(stored), Some(usable)) = (&found.stored, usable) {
        match usable {
            Use::Fresh => {
                add(&rule.tally.hits);
                return Plan::Answer(answer(stored));
            }
            Use::StaleWhileRevalidate if can_spawn() => {
                add(&rule.tally.stale_hits);
                let fetches = *method == Method::GET && !wanted.only_if_cached;
                let asked = fetches.then(asked);
                return match asked.and_then(|asked| Some((asked.lead(&found)?, asked))) {
                    Some((lead, asked)) => Plan::AnswerAndFetch(answer(stored), asked, lead),
                    None => Plan::Answer(answer(stored)),
                };
            }
            Use::Stale => {
                add(&rule.tally.stale_hits);
                return Plan::Answer(answer(stored));
            }
            Use::StaleWhileRevalidate | Use::Ask => {}
        }
    }
    if wanted.only_if_cached {
        add(&rule.tally.not_cached);
        let mut response = Response::new(CacheBody::own(Bytes::new()));
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        response.extensions_mut().insert(Cached::Answered);
        shared.say(response.headers_mut(), Fate::NotCached);
        return Plan::Answer(response);
    }
    if *method == Method::HEAD {
        // What a backend says to it has no body to store.
        add(&rule.tally.misses);
        let status = shared.status.is_some().then(|| (shared.clone(), Why::UriMiss));
        return Plan::Pass(Passed { status, changes: None });
    }
    Plan::Fetch(asked())
}

/// The first live `cache` statement that a request matched. Shadows are counted.
fn rule<'d>(shared: &Shared, decision: &'d Decision) -> Option<Ruled<'d>> {
    let is_cache = |hit: &crate::engine::Match<'_>| matches!(hit.statement().action(), Action::Cache(_));
    let mut hits = decision.matches().filter(is_cache).peekable();
    hits.peek()?;
    decision.heed(StatementKind::Cache);
    let kept = shared.rules.under(decision.rules(), |statement| shared.rule(statement));
    for hit in hits {
        let rule = kept.get(hit.index(), hit.statement())?;
        if hit.is_live() {
            return Some(Ruled { rule: rule.clone(), cluster: decision.cluster_index(), by: hit.key() });
        }
        add(&rule.tally.shadowed);
    }
    None
}

/// Whether a request asks for more than whole responses: a part, a change of protocol, a state that only the backend knows.
fn is_beyond_us(headers: &HeaderMap) -> bool {
    const FIELDS: [HeaderName; 6] =
        [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, UPGRADE, TRANSFER_ENCODING];
    FIELDS.iter().any(|name| headers.contains_key(name))
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0")
}

/// Whether a request has one authority, and that is one: otherwise two targets could be written alike, or the backend take
/// it for another one than we.
fn has_one_authority(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter().map(|host| host.as_bytes());
    let (host, more) = (hosts.next(), hosts.next().is_some());
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let differ = authority.zip(host).is_some_and(|(one, other)| !one.eq_ignore_ascii_case(other));
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(byte);
    !more && !differ && authority.or(host).unwrap_or_default().iter().all(part)
}

/// The target that a request changes if it succeeds.
fn changes<ReqBody>(shared: &Arc<Shared>, request: &Request<ReqBody>) -> Option<(Arc<Shared>, u64)> {
    if request.method().is_safe() || *request.method() == Method::CONNECT || !shared.is_used() {
        return None;
    }
    let mut text = SmallVec::<[u8; 512]>::new();
    write_target(request.uri(), request.headers(), &mut text);
    Some((shared.clone(), shared.store.hash(Identity::of(&text))))
}

// === impl CacheFuture ===

impl<F, B, E> Future for CacheFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<CacheBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Passed { inner, passed } => {
                let mut response = ready!(inner.poll(cx))?;
                passed.finish(response.status(), response.headers_mut());
                Poll::Ready(Ok(response.map(CacheBody::inner)))
            }
            // Polled again after it was ready, it waits, as futures may.
            KindProjection::Answered { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(*response)))
            }
            KindProjection::Fetched { fetch } => fetch.as_mut().poll(cx),
        }
    }
}

impl<F, B: Body, E> std::fmt::Debug for CacheFuture<F, B, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheFuture").finish_non_exhaustive()
    }
}

// === impl Passed ===

impl Passed {
    fn finish(&self, status: StatusCode, headers: &mut HeaderMap) {
        if let Some((shared, target)) = &self.changes
            && (status.is_success() || status.is_redirection())
        {
            shared.store.invalidate(*target);
        }
        if let Some((shared, why)) = &self.status {
            shared.say(headers, Fate::Forwarded(*why, None));
        }
    }
}
