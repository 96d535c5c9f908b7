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
