//! A configuration that the tests of runs share: a tiny model on the six structures of a fixture.

use mdet_data::ReadOptions;
use mdet_model::{Frequencies, ModelConfig};
use mdet_train::{Loss, OptimiserName, Schedule, TrainConfig, Trained};
use std::path::PathBuf;

pub fn config() -> TrainConfig {
    let corpus = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures/corpus.npz"));
    let published = ModelConfig::published();
    TrainConfig {
        start: None,
        allow_new: false,
        trained: Trained::All,
        loss: Loss::Euclidean,
        hold_out: 0.0,
        validate_every: 30,
        rounding: Default::default(),
        data: vec![corpus.clone()],
        validation: vec![corpus],
        reading: ReadOptions::default(),
        structures_per_step: 3,
        copies: 2,
        equivariance_weight: 0.0,
        antisymmetry_weight: 0.0,
        n_steps: 100,
        curriculum_steps: 20,
        warmup_steps: 10,
        learning_rate: 2e-3,
        schedule: Schedule::Cosine,
        optimiser: OptimiserName::Muon,
        weight_decay: 1e-7,
        clip_norm: 1.0,
        ema_decay: 0.9,
        seed: 3,
        checkpoint_minutes: 60.0,
        validation_structures: 6,
        frequencies: Some(Frequencies::Integer),
        model: Some(ModelConfig {
            n_layers: 1,
            width: 16,
            n_heads: 2,
            n_gaussians: 8,
            n_frequencies: 3,
            ..published
        }),
    }
}
