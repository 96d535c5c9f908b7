//! The state of a run in one safetensors file, for an exact resume: parameters, moments, average, step, best error, and
//! which data they come from.

use crate::{Optimiser, Ranks};
use mdet_core::atomic_write;
use mdet_data::Dataset;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use std::path::{Path, PathBuf};

/// Everything that a step changes.
#[derive(Debug)]
pub(crate) struct State {
    /// The arena, trainable and fixed.
    pub values: Vec<f32>,
    /// Average of the trainable parameters.
    pub average: Vec<f32>,
    pub optimiser: Optimiser<f32>,
    /// Lowest validation error so far, meV/Å; infinite before the first.
    pub best: f64,
    /// Validation structures that `best` was measured on.
    pub n_measured: u64,
    /// Of the training and the validation data.
    pub contents: [Contents; 2],
}

/// What a data set holds, in two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// Structures.
    pub n_structures: u64,
    /// CRC-32C of the structures and their forces, in order.
    pub checksum: u64,
}

/// Why a run's state cannot be saved or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not a state file, or a truncated one.
    #[error("{path}: not a readable training state")]
    Container {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SafeTensorError,
    },
    /// A state of another architecture.
    #[error("{path}: {name} holds {found} bytes, this configuration's has {expected}")]
    Length {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: &'static str,
        /// Its bytes.
        found: usize,
        /// The bytes expected.
        expected: usize,
    },
    /// A state of a run on other data.
    #[error("{path}: {key}: expected the data that the run began with, {expected}, found {found}")]
    OtherData {
        /// The file.
        path: PathBuf,
        /// The configuration's key of these data.
        key: &'static str,
        /// What the run began with.
        expected: Contents,
        /// What the key names now.
        found: Contents,
    },
}

impl Contents {
    /// Reads all of a data set.
    pub(crate) fn of(dataset: &Dataset) -> Self {
        let (mut checksum, mut bytes) = (0, Vec::new());
        for structure in dataset.iter() {
            bytes.clear();
            bytes.extend(structure.numbers);
            bytes.extend(structure.charge.to_le_bytes());
            bytes.extend(structure.multiplicity.to_le_bytes());
            for vectors in [structure.positions, structure.forces] {
                bytes.extend(vectors.as_flattened().iter().flat_map(|c| c.to_le_bytes()));
            }
            checksum = crc32c::crc32c_append(checksum, &bytes);
        }
        Self { n_structures: dataset.len() as u64, checksum: checksum.into() }
    }

    fn to_bytes(self) -> Vec<u8> {
        [self.n_structures.to_le_bytes(), self.checksum.to_le_bytes()].concat()
    }
}

impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} structures with checksum {:08x}", self.n_structures, self.checksum)
    }
}

impl State {
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let container = |source| CheckpointError::Container { path: path.into(), source };
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let arrays = [&self.values, &self.average, &self.optimiser.first, &self.optimiser.second];
        let data: Vec<Vec<u8>> = arrays.map(|array| bytes(array)).into();
        let (steps, best) = (self.optimiser.n_steps.to_le_bytes(), self.best.to_le_bytes());
        let (n_measured, contents) = (self.n_measured.to_le_bytes(), self.contents.map(Contents::to_bytes));
        let mut views = vec![
            ("steps", TensorView::new(Dtype::U64, vec![1], &steps).map_err(container)?),
            ("best", TensorView::new(Dtype::F64, vec![1], &best).map_err(container)?),
            ("n_measured", TensorView::new(Dtype::U64, vec![1], &n_measured).map_err(container)?),
        ];
        for (name, contents) in DATA.iter().zip(&contents) {
            views.push((name, TensorView::new(Dtype::U64, vec![2], contents).map_err(container)?));
        }
        for (name, (array, data)) in NAMES.iter().zip(arrays.iter().zip(&data)) {
            views.push((name, TensorView::new(Dtype::F32, vec![array.len()], data).map_err(container)?));
        }
        let file = safetensors::serialize(views, None).map_err(container)?;
        atomic_write(path, &file).map_err(|source| CheckpointError::Io { path: path.into(), source })
    }

    /// Replaces this state, which has the right lengths and data, by the one in the file. A best error on another number
    /// of structures counts for nothing.
    pub fn read(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let file = std::fs::read(path).map_err(|source| CheckpointError::Io { path: path.into(), source })?;
        let container = |source| CheckpointError::Container { path: path.into(), source };
        let tensors = SafeTensors::deserialize(&file).map_err(container)?;
        let steps = tensors.tensor("steps").map_err(container)?;
        let arrays =
            [&mut self.values, &mut self.average, &mut self.optimiser.first, &mut self.optimiser.second];
        for (name, array) in NAMES.into_iter().zip(arrays) {
            let data = tensors.tensor(name).map_err(container)?.data();
            let expected = 4 * array.len();
            if data.len() != expected {
                let path = path.into();
                return Err(CheckpointError::Length { path, name, found: data.len(), expected });
            }
            for (value, bytes) in array.iter_mut().zip(data.chunks_exact(4)) {
                *value = f32::from_le_bytes(bytes.try_into().expect("chunks of four"));
            }
        }
        // States of earlier builds lack the best error, the number of its structures, or the data.
        if let Ok(best) = tensors.tensor("best") {
            self.best = f64::from_le_bytes(eight_bytes(path, "best", best.data())?);
        }
        if let Ok(n_measured) = tensors.tensor("n_measured")
            && u64::from_le_bytes(eight_bytes(path, "n_measured", n_measured.data())?) != self.n_measured
        {
            self.best = f64::INFINITY;
        }
        for (key, &found) in DATA.into_iter().zip(&self.contents) {
            if let Ok(contents) = tensors.tensor(key) {
                let expected = read_contents(path, key, contents.data())?;
                if expected != found {
                    return Err(CheckpointError::OtherData { path: path.into(), key, expected, found });
                }
            }
        }
        self.optimiser.n_steps = u64::from_le_bytes(eight_bytes(path, "steps", steps.data())?);
        Ok(())
    }
}

impl State {
    /// Every rank gets the first one's.
    pub fn share(&mut self, ranks: &Ranks) {
        ranks.broadcast(&mut self.values);
        ranks.broadcast(&mut self.average);
        ranks.broadcast(&mut self.optimiser.first);
        ranks.broadcast(&mut self.optimiser.second);
        // Exact below 2⁵³ steps.
        let mut numbers = [self.optimiser.n_steps as f64, self.best];
        ranks.broadcast(&mut numbers);
        (self.optimiser.n_steps, self.best) = (numbers[0] as u64, numbers[1]);
    }
}

/// Names of the arrays in the file, in the order of `State`'s fields.
const NAMES: [&str; 4] = ["values", "average", "first_moment", "second_moment"];
/// Names of [`State::contents`], which are the configuration's keys.
const DATA: [&str; 2] = ["data", "validation"];

fn read_contents(path: &Path, key: &'static str, data: &[u8]) -> Result<Contents, CheckpointError> {
    let (n_structures, checksum) = data.split_at(data.len() / 2);
    Ok(Contents {
        n_structures: u64::from_le_bytes(eight_bytes(path, key, n_structures)?),
        checksum: u64::from_le_bytes(eight_bytes(path, key, checksum)?),
    })
}

fn eight_bytes(path: &Path, name: &'static str, data: &[u8]) -> Result<[u8; 8], CheckpointError> {
    let (path, found) = (path.into(), data.len());
    data.try_into().map_err(|_| CheckpointError::Length { path, name, found, expected: 8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(best: f64, n_measured: u64, contents: [Contents; 2]) -> State {
        let optimiser = Optimiser::adamw(3, 0.0);
        State { values: vec![1.0; 4], average: vec![2.0; 3], optimiser, best, n_measured, contents }
    }

    #[test]
    fn a_state_is_read_back_for_the_same_data_and_its_best_error_for_the_same_structures() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.safetensors");
        let contents = [(5, 7), (2, 9)].map(|(n_structures, checksum)| Contents { n_structures, checksum });
        state(0.5, 2, contents).write(&path).expect("a place to write");
        for (n_measured, best) in [(2, 0.5), (1, f64::INFINITY)] {
            let mut read = State { values: vec![0.0; 4], ..state(f64::INFINITY, n_measured, contents) };
            read.read(&path).expect("the same data");
            assert_eq!((read.best, &read.values[..]), (best, &[1.0; 4][..]));
        }
        let other = [contents[0], Contents { checksum: 8, ..contents[1] }];
        let error = state(0.0, 2, other).read(&path).expect_err("other data").to_string();
        let expected = "validation: expected the data that the run began with, 2 structures with checksum 00000009, \
                        found 2 structures with checksum 00000008";
        assert!(error.ends_with(expected), "{error}");
    }
}
