//! A cluster that hangs or is killed, on real servers, does not change what the other one answers.
#![cfg(feature = "health")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "../examples/isolation.rs"]
#[allow(dead_code, reason = "`main` is not called")]
mod example;

#[test]
fn all_of_prod_succeeds_while_gray_hangs_is_killed_and_comes_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut out = Vec::new();
    let phases = runtime.block_on(example::run(&mut out, 1_000)).unwrap();
    // For the reader: nothing is asserted about time.
    println!("{}", String::from_utf8_lossy(&out));
    assert_eq!(phases.len(), 4);
    for seen in &phases {
        assert_eq!((seen.prod.len(), seen.prod_failed), (1_000, 0), "gray is {}", seen.gray_is);
        let total: usize = seen.gray.values().sum();
        let count = |status| seen.gray.get(&status).copied().unwrap_or(0);
        match seen.gray_is {
            // On a busy machine a hundred may be at hand, and then some are shed.
            "working" | "back" => {
                assert!(count(200) > 0 && count(200) + count(503) == total, "{seen}");
            }
            // Those that were let through before that was known, and the probes. All others were refused at once.
            "hanging" => assert_eq!((count(504) + count(503), count(200)), (total, 0), "{seen}"),
            _ => assert_eq!((count(502) + count(503) + count(504), count(200)), (total, 0), "{seen}"),
        }
        assert!(total > 0);
    }
}
