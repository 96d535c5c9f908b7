//! `ForceField`: the seam between what predicts forces and what uses them (dynamics, analysis, commands).

use crate::Structure;

/// Why forces could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum ForceFieldError {
    /// A predicted force is NaN or infinite.
    #[error("the force on atom {atom} of structure {structure} is not finite")]
    NonFinite {
        /// Index of the structure in the batch, from 0.
        structure: usize,
        /// Index of the atom in the structure, from 0.
        atom: usize,
    },
    /// The force field itself failed, for a reason of its own.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// Anything that predicts the force on every atom: a network, an analytic potential, a wrapper around either.
///
/// Wrappers stack in one order, from the outside in:
/// 1. [`NetForceRemoved`](crate::NetForceRemoved): last on the forces, so that what the user sees has no net force;
/// 2. [`FrameAveraged`](crate::FrameAveraged): the mean over a set of rotations;
/// 3. the mean over a [`Committee`](crate::Committee)'s members;
/// 4. the network or the potential.
///
/// The removal is linear in the forces and turns with the molecule, so outside of 2 and 3 it is done once. The random
/// rotation offset of dynamics is no wrapper, as it depends on replica and step: the simulation turns the structures
/// before the whole stack and its forces after ([`forces_in_frames`](crate::frames::forces_in_frames)).
pub trait ForceField {
    /// Writes the forces of all structures, eV/Å, one `[x, y, z]` per atom, structures one after another.
    ///
    /// A structure's forces do not depend on the others in the batch.
    ///
    /// # Errors
    /// [`ForceFieldError`] when a force is not finite or the force field fails; `forces` is then unspecified.
    ///
    /// # Panics
    /// When `forces` does not have one entry per atom of the batch.
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError>;
}

impl<F: ForceField + ?Sized> ForceField for Box<F> {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        (**self).forces(batch, forces)
    }
}

impl<F: ForceField + ?Sized> ForceField for &mut F {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        (**self).forces(batch, forces)
    }
}

/// Every structure of a batch with its own part of the batch's forces (or of any other vector per atom).
///
/// # Panics
/// When `forces` does not have one entry per atom of the batch.
pub fn by_structure<'a>(
    batch: &'a [Structure],
    forces: &'a mut [[f64; 3]],
) -> impl Iterator<Item = (&'a Structure, &'a mut [[f64; 3]])> {
    let n_atoms: usize = batch.iter().map(Structure::n_atoms).sum();
    assert_eq!(forces.len(), n_atoms, "one force per atom of the batch");
    let mut rest = forces;
    batch.iter().map(move |structure| {
        let (own, others) = std::mem::take(&mut rest).split_at_mut(structure.n_atoms());
        rest = others;
        (structure, own)
    })
}

/// Checks that all forces of a batch are finite.
///
/// # Errors
/// [`ForceFieldError::NonFinite`] names the first atom whose force is not.
///
/// # Panics
/// When `forces` does not have one entry per atom of the batch.
pub fn check_finite(batch: &[Structure], forces: &[[f64; 3]]) -> Result<(), ForceFieldError> {
    let n_atoms: usize = batch.iter().map(Structure::n_atoms).sum();
    assert_eq!(forces.len(), n_atoms, "one force per atom of the batch");
    let atoms =
        batch.iter().enumerate().flat_map(|(b, structure)| (0..structure.n_atoms()).map(move |i| (b, i)));
    for ((structure, atom), force) in atoms.zip(forces) {
        if !force.iter().all(|f| f.is_finite()) {
            return Err(ForceFieldError::NonFinite { structure, atom });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Vec<Structure> {
        let atom = || Structure::new(vec![2], vec![[0.0; 3]], 0, 1).unwrap();
        let pair = Structure::new(vec![1, 1], vec![[0.0; 3], [0.0, 0.0, 1.0]], 0, 1).unwrap();
        vec![atom(), pair, atom()]
    }

    #[test]
    fn every_structure_is_given_its_own_forces() {
        let mut forces: Vec<[f64; 3]> = (0..4).map(|i| [f64::from(i); 3]).collect();
        let firsts: Vec<(usize, f64)> = by_structure(&batch(), &mut forces)
            .map(|(structure, own)| (structure.n_atoms(), own[0][0]))
            .collect();
        assert_eq!(firsts, [(1, 0.0), (2, 1.0), (1, 3.0)]);
    }

    #[test]
    fn the_first_force_that_is_not_finite_is_named() {
        let mut forces = [[0.0; 3]; 4];
        assert!(check_finite(&batch(), &forces).is_ok());
        forces[2][1] = f64::INFINITY;
        let error = check_finite(&batch(), &forces).unwrap_err();
        assert_eq!(error.to_string(), "the force on atom 1 of structure 1 is not finite");
    }
}
