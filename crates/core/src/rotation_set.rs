//! Sets of rotations that sample SO(3) evenly, every roll included, for averages over orientations.
//!
//! The 120 unit icosians (Conway and Smith, On Quaternions and Octonions, 2003) are the vertices of the 600-cell:
//!
//! ```text
//! 8   (±1, 0, 0, 0) and permutations      16  ½(±1, ±1, ±1, ±1)      96  even permutations of ½(±φ, ±1, ±1/φ, 0)
//! ```
//!
//! q and −q are one rotation, so they are the 60 rotations of the icosahedron. An average over a group of rotations
//! is exact for all orders of spherical harmonics whose mean over the group, ⟨D^l⟩, vanishes; averaging forces over
//! it removes the part of their orientation dependence that has these orders:
//!
//! | set | rotations | ⟨D^l⟩ = 0 for l |
//! |---|---|---|
//! | Klein's four-group | 4 | 1 |
//! | tetrahedral | 12 | 1, 2, 5 |
//! | icosahedral | 60 | 1 … 5, 7 … 9, 11, 13, 14, … |
//! | K random | K | none; every one falls as 1/√K |
//!
//! Deliberately absent: cyclic and dihedral groups, which are no more exact than Klein's for more rotations.

use crate::random::{Purpose, RandomStream};
use crate::rotation::Rotation;

/// Which rotations an average runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationSet {
    /// The 4 half turns about x, y, z and the identity.
    Klein,
    /// The 12 rotations of the tetrahedron.
    Tetrahedral,
    /// The 60 rotations of the icosahedron.
    Icosahedral,
    /// Independent uniform rotations, drawn once.
    Random {
        /// How many.
        count: usize,
        /// Seed of the draw.
        seed: u64,
    },
}

impl RotationSet {
    /// The set with `count` rotations: a group where one has this size (4, 12, 60), else random ones from `seed`.
    pub fn of_size(count: usize, seed: u64) -> Self {
        match count {
            4 => Self::Klein,
            12 => Self::Tetrahedral,
            60 => Self::Icosahedral,
            _ => Self::Random { count, seed },
        }
    }

    /// The rotations; those of a group begin with the identity.
    pub fn rotations(&self) -> Vec<Rotation> {
        match *self {
            Self::Klein => icosahedral(4),
            Self::Tetrahedral => icosahedral(12),
            Self::Icosahedral => icosahedral(60),
            Self::Random { count, seed } => {
                let stream = RandomStream { seed, purpose: Purpose::FrameAveraging, replica: 0 };
                let mut generator = stream.at_step(0);
                (0..count).map(|_| Rotation::random(&mut generator)).collect()
            }
        }
    }
}

/// The first `count` of the icosahedral rotations, in an order that begins with Klein's group and the tetrahedral one.
fn icosahedral(count: usize) -> Vec<Rotation> {
    let golden = 0.5 * (1.0 + 5f64.sqrt());
    let unit = (0..4).map(|k| std::array::from_fn(|axis| if axis == k { 1.0 } else { 0.0 }));
    let half = signs().map(|sign| sign.map(|s| 0.5 * s));
    let even = even_permutations().into_iter().flat_map(|order| {
        let values = [0.5 * golden, 0.5, 0.5 / golden, 0.0];
        // The sign of the zero makes no difference.
        let signed =
            signs().filter(|sign| sign[3] > 0.0).map(move |sign| [0, 1, 2, 3].map(|k| sign[k] * values[k]));
        signed.map(move |q| order.map(|k| q[k]))
    });
    let icosians = unit.chain(half).chain(even);
    // Of q and −q the one whose first component other than zero is positive.
    let first = |q: &[f64; 4]| q.iter().find(|&&x| x != 0.0).is_some_and(|&x| x > 0.0);
    icosians.filter(first).take(count).map(Rotation::from_quaternion).collect()
}

fn signs() -> impl Iterator<Item = [f64; 4]> {
    (0..16u8).map(|bits| std::array::from_fn(|k| if bits >> k & 1 == 0 { 1.0 } else { -1.0 }))
}

fn even_permutations() -> Vec<[usize; 4]> {
    let all = (0..256).map(|code| [code >> 6 & 3, code >> 4 & 3, code >> 2 & 3, code & 3]);
    let inversions = |order: &[usize; 4]| {
        (0..4).flat_map(|j| (0..j).map(move |i| (i, j))).filter(|&(i, j)| order[i] > order[j]).count()
    };
    let is_permutation = |order: &[usize; 4]| (0..4).all(|k| order.contains(&k));
    all.filter(|order| is_permutation(order) && inversions(order) % 2 == 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounding of products of a few numbers below one.
    const TOLERANCE: f64 = 1e-14;

    fn product(a: &Rotation, b: &Rotation) -> [[f64; 3]; 3] {
        let (a, b) = (a.matrix(), b.matrix());
        std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
    }

    fn position_in(group: &[Rotation], matrix: &[[f64; 3]; 3]) -> Option<usize> {
        let near = |r: &Rotation| {
            let pairs = r.matrix().as_flattened().iter().zip(matrix.as_flattened());
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) < TOLERANCE
        };
        group.iter().position(near)
    }

    #[test]
    fn every_group_has_its_size_and_is_closed_with_products_that_are_permutations() {
        for (set, size) in
            [(RotationSet::Klein, 4), (RotationSet::Tetrahedral, 12), (RotationSet::Icosahedral, 60)]
        {
            let group = set.rotations();
            assert_eq!(group.len(), size);
            assert_eq!(RotationSet::of_size(size, 0), set);
            assert_eq!(group[0], Rotation::IDENTITY);
            for a in &group {
                assert!((a.determinant() - 1.0).abs() < TOLERANCE);
                // Closed, and no product twice: with the identity a group of distinct elements.
                let row = group.iter().map(|b| position_in(&group, &product(a, b)).unwrap());
                assert_eq!(row.collect::<std::collections::BTreeSet<_>>().len(), size);
            }
        }
    }

    /// P_l by its recursion.
    fn legendre(l: usize, x: f64) -> f64 {
        let (mut before, mut now) = (1.0, x);
        for k in 1..l {
            (before, now) = (now, ((2 * k + 1) as f64 * x * now - k as f64 * before) / (k + 1) as f64);
        }
        now
    }

    /// The largest |⟨P_l(u · R w)⟩| over some u, w: zero for all of them exactly when ⟨D^l⟩ is, because
    /// P_l(u · R w) = 4π/(2l+1) Σ Y_lm(u) D^l_mm'(R) Y*_lm'(w), and 17 × 17 directions span l ≤ 8.
    fn largest_mean(rotations: &[Rotation], l: usize) -> f64 {
        let mut generator = RandomStream { seed: 5, purpose: Purpose::Analysis, replica: 0 }.at_step(0);
        let directions: Vec<[f64; 3]> =
            (0..17).map(|_| Rotation::random(&mut generator).matrix()[2]).collect();
        let mut largest = 0.0_f64;
        for u in &directions {
            for w in &directions {
                let mean = rotations.iter().map(|rotation| {
                    let mut turned = [*w];
                    rotation.apply(&mut turned);
                    legendre(l, (0..3).map(|k| u[k] * turned[0][k]).sum())
                });
                largest = largest.max((mean.sum::<f64>() / rotations.len() as f64).abs());
            }
        }
        largest
    }

    #[test]
    fn mean_wigner_matrices_vanish_for_exactly_the_orders_of_the_table() {
        let cases: [(RotationSet, &[usize]); 3] = [
            (RotationSet::Klein, &[1]),
            (RotationSet::Tetrahedral, &[1, 2, 5]),
            (RotationSet::Icosahedral, &[1, 2, 3, 4, 5, 7, 8]),
        ];
        for (set, vanishing) in cases {
            for l in 1..=8 {
                let mean = largest_mean(&set.rotations(), l);
                // One random direction in 17² pairs keeps an invariant above a few per cent.
                let holds = if vanishing.contains(&l) { mean < TOLERANCE } else { mean > 0.03 };
                assert!(holds, "{set:?}, l = {l}: {mean}");
            }
        }
    }

    #[test]
    fn random_rotations_are_a_function_of_their_seed_and_average_slowly() {
        let set = |seed| RotationSet::of_size(50, seed).rotations();
        assert_eq!(set(3), set(3));
        assert_ne!(set(3), set(4));
        // ⟨P_1²⟩ = 1/3: 1/√150 = 0.08 standard deviation; the largest of 289 stays below five of them.
        let mean = largest_mean(&set(3), 1);
        assert!(mean > 0.01 && mean < 0.41, "{mean}");
    }
}
