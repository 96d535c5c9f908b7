//! Force fields and collecting sinks that several tests share.

#![allow(dead_code, reason = "every test binary uses its own part")]

use std::num::NonZeroU64;
use std::sync::atomic::AtomicBool;

use mdet_core::constants::BOLTZMANN_IN_EV_PER_K;
use mdet_core::potentials::Harmonic;
use mdet_core::{ForceField, ForceFieldError, Structure};
use mdet_md::{
    Config, Conserved, Ensemble, Frame, Observables, Orientation, Schedule, Simulation, StartingVelocities,
};

pub fn every_step() -> Schedule {
    Schedule::frames(NonZeroU64::MIN)
}

/// A whirl about the z axis, F = c ẑ × r: it has no potential, and drives every atom round for ever.
#[derive(Debug, Clone)]
pub struct Whirl {
    pub curl_ev_per_angstrom2: f64,
}

/// No forces.
#[derive(Debug, Clone)]
pub struct Free;

impl ForceField for Whirl {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        let c = self.curl_ev_per_angstrom2;
        each_atom(batch, forces, |r| [-c * r[1], c * r[0], 0.0]);
        Ok(())
    }
}

impl ForceField for Free {
    fn forces(&mut self, _batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        forces.fill([0.0; 3]);
        Ok(())
    }
}

pub fn each_atom(batch: &[Structure], forces: &mut [[f64; 3]], law: impl Fn([f64; 3]) -> [f64; 3]) {
    let positions = batch.iter().flat_map(|structure| structure.positions());
    for (force, position) in forces.iter_mut().zip(positions) {
        *force = law(*position);
    }
}

pub fn nve(timestep_fs: f64, initial_temperature_k: f64, seed: u64) -> Config {
    config(Ensemble::Nve, timestep_fs, initial_temperature_k, seed)
}

pub fn langevin(timestep_fs: f64, temperature_k: f64, friction_per_fs: f64, seed: u64) -> Config {
    let ensemble = Ensemble::NvtLangevin { temperature_k, friction_per_fs };
    config(ensemble, timestep_fs, temperature_k, seed)
}

pub fn config(ensemble: Ensemble, timestep_fs: f64, initial_temperature_k: f64, seed: u64) -> Config {
    Config {
        ensemble,
        timestep_fs,
        initial_temperature_k,
        starting_velocities: StartingVelocities::Drawn,
        orientation: Orientation::AsItLies,
        forces_conserve: Conserved::MomentumAndAngularMomentum,
        seed,
    }
}

pub fn thermal_energy_ev(temperature_k: f64) -> f64 {
    BOLTZMANN_IN_EV_PER_K * temperature_k
}

/// A neutral singlet; the geometry need not be chemistry.
pub fn molecule(numbers: &[u8], positions: &[[f64; 3]]) -> Structure {
    Structure::new(numbers.to_vec(), positions.to_vec(), 0, 1).expect("a valid molecule")
}

/// Every atom in a harmonic well where it starts: 3N independent oscillators, at rest.
pub fn wells_at(structure: &Structure, stiffness_ev_per_angstrom2: f64) -> Harmonic {
    Harmonic { stiffness_ev_per_angstrom2, wells: structure.positions().to_vec() }
}

/// Runs `n_steps` and hands every frame to `look`.
pub fn watch<F: ForceField>(simulation: &mut Simulation<F>, n_steps: u64, mut look: impl FnMut(&Frame<'_>)) {
    let mut sink = |frame: &Frame<'_>| {
        look(frame);
        Ok(())
    };
    simulation.run(n_steps, &every_step(), &mut sink, &AtomicBool::new(false)).expect("a run without errors");
}

/// The observables of every step of the only replica.
pub fn observe<F: ForceField>(simulation: &mut Simulation<F>, n_steps: u64) -> Vec<Observables> {
    let mut observed = Vec::new();
    watch(simulation, n_steps, |frame| observed.push(frame.observables));
    observed
}

/// Largest minus smallest.
pub fn spread(series: impl Iterator<Item = f64> + Clone) -> f64 {
    series.clone().fold(f64::MIN, f64::max) - series.fold(f64::MAX, f64::min)
}
