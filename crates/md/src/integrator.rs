//! The elementary moves of which the integrators are made: kick, drift and the Ornstein–Uhlenbeck step.
//!
//! ```text
//! NVE       kick(h/2) drift(h) forces  kick(h/2)                        velocity Verlet
//! Langevin  kick(h/2) drift(h/2) O(h) drift(h/2) forces  kick(h/2)      BAOAB
//! others    the same with their own move in place of O                  see crate::thermostat
//! ```
//!
//! | move  | equation |
//! |-------|----------|
//! | kick  | v ← v + t F/m |
//! | drift | r ← r + t v |
//! | O     | v ← c₁ v + √((1 − c₁²) k_B T / m) ξ,  c₁ = exp(−γ h), ξ standard normal: exact for any h |
//!
//! BAOAB (Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34; J. Chem. Phys. 138, 174102) and the leap-frog
//! middle scheme, LFMiddle (Zhang et al., J. Phys. Chem. A 123, 6056, 2019), are one chain of moves cut at different
//! places: they visit the same positions, whose distribution is exact for a harmonic oscillator at any stable h.
//! BAOAB is taken because its state has velocities and positions at one time: a frame can be read and restarted
//! without knowing of half steps, and γ = 0 is velocity Verlet. What LFMiddle does better, the kinetic energy, is
//! had by sampling its velocities: see [`crate::observables`].
//!
//! Absent on purpose: constraints and multiple timesteps (one force evaluation gives all forces of a network).

use mdet_core::constants::EV_PER_U_IN_ANGSTROM2_PER_FS2;

/// v ← v + t F/m: velocities `[n_atoms][3]` in Å/fs, forces in eV/Å, masses in u.
pub(crate) fn kick(velocities: &mut [[f64; 3]], forces: &[[f64; 3]], masses_u: &[f64], duration_fs: f64) {
    for ((velocity, force), mass_u) in velocities.iter_mut().zip(forces).zip(masses_u) {
        let factor = duration_fs * EV_PER_U_IN_ANGSTROM2_PER_FS2 / mass_u;
        for axis in 0..3 {
            velocity[axis] += factor * force[axis];
        }
    }
}

/// r ← r + t v: positions `[n_atoms][3]` in Å, velocities in Å/fs.
pub(crate) fn drift(positions: &mut [[f64; 3]], velocities: &[[f64; 3]], duration_fs: f64) {
    for (position, velocity) in positions.iter_mut().zip(velocities) {
        for axis in 0..3 {
            position[axis] += duration_fs * velocity[axis];
        }
    }
}

/// The O step of one timestep at one temperature: what is kept of a velocity, and how much noise replaces the rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrnsteinUhlenbeck {
    kept: f64,
    noise_ev: f64,
}

impl OrnsteinUhlenbeck {
    /// The exact solution over `timestep_fs` of dv = −γ v dt + √(2 γ k_B T / m) dW.
    pub(crate) fn new(friction_per_fs: f64, timestep_fs: f64, thermal_energy_ev: f64) -> Self {
        let exponent = friction_per_fs * timestep_fs;
        // 1 − c₁² through expm1, because weak friction would lose digits in the difference.
        Self { kept: (-exponent).exp(), noise_ev: -(-2.0 * exponent).exp_m1() * thermal_energy_ev }
    }

    /// Applies the step to velocities `[n_atoms][3]` in Å/fs; `normal` yields independent standard normals.
    pub(crate) fn apply(
        &self,
        velocities: &mut [[f64; 3]],
        masses_u: &[f64],
        mut normal: impl FnMut() -> f64,
    ) {
        for (velocity, mass_u) in velocities.iter_mut().zip(masses_u) {
            let noise = (self.noise_ev * EV_PER_U_IN_ANGSTROM2_PER_FS2 / mass_u).sqrt();
            for component in velocity {
                *component = self.kept * *component + noise * normal();
            }
        }
    }
}
