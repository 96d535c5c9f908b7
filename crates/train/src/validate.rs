//! Force errors of a network on a labelled data set.

use crate::{Ranks, Sample};
use mdet_core::Rotation;
use mdet_core::constants::HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM;
use mdet_data::Dataset;
use mdet_model::{Network, Tape};
use rayon::prelude::*;

/// Mean force errors, meV/Å.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForceErrors {
    /// Structures measured.
    pub n_structures: usize,
    /// Mean absolute error of a component.
    pub component_mae_mev_per_angstrom: f64,
    /// Mean Euclidean norm of an atom's error.
    pub euclidean_mev_per_angstrom: f64,
}

/// Errors of the raw forces on the structures of `dataset` named by `indices`, as they lie; every rank takes a share
/// and gets the whole result.
pub fn validate(network: &Network<f32>, dataset: &Dataset, indices: &[usize], ranks: &Ranks) -> ForceErrors {
    let own: Vec<usize> = indices.iter().skip(ranks.rank()).step_by(ranks.size()).copied().collect();
    let sums: Vec<[f64; 3]> = own
        .par_chunks(32)
        .map(|chunk| {
            let mut tape = Tape::default();
            let mut sums = [0.0; 3];
            for &index in chunk {
                let sample = Sample::new(&dataset.get(index), &Rotation::IDENTITY);
                let mut forces = vec![0.0; 3 * sample.numbers.len()];
                network.forward(&[sample.molecule()], &mut tape, &mut forces);
                for (f, r) in forces.chunks_exact(3).zip(&sample.forces) {
                    let error: [f64; 3] = std::array::from_fn(|axis| f64::from(f[axis]) - r[axis]);
                    sums[0] += 1.0;
                    sums[1] += error.iter().map(|e| e.abs()).sum::<f64>() / 3.0;
                    sums[2] += error.iter().map(|e| e * e).sum::<f64>().sqrt();
                }
            }
            sums
        })
        .collect();
    let mut total = sums.iter().fold([0.0; 3], |total, s| std::array::from_fn(|k| total[k] + s[k]));
    ranks.sum(&mut total);
    let [n_atoms, absolute, euclidean] = total;
    let unit = 1e3 * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM / n_atoms;
    ForceErrors {
        n_structures: indices.len(),
        component_mae_mev_per_angstrom: absolute * unit,
        euclidean_mev_per_angstrom: euclidean * unit,
    }
}
