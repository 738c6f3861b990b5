//! Servers that die and come back, fallbacks, and clusters that hang.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::parts::{Gateway, Wire, field, nobody, server, until};
use crate::statements::Ruled;

/// A server that can be killed with all its connections, and started again where it was.
struct Mortal {
    at: SocketAddr,
    says: &'static str,
    lives: JoinSet<()>,
}

impl Mortal {
    async fn born(says: &'static str) -> Self {
        let mut mortal = Mortal { at: ([127, 0, 0, 1], 0).into(), says, lives: JoinSet::new() };
        mortal.live().await;
        mortal
    }

    async fn live(&mut self) {
        let listener = TcpListener::bind(self.at).await.unwrap();
        self.at = listener.local_addr().unwrap();
        let says = self.says;
        self.lives.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let mut wire = Wire::new(stream);
                    while wire.maybe_head().await.is_some() {
                        let length = says.len();
                        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{says}")).await;
                    }
                });
            }
        });
    }

    async fn die(&mut self) {
        self.lives.shutdown().await;
    }
}

fn states(page: &Value, cluster: usize) -> Vec<&str> {
    let upstreams = page["health"][cluster]["upstreams"].as_array().unwrap();
    let state = |upstream: &'_ Value| if upstream["state"] == "healthy" { "healthy" } else { "out" };
    upstreams.iter().map(state).collect()
}

async fn asked(gateway: &Gateway) -> String {
    let response = gateway.get("/").await;
    response.split_once("\r\n\r\n").unwrap().1.trim_end().to_owned()
}

#[tokio::test]
async fn a_cluster_whose_servers_die_gives_way_to_its_fallback_until_they_are_back() {
    let (mut one, mut two) = (Mortal::born("gray").await, Mortal::born("gray").await);
    let prod = Mortal::born("prod").await;
    let clusters: &[(&str, &[SocketAddr])] = &[("gray", &[one.at, two.at]), ("prod", &[prod.at])];
    let ruled = Ruled::start("default => gray else prod", clusters, &[]);
    let gateway = &ruled.gateway;
    for _ in 0..6 {
        assert_eq!(asked(gateway).await, "gray");
    }
    one.die().await;
    for _ in 0..20 {
        assert_eq!(asked(gateway).await, "gray", "the other one takes its requests");
    }
    two.die().await;
    // Those that see it are told so, each of them once. From then on all threads know.
    let mut failed = 0;
    while asked(gateway).await != "prod" {
        failed += 1;
        assert!(failed <= 6, "three for each");
    }
    let page = gateway.status().await;
    assert_eq!((states(&page, 0), &page["health"][0]["available"]), (vec!["out"; 2], &false.into()));
    let metrics = gateway.page("/_pointsman/metrics").await;
    assert!(metrics.contains("pointsman_upstream_healthy{cluster=\"gray\""), "{metrics}");
    // Not in the moment in which a probe is due, when it would go to gray again.
    until("the explanation knows it too", async || {
        let page = gateway.page("/_pointsman/explain/").await;
        let explained: serde_json::Value = serde_json::from_str(&page).unwrap();
        (explained["cluster"] == "prod" && explained["fallbacks"][0].is_object()).then_some(())
    })
    .await;

    // A probe that fails is one client's. It stays out for longer.
    until("it was probed", async || {
        asked(gateway).await;
        let page = gateway.status().await;
        (0..2).any(|at| page["health"][0]["upstreams"][at]["probes"].as_u64() > Some(0)).then_some(())
    })
    .await;

    one.live().await;
    until("gray is back", async || (asked(gateway).await == "gray").then_some(())).await;
    two.live().await;
    until("all of it", async || {
        asked(gateway).await;
        (states(&gateway.status().await, 0) == ["healthy"; 2]).then_some(())
    })
    .await;
    for _ in 0..10 {
        assert_eq!(asked(gateway).await, "gray");
    }
}

#[tokio::test]
async fn a_cluster_without_a_fallback_says_when_to_come_again() {
    let at = nobody().await;
    let gateway = Gateway::start(&["--cluster", &format!("one={at},{at}"), "--eject-after", "1"]);
    assert!(gateway.get("/").await.ends_with("can be reached\n"));
    let refused = gateway.get("/").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.ends_with("have failed lately\n"), "{refused}");
    let seconds: u32 = field(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&seconds), "{refused}");
    let page = gateway.status().await;
    assert_eq!(page["health"][0]["unavailable"], 1);
    assert_eq!(
        page["health"][0]["upstreams"][1]["name"],
        format!("{at} (2)"),
        "one that is named twice is two"
    );

    let patient = Gateway::start(&["--cluster", &format!("one={at}"), "--eject-after", "0"]);
    for _ in 0..10 {
        assert!(patient.get("/").await.ends_with("can be reached\n"));
    }
}

#[tokio::test]
async fn what_clients_do_takes_no_server_out() {
    let one = Mortal::born("fine").await;
    let gateway = Gateway::before(one.at, &["--eject-after", "1"]);
    for _ in 0..3 {
        let mut client = gateway.client().await;
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhel").await;
        client.reset();
    }
    assert_eq!(asked(&gateway).await, "fine");
    let page = gateway.status().await;
    assert_eq!(
        (states(&page, 0), &page["health"][0]["upstreams"][0]["failures"]),
        (vec!["healthy"], &0.into())
    );
}

#[tokio::test]
async fn a_cluster_that_hangs_takes_no_more_than_its_part() {
    let (hangs, seen) = server(|mut wire, _, seen| async move {
        seen.note(wire.head().await);
        wire.rest().await;
    })
    .await;
    let prod = Mortal::born("prod").await;
    let clusters: &[(&str, &[SocketAddr])] = &[("gray", &[hangs]), ("prod", &[prod.at])];
    let rules = "route g: path under \"/gray\" => gray default => prod";
    let ruled = Ruled::start(rules, clusters, &["--limit", "2"]);
    let mut waiting = Vec::new();
    for number in 1..=2 {
        let mut client = ruled.gateway.client().await;
        client.send("GET /gray HTTP/1.1\r\nhost: a\r\n\r\n").await;
        seen.at_least(number).await;
        waiting.push(client);
    }
    for _ in 0..6 {
        let shed = ruled.gateway.get("/gray").await;
        assert!(shed.starts_with("HTTP/1.1 503 ") && field(&shed, "retry-after") == Some("1"), "{shed}");
        assert_eq!(asked(&ruled.gateway).await, "prod");
    }
    let page = ruled.gateway.status().await;
    assert_eq!((&page["shed"]["gray"], &page["shed"]["prod"]), (&6.into(), &0.into()));
    // Who goes away gives room.
    waiting.pop();
    until("there is room", async || {
        let mut client = ruled.gateway.client().await;
        client.send("GET /gray HTTP/1.1\r\nhost: a\r\n\r\n").await;
        (ruled.gateway.status().await["in_flight"]["gray"] == 2 && seen.all().len() > 2).then_some(())
    })
    .await;
}

/// Answers when all of a request is there. A body ends with a dot.
async fn thorough(listener: TcpListener, says: &'static str) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            let mut wire = Wire::new(stream);
            while let Some(head) = wire.maybe_head().await {
                while head.starts_with("POST") && wire.exactly(1).await != "." {}
                let length = says.len();
                wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{says}")).await;
            }
        });
    }
}

#[tokio::test]
async fn an_upload_that_is_the_probe_and_does_not_end_keeps_nobody_from_a_server_that_is_back() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let prod = Mortal::born("prod").await;
    let clusters: &[(&str, &[SocketAddr])] = &[("gray", &[at]), ("prod", &[prod.at])];
    let flags = ["--eject-after", "1", "--head-timeout", "0.3"];
    let ruled = Ruled::start("default => gray else prod", clusters, &flags);
    let gateway = &ruled.gateway;
    until("gray is out", async || (asked(gateway).await == "prod").then_some(())).await;

    let mut back = JoinSet::new();
    back.spawn(thorough(TcpListener::bind(at).await.unwrap(), "gray"));
    until("a probe is due", async || {
        let due = &gateway.status().await["health"][0]["upstreams"][0]["state"]["ejected"]["due_in_seconds"];
        (due.as_f64() == Some(0.0)).then_some(())
    })
    .await;
    let mut client = gateway.client().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await;
    let drips = tokio::spawn(async move {
        while client.try_send("x").await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    until("the probe is under way", async || {
        (gateway.status().await["health"][0]["upstreams"][0]["probes"] == 1).then_some(())
    })
    .await;
    until("gray is back", async || (asked(gateway).await == "gray").then_some(())).await;
    assert!(!drips.is_finished(), "and the client is still at it");
    drips.abort();
}
