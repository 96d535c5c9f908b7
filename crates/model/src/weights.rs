//! Model files: safetensors with the authors' state-dict names, the architecture and card as JSON in the metadata.
//!
//! A file opens in PyTorch as a state dict; the authors' own weights become one by [`Model::import`].

use crate::{Card, ConfigError, Layout, ModelConfig, Network, Target};
use mdet_kernels::Real;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The one metadata key: a [`Header`] as JSON. A second key would make the file's bytes, and so its hash, depend on
/// hash order.
const HEADER_KEY: &str = "mdet";

/// What a model file says beside its tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<Architecture, Provenance> {
    config: Architecture,
    card: Provenance,
}

/// A model as it lies in a file: architecture, card and parameters in the layout's order.
#[derive(Debug, Clone)]
pub struct Model {
    /// The architecture.
    pub config: ModelConfig,
    /// Where the parameters come from and what they are good for.
    pub card: Card,
    /// The arena, in f32 as stored.
    pub values: Vec<f32>,
}

/// Why a model file cannot be read, written or imported.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be opened, read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a safetensors file, or a truncated one.
    #[error("not a readable safetensors file (truncated or foreign?)")]
    Container(#[from] SafeTensorError),
    /// A safetensors file that mdet did not write.
    #[error(
        "a safetensors file without `{key}` in its metadata: not an mdet model; \
         `mdet model import` takes the authors' weights"
    )]
    NoConfig {
        /// The metadata key that is missing.
        key: &'static str,
    },
    /// JSON that does not parse.
    #[error("{what} is not valid: {source}")]
    Json {
        /// Which JSON text.
        what: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// An architecture outside what mdet computes.
    #[error("architecture: {0}")]
    Config(#[from] ConfigError),
    /// An authors' switch whose other setting is another model.
    #[error("config: {field} = {found}: only {expected} is the published MD-ET")]
    Unsupported {
        /// The field in the authors' configuration.
        field: &'static str,
        /// Its value.
        found: String,
        /// What mdet computes.
        expected: &'static str,
    },
    /// Tensors that do not fit the architecture.
    #[error("tensors do not fit the architecture: {}", .0.join("; "))]
    Tensors(Vec<String>),
}

/// The authors' configuration file, as far as it decides the mathematics.
#[derive(Debug, Deserialize)]
struct AuthorsConfig {
    n_layers: usize,
    embd_dim: usize,
    num_3d_kernels: usize,
    num_heads: usize,
    ffn_multiplier: usize,
    #[serde(default)]
    cls_token: bool,
    #[serde(default = "yes")]
    norm_first: bool,
    #[serde(default = "yes")]
    head_project_down: bool,
    #[serde(default = "gelu")]
    activation: String,
    #[serde(default = "layer")]
    norm: String,
    #[serde(default = "pooling")]
    decomposer_type: String,
    target_heads: Vec<String>,
}

fn yes() -> bool {
    true
}
fn gelu() -> String {
    "gelu".into()
}
fn layer() -> String {
    "layer".into()
}
fn pooling() -> String {
    "pooling".into()
}

impl AuthorsConfig {
    fn check(&self) -> Result<(), ModelError> {
        let heads = format!("{:?}", self.target_heads);
        let switches = [
            ("cls_token", self.cls_token.to_string(), "false"),
            ("norm_first", self.norm_first.to_string(), "true"),
            ("head_project_down", self.head_project_down.to_string(), "true"),
            ("activation", self.activation.clone(), "gelu"),
            ("norm", self.norm.clone(), "layer"),
            ("decomposer_type", self.decomposer_type.clone(), "pooling"),
            ("target_heads", heads, "[\"forces\"]"),
        ];
        for (field, found, expected) in switches {
            if found != expected {
                return Err(ModelError::Unsupported { field, found, expected });
            }
        }
        Ok(())
    }
}

impl Model {
    /// Reads a model file.
    ///
    /// # Errors
    /// [`ModelError`]: unreadable, truncated, foreign, or tensors that do not fit the architecture.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let bytes = std::fs::read(path).map_err(|source| ModelError::Io { path: path.into(), source })?;
        Self::from_bytes(&bytes)
    }

    /// Reads a model from the content of its file.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let text = header.metadata().as_ref().and_then(|m| m.get(HEADER_KEY));
        let text = text.ok_or(ModelError::NoConfig { key: HEADER_KEY })?;
        let json = |source| ModelError::Json { what: "the file's header", source };
        let Header { config, card } =
            serde_json::from_str::<Header<ModelConfig, Card>>(text).map_err(json)?;
        config.validate()?;
        let values = read_tensors(&Layout::new(&config), &SafeTensors::deserialize(bytes)?)?;
        Ok(Self { config, card, values })
    }

    /// Takes the authors' weights (safetensors) and their configuration (JSON).
    ///
    /// The number of frequencies is read off the weights; the first-atom quirk is switched on, since their
    /// checkpoints were trained with it.
    ///
    /// # Errors
    /// [`ModelError`]; every extra, missing or misshaped tensor is named.
    pub fn import(weights: &[u8], config_json: &str) -> Result<Self, ModelError> {
        let json = |source| ModelError::Json { what: "the configuration", source };
        let authors: AuthorsConfig = serde_json::from_str(config_json).map_err(json)?;
        authors.check()?;
        let tensors = SafeTensors::deserialize(weights)?;
        let frequencies = tensors.tensor("embedding.directional_embed.angular_freqs_azimuthal");
        let config = ModelConfig {
            n_layers: authors.n_layers,
            width: authors.embd_dim,
            n_heads: authors.num_heads,
            n_gaussians: authors.num_3d_kernels,
            n_frequencies: frequencies.ok().and_then(|f| f.shape().first().copied()).unwrap_or(64),
            ffn_multiplier: authors.ffn_multiplier,
            first_atom_quirk: true,
            targets: vec![Target::Forces],
        };
        config.validate()?;
        let values = read_tensors(&Layout::new(&config), &tensors)?;
        Ok(Self { config, card: Card::imported(), values })
    }

    /// The content of this model's file.
    ///
    /// # Errors
    /// [`ModelError::Json`] or [`ModelError::Container`] if it cannot be serialised.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let layout = Layout::new(&self.config);
        let bytes: Vec<u8> = self.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut views = Vec::with_capacity(layout.tensors().len());
        for tensor in layout.tensors() {
            let data = &bytes[4 * tensor.range.start..4 * tensor.range.end];
            views.push((tensor.name.clone(), TensorView::new(Dtype::F32, tensor.shape.clone(), data)?));
        }
        let header = serde_json::to_string(&Header { config: &self.config, card: &self.card });
        let header = header.map_err(|source| ModelError::Json { what: "the file's header", source })?;
        Ok(safetensors::serialize(views, Some(HashMap::from([(HEADER_KEY.to_string(), header)])))?)
    }

    /// Writes the model file, complete or not at all: a neighbour is written first and then renamed.
    ///
    /// # Errors
    /// [`ModelError::Io`] if the place is not writable.
    pub fn write(&self, path: &Path) -> Result<(), ModelError> {
        let bytes = self.to_bytes()?;
        mdet_core::atomic_write(path, &bytes).map_err(|source| ModelError::Io { path: path.into(), source })
    }

    /// The network in the precision of `T`.
    ///
    /// # Errors
    /// When the architecture is not valid.
    pub fn network<T: Real>(&self) -> Result<Network<T>, ConfigError> {
        Network::new(self.config.clone(), self.values.iter().map(|&v| T::from_f32(v)).collect())
    }
}

/// The arena from a file's tensors, every mismatch named.
fn read_tensors(layout: &Layout, tensors: &SafeTensors<'_>) -> Result<Vec<f32>, ModelError> {
    let mut values = vec![0.0; layout.len()];
    let mut problems = Vec::new();
    for expected in layout.tensors() {
        let Ok(found) = tensors.tensor(&expected.name) else {
            problems.push(format!("{} is missing", expected.name));
            continue;
        };
        if found.dtype() != Dtype::F32 || found.shape() != expected.shape {
            let (name, shape) = (&expected.name, &expected.shape);
            problems.push(format!(
                "{name}: expected F32 {shape:?}, found {:?} {:?}",
                found.dtype(),
                found.shape()
            ));
            continue;
        }
        let place = &mut values[expected.range.clone()];
        for (value, bytes) in place.iter_mut().zip(found.data().chunks_exact(4)) {
            *value = f32::from_le_bytes(bytes.try_into().expect("chunks of four"));
        }
        if place.iter().any(|v| !v.is_finite()) {
            problems.push(format!("{} holds a value that is not finite", expected.name));
        }
    }
    let known = |name: &str| layout.tensors().iter().any(|tensor| tensor.name == name);
    let extra = tensors.names().into_iter().filter(|name| !known(name));
    problems.extend(extra.map(|name| format!("{name} is not part of this architecture")));
    if problems.is_empty() { Ok(values) } else { Err(ModelError::Tensors(problems)) }
}
