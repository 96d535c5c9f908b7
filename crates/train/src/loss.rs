//! How far forces are from their references, as one number with its derivative.
//!
//! | loss | mean over | of |
//! |---|---|---|
//! | Euclidean | atoms | ‖e‖₂ |
//! | MAE | components | \|e\| |
//! | MSE | components | e² / (1 eV/Å) |
//! | Huber | components | e² / 2δ where \|e\| ≤ δ, else \|e\| − δ/2 |
//!
//! e is the error of an atom's force or of a component of it. All are forces, so that learning rates and the clipping of
//! gradients mean about the same for each.

use crate::Sample;
use crate::batch::PROBE_BOHR;
use mdet_core::constants::{BOHR_IN_ANGSTROM, HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM};
use mdet_kernels::Real;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What training makes small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Loss {
    /// Mean Euclidean norm of an atom's error, as published.
    #[default]
    Euclidean,
    /// Mean absolute error of a component.
    Mae,
    /// Mean squared error of a component, over 1 eV/Å.
    Mse,
    /// Squared for small errors of a component, absolute for large ones.
    Huber {
        /// δ, where the one becomes the other, eV/Å.
        #[schemars(extend("exclusiveMinimum" = 0))]
        delta_ev_per_angstrom: f64,
    },
}

impl Loss {
    /// The loss of a batch of `n_atoms` atoms, as far as these atoms make it, in Hartree/Bohr; writes its derivative by
    /// the forces. Where it has a kink, at no error, the derivative is zero.
    ///
    /// `forces`, `dforces`: `[atoms, 3]` row-major and `reference`, all in Hartree/Bohr.
    pub fn of<T: Real>(self, forces: &[T], reference: &[[f64; 3]], n_atoms: usize, dforces: &mut [T]) -> f64 {
        let unit = 1.0 / HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM;
        let n_components = 3.0 * n_atoms as f64;
        let mut loss = 0.0;
        for ((f, r), d) in forces.chunks_exact(3).zip(reference).zip(dforces.chunks_exact_mut(3)) {
            let error: [f64; 3] = std::array::from_fn(|axis| f[axis].to_f64() - r[axis]);
            let norm = error.iter().map(|e| e * e).sum::<f64>().sqrt();
            if self == Self::Euclidean {
                loss += norm / n_atoms as f64;
            }
            for axis in 0..3 {
                let e = error[axis];
                let sign = if e == 0.0 { 0.0 } else { e.signum() };
                let (value, slope) = match self {
                    // The value is the atom's, above.
                    Self::Euclidean => (0.0, if norm > 0.0 { 3.0 * e / norm } else { 0.0 }),
                    Self::Mae => (e.abs(), sign),
                    Self::Mse => (e * e / unit, 2.0 * e / unit),
                    Self::Huber { delta_ev_per_angstrom } => {
                        let delta = delta_ev_per_angstrom * unit;
                        if e.abs() <= delta {
                            (e * e / (2.0 * delta), e / delta)
                        } else {
                            (e.abs() - delta / 2.0, sign)
                        }
                    }
                };
                loss += value / n_components;
                d[axis] = T::from_f64(slope / n_components);
            }
        }
        loss
    }
}

/// `weight` times the equivariance error of one structure's copies, as far as it makes that of a batch of `n_atoms` atoms;
/// adds its derivative by the forces to `dforces`. The error is the mean over atoms and copies of ‖Rᵀf − f̄‖₂, with f̄ the
/// mean of the turned-back Rᵀf over the copies. Where it has a kink, at no error, the derivative is zero.
///
/// `forces`, `dforces`: `[copies, atoms, 3]` row-major, in Hartree/Bohr as the result.
pub(crate) fn add_equivariance_error<T: Real>(
    weight: f64,
    copies: &[Sample],
    forces: &[T],
    n_atoms: usize,
    dforces: &mut [T],
) -> f64 {
    let (n_copies, len) = (copies.len() as f64, forces.len() / copies.len());
    let mean = |vectors: &[[f64; 3]]| -> [f64; 3] {
        std::array::from_fn(|axis| vectors.iter().map(|v| v[axis]).sum::<f64>() / n_copies)
    };
    let mut vectors = vec![[0.0; 3]; copies.len()];
    let mut error = 0.0;
    for atom in (0..len).step_by(3) {
        for (copy, (sample, vector)) in copies.iter().zip(&mut vectors).enumerate() {
            *vector = std::array::from_fn(|axis| forces[copy * len + atom + axis].to_f64());
            sample.rotation.apply_inverse(std::slice::from_mut(vector));
        }
        let center = mean(&vectors);
        for vector in &mut vectors {
            let deviation: [f64; 3] = std::array::from_fn(|axis| vector[axis] - center[axis]);
            let norm = deviation.iter().map(|x| x * x).sum::<f64>().sqrt();
            error += norm;
            *vector = deviation.map(|x| if norm > 0.0 { x / norm } else { 0.0 });
        }
        // Every force moves the mean too.
        let center = mean(&vectors);
        for (copy, (sample, vector)) in copies.iter().zip(&vectors).enumerate() {
            let mut slope = std::array::from_fn(|axis| vector[axis] - center[axis]);
            sample.rotation.apply(std::slice::from_mut(&mut slope));
            for axis in 0..3 {
                dforces[copy * len + atom + axis] += T::from_f64(weight * slope[axis] / n_atoms as f64);
            }
        }
    }
    weight * error / n_atoms as f64
}

/// Displacement at which the antisymmetric part's force counts, Bohr: 0.1 Å.
const COUNTED_AT_BOHR: f64 = 0.1 / BOHR_IN_ANGSTROM;

/// `weight` times the antisymmetric error of a structure, times `share`; adds its derivative by the forces to `dhere` and
/// `dprobe`. With J the force Jacobian, d the probe's displacement and ε its standard deviation, the error is
/// ‖(J − Jᵀ)d‖ / 2ε√(3N) times 0.1 Å: the force per coordinate that has no potential, 0.1 Å from the geometry. Its mean square
/// over d is ‖(J − Jᵀ)/2‖² / 3N times (0.1 Å)².
///
/// `at_here`, `at_probe`, `transposed`: forces of structure and probe, and Jᵀd; `[atoms, 3]` row-major, Hartree/Bohr. The
/// derivative takes Jᵀd as given: over random d that is about half of the whole, whose other half, through Jᵀd, is the
/// same with the indices of J exchanged.
pub(crate) fn add_antisymmetric_error<T: Real>(
    weight: f64,
    [at_here, at_probe]: [&[T]; 2],
    transposed: &[f64],
    share: f64,
    [dhere, dprobe]: [&mut [T]; 2],
) -> f64 {
    let len = transposed.len() as f64;
    let error = |k: usize| at_probe[k].to_f64() - at_here[k].to_f64() - transposed[k];
    let norm = (0..transposed.len()).map(|k| error(k) * error(k)).sum::<f64>().sqrt();
    let scale = weight * share * COUNTED_AT_BOHR / (2.0 * PROBE_BOHR * len.sqrt());
    if norm > 0.0 {
        for k in 0..transposed.len() {
            let slope = T::from_f64(scale * error(k) / norm);
            dprobe[k] += slope;
            dhere[k] -= slope;
        }
    }
    scale * norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdet_core::{Purpose, RandomStream, Rotation};

    const LOSSES: [Loss; 4] =
        [Loss::Euclidean, Loss::Mae, Loss::Mse, Loss::Huber { delta_ev_per_angstrom: 1.0 }];
    const FORCES: [f64; 6] = [0.03, -0.01, 0.4, -0.2, 0.011, 0.0];
    const REFERENCE: [[f64; 3]; 2] = [[0.01, 0.02, -0.3], [0.1, 0.01, 0.3]];

    fn value(loss: Loss, forces: &[f64]) -> f64 {
        // Two of four atoms: the others are in another group.
        loss.of(forces, &REFERENCE, 4, &mut [0.0; 6])
    }

    #[test]
    fn derivatives_match_central_differences() {
        for loss in LOSSES {
            let mut slopes = [0.0; 6];
            loss.of(&FORCES, &REFERENCE, 4, &mut slopes);
            for k in 0..6 {
                let step = 1e-6;
                let moved = |by: f64| {
                    let mut forces = FORCES;
                    forces[k] += by;
                    value(loss, &forces)
                };
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                // Central differences of smooth pieces: rounding 1e-16/1e-6 and a curvature term of 1e-12 remain.
                assert!((slopes[k] - slope).abs() < 1e-8, "{loss:?} {k}: {} and {slope}", slopes[k]);
            }
        }
    }

    /// Copies of a diatomic, and forces on them: those of `force` in the structure's own orientation, turned with it.
    fn copies(n: usize, force: impl Fn(usize, usize) -> [f64; 3]) -> (Vec<Sample>, Vec<f64>) {
        let mut generator = RandomStream { seed: 3, purpose: Purpose::Augmentation, replica: 0 }.at_step(0);
        let sample = |_| Sample {
            numbers: vec![1, 1],
            positions_bohr: vec![[0.0; 3]; 2],
            forces: vec![[0.0; 3]; 2],
            rotation: Rotation::random_or_reflection(&mut generator),
            charge: 0,
            multiplicity: 1,
        };
        let samples: Vec<Sample> = (0..n).map(sample).collect();
        let turned = samples.iter().enumerate().flat_map(|(copy, sample)| {
            let mut forces = [force(copy, 0), force(copy, 1)];
            sample.rotation.apply(&mut forces);
            forces.into_iter().flatten()
        });
        let forces = turned.collect();
        (samples, forces)
    }

    #[test]
    fn equivariance_error_is_the_spread_of_turned_back_forces() {
        let equivariant = |_, atom: usize| [0.3, -0.1 * atom as f64, 0.2];
        let (samples, forces) = copies(3, equivariant);
        let mut slopes = [1.0; 18];
        assert!(add_equivariance_error(2.0, &samples, &forces, 6, &mut slopes) < 1e-15);
        // Two copies of the second atom's force 0.2 apart: each is 0.1 from their mean; four atoms, weight 2.
        let apart =
            |copy, atom| if (copy, atom) == (1, 1) { [0.3, 0.1, 0.2] } else { equivariant(copy, atom) };
        let (samples, forces) = copies(2, apart);
        let error = add_equivariance_error(2.0, &samples, &forces, 4, &mut [0.0; 12]);
        assert!((error - 2.0 * (0.1 + 0.1) / 4.0).abs() < 1e-15, "{error}");
    }

    #[test]
    fn equivariance_derivatives_match_central_differences() {
        let scattered = |copy, atom| [0.3 + 0.02 * (copy * copy) as f64, -0.1 * (atom * copy) as f64, 0.2];
        let (samples, forces) = copies(3, scattered);
        let value = |forces: &[f64]| add_equivariance_error(0.7, &samples, forces, 6, &mut [0.0; 18]);
        // Added to what is there.
        let mut slopes = [1.0; 18];
        add_equivariance_error(0.7, &samples, &forces, 6, &mut slopes);
        for k in 0..18 {
            let step = 1e-6;
            let moved = |by: f64| {
                let mut forces = forces.clone();
                forces[k] += by;
                value(&forces)
            };
            let slope = 1.0 + (moved(step) - moved(-step)) / (2.0 * step);
            assert!((slopes[k] - slope).abs() < 1e-8, "{k}: {} and {slope}", slopes[k]);
        }
    }

    #[test]
    fn values_are_the_definitions() {
        let unit = 1.0 / HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM;
        let errors: Vec<f64> = FORCES.iter().zip(REFERENCE.as_flattened()).map(|(f, r)| f - r).collect();
        let sum = |of: &dyn Fn(f64) -> f64| errors.iter().map(|&e| of(e)).sum::<f64>() / 12.0;
        let close = |loss, expected: f64| assert!((value(loss, &FORCES) - expected).abs() < 1e-15);
        close(Loss::Mae, sum(&f64::abs));
        close(Loss::Mse, sum(&|e| e * e / unit));
        // A wide Huber loss is half the squares over δ; a narrow one the absolute error less δ/2.
        close(Loss::Huber { delta_ev_per_angstrom: 1e3 }, sum(&|e| e * e / (2e3 * unit)));
        close(Loss::Huber { delta_ev_per_angstrom: 1e-3 }, sum(&|e| e.abs() - 5e-4 * unit));
        let norms: f64 = errors.chunks(3).map(|e| e.iter().map(|x| x * x).sum::<f64>().sqrt()).sum();
        close(Loss::Euclidean, norms / 4.0);
    }

    #[test]
    fn no_error_has_no_derivative() {
        for loss in LOSSES {
            let mut slopes = [1.0; 6];
            let forces: Vec<f64> = REFERENCE.as_flattened().to_vec();
            assert_eq!(loss.of(&forces, &REFERENCE, 2, &mut slopes), 0.0);
            assert_eq!(slopes, [0.0; 6], "{loss:?}");
        }
    }
}
