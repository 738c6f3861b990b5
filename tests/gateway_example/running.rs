//! Starting, following rules, being asked, ending.

use std::process::Command;

use tokio::net::TcpStream;

use crate::folder::Folder;
use crate::parts::{Gateway, OK, answering, nobody, server, until};
use crate::statements::Ruled;

const GRAY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngray";
const PROD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nprod";

#[tokio::test]
async fn rules_are_followed_and_bad_ones_are_not() {
    let folder = Folder::new();
    let rules = folder.path("gateway.rules");
    std::fs::write(&rules, "route t: header(x-canary) == \"always\" => gray default => prod").unwrap();
    let (gray, prod) = (answering(GRAY).await.0, answering(PROD).await.0);
    let gateway = Gateway::start(&[
        "--cluster",
        &format!("gray={gray}"),
        "--cluster",
        &format!("prod={prod}"),
        "--rules",
        rules.to_str().unwrap(),
    ]);
    assert!(gateway.get("/").await.ends_with("prod"));
    let canary = "GET / HTTP/1.1\r\nhost: a\r\nx-canary: always\r\nconnection: close\r\n\r\n";
    assert!(gateway.ask(canary).await.ends_with("gray"));
    // A field that is named in `Connection` is for us and no rule.
    let hidden = "GET / HTTP/1.1\r\nhost: a\r\nx-canary: always\r\nconnection: close, x-canary\r\n\r\n";
    assert!(gateway.ask(hidden).await.ends_with("prod"));

    std::fs::write(folder.path("new"), "default => gray").unwrap();
    std::fs::rename(folder.path("new"), &rules).unwrap();
    until("the new rules run", async || gateway.get("/").await.ends_with("gray").then_some(())).await;
    let status = gateway.status().await;
    assert_eq!((&status["revision"], &status["source"]["running"]["revision"]), (&2.into(), &2.into()));
    assert_eq!(status["digest"], status["source"]["running"]["digest"]);

    std::fs::write(folder.path("new"), "default => grey").unwrap();
    std::fs::rename(folder.path("new"), &rules).unwrap();
    let refused = until("they are refused", async || {
        let status = gateway.status().await;
        Some(status).filter(|status| status["source"]["rejected"].is_object())
    })
    .await;
    assert!(refused["source"]["rejected"].to_string().contains("did you mean `gray`?"), "{refused}");
    assert!(gateway.get("/").await.ends_with("gray"));
}

#[tokio::test]
async fn what_happens_to_rules_and_servers_is_said() {
    let folder = Folder::new();
    let rules = folder.path("gateway.rules");
    let put = |text: &str| {
        std::fs::write(folder.path("new"), text).unwrap();
        std::fs::rename(folder.path("new"), &rules).unwrap();
    };
    put("list unused = [\"1\"]\ndeny x: path == \"/x\" => 403\ndefault => one\n");
    // A server that is there now and then.
    let at = nobody().await;
    let gateway = Gateway::before(at, &["--rules", rules.to_str().unwrap(), "--eject-after", "1"]);
    gateway.said("rules live: revision 1, 2 statements, 1 warnings", 1).await;
    gateway.said("warning: ", 1).await;

    put("default => onne\n");
    gateway.said("did you mean `one`?", 1).await;
    gateway.said("rules refused; revision 1 goes on", 1).await;
    assert!(gateway.says.all().iter().any(|line| line.contains("^^^^")), "the place is shown");
    put("default => one\n");
    gateway.said("rules live: revision 2, 1 statements", 1).await;

    std::fs::remove_file(&rules).unwrap();
    gateway.said("; revision 2 goes on", 1).await;
    put("default => one\n");
    gateway.said("is back", 1).await;

    assert!(gateway.get("/").await.starts_with("HTTP/1.1 503"));
    gateway.said(&format!("server {at} of one is out"), 1).await;
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut wire = crate::parts::Wire::new(stream);
            wire.head().await;
            wire.send(OK).await;
        }
    });
    until("a probe finds it", async || gateway.get("/").await.ends_with("ok").then_some(())).await;
    gateway.said(&format!("server {at} of one is back"), 1).await;
    assert_eq!(gateway.says.all().iter().filter(|line| line.contains("rules refused")).count(), 1);
}

#[tokio::test]
async fn rules_are_checked_without_a_gateway() {
    // Built by whatever starts a gateway.
    let (at, _) = answering(OK).await;
    let gateway = Gateway::before(at, &[]);
    let folder = Folder::new();
    let rules = folder.path("gateway.rules");
    let check = |text: Option<&str>, args: &[&str]| {
        let mut command = Command::new(gateway.program());
        command.arg("--check").args(args);
        if let Some(text) = text {
            std::fs::write(&rules, text).unwrap();
            command.args(["--rules", rules.to_str().unwrap()]);
        }
        let out = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
    };
    let clusters = ["--cluster", "gray=127.0.0.1:1", "--cluster", "prod=127.0.0.1:2"];
    let (code, out, _) = check(Some("limit a: true => 5/s default => prod"), &clusters);
    assert_eq!((code, &*out), (0, "the rules are sound: 2 statements\n"));
    let (code, out, _) = check(Some("list l = [1] default => prod"), &clusters);
    assert!(code == 0 && out.contains("warning: ") && out.ends_with("1 statements, 1 warnings\n"), "{out}");
    let (code, _, problems) = check(Some("default => prodd"), &clusters);
    assert!(code == 1 && problems.contains("did you mean `prod`?"), "{problems}");
    // Of rules that are one's own, the clusters are to be named too.
    let (code, _, problems) = check(Some("default => prod"), &[]);
    let hint = "there is no --cluster, so the clusters are those of the demo: `gray`, `prod_a`, `prod_b`";
    assert!(code == 1 && problems.contains(hint), "{problems}");
    assert_eq!(check(None, &[]).0, 0);
    std::fs::remove_file(&rules).unwrap();
    let (code, _, problems) = check(None, &["--rules", rules.to_str().unwrap()]);
    assert!(code == 1 && problems.contains("gateway.rules: "), "{problems}");
}

#[tokio::test]
async fn each_request_is_logged_where_that_is_asked_for() {
    let (at, _) = answering(OK).await;
    let rules =
        "deny no: path under \"/no\" => 403 limit l: path == \"/l\" => 1/m route r: path == \"/r\" => one
                 default => one";
    let ruled = Ruled::start(rules, &[("one", &[at])], &["--access-log"]);
    for path in ["//a/../no/x?secret=1", "/l", "/l", "/r"] {
        ruled.gateway.get(path).await;
    }
    let lines = ruled.gateway.prints.at_least(4).await;
    let lines: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |line: &serde_json::Value| {
        let told = ["method", "path", "status", "cluster", "rule", "refused_by"];
        told.map(|name| line[name].to_string().replace('"', "")).join(" ")
    };
    let told: Vec<_> = lines.iter().map(told).collect();
    assert_eq!(
        told,
        [
            "GET /no/x 403 one default deny no",
            "GET /l 200 one default null",
            "GET /l 429 one default limit l",
            "GET /r 200 one r null",
        ]
    );
    assert!(lines.iter().all(|line| line["time"].is_string() && line["microseconds"].is_u64()), "{lines:?}");

    let (at, _) = answering(OK).await;
    let silent = Gateway::before(at, &[]);
    silent.get("/").await;
    silent.get("/").await;
    assert!(silent.prints.all().is_empty());
}

#[tokio::test]
async fn what_is_in_flight_is_counted_until_its_end() {
    let (at, _) = server(|mut wire, _, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n").await;
        wire.rest().await;
    })
    .await;
    let gateway = Gateway::before(at, &[]);
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await;
    let status = gateway.status().await;
    assert_eq!((&status["in_flight"]["one"], &status["connections"]), (&1.into(), &1.into()));
    let metrics = gateway.page("/_pointsman/metrics").await;
    for line in ["pointsman_decisions_total 1\n", "pointsman_in_flight{cluster=\"one\"} 1\n"] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    drop(client);
    until("it is over", async || (gateway.status().await["in_flight"]["one"] == 0).then_some(())).await;
}

#[tokio::test]
async fn a_demo_needs_nothing() {
    let gateway = Gateway::start(&[]);
    assert!(gateway.get("/a").await.contains("prod_"));
    let canary = "GET /a HTTP/1.1\r\nhost: a\r\nx-canary: always\r\nconnection: close\r\n\r\n";
    assert!(gateway.ask(canary).await.contains("gray, server "));
    let status = gateway.status().await;
    assert_eq!(status["in_flight"].as_object().unwrap().len(), 3);
    assert!(status["source"].is_null());
}

#[tokio::test]
async fn the_readme_shows_what_the_demo_does() {
    const README: &str = include_str!("../../README.md");
    const DEMO: &str = include_str!("../../examples/gateway/demo.rs");
    let rules = DEMO.split("two servers each.\n").nth(1).unwrap().split("\"#;").next().unwrap();
    assert!(README.contains(rules), "README.md does not show:\n{rules}");
    let config = include_str!("../../.cargo/config.toml");
    let features = config.split("--features ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(README.contains(features) && include_str!("../../examples/gateway/main.rs").contains(features));

    let gateway = Gateway::start(&[]);
    let ask = async |path: &str, fields: &str| {
        gateway.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n")).await
    };
    let denied = ask("/", "user-agent: BadBot/1.0\r\n").await;
    let denied: Vec<_> = denied.lines().filter(|line| !line.starts_with("connection")).collect();
    for line in denied.iter().filter(|line| !line.starts_with("date")) {
        assert!(README.contains(line), "README.md does not show: {line}");
    }
    for _ in 0..3 {
        assert!(ask("/search", "").await.starts_with("HTTP/1.1 200"));
    }
    let limited = ask("/search", "").await;
    assert!(
        limited.contains("ratelimit-policy: \"search\";q=3;w=10\r\nratelimit: \"search\";r=0;t="),
        "{limited}"
    );
    for wanted in [None, Some("0")] {
        let page = ask("/catalog/7", "cookie: uid=1001\r\n").await;
        assert!(crate::parts::field(&page, "age").is_some() == wanted.is_some(), "{page}");
    }
    ask("/cart", "cookie: uid=4711; session=secret\r\n").await;
    let archive = gateway.page("/_pointsman/captures.har").await;
    assert!(archive.contains("captured by debug") && !archive.contains("secret"), "{archive}");
    for _ in 0..2 {
        assert!(ask("/stop", "x-canary: always\r\n").await.contains("gray, server"));
    }
    let mut gone = 0;
    while !ask("/", "x-canary: always\r\n").await.contains("prod_") {
        gone += 1;
    }
    assert_eq!(gone, 3);
}

/// Tells a server in tests when to answer: by a request to its second connection.
async fn waiting() -> std::net::SocketAddr {
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    server(move |mut wire, _, _| {
        let go = go.clone();
        async move {
            let head = wire.head().await;
            if head.starts_with("GET /go") {
                go.notify_one();
            } else {
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nfirst").await;
                go.notified().await;
                wire.send("!").await;
            }
        }
    })
    .await
    .0
}

#[tokio::test]
async fn what_is_in_flight_at_the_end_is_finished() {
    let at = waiting().await;
    let mut gateway = Gateway::before(at, &["--grace", "60"]);
    let mut idle = gateway.client().await;
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await;
    gateway.terminate();
    assert_eq!(idle.rest().await, "", "who asks nothing is let go");
    until("no new ones", async || TcpStream::connect(gateway.at).await.is_err().then_some(())).await;
    let mut go = crate::parts::Wire::new(TcpStream::connect(at).await.unwrap());
    go.send("GET /go HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.rest().await, "first!");
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn what_does_not_end_is_cut_off() {
    let at = waiting().await;
    let mut gateway = Gateway::before(at, &["--grace", "0.2"]);
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.head().await;
    gateway.terminate();
    assert!(gateway.ended().await.success());
    assert_eq!(client.rest().await, "first");
}

#[tokio::test]
async fn several_threads_serve() {
    let (at, seen) = answering(OK).await;
    let mut gateway = Gateway::before(at, &["--threads", "3"]);
    for _ in 0..30 {
        assert!(gateway.get("/").await.ends_with("ok"));
    }
    assert_eq!(seen.all().len(), 30);
    gateway.terminate();
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let (at, _) = answering(OK).await;
    let gateway = Gateway::before(at, &["--threads", "2"]);
    let (taken, admin) = (gateway.at.to_string(), gateway.admin.to_string());
    // Another gateway too, which could share the address and half of the connections.
    for (args, named) in [
        (["--listen", &*taken, "--admin", "127.0.0.1:0"], &taken),
        (["--listen", "127.0.0.1:0", "--admin", &*admin], &admin),
    ] {
        let out = Command::new(gateway.program()).args(args).output().unwrap();
        let says = String::from_utf8(out.stderr).unwrap();
        assert!(!out.status.success() && says.contains(&format!("cannot listen on {named}: ")), "{says}");
    }
}

#[tokio::test]
async fn a_command_line_with_a_mistake_starts_nothing() {
    // Built by whatever starts a gateway.
    let (at, _) = answering(OK).await;
    let gateway = Gateway::before(at, &[]);
    for (args, says) in [
        (&["--listn", "127.0.0.1:0"][..], "there is no `--listn`"),
        (&["--threads", "0"], "from 1 to 1024"),
        (&["--cluster", "a"], "host:port"),
        (&["--grace", "soon"], "takes seconds"),
        (&["--cache-bytes", "64MB"], "takes a number of bytes"),
        (&["--listen"], "needs a value"),
    ] {
        let out = Command::new(gateway.program()).args(args).output().unwrap();
        assert_eq!(out.status.code(), Some(2));
        assert!(String::from_utf8(out.stderr).unwrap().contains(says), "{args:?}");
    }
    let help = Command::new(gateway.program()).arg("--help").output().unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().contains("--cluster NAME=ADDR,ADDR"));
}
