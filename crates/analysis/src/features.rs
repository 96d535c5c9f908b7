//! What a molecule is like, read off its geometry: the features that failures of a model are held against.
//!
//! | feature | definition, bonds and rings read off the geometry |
//! |---|---|
//! | atoms | number of atoms |
//! | branching | heavy neighbours beyond two, summed over heavy atoms, per heavy atom |
//! | ring strain | root mean square departure of ring angles from 109.5° (120° at three neighbours, 180° at two of carbon), degrees; 0 without rings |
//! | polarity | mean over bonds of the difference of Pauling's electronegativities |
//! | unsaturation | neighbours missing to H 1, C 4, N 3, O 2, S 2, halogens 1, per heavy atom |
//! | novelty | share of atoms whose surroundings to the second neighbours occur nowhere in the training data |
//!
//! Ions miss neighbours too, and an ammonium has one too many, which counts as none missing.
//!
//! Deliberately absent: bond orders, stereochemistry, anything that needs a force field.

use mdet_core::{Structure, bonds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The features of one molecule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Number of atoms.
    pub atoms: usize,
    /// Heavy neighbours beyond two, per heavy atom.
    pub branching: f64,
    /// Root mean square departure of ring angles from rest, degrees.
    pub ring_strain_degrees: f64,
    /// Mean difference of electronegativities over bonds (Pauling's scale).
    pub polarity: f64,
    /// Missing neighbours per heavy atom.
    pub unsaturation: f64,
    /// Share of atoms in surroundings that the training data do not have; `None` where these are not at hand.
    pub novelty: Option<f64>,
}

/// Surroundings of atoms that training data have: an atom, its neighbours, and theirs, by element.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    seen: BTreeSet<Vec<u8>>,
}

impl Surroundings {
    /// Adds those of a structure.
    pub fn add(&mut self, structure: &Structure) {
        let neighbours = neighbours(structure);
        for atom in 0..structure.n_atoms() {
            self.seen.insert(surroundings(structure.numbers(), &neighbours, atom));
        }
    }

    /// Number of different surroundings.
    pub fn count(&self) -> usize {
        self.seen.len()
    }

    /// Share of a structure's atoms whose surroundings are not among these.
    pub fn novelty(&self, structure: &Structure) -> f64 {
        let neighbours = neighbours(structure);
        let new = |&atom: &usize| !self.seen.contains(&surroundings(structure.numbers(), &neighbours, atom));
        (0..structure.n_atoms()).filter(new).count() as f64 / structure.n_atoms() as f64
    }
}

impl Features {
    /// The features of a structure; `training` knows the training data.
    pub fn of(structure: &Structure, training: Option<&Surroundings>) -> Self {
        let numbers = structure.numbers();
        let neighbours = neighbours(structure);
        let heavy: Vec<usize> = (0..numbers.len()).filter(|&i| numbers[i] > 1).collect();
        let per_heavy = |total: f64| total / heavy.len().max(1) as f64;
        let branches = heavy.iter().map(|&i| {
            let n_heavy = neighbours[i].iter().filter(|&&j| numbers[j] > 1).count();
            n_heavy.saturating_sub(2) as f64
        });
        let missing = heavy.iter().map(|&i| valence(numbers[i]).saturating_sub(neighbours[i].len()) as f64);
        let differences: Vec<f64> = (0..numbers.len())
            .flat_map(|i| neighbours[i].iter().filter(move |&&j| i < j).map(move |&j| (i, j)))
            .map(|(i, j)| (electronegativity(numbers[i]) - electronegativity(numbers[j])).abs())
            .collect();
        Self {
            atoms: numbers.len(),
            branching: per_heavy(branches.sum()),
            ring_strain_degrees: ring_strain(structure, &neighbours),
            polarity: differences.iter().sum::<f64>() / differences.len().max(1) as f64,
            unsaturation: per_heavy(missing.sum()),
            novelty: training.map(|training| training.novelty(structure)),
        }
    }
}

/// Bonded neighbours of every atom, ascending.
fn neighbours(structure: &Structure) -> Vec<Vec<usize>> {
    let mut neighbours = vec![Vec::new(); structure.n_atoms()];
    for [i, j] in bonds(structure.numbers(), structure.positions()) {
        neighbours[i].push(j);
        neighbours[j].push(i);
    }
    neighbours
}

/// The element of an atom, then for each neighbour, in order, its element and those of its other neighbours; 0 between.
fn surroundings(numbers: &[u8], neighbours: &[Vec<usize>], atom: usize) -> Vec<u8> {
    let around = |&neighbour: &usize| {
        let mut others: Vec<u8> = neighbours[neighbour]
            .iter()
            .filter(|&&other| other != atom)
            .map(|&other| numbers[other])
            .collect();
        others.sort_unstable();
        [&[numbers[neighbour]], others.as_slice(), &[0]].concat()
    };
    let mut shells: Vec<Vec<u8>> = neighbours[atom].iter().map(around).collect();
    shells.sort_unstable();
    [vec![numbers[atom]], shells.concat()].concat()
}

fn ring_strain(structure: &Structure, neighbours: &[Vec<usize>]) -> f64 {
    let n = structure.n_atoms();
    let in_ring = |i: usize, j: usize| {
        // Is j reached from i without their bond?
        let (mut reached, mut open) = (vec![false; n], vec![i]);
        while let Some(atom) = open.pop() {
            if !std::mem::replace(&mut reached[atom], true) {
                open.extend(neighbours[atom].iter().filter(|&&other| [atom, other] != [i, j]));
            }
        }
        reached[j]
    };
    let r = structure.positions();
    let mut squares = Vec::new();
    for (atom, around) in neighbours.iter().enumerate() {
        let ring: Vec<usize> = around.iter().copied().filter(|&other| in_ring(atom, other)).collect();
        let rest: f64 = match (around.len(), structure.numbers()[atom]) {
            (3, _) => 120.0,
            (2, 6) => 180.0,
            _ => 109.47,
        };
        for (k, &a) in ring.iter().enumerate() {
            for &b in &ring[..k] {
                let arm = |other: usize| std::array::from_fn(|x| r[other][x] - r[atom][x]);
                let angle = crate::accuracy::angle(&arm(a), &arm(b)).to_degrees();
                squares.push((angle - rest).powi(2));
            }
        }
    }
    (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt()
}

/// Neighbours of a neutral, saturated atom.
fn valence(number: u8) -> usize {
    match number {
        5 | 7 | 13 | 15 | 33 => 3,
        6 | 14 | 32 => 4,
        8 | 16 | 34 => 2,
        _ => 1,
    }
}

/// Pauling's electronegativity; carbon's for elements that molecules here do not have.
fn electronegativity(number: u8) -> f64 {
    match number {
        1 => 2.20,
        3 => 0.98,
        5 => 2.04,
        7 => 3.04,
        8 => 3.44,
        9 => 3.98,
        11 => 0.93,
        14 => 1.90,
        15 => 2.19,
        16 => 2.58,
        17 => 3.16,
        35 => 2.96,
        53 => 2.66,
        _ => 2.55,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(numbers: &[u8], positions: &[[f64; 3]]) -> Structure {
        let electrons: u32 = numbers.iter().map(|&z| u32::from(z)).sum();
        Structure::new(numbers.to_vec(), positions.to_vec(), 0, 1 + electrons % 2).unwrap()
    }

    /// An equilateral ring of three carbons, each with two hydrogens.
    fn cyclopropane() -> Structure {
        let (mut numbers, mut positions) = (Vec::new(), Vec::new());
        for k in 0..3 {
            let (sin, cos) = (std::f64::consts::TAU * f64::from(k) / 3.0).sin_cos();
            numbers.extend([6, 1, 1]);
            positions.extend([[0.87 * cos, 0.87 * sin, 0.0]]);
            positions.extend([0.91, -0.91].map(|z| [1.46 * cos, 1.46 * sin, z]));
        }
        structure(&numbers, &positions)
    }

    #[test]
    fn cyclopropane_is_strained_by_its_angles_and_saturated() {
        let found = Features::of(&cyclopropane(), None);
        assert!((found.ring_strain_degrees - 49.47).abs() < 1e-9, "{found:?}");
        assert_eq!((found.atoms, found.branching, found.unsaturation), (9, 0.0, 0.0));
        // Six C–H bonds of nine.
        assert!((found.polarity - 6.0 / 9.0 * 0.35).abs() < 1e-12);
    }

    #[test]
    fn carbon_dioxide_is_unsaturated_and_polar_without_strain() {
        let molecule = structure(&[6, 8, 8], &[[0.0; 3], [1.16, 0.0, 0.0], [-1.16, 0.0, 0.0]]);
        let found = Features::of(&molecule, None);
        assert!((found.unsaturation - 4.0 / 3.0).abs() < 1e-12 && (found.polarity - 0.89).abs() < 1e-12);
        assert_eq!((found.ring_strain_degrees, found.branching), (0.0, 0.0));
    }

    #[test]
    fn novelty_is_the_share_of_atoms_in_surroundings_that_were_not_seen() {
        let mut training = Surroundings::default();
        training.add(&cyclopropane());
        assert_eq!(training.count(), 2);
        assert_eq!(Features::of(&cyclopropane(), Some(&training)).novelty, Some(0.0));
        let water = structure(&[8, 1, 1], &[[0.0; 3], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]);
        assert_eq!(training.novelty(&water), 1.0);
    }
}
