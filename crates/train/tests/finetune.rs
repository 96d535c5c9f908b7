//! Training from a model: what is read, refused and measured before the first step, and which parameters move.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_model::{Frequencies, Layout, Model, ModelConfig};
use mdet_train::{BatchGradient, Batches, Job, Loss, Ranks, TrainConfig, TrainError, Trained, read_metrics};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Six structures of H, C, N, O, F and S; a random model that has seen `elements`.
fn config(folder: &Path, elements: &[u8]) -> TrainConfig {
    let corpus = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures/corpus.npz"));
    let sizes =
        ModelConfig { n_layers: 1, width: 16, n_heads: 2, n_gaussians: 8, ..ModelConfig::published() };
    let start = folder.join("start.safetensors");
    let mut model = Model::random(sizes, Frequencies::Integer, 1).unwrap();
    let base = TrainConfig {
        structures_per_step: 2,
        n_steps: 6,
        warmup_steps: 2,
        validate_every: 2,
        rounding: Default::default(),
        allow_new: true,
        hold_out: 0.0,
        ..TrainConfig::finetune(start.clone(), vec![corpus])
    };
    model.write(&start).unwrap();
    let mut domain = Job::prepare(base.clone()).unwrap().model.card.domain.unwrap();
    domain.elements.retain(|z| elements.is_empty() || elements.contains(z));
    model.card.domain = Some(domain);
    model.write(&start).unwrap();
    TrainConfig { allow_new: false, ..base }
}

fn run(config: &TrainConfig, folder: &Path, stop_at: u64) -> Model {
    let stop = AtomicBool::new(false);
    let mut report = |p: &mdet_train::Progress| stop.store(p.step >= stop_at, Ordering::Relaxed);
    Job::prepare(config.clone()).unwrap().run(folder, &Ranks::alone(), &stop, &mut report).unwrap()
}

#[test]
fn step_0_reports_the_start_models_own_error_and_a_resumed_run_is_exact_without_an_average() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { hold_out: 2.0, ..config(folder.path(), &[]) };
    let job = Job::prepare(config.clone()).unwrap();
    assert_eq!((job.dataset.len(), job.validation.len(), job.warnings.len()), (4, 2, 0));
    let errors = job.start_errors(&Ranks::alone()).unwrap().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    job.run(&whole, &Ranks::alone(), &AtomicBool::new(true), &mut |_| ()).unwrap();
    let best = Model::read(&whole.join("best.safetensors")).unwrap().card.validation;
    let start = errors.validation.unwrap().component_mae_mev_per_angstrom;
    assert_eq!((best[0].component_mae_mev_per_angstrom, best[0].n_structures), (start, 2));
    let model = run(&config, &whole, u64::MAX);
    let lines = read_metrics(&whole.join("metrics.jsonl")).unwrap();
    assert_eq!(lines.iter().map(|line| line.step).collect::<Vec<_>>(), [0, 2, 4, 6]);
    let validation = errors.validation.unwrap().component_mae_mev_per_angstrom;
    assert_eq!(lines[0].validation_mae_mev_per_angstrom, Some(validation));
    assert_eq!(lines[0].training_mae_mev_per_angstrom, Some(errors.training.component_mae_mev_per_angstrom));
    run(&config, &parts, 3);
    assert_eq!(run(&config, &parts, u64::MAX).values, model.values);
    let best = |folder: &Path| Model::read(&folder.join("best.safetensors")).unwrap().values;
    assert_eq!(best(&whole), best(&parts));
    assert_eq!(read_metrics(&parts.join("metrics.jsonl")).unwrap().len(), 4);
}

#[test]
fn the_best_weights_are_those_of_the_lowest_validation_error() {
    let folder = tempfile::tempdir().unwrap();
    // So high a rate that errors rise, fall, or both.
    let config = TrainConfig { hold_out: 2.0, learning_rate: 1.0, ..config(folder.path(), &[]) };
    let out = folder.path().join("out");
    run(&config, &out, u64::MAX);
    let lines = read_metrics(&out.join("metrics.jsonl")).unwrap();
    let errors: Vec<f64> = lines.iter().filter_map(|line| line.validation_mae_mev_per_angstrom).collect();
    assert_eq!(errors.len(), 4, "{errors:?}");
    let best = TrainConfig { start: Some(out.join("best.safetensors")), ..config };
    let best =
        Job::prepare(best).unwrap().start_errors(&Ranks::alone()).unwrap().unwrap().validation.unwrap();
    assert_eq!(best.component_mae_mev_per_angstrom, errors.iter().copied().fold(f64::INFINITY, f64::min));
}

#[test]
fn head_only_moves_the_heads_parameters_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { trained: Trained::Head, ..config(folder.path(), &[]) };
    let before = Job::prepare(config.clone()).unwrap().model;
    let after = run(&config, &folder.path().join("out"), u64::MAX);
    for tensor in Layout::new(&before.config).tensors() {
        let moved = before.values[tensor.range.clone()] != after.values[tensor.range.clone()];
        assert_eq!(moved, tensor.name.starts_with("heads."), "{}", tensor.name);
    }
}

#[test]
fn the_heads_gradient_alone_has_the_bits_that_it_has_in_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::prepare(config(folder.path(), &[])).unwrap();
    let network = job.model.network::<f32>().unwrap();
    let share = Batches::new(&job.dataset, 6, 2, 0, 1).share_at_step(0, &Ranks::alone());
    let gradient = |trained| {
        let loss = Loss::Huber { delta_ev_per_angstrom: 0.1 };
        let mut gradient = BatchGradient::new(&network, loss, Default::default(), trained);
        let (loss, gradient) = gradient.compute(&network, &share.samples, share.n_atoms);
        (loss, gradient.to_vec())
    };
    let ((of_all, all), (of_head, head)) = (gradient(Trained::All), gradient(Trained::Head));
    assert_eq!(of_all.to_bits(), of_head.to_bits());
    for tensor in network.layout().tensors().iter().filter(|tensor| tensor.range.end <= head.len()) {
        let (head, all) = (&head[tensor.range.clone()], &all[tensor.range.clone()]);
        if tensor.name.starts_with("heads.") {
            assert!(head == all && head.iter().any(|&g| g != 0.0), "{}", tensor.name);
        } else {
            assert!(head.iter().all(|&g| g == 0.0), "{}", tensor.name);
        }
    }
}

#[test]
fn what_the_start_model_never_saw_is_refused_by_name_unless_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[1, 6]);
    let error = Job::prepare(config.clone()).unwrap_err();
    assert!(matches!(error, TrainError::NewToModel { .. }));
    let text = error.to_string();
    assert!(text.contains("element O (training structure") && text.contains("elements H, C;"), "{text}");
    let job = Job::prepare(TrainConfig { allow_new: true, ..config }).unwrap();
    assert!(job.model.card.domain.unwrap().elements.contains(&8));
}

#[test]
fn validation_structures_that_are_training_structures_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), &[]);
    config.validation = config.data.clone();
    let job = Job::prepare(config).unwrap();
    assert!(job.warnings[0].contains("6 of 6 validation structures are training structures too"));
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_names_the_batch_and_keeps_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { learning_rate: 1e30, ..config(folder.path(), &[]) };
    let job = Job::prepare(config).unwrap();
    let out = folder.path().join("out");
    let error = job.run(&out, &Ranks::alone(), &AtomicBool::new(false), &mut |_| ()).unwrap_err();
    let TrainError::NotFinite { step, batch, .. } = &error else { panic!("{error}") };
    assert!(*step > 0 && batch.starts_with("2 structures, 2 with forces that are no numbers: "), "{error}");
    assert_eq!(Model::read(&out.join("model.safetensors")).unwrap().values, job.model.values);
    // Tried again from the checkpoint, before which the start model was measured.
    job.run(&out, &Ranks::alone(), &AtomicBool::new(false), &mut |_| ()).unwrap_err();
    assert_eq!(read_metrics(&out.join("metrics.jsonl")).unwrap().len(), 1);
}

#[test]
fn a_last_step_to_a_model_that_is_no_use_keeps_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    // Beyond f32, and within it with forces beyond.
    for (learning_rate, expected) in [(1e300, "finite parameters"), (1e30, "finite validation errors")] {
        let config = TrainConfig { hold_out: 2.0, learning_rate, ..config(folder.path(), &[]) };
        let job = Job::prepare(TrainConfig { n_steps: 1, warmup_steps: 1, ..config }).unwrap();
        let out = folder.path().join(expected);
        let error = job.run(&out, &Ranks::alone(), &AtomicBool::new(false), &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(Model::read(&out.join("model.safetensors")).unwrap().values, job.model.values);
    }
}

#[test]
fn other_frequencies_than_the_start_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = |frequencies| TrainConfig { frequencies: Some(frequencies), ..config(folder.path(), &[]) };
    Job::prepare(config(Frequencies::Integer)).unwrap();
    let error = Job::prepare(config(Frequencies::Published)).unwrap_err();
    assert!(matches!(error, TrainError::OtherFrequencies { .. }), "{error}");
}

#[test]
fn another_architecture_than_the_start_models_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { model: Some(ModelConfig::published()), ..config(folder.path(), &[]) };
    let error = Job::prepare(config).unwrap_err();
    assert!(matches!(error, TrainError::OtherArchitecture { .. }), "{error}");
}

#[test]
fn a_deeper_model_than_the_start_model_trains_its_new_layers() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[]);
    let start = Job::prepare(config.clone()).unwrap().model;
    let deeper = ModelConfig { n_layers: start.config.n_layers + 2, ..start.config.clone() };
    let job = Job::prepare(TrainConfig { model: Some(deeper.clone()), ..config }).unwrap();
    assert_eq!(job.model.config, deeper);
    let out = folder.path().join("out");
    job.run(&out, &Ranks::alone(), &AtomicBool::new(false), &mut |_| ()).unwrap();
    let trained = Model::read(&out.join("model.safetensors")).unwrap();
    let layout = Layout::new(&deeper);
    let new =
        layout.tensors().iter().filter(|t| t.name.starts_with(&format!("layers.{}", start.config.n_layers)));
    for tensor in new {
        assert_ne!(
            trained.values[tensor.range.clone()],
            job.model.values[tensor.range.clone()],
            "{}",
            tensor.name
        );
    }
}
