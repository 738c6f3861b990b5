//! What the cache really takes, in a process of its own: memory that moka gives back is given back by whichever thread comes
//! along, and `allocation-counter` counts one thread.
#![cfg(feature = "cache")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use pointsman::gateway::CacheLayer;
use pointsman::schema::StatementKind;
use pointsman::{Engine, Schema, TrafficSplitLayer};
use tower::{Layer, ServiceExt, service_fn};

#[test]
fn real_memory_stays_below_twice_the_capacity() {
    const CAPACITY: i64 = 8 << 20;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let schema = Schema::new().clusters(["prod"]).gateway([StatementKind::Cache]);
    let engine = Engine::builder().schema(schema).build("cache c: true => 60s\ndefault => prod").unwrap();
    let layer = CacheLayer::builder().capacity(CAPACITY as u64).build();
    // Bodies and fields that are parts of large buffers, as servers read them.
    let backend = service_fn(async |_: Request<String>| {
        let buffer = Bytes::from(vec![b'x'; 64 << 10]);
        let mut response = Response::new(Full::<Bytes>::from(buffer.slice(..1000)));
        for name in ["x-a", "x-b", "x-c", "etag", "content-type"] {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_maybe_shared(buffer.slice(1000..1040)).unwrap());
        }
        Ok::<_, Infallible>(response)
    });
    let client = TrafficSplitLayer::new(engine).layer(layer.layer(backend));
    let fill = |range: std::ops::Range<usize>| {
        runtime.block_on(async {
            for at in range {
                let request = Request::get(format!("/{at}")).body(String::new()).unwrap();
                let response = client.clone().oneshot(request).await.unwrap();
                response.into_body().collect().await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    };
    let info = allocation_counter::measure(|| fill(0..20_000));
    let counts = layer.cache().counts();
    println!("{} entries, {} bytes counted, {} allocated", counts.entries, counts.bytes, info.bytes_current);
    assert!((CAPACITY * 9 / 10..=CAPACITY).contains(&(counts.bytes as i64)), "{counts:?}");
    assert!((CAPACITY / 2..CAPACITY * 2).contains(&info.bytes_current), "{}", info.bytes_current);
    assert!(info.bytes_max < 2 * CAPACITY as u64, "{}", info.bytes_max);
    // Purged, it is given back.
    let purged = allocation_counter::measure(|| assert!(layer.cache().purge_all() > 0));
    assert!(-purged.bytes_current > info.bytes_current / 2, "{}", purged.bytes_current);
}
