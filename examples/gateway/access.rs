//! A line of JSON for each request, on stdout, when it is asked for.

use std::future::Future;
use std::io::{BufWriter, Write};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use http::{Request, Response};
use pointsman::Decision;
use pointsman::gateway::Refused;
use tower::{Layer, Service};

/// Lines that wait to be written. What is beyond is lost, so that whoever reads them slowly does not slow requests.
const WAITING: usize = 16 * 1024;

/// Logs requests when the heads of their responses are there. Stands behind what decides.
#[derive(Clone)]
pub(crate) struct AccessLog {
    lines: SyncSender<String>,
}

#[derive(Clone)]
pub(crate) struct Logged<S> {
    log: AccessLog,
    inner: S,
}

#[derive(serde::Serialize)]
struct Line<'l> {
    time: String,
    method: &'l str,
    path: &'l str,
    status: u16,
    cluster: &'l str,
    /// The route that decided, or `default`.
    rule: &'l str,
    /// The `deny` or the `limit` that answered in the cluster's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_by: Option<String>,
    /// Until the head of the response.
    microseconds: u128,
}

impl AccessLog {
    /// Starts the thread that writes.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        thread::Builder::new().name("access-log".to_owned()).spawn(move || write(&waiting))?;
        Ok(AccessLog { lines })
    }
}

/// Ends when nobody logs any more, or nobody reads.
fn write(lines: &Receiver<String>) {
    let mut out = BufWriter::new(std::io::stdout());
    while let Ok(line) = lines.recv() {
        let mut waiting = std::iter::once(line).chain(lines.try_iter());
        let written = waiting.try_for_each(|line| writeln!(out, "{line}"));
        if written.and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

impl<S> Layer<S> for AccessLog {
    type Service = Logged<S>;

    fn layer(&self, inner: S) -> Logged<S> {
        Logged { log: self.clone(), inner }
    }
}

impl<S, B, C> Service<Request<B>> for Logged<S>
where
    S: Service<Request<B>, Response = Response<C>, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (begun, log) = (Instant::now(), self.log.clone());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let decision = request.extensions().get::<Decision>().cloned();
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            let line = Line {
                time: format!("{:.3}", jiff::Timestamp::now()),
                method: method.as_str(),
                path: uri.path(),
                status: response.status().as_u16(),
                cluster: decision.as_ref().map_or("", Decision::cluster),
                rule: decision.as_ref().map_or("", Decision::statement),
                refused_by: response.extensions().get::<Refused>().map(Refused::to_string),
                microseconds: begun.elapsed().as_micros(),
            };
            // A line that finds no place is lost.
            let _ = serde_json::to_string(&line).map(|line| log.lines.try_send(line));
            Ok(response)
        })
    }
}
