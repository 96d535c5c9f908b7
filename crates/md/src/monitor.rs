//! The trust monitor: what tells, while a run goes on, whether its forces and its molecule can still be believed; and
//! what ends a run.
//!
//! | reading | what it means |
//! |---|---|
//! | spread | the force field's own equivariance error at this geometry: √⟨|F_R − F̄|²⟩ per component, see below |
//! | temperature by element | unequal: energy is pumped into some atoms, or thermostat and timestep do not suit them |
//! | broken bonds, longest stretch | bonds of the first frame that are broken, and the largest length over the first frame's |
//!
//! ```text
//! spread² = Σ_R Σ_i |F_i,R − F̄_i|² / (3 N (m − 1))      m fresh uniform rotations R of the molecule
//! ```
//!
//! The spread is of the whole stack of wrappers that the dynamics uses: averaging over frames shows in it. Readings
//! change nothing of the trajectory. Stop conditions are looked at after every step, except that of the spread, which
//! costs force evaluations and waits for a reading.
//!
//! Deliberately absent: an error estimate. A force field can be equivariant and wrong.

use std::num::NonZeroU64;

use mdet_core::force_field::check_finite;
use mdet_core::frames::forces_in_frames;
use mdet_core::rigid::rigid_shares;
use mdet_core::{ForceField, Purpose, RandomStream, ReferenceBonds, Rotation, Structure};
use serde::{Deserialize, Serialize};

use crate::config::Conserved;
use crate::observables;
use crate::simulation::{Frame, Simulation, SimulationError};

/// When to read, and how well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Monitor {
    /// Steps between readings.
    pub every: NonZeroU64,
    /// Rotations m of the spread, at least 2.
    pub n_rotations: usize,
}

/// What ends a run. Forces that are not finite always do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StopCondition {
    /// A bond of the first frame is broken.
    BrokenBond,
    /// A temperature above this, in K.
    TemperatureAbove(f64),
    /// A spread above this, in eV/Å.
    SpreadAbove(f64),
}

/// What the monitor reads of one replica at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Spread of the forces over rotations, eV/Å per component.
    pub spread_ev_per_angstrom: f64,
    /// Atomic numbers in ascending order, with the temperature of their atoms in K.
    pub temperatures_k: Vec<(u8, f64)>,
    /// Bonds of the first frame that are broken.
    pub broken_bonds: Vec<[usize; 2]>,
    /// Largest ratio of a bond's length to its length in the first frame; 0 without bonds.
    pub longest_stretch: f64,
}

impl StopCondition {
    /// Whether a replica ends the run: by its frame, the bonds of its first frame, and the reading if there is one.
    pub fn is_met(&self, frame: &Frame<'_>, bonds: &ReferenceBonds, reading: Option<&Reading>) -> bool {
        match *self {
            Self::BrokenBond => !bonds.broken(frame.structure.positions()).is_empty(),
            Self::TemperatureAbove(limit_k) => frame.observables.temperature_k > limit_k,
            Self::SpreadAbove(limit) => reading.is_some_and(|r| r.spread_ev_per_angstrom > limit),
        }
    }
}

impl<F: ForceField> Simulation<F> {
    /// Reads every replica, in the order of the batch, against the bonds of their first frames.
    ///
    /// # Errors
    /// [`SimulationError`] when the force field fails in a turned frame.
    ///
    /// # Panics
    /// When there are not the bonds of every replica, or fewer than two rotations.
    pub fn read(
        &mut self,
        n_rotations: usize,
        bonds: &[ReferenceBonds],
    ) -> Result<Vec<Reading>, SimulationError> {
        assert_eq!(bonds.len(), self.n_replicas(), "bonds of every replica");
        let spreads = self.spreads(n_rotations)?;
        let read = |(b, (spread_ev_per_angstrom, bonds)): (usize, (f64, &ReferenceBonds))| {
            let positions = self.systems.structures[b].positions();
            Reading {
                spread_ev_per_angstrom,
                temperatures_k: self.temperatures_by_element(b),
                broken_bonds: bonds.broken(positions),
                longest_stretch: bonds.longest_stretch(positions),
            }
        };
        Ok(spreads.into_iter().zip(bonds).enumerate().map(read).collect())
    }

    /// The spread of the forces over `n_rotations` fresh rotations, a function of (seed, replica, step).
    fn spreads(&mut self, n_rotations: usize) -> Result<Vec<f64>, SimulationError> {
        assert!(n_rotations > 1, "a spread over {n_rotations} rotations");
        let step = self.step_number();
        let mut rotations = Vec::new();
        for progress in &self.systems.progress {
            let (seed, replica) = (self.config().seed, progress.replica);
            let mut random = RandomStream { seed, purpose: Purpose::Analysis, replica }.at_step(step);
            rotations.extend((0..n_rotations).map(|_| Rotation::random(&mut random)));
        }
        let copies = |structure: &Structure| std::iter::repeat_n(structure.clone(), n_rotations);
        let batch: Vec<Structure> = self.systems.structures.iter().flat_map(copies).collect();
        let mut forces = vec![[0.0; 3]; batch.iter().map(Structure::n_atoms).sum()];
        forces_in_frames(&mut self.force_field, &batch, &rotations, &mut forces)
            .and_then(|()| check_finite(&batch, &forces))
            .map_err(|error| self.force_error(error, step, n_rotations))?;
        let mut rest = forces.as_slice();
        let spread = |structure: &Structure| {
            let (own, others) = rest.split_at(n_rotations * structure.n_atoms());
            rest = others;
            spread_of(own, n_rotations)
        };
        Ok(self.systems.structures.iter().map(spread).collect())
    }

    /// 2 K_e / (k_B g_e), with the share g_e of the degrees of freedom that the atoms of element e have.
    fn temperatures_by_element(&self, b: usize) -> Vec<(u8, f64)> {
        let frame = self.frame(b);
        let numbers = frame.structure.numbers();
        let shares = match self.config().conserved() {
            Conserved::Nothing => vec![0.0; numbers.len()],
            Conserved::Momentum => {
                let total: f64 = frame.masses_u.iter().sum();
                frame.masses_u.iter().map(|mass_u| 3.0 * mass_u / total).collect()
            }
            Conserved::MomentumAndAngularMomentum => {
                rigid_shares(frame.masses_u, frame.structure.positions())
            }
        };
        let half_fs = match self.config().ensemble.temperature_k() {
            None => 0.0,
            Some(_) => 0.5 * self.config().timestep_fs,
        };
        let mut elements = numbers.to_vec();
        elements.sort_unstable();
        elements.dedup();
        let temperature = |element: u8| {
            let (mut kinetic_ev, mut n_degrees) = (0.0, 0.0);
            for i in (0..numbers.len()).filter(|&i| numbers[i] == element) {
                kinetic_ev += observables::kinetic_energy_before_kick_ev(
                    &frame.velocities[i..=i],
                    &frame.forces[i..=i],
                    &frame.masses_u[i..=i],
                    half_fs,
                );
                n_degrees += 3.0 - shares[i];
            }
            (element, observables::temperature_of_k(kinetic_ev, n_degrees))
        };
        elements.into_iter().map(temperature).collect()
    }
}

/// The spread of `n_rotations` evaluations that lie one after another.
fn spread_of(forces: &[[f64; 3]], n_rotations: usize) -> f64 {
    let forces = forces.as_flattened();
    let n_components = forces.len() / n_rotations;
    let mut squares = 0.0;
    for component in 0..n_components {
        let evaluations = || forces.iter().skip(component).step_by(n_components);
        let mean = evaluations().sum::<f64>() / n_rotations as f64;
        squares += evaluations().map(|force| (force - mean).powi(2)).sum::<f64>();
    }
    (squares / (n_components * (n_rotations - 1)) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_the_unbiased_deviation_per_component() {
        // Two evaluations of two atoms, which differ by 2 in one of six components: variance 2 there, 2/6 on average.
        let forces = [[1.0, 0.0, 0.0], [0.0, 5.0, 0.0], [3.0, 0.0, 0.0], [0.0, 5.0, 0.0]];
        assert!((spread_of(&forces, 2) - (2.0_f64 / 6.0).sqrt()).abs() < 1e-15);
    }
}
