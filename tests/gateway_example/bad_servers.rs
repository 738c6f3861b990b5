//! Servers that break, stall, lie or close.

use crate::parts::{Gateway, OK, answering, field, nobody, server};

const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn nobody_there_is_503() {
    let gateway = Gateway::start(&["--cluster", &format!("one={},{}", nobody().await, nobody().await)]);
    let response = gateway.get("/").await;
    assert!(response.starts_with("HTTP/1.1 503 ") && response.ends_with("can be reached\n"), "{response}");
    assert_eq!(field(&response, "content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn garbage_is_502() {
    for answer in [
        "I am no web server\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01",
    ] {
        let (at, _) = answering(answer).await;
        let gateway = Gateway::before(at, &["--upstream-timeout", "5"]);
        for request in ["GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", POST] {
            let response = gateway.ask(request).await;
            assert!(response.starts_with("HTTP/1.1 502 "), "{answer:?}: {response}");
        }
    }
}

#[tokio::test]
async fn a_head_without_end_is_502() {
    let (at, _) = server(|mut wire, _, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\nx: ").await;
        while wire.try_send("y".repeat(1 << 16)).await {}
    })
    .await;
    let response = Gateway::before(at, &[]).get("/").await;
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
}

#[tokio::test]
async fn a_reset_before_the_answer_is_502() {
    let (at, seen) = server(|mut wire, _, seen| async move {
        wire.head().await;
        seen.note("asked");
        wire.reset();
    })
    .await;
    let gateway = Gateway::before(at, &[]);
    assert!(gateway.get("/").await.starts_with("HTTP/1.1 502 "));
    assert!(gateway.ask(POST).await.starts_with("HTTP/1.1 502 "));
    // A connection that was new is no reason to ask again.
    assert_eq!(seen.all().len(), 2);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_504() {
    let (at, seen) = server(|mut wire, _, seen| async move {
        wire.head().await;
        wire.rest().await;
        seen.note("closed");
    })
    .await;
    let gateway = Gateway::before(at, &["--upstream-timeout", "0.2"]);
    let response = gateway.get("/").await;
    assert!(response.starts_with("HTTP/1.1 504 ") && response.ends_with("in time\n"), "{response}");
    assert!(gateway.ask(POST).await.starts_with("HTTP/1.1 504 "));
    seen.at_least(2).await;
}

#[tokio::test]
async fn what_ends_early_is_cut_and_does_not_look_whole() {
    for (body, end) in [
        ("content-length: 10\r\n\r\nhello", "close"),
        ("content-length: 10\r\n\r\nhello", "reset"),
        ("content-length: 10\r\n\r\nhello", "stall"),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "close"),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "stall"),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n\r\n", "stall"),
    ] {
        let (at, _) = server(move |mut wire, _, _| async move {
            wire.head().await;
            wire.send(format!("HTTP/1.1 200 OK\r\n{body}")).await;
            match end {
                "close" => drop(wire),
                // The client's next line tells that it has what there is.
                "reset" => wire.reset(),
                _ => _ = wire.rest().await,
            }
        })
        .await;
        let gateway = Gateway::before(at, &["--upstream-timeout", "0.2"]);
        let mut client = gateway.client().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        // Not kept open: the client can see that there is no more.
        let response = client.rest().await;
        if end == "reset" && !response.starts_with("HTTP/1.1 200 ") {
            // It came before the response was read.
            assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
            continue;
        }
        assert!(response.starts_with("HTTP/1.1 200 "), "{body} {end}: {response}");
        assert!(!response.ends_with("0\r\n\r\n"), "{body} {end}: {response}");
        let length = response.split_once("\r\n\r\n").unwrap().1.len();
        assert!(
            field(&response, "content-length").is_none_or(|said| length < said.parse().unwrap()),
            "{response}"
        );
    }
}

#[tokio::test]
async fn of_a_length_beside_chunks_the_chunks_count() {
    let (at, _) = answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 40\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    )
    .await;
    let gateway = Gateway::before(at, &[]);
    let response = gateway.get("/").await;
    assert!(response.ends_with("2\r\nok\r\n0\r\n\r\n"), "{response}");
    assert_eq!(field(&response, "content-length"), None);
}

/// What a server sends without being asked must not become the answer to the next request.
#[tokio::test]
async fn a_second_answer_is_nobodys() {
    let (at, _) = answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    )
    .await;
    let gateway = Gateway::before(at, &[]);
    for _ in 0..4 {
        let response = gateway.get("/").await;
        assert!(response.ends_with("\r\n\r\nok"), "{response}");
    }
}

/// Answers the first request on a connection and closes when it has read the second one.
async fn closing_under_us() -> (std::net::SocketAddr, crate::parts::Seen) {
    server(|mut wire, number, seen| async move {
        let head = wire.head().await;
        wire.exactly(field(&head, "content-length").map_or(0, |length| length.parse().unwrap())).await;
        seen.note(format!("{number} {}", head.lines().next().unwrap()));
        wire.send(OK).await;
        let head = wire.head().await;
        seen.note(format!("{number} {}", head.lines().next().unwrap()));
    })
    .await
}

#[tokio::test]
async fn a_request_that_may_be_repeated_is_when_a_kept_connection_closes_under_it() {
    let (at, seen) = closing_under_us().await;
    let gateway = Gateway::before(at, &[]);
    assert!(gateway.get("/1").await.ends_with("ok"));
    assert!(gateway.get("/2").await.ends_with("ok"));
    assert_eq!(seen.all(), ["0 GET /1 HTTP/1.1", "0 GET /2 HTTP/1.1", "1 GET /2 HTTP/1.1"]);
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_is_not() {
    let (at, seen) = closing_under_us().await;
    let gateway = Gateway::before(at, &[]);
    assert!(gateway.get("/1").await.ends_with("ok"));
    let response = gateway.ask(POST).await;
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    assert_eq!(seen.all(), ["0 GET /1 HTTP/1.1", "0 POST / HTTP/1.1"]);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_costs_nobody_a_request() {
    let (at, seen) = server(|mut wire, number, seen| async move {
        let head = wire.head().await;
        wire.exactly(field(&head, "content-length").map_or(0, |length| length.parse().unwrap())).await;
        seen.note(format!("{number}"));
        wire.send(OK).await;
    })
    .await;
    let gateway = Gateway::before(at, &[]);
    for _ in 0..20 {
        // Not one of those that could be asked twice.
        let response = gateway.ask(POST).await;
        assert!(response.ends_with("ok") || response.starts_with("HTTP/1.1 502 "), "{response}");
        // The end of the connection is here before the next request is.
        gateway.status().await;
    }
    assert!(seen.all().len() >= 19, "{:?}", seen.all());
}
