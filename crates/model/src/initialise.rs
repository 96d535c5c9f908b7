//! Random parameters of a new model.

use crate::layout::{N_CONFIGURATION_COLUMNS, Tensor};
use crate::{Card, ConfigError, Layout, Model, ModelConfig};
use mdet_core::elements::MAX_ATOMIC_NUMBER;
use mdet_core::{Purpose, RandomStream, electron_configuration};
use rand::RngExt;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// Which frequencies the Fourier features of the angles have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frequencies {
    /// Geometric from π·10⁴ down to ½ (azimuth) and 1 (polar angle), as published.
    Published,
    /// 1, 2, 3, …: periodic, so that the features are continuous where the azimuth wraps around.
    Integer,
}

/// Radial basis of a new model: centres evenly up to this distance, in Bohr.
const LAST_CENTRE_BOHR: f64 = 18.0;

impl Model {
    /// A model with random parameters, a function of `seed` alone.
    ///
    /// Linear layers are uniform in ±1/√fan-in, tables normal with variance 1, norms the identity; Gaussians cover
    /// 0 to 18 Bohr evenly with overlapping widths.
    ///
    /// # Errors
    /// When a size of `config` is out of range.
    pub fn random(config: ModelConfig, frequencies: Frequencies, seed: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        let layout = Layout::new(&config);
        let mut values = vec![0.0; layout.len()];
        let mut generator =
            RandomStream { seed, purpose: Purpose::Initialisation, replica: 0 }.at_step(0);
        for tensor in layout.tensors().iter().filter(|t| t.range.end <= layout.n_trainable()) {
            let norm = tensor.name.contains("norm") || tensor.name.contains("final_ln") || is_pool_norm(tensor);
            let table = ["nuclear_embedding.embedding", "multiplicity_embed", "charge_embed"]
                .iter()
                .any(|name| tensor.name.contains(name));
            let fan_in = fan_in(&layout, tensor);
            for value in &mut values[tensor.range.clone()] {
                *value = if norm {
                    f32::from(u8::from(tensor.name.ends_with("weight")))
                } else if table {
                    generator.sample(StandardNormal)
                } else {
                    (generator.random::<f32>() * 2.0 - 1.0) / (fan_in as f32).sqrt()
                };
            }
        }
        let k = config.n_gaussians;
        let spacing = LAST_CENTRE_BOHR / k as f64;
        for gaussian in 0..k {
            values[layout.gaussian_centres.start + gaussian] = (gaussian as f64 * spacing) as f32;
            values[layout.gaussian_widths.start + gaussian] = (1.5 * spacing) as f32;
        }
        values[layout.distance_slope.clone()].fill(1.0);
        for z in 1..=MAX_ATOMIC_NUMBER {
            let row = &mut values[layout.electron_configuration.start + usize::from(z) * N_CONFIGURATION_COLUMNS..];
            for (value, entry) in row.iter_mut().zip(electron_configuration(z)) {
                *value = entry as f32;
            }
        }
        for (range, lowest) in [(&layout.azimuthal_frequencies, 0.5), (&layout.polar_frequencies, 1.0)] {
            for f in 0..config.n_frequencies {
                values[range.start + f] = frequencies.at(f, config.n_frequencies, lowest) as f32;
            }
        }
        Ok(Self { config, card: Card::default(), values })
    }
}

impl Frequencies {
    fn at(self, index: usize, count: usize, lowest: f64) -> f64 {
        let highest = std::f64::consts::PI * 1e4;
        match self {
            Self::Published if count == 1 => lowest,
            Self::Published => highest * (lowest / highest).powf(index as f64 / (count - 1) as f64),
            Self::Integer => (index + 1) as f64,
        }
    }
}

/// The norms of the decomposer are numbered, not named.
fn is_pool_norm(tensor: &Tensor) -> bool {
    ["decomposer.out_proj.0.", "decomposer.node_mlp.0."].iter().any(|name| tensor.name.starts_with(name))
}

/// Inputs of the linear layer that a weight, or the bias after it, belongs to.
fn fan_in(layout: &Layout, tensor: &Tensor) -> usize {
    let weight = tensor.name.replace(".bias", ".weight");
    let of_weight = layout.tensors().iter().find(|t| t.name == weight);
    of_weight.and_then(|t| t.shape.get(1)).copied().unwrap_or(1)
}
