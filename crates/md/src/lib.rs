//! Molecular dynamics under any [`mdet_core::ForceField`]: replicas in lockstep, NVE and Langevin, frames to a sink.
//!
//! Read in this order: [`config`] what is asked for, [`system`] the state, [`integrator`] the moves,
//! [`simulation`] one step, [`run`] many, [`observables`] what is measured, [`statistics`] and [`summary`] what it
//! amounts to. A replica's trajectory is a function of its structure, the configuration and its index alone.
//!
//! Absent on purpose: files (the command plugs a [`Sink`] in) and periodic boundaries.

pub mod config;
pub mod integrator;
pub mod observables;
pub mod run;
pub mod simulation;
pub mod statistics;
pub mod summary;
pub mod system;
pub mod velocities;

pub use config::{Config, ConfigError, Ensemble};
pub use observables::Observables;
pub use run::{Ending, Sink};
pub use simulation::{Frame, Simulation, SimulationError};
pub use statistics::{Mean, Plateau, Slope};
pub use summary::Summary;
pub use system::{Progress, Snapshot, StartError};
