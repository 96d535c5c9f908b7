//! `NetForceRemoved`: a force field without its net force and net torque, or without one of them.
//!
//! A network that reads forces off directly has no reason to conserve momentum; the removal restores it exactly
//! with the smallest change of the forces. Its place among the wrappers is said at [`ForceField`].

use crate::force_field::{ForceField, ForceFieldError, by_structure, check_finite};
use crate::rigid::{remove_net_force, remove_net_force_and_torque, remove_net_torque};
use crate::structure::Structure;

/// What is removed from the forces of every structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Net force and net torque.
    Both,
    /// The net force alone.
    Force,
    /// The net torque about the centroid alone.
    Torque,
}

/// The forces of `inner`, less the net force and net torque of every structure.
#[derive(Debug, Clone)]
pub struct NetForceRemoved<F> {
    /// The force field whose forces are corrected.
    pub inner: F,
    /// What is removed.
    pub removal: Removal,
}

impl<F> NetForceRemoved<F> {
    /// `inner` without net force and net torque.
    pub fn new(inner: F) -> Self {
        Self { inner, removal: Removal::Both }
    }
}

impl<F: ForceField> ForceField for NetForceRemoved<F> {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        self.inner.forces(batch, forces)?;
        // Before the correction, which would spread one atom's NaN over the whole molecule.
        check_finite(batch, forces)?;
        for (structure, forces) in by_structure(batch, forces) {
            match self.removal {
                Removal::Both => remove_net_force_and_torque(structure.positions(), forces),
                Removal::Force => remove_net_force(forces),
                Removal::Torque => remove_net_torque(structure.positions(), forces),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potentials::{Harmonic, LennardJones};

    fn cluster(shift: f64) -> Structure {
        let positions = vec![[shift, 0.0, 0.1], [3.6, 0.3, 0.0], [0.2, 3.9, -0.4]];
        Structure::new(vec![18; 3], positions, 0, 1).unwrap()
    }

    fn forces_of(force_field: &mut impl ForceField, batch: &[Structure]) -> Vec<[f64; 3]> {
        let mut forces = vec![[0.0; 3]; 3 * batch.len()];
        force_field.forces(batch, &mut forces).unwrap();
        forces
    }

    #[test]
    fn forces_of_a_closed_system_are_left_as_they_are() {
        let mut closed = LennardJones { depth_ev: 0.01, sigma_angstrom: 3.4 };
        let batch = [cluster(0.0), cluster(-0.5)];
        let expected = forces_of(&mut closed, &batch);
        let found = forces_of(&mut NetForceRemoved::new(closed), &batch);
        // Forces reach 1e-2 eV/Å: rounding, times the lever arm of a few Å.
        for (found, expected) in found.as_flattened().iter().zip(expected.as_flattened()) {
            assert!((found - expected).abs() < 1e-16, "found {found}, expected {expected}");
        }
    }

    #[test]
    fn every_structure_of_a_batch_is_corrected_by_itself() {
        let wells = Harmonic { stiffness_ev_per_angstrom2: 2.0, wells: vec![[0.5, -0.2, 1.0]; 3] };
        let mut removed = NetForceRemoved::new(wells);
        let batch = [cluster(0.0), cluster(-0.5)];
        let together = forces_of(&mut removed, &batch);
        let one_by_one = batch.map(|structure| forces_of(&mut removed, &[structure])).concat();
        assert_eq!(together, one_by_one);
        let net: f64 = together[..3].iter().map(|f| f[0]).sum();
        assert!(net.abs() < 1e-14, "net force {net}");
    }

    #[test]
    fn each_part_is_removed_by_itself_and_the_other_one_left() {
        // One well apart from the others, so that there is a torque.
        let wells = vec![[0.5, -0.2, 1.0], [0.5, 3.0, 1.0], [0.5, -0.2, 1.0]];
        let skew = Harmonic { stiffness_ev_per_angstrom2: 2.0, wells };
        let force =
            |forces: &[[f64; 3]]| (0..3).map(|k| forces.iter().map(|f| f[k]).sum::<f64>().abs()).sum::<f64>();
        // About the centroid: a net force has no torque about it.
        let torque = |forces: &[[f64; 3]]| {
            let structure = cluster(0.0);
            let r = structure.positions();
            let centre: [f64; 3] = std::array::from_fn(|k| r.iter().map(|r| r[k]).sum::<f64>() / 3.0);
            let z = |i: usize| (r[i][0] - centre[0]) * forces[i][1] - (r[i][1] - centre[1]) * forces[i][0];
            (z(0) + z(1) + z(2)).abs()
        };
        let raw = forces_of(&mut skew.clone(), &[cluster(0.0)]);
        let only =
            |removal| forces_of(&mut NetForceRemoved { inner: skew.clone(), removal }, &[cluster(0.0)]);
        let (no_force, no_torque) = (only(Removal::Force), only(Removal::Torque));
        assert!(force(&raw) > 1.0 && torque(&raw) > 1.0);
        assert!(force(&no_force) < 1e-13 && (torque(&no_force) - torque(&raw)).abs() < 1e-13);
        assert!(torque(&no_torque) < 1e-13 && (force(&no_torque) - force(&raw)).abs() < 1e-13);
        let both = forces_of(&mut NetForceRemoved::new(skew.clone()), &[cluster(0.0)]);
        assert!(force(&both) < 1e-13 && torque(&both) < 1e-13);
    }

    #[test]
    fn a_force_that_is_not_finite_is_reported_at_its_atom() {
        let mut wells = vec![[0.0; 3]; 3];
        wells[1][2] = f64::NAN;
        let mut removed = NetForceRemoved::new(Harmonic { stiffness_ev_per_angstrom2: 1.0, wells });
        let error = removed.forces(&[cluster(0.0)], &mut [[0.0; 3]; 3]).unwrap_err();
        assert!(matches!(error, ForceFieldError::NonFinite { structure: 0, atom: 1 }), "{error}");
    }
}
