//! The model inside the binary, for a user who has only a molecule.

use crate::{Model, ModelError};

/// The content of the built-in model's file. Its card says where it comes from; README.md beside it, how to remake it.
const BUILT_IN: &[u8] = include_bytes!("../assets/built-in.safetensors");

impl Model {
    /// The built-in model.
    ///
    /// # Errors
    /// Never, unless the program was built around a broken file.
    pub fn built_in() -> Result<Self, ModelError> {
        Self::from_bytes(BUILT_IN)
    }
}
