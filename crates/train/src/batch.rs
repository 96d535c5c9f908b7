//! Which structures a step sees, and in which orientations: a function of (seed, step) alone.

use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM};
use mdet_core::{Purpose, RandomStream, Rotation};
use mdet_data::{Dataset, Labelled};
use mdet_model::Molecule;
use rand::RngExt;
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

/// Largest structures of a curriculum's first step.
const FIRST_N_ATOMS: usize = 8;

/// The order in which a data set is seen: small structures first, then epochs with a permutation each.
///
/// During the first `curriculum_steps` a step draws from the structures up to a size that grows linearly. A random
/// network first has to find that forces point along bonds, and that costs a hundred times less on eight atoms.
#[derive(Debug)]
pub struct Batches<'a> {
    dataset: &'a Dataset,
    structures_per_step: usize,
    copies: usize,
    curriculum_steps: u64,
    seed: u64,
    /// Indices by number of atoms.
    by_size: Vec<u32>,
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl<'a> Batches<'a> {
    /// Batches of `structures_per_step` structures in `copies` orientations each.
    ///
    /// # Panics
    /// When the data set is empty.
    pub fn new(
        dataset: &'a Dataset,
        structures_per_step: usize,
        copies: usize,
        curriculum_steps: u64,
        seed: u64,
    ) -> Self {
        assert!(!dataset.is_empty(), "an empty data set has no batches");
        let mut by_size: Vec<u32> = (0..dataset.len() as u32).collect();
        by_size.sort_by_key(|&index| dataset.n_atoms(index as usize));
        let (epoch, order) = (None, Vec::new());
        Self { dataset, structures_per_step, copies, curriculum_steps, seed, by_size, epoch, order }
    }

    /// The samples of a step, counted from 0.
    pub fn at_step(&mut self, step: u64) -> Vec<Sample> {
        let stream = RandomStream { seed: self.seed, purpose: Purpose::Augmentation, replica: 0 };
        let mut generator = stream.at_step(step);
        let mut samples = Vec::with_capacity(self.structures_per_step * self.copies);
        for index in self.structures_at(step) {
            let structure = self.dataset.get(index);
            for _ in 0..self.copies {
                samples.push(Sample::new(&structure, &Rotation::random_or_reflection(&mut generator)));
            }
        }
        samples
    }

    /// Which structures of the data set a step sees.
    pub fn structures_at(&mut self, step: u64) -> Vec<usize> {
        let n = self.structures_per_step as u64;
        if step >= self.curriculum_steps {
            let first = (step - self.curriculum_steps) * n;
            return (first..first + n).map(|place| self.structure_at(place)).collect();
        }
        let stream = RandomStream { seed: self.seed, purpose: Purpose::Shuffling, replica: 1 };
        let mut generator = stream.at_step(step);
        let allowed = self.n_allowed(step as f64 / self.curriculum_steps as f64);
        (0..n).map(|_| self.by_size[generator.random_range(0..allowed)] as usize).collect()
    }

    /// How many of the smallest structures the curriculum has reached.
    fn n_allowed(&self, progress: f64) -> usize {
        let n_atoms = |&index: &u32| self.dataset.n_atoms(index as usize);
        let largest = self.by_size.last().map_or(0, n_atoms);
        let limit = FIRST_N_ATOMS as f64 + progress * (largest as f64 - FIRST_N_ATOMS as f64);
        self.by_size.partition_point(|index| n_atoms(index) as f64 <= limit).max(1)
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
