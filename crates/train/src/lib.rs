//! Training MD-ET: batches with rotated copies, force losses, AdamW and Muon, and a resumable run from
//! random parameters or from a model's, in one process or in several (feature `mpi`).
//!
//! Read in this order: [`TrainConfig`] what is asked for, [`Job`] what is read and checked before the first step, then
//! `run.rs`, the loop.

mod batch;
mod checkpoint;
mod config;
mod coverage;
mod error;
mod events;
mod folder;
mod gradient;
mod job;
mod loss;
mod metrics;
mod model_card;
mod muon;
mod optimiser;
mod permutation;
mod ranks;
mod run;
mod validate;

pub use batch::{Batches, Sample, Share};
pub use checkpoint::{CheckpointError, Contents};
pub use config::{ConfigError, OptimiserName, Rounding, Schedule, TrainConfig, Trained};
pub use error::TrainError;
pub use gradient::{BatchGradient, N_SLOTS, StructureTerms};
pub use job::{Job, StartErrors};
pub use loss::Loss;
pub use metrics::{Metrics, Progress, read_metrics};
pub use muon::Matrix;
pub use optimiser::{Optimiser, clip_to_norm, learning_rate};
pub use ranks::{Ranks, RanksError};
pub use run::train;
pub use validate::{ForceErrors, validate};
