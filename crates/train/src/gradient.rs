//! Loss and gradient of a batch, on many threads with a result that does not depend on how many.
//!
//! The samples are dealt to a fixed number of slots by size, copies that are compared with each other as one; a slot's
//! samples are summed one after another, and the slots' gradients in their order.
//!
//! Within a slot, structures of like size are evaluated in groups of a bounded number of edge rows, so that neither
//! memory nor Σ N³ of what is evaluated at once grows with the batch: it is that of a group, or of the largest structure.

use crate::loss::{add_antisymmetric_error, add_equivariance_error};
use crate::{Loss, Sample, Trained};
use mdet_kernels::Real;
use mdet_model::{Molecule, Network, Rounding, Tape};
use rayon::prelude::*;

/// Fixed, so that sums do not depend on the number of threads; also the most threads that find work.
pub const N_SLOTS: usize = 8;
/// Edge rows that are evaluated together at most (a single larger structure goes alone): enough for the matrix
/// products to run at their rate, few enough for the rows of a layer to stay in the second-level cache.
const GROUP_ROWS: usize = 512;
/// Gradient entries that one task of the final sum takes.
const SUM_CHUNK: usize = 16_384;

/// Buffers for gradients of batches.
#[derive(Debug)]
pub struct BatchGradient<T> {
    objective: Loss,
    terms: StructureTerms,
    trained: Trained,
    slots: Vec<Slot<T>>,
    total: Vec<T>,
}

/// What the loss asks of a structure's samples together, beside the errors of their forces.
#[derive(Debug, Clone, Copy)]
pub struct StructureTerms {
    /// Copies of each structure, one after another.
    pub copies: usize,
    /// Weight of the equivariance error: the mean over atoms and copies of ‖Rᵀf − f̄‖₂, where Rᵀf is the force turned back
    /// to the structure's own orientation and f̄ the mean of these over the copies.
    pub equivariance_weight: f64,
    /// Weight of the antisymmetric error: the force without a potential, 0.1 Å away in the direction of a probe. A probe is
    /// a displaced sample that follows the copies where the weight is above 0.
    pub antisymmetry_weight: f64,
}

impl StructureTerms {
    /// None: every sample counts by itself.
    const NONE: Self = Self { copies: 1, equivariance_weight: 0.0, antisymmetry_weight: 0.0 };

    fn has_probe(&self) -> bool {
        self.antisymmetry_weight > 0.0
    }

    fn n_samples(&self) -> usize {
        self.copies + usize::from(self.has_probe())
    }

    /// The loss of one structure's `samples`, copies and then the probe, as far as it makes that of a batch of `n_atoms`
    /// atoms; writes its derivative by the forces. `forces`, `dforces`: `[samples, atoms, 3]` row-major; `transposed`: Jᵀd of
    /// [`Slot::transposed_products`].
    fn loss<T: Real>(
        &self,
        objective: Loss,
        samples: &[Sample],
        forces: &[T],
        transposed: &[f64],
        n_atoms: usize,
        dforces: &mut [T],
    ) -> f64 {
        let len = 3 * samples[0].numbers.len();
        let copies = &samples[..samples.len() - usize::from(self.has_probe())];
        let (of_copies, of_probe) = forces.split_at(copies.len() * len);
        let (dcopies, dprobe) = dforces.split_at_mut(copies.len() * len);
        let mut loss = 0.0;
        for (k, copy) in copies.iter().enumerate() {
            let range = k * len..(k + 1) * len;
            loss += objective.of(&of_copies[range.clone()], &copy.forces, n_atoms, &mut dcopies[range]);
        }
        if self.equivariance_weight > 0.0 {
            loss += add_equivariance_error(self.equivariance_weight, copies, of_copies, n_atoms, dcopies);
        }
        if self.has_probe() {
            dprobe.fill(T::ZERO);
            loss += add_antisymmetric_error(
                self.antisymmetry_weight,
                [&of_copies[..len], of_probe],
                transposed,
                (copies.len() * samples[0].numbers.len()) as f64 / n_atoms as f64,
                [&mut dcopies[..len], dprobe],
            );
        }
        loss
    }
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
            terms: StructureTerms::NONE,
            trained,
            slots: (0..N_SLOTS).map(|_| slot()).collect(),
            total: vec![T::ZERO; network.layout().n_trainable()],
        }
    }

    /// Adds `terms` to the loss.
    #[must_use]
    pub fn with_terms(mut self, terms: StructureTerms) -> Self {
        // Copies that nothing compares are dealt one by one.
        let compared = terms.equivariance_weight > 0.0 || terms.antisymmetry_weight > 0.0;
        self.terms = if compared { terms } else { StructureTerms::NONE };
        self
    }

    /// The loss in Hartree/Bohr of a batch of `n_atoms` atoms (probes not counted), as far as `samples` make it (all of the
    /// batch, or a rank's share), and its gradient by the trainable parameters, on the current thread pool.
    pub fn compute(&mut self, network: &Network<T>, samples: &[Sample], n_atoms: usize) -> (f64, &mut [T]) {
        let mut by_size: Vec<&[Sample]> = samples.chunks(self.terms.n_samples()).collect();
        by_size.sort_by_key(|copies| std::cmp::Reverse(copies[0].n_edges()));
        let (objective, terms, trained) = (self.objective, self.terms, self.trained);
        self.slots.par_iter_mut().enumerate().for_each(|(index, slot)| {
            let dealt: Vec<&[Sample]> = by_size.iter().skip(index).step_by(N_SLOTS).copied().collect();
            slot.compute(network, objective, terms, trained, &dealt, n_atoms);
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
        terms: StructureTerms,
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
            let len = samples().map(|sample| 3 * sample.numbers.len()).sum();
            self.forces.resize(len, T::ZERO);
            self.dforces.resize(len, T::ZERO);
            let transposed =
                if terms.has_probe() { self.transposed_products(network, group) } else { Vec::new() };
            let Self { tape, forces, dforces, gradient, loss } = self;
            match trained {
                Trained::All => network.forward(&molecules, tape, forces),
                // Without a way back through the body.
                Trained::Head => network.infer(&molecules, 1, tape, forces),
            }
            let (mut start, mut atom) = (0, 0);
            for samples in group {
                let n = samples[0].numbers.len();
                let range = start..start + 3 * n * samples.len();
                let transposed = transposed.get(atom..atom + n).unwrap_or_default().as_flattened();
                let (forces, dforces) = (&forces[range.clone()], &mut dforces[range.clone()]);
                *loss += terms.loss(objective, samples, forces, transposed, n_atoms, dforces);
                (start, atom) = (range.end, atom + n);
            }
            match trained {
                Trained::All => network.backward(&molecules, tape, dforces, gradient, None),
                Trained::Head => network.backward_head(tape, dforces, gradient),
            }
            rest = later;
        }
    }

    /// Jᵀd of the first copy of each structure, with J its Jacobian and d the displacement of its probe; `[atoms, 3]` of
    /// one structure after another.
    fn transposed_products(&mut self, network: &Network<T>, structures: &[&[Sample]]) -> Vec<[f64; 3]> {
        let first: Vec<Molecule<'_>> = structures.iter().map(|samples| samples[0].molecule()).collect();
        let displacements = |samples: &&[Sample]| -> Vec<T> {
            let (to, from) = (&samples[samples.len() - 1].positions_bohr, &samples[0].positions_bohr);
            let pairs = to.as_flattened().iter().zip(from.as_flattened());
            pairs.map(|(to, from)| T::from_f64(to - from)).collect()
        };
        let displacements: Vec<T> = structures.iter().flat_map(displacements).collect();
        let (len, mut result) = (displacements.len(), vec![[0.0; 3]; displacements.len() / 3]);
        network.forward(&first, &mut self.tape, &mut self.forces[..len]);
        network.backward_to_positions(&first, &mut self.tape, &displacements, &mut result);
        result
    }
}
