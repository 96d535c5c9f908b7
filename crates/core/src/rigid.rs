//! The rigid part of a motion: net force and torque of forces, translation and rotation of velocities, removed.
//!
//! With weights w_i (1 for forces, masses for velocities) and d_i = r_i − c from the weighted centroid c, the change
//! of smallest weighted norm Σ w_i |δ_i|² that brings Σ w_i v_i and Σ w_i d_i × v_i to zero is a rigid motion:
//!
//! ```text
//! v_i ← v_i − a − b × d_i,   a = Σ w_i v_i / Σ w_i,   b = I⁺ Σ w_i d_i × v_i,   I = Σ w_i (|d_i|² 1 − d_i d_iᵀ)
//! ```
//!
//! | symbol | for forces | for velocities |
//! |---|---|---|
//! | v | force on the atom | velocity |
//! | a, b | mean force, torque over second moments | of the centre of mass, angular velocity |
//! | I | second-moment tensor | inertia tensor |
//!
//! I⁺ is the pseudo-inverse: a linear molecule has no rotation about its axis, a single atom none at all.
//! The map is an orthogonal projection (in the weighted scalar product): applied twice it changes nothing more.

use nalgebra::{Matrix3, SymmetricEigen, Vector3};

/// Second moments below this part of their sum are rounding: the molecule is linear along that axis.
///
/// Bent by less than 1e-5 of its length, a molecule cannot be told from a linear one in a file of coordinates;
/// rounding in f64 stays four orders of magnitude below.
const LINEAR_FRACTION: f64 = 1e-10;

/// How far from their line atoms of a linear molecule may be, Å: an optimiser leaves soft bends like that, and hydrogen at the end of a
/// bent molecule is nine times as far.
const OFF_LINE_ANGSTROM: f64 = 0.1;

/// Changes the forces as little as possible (in Σ |δ_i|²) to make net force and net torque zero.
///
/// `positions`: Å, `forces`: any unit, both one `[x, y, z]` per atom. A single atom's force becomes zero.
///
/// # Panics
/// When the lengths differ, or the positions are not finite.
pub fn remove_net_force_and_torque(positions: &[[f64; 3]], forces: &mut [[f64; 3]]) {
    remove_rigid_motion(|_| 1.0, positions, forces);
}

/// Changes the forces as little as possible to make the net force zero; the torque about the centroid stays.
pub fn remove_net_force(forces: &mut [[f64; 3]]) {
    if forces.is_empty() {
        return;
    }
    let internal = displacements(&|_| 1.0, forces);
    for (force, f) in forces.iter_mut().zip(internal) {
        *force = f.into();
    }
}

/// Changes the forces as little as possible to make the torque about the centroid zero; the net force stays.
///
/// # Panics
/// As [`remove_net_force_and_torque`].
pub fn remove_net_torque(positions: &[[f64; 3]], forces: &mut [[f64; 3]]) {
    let mut internal = forces.to_vec();
    remove_net_force(&mut internal);
    let mean: Vec<[f64; 3]> =
        forces.iter().zip(&internal).map(|(f, d)| std::array::from_fn(|k| f[k] - d[k])).collect();
    remove_rigid_motion(|_| 1.0, positions, &mut internal);
    for ((force, f), mean) in forces.iter_mut().zip(internal).zip(mean) {
        *force = std::array::from_fn(|k| f[k] + mean[k]);
    }
}

/// Removes the motion of the centre of mass and the angular momentum about it from the velocities.
///
/// `masses_u`: u, one per atom and positive; `positions`: Å; `velocities`: any unit, one `[x, y, z]` per atom.
///
/// # Panics
/// When the lengths differ, or the positions or masses are not finite.
pub fn remove_translation_and_rotation(
    masses_u: &[f64],
    positions: &[[f64; 3]],
    velocities: &mut [[f64; 3]],
) {
    assert_eq!(masses_u.len(), positions.len(), "one mass per atom");
    remove_rigid_motion(|i| masses_u[i], positions, velocities);
}

/// How many degrees of freedom the removals take: 3 for a single atom, 5 for a linear molecule, 6 for others.
///
/// A linear molecule of three atoms or more bends as soon as it moves, and then has 6.
///
/// # Panics
/// When there are no atoms, or the positions (Å) are not finite.
pub fn rigid_degrees_of_freedom(positions: &[[f64; 3]]) -> usize {
    let displacements = displacements(&|_| 1.0, positions);
    3 + axes(&|_| 1.0, &displacements).count()
}

/// Of each atom's three degrees of freedom, how many the removal of translation and rotation takes: the trace of its
/// block of the projector. They sum to [`rigid_degrees_of_freedom`].
///
/// `masses_u`: u, one per atom and positive; `positions`: Å.
///
/// # Panics
/// When the lengths differ or are zero, or the positions or masses are not finite.
pub fn rigid_shares(masses_u: &[f64], positions: &[[f64; 3]]) -> Vec<f64> {
    assert_eq!(masses_u.len(), positions.len(), "one mass per atom");
    let weight = |i: usize| masses_u[i];
    let displacements = displacements(&weight, positions);
    let axes: Vec<_> = axes(&weight, &displacements).collect();
    let total: f64 = masses_u.iter().sum();
    let share = |(mass_u, d): (&f64, &Vector3<f64>)| {
        let turned = axes.iter().map(|(axis, moment)| axis.cross(d).norm_squared() / moment);
        mass_u * (3.0 / total + turned.sum::<f64>())
    };
    masses_u.iter().zip(&displacements).map(share).collect()
}

/// The positions in Å, moved onto their line where none is farther than 0.1 Å from it: of a linear molecule as an optimiser leaves it,
/// into whose bend no rotation about the line may be read.
///
/// # Panics
/// When there are no atoms, or the positions are not finite.
pub fn straightened(positions: &[[f64; 3]]) -> Vec<[f64; 3]> {
    let displacements = displacements(&|_| 1.0, positions);
    let [first, others @ ..] = moments(&|_| 1.0, &displacements);
    let (line, _) =
        others.into_iter().fold(first, |least, other| if other.1 < least.1 { other } else { least });
    let off_line: Vec<Vector3<f64>> = displacements.iter().map(|d| d - line * line.dot(d)).collect();
    if off_line.iter().any(|off| off.norm() > OFF_LINE_ANGSTROM) {
        return positions.to_vec();
    }
    positions.iter().zip(off_line).map(|(&r, off)| (Vector3::from(r) - off).into()).collect()
}

fn remove_rigid_motion(weight: impl Fn(usize) -> f64, positions: &[[f64; 3]], vectors: &mut [[f64; 3]]) {
    assert_eq!(positions.len(), vectors.len(), "one vector per position");
    if positions.is_empty() {
        return;
    }
    // A vector's deviation from the mean is what is left when the translation is gone.
    let mut internal = displacements(&weight, vectors);
    let displacements = displacements(&weight, positions);
    let mut moment = Vector3::zeros();
    for (i, (d, v)) in displacements.iter().zip(&internal).enumerate() {
        moment += weight(i) * d.cross(v);
    }
    let mut rotation = Vector3::zeros();
    for (axis, second_moment) in axes(&weight, &displacements) {
        rotation += axis * (axis.dot(&moment) / second_moment);
    }
    for (v, d) in internal.iter_mut().zip(&displacements) {
        *v -= rotation.cross(d);
    }
    for (vector, v) in vectors.iter_mut().zip(internal) {
        *vector = v.into();
    }
}

/// Deviations of vectors from their weighted mean.
fn displacements(weight: &impl Fn(usize) -> f64, vectors: &[[f64; 3]]) -> Vec<Vector3<f64>> {
    // From the first vector, so that a single one deviates by exactly zero.
    let first = Vector3::from(vectors[0]);
    let from_first: Vec<Vector3<f64>> = vectors.iter().map(|&v| Vector3::from(v) - first).collect();
    let mut mean = Vector3::zeros();
    let mut total = 0.0;
    for (i, v) in from_first.iter().enumerate() {
        mean += weight(i) * v;
        total += weight(i);
    }
    mean /= total;
    from_first.into_iter().map(|v| v - mean).collect()
}

/// Principal axes that the molecule can turn about, with their second moments.
fn axes(
    weight: &impl Fn(usize) -> f64,
    displacements: &[Vector3<f64>],
) -> impl Iterator<Item = (Vector3<f64>, f64)> {
    let moments = moments(weight, displacements);
    let smallest = LINEAR_FRACTION * moments.iter().map(|(_, moment)| moment).sum::<f64>();
    moments.into_iter().filter(move |&(_, moment)| moment > smallest)
}

/// Principal axes and their second moments.
fn moments(weight: &impl Fn(usize) -> f64, displacements: &[Vector3<f64>]) -> [(Vector3<f64>, f64); 3] {
    let mut tensor = Matrix3::zeros();
    for (i, d) in displacements.iter().enumerate() {
        tensor += weight(i) * (Matrix3::from_diagonal_element(d.norm_squared()) - d * d.transpose());
    }
    // The eigenvalue iteration does not end on NaN.
    assert!(tensor.iter().all(|x: &f64| x.is_finite()), "positions are not finite: second moments {tensor}");
    let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new(tensor);
    std::array::from_fn(|k| (eigenvectors.column(k).into_owned(), eigenvalues[k]))
}
