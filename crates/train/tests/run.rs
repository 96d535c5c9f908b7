//! A training run on six structures: exact resume, independence of threads, what the folder holds, errors.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

mod common;

use common::config;
use mdet_core::constants::BOHR_IN_ANGSTROM;
use mdet_data::{Dataset, ReadOptions};
use mdet_kernels::Real;
use mdet_model::{Frequencies, Model, Network, Tape};
use mdet_train::{
    BatchGradient, Batches, Loss, Ranks, Rounding, Sample, Schedule, Share, StructureTerms, TrainConfig,
    TrainError, Trained, learning_rate, train,
};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Trains on `n_threads`; after `stop_at` steps the run is asked to stop.
fn run(folder: &Path, n_threads: usize, stop_at: u64) -> Model {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    let stop = AtomicBool::new(false);
    pool.install(|| {
        train(&config(), folder, &stop, &mut |progress| {
            stop.store(progress.step >= stop_at, Ordering::Relaxed);
        })
        .unwrap()
    })
}

#[test]
fn a_stopped_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit_on_any_threads() {
    let folder = tempfile::tempdir().unwrap();
    let whole = run(&folder.path().join("whole"), 1, u64::MAX);
    let parts = folder.path().join("parts");
    let half = run(&parts, 2, 50);
    assert_ne!(half.values, whole.values);
    let resumed = run(&parts, 3, u64::MAX);
    assert_eq!(resumed.values, whole.values);
    let read = Model::read(&parts.join("model.safetensors")).unwrap();
    assert_eq!((read.values, &read.card), (whole.values, &whole.card));
    assert_eq!(read.card.domain.unwrap().elements.first(), Some(&1));
    let metrics = std::fs::read_to_string(parts.join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [30, 50, 60, 90, 100]);
}

#[test]
fn a_run_with_a_constant_rate_is_made_longer_as_if_it_had_been_planned_so() {
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let config_of =
        |n_steps| TrainConfig { n_steps, schedule: Schedule::Trapezoid { decay_steps: 10 }, ..config() };
    let planned = train(&config_of(110), &folder.path().join("planned"), &stop, &mut |_| ()).unwrap();
    let longer = folder.path().join("longer");
    train(&config_of(70), &longer, &stop, &mut |p| stop.store(p.step == 50, Ordering::Relaxed)).unwrap();
    stop.store(false, Ordering::Relaxed);
    let longer = train(&config_of(110), &longer, &stop, &mut |_| ()).unwrap();
    assert_eq!(longer.values, planned.values);
}

#[test]
fn a_model_trained_without_validation_structures_can_be_read_back() {
    // Errors of nothing are no numbers, which JSON cannot hold.
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { validation: Vec::new(), ..config() };
    train(&config, folder.path(), &AtomicBool::new(false), &mut |_| ()).unwrap();
    let model = Model::read(&folder.path().join("model.safetensors")).unwrap();
    assert_eq!(model.card.validation, []);
}

#[test]
fn another_configuration_or_a_broken_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 2, 50);
    let other = TrainConfig { learning_rate: 1e-3, ..config() };
    let stop = AtomicBool::new(false);
    let error = train(&other, folder.path(), &stop, &mut |_| ()).unwrap_err();
    assert!(matches!(error, TrainError::OtherRun { .. }), "{error}");
    // A cosine over more steps is another one from its second step on.
    let longer = TrainConfig { n_steps: 200, ..config() };
    let error = train(&longer, folder.path(), &stop, &mut |_| ()).unwrap_err();
    assert!(matches!(error, TrainError::OtherRate { step: 11, .. }), "{error}");
    let saved = std::fs::read_to_string(folder.path().join("config.toml")).unwrap();
    assert!(saved.contains("n_steps = 100\n"), "{saved}");
    let state = folder.path().join("state.safetensors");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    let error = train(&config(), folder.path(), &stop, &mut |_| ()).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint(_)), "{error}");
}

#[test]
fn other_data_of_the_same_name_are_refused_unless_the_state_is_too_old_to_tell() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data.xyz"), folder.path().join("out"));
    let write = |force: f64| {
        let frame = "2\nProperties=species:S:1:pos:R:3:forces:R:3\n";
        std::fs::write(&data, format!("{frame}H 0 0 0 {force} 0 0\nH 0.8 0 0 -1 0 0\n")).unwrap();
    };
    let config = TrainConfig { data: vec![data.clone()], n_steps: 20, ..config() };
    let train_to = |stop_at: u64| {
        let stop = AtomicBool::new(false);
        train(&config, &out, &stop, &mut |p| stop.store(p.step >= stop_at, Ordering::Relaxed))
    };
    write(1.0);
    train_to(5).unwrap();
    write(1.5);
    let error = train_to(10).unwrap_err();
    assert!(error.to_string().contains("data: expected the data that the run began with"), "{error}");
    let state = out.join("state.safetensors");
    let bytes = std::fs::read(&state).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let older = tensors.iter().filter(|(name, _)| !["data", "validation", "n_measured"].contains(name));
    std::fs::write(&state, safetensors::serialize(older, None).unwrap()).unwrap();
    train_to(10).unwrap();
}

#[test]
fn a_folder_takes_one_run_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let lock = std::fs::File::create(folder.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let error = train(&config(), folder.path(), &AtomicBool::new(false), &mut |_| ()).unwrap_err();
    assert!(error.to_string().ends_with("another mdet is running in this folder"), "{error}");
    assert!(!folder.path().join("config.toml").exists());
}

#[test]
fn a_card_has_the_errors_of_its_own_weights_or_none() {
    let folder = tempfile::tempdir().unwrap();
    // Measured after steps 30 and 60.
    assert_eq!(run(folder.path(), 2, 50).card.validation, []);
    let measured = run(folder.path(), 2, 60).card.validation;
    assert_eq!(measured[0].n_structures, 6);
    let resumed = train(&config(), folder.path(), &AtomicBool::new(true), &mut |_| ()).unwrap();
    assert_eq!(resumed.card.validation, measured);
}

#[test]
fn every_structure_is_seen_once_per_epoch_and_small_ones_come_first() {
    let data = Dataset::read(&config().data, ReadOptions::default()).unwrap();
    let mut batches = Batches::new(&data, 2, 1, 4, 9);
    let mut sizes: Vec<usize> = (0..data.len()).map(|i| data.n_atoms(i)).collect();
    sizes.sort_unstable();
    // As small as the two smallest, or of 8 atoms.
    assert!(batches.at_step(0).iter().all(|sample| sample.numbers.len() <= sizes[1].max(8)));
    let epoch: Vec<usize> = (4..7).flat_map(|step| batches.at_step(step)).map(|s| s.numbers.len()).collect();
    let mut seen = epoch.clone();
    seen.sort_unstable();
    let mut all: Vec<usize> = (0..data.len()).map(|i| data.n_atoms(i)).collect();
    all.sort_unstable();
    assert_eq!(seen, all);
    assert_eq!(batches.at_step(5), Batches::new(&data, 2, 1, 4, 9).at_step(5));
}

#[test]
fn a_curriculum_does_not_begin_with_a_single_atom_alone() {
    let frame = |n: usize| {
        let atoms: String = (0..n).map(|i| format!("He {i} 0 0 0.1 0 0\n")).collect();
        format!("{n}\nProperties=species:S:1:pos:R:3:forces:R:3\n{atoms}")
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("helium.xyz");
    std::fs::write(&file, frame(1) + &frame(12).repeat(5)).unwrap();
    let data = Dataset::read(&[file], ReadOptions::default()).unwrap();
    let mut batches = Batches::new(&data, 2, 1, 100, 1);
    let seen: std::collections::BTreeSet<usize> =
        (0..10).flat_map(|step| batches.structures_at(step)).collect();
    assert!(seen.len() > 3, "{seen:?}");
}

#[test]
fn copies_are_rigid_motions_of_structure_and_labels() {
    let data = Dataset::read(&config().data, ReadOptions::default()).unwrap();
    let samples = Batches::new(&data, 1, 2, 0, 1).at_step(0);
    let distances_and_forces = |sample: &mdet_train::Sample| {
        let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
        let origin = sample.positions_bohr[0];
        let along: Vec<f64> = sample
            .positions_bohr
            .iter()
            .zip(&sample.forces)
            .map(|(r, f)| dot([r[0] - origin[0], r[1] - origin[1], r[2] - origin[2]], *f))
            .collect();
        along
    };
    assert_ne!(samples[0].positions_bohr, samples[1].positions_bohr);
    let (one, other) = (distances_and_forces(&samples[0]), distances_and_forces(&samples[1]));
    // Rounding of f64 products of a few units.
    assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-12));
}

#[test]
fn the_equivariance_error_in_the_loss_is_that_of_the_networks_forces_and_has_its_gradient() {
    const COPIES: usize = 3;
    let (config, rounding) = (config(), Default::default());
    let data = Dataset::read(&config.data, ReadOptions::default()).unwrap();
    let share = Batches::new(&data, 6, COPIES, 0, 1).share_at_step(0, &Ranks::alone());
    let model = Model::random(config.model.unwrap(), Frequencies::Integer, 1).unwrap();
    let mut network: Network<f64> = model.network().unwrap();
    let compute =
        |network: &Network<f64>, weight| {
            let mut gradient =
                BatchGradient::new(network, Loss::Euclidean, rounding, Trained::All).with_terms(
                    StructureTerms { copies: COPIES, equivariance_weight: weight, antisymmetry_weight: 0.0 },
                );
            let (loss, gradient) = gradient.compute(network, &share.samples, share.n_atoms);
            (loss, gradient.to_vec())
        };
    let mut error = 0.0;
    for copies in share.samples.chunks(COPIES) {
        let turned_back: Vec<Vec<[f64; 3]>> = copies
            .iter()
            .map(|sample| {
                let mut forces = vec![[0.0; 3]; sample.numbers.len()];
                network.forward(&[sample.molecule()], &mut Tape::default(), forces.as_flattened_mut());
                sample.rotation.apply_inverse(&mut forces);
                forces
            })
            .collect();
        for atom in 0..copies[0].numbers.len() {
            let mean = |axis: usize| turned_back.iter().map(|f| f[atom][axis]).sum::<f64>() / COPIES as f64;
            let off = |f: &Vec<[f64; 3]>| {
                (0..3).map(|axis| (f[atom][axis] - mean(axis)).powi(2)).sum::<f64>().sqrt()
            };
            error += turned_back.iter().map(off).sum::<f64>() / share.n_atoms as f64;
        }
    }
    let (without, _) = compute(&network, 0.0);
    let (with, slopes) = compute(&network, 0.5);
    assert!(error > 0.0 && ((with - without) / (0.5 * error) - 1.0).abs() < 1e-9, "{with} {without} {error}");
    let slope = slope_along(&mut network, &slopes, |network| compute(network, 0.5).0);
    assert!((slope - 1.0).abs() < 1e-6, "{slope}");
}

/// The slope of `loss` along `gradient`, over the gradient's norm: central differences with a step of 1e-5.
fn slope_along(network: &mut Network<f64>, gradient: &[f64], loss: impl Fn(&Network<f64>) -> f64) -> f64 {
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    let change = |network: &mut Network<f64>, by: f64| {
        network.trainable_mut().iter_mut().zip(gradient).for_each(|(value, g)| *value += by * g / norm);
    };
    let mut moved = |by: f64| {
        change(network, by);
        let loss = loss(network);
        change(network, -by);
        loss
    };
    (moved(1e-5) - moved(-1e-5)) / (2e-5 * norm)
}

#[test]
fn the_antisymmetric_error_in_the_loss_is_that_of_the_jacobian_and_has_its_gradient() {
    let config = config();
    let data = Dataset::read(&config.data, ReadOptions::default()).unwrap();
    let share = Batches::new(&data, 6, 2, 0, 1).with_probe(true).share_at_step(0, &Ranks::alone());
    let model = Model::random(config.model.unwrap(), Frequencies::Integer, 1).unwrap();
    let mut network: Network<f64> = model.network().unwrap();
    // What the loss compares with: Jᵀd by the exact Jacobian, at the network as it is.
    let targets: Vec<Vec<f64>> =
        share.samples.chunks(3).map(|samples| by_jacobian(&network, samples, true)).collect();
    // ‖Jd − Jᵀd‖ / 2ε√(3N) times 0.1 Å, the mean over atoms, with Jd by `change`.
    let error = |change: &dyn Fn(&[Sample]) -> Vec<f64>| -> f64 {
        let of = |(samples, target): (&[Sample], &Vec<f64>)| {
            let off = change(samples).iter().zip(target).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            let share = 2.0 * samples[0].numbers.len() as f64 / share.n_atoms as f64;
            share * (off / target.len() as f64).sqrt() / (2.0 * 3e-4)
        };
        0.1 / BOHR_IN_ANGSTROM * share.samples.chunks(3).zip(&targets).map(of).sum::<f64>()
    };
    let by_forces = |network: &Network<f64>| {
        error(&|samples| {
            let [at_here, at_probe] = [0, 2].map(|k| forces(network, &samples[k]));
            at_probe.iter().zip(at_here).map(|(probe, here)| probe - here).collect()
        })
    };
    let (without, _) = antisymmetric(&network, &share, 1e-12);
    let (with, slopes) = antisymmetric(&network, &share, 0.5);
    let found = with - without;
    assert!(found > 0.0 && (found / (0.5 * by_forces(&network)) - 1.0).abs() < 1e-6, "{found}");
    // Probes at a finite distance bend the forces a little.
    let exact = error(&|samples| by_jacobian(&network, samples, false));
    assert!((found / (0.5 * exact) - 1.0).abs() < 0.02, "{found} and {exact}");
    // The gradient takes Jᵀd as given.
    let slope = slope_along(&mut network, &slopes, |network| {
        antisymmetric(network, &share, 1e-12).0 + 0.5 * by_forces(network)
    });
    assert!((slope - 1.0).abs() < 1e-5, "{slope}");
    // f32, in which models are trained, sees the same.
    let narrow: Network<f32> = model.network().unwrap();
    let (with, narrow_slopes) = antisymmetric(&narrow, &share, 0.5);
    let in_f32 = with - antisymmetric(&narrow, &share, 1e-12).0;
    assert!((in_f32 / found - 1.0).abs() < 0.01, "{in_f32} and {found}");
    let off = slopes.iter().zip(&narrow_slopes).map(|(a, &b)| (a - f64::from(b)).powi(2)).sum::<f64>();
    let norm = slopes.iter().map(|g| g * g).sum::<f64>();
    assert!((off / norm).sqrt() < 0.01, "{}", (off / norm).sqrt());
}

fn antisymmetric<T: Real>(network: &Network<T>, share: &Share, weight: f64) -> (f64, Vec<T>) {
    let terms = StructureTerms { copies: 2, equivariance_weight: 0.3, antisymmetry_weight: weight };
    let mut gradient =
        BatchGradient::new(network, Loss::Euclidean, Default::default(), Trained::All).with_terms(terms);
    let (loss, gradient) = gradient.compute(network, &share.samples, share.n_atoms);
    (loss, gradient.to_vec())
}

fn forces(network: &Network<f64>, sample: &Sample) -> Vec<f64> {
    let mut forces = vec![0.0; 3 * sample.numbers.len()];
    network.forward(&[sample.molecule()], &mut Tape::default(), &mut forces);
    forces
}

/// Jd of a structure's first sample, or Jᵀd, with d what leads to its last.
fn by_jacobian(network: &Network<f64>, samples: &[Sample], transposed: bool) -> Vec<f64> {
    let (to, from) = (&samples[samples.len() - 1].positions_bohr, &samples[0].positions_bohr);
    let pairs = to.as_flattened().iter().zip(from.as_flattened());
    let displacement: Vec<f64> = pairs.map(|(to, from)| to - from).collect();
    let (n, jacobian) = (displacement.len(), network.jacobian(&samples[0].molecule()));
    let entry = |row: usize, column: usize| {
        if transposed { jacobian[column * n + row] } else { jacobian[row * n + column] }
    };
    (0..n).map(|row| (0..n).map(|column| entry(row, column) * displacement[column]).sum()).collect()
}

#[test]
fn the_learning_rate_rises_linearly_and_falls_along_a_cosine_or_at_the_end() {
    let rate = |step| learning_rate(step, 1.0, 10, 110, Schedule::Cosine);
    assert_eq!((rate(0), rate(9)), (0.1, 1.0));
    assert!((rate(60) - 0.5).abs() < 1e-12 && rate(110) < 1e-12);
    let rate = |step| learning_rate(step, 1.0, 10, 110, Schedule::Trapezoid { decay_steps: 20 });
    assert_eq!((rate(0), rate(50), rate(90), rate(100), rate(110)), (0.1, 1.0, 1.0, 0.5, 0.0));
}

#[test]
fn settings_out_of_range_are_named() {
    let wrong = |change: fn(&mut TrainConfig)| {
        let mut config = config();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    assert!(wrong(|c| c.learning_rate = f64::NAN).contains("learning_rate"));
    assert!(wrong(|c| c.structures_per_step = 0).contains("structures_per_step"));
    assert!(wrong(|c| c.ema_decay = 1.0).contains("ema_decay"));
    assert!(wrong(|c| c.equivariance_weight = -1.0).contains("equivariance_weight"));
    assert!(
        wrong(|c| (c.equivariance_weight, c.copies) = (1.0, 1)).contains("copies = 1: expected at least 2")
    );
    assert!(wrong(|c| c.antisymmetry_weight = f64::NAN).contains("antisymmetry_weight"));
    let rounded = wrong(|c| (c.antisymmetry_weight, c.rounding) = (1.0, Rounding::All));
    assert!(rounded.contains("antisymmetry_weight = 1: expected 0 where `rounding` is not"), "{rounded}");
    assert!(wrong(|c| c.model.as_mut().unwrap().width = 18).contains("width"));
    assert!(
        wrong(|c| c.validation_structures = 0).contains("validation_structures = 0: expected at least 1")
    );
    assert!(wrong(|c| c.schedule = Schedule::Trapezoid { decay_steps: 91 }).contains("decay_steps = 91"));
    let trapezoid = Schedule::Trapezoid { decay_steps: 90 };
    assert_eq!(TrainConfig { schedule: trapezoid, ..config() }.validate(), Ok(()));
    assert!(wrong(|c| c.trained = Trained::Head).contains("trained = \"head\": expected \"all\" without"));
    let head = wrong(|c| (c.trained, c.start) = (Trained::Head, Some("built-in".into())));
    assert!(head.contains("optimiser = \"muon\": expected \"adamw\""), "{head}");
}
