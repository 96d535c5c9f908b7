//! How force errors become heating: what the size of errors predicts, beside what a run shows.
//!
//! The derivation is in docs/drift.md. The power of a small force error δF in a molecule at temperature T is
//!
//! ```text
//! d⟨E⟩/dt = 1/(k_B T) ∫₀^∞ ⟨P(0) P(t)⟩ dt,    P = Σ_i v_i · δF_i
//! ```
//!
//! | error | what becomes of the integral |
//! |---|---|
//! | uncorrelated between steps h: an orientation drawn anew, rounding | Σ_i ⟨\|δF_i\|²⟩ h / 2m_i |
//! | a curl: the antisymmetric part A of the Jacobian, δF = A (r − r₀) | d⟨W²⟩/dτ / (2 k_B T), W = ∫ P over windows of τ |
//! | anything with a potential | 0 |
//!
//! Of the energy E half goes to the kinetic energy where the motion is harmonic and has equilibrated: predictions here
//! are, as the measured heating, of the kinetic energy.

use crate::statistics::Spread;
use mdet_core::constants::{
    BOLTZMANN_IN_EV_PER_K, EV_PER_U_IN_ANGSTROM2_PER_FS2, SPEED_OF_LIGHT_IN_CM_PER_FS,
};
use mdet_core::superposition::{centroid, superposition};
use serde::{Deserialize, Serialize};

/// The kinetic energy's share of what is pumped in.
const KINETIC_SHARE: f64 = 0.5;

/// Heating predicted from the size of force errors: of the kinetic energy, meV per atom and ps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictedHeating {
    /// By the orientation's error, redrawn at every step; 0 where the molecule is not turned.
    pub orientation_mev_per_atom_per_ps: f64,
    /// By rounding; 0 in f64.
    pub rounding_mev_per_atom_per_ps: f64,
    /// By the antisymmetric part of the Jacobian at the start; `None` where it was not measured or the run was too short.
    pub curl_mev_per_atom_per_ps: Option<Spread>,
}

impl PredictedHeating {
    /// The sum of the parts.
    pub fn total_mev_per_atom_per_ps(&self) -> f64 {
        let curl = self.curl_mev_per_atom_per_ps.map_or(0.0, |spread| spread.mean);
        self.orientation_mev_per_atom_per_ps + self.rounding_mev_per_atom_per_ps + curl
    }
}

impl std::fmt::Display for PredictedHeating {
    /// The sum and the standard error of the curl's part: that of the others is not known.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mean = self.total_mev_per_atom_per_ps();
        match self.curl_mev_per_atom_per_ps {
            Some(curl) => Spread { mean, ..curl }.fmt(f),
            None => mean.fmt(f),
        }
    }
}

/// Power of force errors that are new at every step, eV/fs: Σ_i ⟨|δF_i|²⟩ h / 2m_i.
///
/// `mean_squares`: ⟨|δF_i|²⟩ of every atom, (eV/Å)²; `masses_u`: u.
///
/// # Panics
/// When there is not one mass per atom.
pub fn uncorrelated_power_ev_per_fs(mean_squares: &[f64], masses_u: &[f64], timestep_fs: f64) -> f64 {
    assert_eq!(mean_squares.len(), masses_u.len(), "one mass per atom");
    let sum: f64 = mean_squares.iter().zip(masses_u).map(|(square, mass)| square / mass).sum();
    0.5 * timestep_fs * EV_PER_U_IN_ANGSTROM2_PER_FS2 * sum
}

/// Power of a correlated force error, eV/fs, from the works a and b, eV, it does in the two halves of windows of τ:
///
/// ```text
/// d⟨W²⟩/dτ / (2 k_B T)  =  (⟨(a + b)²⟩ − ⟨a² + b²⟩/2) / (τ k_B T)
/// ```
///
/// A part of W that stays bounded, as that of a potential or of oscillations, drops out of the difference.
/// The spread is over windows, taken as independent; `None` of no window or no temperature.
pub fn correlated_power_ev_per_fs(
    halves_ev: &[[f64; 2]],
    window_fs: f64,
    temperature_k: f64,
) -> Option<Spread> {
    let thermal_ev = BOLTZMANN_IN_EV_PER_K * temperature_k;
    let power = |[a, b]: &[f64; 2]| ((a + b).powi(2) - (a * a + b * b) / 2.0) / (window_fs * thermal_ev);
    Spread::of(&halves_ev.iter().map(power).collect::<Vec<_>>()).filter(|_| thermal_ev > 0.0)
}

/// Windows to a run that the curl's work is taken over; the first is left out.
pub const WINDOWS_PER_RUN: usize = 10;

/// How close modes are, cm⁻¹, that the windows τ of a run of `run_ps` do not tell apart: 1/2τ. The curl's part of a
/// prediction counts such pairs as if each heated; sharper modes heat less.
pub fn resolution_per_cm(run_ps: f64) -> f64 {
    let window_fs = run_ps * 1e3 / WINDOWS_PER_RUN as f64;
    0.5 / (SPEED_OF_LIGHT_IN_CM_PER_FS * window_fs)
}

/// A power in eV/fs as heating of the kinetic energy, meV per atom and ps.
pub fn kinetic_mev_per_atom_per_ps(power_ev_per_fs: f64, n_atoms: usize) -> f64 {
    KINETIC_SHARE * power_ev_per_fs * 1e6 / n_atoms as f64
}

/// A [`Spread`] of powers in eV/fs, converted as [`kinetic_mev_per_atom_per_ps`].
pub fn kinetic_spread(power: Spread, n_atoms: usize) -> Spread {
    let convert = |power| kinetic_mev_per_atom_per_ps(power, n_atoms);
    Spread { mean: convert(power.mean), standard_deviation: convert(power.standard_deviation), n: power.n }
}

/// The force of the antisymmetric part of a Jacobian around a geometry: A (r − r₀), in the frame of r₀.
///
/// It has no potential but in directions that A does not see, and an error of A's gauge (the choice of r₀) is a
/// constant force, which has one.
#[derive(Debug, Clone)]
pub struct CurlForce {
    antisymmetric: Vec<f64>,
    reference: Vec<[f64; 3]>,
    masses_u: Vec<f64>,
}

impl CurlForce {
    /// Of a Jacobian `[3n, 3n]`, eV/Å², at positions in Å.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn new(jacobian: &[f64], reference: Vec<[f64; 3]>, masses_u: Vec<f64>) -> Self {
        let size = 3 * reference.len();
        assert_eq!((jacobian.len(), masses_u.len()), (size * size, reference.len()), "sizes of one molecule");
        let entry = |k: usize| 0.5 * (jacobian[k] - jacobian[k % size * size + k / size]);
        Self { antisymmetric: (0..size * size).map(entry).collect(), reference, masses_u }
    }

    /// The force at positions, eV/Å: the molecule is superposed on the reference, the force turned back.
    ///
    /// # Panics
    /// When the positions are not finite or of another number.
    pub fn at(&self, positions: &[[f64; 3]]) -> Vec<[f64; 3]> {
        let rotation = superposition(positions, &self.reference, &self.masses_u);
        let from = centroid(positions, &self.masses_u);
        let to = centroid(&self.reference, &self.masses_u);
        let mut moved: Vec<[f64; 3]> =
            positions.iter().map(|r| std::array::from_fn(|a| r[a] - from[a])).collect();
        rotation.apply(&mut moved);
        for (moved, reference) in moved.iter_mut().zip(&self.reference) {
            (0..3).for_each(|a| moved[a] += to[a] - reference[a]);
        }
        let displacement = moved.as_flattened();
        let row = |row: &[f64]| row.iter().zip(displacement).map(|(a, x)| a * x).sum::<f64>();
        let flat: Vec<f64> = self.antisymmetric.chunks(displacement.len()).map(row).collect();
        let mut forces: Vec<[f64; 3]> = flat.chunks(3).map(|f| [f[0], f[1], f[2]]).collect();
        rotation.apply_inverse(&mut forces);
        forces
    }
}

/// The work of a [`CurlForce`] along one replica's path, by the trapezoid rule over its steps.
#[derive(Debug, Clone)]
pub struct CurlWork {
    positions: Vec<[f64; 3]>,
    forces: Vec<[f64; 3]>,
    /// Work since the start, eV.
    pub work_ev: f64,
}

impl CurlWork {
    /// No work yet, at these positions, Å.
    pub fn start(curl: &CurlForce, positions: &[[f64; 3]]) -> Self {
        Self { positions: positions.to_vec(), forces: curl.at(positions), work_ev: 0.0 }
    }

    /// Goes on to the positions of the next step, Å.
    pub fn go_to(&mut self, curl: &CurlForce, positions: &[[f64; 3]]) {
        let forces = curl.at(positions);
        for i in 0..positions.len() {
            for a in 0..3 {
                let moved = positions[i][a] - self.positions[i][a];
                self.work_ev += 0.5 * (self.forces[i][a] + forces[i][a]) * moved;
            }
        }
        self.positions.copy_from_slice(positions);
        self.forces = forces;
    }
}

/// Mean squares ⟨|δF_i|²⟩ of every atom, from samples of an error `[n_samples][n_atoms]`.
pub fn mean_squares(errors: &[Vec<[f64; 3]>]) -> Vec<f64> {
    let n_atoms = errors.first().map_or(0, Vec::len);
    let square = |i: usize| errors.iter().map(|e| e[i].iter().map(|x| x * x).sum::<f64>()).sum::<f64>();
    (0..n_atoms).map(|i| square(i) / errors.len() as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdet_core::potentials::LennardJones;
    use mdet_core::rigid::remove_translation_and_rotation;
    use mdet_core::{Disturbance, Disturbed, ForceJacobian, Purpose, RandomStream, Rotation, Structure};
    use rand::RngExt;
    use rand_distr::StandardNormal;

    #[test]
    fn works_of_white_noise_give_the_power_of_uncorrelated_errors() {
        let (sigma, mass, timestep, temperature, n_steps) = (0.01, 12.0, 0.5, 300.0, 40);
        let stream = RandomStream { seed: 2, purpose: Purpose::Analysis, replica: 0 };
        let mut generator = stream.at_step(0);
        let thermal = BOLTZMANN_IN_EV_PER_K * temperature;
        let speed = (thermal / mass * EV_PER_U_IN_ANGSTROM2_PER_FS2).sqrt();
        let mut step = || {
            let mut normal = || generator.sample::<f64, _>(StandardNormal);
            (0..3).map(|_| sigma * normal() * speed * normal() * timestep).sum::<f64>()
        };
        let mut half = || (0..n_steps).map(|_| step()).sum::<f64>();
        let works: Vec<[f64; 2]> = (0..40_000).map(|_| [half(), half()]).collect();
        let window = f64::from(2 * n_steps) * timestep;
        let found = correlated_power_ev_per_fs(&works, window, temperature).unwrap();
        let expected = uncorrelated_power_ev_per_fs(&[3.0 * sigma * sigma], &[mass], timestep);
        // 40,000 products of nearly normal numbers, of relative variance 5: 1.1 %.
        assert!((found.mean - expected).abs() < 4.0 * found.standard_error(), "{found:?} {expected}");
        assert!(found.standard_error() < 0.012 * expected);
        assert_eq!(correlated_power_ev_per_fs(&[], 1.0, 300.0), None);
        assert_eq!(correlated_power_ev_per_fs(&[[1.0; 2]], 1.0, 0.0), None);
    }

    #[test]
    fn a_prediction_shows_its_sum_with_the_error_of_its_curl() {
        let curl = Spread { mean: 0.25, standard_deviation: 0.5, n: 25 };
        let parts = PredictedHeating {
            orientation_mev_per_atom_per_ps: 0.5,
            rounding_mev_per_atom_per_ps: 0.0,
            curl_mev_per_atom_per_ps: Some(curl),
        };
        assert_eq!(format!("{parts:+.2}"), "+0.75 ± 0.10");
        assert_eq!(format!("{:+.2}", PredictedHeating { curl_mev_per_atom_per_ps: None, ..parts }), "+0.50");
    }

    #[test]
    fn a_bounded_work_gives_no_power() {
        // W is a new number at every boundary: its differences are large, and do not grow with the window.
        let stream = RandomStream { seed: 5, purpose: Purpose::Analysis, replica: 0 };
        let mut generator = stream.at_step(0);
        let bounded: Vec<f64> = (0..60_001).map(|_| generator.sample(StandardNormal)).collect();
        let halves: Vec<[f64; 2]> =
            bounded.windows(3).step_by(2).map(|w| [w[1] - w[0], w[2] - w[1]]).collect();
        let found = correlated_power_ev_per_fs(&halves, 1.0, 300.0).unwrap();
        let thermal = BOLTZMANN_IN_EV_PER_K * 300.0;
        // ⟨W²⟩/2τk_BT, of windows of one length, would be 1/k_BT.
        assert!(found.mean.abs() < 4.0 * found.standard_error(), "{found:?}");
        assert!(found.standard_error() < 0.03 / thermal, "{found:?}");
    }

    #[test]
    fn the_curl_force_is_the_added_one_in_any_orientation() {
        let positions = vec![[0.0, 0.1, -0.2], [1.1, 0.3, 0.0], [0.4, 1.3, 0.9], [-0.8, 0.2, 1.2]];
        let (c, masses_u) = (0.3, vec![1.0, 12.0, 16.0, 1.0]);
        let structure = Structure::new(vec![10; 4], positions.clone(), 0, 1).unwrap();
        let inner = LennardJones { depth_ev: 0.01, sigma_angstrom: 1.0 };
        let jacobian = Disturbed::new(inner, Disturbance::Cycle(c)).jacobian(&structure).unwrap();
        let curl = CurlForce::new(&jacobian, positions.clone(), masses_u.clone());
        let mut generator = RandomStream { seed: 4, purpose: Purpose::Analysis, replica: 0 }.at_step(0);
        // Displacements without a rigid part (Eckart's conditions) are left as they are by the superposition.
        let mut d: Vec<[f64; 3]> = (0..4)
            .map(|_| std::array::from_fn(|_| 0.1 * generator.sample::<f64, _>(StandardNormal)))
            .collect();
        remove_translation_and_rotation(&masses_u, &positions, &mut d);
        let moved: Vec<[f64; 3]> =
            positions.iter().zip(&d).map(|(r, d)| std::array::from_fn(|a| r[a] + d[a])).collect();
        let expected: Vec<[f64; 3]> = (0..4)
            .map(|i| {
                std::array::from_fn(|a| if i < 3 { c * (d[(i + 1) % 3][a] - d[(i + 2) % 3][a]) } else { 0.0 })
            })
            .collect();
        for rotation in [Rotation::IDENTITY, Rotation::random(&mut generator)] {
            let (mut turned, mut expected) = (moved.clone(), expected.clone());
            rotation.apply(&mut turned);
            rotation.apply(&mut expected);
            for (found, expected) in curl.at(&turned).as_flattened().iter().zip(expected.as_flattened()) {
                assert!((found - expected).abs() < 1e-13, "{found} {expected}");
            }
        }
        // There and back again does no work; the way there does.
        let mut work = CurlWork::start(&curl, &positions);
        work.go_to(&curl, &moved);
        work.go_to(&curl, &positions);
        assert!(work.work_ev.abs() < 1e-15, "{}", work.work_ev);
    }
}
