//! What is measured at a step: energies, temperature and the largest force.
//!
//! **Potential energy without a potential.** The model gives forces only, so the potential energy is the work done
//! against them since step 0, by the trapezoid rule along the path:
//!
//! ```text
//! U_n = −Σ_{k<n} ½ (F_k + F_{k+1}) · (r_{k+1} − r_k)
//! ```
//!
//! **What the total energy can and cannot show.** Work changes kinetic energy whether or not the forces have a
//! potential. For velocity Verlet the trapezoid makes this exact, for any forces whatever:
//!
//! ```text
//! K_n + U_n − (h²/8) Σ F_n²/m = constant
//! ```
//!
//! so the total energy tests the integrator and the bookkeeping, never the force field. A force field without a
//! potential shows in NVE as a drift of the kinetic energy.
//!
//! **Kinetic energy.** NVE takes the velocities of the step. Under BAOAB these are too cold by a factor
//! 1 − (ω h)²/4 per harmonic mode, while v_n − (h/2) F_n/m, the velocity of the middle of the last step
//! (LFMiddle's), has exactly the Maxwell–Boltzmann distribution for harmonic forces. All thermostats therefore sample
//! the latter, a function of the state alone. Heat and conserved energy use the velocities of the step.
//!
//! | symbol | meaning |
//! |--------|---------|
//! | F, r, v, m | force, position, velocity, mass of all atoms |
//! | h      | timestep |
//! | ω      | angular frequency of a mode |
//! | K, U   | kinetic and potential energy |

use mdet_core::constants::{BOLTZMANN_IN_EV_PER_K, EV_PER_U_IN_ANGSTROM2_PER_FS2};
use serde::{Deserialize, Serialize};

/// What is measured at one step of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Observables {
    /// Time since step 0 in fs.
    pub time_fs: f64,
    /// 2 K / (k_B n) for n degrees of freedom, in K; 0 when nothing can move.
    pub temperature_k: f64,
    /// Kinetic energy in eV; see the module for which velocities it is of.
    pub kinetic_ev: f64,
    /// Work done against the forces since step 0, in eV.
    pub potential_ev: f64,
    /// `kinetic_ev + potential_ev`.
    pub total_ev: f64,
    /// Kinetic energy of the step's velocities, plus potential energy, less the heat taken from the thermostat (plus the
    /// energy of the chain), eV.
    /// Deviates from a constant by the integrator's error only.
    pub conserved_ev: f64,
    /// Largest length of a force on an atom, eV/Å.
    pub max_force_ev_per_angstrom: f64,
}

/// ½ Σ m v² in eV, of velocities `[n_atoms][3]` in Å/fs and masses in u.
pub fn kinetic_energy_ev(velocities: &[[f64; 3]], masses_u: &[f64]) -> f64 {
    let twice: f64 = velocities.iter().zip(masses_u).map(|(v, mass_u)| mass_u * dot(v, v)).sum();
    0.5 * twice / EV_PER_U_IN_ANGSTROM2_PER_FS2
}

/// ½ Σ m |v − t F/m|² in eV: the kinetic energy before a kick of `duration_fs` by `forces` in eV/Å.
pub(crate) fn kinetic_energy_before_kick_ev(
    velocities: &[[f64; 3]],
    forces: &[[f64; 3]],
    masses_u: &[f64],
    duration_fs: f64,
) -> f64 {
    let mut twice = 0.0;
    for ((velocity, force), mass_u) in velocities.iter().zip(forces).zip(masses_u) {
        let factor = duration_fs * EV_PER_U_IN_ANGSTROM2_PER_FS2 / mass_u;
        let before: [f64; 3] = std::array::from_fn(|axis| velocity[axis] - factor * force[axis]);
        twice += mass_u * dot(&before, &before);
    }
    0.5 * twice / EV_PER_U_IN_ANGSTROM2_PER_FS2
}

/// 2 K / (k_B n) in K, and 0 for n = 0, where no temperature is defined.
pub fn temperature_k(kinetic_ev: f64, degrees_of_freedom: usize) -> f64 {
    temperature_of_k(kinetic_ev, degrees_of_freedom as f64)
}

/// [`temperature_k`] of a part of the molecule, whose degrees of freedom need not be whole.
pub(crate) fn temperature_of_k(kinetic_ev: f64, degrees_of_freedom: f64) -> f64 {
    // A share that is all taken by the rigid motion leaves rounding.
    if degrees_of_freedom < 1e-9 {
        return 0.0;
    }
    2.0 * kinetic_ev / (BOLTZMANN_IN_EV_PER_K * degrees_of_freedom)
}

/// Σ ½ (F_before + F_after) · (r_after − r_before) in eV, of forces in eV/Å and positions in Å.
pub(crate) fn work_ev(
    positions_before: &[[f64; 3]],
    positions_after: &[[f64; 3]],
    forces_before: &[[f64; 3]],
    forces_after: &[[f64; 3]],
) -> f64 {
    let mut work_ev = 0.0;
    for i in 0..positions_after.len() {
        for axis in 0..3 {
            let moved = positions_after[i][axis] - positions_before[i][axis];
            work_ev += 0.5 * (forces_before[i][axis] + forces_after[i][axis]) * moved;
        }
    }
    work_ev
}

/// Length of the longest of `forces`, in their unit.
pub(crate) fn max_force(forces: &[[f64; 3]]) -> f64 {
    forces.iter().map(|force| dot(force, force)).fold(0.0, f64::max).sqrt()
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}
