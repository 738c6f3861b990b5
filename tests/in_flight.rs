//! What is in flight is counted from the decision to the end of the response, and a drain misses none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use pointsman::schema::{Schema, Type};
use pointsman::{Decision, Engine, InFlight, TrafficSplitLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower::{Layer, Service, ServiceExt, service_fn};

const LONG: Duration = Duration::from_secs(30);
const TO_A: &str = "default => a";
const TO_B: &str = "default => b";

fn engine(rules: &str) -> Engine {
    Engine::builder().clusters(["a", "b"]).build(rules).unwrap()
}

#[track_caller]
fn counts(in_flight: &InFlight) -> [u64; 2] {
    let counts: Vec<_> = in_flight.counts().collect();
    let asked = ["a", "b"].map(|name| in_flight.count(name).unwrap());
    assert_eq!(counts, [("a", asked[0]), ("b", asked[1])]);
    asked
}

/// A future that is polled by hand, and counts how often it is woken.
struct Watched<F> {
    future: Pin<Box<F>>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<F: Future> Watched<F> {
    fn new(future: F) -> Self {
        Watched { future: Box::pin(future), woken: Arc::default() }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        self.future.as_mut().poll(&mut Context::from_waker(&Waker::from(self.woken.clone())))
    }

    /// How often it was woken since somebody asked.
    fn woken(&self) -> usize {
        self.woken.0.swap(0, Ordering::SeqCst)
    }
}

/// A body whose frames come from elsewhere, and which says strange things of itself.
struct Fed(UnboundedReceiver<Result<Frame<Bytes>, &'static str>>);

fn fed() -> (UnboundedSender<Result<Frame<Bytes>, &'static str>>, Fed) {
    let (feed, frames) = unbounded_channel();
    (feed, Fed(frames))
}

impl Body for Fed {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_closed()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(7);
        hint.set_upper(4711);
        hint
    }
}

// === from when to when ===

#[test]
fn a_request_counts_from_its_decision_to_the_end_of_its_body() {
    let layer = TrafficSplitLayer::new(engine(TO_A)).count_in_flight();
    let in_flight = layer.in_flight();
    let (answer, answered) = oneshot::channel();
    let answered = Mutex::new(Some(answered));
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        let answered = answered.lock().unwrap().take().unwrap();
        async { Ok::<Response<Fed>, Infallible>(Response::new(answered.await.unwrap())) }
    }));

    let mut call = Watched::new(service.call(Request::new(())));
    assert_eq!(counts(&in_flight), [1, 0]);
    assert!(call.poll().is_pending());
    assert_eq!(counts(&in_flight), [1, 0]);
    let (feed, body) = fed();
    answer.send(body).ok().unwrap();
    let Poll::Ready(Ok(response)) = call.poll() else { panic!("not answered") };
    drop(call);
    assert_eq!(counts(&in_flight), [1, 0]);

    let mut body = response.into_body();
    let mut next = || match pin!(body.frame()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("no frame"),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    feed.send(Ok(Frame::data(Bytes::from_static(b"one")))).unwrap();
    feed.send(Ok(Frame::trailers(trailers.clone()))).unwrap();
    assert_eq!(next().unwrap().unwrap().into_data().unwrap(), "one");
    assert_eq!(counts(&in_flight), [1, 0]);
    assert_eq!(next().unwrap().unwrap().into_trailers().unwrap(), trailers);
    assert_eq!(counts(&in_flight), [1, 0]);
    drop(feed);
    assert!(next().is_none());
    // The body is still held.
    assert_eq!(counts(&in_flight), [0, 0]);
    drop(body);
    assert_eq!(counts(&in_flight), [0, 0]);
}

#[tokio::test]
async fn what_a_body_says_of_itself_passes_through() {
    let layer = TrafficSplitLayer::new(engine(TO_A)).count_in_flight();
    let (feed, body) = fed();
    let body = Mutex::new(Some(body));
    let service = layer.layer(service_fn(|_: Request<()>| {
        let body = body.lock().unwrap().take().unwrap();
        async { Ok::<_, Infallible>(Response::new(body)) }
    }));
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (7, Some(4711)));
    assert!(!body.is_end_stream());
    feed.send(Err("broken")).unwrap();
    drop(feed);
    assert!(body.is_end_stream());
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
    assert_eq!(layer.in_flight().count("a").unwrap(), 1);
    drop(body);
    assert_eq!(layer.in_flight().count("a").unwrap(), 0);
}

#[tokio::test]
async fn a_request_that_is_given_up_or_fails_counts_no_more() {
    let layer = TrafficSplitLayer::new(engine(TO_A)).count_in_flight();
    let in_flight = layer.in_flight();

    let never =
        layer.layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>()));
    let mut call = Watched::new(never.oneshot(Request::new(())));
    assert!(call.poll().is_pending());
    assert_eq!(counts(&in_flight), [1, 0]);
    drop(call);
    assert_eq!(counts(&in_flight), [0, 0]);

    let fails = layer.layer(service_fn(async |_: Request<()>| Err::<Response<()>, _>("no")));
    let mut call = Watched::new(fails.oneshot(Request::new(())));
    assert!(matches!(call.poll(), Poll::Ready(Err("no"))));
    // The future is still held.
    assert_eq!(counts(&in_flight), [0, 0]);

    let panics =
        layer.layer(service_fn(|_: Request<()>| -> std::future::Ready<Result<Response<()>, Infallible>> {
            panic!("at once")
        }));
    let call = AssertUnwindSafe(|| drop(panics.clone().call(Request::new(()))));
    assert!(catch_unwind(call).is_err());
    assert_eq!(counts(&in_flight), [0, 0]);

    let panics = layer
        .layer(service_fn(async |_: Request<()>| -> Result<Response<()>, Infallible> { panic!("later") }));
    let task = tokio::spawn(panics.oneshot(Request::new(())));
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(counts(&in_flight), [0, 0]);

    let whole = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"whole"))))
    }));
    let response = whole.oneshot(Request::new(())).await.unwrap();
    assert_eq!(counts(&in_flight), [1, 0]);
    drop(response);
    assert_eq!(counts(&in_flight), [0, 0]);
}

#[tokio::test]
async fn the_clusters_of_the_decisions_count_whoever_serves() {
    let rules = "route b: host == \"b\" => b\ndefault => a";
    let other = engine(TO_B);
    let layer = TrafficSplitLayer::new(engine(rules)).count_in_flight();
    // The application knows better, and leaves another decision.
    let service = layer.layer(service_fn(|mut request: Request<()>| {
        let decision: Decision = other.decide(&request);
        request.extensions_mut().insert(decision);
        async move { Ok::<_, Infallible>(Response::new(request)) }
    }));
    let held: Vec<_> = [("a", 2), ("b", 3)]
        .into_iter()
        .flat_map(|(host, times)| vec![host; times])
        .map(|host| service.clone().oneshot(Request::get("/").header("host", host).body(()).unwrap()))
        .map(|call| Box::pin(call).as_mut().poll(&mut Context::from_waker(Waker::noop())))
        .collect();
    assert_eq!(counts(&layer.in_flight()), [2, 3]);
    assert_eq!(counts(&layer.clone().in_flight()), [2, 3]);
    drop(held);
    assert_eq!(counts(&layer.in_flight()), [0, 0]);
}

#[test]
fn a_cluster_that_is_not_declared_has_no_count() {
    let rules = "cluster prod = a 1, b 1\ndefault => prod";
    let engine = Engine::builder().clusters(["a", "b", "gray"]).build(rules).unwrap();
    let in_flight = TrafficSplitLayer::new(engine).count_in_flight().in_flight();
    let error = in_flight.count("grya").unwrap_err();
    assert_eq!(error.to_string(), "no cluster `grya` is declared, did you mean `gray`?");
    assert_eq!(in_flight.drained("prod").unwrap_err().name(), "prod");
    assert_eq!(format!("{in_flight:?}"), r#"{"a": 0, "b": 0, "gray": 0}"#);
}

// === waiting ===

#[tokio::test]
async fn a_drain_is_done_with_the_last_request_of_its_cluster() {
    let engine = engine(TO_A);
    let layer = TrafficSplitLayer::new(engine.clone()).count_in_flight();
    let in_flight = layer.in_flight();
    let service = layer
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))));
    let first = service.clone().oneshot(Request::new(())).await.unwrap();
    let second = service.clone().oneshot(Request::new(())).await.unwrap();
    engine.replace(TO_B).unwrap();
    let other = service.oneshot(Request::new(())).await.unwrap();

    let mut drained = Watched::new(in_flight.drained("a").unwrap());
    let mut given_up = Watched::new(in_flight.drained("a").unwrap());
    assert!(drained.poll().is_pending() && given_up.poll().is_pending());
    drop(other);
    assert_eq!(drained.woken(), 0);
    drop(first);
    assert_eq!(drained.woken(), 1);
    assert!(drained.poll().is_pending());
    assert_eq!(given_up.woken(), 1);
    drop(given_up.future);
    // On another thread.
    thread::spawn(|| drop(second)).join().unwrap();
    assert_eq!((drained.woken(), given_up.woken.0.load(Ordering::SeqCst)), (1, 0));
    assert!(drained.poll().is_ready());
    assert!(Watched::new(in_flight.drained("a").unwrap()).poll().is_ready());
}

/// An engine with a field whose reading can be held up, and what does: two ends of a conversation.
fn slow(rules: &str) -> (Engine, mpsc::Receiver<()>, mpsc::Sender<bool>) {
    let (reading, is_reading) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<bool>();
    let (reading, may_go_on) = (Mutex::new(reading), Mutex::new(may_go_on));
    let schema = Schema::new().clusters(["a", "b"]).field("slow", Type::Bool, move |_, values| {
        reading.lock().unwrap().send(()).unwrap();
        if !may_go_on.lock().unwrap().recv().unwrap() {
            panic!("as asked");
        }
        values.push(true);
    });
    (Engine::builder().schema(schema).build(rules).unwrap(), is_reading, go_on)
}

#[test]
fn a_drain_waits_for_a_request_that_is_being_decided_by_the_rules_of_before() {
    let (engine, is_reading, go_on) = slow("route a: slow => a\ndefault => b");
    let layer = TrafficSplitLayer::new(engine.clone()).count_in_flight();
    let in_flight = layer.in_flight();
    let service = layer
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))));
    let request = thread::spawn(|| {
        let response = Watched::new(service.oneshot(Request::new(()))).poll();
        let Poll::Ready(Ok(response)) = response else { panic!("not answered") };
        response
    });
    is_reading.recv_timeout(LONG).unwrap();
    engine.replace(TO_B).unwrap();
    // It counts nowhere yet.
    assert_eq!(counts(&in_flight), [0, 0]);
    let mut drained = Watched::new(in_flight.drained("a").unwrap());
    assert!(drained.poll().is_pending());
    assert_eq!(drained.woken(), 0);
    go_on.send(true).unwrap();
    let response = request.join().unwrap();
    assert!(drained.woken() > 0);
    assert_eq!(counts(&in_flight), [1, 0]);
    assert!(drained.poll().is_pending());
    drop(response);
    assert!(drained.woken() > 0);
    assert!(drained.poll().is_ready());
}

#[test]
fn a_panic_while_deciding_holds_up_no_drain() {
    let (engine, is_reading, go_on) = slow("route a: slow => a\ndefault => b");
    let layer = TrafficSplitLayer::new(engine).count_in_flight();
    let in_flight = layer.in_flight();
    let mut service = layer
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))));
    let request = thread::spawn(move || drop(service.call(Request::new(()))));
    is_reading.recv_timeout(LONG).unwrap();
    let mut drained = Watched::new(in_flight.drained("a").unwrap());
    assert!(drained.poll().is_pending());
    go_on.send(false).unwrap();
    assert!(request.join().is_err());
    assert!(drained.woken() > 0);
    assert!(drained.poll().is_ready());
    assert_eq!(counts(&in_flight), [0, 0]);
}

#[test]
fn what_is_never_none_is_never_counted_as_none() {
    let layer = TrafficSplitLayer::new(engine(TO_A)).count_in_flight();
    let in_flight = layer.in_flight();
    let service =
        layer.layer(service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>()));
    let (done, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let hold = || {
            // Each thread begins the next before it ends the last.
            let mut last = service.clone().call(Request::new(()));
            begun.fetch_add(1, Ordering::Relaxed);
            while !done.load(Ordering::Relaxed) {
                last = service.clone().call(Request::new(()));
            }
            drop(last);
        };
        let threads = [scope.spawn(hold), scope.spawn(hold)];
        // One alone has two, too, while it goes from one to the next.
        while begun.load(Ordering::Relaxed) < 2 {
            thread::yield_now();
        }
        let least = (0..100_000).map(|_| in_flight.count("a").unwrap()).min();
        done.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Of those that come and go, more may be in.
        assert!(least >= Some(2), "{least:?}");
    });
    assert_eq!(counts(&in_flight), [0, 0]);
}

#[test]
fn no_request_reaches_a_cluster_that_was_drained() {
    const ROUNDS: usize = 300;
    const TASKS: usize = 12;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let served = runtime.block_on(async {
        let engine = engine(TO_A);
        let layer = TrafficSplitLayer::new(engine.clone()).count_in_flight();
        let in_flight = layer.in_flight();
        // Each cluster's server, which may be down; and how many it serves.
        let down: Arc<[AtomicBool; 2]> = Arc::default();
        let at_hand: Arc<[AtomicU64; 2]> = Arc::default();
        let (servers, busy) = (down.clone(), at_hand.clone());
        let service = layer.layer(service_fn(move |request: Request<usize>| {
            let cluster = request.extensions().get::<Decision>().unwrap().cluster_index();
            let (servers, busy) = (servers.clone(), busy.clone());
            busy[cluster].fetch_add(1, Ordering::SeqCst);
            let lost = servers[cluster].load(Ordering::SeqCst);
            async move {
                for _ in 0..request.into_body() % 3 {
                    tokio::task::yield_now().await;
                }
                let lost = lost || servers[cluster].load(Ordering::SeqCst);
                let status = if lost { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
                let guard = Busy { servers, busy, cluster };
                Ok::<_, Infallible>(Response::builder().status(status).body(guard).unwrap())
            }
        }));

        /// Serves for as long as its body lives.
        struct Busy {
            servers: Arc<[AtomicBool; 2]>,
            busy: Arc<[AtomicU64; 2]>,
            cluster: usize,
        }

        impl Drop for Busy {
            fn drop(&mut self) {
                assert!(!self.servers[self.cluster].load(Ordering::SeqCst), "its server was stopped");
                self.busy[self.cluster].fetch_sub(1, Ordering::SeqCst);
            }
        }

        let done = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (service, done) = (service.clone(), done.clone());
                tokio::spawn(async move {
                    let (mut served, mut lost) = (0_u64, 0_u64);
                    while !done.load(Ordering::SeqCst) {
                        let request = Request::new(served as usize + task);
                        let response = service.clone().oneshot(request).await.unwrap();
                        served += 1;
                        lost += u64::from(response.status() != StatusCode::OK);
                        match served % 4 {
                            0 => drop(tokio::spawn(async move { drop(response) }).await),
                            1 => tokio::task::yield_now().await,
                            _ => {}
                        }
                    }
                    (served, lost)
                })
            })
            .collect();

        for round in 0..ROUNDS {
            let (from, to) = if round % 2 == 0 { (0, TO_B) } else { (1, TO_A) };
            engine.replace(to).unwrap();
            let drained = in_flight.drained(["a", "b"][from]).unwrap();
            timeout(LONG, drained).await.unwrap_or_else(|_| panic!("round {round}: {in_flight:?}"));
            assert_eq!(at_hand[from].load(Ordering::SeqCst), 0, "round {round}");
            down[from].store(true, Ordering::SeqCst);
            tokio::task::yield_now().await;
            down[from].store(false, Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
        let mut all = 0;
        for task in tasks {
            let (served, lost) = task.await.unwrap();
            assert_eq!(lost, 0, "of {served}");
            all += served;
        }
        assert_eq!(counts(&in_flight), [0, 0]);
        all
    });
    println!("{ROUNDS} drains under {served} requests");
    assert!(served > ROUNDS as u64, "{served}");
}

// === real connections ===

/// A server of one axum application; `route` answers.
async fn serve(app: axum::Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    at
}

async fn until(mut is_so: impl FnMut() -> bool) {
    timeout(LONG, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_of_a_stream_counts_no_more() {
    let layer = TrafficSplitLayer::new(engine(TO_A)).count_in_flight();
    let in_flight = layer.in_flight();
    let feeds: Arc<Mutex<Vec<_>>> = Arc::default();
    let held = feeds.clone();
    let stream = async move || {
        let (feed, body) = fed();
        feed.send(Ok(Frame::data(Bytes::from_static(b"first")))).unwrap();
        held.lock().unwrap().push(feed);
        axum::body::Body::new(body.map_err(axum::Error::new))
    };
    let at = serve(axum::Router::new().route("/", axum::routing::get(stream)).layer(layer)).await;

    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    timeout(LONG, async {
        while !read.ends_with(b"first\r\n") {
            assert_ne!(client.read_buf(&mut read).await.unwrap(), 0);
        }
    })
    .await
    .unwrap();
    assert_eq!(counts(&in_flight), [1, 0]);
    let drained = in_flight.drained("a").unwrap();
    drop(client);
    timeout(LONG, drained).await.unwrap();
    assert_eq!(counts(&in_flight), [0, 0]);
    drop(feeds);
}

#[tokio::test]
async fn of_an_upgrade_the_handshake_counts_and_the_connection_does_not() {
    let layer = TrafficSplitLayer::new(engine(TO_A)).count_in_flight();
    let in_flight = layer.in_flight();
    let echo = async |mut request: axum::extract::Request| {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let (mut from, mut to) = tokio::io::split(io);
            tokio::io::copy(&mut from, &mut to).await
        });
        (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
    };
    let at = serve(axum::Router::new().route("/", axum::routing::get(echo)).layer(layer)).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await
        .unwrap();
    let mut read = Vec::new();
    timeout(LONG, async {
        while !read.ends_with(b"\r\n\r\n") {
            assert_ne!(client.read_buf(&mut read).await.unwrap(), 0);
        }
        assert!(read.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&read));
        client.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        client.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
    })
    .await
    .unwrap();
    until(|| in_flight.count("a").unwrap() == 0).await;
}
