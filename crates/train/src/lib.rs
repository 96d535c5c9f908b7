//! Training MD-ET: batches with rotated copies, the Euclidean force loss, AdamW and Muon, and a resumable run.
//!
//! Deliberately absent so far: fine-tuning, other losses, several machines.

mod batch;
mod checkpoint;
mod config;
mod gradient;
mod muon;
mod optimiser;
mod run;
mod validate;

pub use batch::{Batches, Sample};
pub use checkpoint::CheckpointError;
pub use config::{ConfigError, OptimiserName, Schedule, TrainConfig};
pub use gradient::{BatchGradient, euclidean_loss};
pub use muon::Matrix;
pub use optimiser::{Optimiser, clip_to_norm, learning_rate};
pub use run::{Progress, TrainError, train};
pub use validate::{ForceErrors, validate};
