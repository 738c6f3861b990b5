//! Following real files: replaced, swapped, taken away, spoiled and mended.
#![cfg(feature = "file")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use pointsman::Engine;
use pointsman::source::{FileSource, Follower, Following, Origin, SourceErrorKind, SourceState, Status};

#[path = "common/folder.rs"]
mod folder;
#[path = "common/following.rs"]
mod following;
use folder::Folder;
use following::{GRAY, PROD, builder, decides, until};

const PATIENCE: Duration = Duration::from_secs(20);
/// So long that only a notification can be the reason.
const NEVER: Duration = Duration::from_secs(3600);

/// As an editor writes, and as one should.
fn replace(path: &Path, text: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

async fn follow(source: FileSource) -> (Engine, Following) {
    Follower::new(builder(), source).built_in("default => gray").start().await.unwrap()
}

async fn revision(following: &mut Following, revision: u64) -> Status {
    until(following, |status| status.running.revision == revision).await
}

async fn fails(following: &mut Following, kind: SourceErrorKind) -> Status {
    let status = until(following, |status| status.source.failures > 0).await;
    let error = status.source.last_error.clone().unwrap();
    println!("{kind}: {}", error.message);
    assert_eq!(error.kind, kind, "{}", error.message);
    status
}

#[tokio::test]
async fn a_file_is_followed_through_rewriting_renaming_and_removal() {
    let folder = Folder::new();
    let path = folder.path("shop.rules");
    fs::write(&path, PROD).unwrap();
    let (engine, mut following) = follow(FileSource::new(&path).reread(NEVER)).await;
    let status = following.status();
    assert_eq!((status.running.origin, engine.rules().text()), (Origin::Source, PROD));
    assert!(status.running.version.ends_with('Z'), "{status}");

    fs::write(&path, GRAY).unwrap();
    revision(&mut following, 2).await;
    replace(&path, PROD);
    revision(&mut following, 3).await;
    replace(&path, GRAY);
    revision(&mut following, 4).await;
    fs::remove_file(&path).unwrap();
    let status = fails(&mut following, SourceErrorKind::Absent).await;
    assert_eq!(status.source.state, SourceState::Reachable);
    decides(&engine, "gray");
    fs::write(&path, PROD).unwrap();
    let status = revision(&mut following, 5).await;
    assert_eq!(status.source.failures, 0);
    decides(&engine, "prod");
}

#[tokio::test]
async fn a_directory_is_one_rule_set_in_the_order_of_names() {
    let folder = Folder::new();
    let rules = folder.path("rules");
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("90-rest.rules"), PROD).unwrap();
    fs::write(rules.join("10-beta.rules"), "route beta: cookie(uid) == \"1\" => gray").unwrap();
    for other in ["README", "20.rules.bak", ".30.rules", "40.rules~"] {
        fs::write(rules.join(other), "no rules").unwrap();
    }
    let (engine, mut following) = follow(FileSource::directory(&rules).reread(NEVER)).await;
    assert_eq!(engine.rules().text(), format!("route beta: cookie(uid) == \"1\" => gray\n{PROD}"));
    let version = following.status().running.version;
    assert!(version.starts_with("2 files, 20"), "{version}");

    fs::write(rules.join("20-more.rules"), "route more: hots == \"a\" => gray").unwrap();
    let status = until(&mut following, |status| status.rejected.is_some()).await;
    let problems = status.rejected.unwrap().diagnostics;
    let first = problems.iter().next().unwrap();
    let place = format!("{}:{}:{}", first.source_name(), first.line(), first.column());
    assert_eq!(place, format!("{}:1:13", rules.join("20-more.rules").display()));
    fs::write(rules.join("20-more.rules"), "route more: host == \"a\" => gray").unwrap();
    revision(&mut following, 2).await;
    fs::remove_file(rules.join("20-more.rules")).unwrap();
    revision(&mut following, 3).await;

    // Another directory under the name, then changes in it.
    let other = folder.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("a.rules"), GRAY).unwrap();
    fs::rename(&rules, folder.path("old")).unwrap();
    fails(&mut following, SourceErrorKind::Absent).await;
    fs::rename(&other, &rules).unwrap();
    revision(&mut following, 4).await;
    fs::write(rules.join("a.rules"), PROD).unwrap();
    revision(&mut following, 5).await;
    decides(&engine, "prod");
    fs::remove_file(rules.join("a.rules")).unwrap();
    let status = fails(&mut following, SourceErrorKind::Absent).await;
    assert!(status.source.last_error.unwrap().message.contains("has no files ending in .rules"));
    decides(&engine, "prod");
}

/// As the kubelet does: the files are links through `..data`, which is swapped for another directory.
#[cfg(unix)]
fn mount(at: &Path, generation: &str, files: &[(&str, &str)]) {
    use std::os::unix::fs::symlink;
    let data = at.join(format!("..{generation}"));
    fs::create_dir(&data).unwrap();
    for (name, text) in files {
        fs::write(data.join(name), text).unwrap();
        if fs::symlink_metadata(at.join(name)).is_err() {
            symlink(Path::new("..data").join(name), at.join(name)).unwrap();
        }
    }
    let old = fs::read_link(at.join("..data"));
    symlink(data.file_name().unwrap(), at.join("..data_tmp")).unwrap();
    fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
    if let Ok(old) = old {
        fs::remove_dir_all(at.join(old)).unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_swap_of_a_config_map_is_seen() {
    let folder = Folder::new();
    let at = folder.path("");
    mount(&at, "2026_1", &[("a.rules", "list l = [\"1\"]"), ("b.rules", "default => prod")]);
    let (_engine, mut whole) = follow(FileSource::directory(&at).reread(NEVER)).await;
    let one = FileSource::new(at.join("b.rules")).reread(NEVER);
    let (engine, mut one) = follow(one).await;
    for n in 2..8 {
        let cluster = ["gray", "prod"][n % 2];
        let files =
            [("a.rules", &*format!("list l = [\"{n}\"]")), ("b.rules", &*format!("default => {cluster}"))];
        mount(&at, &format!("2026_{n}"), &files);
        revision(&mut whole, n as u64).await;
        revision(&mut one, n as u64).await;
        decides(&engine, cluster);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_is_swapped_beside_the_file_is_seen() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    for (name, text) in [("v1", PROD), ("v2", GRAY)] {
        fs::create_dir(folder.path(name)).unwrap();
        fs::write(folder.path(name).join("shop.rules"), text).unwrap();
    }
    symlink("v1", folder.path("current")).unwrap();
    symlink("current/shop.rules", folder.path("shop.rules")).unwrap();
    let (engine, mut following) = follow(FileSource::new(folder.path("shop.rules")).reread(NEVER)).await;
    symlink("v2", folder.path("next")).unwrap();
    fs::rename(folder.path("next"), folder.path("current")).unwrap();
    revision(&mut following, 2).await;
    decides(&engine, "gray");
}

#[tokio::test]
async fn what_no_notification_tells_is_found_by_reading_again() {
    let folder = Folder::new();
    // Not there yet, so there is nothing to be watched.
    let path = folder.path("later/on/shop.rules");
    let (engine, mut following) = follow(FileSource::new(&path).reread(Duration::from_millis(100))).await;
    fails(&mut following, SourceErrorKind::Absent).await;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, PROD).unwrap();
    let status = until(&mut following, |status| status.running.origin == Origin::Source).await;
    decides(&engine, "prod");
    // And it is known that it still is what runs.
    let agreed = status.source.agreed;
    for _ in 0..100 {
        if following.status().source.agreed > agreed {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", following.status());
}

#[tokio::test]
async fn whatever_stands_in_the_place_of_the_file_the_rules_go_on_until_it_is_mended() {
    let folder = Folder::new();
    let path = folder.path("shop.rules");
    fs::write(&path, PROD).unwrap();
    let source = FileSource::new(&path).reread(NEVER).limit(1000);
    let (engine, mut following) = follow(source).await;
    let mut next = 1;
    let path = &*path;
    let spoil: [(SourceErrorKind, &str, &dyn Fn()); 5] = [
        (SourceErrorKind::Invalid, "is not UTF-8 from byte 11 on", &|| replace(path, b"default => \xff\xfe")),
        (SourceErrorKind::TooLarge, "has 1001 bytes, 1000 are allowed", &|| replace(path, vec![b'#'; 1001])),
        (SourceErrorKind::Invalid, "is a directory", &|| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        (SourceErrorKind::Unreachable, "cannot be read", &|| {
            fs::remove_file(path).unwrap();
            #[cfg(unix)]
            std::os::unix::fs::symlink(path, path).unwrap();
        }),
        (SourceErrorKind::Invalid, "is no file", &|| {
            fs::remove_file(path).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
    ];
    for (kind, message, spoil) in spoil {
        spoil();
        // Taking it away first may be seen on the way.
        let status = until(&mut following, |status| {
            status.source.last_error.as_ref().is_some_and(|error| error.message.contains(message))
        })
        .await;
        assert_eq!(status.source.last_error.unwrap().kind, kind, "{message}");
        assert_eq!(status.running.revision, next);
        decides(&engine, ["gray", "prod"][next as usize % 2]);
        if path.is_dir() {
            fs::remove_dir(path).unwrap();
        }
        next += 1;
        replace(path, [GRAY, PROD][next as usize % 2]);
        let status = revision(&mut following, next).await;
        assert_eq!((status.source.failures, status.source.state), (0, SourceState::Reachable));
    }
    // Mended with what was there before: no new revision, and all is well.
    fs::remove_file(path).unwrap();
    fails(&mut following, SourceErrorKind::Absent).await;
    replace(path, [GRAY, PROD][next as usize % 2]);
    let status = until(&mut following, |status| status.source.failures == 0).await;
    assert_eq!(status.running.revision, next);
}

#[tokio::test]
async fn one_bad_file_of_a_directory_is_named() {
    let folder = Folder::new();
    fs::write(folder.path("a.rules"), PROD).unwrap();
    let source = FileSource::directory(folder.path("")).reread(NEVER).limit(1000);
    let (_engine, mut following) = follow(source).await;
    let bad = folder.path("b.rules");
    fs::write(&bad, b"# \xff").unwrap();
    let status = fails(&mut following, SourceErrorKind::Invalid).await;
    assert!(status.source.last_error.unwrap().message.starts_with(&*bad.display().to_string()));
    fs::write(&bad, vec![b'#'; 990]).unwrap();
    let large = |status: &Status| {
        status.source.last_error.as_ref().is_some_and(|error| error.kind == SourceErrorKind::TooLarge)
    };
    until(&mut following, large).await;
    fs::remove_file(&bad).unwrap();
    fs::create_dir(&bad).unwrap();
    let directory = |status: &Status| {
        status.source.last_error.as_ref().is_some_and(|error| error.message.contains("is a directory"))
    };
    until(&mut following, directory).await;
    fs::remove_dir(&bad).unwrap();
    until(&mut following, |status| status.source.failures == 0).await;
}

// === a thousand times a second ===

/// Revision N, with a route for each line, all of which have to be there.
fn numbered(n: u64) -> String {
    let cluster = ["gray", "prod"][n as usize % 2];
    let mut text = format!("# {n}\n");
    for at in 0..n % 50 {
        text.push_str(&format!("route r{at}: cookie(uid) == \"{n}\" => {cluster}\n"));
    }
    text + &format!("default => {cluster}\n# {n}\n")
}

/// Replaces a file 3,000 times in three seconds; no text but whole ones may ever be decided by.
async fn storm(write: fn(&Path, String), in_place: bool) {
    const TIMES: u64 = 3000;
    let folder = Folder::new();
    let path = folder.path("shop.rules");
    fs::write(&path, numbered(0)).unwrap();
    let (engine, mut following) = follow(FileSource::new(&path).reread(NEVER)).await;
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            let begin = std::time::Instant::now();
            for n in 1..=TIMES {
                write(&path, numbered(n));
                std::thread::sleep(
                    (begin + Duration::from_millis(n)).saturating_duration_since(std::time::Instant::now()),
                );
            }
            begin.elapsed()
        }
    });
    let last = numbered(TIMES);
    let mut refused = 0;
    let mut seen = std::collections::BTreeSet::new();
    let status = until(&mut following, |status| {
        let rules = engine.rules();
        let n = rules.text().lines().next().unwrap().trim_start_matches("# ").parse().unwrap();
        assert_eq!(rules.text(), numbered(n), "a torn text runs");
        seen.insert(n);
        refused += u64::from(status.rejected.is_some());
        rules.text() == last
    })
    .await;
    let took = writer.join().unwrap();
    let revisions = status.running.revision;
    println!("{TIMES} times in {took:.1?}: {revisions} revisions, {refused} refused");
    // Where the writer was held up for a while, that looked like its end.
    assert!(u128::from(revisions) <= took.as_millis() / 50 + 5, "{revisions}");
    assert!(in_place || refused == 0, "{status}");
    assert!(status.source.last_error.is_none() || in_place, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_a_thousand_times_a_second_it_ends_at_the_last_text() {
    storm(replace, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn written_in_place_a_thousand_times_a_second_it_ends_at_the_last_text() {
    storm(|path, text| fs::write(path, text).unwrap(), true).await;
}

/// How often this process has read anything.
#[cfg(target_os = "linux")]
fn reads() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_does_not_change_is_not_read_over_and_over() {
    // In a process of its own, as others read too.
    if std::env::var_os("POINTSMAN_TEST_READS").is_none() {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_file_that_does_not_change_is_not_read_over_and_over", "--nocapture"]);
        let output = command.env("POINTSMAN_TEST_READS", "1").output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && shown.contains("reads while nothing happened"), "{shown}");
        return;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let folder = Folder::new();
        let path = folder.path("shop.rules");
        fs::write(&path, PROD).unwrap();
        let (_engine, mut following) = follow(FileSource::new(&path).reread(NEVER)).await;
        replace(&path, GRAY);
        revision(&mut following, 2).await;
        let before = reads();
        // What is somebody else's, and reading it, is no reason.
        for n in 0..20 {
            fs::write(folder.path(&format!("{n}.txt")), "x").unwrap();
            fs::metadata(&path).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let reads = reads() - before;
        println!("{reads} reads while nothing happened");
        // Events themselves are read.
        assert!(reads < 150, "{reads}");
    });
}

// === permission ===

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_may_not_be_read_is_said_and_recovered_from() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = match std::env::var_os("POINTSMAN_TEST_PATH") {
        Some(_) => None,
        None => Some(Folder::new()),
    };
    let path = folder.as_ref().map(|folder| folder.path("shop.rules"));
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    if let Some(path) = &path {
        fs::write(path, PROD).unwrap();
        mode(path, 0);
        if fs::read(path).is_ok() {
            // For root nothing is unreadable: somebody else has to look.
            for entry in [path.parent().unwrap(), path] {
                std::os::unix::fs::chown(entry, Some(65534), Some(65534)).unwrap();
            }
            let mut command = std::process::Command::new("setpriv");
            command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(std::env::current_exe().unwrap());
            command.args([
                "--exact",
                "a_file_that_may_not_be_read_is_said_and_recovered_from",
                "--nocapture",
            ]);
            let output = command.env("POINTSMAN_TEST_PATH", path).output().unwrap();
            let shown = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(output.status.success() && shown.contains("denied: "), "{shown}");
            println!("{shown}");
            return;
        }
    }
    let path = path.unwrap_or_else(|| std::env::var_os("POINTSMAN_TEST_PATH").unwrap().into());
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let (engine, mut following) = follow(FileSource::new(&path).reread(NEVER)).await;
        fails(&mut following, SourceErrorKind::Denied).await;
        decides(&engine, "gray");
        mode(&path, 0o600);
        revision(&mut following, 2).await;
        decides(&engine, "prod");
    });
}
