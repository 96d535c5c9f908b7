//! `Simulation`: replicas, a force field and one step of all of them, with one force evaluation.

use mdet_core::force_field::check_finite;
use mdet_core::frames::forces_in_frames;
use mdet_core::{ForceField, ForceFieldError, Purpose, RandomStream, Rotation, Structure};

use crate::config::{Config, Orientation};
use crate::integrator::{drift, kick};
use crate::observables::{self, Observables, kinetic_energy_ev};
use crate::system::{Progress, Snapshot, StartError, Systems};
use crate::thermostat::Thermostat;

/// Why a simulation could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// What was given makes no simulation.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A force is NaN or infinite.
    #[error("replica {replica}, step {step}: the force on atom {atom} is not finite")]
    NonFiniteForce {
        /// Index of the replica.
        replica: u32,
        /// The step that could not be completed.
        step: u64,
        /// Index of the atom in the replica, from 0.
        atom: usize,
        /// The molecule where the force was asked for.
        structure: Box<Structure>,
    },
    /// The force field failed.
    #[error("step {step}: the force field failed")]
    ForceField {
        /// The step that could not be completed.
        step: u64,
        /// Why.
        source: ForceFieldError,
    },
    /// A checkpoint could not be kept.
    #[error("step {step}: the checkpoint could not be kept")]
    Checkpoint {
        /// Step of the checkpoint.
        step: u64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A frame could not be written.
    #[error("replica {replica}, step {step}: the frame could not be written")]
    Sink {
        /// Index of the replica.
        replica: u32,
        /// Step of the frame.
        step: u64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// One replica at one step, as a sink sees it.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Index of the replica in its campaign.
    pub replica: u32,
    /// Steps done.
    pub step: u64,
    /// The molecule, positions in Å.
    pub structure: &'a Structure,
    /// Masses in u, one per atom.
    pub masses_u: &'a [f64],
    /// Velocities `[n_atoms][3]` in Å/fs.
    pub velocities: &'a [[f64; 3]],
    /// Forces `[n_atoms][3]` in eV/Å.
    pub forces: &'a [[f64; 3]],
    /// Energies, temperature, time.
    pub observables: Observables,
}

/// Replicas that are stepped together under one force field.
///
/// After an error of a step the replicas are where they were before it.
#[derive(Debug)]
pub struct Simulation<F> {
    pub(crate) force_field: F,
    config: Config,
    pub(crate) systems: Systems,
    thermostat: Option<Thermostat>,
    /// The state before the step: for the work done, and to go back to when the forces fail.
    before: Before,
    /// The step whose frames a sink has.
    pub(crate) framed_step: Option<u64>,
}

#[derive(Debug, Default)]
struct Before {
    positions: Vec<[f64; 3]>,
    velocities: Vec<[f64; 3]>,
    forces: Vec<[f64; 3]>,
    progress: Vec<Progress>,
}

impl<F: ForceField> Simulation<F> {
    /// Replicas 0, 1, … of `structures`, with drawn velocities and the forces at step 0.
    ///
    /// # Errors
    /// [`SimulationError`] when the configuration is refused or there is no structure, or the forces fail.
    pub fn new(structures: Vec<Structure>, force_field: F, config: Config) -> Result<Self, SimulationError> {
        let start = |(structure, replica)| Snapshot::start(structure, replica, &config);
        let snapshots = structures.into_iter().zip(0..).map(start).collect::<Result<_, _>>()?;
        Self::resume(snapshots, force_field, config)
    }

    /// Goes on from snapshots, all at one step and of the ensemble of `config`.
    ///
    /// With the configuration of the run that made the snapshots, the trajectory is the uninterrupted one.
    ///
    /// # Errors
    /// [`SimulationError`] when the configuration or a snapshot is refused, or the forces fail.
    pub fn resume(snapshots: Vec<Snapshot>, force_field: F, config: Config) -> Result<Self, SimulationError> {
        config.validate().map_err(StartError::from)?;
        let thermostat = Thermostat::new(&config);
        let systems = Systems::new(snapshots, &config)?;
        // The run that made a later snapshot has written its frame.
        let framed_step = Some(systems.step()).filter(|&step| step > 0);
        let before = Before::default();
        let mut simulation = Self { force_field, config, systems, thermostat, before, framed_step };
        let step = simulation.step_number();
        simulation.compute_forces(step)?;
        Ok(simulation)
    }

    /// Advances every replica by one timestep, with one call of the force field.
    ///
    /// # Errors
    /// [`SimulationError`] when a force is not finite or the force field fails; the replicas are then as before.
    pub fn step(&mut self) -> Result<(), SimulationError> {
        let half_fs = 0.5 * self.config.timestep_fs;
        self.remember();
        kick(&mut self.systems.velocities, &self.systems.forces, &self.systems.masses_u, half_fs);
        for b in 0..self.systems.len() {
            self.move_atoms(b);
        }
        if let Err(error) = self.compute_forces(self.step_number() + 1) {
            self.go_back();
            return Err(error);
        }
        kick(&mut self.systems.velocities, &self.systems.forces, &self.systems.masses_u, half_fs);
        for b in 0..self.systems.len() {
            let atoms = self.systems.atoms(b);
            self.systems.progress[b].potential_ev -= observables::work_ev(
                &self.before.positions[atoms.clone()],
                self.systems.structures[b].positions(),
                &self.before.forces[atoms.clone()],
                &self.systems.forces[atoms],
            );
            self.systems.progress[b].step += 1;
        }
        Ok(())
    }

    /// Holds the frame of the present step as not written: the sink was cut back to before it.
    pub fn frame_again(&mut self) {
        self.framed_step = None;
    }

    /// Steps done since the replicas were started.
    pub fn step_number(&self) -> u64 {
        self.systems.step()
    }

    /// Number of replicas.
    pub fn n_replicas(&self) -> usize {
        self.systems.len()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The replica at position `b` of the batch, measured now.
    ///
    /// # Panics
    /// When `b` is not below [`Simulation::n_replicas`].
    pub fn frame(&self, b: usize) -> Frame<'_> {
        let atoms = self.systems.atoms(b);
        Frame {
            replica: self.systems.progress[b].replica,
            step: self.systems.progress[b].step,
            structure: &self.systems.structures[b],
            masses_u: &self.systems.masses_u[atoms.clone()],
            velocities: &self.systems.velocities[atoms.clone()],
            forces: &self.systems.forces[atoms],
            observables: self.observables(b),
        }
    }

    /// All replicas, to be resumed later.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        (0..self.systems.len()).map(|b| self.systems.snapshot(b)).collect()
    }

    fn observables(&self, b: usize) -> Observables {
        let atoms = self.systems.atoms(b);
        let (masses_u, velocities) =
            (&self.systems.masses_u[atoms.clone()], &self.systems.velocities[atoms.clone()]);
        let forces = &self.systems.forces[atoms];
        let progress = &self.systems.progress[b];
        let on_step_ev = kinetic_energy_ev(velocities, masses_u);
        let (kinetic_ev, bath_ev) = match &self.thermostat {
            None => (on_step_ev, 0.0),
            Some(thermostat) => {
                let half_fs = 0.5 * self.config.timestep_fs;
                let before_kick =
                    observables::kinetic_energy_before_kick_ev(velocities, forces, masses_u, half_fs);
                (before_kick, thermostat.bath_ev(progress))
            }
        };
        Observables {
            time_fs: progress.step as f64 * self.config.timestep_fs,
            temperature_k: observables::temperature_k(kinetic_ev, progress.degrees_of_freedom),
            kinetic_ev,
            potential_ev: progress.potential_ev,
            total_ev: kinetic_ev + progress.potential_ev,
            conserved_ev: on_step_ev + progress.potential_ev + bath_ev,
            max_force_ev_per_angstrom: observables::max_force(forces),
        }
    }

    /// The moves between the kicks: a drift, or a drift around the thermostat.
    fn move_atoms(&mut self, b: usize) {
        let timestep_fs = self.config.timestep_fs;
        let atoms = self.systems.atoms(b);
        let positions = self.systems.structures[b].positions_mut();
        let velocities = &mut self.systems.velocities[atoms.clone()];
        let Some(thermostat) = &self.thermostat else {
            return drift(positions, velocities, timestep_fs);
        };
        let progress = &mut self.systems.progress[b];
        let masses_u = &self.systems.masses_u[atoms];
        drift(positions, velocities, 0.5 * timestep_fs);
        let (seed, replica) = (self.config.seed, progress.replica);
        let stream = RandomStream { seed, purpose: Purpose::ThermostatNoise, replica };
        thermostat.apply(velocities, masses_u, progress, &mut stream.at_step(progress.step));
        drift(positions, velocities, 0.5 * timestep_fs);
    }

    fn remember(&mut self) {
        self.before.positions.clear();
        for structure in &self.systems.structures {
            self.before.positions.extend_from_slice(structure.positions());
        }
        self.before.velocities.clone_from(&self.systems.velocities);
        self.before.forces.clone_from(&self.systems.forces);
        self.before.progress.clone_from(&self.systems.progress);
    }

    fn go_back(&mut self) {
        for b in 0..self.systems.len() {
            let atoms = self.systems.atoms(b);
            self.systems.structures[b].positions_mut().copy_from_slice(&self.before.positions[atoms]);
        }
        self.systems.progress.clone_from(&self.before.progress);
        self.systems.velocities.clone_from(&self.before.velocities);
        self.systems.forces.clone_from(&self.before.forces);
    }

    /// Forces at the present positions; `step` is the one they would complete.
    fn compute_forces(&mut self, step: u64) -> Result<(), SimulationError> {
        let Systems { structures, forces, progress, .. } = &mut self.systems;
        let computed = match self.config.orientation {
            Orientation::AsItLies => self.force_field.forces(structures, forces),
            Orientation::RandomEveryStep => {
                let rotations: Vec<Rotation> = progress
                    .iter()
                    .map(|&Progress { replica, .. }| {
                        let (seed, purpose) = (self.config.seed, Purpose::RotationOffset);
                        Rotation::random(&mut RandomStream { seed, purpose, replica }.at_step(step))
                    })
                    .collect();
                forces_in_frames(&mut self.force_field, structures, &rotations, forces)
            }
        };
        // Not every implementor looks at its own output, and a NaN would spread to all atoms in one step.
        let checked = computed.and_then(|()| check_finite(structures, forces));
        checked.map_err(|error| self.force_error(error, step, 1))
    }

    /// A failure of the force field on a batch that has `n_copies` of every replica one after another.
    pub(crate) fn force_error(&self, error: ForceFieldError, step: u64, n_copies: usize) -> SimulationError {
        match error {
            ForceFieldError::NonFinite { structure, atom } => {
                let b = structure / n_copies;
                let structure = Box::new(self.systems.structures[b].clone());
                SimulationError::NonFiniteForce {
                    replica: self.systems.progress[b].replica,
                    step,
                    atom,
                    structure,
                }
            }
            source => SimulationError::ForceField { step, source },
        }
    }
}
