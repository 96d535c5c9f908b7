//! Covalent bonds read off the geometry, and which of them a trajectory has broken.
//!
//! Deliberately absent: bond orders and the making of bonds. The check serves as a guard of dynamics.

use crate::elements::covalent_radius;
use crate::structure::{Structure, distance};

/// Atoms are bonded when closer than this times the sum of their covalent radii.
///
/// The longest single bond relative to its radii among small molecules is F–F (1.41 Å for 1.14 Å: 1.24); the
/// shortest distance without a bond is that of 1,3 neighbours (O···O in ozone, 2.18 Å for 1.32 Å: 1.65).
const BOND_FACTOR: f64 = 1.3;

/// A bond is broken when longer than this times its reference length.
///
/// Thermal stretching at 1000 K stays below 1.3; at 1.5 (C–C 2.3 Å, O–H 1.45 Å) a Morse bond is far past its
/// inflection point, and the next neighbour's bond would be as near.
const BREAK_FACTOR: f64 = 1.5;

/// Bonded pairs `[i, j]`, i < j, in ascending order of i, then j. `positions`: one `[x, y, z]` per atom, Å.
///
/// # Panics
/// When there is not one position per atom, or an atomic number is no element.
pub fn bonds(numbers: &[u8], positions: &[[f64; 3]]) -> Vec<[usize; 2]> {
    assert_eq!(numbers.len(), positions.len(), "one position per atom");
    let mut bonds = Vec::new();
    for i in 0..numbers.len() {
        for j in i + 1..numbers.len() {
            let radii = covalent_radius(numbers[i]) + covalent_radius(numbers[j]);
            if distance(&positions[i], &positions[j]) < BOND_FACTOR * radii {
                bonds.push([i, j]);
            }
        }
    }
    bonds
}

/// The bonds of a trajectory's first frame with their lengths there.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceBonds {
    /// Bonded pairs `[i, j]`, i < j.
    pub pairs: Vec<[usize; 2]>,
    /// Length of each pair in the reference, Å.
    pub lengths_angstrom: Vec<f64>,
}

impl ReferenceBonds {
    /// The bonds of `structure` and their lengths.
    pub fn of(structure: &Structure) -> Self {
        let positions = structure.positions();
        let pairs = bonds(structure.numbers(), positions);
        let lengths_angstrom = pairs.iter().map(|&[i, j]| distance(&positions[i], &positions[j])).collect();
        Self { pairs, lengths_angstrom }
    }

    /// The largest ratio of a length at `positions`, Å, to the reference; 0 without bonds, NaN is passed on.
    ///
    /// # Panics
    /// When `positions` has fewer atoms than the reference.
    pub fn longest_stretch(&self, positions: &[[f64; 3]]) -> f64 {
        let bonds = self.pairs.iter().zip(&self.lengths_angstrom);
        let stretches = bonds.map(|(&[i, j], length)| distance(&positions[i], &positions[j]) / length);
        stretches.fold(0.0, |largest: f64, stretch| if stretch <= largest { largest } else { stretch })
    }

    /// The pairs that are broken at `positions`, Å; a distance that is not a number is broken too.
    ///
    /// # Panics
    /// When `positions` has fewer atoms than the reference.
    pub fn broken(&self, positions: &[[f64; 3]]) -> Vec<[usize; 2]> {
        let whole = |&[i, j]: &[usize; 2], length: f64| {
            distance(&positions[i], &positions[j]) <= BREAK_FACTOR * length
        };
        let bonds = self.pairs.iter().zip(&self.lengths_angstrom);
        bonds.filter(|&(pair, &length)| !whole(pair, length)).map(|(&pair, _)| pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ozone: O–O 1.28 Å, O···O 2.18 Å.
    const OZONE: [[f64; 3]; 3] = [[0.0, 0.0, 0.0], [1.09, 0.67, 0.0], [-1.09, 0.67, 0.0]];

    #[test]
    fn ozone_is_bonded_at_its_centre_only_and_fluorine_is_bonded() {
        assert_eq!(bonds(&[8, 8, 8], &OZONE), [[0, 1], [0, 2]]);
        assert_eq!(bonds(&[9, 9], &[[0.0; 3], [1.412, 0.0, 0.0]]), [[0, 1]]);
        assert_eq!(bonds(&[2, 2], &[[0.0; 3], [1.0, 0.0, 0.0]]), Vec::<[usize; 2]>::new());
    }

    #[test]
    fn methane_hydrogens_are_bonded_to_carbon_and_not_to_each_other() {
        let a = 0.629; // C–H 1.089 Å
        let positions = [[0.0; 3], [a, a, a], [a, -a, -a], [-a, a, -a], [-a, -a, a]];
        assert_eq!(bonds(&[6, 1, 1, 1, 1], &positions), [[0, 1], [0, 2], [0, 3], [0, 4]]);
    }

    #[test]
    fn a_bond_breaks_when_it_is_half_again_as_long() {
        let ozone = Structure::new(vec![8; 3], OZONE.to_vec(), 0, 1).unwrap();
        let reference = ReferenceBonds::of(&ozone);
        let stretched = |factor: f64| {
            let mut positions = OZONE;
            positions[2] = positions[2].map(|x| factor * x);
            reference.broken(&positions)
        };
        assert_eq!(stretched(1.0), Vec::<[usize; 2]>::new());
        assert_eq!(stretched(1.499), Vec::<[usize; 2]>::new());
        assert_eq!(stretched(1.501), [[0, 2]]);
        assert_eq!(stretched(f64::NAN), [[0, 2]]);
        let mut positions = OZONE;
        positions[2] = positions[2].map(|x| 1.2 * x);
        assert!((reference.longest_stretch(&positions) - 1.2).abs() < 1e-15);
    }
}
