//! Why a training run ends early or does not begin.

use crate::{CheckpointError, ConfigError};
use mdet_data::DataError;
use mdet_model::{Frequencies, ModelError};
use std::path::{Path, PathBuf};

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Training data that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// State that cannot be saved or resumed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A model that cannot be read or written.
    #[error("{path}")]
    Model {
        /// The file, or `built-in`.
        path: PathBuf,
        /// What is wrong with it.
        source: ModelError,
    },
    /// The run folder, which another process may be training in, or a file of it, cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A metrics file that this program did not write.
    #[error("{path}:{line}: expected a line of metrics, found {found:?}")]
    Metrics {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Its text.
        found: String,
    },
    /// The folder holds a run of another configuration.
    #[error(
        "{path} holds another configuration: resume with the one it was started with (only n_steps, schedule, rounding, \
         checkpoint_minutes, validate_every and validation_structures may change)"
    )]
    OtherRun {
        /// The configuration file.
        path: PathBuf,
    },
    /// Steps that the run has done would have had another learning rate.
    #[error(
        "{path}: n_steps, schedule: expected learning rate {expected:e} in step {step}, which is done, found {found:e}: \
         they may change only steps that are still to come"
    )]
    OtherRate {
        /// The configuration file.
        path: PathBuf,
        /// The first such step, from 0.
        step: u64,
        /// Its rate.
        expected: f64,
        /// What the new configuration gives it.
        found: f64,
    },
    /// The model to start from is of another architecture.
    #[error(
        "{path}: start: this model's architecture is not the one under [model], which may differ in n_layers only"
    )]
    OtherArchitecture {
        /// The model file.
        path: PathBuf,
    },
    /// The model to start from has other Fourier features.
    #[error("frequencies: expected those of {path}, found {found:?}; with `start` the key can be left out")]
    OtherFrequencies {
        /// The model file.
        path: PathBuf,
        /// What the configuration says.
        found: Frequencies,
    },
    /// The processes of a run do not see the same files.
    #[error("process {rank} has other data or another configuration than process 0: all need the same files")]
    OtherJob {
        /// The process, from 0.
        rank: usize,
    },
    /// The training data hold no structure.
    #[error("data: expected labelled structures, found none")]
    NoStructures,
    /// As many structures held out as there are.
    #[error("hold_out = {hold_out}: expected fewer than the {n_structures} structures of the data")]
    HoldOut {
        /// Structures to hold out.
        hold_out: usize,
        /// Structures there are.
        n_structures: usize,
    },
    /// Data outside of what the start model was trained on.
    #[error(
        "the data hold {found}, which the start model never saw; it was trained on {covered}. \
         allow_new = true (--allow-new) trains on them all the same"
    )]
    NewToModel {
        /// Elements, charges and multiplicities, each with the first structure that has it.
        found: String,
        /// What the model has seen.
        covered: String,
    },
    /// Loss or gradient is no number any more.
    #[error(
        "step {step}: the loss is {loss} and the gradient's norm {norm}, in a batch of {batch}; the last checkpoint is \
         kept. Look at these structures, or start a new run from its model.safetensors with a lower learning_rate"
    )]
    NotFinite {
        /// The step, from 0.
        step: u64,
        /// Its loss, Hartree/Bohr.
        loss: f64,
        /// Its gradient's norm.
        norm: f64,
        /// Its structures.
        batch: String,
    },
    /// The model is of no use any more.
    #[error(
        "after {n_steps} steps: expected finite {what}, found {found}; the last checkpoint is kept. Start a new run from \
         its model.safetensors with a lower learning_rate"
    )]
    NotFiniteModel {
        /// Steps done.
        n_steps: u64,
        /// Parameters or errors.
        what: &'static str,
        /// The first that is no number.
        found: f64,
    },
}

impl TrainError {
    /// Whether every rank of a run has this error at the same step.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::NotFinite { .. } | Self::NotFiniteModel { .. })
    }

    /// A model's error with its file; the system's errors name the file themselves.
    pub(crate) fn model(path: &Path) -> impl Fn(ModelError) -> Self {
        let path = path.to_path_buf();
        move |source| match source {
            ModelError::Io { path, source } => Self::Io { path, source },
            source => Self::Model { path: path.clone(), source },
        }
    }
}
