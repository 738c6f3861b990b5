//! What happens on a request's way in.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response};
use smallvec::SmallVec;
use tower_service::Service;

use super::bucket::Verdict;
use super::fields::{Lists, seconds};
use super::layer::LimitLayer;
use crate::engine::{Action, Decision, Match, StatementKind};
use crate::gateway::GatewayBody;
use crate::gateway::answer::{AnswerFuture, Asked, Fields};

/// A service that requests beyond a limit do not reach; made by [`LimitLayer`], where there is an example.
///
/// Ready when the inner service is. A clone costs two reference counts and a clone of the inner service.
#[derive(Debug, Clone)]
pub struct LimitService<S> {
    layer: LimitLayer,
    inner: S,
}

/// What became of a request.
enum Outcome {
    Passed(Option<Box<Fields>>),
    Refused(Response<Bytes>),
}

// === impl LimitService ===

impl<S> LimitService<S> {
    pub(super) fn new(layer: LimitLayer, inner: S) -> Self {
        LimitService { layer, inner }
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for LimitService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<GatewayBody<ResBody>>;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.layer.ask(&request) {
            Outcome::Passed(fields) => AnswerFuture::inner(self.inner.call(request), fields),
            Outcome::Refused(response) => AnswerFuture::own(response),
        }
    }
}

// === impl LimitLayer ===

impl LimitLayer {
    fn ask<B>(&self, request: &Request<B>) -> Outcome {
        let Some(decision) = request.extensions().get::<Decision>() else { return Outcome::Passed(None) };
        let mut limits = limits_of(decision).peekable();
        if limits.peek().is_none() {
            return Outcome::Passed(None);
        }
        decision.heed(StatementKind::Limit);
        let kept = self.shared.kept.under(decision.rules(), |statement| self.kind(statement));
        let (now, share) = (self.now(), self.current_share());
        let mut lists = Lists::default();
        // Shadows without a token, by their place among the limits.
        let mut empty = SmallVec::<[usize; 8]>::new();
        for (at, hit) in limits.enumerate() {
            let Some(kind) = kept.get(hit.index(), hit.statement()) else { continue };
            let rate = kind.buckets.rate(share);
            let verdict = kind.buckets.take(hit.key(), rate, now);
            let refused = match verdict {
                Verdict::Refused { wait } => {
                    kind.count(hit.is_live());
                    hit.is_live().then_some(wait)
                }
                Verdict::Taken { .. } => None,
            };
            if hit.is_live() && (self.fields_on_passed || refused.is_some()) {
                if refused.is_some() {
                    lists = Lists::default();
                }
                lists.push(hit.statement().name(), kind.buckets.limit(), rate, verdict);
            }
            let Some(wait) = refused else {
                if matches!(verdict, Verdict::Refused { .. }) {
                    empty.push(at);
                }
                continue;
            };
            for (at, hit) in limits_of(decision).enumerate().take(at) {
                if empty.binary_search(&at).is_err()
                    && let Some(kind) = kept.get(hit.index(), hit.statement())
                {
                    kind.buckets.give_back(hit.key(), kind.buckets.rate(share));
                }
            }
            let mut response = kind.answer.response(Asked::of(request), self.rule_header.as_ref());
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
            headers.extend(lists.fields().into_iter().flatten());
            return Outcome::Refused(response);
        }
        Outcome::Passed(lists.fields().map(Box::new))
    }
}

/// The limits that a request matched, in the order of the text.
fn limits_of(decision: &Decision) -> impl Iterator<Item = Match<'_>> {
    decision.matches().filter(|hit| matches!(hit.statement().action(), Action::Limit(_)))
}
