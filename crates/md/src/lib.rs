//! Molecular dynamics under any [`mdet_core::ForceField`]: replicas in lockstep, NVE and NVT, frames to a sink.
//!
//! Read in this order: [`config`] what is asked for, [`system`] the state, [`integrator`] and [`thermostat`] the moves,
//! [`simulation`] one step, [`run`] many, [`monitor`] whether to trust it, [`observables`] what is measured, [`statistics`] and [`summary`] what it
//! amounts to. A replica's trajectory is a function of its structure, the configuration and its index alone.
//!
//! Apart from dynamics: [`optimise`] geometries, [`normal_modes`] of minima.
//!
//! Absent on purpose: files (the command plugs a [`Sink`] in) and periodic boundaries.

pub mod config;
pub mod integrator;
pub mod monitor;
pub mod normal_modes;
pub mod observables;
pub mod optimise;
pub mod run;
pub mod simulation;
pub mod statistics;
pub mod summary;
pub mod system;
pub mod thermostat;
pub mod velocities;

pub use config::{Config, ConfigError, Conserved, Ensemble, Orientation, StartingVelocities};
pub use monitor::{Monitor, Reading, StopCondition};
pub use observables::Observables;
pub use run::{Ending, Schedule, Sink, SinkError};
pub use simulation::{Frame, Simulation, SimulationError};
pub use statistics::{Mean, Plateau, Slope};
pub use summary::Summary;
pub use system::{Progress, Snapshot, StartError};
