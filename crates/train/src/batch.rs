//! Which structures a step sees, and in which orientations: a function of (seed, step) alone.

use crate::Ranks;
use crate::permutation::Permutation;
use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM};
use mdet_core::{Purpose, RandomStream, Rotation};
use mdet_data::{Dataset, Labelled};
use mdet_model::Molecule;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use std::collections::BTreeMap;

/// Standard deviation of a probe's displacement in each coordinate, Bohr: small enough for the forces to be linear in it,
/// large enough for f32 to tell what it does to them.
pub(crate) const PROBE_BOHR: f64 = 3e-4;

/// A labelled structure in the units of the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Atomic numbers.
    pub numbers: Vec<u8>,
    /// Positions in Bohr.
    pub positions_bohr: Vec<[f64; 3]>,
    /// Reference forces in Hartree/Bohr.
    pub forces: Vec<[f64; 3]>,
    /// What has turned both from the data set's orientation.
    pub rotation: Rotation,
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
            rotation: *rotation,
            charge: structure.charge,
            multiplicity: structure.multiplicity,
        }
    }

    /// What the network sees of it.
    pub fn molecule(&self) -> Molecule<'_> {
        let Self { numbers, positions_bohr, charge, multiplicity, .. } = self;
        Molecule { numbers, positions_bohr, charge: *charge, multiplicity: *multiplicity }
    }

    /// The structure with every coordinate displaced by a normal number of standard deviation [`PROBE_BOHR`]. Its labels
    /// stay those of the place it came from.
    fn probe(&self, generator: &mut impl Rng) -> Self {
        let mut probe = self.clone();
        for coordinate in probe.positions_bohr.as_flattened_mut() {
            *coordinate += PROBE_BOHR * generator.sample::<f64, _>(StandardNormal);
        }
        probe
    }

    /// Edge rows it takes in a batch: N².
    pub fn n_edges(&self) -> usize {
        self.numbers.len() * self.numbers.len()
    }
}

/// One rank's share of a step's samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The rank's own: of each structure its copies and, where asked for, its probe.
    pub samples: Vec<Sample>,
    /// Atoms of all ranks' copies together.
    pub n_atoms: usize,
}

/// Largest structures of a curriculum's first step.
const FIRST_N_ATOMS: usize = 8;

/// The order in which a data set is seen: small structures first, then epochs with a permutation each.
///
/// During the first `curriculum_steps` a step draws from the structures up to a size that grows linearly. A random
/// network first has to find that forces point along bonds, and that costs a hundred times less on eight atoms.
///
/// No table of structures is kept, neither of the order nor of sizes: 30 million structures take no more memory here
/// than 100 thousand.
#[derive(Debug)]
pub struct Batches<'a> {
    dataset: &'a Dataset,
    structures_per_step: usize,
    copies: usize,
    /// Whether a displaced copy of the first of them follows.
    probe: bool,
    curriculum_steps: u64,
    seed: u64,
    /// Atoms up to which a curriculum has enough structures to begin with, and most atoms of one; found out for a curriculum only.
    sizes: [usize; 2],
    /// The epoch and its order.
    order: Option<(u64, Permutation)>,
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
        let sizes = if curriculum_steps > 0 { begin_and_end(dataset, structures_per_step) } else { [0, 0] };
        Self {
            dataset,
            structures_per_step,
            copies,
            probe: false,
            curriculum_steps,
            seed,
            sizes,
            order: None,
        }
    }

    /// Adds after the copies of each structure, where `probe` is true, the displaced one that
    /// [`StructureTerms::antisymmetry_weight`](crate::StructureTerms) asks for.
    #[must_use]
    pub fn with_probe(mut self, probe: bool) -> Self {
        self.probe = probe;
        self
    }

    /// The samples of a step, counted from 0.
    pub fn at_step(&mut self, step: u64) -> Vec<Sample> {
        self.share_at_step(step, &Ranks::alone()).samples
    }

    /// A rank's share of the samples of a step, counted from 0: together the ranks have what one process has alone.
    ///
    /// Structures are dealt out by size, so that the ranks have about the same to do.
    pub fn share_at_step(&mut self, step: u64, ranks: &Ranks) -> Share {
        let stream = RandomStream { seed: self.seed, purpose: Purpose::Augmentation, replica: 0 };
        let mut generator = stream.at_step(step);
        let structures = self.structures_at(step);
        let n_atoms = |&index: &usize| self.dataset.n_atoms(index);
        let mut by_size: Vec<usize> = (0..structures.len()).collect();
        by_size.sort_by_key(|&place| n_atoms(&structures[place]));
        let mut is_own = vec![false; structures.len()];
        by_size.into_iter().skip(ranks.rank()).step_by(ranks.size()).for_each(|place| is_own[place] = true);
        let n_samples = self.structures_per_step * (self.copies + usize::from(self.probe));
        let mut samples = Vec::with_capacity(n_samples.div_ceil(ranks.size()));
        for (place, (&index, is_own)) in structures.iter().zip(is_own).enumerate() {
            let rotations: Vec<Rotation> =
                (0..self.copies).map(|_| Rotation::random_or_reflection(&mut generator)).collect();
            if is_own {
                let structure = self.dataset.get(index);
                let first = samples.len();
                samples.extend(rotations.iter().map(|rotation| Sample::new(&structure, rotation)));
                if self.probe {
                    let mut generator = RandomStream { replica: 1 + place as u32, ..stream }.at_step(step);
                    samples.push(samples[first].probe(&mut generator));
                }
            }
        }
        Share { samples, n_atoms: self.copies * structures.iter().map(n_atoms).sum::<usize>() }
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
        let largest = self.largest(step as f64 / self.curriculum_steps as f64);
        let mut draw = || {
            loop {
                let index = generator.random_range(0..self.dataset.len());
                if self.dataset.n_atoms(index) <= largest {
                    return index;
                }
            }
        };
        (0..n).map(|_| draw()).collect()
    }

    /// The size that the curriculum has reached; enough structures are as small.
    fn largest(&self, progress: f64) -> usize {
        let [begin, largest] = self.sizes;
        let limit = FIRST_N_ATOMS as f64 + progress * (largest as f64 - FIRST_N_ATOMS as f64);
        (limit as usize).max(begin)
    }

    /// The structure at a place of the endless sequence of epochs.
    fn structure_at(&mut self, place: u64) -> usize {
        let len = self.dataset.len() as u64;
        let epoch = place / len;
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let stream = RandomStream { seed: self.seed, purpose: Purpose::Shuffling, replica: 0 };
            self.order = Some((epoch, Permutation::new(len, &mut stream.at_step(epoch))));
        }
        self.order.as_ref().map_or(0, |(_, order)| order.at(place % len) as usize)
    }
}

/// Share of the structures that a curriculum begins with at the least: a single atom among molecules is no beginning, and
/// structures are found by drawing until one is small enough.
const BEGIN: f64 = 0.01;

/// Atoms up to which a share of the structures, and a batch of them, lie, if there are as many; and most atoms of one.
fn begin_and_end(dataset: &Dataset, structures_per_step: usize) -> [usize; 2] {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    (0..dataset.len()).for_each(|b| *counts.entry(dataset.n_atoms(b)).or_default() += 1);
    let enough = ((BEGIN * dataset.len() as f64) as usize).max(structures_per_step).min(dataset.len());
    let mut n_below = 0;
    let begin = counts.iter().find(|(_, n)| {
        n_below += **n;
        n_below >= enough
    });
    [begin, counts.last_key_value()].map(|found| *found.expect("a data set that is not empty").0)
}
