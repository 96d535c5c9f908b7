//! `mdet judge`: how far an unconstrained model can be trusted.

mod drift;
mod equivariance;
mod lambda;
mod map;
mod nve;
mod observables;
mod parts;
mod stability;

use crate::{AnyError, Done};
use clap::Subcommand;

/// Judge what a model's forces lack by construction: rotational symmetry, a potential, stability.
///
/// Every judgement writes a result file for `mdet report` and prints what it amounts to.
#[derive(Subcommand)]
pub(crate) enum JudgeVerb {
    /// How far forces turn with the molecule, in f64 and f32 at the same rotations, and under frame averaging.
    Equivariance(equivariance::EquivarianceArgs),
    /// Whether forces have a potential: antisymmetric share of the exact Jacobian, work around closed loops.
    Lambda(lambda::LambdaArgs),
    /// What forces without a potential pump into a molecule in NVE, in f32 and f64, turned and averaged.
    Drift(drift::DriftArgs),
    /// Which structural features go with failure, over a series of molecules.
    Map(map::MapArgs),
    /// Until when dynamics holds at 500 K, and whether pair distances are those of reference frames.
    Stability(stability::StabilityArgs),
    /// Which drift is harmless: errors of spectrum, dihedrals and temperatures under conditions of growing drift.
    Observables(observables::ObservablesArgs),
}

pub(crate) fn run(verb: &JudgeVerb) -> Result<Done, AnyError> {
    match verb {
        JudgeVerb::Equivariance(args) => equivariance::run(args),
        JudgeVerb::Lambda(args) => lambda::run(args),
        JudgeVerb::Drift(args) => drift::run(args),
        JudgeVerb::Map(args) => map::run(args),
        JudgeVerb::Stability(args) => stability::run(args),
        JudgeVerb::Observables(args) => observables::run(args),
    }
}
