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
//! | a curl: the antisymmetric part A of the Jacobian, δF = A (r − r₀) | 8 k_B T Γ Σ_{j<k} A_jk² / [(ω_j² − ω_k²)² + 2 Γ² (ω_j² + ω_k²)], over pairs of normal modes that lose their phases as in a bath of friction Γ |
//! | anything with a potential | 0 |
//!
//! Of the energy E half goes to the kinetic energy where the motion is harmonic and has equilibrated: predictions here
//! are, as the measured heating, of the kinetic energy.

use mdet_core::constants::{
    BOLTZMANN_IN_EV_PER_K, EV_PER_U_IN_ANGSTROM2_PER_FS2, SPEED_OF_LIGHT_IN_CM_PER_FS,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// The kinetic energy's share of what is pumped in.
const KINETIC_SHARE: f64 = 0.5;

/// Heating predicted from the size of force errors: of the kinetic energy, meV per atom and ps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictedHeating {
    /// By the orientation's error, redrawn at every step; 0 where the molecule is not turned.
    pub orientation_mev_per_atom_per_ps: f64,
    /// By rounding; 0 in f64.
    pub rounding_mev_per_atom_per_ps: f64,
    /// By the antisymmetric part of the Jacobian, where modes are 0.5 and 5 cm⁻¹ wide: of the start's, times its growth;
    /// `None` where it was not measured.
    pub curl_mev_per_atom_per_ps: Option<[f64; 2]>,
    /// How its mean square along the run compares with the start's; `None` where the start's alone was measured.
    #[serde(default)]
    pub curl_growth: Option<f64>,
}

/// Widths Γ/2πc of modes, cm⁻¹, between which the curl's heating is predicted. They are assumed: the few runs that tell
/// (docs/drift.md) agree with them.
pub const CURL_WIDTHS_PER_CM: [f64; 2] = [0.5, 5.0];

impl PredictedHeating {
    /// The sum of the parts that were measured, at the two widths.
    pub fn totals_mev_per_atom_per_ps(&self) -> [f64; 2] {
        let others = self.orientation_mev_per_atom_per_ps + self.rounding_mev_per_atom_per_ps;
        self.curl_mev_per_atom_per_ps.unwrap_or_default().map(|curl| others + curl)
    }

    /// The middle of what is predicted.
    pub fn middle_mev_per_atom_per_ps(&self) -> f64 {
        let [narrow, wide] = self.totals_mev_per_atom_per_ps();
        0.5 * (narrow + wide)
    }
}

impl std::fmt::Display for PredictedHeating {
    /// "+0.12 to +0.52", the sum at the two widths, with the formatter's precision and sign; "+0.01 without the curl".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [narrow, wide] = self.totals_mev_per_atom_per_ps();
        narrow.fmt(f)?;
        if self.curl_mev_per_atom_per_ps.is_none() {
            return f.write_str(" without the curl");
        }
        f.write_str(" to ")?;
        wide.fmt(f)
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

/// A power in eV/fs as heating of the kinetic energy, meV per atom and ps.
pub fn kinetic_mev_per_atom_per_ps(power_ev_per_fs: f64, n_atoms: usize) -> f64 {
    KINETIC_SHARE * power_ev_per_fs * 1e6 / n_atoms as f64
}

/// The antisymmetric part of a Jacobian between pairs of normal modes.
#[derive(Debug, Clone)]
pub struct CurlPairs {
    pairs: Vec<Pair>,
}

/// Two modes of real frequency.
#[derive(Debug, Clone, Copy)]
struct Pair {
    /// ω_j and ω_k, 1/fs.
    frequencies: [f64; 2],
    /// A_jk in mass-weighted coordinates, 1/fs².
    coupling: f64,
}

impl CurlPairs {
    /// Of a Jacobian `[3n, 3n]`, eV/Å², and its normal modes: wavenumbers in cm⁻¹ and displacements `[n_modes][n_atoms]`, not
    /// mass-weighted, of any length. Modes that are not bound (wavenumbers of 0 and below) are left out.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn new(
        jacobian: &[f64],
        masses_u: &[f64],
        wavenumbers_per_cm: &[f64],
        displacements: &[Vec<[f64; 3]>],
    ) -> Self {
        let size = 3 * masses_u.len();
        assert_eq!((jacobian.len(), displacements.len()), (size * size, wavenumbers_per_cm.len()), "sizes");
        let bound = wavenumbers_per_cm.iter().zip(displacements).filter(|(wavenumber, _)| **wavenumber > 0.0);
        let modes: Vec<(f64, Vec<f64>)> = bound
            .map(|(wavenumber, mode)| {
                let square: f64 = mode.iter().zip(masses_u).map(|(d, mass)| mass * dot(d, d)).sum();
                let displacement = mode.as_flattened().iter().map(|d| d / square.sqrt()).collect();
                (TAU * SPEED_OF_LIGHT_IN_CM_PER_FS * wavenumber, displacement)
            })
            .collect();
        // J w of every mode: Aᵀ = −A, so A_jk is half of w_j J w_k − w_k J w_j.
        let along: Vec<Vec<f64>> = modes
            .iter()
            .map(|(_, mode)| jacobian.chunks_exact(size).map(|row| dot(row, mode)).collect())
            .collect();
        let pairs = (0..modes.len()).flat_map(|k| (0..k).map(move |j| (j, k)));
        let pair = |(j, k): (usize, usize)| {
            let curl = 0.5 * (dot(&modes[j].1, &along[k]) - dot(&modes[k].1, &along[j]));
            Pair { frequencies: [modes[j].0, modes[k].0], coupling: curl * EV_PER_U_IN_ANGSTROM2_PER_FS2 }
        };
        Self { pairs: pairs.map(pair).collect() }
    }

    /// Power, eV/fs, at a temperature, of modes of one width Γ/2πc in cm⁻¹: the formula of the module.
    pub fn power_ev_per_fs(&self, width_per_cm: f64, temperature_k: f64) -> f64 {
        let rate = TAU * SPEED_OF_LIGHT_IN_CM_PER_FS * width_per_cm;
        let of_pair = |&Pair { frequencies, coupling }: &Pair| {
            let [j, k] = frequencies.map(|frequency| frequency * frequency);
            coupling.powi(2) / ((j - k).powi(2) + 2.0 * rate.powi(2) * (j + k))
        };
        let sum: f64 = self.pairs.iter().map(of_pair).sum();
        8.0 * BOLTZMANN_IN_EV_PER_K * temperature_k * rate * sum
    }
}

/// Σ_ab A_ab²/(m_a m_b) of the antisymmetric part of a Jacobian `[3n, 3n]` in eV/Å², (eV/Å²/u)²: the square of the curl in
/// mass-weighted coordinates, whichever these are.
///
/// # Panics
/// When the sizes do not fit.
pub fn antisymmetric_square(jacobian: &[f64], masses_u: &[f64]) -> f64 {
    let size = 3 * masses_u.len();
    assert_eq!(jacobian.len(), size * size, "sizes");
    let entry = |a: usize, b: usize| {
        let curl = 0.5 * (jacobian[a * size + b] - jacobian[b * size + a]);
        curl * curl / (masses_u[a / 3] * masses_u[b / 3])
    };
    (0..size).flat_map(|a| (0..size).map(move |b| (a, b))).map(|(a, b)| entry(a, b)).sum()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
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
    use nalgebra::{DMatrix, DVector};

    #[test]
    fn a_prediction_shows_its_sum_at_both_widths() {
        let parts = PredictedHeating {
            orientation_mev_per_atom_per_ps: 0.5,
            rounding_mev_per_atom_per_ps: 0.0,
            curl_mev_per_atom_per_ps: Some([0.25, 1.0]),
            curl_growth: None,
        };
        assert_eq!(format!("{parts:+.2}"), "+0.75 to +1.50");
        assert_eq!(parts.middle_mev_per_atom_per_ps(), 1.125);
        let without = PredictedHeating { curl_mev_per_atom_per_ps: None, ..parts };
        assert_eq!(format!("{without:+.2}"), "+0.50 without the curl");
    }

    #[test]
    fn the_square_of_a_curl_is_that_of_its_pairs_of_modes() {
        // Entries (0, 4) and (4, 0) of two atoms: A = ±3, a symmetric part of 5; modes are the coordinates themselves.
        let masses_u = [2.0, 8.0];
        let mut jacobian = vec![0.0; 36];
        (jacobian[4], jacobian[24]) = (8.0, 2.0);
        let square = antisymmetric_square(&jacobian, &masses_u);
        assert!((square - 2.0 * 9.0 / 16.0).abs() < 1e-12, "{square}");
        let mode = |atom: usize, axis: usize| {
            let mut displacement = vec![[0.0; 3]; 2];
            displacement[atom][axis] = 1.0;
            displacement
        };
        let pairs = CurlPairs::new(&jacobian, &masses_u, &[900.0, 1000.0], &[mode(0, 0), mode(1, 1)]).pairs;
        let of_pairs: f64 = pairs.iter().map(|pair| 2.0 * pair.coupling.powi(2)).sum();
        assert!((of_pairs / (EV_PER_U_IN_ANGSTROM2_PER_FS2.powi(2) * square) - 1.0).abs() < 1e-12);
    }

    /// Power of a curl c between two oscillators under Langevin's noise, eV/fs, without the formula: the stationary
    /// covariance C of y = (x, v) in mass-weighted coordinates, M C + C Mᵀ + D = 0 of dy = M y dt + √D dW; P = vᵀ A x.
    fn stationary_power(squares: [f64; 2], curl: f64, friction: f64, thermal_ev: f64) -> f64 {
        let rows = [
            [0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
            [-squares[0], curl, -friction, 0.0],
            [-curl, -squares[1], 0.0, -friction],
        ];
        let motion = DMatrix::from_row_slice(4, 4, rows.as_flattened());
        let identity = DMatrix::identity(4, 4);
        let mut noise = DVector::zeros(16);
        (noise[10], noise[15]) = (-2.0 * friction * thermal_ev, -2.0 * friction * thermal_ev);
        let equations = identity.kronecker(&motion) + motion.kronecker(&identity);
        let covariance = equations.lu().solve(&noise).unwrap();
        // Column-major: C[i, j] at 4 j + i.
        curl * (covariance[4 + 2] - covariance[3])
    }

    #[test]
    fn pairs_of_modes_heat_as_two_oscillators_that_lose_their_phases_in_a_bath() {
        let (mass, temperature) = (12.0, 300.0);
        let per_cm = TAU * SPEED_OF_LIGHT_IN_CM_PER_FS;
        let near = 3000.0 + 1e-3 / per_cm;
        let pairs = [
            [3000.0, 3000.0],
            [3000.0, near],
            [500.0, 1000.0],
            [300.0, 1500.0],
            [50.0, 1000.0],
            [20.0, 50.0],
        ];
        // The last friction is above twice the frequency of the softest: overdamped.
        for (wavenumbers, friction) in pairs.iter().flat_map(|pair| [1e-4, 1e-3, 1e-2].map(|f| (*pair, f))) {
            let width = friction / per_cm;
            let squares = wavenumbers.map(|wavenumber| (per_cm * wavenumber).powi(2));
            // Weak beside the friction: second order in the curl, which saturates by its square over (γω)², 1e-6.
            let curl = 1e-3 * friction * per_cm * wavenumbers[0];
            let expected = stationary_power(squares, curl, friction, BOLTZMANN_IN_EV_PER_K * temperature);
            let [k, l] = squares.map(|square| square * mass / EV_PER_U_IN_ANGSTROM2_PER_FS2);
            let c = curl * mass / EV_PER_U_IN_ANGSTROM2_PER_FS2;
            let jacobian = [-k, c, 0.0, -c, -l, 0.0, 0.0, 0.0, 0.0];
            let modes = [vec![[3.0, 0.0, 0.0]], vec![[0.0, 0.1, 0.0]], vec![[0.0, 0.0, 1.0]]];
            let wavenumbers = [wavenumbers[0], wavenumbers[1], 0.0];
            let found = CurlPairs::new(&jacobian, &[mass], &wavenumbers, &modes);
            let ratio = found.power_ev_per_fs(width, temperature) / expected;
            assert!((ratio - 1.0).abs() < 1e-5, "{wavenumbers:?}, {friction}: {ratio}");
            let hotter = found.power_ev_per_fs(width, 2.0 * temperature) / expected;
            assert!((hotter - 2.0 * ratio).abs() < 1e-12);
        }
    }
}
