//! What streams, what is large and what is no HTTP any more, with a statement of every kind matching it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::parts::{Gateway, answering, chatting, field, server, until};
use crate::statements::Ruled;

const RULES: &str = "deny    no:  path == \"/no\" => 403
                     limit   all: true => 1000000/s by ip
                     cache   all: true => 1h
                     capture all: true => 1000 for 10m
                     mirror  all: true => gray with unsafe
                     count   all: true => top 10 by path per 1h
                     default => one";

async fn before(one: SocketAddr) -> Ruled {
    let (gray, _) = answering("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngray").await;
    Ruled::start(RULES, &[("one", &[one]), ("gray", &[gray])], &[])
}

#[tokio::test]
async fn a_websocket_passes_everything() {
    let (at, seen) = chatting().await;
    let ruled = before(at).await;
    let mut client = ruled.gateway.client().await;
    client
        .send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n")
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(client.exactly(5).await, "hello");
    client.send("ping").await;
    assert_eq!(client.exactly(8).await, "and back");
    drop(client);
    assert_eq!(seen.at_least(3).await[1..], ["ping", "end "]);
    let archive = ruled.gateway.page("/_pointsman/captures.har").await;
    assert!(archive.contains("\"status\":101"), "{archive}");
    let page = ruled.gateway.status().await;
    assert_eq!(page["mirror"][0]["dropped"]["upgrade"], 1);
}

#[tokio::test]
async fn both_ways_stream_through_everything() {
    let had_one = Arc::new(Notify::new());
    let go_on = had_one.clone();
    let (at, _) = server(move |mut wire, _, _| {
        let had_one = had_one.clone();
        async move {
            while let Some(head) = wire.maybe_head().await {
                let posted = head.starts_with("POST");
                if posted {
                    assert_eq!(wire.exactly(8).await, "3\r\nabc\r\n");
                }
                wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
                // Goes on only when the client has had that.
                if posted {
                    assert_eq!(wire.exactly(13).await, "3\r\ndef\r\n0\r\n\r\n");
                } else {
                    had_one.notified().await;
                }
                wire.send("3\r\ntwo\r\n0\r\n\r\n").await;
            }
        }
    })
    .await;
    let ruled = before(at).await;
    let mut client = ruled.gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    assert_eq!(client.exactly(8).await, "3\r\none\r\n");
    client.send("3\r\ndef\r\n0\r\n\r\n").await;
    assert_eq!(client.exactly(13).await, "3\r\ntwo\r\n0\r\n\r\n");
    // What is being stored comes as it is sent, too.
    let mut client = ruled.gateway.client().await;
    client.send("GET /stored HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.exactly(8).await, "3\r\none\r\n");
    go_on.notify_one();
    assert_eq!(client.exactly(13).await, "3\r\ntwo\r\n0\r\n\r\n");
    until("it is stored", async || {
        go_on.notify_one();
        let stored = ruled.gateway.get("/stored").await;
        (field(&stored, "age").is_some() && stored.ends_with("onetwo")).then_some(())
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn large_bodies_pass_everything_and_are_not_kept() {
    const PIECES: usize = 96;
    const PIECE: usize = 1 << 20;
    let (at, _) = server(|mut wire, _, _| async move {
        while let Some(head) = wire.maybe_head().await {
            if head.starts_with("PUT") {
                for _ in 0..PIECES {
                    wire.exactly(PIECE).await;
                }
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            } else {
                wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                for _ in 0..PIECES {
                    wire.send(format!("{PIECE:x}\r\n{}\r\n", "d".repeat(PIECE))).await;
                }
                wire.send("0\r\n\r\n").await;
            }
        }
    })
    .await;
    let ruled = before(at).await;
    let gateway: &Gateway = &ruled.gateway;
    gateway.get("/no").await;
    let before = gateway.peak_memory();

    let mut client = gateway.client().await;
    let length = PIECES * PIECE;
    client.send(format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")).await;
    for _ in 0..PIECES {
        client.send("u".repeat(PIECE)).await;
    }
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await;
    for _ in 0..PIECES * PIECE / (64 << 10) {
        client.exactly(64 << 10).await;
    }
    let grown = gateway.peak_memory() - before;
    assert!(grown < 16 << 20, "{} MiB of {} MiB are kept", grown >> 20, (2 * length) >> 20);
    let page = until("they are counted", async || {
        let page = gateway.status().await;
        Some(page).filter(|page| page["cache"]["rules"][0]["refused"]["too_large"] == 1)
    })
    .await;
    assert!(page["mirror"][0]["dropped"]["too_large"] == 1 && page["capture"]["truncated"] != 0, "{page}");
}
