//! Rules that a web server has.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER, TRANSFER_ENCODING,
};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, sleep_until, timeout};
use tower::ServiceExt as _;
use tower_service::Service;

use super::backoff::jittered;
use super::error::{SourceError, SourceErrorKind};
use super::text::{Source, Text, Update};
use crate::limits::Limits;

/// A rule text that a web server has, asked for now and then.
///
/// Each request names the `ETag` of what is known, or the `Last-Modified` of a server without, so that a server where
/// nothing changed answers `304` and sends nothing. The time between two requests is [a setting](HttpSource::every) and
/// differs by chance, so that nodes do not ask together. After `429` and `503` the server's `Retry-After` is waited for.
///
/// Redirects are not followed: whoever can make the server answer with one would choose the rules. A body that is encoded
/// (`gzip`) is refused, as none is asked for; and so is one that ends where the connection ends, as what got lost could
/// not be told from what was sent.
///
/// [`new`](HttpSource::new) speaks plain HTTP/1.1. For TLS, a proxy or HTTP/2, give [a client of your
/// own](HttpSource::with_client), which is a tower service.
///
/// ```
/// use pointsman::source::{Follower, HttpSource};
/// use pointsman::Engine;
/// use std::time::Duration;
///
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let source = HttpSource::new("http://config.internal/shop.rules".parse()?)?.every(Duration::from_secs(5));
/// let builder = Engine::builder().clusters(["gray", "prod"]);
/// let (engine, following) = Follower::new(builder, source).last_good("/var/lib/shop/rules.good").start().await?;
/// # let _ = (engine, following);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HttpSource<S = PlainHttp> {
    client: S,
    uri: Uri,
    headers: HeaderMap,
    every: Duration,
    timeout: Duration,
    limit: usize,
    /// What the server called the text that it gave last.
    known: Option<Known>,
    /// When it is asked again; at once where an answer is missing.
    due: Option<Instant>,
}

/// The client of [`HttpSource::new`]: HTTP/1.1 without TLS.
#[derive(Debug, Clone)]
pub struct PlainHttp(Client<HttpConnector, NoBody>);

/// The body of an answer to [`PlainHttp`].
#[derive(Debug)]
pub struct PlainBody(hyper::body::Incoming);

type BoxError = Box<dyn Error + Send + Sync>;

/// The body of the requests: none. A client is built for it, as `hyper_util`'s
/// `Client::builder(..).build::<_, NoBody>(connector)`.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct NoBody;

/// A URI that [`HttpSource::new`] cannot ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{uri}` is not `http://HOST/…`, which is all that can be asked without a client of your own")]
pub struct UriError {
    uri: Uri,
}

/// The validator of a text: one of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Tag(HeaderValue),
    Modified(HeaderValue),
}

// === impl HttpSource ===

impl HttpSource {
    /// The text at `uri`, asked for by plain HTTP/1.1.
    ///
    /// # Errors
    ///
    /// When the URI is not one of `http` with a host.
    pub fn new(uri: Uri) -> Result<Self, UriError> {
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
            return Err(UriError { uri });
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(HttpSource::with_client(uri, PlainHttp(client)))
    }
}

impl<S> HttpSource<S> {
    /// The text at `uri`, asked for by a client: any service that takes requests without a body, such as `hyper_util`'s
    /// `Client` over a connector for TLS.
    ///
    /// Redirects and encodings are the client's business, should it know them; what it hands on is taken as said above.
    pub fn with_client(uri: Uri, client: S) -> Self {
        HttpSource {
            client,
            uri,
            headers: HeaderMap::new(),
            every: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
            limit: Limits::default().text_bytes,
            known: None,
            due: None,
        }
    }

    /// How often to ask. Default: every 10 s, less up to a half by chance; less than 10 ms counts as that.
    #[must_use]
    pub fn every(mut self, time: Duration) -> Self {
        self.every = time.max(Duration::from_millis(10));
        self
    }

    /// How long the server has for an answer, from the connection to the last byte. Default: 10 s.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// The most bytes of a text. Default: 4 MiB, as [`Limits::text_bytes`]. No more is read.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Sends a header with each request, as `Authorization`; one of that name given before is replaced.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        // Fails at 32,768 names.
        let _ = self.headers.try_insert(name, value);
        self
    }

    fn request(&self) -> Request<NoBody> {
        let mut request = Request::new(NoBody);
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let validator = match &self.known {
            Some(Known::Tag(tag)) => Some((IF_NONE_MATCH, tag)),
            Some(Known::Modified(time)) => Some((IF_MODIFIED_SINCE, time)),
            None => None,
        };
        if let Some((name, value)) = validator {
            let _ = request.headers_mut().try_insert(name, value.clone());
        }
        request
    }

    /// What a response without its body says; nothing if its body is the text.
    fn head<B>(&self, response: &Response<B>) -> Option<Result<Update, SourceError>> {
        use SourceErrorKind::{Absent, Denied, Invalid, Other, Unreachable};
        let header = |name| response.headers().get(name).map(shown);
        let error = |kind, message: String| Some(Err(SourceError::new(kind, message)));
        let status = response.status();
        let answers = format!("the server answers {status}");
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if self.known.is_some() => return Some(Ok(Update::Unchanged)),
            StatusCode::NOT_MODIFIED => {
                return error(Other, format!("{answers}, and nothing is known to it"));
            }
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::NO_CONTENT => {
                return error(Absent, answers);
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return error(Denied, answers);
            }
            status if status.is_redirection() => {
                let to = header(LOCATION).unwrap_or_default();
                return error(Other, format!("{answers} to `{to}`; redirects are not followed"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let wait = response.headers().get(RETRY_AFTER).and_then(retry_after);
                let error = SourceError::new(Unreachable, answers);
                return Some(Err(wait.map_or(error.clone(), |wait| error.retry_after(wait))));
            }
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                return error(Unreachable, answers);
            }
            _ => return error(Other, answers),
        }
        if let Some(encoding) = header(CONTENT_ENCODING).filter(|value| value != "identity") {
            return error(Invalid, format!("the body is encoded as `{encoding}`, which was not asked for"));
        }
        let chunked =
            header(TRANSFER_ENCODING).is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        let ends = chunked || response.headers().contains_key(CONTENT_LENGTH);
        if response.version() <= Version::HTTP_11 && !ends {
            let message = "the body has neither a length nor chunks, so its end cannot be told from a loss";
            return error(Invalid, message.to_owned());
        }
        None
    }
}

impl<S, B> HttpSource<S>
where
    S: Service<Request<NoBody>, Response = Response<B>> + Send + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError> + Send,
{
    async fn ask(&mut self) -> Result<Update, SourceError> {
        let broken = |what, error| SourceError::new(SourceErrorKind::Unreachable, what).because(error);
        let request = self.request();
        let asked = async {
            let client =
                self.client.ready().await.map_err(|error| broken("the client is not ready", error.into()))?;
            client.call(request).await.map_err(|error| broken("the server cannot be asked", error.into()))
        };
        let response = asked.await?;
        if let Some(said) = self.head(&response) {
            return said;
        }
        let (head, body) = response.into_parts();
        let what = "the body";
        // What is said of the length is no promise, but more than the limit is too much anyway.
        let announced = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: u64| length > self.limit as u64) {
            return Err(SourceError::too_large(what, self.limit, announced));
        }
        let mut bytes = Vec::new();
        let mut body = pin!(body);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken("the body broke off", error.into()))?;
            let Ok(mut data) = frame.into_data() else { continue };
            if bytes.len() + data.remaining() > self.limit {
                return Err(SourceError::too_large(what, self.limit, None));
            }
            while data.has_remaining() {
                let chunk = data.chunk();
                bytes.extend_from_slice(chunk);
                let length = chunk.len();
                data.advance(length);
            }
        }
        let text = SourceError::utf8(what, bytes)?;
        self.known = known(&head.headers);
        let version = match &self.known {
            Some(Known::Tag(value) | Known::Modified(value)) => shown(value),
            None => String::new(),
        };
        Ok(Text::new(named(&self.uri), text, version).into())
    }
}

impl<S, B> Source for HttpSource<S>
where
    S: Service<Request<NoBody>, Response = Response<B>> + Send + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError> + Send,
{
    async fn next(&mut self) -> Result<Update, SourceError> {
        if let Some(due) = self.due.take() {
            sleep_until(due).await;
        }
        let within = self.timeout;
        let said = timeout(within, self.ask()).await.unwrap_or_else(|_| {
            let message = format!("the server did not answer within {within:?}");
            Err(SourceError::new(SourceErrorKind::Unreachable, message))
        });
        match &said {
            Ok(_) => self.due = Some(Instant::now() + jittered(self.every)),
            // The server has another thing now, or nothing: what it had is to be asked for anew.
            Err(error) if error.kind().is_an_answer() => self.known = None,
            Err(_) => {}
        }
        said
    }

    fn name(&self) -> String {
        named(&self.uri)
    }
}

impl<S> fmt::Debug for HttpSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold secrets.
        f.debug_struct("HttpSource")
            .field("uri", &named(&self.uri))
            .field("every", &self.every)
            .field("timeout", &self.timeout)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// The URI without what may be secret: a user and a query.
fn named(uri: &Uri) -> String {
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or(""), uri.path())
}

fn shown(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn known(headers: &HeaderMap) -> Option<Known> {
    let tag = headers.get(ETAG).cloned().map(Known::Tag);
    tag.or_else(|| headers.get(LAST_MODIFIED).cloned().map(Known::Modified))
}

/// Seconds, or a time: RFC 9110, section 10.2.3.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time: SystemTime = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().into();
    time.duration_since(SystemTime::now()).ok()
}

// === impl PlainHttp ===

impl Service<Request<NoBody>> for PlainHttp {
    type Response = Response<PlainBody>;
    type Error = BoxError;
    // Boxed, so that the client's own types stay inside: it is one in some seconds.
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.0, cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<NoBody>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async { Ok(response.await?.map(PlainBody)) })
    }
}

impl Body for PlainBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

// === impl NoBody ===

impl Body for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_time() {
        let wait = |value: &str| retry_after(&HeaderValue::from_str(value).unwrap());
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait(" 0 "), Some(Duration::ZERO));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), None, "long ago");
        let far = wait("Tue, 31 Dec 2999 23:59:59 GMT").unwrap();
        assert!(far > Duration::from_secs(3600 * 24 * 365 * 900));
        for bad in ["", "soon", "-1", "1.5", "99999999999999999999999", "1994-11-06"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let uri = "http://user:word@config:8080/shop.rules?token=word".parse().unwrap();
        let source = HttpSource::new(uri)
            .unwrap()
            .header(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer word"));
        assert_eq!(named(&source.uri), "http://config:8080/shop.rules");
        assert!(!format!("{source:?}").contains("word"));
    }

    #[test]
    fn what_is_not_plain_needs_a_client() {
        for uri in ["https://config/shop.rules", "/shop.rules", "config:80"] {
            let error = HttpSource::new(uri.parse().unwrap()).unwrap_err();
            assert!(error.to_string().contains(uri), "{error}");
        }
    }
}
