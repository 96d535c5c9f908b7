//! A molecule: atomic numbers, positions, total charge and spin multiplicity, checked when it is made.

/// Two atoms closer than this, in Å, are one atom written twice, not a geometry.
pub const MIN_DISTANCE_ANGSTROM: f64 = 0.2;

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
    // (helper fills in)
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
