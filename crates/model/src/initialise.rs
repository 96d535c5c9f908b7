//! Random parameters of a new model.

use crate::layout::{N_CONFIGURATION_COLUMNS, Tensor};
use crate::{Card, ConfigError, Layout, Model, ModelConfig};
use mdet_core::elements::MAX_ATOMIC_NUMBER;
use mdet_core::{Purpose, RandomStream, electron_configuration};
use rand::RngExt;
use rand_distr::StandardNormal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Which frequencies the Fourier features of the angles have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Frequencies {
    /// Geometric from π·10⁴ down to ½ (azimuth) and 1 (polar angle), as published.
    Published,
    /// 1, 2, 3, …: periodic, so that the features are continuous where the azimuth wraps around.
    Integer,
}

/// Radial basis of a new model: centres up to this distance, in Bohr.
const LAST_CENTRE_BOHR: f64 = 18.0;
/// Narrowest Gaussian, in Bohr.
const SMALLEST_WIDTH_BOHR: f64 = 0.15;
/// Gaussians that are clearly non-zero at one distance: the fan-in that the layer after them really has.
const ACTIVE_GAUSSIANS: usize = 6;
/// Standard deviation of the element, charge and multiplicity tables. With 1, the atoms' identities drown the
/// geometry in the first layers, and training sits at zero forces for hundreds of steps.
const TABLE_DEVIATION: f32 = 0.3;
/// Scale of the last layer: forces start small, as most of them are in Hartree/Bohr.
const LAST_LAYER_SCALE: f32 = 0.1;

impl Model {
    /// A model with random parameters, a function of `seed` alone.
    ///
    /// Linear layers are uniform in ±√(3/fan-in), so that they keep the variance of their input; norms are the
    /// identity; Gaussians get wider with the distance, since bonds are where the forces are.
    ///
    /// # Errors
    /// When a size of `config` is out of range.
    pub fn random(config: ModelConfig, frequencies: Frequencies, seed: u64) -> Result<Self, ConfigError> {
        config.validate()?;
        let layout = Layout::new(&config);
        let mut values = vec![0.0; layout.len()];
        let mut generator = RandomStream { seed, purpose: Purpose::Initialisation, replica: 0 }.at_step(0);
        for tensor in layout.tensors().iter().filter(|t| t.range.end <= layout.n_trainable()) {
            let norm =
                tensor.name.contains("norm") || tensor.name.contains("final_ln") || is_pool_norm(tensor);
            let table = ["nuclear_embedding.embedding", "multiplicity_embed", "charge_embed"]
                .iter()
                .any(|name| tensor.name.contains(name));
            let mut bound = (3.0 / fan_in(&layout, tensor) as f32).sqrt();
            if tensor.name.ends_with("mlp.6.weight") {
                bound *= LAST_LAYER_SCALE;
            }
            let linear_bias = !norm && tensor.name.ends_with("bias");
            for value in &mut values[tensor.range.clone()] {
                *value = if norm {
                    f32::from(u8::from(tensor.name.ends_with("weight")))
                } else if table {
                    TABLE_DEVIATION * generator.sample::<f32, _>(StandardNormal)
                } else if linear_bias {
                    0.0
                } else {
                    bound * (generator.random::<f32>() * 2.0 - 1.0)
                };
            }
        }
        damp_high_frequencies(&layout, &config, frequencies, &mut values);
        let k = config.n_gaussians;
        for gaussian in 0..k {
            let fraction = gaussian as f64 / k as f64;
            let spacing = 2.0 * LAST_CENTRE_BOHR * fraction / k as f64;
            values[layout.gaussian_centres.start + gaussian] =
                (LAST_CENTRE_BOHR * fraction * fraction) as f32;
            values[layout.gaussian_widths.start + gaussian] = (1.5 * spacing).max(SMALLEST_WIDTH_BOHR) as f32;
        }
        values[layout.distance_slope.clone()].fill(1.0);
        for z in 1..=MAX_ATOMIC_NUMBER {
            let row =
                &mut values[layout.electron_configuration.start + usize::from(z) * N_CONFIGURATION_COLUMNS..];
            for (value, entry) in row.iter_mut().zip(electron_configuration(z)) {
                *value = entry as f32;
            }
        }
        for (place, frequency) in frequencies.in_arena(&layout) {
            values[place] = frequency as f32;
        }
        Ok(Self { config, card: Card::default(), values })
    }
}

impl Model {
    /// Whether the Fourier features have these frequencies.
    pub fn has_frequencies(&self, frequencies: Frequencies) -> bool {
        // Imported ones were computed in f32.
        let is_same = |(place, f): (usize, f64)| (f64::from(self.values[place]) / f - 1.0).abs() < 1e-4;
        frequencies.in_arena(&Layout::new(&self.config)).all(is_same)
    }

    /// The same function with more layers: those behind the model's own begin as the identity, their matrices but the
    /// last of attention and feed-forward at random, a function of `seed`; those last ones are zero, and train first.
    ///
    /// # Errors
    /// When `n_layers` is out of range, or less than the model's own.
    pub fn deepened(&self, n_layers: usize, seed: u64) -> Result<Self, ConfigError> {
        let n_own = self.config.n_layers;
        if n_layers < n_own {
            let expected = format!("at least {n_own}, the model's own");
            return Err(ConfigError { field: "n_layers", value: n_layers.to_string(), expected });
        }
        let config = ModelConfig { n_layers, ..self.config.clone() };
        let mut deeper = Self::random(config, Frequencies::Integer, seed)?;
        let (own, layout) = (Layout::new(&self.config), Layout::new(&deeper.config));
        let own: HashMap<_, _> =
            own.tensors().iter().map(|t| (t.name.as_str(), &self.values[t.range.clone()])).collect();
        for tensor in layout.tensors() {
            if let Some(values) = own.get(tensor.name.as_str()) {
                deeper.values[tensor.range.clone()].copy_from_slice(values);
            }
        }
        // A layer ends in a norm. A new one is the identity on rows that are normalised and no more, and has the scale
        // and shift of the norm before it.
        for (last, added) in layout.layers[n_own - 1..].iter().zip(&layout.layers[n_own..]) {
            let zero = [&added.attention_out, &added.ffn_out.weight, &last.ffn_norm.shift];
            for (from, to) in
                [(&last.ffn_norm.scale, &added.ffn_norm.scale), (&last.ffn_norm.shift, &added.ffn_norm.shift)]
            {
                deeper.values.copy_within(from.clone(), to.start);
            }
            deeper.values[last.ffn_norm.scale.clone()].fill(1.0);
            for range in zero {
                deeper.values[range.clone()].fill(0.0);
            }
        }
        Ok(deeper)
    }
}

impl Frequencies {
    /// Every frequency with its place.
    fn in_arena(self, layout: &Layout) -> impl Iterator<Item = (usize, f64)> {
        let angles = [(layout.azimuthal_frequencies.clone(), 0.5), (layout.polar_frequencies.clone(), 1.0)];
        angles.into_iter().flat_map(move |(range, lowest)| {
            let count = range.len();
            range.enumerate().map(move |(index, place)| (place, self.at(index, count, lowest)))
        })
    }

    fn at(self, index: usize, count: usize, lowest: f64) -> f64 {
        let highest = std::f64::consts::PI * 1e4;
        match self {
            Self::Published if count == 1 => lowest,
            Self::Published => highest * (lowest / highest).powf(index as f64 / (count - 1) as f64),
            Self::Integer => (index + 1) as f64,
        }
    }
}

/// Scales the first layer's columns by lowest/frequency: directions enter through the lowest harmonics at first, and
/// the high ones, nearly noise to an untrained network, only as far as training finds them useful.
fn damp_high_frequencies(
    layout: &Layout,
    config: &ModelConfig,
    frequencies: Frequencies,
    values: &mut [f32],
) {
    let n = config.n_frequencies;
    for row in values[layout.directional.weight.clone()].chunks_exact_mut(4 * n) {
        for (column, value) in row.iter_mut().enumerate() {
            let lowest = frequencies.at(n - 1, n, 1.0).min(frequencies.at(0, n, 1.0));
            *value *= (lowest / frequencies.at(column % n, n, 1.0)) as f32 * (n as f32).sqrt();
        }
    }
}

/// The norms of the decomposer are numbered, not named.
fn is_pool_norm(tensor: &Tensor) -> bool {
    ["decomposer.out_proj.0.", "decomposer.node_mlp.0."].iter().any(|name| tensor.name.starts_with(name))
}

/// Inputs of the linear layer that a weight belongs to.
fn fan_in(layout: &Layout, tensor: &Tensor) -> usize {
    if tensor.range == layout.radial[0].weight {
        ACTIVE_GAUSSIANS
    } else {
        tensor.shape.get(1).copied().unwrap_or(1)
    }
}
