//! What passes, and as what.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::parts::{Gateway, OK, answering, chatting, field, nobody, server, until};
use crate::statements::Ruled;

#[tokio::test]
async fn what_is_for_one_hop_stays_there_and_the_client_is_named() {
    let (at, seen) = answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-inner, keep-alive\r\nkeep-alive: timeout=5\r\n\
         x-inner: 1\r\nproxy-authenticate: Basic\r\nx-outer: 1\r\n\r\nok",
    )
    .await;
    let gateway = Gateway::before(at, &[]);
    let mut client = gateway.client().await;
    client
        .send(
            "GET http://shop.example/a/../b?c=%20d HTTP/1.1\r\nHost: other.example\r\n\
             Connection: keep-alive, X-Private, host, x-forwarded-for\r\nConnection: te\r\nKeep-Alive: 5\r\n\
             Proxy-Connection: keep-alive\r\nX-Private: 1\r\nTE: gzip, trailers\r\nProxy-Authorization: x\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Public: 1\r\nX-Public: 2\r\n\r\n",
        )
        .await;
    let response = client.head().await;
    let sent = seen.at_least(1).await.remove(0);
    assert!(sent.starts_with("0 GET /b?c=%20d HTTP/1.1\r\n"), "{sent}");
    assert_eq!(field(&sent, "host"), Some("shop.example"));
    assert_eq!(field(&sent, "te"), Some("trailers"));
    assert_eq!(field(&sent, "connection"), Some("te"));
    assert_eq!(field(&sent, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(field(&sent, "x-forwarded-proto"), Some("http"));
    assert_eq!(field(&sent, "x-forwarded-host"), Some("shop.example"));
    assert_eq!(sent.matches("x-public").count(), 2, "{sent}");
    for gone in ["keep-alive", "proxy-connection", "x-private", "proxy-authorization"] {
        assert_eq!(field(&sent, gone), None, "{sent}");
    }
    assert_eq!(field(&response, "x-outer"), Some("1"));
    for gone in ["connection", "keep-alive", "x-inner", "proxy-authenticate"] {
        assert_eq!(field(&response, gone), None, "{response}");
    }
}

#[tokio::test]
async fn servers_see_the_path_that_the_rules_have_seen() {
    let (at, seen) = answering(OK).await;
    let rules = "deny admin: path under \"/admin\" => 403 default => one";
    let ruled = Ruled::start(rules, &[("one", &[at])], &[]);
    for (sent, wanted) in [
        ("/admin/../public", Some("/public")),
        ("//catalog/../x?a=//b/../%7e%", Some("/x?a=//b/../%7e%")),
        ("/../../etc", Some("/etc")),
        ("/%63afe/%c3%a9/%2f", Some("/cafe/%C3%A9/%2F")),
        // As it was sent, where there is nothing to say about it.
        ("/a/b;c/%2F/~?q=%zz&r=/../", Some("/a/b;c/%2F/~?q=%zz&r=/../")),
        ("/x/../admin/secret", None),
        ("//admin", None),
        ("/%61dmin/", None),
    ] {
        let answer = ruled.gateway.get(sent).await;
        assert_eq!(answer.starts_with("HTTP/1.1 403"), wanted.is_none(), "{sent}: {answer}");
        if let Some(wanted) = wanted {
            let seen = seen.all().pop().unwrap();
            assert!(seen.contains(&format!(" GET {wanted} HTTP/1.1\r\n")), "{sent}: {seen}");
        }
    }
    assert_eq!(seen.all().len(), 5);
}

#[tokio::test]
async fn those_who_were_named_before_stay_named() {
    let (at, seen) = answering(OK).await;
    let gateway = Gateway::before(at, &[]);
    let headers =
        "host: a\r\nx-forwarded-for: 10.0.0.1\r\nx-forwarded-for: 10.0.0.2, x\r\nconnection: close\r\n";
    gateway.ask(&format!("GET / HTTP/1.1\r\n{headers}\r\n")).await;
    let sent = seen.at_least(1).await.remove(0);
    assert_eq!(field(&sent, "x-forwarded-for"), Some("10.0.0.1, 10.0.0.2, x, 127.0.0.1"));
    assert_eq!(sent.matches("x-forwarded-for").count(), 1);
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let (at, seen) = answering(OK).await;
    let gateway = Gateway::before(at, &[]);
    let mut client = gateway.client().await;
    for number in 0..10 {
        client.send(format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        assert_eq!(client.exactly(2).await, "ok");
    }
    assert!(gateway.get("/last").await.ends_with("ok"));
    let seen = seen.all();
    assert_eq!(seen.len(), 11);
    assert!(seen.iter().all(|head| head.starts_with("0 ")), "one connection: {seen:?}");
}

#[tokio::test]
async fn requests_one_behind_the_other_are_answered_in_order() {
    let (at, seen) = answering(OK).await;
    let gateway = Gateway::before(at, &[]);
    let mut client = gateway.client().await;
    client
        .send(
            "POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nGET /GET /2 HTTP/1.1\r\nhost: a\r\n\r\n\
             GET /3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(client.rest().await.matches("HTTP/1.1 200").count(), 3);
    let seen = seen.all();
    assert!(seen[0].ends_with("\r\n\r\nGET /") && seen[1].starts_with("0 GET /2 "), "{seen:?}");
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn servers_of_a_cluster_share_its_requests() {
    let (a, seen_a) = answering(OK).await;
    let (b, seen_b) = answering(OK).await;
    let gateway = Gateway::start(&["--cluster", &format!("one={a},{b}")]);
    let mut client = gateway.client().await;
    for _ in 0..64 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.head().await;
        client.exactly(2).await;
    }
    let (a, b) = (seen_a.all().len(), seen_b.all().len());
    assert_eq!(a + b, 64);
    assert!(a >= 16 && b >= 16, "{a} and {b}");
}

#[tokio::test]
async fn a_server_that_takes_no_connections_is_passed_over() {
    let (at, seen) = answering(OK).await;
    let gateway = Gateway::start(&["--cluster", &format!("one={},{at}", nobody().await)]);
    for body in ["", "with a body"] {
        for _ in 0..8 {
            let length = body.len();
            let request = format!(
                "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            assert!(gateway.ask(&request).await.starts_with("HTTP/1.1 200"));
        }
    }
    assert_eq!(seen.all().len(), 16);
}

#[tokio::test]
async fn http2_is_spoken_with_clients_and_http1_with_servers() {
    let (at, seen) = answering(OK).await;
    let gateway = Gateway::before(at, &[]);
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let asked = (0..20).map(|number| {
        let request = http::Request::post(format!("http://{}/{number}", gateway.at));
        client.request(request.body(Full::from("hello")).unwrap())
    });
    for response in asked.collect::<Vec<_>>() {
        let response = response.await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
    let seen = seen.all();
    assert_eq!(seen.len(), 20);
    let host = gateway.at.to_string();
    for sent in seen {
        assert_eq!(field(&sent, "host"), Some(&*host));
        assert!(sent.contains(" HTTP/1.1\r\n") && sent.ends_with("hello"), "{sent}");
    }
}

#[tokio::test]
async fn a_websocket_passes_both_ways() {
    let (at, seen) = chatting().await;
    let gateway = Gateway::before(at, &[]);
    let mut client = gateway.client().await;
    client
        .send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n")
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!((field(&head, "connection"), field(&head, "upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(client.exactly(5).await, "hello");
    client.send("ping").await;
    assert_eq!(client.exactly(8).await, "and back");
    drop(client);
    let seen = seen.at_least(3).await;
    assert_eq!(
        (field(&seen[0], "connection"), field(&seen[0], "upgrade")),
        (Some("upgrade"), Some("websocket"))
    );
    assert_eq!(&seen[1..], ["ping", "end "]);
}

/// A server that switches protocols and then minds nothing: not that the client has ended, either.
async fn deaf() -> (std::net::SocketAddr, crate::parts::Seen) {
    server(|mut wire, _, seen| async move {
        wire.head().await;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
        let end = wire.rest().await;
        seen.note(format!("ignores the end of {end}"));
        std::future::pending().await
    })
    .await
}

async fn upgraded(gateway: &Gateway) -> crate::parts::Wire {
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 101"));
    client
}

#[tokio::test]
async fn a_tunnel_whose_client_is_gone_ends_whatever_the_server_does() {
    let (at, seen) = deaf().await;
    let gateway = Gateway::before(at, &["--idle-timeout", "0.3"]);
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(upgraded(&gateway).await);
    }
    for mut client in clients {
        client.send("bye").await;
    }
    seen.at_least(5).await;
    until("the tunnels are gone", async || (gateway.status().await["connections"] == 0).then_some(())).await;
}

#[tokio::test]
async fn a_side_that_goes_on_when_the_other_has_ended_may() {
    let (at, _) = server(|mut wire, _, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: tail\r\n\r\n").await;
        wire.rest().await;
        // Longer than the limit in all, and never so long at a time.
        for _ in 0..12 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            wire.send("x").await;
        }
    })
    .await;
    let gateway = Gateway::before(at, &["--idle-timeout", "0.6"]);
    let mut client = upgraded(&gateway).await;
    client.ends_writing().await;
    assert_eq!(client.rest().await, "x".repeat(12));
}

#[tokio::test]
async fn a_tunnel_that_nobody_ends_is_cut_off_with_the_grace() {
    let (at, seen) = deaf().await;
    let mut gateway = Gateway::before(at, &["--grace", "0.3"]);
    let gone = upgraded(&gateway).await;
    drop(gone);
    seen.at_least(1).await;
    gateway.terminate();
    assert!(gateway.ended().await.success());
    let cut_off = |line: &String| line.starts_with("cut off 1 connections");
    until("it says so", async || gateway.says.all().iter().any(cut_off).then_some(())).await;
}

#[tokio::test]
async fn upgrades_at_once_on_a_new_gateway_are_all_answered() {
    let (at, seen) =
        answering("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
    for _ in 0..3 {
        let gateway = Gateway::before(at, &["--threads", "2"]);
        let upgrades: Vec<_> = (0..5).map(async |_| drop(upgraded(&gateway).await)).collect();
        futures_all(upgrades).await;
    }
    assert_eq!(seen.all().len(), 15);
}

/// All of them, at the same time.
async fn futures_all(all: Vec<impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_that_is_refused_is_a_response() {
    let (at, _) = answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
    let gateway = Gateway::before(at, &[]);
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 403"));
        assert_eq!(client.exactly(2).await, "no");
    }
}

#[tokio::test]
async fn responses_stream() {
    let (at, _) = server(|mut wire, _, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
        // Goes on only when the client has asked again, by another request.
        wire.line().await;
        wire.send("3\r\ntwo\r\n0\r\n\r\n").await;
    })
    .await;
    let gateway = Gateway::before(at, &[]);
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.exactly(8).await, "3\r\none\r\n");
    client.send("2\r\n\r\n\r\n").await;
    assert_eq!(client.exactly(13).await, "3\r\ntwo\r\n0\r\n\r\n");
}

#[tokio::test]
async fn requests_stream_and_100_continue_is_said() {
    let (at, _) = server(|mut wire, _, seen| async move {
        seen.note(wire.head().await);
        assert_eq!(wire.line().await, "3\r\n");
        wire.exactly(5).await;
        wire.send(
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
        )
        .await;
        assert_eq!(wire.line().await, "3\r\n");
        wire.exactly(5).await;
        assert_eq!(wire.line().await, "0\r\n");
        wire.send("end").await;
    })
    .await;
    let gateway = Gateway::before(at, &[]);
    let mut client = gateway.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.send("3\r\none\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client.send("3\r\ntwo\r\n0\r\n\r\n").await;
    assert_eq!(client.exactly(3).await, "end");
}

#[tokio::test]
async fn large_bodies_arrive_whole_both_ways() {
    const SIZE: usize = 8 << 20;
    let (at, _) = server(|mut wire, _, _| async move {
        wire.head().await;
        let body = wire.exactly(SIZE).await;
        assert!(body.bytes().all(|byte| byte == b'u'));
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n{}", "d".repeat(SIZE))).await;
        wire.rest().await;
    })
    .await;
    let gateway = Gateway::before(at, &[]);
    let mut client = gateway.client().await;
    let body = "u".repeat(SIZE);
    client.send(format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n{body}")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    assert!(client.exactly(SIZE).await.bytes().all(|byte| byte == b'd'));
}

#[tokio::test]
async fn a_head_keeps_its_length_and_http_1_0_gets_its_end() {
    let (at, _) = answering("HTTP/1.1 200 OK\r\ncontent-length: 4711\r\n\r\n").await;
    let gateway = Gateway::before(at, &[]);
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(field(&client.head().await, "content-length"), Some("4711"));
    }
    let (at, _) =
        answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let gateway = Gateway::before(at, &[]);
    let old = gateway.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200") && old.ends_with("\r\n\r\nok"), "{old}");
}
