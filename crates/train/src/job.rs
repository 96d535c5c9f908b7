//! A run before its first step: configuration, data and start model, read and checked; nothing is written.

use crate::coverage::Coverage;
use crate::{ForceErrors, Ranks, TrainConfig, TrainError, validate};
use mdet_core::{Purpose, RandomStream};
use mdet_data::{Dataset, shared_frames};
use mdet_model::{Card, Model, ModelConfig, Network};
use std::path::Path;

/// A checked configuration with its data and its first model.
#[derive(Debug)]
pub struct Job {
    /// The configuration, with the start model's architecture filled in.
    pub config: TrainConfig,
    /// What is trained on.
    pub dataset: Dataset,
    /// What errors are measured on; may be empty.
    pub validation: Dataset,
    /// Parameters to begin with. The card is that of the run's models: data, origin, domain.
    pub model: Model,
    /// What is unusual but no error, in sentences.
    pub warnings: Vec<String>,
}

/// Errors of the start model before the first step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StartErrors {
    /// On training structures.
    pub training: ForceErrors,
    /// On validation structures, if there are any.
    pub validation: Option<ForceErrors>,
}

impl Job {
    /// Reads and checks everything that a configuration names.
    ///
    /// # Errors
    /// [`TrainError`]: settings, data without forces, a start model of another architecture, and, unless the
    /// configuration allows them, elements, charges and multiplicities that the start model has not seen.
    pub fn prepare(mut config: TrainConfig) -> Result<Self, TrainError> {
        config.validate()?;
        let start = config.start.as_deref().map(read_start).transpose()?;
        let dataset = Dataset::read(&config.data, config.reading)?;
        if dataset.is_empty() {
            return Err(TrainError::NoStructures);
        }
        let (dataset, validation) = if config.hold_out > 0.0 {
            let n = n_held_out(config.hold_out, dataset.len())?;
            config.hold_out = n as f64;
            hold_out(&dataset, n, config.seed)
        } else {
            let validation = Dataset::read(&config.validation, config.reading)?;
            (dataset, validation)
        };
        let mut warnings = Vec::new();
        warnings.extend(mdet_data::energy_check::force_size(force_rms(&dataset)));
        let mut coverage = Coverage::default();
        coverage.add("training", &dataset);
        let start_domain = start.as_ref().and_then(|start| start.card.domain.clone());
        let domain = coverage.domain(start_domain.as_ref());
        coverage.add("validation", &validation);
        match (&start, &start_domain) {
            (Some(_), Some(seen)) if !config.allow_new => coverage.check(seen)?,
            (Some(_), None) => warnings.push("the start model does not say what it was trained on".into()),
            _ => {}
        }
        let shared = if validation.is_empty() { Vec::new() } else { shared_frames(&dataset, &validation) };
        if let Some(&(at, same)) = shared.first() {
            let (at, same) = (validation.index_in_files(at), dataset.index_in_files(same));
            warnings.push(format!(
                "{} of {} validation structures are training structures too (the first: validation {at} is training \
                 {same}): their errors say nothing about new structures",
                shared.len(),
                validation.len()
            ));
        }
        let mut model = first_model(&mut config, start.as_ref())?;
        let names: Vec<_> =
            config.data.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy()).collect();
        let mut trained_on = format!("{} structures of {}", dataset.len(), names.join(", "));
        if let Some(start) = &start {
            trained_on +=
                &format!("; starting from {}, trained on {}", start.card.name, start.card.trained_on);
        }
        model.card = Card { name: "mdet".into(), trained_on, domain: Some(domain), ..Card::default() };
        Ok(Self { config, dataset, validation, model, warnings })
    }

    /// Component errors of the model to begin with, on at most `validation_structures` of either set; `None` when its
    /// parameters are random. All ranks call this together.
    ///
    /// # Errors
    /// Never, for a prepared job.
    pub fn start_errors(&self, ranks: &Ranks) -> Result<Option<StartErrors>, TrainError> {
        if self.config.start.is_none() {
            return Ok(None);
        }
        let network: Network<f32> = self.model.network().map_err(crate::ConfigError::from)?;
        let errors = |dataset: &Dataset| {
            let indices = evenly_spaced(dataset.len(), self.config.validation_structures);
            validate(&network, dataset, &indices, ranks)
        };
        let validation = (!self.validation.is_empty()).then(|| errors(&self.validation));
        Ok(Some(StartErrors { training: errors(&self.dataset), validation }))
    }
}

/// Structures, evenly spaced, that tell the size of forces.
const N_MEASURED: usize = 10_000;

/// Root mean square of the force components, eV/Å.
fn force_rms(dataset: &Dataset) -> f64 {
    let (mut sum, mut n) = (0.0, 0);
    for index in evenly_spaced(dataset.len(), N_MEASURED) {
        let components = dataset.get(index).forces.as_flattened();
        sum += components.iter().map(|&f| f64::from(f).powi(2)).sum::<f64>();
        n += components.len();
    }
    (sum / n as f64).sqrt()
}

/// At most `n` of `0..len`, evenly spaced.
pub(crate) fn evenly_spaced(len: usize, n: usize) -> Vec<usize> {
    let n = n.min(len);
    (0..n).map(|k| k * len / n).collect()
}

fn read_start(path: &Path) -> Result<Model, TrainError> {
    let read = if path == Path::new("built-in") { Model::built_in() } else { Model::read(path) };
    read.map_err(TrainError::model(path))
}

/// The model to begin with, deeper where the configuration says so; the configuration gets its architecture.
fn first_model(config: &mut TrainConfig, start: Option<&Model>) -> Result<Model, TrainError> {
    if let Some(start) = start {
        let path = config.start.clone().unwrap_or_default();
        let model = config.model.get_or_insert_with(|| start.config.clone());
        let n_layers = model.n_layers;
        if *model != (ModelConfig { n_layers, ..start.config.clone() }) {
            return Err(TrainError::OtherArchitecture { path });
        }
        if let Some(found) = config.frequencies.filter(|&frequencies| !start.has_frequencies(frequencies)) {
            return Err(TrainError::OtherFrequencies { path, found });
        }
        return Ok(start.deepened(n_layers, config.seed).map_err(crate::ConfigError::from)?);
    }
    let (Some(model), Some(frequencies)) = (&config.model, config.frequencies) else {
        return Err(crate::ConfigError::NoModel.into());
    };
    Ok(Model::random(model.clone(), frequencies, config.seed).map_err(crate::ConfigError::from)?)
}

/// Largest part of a data set that a share holds out: more structures say little more.
const LARGEST_SHARE: usize = 1000;

fn n_held_out(hold_out: f64, n_structures: usize) -> Result<usize, TrainError> {
    let n = match hold_out {
        share if share < 1.0 => ((share * n_structures as f64).round() as usize).clamp(1, LARGEST_SHARE),
        n => n as usize,
    };
    if n < n_structures { Ok(n) } else { Err(TrainError::HoldOut { hold_out: n, n_structures }) }
}

/// Parts `n` structures, drawn at random, from the others: (others, drawn), both in the data's order.
fn hold_out(dataset: &Dataset, n: usize, seed: u64) -> (Dataset, Dataset) {
    let mut generator = RandomStream { seed, purpose: Purpose::Splitting, replica: 0 }.at_step(0);
    let mut drawn: Vec<u32> = rand::seq::index::sample(&mut generator, dataset.len(), n)
        .into_iter()
        .map(|index| index as u32)
        .collect();
    drawn.sort_unstable();
    let others: Vec<u32> =
        (0..dataset.len() as u32).filter(|index| drawn.binary_search(index).is_err()).collect();
    (dataset.select(&others), dataset.select(&drawn))
}
