//! A training run: the loop, what a step changes, and when it is measured and saved.
//!
//! On several processes ([`Ranks`]) each takes its share of a batch and of the validation structures; gradients and
//! sums of errors are added over all of them, and then every one takes the same step. The first alone has a folder.

use crate::checkpoint::{Contents, State};
use crate::folder::RunFolder;
use crate::gradient::BatchGradient;
use crate::job::evenly_spaced;
use crate::metrics::{Metrics, Window};
use crate::{
    Batches, ConfigError, ForceErrors, Job, Matrix, Optimiser, OptimiserName, Progress, Ranks, Sample,
    StructureTerms, TrainConfig, TrainError, Trained, clip_to_norm, validate,
};
use mdet_data::composition;
use mdet_model::{Layout, Model, Network, Tape, Tensor, ValidationError};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Most steps between two lines of metrics.
const LINE_EVERY: u64 = 50;

/// Prepares and runs a configuration in this process: [`Job::prepare`], [`Job::run`].
///
/// # Errors
/// As theirs.
pub fn train(
    config: &TrainConfig,
    folder: &Path,
    stop: &AtomicBool,
    report: &mut dyn FnMut(&Progress),
) -> Result<Model, TrainError> {
    Job::prepare(config.clone())?.run(folder, &Ranks::alone(), stop, report)
}

impl Job {
    /// Trains in `folder`, from its last checkpoint if there is one, on the current thread pool; `report` hears of
    /// every step. When `stop` becomes true, on any of the ranks, the run saves its state after the step and returns.
    ///
    /// Every one of `ranks` calls this with the same job. `folder` is the first's; the others touch no file.
    ///
    /// A start model is measured before the first step; `report` hears of that as step 0.
    ///
    /// # Errors
    /// [`TrainError`]; the folder's last checkpoint stays valid. Unless it [is shared](TrainError::is_shared), the other
    /// ranks still wait for this one.
    pub fn run(
        &self,
        folder: &Path,
        ranks: &Ranks,
        stop: &AtomicBool,
        report: &mut dyn FnMut(&Progress),
    ) -> Result<Model, TrainError> {
        let config = &self.config;
        let contents = [&self.dataset, &self.validation].map(Contents::of);
        self.check_ranks(contents, ranks)?;
        let mut run = Run::open(self, contents, folder, ranks)?;
        run.measure_start(report)?;
        let (n_structures, copies) = (config.structures_per_step, config.copies);
        let mut batches =
            Batches::new(&self.dataset, n_structures, copies, config.curriculum_steps, config.seed)
                .with_probe(config.antisymmetry_weight > 0.0);
        let (objective, rounding) = (config.loss, config.rounding.into());
        let mut gradient = BatchGradient::new(&run.network, objective, rounding, config.trained).with_terms(
            StructureTerms {
                copies,
                equivariance_weight: config.equivariance_weight,
                antisymmetry_weight: config.antisymmetry_weight,
            },
        );
        let mut window = Window::new();
        let mut last_checkpoint = Instant::now();
        while run.optimiser.n_steps < config.n_steps && !ranks.any(stop.load(Ordering::Relaxed)) {
            let step = run.optimiser.n_steps;
            let batch = batches.share_at_step(step, ranks);
            let (loss, gradient) = gradient.compute(&run.network, &batch.samples, batch.n_atoms);
            let loss = ranks.sum_of(loss);
            let trained = &mut gradient[run.trained.clone()];
            ranks.sum(trained);
            let norm = clip_to_norm(trained, config.clip_norm);
            if !(loss.is_finite() && norm.is_finite()) {
                let batch = run.describe(&batches.structures_at(step));
                return Err(TrainError::NotFinite { step, loss, norm, batch });
            }
            run.step(gradient)?;
            window.add(loss, norm, n_structures * copies);
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

    /// Whether this rank has the first one's configuration and data.
    fn check_ranks(&self, contents: [Contents; 2], ranks: &Ranks) -> Result<(), TrainError> {
        let text = toml::to_string(&self.config).expect("a configuration is plain data");
        let [data, validation] = contents.map(|c| [c.n_structures as f64, c.checksum as f64]);
        let checksum = f64::from(crc32c::crc32c(text.as_bytes()));
        let own = [checksum, data[0], data[1], validation[0], validation[1]];
        let mut first = own;
        ranks.broadcast(&mut first);
        if own == first { Ok(()) } else { Err(TrainError::OtherJob { rank: ranks.rank() }) }
    }
}

/// The moving parts of a run.
struct Run<'a> {
    job: &'a Job,
    ranks: &'a Ranks,
    /// The first rank's.
    folder: Option<RunFolder>,
    network: Network<f32>,
    /// The parameters that are trained.
    trained: Range<usize>,
    optimiser: Optimiser<f32>,
    /// The model as saved: its values are the average.
    model: Model,
    /// Lowest validation error so far, meV/Å.
    best: f64,
    /// Of the training and the validation data.
    contents: [Contents; 2],
}

impl<'a> Run<'a> {
    fn open(
        job: &'a Job,
        contents: [Contents; 2],
        folder: &Path,
        ranks: &'a Ranks,
    ) -> Result<Self, TrainError> {
        let config = &job.config;
        let model = job.model.clone();
        let network: Network<f32> = model.network().map_err(ConfigError::from)?;
        let trained = trained(network.layout(), config.trained);
        let matrices = match config.optimiser {
            OptimiserName::Adamw => Vec::new(),
            OptimiserName::Muon => inner_matrices(network.layout(), &trained),
        };
        let optimiser = Optimiser::muon(trained.len(), config.weight_decay, matrices);
        let best = f64::INFINITY;
        let mut run = Self { job, ranks, folder: None, network, trained, optimiser, model, best, contents };
        let mut state = run.state();
        if ranks.is_first() {
            run.folder = Some(RunFolder::open(folder, config, &mut state)?);
        }
        state.share(ranks);
        let n_trainable = state.average.len();
        run.network.trainable_mut().copy_from_slice(&state.values[..n_trainable]);
        run.model.values[..n_trainable].copy_from_slice(&state.average);
        (run.optimiser, run.best) = (state.optimiser, state.best);
        if run.optimiser.n_steps == 0 {
            run.checkpoint()?;
        }
        if let Some(folder) = &run.folder {
            folder.metrics.cut(run.optimiser.n_steps)?;
            run.model.card.validation = folder.measured(&run.model.values);
        }
        Ok(run)
    }

    fn state(&self) -> State {
        let average = self.model.values[..self.network.layout().n_trainable()].to_vec();
        let (values, optimiser) = (self.network.values().to_vec(), self.optimiser.clone());
        let n_measured = self.job.config.validation_structures.min(self.job.validation.len()) as u64;
        State { values, average, optimiser, best: self.best, n_measured, contents: self.contents }
    }

    /// Reports what a start model is worth before its first step.
    fn measure_start(&mut self, report: &mut dyn FnMut(&Progress)) -> Result<(), TrainError> {
        if self.optimiser.n_steps > 0 {
            return Ok(());
        }
        let Some(errors) = self.job.start_errors(self.ranks)? else { return Ok(()) };
        self.set_errors(errors.validation.map(|errors| ("validation structures", errors)))?;
        let validation = self.error();
        self.note_error(validation)?;
        let metrics = Metrics {
            training_mae_mev_per_angstrom: Some(errors.training.component_mae_mev_per_angstrom),
            validation_mae_mev_per_angstrom: validation,
            ..Metrics::now(0)
        };
        if let Some(folder) = &self.folder {
            folder.metrics.append(&metrics)?;
        }
        let n_steps = self.job.config.n_steps;
        report(&Progress { step: 0, n_steps, eta_s: f64::NAN, metrics, is_logged: true });
        Ok(())
    }

    /// Applies a clipped gradient to parameters and average, whose errors are unknown then.
    fn step(&mut self, gradient: &[f32]) -> Result<(), TrainError> {
        self.model.card.validation.clear();
        let rate = self.rate(self.optimiser.n_steps);
        let parameters = &mut self.network.trainable_mut()[self.trained.clone()];
        self.optimiser.step(parameters, &gradient[self.trained.clone()], rate);
        let decay = self.job.config.ema_decay;
        let average = &mut self.model.values[self.trained.clone()];
        if decay == 0.0 {
            average.copy_from_slice(parameters);
        } else {
            // Early on the average follows closely, so that the random start is forgotten: min(decay, (1 + n)/(10 + n)).
            let done = self.optimiser.n_steps as f64;
            let fresh = (1.0 - decay.min((1.0 + done) / (10.0 + done))) as f32;
            for (average, &value) in average.iter_mut().zip(parameters.iter()) {
                *average += fresh * (value - *average);
            }
        }
        let values = parameters.iter().chain(average.iter()).map(|&value| f64::from(value));
        check_finite(self.optimiser.n_steps, "parameters", values)
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
            if let Some(folder) = &self.folder {
                folder.metrics.append(&metrics)?;
            }
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
            self.describe_origin();
            if let Some(folder) = &self.folder {
                folder.write_model("best.safetensors", &self.model)?;
            }
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
        let measured = kinds
            .into_iter()
            .filter(|(_, indices)| !indices.is_empty())
            .map(|(on, indices)| (on, validate(&averaged, validation, &indices, self.ranks)));
        self.set_errors(measured)
    }

    /// Puts measured errors into the model's card, if they are numbers.
    fn set_errors(
        &mut self,
        measured: impl IntoIterator<Item = (&'static str, ForceErrors)>,
    ) -> Result<(), TrainError> {
        let measured = measured.into_iter().map(|(on, errors)| ValidationError {
            on: on.into(),
            n_structures: errors.n_structures,
            component_mae_mev_per_angstrom: errors.component_mae_mev_per_angstrom,
            euclidean_mev_per_angstrom: errors.euclidean_mev_per_angstrom,
        });
        let measured: Vec<_> = measured.collect();
        let values = measured.iter().map(|errors| errors.euclidean_mev_per_angstrom);
        check_finite(self.optimiser.n_steps, "validation errors", values)?;
        self.model.card.validation = measured;
        Ok(())
    }

    /// Saves model, card and state, in the first rank's folder.
    fn checkpoint(&mut self) -> Result<(), TrainError> {
        self.describe_origin();
        self.folder.as_ref().map_or(Ok(()), |folder| folder.checkpoint(&self.model, &self.state()))
    }

    fn describe_origin(&mut self) {
        let TrainConfig { n_steps, structures_per_step, copies, .. } = &self.job.config;
        self.model.card.provenance = format!(
            "mdet {}, {} of {n_steps} steps of {structures_per_step} structures in {copies} orientations",
            if self.job.config.start.is_some() { "finetune" } else { "train" },
            self.optimiser.n_steps
        );
    }

    fn rate(&self, step: u64) -> f64 {
        self.job.config.rate(step)
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
        let data = &self.job.dataset;
        let name = |&index: &usize| {
            format!("{} ({})", data.index_in_files(index), composition(data.get(index).numbers))
        };
        let names: Vec<String> = shown.iter().take(8).map(name).collect();
        let more = if shown.len() > 8 { ", …" } else { "" };
        format!("{} structures, {} {what}: {}{more}", indices.len(), shown.len(), names.join(", "))
    }
}

/// All ranks have the same `values`, and so the same error.
fn check_finite(
    n_steps: u64,
    what: &'static str,
    mut values: impl Iterator<Item = f64>,
) -> Result<(), TrainError> {
    match values.find(|value| !value.is_finite()) {
        Some(found) => Err(TrainError::NotFiniteModel { n_steps, what, found }),
        None => Ok(()),
    }
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
