//! The commands as a user meets them: what they write, and how they fail.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const WATER: &str = "3\nwater\nO 0.0 0.0 0.0\nH 0.96 0.0 0.0\nH -0.24 0.93 0.0\n";

fn mdet(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mdet")).current_dir(folder).args(arguments).output().unwrap()
}

/// A folder with `name` holding `text`.
fn folder_with(name: &str, text: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    folder
}

/// Runs a command that must fail with one line that holds `expected`, leaving the folder as it was.
#[track_caller]
fn assert_refused(folder: &Path, arguments: &[&str], expected: &str) {
    let list = || {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    let output = mdet(folder, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("mdet: error: ") && stderr.contains(expected), "{stderr}");
    assert_eq!(list(), before);
}

#[test]
fn unreadable_structures_are_refused_with_their_place() {
    let cases = [
        ("", "m.xyz"),
        ("3\nwater\nO 0 0 0\nH 0.96 0 0\n", "expected 3"),
        ("1\n\nXq 0 0 0\n", "Xq"),
        ("1\nProperties=species:S:1:pos:R:3\nO 0 0\n", "m.xyz:3"),
        ("1\n\nO 0 nan 0\n", "m.xyz:3"),
        ("2\n\nH 0 0 0\nH 0 0 0\n", "frame 0"),
        (
            "3\ncharge=1 multiplicity=1 Properties=species:S:1:pos:R:3\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n",
            "multiplicit",
        ),
    ];
    for (text, expected) in cases {
        let folder = folder_with("m.xyz", text.as_bytes());
        assert_refused(folder.path(), &["md", "m.xyz", "--steps", "1"], expected);
        assert_refused(folder.path(), &["predict", "m.xyz", "-o", "out.xyz"], expected);
    }
    let folder = folder_with("m.xyz", WATER.as_bytes());
    assert_refused(folder.path(), &["md", "absent.xyz"], "absent.xyz");
}

#[test]
fn broken_models_and_places_are_refused() {
    let folder = folder_with("m.xyz", WATER.as_bytes());
    let here = folder.path();
    std::fs::write(here.join("foreign.safetensors"), b"not a model").unwrap();
    let asset = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/assets/built-in.safetensors");
    let bytes = std::fs::read(asset).unwrap();
    std::fs::write(here.join("half.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    for model in ["foreign.safetensors", "half.safetensors"] {
        assert_refused(here, &["md", "m.xyz", "--model", model], "truncated or foreign");
    }
    assert_refused(here, &["md", "m.xyz", "--model", "absent.safetensors"], "absent.safetensors");
    std::fs::create_dir(here.join("m-md")).unwrap();
    std::fs::write(here.join("m-md/notes"), b"mine").unwrap();
    assert_refused(here, &["md", "m.xyz", "--steps", "1"], "m-md: exists and is not empty");
    assert_refused(here, &["md", "m.xyz", "--steps", "1", "--out", "m.xyz/run"], "m.xyz/run");
    assert_refused(here, &["predict", "m.xyz", "-o", "m.xyz/out.xyz"], "m.xyz: expected a folder");
    assert_refused(here, &["predict", "m.xyz", "-o", "m.xyz"], "--overwrite");
    std::fs::write(here.join("bohr.xyz"), "3\n\nO 0 0 0.225\nH 0 1.442 -0.901\nH 0 -1.442 -0.901\n").unwrap();
    let warned = mdet(here, &["predict", "bohr.xyz", "-o", "out.xyz"]);
    assert!(String::from_utf8_lossy(&warned.stderr).contains("taken to be in Å"));
}

#[test]
fn impossible_numbers_are_refused() {
    let folder = folder_with("m.xyz", WATER.as_bytes());
    for timestep in ["0", "-0.5", "0 fs"] {
        assert_refused(folder.path(), &["md", "m.xyz", "--timestep", timestep], "timestep must be positive");
    }
    assert_refused(folder.path(), &["md", "m.xyz", "--time", "0 ps"], "at least one step");
    assert_refused(folder.path(), &["md", "m.xyz", "--time", "-1ps"], "at least one step");
    assert_refused(folder.path(), &["md", "m.xyz", "--temperature", "-3"], "temperature");
    assert_refused(folder.path(), &["md", "m.xyz", "--multiplicity", "2"], "multiplicit");
    let output = mdet(folder.path(), &["md", "m.xyz", "--timestep", "1 furlong"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("expected a time such as"));
}

#[test]
fn outside_the_domain_only_with_force() {
    let folder = folder_with("m.xyz", b"2\n\nF 0 0 0\nH 0.92 0 0\n");
    assert_refused(folder.path(), &["md", "m.xyz", "--steps", "2"], "outside the model's domain: element F");
    let output = mdet(folder.path(), &["md", "m.xyz", "--steps", "2", "--force"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("mdet: warning: outside the model's domain"));
}

#[test]
fn the_same_seed_gives_the_same_files_on_any_number_of_threads_and_frames_do_not_share_noise() {
    let folder = folder_with("m.xyz", format!("{WATER}{WATER}").as_bytes());
    let here = folder.path();
    let run = |out: &str, threads: &str| {
        let arguments = [
            "md",
            "m.xyz",
            "--steps",
            "45",
            "--every",
            "10",
            "--seed",
            "7",
            "--threads",
            threads,
            "--out",
            out,
        ];
        let output = mdet(here, &arguments);
        assert!(output.status.success());
        let summary = String::from_utf8(output.stdout).unwrap();
        assert!(
            summary.contains("all 2 bonds of the first frame hold") && summary.contains("ns/day"),
            "{summary}"
        );
        let read = |name: &str| std::fs::read_to_string(here.join(out).join(name)).unwrap();
        (
            read("trajectory-001.xyz"),
            read("trajectory-002.xyz"),
            read("observables-001.csv"),
            read("config.toml"),
        )
    };
    let (one, two) = (run("a", "1"), run("b", "2"));
    assert_eq!(one, two);
    assert_ne!(one.0, one.1);
    // Steps 0, 10, 20, 30, 40 and the last, and the header.
    assert_eq!(one.2.lines().count(), 7);
    assert!(one.3.contains("seed = 7") && one.3.contains("model_sha256"));
    let frames = mdet_data::read_file(&here.join("a/trajectory-001.xyz")).unwrap();
    assert_eq!(frames.len(), 6);
    assert!(frames.iter().all(|frame| frame.forces.is_some() && frame.velocities.is_some()));
}

#[test]
fn predicted_forces_have_no_net_force_unless_raw() {
    let folder = folder_with("m.xyz", WATER.as_bytes());
    let net = |arguments: &[&str], out: &str| {
        assert!(mdet(folder.path(), arguments).status.success());
        let frame = mdet_data::read_file(&folder.path().join(out)).unwrap().remove(0);
        frame.forces.unwrap().iter().map(|f| f[0]).sum::<f64>()
    };
    assert!(net(&["predict", "m.xyz", "-o", "net.xyz"], "net.xyz").abs() < 1e-12);
    assert!(net(&["predict", "m.xyz", "-o", "raw.xyz", "--raw"], "raw.xyz").abs() > 1e-7);
}

#[test]
fn model_info_and_import_say_what_they_found() {
    let folder = tempfile::tempdir().unwrap();
    let info = String::from_utf8(mdet(folder.path(), &["model", "info"]).stdout).unwrap();
    for expected in ["MD-ET", "Hartree/Bohr", "SO3LR", "meV/Å per component", "elements H, C, N, O, S, Cl"] {
        assert!(info.contains(expected), "{info}");
    }
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/fixtures");
    let (weights, config) = (format!("{fixtures}/model.safetensors"), format!("{fixtures}/config.json"));
    let import = ["model", "import", &weights, "--config", &config, "-o", "m.safetensors"];
    assert!(mdet(folder.path(), &import).status.success());
    assert_refused(folder.path(), &import, "exists");
    std::fs::write(folder.path().join("hello.xyz"), "hello").unwrap();
    let import = ["model", "import", &weights, "--config", "hello.xyz", "-o", "n.safetensors"];
    assert_refused(folder.path(), &import, "hello.xyz: the configuration is not valid");
    let info = String::from_utf8(mdet(folder.path(), &["model", "info", "m.safetensors"]).stdout).unwrap();
    assert!(info.contains("3 layers, width 48") && info.contains("without its electron configuration"));
}

#[test]
fn eval_compares_forces_and_refuses_structures_without_them() {
    let folder = folder_with("water.xyz", WATER.as_bytes());
    let here = folder.path();
    assert_refused(here, &["eval", "built-in", "water.xyz"], "expected reference forces");
    assert!(mdet(here, &["predict", "water.xyz", "-o", "labelled.xyz"]).status.success());
    let output = mdet(here, &["eval", "built-in", "labelled.xyz"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    // The model's own forces: no error at all.
    assert!(stdout.contains("component MAE 0.00 meV/Å"), "{stdout}");
    let json = std::fs::read_to_string(here.join("eval-labelled.json")).unwrap();
    for expected in ["\"mdet eval built-in labelled.xyz\"", "model_sha256", "\"kind\": \"accuracy\""] {
        assert!(json.contains(expected), "{json}");
    }
    assert_eq!(mdet_data::read_file(&here.join("eval-labelled.worst.xyz")).unwrap().len(), 1);
    assert_refused(here, &["eval", "built-in", "labelled.xyz"], "--overwrite");
}

#[test]
fn judgements_write_results_that_name_the_model_and_the_command() {
    let folder = folder_with("water.xyz", WATER.as_bytes());
    let here = folder.path();
    let cases = [
        (vec!["judge", "equivariance", "built-in", "water.xyz", "--bases", "2"], "equivariance"),
        (vec!["judge", "lambda", "built-in", "water.xyz"], "lambda"),
        (vec!["judge", "drift", "built-in", "water.xyz", "--time", "0.2ps", "--replicas", "2"], "drift"),
        (vec!["judge", "map", "built-in", "water.xyz", "--time", "0.2ps", "--replicas", "1"], "map"),
    ];
    for (arguments, kind) in cases {
        let output = mdet(here, &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json = std::fs::read_to_string(here.join(format!("{kind}-water.json"))).unwrap();
        let command = format!("\"mdet {}\"", arguments.join(" "));
        for expected in [&command, "model_sha256", "\"seed\": 0"] {
            assert!(json.contains(expected), "{json}");
        }
    }
    let results = ["equivariance-water.json", "lambda-water.json", "drift-water.json", "map-water.json"];
    let left: Vec<_> = std::fs::read_dir(here).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("parts")), "{left:?}");
    let report = [&["report"], &results[..]].concat();
    assert!(mdet(here, &report).status.success());
    let page = std::fs::read_to_string(here.join("report.html")).unwrap();
    for expected in [
        "Rotational symmetry",
        "force Jacobian",
        "Energy drift",
        "predicted",
        "Structure map",
        "Beside the paper",
        "<svg",
        "mdet judge drift built-in",
    ] {
        assert!(page.contains(expected), "no {expected}");
    }
    // Opens offline: nothing is loaded from elsewhere.
    assert!(!page.contains(" src=") && !page.contains("<link"));
    assert_refused(here, &report, "--overwrite");
    assert_refused(here, &["report", "water.xyz", "-o", "other.html"], "expected a result file of mdet");
    // Of another schema only the number is looked at.
    std::fs::write(here.join("old.json"), r#"{"schema": 1, "provenance": 7}"#).unwrap();
    assert_refused(here, &["report", "old.json", "-o", "other.html"], "another version of mdet (schema 1");
    assert_refused(
        here,
        &["judge", "drift", "built-in", "water.xyz", "--time", "1fs", "-o", "x.json"],
        "steps",
    );
    assert_refused(here, &["reproduce", "built-in", "-o", "."], "exists and is not empty");
    assert_refused(here, &["reproduce", "built-in", "-o", "new", "--data", "absent.npz"], "absent.npz");
    std::fs::write(here.join("hf.xyz"), "2\n\nF 0 0 0\nH 0.92 0 0\n").unwrap();
    assert_refused(here, &["judge", "map", "built-in", "hf.xyz"], "expected molecules in the model's domain");
}

#[test]
fn finetune_tells_the_start_models_error_and_refuses_what_it_cannot_learn_from() {
    let folder = folder_with("water.xyz", format!("{WATER}{WATER}").as_bytes());
    let here = folder.path();
    assert_refused(here, &["finetune", "built-in", "water.xyz"], "expected forces on the atoms (in XYZ");
    assert!(mdet(here, &["predict", "water.xyz", "-o", "labelled.xyz", "--raw"]).status.success());
    let short = ["finetune", "built-in", "labelled.xyz", "--steps", "2", "--batch", "2", "--hold-out", "1"];
    let output = mdet(here, &short);
    let stdout = String::from_utf8(output.stdout).unwrap();
    // The labels are the model's own forces in six decimals.
    assert!(
        stdout.contains("own MAE: 0.0 meV/Å on training structures, 0.0 meV/Å on validation"),
        "{stdout}"
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("1 of 1 validation structures are training structures too"), "{stderr}");
    assert!(here.join("labelled-finetune/best.safetensors").is_file());
    assert_refused(here, &short, "--resume goes on");
    assert!(mdet(here, &[&short[..], &["--resume"]].concat()).status.success());
    let fluoride = "2\nProperties=species:S:1:pos:R:3:forces:R:3\nF 0 0 0 0 0 1\nH 0.92 0 0 0 0 -1\n";
    std::fs::write(here.join("hf.xyz"), fluoride).unwrap();
    let arguments = ["finetune", "built-in", "hf.xyz", "--hold-out", "0", "--dry-run"];
    assert_refused(here, &arguments, "element F (training structure 0)");
    assert_refused(here, &["finetune", "absent", "labelled.xyz", "-o", "new"], "absent: No such file");
    let plan = mdet(here, &[&arguments[..], &["--allow-new", "--set", "seed=7"]].concat());
    assert!(String::from_utf8(plan.stdout).unwrap().contains("seed = 7"));
}

#[test]
fn stability_and_trajectories_are_judged_and_wrong_references_refused() {
    // Ten frames of water, the bonds stretched in turn.
    let frame = |k: usize| WATER.replace("0.96", if k.is_multiple_of(2) { "0.96" } else { "0.98" });
    let folder = folder_with("w.xyz", (0..10).map(frame).collect::<String>().as_bytes());
    let here = folder.path();
    std::fs::write(here.join("few.xyz"), WATER).unwrap();
    std::fs::write(here.join("mixed.xyz"), format!("{WATER}2\n\nH 0 0 0\nH 0.74 0 0\n").repeat(5)).unwrap();
    let judge =
        |data: &'static str| vec!["judge", "stability", "built-in", "--reference", data, "--time", "0.1ps"];
    assert_refused(here, &judge("few.xyz"), "at least 10 reference frames, found 1");
    assert_refused(here, &judge("mixed.xyz"), "frame 1: expected the elements of frame 0");
    assert_refused(here, &[judge("w.xyz"), vec!["--molecule", "CH4"]].concat(), "expected frames of CH4");
    assert_refused(here, &[judge("w.xyz"), vec!["--timestep", "0.3"]].concat(), "50 fs are a multiple of");
    assert!(mdet(here, &[judge("w.xyz"), vec!["--replicas", "2"]].concat()).status.success());
    let json = std::fs::read_to_string(here.join("stability-w.json")).unwrap();
    assert!(json.contains("\"stable_ps\": 0.1") && !here.join("stability-w.state.json").exists());

    std::fs::write(here.join("m.xyz"), WATER).unwrap();
    for (out, seed) in [("a", "1"), ("b", "2")] {
        let run = ["md", "m.xyz", "--time", "0.2ps", "--every", "2", "--out", out, "--seed", seed];
        assert!(mdet(here, &run).status.success());
    }
    assert_refused(here, &["traj", "m.xyz"], "--spacing says it");
    assert_refused(here, &["traj", "a/trajectory.xyz", "w.xyz"], "--spacing says it");
    let output = mdet(here, &["traj", "a/trajectory.xyz", "b/trajectory.xyz"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    for expected in ["spectrum", "temperature of H, K", "potential energy, eV", "by noise alone"] {
        assert!(stdout.contains(expected), "{stdout}");
    }
    assert!(mdet(here, &["report", "stability-w.json", "traj-trajectory.json"]).status.success());
    let page = std::fs::read_to_string(here.join("report.html")).unwrap();
    for expected in ["Stability: H2O", "Trajectory: H2O", "Vibrational density of states"] {
        assert!(page.contains(expected), "no {expected}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_run_with_complete_files() {
    let folder = folder_with("m.xyz", WATER.as_bytes());
    let mut child = Command::new(env!("CARGO_BIN_EXE_mdet"))
        .current_dir(folder.path())
        .args(["md", "m.xyz", "--time", "100 ns", "--every", "1"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let table = folder.path().join("m-md/observables.csv");
    // Waits for work to be under way, however slow the machine; the run itself would take hours.
    while std::fs::read_to_string(&table).map_or(0, |text| text.lines().count()) < 4 {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let rows = std::fs::read_to_string(&table).unwrap().lines().count() - 1;
    let frames = mdet_data::read_file(&folder.path().join("m-md/trajectory.xyz")).unwrap();
    assert_eq!(frames.len(), rows);
}

#[test]
#[cfg(not(feature = "mpi"))]
fn training_without_mpi_is_not_started_several_times() {
    let folder = folder_with("m.xyz", WATER.as_bytes());
    let output = Command::new(env!("CARGO_BIN_EXE_mdet"))
        .current_dir(folder.path())
        .env("OMPI_COMM_WORLD_SIZE", "2")
        .args(["finetune", "built-in", "m.xyz"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("one of 2 processes (OMPI_COMM_WORLD_SIZE)"), "{stderr}");
}

#[test]
fn commands_end_quietly_when_their_output_is_closed() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures/corpus.npz");
    for arguments in [&["data", "info", data][..], &["model", "list"], &["bench", "--seconds", "0.01"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_mdet"));
        let output = command.args(arguments).stdout(writer).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{arguments:?}");
    }
}
