//! What a split promises, over random weights and over a hundred thousand keys.
//!
//! The keys of the statistics are fixed, so a test that passes once passes always.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde_json::Value;

use super::weighted::{exponential, uniform};
use super::*;

const KEYS: u32 = 100_000;

type Arms<'a> = &'a [(&'a str, u64)];

/// `u-0` to `u-99999`, hashed.
fn hashes(salt: &str) -> Vec<u64> {
    let seed = seed(salt.as_bytes());
    (0..KEYS).map(|i| hash(format!("u-{i}").as_bytes(), seed)).collect()
}

fn split(arms: Arms<'_>) -> Split {
    Split::new(arms.iter().copied()).unwrap()
}

/// By name, since an index says nothing across two splits.
fn picked<'a>(arms: Arms<'a>, hash: u64) -> &'a str {
    arms[split(arms).pick(hash)].0
}

/// Weights that are small, zero, equal and enormous.
fn weight() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..=10_u64, 1..=1_000_000_u64, 1..=MAX_TOTAL / 16]
}

/// At least one arm, at least one of them with a weight.
fn arms() -> impl Strategy<Value = BTreeMap<String, u64>> {
    prop::collection::btree_map("[a-z]{1,8}|灰[0-9]", weight(), 1..8)
        .prop_filter("all weights 0", |arms| arms.values().any(|&w| w > 0))
}

/// Twice the same arms, with other weights.
fn two_weightings() -> impl Strategy<Value = Vec<(String, u64, u64)>> {
    prop::collection::btree_map("[a-z]{1,8}", (weight(), weight()), 1..8)
        .prop_filter("all weights 0", |arms| {
            arms.values().any(|&(before, _)| before > 0) && arms.values().any(|&(_, after)| after > 0)
        })
        .prop_map(|arms| arms.into_iter().map(|(name, (before, after))| (name, before, after)).collect())
}

fn borrowed(arms: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    arms.iter().map(|(name, &weight)| (&**name, weight)).collect()
}

proptest! {
    #[test]
    fn percent_is_monotone(hash: u64, a in 0..=BUCKETS, b in 0..=BUCKETS) {
        let inside = |threshold| bucket(hash) < threshold;
        prop_assert!(!inside(a.min(b)) || inside(a.max(b)));
        prop_assert!(!inside(0) && inside(BUCKETS));
    }

    #[test]
    fn buckets_come_in_the_order_of_hashes(a: u64, b: u64) {
        prop_assert!(bucket(a.min(b)) <= bucket(a.max(b)));
    }

    #[test]
    fn a_key_leaves_only_for_what_grew_by_more(arms in two_weightings(), keys: [u64; 32]) {
        let before: Vec<_> = arms.iter().map(|(name, w, _)| (&**name, *w)).collect();
        let after: Vec<_> = arms.iter().map(|(name, _, w)| (&**name, *w)).collect();
        let (before, after) = (split(&before), split(&after));
        for key in keys {
            let (i, j) = (before.pick(key), after.pick(key));
            if i != j {
                let ((_, wi, vi), (_, wj, vj)) = (&arms[i], &arms[j]);
                // vj / wj > vi / wi
                prop_assert!(u128::from(*vj) * u128::from(*wi) > u128::from(*vi) * u128::from(*wj));
            }
        }
    }

    #[test]
    fn raising_one_weight_moves_keys_only_towards_it(
        arms in arms(), which: prop::sample::Index, by in weight(), keys: [u64; 32],
    ) {
        let before = borrowed(&arms);
        let mut after = before.clone();
        let which = which.index(after.len());
        after[which].1 += by;
        let (before, after) = (split(&before), split(&after));
        for key in keys {
            prop_assert!(after.pick(key) == before.pick(key) || after.pick(key) == which);
        }
    }

    // Exactly, and not but for ties: weights are compared without dividing.
    #[test]
    fn scaling_all_weights_moves_nothing(arms in arms(), factor in 1..=1000_u64, keys: [u64; 32]) {
        let shrunk: Vec<_> = arms.iter().map(|(name, w)| (&**name, w.div_ceil(1000))).collect();
        let scaled: Vec<_> = shrunk.iter().map(|&(name, w)| (name, w * factor)).collect();
        let (shrunk, scaled) = (split(&shrunk), split(&scaled));
        for key in keys {
            prop_assert_eq!(shrunk.pick(key), scaled.pick(key));
        }
    }

    #[test]
    fn the_order_of_arms_does_not_matter(
        (sorted, shuffled) in arms().prop_flat_map(|arms| {
            let arms: Vec<_> = arms.into_iter().collect();
            (Just(arms.clone()), Just(arms).prop_shuffle())
        }),
        keys: [u64; 32],
    ) {
        let sorted: Vec<_> = sorted.iter().map(|(name, w)| (&**name, *w)).collect();
        let shuffled: Vec<_> = shuffled.iter().map(|(name, w)| (&**name, *w)).collect();
        for key in keys {
            prop_assert_eq!(picked(&sorted, key), picked(&shuffled, key));
        }
    }

    #[test]
    fn weight_zero_gets_nothing_and_is_as_good_as_absent(arms in arms(), keys: [u64; 32]) {
        let all = borrowed(&arms);
        let weighted: Vec<_> = all.iter().copied().filter(|&(_, w)| w > 0).collect();
        for key in keys {
            prop_assert!(arms[picked(&all, key)] > 0);
            prop_assert_eq!(picked(&all, key), picked(&weighted, key));
        }
    }

    #[test]
    fn a_new_arm_takes_keys_and_moves_no_other(arms in arms(), weight in weight(), keys: [u64; 32]) {
        let before = borrowed(&arms);
        let mut after = before.clone();
        after.insert(0, ("NEW", weight));
        for key in keys {
            let now = picked(&after, key);
            prop_assert!(now == "NEW" || now == picked(&before, key));
        }
    }
}

// === Statistics ===

/// Whether `seen` of [`KEYS`] is within five standard deviations of what `share` of them should be.
#[track_caller]
fn assert_share(seen: usize, share: f64) {
    let n = f64::from(KEYS);
    let deviation = (n * share * (1.0 - share)).sqrt();
    assert!((seen as f64 - n * share).abs() <= 5.0 * deviation, "{seen} of {n} is no share of {share}");
}

#[test]
fn percent_takes_its_percentage() {
    for salt in ["checkout", "next-checkout", ""] {
        let hashes = hashes(salt);
        for percent in [1, 5, 10, 50, 99] {
            let inside = hashes.iter().filter(|&&h| bucket(h) < percent * 10_000).count();
            assert_share(inside, f64::from(percent) / 100.0);
        }
    }
}

#[test]
fn shares_are_in_proportion_to_weights() {
    let cases: [Arms<'_>; 5] = [
        &[("gray", 50_000), ("prod", 950_000)],
        &[("gray", 1_000), ("prod", 999_000)],
        &[("a", 1), ("b", 1), ("c", 1)],
        &[("a", 10_000), ("b", 20_000), ("c", 30_000), ("d", 40_000)],
        &[("prod_a", 5), ("prod_b", 3), ("prod_c", 2), ("off", 0)],
    ];
    for salt in ["checkout", "灰度"] {
        let hashes = hashes(salt);
        for arms in cases {
            let split = split(arms);
            let mut seen = vec![0; split.len()];
            for &hash in &hashes {
                seen[split.pick(hash)] += 1;
            }
            for (index, seen) in seen.into_iter().enumerate() {
                assert_share(seen, split.share(index).unwrap());
            }
        }
    }
}

#[test]
fn twenty_arms_pass_a_chi_square_test() {
    let names: Vec<_> = (0..20).map(|i| format!("c{i:02}")).collect();
    let split = Split::new(names.iter().enumerate().map(|(i, name)| (&**name, 1 + i as u64))).unwrap();
    let mut seen = [0.0; 20];
    for hash in hashes("checkout") {
        seen[split.pick(hash)] += 1.0;
    }
    let chi_square: f64 = (0..20)
        .map(|i| (split.share(i).unwrap() * f64::from(KEYS), seen[i]))
        .map(|(due, seen)| (seen - due) * (seen - due) / due)
        .sum();
    // The 99.9th percentile at 19 degrees of freedom.
    assert!(chi_square < 43.82, "{chi_square}");
}

#[test]
fn salts_are_independent() {
    let (one, two) = (hashes("checkout"), hashes("next-checkout"));
    let split = split(&[("gray", 200_000), ("prod", 800_000)]);
    let both = |a: &dyn Fn(u64) -> bool, b: &dyn Fn(u64) -> bool| {
        one.iter().zip(&two).filter(|&(&x, &y)| a(x) && b(y)).count()
    };
    let gray = |hash| split.pick(hash) == 0;
    assert_share(both(&gray, &gray), 0.2 * 0.2);
    assert_share(both(&gray, &|hash| !gray(hash)), 0.2 * 0.8);
    for percent in [5, 30, 50] {
        let inside = |hash| bucket(hash) < percent * 10_000;
        assert_share(both(&inside, &inside), f64::from(percent * percent) / 10_000.0);
        assert_share(both(&inside, &gray), f64::from(percent) / 100.0 * 0.2);
    }
}

#[test]
fn a_bucket_says_nothing_about_the_cluster() {
    let hashes = hashes("checkout");
    let split = split(&[("gray", 200_000), ("prod", 800_000)]);
    for tenth in 0..10 {
        let range = tenth * 100_000..(tenth + 1) * 100_000;
        let gray = hashes.iter().filter(|&&h| range.contains(&bucket(h)) && split.pick(h) == 0).count();
        assert_share(gray, 0.1 * 0.2);
    }
}

#[test]
fn splits_over_other_clusters_are_independent() {
    let (one, two) = (split(&[("a", 3), ("b", 7)]), split(&[("x", 3), ("y", 7)]));
    let both = hashes("checkout").into_iter().filter(|&h| one.pick(h) == 0 && two.pick(h) == 0).count();
    assert_share(both, 0.3 * 0.3);
}

// === Vectors ===

const REFERENCE: &str = include_str!("../docs/hashing.md");

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/split.json")).unwrap()
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap(), 16).unwrap()
}

fn bytes(key: &Value) -> Vec<u8> {
    if let Some(text) = key["text"].as_str() {
        return text.into();
    }
    let hex = key["hex"].as_str().unwrap();
    let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn hashes_and_buckets_are_the_vectors() {
    let vectors = vectors();
    let hashes = vectors["hashes"].as_array().unwrap();
    assert!(hashes.len() >= 100);
    for v in hashes {
        let seed = seed(v["salt"].as_str().unwrap().as_bytes());
        assert_eq!(seed, hex(&v["seed"]), "{v}");
        let hash = hash(&bytes(&v["key"]), seed);
        assert_eq!(hash, hex(&v["hash"]), "{v}");
        assert_eq!(u64::from(bucket(hash)), v["bucket"].as_u64().unwrap(), "{v}");
    }
}

#[test]
fn draws_are_the_vectors_bit_for_bit() {
    let vectors = vectors();
    let draws = vectors["draws"].as_array().unwrap();
    assert!(draws.len() >= 40);
    for v in draws {
        let u = uniform(hex(&v["hash"]));
        assert_eq!(u.to_bits(), hex(&v["uniform"]), "{v}");
        let e = exponential(u);
        assert_eq!(e.to_bits(), hex(&v["exponential"]), "{v}");
        assert_eq!((e * (1_u64 << 58) as f64) as u64, v["draw"].as_u64().unwrap(), "{v}");
    }
}

#[test]
fn picks_are_the_vectors() {
    let vectors = vectors();
    let splits = vectors["splits"].as_array().unwrap();
    assert!(splits.len() >= 9);
    for v in splits {
        let arms: Vec<_> = v["weights"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arm| (arm[0].as_str().unwrap(), arm[1].as_u64().unwrap()))
            .collect();
        for (hash, cluster) in v["picks"].as_object().unwrap() {
            let hash = u64::from_str_radix(hash, 16).unwrap();
            assert_eq!(picked(&arms, hash), cluster.as_str().unwrap(), "{hash:016x} in {arms:?}");
        }
    }
}

// === The language reference ===

/// Tells all that is missing at once, ready to be pasted.
#[track_caller]
fn assert_in_reference(rows: &[String]) {
    let missing: Vec<_> =
        rows.iter().filter(|row| !REFERENCE.lines().any(|line| line == *row)).cloned().collect();
    assert!(missing.is_empty(), "src/docs/hashing.md lacks\n{}", missing.join("\n"));
}

#[test]
fn the_reference_lists_vectors_as_they_are() {
    let mut rows = Vec::new();
    for (salt, key) in [
        ("", ""),
        ("checkout", ""),
        ("checkout", "42"),
        ("checkout", "1001"),
        ("checkout", "2001:db8::1"),
        ("next-checkout", "1001"),
        ("灰度", "1001"),
        ("灰度", "用户一"),
    ] {
        let seed = seed(salt.as_bytes());
        let hash = hash(key.as_bytes(), seed);
        let clusters = [
            picked(&[("gray", 50_000), ("prod", 950_000)], hash),
            picked(&[("gray", 500_000), ("prod", 500_000)], hash),
            picked(&[("a", 10_000), ("b", 20_000), ("c", 30_000), ("d", 40_000)], hash),
        ]
        .join(" | ");
        let bucket = bucket(hash);
        rows.push(format!(
            "| `\"{salt}\"` | `\"{key}\"` | `{seed:016x}` | `{hash:016x}` | {bucket} | {clusters} |"
        ));
    }
    assert_in_reference(&rows);
}

#[test]
fn the_worked_example_works() {
    let key = hash(b"1001", seed(b"checkout"));
    let mut rows = Vec::new();
    for name in ["gray", "prod"] {
        let own = hash(&key.to_le_bytes(), seed(name.as_bytes()));
        let e = exponential(uniform(own));
        rows.push(format!(
            "| `{name}` | `{:016x}` | `{own:016x}` | {:?} | {e:?} | {} |",
            seed(name.as_bytes()),
            uniform(own),
            (e * (1_u64 << 58) as f64) as u64,
        ));
    }
    assert_in_reference(&rows);
}

#[test]
fn the_reference_tells_how_many_keys_move() {
    let hashes = hashes("checkout");
    let percent = |part: f64| format!("{:.2} %", part * 100.0);
    let steps: [(Arms<'_>, Arms<'_>); 9] = [
        (&[("gray", 5), ("prod", 95)], &[("gray", 10), ("prod", 90)]),
        (&[("gray", 10), ("prod", 90)], &[("gray", 50), ("prod", 50)]),
        (&[("gray", 50), ("prod", 50)], &[("gray", 100), ("prod", 0)]),
        (&[("gray", 50), ("prod", 50)], &[("gray", 5), ("prod", 95)]),
        (&[("a", 50), ("b", 50)], &[("a", 60), ("b", 40)]),
        (&[("a", 50), ("b", 50)], &[("a", 50), ("b", 50), ("c", 50)]),
        (&[("a", 50), ("b", 50), ("c", 50)], &[("a", 50), ("b", 0), ("c", 50)]),
        (&[("a", 50), ("b", 50), ("c", 50)], &[("a", 20), ("b", 30), ("c", 50)]),
        (&[("a", 50), ("b", 50), ("c", 50)], &[("a", 25), ("b", 25), ("c", 100)]),
    ];
    let text = |arms: Arms<'_>| {
        arms.iter().map(|(name, weight)| format!("{name} {weight}")).collect::<Vec<_>>().join(", ")
    };
    let mut rows = Vec::new();
    for (from, to) in steps {
        let (before, after) = (split(from), split(to));
        let mut moves = BTreeMap::new();
        for &hash in &hashes {
            let (i, j) = (from[before.pick(hash)].0, to[after.pick(hash)].0);
            if i != j {
                *moves.entry(format!("{i} → {j}")).or_insert(0_u32) += 1;
            }
        }
        // The part by which shares grow: no method moves less.
        let old: HashMap<_, _> = from.iter().map(|arm| arm.0).zip(0..).collect();
        let least: f64 = (0..to.len())
            .map(|j| {
                let was = old.get(to[j].0).and_then(|&i| before.share(i)).unwrap_or(0.0);
                (after.share(j).unwrap() - was).max(0.0)
            })
            .sum();
        let moved = f64::from(moves.values().sum::<u32>()) / f64::from(KEYS);
        let each: Vec<_> = moves
            .iter()
            .map(|(way, n)| format!("{way} {}", percent(f64::from(*n) / f64::from(KEYS))))
            .collect();
        rows.push(format!(
            "| `{}` | `{}` | {} | {} | {} |",
            text(from),
            text(to),
            percent(moved),
            percent(least),
            each.join(", "),
        ));
    }
    assert_in_reference(&rows);
}

// === Errors ===

#[test]
fn errors_answer_what_is_wrong() {
    let error = |arms: Arms<'_>| Split::new(arms.iter().copied()).unwrap_err();

    let empty = error(&[]);
    assert!(empty.is_empty());
    assert_eq!(empty.to_string(), "a split needs at least one cluster");

    let zero = error(&[("gray", 0), ("prod", 0)]);
    assert!(zero.is_all_zero());
    assert_eq!(zero.to_string(), "every weight is 0, so no cluster would get anything");

    let heavy = error(&[("gray", MAX_TOTAL), ("prod", 1)]);
    assert!(heavy.is_too_heavy() && error(&[("a", u64::MAX), ("b", u64::MAX)]).is_too_heavy());
    assert_eq!(heavy.to_string(), "the weights add up to more than 100000000000");

    let twice = error(&[("gray", 5), ("prod", 90), ("gray", 5)]);
    assert_eq!(twice.duplicate(), Some("gray"));
    assert!(!twice.is_empty() && !twice.is_all_zero() && !twice.is_too_heavy());
    assert_eq!(twice.to_string(), "cluster `gray` has two weights in one split");
}

#[test]
fn the_heaviest_split_is_legal() {
    let split = split(&[("gray", 1), ("prod", MAX_TOTAL - 1)]);
    assert_eq!(split.share(1), Some((MAX_TOTAL - 1) as f64 / MAX_TOTAL as f64));
    assert_eq!(split.share(2), None);
    assert_eq!(split.weights().collect::<Vec<_>>(), [("gray", 1), ("prod", MAX_TOTAL - 1)]);
}
