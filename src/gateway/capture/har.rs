//! An HTTP Archive: HAR 1.2, and fields of our own behind `_pointsman` (custom fields begin with an underscore).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Version;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use serde::Serialize;

use super::exchange::{BodyRecord, Captured, End, header};
use crate::engine::StatementKind;
use crate::schema::http::query_pairs;

#[derive(Serialize)]
struct Har<'c> {
    log: Log<'c>,
}

#[derive(Serialize)]
struct Log<'c> {
    version: &'static str,
    creator: Creator,
    pages: [(); 0],
    entries: Vec<Entry<'c>>,
}

#[derive(Serialize)]
struct Creator {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'c> {
    started_date_time: String,
    time: f64,
    request: Request<'c>,
    response: Response<'c>,
    cache: Empty,
    timings: Timings,
    comment: String,
    #[serde(rename = "_pointsman")]
    pointsman: Pointsman<'c>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'c> {
    method: &'c str,
    url: &'c str,
    http_version: &'static str,
    cookies: Vec<Pair>,
    headers: Vec<PairRef<'c>>,
    query_string: Vec<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    post_data: Option<PostData<'c>>,
    headers_size: i64,
    body_size: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'c> {
    status: u16,
    status_text: &'static str,
    http_version: &'static str,
    cookies: Vec<Pair>,
    headers: Vec<PairRef<'c>>,
    content: Content<'c>,
    #[serde(rename = "redirectURL")]
    redirect_url: &'c str,
    headers_size: i64,
    body_size: i64,
    #[serde(rename = "_error", skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'static str>,
}

#[derive(Serialize)]
struct Pair {
    name: String,
    value: String,
}

#[derive(Serialize)]
struct PairRef<'c> {
    name: &'c str,
    value: &'c str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostData<'c> {
    mime_type: &'c str,
    text: String,
    // HAR 1.2 has this for content only.
    #[serde(rename = "_encoding", skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    #[serde(rename = "_truncated", skip_serializing_if = "is_false")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Content<'c> {
    size: u64,
    mime_type: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    #[serde(rename = "_truncated", skip_serializing_if = "is_false")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

/// Milliseconds; -1 where there is nothing to tell.
#[derive(Serialize)]
struct Timings {
    blocked: f64,
    dns: f64,
    connect: f64,
    send: f64,
    wait: f64,
    receive: f64,
    ssl: f64,
}

#[derive(Serialize)]
struct Pointsman<'c> {
    cluster: &'c str,
    rule: Option<&'c str>,
    statement: &'c str,
    revision: u64,
    followed: bool,
    #[serde(rename = "capturedBy")]
    captured_by: &'c [String],
    matches: Vec<Hit<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<std::net::IpAddr>,
    end: &'static str,
}

#[derive(Serialize)]
struct Hit<'c> {
    kind: String,
    name: &'c str,
    live: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Writes exchanges as one archive.
pub(super) fn write(exchanges: &[Arc<Captured>]) -> String {
    let log = Log {
        version: "1.2",
        creator: Creator { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
        pages: [],
        entries: exchanges.iter().map(|captured| entry(captured)).collect(),
    };
    // All keys are strings, so nothing can fail.
    serde_json::to_string(&Har { log }).unwrap_or_default()
}

fn entry(captured: &Captured) -> Entry<'_> {
    let timings = timings(captured);
    let decision = &captured.decision;
    let denied = decision.matches.iter().find(|hit| hit.live && hit.kind == StatementKind::Deny);
    let denied = denied.map(|denied| format!(", denied by {}", denied.name)).unwrap_or_default();
    Entry {
        started_date_time: date(captured.began),
        time: millis(captured.timings.end),
        request: request(captured),
        response: response(captured),
        cache: Empty {},
        timings,
        comment: format!(
            "{} by {}, revision {}{denied}; captured by {}",
            decision.cluster,
            decision.statement,
            decision.revision,
            captured.by.join(", "),
        ),
        pointsman: Pointsman {
            cluster: &decision.cluster,
            rule: decision.rule.as_deref(),
            statement: &decision.statement,
            revision: decision.revision,
            followed: decision.followed,
            captured_by: &captured.by,
            matches: decision
                .matches
                .iter()
                .map(|hit| Hit { kind: hit.kind.to_string(), name: &hit.name, live: hit.live })
                .collect(),
            client: captured.request.client,
            end: match captured.end {
                End::Complete => "complete",
                End::Failed => "failed",
                End::Dropped => "dropped",
                End::Overlong => "overlong",
            },
        },
    }
}

fn request(captured: &Captured) -> Request<'_> {
    let request = &captured.request;
    let body = &request.body;
    let query =
        request.url.split('#').next().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let post_data = (body.total > 0).then(|| {
        let (text, encoding) = text(body);
        PostData {
            mime_type: header(&request.headers, CONTENT_TYPE.as_str()).unwrap_or(""),
            text,
            encoding,
            truncated: body.truncated,
            comment: comment(body, encoding),
        }
    });
    Request {
        method: &request.method,
        url: &request.url,
        http_version: version(request.version),
        cookies: values(&request.headers, COOKIE.as_str())
            .flat_map(|line| line.split(';'))
            .filter_map(cookie)
            .collect(),
        headers: pairs(&request.headers),
        query_string: query_pairs(query.as_bytes())
            .map(|(name, value)| Pair { name: lossy(&name), value: lossy(&value) })
            .collect(),
        post_data,
        headers_size: -1,
        body_size: size(body),
    }
}

fn response(captured: &Captured) -> Response<'_> {
    let error = match captured.end {
        End::Complete => None,
        End::Failed => Some("the service failed"),
        End::Dropped => Some("nobody waited for the rest"),
        End::Overlong => Some("it went on for longer than it is captured"),
    };
    let Some(response) = &captured.response else {
        return Response {
            status: 0,
            status_text: "",
            http_version: "",
            cookies: Vec::new(),
            headers: Vec::new(),
            content: Content {
                size: 0,
                mime_type: "x-unknown",
                text: None,
                encoding: None,
                truncated: false,
                comment: None,
            },
            redirect_url: "",
            headers_size: -1,
            body_size: -1,
            error,
            comment: Some("there was no response"),
        };
    };
    let body = &response.body;
    let (text, encoding) = text(body);
    Response {
        status: response.status,
        status_text: response.reason,
        http_version: version(response.version),
        cookies: values(&response.headers, SET_COOKIE.as_str())
            .filter_map(|line| cookie(line.split(';').next().unwrap_or("")))
            .collect(),
        headers: pairs(&response.headers),
        content: Content {
            size: body.total,
            mime_type: header(&response.headers, CONTENT_TYPE.as_str()).unwrap_or("x-unknown"),
            text: Some(text).filter(|_| body.total > 0),
            encoding: encoding.filter(|_| body.total > 0),
            truncated: body.truncated,
            comment: comment(body, encoding),
        },
        redirect_url: header(&response.headers, LOCATION.as_str()).unwrap_or(""),
        headers_size: -1,
        body_size: size(body),
        error,
        comment: None,
    }
}

// === parts ===

fn timings(captured: &Captured) -> Timings {
    let taken = captured.timings;
    let head = taken.head.unwrap_or(taken.end);
    // A request may be answered while its body is still read.
    let send = taken.sent.unwrap_or_default().min(head);
    Timings {
        blocked: -1.0,
        dns: -1.0,
        connect: -1.0,
        send: millis(send),
        wait: millis(head - send),
        receive: millis(taken.end.saturating_sub(head)),
        ssl: -1.0,
    }
}

/// To the microsecond.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

fn date(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// -1 when nobody read it to its end.
fn size(body: &BodyRecord) -> i64 {
    if body.complete { i64::try_from(body.total).unwrap_or(i64::MAX) } else { -1 }
}

/// A body as text, and how it is encoded if it is not UTF-8.
fn text(body: &BodyRecord) -> (String, Option<&'static str>) {
    match std::str::from_utf8(&body.bytes) {
        Ok(text) => (text.to_owned(), None),
        // Cut within a character.
        Err(error) if body.truncated && error.error_len().is_none() => {
            let whole = body.bytes.get(..error.valid_up_to()).unwrap_or_default();
            (String::from_utf8_lossy(whole).into_owned(), None)
        }
        Err(_) => (BASE64.encode(&body.bytes), Some("base64")),
    }
}

fn comment(body: &BodyRecord, encoding: Option<&str>) -> Option<String> {
    let mut said = Vec::new();
    if let Some(encoding) = encoding {
        said.push(format!("in {encoding}, as it is not UTF-8"));
    }
    if body.truncated {
        said.push(format!("truncated: the first {} of {} bytes", body.bytes.len(), body.total));
    }
    if body.total > 0 && !body.complete {
        said.push("not read to its end".to_owned());
    }
    (!said.is_empty()).then(|| said.join("; "))
}

fn pairs(headers: &[(String, String)]) -> Vec<PairRef<'_>> {
    headers.iter().map(|(name, value)| PairRef { name, value }).collect()
}

fn values<'h>(headers: &'h [(String, String)], name: &str) -> impl Iterator<Item = &'h str> {
    headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn cookie(pair: &str) -> Option<Pair> {
    let pair = pair.trim();
    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
    (!pair.is_empty()).then(|| Pair { name: name.trim().to_owned(), value: value.trim().to_owned() })
}
