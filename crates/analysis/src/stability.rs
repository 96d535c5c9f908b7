//! Stability of dynamics and the distribution of pair distances, as the MD17-10k tables of the literature report them
//! (Fu et al., Forces are not enough, TMLR 2023).
//!
//! A run is unstable at the first sample where a bond of the reference's first frame departs by more than 0.5 Å from
//! its mean length over the reference. h(r) is the distribution of the distances of all pairs over frames, 500 bins
//! on 0 to 10 Å with ∫ h dr = 1; its error is ∫ |h − h_ref| dr, between 0 and 2.

use crate::statistics::Spread;
use mdet_core::structure::distance;
use mdet_core::{Structure, bonds};
use serde::{Deserialize, Serialize};

/// Departure of a bond that is unstable, Å.
const MAX_DEPARTURE: f64 = 0.5;
const N_BINS: usize = 500;
const MAX_DISTANCE: f64 = 10.0;

/// What the reference frames say about a molecule.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Bonds of the first frame with their mean lengths, Å.
    bonds: Vec<([usize; 2], f64)>,
    /// h(r) of all frames.
    distances: PairDistances,
}

/// A growing count of pair distances.
#[derive(Debug, Clone, PartialEq)]
pub struct PairDistances {
    counts: Vec<u64>,
}

/// Why frames are no reference.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReferenceError {
    /// Too few frames for means and a distribution.
    #[error("expected at least 10 reference frames, found {found}")]
    TooFew {
        /// Frames found.
        found: usize,
    },
    /// A frame is of another molecule than the first.
    #[error("reference frame {frame}: expected the atoms of the first frame in its order")]
    OtherMolecule {
        /// Index of the frame, from 0.
        frame: usize,
    },
    /// Nothing can break.
    #[error("the first reference frame has no bonds")]
    NoBonds,
}

/// One replica's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaStability {
    /// Simulated time until the first unstable sample, or the whole run, ps.
    pub stable_ps: f64,
    /// Whether it became unstable.
    pub unstable: bool,
    /// ∫ |h − h_ref| dr of the frames before.
    pub distance_error: f64,
}

/// What `mdet judge stability` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stability {
    /// The molecule.
    pub molecule: String,
    /// Atoms.
    pub n_atoms: usize,
    /// Thermostat: name and parameters.
    pub thermostat: String,
    /// Temperature, K.
    pub temperature_k: f64,
    /// Timestep, fs.
    pub timestep_fs: f64,
    /// Planned time of a run, ps.
    pub planned_ps: f64,
    /// Reference frames.
    pub n_reference: usize,
    /// Time until unstable, over replicas, ps; a lower bound where some stayed stable.
    pub stable_ps: Spread,
    /// ∫ |h − h_ref| dr, over replicas.
    pub distance_error: Spread,
    /// Replicas that became unstable.
    pub n_unstable: usize,
    /// Steps of one replica per second of wall time, all replicas counted.
    pub frames_per_second: f64,
    /// Each replica.
    pub replicas: Vec<ReplicaStability>,
    /// Width of a bin of h(r), Å.
    pub bin_angstrom: f64,
    /// h(r) of the runs, 1/Å.
    pub distances_per_angstrom: Vec<f64>,
    /// h(r) of the reference, 1/Å.
    pub reference_per_angstrom: Vec<f64>,
}

impl Reference {
    /// The reference that these frames of one molecule are.
    ///
    /// # Errors
    /// [`ReferenceError`] says why they are none.
    pub fn of(frames: &[Structure]) -> Result<Self, ReferenceError> {
        if frames.len() < 10 {
            return Err(ReferenceError::TooFew { found: frames.len() });
        }
        if let Some(frame) = frames.iter().position(|frame| frame.numbers() != frames[0].numbers()) {
            return Err(ReferenceError::OtherMolecule { frame });
        }
        let pairs = bonds(frames[0].numbers(), frames[0].positions());
        if pairs.is_empty() {
            return Err(ReferenceError::NoBonds);
        }
        let mean = |[i, j]: [usize; 2]| {
            let lengths = frames.iter().map(|f| distance(&f.positions()[i], &f.positions()[j]));
            lengths.sum::<f64>() / frames.len() as f64
        };
        let mut distances = PairDistances::default();
        frames.iter().for_each(|frame| distances.add(frame.positions()));
        Ok(Self { bonds: pairs.into_iter().map(|pair| (pair, mean(pair))).collect(), distances })
    }

    /// Whether a frame (positions in Å) has no bond that departs too far; a distance that is no number does.
    pub fn is_stable(&self, positions: &[[f64; 3]]) -> bool {
        self.bonds
            .iter()
            .all(|&([i, j], length)| (distance(&positions[i], &positions[j]) - length).abs() <= MAX_DEPARTURE)
    }

    /// h(r) of the reference.
    pub fn distances(&self) -> &PairDistances {
        &self.distances
    }
}

impl Default for PairDistances {
    fn default() -> Self {
        Self { counts: vec![0; N_BINS] }
    }
}

impl PairDistances {
    /// Width of a bin, Å.
    pub const BIN_ANGSTROM: f64 = MAX_DISTANCE / N_BINS as f64;

    /// Adds all pairs of a frame, positions in Å; those beyond 10 Å are not counted.
    pub fn add(&mut self, positions: &[[f64; 3]]) {
        for j in 0..positions.len() {
            for i in 0..j {
                let bin = distance(&positions[i], &positions[j]) / Self::BIN_ANGSTROM;
                if bin < N_BINS as f64 {
                    self.counts[bin as usize] += 1;
                }
            }
        }
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
    }

    /// h(r) in 1/Å, with ∫ h dr = 1; zeros when nothing was counted.
    pub fn density(&self) -> Vec<f64> {
        let total = self.counts.iter().sum::<u64>().max(1) as f64 * Self::BIN_ANGSTROM;
        self.counts.iter().map(|&count| count as f64 / total).collect()
    }

    /// ∫ |h − h'| dr.
    pub fn difference(&self, other: &Self) -> f64 {
        let pairs = self.density().into_iter().zip(other.density());
        pairs.map(|(a, b)| (a - b).abs()).sum::<f64>() * Self::BIN_ANGSTROM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oxygen(length: f64) -> Structure {
        Structure::new(vec![8, 8], vec![[0.0; 3], [0.0, 0.0, length]], 0, 3).unwrap()
    }

    #[test]
    fn a_bond_is_unstable_half_an_angstrom_from_its_mean() {
        let frames: Vec<Structure> = (0..10).map(|k| oxygen(1.2 + 0.01 * f64::from(k % 2))).collect();
        let reference = Reference::of(&frames).unwrap();
        for (length, stable) in
            [(1.704, true), (1.706, false), (0.706, true), (0.704, false), (f64::NAN, false)]
        {
            assert_eq!(reference.is_stable(&[[0.0; 3], [0.0, 0.0, length]]), stable, "{length}");
        }
    }

    #[test]
    fn distances_are_a_density_and_differ_by_two_when_they_do_not_overlap() {
        let (mut near, mut far, mut beyond) =
            (PairDistances::default(), PairDistances::default(), PairDistances::default());
        near.add(&[[0.0; 3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
        far.add(&[[0.0; 3], [5.0, 0.0, 0.0]]);
        beyond.add(&[[0.0; 3], [11.0, 0.0, 0.0]]);
        let total: f64 = near.density().iter().sum::<f64>() * PairDistances::BIN_ANGSTROM;
        assert!((total - 1.0).abs() < 1e-12);
        assert!((near.difference(&far) - 2.0).abs() < 1e-12);
        assert_eq!(near.difference(&near), 0.0);
        assert!(beyond.density().iter().all(|&h| h == 0.0));
    }

    #[test]
    fn frames_that_are_no_reference_are_refused() {
        assert_eq!(Reference::of(&[oxygen(1.2)]), Err(ReferenceError::TooFew { found: 1 }));
        let mut frames = vec![oxygen(1.2); 10];
        frames[7] = Structure::new(vec![8, 6], vec![[0.0; 3], [0.0, 0.0, 1.1]], 0, 1).unwrap();
        assert_eq!(Reference::of(&frames), Err(ReferenceError::OtherMolecule { frame: 7 }));
        assert_eq!(Reference::of(&vec![oxygen(3.0); 10]), Err(ReferenceError::NoBonds));
    }
}
