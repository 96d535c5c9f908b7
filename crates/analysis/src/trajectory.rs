//! What a trajectory of one molecule amounts to: spectrum, distributions, RMSD, temperature and energies, each with
//! its error from blocks, and how two trajectories differ.
//!
//! | quantity | definition |
//! |---|---|
//! | vibrational density of states | [`spectra`](crate::spectra), lag at most half a block, ∫ S dν = 1 |
//! | pair distances | all pairs, and the pairs of each two elements; bins of 0.05 Å, ∫ h dr = 1 |
//! | dihedral | [`torsions`](crate::torsions); bins of 5°, ∫ p dφ = 1 |
//! | RMSD, temperature, energies | [`motion`](crate::motion), means of blocks |
//!
//! Deliberately absent: files, and the removal of an equilibration; the caller knows what to leave out.

use crate::blocks::{Blocks, Curve, Difference};
use crate::motion::{Look, Motion, Scalar};
use crate::spectra::density_of_states;
use crate::statistics::Spread;
use crate::torsions::{dihedral_degrees, torsion_name};
use mdet_core::elements::symbol;
use mdet_core::structure::distance;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const DISTANCE_BIN: f64 = 0.05;
const MAX_DISTANCE: f64 = 15.0;
const ANGLE_BIN: f64 = 5.0;
/// Points kept of a series, for the plot.
const N_POINTS: usize = 400;

/// The blocks of every quantity, by name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observed {
    /// S(ν), per cm⁻¹; `None` without velocities or with too few frames.
    pub spectrum: Option<Blocks>,
    /// Densities, per Å: "all pairs", "C–H", ….
    pub distances: Vec<(String, Blocks)>,
    /// Densities, per degree.
    pub dihedrals: Vec<(String, Blocks)>,
    /// Means: "temperature", "temperature of C", "mode temperature, up to 500 cm⁻¹", "RMSD", "kinetic energy", ….
    pub scalars: Vec<(Scalar, Blocks)>,
}

/// A named curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Named<T> {
    /// What it is of.
    pub name: String,
    /// It.
    pub value: T,
}

/// A quantity over time, thinned out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// What it is.
    pub scalar: Scalar,
    /// Mean over blocks with the standard deviation of one.
    pub blocks: Spread,
    /// Times, ps.
    pub time_ps: Vec<f64>,
    /// Values, each the mean over the frames it stands for.
    pub values: Vec<f64>,
}

/// What is found of one trajectory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trajectory {
    /// Where it comes from.
    pub name: String,
    /// Frames.
    pub n_frames: usize,
    /// Time between frames, fs.
    pub spacing_fs: f64,
    /// Blocks.
    pub n_blocks: usize,
    /// Full width at half maximum of a sharp line, cm⁻¹.
    pub resolution_per_cm: Option<f64>,
    /// S(ν) over ν in cm⁻¹.
    pub spectrum_per_cm: Option<Curve>,
    /// Pair distances over Å.
    pub distances_angstrom: Vec<Named<Curve>>,
    /// Dihedrals over degrees.
    pub dihedrals_degrees: Vec<Named<Curve>>,
    /// Temperature, RMSD, energies.
    pub series: Vec<Series>,
}

/// What `mdet traj` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trajectories {
    /// The molecule.
    pub molecule: String,
    /// Atoms.
    pub n_atoms: usize,
    /// One or two.
    pub trajectories: Vec<Trajectory>,
    /// How the two differ; empty for one.
    pub differences: Vec<Named<Difference>>,
}

impl Observed {
    /// What is found of a motion, block by block.
    ///
    /// # Panics
    /// When there are fewer frames than blocks.
    pub fn of(motion: &Motion, look: &Look) -> Self {
        let block = motion.positions.len() / look.n_blocks;
        assert!(block > 0, "{} frames for {} blocks", motion.positions.len(), look.n_blocks);
        // What is left of the frames when the blocks are full is left out.
        let n_frames = block * look.n_blocks;
        let masses_u = motion.masses_u();
        let spectrum = motion.spectrum_setting(look).map(|setting| {
            let of = |frames: &[Vec<[f64; 3]>]| density_of_states(frames, &masses_u, setting);
            let blocks = motion.velocities[..n_frames].chunks_exact(block);
            let (first, width) = (0.0, setting.spacing_per_cm());
            Blocks { first, width, curves: blocks.map(of).collect() }
        });
        let distances = pair_kinds(&motion.numbers).into_iter().map(|(name, pairs)| {
            let values = |frame: &[[f64; 3]]| {
                pairs.iter().map(|&[i, j]| distance(&frame[i], &frame[j])).collect::<Vec<_>>()
            };
            (name, densities(&motion.positions[..n_frames], block, [0.0, MAX_DISTANCE], DISTANCE_BIN, values))
        });
        let dihedrals = look.torsions.iter().map(|&torsion| {
            let values =
                |frame: &[[f64; 3]]| dihedral_degrees(frame, torsion).into_iter().collect::<Vec<_>>();
            let name = torsion_name(&motion.numbers, torsion);
            (name, densities(&motion.positions[..n_frames], block, [-180.0, 180.0], ANGLE_BIN, values))
        });
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let scalars = motion.scalars(look).into_iter().map(|(scalar, values)| {
            (scalar, Blocks::scalars(values[..n_frames].chunks_exact(block).map(mean).collect()))
        });
        Self {
            spectrum,
            distances: distances.collect(),
            dihedrals: dihedrals.collect(),
            scalars: scalars.collect(),
        }
    }

    /// Adds the blocks of another trajectory of the same molecule under the same look.
    ///
    /// # Panics
    /// When its quantities are others.
    pub fn extend(&mut self, other: Self) {
        if let (Some(own), Some(other)) = (&mut self.spectrum, other.spectrum) {
            own.extend(other);
        }
        let add = |own: &mut Vec<(String, Blocks)>, other: Vec<(String, Blocks)>| {
            own.iter_mut().zip(other).for_each(|(own, other)| own.1.extend(other.1));
        };
        add(&mut self.distances, other.distances);
        add(&mut self.dihedrals, other.dihedrals);
        self.scalars.iter_mut().zip(other.scalars).for_each(|(own, other)| own.1.extend(other.1));
    }

    /// How every quantity that both have differs.
    ///
    /// # Panics
    /// When the two were not looked at alike.
    pub fn differences(&self, other: &Self, seed: u64) -> Vec<Named<Difference>> {
        let named = |(name, a, b): (String, &Blocks, &Blocks)| Named { name, value: a.difference(b, seed) };
        self.in_common(other).map(named).collect()
    }

    /// The quantities that both have, by name.
    pub(crate) fn in_common<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (String, &'a Blocks, &'a Blocks)> {
        let others = other.quantities();
        self.quantities().into_iter().filter_map(move |(name, a)| {
            let (_, b) = others.iter().find(|(other, _)| *other == name)?;
            Some((name, a, *b))
        })
    }

    fn quantities(&self) -> Vec<(String, &Blocks)> {
        let spectrum = self.spectrum.iter().map(|blocks| ("spectrum".to_string(), blocks));
        let distances = self.distances.iter().map(|(name, blocks)| (format!("distances, {name}"), blocks));
        let dihedrals = self.dihedrals.iter().map(|(name, blocks)| (format!("dihedral {name}"), blocks));
        let scalars = self.scalars.iter().map(|(s, blocks)| (format!("{}, {}", s.name, s.unit), blocks));
        spectrum.chain(distances).chain(dihedrals).chain(scalars).collect()
    }
}

impl Trajectory {
    /// Summarises a motion and what was observed of it.
    pub fn of(name: &str, motion: &Motion, look: &Look, observed: &Observed) -> Self {
        let curves = |named: &[(String, Blocks)]| {
            named.iter().map(|(name, blocks)| Named { name: name.clone(), value: blocks.curve() }).collect()
        };
        let stride = motion.positions.len().div_ceil(N_POINTS);
        let series =
            motion.scalars(look).into_iter().zip(&observed.scalars).map(|((scalar, values), (_, blocks))| {
                let thinned = values.chunks(stride).map(|c| c.iter().sum::<f64>() / c.len() as f64).collect();
                let middle = |k: usize| (k as f64 + 0.5) * stride as f64 * motion.spacing_fs * 1e-3;
                let time_ps = (0..values.len().div_ceil(stride)).map(middle).collect();
                Series { scalar, blocks: blocks.scalar(), time_ps, values: thinned }
            });
        Self {
            name: name.to_string(),
            n_frames: motion.positions.len(),
            spacing_fs: motion.spacing_fs,
            n_blocks: look.n_blocks,
            resolution_per_cm: motion.spectrum_setting(look).map(|setting| setting.resolution_per_cm()),
            spectrum_per_cm: observed.spectrum.as_ref().map(Blocks::curve),
            distances_angstrom: curves(&observed.distances),
            dihedrals_degrees: curves(&observed.dihedrals),
            series: series.collect(),
        }
    }
}

/// Density of the values of frames in bins from low to high, one curve per `block` frames; ∫ = 1 of what lies within.
fn densities(
    frames: &[Vec<[f64; 3]>],
    block: usize,
    [low, high]: [f64; 2],
    width: f64,
    values: impl Fn(&[[f64; 3]]) -> Vec<f64>,
) -> Blocks {
    let curve = |frames: &[Vec<[f64; 3]>]| {
        let mut counts = vec![0.0; ((high - low) / width).round() as usize];
        for value in frames.iter().flat_map(|frame| values(frame)) {
            let bin = (value - low) / width;
            if bin >= 0.0 && bin < counts.len() as f64 {
                counts[bin as usize] += 1.0;
            }
        }
        let all = (counts.iter().sum::<f64>() * width).max(f64::MIN_POSITIVE);
        counts.iter().map(|count| count / all).collect()
    };
    Blocks { first: low + 0.5 * width, width, curves: frames.chunks_exact(block).map(curve).collect() }
}

/// All pairs, then the pairs of each two elements, if there are two.
fn pair_kinds(numbers: &[u8]) -> Vec<(String, Vec<[usize; 2]>)> {
    let all: Vec<[usize; 2]> = (0..numbers.len()).flat_map(|j| (0..j).map(move |i| [i, j])).collect();
    let kind = |&[i, j]: &[usize; 2]| (numbers[i].max(numbers[j]), numbers[i].min(numbers[j]));
    let mut kinds: Vec<(u8, u8)> = all.iter().map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut found = vec![("all pairs".to_string(), all.clone())];
    for wanted in kinds.iter().rev().copied().filter(|_| kinds.len() > 1) {
        let name = format!("{}–{}", symbol(wanted.0), symbol(wanted.1));
        found.push((name, all.iter().copied().filter(|pair| kind(pair) == wanted).collect()));
    }
    found
}
