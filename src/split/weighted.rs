//! Weighted rendezvous: every cluster draws a number for the key, and the best draw wins.
//!
//! Rendezvous hashing is Thaler and Ravishankar's, "Using name-based mappings to increase hit rates",
//! IEEE/ACM Transactions on Networking 6(1), 1998. Its logarithmic weighted form is Schindelhauer and
//! Schomaker's, "Weighted distributed hash tables", SPAA 2005; draft-ietf-bess-weighted-hrw tells it for
//! load balancers.

use std::collections::HashSet;

use super::error::{Reason, SplitError};
use super::hash::{hash, seed};

/// The largest sum of the weights of one split, in steps of 0.0001: 100,000,000,000 as it is written.
///
/// Every sum up to here is exact as an `f64`, so shares are too but for one rounding.
pub const MAX_TOTAL: u64 = 1_000_000_000_000_000;

/// One rule's weighted clusters. Weights are relative to their sum, which is never zero.
#[derive(Debug, Clone)]
pub struct Split {
    arms: Box<[Arm]>,
    total: u64,
}

#[derive(Debug, Clone)]
struct Arm {
    name: Box<str>,
    /// In steps of 0.0001.
    weight: u64,
    /// The hash of the name: what makes this arm's draws its own.
    seed: u64,
}

// === impl Split ===

impl Split {
    /// A split of these clusters, each with its weight in steps of 0.0001.
    ///
    /// A weight of 0 is legal and gets nothing. The order decides nothing but what an index means.
    ///
    /// # Errors
    ///
    /// When there is no cluster, all weights are 0, the weights add up to more than [`MAX_TOTAL`], or a
    /// cluster is named twice.
    pub fn new<'a>(arms: impl IntoIterator<Item = (&'a str, u64)>) -> Result<Self, SplitError> {
        let mut seen = HashSet::new();
        let mut total = 0_u64;
        let mut built = Vec::new();
        for (name, weight) in arms {
            if !seen.insert(name) {
                return Err(Reason::Duplicate(name.into()).into());
            }
            total = total.saturating_add(weight);
            if total > MAX_TOTAL {
                return Err(Reason::TooHeavy.into());
            }
            built.push(Arm { name: name.into(), weight, seed: seed(name.as_bytes()) });
        }
        if built.is_empty() {
            return Err(Reason::Empty.into());
        }
        if total == 0 {
            return Err(Reason::AllZero.into());
        }
        Ok(Split { arms: built.into(), total })
    }

    /// The index of the cluster that this hash of a key goes to, in the order given to [`new`](Self::new).
    ///
    /// The same hash gives the same cluster for as long as the weights do not change. When they do, a key
    /// leaves one cluster for another only if the other's weight grew by the larger factor; multiplying all
    /// weights by one number moves nothing.
    ///
    /// Costs a hash of eight bytes for each cluster with a weight, and two logarithms for each that the hashes alone do not
    /// rule out; does not allocate.
    pub fn pick(&self, hash: u64) -> usize {
        let mut best: Option<(usize, &Arm, u64)> = None;
        for (index, arm) in self.arms.iter().enumerate().filter(|(_, arm)| arm.weight > 0) {
            let ticket = ticket(hash, arm.seed);
            if best.is_none_or(|(_, other, least)| arm.wins(ticket, other, least)) {
                best = Some((index, arm, ticket));
            }
        }
        // `new` made sure that some weight is above 0.
        best.map_or(0, |(index, _, _)| index)
    }

    /// How many clusters there are, those of weight 0 included; at least one.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.arms.len()
    }

    /// The clusters and their weights in steps of 0.0001, in the order given to [`new`](Self::new).
    pub fn weights(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.arms.iter().map(|arm| (&*arm.name, arm.weight))
    }

    /// What part of all keys the cluster at `index` gets, from 0 to 1; none if there is no such cluster.
    pub fn share(&self, index: usize) -> Option<f64> {
        self.arms.get(index).map(|arm| arm.weight as f64 / self.total as f64)
    }
}

// === impl Arm ===

impl Arm {
    /// Whether this arm's ticket is better than the other's: what [`beats`](Self::beats) says of their draws.
    ///
    /// The larger ticket is the smaller draw, by 2^-33 at least where it is larger by more than 2^-32 of the other: the
    /// logarithm is right to 2^-47, so that is the order of the draws as computed too. With a weight that is no smaller,
    /// it wins, and nobody has to compute them: always where weights are equal, and for half of all keys elsewhere.
    fn wins(&self, ticket: u64, other: &Arm, others: u64) -> bool {
        let clearly = |more: u64, less: u64| more > less + (less >> 32) + 1;
        if self.weight >= other.weight && clearly(ticket, others) {
            return true;
        }
        if other.weight >= self.weight && clearly(others, ticket) {
            return false;
        }
        self.beats(draw(ticket), other, draw(others))
    }

    /// Whether this arm's draw over its weight is less than the other's.
    ///
    /// Compared as fractions, crosswise and in integers: quotients would be rounded, and could move a key
    /// that stays by what [`Split::pick`] promises.
    fn beats(&self, drawn: u64, other: &Arm, least: u64) -> bool {
        let this = u128::from(drawn) * u128::from(other.weight);
        let that = u128::from(least) * u128::from(self.weight);
        // Names, and not places, break a tie: the order in the text never matters.
        this.cmp(&that).then_with(|| self.name.cmp(&other.name)).is_lt()
    }
}

/// What an arm draws with for a key: an odd number below 2^53.
fn ticket(key: u64, arm: u64) -> u64 {
    odd(hash(&key.to_le_bytes(), arm))
}

/// The draw of a ticket: exponentially distributed, in units of 2^-58.
///
/// The logarithm is below 36.8, so 58 bits behind the point are what 64 have room for; and they are enough
/// to tell any two draws near 0 apart, where the winners are.
fn draw(ticket: u64) -> u64 {
    (exponential(fraction(ticket)) * (1_u64 << 58) as f64) as u64
}

/// Odd, so that the fraction is exact and neither 0 nor 1: there the logarithm would be infinite, or 0 and
/// above every weight.
fn odd(hash: u64) -> u64 {
    (hash >> 11) | 1
}

fn fraction(ticket: u64) -> f64 {
    ticket as f64 / (1_u64 << 53) as f64
}

/// The fraction that a hash stands for.
#[cfg(test)]
pub(super) fn uniform(hash: u64) -> f64 {
    fraction(odd(hash))
}

/// libm's logarithm and not std's, which is the platform's and differs in the last bit. libm's is
/// additions, multiplications and one division in a fixed order, with no other path for any processor;
/// should a later libm change it, the vectors tell.
pub(super) fn exponential(uniform: f64) -> f64 {
    -libm::log(uniform)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arm(name: &str, weight: u64) -> Arm {
        Arm { name: name.into(), weight, seed: seed(name.as_bytes()) }
    }

    // Two equal draws cannot be found by trying keys, so the tie is made here.
    #[test]
    fn the_smaller_name_wins_a_tie() {
        let (a, b) = (arm("a", 2), arm("b", 6));
        assert!(a.beats(1 << 40, &b, 3 << 40));
        assert!(!b.beats(3 << 40, &a, 1 << 40));
        assert!(b.beats((3 << 40) - 1, &a, 1 << 40));
    }

    #[test]
    fn the_largest_draws_and_weights_do_not_overflow() {
        let (a, b) = (arm("a", MAX_TOTAL), arm("b", 1));
        assert!(a.beats(u64::MAX, &b, u64::MAX));
        assert!(!b.beats(u64::MAX, &a, u64::MAX));
    }

    #[test]
    fn no_draw_is_zero_or_cut_off() {
        for hash in [0, 1, 1 << 63, u64::MAX - 1, u64::MAX] {
            let e = exponential(uniform(hash));
            assert!(e > 0.0 && e < 36.8, "{e}");
            assert!((e * (1_u64 << 58) as f64) as u64 >= 32);
        }
    }

    /// Whatever the tickets: those far apart, those next to each other, and those where it is just said clearly.
    fn tickets() -> impl Strategy<Value = (u64, u64)> {
        let bits = (0..53_u32, any::<u64>()).prop_map(|(bits, hash)| odd(hash) >> bits | 1);
        (bits, 0..4_u8, any::<u64>()).prop_map(|(one, how, hash)| {
            let other = match how {
                0 => odd(hash),
                1 => one.saturating_add(hash % 8 * 2),
                2 => one + (one >> 32) + hash % 5,
                _ => one.saturating_sub((one >> 32) + hash % 5),
            };
            (one, other.min((1 << 53) - 1) | 1)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn hashes_rule_out_only_what_the_draws_would(
            (one, other) in tickets(),
            weights in (1..=MAX_TOTAL, 1..=MAX_TOTAL),
            equal: bool,
        ) {
            let (a, b) = (arm("a", weights.0), arm("b", if equal { weights.0 } else { weights.1 }));
            prop_assert_eq!(a.wins(one, &b, other), a.beats(draw(one), &b, draw(other)));
            prop_assert_eq!(b.wins(other, &a, one), b.beats(draw(other), &a, draw(one)));
        }
    }
}
