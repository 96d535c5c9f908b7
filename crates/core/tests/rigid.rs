//! Rigid motion: what `mdet_core::rigid` leaves has no net force, torque, momentum or angular momentum.

use mdet_core::rigid::{
    remove_net_force_and_torque, remove_translation_and_rotation, rigid_degrees_of_freedom,
};
use mdet_core::{Purpose, RandomStream, Rotation};
use rand::RngExt;

type Vectors = Vec<[f64; 3]>;

/// Numbers of order one, lengths of a few: a few roundings, with lever arms.
const ROUNDING: f64 = 1e-13;

/// Vectors uniform in a cube of edge `2 · half`.
fn random_vectors(n: usize, half: f64, step: u64) -> Vectors {
    let stream = RandomStream { seed: 5, purpose: Purpose::Analysis, replica: 0 };
    let mut generator = stream.at_step(step);
    (0..n).map(|_| std::array::from_fn(|_| half * (2.0 * generator.random::<f64>() - 1.0))).collect()
}

/// CO₂ off the origin, along no axis: the null direction of the second moments is not a coordinate's.
fn carbon_dioxide() -> Vectors {
    let mut positions = vec![[0.0; 3], [0.0, 0.0, 1.16], [0.0, 0.0, -1.16]];
    Rotation::from_quaternion([0.3, -0.7, 0.2, 0.6]).apply(&mut positions);
    positions.iter().map(|r| [r[0] + 3.0, r[1] - 1.0, r[2] + 7.0]).collect()
}

/// Every shape: a single atom, two atoms, linear, planar, solid.
fn shapes() -> Vec<Vectors> {
    let mut planar = random_vectors(6, 2.0, 1);
    planar.iter_mut().for_each(|r| r[2] = 0.5);
    vec![
        random_vectors(1, 2.0, 2),
        random_vectors(2, 2.0, 3),
        carbon_dioxide(),
        planar,
        random_vectors(9, 3.0, 4),
    ]
}

/// Σ w v and Σ w r × v (about the origin: equal to that about the centroid where Σ w v is zero).
fn moments(weights: &[f64], positions: &[[f64; 3]], vectors: &[[f64; 3]]) -> [f64; 6] {
    let mut moments = [0.0; 6];
    for ((w, r), v) in weights.iter().zip(positions).zip(vectors) {
        for k in 0..3 {
            let (l, m) = ((k + 1) % 3, (k + 2) % 3);
            moments[k] += w * v[k];
            moments[3 + k] += w * (r[l] * v[m] - r[m] * v[l]);
        }
    }
    moments
}

fn without_net(positions: &[[f64; 3]], forces: &[[f64; 3]]) -> Vectors {
    let mut forces = forces.to_vec();
    remove_net_force_and_torque(positions, &mut forces);
    forces
}

fn dot(a: &[[f64; 3]], b: &[[f64; 3]]) -> f64 {
    a.as_flattened().iter().zip(b.as_flattened()).map(|(a, b)| a * b).sum()
}

#[track_caller]
fn assert_close(found: &[[f64; 3]], expected: &[[f64; 3]]) {
    for (f, e) in found.as_flattened().iter().zip(expected.as_flattened()) {
        assert!((f - e).abs() < ROUNDING, "found {found:?}, expected {expected:?}");
    }
}

#[test]
fn corrected_forces_have_no_net_force_and_no_torque() {
    for positions in shapes() {
        let n = positions.len();
        let forces = without_net(&positions, &random_vectors(n, 1.0, 10));
        let moments = moments(&vec![1.0; n], &positions, &forces);
        assert!(moments.iter().all(|m| m.abs() < ROUNDING), "{n} atoms: {moments:?}");
    }
}

#[test]
fn corrected_velocities_have_no_momentum_and_no_angular_momentum() {
    for positions in shapes() {
        let n = positions.len();
        let masses: Vec<f64> = (0..n).map(|i| [1.008, 12.011, 126.9][i % 3]).collect();
        let mut velocities = random_vectors(n, 0.01, 11);
        remove_translation_and_rotation(&masses, &positions, &mut velocities);
        let moments = moments(&masses, &positions, &velocities);
        assert!(moments.iter().all(|m| m.abs() < ROUNDING), "{n} atoms: {moments:?}");
    }
}

#[test]
fn the_force_correction_is_a_symmetric_projector() {
    for positions in shapes() {
        let n = positions.len();
        let (a, b) = (random_vectors(n, 1.0, 12), random_vectors(n, 1.0, 13));
        let (pa, pb) = (without_net(&positions, &a), without_net(&positions, &b));
        assert_close(&without_net(&positions, &pa), &pa);
        assert!((dot(&a, &pb) - dot(&pa, &b)).abs() < ROUNDING, "{n} atoms");
        // Symmetric and idempotent: orthogonal to what it removes, hence the smallest correction.
        let removed: Vectors = a.iter().zip(&pa).map(|(a, p)| std::array::from_fn(|k| a[k] - p[k])).collect();
        assert!(dot(&removed, &pa).abs() < ROUNDING, "{n} atoms");
    }
}

#[test]
fn the_rank_of_the_projector_is_that_of_the_internal_motions() {
    for (positions, rigid) in shapes().into_iter().zip([3, 5, 5, 6, 6]) {
        let n = positions.len();
        assert_eq!(rigid_degrees_of_freedom(&positions), rigid);
        let mut trace = 0.0;
        for c in 0..3 * n {
            let mut unit = vec![[0.0; 3]; n];
            unit[c / 3][c % 3] = 1.0;
            trace += without_net(&positions, &unit)[c / 3][c % 3];
        }
        assert!((trace - (3 * n - rigid) as f64).abs() < ROUNDING, "{n} atoms: trace {trace}");
    }
}

#[test]
fn the_correction_turns_and_moves_with_the_molecule() {
    let mut generator = RandomStream { seed: 6, purpose: Purpose::Analysis, replica: 0 }.at_step(0);
    for positions in shapes() {
        let forces = random_vectors(positions.len(), 1.0, 14);
        let rotation = Rotation::random_or_reflection(&mut generator);
        let mut expected = without_net(&positions, &forces);
        rotation.apply(&mut expected);
        let (mut turned, mut turned_forces) = (positions, forces);
        rotation.apply(&mut turned);
        rotation.apply(&mut turned_forces);
        turned.iter_mut().for_each(|r| r[1] += 2.0);
        assert_close(&without_net(&turned, &turned_forces), &expected);
    }
}

#[test]
fn a_rigid_motion_is_removed_whole_and_an_internal_one_is_kept() {
    let positions = random_vectors(7, 2.0, 15);
    let masses = [1.0, 12.0, 14.0, 16.0, 1.0, 32.0, 35.5];
    // a + b × r for any a, b.
    let rigid: Vectors = positions
        .iter()
        .map(|[x, y, z]| [0.3 + 0.2 * z + 0.7 * y, -0.1 - 0.7 * x - 0.4 * z, 0.9 + 0.4 * y - 0.2 * x])
        .collect();
    let mut velocities = rigid.clone();
    remove_translation_and_rotation(&masses, &positions, &mut velocities);
    assert_close(&velocities, &[[0.0; 3]; 7]);
    let centroid: [f64; 3] = std::array::from_fn(|k| positions.iter().map(|r| r[k]).sum::<f64>() / 7.0);
    let breathing: Vectors = positions.iter().map(|r| std::array::from_fn(|k| r[k] - centroid[k])).collect();
    assert_close(&without_net(&positions, &breathing), &breathing);
}

#[test]
fn carbon_dioxide_keeps_its_stretches_and_loses_its_rotation() {
    let positions = carbon_dioxide();
    let axis: [f64; 3] = std::array::from_fn(|k| (positions[1][k] - positions[2][k]) / 2.32);
    let along = |factors: [f64; 3]| -> Vectors { factors.map(|f| axis.map(|u| f * u)).to_vec() };
    let antisymmetric = along([-2.0, 1.0, 1.0]);
    assert_close(&without_net(&positions, &antisymmetric), &antisymmetric);
    // Perpendicular to the axis, opposite on the two oxygens: a pure rotation.
    let across = [axis[1], -axis[0], 0.0];
    let rotation = [[0.0; 3], across, across.map(|x| -x)];
    assert_close(&without_net(&positions, &rotation), &[[0.0; 3]; 3]);
}

#[test]
fn a_single_atom_is_left_at_rest() {
    let positions = [[0.1, 0.2, 1e3]];
    assert_eq!(without_net(&positions, &[[0.3, -0.7, 1e-9]]), [[0.0; 3]]);
    let mut velocities = [[0.3, 0.1, -1.7]];
    remove_translation_and_rotation(&[1.008], &positions, &mut velocities);
    assert_eq!(velocities, [[0.0; 3]]);
}

#[test]
fn two_atoms_keep_only_their_stretch() {
    let positions = [[0.0; 3], [0.0, 0.0, 0.74]];
    let forces = without_net(&positions, &[[1.0, 2.0, 3.0], [4.0, 5.0, -6.0]]);
    assert_close(&forces, &[[0.0, 0.0, 4.5], [0.0, 0.0, -4.5]]);
}

#[test]
#[should_panic(expected = "positions are not finite")]
fn positions_that_are_not_finite_end_in_a_message_and_not_in_a_loop() {
    without_net(&[[0.0; 3], [f64::NAN; 3]], &[[0.0; 3]; 2]);
}

#[test]
fn the_shares_of_atoms_sum_to_what_is_removed_and_are_those_of_the_projector() {
    let masses_u = [16.0, 1.0, 1.0, 12.0];
    let positions = [[0.0, 0.1, -0.2], [1.1, 0.3, 0.0], [0.4, 1.3, 0.9], [-0.8, 0.2, 1.2]];
    let shares = mdet_core::rigid::rigid_shares(&masses_u, &positions);
    assert!((shares.iter().sum::<f64>() - 6.0).abs() < 1e-12);
    for i in 0..4 {
        // What is left of a unit velocity of an atom, at that atom, along each axis.
        let left = |axis: usize| {
            let mut velocities = [[0.0; 3]; 4];
            velocities[i][axis] = 1.0;
            mdet_core::rigid::remove_translation_and_rotation(&masses_u, &positions, &mut velocities);
            velocities[i][axis]
        };
        assert!((3.0 - left(0) - left(1) - left(2) - shares[i]).abs() < 1e-12);
    }
    assert_eq!(mdet_core::rigid::rigid_shares(&[4.0], &[[1.0; 3]]), [3.0]);
}
