//! A run's folder: what is in it, and how it is opened again.
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
//! | `lock` | nothing: the process that trains here holds it |

use crate::checkpoint::State;
use crate::metrics::MetricsFile;
use crate::model_card::markdown;
use crate::{TrainConfig, TrainError};
use mdet_core::{atomic_write, lock_folder};
use mdet_model::{Model, ValidationError};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The folder of a run of one configuration.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    pub metrics: MetricsFile,
    /// Keeps a second process out.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder, or finds a run in it that `config` continues and reads its last checkpoint into `state`, which has
    /// the right lengths; then writes `config` to it.
    pub fn open(path: &Path, config: &TrainConfig, state: &mut State) -> Result<Self, TrainError> {
        std::fs::create_dir_all(path).map_err(io(path))?;
        let lock = lock_folder(path).map_err(io(path))?;
        let (config_path, state_path) = (path.join("config.toml"), path.join("state.safetensors"));
        let saved = std::fs::read_to_string(&config_path).ok();
        let earlier = saved.as_ref().map(|text| continued(text, config, &config_path)).transpose()?;
        if state_path.exists() {
            state.read(&state_path)?;
        }
        if let Some(earlier) = earlier {
            check_rates(&earlier, config, state.optimiser.n_steps, &config_path)?;
        }
        let text = toml::to_string(config).expect("a configuration is plain data");
        if saved.as_ref() != Some(&text) {
            atomic_write(&config_path, text.as_bytes()).map_err(io(&config_path))?;
        }
        Ok(Self { path: path.into(), metrics: MetricsFile::new(path), _lock: lock })
    }

    /// Errors of the last checkpoint's model, if it has these parameters: it may be newer than the state.
    pub fn measured(&self, values: &[f32]) -> Vec<ValidationError> {
        let model = Model::read(&self.path.join("model.safetensors")).ok();
        model.filter(|model| model.values == values).map(|model| model.card.validation).unwrap_or_default()
    }

    /// Saves the model and then the state, so that a state never stands without its model.
    pub fn checkpoint(&self, model: &Model, state: &State) -> Result<(), TrainError> {
        self.write_model("model.safetensors", model)?;
        let path = self.path.join("MODEL_CARD.md");
        atomic_write(&path, markdown(model).as_bytes()).map_err(io(&path))?;
        Ok(state.write(&self.path.join("state.safetensors"))?)
    }

    pub fn write_model(&self, name: &str, model: &Model) -> Result<(), TrainError> {
        let path = self.path.join(name);
        model.write(&path).map_err(TrainError::model(&path))
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> TrainError {
    let path = path.to_path_buf();
    move |source| TrainError::Io { path: path.clone(), source }
}

/// The saved configuration, where a run with it can go on with `config`.
///
/// How often a run is looked at changes nothing, and the rounding of products less than the choice of a batch; its length
/// and schedule are left to [`check_rates`].
fn continued(saved: &str, config: &TrainConfig, path: &Path) -> Result<TrainConfig, TrainError> {
    let other = || TrainError::OtherRun { path: path.into() };
    let saved: TrainConfig = toml::from_str(saved).map_err(|_| other())?;
    let TrainConfig {
        n_steps,
        schedule,
        checkpoint_minutes,
        validation_structures,
        validate_every,
        rounding,
        ..
    } = *config;
    let changed = TrainConfig { n_steps, schedule, rounding, ..saved.clone() };
    let changed = TrainConfig { checkpoint_minutes, validation_structures, validate_every, ..changed };
    if changed == *config { Ok(saved) } else { Err(other()) }
}

/// The steps done have the same learning rates by both configurations: a run is made longer while its rate is constant.
fn check_rates(
    saved: &TrainConfig,
    config: &TrainConfig,
    n_steps: u64,
    path: &Path,
) -> Result<(), TrainError> {
    let rates = |step| (step, saved.rate(step), config.rate(step));
    match (0..n_steps).map(rates).find(|(_, expected, found)| expected != found) {
        Some((step, expected, found)) => {
            Err(TrainError::OtherRate { path: path.into(), step, expected, found })
        }
        None => Ok(()),
    }
}
