//! Committee: the mean of several force fields.

use crate::force_field::{ForceField, ForceFieldError};
use crate::force_jacobian::ForceJacobian;
use crate::structure::Structure;

/// The mean over its members, of forces and of their derivatives.
#[derive(Debug, Clone)]
pub struct Committee<F> {
    /// The members, at least one.
    pub members: Vec<F>,
}

impl<F: ForceField> ForceField for Committee<F> {
    /// # Panics
    /// When there are no members.
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        let (first, others) = self.members.split_first_mut().expect("a committee has members");
        first.forces(batch, forces)?;
        if others.is_empty() {
            return Ok(());
        }
        let n = 1.0 + others.len() as f64;
        let mut own = vec![[0.0; 3]; forces.len()];
        for member in others {
            member.forces(batch, &mut own)?;
            add(forces.as_flattened_mut(), own.as_flattened());
        }
        forces.as_flattened_mut().iter_mut().for_each(|x| *x /= n);
        Ok(())
    }
}

impl<F: ForceJacobian> ForceJacobian for Committee<F> {
    /// # Panics
    /// When there are no members.
    fn jacobian(&mut self, structure: &Structure) -> Result<Vec<f64>, ForceFieldError> {
        let n = self.members.len() as f64;
        let (first, others) = self.members.split_first_mut().expect("a committee has members");
        let mut jacobian = first.jacobian(structure)?;
        for member in others {
            add(&mut jacobian, &member.jacobian(structure)?);
        }
        jacobian.iter_mut().for_each(|x| *x /= n);
        Ok(jacobian)
    }
}

fn add(sum: &mut [f64], own: &[f64]) {
    sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potentials::Harmonic;

    #[test]
    fn springs_are_averaged_in_forces_and_jacobian_and_one_member_is_itself() {
        let spring = |stiffness_ev_per_angstrom2| Harmonic {
            stiffness_ev_per_angstrom2,
            wells: vec![[0.0; 3], [0.0, 0.0, 1.1]],
        };
        let structure = Structure::new(vec![6, 8], vec![[0.1, 0.0, 0.0], [0.0, 0.3, 1.3]], 0, 1).unwrap();
        let found = |field: &mut dyn ForceJacobian| {
            let mut forces = vec![[0.0; 3]; 2];
            field.forces(std::slice::from_ref(&structure), &mut forces).unwrap();
            (forces, field.jacobian(&structure).unwrap())
        };
        let mean = found(&mut Committee { members: vec![spring(1.0), spring(2.0), spring(6.0)] });
        let expected = found(&mut spring(3.0));
        let pairs = mean.0.as_flattened().iter().chain(&mean.1);
        let pairs = pairs.zip(expected.0.as_flattened().iter().chain(&expected.1));
        pairs.for_each(|(found, expected)| assert!((found - expected).abs() < 1e-14, "{found} {expected}"));
        assert_eq!(found(&mut Committee { members: vec![spring(2.0)] }), found(&mut spring(2.0)));
    }
}
