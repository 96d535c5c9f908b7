//! The configuration of a training run: one TOML file, checked before anything is done.
//!
//! Fine-tuning is a run with a `start` and the recipe of [`TrainConfig::finetune`].

use crate::{Loss, learning_rate};
use mdet_data::ReadOptions;
use mdet_kernels::Operands;
use mdet_model::{Frequencies, ModelConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What, on which data and how to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Files or stores to train on, of any format that `mdet data` reads.
    #[schemars(length(min = 1))]
    pub data: Vec<PathBuf>,
    /// The same to measure errors on.
    #[serde(default)]
    pub validation: Vec<PathBuf>,
    /// Structures of `data` that are taken out of it, at random, to measure errors on: their number, or a share below
    /// 1 (then at most 1000). Without `validation` only.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub hold_out: f64,
    /// What the files do not say themselves: units, which labels.
    #[serde(default)]
    pub reading: ReadOptions,
    /// Model file to start from, or `built-in`; without one, parameters are random.
    #[serde(default)]
    pub start: Option<PathBuf>,
    /// Whether data may hold elements, charges and multiplicities that the start model has not seen.
    #[serde(default)]
    pub allow_new: bool,
    /// Which parameters are trained.
    #[serde(default)]
    pub trained: Trained,
    /// What is made small.
    #[serde(default)]
    pub loss: Loss,
    /// Structures per step; each is seen in `copies` orientations, so that a batch has their product.
    #[schemars(range(min = 1))]
    pub structures_per_step: usize,
    /// Rotated and, half the time, reflected copies of each structure in a batch.
    #[schemars(range(min = 1))]
    pub copies: usize,
    /// Weight in the loss of the equivariance error between a structure's copies, of which there must be two or more: how
    /// far forces, turned back, scatter about their mean. About the mean of K copies that is √((K − 1)/K) of what
    /// `mdet judge equivariance` measures over many orientations. 0 as published.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub equivariance_weight: f64,
    /// Weight in the loss of the antisymmetric part A of the force Jacobian, which has no potential and heats: of
    /// ‖A‖ / √(3N) times 0.1 Å, sampled by a displaced copy of every structure without labels of its own. 0 as published;
    /// `rounding` must be `none`, since differences of forces do not survive it.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub antisymmetry_weight: f64,
    /// Optimiser steps in all.
    #[schemars(range(min = 1))]
    pub n_steps: u64,
    /// First steps, in which the largest structure drawn grows from 8 atoms to the data's largest; 0 for none.
    pub curriculum_steps: u64,
    /// Steps over which the learning rate rises from zero.
    pub warmup_steps: u64,
    /// Highest learning rate, per step; Muon's matrices and AdamW's parameters share it. From random parameters without
    /// small molecules to begin with, 4e-3 may never leave the first plateau, where all forces are nearly zero; 1e-3 did.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// How the learning rate falls to zero.
    #[serde(default)]
    pub schedule: Schedule,
    /// How gradients become steps.
    #[serde(default)]
    pub optimiser: OptimiserName,
    /// Which matrix products round their factors to bfloat16, where the processor multiplies it faster. Not for a start
    /// from random parameters.
    #[serde(default)]
    pub rounding: Rounding,
    /// Decoupled weight decay: the share of every parameter that a step takes away is this times the learning rate.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub weight_decay: f64,
    /// Largest norm of the gradient (of the loss in Hartree/Bohr); longer gradients are scaled down to it.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub clip_norm: f64,
    /// Decay per step of the averaged parameters, which are what is validated and saved; 0 for no average.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub ema_decay: f64,
    /// Seed of initialisation, order and rotations.
    pub seed: u64,
    /// Minutes between checkpoints.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub checkpoint_minutes: f64,
    /// Steps between measurements on validation structures.
    #[serde(default = "default_validate_every")]
    #[schemars(range(min = 1))]
    pub validate_every: u64,
    /// Validation structures measured each time, evenly spaced; all of them are at the end.
    #[schemars(range(min = 1))]
    pub validation_structures: usize,
    /// Frequencies of the Fourier features; the start model's where there is one.
    #[serde(default)]
    pub frequencies: Option<Frequencies>,
    /// The architecture; the start model's where there is one, with as many layers or more: further ones begin as the
    /// identity, so that the first forces are the start model's.
    #[serde(default)]
    pub model: Option<ModelConfig>,
}

fn default_validate_every() -> u64 {
    200
}

/// Which parameters are trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trained {
    /// All of them.
    #[default]
    All,
    /// Those of the force head alone, with `start` and AdamW; the rest stays as in the start model.
    Head,
}

/// The learning rate after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// A cosine to zero over the whole run, as published.
    #[default]
    Cosine,
    /// Constant, then linear to zero (warm-up, stable, decay): a run can be made longer while it is constant.
    Trapezoid {
        /// Steps of the linear fall to zero at the end, after the warm-up.
        decay_steps: u64,
    },
}

/// The optimiser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimiserName {
    /// AdamW for every parameter, as published.
    #[default]
    Adamw,
    /// Muon for the inner matrices, AdamW for the rest.
    Muon,
}

/// Which matrix products over edges multiply bfloat16 (8 bits of mantissa) on processors that are twice as fast at it;
/// sums, parameters and all else stay f32.
///
/// For a start from a trained model. From random parameters rounded gradients may not leave the first plateau: 300 steps
/// on ethanol at a rate of 4e-3 went from 884 to 788 meV/Å without rounding, and stayed at 885 with `backward`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// None.
    #[default]
    None,
    /// Those of the gradients.
    Backward,
    /// Those of the layers' forces too, whose rounding shows in the training loss. Validation is exact.
    All,
}

impl From<Rounding> for mdet_model::Rounding {
    fn from(rounding: Rounding) -> Self {
        let [forward, backward] = match rounding {
            Rounding::None => [Operands::AsGiven, Operands::AsGiven],
            Rounding::Backward => [Operands::AsGiven, Operands::Rounded],
            Rounding::All => [Operands::Rounded, Operands::Rounded],
        };
        Self { forward, backward }
    }
}

/// A setting out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A number that makes no run.
    #[error("{field} = {value}: expected {expected}")]
    Range {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What would do.
        expected: &'static str,
    },
    /// A choice that does not go with another.
    #[error("{field} = \"{value}\": expected {expected}")]
    Choice {
        /// The setting.
        field: &'static str,
        /// What it chooses.
        value: &'static str,
        /// What would do.
        expected: &'static str,
    },
    /// Neither a start model nor an architecture.
    #[error("expected `start` (a model to start from), or `frequencies` and [model] (a new one's)")]
    NoModel,
    /// An architecture that makes no model.
    #[error("model: {0}")]
    Model(#[from] mdet_model::ConfigError),
}

impl ConfigError {
    /// The key that is wrong, dots leading into tables; none where one is missing.
    pub fn key(&self) -> Option<String> {
        match self {
            Self::Range { field, .. } | Self::Choice { field, .. } => Some((*field).into()),
            Self::NoModel => None,
            Self::Model(error) => Some(format!("model.{}", error.field)),
        }
    }
}

impl TrainConfig {
    /// JSON schema (draft 2020-12) of a configuration.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// The recipe that made the built-in model, from random parameters, with a twentieth of `data` held out.
    pub fn pretrain(data: Vec<PathBuf>) -> Self {
        Self {
            start: None,
            structures_per_step: 48,
            copies: 1,
            n_steps: 7200,
            curriculum_steps: 3000,
            learning_rate: 4e-3,
            schedule: Schedule::Trapezoid { decay_steps: 2430 },
            optimiser: OptimiserName::Muon,
            ema_decay: 0.999,
            validate_every: default_validate_every(),
            frequencies: Some(Frequencies::Integer),
            model: Some(ModelConfig::built_in()),
            ..Self::finetune(PathBuf::new(), data)
        }
    }

    /// The paper's recipe for fine-tuning `start` (a file, or `built-in`) on `data`: 2000 steps of 125 structures in
    /// 2 orientations each.
    pub fn finetune(start: PathBuf, data: Vec<PathBuf>) -> Self {
        Self {
            data,
            validation: Vec::new(),
            hold_out: 0.05,
            reading: ReadOptions::default(),
            start: Some(start),
            allow_new: false,
            trained: Trained::All,
            loss: Loss::Euclidean,
            structures_per_step: 125,
            copies: 2,
            equivariance_weight: 0.0,
            antisymmetry_weight: 0.0,
            n_steps: 2000,
            curriculum_steps: 0,
            warmup_steps: 100,
            learning_rate: 5e-5,
            schedule: Schedule::Cosine,
            optimiser: OptimiserName::Adamw,
            weight_decay: 1e-7,
            clip_norm: 1.0,
            ema_decay: 0.0,
            seed: 0,
            checkpoint_minutes: 2.0,
            validate_every: 50,
            rounding: Rounding::None,
            validation_structures: 200,
            frequencies: None,
            model: None,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first one out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = "a finite number above 0";
        let rules = [
            ("data", self.data.len() as f64, self.data.is_empty(), "at least one file"),
            (
                "structures_per_step",
                self.structures_per_step as f64,
                self.structures_per_step == 0,
                "at least 1",
            ),
            (
                "loss.huber.delta_ev_per_angstrom",
                self.huber_delta(),
                !is_positive(self.huber_delta()),
                positive,
            ),
            ("copies", self.copies as f64, self.copies == 0, "at least 1"),
            (
                "copies",
                self.copies as f64,
                self.equivariance_weight > 0.0 && self.copies < 2,
                "at least 2 where `equivariance_weight` is above 0",
            ),
            (
                "equivariance_weight",
                self.equivariance_weight,
                !(0.0..f64::INFINITY).contains(&self.equivariance_weight),
                "a finite number, at least 0",
            ),
            (
                "antisymmetry_weight",
                self.antisymmetry_weight,
                !(0.0..f64::INFINITY).contains(&self.antisymmetry_weight),
                "a finite number, at least 0",
            ),
            (
                "antisymmetry_weight",
                self.antisymmetry_weight,
                self.antisymmetry_weight > 0.0 && self.rounding != Rounding::None,
                "0 where `rounding` is not \"none\"",
            ),
            (
                "hold_out",
                self.hold_out,
                self.hold_out != 0.0 && !self.validation.is_empty(),
                "0 where `validation` is given",
            ),
            (
                "hold_out",
                self.hold_out,
                !is_hold_out(self.hold_out),
                "a share below 1 or a whole number of structures",
            ),
            ("n_steps", self.n_steps as f64, self.n_steps == 0, "at least 1"),
            ("validate_every", self.validate_every as f64, self.validate_every == 0, "at least 1"),
            (
                "validation_structures",
                self.validation_structures as f64,
                self.validation_structures == 0,
                "at least 1",
            ),
            ("warmup_steps", self.warmup_steps as f64, self.warmup_steps > self.n_steps, "at most n_steps"),
            (
                "schedule.trapezoid.decay_steps",
                self.decay_steps() as f64,
                self.decay_steps() > 0 && self.warmup_steps.saturating_add(self.decay_steps()) > self.n_steps,
                "at most n_steps - warmup_steps: the rate falls after it has risen",
            ),
            (
                "curriculum_steps",
                self.curriculum_steps as f64,
                self.curriculum_steps > self.n_steps,
                "at most n_steps",
            ),
            ("learning_rate", self.learning_rate, !is_positive(self.learning_rate), positive),
            ("weight_decay", self.weight_decay, !(0.0..1.0).contains(&self.weight_decay), "0 to 1"),
            ("clip_norm", self.clip_norm, !is_positive(self.clip_norm), positive),
            ("ema_decay", self.ema_decay, !(0.0..1.0).contains(&self.ema_decay), "at least 0 and below 1"),
            ("checkpoint_minutes", self.checkpoint_minutes, !is_positive(self.checkpoint_minutes), positive),
        ];
        for (field, value, wrong, expected) in rules {
            if wrong {
                return Err(ConfigError::Range { field, value, expected });
            }
        }
        if self.trained == Trained::Head && self.start.is_none() {
            let expected = "\"all\" without `start`";
            return Err(ConfigError::Choice { field: "trained", value: "head", expected });
        }
        if self.trained == Trained::Head && self.optimiser == OptimiserName::Muon {
            let expected = "\"adamw\" where `trained` is \"head\", which has no inner matrices";
            return Err(ConfigError::Choice { field: "optimiser", value: "muon", expected });
        }
        match (&self.start, &self.model, &self.frequencies) {
            (_, Some(model), Some(_)) | (Some(_), Some(model), None) => Ok(model.validate()?),
            (Some(_), None, _) => Ok(()),
            (None, ..) => Err(ConfigError::NoModel),
        }
    }
}

impl TrainConfig {
    /// Learning rate of a step, from 0.
    pub(crate) fn rate(&self, step: u64) -> f64 {
        learning_rate(step, self.learning_rate, self.warmup_steps, self.n_steps, self.schedule)
    }

    /// Steps of the linear fall; 0 for a cosine.
    fn decay_steps(&self) -> u64 {
        if let Schedule::Trapezoid { decay_steps } = self.schedule { decay_steps } else { 0 }
    }

    /// δ of the Huber loss, eV/Å; 1 for the others.
    fn huber_delta(&self) -> f64 {
        if let Loss::Huber { delta_ev_per_angstrom } = self.loss { delta_ev_per_angstrom } else { 1.0 }
    }
}

fn is_hold_out(value: f64) -> bool {
    (0.0..1.0).contains(&value) || (value.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&value))
}

fn is_positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}
