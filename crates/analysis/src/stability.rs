//! Stability of dynamics and the distribution of pair distances, as the MD17-10k tables of the literature report them
//! (Fu et al., Forces are not enough, TMLR 2023).
//!
//! A run is unstable at the first sample where a bond of the reference's first frame departs by more than 0.5 Å from
//! its mean length over the reference. h(r) is the distribution of the distances of all pairs over frames, 500 bins
//! on 0 to 10 Å with ∫ h dr = 1; its error is ∫ |h − h_ref| dr, between 0 and 2.

use crate::statistics::Spread;
use mdet_core::structure::distance;
use mdet_core::{Structure, bonds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Departure of a bond that is unstable, Å.
const MAX_DEPARTURE: f64 = 0.5;
const N_BINS: usize = 500;
const MAX_DISTANCE: f64 = 10.0;

/// Bonds with the lengths that samples are held against, Å.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchedBonds(Vec<([usize; 2], f64)>);

/// What the reference frames say about a molecule.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Bonds of the first frame with their mean lengths.
    bonds: WatchedBonds,
    /// h(r) of all frames.
    distances: PairDistances,
    /// ∫ |h − h'| dr between the even and the odd frames.
    noise: f64,
    n_atoms: usize,
    n_frames: usize,
}

/// A growing count of pair distances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    #[error("reference frame {frame}: expected the elements of frame 0 in its order")]
    OtherMolecule {
        /// Index of the frame, from 0.
        frame: usize,
    },
    /// Nothing can break.
    #[error("the first reference frame has no bonds")]
    NoBonds,
}

/// One replica under watch: what its samples were until it became unstable or ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    distances: PairDistances,
    temperature_sum_k: f64,
    n_samples: u64,
    time_ps: f64,
    unstable: Option<Instability>,
}

/// What ended a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Instability {
    /// A bond departed too far from its mean.
    Bond,
    /// A force was not finite, between two samples.
    NonFiniteForce,
}

/// One replica's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicaStability {
    /// Simulated time until the first unstable sample, or as far as it was run, ps.
    pub stable_ps: f64,
    /// What ended it; `None` if it stayed stable.
    pub unstable: Option<Instability>,
    /// ∫ |h − h_ref| dr of the frames before.
    pub distance_error: f64,
    /// Mean temperature of the frames before, K.
    pub temperature_k: f64,
}

/// What `mdet judge stability` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stability {
    /// The molecule.
    pub molecule: String,
    /// Atoms.
    pub n_atoms: usize,
    /// Whether the molecule is like what the model was trained on; `None` where the model does not say.
    pub inside_domain: Option<bool>,
    /// Forces and thermostat: "f32, Nosé–Hoover chain, τ = 10 fs".
    pub dynamics: String,
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
    /// ∫ |h − h'| dr between the even and the odd reference frames: a perfect model's error has this size.
    pub reference_noise: f64,
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

/// The part of a [`Stability`] that the runs do not find.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// As in [`Stability`].
    pub molecule: String,
    /// As in [`Stability`].
    pub inside_domain: Option<bool>,
    /// As in [`Stability`].
    pub dynamics: String,
    /// As in [`Stability`].
    pub temperature_k: f64,
    /// As in [`Stability`].
    pub timestep_fs: f64,
    /// As in [`Stability`].
    pub planned_ps: f64,
}

impl Watched {
    /// Takes a sample: its time in ps, positions in Å and temperature in K. False, and the last one, if it is unstable.
    pub fn sample(
        &mut self,
        reference: &Reference,
        time_ps: f64,
        positions: &[[f64; 3]],
        temperature_k: f64,
    ) -> bool {
        self.time_ps = time_ps;
        if !reference.is_stable(positions) {
            self.unstable = Some(Instability::Bond);
            return false;
        }
        self.distances.add(positions);
        self.temperature_sum_k += temperature_k;
        self.n_samples += 1;
        true
    }

    /// A force was not finite at this time, ps.
    pub fn fail(&mut self, time_ps: f64) {
        (self.time_ps, self.unstable) = (time_ps, Some(Instability::NonFiniteForce));
    }

    /// Whether it is still worth a step.
    pub fn is_stable(&self) -> bool {
        self.unstable.is_none()
    }

    /// Time of the last sample, ps; `None` before the first.
    pub fn last_sample_ps(&self) -> Option<f64> {
        (self.n_samples > 0 || self.unstable.is_some()).then_some(self.time_ps)
    }

    fn end(&self, reference: &Reference) -> ReplicaStability {
        ReplicaStability {
            stable_ps: self.time_ps,
            unstable: self.unstable,
            distance_error: self.distances.difference(&reference.distances),
            temperature_k: self.temperature_sum_k / self.n_samples.max(1) as f64,
        }
    }
}

impl Stability {
    /// Summarises the replicas, as far as they are.
    ///
    /// # Panics
    /// When there are none.
    pub fn of(reference: &Reference, setting: Setting, watched: &[Watched], frames_per_second: f64) -> Self {
        let replicas: Vec<ReplicaStability> = watched.iter().map(|w| w.end(reference)).collect();
        let spread = |value: fn(&ReplicaStability) -> f64| {
            Spread::of(&replicas.iter().map(value).collect::<Vec<_>>()).expect("at least one replica")
        };
        let mut distances = PairDistances::default();
        watched.iter().for_each(|w| distances.merge(&w.distances));
        let Setting { molecule, inside_domain, dynamics, temperature_k, timestep_fs, planned_ps } = setting;
        Self {
            molecule,
            n_atoms: reference.n_atoms,
            inside_domain,
            dynamics,
            temperature_k,
            timestep_fs,
            planned_ps,
            n_reference: reference.n_frames,
            stable_ps: spread(|r| r.stable_ps),
            distance_error: spread(|r| r.distance_error),
            reference_noise: reference.noise,
            n_unstable: replicas.iter().filter(|r| r.unstable.is_some()).count(),
            frames_per_second,
            replicas,
            bin_angstrom: PairDistances::BIN_ANGSTROM,
            distances_per_angstrom: distances.density(),
            reference_per_angstrom: reference.distances.density(),
        }
    }
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
        let [mut distances, mut odd] = [PairDistances::default(), PairDistances::default()];
        for (index, frame) in frames.iter().enumerate() {
            let half = if index % 2 == 0 { &mut distances } else { &mut odd };
            half.add(frame.positions());
        }
        let noise = distances.difference(&odd);
        distances.merge(&odd);
        let bonds = WatchedBonds(pairs.into_iter().map(|pair| (pair, mean(pair))).collect());
        Ok(Self { bonds, distances, noise, n_atoms: frames[0].n_atoms(), n_frames: frames.len() })
    }

    /// Bonds that are watched.
    pub fn n_bonds(&self) -> usize {
        self.bonds.0.len()
    }

    /// Whether a frame (positions in Å) has no bond that departs too far; a distance that is no number does.
    pub fn is_stable(&self, positions: &[[f64; 3]]) -> bool {
        self.bonds.hold(positions)
    }
}

impl WatchedBonds {
    /// Those of a structure, with its own lengths.
    pub fn of(structure: &Structure) -> Self {
        let (numbers, positions) = (structure.numbers(), structure.positions());
        let length = |[i, j]: [usize; 2]| distance(&positions[i], &positions[j]);
        Self(bonds(numbers, positions).into_iter().map(|pair| (pair, length(pair))).collect())
    }

    /// Whether none departs by more than 0.5 Å at these positions (Å); a distance that is no number does.
    pub fn hold(&self, positions: &[[f64; 3]]) -> bool {
        let departure =
            |&([i, j], length): &([usize; 2], f64)| distance(&positions[i], &positions[j]) - length;
        self.0.iter().all(|bond| departure(bond).abs() <= MAX_DEPARTURE)
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
    fn a_replica_counts_the_frames_before_it_became_unstable() {
        let frames: Vec<Structure> = (0..10).map(|k| oxygen(1.205 + 0.02 * f64::from(k % 2))).collect();
        let reference = Reference::of(&frames).unwrap();
        let at = |length: f64| [[0.0; 3], [0.0, 0.0, length]];
        let [mut whole, mut broken, mut failed] = [0; 3].map(|_| Watched::default());
        for (k, length) in [1.205, 1.225, 1.205, 1.225].into_iter().enumerate() {
            let time_ps = 0.05 * k as f64;
            assert!(whole.sample(&reference, time_ps, &at(length), 500.0));
            assert!(broken.sample(&reference, time_ps, &at(1.205), 400.0));
        }
        assert!(!broken.sample(&reference, 0.2, &at(1.8), 9000.0));
        failed.fail(0.01);
        assert!(whole.is_stable() && !broken.is_stable() && !failed.is_stable());
        let setting = Setting {
            molecule: "O2".into(),
            inside_domain: None,
            dynamics: "f64".into(),
            temperature_k: 500.0,
            timestep_fs: 0.5,
            planned_ps: 0.15,
        };
        let found = Stability::of(&reference, setting, &[whole, broken, failed], 1.0);
        assert_eq!((found.n_unstable, found.n_reference, found.n_atoms), (2, 10, 2));
        // Even frames in one bin, odd ones in the next.
        assert!((found.reference_noise - 2.0).abs() < 1e-12);
        let [whole, broken, failed] = &found.replicas[..] else { panic!() };
        assert!((whole.stable_ps - 0.15).abs() < 1e-12 && whole.unstable.is_none());
        assert!(whole.distance_error < 1e-12 && (broken.distance_error - 1.0).abs() < 1e-12);
        assert_eq!((broken.stable_ps, broken.unstable), (0.2, Some(Instability::Bond)));
        assert_eq!((broken.temperature_k, failed.unstable), (400.0, Some(Instability::NonFiniteForce)));
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
