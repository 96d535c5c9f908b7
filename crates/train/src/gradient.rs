//! Loss and gradient of a batch, on many threads with a result that does not depend on how many.
//!
//! The samples are dealt to a fixed number of slots by size, copies that are compared with each other as one; a slot's
//! samples are summed one after another, and the slots' gradients in their order.
//!
//! Within a slot, structures of like size are evaluated in groups of a bounded number of edge rows, so that neither
//! memory nor Σ N³ of what is evaluated at once grows with the batch: it is that of a group, or of the largest structure.

use crate::loss::add_equivariance_error;
use crate::{Loss, Sample, Trained};
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
    equivariance: Equivariance,
    trained: Trained,
    slots: Vec<Slot<T>>,
    total: Vec<T>,
}

/// The weight of the equivariance error between copies that follow each other, so many of each structure.
#[derive(Debug, Clone, Copy)]
struct Equivariance {
    weight: f64,
    copies: usize,
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
    /// Buffers for `network`, the loss, passes that may round, and the parameters whose gradient is asked for: that of others
    /// is zero.
    pub fn new(network: &Network<T>, objective: Loss, rounding: Rounding, trained: Trained) -> Self {
        let len = network.values().len();
        let tape = || Tape::rounding(rounding);
        let slot = || Slot { tape: tape(), gradient: vec![T::ZERO; len], ..Slot::default() };
        Self {
            objective,
            equivariance: Equivariance { weight: 0.0, copies: 1 },
            trained,
            slots: (0..N_SLOTS).map(|_| slot()).collect(),
            total: vec![T::ZERO; network.layout().n_trainable()],
        }
    }

    /// Adds to the loss `weight` times the equivariance error over the `copies` of each structure, which stand one after
    /// another in what [`Self::compute`] is given: the mean over atoms and copies of ‖Rᵀf − f̄‖₂, where Rᵀf is the force
    /// turned back to the structure's own orientation and f̄ the mean of these over the copies.
    #[must_use]
    pub fn with_equivariance(mut self, weight: f64, copies: usize) -> Self {
        // Copies that nothing compares are dealt one by one.
        self.equivariance = Equivariance { weight, copies: if weight > 0.0 { copies } else { 1 } };
        self
    }

    /// The loss in Hartree/Bohr of a batch of `n_atoms` atoms, as far as `samples` make it (all of the batch, or a
    /// rank's share), and its gradient by the trainable parameters, on the current thread pool.
    pub fn compute(&mut self, network: &Network<T>, samples: &[Sample], n_atoms: usize) -> (f64, &mut [T]) {
        let mut by_size: Vec<&[Sample]> = samples.chunks(self.equivariance.copies).collect();
        by_size.sort_by_key(|copies| std::cmp::Reverse(copies[0].n_edges()));
        let (objective, equivariance, trained) = (self.objective, self.equivariance, self.trained);
        self.slots.par_iter_mut().enumerate().for_each(|(index, slot)| {
            let dealt: Vec<&[Sample]> = by_size.iter().skip(index).step_by(N_SLOTS).copied().collect();
            slot.compute(network, objective, equivariance, trained, &dealt, n_atoms);
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
    fn compute(
        &mut self,
        network: &Network<T>,
        objective: Loss,
        equivariance: Equivariance,
        trained: Trained,
        structures: &[&[Sample]],
        n_atoms: usize,
    ) {
        self.gradient.fill(T::ZERO);
        self.loss = 0.0;
        let mut rest = structures;
        while !rest.is_empty() {
            let mut rows = 0;
            let fitting = rest.iter().take_while(|copies| {
                rows += copies.iter().map(Sample::n_edges).sum::<usize>();
                rows <= GROUP_ROWS
            });
            let (group, later) = rest.split_at(fitting.count().max(1));
            let samples = || group.iter().copied().flatten();
            let molecules: Vec<Molecule<'_>> = samples().map(Sample::molecule).collect();
            let reference: Vec<[f64; 3]> =
                samples().flat_map(|sample| sample.forces.iter().copied()).collect();
            self.forces.resize(3 * reference.len(), T::ZERO);
            self.dforces.resize(3 * reference.len(), T::ZERO);
            let Self { tape, forces, dforces, gradient, loss } = self;
            match trained {
                Trained::All => network.forward(&molecules, tape, forces),
                // Without a way back through the body.
                Trained::Head => network.infer(&molecules, 1, tape, forces),
            }
            *loss += objective.of(forces, &reference, n_atoms, dforces);
            if equivariance.weight > 0.0 {
                let mut start = 0;
                for copies in group {
                    let end = start + 3 * copies.iter().map(|sample| sample.numbers.len()).sum::<usize>();
                    let (forces, dforces) = (&forces[start..end], &mut dforces[start..end]);
                    *loss += add_equivariance_error(equivariance.weight, copies, forces, n_atoms, dforces);
                    start = end;
                }
            }
            match trained {
                Trained::All => network.backward(&molecules, tape, dforces, gradient, None),
                Trained::Head => network.backward_head(tape, dforces, gradient),
            }
            rest = later;
        }
    }
}
