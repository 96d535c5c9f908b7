//! A run that was stopped, killed or extended is the run that never was, byte for byte; and conditions end a run.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use std::path::Path;
#[cfg(unix)]
use std::process::{Child, Stdio};
use std::process::{Command, Output};

const WATER: &str = "3\n\nO 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("m.xyz"), WATER).unwrap();
    folder
}

fn mdet(folder: &Path, arguments: &str) -> Output {
    let arguments = arguments.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_mdet")).current_dir(folder).args(arguments).output().unwrap()
}

#[cfg(unix)]
fn started(folder: &Path, arguments: &str, messages: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdet"));
    command.current_dir(folder).args(arguments.split(' ')).stdout(Stdio::null()).stderr(messages);
    command.spawn().unwrap()
}

#[track_caller]
fn succeed(folder: &Path, arguments: &str) {
    let output = mdet(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn assert_same_files(a: &Path, b: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(a).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert!(names.len() > 5, "{names:?}");
    // Checkpoint intervals differ between the runs.
    for name in names.iter().filter(|name| *name != "config.toml") {
        assert!(
            std::fs::read(a.join(name)).unwrap() == std::fs::read(b.join(name)).unwrap(),
            "{name:?} differs"
        );
    }
}

#[test]
fn a_run_in_parts_is_the_run_in_one_in_every_format_and_ensemble() {
    let folder = folder();
    let here = folder.path();
    let runs = [
        "--ensemble nvt-bussi --format xyz --replicas 2",
        "--ensemble nvt-nose-hoover --format dcd --frames 4",
        "--ensemble nve --format netcdf --velocities scaled",
    ];
    for (index, options) in runs.iter().enumerate() {
        let common = format!("{options} --every 10 --monitor 25 --seed 3");
        succeed(here, &format!("md m.xyz {common} --steps 105 --out whole-{index} --threads 1"));
        // Ends off the beat of frames, so that its last frame must go again.
        succeed(here, &format!("md m.xyz {common} --steps 47 --checkpoint-every 30 --out parts-{index}"));
        succeed(here, &format!("md --restart parts-{index} --steps 105 --threads 2"));
        assert_same_files(&here.join(format!("whole-{index}")), &here.join(format!("parts-{index}")));
        // Going on with what is done changes nothing.
        succeed(here, &format!("md --restart parts-{index}"));
        assert_same_files(&here.join(format!("whole-{index}")), &here.join(format!("parts-{index}")));
    }
}

#[test]
fn a_replica_does_not_depend_on_how_many_there_are() {
    let folder = folder();
    let here = folder.path();
    succeed(here, "md m.xyz --steps 20 --rotation-offset --replicas 2 --out two");
    succeed(here, "md m.xyz --steps 20 --rotation-offset --replicas 5 --out five");
    let read = |path: &str| std::fs::read(here.join(path)).unwrap();
    assert!(read("two/trajectory-r002.xyz") == read("five/trajectory-r002.xyz"));
    assert!(read("two/trajectory-r001.xyz") != read("two/trajectory-r002.xyz"));
}

#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_as_if_nothing_had_happened() {
    let folder = folder();
    let here = folder.path();
    let mut child =
        started(here, "md m.xyz --time 100ns --every 5 --checkpoint-every 20 --out killed", Stdio::null());
    let rows =
        || std::fs::read_to_string(here.join("killed/observables.csv")).map_or(0, |t| t.lines().count());
    // Waits for work to be under way, however slow the machine; the run itself would take hours.
    while rows() < 40 {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What a torn write leaves behind.
    let torn = std::fs::OpenOptions::new().append(true).open(here.join("killed/trajectory.xyz"));
    std::io::Write::write_all(&mut torn.unwrap(), b"3\nProperties=spec").unwrap();
    let checkpoint = std::fs::read_to_string(here.join("killed/checkpoint.json")).unwrap();
    let step = checkpoint.split("\"step\":").nth(1).and_then(|text| text.split(',').next());
    let done: u64 = step.unwrap().parse().unwrap();
    assert!(done >= 160 && done.is_multiple_of(20), "{done}");
    let end = done + 33;
    succeed(here, &format!("md --restart killed --steps {end}"));
    succeed(here, &format!("md m.xyz --steps {end} --every 5 --out whole"));
    assert_same_files(&here.join("whole"), &here.join("killed"));
}

#[test]
fn what_cannot_be_restarted_is_refused_in_one_line() {
    let folder = folder();
    let here = folder.path();
    succeed(here, "md m.xyz --steps 40 --out run");
    let refused = |arguments: &str, expected: &str| {
        let output = mdet(here, arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(expected), "{message}");
    };
    refused("md --restart absent", "absent/config.toml");
    std::fs::create_dir(here.join("other")).unwrap();
    refused("md --restart other", "other/config.toml");
    assert!(std::fs::read_dir(here.join("other")).unwrap().next().is_none());
    refused("md --restart run --steps 39", "at least the 40 steps");
    // Options that the run has settled.
    for option in ["--seed 1", "--temperature 5", "--every 3", "--precision f64", "--charge 1", "m.xyz"] {
        assert_eq!(mdet(here, &format!("md --restart run {option}")).status.code(), Some(2), "{option}");
    }
    let trajectory = here.join("run/trajectory.xyz");
    let bytes = std::fs::read(&trajectory).unwrap();
    std::fs::write(&trajectory, &bytes[..bytes.len() - 1]).unwrap();
    refused("md --restart run", "trajectory.xyz: expected at least");
    let config = std::fs::read_to_string(here.join("run/config.toml")).unwrap();
    std::fs::write(here.join("run/config.toml"), config.replace("model_sha256 = \"", "model_sha256 = \"00"))
        .unwrap();
    refused("md --restart run", "expected the run's model");
}

#[test]
fn a_stop_condition_ends_the_run_at_its_step_with_its_frame_named() {
    let folder = folder();
    let here = folder.path();
    // From a minimum at 600 K kinetic energy goes into bonds and comes back: the first reading, at the last step, is too late.
    let hot = "--temperature 600K --velocities scaled --stop-on broken-bond,temperature:605K";
    let output = mdet(here, &format!("md m.xyz --steps 500 --monitor 500 {hot} --out hot"));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let step = message.split("stopped at step ").nth(1).and_then(|rest| rest.split(':').next()).unwrap();
    let step: u64 = step.parse().unwrap();
    assert!(step > 0 && step < 500, "{message}");
    assert!(
        message.contains(&format!("step {step}: temperature")) && message.contains("hot/offending.xyz"),
        "{message}"
    );
    let offending = mdet_data::read_file(&here.join("hot/offending.xyz")).unwrap();
    // Every step of the same run: the frame is the one named, and the first above the limit.
    succeed(
        here,
        &format!("md m.xyz --steps {step} --every 1 --temperature 600K --velocities scaled --out all"),
    );
    let all = mdet_data::read_file(&here.join("all/trajectory.xyz")).unwrap();
    assert_eq!((offending.len(), &offending[0].positions), (1, &all[step as usize].positions));
    assert_eq!(offending[0].velocities, all[step as usize].velocities);
    let table = std::fs::read_to_string(here.join("all/observables.csv")).unwrap();
    let temperature = |row: &str| row.split(',').nth(1).unwrap().parse::<f64>().unwrap();
    let above = table.lines().skip(1).position(|row| temperature(row) > 605.0);
    assert_eq!(above, Some(step as usize));
    for (options, expected) in
        [("--stop-on cold", "expected broken-bond"), ("--stop-on spread:1 --monitor 0", "needs the monitor")]
    {
        let message = String::from_utf8(mdet(here, &format!("md m.xyz {options}")).stderr).unwrap();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_broken_bond_is_told_and_kept_also_between_frames() {
    let folder = folder();
    let here = folder.path();
    let hot = "--temperature 12000K --steps 400 --every 400 --seed 5";
    let output = mdet(here, &format!("md m.xyz --replicas 2 {hot} --stop-on broken-bond --out stopped"));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(" of r00") && message.contains(": broken bond O1–H"), "{message}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("BROKEN"));
    let summary = std::fs::read_to_string(here.join("stopped/summary.toml")).unwrap();
    assert!(summary.contains("broken_bonds = [\"O1–H"), "{summary}");
    // Seen by the monitor between the frames of steps 0 and 400, and known after a restart.
    succeed(here, &format!("md m.xyz {hot} --monitor 1 --out whole"));
    let hot = hot.replace("--steps 400", "--steps 350");
    succeed(here, &format!("md m.xyz {hot} --monitor 1 --out parts"));
    succeed(here, "md --restart parts --steps 400");
    assert_same_files(&here.join("whole"), &here.join("parts"));
    let summary = std::fs::read_to_string(here.join("parts/summary.toml")).unwrap();
    assert!(summary.contains("broken_bonds = [\"O1–H"), "{summary}");
}

#[cfg(unix)]
#[test]
fn a_second_process_is_kept_out_of_a_run_that_was_restarted() {
    use std::io::BufRead;
    let folder = folder();
    let here = folder.path();
    succeed(here, "md m.xyz --steps 20 --out run");
    let mut child = started(here, "md --restart run --time 100ns", Stdio::piped());
    let mut line = String::new();
    // Open until the end: the child must not write into a closed pipe.
    let mut messages = std::io::BufReader::new(child.stderr.take().unwrap());
    messages.read_line(&mut line).unwrap();
    let second = mdet(here, "md --restart run --time 101ns");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("goes on at step 20"), "{line}");
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success() && message.contains("another mdet is running"), "{message}");
}

#[test]
fn options_that_the_ensemble_does_not_read_are_refused() {
    let folder = folder();
    for (options, expected) in [
        ("--ensemble nve --friction 0.5/fs", "--ensemble nvt-langevin"),
        ("--ensemble nvt-bussi --friction 0.5/fs", "--ensemble nvt-langevin"),
        ("--time-constant 7fs", "--ensemble nvt-bussi or nvt-nose-hoover"),
        ("--ensemble nve --velocities file --temperature 900K", "velocities that are drawn"),
    ] {
        let message = String::from_utf8(mdet(folder.path(), &format!("md m.xyz {options}")).stderr).unwrap();
        assert!(message.contains(expected), "{message}");
    }
    assert!(!folder.path().join("m-md").exists());
}

#[test]
fn masses_of_the_file_are_those_of_the_run_and_fixed_atoms_are_refused() {
    let folder = folder();
    let here = folder.path();
    let heavy = "3\nProperties=species:S:1:pos:R:3:masses:R:1\nO 0 0 0.119 15.999\nH 0 0.763 -0.477 2.014\n\
                 H 0 -0.763 -0.477 2.014\n";
    std::fs::write(here.join("heavy.xyz"), heavy).unwrap();
    succeed(here, "md heavy.xyz --steps 20 --out run");
    let checkpoint = std::fs::read_to_string(here.join("run/checkpoint.json")).unwrap();
    assert!(checkpoint.contains("\"masses_u\":[15.999,2.014,2.014]"), "{checkpoint}");
    let frames = mdet_data::read_file(&here.join("run/trajectory.xyz")).unwrap();
    assert_eq!(frames[1].masses_u.as_deref(), Some(&[15.999, 2.014, 2.014][..]));
    let stretch = |file: &str| -> f64 {
        let output = mdet(here, &format!("freq {file}"));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().nth(3).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // √(μ_OH/μ_OD) = 0.728 for the stretches.
    let ratio = stretch("heavy.xyz") / stretch("m.xyz");
    assert!((0.70..0.76).contains(&ratio), "{ratio}");
    let fixed = heavy.replace("masses:R:1", "move_mask:L:1").replace("15.999", "F").replace("2.014", "T");
    std::fs::write(here.join("fixed.xyz"), fixed).unwrap();
    for command in ["md fixed.xyz", "opt fixed.xyz -o out.xyz", "freq fixed.xyz"] {
        let message = String::from_utf8(mdet(here, command).stderr).unwrap();
        assert!(message.contains("found a column `move_mask`"), "{message}");
    }
}

#[test]
fn times_are_printed_without_rounding() {
    let folder = folder();
    let here = folder.path();
    succeed(here, "md m.xyz --timestep 0.1fs --steps 7 --every 1 --monitor 1 --out run");
    for file in ["observables.csv", "monitor.csv"] {
        let table = std::fs::read_to_string(here.join("run").join(file)).unwrap();
        let times: Vec<&str> = table.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
        assert_eq!(times, ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"], "{file}");
    }
    let trajectory = std::fs::read_to_string(here.join("run/trajectory.xyz")).unwrap();
    assert!(trajectory.contains("time_fs=0.3 "), "{trajectory}");
}

#[test]
fn velocities_of_the_file_are_taken_and_their_absence_is_refused() {
    let folder = folder();
    let here = folder.path();
    succeed(here, "md m.xyz --steps 20 --out first");
    let last = mdet_data::read_file(&here.join("first/trajectory.xyz")).unwrap().pop().unwrap();
    let mut bytes = Vec::new();
    mdet_data::write_frame(&mut bytes, &mdet_data::FrameView::from(&last)).unwrap();
    std::fs::write(here.join("last.xyz"), bytes).unwrap();
    succeed(here, "md last.xyz --steps 1 --velocities file --out second");
    let first = mdet_data::read_file(&here.join("second/trajectory.xyz")).unwrap().remove(0);
    assert_eq!(first.velocities, last.velocities);
    let message = String::from_utf8(mdet(here, "md m.xyz --velocities file").stderr).unwrap();
    assert!(message.contains("expected velocities"), "{message}");
}
