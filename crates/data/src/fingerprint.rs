//! Frames that are in a set twice, or in two sets: compared without regard to place, orientation, reflection, the order
//! of atoms and the rounding of a file format.
//!
//! A fingerprint is a hash of composition, charge and multiplicity with four sums over the geometry:
//!
//! ```text
//! Σ_{i<j} Z_i Z_j / |r_i − r_j|,   Σ_{i<j} 1 / |r_i − r_j|,   Σ_{i<j} |r_i − r_j|,   Σ_i |r_i − c|²
//! ```
//!
//! | symbol | meaning |
//! |---|---|
//! | r_i, Z_i | position in Å and atomic number of atom i |
//! | c | mean of the positions |
//!
//! Equal within [`TOLERANCE`] in all four, frames are taken for the same. A mirror image counts as the same: training
//! shows every structure reflected too. A fingerprint takes 20 bytes, so that the set itself need not fit in memory.

use crate::{Dataset, Labelled, Record};
use mdet_core::structure::distance;
use sha2::{Digest, Sha256};

/// Relative difference up to which sums are equal: five decimals of an Å change them by less, and steps of dynamics of
/// 0.1 fs by more. Two of 10⁵ different frames of one molecule agree in all sums with a probability of about 10⁻³.
const TOLERANCE: f32 = 1e-5;

/// What two copies of a frame share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fingerprint {
    key: u32,
    sums: [f32; 4],
}

impl Fingerprint {
    /// Of a record, whether or not it is a molecule.
    pub fn of(record: &Record) -> Self {
        Self::new(&record.numbers, record.charge, record.multiplicity, &record.positions)
    }

    /// Of a structure of a data set.
    pub fn of_labelled(structure: &Labelled<'_>) -> Self {
        let positions: Vec<[f64; 3]> = structure.positions.iter().map(|r| r.map(f64::from)).collect();
        Self::new(structure.numbers, structure.charge, structure.multiplicity, &positions)
    }

    fn new(numbers: &[u8], charge: i32, multiplicity: u32, positions: &[[f64; 3]]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        sorted.extend(charge.to_le_bytes());
        sorted.extend(multiplicity.to_le_bytes());
        let digest = Sha256::digest(&sorted);
        let key = u32::from_le_bytes(*digest.first_chunk().expect("a digest of 32 bytes"));

        let n = positions.len() as f64;
        let mean: [f64; 3] = std::array::from_fn(|k| positions.iter().map(|r| r[k]).sum::<f64>() / n);
        let spread = positions.iter().map(|r| distance(r, &mean).powi(2)).sum::<f64>();
        let (mut repulsion, mut inverse, mut distances) = (0.0, 0.0, 0.0);
        for (j, (a, &za)) in positions.iter().zip(numbers).enumerate() {
            for (b, &zb) in positions[..j].iter().zip(numbers) {
                let d = distance(a, b);
                repulsion += f64::from(za) * f64::from(zb) / d;
                inverse += 1.0 / d;
                distances += d;
            }
        }
        Self { key, sums: [repulsion, inverse, distances, spread].map(|sum| sum as f32) }
    }

    fn is_same(&self, other: &Self) -> bool {
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * a.abs();
        self.key == other.key && self.sums.iter().zip(&other.sums).all(close)
    }
}

/// The fingerprints of a set, sorted for search.
#[derive(Debug, Default)]
pub struct Fingerprints {
    /// By key and first sum, each with its index in the set.
    sorted: Vec<(Fingerprint, u32)>,
}

impl FromIterator<Fingerprint> for Fingerprints {
    fn from_iter<I: IntoIterator<Item = Fingerprint>>(fingerprints: I) -> Self {
        let mut sorted: Vec<_> = fingerprints.into_iter().zip(0..).collect();
        sorted.sort_unstable_by(|(a, i), (b, j)| {
            a.key.cmp(&b.key).then(a.sums[0].total_cmp(&b.sums[0])).then(i.cmp(j))
        });
        Self { sorted }
    }
}

impl Fingerprints {
    /// Indices of the frames that are the same as this one.
    pub fn same_as(&self, wanted: &Fingerprint) -> impl Iterator<Item = usize> {
        let least = wanted.sums[0] - TOLERANCE * wanted.sums[0].abs() * 2.0;
        let most = wanted.sums[0] + TOLERANCE * wanted.sums[0].abs() * 2.0;
        let start = self.sorted.partition_point(|(f, _)| (f.key, f.sums[0]) < (wanted.key, least));
        self.sorted[start..]
            .iter()
            .take_while(move |(f, _)| f.key == wanted.key && f.sums[0] <= most)
            .filter(move |(f, _)| f.is_same(wanted))
            .map(|&(_, index)| index as usize)
    }

    /// Frames that are the same as one before them, each with the first such, ascending.
    pub fn repeated(&self) -> Vec<(usize, usize)> {
        let first = |&(fingerprint, index): &(Fingerprint, u32)| {
            let earliest = self.same_as(&fingerprint).min()?;
            (earliest < index as usize).then_some((index as usize, earliest))
        };
        let mut pairs: Vec<_> = self.sorted.iter().filter_map(first).collect();
        pairs.sort_unstable();
        pairs
    }
}

/// Structures of `test` that `train` has too: their index in `test` and the first in `train`.
///
/// Keeps 24 bytes per structure of `test` alone; `train` may be a store of any size.
pub fn shared_frames(train: &Dataset, test: &Dataset) -> Vec<(usize, usize)> {
    let fingerprints: Fingerprints =
        test.iter().map(|structure| Fingerprint::of_labelled(&structure)).collect();
    let mut shared: Vec<Option<usize>> = vec![None; test.len()];
    for (index, structure) in train.iter().enumerate() {
        for same in fingerprints.same_as(&Fingerprint::of_labelled(&structure)) {
            shared[same].get_or_insert(index);
        }
    }
    shared.into_iter().enumerate().filter_map(|(test, train)| Some((test, train?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdet_core::{Purpose, RandomStream, Rotation};

    const ETHENE: [[f64; 3]; 6] = [
        [0.0, 0.0, 0.667],
        [0.0, 0.0, -0.667],
        [0.0, 0.923, 1.237],
        [0.0, -0.923, 1.237],
        [0.0, 0.923, -1.237],
        [0.3, -0.923, -1.237],
    ];
    const NUMBERS: [u8; 6] = [6, 6, 1, 1, 1, 1];

    fn of(numbers: &[u8], positions: &[[f64; 3]]) -> Fingerprint {
        Fingerprint::new(numbers, 0, 1, positions)
    }

    #[test]
    fn copies_that_were_moved_turned_reflected_rounded_or_reordered_are_found() {
        let mut generator = RandomStream { seed: 3, purpose: Purpose::Analysis, replica: 0 }.at_step(0);
        let mut moved = ETHENE;
        Rotation::random(&mut generator).inverted().apply(&mut moved);
        moved.iter_mut().flatten().for_each(|x| *x = ((*x + 7.0) * 1e5).round() * 1e-5);
        moved.reverse();
        let reversed: Vec<u8> = NUMBERS.into_iter().rev().collect();
        let mut other = ETHENE;
        other[5][0] += 1e-3;
        let set: Fingerprints =
            [of(&NUMBERS, &other), of(&NUMBERS, &ETHENE), of(&reversed, &moved)].into_iter().collect();
        assert_eq!(set.repeated(), [(2, 1)]);
        assert_eq!(set.same_as(&of(&NUMBERS, &other)).collect::<Vec<_>>(), [0]);
        assert_eq!(set.same_as(&Fingerprint::new(&NUMBERS, 1, 2, &ETHENE)).count(), 0, "another charge");
    }

    #[test]
    fn an_atom_alone_is_the_same_anywhere() {
        let set: Fingerprints = [of(&[1], &[[0.0; 3]]), of(&[1], &[[1.0, 2.0, 3.0]])].into_iter().collect();
        assert_eq!(set.repeated(), [(1, 0)]);
    }
}
