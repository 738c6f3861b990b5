//! A captured exchange, and the recording that it is while it goes on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Buf;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Response, Version};

use super::layer::{Settings, Shared};
use super::redact::{Redact, without_user};
use crate::engine::{Decision, Moment, StatementKind};

/// An exchange that a `capture` statement caught: a request and what was decided, and the response as far as there was one.
///
/// What [was to be redacted](super::CaptureLayer) is not in it.
#[derive(Debug, Clone)]
pub struct Captured {
    pub(super) began: SystemTime,
    pub(super) by: Vec<String>,
    pub(super) request: RequestRecord,
    pub(super) response: Option<ResponseRecord>,
    pub(super) decision: DecisionRecord,
    pub(super) timings: Timings,
    pub(super) end: End,
}

#[derive(Debug, Clone)]
pub(super) struct RequestRecord {
    pub(super) method: String,
    /// As in the request line.
    pub(super) target: String,
    /// With scheme and host, as far as they are known.
    pub(super) url: String,
    pub(super) version: Version,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: BodyRecord,
    /// What rules saw as `ip`.
    pub(super) client: Option<IpAddr>,
    /// Where something was taken out.
    pub(super) redacted: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(super) struct ResponseRecord {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) version: Version,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: BodyRecord,
}

#[derive(Debug, Clone, Default)]
pub(super) struct BodyRecord {
    pub(super) bytes: Vec<u8>,
    /// How many bytes went by.
    pub(super) total: u64,
    /// Whether there were more than are kept.
    pub(super) truncated: bool,
    /// Whether it was read to its end.
    pub(super) complete: bool,
}

#[derive(Debug, Clone)]
pub(super) struct DecisionRecord {
    pub(super) cluster: String,
    pub(super) rule: Option<String>,
    pub(super) statement: String,
    pub(super) revision: u64,
    pub(super) followed: bool,
    pub(super) matches: Vec<MatchRecord>,
    pub(super) moment: Moment,
    /// The rules that decided. The text and not the rule set, whose program may be large; shared with all that have the same.
    pub(super) text: Arc<str>,
    pub(super) clusters: Arc<[Arc<str>]>,
    pub(super) kinds: Vec<StatementKind>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MatchRecord {
    pub(super) kind: StatementKind,
    pub(super) name: String,
    pub(super) live: bool,
}

/// Each since the beginning.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timings {
    /// Until the request's body had been read,
    pub(super) sent: Option<Duration>,
    /// until the response's head came,
    pub(super) head: Option<Duration>,
    /// until it was over.
    pub(super) end: Duration,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The response's body was read to its end.
    Complete,
    /// The service failed, or the body.
    Failed,
    /// Nobody wanted it any more: the client went away, or time ran out.
    Dropped,
    /// It went on for longer than it is captured.
    Overlong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// An exchange that goes on.
#[derive(Debug)]
pub(super) struct Recording {
    /// `None` when it is over.
    draft: Mutex<Option<Draft>>,
    /// Its number among those that go on.
    number: u64,
    begin: Instant,
    settings: Arc<Settings>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Draft {
    captured: Captured,
    /// What it holds of the room for exchanges that go on.
    room: usize,
}

/// One end of a recording. Dropped before its time, it says that nobody wanted the rest.
#[derive(Debug)]
pub(super) struct Tee {
    recording: Option<Arc<Recording>>,
    side: Side,
}

// === impl Captured ===

impl Captured {
    /// When the request came.
    pub fn began(&self) -> SystemTime {
        self.began
    }

    /// The names of the `capture` statements that caught it.
    pub fn statements(&self) -> impl ExactSizeIterator<Item = &str> {
        self.by.iter().map(String::as_str)
    }

    /// The request's method.
    pub fn method(&self) -> &str {
        &self.request.method
    }

    /// Where the request went, with `http` and the `Host` field where it did not say so itself.
    pub fn url(&self) -> &str {
        &self.request.url
    }

    /// The response's status, if there was a response.
    pub fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|response| response.status)
    }

    /// The cluster of the decision.
    pub fn cluster(&self) -> &str {
        &self.decision.cluster
    }

    /// The route that decided; `None` for the default, and when the decision was followed.
    pub fn rule(&self) -> Option<&str> {
        self.decision.rule.as_deref()
    }

    /// The revision of the rules.
    pub fn revision(&self) -> u64 {
        self.decision.revision
    }

    /// How many bytes it holds, but for the rules' text.
    pub(super) fn bytes(&self) -> usize {
        let response = self.response.as_ref();
        size_of::<Self>()
            + self.request.target.len()
            + self.request.url.len()
            + lines(&self.request.headers)
            + self.request.body.bytes.len()
            + response.map_or(0, |response| lines(&response.headers) + response.body.bytes.len())
            + self.decision.matches.iter().map(|hit| hit.name.len() + size_of::<MatchRecord>()).sum::<usize>()
    }
}

/// How many bytes header fields hold.
fn lines(headers: &[(String, String)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>()).sum()
}

// === impl DecisionRecord ===

impl DecisionRecord {
    fn of(decision: &Decision) -> Self {
        let rules = decision.rules();
        let mut kinds = Vec::new();
        for statement in rules.gateway() {
            if !kinds.contains(&statement.kind()) {
                kinds.push(statement.kind());
            }
        }
        DecisionRecord {
            cluster: decision.cluster().to_owned(),
            rule: decision.rule().map(str::to_owned),
            statement: decision.statement().to_owned(),
            revision: decision.revision(),
            followed: decision.is_followed(),
            matches: matches(decision),
            moment: decision.moment(),
            text: rules.shared_text().clone(),
            clusters: rules.clusters().into(),
            kinds,
        }
    }
}

/// What a request matched beside its route.
pub(super) fn matches(decision: &Decision) -> Vec<MatchRecord> {
    let record = |hit: crate::engine::Match<'_>| MatchRecord {
        kind: hit.statement().kind(),
        name: hit.statement().name().to_owned(),
        live: hit.is_live(),
    };
    decision.matches().map(record).collect()
}

// === impl RequestRecord ===

impl RequestRecord {
    fn of<B>(request: &Request<B>, decision: &Decision, redact: &Redact) -> Self {
        let uri = request.uri();
        let mut redacted = BTreeSet::new();
        let headers = redact.headers(request.headers(), &mut redacted);
        let target = redact.uri(uri);
        if target.contains(super::redact::REDACTED) {
            redacted.insert("query".to_owned());
        }
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let url = match (uri.scheme(), uri.authority()) {
            (Some(_), _) => target.clone(),
            (None, Some(_)) => format!("http://{target}/"),
            (None, None) => {
                let host = host.map(without_user).filter(|host| host.parse::<http::uri::Authority>().is_ok());
                let slash = if target.starts_with('/') { "" } else { "/" };
                format!("http://{}{slash}{target}", host.unwrap_or("localhost"))
            }
        };
        RequestRecord {
            method: request.method().to_string(),
            target,
            url,
            version: request.version(),
            headers,
            body: BodyRecord::default(),
            client: decision.rules().client_ip(request.into()),
            redacted,
        }
    }

    fn is_form(&self) -> bool {
        header(&self.headers, CONTENT_TYPE.as_str()).is_some_and(|ty| {
            ty.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
        })
    }
}

/// The first value of a name.
pub(super) fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

// === impl Recording ===

impl Recording {
    /// Begins; `None` where there is no room for the head.
    pub(super) fn begin<B>(
        request: &Request<B>,
        decision: &Decision,
        by: Vec<String>,
        settings: &Arc<Settings>,
        shared: &Arc<Shared>,
    ) -> Option<Arc<Self>> {
        let begin = Instant::now();
        // Theirs may be the room that there is not.
        shared.end_overlong(begin);
        let captured = Captured {
            began: SystemTime::now(),
            by,
            request: RequestRecord::of(request, decision, &settings.redact),
            response: None,
            decision: DecisionRecord::of(decision),
            timings: Timings::default(),
            end: End::Dropped,
        };
        let (room, text) = (captured.bytes(), &captured.decision.text);
        if !shared.take_text(text, settings.bytes) {
            return None;
        }
        if !shared.take_room(room, settings.bytes) {
            shared.give_text(text);
            return None;
        }
        Some(shared.enter(begin.checked_add(settings.longest), |number| Recording {
            draft: Mutex::new(Some(Draft { captured, room })),
            number,
            begin,
            settings: settings.clone(),
            shared: shared.clone(),
        }))
    }

    pub(super) fn tee(self: &Arc<Self>, side: Side) -> Tee {
        Tee { recording: Some(self.clone()), side }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Draft>> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The response's head.
    pub(super) fn head<B>(&self, response: &Response<B>) {
        let mut draft = self.lock();
        let Some(draft) = draft.as_mut() else { return };
        draft.captured.timings.head = Some(self.begin.elapsed());
        let headers = self.settings.redact.headers(response.headers(), &mut BTreeSet::new());
        let mut response = ResponseRecord {
            status: response.status().as_u16(),
            reason: response.status().canonical_reason().unwrap_or(""),
            version: response.version(),
            headers,
            body: BodyRecord::default(),
        };
        let room = lines(&response.headers);
        if self.shared.take_room(room, self.settings.bytes) {
            draft.room += room;
        } else {
            response.headers = Vec::new();
            self.shared.totals.no_room();
        }
        draft.captured.response = Some(response);
    }

    /// A piece of a body, as far as there is room for it.
    fn push(&self, side: Side, data: &impl Buf) {
        let mut draft = self.lock();
        let Some(Draft { captured, room }) = draft.as_mut() else { return };
        let Some(body) = captured.body(side) else { return };
        let length = data.remaining();
        body.total = body.total.saturating_add(length as u64);
        // What comes behind a gap would be read as if there were none.
        let fits = if body.truncated { 0 } else { self.settings.body_bytes.saturating_sub(body.bytes.len()) };
        let fits = fits.min(length);
        match self.grown(&body.bytes, fits) {
            Some(grown) => {
                *room += grown;
                body.bytes.reserve_exact((body.bytes.capacity() + grown).saturating_sub(body.bytes.len()));
                append(data, fits, &mut body.bytes);
            }
            None => self.shared.totals.no_room(),
        }
        body.truncated = (body.bytes.len() as u64) < body.total;
    }

    /// Takes the room by which a body has to grow for so many bytes more: to twice as much if there is room, so that small pieces
    /// are not copied again and again, and otherwise to as much as it needs. `None` where there is not even that.
    fn grown(&self, bytes: &Vec<u8>, more: usize) -> Option<usize> {
        let (capacity, needed) = (bytes.capacity(), bytes.len() + more);
        if needed <= capacity {
            return Some(0);
        }
        let twice = capacity.saturating_mul(2).min(self.settings.body_bytes).max(needed);
        let mut sizes = [twice, needed].into_iter().map(|size| size - capacity);
        sizes.find(|grown| self.shared.take_room(*grown, self.settings.bytes))
    }

    fn complete(&self, side: Side) {
        if let Some(draft) = self.lock().as_mut() {
            if side == Side::Request {
                draft.captured.timings.sent = Some(self.begin.elapsed());
            }
            if let Some(body) = draft.captured.body(side) {
                body.complete = true;
            }
        }
        if side == Side::Response {
            self.finish(End::Complete);
        }
    }

    /// It is over: what there is goes to the others. Once.
    pub(super) fn finish(&self, end: End) {
        let Some(Draft { mut captured, room }) = self.lock().take() else { return };
        captured.end = end;
        captured.timings.end = self.begin.elapsed();
        let redact = &self.settings.redact;
        if captured.request.is_form() && !redact.query.is_empty() {
            let body = &mut captured.request.body.bytes;
            *body = redact.form(&String::from_utf8_lossy(body)).into_bytes();
        }
        // Room was for what they might have become.
        captured.request.body.bytes.shrink_to_fit();
        captured.response.iter_mut().for_each(|response| response.body.bytes.shrink_to_fit());
        if captured.is_truncated() {
            self.shared.totals.truncated();
        }
        if end == End::Overlong {
            self.shared.totals.overlong();
        }
        self.shared.leave(self.number);
        self.shared.keep(captured, room, &self.settings);
    }
}

impl Captured {
    fn body(&mut self, side: Side) -> Option<&mut BodyRecord> {
        match side {
            Side::Request => Some(&mut self.request.body),
            Side::Response => self.response.as_mut().map(|response| &mut response.body),
        }
    }

    fn is_truncated(&self) -> bool {
        self.request.body.truncated || self.response.as_ref().is_some_and(|response| response.body.truncated)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.finish(End::Dropped);
    }
}

// === impl Tee ===

impl Tee {
    pub(super) fn recording(&self) -> Option<&Arc<Recording>> {
        self.recording.as_ref()
    }

    pub(super) fn push(&self, data: &impl Buf) {
        if let Some(recording) = &self.recording {
            recording.push(self.side, data);
        }
    }

    /// The body has ended.
    pub(super) fn complete(mut self) {
        if let Some(recording) = self.recording.take() {
            recording.complete(self.side);
        }
    }

    /// The body broke off, or the service did.
    pub(super) fn failed(mut self) {
        if let Some(recording) = self.recording.take().filter(|_| self.side == Side::Response) {
            recording.finish(End::Failed);
        }
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        if let Some(recording) = self.recording.take().filter(|_| self.side == Side::Response) {
            recording.finish(End::Dropped);
        }
    }
}

/// Appends up to `most` bytes of `data`, which stays as it is. Of data in very many pieces it may be fewer.
fn append(data: &impl Buf, most: usize, to: &mut Vec<u8>) {
    let mut pieces = [std::io::IoSlice::new(&[]); 16];
    let count = data.chunks_vectored(&mut pieces);
    let mut left = most;
    for piece in pieces.iter().take(count) {
        let part = piece.get(..left).unwrap_or(piece);
        to.extend_from_slice(part);
        left -= part.len();
    }
}
