//! Which model computes, in which precision and on how many threads.

use crate::AnyError;
use clap::{Args, ValueEnum};
use mdet_core::{ForceField, ForceJacobian};
use mdet_model::{Model, NetworkForceField};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What names the built-in model where a file is asked for.
pub(crate) const BUILT_IN: &str = "built-in";

/// Floating-point precision of the network; geometry is always f64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Precision {
    /// Single: fast.
    F32,
    /// Double: for energy conservation and reference numbers.
    F64,
}

impl Precision {
    /// What a call costs, in calls in f32.
    pub fn cost(self) -> u64 {
        match self {
            Self::F32 => 1,
            Self::F64 => 2,
        }
    }
}

/// Model options that all verbs share.
#[derive(Args)]
pub(crate) struct ModelArgs {
    /// Model file, or "built-in" [default: the built-in model].
    #[arg(long, value_name = "MODEL.safetensors")]
    pub model: Option<PathBuf>,
    /// Precision of the network [default: f32; NVE dynamics and frequencies: f64].
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Threads; the result does not depend on it [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl ModelArgs {
    /// The model, and the file it came from.
    pub fn load(&self) -> Result<(Model, String), AnyError> {
        load(self.model.as_ref())
    }

    /// The model as a force field: raw forces in eV/Å.
    pub fn force_field(&self, model: &Model) -> Result<Box<dyn ForceField>, AnyError> {
        self.force_field_in(self.precision.unwrap_or(Precision::F32), model)
    }

    /// [`ModelArgs::force_field`] in a precision that was settled elsewhere.
    pub fn force_field_in(
        &self,
        precision: Precision,
        model: &Model,
    ) -> Result<Box<dyn ForceField>, AnyError> {
        Ok(self.force_jacobian_in(precision, model)?)
    }

    /// [`ModelArgs::force_field_in`], with the derivative of the forces.
    pub fn force_jacobian_in(
        &self,
        precision: Precision,
        model: &Model,
    ) -> Result<Box<dyn ForceJacobian>, AnyError> {
        let n_threads = self.threads.map_or(0, usize::from);
        Ok(match precision {
            Precision::F32 => Box::new(NetworkForceField::<f32>::new(model.network()?, n_threads)?),
            Precision::F64 => Box::new(NetworkForceField::<f64>::new(model.network()?, n_threads)?),
        })
    }
}

/// The models of a committee, separated by commas, each with the file it came from; mostly one.
pub(crate) fn load_committee(paths: &Path) -> Result<Vec<(Model, String)>, AnyError> {
    let text = paths.to_string_lossy();
    if !text.contains(',') || paths.exists() {
        return Ok(vec![load(Some(&paths.to_path_buf()))?]);
    }
    text.split(',').map(|path| load(Some(&PathBuf::from(path)))).collect()
}

/// A model file; the built-in model without one, and by its name.
pub(crate) fn load(path: Option<&PathBuf>) -> Result<(Model, String), AnyError> {
    let Some(path) = path.filter(|path| path.as_os_str() != BUILT_IN) else {
        return Ok((Model::built_in()?, BUILT_IN.into()));
    };
    let named = |error| -> AnyError {
        match error {
            error @ mdet_model::ModelError::Io { .. } => error.into(),
            error => format!("{}: {}", path.display(), crate::one_line(&error)).into(),
        }
    };
    Ok((Model::read(path).map_err(named)?, path.display().to_string()))
}
