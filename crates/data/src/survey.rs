//! What is in a set, in numbers, gathered record by record in memory that does not grow with it.

use crate::Record;
use std::collections::{BTreeMap, HashSet};

/// Statistics of a set. Records may be wrong: forces that are not finite are counted apart.
#[derive(Debug, Default, Clone)]
pub struct Survey {
    /// Structures.
    pub n_structures: usize,
    /// Atoms of all structures.
    pub n_atoms: usize,
    /// Structures by number of atoms.
    pub sizes: BTreeMap<usize, usize>,
    /// Atoms by atomic number.
    pub elements: BTreeMap<u8, usize>,
    /// Structures by charge in e.
    pub charges: BTreeMap<i32, usize>,
    /// Structures by multiplicity.
    pub multiplicities: BTreeMap<u32, usize>,
    /// Structures by what the source says of their origin.
    pub origins: BTreeMap<String, usize>,
    /// Structures with forces, energy, dipole.
    pub n_labelled: [usize; 3],
    /// Forces.
    pub forces: ForceStatistics,
    molecules: HashSet<u64>,
}

/// Sums over the atoms that have finite forces.
#[derive(Debug, Default, Clone, Copy)]
pub struct ForceStatistics {
    /// Atoms.
    pub n_atoms: usize,
    /// Atoms whose forces are not finite.
    pub n_not_finite: usize,
    /// The largest force on an atom in eV/Å and its structure.
    pub largest: Option<(f64, usize)>,
    /// The largest net force of a structure in eV/Å and the structure.
    pub largest_net: Option<(f64, usize)>,
    sum_of_squares: f64,
    sum_of_norms: f64,
}

impl Survey {
    /// Takes a record into account.
    pub fn add(&mut self, record: &Record) {
        let index = self.n_structures;
        self.n_structures += 1;
        self.n_atoms += record.numbers.len();
        *self.sizes.entry(record.numbers.len()).or_default() += 1;
        for &z in &record.numbers {
            *self.elements.entry(z).or_default() += 1;
        }
        *self.charges.entry(record.charge).or_default() += 1;
        *self.multiplicities.entry(record.multiplicity).or_default() += 1;
        if let Some(origin) = &record.origin {
            *self.origins.entry(origin.clone()).or_default() += 1;
        }
        let labels =
            [record.forces.is_some(), record.energy_ev.is_some(), record.dipole_e_angstrom.is_some()];
        for (count, has) in self.n_labelled.iter_mut().zip(labels) {
            *count += usize::from(has);
        }
        self.molecules.insert(record.molecule);
        if let Some(forces) = &record.forces {
            self.forces.add(forces, index);
        }
    }

    /// Different molecules, by [`Record::molecule`].
    pub fn n_molecules(&self) -> usize {
        self.molecules.len()
    }
}

impl ForceStatistics {
    fn add(&mut self, forces: &[[f64; 3]], structure: usize) {
        let mut net = [0.0; 3];
        for force in forces {
            let square: f64 = force.iter().map(|f| f * f).sum();
            if !square.is_finite() {
                self.n_not_finite += 1;
                continue;
            }
            self.n_atoms += 1;
            self.sum_of_squares += square;
            self.sum_of_norms += square.sqrt();
            if self.largest.is_none_or(|(largest, _)| square.sqrt() > largest) {
                self.largest = Some((square.sqrt(), structure));
            }
            (0..3).for_each(|k| net[k] += force[k]);
        }
        let net = net.iter().map(|f| f * f).sum::<f64>().sqrt();
        if self.largest_net.is_none_or(|(largest, _)| net > largest) {
            self.largest_net = Some((net, structure));
        }
    }

    /// Root mean square of the components in eV/Å; NaN without forces.
    pub fn rms_ev_per_angstrom(&self) -> f64 {
        (self.sum_of_squares / (3 * self.n_atoms) as f64).sqrt()
    }

    /// Mean norm in eV/Å; NaN without forces.
    pub fn mean_ev_per_angstrom(&self) -> f64 {
        self.sum_of_norms / self.n_atoms as f64
    }
}
