//! Which structures a step sees, and in which orientations: a function of (seed, step) alone.

use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM};
use mdet_core::{Purpose, RandomStream, Rotation};
use mdet_data::{Dataset, Labelled};
use mdet_model::Molecule;
use rand::seq::SliceRandom;

/// A labelled structure in the units of the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Atomic numbers.
    pub numbers: Vec<u8>,
    /// Positions in Bohr.
    pub positions_bohr: Vec<[f64; 3]>,
    /// Reference forces in Hartree/Bohr.
    pub forces: Vec<[f64; 3]>,
    /// Total charge in e.
    pub charge: i32,
    /// Spin multiplicity 2S + 1.
    pub multiplicity: u32,
}

impl Sample {
    /// A structure of a data set, turned by `rotation`.
    pub fn new(structure: &Labelled<'_>, rotation: &Rotation) -> Self {
        let convert = |vectors: &[[f32; 3]], unit: f64| {
            let mut turned: Vec<[f64; 3]> = vectors.iter().map(|v| v.map(|c| f64::from(c) / unit)).collect();
            rotation.apply(&mut turned);
            turned
        };
        Self {
            numbers: structure.numbers.to_vec(),
            positions_bohr: convert(structure.positions, BOHR_IN_ANGSTROM),
            forces: convert(structure.forces, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM),
            charge: structure.charge,
            multiplicity: structure.multiplicity,
        }
    }

    /// What the network sees of it.
    pub fn molecule(&self) -> Molecule<'_> {
        let Self { numbers, positions_bohr, charge, multiplicity, .. } = self;
        Molecule { numbers, positions_bohr, charge: *charge, multiplicity: *multiplicity }
    }

    /// Edge rows it takes in a batch: N².
    pub fn n_edges(&self) -> usize {
        self.numbers.len() * self.numbers.len()
    }
}

/// The order of a data set over many epochs, each with its own permutation.
#[derive(Debug)]
pub struct Batches<'a> {
    dataset: &'a Dataset,
    structures_per_step: usize,
    copies: usize,
    seed: u64,
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl<'a> Batches<'a> {
    /// Batches of `structures_per_step` structures in `copies` orientations each.
    ///
    /// # Panics
    /// When the data set is empty.
    pub fn new(dataset: &'a Dataset, structures_per_step: usize, copies: usize, seed: u64) -> Self {
        assert!(dataset.len() > 0, "an empty data set has no batches");
        Self { dataset, structures_per_step, copies, seed, epoch: None, order: Vec::new() }
    }

    /// The samples of a step, counted from 0.
    pub fn at_step(&mut self, step: u64) -> Vec<Sample> {
        let stream = RandomStream { seed: self.seed, purpose: Purpose::Augmentation, replica: 0 };
        let mut generator = stream.at_step(step);
        let mut samples = Vec::with_capacity(self.structures_per_step * self.copies);
        for within in 0..self.structures_per_step {
            let index = self.structure_at(step * self.structures_per_step as u64 + within as u64);
            let structure = self.dataset.get(index);
            for _ in 0..self.copies {
                samples.push(Sample::new(&structure, &Rotation::random_or_reflection(&mut generator)));
            }
        }
        samples
    }

    /// The structure at a place of the endless sequence of epochs.
    fn structure_at(&mut self, place: u64) -> usize {
        let len = self.dataset.len() as u64;
        let epoch = place / len;
        if self.epoch != Some(epoch) {
            self.order = (0..len as u32).collect();
            let stream = RandomStream { seed: self.seed, purpose: Purpose::Shuffling, replica: 0 };
            self.order.shuffle(&mut stream.at_step(epoch));
            self.epoch = Some(epoch);
        }
        self.order[(place % len) as usize] as usize
    }
}
