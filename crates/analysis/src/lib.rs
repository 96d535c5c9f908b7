//! Judgements of force fields: numbers with uncertainties, as structs that are written as JSON.
//!
//! Everything here sees a force field through `core::ForceField` or the numbers it gave, so that a network, a
//! committee and an analytic potential are judged alike. Dynamics is run elsewhere and comes in as series.
//!
//! | module | question |
//! |---|---|
//! | [`accuracy`] | how far are predicted forces from reference forces? |
//! | [`equivariance`] | how far do forces turn with the molecule? |
//! | [`lambda`], [`loops`] | do the forces have a potential? |
//! | [`drift`], [`heating`] | how much energy do they pump into a molecule, and how much should their errors? |
//! | [`map`], [`features`] | which molecules fail? |
//! | [`stability`] | until when does dynamics hold, and are distances right? |
//! | [`trajectory`] | what does a trajectory show, and how do two differ? Made of [`motion`], [`spectra`], [`torsions`] |
//! | [`observables`] | which drift is harmless? |
//! | [`blocks`], [`statistics`] | how sure is a number? |
//!
//! Deliberately absent: files, plots and dynamics.

pub mod accuracy;
pub mod blocks;
pub mod drift;
pub mod equivariance;
pub mod features;
mod harmonics;
pub mod heating;
pub mod lambda;
pub mod loops;
pub mod map;
pub mod motion;
pub mod observables;
pub mod spectra;
pub mod sphere;
pub mod stability;
pub mod statistics;
pub mod torsions;
pub mod trajectory;

pub use accuracy::Accuracy;
pub use drift::Drift;
pub use equivariance::Equivariance;
pub use lambda::Lambda;
pub use loops::LoopWork;
pub use stability::Stability;
pub use statistics::{Estimate, Histogram, Spread};
pub use trajectory::Trajectories;
