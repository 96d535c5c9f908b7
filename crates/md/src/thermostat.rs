//! The thermostats, each one move in the middle of a step (Zhang et al., J. Phys. Chem. A 123, 6056, 2019):
//! kick(h/2) drift(h/2) **thermostat(h)** drift(h/2) forces kick(h/2).
//!
//! | thermostat | move | conserved quantity | what it does not sample |
//! |---|---|---|---|
//! | Langevin | v ← c₁ v + √((1 − c₁²) k_B T/m) ξ, c₁ = exp(−γ h) | K + U − heat | true dynamics: friction slows diffusion and broadens spectra |
//! | Bussi | v ← α v, K drawn anew to the canonical law within τ | K + U − heat | momentum and rotation (none); modes that exchange no energy with the others keep theirs |
//! | Nosé–Hoover chain of three | v ← v exp(−v_η h), η driven by 2K − g k_B T | K + U + chain | momentum and rotation (none); stiff, nearly harmonic molecules may not be ergodic |
//!
//! Langevin: BAOAB's O step, see [`crate::integrator`]. Bussi: stochastic velocity rescaling (Bussi, Donadio and
//! Parrinello, J. Chem. Phys. 126, 014101, 2007, eq. A7), with c = exp(−h/τ) and K̄ = g k_B T/2:
//!
//! ```text
//! α² = c + (1 − c) K̄/(g K) (R₁² + Σ_{i=2…g} R_i²) + 2 R₁ √(c (1 − c) K̄/(g K)),   R standard normal
//! ```
//!
//! Nosé–Hoover chain (Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635, 1992; integrated as in Mol. Phys. 87,
//! 1117, 1996, with three Suzuki–Yoshida parts per step): masses Q₁ = g k_B T τ², Q₂ = Q₃ = k_B T τ², and
//!
//! ```text
//! E_chain = Σ_k ½ Q_k v_k² + g k_B T η₁ + k_B T (η₂ + η₃)
//! ```
//!
//! | symbol | meaning |
//! |---|---|
//! | K, U, heat | kinetic energy, work-integrated potential energy, what the thermostat has given |
//! | g | degrees of freedom |
//! | γ, τ | friction, relaxation time |
//!
//! Deliberately absent: Berendsen's rescaling, which samples no ensemble.

use mdet_core::constants::BOLTZMANN_IN_EV_PER_K;
use rand::{Rng, RngExt};
use rand_distr::{ChiSquared, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Ensemble};
use crate::integrator::OrnsteinUhlenbeck;
use crate::observables::kinetic_energy_ev;
use crate::system::Progress;

/// A thermostat for one timestep.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Thermostat {
    Langevin(OrnsteinUhlenbeck),
    /// Share of the kinetic energy that a step keeps, c, and k_B T.
    Bussi {
        kept: f64,
        thermal_energy_ev: f64,
    },
    NoseHoover {
        thermal_energy_ev: f64,
        time_constant_fs: f64,
        timestep_fs: f64,
    },
}

/// The state of a Nosé–Hoover chain.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// η, without unit.
    pub positions: [f64; CHAIN_LENGTH],
    /// dη/dt in 1/fs.
    pub velocities_per_fs: [f64; CHAIN_LENGTH],
}

/// Thermostats in a chain: the first moves the molecule, each further one the one before.
pub const CHAIN_LENGTH: usize = 3;

impl Thermostat {
    /// The thermostat of a configuration; none for NVE.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let thermal = |temperature_k: f64| BOLTZMANN_IN_EV_PER_K * temperature_k;
        let timestep_fs = config.timestep_fs;
        Some(match config.ensemble {
            Ensemble::Nve => return None,
            Ensemble::NvtLangevin { temperature_k, friction_per_fs } => {
                Self::Langevin(OrnsteinUhlenbeck::new(friction_per_fs, timestep_fs, thermal(temperature_k)))
            }
            Ensemble::NvtBussi { temperature_k, time_constant_fs } => Self::Bussi {
                kept: (-timestep_fs / time_constant_fs).exp(),
                thermal_energy_ev: thermal(temperature_k),
            },
            Ensemble::NvtNoseHoover { temperature_k, time_constant_fs } => {
                Self::NoseHoover { thermal_energy_ev: thermal(temperature_k), time_constant_fs, timestep_fs }
            }
        })
    }

    /// Moves the velocities `[n_atoms][3]` in Å/fs of one replica by one timestep, and books the heat.
    pub(crate) fn apply(
        &self,
        velocities: &mut [[f64; 3]],
        masses_u: &[f64],
        progress: &mut Progress,
        random: &mut impl Rng,
    ) {
        let before_ev = kinetic_energy_ev(velocities, masses_u);
        let n_degrees = progress.degrees_of_freedom;
        match *self {
            Self::Langevin(step) => step.apply(velocities, masses_u, || random.sample(StandardNormal)),
            // Velocities of zero have no direction to be scaled in.
            _ if before_ev == 0.0 => {}
            Self::Bussi { kept, thermal_energy_ev } => {
                scale(velocities, bussi_factor(kept, thermal_energy_ev, before_ev, n_degrees, random));
            }
            Self::NoseHoover { thermal_energy_ev, time_constant_fs, timestep_fs } => {
                let links = Links::new(thermal_energy_ev, time_constant_fs, n_degrees);
                let chain = progress.chain.get_or_insert_default();
                scale(velocities, links.propagate(chain, 2.0 * before_ev, timestep_fs));
            }
        }
        progress.heat_ev += kinetic_energy_ev(velocities, masses_u) - before_ev;
    }

    /// What stands for the bath in the conserved energy, eV: the chain's own energy, or the heat it gave.
    pub(crate) fn bath_ev(&self, progress: &Progress) -> f64 {
        match (*self, &progress.chain) {
            (Self::NoseHoover { thermal_energy_ev, time_constant_fs, .. }, Some(chain)) => {
                Links::new(thermal_energy_ev, time_constant_fs, progress.degrees_of_freedom).energy_ev(chain)
            }
            _ => -progress.heat_ev,
        }
    }
}

fn scale(velocities: &mut [[f64; 3]], factor: f64) {
    velocities.as_flattened_mut().iter_mut().for_each(|component| *component *= factor);
}

/// α of the module's equation, with its sign (Bussi and Parrinello, Comput. Phys. Commun. 179, 26, 2008).
fn bussi_factor(
    kept: f64,
    thermal_energy_ev: f64,
    kinetic_ev: f64,
    n_degrees: usize,
    random: &mut impl Rng,
) -> f64 {
    let first: f64 = random.sample(StandardNormal);
    let others = match n_degrees {
        0 | 1 => 0.0,
        n => random.sample(ChiSquared::new((n - 1) as f64).expect("a positive number of squares")),
    };
    // K̄/(g K) with K̄ = g k_B T/2.
    let target = 0.5 * thermal_energy_ev / kinetic_ev;
    let (kept_root, drawn_root) = (kept.sqrt(), ((1.0 - kept) * target).sqrt());
    let square = (kept_root + drawn_root * first).powi(2) + drawn_root * drawn_root * others;
    square.sqrt() * (kept_root + drawn_root * first).signum()
}

/// Masses of a chain and the energies that drive it.
struct Links {
    masses_ev_fs2: [f64; CHAIN_LENGTH],
    thermal_energy_ev: f64,
    n_degrees: f64,
}

impl Links {
    fn new(thermal_energy_ev: f64, time_constant_fs: f64, n_degrees: usize) -> Self {
        let n_degrees = n_degrees as f64;
        let mut masses_ev_fs2 = [thermal_energy_ev * time_constant_fs.powi(2); CHAIN_LENGTH];
        masses_ev_fs2[0] *= n_degrees;
        Self { masses_ev_fs2, thermal_energy_ev, n_degrees }
    }

    /// Moves the chain by a timestep; returns the factor of the velocities. `twice_kinetic_ev`: 2 K before.
    fn propagate(&self, chain: &mut Chain, mut twice_kinetic_ev: f64, timestep_fs: f64) -> f64 {
        let outer = 1.0 / (2.0 - 2f64.cbrt());
        let mut factor = 1.0;
        for part in [outer, 1.0 - 2.0 * outer, outer] {
            let h = part * timestep_fs;
            self.accelerate(chain, twice_kinetic_ev, h, (0..CHAIN_LENGTH).rev());
            let shrink = (-chain.velocities_per_fs[0] * h).exp();
            factor *= shrink;
            twice_kinetic_ev *= shrink * shrink;
            for (position, velocity) in chain.positions.iter_mut().zip(chain.velocities_per_fs) {
                *position += velocity * h;
            }
            self.accelerate(chain, twice_kinetic_ev, h, 0..CHAIN_LENGTH);
        }
        factor
    }

    /// Half a kick of every link, in the given order, each damped by the link after it.
    fn accelerate(
        &self,
        chain: &mut Chain,
        twice_kinetic_ev: f64,
        h: f64,
        order: impl Iterator<Item = usize>,
    ) {
        let v = &mut chain.velocities_per_fs;
        for k in order {
            let push = match k {
                0 => twice_kinetic_ev - self.n_degrees * self.thermal_energy_ev,
                _ => self.masses_ev_fs2[k - 1] * v[k - 1] * v[k - 1] - self.thermal_energy_ev,
            };
            let damping = v.get(k + 1).map_or(1.0, |next| (-0.25 * h * next).exp());
            v[k] = (v[k] * damping + 0.5 * h * push / self.masses_ev_fs2[k]) * damping;
        }
    }

    fn energy_ev(&self, chain: &Chain) -> f64 {
        let squares =
            chain.velocities_per_fs.iter().zip(self.masses_ev_fs2).map(|(v, mass)| 0.5 * mass * v * v);
        let [first, others @ ..] = chain.positions;
        let position = self.n_degrees * first + others.iter().sum::<f64>();
        squares.sum::<f64>() + self.thermal_energy_ev * position
    }
}
