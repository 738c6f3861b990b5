//! Spans are told of decisions, and the log of new rules.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use pointsman::{Engine, Rules, TrafficSplitLayer};
use tower::{Layer, Service, service_fn};
use tracing::field::Empty;
use tracing_subscriber::fmt;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// What was logged since somebody asked.
    fn taken(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

fn logged() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = fmt().with_ansi(false).without_time().with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn the_span_of_a_request_says_where_it_goes() {
    let (log, _guard) = logged();
    let rules = "route testers: header(x-canary) == \"always\" => gray\ndefault => prod";
    let engine = Engine::builder().clusters(["gray", "prod"]).build(rules).unwrap();
    let service = TrafficSplitLayer::new(engine).layer(service_fn(async |_: Request<()>| {
        tracing::info!("served");
        Ok::<_, Infallible>(Response::new(()))
    }));
    let ask = async |canary: &str, span: tracing::Span| {
        let request = Request::get("/").header("x-canary", canary).body(()).unwrap();
        // As `TraceLayer` does: inside the span while calling, and while polling.
        let mut service = service.clone();
        let response = span.in_scope(|| service.call(request));
        let mut response = std::pin::pin!(response);
        std::future::poll_fn(|cx| span.in_scope(|| response.as_mut().poll(cx))).await.unwrap();
        log.taken()
    };
    let span = || tracing::info_span!("request", cluster = Empty, rule = Empty, revision = Empty);
    let line = ask("always", span()).await;
    assert!(line.contains("request{cluster=\"gray\" rule=\"testers\" revision=1}: "), "{line}");
    let line = ask("never", span()).await;
    assert!(line.contains("request{cluster=\"prod\" rule=\"default\" revision=1}: "), "{line}");
    // A span gets what it asked for.
    let line = ask("never", tracing::info_span!("request", rule = Empty)).await;
    assert!(line.contains("request{rule=\"default\"}: "), "{line}");
    let line = ask("never", tracing::Span::none()).await;
    assert!(line.contains("served") && !line.contains("default"), "{line}");
}

#[test]
fn new_rules_are_logged_and_bad_ones_with_their_first_problem() {
    let (log, _guard) = logged();
    let engine = Engine::builder().clusters(["gray", "prod"]).build("default => prod").unwrap();
    engine.replace("list a = [1]\ndefault => gray").unwrap();
    let line = log.taken();
    assert!(line.contains("INFO pointsman: rules replaced revision=2 lints=1\n"), "{line}");
    engine.replace(Rules::named("shop\n.rules", "route x: tru => gray\ndefault => prodd")).unwrap_err();
    let line = log.taken();
    let expected = r#" WARN pointsman: rules refused problems=2 first="shop\\n.rules:1:10: "#;
    assert!(line.starts_with(expected) && line.lines().count() == 1, "{line}");
}

#[cfg(feature = "source")]
#[tokio::test]
async fn a_text_that_was_refused_at_the_start_is_logged() {
    use pointsman::source::{Follower, Source, SourceError, Text, Update};

    struct Bad;

    impl Source for Bad {
        async fn next(&mut self) -> Result<Update, SourceError> {
            Ok(Text::new("shop.rules", "default => prd", "1").into())
        }
    }

    let (log, _guard) = logged();
    let builder = Engine::builder().clusters(["gray", "prod"]);
    let (_engine, _following) =
        Follower::new(builder, Bad).built_in("default => prod").start().await.unwrap();
    let line = log.taken();
    let expected = r#" WARN pointsman: rules refused problems=1 first="shop.rules:1:12: "#;
    assert!(line.starts_with(expected) && line.lines().count() == 1, "{line}");
}

#[tokio::test]
async fn statements_that_nobody_heeds_are_an_error_in_a_few_lines() {
    use pointsman::schema::{Schema, StatementKind};

    let (log, _guard) = logged();
    let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Deny]);
    let engine = Engine::builder().schema(schema).build("deny all: true => 403 default => prod").unwrap();
    let prod = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let mut clusters = pointsman::Clusters::new(&engine, [("prod", prod)]).unwrap();
    for _ in 0..100 {
        clusters.call(Request::new(())).await.unwrap();
    }
    let lines = log.taken();
    let first = "ERROR pointsman: statements are not heeded: \
                 the layer of this kind is missing or at the wrong place kind=\"deny\" requests=1\n";
    assert!(lines.starts_with(first), "{lines}");
    assert_eq!(lines.lines().count(), 7, "1, 2, 4 and so on: {lines}");
}
