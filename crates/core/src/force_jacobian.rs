//! `ForceJacobian`: the derivative of forces by positions, for what asks whether forces have a potential (the
//! antisymmetric part) and for vibrations (the symmetric part).
//!
//! ```text
//! J[3i + a, 3j + b] = ∂F_{i,a} / ∂r_{j,b}        −J is the Hessian where the forces have a potential
//! ```

use crate::force_field::{ForceField, ForceFieldError, check_finite};
use crate::structure::Structure;

/// A force field that knows the derivative of its forces.
pub trait ForceJacobian: ForceField {
    /// J = ∂F/∂r of one structure, eV/Å²: `[3n, 3n]` row-major, rows are force components, columns positions, both
    /// in the order x, y, z of atom 0, atom 1, ….
    ///
    /// # Errors
    /// [`ForceFieldError`] as [`ForceField::forces`].
    fn jacobian(&mut self, structure: &Structure) -> Result<Vec<f64>, ForceFieldError>;
}

impl<F: ForceJacobian + ?Sized> ForceJacobian for Box<F> {
    fn jacobian(&mut self, structure: &Structure) -> Result<Vec<f64>, ForceFieldError> {
        (**self).jacobian(structure)
    }
}

/// Any force field with its Jacobian by central differences: for those that cannot give an exact one, and as the
/// twin that exact ones are checked against.
///
/// With forces rounded to ε·F and third derivatives F‴, the error is of order ε F/h + F‴ h²/6: forces computed in
/// f64 give about eight digits at h = 1e-4 Å, forces computed in f32 two.
#[derive(Debug, Clone)]
pub struct CentralDifferences<F> {
    /// The force field.
    pub inner: F,
    /// Displacement h to either side, Å.
    pub step_angstrom: f64,
}

impl<F: ForceField> ForceField for CentralDifferences<F> {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        self.inner.forces(batch, forces)
    }
}

impl<F: ForceField> ForceJacobian for CentralDifferences<F> {
    fn jacobian(&mut self, structure: &Structure) -> Result<Vec<f64>, ForceFieldError> {
        let n = structure.n_atoms();
        let size = 3 * n;
        let mut jacobian = vec![0.0; size * size];
        let mut forces = vec![[0.0; 3]; 2 * n];
        for column in 0..size {
            let moved = |shift: f64| {
                let mut moved = structure.clone();
                moved.positions_mut()[column / 3][column % 3] += shift;
                moved
            };
            let pair = [moved(self.step_angstrom), moved(-self.step_angstrom)];
            self.inner.forces(&pair, &mut forces)?;
            check_finite(&pair, &forces)?;
            let (ahead, behind) = forces.as_flattened().split_at(size);
            for row in 0..size {
                jacobian[row * size + column] = (ahead[row] - behind[row]) / (2.0 * self.step_angstrom);
            }
        }
        Ok(jacobian)
    }
}
