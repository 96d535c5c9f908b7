//! `mdet judge`: how far an unconstrained model can be trusted.

mod drift;
mod equivariance;
mod lambda;
mod map;
mod nve;
mod observables;
mod parts;
mod prediction;
mod saved;
mod stability;

use crate::{AnyError, Done};
use clap::Subcommand;

/// Judge what a model's forces lack by construction: rotational symmetry, a potential, stability.
///
/// Every judgement writes a result file for `mdet report` and prints what it amounts to.
// Each verb is described by its arguments.
#[derive(Subcommand)]
pub(crate) enum JudgeVerb {
    Equivariance(equivariance::EquivarianceArgs),
    Lambda(lambda::LambdaArgs),
    Drift(drift::DriftArgs),
    Map(map::MapArgs),
    Stability(stability::StabilityArgs),
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
