//! Geometry optimisation finds minima on forces alone, and normal modes are those of molecules known by hand.

#![allow(clippy::unwrap_used)] // clippy's allowance for tests does not reach their helper functions

mod common;

use common::{Whirl, molecule};
use mdet_core::constants::{EV_PER_U_IN_ANGSTROM2_PER_FS2, SPEED_OF_LIGHT_IN_CM_PER_FS};
use mdet_core::potentials::{LennardJones, Morse};
use mdet_core::{ForceField, ForceJacobian, Structure};
use mdet_md::normal_modes::normal_modes;
use mdet_md::optimise::{MAX_STEP_ANGSTROM, Optimiser};

fn forces(force_field: &mut impl ForceField, structure: &Structure) -> Vec<[f64; 3]> {
    let mut forces = vec![[0.0; 3]; structure.n_atoms()];
    force_field.forces(std::slice::from_ref(structure), &mut forces).unwrap();
    forces
}

fn largest(vectors: &[[f64; 3]]) -> f64 {
    vectors.iter().map(|f| f.iter().map(|x| x * x).sum::<f64>().sqrt()).fold(0.0, f64::max)
}

/// Steps until no force is above `limit`.
fn descend(
    force_field: &mut impl ForceField,
    structure: &mut Structure,
    mut optimiser: Optimiser,
    limit: f64,
) -> usize {
    for step in 0..5000 {
        let forces = forces(force_field, structure);
        if largest(&forces) < limit {
            return step;
        }
        let before = structure.positions().to_vec();
        optimiser.step(structure.positions_mut(), &forces);
        let moved: Vec<[f64; 3]> = before
            .iter()
            .zip(structure.positions())
            .map(|(a, b)| std::array::from_fn(|k| b[k] - a[k]))
            .collect();
        assert!(largest(&moved) < MAX_STEP_ANGSTROM * (1.0 + 1e-12));
    }
    panic!("not converged: {}", largest(&forces(force_field, structure)));
}

/// Thirteen atoms near the corners and the centre of an icosahedron, all disturbed.
fn cluster() -> Structure {
    let golden = 0.5 * (1.0 + 5f64.sqrt());
    let mut positions = vec![[0.1, -0.1, 0.05]];
    for (a, b) in [(1.0, golden), (1.0, -golden), (-1.0, golden), (-1.0, -golden)] {
        positions.extend([[0.0, a, b], [a, b, 0.0], [b, 0.0, a]]);
    }
    let disturbed =
        positions.iter().enumerate().map(|(i, r)| r.map(|x| 0.62 * x + 0.05 * (7.0 * i as f64 + x).sin()));
    molecule(&[18; 13], &disturbed.collect::<Vec<_>>())
}

#[test]
fn both_methods_find_the_icosahedron_of_lennard_jones() {
    let potential = LennardJones { depth_ev: 0.5, sigma_angstrom: 1.1 };
    for (optimiser, most_steps) in [(Optimiser::lbfgs(), 80), (Optimiser::fire(), 800)] {
        let mut structure = cluster();
        let n_steps = descend(&mut potential.clone(), &mut structure, optimiser, 1e-6);
        // The known minimum of 13 atoms (Hoare and Pal 1971).
        assert!((potential.energy(&structure) + 0.5 * 44.326_801).abs() < 1e-6);
        assert!(n_steps < most_steps, "{n_steps}");
    }
}

#[test]
fn a_stiff_molecule_far_from_its_minimum_comes_down() {
    let bonds = vec![[0, 1], [0, 2], [1, 2]];
    let mut potential = Morse { depth_ev: 4.0, width_per_angstrom: 2.0, length_angstrom: 1.0, bonds };
    for optimiser in [Optimiser::lbfgs(), Optimiser::fire()] {
        // One bond at half its length, where forces are tens of eV/Å, another where they have nearly ended.
        let mut structure = molecule(&[8, 1, 1], &[[0.0; 3], [0.5, 0.0, 0.0], [-0.4, 1.9, 0.3]]);
        descend(&mut potential, &mut structure, optimiser, 1e-5);
        assert!(potential.energy(&structure) < 1e-9);
    }
}

fn wavenumber(stiffness_ev_per_angstrom2: f64, mass_u: f64) -> f64 {
    let omega = (stiffness_ev_per_angstrom2 / mass_u * EV_PER_U_IN_ANGSTROM2_PER_FS2).sqrt();
    omega / (2.0 * std::f64::consts::PI * SPEED_OF_LIGHT_IN_CM_PER_FS)
}

#[test]
fn a_diatomic_and_a_linear_triatomic_have_the_wavenumbers_of_the_textbook() {
    let (depth_ev, width, r0) = (4.0, 2.0, 1.2);
    let stiffness = 2.0 * depth_ev * width * width;
    let morse = |bonds| Morse { depth_ev, width_per_angstrom: width, length_angstrom: r0, bonds };
    let pair = molecule(&[6, 8], &[[0.0; 3], [0.0, 0.0, r0]]);
    let jacobian = morse(vec![[0, 1]]).jacobian(&pair).unwrap();
    let modes = normal_modes(&jacobian, &[12.0, 16.0], pair.positions());
    let expected = wavenumber(stiffness, 12.0 * 16.0 / 28.0);
    assert_eq!(modes.wavenumbers_per_cm.len(), 1);
    assert!((modes.wavenumbers_per_cm[0] / expected - 1.0).abs() < 1e-10);
    // 1 cm⁻¹ = 1.239841984e-4 eV.
    assert!((modes.zero_point_energy_ev / (0.5 * expected * 1.239_841_984e-4) - 1.0).abs() < 1e-9);
    assert!(modes.antisymmetric_share < 1e-15);

    let chain = molecule(&[8, 6, 8], &[[-r0, 0.0, 0.0], [0.0; 3], [r0, 0.0, 0.0]]);
    let jacobian = morse(vec![[0, 1], [1, 2]]).jacobian(&chain).unwrap();
    let modes = normal_modes(&jacobian, &[16.0, 12.0, 16.0], chain.positions());
    // Two bends without stiffness, the symmetric stretch √(k/m_O), the antisymmetric √(k/m_O (1 + 2 m_O/m_C)).
    let expected = [0.0, 0.0, wavenumber(stiffness, 16.0), wavenumber(stiffness * (1.0 + 32.0 / 12.0), 16.0)];
    for (found, expected) in modes.wavenumbers_per_cm.iter().zip(expected) {
        // Wavenumbers are roots: rounding of 1e-13 in ω² leaves 1e-4 cm⁻¹ at zero.
        assert!((found - expected).abs() < 1e-2, "{found} {expected}");
    }
    let centre = modes.displacements[3][1];
    assert!(centre[0].abs() > 0.5 && centre[1].abs() < 1e-9, "{centre:?}");

    // As an optimiser leaves it: bent by a little, which is no rotation about the axis but one of the two bends.
    let (bend, across) = (1e-3_f64, [-0.6, 0.8]);
    let reach = (r0 * r0 - bend * bend).sqrt();
    let bent = molecule(
        &[8, 6, 8],
        &[[-reach, 0.0, 0.0], [0.0, bend * across[0], bend * across[1]], [reach, 0.0, 0.0]],
    );
    let jacobian = morse(vec![[0, 1], [1, 2]]).jacobian(&bent).unwrap();
    let modes = normal_modes(&jacobian, &[16.0, 12.0, 16.0], bent.positions());
    assert_eq!(modes.wavenumbers_per_cm.len(), 4);
    // The stretches' stiffness along the bend, 2e-5 eV/Å², is worth 1 cm⁻¹.
    assert!(modes.wavenumbers_per_cm[..2].iter().all(|nu| nu.abs() < 2.0), "{:?}", modes.wavenumbers_per_cm);
}

#[test]
fn a_saddle_point_has_a_negative_wavenumber_and_a_whirl_is_all_antisymmetric() {
    // Beyond its inflection point a Morse bond has negative stiffness.
    let mut morse =
        Morse { depth_ev: 4.0, width_per_angstrom: 2.0, length_angstrom: 1.0, bonds: vec![[0, 1]] };
    let pair = molecule(&[6, 8], &[[0.0; 3], [0.0, 0.0, 1.8]]);
    let jacobian = morse.jacobian(&pair).unwrap();
    let modes = normal_modes(&jacobian, &[12.0, 16.0], pair.positions());
    assert!(modes.wavenumbers_per_cm[0] < -100.0 && modes.zero_point_energy_ev == 0.0);

    let whirl = Whirl { curl_ev_per_angstrom2: 0.3 };
    let mut differences = mdet_core::CentralDifferences { inner: whirl, step_angstrom: 1e-3 };
    let jacobian = differences.jacobian(&pair).unwrap();
    let share = normal_modes(&jacobian, &[12.0, 16.0], pair.positions()).antisymmetric_share;
    assert!((share - 1.0).abs() < 1e-12, "{share}");
}
