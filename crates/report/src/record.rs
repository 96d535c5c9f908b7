//! A result file: what was found, and everything needed to find it again.
//!
//! JSON: `schema` (a number that grows when fields change), `provenance`, and `judgement` with its
//! `kind` and `result`. Field names end in their unit; without one, a number is a count, a share or an index. The types here
//! and in mdet-analysis are what [`Record::schema`] says.

use mdet_analysis::equivariance::MAX_L;
use mdet_analysis::map::StructureMap;
use mdet_analysis::observables::ObservableErrors;
use mdet_analysis::{Accuracy, Drift, Equivariance, Lambda, Stability, Trajectories};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How a result came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The command line that made it.
    pub command: String,
    /// Version of mdet.
    pub mdet_version: String,
    /// Target and processor features the program ran on.
    pub machine: String,
    /// Name or file of the model; of a committee of all members, with commas between them.
    pub model: String,
    /// SHA-256 of the model's file, hexadecimal; of a committee of every member's, with commas between them.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// What it shows.
    pub caption: String,
    /// Frames of one molecule in XYZ format, positions in Å.
    pub xyz: String,
}

/// A result file's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of the fields; 3 here.
    #[schemars(extend("const" = Record::SCHEMA))]
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
    /// It lacks values.
    #[error("{}: expected {expected} {what}, found {found}", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// Values of what.
        what: &'static str,
        /// Their number by the rest of the file.
        expected: usize,
        /// Their number.
        found: usize,
    },
    /// Its fields mean something else.
    #[error("{}: made by another version of mdet (schema {found}, this one reads {}): make it again", path.display(), Record::SCHEMA)]
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
    /// The present version of the fields.
    pub const SCHEMA: u32 = 3;

    /// A record of the present schema.
    pub fn new(provenance: Provenance, judgement: Judgement, view: Option<View>) -> Self {
        Self { schema: Self::SCHEMA, provenance, judgement, view }
    }

    /// JSON schema (draft 2020-12) of a result file.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
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
            Ok(Version { schema: found }) if found != Self::SCHEMA => {
                Err(RecordError::Schema { path, found })
            }
            _ => match serde_json::from_str::<Self>(&text) {
                Err(source) => Err(RecordError::Json { path, source }),
                Ok(record) => match record.judgement.miscounted() {
                    Some((what, expected, found)) => Err(RecordError::Count { path, what, expected, found }),
                    None => Ok(record),
                },
            },
        }
    }
}

impl Judgement {
    /// The first values that are not as many as the report reads: of what, how many were expected, how many found.
    fn miscounted(&self) -> Option<(&'static str, usize, usize)> {
        let counts = match self {
            Self::Accuracy(found) => {
                let (parity, histogram) = (&found.parity, &found.error_histogram_mev_per_angstrom);
                vec![
                    ("cells of parity", parity.n_bins * parity.n_bins, parity.counts.len()),
                    ("edges of the error histogram", histogram.counts.len() + 1, histogram.edges.len()),
                ]
            }
            Self::Equivariance(found) => {
                let map = &found.bias_map_mev_per_angstrom;
                let n_averages = found.structures.first().map_or(0, |s| s.averaged.len());
                let of_structures = found.structures.iter().flat_map(|s| {
                    [
                        ("values of share_per_l", MAX_L, s.share_per_l.len()),
                        ("values of averaged", n_averages, s.averaged.len()),
                    ]
                });
                let cells = ("cells of the bias map", map.n_heights * map.n_azimuths, map.cells.len());
                of_structures.chain([cells]).collect()
            }
            Self::Lambda(found) => {
                vec![("structures at least", found.structures.len().max(1), found.structures.len())]
            }
            Self::Stability(found) => {
                vec![("replicas at least", found.replicas.len().max(1), found.replicas.len())]
            }
            Self::Trajectories(found) => {
                vec![("trajectories", found.trajectories.len().clamp(1, 2), found.trajectories.len())]
            }
            Self::Drift(_) | Self::Map(_) | Self::Observables(_) => Vec::new(),
        };
        counts.into_iter().find(|(_, expected, found)| expected != found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_lacks_values_is_refused_with_their_number() {
        let folder = std::env::temp_dir().join(format!("mdet-report-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("traj.json");
        let provenance = Provenance {
            command: String::new(),
            mdet_version: String::new(),
            machine: String::new(),
            model: String::new(),
            model_sha256: String::new(),
            trained_on: String::new(),
            inputs: Vec::new(),
            seed: 0,
            seconds: 0.0,
            units: String::new(),
        };
        let (molecule, n_atoms) = ("H2O".to_string(), 3);
        let none = Trajectories { molecule, n_atoms, trajectories: Vec::new(), differences: Vec::new() };
        let record = Record::new(provenance, Judgement::Trajectories(none), None);
        std::fs::write(&path, record.to_json()).unwrap();
        let error = Record::read(&path).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(error.ends_with("traj.json: expected 1 trajectories, found 0"), "{error}");
    }
}
