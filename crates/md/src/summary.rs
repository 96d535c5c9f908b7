//! What a run amounts to: mean temperature, heating and energy drift of one replica, with uncertainties.
//!
//! Drift of the kinetic energy is what tells of the force field in NVE: the total energy is conserved by
//! construction when the potential is the work done (see [`crate::observables`]).

use serde::{Deserialize, Serialize};

use crate::observables::Observables;
use crate::statistics::{Mean, Slope, blocked_mean, drift_ev_per_atom_per_ps};

/// Averages over the frames of one replica. `None` where the frames are too few.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of frames averaged over.
    pub n_frames: usize,
    /// Mean temperature in K.
    pub temperature_k: Option<Mean>,
    /// Drift of the kinetic energy in eV per atom and ps.
    pub kinetic_drift: Option<Slope>,
    /// Drift of the work-integrated total energy in eV per atom and ps.
    pub total_drift: Option<Slope>,
    /// Drift of the conserved energy in eV per atom and ps: the integrator's error.
    pub conserved_drift: Option<Slope>,
    /// Largest force on an atom in any frame, eV/Å.
    pub max_force_ev_per_angstrom: f64,
}

impl Summary {
    /// Summarises the frames of one replica, evenly spaced in time, of a molecule of `n_atoms` atoms.
    pub fn of(frames: &[Observables], n_atoms: usize) -> Self {
        let column = |pick: fn(&Observables) -> f64| frames.iter().map(pick).collect::<Vec<f64>>();
        let time_fs = column(|frame| frame.time_fs);
        let forces = column(|frame| frame.max_force_ev_per_angstrom);
        let drift = |energy_ev: Vec<f64>| drift_ev_per_atom_per_ps(&time_fs, &energy_ev, n_atoms);
        Self {
            n_frames: frames.len(),
            temperature_k: blocked_mean(&column(|frame| frame.temperature_k)),
            kinetic_drift: drift(column(|frame| frame.kinetic_ev)),
            total_drift: drift(column(|frame| frame.total_ev)),
            conserved_drift: drift(column(|frame| frame.conserved_ev)),
            max_force_ev_per_angstrom: forces.into_iter().fold(0.0, f64::max),
        }
    }
}
