//! Following a real etcd, and all that can happen to it.
#![cfg(feature = "etcd")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::time::Duration;

use etcd_client::{Client, CompactionOptions, ConnectOptions, DeleteOptions, PermissionType, Txn, TxnOp};
use pointsman::source::{EtcdSource, Follower, LastGood, Origin, SourceErrorKind, SourceState};

#[path = "common/folder.rs"]
mod folder;
#[path = "common/following.rs"]
mod following;
#[path = "common/proxy.rs"]
mod proxy;
#[path = "common/servers.rs"]
mod servers;
use folder::Folder;
use following::{GRAY, PROD, block_on, builder, decides, fails, follow, runs, until};
use proxy::{Network, Proxy};
use servers::Server;

const KEY: &str = "shop/rules";
const PATIENCE: Duration = Duration::from_secs(30);

fn etcd() -> Option<Server> {
    Server::start("etcd", |folder, port, peer| {
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer}"));
        let mut arguments: Vec<std::ffi::OsString> = vec!["--data-dir".into(), folder.path("data").into()];
        for (name, value) in [
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("default={peer}")),
            // Elected sooner.
            ("--heartbeat-interval", &"20".to_owned()),
            ("--election-timeout", &"200".to_owned()),
        ] {
            arguments.extend([name.into(), value.into()]);
        }
        arguments
    })
}

async fn client_as(server: &Server, user: Option<(&str, &str)>) -> Client {
    let mut options = ConnectOptions::new().with_timeout(Duration::from_secs(10));
    if let Some((name, password)) = user {
        options = options.with_user(name, password);
    }
    // It listens before it has a leader.
    for _ in 0..200 {
        if let Ok(mut client) = Client::connect([server.addr.to_string()], Some(options.clone())).await
            && client.get("ready", None).await.is_ok()
        {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("etcd is not ready");
}

async fn client(server: &Server) -> Client {
    client_as(server, None).await
}

/// Impatient, so that tests are quick.
fn quick(source: EtcdSource) -> EtcdSource {
    source.timeout(Duration::from_millis(1000)).check(Duration::from_millis(200))
}

fn source(addr: std::net::SocketAddr) -> EtcdSource {
    quick(EtcdSource::key([addr.to_string()], KEY))
}

fn run(test: impl AsyncFnOnce(Server)) {
    let Some(server) = etcd() else { return };
    block_on(test(server));
}

#[test]
fn a_key_is_followed_and_known_to_be_what_runs() {
    run(async |server| {
        let mut client = client(&server).await;
        let put = client.put(KEY, PROD, None).await.unwrap();
        let revision = put.header().unwrap().revision();
        let (engine, mut following) = follow(source(server.addr)).await;
        let status = following.status();
        assert_eq!((status.running.origin, status.running.version), (Origin::Source, revision.to_string()));
        assert_eq!(status.source.name, format!("etcd {} key `shop/rules`", server.addr));
        // What somebody else puts is not ours.
        client.put("shop/rules2", GRAY, None).await.unwrap();
        client.put(KEY, GRAY, None).await.unwrap();
        let status = runs(&mut following, &engine, GRAY).await;
        assert_eq!((status.running.revision, status.running.version), (2, (revision + 2).to_string()));
        // The same again is no new revision.
        client.put(KEY, GRAY, None).await.unwrap();
        let again = (revision + 3).to_string();
        let status = until(&mut following, |status| status.running.version == again).await;
        assert_eq!(status.running.revision, 2);

        let agreed = status.source.agreed;
        for _ in 0..200 {
            if following.status().source.agreed > agreed {
                assert!(following.status().stale < Duration::from_secs(1));
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{}", following.status());
    });
}

#[test]
fn a_prefix_is_one_rule_set_and_a_transaction_is_seen_at_once() {
    run(async |server| {
        let mut client = client(&server).await;
        client.put("shop/2", PROD, None).await.unwrap();
        client.put("shop/1", "list l = [\"1\"]", None).await.unwrap();
        let source = EtcdSource::prefix([format!("http://{}", server.addr)], "shop/");
        let (engine, mut following) = follow(quick(source)).await;
        runs(&mut following, &engine, &format!("list l = [\"1\"]\n{PROD}")).await;

        // Each half alone would be refused.
        let halves = [TxnOp::put("shop/1", "# nothing", None), TxnOp::put("shop/2", "# nothing", None)];
        let whole = TxnOp::put("shop/3", "route a: cookie(uid) in m => gray\ndefault => prod", None);
        let list = TxnOp::put("shop/4", "list m = [\"1\"]", None);
        client.txn(Txn::new().and_then([&halves[..], &[whole, list]].concat())).await.unwrap();
        let text =
            "# nothing\n# nothing\nroute a: cookie(uid) in m => gray\ndefault => prod\nlist m = [\"1\"]\n";
        let status =
            until(&mut following, |status| engine.rules().text() == text || status.rejected.is_some()).await;
        assert!(status.rejected.is_none(), "{status}");

        client.put("shop/2", "route b: hots == \"a\" => gray", None).await.unwrap();
        let status = until(&mut following, |status| status.rejected.is_some()).await;
        let rejected = status.rejected.unwrap();
        let first = rejected.diagnostics.iter().next().unwrap();
        assert_eq!((first.source_name(), first.line()), ("shop/2", 1));
        client.delete("shop/2", None).await.unwrap();
        client.delete("shop/1", None).await.unwrap();
        runs(
            &mut following,
            &engine,
            "route a: cookie(uid) in m => gray\ndefault => prod\nlist m = [\"1\"]\n",
        )
        .await;
        client.delete("shop/", Some(DeleteOptions::new().with_prefix())).await.unwrap();
        let status = fails(&mut following, SourceErrorKind::Absent).await;
        assert_eq!(status.source.last_error.unwrap().message, "prefix `shop/` is not there");
        decides(&engine, "prod");
    });
}

#[test]
fn killed_and_started_again_it_is_followed_on() {
    run(async |mut server| {
        client(&server).await.put(KEY, PROD, None).await.unwrap();
        let (engine, mut following) = follow(source(server.addr)).await;
        decides(&engine, "prod");
        for (round, text) in [GRAY, PROD, GRAY].into_iter().enumerate() {
            let before = engine.rules();
            server.kill();
            let status = fails(&mut following, SourceErrorKind::Unreachable).await;
            assert_eq!(status.source.state, SourceState::Unreachable);
            assert_eq!(engine.rules().digest(), before.digest(), "round {round}");
            server.start_again();
            // Nothing changed, so nothing is swapped.
            let status = until(&mut following, |status| status.source.failures == 0).await;
            assert_eq!(status.running.revision, round as u64 + 1);
            client(&server).await.put(KEY, text, None).await.unwrap();
            runs(&mut following, &engine, text).await;
        }
    });
}

#[test]
fn down_at_the_start_the_last_good_rules_run_until_it_comes() {
    run(async |mut server| {
        client(&server).await.put(KEY, PROD, None).await.unwrap();
        let folder = Folder::new();
        let file = LastGood::new(folder.path("rules.good"));
        let follower = || {
            let follower = Follower::new(builder(), source(server.addr)).last_good(file.clone());
            follower.start_within(Duration::from_millis(300)).built_in("default => gray")
        };
        let first = follower().start_within(Duration::from_secs(10));
        let (_engine, mut following) = first.start().await.unwrap();
        until(&mut following, |status| status.last_good.as_ref().unwrap().stored.is_some()).await;
        drop(following);
        let later = follower();
        server.kill();

        let (engine, mut following) = later.start().await.unwrap();
        assert_eq!(following.status().running.origin, Origin::LastGood);
        decides(&engine, "prod");
        fails(&mut following, SourceErrorKind::Unreachable).await;
        server.start_again();
        until(&mut following, |status| status.running.origin == Origin::Source).await;
        assert_eq!(engine.rules().revision(), 1, "it is the same text");
        client(&server).await.put(KEY, GRAY, None).await.unwrap();
        runs(&mut following, &engine, GRAY).await;
    });
}

#[test]
fn a_store_that_was_lost_is_noticed_even_if_it_counts_the_same() {
    run(async |mut server| {
        client(&server).await.put(KEY, PROD, None).await.unwrap();
        let (engine, mut following) = follow(source(server.addr)).await;
        let version = following.status().running.version;
        server.kill();
        fails(&mut following, SourceErrorKind::Unreachable).await;
        std::fs::remove_dir_all(server.folder.path("data")).unwrap();
        server.start_again();
        fails(&mut following, SourceErrorKind::Absent).await;
        decides(&engine, "prod");
        client(&server).await.put(KEY, GRAY, None).await.unwrap();
        let status = runs(&mut following, &engine, GRAY).await;
        assert_eq!(status.running.version, version, "which says nothing");
    });
}

#[test]
fn what_is_compacted_meanwhile_is_read_again() {
    run(async |server| {
        let mut client = client(&server).await;
        client.put(KEY, PROD, None).await.unwrap();
        let proxy = Proxy::before(server.addr).await;
        let (engine, mut following) = follow(source(proxy.addr)).await;
        for network in [Network::Resets, Network::Stalls] {
            proxy.set(network);
            fails(&mut following, SourceErrorKind::Unreachable).await;
            let mut last = 0;
            for n in 0..20 {
                let text = format!("# {network:?} {n}\n{GRAY}");
                last = client.put(KEY, text, None).await.unwrap().header().unwrap().revision();
            }
            let options = CompactionOptions::new().with_physical();
            client.compact(last, Some(options)).await.unwrap();
            proxy.set(Network::Up);
            runs(&mut following, &engine, &format!("# {network:?} 19\n{GRAY}")).await;
        }
        // And while it is watched.
        let last = client.put(KEY, PROD, None).await.unwrap().header().unwrap().revision();
        client.compact(last, None).await.unwrap();
        runs(&mut following, &engine, PROD).await;
        client.put(KEY, GRAY, None).await.unwrap();
        runs(&mut following, &engine, GRAY).await;
    });
}

#[test]
fn whatever_the_network_does_the_rules_go_on() {
    run(async |server| {
        let mut client = client(&server).await;
        client.put(KEY, PROD, None).await.unwrap();
        let proxy = Proxy::before(server.addr).await;
        let (engine, mut following) = follow(source(proxy.addr)).await;
        decides(&engine, "prod");
        let mut n = 0;
        for network in [
            Network::Stalls,
            Network::Resets,
            Network::HalfCloses,
            Network::CutsAfter(0),
            Network::CutsAfter(100),
            Network::Garbage,
        ] {
            n += 1;
            let before = engine.rules();
            proxy.set(network);
            let begun = std::time::Instant::now();
            let text = format!("# {n}\ndefault => gray\n");
            client.put(KEY, &*text, None).await.unwrap();
            print!("{network:?}: ");
            let status =
                until(&mut following, |status| status.source.failures > 0 || engine.rules().text() == text)
                    .await;
            // What comes through before the cut is whole.
            if engine.rules().text() != text {
                assert_eq!(status.source.state, SourceState::Unreachable);
                assert_eq!(engine.rules().digest(), before.digest());
                let noticed = begun.elapsed();
                let error = status.source.last_error.unwrap();
                println!("{} (noticed after {noticed:.1?})", error.message);
                assert_eq!(error.kind, SourceErrorKind::Unreachable);
            } else {
                fails(&mut following, SourceErrorKind::Unreachable).await;
            }
            proxy.set(Network::Up);
            runs(&mut following, &engine, &text).await;
        }
        assert_eq!(following.status().running.revision, n + 1);
    });
}

#[test]
fn a_dead_connection_is_noticed_by_pings_alone() {
    run(async |server| {
        let mut client = client(&server).await;
        client.put(KEY, PROD, None).await.unwrap();
        let proxy = Proxy::before(server.addr).await;
        let source = EtcdSource::key([proxy.addr.to_string()], KEY).check(Duration::from_secs(3600));
        let (engine, mut following) = follow(source).await;
        proxy.set(Network::Stalls);
        let begun = std::time::Instant::now();
        fails(&mut following, SourceErrorKind::Unreachable).await;
        println!("noticed after {:.1?}", begun.elapsed());
        decides(&engine, "prod");
        proxy.set(Network::Up);
        client.put(KEY, GRAY, None).await.unwrap();
        runs(&mut following, &engine, GRAY).await;
    });
}

#[test]
fn wrong_credentials_and_a_permission_that_is_taken_are_said() {
    run(async |server| {
        let mut client = client(&server).await;
        client.put(KEY, PROD, None).await.unwrap();
        client.role_add("reader").await.unwrap();
        let permission = || etcd_client::Permission::new(PermissionType::Read, KEY);
        client.role_grant_permission("reader", permission()).await.unwrap();
        client.user_add("shop", "secret", None).await.unwrap();
        client.user_grant_role("shop", "reader").await.unwrap();
        client.user_add("root", "root", None).await.unwrap();
        client.user_grant_role("root", "root").await.unwrap();
        client.auth_enable().await.unwrap();
        let mut client = client_as(&server, Some(("root", "root"))).await;

        for (name, source) in [
            ("none", source(server.addr)),
            ("a wrong password", source(server.addr).user("shop", "sekret")),
            ("nobody", source(server.addr).user("nobody", "secret")),
            (
                "what is not allowed",
                quick(EtcdSource::key([server.addr.to_string()], "other")).user("shop", "secret"),
            ),
        ] {
            print!("{name}: ");
            let (engine, mut following) = follow(source).await;
            assert_eq!(following.status().running.origin, Origin::BuiltIn);
            fails(&mut following, SourceErrorKind::Denied).await;
            decides(&engine, "gray");
        }
        let (engine, mut following) = follow(source(server.addr).user("shop", "secret")).await;
        decides(&engine, "prod");
        client.user_revoke_role("shop", "reader").await.unwrap();
        fails(&mut following, SourceErrorKind::Denied).await;
        decides(&engine, "prod");
        client.put(KEY, GRAY, None).await.unwrap();
        client.user_grant_role("shop", "reader").await.unwrap();
        runs(&mut following, &engine, GRAY).await;
    });
}

#[test]
fn whatever_the_key_holds_the_rules_go_on_until_it_is_mended() {
    run(async |server| {
        let mut client = client(&server).await;
        client.put(KEY, PROD, None).await.unwrap();
        let (engine, mut following) = follow(source(server.addr).limit(2000)).await;
        let large = format!("# {}\n{GRAY}", "x".repeat(2000));
        let cases: [(Option<&[u8]>, SourceErrorKind, &str); 3] = [
            (None, SourceErrorKind::Absent, "key `shop/rules` is not there"),
            (
                Some(b"default => \xff"),
                SourceErrorKind::Invalid,
                "the value of `shop/rules` is not UTF-8 from byte 11 on",
            ),
            (
                Some(large.as_bytes()),
                SourceErrorKind::TooLarge,
                "key `shop/rules` has 2019 bytes, 2000 are allowed",
            ),
        ];
        for (value, kind, message) in cases {
            match value {
                Some(value) => drop(client.put(KEY, value, None).await.unwrap()),
                None => drop(client.delete(KEY, None).await.unwrap()),
            }
            let status = fails(&mut following, kind).await;
            assert_eq!(status.source.last_error.unwrap().message, message);
            decides(&engine, "prod");
            // It is said once, however often it is checked.
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(following.status().source.failures, 1);
            assert_eq!(following.status().source.state, SourceState::Reachable);
            assert!(following.status().stale >= Duration::from_millis(500));
            client.put(KEY, PROD, None).await.unwrap();
            let status = runs(&mut following, &engine, PROD).await;
            assert_eq!(status.running.revision, 1);
        }
        for bad in ["", "default => prd"] {
            client.put(KEY, bad, None).await.unwrap();
            let status = until(&mut following, |status| status.rejected.is_some()).await;
            assert_eq!(status.source.failures, 0);
            decides(&engine, "prod");
            client.put(KEY, PROD, None).await.unwrap();
            until(&mut following, |status| status.rejected.is_none()).await;
        }
    });
}

#[test]
fn a_value_as_large_as_the_store_allows_is_followed() {
    run(async |server| {
        let mut client = client(&server).await;
        client.put(KEY, PROD, None).await.unwrap();
        let (engine, mut following) = follow(source(server.addr).timeout(Duration::from_secs(10))).await;
        // A request may have one and a half MiB, and it is not all value.
        let mut size = 3 << 19;
        let text = loop {
            let text = format!("# {}\n{GRAY}", "x".repeat(size));
            match client.put(KEY, &*text, None).await {
                Ok(_) => break text,
                Err(error) => assert!(error.to_string().contains("request is too large"), "{error}"),
            }
            size -= 1;
        };
        println!("{} bytes", text.len());
        assert!(text.len() > 1_500_000);
        runs(&mut following, &engine, &text).await;
        // And as the first that is read.
        let (engine, _following) = follow(source(server.addr).timeout(Duration::from_secs(10))).await;
        assert_eq!(engine.rules().text(), text);
    });
}

#[test]
fn what_changes_faster_than_it_can_be_compiled_ends_at_the_last() {
    run(async |server| {
        let mut client = client(&server).await;
        client.put(KEY, PROD, None).await.unwrap();
        let (engine, mut following) = follow(source(server.addr)).await;
        let begun = std::time::Instant::now();
        for n in 0..1000 {
            client.put(KEY, format!("# {n}\n{GRAY}"), None).await.unwrap();
        }
        let took = begun.elapsed();
        let status = runs(&mut following, &engine, &format!("# 999\n{GRAY}")).await;
        println!("1000 puts in {took:.1?} were {} revisions", status.running.revision - 1);
        let most = took.as_millis() / 20 + 10;
        assert!(u128::from(status.running.revision) <= most, "{status}");
    });
}

#[test]
fn no_endpoint_and_a_bad_one_are_errors() {
    block_on(async {
        for endpoints in [&[][..], &["http://:::"][..]] {
            let source = EtcdSource::key(endpoints.iter().copied(), KEY).timeout(Duration::from_secs(1));
            let (_engine, mut following) = follow(source).await;
            fails(&mut following, SourceErrorKind::Other).await;
        }
    });
}
