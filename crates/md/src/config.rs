//! What a dynamics run is told: the ensemble, the timestep, the start and the seed.
//!
//! Absent on purpose: Berendsen-like thermostats (no ensemble), barostats (molecules here have no cell).

use serde::{Deserialize, Serialize};

/// Which equations of motion are integrated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ensemble {
    /// Newton's equations by velocity Verlet (Swope et al. 1982), started without translation and rotation.
    Nve,
    /// Langevin dynamics by BAOAB (Leimkuhler and Matthews 2013); see [`crate::integrator`].
    ///
    /// Friction and noise act on all 3N momenta, so the molecule diffuses and tumbles as in a solvent.
    NvtLangevin {
        /// Temperature of the bath in K; 0 quenches.
        temperature_k: f64,
        /// Friction γ in 1/fs, the inverse of the time in which a free velocity is forgotten.
        friction_per_fs: f64,
    },
    /// Stochastic velocity rescaling (Bussi et al. 2007); see [`crate::thermostat`]. No translation, no rotation.
    NvtBussi {
        /// Temperature of the bath in K; 0 quenches.
        temperature_k: f64,
        /// Time τ in fs in which the kinetic energy forgets its past.
        time_constant_fs: f64,
    },
    /// A Nosé–Hoover chain of three (Martyna et al. 1992), deterministic; see [`crate::thermostat`]. No translation, no
    /// rotation.
    NvtNoseHoover {
        /// Temperature of the bath in K, not 0.
        temperature_k: f64,
        /// Time τ in fs that sets the chain's masses, Q = k_B T τ².
        time_constant_fs: f64,
    },
}

impl Ensemble {
    /// Temperature of the bath in K; none for NVE.
    pub fn temperature_k(&self) -> Option<f64> {
        match *self {
            Self::Nve => None,
            Self::NvtLangevin { temperature_k, .. }
            | Self::NvtBussi { temperature_k, .. }
            | Self::NvtNoseHoover { temperature_k, .. } => Some(temperature_k),
        }
    }
}

/// What the forces conserve of the motion of the whole molecule. It is not started and is no degree of freedom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conserved {
    /// Momentum and angular momentum: net force and torque are zero.
    #[default]
    MomentumAndAngularMomentum,
    /// Momentum alone: the net force is zero, the torque is not.
    Momentum,
    /// Neither: with a net force, also without a torque about the centroid, as the centre of mass lies elsewhere.
    Nothing,
}

/// How the starting velocities follow from their temperature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartingVelocities {
    /// Drawn from the Maxwell–Boltzmann distribution: the temperature of a start fluctuates as the ensemble's does.
    #[default]
    Drawn,
    /// Drawn, then scaled so that every start has the temperature exactly. Not the canonical distribution.
    Scaled,
    /// Those of [`crate::Snapshot::start_with_velocities`]; the initial temperature is not used.
    Given,
}

/// In which orientation the force field sees the molecule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Orientation {
    /// As it lies.
    #[default]
    AsItLies,
    /// Turned by a fresh uniform rotation before every force call, the forces turned back (arXiv 2503.01431): the
    /// errors of a force field that does not turn with the molecule become noise without a preferred direction.
    RandomEveryStep,
}

/// Configuration of a dynamics run. The same for all replicas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Equations of motion.
    pub ensemble: Ensemble,
    /// Timestep in fs.
    pub timestep_fs: f64,
    /// Temperature in K of the starting velocities; 0 starts at rest. In NVE from a minimum of the potential about
    /// half of it is left once the potential energy has its share.
    pub initial_temperature_k: f64,
    /// How they are drawn.
    #[serde(default)]
    pub starting_velocities: StartingVelocities,
    /// In which orientation forces are computed.
    #[serde(default)]
    pub orientation: Orientation,
    /// What the forces conserve.
    #[serde(default)]
    pub forces_conserve: Conserved,
    /// Seed of all randomness of the run; replicas differ by their index.
    pub seed: u64,
}

/// A number in a [`Config`] that makes no dynamics.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The timestep is zero, negative or not finite.
    #[error("the timestep must be positive and finite, found {found} fs")]
    Timestep {
        /// What was given, in fs.
        found: f64,
    },
    /// The thermostat's temperature is negative or not finite.
    #[error("the temperature must be finite and not negative, found {found} K")]
    Temperature {
        /// What was given, in K.
        found: f64,
    },
    /// The starting temperature is negative or not finite.
    #[error("the initial temperature must be finite and not negative, found {found} K")]
    InitialTemperature {
        /// What was given, in K.
        found: f64,
    },
    /// A Nosé–Hoover chain at no temperature has no mass.
    #[error("a Nosé–Hoover chain needs a temperature above zero, found {found} K")]
    ColdChain {
        /// What was given, in K.
        found: f64,
    },
    /// The thermostat's time constant is zero, negative or not finite.
    #[error("the thermostat's time constant must be positive and finite, found {found} fs")]
    TimeConstant {
        /// What was given, in fs.
        found: f64,
    },
    /// The friction is negative or not finite.
    #[error("the friction must be finite and not negative, found {found} / fs")]
    Friction {
        /// What was given, in 1/fs.
        found: f64,
    },
}

impl Config {
    /// What the dynamics conserves: nothing under Langevin's noise, else what the forces do.
    pub fn conserved(&self) -> Conserved {
        match self.ensemble {
            Ensemble::NvtLangevin { .. } => Conserved::Nothing,
            _ => self.forces_conserve,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`ConfigError`] names the first number that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(self.timestep_fs > 0.0 && self.timestep_fs.is_finite()) {
            return Err(ConfigError::Timestep { found: self.timestep_fs });
        }
        if !finite_and_not_negative(self.initial_temperature_k) {
            return Err(ConfigError::InitialTemperature { found: self.initial_temperature_k });
        }
        if let Some(found) = self.ensemble.temperature_k().filter(|&t| !finite_and_not_negative(t)) {
            return Err(ConfigError::Temperature { found });
        }
        match self.ensemble {
            Ensemble::NvtLangevin { friction_per_fs: found, .. } if !finite_and_not_negative(found) => {
                Err(ConfigError::Friction { found })
            }
            Ensemble::NvtNoseHoover { temperature_k, .. } if temperature_k == 0.0 => {
                Err(ConfigError::ColdChain { found: temperature_k })
            }
            Ensemble::NvtBussi { time_constant_fs: found, .. }
            | Ensemble::NvtNoseHoover { time_constant_fs: found, .. }
                if !(found > 0.0 && found.is_finite()) =>
            {
                Err(ConfigError::TimeConstant { found })
            }
            _ => Ok(()),
        }
    }
}

fn finite_and_not_negative(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Config = Config {
        ensemble: Ensemble::NvtLangevin { temperature_k: 300.0, friction_per_fs: 0.01 },
        timestep_fs: 0.5,
        initial_temperature_k: 300.0,
        starting_velocities: StartingVelocities::Drawn,
        orientation: Orientation::AsItLies,
        forces_conserve: Conserved::MomentumAndAngularMomentum,
        seed: 1,
    };

    #[test]
    fn every_wrong_number_is_refused_by_name() {
        assert_eq!(GOOD.validate(), Ok(()));
        for found in [0.0, -0.5, f64::INFINITY] {
            assert_eq!(
                Config { timestep_fs: found, ..GOOD }.validate(),
                Err(ConfigError::Timestep { found })
            );
        }
        assert!(Config { timestep_fs: f64::NAN, ..GOOD }.validate().is_err());
        for found in [-1.0, f64::INFINITY] {
            let initial = Config { initial_temperature_k: found, ..GOOD };
            assert_eq!(initial.validate(), Err(ConfigError::InitialTemperature { found }));
            let bath = Ensemble::NvtLangevin { temperature_k: found, friction_per_fs: 0.01 };
            assert_eq!(Config { ensemble: bath, ..GOOD }.validate(), Err(ConfigError::Temperature { found }));
            let drag = Ensemble::NvtLangevin { temperature_k: 300.0, friction_per_fs: found };
            assert_eq!(Config { ensemble: drag, ..GOOD }.validate(), Err(ConfigError::Friction { found }));
        }
        for found in [0.0, -1.0, f64::INFINITY] {
            let bussi = Ensemble::NvtBussi { temperature_k: 300.0, time_constant_fs: found };
            let chain = Ensemble::NvtNoseHoover { temperature_k: 300.0, time_constant_fs: found };
            for ensemble in [bussi, chain] {
                assert_eq!(Config { ensemble, ..GOOD }.validate(), Err(ConfigError::TimeConstant { found }));
            }
        }
        let ensemble = Ensemble::NvtNoseHoover { temperature_k: 0.0, time_constant_fs: 100.0 };
        assert_eq!(Config { ensemble, ..GOOD }.validate(), Err(ConfigError::ColdChain { found: 0.0 }));
    }

    #[test]
    fn a_configuration_survives_json_and_unknown_fields_are_refused() {
        let text = serde_json::to_string(&GOOD).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), GOOD);
        let misspelt = text.replace("friction_per_fs", "friction_per_ps");
        assert!(serde_json::from_str::<Config>(&misspelt).is_err());
    }
}
