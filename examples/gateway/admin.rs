//! What operators ask: which rules run and how their source does, how clusters do and what is in flight, what each kind of
//! statement has done.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use pointsman::engine::{GatewayStatement, StatementKind};
use pointsman::metrics::Publisher;
use pointsman::source::{Following, StatusReader};
use pointsman::{Engine, PeerAddr, RuleSet};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::body::Download;
use super::cluster::refusal;
use super::serve::Gateway;
use super::stack::Layers;

/// The operators' pages. They are on a port of their own, which is for nobody else.
pub(crate) struct Admin {
    engine: Engine,
    source: Option<StatusReader>,
    gateway: Arc<Gateway>,
    publisher: Publisher,
    recorder: PrometheusHandle,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What there is.
const PAGES: &str = "there is /_pointsman/ and below it analysis, captures.har, explain/PATH, metrics, rules, and to be posted \
                     to purge?rule=NAME, purge?prefix=PATH, purge?all";

/// How many statements the page tells of.
const SHOWN: usize = 1_000;

// === impl Admin ===

impl Admin {
    pub(crate) fn new(
        engine: &Engine,
        following: Option<&Following>,
        gateway: Arc<Gateway>,
    ) -> Result<Self, Box<dyn Error>> {
        // The recorder of the whole program.
        let recorder = PrometheusBuilder::new().install_recorder()?;
        let source = following.map(Following::reader);
        let Layers { health, split, analyse, capture, deny, limit, cache, mirror, .. } = gateway.layers();
        let mut publisher = Publisher::new(engine.clone())
            .in_flight(split.in_flight())
            .health(health.clone())
            .analyse(analyse.clone())
            .capture(capture.captures())
            .deny(deny.clone())
            .limit(limit.clone())
            .cache(cache.cache())
            .mirror(mirror.clone());
        if let Some(source) = &source {
            publisher = publisher.source(source.clone());
        }
        publisher.describe();
        Ok(Admin { engine: engine.clone(), source, gateway, publisher, recorder })
    }

    /// Serves the pages from a task of their own. Returns where.
    pub(crate) async fn serve(self, at: SocketAddr) -> io::Result<SocketAddr> {
        let taken =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {at}: {error}"));
        let listener = TcpListener::bind(at).await.map_err(taken)?;
        let at = listener.local_addr()?;
        let admin = Arc::new(self);
        tokio::spawn(async move {
            loop {
                let Ok((stream, peer)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let admin = admin.clone();
                let service = service_fn(move |request| {
                    let admin = admin.clone();
                    async move { Ok::<_, Infallible>(admin.answer(request, peer).await) }
                });
                let mut protocol = http1::Builder::new();
                protocol.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
                tokio::spawn(protocol.serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(at)
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Download> {
        let path = request.uri().path();
        let purges = path == "/_pointsman/purge";
        let explained = path.strip_prefix("/_pointsman/explain").filter(|rest| rest.starts_with('/'));
        let explained = explained.map(str::to_owned);
        match (request.method(), explained) {
            (&Method::POST, _) if purges => self.purge(&request),
            (_, _) if purges => not_allowed("POST"),
            (_, Some(rest)) => self.explain(&rest, request, peer),
            (&Method::GET | &Method::HEAD, None) => self.page(path).await,
            _ => not_allowed("GET, HEAD"),
        }
    }

    async fn page(&self, path: &str) -> Response<Download> {
        let Layers { analyse, capture, .. } = self.gateway.layers();
        match path {
            "/_pointsman" | "/_pointsman/" => page(format!("{:#}\n", self.status()), JSON),
            "/_pointsman/analysis" => page(analyse.analysis().to_string(), TEXT),
            "/_pointsman/captures.har" => {
                let captures = capture.captures();
                match tokio::task::spawn_blocking(move || captures.har()).await {
                    Ok(archive) => page(archive, JSON),
                    Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the archive could not be written"),
                }
            }
            "/_pointsman/metrics" => {
                self.publisher.publish();
                page(self.recorder.render(), "text/plain; version=0.0.4; charset=utf-8")
            }
            "/_pointsman/rules" => page(self.engine.rules().text().to_owned(), TEXT),
            _ => refusal(StatusCode::NOT_FOUND, PAGES),
        }
    }

    /// Everything, in one look. How often a request matched each statement is in `statements`; what its layer made of that,
    /// from its first request on, at the kind. Times have their unit in their name.
    fn status(&self) -> Value {
        let rules = self.engine.rules();
        let Layers { health, split, analyse, capture, deny, limit, cache, mirror, guards, .. } =
            self.gateway.layers();
        let counts = self.engine.counters().counts;
        let (routes, mut shown): (Vec<_>, Vec<_>) =
            counts.into_iter().partition(|count| count.kind == StatementKind::Route);
        shown.extend(routes);
        let left_out = shown.len().saturating_sub(SHOWN);
        shown.truncate(SHOWN);
        let in_flight: Map<String, Value> =
            split.in_flight().counts().map(|(cluster, count)| (cluster.to_owned(), count.into())).collect();
        let shed: Map<String, Value> = self
            .gateway
            .args()
            .clusters
            .iter()
            .zip(guards)
            .map(|(members, guard)| {
                (members.name.clone(), guard.room.as_ref().map_or(0, |room| room.shed()).into())
            })
            .collect();
        json!({
            "digest": rules.digest().to_string(),
            "revision": rules.revision(),
            // What in them is surely not meant.
            "lints": rules.lints(),
            // How often each was chosen or matched, those at zero too; routes come last, as there may be many.
            "statements": shown,
            "statements_left_out": left_out,
            // Requests whose statements had no layer: 0, or a mistake in the stack.
            "unheeded": self.engine.unheeded().map(|(_, requests)| requests).sum::<u64>(),
            // What the source says of itself; null where the rules are built in.
            "source": self.source.as_ref().map(StatusReader::status),
            "connections": self.gateway.open().now(),
            "in_flight": in_flight,
            // Requests beyond `--limit`.
            "shed": shed,
            "health": health.status().clusters,
            "analysis": analyse.analysis().clusters,
            // Of the last whole window, and of the one that is being filled.
            "top": analyse.top_keys(),
            "top_so_far": analyse.top_keys_so_far(),
            "capture": capture.captures().counts(),
            "deny": deny.counts(),
            "limit": limit.counts(),
            "cache": cache.cache().counts(),
            "mirror": mirror.counts(),
        })
    }

    /// Why a request would go where it goes now: one with this path and query, and the method and header fields that it was
    /// asked with. As text for whoever accepts `text/plain` first, else as JSON.
    fn explain(&self, path: &str, request: Request<Incoming>, peer: SocketAddr) -> Response<Download> {
        let (mut parts, _) = request.into_parts();
        let target = match parts.uri.query() {
            Some(query) => format!("{path}?{query}").parse(),
            None => path.parse(),
        };
        let Ok(target) = target else { return refusal(StatusCode::BAD_REQUEST, "that is no path") };
        parts.uri = target;
        parts.extensions.insert(PeerAddr(peer));
        let reads =
            parts.headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain"));
        let health = &self.gateway.layers().health;
        let request = Request::from_parts(parts, ());
        let explanation = self.engine.explain_where(&request, |cluster| health.is_available(cluster));
        if reads {
            return page(format!("{explanation}\n"), TEXT);
        }
        match serde_json::to_value(explanation) {
            Ok(explanation) => page(format!("{explanation:#}\n"), JSON),
            Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the explanation could not be written"),
        }
    }

    /// Removes stored responses.
    fn purge(&self, request: &Request<Incoming>) -> Response<Download> {
        // Of a page in an operator's browser, which may be anyone's.
        if request.headers().contains_key(ORIGIN) {
            return refusal(StatusCode::FORBIDDEN, "not for other sites");
        }
        let (cache, rules) = (self.gateway.layers().cache.cache(), self.engine.rules());
        let query = request.uri().query().unwrap_or_default();
        let (what, value) = query.split_once('=').unwrap_or((query, ""));
        let purged = match (what, decoded(value)) {
            ("all", Some(value)) if value.is_empty() => cache.purge_all(),
            ("rule", Some(name)) if !name.is_empty() => match cache.purge_rule(&name) {
                0 if !caches(&rules).any(|known| known == name) => return unknown(&name, &rules),
                purged => purged,
            },
            ("prefix", Some(prefix)) if !prefix.is_empty() => cache.purge_prefix(&prefix),
            _ => return refusal(StatusCode::BAD_REQUEST, PAGES),
        };
        page(format!("{}\n", json!({ "purged": purged })), JSON)
    }
}

/// The names of the `cache` statements.
fn caches(rules: &RuleSet) -> impl Iterator<Item = &str> {
    let caches = rules.gateway().iter().filter(|statement| statement.kind() == StatementKind::Cache);
    caches.map(GatewayStatement::name)
}

fn unknown(name: &str, rules: &RuleSet) -> Response<Download> {
    let known: Vec<_> = caches(rules).take(SHOWN).collect();
    let known = match known.as_slice() {
        [] => "the rules have none".to_owned(),
        known => format!("there is {}", known.join(", ")),
    };
    refusal(
        StatusCode::NOT_FOUND,
        &format!("no `cache` statement is called {}; {known}", name.escape_debug()),
    )
}

fn page(text: String, form: &'static str) -> Response<Download> {
    let mut response = Response::new(Download::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form));
    // Header fields and bodies of others are in some of them.
    response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(NO_SNIFF, HeaderValue::from_static("nosniff"));
    response
}

const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

fn not_allowed(methods: &'static str) -> Response<Download> {
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "another method is needed here");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Reads `%2F` and the like. `None` where that is broken or no text.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(text.into());
    }
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.as_bytes().split_at_checked(2)?;
        let digits = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest);
    }
    String::from_utf8(bytes).ok().map(Cow::from)
}
