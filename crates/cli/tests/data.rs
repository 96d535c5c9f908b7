//! `mdet data` as a user meets it: what it prints, what it writes, and how it refuses.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use std::path::Path;
use std::process::{Command, Output};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures");

fn data(folder: &Path, arguments: &str) -> Output {
    let words = arguments.split(' ').map(|word| word.replace("FIXTURES", FIXTURES));
    Command::new(env!("CARGO_BIN_EXE_mdet")).current_dir(folder).arg("data").args(words).output().unwrap()
}

/// Runs a command that must succeed; what it prints and what it warns of.
#[track_caller]
fn done(folder: &Path, arguments: &str) -> (String, String) {
    let output = data(folder, arguments);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stdout}{stderr}");
    (stdout, stderr)
}

#[track_caller]
fn assert_refused(folder: &Path, arguments: &str, expected: &str) {
    let output = data(folder, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.lines().count() == 1 && stderr.contains(expected), "{stderr}");
}

#[test]
fn info_names_format_units_charges_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (text, _) = done(folder.path(), "info FIXTURES/spice.hdf5 FIXTURES/rmd17_ethanol.npz");
    for expected in [
        "SPICE hdf5",
        "Bohr, Hartree, Hartree/Bohr",
        "forces = −dft_total_gradient",
        "+1 × 5",
        "4 of 1 molecules, 36 atoms",
        "nuclear_charges",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_refused(folder.path(), "info absent.npz", "absent.npz");
    assert_refused(folder.path(), "info FIXTURES/lattice.npz", "periodic cells are not supported");
    let unknown = data(folder.path(), "info FIXTURES/lattice.npz --units furlong");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("possible values: ev-angstrom, kcal-angstrom"));
}

#[test]
fn check_fails_when_it_finds_something_and_lists_it() {
    let folder = tempfile::tempdir().unwrap();
    done(folder.path(), "check FIXTURES/rmd17_ethanol.npz");
    let twice = "check FIXTURES/rmd17_ethanol.npz FIXTURES/rmd17_ethanol.npz -o found.tsv";
    let output = data(folder.path(), twice);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("structure 4: the same frame as structure 0"));
    let found = std::fs::read_to_string(folder.path().join("found.tsv")).unwrap();
    assert_eq!(found.lines().next(), Some("4\tduplicate\tthe same frame as structure 0"));
    assert_refused(folder.path(), twice, "found.tsv: exists; --overwrite replaces it");
    assert_refused(folder.path(), "check FIXTURES/rmd17_ethanol.npz --max-force 1", "4 findings");
}

#[test]
fn convert_makes_a_store_appends_to_it_and_leaves_nothing_when_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (text, _) = done(here, "convert FIXTURES/spice.hdf5 FIXTURES/qcml/dft_force_field/1.0.0 -o set");
    assert!(text.contains("set: 8 structures in 1 files"), "{text}");
    done(here, "convert FIXTURES/aimnet.h5 -o set --append");
    assert!(done(here, "info set").0.contains("shards        2, checksums verified"));
    assert_refused(here, "convert FIXTURES/aimnet.h5 -o set", "something there already");
    assert_refused(here, "convert FIXTURES/aimnet.h5 -o set --resume", "nothing to resume");
    std::fs::write(here.join("plain.xyz"), "1\n\nH 0 0 0\n").unwrap();
    assert_refused(here, "convert plain.xyz -o other", "expected forces on the atoms (in XYZ a column");
    assert_refused(here, "convert set -o set --append", "found the store itself");
    assert!(!here.join("other").exists());
    let output = data(here, "convert plain.xyz -o other --skip-wrong");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected structures to store, found none"));
}

#[test]
fn convert_passes_over_what_is_wrong_but_drops_no_rest_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let frame = |n: usize, x: &str| {
        format!("{n}\nProperties=species:S:1:pos:R:3:forces:R:3\nC 0 0 0 0 0 0\nO 0 0 {x} 0 0 0\n")
    };
    let frames = [frame(2, "nan"), frame(2, "1.1"), frame(9, "1.2"), frame(2, "1.3")];
    std::fs::write(here.join("a.xyz"), frames.concat()).unwrap();
    let (text, warnings) = done(here, "convert a.xyz -o a --skip-wrong");
    assert!(text.contains("a: 2 structures") && warnings.contains("2 of 4 structures passed over"), "{text}");
    let short = [frame(2, "1.1"), frame(1, "1.2"), frame(2, "1.3")].concat();
    std::fs::write(here.join("b.xyz"), short).unwrap();
    assert_refused(
        here,
        "convert b.xyz -o b --skip-wrong",
        "b.xyz:8: frame 2 (from 0): expected the number of atoms",
    );
    assert!(!here.join("b").exists());
    assert_refused(here, "check b.xyz", "reading stopped here");
    assert_refused(here, "check a.xyz -o absent/found.tsv", "absent: expected a folder to write into");
}

#[test]
fn split_warns_of_shared_frames_and_its_parts_are_files() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (text, warnings) = done(here, "split FIXTURES/aimnet.h5 -o s.json --part train=50% --part test=rest");
    assert!(text.contains("train         3 structures") && warnings.is_empty(), "{text}{warnings}");
    assert!(done(here, "info s.json#test").0.contains("structures    3 of"));
    assert_refused(here, "info s.json#other", "expected a part \"other\", found test, train");
    std::fs::write(here.join("first.csv"), "0\n1\n2\n3\n").unwrap();
    let twice = "split FIXTURES/rmd17_ethanol.npz FIXTURES/rmd17_ethanol.npz -o t.json --part a=first.csv --part b=rest";
    let (_, warnings) = done(here, twice);
    assert!(warnings.contains("4 frames of b are in a too: structures 4 = 0, 5 = 1"), "{warnings}");
    assert_refused(here, twice, "t.json: exists");
    assert_refused(here, "split FIXTURES/aimnet.h5 -o u.json --part a=nothing", "there is no file nothing");
    assert_refused(
        here,
        "split FIXTURES/aimnet.h5 -o u.json --part a=7",
        "expected 7 structures, found 6 left",
    );
}

#[test]
fn a_part_needs_none_of_what_is_wrong_outside_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let frame = |x: f64, y: f64| {
        format!(
            "2\nProperties=species:S:1:pos:R:3:forces:R:3 units=eV,Angstrom\nH 0 0 0 {x} 0 0\nH {y} 0 0 -{x} 0 0\n"
        )
    };
    // The second has two atoms in one place.
    std::fs::write(here.join("h2.xyz"), [frame(0.1, 0.8), frame(0.2, 0.0), frame(0.3, 0.9)].concat())
        .unwrap();
    std::fs::write(here.join("good.csv"), "0\n2\n").unwrap();
    done(here, "split h2.xyz -o s.json --part good=good.csv");
    let (text, _) = done(here, "info s.json#good");
    assert!(text.contains("structures    2"), "{text}");
    let eval = Command::new(env!("CARGO_BIN_EXE_mdet"))
        .current_dir(here)
        .args(["eval", "built-in", "s.json#good"])
        .output()
        .unwrap();
    assert!(eval.status.success(), "{}", String::from_utf8_lossy(&eval.stderr));
}

#[test]
fn a_list_does_not_divide_a_molecule_that_is_to_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("first.csv"), "0\n").unwrap();
    let one_of_four =
        "split FIXTURES/rmd17_ethanol.npz -o s.json --by molecule --part test=first.csv --part train=rest";
    assert_refused(here, one_of_four, "found structure 0 without structure 1, which belongs to it");
}

#[test]
fn a_part_of_a_split_is_trained_on_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    done(folder.path(), "split FIXTURES/rmd17_ethanol.npz -o s.json --part train=50% --part test=rest");
    for arguments in [
        "finetune built-in s.json#train --validation s.json#test --batch 2 --steps 1 -o run",
        "eval run/model.safetensors s.json#test",
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mdet"));
        let output = command.current_dir(folder.path()).args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let result = std::fs::read_to_string(folder.path().join("eval-s-test.json")).unwrap();
    assert!(result.contains("s.json#test"), "{result}");
}
