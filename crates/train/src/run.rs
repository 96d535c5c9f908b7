//! A training run in its folder: the loop, its checkpoints and its metrics.
//!
//! | file | content |
//! |---|---|
//! | `config.toml` | the resolved configuration |
//! | `metrics.jsonl` | one JSON object per report |
//! | `state.safetensors` | everything a resume needs |
//! | `model.safetensors` | the averaged parameters as a model |

use crate::checkpoint::State;
use crate::gradient::BatchGradient;
use crate::{
    Batches, CheckpointError, ConfigError, Matrix, Optimiser, OptimiserName, TrainConfig, clip_to_norm,
    learning_rate, validate,
};
use mdet_core::atomic_write;
use mdet_core::constants::HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM;
use mdet_data::{DataError, Dataset};
use mdet_model::{Card, Domain, Layout, Model, ModelError, Network, Tensor, ValidationError};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Steps between reports of the loss.
const REPORT_EVERY: u64 = 50;

/// One report of a run, as it stands in `metrics.jsonl`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub n_steps: u64,
    /// Mean training loss since the last report, meV/Å.
    pub loss_mev_per_angstrom: f64,
    /// Largest gradient norm since the last report, before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Structures (copies counted) per second since the last report.
    pub structures_per_s: f64,
    /// Time left, s.
    pub eta_s: f64,
    /// Component MAE of the averaged parameters on validation structures, meV/Å, when measured.
    pub validation_mae_mev_per_angstrom: Option<f64>,
}

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
    /// A model that cannot be written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file of the run folder that cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder holds a run of another configuration.
    #[error(
        "{path} holds another configuration: resume with the one it was started with (only n_steps, schedule, \
         checkpoint_minutes and validation_structures may change)"
    )]
    OtherRun {
        /// The configuration file.
        path: PathBuf,
    },
    /// The model to start from is of another architecture.
    #[error("{path}: start: this model's architecture is not the one under [model]")]
    OtherArchitecture {
        /// The model file.
        path: PathBuf,
    },
    /// The loss is no number any more.
    #[error("the loss of step {step} is {loss}: the last checkpoint is kept; lower learning_rate?")]
    NotFinite {
        /// The step, from 0.
        step: u64,
        /// Its loss.
        loss: f64,
    },
}

/// Trains in `folder`, from its last checkpoint if there is one, on the current thread pool; `report` hears of
/// progress. When `stop` becomes true the run saves its state after the step and returns.
///
/// # Errors
/// [`TrainError`]; the folder's last checkpoint stays valid.
pub fn train(
    config: &TrainConfig,
    folder: &Path,
    stop: &AtomicBool,
    report: &mut dyn FnMut(&Progress),
) -> Result<Model, TrainError> {
    config.validate()?;
    let dataset = Dataset::read(&config.data, config.reading)?;
    let validation = Dataset::read(&config.validation, config.reading)?;
    let mut run = Run::open(config, folder, &dataset, &validation)?;
    let (n_structures, copies) = (config.structures_per_step, config.copies);
    let mut batches = Batches::new(&dataset, n_structures, copies, config.curriculum_steps, config.seed);
    let mut gradient = BatchGradient::new(&run.network);
    let mut window = Window::new();
    let mut last_checkpoint = Instant::now();
    while run.optimiser.n_steps < config.n_steps && !stop.load(Ordering::Relaxed) {
        let step = run.optimiser.n_steps;
        let samples = batches.at_step(step);
        let (loss, gradient) = gradient.compute(&run.network, &samples);
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { step, loss });
        }
        let norm = clip_to_norm(gradient, config.clip_norm);
        run.step(gradient);
        window.add(loss, norm, samples.len());
        let done = step + 1;
        let checkpoint = last_checkpoint.elapsed().as_secs_f64() > 60.0 * config.checkpoint_minutes;
        if done.is_multiple_of(REPORT_EVERY) || done == config.n_steps || checkpoint {
            let error = if checkpoint { run.checkpoint(config.validation_structures)? } else { None };
            let progress = window.report(config, done, error);
            run.log(&progress)?;
            report(&progress);
            if checkpoint {
                last_checkpoint = Instant::now();
            }
        }
    }
    // Whoever asks a run to stop waits for it: all structures are measured only when it is complete.
    let complete = run.optimiser.n_steps >= config.n_steps;
    run.checkpoint(if complete { validation.len() } else { config.validation_structures })?;
    Ok(run.model)
}

/// The moving parts of a run.
struct Run<'a> {
    config: &'a TrainConfig,
    folder: &'a Path,
    validation: &'a Dataset,
    network: Network<f32>,
    optimiser: Optimiser<f32>,
    /// The model as saved: its values are the average.
    model: Model,
}

impl<'a> Run<'a> {
    fn open(
        config: &'a TrainConfig,
        folder: &'a Path,
        dataset: &Dataset,
        validation: &'a Dataset,
    ) -> Result<Self, TrainError> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| TrainError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let config_path = folder.join("config.toml");
        let text = toml::to_string(config).expect("a configuration is plain data");
        match std::fs::read_to_string(&config_path) {
            Ok(found) if !continues(&found, config) => {
                return Err(TrainError::OtherRun { path: config_path });
            }
            Ok(found) if found == text => {}
            _ => atomic_write(&config_path, text.as_bytes()).map_err(io(&config_path))?,
        }
        let mut model = Model::random(config.model.clone(), config.frequencies, config.seed)
            .map_err(ConfigError::from)?;
        if let Some(path) = &config.start {
            let start = Model::read(path)?;
            if start.config != config.model {
                return Err(TrainError::OtherArchitecture { path: path.clone() });
            }
            model.values = start.values;
        }
        model.card = card(config, dataset);
        let network: Network<f32> = model.network().map_err(ConfigError::from)?;
        let n_trainable = network.layout().n_trainable();
        let matrices = match config.optimiser {
            OptimiserName::Adamw => Vec::new(),
            OptimiserName::Muon => inner_matrices(network.layout()),
        };
        let optimiser = Optimiser::muon(n_trainable, config.weight_decay, matrices);
        let mut run = Self { config, folder, validation, network, optimiser, model };
        let state_path = folder.join("state.safetensors");
        if state_path.exists() {
            let mut state = run.state();
            state.read(&state_path)?;
            run.network.trainable_mut().copy_from_slice(&state.values[..n_trainable]);
            run.model.values[..n_trainable].copy_from_slice(&state.average);
            run.optimiser = state.optimiser;
        }
        Ok(run)
    }

    fn state(&self) -> State {
        let average = self.model.values[..self.network.layout().n_trainable()].to_vec();
        State { values: self.network.values().to_vec(), average, optimiser: self.optimiser.clone() }
    }

    /// Applies a clipped gradient to parameters and average.
    fn step(&mut self, gradient: &[f32]) {
        let config = self.config;
        let step = self.optimiser.n_steps;
        let rate = rate(config, step);
        self.optimiser.step(self.network.trainable_mut(), gradient, rate);
        // Early on the average follows closely, so that the random start is forgotten: min(decay, (1 + n)/(10 + n)).
        let done = self.optimiser.n_steps as f64;
        let fresh = (1.0 - config.ema_decay.min((1.0 + done) / (10.0 + done))) as f32;
        for (average, &value) in self.model.values.iter_mut().zip(self.network.trainable_mut().iter()) {
            *average += fresh * (value - *average);
        }
    }

    /// Measures the averaged model, saves it and the state; returns its component MAE in meV/Å, if there are
    /// structures to measure it on.
    fn checkpoint(&mut self, n_validation: usize) -> Result<Option<f64>, TrainError> {
        let averaged: Network<f32> = self.model.network().map_err(ConfigError::from)?;
        let n = n_validation.min(self.validation.len());
        let subsets = [("validation species", false), ("validation species, ions", true)];
        self.model.card.validation = subsets
            .into_iter()
            .filter_map(|(on, only_ions)| {
                let chosen = |&i: &usize| !only_ions || self.validation.get(i).charge != 0;
                let indices: Vec<usize> = (0..n).filter(chosen).collect();
                if indices.is_empty() {
                    return None;
                }
                let errors = validate(&averaged, self.validation, &indices);
                Some(ValidationError {
                    on: on.into(),
                    n_structures: errors.n_structures,
                    component_mae_mev_per_angstrom: errors.component_mae_mev_per_angstrom,
                    euclidean_mev_per_angstrom: errors.euclidean_mev_per_angstrom,
                })
            })
            .collect();
        self.model.card.provenance = format!(
            "mdet train, {} of {} steps of {} structures in {} orientations",
            self.optimiser.n_steps, self.config.n_steps, self.config.structures_per_step, self.config.copies
        );
        self.state().write(&self.folder.join("state.safetensors"))?;
        self.model.write(&self.folder.join("model.safetensors"))?;
        Ok(self.model.card.validation.first().map(|error| error.component_mae_mev_per_angstrom))
    }

    fn log(&self, progress: &Progress) -> Result<(), TrainError> {
        let path = self.folder.join("metrics.jsonl");
        let line = serde_json::to_string(progress).expect("progress is plain data");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| writeln!(file, "{line}")).map_err(|source| TrainError::Io { path, source })
    }
}

/// Whether a run with the saved configuration can go on with `config`: its past steps are the same.
///
/// A run is made longer while its learning rate is constant; how often it is looked at changes nothing.
fn continues(saved: &str, config: &TrainConfig) -> bool {
    toml::from_str::<TrainConfig>(saved).is_ok_and(|saved| {
        let TrainConfig { n_steps, schedule, checkpoint_minutes, validation_structures, .. } = *config;
        TrainConfig { n_steps, schedule, checkpoint_minutes, validation_structures, ..saved } == *config
    })
}

fn rate(config: &TrainConfig, step: u64) -> f64 {
    learning_rate(step, config.learning_rate, config.warmup_steps, config.n_steps, config.schedule)
}

/// The matrices between two hidden vectors: of the layers, the composer and the pooling.
fn inner_matrices(layout: &Layout) -> Vec<Matrix> {
    let is_inner = |tensor: &&Tensor| {
        let inside = ["layers.", "composer.", "decomposer."].iter().any(|part| tensor.name.starts_with(part));
        inside && tensor.shape.len() == 2
    };
    let matrix = |tensor: &Tensor| Matrix {
        range: tensor.range.clone(),
        n_rows: tensor.shape[0],
        n_columns: tensor.shape[1],
    };
    layout.tensors().iter().filter(is_inner).map(matrix).collect()
}

/// What the data cover, for the model's card.
fn card(config: &TrainConfig, dataset: &Dataset) -> Card {
    let structures = || (0..dataset.len()).map(|i| dataset.get(i));
    let sorted = |mut values: Vec<i64>| {
        values.sort_unstable();
        values.dedup();
        values
    };
    let elements = sorted(structures().flat_map(|s| s.numbers.iter().map(|&z| z.into())).collect());
    let charges = sorted(structures().map(|s| s.charge.into()).collect());
    let multiplicities = sorted(structures().map(|s| s.multiplicity.into()).collect());
    let names: Vec<_> =
        config.data.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy()).collect();
    Card {
        name: "mdet".into(),
        trained_on: format!("{} structures of {}", dataset.len(), names.join(", ")),
        domain: Some(Domain {
            elements: elements.into_iter().map(|z| z as u8).collect(),
            charges: charges.into_iter().map(|c| c as i32).collect(),
            multiplicities: multiplicities.into_iter().map(|m| m as u32).collect(),
            max_atoms: structures().map(|s| s.numbers.len()).max().unwrap_or(0),
        }),
        ..Card::default()
    }
}

/// Sums since the last report.
struct Window {
    since: Instant,
    loss: f64,
    norm: f64,
    n_steps: u64,
    n_structures: usize,
}

impl Window {
    fn new() -> Self {
        Self { since: Instant::now(), loss: 0.0, norm: 0.0, n_steps: 0, n_structures: 0 }
    }

    fn add(&mut self, loss: f64, norm: f64, n_structures: usize) {
        self.loss += loss;
        self.norm = self.norm.max(norm);
        self.n_steps += 1;
        self.n_structures += n_structures;
    }

    /// The report of the steps so far; the next window begins.
    fn report(&mut self, config: &TrainConfig, step: u64, error: Option<f64>) -> Progress {
        let seconds = self.since.elapsed().as_secs_f64();
        let n_steps = self.n_steps.max(1) as f64;
        let progress = Progress {
            step,
            n_steps: config.n_steps,
            loss_mev_per_angstrom: 1e3 * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM * self.loss / n_steps,
            gradient_norm: self.norm,
            learning_rate: rate(config, step),
            structures_per_s: self.n_structures as f64 / seconds,
            eta_s: seconds / n_steps * (config.n_steps - step) as f64,
            validation_mae_mev_per_angstrom: error,
        };
        *self = Self::new();
        progress
    }
}
