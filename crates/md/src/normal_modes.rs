//! Normal modes from a force Jacobian: wavenumbers, modes and the zero-point energy.
//!
//! ```text
//! H = −(J + Jᵀ)/2,   D = P M^(−½) H M^(−½) P,   D w = ω² w,   ν̃ = ω/(2π c),   E₀ = ½ Σ h c ν̃
//! ```
//!
//! | symbol | meaning |
//! |---|---|
//! | J | force Jacobian ∂F/∂r; of forces with a potential it is symmetric |
//! | P | projector on what is neither translation nor rotation, in mass-weighted coordinates |
//! | M | masses |
//! | w, ω | mode (mass-weighted, of length one) and angular frequency |
//!
//! An imaginary frequency, ω² < 0, is given as a negative wavenumber: the geometry is no minimum along it.
//!
//! Deliberately absent: intensities (the model has no dipole) and thermochemistry beyond the zero-point energy.

use mdet_core::constants::{EV_PER_U_IN_ANGSTROM2_PER_FS2, PLANCK_IN_EV_FS, SPEED_OF_LIGHT_IN_CM_PER_FS};
use mdet_core::rigid::{remove_translation_and_rotation, rigid_degrees_of_freedom, straightened};
use nalgebra::{DMatrix, SymmetricEigen};

/// The vibrations of a molecule.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalModes {
    /// Wavenumbers in cm⁻¹, ascending; imaginary ones negative. 3N − 6 of them (3N − 5 linear, 0 for an atom).
    pub wavenumbers_per_cm: Vec<f64>,
    /// Displacements `[n_atoms][3]` of each mode, not mass-weighted, of length one in all.
    pub displacements: Vec<Vec<[f64; 3]>>,
    /// ½ Σ h c ν̃ of the real ones, eV.
    pub zero_point_energy_ev: f64,
    /// ½ ‖J − Jᵀ‖ / ‖J‖ (Frobenius), from 0 to 1: the part of the Jacobian that no potential can have.
    pub antisymmetric_share: f64,
}

/// The normal modes at `positions` (Å) of atoms with `masses_u`, from the Jacobian ∂F/∂r, `[3n, 3n]`, eV/Å².
///
/// A molecule whose atoms lie within 0.1 Å of a line counts as linear.
///
/// # Panics
/// When the lengths do not fit together.
pub fn normal_modes(jacobian: &[f64], masses_u: &[f64], positions: &[[f64; 3]]) -> NormalModes {
    let n_atoms = positions.len();
    let size = 3 * n_atoms;
    assert_eq!(
        (jacobian.len(), masses_u.len()),
        (size * size, n_atoms),
        "Jacobian and masses of {n_atoms} atoms"
    );
    let jacobian = DMatrix::from_row_slice(size, size, jacobian);
    let sum = &jacobian + jacobian.transpose();
    let antisymmetric = (&jacobian - jacobian.transpose()).norm();
    let norm = jacobian.norm();
    let antisymmetric_share = if norm > 0.0 { 0.5 * antisymmetric / norm } else { 0.0 };
    let root = |row: usize| masses_u[row / 3].sqrt();
    let weighted = DMatrix::from_fn(size, size, |i, j| -0.5 * sum[(i, j)] / (root(i) * root(j)));
    let positions = straightened(positions);
    let projector = projector(masses_u, &positions);
    let n_rigid = rigid_degrees_of_freedom(&positions);
    // Rigid motion is lifted above everything else, so that it cannot mix with soft modes near zero.
    let lifted = 10.0 * weighted.norm() + 1.0;
    let rigid = DMatrix::identity(size, size) - &projector;
    let dynamical = &projector * weighted * &projector + rigid * lifted;
    let eigen = SymmetricEigen::new(0.5 * (&dynamical + dynamical.transpose()));
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[a].total_cmp(&eigen.eigenvalues[b]));
    order.truncate(size - n_rigid);

    let wavenumber = |&k: &usize| wavenumber_per_cm(eigen.eigenvalues[k]);
    let displacement = |&k: &usize| {
        let mut mode: Vec<[f64; 3]> = (0..n_atoms)
            .map(|i| std::array::from_fn(|axis| eigen.eigenvectors[(3 * i + axis, k)] / root(3 * i)))
            .collect();
        let length = mode.as_flattened().iter().map(|x| x * x).sum::<f64>().sqrt();
        mode.as_flattened_mut().iter_mut().for_each(|x| *x /= length);
        mode
    };
    let wavenumbers_per_cm: Vec<f64> = order.iter().map(wavenumber).collect();
    let real = wavenumbers_per_cm.iter().filter(|&&wavenumber| wavenumber > 0.0).sum::<f64>();
    NormalModes {
        displacements: order.iter().map(displacement).collect(),
        zero_point_energy_ev: 0.5 * real * PLANCK_IN_EV_FS * SPEED_OF_LIGHT_IN_CM_PER_FS,
        antisymmetric_share,
        wavenumbers_per_cm,
    }
}

/// ν̃ in cm⁻¹ of ω² in eV/(Å² u), with the sign of ω².
fn wavenumber_per_cm(omega_squared: f64) -> f64 {
    let omega_per_fs = (omega_squared.abs() * EV_PER_U_IN_ANGSTROM2_PER_FS2).sqrt();
    omega_squared.signum() * omega_per_fs / (2.0 * std::f64::consts::PI * SPEED_OF_LIGHT_IN_CM_PER_FS)
}

/// P of the module, column by column: what is left of a unit displacement in mass-weighted coordinates.
fn projector(masses_u: &[f64], positions: &[[f64; 3]]) -> DMatrix<f64> {
    let size = 3 * masses_u.len();
    let mut projector = DMatrix::zeros(size, size);
    for column in 0..size {
        let mut unit = vec![[0.0; 3]; masses_u.len()];
        unit[column / 3][column % 3] = 1.0 / masses_u[column / 3].sqrt();
        remove_translation_and_rotation(masses_u, positions, &mut unit);
        for row in 0..size {
            projector[(row, column)] = unit[row / 3][row % 3] * masses_u[row / 3].sqrt();
        }
    }
    projector
}
