//! What every part of mdet shares: units, elements, structures, randomness and the `ForceField` seam.
//!
//! Inside the program lengths are Å, times fs, energies eV, masses u, temperatures K and charges e.

mod atomic_write;
pub mod bonds;
mod committee;
pub mod constants;
pub mod disturbed;
pub mod electron_configuration;
pub mod elements;
pub mod force_field;
pub mod force_jacobian;
pub mod frames;
mod lock_folder;
pub mod net_force;
pub mod potentials;
pub mod random;
pub mod rigid;
pub mod rotation;
pub mod rotation_set;
pub mod structure;
pub mod superposition;

pub use atomic_write::atomic_write;
pub use bonds::{ReferenceBonds, bonds};
pub use committee::Committee;
pub use disturbed::{Disturbance, Disturbed};
pub use electron_configuration::electron_configuration;
pub use force_field::{ForceField, ForceFieldError};
pub use force_jacobian::{CentralDifferences, ForceJacobian};
pub use frames::FrameAveraged;
pub use lock_folder::lock_folder;
pub use net_force::{NetForceRemoved, Removal};
pub use random::{Purpose, RandomStream};
pub use rotation::Rotation;
pub use rotation_set::RotationSet;
pub use structure::{Structure, StructureError, lowest_multiplicity};
