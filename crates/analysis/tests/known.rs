//! Judgements of force fields whose answer is known: an equivariant potential, the same with a constant force of the
//! laboratory, with a curl, and with white noise.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

use mdet_analysis::equivariance::{EquivarianceJudge, MAX_L, Orientations, StructureEquivariance, Subject};
use mdet_analysis::lambda::antisymmetric_share;
use mdet_analysis::loops::{LoopKind, loop_works};
use mdet_analysis::sphere::SphereMap;
use mdet_core::potentials::{Harmonic, Morse};
use mdet_core::{Disturbance, Disturbed, ForceField, ForceJacobian, RotationSet, Structure};

/// Hydrogen peroxide, which has an open bond and no symmetry here.
fn peroxide() -> Structure {
    let positions = vec![[0.0, 0.7, 0.0], [0.1, -0.75, 0.0], [0.8, 0.9, 0.4], [-0.8, -0.9, 0.5]];
    Structure::new(vec![8, 8, 1, 1], positions, 0, 1).unwrap()
}

/// Bonds far from rest, so that no force is small.
fn morse() -> Morse {
    let bonds = vec![[0, 1], [0, 2], [1, 3], [0, 3], [1, 2]];
    Morse { depth_ev: 2.0, width_per_angstrom: 1.5, length_angstrom: 1.2, bonds }
}

fn judged(
    set: RotationSet,
    reflections: bool,
    double: &mut dyn ForceField,
    single: Option<&mut dyn ForceField>,
) -> (StructureEquivariance, SphereMap) {
    let structure = peroxide();
    let subject = Subject { name: "H2O2", class: "", inside_domain: None, structure: &structure };
    let mut judge = EquivarianceJudge::new(Orientations::new(set, 6, reflections, 3));
    judge.add(subject, double, single).unwrap();
    let mut result = judge.finish();
    (result.structures.remove(0), result.bias_map_mev_per_angstrom)
}

#[track_caller]
fn assert_close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() < tolerance, "found {found}, expected {expected} ± {tolerance}");
}

#[test]
fn an_equivariant_potential_has_no_equivariance_error_also_under_reflections() {
    for reflections in [false, true] {
        let (found, map) = judged(RotationSet::Icosahedral, reflections, &mut morse(), Some(&mut morse()));
        // Forces of a few eV/Å: rounding is below 1e-14 of them, in meV/Å below 1e-10.
        let single = found.single.unwrap();
        for error in [found.error_mev_per_angstrom.mean, single.error_mev_per_angstrom.mean] {
            assert!(error < 1e-10, "{error}");
        }
        assert_eq!(single.rounding_mev_per_angstrom.mean, 0.0);
        assert!(found.angle_degrees.unwrap() < 1e-10 && found.magnitude_mev_per_angstrom < 1e-10);
        assert!(map.cells.iter().flatten().all(|cell| cell.mean.abs() < 1e-10));
    }
}

#[test]
fn a_force_of_the_laboratory_is_all_error_at_l_one_and_vanishes_under_kleins_average() {
    let bias = [0.003, -0.004, 0.012];
    let mut biased = Disturbed::new(morse(), Disturbance::Bias(vec![bias; 4]));
    let (found, map) = judged(RotationSet::Icosahedral, false, &mut biased, None);
    // |b| = 13 meV/Å in every orientation, and its mean over the group is zero.
    assert_close(found.error_mev_per_angstrom.mean, 13.0, 1e-9);
    assert_close(found.error_mev_per_angstrom.standard_deviation, 0.0, 1e-9);
    for averaged in &found.averaged {
        // Klein's half turns average any vector to zero; the identity and one of them leave one component.
        let expected: &[f64] = match averaged.n_rotations {
            1 => &[13.0],
            2 => &[3.0, 4.0, 12.0],
            4 | 12 | 60 => &[0.0],
            _ => continue,
        };
        let error = averaged.error_mev_per_angstrom.mean;
        assert!(expected.iter().any(|x| (error - x).abs() < 1e-9), "{averaged:?}");
    }
    // The sums over the group are exact for l + 1 ≤ 5; above, six bases leave noise.
    assert_close(found.share_per_l[0], 1.0, 1e-9);
    assert!(found.share_per_l[1..4].iter().all(|share| share.abs() < 1e-9), "{:?}", found.share_per_l);
    // The component along the direction n of the force is b · n: cells 0.2 high in z.
    let mut checked = 0;
    for (index, cell) in map.cells.iter().enumerate() {
        let Some(cell) = cell else { continue };
        let z =
            -1.0 + 2.0 * (index / map.n_azimuths) as f64 / map.n_heights as f64 + 1.0 / map.n_heights as f64;
        let azimuth =
            std::f64::consts::TAU * (((index % map.n_azimuths) as f64 + 0.5) / map.n_azimuths as f64 - 0.5);
        let across = (1.0 - z * z).sqrt();
        let n = [across * azimuth.cos(), across * azimuth.sin(), z];
        // Within a cell z varies by 0.1 and the azimuth by 0.16 to either side.
        assert_close(cell.mean, 1e3 * (0..3).map(|a| bias[a] * n[a]).sum::<f64>(), 3.0);
        checked += 1;
    }
    assert!(checked > 150, "{checked}");
}

#[test]
fn a_force_of_the_laboratory_is_common_to_all_molecules_at_l_one() {
    let mut biased = Disturbed::new(morse(), Disturbance::Bias(vec![[0.003, -0.004, 0.012]; 4]));
    let mut judge = EquivarianceJudge::new(Orientations::new(RotationSet::Icosahedral, 6, false, 3));
    for (turn, name) in ["a", "b", "c", "c"].into_iter().enumerate() {
        let mut positions = peroxide().positions().to_vec();
        positions.iter_mut().for_each(|r| r.rotate_left(turn % 3));
        positions[3][0] += 0.1 * turn as f64;
        let structure = Structure::new(vec![8, 8, 1, 1], positions, 0, 1).unwrap();
        let subject = Subject { name, class: "", inside_domain: None, structure: &structure };
        judge.add(subject, &mut biased, None).unwrap();
        // Two structures of c are one molecule.
        let n_shares = judge.clone().finish().bias_percent_per_l.len();
        assert_eq!(n_shares, if turn < 2 { 0 } else { MAX_L });
    }
    let shares = judge.finish().bias_percent_per_l;
    // b · n, in every molecule; the group integrates what is up to l = 5 exactly.
    assert_close(shares[0].value, 100.0, 1e-9);
    assert!(shares[1..4].iter().all(|share| share.value.abs() < 1e-9), "{shares:?}");
}

#[test]
fn white_noise_is_rounding_of_its_size_and_at_no_l() {
    let sigma = 0.002;
    let noise = Disturbance::Noise { sigma_ev_per_angstrom: sigma, seed: 8 };
    let mut noisy = Disturbed::new(morse(), noise);
    let (found, _) = judged(RotationSet::Icosahedral, false, &mut morse(), Some(&mut noisy));
    // The mean length of three normals is σ √(8/π); over 360 × 4 of them known to 1.1 %.
    let expected = 1e3 * sigma * (8.0 / std::f64::consts::PI).sqrt();
    let single = found.single.unwrap();
    assert_close(single.rounding_mev_per_angstrom.mean, expected, 0.06 * expected);
    assert_close(single.error_mev_per_angstrom.mean, expected, 0.06 * expected);
    let (noise_as_error, _) = judged(RotationSet::Icosahedral, false, &mut noisy, None);
    for (index, share) in noise_as_error.share_per_l.iter().enumerate() {
        // 54,000 pairs of 12-component noise: 1/√(12 · 54,000) times 2l + 1, five of them.
        assert!(share.abs() < 5.0 * (2 * index + 3) as f64 / 648_000f64.sqrt(), "l = {}: {share}", index + 1);
    }
    // Averages over m independent draws.
    let last = noise_as_error.averaged.last().unwrap();
    assert_eq!(last.n_rotations, 60);
    assert_close(last.error_mev_per_angstrom.mean, expected / 60f64.sqrt(), 0.4 * expected / 60f64.sqrt());
}

/// A force c ẑ × r around the z axis of the laboratory, on top of wells of stiffness k for every atom.
fn with_curl(curl: f64, stiffness: f64) -> Disturbed<Harmonic> {
    let wells = peroxide().positions().to_vec();
    let inner = Harmonic { stiffness_ev_per_angstrom2: stiffness, wells };
    Disturbed::new(inner, Disturbance::Curl([0.0, 0.0, curl]))
}

#[test]
fn lambda_of_wells_with_a_curl_is_analytic_and_zero_without() {
    let (curl, stiffness) = (0.5, 2.0);
    let (lambda, norm) = antisymmetric_share(&with_curl(curl, stiffness).jacobian(&peroxide()).unwrap());
    // Per atom J has −k three times on the diagonal and ±c once.
    let expected = (2.0 * curl * curl / (2.0 * curl * curl + 3.0 * stiffness * stiffness)).sqrt();
    assert_close(lambda, expected, 1e-14);
    assert_close(norm, (4.0 * (2.0 * curl * curl + 3.0 * stiffness * stiffness)).sqrt(), 1e-13);
    let (lambda, _) = antisymmetric_share(&morse().jacobian(&peroxide()).unwrap());
    assert!(lambda < 1e-15, "{lambda}");
}

#[test]
fn work_around_loops_is_the_curl_times_the_area() {
    let curl = 0.5;
    let structure = peroxide();
    let works = loop_works("H2O2", &structure, &mut with_curl(curl, 2.0)).unwrap();
    let count = |kind| works.iter().filter(|work| work.kind == kind).count();
    assert_eq!([LoopKind::Turn, LoopKind::Torsion, LoopKind::Bond].map(count), [3, 1, 4]);
    let r = structure.positions();
    let centroid: Vec<f64> = (0..3).map(|a| r.iter().map(|r| r[a]).sum::<f64>() / 4.0).collect();
    let squares: f64 = r.iter().map(|r| (r[0] - centroid[0]).powi(2) + (r[1] - centroid[1]).powi(2)).sum();
    for work in &works {
        assert!(work.work_mev.abs() <= work.absolute_work_mev * (1.0 + 1e-12));
        match (work.kind, work.path.as_str()) {
            // 2c times the area π d² of every atom's circle about the axis.
            (LoopKind::Turn, "z") => {
                assert_close(work.work_mev, 1e3 * curl * std::f64::consts::TAU * squares, 1e-8)
            }
            (LoopKind::Turn, _) => assert_close(work.work_mev, 0.0, 1e-9),
            // At most the circle lies in the xy plane.
            (LoopKind::Bond, _) => {
                assert!(work.work_mev.abs() < 1e3 * curl * std::f64::consts::TAU * 0.05f64.powi(2) + 1e-9)
            }
            // The axis O1–O2 lies across z: the circle's area is along the curl.
            (LoopKind::Torsion, _) => assert_close(work.work_mev, 0.0, 1e-9),
        }
        assert!(work.quadrature_error_mev < 1e-8, "{work:?}");
    }
    for work in loop_works("H2O2", &structure, &mut morse()).unwrap() {
        // The pairs come close on the torsion: 180 points leave some of it.
        assert!(work.work_mev.abs() < 1e-6, "{work:?}");
    }
}
