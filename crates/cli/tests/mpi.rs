//! `mdet train` on two processes, as a user meets it: what is said is said once, and all end together.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use std::path::Path;
use std::process::{Command, Output};

fn on_two_ranks(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("mpirun")
        .args(["-n", "2", env!("CARGO_BIN_EXE_mdet")])
        .args(arguments)
        .current_dir(folder)
        // Runs side by side take each other's session folder away where they share one.
        .env("TMPDIR", folder)
        .envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")])
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .output()
        .unwrap()
}

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures/corpus.npz");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn two_processes_fine_tune_into_one_folder_and_say_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--allow-new", "--batch", "4", "--steps", "2", "--hold-out", "2", "-o", "run"];
    let output = on_two_ranks(folder.path(), &[&["finetune", "built-in", DATA], &arguments[..]].concat());
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    for line in ["processes     2", "step 0 ", "training      4 structures", "best  "] {
        assert_eq!(stdout.matches(line).count(), 1, "{line}: {stdout}");
    }
    let metrics = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 2, "{metrics}");
}

#[test]
fn an_error_is_said_once_and_ends_all_processes() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |arguments: &[&str], expected: &str| {
        let output = on_two_ranks(folder.path(), &[&["finetune", "built-in"], arguments].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(stderr.matches("mdet: error: ").count(), 1, "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    };
    fails(&["absent.xyz", "-o", "run"], "absent.xyz");
    let steps = ["--allow-new", "--batch", "4", "--steps", "5", "-o", "run"];
    // A loss that is no number is so on all processes at the same step.
    fails(&[&[DATA, "--lr", "1e30"], &steps[..]].concat(), "the loss is");
    // The first finds its folder in use, the others hear of it.
    fails(&[&[DATA], &steps[..]].concat(), "--resume");
}
