//! What every part of mdet shares: units, elements, structures, randomness and the `ForceField` seam.
//!
//! Inside the program lengths are Å, times fs, energies eV, masses u, temperatures K and charges e.

pub mod force_field;
pub mod structure;

pub use force_field::{ForceField, ForceFieldError};
pub use structure::{Structure, StructureError};
