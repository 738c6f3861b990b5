//! A request that goes to the backend under a statement: who goes, who waits, and what becomes of what comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::{HeaderMap, Method, Request, Response, StatusCode, response};
use http_body::Body;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tower::util::Oneshot;
use tower_service::Service;

use super::body::CacheBody;
use super::counts::{Refusal, add};
use super::flight::{Joined, Lead, Outcome};
use super::key::{Key, Target};
use super::layer::{Rule, Shared};
use super::policy::{Terms, Use, Wanted};
use super::status::{Brought, Fate, Why};
use super::store::{Found, Ticket};
use super::stored::{Stored, combined, is_unchanged, not_modified};
use crate::engine::Cache;
use crate::gateway::Cached;

/// A `GET` that the store cannot answer, or not for long.
pub(super) struct Asked {
    pub(super) shared: Arc<Shared>,
    pub(super) rule: Arc<Rule>,
    pub(super) statement: Cache,
    pub(super) key: Key,
    pub(super) target: Arc<Target>,
    pub(super) headers: HeaderMap,
    pub(super) wanted: Wanted,
    /// From before anything was fetched.
    pub(super) ticket: Ticket,
}

/// How often a request waits for others, or takes the place of one that failed, before it goes by itself.
const ROUNDS: usize = 3;

/// Statuses that say that the backend has failed (RFC 5861, 4).
const FAILURES: [StatusCode; 4] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Whether there is a runtime to start a task in.
pub(super) fn can_spawn() -> bool {
    Handle::try_current().is_ok()
}

// === impl Asked ===

impl Asked {
    /// Goes to the backend, or waits for another one that does.
    pub(super) async fn fetch<S, ReqBody, ResBody>(
        mut self,
        ready: S,
        unready: S,
        request: Request<ReqBody>,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body + Send + 'static,
        ResBody::Error: Send,
    {
        let mut ready = Some(ready);
        let mut found = self.find();
        // Waiting goes by tokio's clock.
        let alone = self.wanted.own() || !can_spawn();
        if alone {
            return self.lead_with(ready, unready, request, None, found).await;
        }
        let until = Instant::now() + self.shared.wait;
        for _ in 0..ROUNDS {
            let waits = match self.shared.flights.join(&self.flight(&found), self.ticket) {
                Joined::Lead(lead) => {
                    return self.lead_with(ready, unready, request, Some(lead), found).await;
                }
                Joined::Alone => return self.lead_with(ready, unready, request, None, found).await,
                Joined::Wait(waits) => waits,
            };
            // Another one may need it.
            ready = None;
            match self.wait(waits, until).await {
                Waited::Response(stored) => return Ok(self.answer_alone(&stored)),
                Waited::InVain => break,
                Waited::Failed => {
                    let now = self.shared.now();
                    let stale = found
                        .stored
                        .as_ref()
                        .filter(|stored| stored.terms.usable_on_error(now, &self.wanted));
                    if let Some(stored) = stale {
                        add(&self.rule.tally.stale_hits);
                        return Ok(self.answer_alone(stored));
                    }
                }
                Waited::Gone => {}
            }
            self.ticket = self.shared.store.ticket(self.target.hash);
            found = self.find();
            if let Some(stored) = &found.stored
                && self.is_fresh(stored)
            {
                add(&self.rule.tally.coalesced);
                return Ok(self.answer_alone(stored));
            }
        }
        add(&self.rule.tally.misses);
        let mut response = call(ready, unready, request).await?;
        let brought = Brought { status: Some(response.status().as_u16()), stored: false };
        self.shared.say(response.headers_mut(), Fate::Forwarded(why(&found, &self.wanted), Some(brought)));
        Ok(response.map(CacheBody::inner))
    }

    /// Fetches beside the answer that the client has got.
    pub(super) fn fetch_in_background<S, ReqBody, ResBody>(
        self,
        ready: S,
        request: Request<ReqBody>,
        lead: Lead,
    ) where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        ReqBody: Send + 'static,
        ResBody: Body + Send + 'static,
        ResBody::Error: Send,
    {
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            let (wait, found, unready) = (self.shared.wait, self.find(), ready.clone());
            // The body is read on by a task of its own. Whatever fails here, the next request sees for itself.
            let _ = timeout(wait, self.lead_with(Some(ready), unready, request, Some(lead), found)).await;
        });
    }

    /// Becomes the one who goes, unless there is one.
    pub(super) fn lead(&self, found: &Found) -> Option<Lead> {
        match self.shared.flights.join(&self.flight(found), self.ticket) {
            Joined::Lead(lead) => Some(lead),
            Joined::Alone | Joined::Wait(_) => None,
        }
    }

    fn find(&self) -> Found {
        self.shared.store.get(&self.key, &self.headers)
    }

    fn is_fresh(&self, stored: &Stored) -> bool {
        stored.terms.usable(self.shared.now(), &self.wanted) == Use::Fresh
    }

    /// What a fetch is known by: the key, and what selects among the responses, as far as that is known.
    fn flight(&self, found: &Found) -> Vec<u8> {
        let mut flight = self.key.to_vec();
        let latest = found.resource.as_ref().and_then(|resource| resource.latest());
        for name in latest.iter().flat_map(|stored| stored.selecting_names()) {
            let value = combined(&self.headers, name);
            let length = value.as_ref().map_or(u64::MAX, |value| value.len() as u64);
            flight.extend_from_slice(&length.to_le_bytes());
            flight.extend_from_slice(value.as_deref().unwrap_or_default());
        }
        flight
    }

    async fn wait(&self, mut waits: watch::Receiver<Option<Outcome>>, until: Instant) -> Waited {
        let outcome = match timeout_at(until, waits.wait_for(Option::is_some)).await {
            Err(_) => {
                add(&self.rule.tally.waited_in_vain);
                return Waited::InVain;
            }
            Ok(Err(_)) => return Waited::Gone,
            Ok(Ok(outcome)) => outcome.clone(),
        };
        match outcome {
            // It may have been pushed out of the store at once: what was brought is for all who waited for it.
            Some(Outcome::Stored(stored)) if stored.is_selected_by(&self.headers) => {
                if !self.is_fresh(&stored) {
                    return Waited::InVain;
                }
                add(&self.rule.tally.coalesced);
                Waited::Response(stored)
            }
            // Now it is known what selects, and those who select the same find each other.
            Some(Outcome::Stored(_)) | None => Waited::Gone,
            Some(Outcome::NotStorable) => Waited::InVain,
            Some(Outcome::Failed) => Waited::Failed,
        }
    }

    /// Goes, and tells those who wait.
    async fn lead_with<S, ReqBody, ResBody>(
        self,
        ready: Option<S>,
        unready: S,
        mut request: Request<ReqBody>,
        lead: Option<Lead>,
        found: Found,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body + Send + 'static,
        ResBody::Error: Send,
    {
        let why = why(&found, &self.wanted);
        let tally = &self.rule.tally;
        // The client's own conditions are ours to judge: the backend is to send what can be stored.
        request.headers_mut().remove(IF_NONE_MATCH);
        request.headers_mut().remove(IF_MODIFIED_SINCE);
        let stale = found.stored.as_ref();
        let asks = stale.is_some_and(|stored| stored.ask(request.headers_mut()));
        add(if asks { &tally.revalidations } else { &tally.misses });
        let asked_at = self.shared.now();
        let result = call(ready, unready, request).await;
        let now = self.shared.now();
        let failed = match &result {
            Ok(response) => FAILURES.contains(&response.status()),
            Err(_) => true,
        };
        if failed && let Some(stored) = stale.filter(|stored| stored.terms.usable_on_error(now, &self.wanted))
        {
            let status = result.ok().map(|response| response.status());
            finish(lead, Outcome::Failed);
            add(&tally.stale_hits);
            let brought = Brought { status: status.map(|status| status.as_u16()), stored: false };
            let mut response = self.answer(stored, Fate::Forwarded(why, Some(brought)));
            response.extensions_mut().insert(status.map_or(Cached::InsteadOfError, Cached::InsteadOf));
            return Ok(response);
        }
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                finish(lead, Outcome::Failed);
                return Err(error);
            }
        };
        if let Some(stored) = stale
            && asks
            && response.status() == StatusCode::NOT_MODIFIED
        {
            return Ok(self.renew(stored, response.headers(), asked_at, lead, why));
        }
        Ok(self.store(response, stale, asked_at, lead, why))
    }

    /// A stored response still holds.
    fn renew<B: Body>(
        &self,
        stored: &Arc<Stored>,
        by: &HeaderMap,
        asked_at: SystemTime,
        lead: Option<Lead>,
        why: Why,
    ) -> Response<CacheBody<B>> {
        let tally = &self.rule.tally;
        let now = self.shared.now();
        let headers = stored.updated_headers(by, now);
        let mut dated = headers.clone();
        // How old it is, a 304 says and not what was stored.
        if let Some(age) = by.get(http::header::AGE) {
            dated.insert(http::header::AGE, age.clone());
        }
        let terms = if stored.is_meant_by(by) {
            Terms::of(&self.statement, stored.status, &dated, asked_at, now)
        } else {
            // The backend speaks of another response than the one it was asked about.
            Err(Refusal::Outdated)
        };
        let fate = |stored| Fate::Forwarded(why, Some(Brought { status: Some(304), stored }));
        match terms {
            Ok(terms) => {
                let renewed = Arc::new(stored.renewed(headers, terms, &self.headers));
                let kept = self.put(&renewed);
                add(&tally.revalidated);
                finish(lead, if kept { Outcome::Stored(renewed.clone()) } else { Outcome::NotStorable });
                self.answer(&renewed, fate(kept))
            }
            Err(refusal) => {
                tally.refuse(refusal);
                self.shared.store.remove(&self.key, stored);
                finish(lead, Outcome::NotStorable);
                self.answer(stored, fate(false))
            }
        }
    }

    /// Stores a response if it may be, and passes it on.
    fn store<B>(
        self,
        response: Response<B>,
        stale: Option<&Arc<Stored>>,
        asked_at: SystemTime,
        lead: Option<Lead>,
        why: Why,
    ) -> Response<CacheBody<B>>
    where
        B: Body + Send + 'static,
        B::Error: Send,
    {
        let received = self.shared.now();
        let (parts, body) = response.into_parts();
        let length = length(&parts.headers).or(body.size_hint().exact());
        let terms =
            Terms::of(&self.statement, parts.status, &parts.headers, asked_at, received).and_then(|terms| {
                if length.is_some_and(|length| length > self.shared.body_limit as u64) {
                    return Err(Refusal::TooLarge);
                }
                Ok((terms, Handle::try_current().map_err(|_| Refusal::NoRuntime)?))
            });
        let fate = Brought { status: Some(parts.status.as_u16()), stored: terms.is_ok() };
        let (terms, runtime) = match terms {
            Ok(terms) => terms,
            Err(refusal) => {
                self.rule.tally.refuse(refusal);
                // What took its place is not for the store, but it has lost its place. A failure has taken none.
                if let Some(stale) = stale.filter(|_| !parts.status.is_server_error()) {
                    self.shared.store.remove(&self.key, stale);
                }
                finish(lead, Outcome::NotStorable);
                return self.pass(parts, CacheBody::inner(body), Fate::Forwarded(why, Some(fate)));
            }
        };
        let (filling, fed) =
            CacheBody::fed(body, length, self.shared.body_limit, self.shared.wait, &self.shared.collecting);
        let (status, headers) = (parts.status, parts.headers.clone());
        let response = self.pass(parts, fed, Fate::Forwarded(why, Some(fate)));
        runtime.spawn(filling.run(move |body| {
            let outcome = self.keep(body, status, &headers, terms, received);
            finish(lead, outcome);
        }));
        response
    }

    /// The whole body is here, or will not be.
    fn keep(
        &self,
        body: Result<Bytes, Refusal>,
        status: StatusCode,
        headers: &HeaderMap,
        terms: Terms,
        received: SystemTime,
    ) -> Outcome {
        match body {
            Ok(body) => {
                let stored = Arc::new(Stored::new(status, headers, body, terms, &self.headers, received));
                if self.put(&stored) { Outcome::Stored(stored) } else { Outcome::NotStorable }
            }
            Err(refusal) => {
                self.rule.tally.refuse(refusal);
                Outcome::NotStorable
            }
        }
    }

    fn put(&self, stored: &Arc<Stored>) -> bool {
        let kept = self.shared.store.put(&self.key, &self.target, &self.rule.name, stored, self.ticket);
        if kept {
            self.rule.tally.stored.fetch_add(1, Relaxed);
        } else {
            self.rule.tally.refuse(Refusal::Outdated);
        }
        kept
    }

    /// Passes a response on; where the client has it already, that is all that it is told.
    fn pass<B: Body>(
        &self,
        mut parts: response::Parts,
        body: CacheBody<B>,
        fate: Fate,
    ) -> Response<CacheBody<B>> {
        let unchanged = is_unchanged(parts.status, &parts.headers, &self.headers);
        if unchanged {
            parts.status = StatusCode::NOT_MODIFIED;
            parts.headers = not_modified(&parts.headers);
        }
        self.shared.say(&mut parts.headers, fate);
        Response::from_parts(parts, if unchanged { CacheBody::own(Bytes::new()) } else { body })
    }

    /// Answers a request that waited for another one, and asked the backend for nothing.
    fn answer_alone<B: Body>(&self, stored: &Stored) -> Response<CacheBody<B>> {
        let mut response = self.answer(stored, Fate::Collapsed);
        response.extensions_mut().insert(Cached::Answered);
        response
    }

    fn answer<B: Body>(&self, stored: &Stored, fate: Fate) -> Response<CacheBody<B>> {
        let mut response = stored.answer(&Method::GET, &self.headers, self.shared.now()).map(CacheBody::own);
        self.shared.say(response.headers_mut(), fate);
        response
    }
}

/// How waiting ended.
enum Waited {
    Response(Arc<Stored>),
    /// With nothing for us, and nothing more to wait for.
    InVain,
    Failed,
    /// The one who went has gone away.
    Gone,
}

fn why(found: &Found, wanted: &Wanted) -> Why {
    match (&found.stored, &found.resource) {
        _ if wanted.own() => Why::Request,
        (Some(_), _) => Why::Stale,
        (None, Some(_)) => Why::VaryMiss,
        (None, None) => Why::UriMiss,
    }
}

fn finish(lead: Option<Lead>, outcome: Outcome) {
    if let Some(lead) = lead {
        lead.finish(outcome);
    }
}

/// The length that a response says it has.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Calls the service that is ready; or the other, when it is.
async fn call<S, ReqBody>(
    ready: Option<S>,
    unready: S,
    request: Request<ReqBody>,
) -> Result<S::Response, S::Error>
where
    S: Service<Request<ReqBody>>,
{
    match ready {
        Some(mut ready) => ready.call(request).await,
        None => Oneshot::new(unready, request).await,
    }
}
