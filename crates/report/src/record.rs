//! A result file: what was found, and everything needed to find it again.
//!
//! JSON: `schema` (a number that grows when the meaning of a field changes), `provenance`, and `judgement` with its
//! `kind` and `result`. Field names end in their unit; without one, a number is a count, a share or an index.

use mdet_analysis::map::StructureMap;
use mdet_analysis::observables::ObservableErrors;
use mdet_analysis::{Accuracy, Drift, Equivariance, Lambda, Stability, Trajectories};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The present meaning of the fields.
const SCHEMA: u32 = 2;

/// How a result came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The command line that made it.
    pub command: String,
    /// Version of mdet.
    pub mdet_version: String,
    /// Target and processor features the program ran on.
    pub machine: String,
    /// Name or file of the model.
    pub model: String,
    /// SHA-256 of the model's file, hexadecimal.
    pub model_sha256: String,
    /// What the model was trained on, by its card.
    pub trained_on: String,
    /// Files read, each with its SHA-256, hexadecimal.
    pub inputs: Vec<(String, String)>,
    /// Seed of all draws.
    pub seed: u64,
    /// Wall time, s.
    pub seconds: f64,
    /// The units of what has none in its name.
    pub units: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "result", rename_all = "kebab-case")]
pub enum Judgement {
    /// `mdet eval`.
    Accuracy(Box<Accuracy>),
    /// `mdet judge equivariance`.
    Equivariance(Equivariance),
    /// `mdet judge lambda`.
    Lambda(Lambda),
    /// `mdet judge drift`.
    Drift(Drift),
    /// `mdet judge map`.
    Map(StructureMap),
    /// `mdet judge stability`.
    Stability(Stability),
    /// `mdet judge observables`.
    Observables(ObservableErrors),
    /// `mdet traj`.
    Trajectories(Trajectories),
}

/// A molecule or a trajectory to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// What it shows.
    pub caption: String,
    /// Frames of one molecule in XYZ format, positions in Å.
    pub xyz: String,
}

/// A result file's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of the fields' meaning.
    pub schema: u32,
    /// How it came about.
    pub provenance: Provenance,
    /// What was found.
    pub judgement: Judgement,
    /// What to look at beside the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
}

/// Why a result file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is no result file.
    #[error("{}: expected a result file of mdet", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Its fields mean something else.
    #[error("{}: made by another version of mdet (schema {found}, this one reads {SCHEMA}): make it again", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The schema found.
        found: u32,
    },
}

/// The one field that every schema has.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

impl Record {
    /// A record of the present schema.
    pub fn new(provenance: Provenance, judgement: Judgement, view: Option<View>) -> Self {
        Self { schema: SCHEMA, provenance, judgement, view }
    }

    /// The file's content: indented JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("records have string keys only");
        text.push('\n');
        text
    }

    /// Reads a result file.
    ///
    /// # Errors
    /// [`RecordError`] says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let path = path.to_path_buf();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(RecordError::Read { path, source }),
        };
        // First of all: another schema's fields need not be readable.
        match serde_json::from_str::<Version>(&text) {
            Ok(Version { schema: found }) if found != SCHEMA => Err(RecordError::Schema { path, found }),
            _ => serde_json::from_str(&text).map_err(|source| RecordError::Json { path, source }),
        }
    }
}
