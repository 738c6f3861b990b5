//! Following a real Redis, and all that can happen to it.
#![cfg(feature = "redis")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::net::SocketAddr;
use std::time::Duration;

use pointsman::source::{Follower, LastGood, Origin, RedisSource, SourceErrorKind, SourceState};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, AsyncConnectionConfig, Client};

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

const KEY: &str = "shop:rules";
const PATIENCE: Duration = Duration::from_secs(20);
/// So long that only being told can be the reason.
const NEVER: Duration = Duration::from_secs(3600);

fn redis_server() -> Option<Server> {
    Server::start("redis-server", |folder, port, _| {
        let (port, folder) = (port.to_string(), folder.path("").into_os_string());
        let words = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"];
        let mut arguments: Vec<std::ffi::OsString> = words.map(Into::into).to_vec();
        arguments.extend(["--dir".into(), folder]);
        arguments
    })
}

async fn client(server: &Server) -> MultiplexedConnection {
    let client = Client::open(format!("redis://{}/", server.addr)).unwrap();
    for _ in 0..200 {
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
        if let Ok(mut connection) = client.get_multiplexed_async_connection_with_config(&patient).await
            && redis::cmd("PING").exec_async(&mut connection).await.is_ok()
        {
            return connection;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("redis is not ready");
}

async fn set(client: &mut MultiplexedConnection, value: impl AsRef<[u8]>) {
    client.set::<_, _, ()>(KEY, value.as_ref()).await.unwrap();
}

async fn run_command(client: &mut MultiplexedConnection, words: &[&str]) {
    redis::cmd(words[0]).arg(&words[1..]).exec_async(client).await.unwrap();
}

fn source(addr: SocketAddr) -> RedisSource {
    as_user(addr, "")
}

fn as_user(addr: SocketAddr, user: &str) -> RedisSource {
    let source = RedisSource::new(&format!("redis://{user}{addr}/0"), KEY).unwrap();
    source.timeout(Duration::from_millis(500)).check(Duration::from_millis(200))
}

fn run(test: impl AsyncFnOnce(Server)) {
    let Some(server) = redis_server() else { return };
    block_on(test(server));
}

#[test]
fn a_key_is_followed_by_what_the_server_tells() {
    run(async |server| {
        let mut client = client(&server).await;
        set(&mut client, PROD).await;
        let (engine, mut following) = follow(source(server.addr).check(NEVER)).await;
        let status = following.status();
        assert_eq!((status.running.origin, &*status.running.version), (Origin::Source, ""));
        assert_eq!(status.source.name, format!("redis {} key `shop:rules`", server.addr));
        for text in [GRAY, PROD, GRAY] {
            let begun = std::time::Instant::now();
            set(&mut client, text).await;
            runs(&mut following, &engine, text).await;
            println!("live after {:.1?}", begun.elapsed());
        }
        // Whatever changes the key.
        client.append::<_, _, ()>(KEY, "# more\n").await.unwrap();
        runs(&mut following, &engine, &format!("{GRAY}# more\n")).await;
        client.set::<_, _, ()>("other", PROD).await.unwrap();
        client.rename::<_, _, ()>("other", KEY).await.unwrap();
        runs(&mut following, &engine, PROD).await;
        client.pexpire::<_, ()>(KEY, 50).await.unwrap();
        fails(&mut following, SourceErrorKind::Absent).await;
        decides(&engine, "prod");
        set(&mut client, GRAY).await;
        runs(&mut following, &engine, GRAY).await;
        run_command(&mut client, &["FLUSHALL"]).await;
        fails(&mut following, SourceErrorKind::Absent).await;
        decides(&engine, "gray");
    });
}

#[test]
fn a_channel_tells_where_the_server_may_not() {
    run(async |server| {
        let mut client = client(&server).await;
        set(&mut client, PROD).await;
        let (engine, mut following) = follow(source(server.addr).channel(KEY).check(NEVER)).await;
        let mut pipe = redis::pipe();
        pipe.atomic().set(KEY, GRAY).ignore().publish(KEY, "").ignore();
        pipe.exec_async(&mut client).await.unwrap();
        runs(&mut following, &engine, GRAY).await;

        // The server's own, if it is set so.
        run_command(&mut client, &["CONFIG", "SET", "notify-keyspace-events", "K$g"]).await;
        let keyspace = source(server.addr).channel(format!("__keyspace@0__:{KEY}")).check(NEVER);
        let (engine, mut following) = follow(keyspace).await;
        set(&mut client, PROD).await;
        runs(&mut following, &engine, PROD).await;
        client.del::<_, ()>(KEY).await.unwrap();
        fails(&mut following, SourceErrorKind::Absent).await;
    });
}

#[test]
fn what_nobody_tells_is_found_by_reading_again() {
    run(async |server| {
        let mut client = client(&server).await;
        set(&mut client, PROD).await;
        // Nobody publishes there.
        let (engine, mut following) = follow(source(server.addr).channel("silence")).await;
        set(&mut client, GRAY).await;
        let status = runs(&mut following, &engine, GRAY).await;
        let agreed = status.source.agreed;
        for _ in 0..200 {
            if following.status().source.agreed > agreed {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{}", following.status());
    });
}

#[test]
fn killed_and_started_again_it_is_followed_on() {
    run(async |mut server| {
        set(&mut client(&server).await, PROD).await;
        let (engine, mut following) = follow(source(server.addr).check(NEVER)).await;
        for (round, text) in [GRAY, PROD, GRAY].into_iter().enumerate() {
            let before = engine.rules();
            server.kill();
            let status = fails(&mut following, SourceErrorKind::Unreachable).await;
            assert_eq!(status.source.state, SourceState::Unreachable);
            assert_eq!(engine.rules().digest(), before.digest());
            server.start_again();
            let status = until(&mut following, |status| status.source.failures == 0).await;
            assert_eq!(status.running.revision, round as u64 + 1);
            set(&mut client(&server).await, text).await;
            runs(&mut following, &engine, text).await;
        }
        // And with nothing left of what it had.
        server.kill();
        std::fs::remove_dir_all(server.folder.path("appendonlydir")).unwrap();
        fails(&mut following, SourceErrorKind::Unreachable).await;
        server.start_again();
        fails(&mut following, SourceErrorKind::Absent).await;
        decides(&engine, "gray");
        // Once more, which is news after having been away.
        server.kill();
        fails(&mut following, SourceErrorKind::Unreachable).await;
        server.start_again();
        let status = fails(&mut following, SourceErrorKind::Absent).await;
        assert_eq!(status.source.state, SourceState::Reachable);
    });
}

#[test]
fn down_at_the_start_the_last_good_rules_run_until_it_comes() {
    run(async |mut server| {
        set(&mut client(&server).await, PROD).await;
        let folder = Folder::new();
        let file = LastGood::new(folder.path("rules.good"));
        let follower =
            || Follower::new(builder(), source(server.addr)).last_good(file.clone()).built_in(GRAY);
        let (_engine, mut following) = follower().start().await.unwrap();
        until(&mut following, |status| status.last_good.as_ref().unwrap().stored.is_some()).await;
        drop(following);
        let later = follower().start_within(Duration::from_millis(300));
        server.kill();
        let (engine, mut following) = later.start().await.unwrap();
        assert_eq!(following.status().running.origin, Origin::LastGood);
        decides(&engine, "prod");
        fails(&mut following, SourceErrorKind::Unreachable).await;
        server.start_again();
        until(&mut following, |status| status.running.origin == Origin::Source).await;
        set(&mut client(&server).await, GRAY).await;
        runs(&mut following, &engine, GRAY).await;
    });
}

#[test]
fn whatever_the_network_does_the_rules_go_on() {
    run(async |server| {
        let mut client = client(&server).await;
        set(&mut client, PROD).await;
        let proxy = Proxy::before(server.addr).await;
        let (engine, mut following) = follow(source(proxy.addr)).await;
        decides(&engine, "prod");
        let mut n = 0;
        // Sound wherever it is cut.
        let long = |n: u64| format!("default => gray\n{}", format!("# {n}\n").repeat(20_000));
        for network in [
            Network::Stalls,
            Network::Resets,
            Network::HalfCloses,
            Network::CutsAfter(0),
            Network::CutsAfter(30_000),
            Network::Garbage,
        ] {
            n += 1;
            let before = engine.rules();
            proxy.set(network);
            let begun = std::time::Instant::now();
            set(&mut client, long(n)).await;
            print!("{network:?}: ");
            let status = fails(&mut following, SourceErrorKind::Unreachable).await;
            println!("    noticed after {:.1?}", begun.elapsed());
            assert_eq!(status.source.state, SourceState::Unreachable);
            assert_eq!(engine.rules().digest(), before.digest());
            proxy.set(Network::Up);
            runs(&mut following, &engine, &long(n)).await;
        }
        assert_eq!(following.status().running.revision, n + 1);
    });
}

#[test]
fn wrong_credentials_and_a_permission_that_is_taken_are_said() {
    run(async |server| {
        let mut client = client(&server).await;
        set(&mut client, PROD).await;
        let commands = "+hello +multi +exec +exists +strlen +getrange +client|tracking +select";
        let rights = format!("~{KEY} {commands}");
        let mut grant = vec!["ACL", "SETUSER", "shop", "on", ">secret"];
        grant.extend(rights.split(' '));
        run_command(&mut client, &grant).await;
        run_command(&mut client, &["ACL", "SETUSER", "silent", "on", ">secret", "~*", "+multi", "+hello"])
            .await;
        // The test's own connection stays.
        run_command(&mut client, &["ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all"]).await;
        run_command(&mut client, &["AUTH", "admin", "admin"]).await;
        run_command(&mut client, &["ACL", "SETUSER", "default", "off"]).await;
        for (name, user) in [
            ("none", ""),
            ("a wrong password", "shop:sekret@"),
            ("nobody", "nobody:secret@"),
            ("without permission", "silent:secret@"),
        ] {
            print!("{name}: ");
            let (engine, mut following) = follow(as_user(server.addr, user)).await;
            assert_eq!(following.status().running.origin, Origin::BuiltIn);
            assert!(!following.status().source.name.contains("se"), "{}", following.status().source.name);
            fails(&mut following, SourceErrorKind::Denied).await;
            decides(&engine, "gray");
        }
        let (engine, mut following) = follow(as_user(server.addr, "shop:secret@")).await;
        decides(&engine, "prod");
        run_command(&mut client, &["ACL", "SETUSER", "shop", "resetkeys"]).await;
        fails(&mut following, SourceErrorKind::Denied).await;
        decides(&engine, "prod");
        // Given back, with what was there.
        run_command(&mut client, &grant).await;
        let status = until(&mut following, |status| status.source.failures == 0).await;
        assert!(status.stale < Duration::from_secs(1), "{status}");
        set(&mut client, GRAY).await;
        runs(&mut following, &engine, GRAY).await;
    });
}

#[test]
fn whatever_the_key_holds_the_rules_go_on_until_it_is_mended() {
    run(async |server| {
        let mut client = client(&server).await;
        set(&mut client, PROD).await;
        let (engine, mut following) = follow(source(server.addr).limit(2000)).await;
        let large = format!("# {}\n{GRAY}", "x".repeat(2000));
        type Spoil<'s> = (&'s [&'s [u8]], SourceErrorKind, &'s str);
        let key = KEY.as_bytes();
        let cases: [Spoil<'_>; 4] = [
            (&[b"DEL", key], SourceErrorKind::Absent, "key `shop:rules` is not there"),
            (
                &[b"SET", key, b"default => \xff"],
                SourceErrorKind::Invalid,
                "the value of `shop:rules` is not UTF-8 from byte 11 on",
            ),
            (
                &[b"SET", key, large.as_bytes()],
                SourceErrorKind::TooLarge,
                "key `shop:rules` has 2019 bytes, 2000 are allowed",
            ),
            (&[b"HSET", key, b"a", b"b"], SourceErrorKind::Invalid, "key `shop:rules` is no string"),
        ];
        for (words, kind, message) in cases {
            let mut pipe = redis::pipe();
            pipe.atomic();
            if words[0] == b"HSET" {
                pipe.del(KEY).ignore();
            }
            let mut command = redis::Cmd::new();
            words.iter().for_each(|word| _ = command.arg(*word));
            pipe.add_command(command);
            pipe.exec_async(&mut client).await.unwrap();
            let status = fails(&mut following, kind).await;
            assert_eq!(status.source.last_error.unwrap().message, message);
            decides(&engine, "prod");
            // It is said once, however often it is read.
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(
                (following.status().source.failures, following.status().source.state),
                (1, SourceState::Reachable)
            );
            set(&mut client, PROD).await;
            let status = runs(&mut following, &engine, PROD).await;
            assert_eq!(status.running.revision, 1);
        }
        for bad in ["", "default => prd"] {
            set(&mut client, bad).await;
            let status = until(&mut following, |status| status.rejected.is_some()).await;
            assert_eq!(status.source.failures, 0);
            decides(&engine, "prod");
            set(&mut client, PROD).await;
            until(&mut following, |status| status.rejected.is_none()).await;
        }
    });
}

#[test]
fn a_value_larger_than_any_text_is_not_fetched_and_the_largest_text_is() {
    run(async |server| {
        let mut client = client(&server).await;
        // The most that a string of this server can have, of which only the start is asked for.
        client.setrange::<_, _, ()>(KEY, (512 << 20) - 1, "x").await.unwrap();
        let (engine, mut following) = follow(source(server.addr).timeout(Duration::from_secs(20))).await;
        let status = fails(&mut following, SourceErrorKind::TooLarge).await;
        assert_eq!(
            status.source.last_error.unwrap().message,
            "key `shop:rules` has 536870912 bytes, 4194304 are allowed"
        );
        decides(&engine, "gray");
        let text = format!("{PROD}#{}", "x".repeat((4 << 20) - PROD.len() - 1));
        assert_eq!(text.len(), 4 << 20);
        set(&mut client, &text).await;
        runs(&mut following, &engine, &text).await;
        decides(&engine, "prod");
    });
}

#[test]
fn what_changes_faster_than_it_can_be_compiled_ends_at_the_last() {
    run(async |server| {
        let mut client = client(&server).await;
        set(&mut client, PROD).await;
        let (engine, mut following) = follow(source(server.addr).check(NEVER)).await;
        let begun = std::time::Instant::now();
        for n in 0..5000 {
            set(&mut client, format!("# {n}\n{GRAY}")).await;
        }
        let took = begun.elapsed();
        let status = runs(&mut following, &engine, &format!("# 4999\n{GRAY}")).await;
        println!("5000 changes in {took:.1?} were {} revisions", status.running.revision - 1);
        assert!(u128::from(status.running.revision) <= took.as_millis() / 20 + 10, "{status}");
    });
}

#[test]
fn a_url_that_is_none_is_an_error() {
    for url in ["", "http://127.0.0.1", "redis://127.0.0.1:x"] {
        let error = RedisSource::new(url, KEY).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Other, "{url}");
    }
}

#[test]
fn who_is_told_all_the_time_of_nothing_new_reads_seldom() {
    let Some(server) = redis_server() else { return };
    block_on(async {
        let mut client = client(&server).await;
        set(&mut client, PROD).await;
        let (engine, mut following) = follow(source(server.addr).check(NEVER)).await;
        run_command(&mut client, &["CONFIG", "RESETSTAT"]).await;
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            set(&mut client, PROD).await;
        }
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut client).await.unwrap();
        let read = stats.lines().find_map(|line| line.strip_prefix("cmdstat_getrange:calls=")).unwrap();
        let read: u64 = read.split(',').next().unwrap().parse().unwrap();
        println!("read {read} times in 3 s");
        assert!((2..=30).contains(&read), "{read}");
        // What is new is seen soon all the same.
        set(&mut client, GRAY).await;
        runs(&mut following, &engine, GRAY).await;
    });
}
