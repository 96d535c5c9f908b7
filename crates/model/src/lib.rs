//! MD-ET (arXiv 2503.01431): its architecture, parameters and files, forward and backward, on the kernels crate.
//!
//! Weights and forces are in Bohr and Hartree/Bohr here, as the authors' are; `NetworkForceField` converts.

mod buffer;
mod built_in;
mod card;
mod config;
pub mod efficiency;
mod embedding;
mod force_field;
mod geometry;
mod gradient;
mod group;
mod initialise;
mod layer;
mod layout;
mod network;
mod panels;
mod readout;
mod shares;
mod weights;

pub use card::{Card, Domain, OutsideDomain, ValidationError};
pub use config::{ConfigError, ModelConfig, Target};
pub use force_field::NetworkForceField;
pub use group::Molecule;
pub use initialise::Frequencies;
pub use layout::{Layout, Tensor};
pub use network::{Network, Rounding, Tape};
pub use weights::{Model, ModelError};
