//! Each kind of statement through the whole gateway, live and as a shadow, and rules that change meanwhile.

use std::net::SocketAddr;

use serde_json::Value;

use crate::folder::Folder;
use crate::har;
use crate::parts::{Gateway, OK, answering, field, server, until};

const GRAY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngray";
const PROD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nprod";

/// A gateway of several threads whose rules are in a file that can be written anew.
pub struct Ruled {
    pub gateway: Gateway,
    folder: Folder,
}

impl Ruled {
    pub fn start(rules: &str, clusters: &[(&str, &[SocketAddr])], args: &[&str]) -> Self {
        let folder = Folder::new();
        let path = folder.path("gateway.rules");
        std::fs::write(&path, rules).unwrap();
        let mut all = vec!["--rules".to_owned(), path.to_str().unwrap().to_owned()];
        for (name, servers) in clusters {
            let servers: Vec<_> = servers.iter().map(SocketAddr::to_string).collect();
            all.extend(["--cluster".to_owned(), format!("{name}={}", servers.join(","))]);
        }
        all.extend(["--threads", "3"].iter().chain(args).map(|arg| (*arg).to_owned()));
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        Ruled { gateway: Gateway::start(&all), folder }
    }

    /// New rules, which run when this returns.
    pub async fn replace(&self, rules: &str) {
        let before = self.gateway.status().await["revision"].clone();
        std::fs::write(self.folder.path("new"), rules).unwrap();
        std::fs::rename(self.folder.path("new"), self.folder.path("gateway.rules")).unwrap();
        until("the new rules run", async || {
            (self.gateway.status().await["revision"] != before).then_some(())
        })
        .await;
    }
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n{fields}\r\n")
}

fn status(response: &str) -> &str {
    &response[9..12]
}

/// The one in a list of the status page that is of this name.
fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    let is = |entry: &&Value| entry["statement"] == name || entry["name"] == name;
    list.as_array().unwrap().iter().find(is).unwrap_or_else(|| panic!("no {name} in {list}"))
}

#[tokio::test]
async fn what_is_denied_reaches_no_server_and_a_shadow_denies_nothing() {
    let (at, seen) = answering(OK).await;
    let rule = r#"deny bots: header(user-agent) contains "BadBot" => 403 "no robots here""#;
    let ruled = Ruled::start(&format!("{rule} default => one"), &[("one", &[at])], &[]);
    let gateway = &ruled.gateway;
    let bot = "user-agent: BadBot/1.0\r\n";

    let plain = gateway.ask(&get("/", bot)).await;
    assert!(status(&plain) == "403" && plain.ends_with("\r\n\r\nno robots here"), "{plain}");
    let json = gateway.ask(&get("/", &format!("{bot}accept: application/json\r\n"))).await;
    assert_eq!(field(&json, "content-type"), Some("application/problem+json"));
    assert!(
        json.ends_with(
            r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"no robots here"}"#
        )
    );
    // With a body that nobody reads, the connection is not taken for another request.
    let posted = format!(
        "POST / HTTP/1.1\r\nhost: a\r\n{bot}content-length: 19\r\nconnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n."
    );
    assert_eq!(gateway.ask(&posted).await.matches("HTTP/1.1 ").count(), 1);
    assert_eq!(status(&gateway.get("/").await), "200");
    assert_eq!(seen.all().len(), 1);
    let page = gateway.status().await;
    assert_eq!(named(&page["deny"], "bots")["denied"], 3);
    assert_eq!((&page["analysis"][0]["refused"], &page["analysis"][0]["classes"][1]), (&3.into(), &1.into()));

    ruled.replace(&format!("shadow {rule} default => one")).await;
    assert_eq!(status(&gateway.ask(&get("/", bot)).await), "200");
    let page = gateway.status().await;
    assert_eq!((&page["deny"][0]["denied"], &page["deny"][0]["shadow"]), (&3.into(), &1.into()));
}

#[tokio::test]
async fn a_limit_is_the_whole_gateways_and_stays_when_rules_change() {
    let (at, seen) = answering(OK).await;
    let rule = r#"limit search: path under "/search" => 3/d by cookie(uid) ?? ip"#;
    let ruled = Ruled::start(&format!("{rule} default => one"), &[("one", &[at])], &[]);
    let gateway = &ruled.gateway;
    let ask = async |uid: &str| gateway.ask(&get("/search", &format!("cookie: uid={uid}\r\n"))).await;

    // Each on a connection of its own, which any of three threads takes.
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(status(&ask("1").await).to_owned());
    }
    assert_eq!((&statuses[..3], seen.all().len()), (&["200".to_owned(), "200".into(), "200".into()][..], 3));
    assert!(statuses[3..].iter().all(|status| status == "429"), "{statuses:?}");
    let refused = ask("1").await;
    assert!(field(&refused, "retry-after").unwrap().parse::<u32>().unwrap() <= 28_800, "{refused}");
    assert_eq!(field(&refused, "ratelimit-policy"), Some("\"search\";q=3;w=86400"));
    assert_eq!(status(&ask("2").await), "200", "another key");
    assert_eq!(status(&gateway.get("/else").await), "200");

    ruled.replace(&format!("deny x: path == \"/x\" => 404 {rule} default => one")).await;
    assert_eq!(status(&ask("1").await), "429", "the limit is as it was");
    assert_eq!(status(&gateway.get("/x").await), "404", "and the rules are new");
    assert_eq!(named(&gateway.status().await["limit"], "search")["refused"], 11);

    ruled.replace(&format!("shadow {rule} default => one")).await;
    assert_eq!(status(&ask("1").await), "200");
    let page = gateway.status().await;
    assert_eq!(named(&page["limit"], "search")["shadow"], 1);

    ruled.replace(&format!("{} default => one", rule.replace("3/d", "4/d"))).await;
    assert_eq!(status(&ask("1").await), "200", "another rate is another limit");
}

#[tokio::test]
async fn a_share_of_a_limit_is_less() {
    let (at, _) = answering(OK).await;
    let rules = "limit all: true => 8/d default => one";
    let ruled = Ruled::start(rules, &[("one", &[at])], &["--share", "0.25"]);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(status(&ruled.gateway.get("/").await).to_owned());
    }
    assert_eq!(statuses, ["200", "200", "429", "429"]);
}

#[tokio::test]
async fn what_is_stored_is_answered_by_all_threads_until_it_is_purged() {
    let (at, seen) = answering(OK).await;
    let rule = r#"cache catalog: path under "/catalog" => 1h"#;
    let ruled = Ruled::start(&format!("{rule} default => one"), &[("one", &[at])], &[]);
    let gateway = &ruled.gateway;
    let both = async || (gateway.get("/catalog/7").await, gateway.get("/catalog/7").await);

    let (first, _) = both().await;
    assert_eq!(field(&first, "age"), None);
    for _ in 0..6 {
        let stored = gateway.get("/catalog/7").await;
        assert!(field(&stored, "age").is_some() && stored.ends_with("ok"), "{stored}");
    }
    assert_eq!(seen.all().len(), 1);
    let conditional = gateway.ask(&get("/catalog/8", "authorization: Basic x\r\n")).await;
    assert_eq!((status(&conditional), seen.all().len()), ("200", 2), "credentials pass by");

    for (query, purged) in [
        ("rule=catalog", 1),
        ("prefix=%2Fcatalog%2F", 1),
        ("prefix=shop.example/", 0),
        ("prefix=a/cat", 1),
        ("all", 1),
    ] {
        both().await;
        let before = seen.all().len();
        let answer = gateway.post_admin(&format!("/_pointsman/purge?{query}"), "").await;
        assert!(answer.ends_with(&format!("{{\"purged\":{purged}}}\n")), "{query}: {answer}");
        both().await;
        assert_eq!(seen.all().len() - before, purged, "{query}");
    }
    for bad in ["", "rule=", "everything", "prefix=%zz", "all=1"] {
        assert_eq!(
            status(&gateway.post_admin(&format!("/_pointsman/purge?{bad}"), "").await),
            "400",
            "{bad}"
        );
    }
    let foreign = gateway.post_admin("/_pointsman/purge?all", "origin: http://evil.example\r\n").await;
    assert_eq!(status(&foreign), "403");
    assert!(gateway.page("/_pointsman/purge?all").await.contains("another method"));

    ruled.replace(&format!("shadow {rule} default => one")).await;
    let before = seen.all().len();
    both().await;
    assert_eq!(seen.all().len() - before, 2);
    assert_eq!(named(&gateway.status().await["cache"]["rules"], "catalog")["shadowed"], 2);
}

#[tokio::test]
async fn a_stampede_from_all_threads_reaches_the_server_once() {
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let hold = go.clone();
    let (at, seen) = server(move |mut wire, _, seen| {
        let hold = hold.clone();
        async move {
            while let Some(head) = wire.maybe_head().await {
                seen.note(head);
                hold.notified().await;
                wire.send(OK).await;
            }
        }
    })
    .await;
    let ruled = Ruled::start("cache all: true => 1h default => one", &[("one", &[at])], &[]);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = ruled.gateway.client().await;
        client.send(get("/", "")).await;
        clients.push(client);
    }
    seen.at_least(1).await;
    until("all are in flight", async || {
        (ruled.gateway.status().await["in_flight"]["one"] == 20).then_some(())
    })
    .await;
    go.notify_one();
    for mut client in clients {
        assert!(client.rest().await.ends_with("ok"));
    }
    assert_eq!(seen.all().len(), 1);
}

#[tokio::test]
async fn what_is_captured_is_an_archive() {
    let (at, _) = answering(OK).await;
    let rule = "capture debug: cookie(uid) == \"4711\" => 2 for 10m";
    let rules = format!(
        "{rule} deny no: path == \"/no\" => 403 \"never\" shadow capture all: true => 50 for 10m default => one"
    );
    let ruled = Ruled::start(&rules, &[("one", &[at])], &[]);
    let gateway = &ruled.gateway;
    let posted = "POST /form HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncookie: uid=4711; s=secret\r\n\
                  authorization: Bearer secret\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(status(&gateway.ask(posted).await), "200");
    assert_eq!(status(&gateway.get("/other").await), "200");
    assert_eq!(status(&gateway.ask(&get("/no", "cookie: uid=4711\r\n")).await), "403");
    assert_eq!(status(&gateway.ask(&get("/third", "cookie: uid=4711\r\n")).await), "200");

    let text = gateway.page("/_pointsman/captures.har").await;
    assert!(!text.contains("secret"), "{text}");
    let archive: Value = serde_json::from_str(&text).unwrap();
    har::holds(&archive);
    let entries = archive["log"]["entries"].as_array().unwrap();
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| (entry["request"]["url"].as_str().unwrap(), &entry["response"]["content"]["text"]))
        .collect();
    assert_eq!(seen, [("http://a/form", &"ok".into()), ("http://shop.example/no", &"never".into())]);
    assert_eq!(entries[0]["request"]["postData"]["text"], "hello");
    let counts = &gateway.status().await["capture"];
    assert_eq!(named(&counts["statements"], "debug")["late"], 1);
    assert_eq!(named(&counts["statements"], "all")["captured"], 0, "a shadow captures nothing");
}

#[tokio::test]
async fn what_is_mirrored_is_copied_and_answered_by_its_own_cluster() {
    let (gray, copies) = answering(GRAY).await;
    let (prod, seen) = answering(PROD).await;
    let rule = "mirror next: path under \"/search\" => gray with unsafe";
    let clusters: &[(&str, &[SocketAddr])] = &[("gray", &[gray]), ("prod", &[prod])];
    let ruled = Ruled::start(&format!("{rule} default => prod"), clusters, &[]);
    let gateway = &ruled.gateway;
    let posted =
        "POST /search?q=x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
    assert!(gateway.ask(posted).await.ends_with("prod"));
    let copy = copies.at_least(1).await.remove(0);
    assert!(copy.contains("POST /search?q=x HTTP/1.1") && copy.ends_with("hello"), "{copy}");
    assert_eq!(field(&copy, "x-pointsman-mirror"), Some("next"));
    assert_eq!(field(&copy, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(field(&seen.all()[0], "x-pointsman-mirror"), None);
    let mirror = until("its answer is counted", async || {
        let page = gateway.status().await;
        Some(named(&page["mirror"], "next").clone()).filter(|mirror| mirror["answered"][1] == 1)
    })
    .await;
    assert_eq!((&mirror["sent"], &mirror["same"]), (&1.into(), &1.into()));

    ruled.replace(&format!("shadow {rule} default => prod")).await;
    assert!(gateway.get("/search").await.ends_with("prod"));
    assert_eq!((seen.all().len(), copies.all().len()), (2, 1));
}

#[tokio::test]
async fn a_copy_is_not_copied_again_so_that_gateways_may_be_each_others_shadows() {
    let ((prod, seen), (gray, copies)) = (answering(PROD).await, answering(GRAY).await);
    let clusters: &[(&str, &[SocketAddr])] = &[("prod", &[prod]), ("gray", &[gray])];
    let ruled = Ruled::start("mirror m: true => gray default => prod", clusters, &[]);
    let marked = get("/", "X-Pointsman-Mirror: m\r\n");
    assert!(ruled.gateway.ask(&marked).await.ends_with("prod"));
    // The next one tells that the first would have come.
    assert!(ruled.gateway.ask(&get("/next", "")).await.ends_with("prod"));
    assert!(copies.at_least(1).await[0].contains("GET /next "));
    assert_eq!(field(&seen.all()[0], "x-pointsman-mirror"), Some("m"), "the shadow's gateway is told too");
    let page = ruled.gateway.status().await;
    assert_eq!(named(&page["mirror"], "m")["dropped"]["copy"], 1, "{page}");
}

#[tokio::test]
async fn a_mirror_that_hangs_or_is_gone_costs_nobody_anything() {
    let (hangs, asked) = server(|mut wire, _, seen| async move {
        seen.note(wire.head().await);
        wire.rest().await;
    })
    .await;
    let gone = crate::parts::nobody().await;
    let (prod, _) = answering(PROD).await;
    let rules = "mirror a: true => hangs mirror b: true => gone route x: path == \"/hangs\" => gone else prod
                 default => prod";
    let clusters: &[(&str, &[SocketAddr])] = &[("hangs", &[hangs]), ("gone", &[gone]), ("prod", &[prod])];
    let ruled = Ruled::start(rules, clusters, &[]);
    for _ in 0..10 {
        assert!(ruled.gateway.get("/").await.ends_with("prod"));
    }
    asked.at_least(10).await;
    let page = until("those that failed are counted", async || {
        let page = ruled.gateway.status().await;
        Some(page).filter(|page| named(&page["mirror"], "b")["answered"][4] == 10)
    })
    .await;
    assert_eq!(page["health"][1]["upstreams"][0]["requests"], 0, "a copy says nothing about health: {page}");
}

#[tokio::test]
async fn keys_are_counted_over_all_threads() {
    let (at, _) = answering(OK).await;
    let rules = "count paths: true => top 2 by path per 1h shadow count all: true => top 2 by ip per 1h default => one";
    let ruled = Ruled::start(rules, &[("one", &[at])], &[]);
    let gateway = &ruled.gateway;
    for (path, times) in [("/a", 5), ("/b", 3), ("/c", 1)] {
        for _ in 0..times {
            gateway.get(path).await;
        }
    }
    let page = gateway.status().await;
    let top = page["top_so_far"].as_array().unwrap();
    assert_eq!(top.len(), 1, "a shadow counts nothing");
    let keys: Vec<_> =
        top[0]["keys"].as_array().unwrap().iter().map(|key| (&key["key"], &key["count"])).collect();
    assert_eq!(keys, [(&"/a".into(), &5.into()), (&"/b".into(), &3.into())]);
    assert_eq!((&top[0]["total"], &top[0]["statement"]), (&9.into(), &"paths".into()));
    assert_eq!(page["analysis"][0]["ends"]["count"], 9);
    let table = gateway.page("/_pointsman/analysis").await;
    assert!(table.starts_with("cluster") && table.lines().nth(1).unwrap().starts_with("one "), "{table}");
}

#[tokio::test]
async fn what_each_statement_did_is_in_the_metrics() {
    let (one, gray) = (answering(OK).await.0, answering(GRAY).await.0);
    let rules = "deny    no:    path == \"/no\" => 403
                 limit   some:  path == \"/some\" => 1/d
                 cache   pages: path under \"/pages\" => 1h
                 capture all:   true => 100 for 10m
                 mirror  next:  path == \"/some\" => gray
                 count   top:   true => top 10 by path per 1h
                 default => one";
    let ruled = Ruled::start(rules, &[("one", &[one]), ("gray", &[gray])], &[]);
    let gateway = &ruled.gateway;
    for (path, wanted) in [("/no", "403"), ("/some", "200"), ("/some", "429"), ("/pages/1", "200")] {
        assert_eq!(status(&gateway.get(path).await), wanted, "{path}");
    }
    until("it is stored", async || field(&gateway.get("/pages/1").await, "age").map(drop)).await;
    let lines = [
        "pointsman_denied_total{statement=\"no\",state=\"live\"} 1\n",
        "pointsman_limited_total{statement=\"some\",state=\"live\"} 1\n",
        "pointsman_cache_requests_total{statement=\"pages\",outcome=\"hit\"} 1\n",
        "pointsman_cache_entries 1\n",
        "pointsman_captured_total{statement=\"all\"} ",
        "pointsman_mirror_answered_total{statement=\"next\",class=\"2xx\"} 1\n",
        "pointsman_mirror_compared_total{statement=\"next\",outcome=\"same\"} 1\n",
        "pointsman_responses_total{cluster=\"one\",class=\"2xx\"} ",
        "pointsman_responses_refused_total{cluster=\"one\"} 2\n",
        "pointsman_responses_cached_total{cluster=\"one\"} 1\n",
        "pointsman_response_headers_seconds_bucket{cluster=\"one\",le=\"+Inf\"} ",
    ];
    // The copy is answered in its own time.
    until("the copy is answered", async || {
        (named(&gateway.status().await["mirror"], "next")["same"] == 1).then_some(())
    })
    .await;
    let page = gateway.page("/_pointsman/metrics").await;
    for line in lines {
        assert!(page.contains(line), "no {line} in {page}");
    }
    for name in ["denied", "limited", "cache_requests", "captured", "mirror_sent", "responses"] {
        assert!(page.contains(&format!("# HELP pointsman_{name}_total")), "{name} is not described");
    }
}

#[tokio::test]
async fn the_client_is_whom_a_trusted_proxy_names() {
    let (at, _) = answering(OK).await;
    let rules = "deny abroad: ip in [203.0.113.0/24] => 403 default => one";
    let named = get("/", "x-forwarded-for: 203.0.113.7\r\n");
    let trusting = Ruled::start(rules, &[("one", &[at])], &["--trust", "10.0.0.0/8,127.0.0.0/8"]);
    assert_eq!(status(&trusting.gateway.ask(&named).await), "403");
    let plain = Ruled::start(rules, &[("one", &[at])], &[]);
    assert_eq!(status(&plain.gateway.ask(&named).await), "200");
}

#[tokio::test]
async fn all_statements_are_told_before_anybody_asked() {
    let (at, _) = answering(OK).await;
    let rules = "deny no: path == \"/no\" => 403
                 cache \"c d\": path under \"/c\" => 5s
                 shadow limit l: true => 5/s
                 route r: path == \"/r\" => one
                 default => one";
    let ruled = Ruled::start(rules, &[("one", &[at])], &[]);
    let told = async || {
        let page = ruled.gateway.status().await;
        let counts = page["statements"].as_array().unwrap().clone();
        let told = |count: &Value| {
            let told = ["kind", "statement", "state", "target"].map(|name| count[name].as_str().unwrap());
            format!("{} {}", told.join(" "), count["count"])
        };
        assert_eq!((&page["statements_left_out"], &page["unheeded"]), (&0.into(), &0.into()));
        counts.iter().map(told).collect::<Vec<_>>()
    };
    let none =
        ["default default live one 0", "deny no live 403 0", "limit l shadow 5/s 0", "cache c d live 5s 0"];
    assert_eq!(told().await, [&none[..], &["route r live one 0"]].concat());
    ruled.gateway.get("/r").await;
    ruled.gateway.get("/no").await;
    let some = told().await;
    assert!(
        some.contains(&"route r live one 1".to_owned()) && some.contains(&"deny no live 403 1".to_owned()),
        "{some:?}"
    );
    assert_eq!(ruled.gateway.page("/_pointsman/rules").await, rules);

    let unknown = ruled.gateway.post_admin("/_pointsman/purge?rule=c", "").await;
    assert_eq!(status(&unknown), "404");
    assert!(unknown.ends_with("no `cache` statement is called c; there is c d\n"), "{unknown}");
    let known = ruled.gateway.post_admin("/_pointsman/purge?rule=c%20d", "").await;
    assert!(known.ends_with("{\"purged\":0}\n"), "{known}");
}

#[tokio::test]
async fn a_request_is_explained_to_operators() {
    let (at, seen) = answering(OK).await;
    let rules = "deny bots: header(user-agent) contains \"Bad\" => 403 route q: query(x) == \"1\" => one default => one";
    let ruled = Ruled::start(rules, &[("one", &[at])], &[]);
    let page = ruled.gateway.page("/_pointsman/explain/a?x=1").await;
    let explained: Value = serde_json::from_str(&page).unwrap();
    assert_eq!((&explained["cluster"], &explained["rule"]), (&"one".into(), &"q".into()), "{page}");
    let text = ruled.gateway.admin("GET /_pointsman/explain/a?x=1", "accept: text/plain\r\n").await;
    assert!(text.contains("\r\n\r\none by route q, revision 1\n  deny bots: no\n"), "{text}");
    assert!(ruled.gateway.page("/_pointsman/explanation").await.contains("there is /_pointsman/"));
    assert_eq!(seen.all().len(), 0);
}
