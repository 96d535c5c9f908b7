//! What `config.toml` in a run folder says: everything that decides the run.

use crate::AnyError;
use crate::input::at;
use crate::model_choice::Precision;
use clap::ValueEnum;
use mdet_core::atomic_write;
use mdet_md::{Config, StopCondition};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

/// The resolved configuration of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunConfig {
    pub mdet_version: String,
    pub input: PathBuf,
    pub input_sha256: Option<String>,
    /// What the command line said of charge and multiplicity over the file.
    pub charge: Option<i32>,
    pub multiplicity: Option<u32>,
    pub replicas: u32,
    pub model: String,
    pub model_sha256: String,
    pub precision: Precision,
    /// Rotations that every force is the mean over; 1 for none.
    pub frames: usize,
    pub keep_net_force: bool,
    pub keep_net_torque: bool,
    pub n_steps: u64,
    pub every: NonZeroU64,
    pub checkpoint_every: NonZeroU64,
    /// Steps between readings of the trust monitor; 0 for none.
    pub monitor_every: u64,
    pub stop_on: Vec<StopCondition>,
    pub format: Format,
    pub write: Vec<Column>,
    pub dynamics: Config,
}

/// The trajectory's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Extended XYZ: text, exact numbers; ASE, OVITO, VMD.
    Xyz,
    /// AMBER NetCDF (.nc): binary, single precision; MDAnalysis, ASE, VMD, cpptraj.
    Netcdf,
    /// DCD: binary, single precision, positions alone; MDAnalysis, VMD, ASE.
    Dcd,
}

/// What a trajectory holds of every atom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Column {
    /// Positions, Å.
    Positions,
    /// Velocities, Å/fs.
    Velocities,
    /// Forces, eV/Å.
    Forces,
}

impl RunConfig {
    /// Reads the configuration of a run folder.
    pub fn read(folder: &Path) -> Result<Self, AnyError> {
        let path = path_in(folder);
        let text = std::fs::read_to_string(&path).map_err(at(&path))?;
        toml::from_str(&text).map_err(|error| format!("{}: {}", path.display(), error.message()).into())
    }

    /// Writes it into a run folder, in place of an older one.
    pub fn write(&self, folder: &Path) -> Result<(), AnyError> {
        let path = path_in(folder);
        atomic_write(&path, toml::to_string(self)?.as_bytes()).map_err(at(&path))
    }

    /// Whether the trajectory holds a column.
    pub fn writes(&self, column: Column) -> bool {
        self.write.contains(&column)
    }
}

/// Where a run folder has its configuration.
pub(crate) fn path_in(folder: &Path) -> PathBuf {
    folder.join("config.toml")
}
