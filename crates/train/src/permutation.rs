//! A random order of 0..n without a table: a Feistel network on the next even power of two, walked until inside.
//!
//! The halves (l, r) of a number become (r, l ⊕ F(r, key)) in each round, which is a permutation whatever F is. A number
//! that lands at n or beyond goes through again; since less than four times as many numbers are there as below n, it
//! takes four walks on average at most.

use rand::Rng;

const N_ROUNDS: usize = 6;

/// A permutation of 0..n, in memory that does not depend on n.
#[derive(Debug, Clone)]
pub(crate) struct Permutation {
    n: u64,
    half_bits: u32,
    keys: [u64; N_ROUNDS],
}

impl Permutation {
    /// One of them, drawn.
    pub fn new(n: u64, generator: &mut impl Rng) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Self { n, half_bits: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| generator.next_u64()) }
    }

    /// What stands at `place`, which is below n.
    pub fn at(&self, place: u64) -> u64 {
        assert!(place < self.n, "place {place} of {}", self.n);
        let mut value = place;
        loop {
            value = self.pass(value);
            if value < self.n {
                return value;
            }
        }
    }

    fn pass(&self, value: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mixed(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014): every bit of the result depends on every bit of `x`.
fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdet_core::{Purpose, RandomStream};

    fn permutation(n: u64, step: u64) -> Vec<u64> {
        let stream = RandomStream { seed: 5, purpose: Purpose::Shuffling, replica: 0 };
        let permutation = Permutation::new(n, &mut stream.at_step(step));
        (0..n).map(|place| permutation.at(place)).collect()
    }

    #[test]
    fn every_number_stands_at_one_place() {
        for n in [1, 2, 3, 4, 5, 16, 17, 100, 1000, 1025] {
            let mut values = permutation(n, 0);
            values.sort_unstable();
            assert!(values.into_iter().eq(0..n), "n = {n}");
        }
    }

    #[test]
    fn epochs_differ_and_neighbours_part() {
        let (one, other) = (permutation(1000, 0), permutation(1000, 1));
        let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        // One fixed point is expected of two random orders, and 999·2/1000 neighbours; Poisson, five deviations.
        assert!(same < 7, "{same}");
        let neighbours = one.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
        assert!(neighbours < 10, "{neighbours}");
    }

    #[test]
    fn the_first_place_is_uniform() {
        // 4000 draws of 8 numbers: 500 each with a deviation of 21; five deviations.
        let mut counts = [0_i32; 8];
        (0..4000).for_each(|step| counts[permutation(8, step)[0] as usize] += 1);
        assert!(counts.iter().all(|count| (count - 500).abs() < 105), "{counts:?}");
    }
}
