//! Starting velocities from the Maxwell–Boltzmann distribution.
//!
//! ```text
//! v = √(k_B T / m) ξ,  ξ standard normal per component
//! ```
//!
//! What the dynamics conserves of translation and rotation is then removed ([`crate::system`]): nothing of it under
//! Langevin's noise. The removal is an orthogonal projection in the metric of the masses, so what remains is again
//! canonical, in 3N − 6 dimensions (1 for two atoms, 0 for one; 3N − 3 where momentum alone is conserved). Of more atoms in a
//! line the rotation about it goes too, as it is one of the first step on. The kinetic energy of one replica fluctuates about its mean as the ensemble's does, unless it is asked
//! to be scaled.

use mdet_core::constants::{BOLTZMANN_IN_EV_PER_K, EV_PER_U_IN_ANGSTROM2_PER_FS2};
use mdet_core::{Purpose, RandomStream};
use rand::RngExt;
use rand_distr::StandardNormal;

use crate::config::Config;
use crate::observables::{kinetic_energy_ev, temperature_k};

/// Velocities `[n_atoms][3]` in Å/fs at the configuration's initial temperature for masses in u: a function of the
/// configuration's seed and the replica.
pub(crate) fn maxwell_boltzmann(masses_u: &[f64], replica: u32, config: &Config) -> Vec<[f64; 3]> {
    let stream = RandomStream { seed: config.seed, purpose: Purpose::Velocities, replica };
    let mut random = stream.at_step(0);
    let thermal_energy_ev = BOLTZMANN_IN_EV_PER_K * config.initial_temperature_k;
    let draw = |mass_u: &f64| {
        let width = (thermal_energy_ev * EV_PER_U_IN_ANGSTROM2_PER_FS2 / mass_u).sqrt();
        std::array::from_fn(|_| width * random.sample::<f64, _>(StandardNormal))
    };
    masses_u.iter().map(draw).collect()
}

/// The positions, each moved by about a thousandth of an ångström: a function of the configuration's seed and the replica.
pub(crate) fn bent(positions: &[[f64; 3]], replica: u32, config: &Config) -> Vec<[f64; 3]> {
    const BY_ANGSTROM: f64 = 1e-3;
    let stream = RandomStream { seed: config.seed, purpose: Purpose::Velocities, replica };
    // The velocities' own draws are those of step 0.
    let mut random = stream.at_step(1);
    let moved = |x: &f64| x + BY_ANGSTROM * random.sample::<f64, _>(StandardNormal);
    let flat: Vec<f64> = positions.as_flattened().iter().map(moved).collect();
    flat.as_chunks().0.to_vec()
}

/// Removes the motion of the centre of mass from velocities `[n_atoms][3]`, for masses in u.
pub(crate) fn remove_translation(masses_u: &[f64], velocities: &mut [[f64; 3]]) {
    let total: f64 = masses_u.iter().sum();
    for axis in 0..3 {
        // From the first velocity, so that a single atom rests exactly.
        let first = velocities[0][axis];
        velocities.iter_mut().for_each(|v| v[axis] -= first);
        let momentum: f64 = masses_u.iter().zip(&*velocities).map(|(mass_u, v)| mass_u * v[axis]).sum();
        velocities.iter_mut().for_each(|v| v[axis] -= momentum / total);
    }
}

/// Scales velocities to the configuration's initial temperature exactly; at rest they stay.
pub(crate) fn scale_to_temperature(
    velocities: &mut [[f64; 3]],
    masses_u: &[f64],
    degrees_of_freedom: usize,
    config: &Config,
) {
    let found_k = temperature_k(kinetic_energy_ev(velocities, masses_u), degrees_of_freedom);
    if found_k > 0.0 {
        let factor = (config.initial_temperature_k / found_k).sqrt();
        velocities.as_flattened_mut().iter_mut().for_each(|component| *component *= factor);
    }
}
