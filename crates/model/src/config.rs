//! The architecture's sizes: what a model file must say to be read.

use crate::Layout;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The force on every atom.
    Forces,
}

/// Sizes and switches of one MD-ET architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Number of Edge Transformer layers.
    #[schemars(range(min = 1, max = 65_536))]
    pub n_layers: usize,
    /// Width d of every edge vector; a multiple of `n_heads` and of 4.
    #[schemars(range(min = 1, max = 65_536), extend("multipleOf" = 4))]
    pub width: usize,
    /// Attention heads.
    #[schemars(range(min = 1, max = 65_536))]
    pub n_heads: usize,
    /// Gaussians of the radial basis.
    #[schemars(range(min = 1, max = 65_536))]
    pub n_gaussians: usize,
    /// Fourier frequencies of each of the two angles.
    #[schemars(range(min = 1, max = 65_536))]
    pub n_frequencies: usize,
    /// Hidden width of the feed-forward part over `width`.
    #[schemars(range(min = 1, max = 65_536))]
    pub ffn_multiplier: usize,
    /// Atom 0 loses its electron-configuration term, as in the authors' public code. Only their checkpoints need it.
    pub first_atom_quirk: bool,
    /// What is predicted.
    #[schemars(length(min = 1, max = 1))]
    pub targets: Vec<Target>,
}

/// A size that makes no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: expected {expected}")]
pub struct ConfigError {
    /// The offending field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What would do.
    pub expected: String,
}

/// Larger sizes than this are a corrupt file, not a model.
const LARGEST_SIZE: usize = 65_536;
/// More parameters than this too: hundreds of times the published model's.
const LARGEST_N_PARAMETERS: u128 = 1_000_000_000;

impl ModelConfig {
    /// The published architecture: 12 layers of width 192 with 12 heads.
    pub fn published() -> Self {
        Self {
            n_layers: 12,
            width: 192,
            n_heads: 12,
            n_gaussians: 128,
            n_frequencies: 64,
            ffn_multiplier: 2,
            first_atom_quirk: false,
            targets: vec![Target::Forces],
        }
    }

    /// The built-in model's architecture: 6 layers of width 96 with 6 heads.
    pub fn built_in() -> Self {
        Self { n_layers: 6, width: 96, n_heads: 6, n_gaussians: 64, n_frequencies: 6, ..Self::published() }
    }

    /// Channels per attention head.
    pub fn d_head(&self) -> usize {
        self.width / self.n_heads
    }

    /// Checks every size.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("n_layers", self.n_layers),
            ("width", self.width),
            ("n_heads", self.n_heads),
            ("n_gaussians", self.n_gaussians),
            ("n_frequencies", self.n_frequencies),
            ("ffn_multiplier", self.ffn_multiplier),
        ];
        for (field, value) in sizes {
            if value == 0 || value > LARGEST_SIZE {
                let expected = format!("1 to {LARGEST_SIZE}");
                return Err(ConfigError { field, value: value.to_string(), expected });
            }
        }
        if !self.width.is_multiple_of(self.n_heads) || !self.width.is_multiple_of(4) {
            let expected = format!("a multiple of n_heads = {} and of 4", self.n_heads);
            return Err(ConfigError { field: "width", value: self.width.to_string(), expected });
        }
        if self.targets != [Target::Forces] {
            let value = format!("{:?}", self.targets);
            return Err(ConfigError { field: "targets", value, expected: "[\"forces\"]".into() });
        }
        let n_parameters = self.n_parameters();
        if n_parameters > LARGEST_N_PARAMETERS {
            let expected =
                format!("sizes with at most {LARGEST_N_PARAMETERS} parameters, found {n_parameters}");
            return Err(ConfigError { field: "width", value: self.width.to_string(), expected });
        }
        Ok(())
    }

    /// Elements of the arena, of sizes that are in range but may be too many for a layout.
    fn n_parameters(&self) -> u128 {
        let with_layers = |n_layers| Layout::new(&Self { n_layers, ..self.clone() }).len() as u128;
        let without = with_layers(0);
        without + self.n_layers as u128 * (with_layers(1) - without)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_range_that_make_too_many_parameters_are_refused() {
        let published = ModelConfig::published();
        assert_eq!(published.validate(), Ok(()));
        assert_eq!(published.n_parameters(), Layout::new(&published).len() as u128);
        let wide = ModelConfig { width: 65_536, n_heads: 1, ..published };
        let largest = ModelConfig { n_layers: 65_536, ffn_multiplier: 65_536, ..wide.clone() };
        for config in [wide, largest] {
            let error = config.validate().expect_err("gigabytes").to_string();
            assert!(error.contains("width = 65536: expected sizes with at most"), "{error}");
        }
    }
}
