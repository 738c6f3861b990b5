//! Asking a bucket: the rate of a statement at a node's share, and governor's verdict.

use std::cell::Cell;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{NotUntil, Quota, RateLimiter};

use super::keys::{Keys, Place, Room, Seed, Table};
use crate::engine::Limit;

/// The bucket of a statement, or those of its keys.
#[derive(Debug)]
pub(super) struct Buckets {
    limit: Limit,
    store: Store,
}

#[derive(Debug)]
enum Store {
    One(InMemoryState),
    Keyed(Box<Many>),
}

/// The buckets of keys.
#[derive(Debug)]
struct Many {
    /// Made when the first key comes.
    table: OnceLock<Table>,
    size: Size,
    seed: Seed,
    /// How many keys went for one of ours before their buckets were full.
    forgotten: AtomicU64,
}

/// What there is for the keys of a limit.
#[derive(Debug, Clone)]
pub(super) struct Size {
    /// For how many keys it has place.
    pub(super) keys: usize,
    /// How many bytes the tables of all limits may take.
    pub(super) most: usize,
    pub(super) room: Arc<Room>,
}

/// How fast tokens come and how many there may be, at a node's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// From one token to the next, in nanoseconds.
    pub(super) interval: u64,
    pub(super) burst: NonZeroU32,
}

/// A token that was taken, or a bucket without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken {
        /// How many are left, and how long until there is one more; none when it is full.
        left: u64,
        next: Duration,
    },
    Refused {
        /// How long until there is one.
        wait: Duration,
    },
}

/// Times beyond this are cut, so that sums of some of them are no overflow: 36 years in nanoseconds.
const LONGEST: u64 = 1 << 60;

// === impl Buckets ===

impl Buckets {
    /// With room for keys as the size says.
    pub(super) fn new(limit: Limit, size: Size) -> Self {
        let store = if limit.keyed {
            let (table, seed, forgotten) = (OnceLock::new(), Seed::default(), AtomicU64::new(0));
            Store::Keyed(Box::new(Many { table, size, seed, forgotten }))
        } else {
            Store::One(InMemoryState::default())
        };
        Buckets { limit, store }
    }

    pub(super) fn rate(&self, share: f64) -> Rate {
        Rate::new(&self.limit, share)
    }

    pub(super) fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Takes a token, if there is one. `now` is since a start that is the same each time.
    pub(super) fn take(&self, key: Option<&[u8]>, rate: Rate, now: u64) -> Verdict {
        let quota = rate.quota();
        let full = Cell::new(0);
        // A limiter is but its two numbers, and so made for each request: a change of the share then finds the buckets as
        // full as they were. It reads the clock twice: when it is made, which is the start of time, and when it is asked.
        let clock = At { now, started: Cell::new(false) };
        let verdict: Result<(), NotUntil<Nanos>> = match &self.store {
            Store::One(state) => {
                let store = One { state, full: &full };
                RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(quota, store, clock).check()
            }
            Store::Keyed(many) => {
                let store = Keyed { many, keys: many.keys(), now, full: &full };
                let place = many.seed.place(key.unwrap_or_default());
                RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(quota, store, clock).check_key(&place)
            }
        };
        match verdict {
            Ok(()) => rate.taken(full.get().saturating_sub(now)),
            Err(until) => Verdict::Refused { wait: until.wait_time_from(Nanos::from(now)) },
        }
    }

    /// Gives a token back that was taken at this rate. The bucket is as it would have been without; but whoever came in
    /// between found one token less.
    pub(super) fn give_back(&self, key: Option<&[u8]>, rate: Rate) {
        match &self.store {
            Store::One(state) => {
                let earlier = |full: Option<Nanos>| {
                    let full = full.map_or(0, Nanos::as_u64).saturating_sub(rate.interval);
                    Ok::<_, Infallible>(((), Nanos::from(full)))
                };
                let Ok(()) = state.measure_and_replace(&NotKeyed::NonKey, earlier);
            }
            Store::Keyed(many) => {
                if let Some(table) = many.table.get() {
                    table.keys().give_back(many.seed.place(key.unwrap_or_default()), rate.interval);
                }
            }
        }
    }

    /// How many keys went before their buckets were full, what the limit's own table takes in bytes, and whether it has none
    /// and shares one.
    pub(super) fn table(&self) -> (u64, usize, bool) {
        let Store::Keyed(many) = &self.store else { return (0, 0, false) };
        let forgotten = many.forgotten.load(Ordering::Relaxed);
        match many.table.get() {
            None => (forgotten, 0, false),
            Some(Table::Own(keys, _)) => (forgotten, keys.bytes(), false),
            Some(Table::Shared(_)) => (forgotten, 0, true),
        }
    }
}

// === impl Size ===

#[cfg(test)]
impl Size {
    /// With room for the keys of some limits.
    pub(super) fn alone(keys: usize) -> Self {
        Size { keys, most: usize::MAX, room: Arc::default() }
    }
}

// === impl Many ===

impl Many {
    fn keys(&self) -> &Keys {
        let Size { keys, most, room } = &self.size;
        self.table.get_or_init(|| room.table(*keys, *most)).keys()
    }
}

// === impl Rate ===

impl Rate {
    /// The interval in whole nanoseconds, and the burst in whole tokens, both rounded to the nearest; at least one of each.
    fn new(limit: &Limit, share: f64) -> Self {
        let interval = limit.per.as_nanos() as f64 / (f64::from(limit.count.max(1)) * share);
        // Casts from floats saturate.
        let interval = (interval.round() as u64).clamp(1, LONGEST);
        let most = u32::try_from(LONGEST / interval).unwrap_or(u32::MAX);
        let burst = ((f64::from(limit.burst) * share).round() as u32).min(most);
        Rate { interval, burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN) }
    }

    fn quota(self) -> Quota {
        // The period is never zero.
        let quota = Quota::with_period(Duration::from_nanos(self.interval));
        quota.unwrap_or(Quota::per_second(self.burst)).allow_burst(self.burst)
    }

    /// What is left in a bucket that will be full after some time.
    fn taken(self, spent: u64) -> Verdict {
        let level = (u64::from(self.burst.get()) * self.interval).saturating_sub(spent);
        let next = if spent == 0 { 0 } else { (spent - 1) % self.interval + 1 };
        Verdict::Taken { left: level / self.interval, next: Duration::from_nanos(next) }
    }
}

// === governor's view ===

/// A clock that stood at zero when it was first looked at, and is at `now`.
struct At {
    now: u64,
    started: Cell<bool>,
}

impl Clock for At {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        if self.started.replace(true) { self.now.into() } else { 0.into() }
    }
}

/// The one bucket. Says when it is full.
struct One<'s> {
    state: &'s InMemoryState,
    full: &'s Cell<u64>,
}

impl StateStore for One<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, key: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.state.measure_and_replace(key, |full| f(full).inspect(|(_, full)| self.full.set(full.as_u64())))
    }
}

/// The buckets of keys. Says when that of the key is full.
struct Keyed<'s> {
    many: &'s Many,
    keys: &'s Keys,
    now: u64,
    full: &'s Cell<u64>,
}

impl StateStore for Keyed<'_> {
    type Key = Place;

    fn measure_and_replace<T, F, E>(&self, place: &Place, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, forgot) = self.keys.change(*place, self.now, |full| {
            let (outcome, full) = f(full.map(Nanos::from))?;
            self.full.set(full.as_u64());
            Ok((outcome, full.as_u64()))
        })?;
        if forgot {
            self.many.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(count: u32, per: Duration, burst: u32, keyed: bool) -> Limit {
        Limit { count, per, burst, keyed }
    }

    fn buckets(limit: Limit, keys: usize) -> Buckets {
        Buckets::new(limit, Size::alone(keys))
    }

    fn passes(buckets: &Buckets, key: &[u8], share: f64, now: u64) -> bool {
        matches!(buckets.take(Some(key), buckets.rate(share), now), Verdict::Taken { .. })
    }

    proptest! {
        #[test]
        fn verdicts_are_those_of_a_limiter_of_governors_with_a_fake_clock(
            count in 1_u32..20,
            burst in 1_u32..10,
            steps in proptest::collection::vec(0_u64..SECOND / 2, 0..200),
        ) {
            let per = Duration::from_secs(1);
            let (one, keyed) = (limit(count, per, burst, false), limit(count, per, burst, true));
            let (one, keyed) = (buckets(one, 0), buckets(keyed, 1));
            let rate = one.rate(1.0);
            let clock = FakeRelativeClock::default();
            let governors = RateLimiter::direct_with_clock(rate.quota(), clock.clone());
            let mut now = 0;
            for step in steps {
                now += step;
                clock.advance(Duration::from_nanos(step));
                let wanted = match governors.check() {
                    Ok(()) => None,
                    Err(until) => Some(until.wait_time_from(now.into())),
                };
                for buckets in [&one, &keyed] {
                    let refused = match buckets.take(Some(b"key"), rate, now) {
                        Verdict::Taken { .. } => None,
                        Verdict::Refused { wait } => Some(wait),
                    };
                    prop_assert_eq!(refused, wanted);
                }
            }
        }

        #[test]
        fn what_is_said_to_be_left_is_left(
            count in 1_u32..20,
            burst in 1_u32..20,
            steps in proptest::collection::vec(0_u64..SECOND / 2, 1..50),
        ) {
            let buckets = buckets(limit(count, Duration::from_secs(1), burst, false), 0);
            let rate = buckets.rate(1.0);
            let (mut now, mut last) = (0, Verdict::Refused { wait: Duration::ZERO });
            for step in steps {
                now += step;
                last = buckets.take(None, rate, now);
            }
            let (left, next) = match last {
                Verdict::Taken { left, next } => (left, next.as_nanos() as u64),
                Verdict::Refused { wait } => (0, wait.as_nanos() as u64),
            };
            let take = |now| matches!(buckets.take(None, rate, now), Verdict::Taken { .. });
            for _ in 0..left {
                prop_assert!(take(now));
            }
            prop_assert!(!take(now));
            prop_assert!(!take(now + next - 1));
            prop_assert!(take(now + next));
        }

        #[test]
        fn a_token_that_is_given_back_was_never_gone(
            burst in 1_u32..10,
            before in proptest::collection::vec(0_u64..SECOND, 0..20),
            after in proptest::collection::vec(0_u64..SECOND, 1..20),
            keyed: bool,
        ) {
            let kind = limit(3, Duration::from_secs(1), burst, keyed);
            let (one, other) = (buckets(kind, 8), buckets(kind, 8));
            let mut now = 0;
            for step in before {
                now += step;
                prop_assert_eq!(passes(&one, b"k", 1.0, now), passes(&other, b"k", 1.0, now));
            }
            if passes(&one, b"k", 1.0, now) {
                one.give_back(Some(b"k"), one.rate(1.0));
            }
            for step in after {
                prop_assert_eq!(passes(&one, b"k", 1.0, now), passes(&other, b"k", 1.0, now));
                now += step;
            }
        }

        #[test]
        fn no_limit_and_no_share_overflows(
            count: u32, millis: u64, burst: u32, share in 1e-300_f64..1.0, now in 0_u64..u64::MAX / 4, keyed: bool,
        ) {
            let buckets = buckets(limit(count, Duration::from_millis(millis), burst, keyed), 8);
            for share in [share, 1.0, f64::MIN_POSITIVE] {
                for now in [0, now] {
                    buckets.take(Some(b"k"), buckets.rate(share), now);
                }
                buckets.give_back(Some(b"k"), buckets.rate(share));
            }
        }

        #[test]
        fn nodes_of_any_shares_that_make_one_let_through_what_the_limit_says(
            // Slow enough that a request comes soon after each token.
            count in 1_u32..40,
            burst in 1_u32..400,
            parts in proptest::collection::vec(1_u32..100, 1..8),
        ) {
            let whole = f64::from(parts.iter().sum::<u32>());
            let kind = limit(count, Duration::from_secs(1), burst, false);
            let (mut at_once, mut later) = (0.0, 0.0);
            for part in &parts {
                let (buckets, share) = (buckets(kind, 0), f64::from(*part) / whole);
                let passed = |times: std::ops::Range<u64>, step| {
                    times.filter(|at| passes(&buckets, b"", share, at * step)).count() as f64
                };
                at_once += passed(0..500, 0);
                // For ten seconds.
                later += passed(1..4001, SECOND / 400);
            }
            let nodes = parts.len() as f64;
            // Each rounds its burst, by half a token at most or up to one, and may be about to let one through.
            prop_assert!((at_once - f64::from(burst)).abs() <= nodes, "{at_once} at once");
            let wanted = f64::from(10 * count);
            prop_assert!(later <= wanted + 0.001 && later >= 0.85 * wanted - nodes, "{later} of {wanted}");
        }
    }

    #[test]
    fn a_share_makes_tokens_rarer_and_leaves_one_at_least() {
        let rate = |count, per, burst, share| {
            let rate = buckets(limit(count, per, burst, false), 0).rate(share);
            (rate.interval, rate.burst.get())
        };
        let second = Duration::from_secs(1);
        assert_eq!(rate(100, second, 200, 1.0), (SECOND / 100, 200));
        assert_eq!(rate(100, second, 200, 0.25), (SECOND / 25, 50));
        assert_eq!(rate(1, second, 1, 0.25), (4 * SECOND, 1));
        assert_eq!(rate(1, second, 10, 0.25), (4 * SECOND, 3));
        assert_eq!(rate(3, second, 3, 1.0), (333_333_333, 3));
        assert_eq!(rate(1, Duration::from_secs(86_400), 1, 0.001), (86_400_000 * SECOND, 1));
        // Not faster than the clock.
        assert_eq!(rate(u32::MAX, Duration::from_millis(1), 1, 1.0), (1, 1));
    }

    #[test]
    fn a_bucket_stays_as_full_as_it_was_when_the_share_changes() {
        let buckets = buckets(limit(10, Duration::from_secs(1), 10, false), 0);
        let left = |share| match buckets.take(None, buckets.rate(share), 0) {
            Verdict::Taken { left, .. } => Some(left),
            Verdict::Refused { .. } => None,
        };
        assert_eq!([left(1.0), left(1.0), left(1.0), left(1.0), left(1.0)].last(), Some(&Some(5)));
        // A half of five, and one is taken.
        assert_eq!(left(0.5), Some(1));
        // Then 3 of 10 are left.
        assert_eq!(left(1.0), Some(2));
    }

    #[test]
    fn limits_for_which_there_is_no_room_share_a_table_and_hold_back_all_the_same() {
        let kind = limit(10, Duration::from_secs(1), 10, true);
        // 136 bytes a set, on most machines.
        let set = Buckets::new(kind, Size::alone(8));
        passes(&set, b"", 1.0, 0);
        let set = set.table().1;
        let size = |most| Size { keys: 800, most, room: Arc::default() };
        for (most, own) in [(0, 0), (set, 0), (100 * set, 0), (199 * set, 0), (200 * set, 1), (350 * set, 2)]
        {
            let size = size(most);
            let all: Vec<_> = (0..5).map(|_| Buckets::new(kind, size.clone())).collect();
            for _ in 0..10 {
                assert!(all.iter().all(|one| passes(one, b"k", 1.0, 0)), "each has its own bucket");
            }
            assert!(!all.iter().any(|one| passes(one, b"k", 1.0, 0)));
            let (alone, shared): (Vec<_>, Vec<_>) =
                all.iter().map(Buckets::table).partition(|table| !table.2);
            assert_eq!((alone.len(), shared.len()), (own, 5 - own));
            assert!(
                alone.iter().all(|table| table.1 == 100 * set) && shared.iter().all(|table| table.1 == 0)
            );
            assert!(size.room.bytes() <= most.max(set), "{} of {most}", size.room.bytes());
            // When limits go, those that come have their room.
            drop(all);
            let next = Buckets::new(kind, size.clone());
            passes(&next, b"k", 1.0, 0);
            assert_eq!(next.table().2, own == 0);
        }
    }

    #[test]
    fn the_table_of_keys_has_its_size_and_keeps_it() {
        let buckets = buckets(limit(10, Duration::from_secs(1), 10, true), 65_536);
        assert_eq!(buckets.table(), (0, 0, false));
        passes(&buckets, b"first", 1.0, 0);
        let bytes = buckets.table().1;
        for address in 0..1_000_000_u32 {
            assert!(passes(&buckets, &address.to_be_bytes(), 1.0, 0));
        }
        let (forgotten, after, _) = buckets.table();
        println!(
            "{bytes} bytes before a million addresses and {after} after; {forgotten} were forgotten early"
        );
        assert_eq!(after, bytes);
        assert!(bytes < 1_200_000);
        // All that came at one instant and were more than there is place for.
        assert!((1_000_001 - 65_536..1_000_000).contains(&forgotten));
    }

    /// How many requests of 1,000 keys, which have spent some of their ten tokens, pass after a flood of addresses that each
    /// spend some of theirs at the same instant, beyond those that would have.
    fn wrongly_passed_after_a_flood(spent: u32, addresses: u32, each: u32) -> u32 {
        let buckets = buckets(limit(10, Duration::from_secs(1), 10, true), 65_536);
        let keys: Vec<_> = (0..1000).map(|key| format!("honest {key}")).collect();
        for key in &keys {
            (0..spent).for_each(|_| assert!(passes(&buckets, key.as_bytes(), 1.0, 0)));
        }
        for address in 0..addresses {
            (0..each).for_each(|_| _ = passes(&buckets, &address.to_be_bytes(), 1.0, 0));
        }
        let passed =
            |key: &String| (0..20).filter(|_| passes(&buckets, key.as_bytes(), 1.0, 0)).count() as u32;
        keys.iter().map(passed).sum::<u32>() - 1000 * (10 - spent)
    }

    #[test]
    fn a_million_addresses_with_a_request_each_free_no_key_that_is_held_back() {
        let [all, half, one] = [10, 5, 1].map(|spent| wrongly_passed_after_a_flood(spent, 1_000_000, 1));
        println!("wrongly passed of 1,000 keys that had spent 10, 5, 1 of 10 tokens: {all}, {half}, {one}");
        assert_eq!((all, half), (0, 0));
        // Who has spent as little as each of the flood is one of many, and may get back what is gone: one token.
        assert!(one <= 1000);
    }

    #[test]
    fn a_flood_that_spends_all_its_tokens_gives_a_key_no_more_than_it_had_spent() {
        let [all, half] = [10, 5].map(|spent| wrongly_passed_after_a_flood(spent, 200_000, 10));
        println!("wrongly passed of 1,000 keys that had spent 10, 5 of 10 tokens: {all}, {half}");
        assert!(all <= 10 * 1000 && half <= 5 * 1000);
    }

    #[test]
    fn under_a_lasting_flood_keys_get_more_than_they_should_and_not_without_bound() {
        // As often as the limit allows and twice, for ten seconds, of 64 keys in a table of 4,096; meanwhile a flood from new
        // addresses that each spend all.
        let run = |addresses: u64| {
            let buckets = buckets(limit(10, Duration::from_secs(1), 10, true), 4_096);
            let (mut passed, mut address) = (0_u32, 0_u64);
            for step in 0..100 {
                let now = step * SECOND / 10;
                for at in 0..addresses {
                    address += 1;
                    (0..10).for_each(|_| _ = passes(&buckets, &address.to_be_bytes(), 1.0, now));
                    if at % addresses.div_ceil(2) == 0 {
                        for key in 0..64 {
                            let key = format!("honest {key}");
                            passed += u32::from(passes(&buckets, key.as_bytes(), 1.0, now));
                        }
                    }
                }
            }
            (passed, buckets.table().0)
        };
        let [calm, even, flood] = [2, 200, 1_250].map(run);
        println!(
            "64 keys at twice their limit, passed and keys forgotten early: {calm:?}, {even:?}, {flood:?}"
        );
        // 10 at once and 99 more in 9.9 s, each.
        assert_eq!(calm.0, 64 * 109);
        assert_eq!(calm.1, 0);
        assert!(flood.0 <= 64 * 200);
    }
}
