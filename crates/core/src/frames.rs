//! Forces computed in turned frames: a rotation of its own for every structure, or the mean over a set of them.
//!
//! ```text
//! F_R(x) = Rᵀ F(R (x − c) + c)            F̄(x) = 1/K Σ_k F_{R_k}(x)
//! ```
//!
//! with the centroid c of the structure, so that a molecule that has drifted far loses no digits. A force field that
//! turns with the molecule gives F_R = F for every R; a network without built-in equivariance does not, and its
//! spread over R is its equivariance error. A **random rotation offset** is F_R with a fresh uniform R at every step
//! of dynamics: it turns the error's bias for an orientation into noise. Its R is a function of (seed, replica,
//! step), which a [`ForceField`] does not know, so the simulation applies [`forces_in_frames`] itself, around its
//! force field and thus around the net-force removal, which turns with the molecule.
//!
//! Deliberately absent: frames that follow the molecule (principal axes), which jump where axes cross.

use crate::force_field::{ForceField, ForceFieldError, by_structure};
use crate::random::{Purpose, RandomStream};
use crate::rotation::Rotation;
use crate::structure::Structure;

/// Writes F_R of every structure (see the module), each with its own rotation, in one call of the force field.
///
/// `rotations`: one per structure; `forces`: eV/Å, one `[x, y, z]` per atom of the batch.
///
/// # Errors
/// As [`ForceField::forces`].
///
/// # Panics
/// When there is not one rotation per structure or one force per atom.
pub fn forces_in_frames(
    force_field: &mut (impl ForceField + ?Sized),
    batch: &[Structure],
    rotations: &[Rotation],
    forces: &mut [[f64; 3]],
) -> Result<(), ForceFieldError> {
    assert_eq!(rotations.len(), batch.len(), "one rotation per structure");
    let turned: Vec<Structure> =
        batch.iter().zip(rotations).map(|(s, rotation)| turned(s, rotation)).collect();
    force_field.forces(&turned, forces)?;
    for ((_, forces), rotation) in by_structure(batch, forces).zip(rotations) {
        rotation.apply_inverse(forces);
    }
    Ok(())
}

/// The structure turned about its centroid.
pub fn turned(structure: &Structure, rotation: &Rotation) -> Structure {
    let mut turned = structure.clone();
    let n_atoms = structure.n_atoms() as f64;
    let centroid: [f64; 3] =
        std::array::from_fn(|axis| structure.positions().iter().map(|r| r[axis]).sum::<f64>() / n_atoms);
    let positions = turned.positions_mut();
    positions.iter_mut().for_each(|r| (0..3).for_each(|axis| r[axis] -= centroid[axis]));
    rotation.apply(positions);
    positions.iter_mut().for_each(|r| (0..3).for_each(|axis| r[axis] += centroid[axis]));
    turned
}

/// Sine of the angle to z, 8°, within which a bond lies along it: forces are worse there.
const BOND_ALONG_Z: f64 = 0.14;

/// The same of atoms farther apart, which matter less, 0.6°: derivatives of forces are wrong there.
const PAIR_ALONG_Z: f64 = 0.01;

/// Distance that tells bonds from other pairs, Å.
const BOND_ANGSTROM: f64 = 2.0;

/// Orientations to choose from, where one does not do.
const N_TRIED: u64 = 64;

/// A rotation away from orientations in which a pair of atoms lies along z; `None` where none does.
///
/// MD-ET describes directions by azimuth and polar angle. Along z the azimuth is not defined and jumps, and derivatives of forces
/// grow as the inverse sine of the angle to z: what is found there is of the axes chosen, and not of the molecule. Files often
/// have a bond along an axis. The rotation is the one, of a fixed set and the orientation as it is, whose nearest pair is farthest from z.
pub fn rotation_off_z(structure: &Structure) -> Option<Rotation> {
    let as_it_lies = distance_from_z(structure);
    if as_it_lies > 1.0 {
        return None;
    }
    let stream = RandomStream { seed: 0, purpose: Purpose::Analysis, replica: 0 };
    let tried = (0..N_TRIED).map(|k| Rotation::random(&mut stream.at_step(k)));
    let tried = tried.map(|rotation| (distance_from_z(&turned(structure, &rotation)), rotation));
    let (farthest, rotation) = tried.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (farthest > as_it_lies).then_some(rotation)
}

/// The smallest sine of the angle between z and a pair of atoms, over the one within which a pair of its distance lies along z;
/// infinite of a single atom.
fn distance_from_z(structure: &Structure) -> f64 {
    let positions = structure.positions();
    let pairs = (0..positions.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
    pairs.fold(f64::INFINITY, |nearest, (i, j)| {
        let [x, y, z]: [f64; 3] = std::array::from_fn(|axis| positions[j][axis] - positions[i][axis]);
        let distance = x.hypot(y).hypot(z);
        let along = if distance < BOND_ANGSTROM { BOND_ALONG_Z } else { PAIR_ALONG_Z };
        nearest.min(x.hypot(y) / distance / along)
    })
}

/// The mean of the forces of `inner` over `rotations`: the whole batch in all frames is one batch of `inner`.
#[derive(Debug, Clone)]
pub struct FrameAveraged<F> {
    /// The force field that is averaged.
    pub inner: F,
    /// The rotations, at least one: see [`RotationSet`](crate::RotationSet).
    pub rotations: Vec<Rotation>,
}

impl<F: ForceField> ForceField for FrameAveraged<F> {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        let n_frames = self.rotations.len();
        assert!(n_frames > 0, "an average over no rotations");
        let copies: Vec<Structure> =
            batch.iter().flat_map(|s| std::iter::repeat_n(s.clone(), n_frames)).collect();
        let rotations: Vec<Rotation> = batch.iter().flat_map(|_| self.rotations.iter().copied()).collect();
        let mut in_frames = vec![[0.0; 3]; n_frames * forces.len()];
        forces_in_frames(&mut self.inner, &copies, &rotations, &mut in_frames).map_err(
            |error| match error {
                ForceFieldError::NonFinite { structure, atom } => {
                    ForceFieldError::NonFinite { structure: structure / n_frames, atom }
                }
                other => other,
            },
        )?;
        let mut rest = in_frames.as_slice();
        for (_, forces) in by_structure(batch, forces) {
            let (own, others) = rest.split_at(n_frames * forces.len());
            rest = others;
            for (i, force) in forces.iter_mut().enumerate() {
                let frames = own.iter().skip(i).step_by(own.len() / n_frames);
                let sum = frames.fold([0.0; 3], |sum, f| [sum[0] + f[0], sum[1] + f[1], sum[2] + f[2]]);
                *force = sum.map(|component| component / n_frames as f64);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::potentials::{Harmonic, LennardJones};
    use crate::{Purpose, RandomStream, RotationSet};

    #[test]
    fn a_pair_along_z_is_turned_off_it_and_nothing_else_is() {
        assert_eq!(rotation_off_z(&cluster(0.0)), None);
        let rod = Structure::new(vec![6, 8, 8], vec![[0.0; 3], [0.0, 0.0, 1.2], [0.0, 0.0, -1.2]], 0, 1);
        let rod = rod.unwrap();
        let rotation = rotation_off_z(&rod).unwrap();
        let across = turned(&rod, &rotation);
        // Of 64 orientations one is within 16° of the equator, if not all of them are in the other 73 % of space: 10⁻⁹.
        assert!(distance_from_z(&across) > 0.96 / BOND_ALONG_Z);
        // A rounding of numbers of the order of one.
        assert_near(turned(&across, &rotation.inverse()).positions(), rod.positions(), 1e-15);
        let single = Structure::new(vec![2], vec![[0.0; 3]], 0, 1).unwrap();
        assert_eq!(rotation_off_z(&single), None);
        let tilted = |degrees: f64| {
            let (sine, cosine) = degrees.to_radians().sin_cos();
            let far = [2.5 * sine, 0.0, 2.5 * cosine];
            let near = [0.0, 1.2 * sine, -1.2 * cosine];
            let pair = |r: [f64; 3]| Structure::new(vec![8; 2], vec![[0.0; 3], r], 0, 1).unwrap();
            [pair(near), pair(far)].map(|structure| rotation_off_z(&structure).is_some())
        };
        assert_eq!([0.3, 7.0, 9.0].map(tilted), [[true, true], [true, false], [false, false]]);
    }

    fn cluster(shift: f64) -> Structure {
        let positions = vec![[shift, 0.0, 0.1], [3.6 + shift, 0.3, 0.0], [0.2 + shift, 3.9, -0.4]];
        Structure::new(vec![18; 3], positions, 0, 1).unwrap()
    }

    fn forces_of(force_field: &mut impl ForceField, batch: &[Structure]) -> Vec<[f64; 3]> {
        let mut forces = vec![[0.0; 3]; batch.iter().map(Structure::n_atoms).sum()];
        force_field.forces(batch, &mut forces).unwrap();
        forces
    }

    #[track_caller]
    fn assert_near(found: &[[f64; 3]], expected: &[[f64; 3]], tolerance: f64) {
        for (found, expected) in found.as_flattened().iter().zip(expected.as_flattened()) {
            assert!((found - expected).abs() < tolerance, "found {found}, expected {expected}");
        }
    }

    #[test]
    fn frames_change_nothing_of_a_potential_that_turns_with_the_molecule() {
        let mut potential = LennardJones { depth_ev: 0.01, sigma_angstrom: 3.4 };
        let batch = [cluster(0.0), cluster(1e4)];
        let expected = forces_of(&mut potential, &batch);
        let mut generator = RandomStream { seed: 1, purpose: Purpose::RotationOffset, replica: 0 }.at_step(0);
        let rotations = [Rotation::random(&mut generator), Rotation::random(&mut generator)];
        let mut found = vec![[0.0; 3]; 6];
        forces_in_frames(&mut potential, &batch, &rotations, &mut found).unwrap();
        // Forces of 1e-2 eV/Å; 10⁴ Å from the origin positions are rounded to 2e-12 Å, at 0.1 eV/Å² stiffness.
        assert_near(&found, &expected, 1e-12);
        for count in [4, 12, 60, 7] {
            let rotations = RotationSet::of_size(count, 2).rotations();
            let found = forces_of(&mut FrameAveraged { inner: potential.clone(), rotations }, &batch);
            assert_near(&found, &expected, 1e-12);
        }
    }

    /// The same force on every atom, whatever the orientation: a vector of order l = 1.
    struct Pull([f64; 3]);

    impl ForceField for Pull {
        fn forces(&mut self, _: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
            forces.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn the_average_removes_what_does_not_turn_and_a_single_frame_turns_it_back() {
        let batch = [cluster(0.0), cluster(2.0)];
        let mut averaged =
            FrameAveraged { inner: Pull([0.3, 0.1, 0.0]), rotations: RotationSet::Klein.rotations() };
        assert_near(&forces_of(&mut averaged, &batch), &[[0.0; 3]; 6], 1e-16);
        // A quarter turn about z, back: (0.3, 0.1) becomes (0.1, −0.3).
        let turn = Rotation::from_quaternion([1.0, 0.0, 0.0, 1.0]);
        averaged.rotations = vec![turn];
        assert_near(&forces_of(&mut averaged, &batch), &[[0.1, -0.3, 0.0]; 6], 1e-15);
    }

    #[test]
    fn every_structure_of_a_batch_has_its_own_average() {
        let inner = LennardJones { depth_ev: 0.01, sigma_angstrom: 3.4 };
        let mut averaged = FrameAveraged { inner, rotations: RotationSet::of_size(5, 1).rotations() };
        let pair = Structure::new(vec![18; 2], vec![[0.0; 3], [3.5, 0.0, 0.0]], 0, 1).unwrap();
        let batch = [pair, cluster(0.0)];
        let together = forces_of(&mut averaged, &batch);
        assert_eq!(together, batch.map(|structure| forces_of(&mut averaged, &[structure])).concat());
    }

    #[test]
    fn a_force_that_is_not_finite_is_reported_at_its_structure_of_the_batch() {
        let mut wells = vec![[0.0; 3]; 3];
        wells[1][2] = f64::NAN;
        let inner = Harmonic { stiffness_ev_per_angstrom2: 1.0, wells };
        let mut averaged = FrameAveraged { inner, rotations: RotationSet::Tetrahedral.rotations() };
        let error = averaged.forces(&[cluster(0.0)], &mut [[0.0; 3]; 3]).unwrap_err();
        assert!(matches!(error, ForceFieldError::NonFinite { structure: 0, atom: 1 }), "{error}");
    }
}
