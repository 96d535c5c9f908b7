//! Judgements as a user meets them: what is asked for, warned of, refused, and kept when they are ended.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const WATER: &str = "3\nwater\nO 0.0 0.0 0.0\nH 0.96 0.0 0.0\nH -0.24 0.93 0.0\n";

fn mdet(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mdet")).current_dir(folder).args(arguments).output().unwrap()
}

fn folder_with(name: &str, text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    folder
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn stderr(output: Output) -> String {
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn eval_reads_other_units_and_replaces_neither_of_its_files_unasked() {
    let folder = folder_with("water.xyz", WATER);
    let here = folder.path();
    assert!(mdet(here, &["predict", "water.xyz", "-o", "labelled.xyz"]).status.success());
    assert!(stdout(mdet(here, &["eval", "built-in", "labelled.xyz"])).contains("component MAE 0.00 meV/Å"));
    let in_kcal = ["eval", "built-in", "labelled.xyz", "--units", "kcal-angstrom", "--overwrite"];
    let found = stdout(mdet(here, &in_kcal));
    assert!(!found.contains("component MAE 0.00 meV/Å") && found.contains("kcal/mol/Å"), "{found}");
    std::fs::remove_file(here.join("eval-labelled.json")).unwrap();
    let refused = stderr(mdet(here, &["eval", "built-in", "labelled.xyz"]));
    assert!(refused.contains("eval-labelled.worst.xyz: exists; --overwrite"), "{refused}");
    let none = stderr(mdet(here, &["eval", "built-in", "water.xyz"]));
    assert!(none.contains("water.xyz: frame 0 (line 1): expected reference forces, found none"), "{none}");
}

#[test]
fn molecules_outside_of_the_domain_are_judged_with_a_warning() {
    let folder = folder_with("hf.xyz", "2\n\nF 0 0 0\nH 0.92 0 0\n");
    let output = mdet(folder.path(), &["judge", "lambda", "built-in", "hf.xyz", "--loops", "0"]);
    assert!(output.status.success());
    let warned = stderr(output);
    assert!(warned.contains("mdet: warning: FH: outside the model's domain: element F"), "{warned}");
}

#[test]
fn lambda_says_where_it_is_of_the_axes() {
    let across = "2\n\nH 0 0 0\nCl 1.28 0 0\n";
    let along = "2\n\nH 0 0 0\nCl 0 0 1.28\n";
    let folder = folder_with("across.xyz", across);
    std::fs::write(folder.path().join("along.xyz"), along).unwrap();
    std::fs::write(folder.path().join("both.xyz"), [across, along].concat()).unwrap();
    let found =
        |file: &str| stdout(mdet(folder.path(), &["judge", "lambda", "built-in", file, "--loops", "0"]));
    let across = found("across.xyz");
    assert!(!across.contains(" z  "));
    assert!(found("along.xyz").contains("along z       a pair of atoms of every structure"));
    let both = found("both.xyz");
    let of = |text: &str, line: &str| text.split(line).nth(1).unwrap().trim()[..6].to_string();
    assert!(both.contains("mean over the 1 without"), "{both}");
    assert_eq!(of(&both, "off z"), of(&across, "lambda"));
}

#[test]
fn judgements_of_nothing_are_refused_and_their_help_is_that_of_their_arguments() {
    let folder = folder_with("water.xyz", WATER);
    let here = folder.path();
    let output = mdet(here, &["judge", "lambda", "built-in", "water.xyz", "--limit", "0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(output).contains("0 is not in 1.."));
    let help = stdout(mdet(here, &["judge", "drift", "--help"]));
    assert!(help.contains("Every condition starts from the same positions and velocities"), "{help}");
}

/// Runs a judgement whole, and another time ended by Ctrl-C once it has finished a first part; both must say the same. What
/// is kept beside the result when it was ended.
#[cfg(unix)]
fn ended_and_resumed(here: &Path, command: &[&str]) -> Vec<String> {
    let to = |out: &'static str| [command, &["-o", out]].concat();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mdet"))
        .current_dir(here)
        .args(to("a.json"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !here.join("a.parts.jsonl").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its first part");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let files = || {
        let names = std::fs::read_dir(here).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name.starts_with("a."));
        names.sort();
        names
    };
    let kept = files();
    let resumed = stdout(mdet(here, &to("a.json")));
    assert_eq!(files(), ["a.json"]);
    let whole = stdout(mdet(here, &to("b.json")));
    assert_eq!(resumed.replace("a.json", "b.json"), whole);
    kept
}

#[test]
fn trajectories_are_compared_where_their_frames_and_energies_can_be() {
    let folder = folder_with("water.xyz", WATER);
    let here = folder.path();
    std::fs::write(here.join("other.xyz"), WATER.replace("0.96", "0.98")).unwrap();
    for (molecule, every, out) in
        [("water", "4", "a"), ("water", "2", "b"), ("other", "4", "c"), ("water", "4", "d")]
    {
        let molecule = format!("{molecule}.xyz");
        let run = [
            "md",
            &molecule,
            "--time",
            "0.1ps",
            "--seed",
            every,
            "--every",
            every,
            "--monitor",
            "0",
            "-o",
            out,
        ];
        assert!(mdet(here, &run).status.success());
    }
    let compared = |other: &str| {
        let other = format!("{other}/trajectory.xyz");
        mdet(here, &["traj", "a/trajectory.xyz", &other, "--blocks", "2", "--overwrite"])
    };
    let refused = stderr(compared("b"));
    assert!(
        refused.contains("b/trajectory.xyz: expected frames every 2 fs, found every 1 fs, as in a/"),
        "{refused}"
    );
    let energies = |text: &str| text.matches("potential energy, eV").count();
    // Of each trajectory and of the difference.
    assert_eq!(energies(&stdout(compared("d"))), 3);
    let other_start = stdout(compared("c"));
    assert!(
        other_start.contains("counted from different starts") && energies(&other_start) == 2,
        "{other_start}"
    );
}

#[test]
fn stability_does_not_start_anew_over_a_state() {
    let folder = folder_with("s.state.json", "{}");
    let here = folder.path();
    std::fs::write(here.join("frames.xyz"), WATER.repeat(10)).unwrap();
    let refused =
        stderr(mdet(here, &["judge", "stability", "built-in", "--reference", "frames.xyz", "-o", "s.json"]));
    assert!(
        refused.contains("s.state.json: the state of an earlier run; --resume goes on with it"),
        "{refused}"
    );
    assert_eq!(std::fs::read(here.join("s.state.json")).unwrap(), b"{}");
}

#[cfg(unix)]
#[test]
fn observables_that_were_interrupted_have_no_result_and_go_on_to_the_same() {
    let folder = folder_with("water.xyz", WATER);
    let times = ["--time", "0.2ps", "--equilibration", "0.02ps", "--replicas", "2", "--bias", "100"];
    // One of fourteen runs is done.
    let command = [&["judge", "observables", "built-in", "water.xyz"][..], &times].concat();
    assert_eq!(ended_and_resumed(folder.path(), &command), ["a.parts.jsonl"]);
}

#[cfg(unix)]
#[test]
fn drift_that_was_interrupted_goes_on_in_the_middle_of_a_run() {
    let folder = folder_with("water.xyz", WATER);
    let here = folder.path();
    let command =
        ["judge", "drift", "built-in", "water.xyz", "--time", "1ps", "--replicas", "2", "--frames", "0"];
    assert_eq!(ended_and_resumed(here, &command), ["a.parts.jsonl", "a.unfinished.json"]);
}

#[test]
fn the_schema_of_results_explains_every_field() {
    let folder = tempfile::tempdir().unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(&stdout(mdet(folder.path(), &["report", "--schema"]))).unwrap();
    let definitions = schema["$defs"].as_object().unwrap();
    assert!(definitions.len() > 40, "{}", definitions.len());
    for (name, definition) in definitions.iter().chain([(&"Record".to_string(), &schema)]) {
        let fields = definition["properties"].as_object().into_iter().flatten();
        let unexplained: Vec<&String> =
            fields.filter(|(_, field)| !field["description"].is_string()).map(|(field, _)| field).collect();
        assert!(unexplained.is_empty(), "{name}: {unexplained:?}");
    }
    assert!(!schema.to_string().contains("[`"), "links of the source");
    let both = mdet(folder.path(), &["report", "--schema", "result.json"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn a_committee_of_one_model_twice_is_judged_as_that_model() {
    let folder = folder_with("water.xyz", WATER);
    let judged = |model: &str, out: &str| -> serde_json::Value {
        stdout(mdet(folder.path(), &["judge", "lambda", model, "water.xyz", "-o", out]));
        serde_json::from_slice(&std::fs::read(folder.path().join(out)).unwrap()).unwrap()
    };
    let (one, two) = (judged("built-in", "one.json"), judged("built-in,built-in", "two.json"));
    assert_eq!(one["judgement"], two["judgement"]);
    let hash = one["provenance"]["model_sha256"].as_str().unwrap();
    assert_eq!(two["provenance"]["model_sha256"], format!("{hash},{hash}"));
    assert_eq!(two["provenance"]["trained_on"], one["provenance"]["trained_on"]);
    let missing = mdet(folder.path(), &["judge", "lambda", "built-in,no.safetensors", "water.xyz"]);
    assert!(stderr(missing).contains("no.safetensors"));
}
