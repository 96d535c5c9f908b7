//! The checkpoint of a run: state of every replica and the lengths its files had, in one file that is replaced whole.
//!
//! Numbers are written with the digits that read back as the same `f64`, so a restarted run goes on bit for bit.

use crate::AnyError;
use crate::input::at;
use mdet_core::{ReferenceBonds, Structure, atomic_write};
use mdet_md::{Progress, Snapshot};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

const FILE: &str = "checkpoint.json";

/// Everything that a restart needs beside `config.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    pub replicas: Vec<ReplicaState>,
}

/// One replica: its molecule in motion, and its files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplicaState {
    /// What its files carry in their names.
    pub label: String,
    pub numbers: Vec<u8>,
    pub charge: i32,
    pub multiplicity: u32,
    pub masses_u: Vec<f64>,
    pub positions_angstrom: Vec<[f64; 3]>,
    pub velocities_angstrom_per_fs: Vec<[f64; 3]>,
    pub progress: Progress,
    pub bonds: Vec<[usize; 2]>,
    pub bond_lengths_angstrom: Vec<f64>,
    /// The first frame with a broken bond: its time and the bonds.
    pub broken: Option<(f64, Vec<String>)>,
    pub files: FileState,
}

/// How far a replica's files were written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileState {
    pub n_frames: u32,
    pub trajectory_bytes: u64,
    pub table_bytes: u64,
    pub monitor_bytes: u64,
}

impl Checkpoint {
    /// Reads the checkpoint of a run folder.
    pub fn read(folder: &Path) -> Result<Self, AnyError> {
        let path = path_in(folder);
        if folder.is_dir() && !path.exists() {
            let folder = folder.display();
            return Err(format!(
                "{folder}: has no checkpoint, the run ended before its start; begin it anew"
            )
            .into());
        }
        let bytes = std::fs::read(&path).map_err(at(&path))?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// Puts it in the place of the last one.
    pub fn write(&self, folder: &Path) -> Result<(), AnyError> {
        let path = path_in(folder);
        atomic_write(&path, &serde_json::to_vec(self)?).map_err(at(&path))
    }
}

impl ReplicaState {
    pub fn new(
        snapshot: &Snapshot,
        label: &str,
        bonds: &ReferenceBonds,
        broken: Option<(f64, Vec<String>)>,
        files: FileState,
    ) -> Self {
        let structure = &snapshot.structure;
        Self {
            label: label.to_owned(),
            numbers: structure.numbers().to_vec(),
            charge: structure.charge(),
            multiplicity: structure.multiplicity(),
            masses_u: snapshot.masses_u.clone(),
            positions_angstrom: structure.positions().to_vec(),
            velocities_angstrom_per_fs: snapshot.velocities.clone(),
            progress: snapshot.progress,
            bonds: bonds.pairs.clone(),
            bond_lengths_angstrom: bonds.lengths_angstrom.clone(),
            broken,
            files,
        }
    }

    pub fn snapshot(&self) -> Result<Snapshot, AnyError> {
        let positions = self.positions_angstrom.clone();
        Ok(Snapshot {
            structure: Structure::new(self.numbers.clone(), positions, self.charge, self.multiplicity)?,
            masses_u: self.masses_u.clone(),
            velocities: self.velocities_angstrom_per_fs.clone(),
            progress: self.progress,
        })
    }

    pub fn reference_bonds(&self) -> ReferenceBonds {
        ReferenceBonds { pairs: self.bonds.clone(), lengths_angstrom: self.bond_lengths_angstrom.clone() }
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}
