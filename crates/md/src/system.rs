//! The state of the replicas: one whole molecule each, stepped side by side.
//!
//! Structures lie in one slice, because that is the batch a force field takes; velocities, forces and masses of all
//! replicas are concatenated beside it. A replica owns its random streams, by its index, so that its trajectory does
//! not depend on its neighbours. Time is step × timestep, never a running sum.

use std::ops::Range;

use mdet_core::Structure;
use mdet_core::elements::masses_u;
use mdet_core::rigid::{remove_translation_and_rotation, rigid_degrees_of_freedom};
use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigError, Conserved, Ensemble, StartingVelocities};
use crate::thermostat::Chain;
use crate::velocities::{bent, maxwell_boltzmann, remove_translation, scale_to_temperature};

/// Everything from which one replica can be started or continued bit for bit. Forces are computed anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The molecule, with positions in Å at `progress.step`.
    pub structure: Structure,
    /// Masses in u, one per atom: the elements' own unless isotopes were asked for.
    pub masses_u: Vec<f64>,
    /// Velocities `[n_atoms][3]` in Å/fs at `progress.step`.
    pub velocities: Vec<[f64; 3]>,
    /// The rest of the state.
    pub progress: Progress,
}

/// The numbers of a [`Snapshot`] that belong to no atom.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Index of the replica in its campaign: it picks the random streams, and is no position in a batch.
    pub replica: u32,
    /// Steps done.
    pub step: u64,
    /// Degrees of freedom the temperature is counted over.
    pub degrees_of_freedom: usize,
    /// Work done against the forces since step 0, eV.
    pub potential_ev: f64,
    /// Heat taken from the thermostat since step 0, eV.
    pub heat_ev: f64,
    /// The Nosé–Hoover chain, once it has moved.
    #[serde(default)]
    pub chain: Option<Chain>,
}

/// A set of snapshots that cannot be stepped together, or one that is damaged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is nothing to simulate.
    #[error("there is no structure to simulate")]
    NoStructures,
    /// There is not one mass or velocity per atom.
    #[error("replica {replica}: expected one {quantity} for each of {expected} atoms, found {found}")]
    Count {
        /// Index of the replica.
        replica: u32,
        /// What there is too little or too much of.
        quantity: &'static str,
        /// Number of atoms.
        expected: usize,
        /// Number of masses or velocities.
        found: usize,
    },
    /// A mass is zero, negative or not finite.
    #[error("replica {replica}: the mass of atom {atom} must be positive and finite, found {found} u")]
    Mass {
        /// Index of the replica.
        replica: u32,
        /// Index of the atom, from 0.
        atom: usize,
        /// What was given, in u.
        found: f64,
    },
    /// A velocity is NaN or infinite.
    #[error("replica {replica}: the velocity of atom {atom} is not finite")]
    NonFiniteVelocity {
        /// Index of the replica.
        replica: u32,
        /// Index of the atom, from 0.
        atom: usize,
    },
    /// Replicas are not at the same step.
    #[error("replica {replica} is at step {found}, the first one is at step {expected}")]
    StepsDiffer {
        /// Index of the replica.
        replica: u32,
        /// Step of the first replica.
        expected: u64,
        /// Step of this replica.
        found: u64,
    },
    /// The degrees of freedom are not those of the configuration.
    #[error("replica {replica} is of another ensemble; make a next stage of it to change the ensemble")]
    OtherEnsemble {
        /// Index of the replica.
        replica: u32,
    },
    /// Two replicas have one index, and would follow the same noise.
    #[error("the replica index {replica} is used twice")]
    ReplicaTwice {
        /// The index.
        replica: u32,
    },
}

impl Snapshot {
    /// Step 0 of a replica: velocities are drawn at the configuration's initial temperature, from the replica's stream.
    ///
    /// What the dynamics conserves of translation and rotation ([`Config::conserved`]) is not started and not counted
    /// as degrees of freedom. Langevin dynamics heats them like all others and counts 3N.
    ///
    /// # Errors
    /// [`StartError`] when the configuration is wrong.
    pub fn start(structure: Structure, replica: u32, config: &Config) -> Result<Self, StartError> {
        let masses_u = masses_u(structure.numbers());
        Self::start_with_masses(structure, masses_u, replica, config)
    }

    /// As [`Snapshot::start`], with masses in u of one's own, for isotopes.
    ///
    /// # Errors
    /// [`StartError`] when the configuration is wrong, or there is not one positive mass per atom.
    pub fn start_with_masses(
        structure: Structure,
        masses_u: Vec<f64>,
        replica: u32,
        config: &Config,
    ) -> Result<Self, StartError> {
        config.validate()?;
        check_masses(&masses_u, structure.n_atoms(), replica)?;
        let velocities = maxwell_boltzmann(&masses_u, replica, config);
        let mut start = Self::at_step_zero(structure, masses_u, velocities, replica, config);
        start.leave_the_line(config);
        if config.starting_velocities == StartingVelocities::Scaled {
            let n_degrees = start.progress.degrees_of_freedom;
            scale_to_temperature(&mut start.velocities, &start.masses_u, n_degrees, config);
        }
        Ok(start)
    }

    /// As [`Snapshot::start_with_masses`], with velocities `[n_atoms][3]` in Å/fs of one's own.
    ///
    /// # Errors
    /// [`StartError`] when the configuration is wrong, or there is not one finite velocity per atom.
    pub fn start_with_velocities(
        structure: Structure,
        masses_u: Vec<f64>,
        velocities: Vec<[f64; 3]>,
        replica: u32,
        config: &Config,
    ) -> Result<Self, StartError> {
        let mut start = Self::start_with_masses(structure, masses_u, replica, config)?;
        start.velocities = velocities;
        start.next_stage(config)
    }

    /// Step 0 of another run, with the positions and velocities that this one has: production after equilibration.
    ///
    /// Energies count from here. Translation and rotation are removed as in [`Snapshot::start`].
    /// A thermostat's noise is a function of seed and step: give the next stage a seed of its own.
    ///
    /// # Errors
    /// [`StartError`] when the configuration or the snapshot is wrong.
    ///
    /// # Panics
    /// When a position is not finite.
    pub fn next_stage(self, config: &Config) -> Result<Self, StartError> {
        config.validate()?;
        self.check()?;
        let Self { structure, masses_u, velocities, progress } = self;
        Ok(Self::at_step_zero(structure, masses_u, velocities, progress.replica, config))
    }

    fn at_step_zero(
        structure: Structure,
        masses_u: Vec<f64>,
        mut velocities: Vec<[f64; 3]>,
        replica: u32,
        config: &Config,
    ) -> Self {
        let n_rigid = match config.conserved() {
            Conserved::Nothing => 0,
            Conserved::Momentum => {
                remove_translation(&masses_u, &mut velocities);
                3
            }
            Conserved::MomentumAndAngularMomentum => {
                remove_translation_and_rotation(&masses_u, structure.positions(), &mut velocities);
                // Three atoms or more in a line bend as soon as they move, so the geometry does not count.
                [0, 3, 5, 6][structure.n_atoms().min(3)]
            }
        };
        let degrees_of_freedom = 3 * structure.n_atoms() - n_rigid;
        let progress =
            Progress { replica, step: 0, degrees_of_freedom, potential_ev: 0.0, heat_ev: 0.0, chain: None };
        Self { structure, masses_u, velocities, progress }
    }

    /// Takes the rotation that atoms in a line have from the first step on out of velocities drawn for them: the
    /// one about the line, as at positions that are bent by a thousandth of an ångström in a random direction.
    fn leave_the_line(&mut self, config: &Config) {
        let n_rigid = rigid_degrees_of_freedom(self.structure.positions());
        if 3 * self.structure.n_atoms() - n_rigid <= self.progress.degrees_of_freedom {
            return;
        }
        let bent = bent(self.structure.positions(), self.progress.replica, config);
        for positions in [&bent[..], self.structure.positions()] {
            remove_translation_and_rotation(&self.masses_u, positions, &mut self.velocities);
        }
    }

    fn check(&self) -> Result<(), StartError> {
        let (n_atoms, replica) = (self.structure.n_atoms(), self.progress.replica);
        check_masses(&self.masses_u, n_atoms, replica)?;
        check_count("velocity", self.velocities.len(), n_atoms, replica)?;
        let is_finite = |velocity: &[f64; 3]| velocity.iter().all(|component| component.is_finite());
        match self.velocities.iter().position(|velocity| !is_finite(velocity)) {
            None => Ok(()),
            Some(atom) => Err(StartError::NonFiniteVelocity { replica, atom }),
        }
    }

    /// Whether the degrees of freedom are what the dynamics does not conserve; only a chain has a chain.
    fn is_of(&self, config: &Config) -> bool {
        let n_atoms = self.structure.n_atoms();
        let taken = (3 * n_atoms).checked_sub(self.progress.degrees_of_freedom);
        let may_take: &[usize] = match (config.conserved(), n_atoms) {
            (Conserved::Nothing, _) => &[0],
            (Conserved::Momentum, _) | (_, 1) => &[3],
            (Conserved::MomentumAndAngularMomentum, 2) => &[5],
            // 5 in older runs of a molecule that began in a line.
            (Conserved::MomentumAndAngularMomentum, _) => &[5, 6],
        };
        let may_chain = matches!(config.ensemble, Ensemble::NvtNoseHoover { .. });
        taken.is_some_and(|taken| may_take.contains(&taken)) && (may_chain || self.progress.chain.is_none())
    }
}

/// The replicas of one simulation, in lockstep.
#[derive(Debug, Clone)]
pub(crate) struct Systems {
    pub(crate) structures: Vec<Structure>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) masses_u: Vec<f64>,
    pub(crate) velocities: Vec<[f64; 3]>,
    pub(crate) forces: Vec<[f64; 3]>,
    first_atom: Vec<usize>,
}

impl Systems {
    /// Lays the snapshots side by side; forces are zero until computed.
    pub(crate) fn new(snapshots: Vec<Snapshot>, config: &Config) -> Result<Self, StartError> {
        let expected = snapshots.first().ok_or(StartError::NoStructures)?.progress.step;
        let mut systems = Self {
            structures: Vec::with_capacity(snapshots.len()),
            progress: Vec::with_capacity(snapshots.len()),
            masses_u: Vec::new(),
            velocities: Vec::new(),
            forces: Vec::new(),
            first_atom: vec![0],
        };
        for snapshot in snapshots {
            snapshot.check()?;
            let Progress { replica, step: found, .. } = snapshot.progress;
            if !snapshot.is_of(config) {
                return Err(StartError::OtherEnsemble { replica });
            }
            if found != expected {
                return Err(StartError::StepsDiffer { replica, expected, found });
            }
            if systems.progress.iter().any(|other| other.replica == replica) {
                return Err(StartError::ReplicaTwice { replica });
            }
            let Snapshot { structure, masses_u, velocities, progress } = snapshot;
            systems.masses_u.extend(masses_u);
            systems.velocities.extend(velocities);
            systems.structures.push(structure);
            systems.progress.push(progress);
            systems.first_atom.push(systems.velocities.len());
        }
        systems.forces = vec![[0.0; 3]; systems.velocities.len()];
        Ok(systems)
    }

    pub(crate) fn len(&self) -> usize {
        self.structures.len()
    }

    pub(crate) fn step(&self) -> u64 {
        self.progress[0].step
    }

    /// Where the atoms of the replica at position `b` lie in `masses_u`, `velocities` and `forces`.
    pub(crate) fn atoms(&self, b: usize) -> Range<usize> {
        self.first_atom[b]..self.first_atom[b + 1]
    }

    pub(crate) fn snapshot(&self, b: usize) -> Snapshot {
        Snapshot {
            structure: self.structures[b].clone(),
            masses_u: self.masses_u[self.atoms(b)].to_vec(),
            velocities: self.velocities[self.atoms(b)].to_vec(),
            progress: self.progress[b],
        }
    }
}

fn check_masses(masses_u: &[f64], n_atoms: usize, replica: u32) -> Result<(), StartError> {
    check_count("mass", masses_u.len(), n_atoms, replica)?;
    match masses_u.iter().position(|&mass_u| !(mass_u > 0.0 && mass_u.is_finite())) {
        None => Ok(()),
        Some(atom) => Err(StartError::Mass { replica, atom, found: masses_u[atom] }),
    }
}

fn check_count(
    quantity: &'static str,
    found: usize,
    expected: usize,
    replica: u32,
) -> Result<(), StartError> {
    if found == expected { Ok(()) } else { Err(StartError::Count { replica, quantity, expected, found }) }
}
