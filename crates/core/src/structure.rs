//! A molecule: atomic numbers, positions, total charge and spin multiplicity, checked when it is made.
//!
//! Deliberately absent: periodic boundaries, which the model does not know.

use crate::elements::MAX_ATOMIC_NUMBER;
use std::ops::RangeInclusive;

/// Two atoms closer than this, in Å, are one atom written twice, not a geometry.
pub const MIN_DISTANCE_ANGSTROM: f64 = 0.2;

/// Total charges in e that the models' charge embedding has a row for.
pub const CHARGES: RangeInclusive<i32> = -64..=63;

/// Spin multiplicities that the models' multiplicity embedding has a row for.
pub const MULTIPLICITIES: RangeInclusive<u32> = 1..=127;

/// A molecule without periodic boundaries.
#[derive(Debug, Clone, PartialEq)]
pub struct Structure {
    numbers: Vec<u8>,
    positions: Vec<[f64; 3]>,
    charge: i32,
    multiplicity: u32,
}

/// What makes atoms, charge and multiplicity no molecule. Atoms are counted from 0.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StructureError {
    /// No atoms.
    #[error("expected at least one atom, found none")]
    Empty,
    /// As many positions as atomic numbers are needed.
    #[error("expected one position per atom, found {n_positions} positions for {n_numbers} atomic numbers")]
    Lengths {
        /// Number of atomic numbers.
        n_numbers: usize,
        /// Number of positions.
        n_positions: usize,
    },
    /// An atomic number outside the table of elements.
    #[error("atom {atom}: expected an atomic number from 1 to {MAX_ATOMIC_NUMBER}, found {number}")]
    UnknownElement {
        /// Index of the atom.
        atom: usize,
        /// The atomic number found.
        number: u8,
    },
    /// A coordinate is NaN or infinite.
    #[error("atom {atom}: expected a finite {}, found {coordinate}", ["x", "y", "z"][*.axis])]
    NonFiniteCoordinate {
        /// Index of the atom.
        atom: usize,
        /// 0, 1, 2 for x, y, z.
        axis: usize,
        /// The coordinate found, Å.
        coordinate: f64,
    },
    /// Two atoms are closer than [`MIN_DISTANCE_ANGSTROM`].
    #[error(
        "atoms {} and {}: expected a distance of at least {MIN_DISTANCE_ANGSTROM} Å, found {distance_angstrom:.4} Å",
        .atoms[0], .atoms[1]
    )]
    TooClose {
        /// Indices of the two atoms, ascending.
        atoms: [usize; 2],
        /// Their distance, Å.
        distance_angstrom: f64,
    },
    /// The charge is outside [`CHARGES`].
    #[error("expected a charge from {} to {}, found {charge}", CHARGES.start(), CHARGES.end())]
    Charge {
        /// The charge found, e.
        charge: i32,
    },
    /// The charge removes more electrons than the nuclei bind.
    #[error("expected a charge of at most the {n_protons} protons of the molecule, found {charge}")]
    TooFewElectrons {
        /// Sum of the atomic numbers.
        n_protons: u32,
        /// The charge found, e.
        charge: i32,
    },
    /// The multiplicity is outside [`MULTIPLICITIES`].
    #[error(
        "expected a multiplicity from {} to {}, found {multiplicity}", MULTIPLICITIES.start(), MULTIPLICITIES.end()
    )]
    Multiplicity {
        /// The multiplicity found.
        multiplicity: u32,
    },
    /// 2S + 1 that this number of electrons cannot give.
    #[error("expected {} for {n_electrons} electrons, found {multiplicity}", fitting(*.n_electrons))]
    Spin {
        /// Electrons of the molecule.
        n_electrons: u32,
        /// The multiplicity found.
        multiplicity: u32,
    },
}

impl Structure {
    /// A molecule from atomic numbers, positions `[n_atoms][3]` in Å, total charge in e and multiplicity 2S + 1.
    ///
    /// # Errors
    /// [`StructureError`] names the first atom or number that is wrong.
    pub fn new(
        numbers: Vec<u8>,
        positions: Vec<[f64; 3]>,
        charge: i32,
        multiplicity: u32,
    ) -> Result<Self, StructureError> {
        check_atoms(&numbers, &positions)?;
        check_distances(&positions)?;
        check_electrons(&numbers, charge, multiplicity)?;
        Ok(Self { numbers, positions, charge, multiplicity })
    }

    /// Number of atoms.
    pub fn n_atoms(&self) -> usize {
        self.numbers.len()
    }

    /// Atomic numbers, one per atom.
    pub fn numbers(&self) -> &[u8] {
        &self.numbers
    }

    /// Positions in Å, one per atom.
    pub fn positions(&self) -> &[[f64; 3]] {
        &self.positions
    }

    /// Positions in Å, to be moved: dynamics may bring atoms where `new` would refuse them.
    pub fn positions_mut(&mut self) -> &mut [[f64; 3]] {
        &mut self.positions
    }

    /// Total charge in e.
    pub fn charge(&self) -> i32 {
        self.charge
    }

    /// Spin multiplicity 2S + 1.
    pub fn multiplicity(&self) -> u32 {
        self.multiplicity
    }
}

/// The lowest multiplicity that fits: 1 for an even number of electrons, 2 for an odd one.
pub fn lowest_multiplicity(numbers: &[u8], charge: i32) -> u32 {
    let n_electrons = numbers.iter().map(|&z| i64::from(z)).sum::<i64>() - i64::from(charge);
    if n_electrons % 2 == 0 { 1 } else { 2 }
}

/// Euclidean distance of two points, in their unit.
pub fn distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    (0..3).map(|k| (b[k] - a[k]).powi(2)).sum::<f64>().sqrt()
}

fn check_atoms(numbers: &[u8], positions: &[[f64; 3]]) -> Result<(), StructureError> {
    if numbers.len() != positions.len() {
        return Err(StructureError::Lengths { n_numbers: numbers.len(), n_positions: positions.len() });
    }
    if numbers.is_empty() {
        return Err(StructureError::Empty);
    }
    for (atom, (&number, position)) in numbers.iter().zip(positions).enumerate() {
        if number == 0 || number > MAX_ATOMIC_NUMBER {
            return Err(StructureError::UnknownElement { atom, number });
        }
        if let Some(axis) = position.iter().position(|x| !x.is_finite()) {
            return Err(StructureError::NonFiniteCoordinate { atom, axis, coordinate: position[axis] });
        }
    }
    Ok(())
}

fn check_distances(positions: &[[f64; 3]]) -> Result<(), StructureError> {
    for j in 1..positions.len() {
        for i in 0..j {
            let distance_angstrom = distance(&positions[i], &positions[j]);
            if distance_angstrom < MIN_DISTANCE_ANGSTROM {
                return Err(StructureError::TooClose { atoms: [i, j], distance_angstrom });
            }
        }
    }
    Ok(())
}

fn check_electrons(numbers: &[u8], charge: i32, multiplicity: u32) -> Result<(), StructureError> {
    if !CHARGES.contains(&charge) {
        return Err(StructureError::Charge { charge });
    }
    if !MULTIPLICITIES.contains(&multiplicity) {
        return Err(StructureError::Multiplicity { multiplicity });
    }
    let n_protons: u32 = numbers.iter().map(|&z| u32::from(z)).sum();
    let Some(n_electrons) = n_protons.checked_add_signed(-charge) else {
        return Err(StructureError::TooFewElectrons { n_protons, charge });
    };
    // The multiplicity is one more than the number of unpaired electrons, the others pair up two by two.
    let n_unpaired = multiplicity - 1;
    if n_unpaired > n_electrons || (n_electrons - n_unpaired) % 2 == 1 {
        return Err(StructureError::Spin { n_electrons, multiplicity });
    }
    Ok(())
}

/// In words, the multiplicities that fit a number of electrons.
fn fitting(n_electrons: u32) -> String {
    let lowest = 1 + n_electrons % 2;
    let highest = (n_electrons + 1).min(MULTIPLICITIES.end() - n_electrons % 2);
    if lowest == highest {
        return format!("multiplicity {lowest}");
    }
    let parity = if lowest == 1 { "odd" } else { "even" };
    format!("an {parity} multiplicity from {lowest} to {highest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATER: [[f64; 3]; 3] = [[0.0, 0.0, 0.119], [0.0, 0.763, -0.477], [0.0, -0.763, -0.477]];

    fn water(charge: i32, multiplicity: u32) -> Result<Structure, StructureError> {
        Structure::new(vec![8, 1, 1], WATER.to_vec(), charge, multiplicity)
    }

    fn message(result: Result<Structure, StructureError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn molecules_and_ions_are_accepted_as_given() {
        let cation = water(1, 2).unwrap();
        assert_eq!((cation.n_atoms(), cation.charge(), cation.multiplicity()), (3, 1, 2));
        assert_eq!((cation.numbers(), cation.positions()), ([8, 1, 1].as_slice(), WATER.as_slice()));
        assert!(water(0, 3).is_ok() && water(10, 1).is_ok() && water(-64, 1).is_ok());
    }

    #[test]
    fn wrong_atoms_are_named_with_what_was_found() {
        let at = |numbers: &[u8], positions: &[[f64; 3]]| {
            message(Structure::new(numbers.to_vec(), positions.to_vec(), 0, 1))
        };
        let far = [5.0, 0.0, 0.0];
        assert_eq!(at(&[], &[]), "expected at least one atom, found none");
        assert_eq!(
            at(&[1, 1], &[far]),
            "expected one position per atom, found 1 positions for 2 atomic numbers"
        );
        assert_eq!(at(&[1, 0], &[[0.0; 3], far]), "atom 1: expected an atomic number from 1 to 100, found 0");
        assert_eq!(at(&[101], &[far]), "atom 0: expected an atomic number from 1 to 100, found 101");
        assert_eq!(at(&[1, 1], &[far, [0.0, f64::NAN, 0.0]]), "atom 1: expected a finite y, found NaN");
        assert_eq!(
            at(&[1, 1, 2], &[far, [0.0; 3], [0.0, 0.1, 0.0]]),
            "atoms 1 and 2: expected a distance of at least 0.2 Å, found 0.1000 Å"
        );
    }

    #[test]
    fn impossible_electrons_are_refused_with_what_would_fit() {
        assert_eq!(
            message(water(0, 2)),
            "expected an odd multiplicity from 1 to 11 for 10 electrons, found 2"
        );
        assert_eq!(
            message(water(1, 1)),
            "expected an even multiplicity from 2 to 10 for 9 electrons, found 1"
        );
        assert_eq!(message(water(9, 4)), "expected multiplicity 2 for 1 electrons, found 4");
        assert_eq!(
            message(water(11, 1)),
            "expected a charge of at most the 10 protons of the molecule, found 11"
        );
        assert_eq!(message(water(64, 1)), "expected a charge from -64 to 63, found 64");
        assert_eq!(message(water(-65, 1)), "expected a charge from -64 to 63, found -65");
        assert_eq!(message(water(0, 0)), "expected a multiplicity from 1 to 127, found 0");
        assert_eq!(message(water(0, 128)), "expected a multiplicity from 1 to 127, found 128");
    }

    #[test]
    fn the_largest_fitting_multiplicity_stays_in_the_embedding_table() {
        assert_eq!(fitting(200), "an odd multiplicity from 1 to 127");
        assert_eq!(fitting(201), "an even multiplicity from 2 to 126");
    }

    #[test]
    fn the_lowest_multiplicity_always_fits() {
        for charge in -3..=10 {
            assert!(water(charge, lowest_multiplicity(&[8, 1, 1], charge)).is_ok(), "charge {charge}");
        }
    }
}
