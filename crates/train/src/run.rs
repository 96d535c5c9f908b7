//! A training run in its folder: the loop and its checkpoints.
//!
//! | file | content |
//! |---|---|
//! | `config.toml` | the resolved configuration |
//! | `metrics.jsonl` | one JSON object per report |
//! | `events.out.tfevents.0.mdet` | the same for TensorBoard |
//! | `MODEL_CARD.md` | what the model is |
//! | `state.safetensors` | everything a resume needs |
//! | `model.safetensors` | the averaged parameters as a model, at the last checkpoint |
//! | `best.safetensors` | the same where the validation error was lowest so far |

use crate::checkpoint::State;
use crate::gradient::BatchGradient;
use crate::job::evenly_spaced;
use crate::metrics::{Metrics, MetricsFile, Window};
use crate::model_card::markdown;
use crate::{
    Batches, ConfigError, Job, Matrix, Optimiser, OptimiserName, Progress, Sample, TrainConfig, TrainError,
    Trained, clip_to_norm, learning_rate, validate,
};
use mdet_core::atomic_write;
use mdet_data::composition;
use mdet_model::{Layout, Model, Network, Tape, Tensor, ValidationError};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Most steps between two lines of metrics.
const LINE_EVERY: u64 = 50;

/// Prepares and runs a configuration: [`Job::prepare`], [`Job::run`].
///
/// # Errors
/// As theirs.
pub fn train(
    config: &TrainConfig,
    folder: &Path,
    stop: &AtomicBool,
    report: &mut dyn FnMut(&Progress),
) -> Result<Model, TrainError> {
    Job::prepare(config.clone())?.run(folder, stop, report)
}

impl Job {
    /// Trains in `folder`, from its last checkpoint if there is one, on the current thread pool; `report` hears of
    /// every step. When `stop` becomes true the run saves its state after the step and returns.
    ///
    /// A start model is measured before the first step; `report` hears of that as step 0.
    ///
    /// # Errors
    /// [`TrainError`]; the folder's last checkpoint stays valid.
    pub fn run(
        &self,
        folder: &Path,
        stop: &AtomicBool,
        report: &mut dyn FnMut(&Progress),
    ) -> Result<Model, TrainError> {
        let config = &self.config;
        let mut run = Run::open(self, folder)?;
        run.measure_start(report)?;
        let (n_structures, copies) = (config.structures_per_step, config.copies);
        let mut batches =
            Batches::new(&self.dataset, n_structures, copies, config.curriculum_steps, config.seed);
        let mut gradient = BatchGradient::new(&run.network, config.loss, config.rounding.into());
        let mut window = Window::new();
        let mut last_checkpoint = Instant::now();
        while run.optimiser.n_steps < config.n_steps && !stop.load(Ordering::Relaxed) {
            let step = run.optimiser.n_steps;
            let samples = batches.at_step(step);
            let (loss, gradient) = gradient.compute(&run.network, &samples);
            let norm = clip_to_norm(&mut gradient[run.trained.clone()], config.clip_norm);
            if !(loss.is_finite() && norm.is_finite()) {
                let batch = run.describe(&batches.structures_at(step));
                return Err(TrainError::NotFinite { step, loss, norm, batch });
            }
            run.step(gradient);
            window.add(loss, norm, samples.len());
            run.report(step + 1, &mut window, report)?;
            if last_checkpoint.elapsed().as_secs_f64() > 60.0 * config.checkpoint_minutes {
                run.checkpoint()?;
                last_checkpoint = Instant::now();
            }
        }
        // Whoever asks a run to stop waits for it: all structures are measured only when it is complete.
        if run.optimiser.n_steps >= config.n_steps {
            run.measure(self.validation.len())?;
        }
        run.checkpoint()?;
        Ok(run.model)
    }
}

/// The moving parts of a run.
struct Run<'a> {
    job: &'a Job,
    folder: &'a Path,
    metrics: MetricsFile,
    network: Network<f32>,
    /// The parameters that are trained.
    trained: Range<usize>,
    optimiser: Optimiser<f32>,
    /// The model as saved: its values are the average.
    model: Model,
    /// Lowest validation error so far, meV/Å.
    best: f64,
}

impl<'a> Run<'a> {
    fn open(job: &'a Job, folder: &'a Path) -> Result<Self, TrainError> {
        let config = &job.config;
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
        let model = job.model.clone();
        let network: Network<f32> = model.network().map_err(ConfigError::from)?;
        let trained = trained(network.layout(), config.trained);
        let matrices = match config.optimiser {
            OptimiserName::Adamw => Vec::new(),
            OptimiserName::Muon => inner_matrices(network.layout(), &trained),
        };
        let optimiser = Optimiser::muon(trained.len(), config.weight_decay, matrices);
        let metrics = MetricsFile::new(folder);
        let mut run = Self { job, folder, metrics, network, trained, optimiser, model, best: f64::INFINITY };
        let state_path = folder.join("state.safetensors");
        if state_path.exists() {
            let mut state = run.state();
            state.read(&state_path)?;
            let n_trainable = state.average.len();
            run.network.trainable_mut().copy_from_slice(&state.values[..n_trainable]);
            run.model.values[..n_trainable].copy_from_slice(&state.average);
            (run.optimiser, run.best) = (state.optimiser, state.best);
        } else {
            run.checkpoint()?;
        }
        run.metrics.cut(run.optimiser.n_steps)?;
        Ok(run)
    }

    fn state(&self) -> State {
        let average = self.model.values[..self.network.layout().n_trainable()].to_vec();
        let (values, optimiser) = (self.network.values().to_vec(), self.optimiser.clone());
        State { values, average, optimiser, best: self.best }
    }

    /// Reports what a start model is worth before its first step.
    fn measure_start(&mut self, report: &mut dyn FnMut(&Progress)) -> Result<(), TrainError> {
        if self.optimiser.n_steps > 0 {
            return Ok(());
        }
        let Some(errors) = self.job.start_errors()? else { return Ok(()) };
        let validation = errors.validation.map(|errors| errors.component_mae_mev_per_angstrom);
        self.note_error(validation)?;
        let metrics = Metrics {
            training_mae_mev_per_angstrom: Some(errors.training.component_mae_mev_per_angstrom),
            validation_mae_mev_per_angstrom: validation,
            ..Metrics::now(0)
        };
        self.metrics.cut(0)?;
        self.metrics.append(&metrics)?;
        let n_steps = self.job.config.n_steps;
        report(&Progress { step: 0, n_steps, eta_s: f64::NAN, metrics, is_logged: true });
        Ok(())
    }

    /// Applies a clipped gradient to parameters and average.
    fn step(&mut self, gradient: &[f32]) {
        let rate = self.rate(self.optimiser.n_steps);
        let parameters = &mut self.network.trainable_mut()[self.trained.clone()];
        self.optimiser.step(parameters, &gradient[self.trained.clone()], rate);
        let decay = self.job.config.ema_decay;
        if decay == 0.0 {
            self.model.values[self.trained.clone()].copy_from_slice(parameters);
            return;
        }
        // Early on the average follows closely, so that the random start is forgotten: min(decay, (1 + n)/(10 + n)).
        let done = self.optimiser.n_steps as f64;
        let fresh = (1.0 - decay.min((1.0 + done) / (10.0 + done))) as f32;
        for (average, &value) in self.model.values[self.trained.clone()].iter_mut().zip(parameters.iter()) {
            *average += fresh * (value - *average);
        }
    }

    /// After `done` steps: measures when it is time, writes a line of metrics when there is something new.
    fn report(
        &mut self,
        done: u64,
        window: &mut Window,
        report: &mut dyn FnMut(&Progress),
    ) -> Result<(), TrainError> {
        let config = &self.job.config;
        let is_last = done == config.n_steps;
        let (mut metrics, s_per_step) = window.metrics(done, self.rate(done - 1));
        let due = done.is_multiple_of(config.validate_every) || is_last;
        if due {
            self.measure(config.validation_structures)?;
            metrics.validation_mae_mev_per_angstrom = self.error();
            self.note_error(self.error())?;
        }
        let is_logged = done.is_multiple_of(LINE_EVERY) || is_last || (due && self.error().is_some());
        if is_logged {
            self.metrics.append(&metrics)?;
            *window = Window::new();
        }
        let eta_s = s_per_step * (config.n_steps - done) as f64;
        report(&Progress { step: done, n_steps: config.n_steps, eta_s, metrics, is_logged });
        Ok(())
    }

    /// Component MAE of the last measurement, meV/Å.
    fn error(&self) -> Option<f64> {
        self.model.card.validation.first().map(|error| error.component_mae_mev_per_angstrom)
    }

    /// Keeps the model if its error is the lowest.
    fn note_error(&mut self, error: Option<f64>) -> Result<(), TrainError> {
        if let Some(error) = error.filter(|error| *error < self.best) {
            self.best = error;
            self.write_model("best.safetensors")?;
        }
        Ok(())
    }

    /// Measures the averaged model on at most `n` validation structures, for its card.
    fn measure(&mut self, n: usize) -> Result<(), TrainError> {
        let validation = &self.job.validation;
        let averaged: Network<f32> = self.model.network().map_err(ConfigError::from)?;
        let all = evenly_spaced(validation.len(), n);
        let ions: Vec<usize> = all.iter().copied().filter(|&i| validation.get(i).charge != 0).collect();
        let kinds = [("validation structures", all), ("validation ions", ions)];
        let measured = kinds.into_iter().filter(|(_, indices)| !indices.is_empty()).map(|(on, indices)| {
            let errors = validate(&averaged, validation, &indices);
            ValidationError {
                on: on.into(),
                n_structures: errors.n_structures,
                component_mae_mev_per_angstrom: errors.component_mae_mev_per_angstrom,
                euclidean_mev_per_angstrom: errors.euclidean_mev_per_angstrom,
            }
        });
        self.model.card.validation = measured.collect();
        Ok(())
    }

    /// Saves the model and then the state, so that a state never stands without its model.
    fn checkpoint(&mut self) -> Result<(), TrainError> {
        self.write_model("model.safetensors")?;
        let path = self.folder.join("MODEL_CARD.md");
        atomic_write(&path, markdown(&self.model).as_bytes())
            .map_err(|source| TrainError::Io { path, source })?;
        Ok(self.state().write(&self.folder.join("state.safetensors"))?)
    }

    fn write_model(&mut self, name: &str) -> Result<(), TrainError> {
        let TrainConfig { n_steps, structures_per_step, copies, .. } = &self.job.config;
        self.model.card.provenance = format!(
            "mdet {}, {} of {n_steps} steps of {structures_per_step} structures in {copies} orientations",
            if self.job.config.start.is_some() { "finetune" } else { "train" },
            self.optimiser.n_steps
        );
        let path = self.folder.join(name);
        self.model.write(&path).map_err(TrainError::model(&path))
    }

    fn rate(&self, step: u64) -> f64 {
        let TrainConfig { learning_rate: highest, warmup_steps, n_steps, schedule, .. } = self.job.config;
        learning_rate(step, highest, warmup_steps, n_steps, schedule)
    }

    /// A batch in words: the structures whose forces are no numbers, or else all of them.
    fn describe(&self, indices: &[usize]) -> String {
        let is_finite = |&&index: &&usize| {
            let sample = Sample::new(&self.job.dataset.get(index), &mdet_core::Rotation::IDENTITY);
            let mut forces = vec![0.0; 3 * sample.numbers.len()];
            self.network.forward(&[sample.molecule()], &mut Tape::default(), &mut forces);
            !forces.iter().all(|f| f.is_finite())
        };
        let wrong: Vec<usize> = indices.iter().filter(is_finite).copied().collect();
        let (shown, what) = match wrong.len() {
            0 => (indices, "all with finite forces"),
            _ => (wrong.as_slice(), "with forces that are no numbers"),
        };
        let name = |&index: &usize| format!("{index} ({})", composition(self.job.dataset.get(index).numbers));
        let names: Vec<String> = shown.iter().take(8).map(name).collect();
        let more = if shown.len() > 8 { ", …" } else { "" };
        format!("{} structures, {} {what}: {}{more}", indices.len(), shown.len(), names.join(", "))
    }
}

/// Whether a run with the saved configuration can go on with `config`: its past steps are the same.
///
/// A run is made longer while its learning rate is constant; how often it is looked at changes nothing, and the rounding
/// of products less than the choice of a batch.
fn continues(saved: &str, config: &TrainConfig) -> bool {
    toml::from_str::<TrainConfig>(saved).is_ok_and(|saved| {
        let TrainConfig {
            n_steps,
            schedule,
            checkpoint_minutes,
            validation_structures,
            validate_every,
            rounding,
            ..
        } = *config;
        let changed = TrainConfig { n_steps, schedule, rounding, ..saved };
        TrainConfig { checkpoint_minutes, validation_structures, validate_every, ..changed } == *config
    })
}

/// The range of the arena that is trained. The head's tensors are its end.
fn trained(layout: &Layout, trained: Trained) -> Range<usize> {
    let is_head = |tensor: &&Tensor| tensor.name.starts_with("heads.");
    let head = layout.tensors().iter().find(is_head).map_or(0, |tensor| tensor.range.start);
    match trained {
        Trained::All => 0..layout.n_trainable(),
        Trained::Head => head..layout.n_trainable(),
    }
}

/// The matrices between two hidden vectors, of the layers, the composer and the pooling, that lie in `trained`.
fn inner_matrices(layout: &Layout, trained: &Range<usize>) -> Vec<Matrix> {
    let is_inner = |tensor: &&Tensor| {
        let inside = ["layers.", "composer.", "decomposer."].iter().any(|part| tensor.name.starts_with(part));
        inside && tensor.shape.len() == 2 && tensor.range.start >= trained.start
    };
    let matrix = |tensor: &Tensor| Matrix {
        range: tensor.range.start - trained.start..tensor.range.end - trained.start,
        n_rows: tensor.shape[0],
        n_columns: tensor.shape[1],
    };
    layout.tensors().iter().filter(is_inner).map(matrix).collect()
}
