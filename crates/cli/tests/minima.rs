//! `mdet opt` and `mdet freq` on the built-in model.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use std::path::Path;
use std::process::{Command, Output};

fn mdet(folder: &Path, arguments: &str) -> Output {
    let arguments = arguments.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_mdet")).current_dir(folder).args(arguments).output().unwrap()
}

#[test]
fn water_is_optimised_and_its_minimum_has_three_real_frequencies() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("m.xyz"), "3\n\nO 0 0 0\nH 1.1 0 0\nH -0.2 0.9 0.3\n").unwrap();
    for method in ["lbfgs", "fire"] {
        let output = mdet(here, &format!("opt m.xyz -o {method}.xyz --method {method} --max-force 0.002"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let minimum = mdet_data::read_file(&here.join(format!("{method}.xyz"))).unwrap().remove(0);
        for hydrogen in [1, 2] {
            let bond = mdet_core::structure::distance(&minimum.positions[0], &minimum.positions[hydrogen]);
            assert!((0.93..1.0).contains(&bond), "{bond}");
        }
    }
    let output = mdet(here, "freq lbfgs.xyz --modes modes.xyz");
    let text = String::from_utf8(output.stdout).unwrap();
    let wavenumbers: Vec<f64> = text
        .lines()
        .skip(1)
        .take(3)
        .map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap())
        .collect();
    // Water bends at about 1600 cm⁻¹ and stretches at about 3700: a wrong unit or mass is off by far more.
    assert!((1200.0..2100.0).contains(&wavenumbers[0]), "{text}");
    assert!(wavenumbers[1..].iter().all(|nu| (3200.0..4300.0).contains(nu)), "{text}");
    assert!(text.contains("imaginary             0") && text.contains("antisymmetric share"), "{text}");
    assert_eq!(mdet_data::read_file(&here.join("modes.xyz")).unwrap().len(), 60);
}

#[test]
fn what_does_not_converge_is_written_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("m.xyz"), "3\n\nO 0 0 0\nH 1.1 0 0\nH -0.2 0.9 0.3\n").unwrap();
    let output = mdet(here, "opt m.xyz -o out.xyz --max-steps 1 --max-force 1e-9");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did not converge"));
    assert!(here.join("out.xyz").exists());
    let output = mdet(here, "opt m.xyz -o out.xyz");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--overwrite"));
}
