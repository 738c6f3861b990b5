//! The answers that the gateway gives in place of a cluster: a problem (RFC 9457) to whoever asks for JSON, plain text to
//! all others.

use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;

use super::GatewayBody;
use super::refused::Refused;
use crate::engine::GatewayStatement;
use crate::middleware::header_value;

/// What a statement answers. Made once a statement, so that an answer costs a few reference counts and a header map.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    plain: Bytes,
    problem: Bytes,
    refused: Refused,
    name: HeaderValue,
}

/// What of a request its answer depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    problem: bool,
    head: bool,
}

pin_project! {
    /// The response of [`DenyService`](super::DenyService) and [`LimitService`](super::LimitService): the inner service's,
    /// or an answer in its place.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct AnswerFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<F> {
        Inner { #[pin] future: F, fields: Option<Box<Fields>> },
        // Boxed, as all layers further out move what is here.
        Own { response: Option<Box<Response<Bytes>>> },
    }
}

/// Further header fields of a response.
pub(super) type Fields = [(HeaderName, HeaderValue); 2];

// === impl Answer ===

impl Answer {
    pub(super) fn new(statement: &GatewayStatement, status: StatusCode, text: Option<&str>) -> Self {
        let refused = Refused { kind: statement.kind(), statement: statement.name().into() };
        Answer {
            status,
            plain: Bytes::copy_from_slice(text.unwrap_or_default().as_bytes()),
            problem: problem(status, text).into(),
            refused,
            name: header_value(statement.name()),
        }
    }

    /// The response, with the statement's name in the header `rule` if there is one.
    pub(super) fn response(&self, asked: Asked, rule: Option<&HeaderName>) -> Response<Bytes> {
        let (data, kind) = if asked.problem {
            (&self.problem, Some("application/problem+json"))
        } else {
            // What is empty has no type.
            (&self.plain, (!self.plain.is_empty()).then_some("text/plain; charset=utf-8"))
        };
        let mut response = Response::new(if asked.head { Bytes::new() } else { data.clone() });
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self.refused.clone());
        let headers = response.headers_mut();
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(data.len()));
        // Rules change while they run, and 429 must not be stored anyway (RFC 6585, 4).
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        if let Some(rule) = rule {
            headers.insert(rule.clone(), self.name.clone());
        }
        response
    }
}

/// The problem as JSON. With the type `about:blank`, the title is the phrase of the status (RFC 9457, 4.2.1).
fn problem(status: StatusCode, text: Option<&str>) -> String {
    let mut json = String::from(r#"{"type":"about:blank","#);
    if let Some(title) = status.canonical_reason() {
        let _ = write!(json, r#""title":"{title}","#);
    }
    let _ = write!(json, r#""status":{}"#, status.as_u16());
    if let Some(text) = text {
        json.push_str(r#","detail":""#);
        for c in text.chars() {
            match c {
                '"' | '\\' => json.extend(['\\', c]),
                c if u32::from(c) < 0x20 => {
                    let _ = write!(json, "\\u{:04x}", u32::from(c));
                }
                c => json.push(c),
            }
        }
        json.push('"');
    }
    json.push('}');
    json
}

// === impl Asked ===

impl Asked {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Asked { problem: wants_problem(request.headers()), head: request.method() == Method::HEAD }
    }
}

/// Whether a request asks for JSON: `application/problem+json`, `application/json` or `application/*` is named, and plain
/// text is not liked better. `*/*` names nothing, and most of those who send it are browsers and command lines, so plain
/// text is what they get. Whoever accepts neither gets plain text too (RFC 9110, 12.5.1).
fn wants_problem(headers: &HeaderMap) -> bool {
    // In thousandths: of the most specific range that takes it.
    let (mut problem, mut text) = ((0, None), (0, None));
    for range in headers.get_all(header::ACCEPT).iter().flat_map(|value| elements(value.as_bytes(), b',')) {
        let mut parts = elements(range, b';');
        let name = parts.next().unwrap_or_default();
        let Some(quality) = quality(parts) else { continue };
        let take = |of: &mut (u8, Option<u16>), specific| {
            if specific > of.0 {
                *of = (specific, Some(quality));
            } else if specific == of.0 {
                of.1 = of.1.max(Some(quality));
            }
        };
        let is = |what: &str| name.eq_ignore_ascii_case(what.as_bytes());
        if is("application/problem+json") {
            take(&mut problem, 3);
        } else if is("application/json") {
            take(&mut problem, 2);
        } else if is("application/*") {
            take(&mut problem, 1);
        } else if is("text/plain") {
            take(&mut text, 3);
        } else if is("text/*") {
            take(&mut text, 2);
        } else if is("*/*") {
            take(&mut text, 1);
        }
    }
    problem.1.is_some_and(|problem| problem > 0 && Some(problem) >= text.1)
}

/// What stands between separators, without spaces around it. A separator inside a quoted string is none.
fn elements(list: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    list.split(move |&byte| {
        let separates = byte == separator && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        separates
    })
    .map(<[u8]>::trim_ascii)
}

/// The parameter `q` in thousandths; 1 where there is none, and nothing where it is not one (RFC 9110, 12.4.2).
fn quality<'p>(mut parameters: impl Iterator<Item = &'p [u8]>) -> Option<u16> {
    let value = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(2)?;
        name.eq_ignore_ascii_case(b"q=").then_some(value)
    });
    let Some(value) = value else { return Some(1000) };
    let (whole, digits) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut thousandths = 0;
    for at in 0..3 {
        let digit = digits.get(at).copied().unwrap_or(b'0');
        thousandths = thousandths * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

// === impl AnswerFuture ===

impl<F> AnswerFuture<F> {
    pub(super) fn inner(future: F, fields: Option<Box<Fields>>) -> Self {
        AnswerFuture { kind: Kind::Inner { future, fields } }
    }

    pub(super) fn own(response: Response<Bytes>) -> Self {
        AnswerFuture { kind: Kind::Own { response: Some(Box::new(response)) } }
    }
}

impl<F, B, E> Future for AnswerFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<GatewayBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Inner { future, fields } => {
                let mut response = ready!(future.poll(cx))?;
                for (name, value) in fields.take().into_iter().flat_map(|fields| *fields) {
                    // Fails at 32,768 names; such a response goes out as it is. What the inner service says is a list too.
                    let _ = response.headers_mut().try_append(name, value);
                }
                Poll::Ready(Ok(response.map(GatewayBody::inner)))
            }
            KindProjection::Own { response } => match response.take() {
                Some(response) => Poll::Ready(Ok((*response).map(GatewayBody::own))),
                // Polled again after it was done.
                None => Poll::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_those_who_name_it() {
        let wants = |accept: &[&str]| {
            let headers: HeaderMap =
                accept.iter().map(|line| (header::ACCEPT, HeaderValue::from_str(line).unwrap())).collect();
            wants_problem(&headers)
        };
        for accept in [
            &["application/problem+json"][..],
            &["application/json"],
            &["APPLICATION/JSON"],
            &["application/*"],
            &["application/json, text/plain, */*"],
            &["application/json;charset=utf-8"],
            &["text/html", "application/json"],
            &["application/json;q=0.5, text/plain;q=0.5"],
            &["application/json;q=0.9, text/*;q=0.8"],
            &["text/plain;q=0, application/json;q=0.001"],
            &[r#"text/plain;x="a,b;q=1\",";q=0.1, application/json;q=0.2"#],
            &["application/problem+json, application/json;q=0"],
            &["*/*;q=0.1, application/json; q=0.2"],
            &["text/plain;q=0.1, text/*, application/json;q=0.2"],
            &["application/json;Q=1.000"],
        ] {
            assert!(wants(accept), "{accept:?}");
        }
        for accept in [
            &[][..],
            &[""],
            &["*/*"],
            &["image/png"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &["application/json;q=0"],
            &["application/json;q=0.4, text/plain;q=0.5"],
            &["application/json;q=0.4", "*/*"],
            &["application/problem+json;q=0, application/json"],
            // What is not a quality is not guessed at.
            &["application/json;q=1.5"],
            &["application/json;q=0.1234"],
            &["application/json;q="],
            &["application/jsonp"],
            &[r#"text/plain;x="application/json,application/json""#],
        ] {
            assert!(!wants(accept), "{accept:?}");
        }
    }

    #[test]
    fn a_problem_is_json_whatever_the_text_says() {
        let texts =
            ["", "plain", "\"quoted\" \\ back", "line\nline\u{0}\u{1f}\u{7f}", "ä 🚦 \u{2028}", "</script>"];
        for text in texts {
            let json: serde_json::Value =
                serde_json::from_str(&problem(StatusCode::FORBIDDEN, Some(text))).unwrap();
            let wanted = serde_json::json!(
                {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": text}
            );
            assert_eq!(json, wanted);
        }
        let json = problem(StatusCode::from_u16(499).unwrap(), None);
        assert_eq!(json, r#"{"type":"about:blank","status":499}"#);
    }
}
