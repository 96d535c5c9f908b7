//! Training on two processes. Each test starts itself again under `mpirun`; the copies are the ranks.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

mod common;

use mdet_model::Model;
use mdet_train::{Job, Ranks, TrainConfig, TrainError, read_metrics, train};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

/// Names the folder of a test to its ranks.
const FOLDER: &str = "MDET_TEST_FOLDER";
const N_STEPS: u64 = 40;

/// Three structures a step on two ranks: the shares differ.
fn config() -> TrainConfig {
    TrainConfig {
        equivariance_weight: 2.0,
        validate_every: 5,
        n_steps: N_STEPS,
        curriculum_steps: 10,
        ..common::config()
    }
}

/// Runs the test of that name on two ranks.
fn on_two_ranks(test: &str, folder: &Path) -> Output {
    Command::new("mpirun")
        .args(["-n", "2"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder)
        // Runs side by side take each other's session folder away where they share one.
        .env("TMPDIR", folder)
        .envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")])
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .output()
        .unwrap()
}

#[track_caller]
fn assert_success(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// The folder, when this process is a rank of the test.
fn as_rank() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Loss and validation error of every line of metrics that has both, by step.
fn curve(folder: &Path) -> Vec<(u64, [f64; 2])> {
    let of = |line: &mdet_train::Metrics| {
        Some((line.step, [line.loss_mev_per_angstrom?, line.validation_mae_mev_per_angstrom?]))
    };
    read_metrics(&folder.join("metrics.jsonl")).unwrap().iter().filter_map(of).collect()
}

/// Sums in another order: measured 4e-8 at most in 40 steps. A lost sample of a batch changes the first line by more than
/// 1e-2.
#[track_caller]
fn assert_same_curve(found: &Path, expected: &Path) {
    let (found, expected) = (curve(found), curve(expected));
    assert_eq!(found.len(), expected.len());
    for ((step, found), (of, expected)) in found.iter().zip(&expected) {
        assert_eq!(step, of);
        for k in 0..2 {
            let off = (found[k] / expected[k] - 1.0).abs();
            assert!(off < 1e-6, "step {step}: {off:e}, {found:?} and {expected:?}");
        }
    }
}

#[test]
fn two_ranks_have_the_losses_of_one_process_with_the_same_batches() {
    if let Some(folder) = as_rank() {
        let ranks = Ranks::launched().unwrap();
        assert_eq!(ranks.size(), 2);
        let job = Job::prepare(config()).unwrap();
        job.run(&folder.join("two"), &ranks, &AtomicBool::new(false), &mut |_| ()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    assert_success(&on_two_ranks(
        "two_ranks_have_the_losses_of_one_process_with_the_same_batches",
        folder.path(),
    ));
    train(&config(), &one, &AtomicBool::new(false), &mut |_| ()).unwrap();
    assert_eq!(curve(&two).len(), 8);
    assert_same_curve(&two, &one);
    let errors = |folder: &Path| Model::read(&folder.join("model.safetensors")).unwrap().card.validation;
    assert_eq!(errors(&two)[0].n_structures, errors(&one)[0].n_structures);
}

#[test]
fn a_stop_of_one_rank_stops_all_after_the_same_step_and_another_number_of_ranks_goes_on() {
    const STOP_AT: u64 = 20;
    if let Some(folder) = as_rank() {
        let ranks = Ranks::launched().unwrap();
        let stop = AtomicBool::new(false);
        let mut last = 0;
        let mut report = |progress: &mdet_train::Progress| {
            last = progress.step;
            stop.store(ranks.rank() == 1 && last == STOP_AT, Ordering::Relaxed);
        };
        Job::prepare(config()).unwrap().run(&folder.join("parts"), &ranks, &stop, &mut report).unwrap();
        assert_eq!(last, STOP_AT);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let name = "a_stop_of_one_rank_stops_all_after_the_same_step_and_another_number_of_ranks_goes_on";
    assert_success(&on_two_ranks(name, folder.path()));
    assert_eq!(curve(&parts).last().map(|(step, _)| *step), Some(STOP_AT));
    for folder in [&whole, &parts] {
        train(&config(), folder, &AtomicBool::new(false), &mut |_| ()).unwrap();
    }
    assert_same_curve(&parts, &whole);
}

#[test]
fn ranks_share_sums_first_values_failures_and_the_job() {
    if let Some(folder) = as_rank() {
        let ranks = Ranks::launched().unwrap();
        let rank = ranks.rank() as f64;
        let mut values = [1.0 + rank, 0.25];
        ranks.sum(&mut values);
        assert_eq!(values, [3.0, 0.5]);
        let mut values = [rank as f32 + 7.0; 3];
        ranks.broadcast(&mut values);
        assert_eq!(values, [7.0; 3]);
        assert!(ranks.any(rank == 1.0) && !ranks.any(false));
        // The second fails: it learns why, the first that there is nothing to do.
        let wrong = if rank == 1.0 { Err("wrong") } else { Ok(()) };
        assert_eq!(ranks.agree(wrong), if rank == 1.0 { Err("wrong") } else { Ok(None) });
        // Another seed on the second.
        let job = Job::prepare(TrainConfig { seed: ranks.rank() as u64, n_steps: 10, ..config() }).unwrap();
        if rank == 1.0 {
            let error = job.run(&folder, &ranks, &AtomicBool::new(false), &mut |_| ()).unwrap_err();
            assert!(matches!(error, TrainError::OtherJob { rank: 1 }), "{error}");
            // In one piece, between what mpirun writes.
            let words = format!("rank 1: {error}");
            eprintln!("{words}");
            ranks.abort();
        }
        job.run(&folder.join("run"), &ranks, &AtomicBool::new(false), &mut |_| ()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = on_two_ranks("ranks_share_sums_first_values_failures_and_the_job", folder.path());
    // What came before the abort succeeded, or there would be no such line.
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("rank 1: process 1 has other data"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}
