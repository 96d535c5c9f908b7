//! Loss and gradient of a batch, on many threads with a result that does not depend on how many.
//!
//! The samples are dealt to a fixed number of slots by size; a slot's samples are summed one after another, and the
//! slots' gradients in their order.
//!
//! Within a slot, structures of like size are evaluated in groups of a bounded number of edge rows, so that neither
//! memory nor Σ N³ of what is evaluated at once grows with the batch: it is that of a group, or of the largest structure.

use crate::{Loss, Sample};
use mdet_kernels::Real;
use mdet_model::{Molecule, Network, Rounding, Tape};
use rayon::prelude::*;

/// Fixed, so that sums do not depend on the number of threads; also the most threads that find work.
const N_SLOTS: usize = 8;
/// Edge rows that are evaluated together at most (a single larger structure goes alone): enough for the matrix
/// products to run at their rate, few enough for the rows of a layer to stay in the second-level cache.
const GROUP_ROWS: usize = 512;
/// Gradient entries that one task of the final sum takes.
const SUM_CHUNK: usize = 16_384;

/// Buffers for gradients of batches.
#[derive(Debug)]
pub struct BatchGradient<T> {
    objective: Loss,
    slots: Vec<Slot<T>>,
    total: Vec<T>,
}

#[derive(Debug, Default)]
struct Slot<T> {
    tape: Tape<T>,
    forces: Vec<T>,
    dforces: Vec<T>,
    gradient: Vec<T>,
    loss: f64,
}

impl<T: Real> BatchGradient<T> {
    /// Buffers for `network` and the loss, with passes that may round.
    pub fn new(network: &Network<T>, objective: Loss, rounding: Rounding) -> Self {
        let len = network.values().len();
        let tape = || Tape::rounding(rounding);
        let slot = || Slot { tape: tape(), gradient: vec![T::ZERO; len], ..Slot::default() };
        Self {
            objective,
            slots: (0..N_SLOTS).map(|_| slot()).collect(),
            total: vec![T::ZERO; network.layout().n_trainable()],
        }
    }

    /// The batch's loss in Hartree/Bohr and its gradient by the trainable parameters, on the current thread pool.
    pub fn compute(&mut self, network: &Network<T>, samples: &[Sample]) -> (f64, &mut [T]) {
        let n_atoms = samples.iter().map(|sample| sample.numbers.len()).sum();
        let mut by_size: Vec<&Sample> = samples.iter().collect();
        by_size.sort_by_key(|sample| std::cmp::Reverse(sample.n_edges()));
        let objective = self.objective;
        self.slots.par_iter_mut().enumerate().for_each(|(index, slot)| {
            let dealt: Vec<&Sample> = by_size.iter().skip(index).step_by(N_SLOTS).copied().collect();
            slot.compute(network, objective, &dealt, n_atoms);
        });
        let slots = &self.slots;
        self.total.par_chunks_mut(SUM_CHUNK).enumerate().for_each(|(chunk, total)| {
            let start = chunk * SUM_CHUNK;
            total.copy_from_slice(&slots[0].gradient[start..start + total.len()]);
            for slot in &slots[1..] {
                for (sum, &g) in total.iter_mut().zip(&slot.gradient[start..]) {
                    *sum += g;
                }
            }
        });
        (self.slots.iter().map(|slot| slot.loss).sum(), &mut self.total)
    }
}

impl<T: Real> Slot<T> {
    fn compute(&mut self, network: &Network<T>, objective: Loss, samples: &[&Sample], n_atoms: usize) {
        self.gradient.fill(T::ZERO);
        self.loss = 0.0;
        let mut rest = samples;
        while !rest.is_empty() {
            let mut rows = 0;
            let fitting = rest.iter().take_while(|sample| {
                rows += sample.n_edges();
                rows <= GROUP_ROWS
            });
            let (group, later) = rest.split_at(fitting.count().max(1));
            let molecules: Vec<Molecule<'_>> = group.iter().map(|sample| sample.molecule()).collect();
            let reference: Vec<[f64; 3]> =
                group.iter().flat_map(|sample| sample.forces.iter().copied()).collect();
            self.forces.resize(3 * reference.len(), T::ZERO);
            self.dforces.resize(3 * reference.len(), T::ZERO);
            network.forward(&molecules, &mut self.tape, &mut self.forces);
            self.loss += objective.of(&self.forces, &reference, n_atoms, &mut self.dforces);
            network.backward(&molecules, &mut self.tape, &self.dforces, &mut self.gradient, None);
            rest = later;
        }
    }
}
