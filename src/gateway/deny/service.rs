//! What happens on a request's way in.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{PROXY_AUTHENTICATE, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::layer::{Denial, DenyLayer};
use crate::engine::{Action, Decision, StatementKind};
use crate::gateway::GatewayBody;
use crate::gateway::answer::{AnswerFuture, Asked};

/// A service that denied requests do not reach; made by [`DenyLayer`], where there is an example.
///
/// Ready when the inner service is. A clone costs a reference count and a clone of the inner service.
#[derive(Debug, Clone)]
pub struct DenyService<S> {
    layer: DenyLayer,
    inner: S,
}

// === impl DenyService ===

impl<S> DenyService<S> {
    pub(super) fn new(layer: DenyLayer, inner: S) -> Self {
        DenyService { layer, inner }
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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for DenyService<S>
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
        match self.layer.deny(&request) {
            Some(response) => AnswerFuture::own(response),
            None => AnswerFuture::inner(self.inner.call(request), None),
        }
    }
}

// === impl DenyLayer ===

impl DenyLayer {
    fn deny<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let decision = request.extensions().get::<Decision>()?;
        // They come first, and the live one last.
        let mut denies = decision
            .matches()
            .take_while(|hit| matches!(hit.statement().action(), Action::Deny(_)))
            .peekable();
        denies.peek()?;
        decision.heed(StatementKind::Deny);
        let kept = self.kept.under(decision.rules(), Denial::new);
        let mut response = None;
        for hit in denies {
            let made;
            let denial = match kept.get(hit.index(), hit.statement()) {
                Some(denial) => denial,
                // The latest rules do not have it any more; those that decided do.
                None => {
                    made = Denial::new(hit.statement());
                    &made
                }
            };
            denial.count(hit.is_live());
            if hit.is_live() {
                response = Some(denial.answer.response(Asked::of(request), self.rule_header.as_ref()));
            }
        }
        response.iter_mut().for_each(|response| self.add_challenge(response));
        response
    }

    /// Says how to authenticate, where the status asks for that.
    fn add_challenge(&self, response: &mut Response<Bytes>) {
        let name = match response.status() {
            StatusCode::UNAUTHORIZED => WWW_AUTHENTICATE,
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => PROXY_AUTHENTICATE,
            _ => return,
        };
        if let Some(challenge) = &self.challenge {
            response.headers_mut().insert(name, challenge.clone());
        }
    }
}
