//! Clients that mean harm, or go away.

use std::time::Duration;

use crate::parts::{Gateway, OK, PATIENCE, answering, server, until};

/// Heads that one server reads in one way and the next in another. None may reach an upstream.
#[tokio::test]
async fn requests_that_can_be_read_in_two_ways_are_refused() {
    let (at, seen) = answering(OK).await;
    let gateway = Gateway::before(at, &[]);
    for (what, request) in [
        ("two lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        ("lengths in a list", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 6\r\n\r\nhello!"),
        ("a signed length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello"),
        ("a negative length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\nhello"),
        ("a hexadecimal length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nhello"),
        ("a huge length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nhello"),
        (
            "chunks twice",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunks in two fields",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("chunks of gzip", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (
            "chunks and then not",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunks by another name",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        ("quoted chunks", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
        (
            "chunks with a tab",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        ),
        ("chunks in HTTP/1.0", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        (
            "a space before the colon",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        ),
        ("a folded field", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n transfer-encoding: chunked\r\n\r\n"),
        ("a folded first field", "GET / HTTP/1.1\r\n host: a\r\n\r\n"),
        ("a bare CR in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: 1\rtransfer-encoding: chunked\r\n\r\n"),
        ("a bare CR as the end of a line", "GET / HTTP/1.1\rhost: a\r\n\r\n"),
        ("a NUL in a value", "GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n"),
        ("a NUL in a name", "GET / HTTP/1.1\r\nhost: a\r\nx\0: 1\r\n\r\n"),
        ("a field without a name", "GET / HTTP/1.1\r\nhost: a\r\n: 1\r\n\r\n"),
        ("a line without a colon", "GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        ("the same host twice", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
        ("a host with a path", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n"),
        ("a host with a user", "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n"),
        ("a host that is two", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n"),
        ("a target with a user", "GET http://a@b/ HTTP/1.1\r\nhost: b\r\n\r\n"),
        ("a target that is no path", "GET a HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("an asterisk", "GET * HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("a target with a space", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("a tunnel", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n"),
        ("an echo", "TRACE / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("another version", "GET / HTTP/1.2\r\nhost: a\r\n\r\n"),
        ("no version", "GET /\r\n\r\n"),
        ("no method", " / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        // What a server that took the other view would read as a second request.
        let response = gateway.ask(&format!("{request}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let status = response.split(' ').nth(1).unwrap_or("closed");
        assert!(matches!(status, "400" | "405" | "501" | "closed"), "{what}: {response}");
        assert_eq!(
            response.matches("HTTP/1.").count(),
            usize::from(status != "closed"),
            "{what}: {response}"
        );
    }
    assert_eq!(seen.all(), [""; 0], "nothing got through");
}

/// What is not refused is written anew, so that it has one meaning, and nothing is read behind it.
#[tokio::test]
async fn requests_that_are_odd_are_passed_as_what_they_mean() {
    let (at, seen) = answering(OK).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    // The server reads bodies by length, and what chunks there are as heads that are none.
    for (what, request, head, more) in [
        (
            "a length beside chunks",
            "DELETE / HTTP/1.1\r\nhost: a\r\ncontent-length: 44\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "DELETE / HTTP/1.1",
            false,
        ),
        (
            "chunks beside a length",
            "DELETE / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 44\r\n\r\n0\r\n\r\n",
            "DELETE / HTTP/1.1",
            false,
        ),
        (
            "the same length twice",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
            "POST / HTTP/1.1",
            true,
        ),
        ("a line that ends with LF", "GET / HTTP/1.1\nhost: a\n\n", "GET / HTTP/1.1", true),
        ("a fragment", "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", "GET /a HTTP/1.1", true),
        (
            "a length that Connection names",
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: content-length\r\ncontent-length: 5\r\n\r\nhello",
            "POST / HTTP/1.1",
            true,
        ),
        (
            "HTTP/2 by an upgrade",
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
            "GET / HTTP/1.1",
            true,
        ),
        (
            "an upgrade without Connection",
            "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1",
            true,
        ),
    ] {
        let gateway = Gateway::before(at, &[]);
        let before = seen.all().len();
        let last = "GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let behind = if more { last } else { smuggled };
        let response = gateway.ask(&format!("{request}{behind}")).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{what}: {response}");
        let sent = seen.all().split_off(before);
        assert!(sent[0].contains(&format!(" {head}\r\n")), "{what}: {sent:?}");
        let heads = sent.iter().filter(|sent| sent.contains(" HTTP/1.1\r\n")).count();
        assert_eq!(heads, if more { 2 } else { 1 }, "{what}: {sent:?}");
        let lower = sent[0].to_lowercase();
        assert!(
            lower.matches("content-length").count() + lower.matches("transfer-encoding").count() <= 1,
            "{what}: {sent:?}"
        );
        assert!(!lower.contains("upgrade") && !lower.contains("http2-settings"), "{what}: {sent:?}");
    }
}

#[tokio::test]
async fn chunks_with_junk_are_cut_off_and_never_passed_on() {
    for junk in [
        "x\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "5\nhello\r\n",
        "ffffffffffffffffff\r\n",
        "5;a\nb\r\nhello\r\n",
        "5 5\r\nhello\r\n",
        "5\r\nhelloXX0\r\n\r\n",
    ] {
        let (at, seen) = server(|mut wire, _, seen| async move {
            wire.head().await;
            seen.note(wire.rest().await);
        })
        .await;
        let gateway = Gateway::before(at, &[]);
        let response = gateway
            .ask(&format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{junk}0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        assert!(!response.contains("200"), "{junk:?}: {response}");
        // Where the junk was read before a connection was made, there is none.
        for sent in seen.all() {
            assert!(!sent.ends_with("0\r\n\r\n") && !sent.contains("smuggled"), "{junk:?}: {sent:?}");
        }
    }
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let (at, seen) = answering(OK).await;
    let gateway = Gateway::before(at, &["--head-timeout", "0.3", "--idle-timeout", "60"]);
    let mut slow = gateway.client().await;
    let mut second = gateway.client().await;
    let silent = async { gateway.client().await.rest().await };
    let trickle = async {
        slow.send("GET / HTTP/1.1\r\nhost: a\r\nx: ").await;
        while slow.try_send("y").await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // The limit is for each head, not only the first one.
    let later = async {
        second.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        second.head().await;
        second.exactly(2).await;
        second.send("GET / HTTP/1.1\r\n").await;
        second.rest().await
    };
    let (silent, (), later) = tokio::time::timeout(PATIENCE, async { tokio::join!(silent, trickle, later) })
        .await
        .expect("all are closed");
    assert_eq!((&*silent, &*later), ("", ""));
    assert_eq!(seen.all().len(), 1);
}

#[tokio::test]
async fn a_client_that_asks_nothing_more_is_let_go() {
    let (at, _) = answering(OK).await;
    let gateway = Gateway::before(at, &["--idle-timeout", "0.2"]);
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.rest().await, "ok");
    until("nobody is connected", async || (gateway.status().await["connections"] == 0).then_some(())).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let (at, _) = server(|mut wire, _, seen| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\n\r\n").await;
        while wire.try_send("x".repeat(1 << 16)).await {}
        seen.note("closed");
    })
    .await;
    let gateway = Gateway::before(at, &["--idle-timeout", "0.2"]);
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until("nobody is connected", async || (gateway.status().await["connections"] == 0).then_some(())).await;
    drop(client);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (at, seen) = server(|mut wire, _, seen| async move {
        wire.head().await;
        wire.rest().await;
        seen.note("closed");
    })
    .await;
    let gateway = Gateway::before(at, &["--upstream-timeout", "0.2"]);
    let response = gateway.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhel").await;
    assert!(response.starts_with("HTTP/1.1 408"), "{response}");
    seen.at_least(1).await;
}

#[tokio::test]
async fn heads_without_end_are_refused() {
    let (at, seen) = answering(OK).await;
    let gateway = Gateway::before(at, &[]);
    let value = "x".repeat(1 << 20);
    let fields = "x: y\r\n".repeat(1000);
    let long = "a".repeat(1 << 20);
    for head in [
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {value}"),
        format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"),
        format!("GET /{long}"),
    ] {
        let mut client = gateway.client().await;
        client.send(head).await;
        // What was not read may have reset the connection before the answer was.
        let response = client.rest().await;
        assert!(
            response.is_empty()
                || response.starts_with("HTTP/1.1 431")
                || response.starts_with("HTTP/1.1 414"),
            "{response}"
        );
    }
    assert!(seen.all().is_empty());
    assert!(gateway.get("/").await.ends_with("ok"), "others are served");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let (at, seen) = server(|mut wire, _, seen| async move {
        let head = wire.head().await;
        seen.note("asked");
        if head.starts_with("GET /endless") {
            wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            while wire.try_send("5\r\nhello\r\n").await {
                tokio::task::yield_now().await;
            }
        } else {
            wire.rest().await;
        }
        seen.note("closed");
    })
    .await;
    let gateway = Gateway::before(at, &[]);
    for (number, request) in [
        // While the server thinks, while it answers, while we send.
        "GET /stalled HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhel",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = gateway.client().await;
        client.send(request).await;
        assert_eq!(seen.at_least(2 * number + 1).await.last().unwrap(), "asked");
        client.reset();
        assert_eq!(seen.at_least(2 * number + 2).await.last().unwrap(), "closed");
    }
    until("nothing is in flight", async || {
        let status = gateway.status().await;
        (status["in_flight"]["one"] == 0 && status["connections"] == 0).then_some(())
    })
    .await;
}
