//! How far forces turn with the molecule: f_R = Rᵀ F(R x) should not depend on R.
//!
//! Forces are computed at R_st = S_s R_t, with rotations S_s of a set (the 60 of the icosahedron) and T bases R_t,
//! uniform over all rotations (with reflections if asked for). With f̄ the mean over all of them, i over atoms:
//!
//! | number | definition |
//! |---|---|
//! | equivariance error | mean over s, t, i of \|f_sti − f̄_i\|, in f64, where rounding is nothing |
//! | under averaging over m | the same of the frame average 1/m Σ_{s<m} f_st, one for each base; over the whole set times √(T/(T − 1)) |
//! | rounding error | mean over s, t, i of \|f_sti − f_sti in f64\|, of f32 at the same rotations |
//! | magnitude | root of the mean over i of the variance over s, t of \|f_sti\| |
//! | angle | mean angle between f_sti and f̄_i, over atoms with \|f̄_i\| ≥ 0.1 eV/Å |
//!
//! The averages over the whole set are T independent ones with the mean f̄, which leaves (T − 1)/T of their variance: hence
//! the factor. The mean of two is as far from one as from the other, so that there is no standard error below three bases.
//!
//! **Share per angular momentum.** As a function on the rotations f is a sum of parts that turn as Wigner's D^l;
//! l = 0 is f̄. With the character χ_l(ω) = sin((2l+1)ω/2)/sin(ω/2) of the rotation by ω between two samples,
//!
//! ```text
//! ‖f_l‖² = (2l+1) ⟨χ_l(R R'⁻¹) f_R · f_R'⟩       over independent uniform R, R'
//! ```
//!
//! taken over pairs of different bases, so that noise (rounding) contributes to no l. A frame average over a group
//! removes exactly the l that `core::rotation_set` lists. A constant force of the laboratory is all in l = 1.
//!
//! **Bias map.** In the laboratory the error of an atom's force is e = R (f_R − f̄). The map is the mean of e's
//! component along the force, by the direction of the force R f̄ on the sphere; its share per l, of the square of that component,
//! is of pairs of different molecules, so that it is of what they have in common.

mod groups;

pub use groups::GroupEquivariance;

use crate::accuracy::{angle, norm};
use crate::harmonics::{DirectionMeans, common_percent};
use crate::sphere::{SphereMap, SphereSums, errors_along};
use crate::statistics::{Estimate, Spread};
use mdet_core::frames::forces_in_frames;
use mdet_core::{ForceField, ForceFieldError, Purpose, RandomStream, Rotation, RotationSet, Structure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Mean forces below this have no direction worth an angle or a place on the map, eV/Å.
const MIN_FORCE: f64 = 0.1;

/// Largest angular momentum whose share is told apart.
pub const MAX_L: usize = 8;

/// Base rotations below which shares are noise: they are sums over pairs of bases, weighted by 2l + 1 and more.
pub const MIN_BASES: usize = 6;

/// Numbers of rotations averaged over, as far as the set has them.
const AVERAGES: [usize; 8] = [1, 2, 4, 8, 12, 16, 30, 60];

/// The orientations of a judgement.
#[derive(Debug, Clone)]
pub struct Orientations {
    set: Vec<Rotation>,
    bases: Vec<Rotation>,
}

impl Orientations {
    /// Every rotation of `set` after each of `n_bases` uniform rotations, drawn from `seed`; with `reflections`, half
    /// of the bases are improper.
    ///
    /// # Panics
    /// When there are fewer than two bases, which show nothing.
    pub fn new(set: RotationSet, n_bases: usize, reflections: bool, seed: u64) -> Self {
        assert!(n_bases > 1, "{n_bases} bases");
        let mut generator = RandomStream { seed, purpose: Purpose::Analysis, replica: 0 }.at_step(0);
        let draw = |_| match reflections {
            true => Rotation::random_or_reflection(&mut generator),
            false => Rotation::random(&mut generator),
        };
        Self { set: set.rotations(), bases: (0..n_bases).map(draw).collect() }
    }

    /// Number of orientations.
    pub fn count(&self) -> usize {
        self.set.len() * self.bases.len()
    }

    /// S_s R_t, the set's rotations of a base together.
    fn all(&self) -> Vec<Rotation> {
        self.bases.iter().flat_map(|base| self.set.iter().map(|rotation| rotation.after(base))).collect()
    }
}

/// A structure to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a str,
    /// The class it is of (a series, a source); empty if none.
    pub class: &'a str,
    /// Whether it is like what the model was trained on; `None` if unknown.
    pub inside_domain: Option<bool>,
    /// The structure.
    pub structure: &'a Structure,
}

/// Error under averaging over a number of rotations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Averaged {
    /// Rotations averaged over.
    pub n_rotations: usize,
    /// Equivariance error, f64, over bases, meV/Å.
    pub error_mev_per_angstrom: Spread,
}

/// What f32 does beside f64.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinglePrecision {
    /// Spread of the f32 forces over orientations: equivariance and rounding together, over bases, meV/Å.
    pub error_mev_per_angstrom: Spread,
    /// Rounding error, over bases, meV/Å.
    pub rounding_mev_per_angstrom: Spread,
    /// Standard deviation of force magnitudes, meV/Å.
    pub magnitude_mev_per_angstrom: f64,
    /// Mean angle to the mean force in f32, degrees; `None` when all forces are small.
    pub angle_degrees: Option<f64>,
}

/// The equivariance of one structure's forces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StructureEquivariance {
    /// Its name.
    pub name: String,
    /// The class it is of.
    pub class: String,
    /// Number of atoms.
    pub n_atoms: usize,
    /// Whether it is like what the model was trained on.
    pub inside_domain: Option<bool>,
    /// Mean length of the mean forces, for scale, meV/Å.
    pub force_mev_per_angstrom: f64,
    /// Equivariance error in f64, over bases, meV/Å.
    pub error_mev_per_angstrom: Spread,
    /// f32 at the same orientations.
    pub single: Option<SinglePrecision>,
    /// Standard deviation of force magnitudes, meV/Å.
    pub magnitude_mev_per_angstrom: f64,
    /// Mean angle to the mean force, degrees; `None` when all forces are small.
    pub angle_degrees: Option<f64>,
    /// Error of frame averages, by their number of rotations.
    pub averaged: Vec<Averaged>,
    /// Shares of the squared error at l = 1, 2, …, 8; the rest is at higher l, or noise. An estimate: it
    /// may be slightly below zero.
    pub share_per_l: Vec<f64>,
}

/// What `mdet judge equivariance` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Equivariance {
    /// Rotations of the set.
    pub n_rotations: usize,
    /// Uniform base rotations.
    pub n_bases: usize,
    /// Per structure.
    pub structures: Vec<StructureEquivariance>,
    /// Distributions over structures: all, by domain, class and size, where there are several.
    pub groups: Vec<GroupEquivariance>,
    /// Mean error along the force, by the force's direction in the laboratory, over all structures but those
    /// outside of the model's domain, meV/Å.
    pub bias_map_mev_per_angstrom: SphereMap,
    /// Shares at l = 1, 2, …, 8 of the squared error along the force that are the same function of the force's
    /// direction for all molecules of these, by their names, percent; empty for fewer than three molecules.
    pub bias_percent_per_l: Vec<Estimate>,
}

/// A judgement that takes one structure after another.
#[derive(Debug, Clone)]
pub struct EquivarianceJudge {
    orientations: Orientations,
    structures: Vec<StructureEquivariance>,
    map: SphereSums,
    /// By the names of molecules, which may have several structures.
    directions: BTreeMap<String, DirectionMeans>,
}

impl EquivarianceJudge {
    /// A judgement at these orientations.
    pub fn new(orientations: Orientations) -> Self {
        let (structures, map, directions) = (Vec::new(), SphereSums::default(), BTreeMap::new());
        Self { orientations, structures, map, directions }
    }

    /// Judges one structure: `double` computes in f64, `single` in f32, if there is such a one.
    ///
    /// # Errors
    /// [`ForceFieldError`] of a force field; `NonFinite` then names the orientation as the structure.
    pub fn add(
        &mut self,
        subject: Subject<'_>,
        double: &mut dyn ForceField,
        single: Option<&mut dyn ForceField>,
    ) -> Result<&StructureEquivariance, ForceFieldError> {
        let rotations = self.orientations.all();
        let exact = Samples::compute(subject.structure, &rotations, double)?;
        let rounded = match single {
            Some(single) => Some(Samples::compute(subject.structure, &rotations, single)?),
            None => None,
        };
        let mean = exact.mean();
        let per_base = self.orientations.set.len();
        let n_bases = self.orientations.bases.len();
        let single = rounded.as_ref().and_then(|rounded| {
            let mean = rounded.mean();
            Some(SinglePrecision {
                error_mev_per_angstrom: rounded.averaged_error(&mean, per_base, n_bases, 1),
                rounding_mev_per_angstrom: rounded.deviation(per_base, |k| exact.of(k))?,
                magnitude_mev_per_angstrom: rounded.magnitude_deviation(),
                angle_degrees: rounded.mean_angle(&mean),
            })
        });
        if subject.inside_domain != Some(false) {
            let means = self.directions.entry(subject.name.to_string()).or_default();
            for (k, rotation) in rotations.iter().enumerate() {
                for (direction, error) in errors_along(rotation, exact.of(k), &mean, MIN_FORCE) {
                    self.map.add(&direction, error);
                    means.add(&direction, error);
                }
            }
        }
        let averages = AVERAGES.into_iter().filter(|&m| m <= per_base);
        self.structures.push(StructureEquivariance {
            name: subject.name.to_string(),
            class: subject.class.to_string(),
            n_atoms: subject.structure.n_atoms(),
            inside_domain: subject.inside_domain,
            force_mev_per_angstrom: 1e3 * mean.iter().map(norm).sum::<f64>() / mean.len() as f64,
            error_mev_per_angstrom: exact.averaged_error(&mean, per_base, n_bases, 1),
            single,
            magnitude_mev_per_angstrom: exact.magnitude_deviation(),
            angle_degrees: exact.mean_angle(&mean),
            averaged: averages
                .map(|n_rotations| Averaged {
                    n_rotations,
                    error_mev_per_angstrom: exact.averaged_error(&mean, per_base, n_bases, n_rotations),
                })
                .collect(),
            share_per_l: exact.share_per_l(&rotations, &mean, per_base),
        });
        Ok(self.structures.last().expect("one was pushed"))
    }

    /// The result over all structures.
    pub fn finish(self) -> Equivariance {
        Equivariance {
            n_rotations: self.orientations.set.len(),
            n_bases: self.orientations.bases.len(),
            groups: groups::groups(&self.structures),
            structures: self.structures,
            bias_map_mev_per_angstrom: self.map.finish(),
            bias_percent_per_l: common_percent(self.directions.values()),
        }
    }
}

/// Forces of one structure in many orientations, turned back: `[n_orientations][n_atoms]`, eV/Å.
struct Samples {
    n_atoms: usize,
    forces: Vec<[f64; 3]>,
}

/// Atoms in one call of the force field, so that hundreds of copies of a large molecule are not held at once.
const ATOMS_PER_CALL: usize = 4096;

impl Samples {
    fn compute(
        structure: &Structure,
        rotations: &[Rotation],
        force_field: &mut dyn ForceField,
    ) -> Result<Self, ForceFieldError> {
        let n_atoms = structure.n_atoms();
        let mut forces = vec![[0.0; 3]; n_atoms * rotations.len()];
        let per_call = (ATOMS_PER_CALL / n_atoms).max(1);
        for (rotations, forces) in rotations.chunks(per_call).zip(forces.chunks_mut(per_call * n_atoms)) {
            let copies = vec![structure.clone(); rotations.len()];
            forces_in_frames(force_field, &copies, rotations, forces)?;
        }
        Ok(Self { n_atoms, forces })
    }

    fn count(&self) -> usize {
        self.forces.len() / self.n_atoms
    }

    /// The forces in orientation k.
    fn of(&self, k: usize) -> &[[f64; 3]] {
        &self.forces[k * self.n_atoms..(k + 1) * self.n_atoms]
    }

    fn mean(&self) -> Vec<[f64; 3]> {
        self.mean_of(0..self.count())
    }

    fn mean_of(&self, range: std::ops::Range<usize>) -> Vec<[f64; 3]> {
        let n = range.len() as f64;
        let mut mean = vec![[0.0; 3]; self.n_atoms];
        for k in range {
            for (mean, force) in mean.iter_mut().zip(self.of(k)) {
                (0..3).for_each(|a| mean[a] += force[a] / n);
            }
        }
        mean
    }

    /// Mean |f − reference| in meV/Å of each base's orientations, spread over bases.
    fn deviation<'a>(&self, per_base: usize, reference: impl Fn(usize) -> &'a [[f64; 3]]) -> Option<Spread> {
        let errors: Vec<f64> = (0..self.count()).map(|k| mean_distance(self.of(k), reference(k))).collect();
        let by_base: Vec<f64> =
            errors.chunks(per_base).map(|base| base.iter().sum::<f64>() / per_base as f64).collect();
        Spread::of(&by_base)
    }

    fn averaged_error(&self, mean: &[[f64; 3]], per_base: usize, n_bases: usize, m: usize) -> Spread {
        if m == 1 && per_base > 1 {
            return self.deviation(per_base, |_| mean).expect("there are bases");
        }
        let base = |t: usize| mean_distance(&self.mean_of(t * per_base..t * per_base + m), mean);
        let mut errors: Vec<f64> = (0..n_bases).map(base).collect();
        if m == per_base {
            let own_share = (n_bases as f64 / (n_bases as f64 - 1.0)).sqrt();
            errors.iter_mut().for_each(|error| *error *= own_share);
            // Two are as far from their mean: one value.
            errors.truncate(if n_bases < 3 { 1 } else { n_bases });
        }
        Spread::of(&errors).expect("there are bases")
    }

    /// Root of the mean over atoms of the variance of |f|, meV/Å.
    fn magnitude_deviation(&self) -> f64 {
        let n = self.count() as f64;
        let variance = |i: usize| {
            let lengths = || (0..self.count()).map(|k| norm(&self.of(k)[i]));
            let mean = lengths().sum::<f64>() / n;
            lengths().map(|length| (length - mean).powi(2)).sum::<f64>() / (n - 1.0)
        };
        1e3 * ((0..self.n_atoms).map(variance).sum::<f64>() / self.n_atoms as f64).sqrt()
    }

    fn mean_angle(&self, mean: &[[f64; 3]]) -> Option<f64> {
        let atoms: Vec<usize> = (0..self.n_atoms).filter(|&i| norm(&mean[i]) >= MIN_FORCE).collect();
        let angles = (0..self.count()).flat_map(|k| atoms.iter().map(move |&i| (k, i)));
        let total: f64 = angles.map(|(k, i)| angle(&self.of(k)[i], &mean[i])).sum();
        (!atoms.is_empty()).then(|| (total / (self.count() * atoms.len()) as f64).to_degrees())
    }

    fn share_per_l(&self, rotations: &[Rotation], mean: &[[f64; 3]], per_base: usize) -> Vec<f64> {
        let deviation = |k: usize| -> Vec<f64> {
            let pairs = self.of(k).as_flattened().iter().zip(mean.as_flattened());
            pairs.map(|(force, mean)| force - mean).collect()
        };
        let deviations: Vec<Vec<f64>> = (0..self.count()).map(deviation).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let total = deviations.iter().map(|d| dot(d, d)).sum::<f64>() / self.count() as f64;
        let mut sums = [0.0; MAX_L];
        let mut n_pairs = 0.0_f64;
        for k in 0..self.count() {
            for other in (k / per_base + 1) * per_base..self.count() {
                // A rotation and a reflection are in different parts of O(3) = SO(3) × {1, −1}.
                if rotations[k].determinant() * rotations[other].determinant() < 0.0 {
                    continue;
                }
                let product = dot(&deviations[k], &deviations[other]);
                let characters = characters(&rotations[k], &rotations[other]);
                sums.iter_mut().zip(characters).for_each(|(sum, character)| *sum += character * product);
                n_pairs += 1.0;
            }
        }
        // Forces that turn exactly have no error to share.
        let scale = if total > 0.0 && n_pairs > 0.0 { 1.0 / (n_pairs * total) } else { 0.0 };
        sums.iter().enumerate().map(|(index, sum)| (2 * index + 3) as f64 * sum * scale).collect()
    }
}

/// χ_l of R R'⁻¹, both rotations or both reflections, for l = 1, …, by χ_l = χ_{l−1} + 2 cos lω.
fn characters(a: &Rotation, b: &Rotation) -> [f64; MAX_L] {
    let trace: f64 =
        a.matrix().as_flattened().iter().zip(b.matrix().as_flattened()).map(|(a, b)| a * b).sum();
    let cos = (0.5 * (trace - 1.0)).clamp(-1.0, 1.0);
    let (mut before, mut now, mut character) = (1.0, cos, 1.0);
    std::array::from_fn(|_| {
        character += 2.0 * now;
        (before, now) = (now, 2.0 * cos * now - before);
        character
    })
}

/// Mean |a_i − b_i|, meV/Å.
fn mean_distance(a: &[[f64; 3]], b: &[[f64; 3]]) -> f64 {
    let distances = a.iter().zip(b).map(|(a, b)| norm(&std::array::from_fn(|axis| a[axis] - b[axis])));
    1e3 * distances.sum::<f64>() / a.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdet_core::potentials::Morse;
    use mdet_core::{Disturbance, Disturbed};

    #[test]
    fn averages_over_the_whole_set_are_not_compared_with_themselves() {
        let structure = Structure::new(vec![1, 1], vec![[0.0; 3], [0.8, 0.0, 0.0]], 0, 1).unwrap();
        let inner =
            Morse { depth_ev: 2.0, width_per_angstrom: 1.5, length_angstrom: 1.2, bonds: vec![[0, 1]] };
        let mut biased = Disturbed::new(inner, Disturbance::Bias(vec![[0.0, 0.0, 0.013]; 2]));
        let mut error = |n_bases: usize, seed: u64| {
            let set = RotationSet::Random { count: 1, seed: 0 };
            let mut judge = EquivarianceJudge::new(Orientations::new(set, n_bases, false, seed));
            let subject = Subject { name: "H2", class: "", inside_domain: None, structure: &structure };
            judge.add(subject, &mut biased, None).unwrap().averaged[0].error_mev_per_angstrom
        };
        // Two uniform directions are 4/3 apart on average; twice their distance from the middle, times √2.
        let mean = (0..300).map(|seed| error(2, seed).mean).sum::<f64>() / 300.0;
        let expected = 13.0 * (4.0 / 3.0) / 2f64.sqrt();
        // The distance has a standard deviation of √2/3: 4.3 meV/Å, of the mean 0.25; without the factor it is 8.7.
        assert!((mean - expected).abs() < 1.0, "{mean}, expected {expected}");
        assert!(error(2, 0).standard_error().is_infinite() && error(3, 0).standard_error().is_finite());
    }
}
