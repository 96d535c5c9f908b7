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
    assert!(text.contains("meV/atom/ps, harmonic, in Langevin dynamics at 300 K and 0.01/fs"), "{text}");
    assert_eq!(mdet_data::read_file(&here.join("modes.xyz")).unwrap().len(), 60);
}

#[test]
fn a_molecule_along_z_is_computed_across_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("m.xyz"), "3\n\nC 0 0 0\nO 0 0 1.2\nO 0 0 -1.2\n").unwrap();
    let output = mdet(here, "opt m.xyz -o out.xyz --precision f64 --max-force 0.002");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.contains("1 of 1 molecules have atoms along z"), "{stderr}");
    let minimum = mdet_data::read_file(&here.join("out.xyz")).unwrap().remove(0);
    // It is back along z, but for what little the forces bend it.
    assert!(minimum.positions.iter().all(|[x, y, _]| x.hypot(*y) < 0.01), "{:?}", minimum.positions);
    let output = mdet(here, "freq out.xyz --modes modes.xyz");
    let text = String::from_utf8(output.stdout).unwrap();
    // As it lies, half of the Jacobian is antisymmetric and a bending mode is at 3,200 cm⁻¹; across z 0.5 % and 696 cm⁻¹.
    let number = |line: &str, place| line.split_whitespace().nth(place).unwrap().parse::<f64>().unwrap();
    assert!((500.0..900.0).contains(&number(text.lines().nth(1).unwrap(), 1)), "{text}");
    let share = text.lines().find(|line| line.starts_with("antisymmetric")).unwrap();
    assert!(number(share, 2) < 3.0, "{text}");
    // The bending mode, which is the first, moves atoms across z.
    let bent = &mdet_data::read_file(&here.join("modes.xyz")).unwrap()[5];
    assert!(
        (0..3).all(|i| (bent.positions[i][2] - minimum.positions[i][2]).abs() < 0.05),
        "{:?}",
        bent.positions
    );
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
