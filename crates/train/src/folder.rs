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

use crate::checkpoint::State;
use crate::metrics::MetricsFile;
use crate::model_card::markdown;
use crate::{TrainConfig, TrainError};
use mdet_core::atomic_write;
use mdet_model::Model;
use std::path::{Path, PathBuf};

/// The folder of a run of one configuration.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    pub metrics: MetricsFile,
}

impl RunFolder {
    /// Makes the folder, or finds a run in it that `config` continues, and writes `config` to it.
    pub fn open(path: &Path, config: &TrainConfig) -> Result<Self, TrainError> {
        std::fs::create_dir_all(path).map_err(io(path))?;
        let config_path = path.join("config.toml");
        let text = toml::to_string(config).expect("a configuration is plain data");
        match std::fs::read_to_string(&config_path) {
            Ok(found) if !continues(&found, config) => {
                return Err(TrainError::OtherRun { path: config_path });
            }
            Ok(found) if found == text => {}
            _ => atomic_write(&config_path, text.as_bytes()).map_err(io(&config_path))?,
        }
        Ok(Self { path: path.into(), metrics: MetricsFile::new(path) })
    }

    /// Reads the last checkpoint into a state of the right lengths; without one the state stays.
    pub fn read_state(&self, state: &mut State) -> Result<(), TrainError> {
        let path = self.path.join("state.safetensors");
        if path.exists() {
            state.read(&path)?;
        }
        Ok(())
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
