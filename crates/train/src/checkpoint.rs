//! The state of a run in one safetensors file, for an exact resume: parameters, moments, average, step, best error.

use crate::{Optimiser, Ranks};
use mdet_core::atomic_write;
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
}

impl State {
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let container = |source| CheckpointError::Container { path: path.into(), source };
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let arrays = [&self.values, &self.average, &self.optimiser.first, &self.optimiser.second];
        let data: Vec<Vec<u8>> = arrays.map(|array| bytes(array)).into();
        let (steps, best) = (self.optimiser.n_steps.to_le_bytes(), self.best.to_le_bytes());
        let mut views = vec![
            ("steps", TensorView::new(Dtype::U64, vec![1], &steps).map_err(container)?),
            ("best", TensorView::new(Dtype::F64, vec![1], &best).map_err(container)?),
        ];
        for (name, (array, data)) in NAMES.iter().zip(arrays.iter().zip(&data)) {
            views.push((name, TensorView::new(Dtype::F32, vec![array.len()], data).map_err(container)?));
        }
        let file = safetensors::serialize(views, None).map_err(container)?;
        atomic_write(path, &file).map_err(|source| CheckpointError::Io { path: path.into(), source })
    }

    /// Replaces this state, which has the right lengths, by the one in the file.
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
        let eight = |name: &'static str, data: &[u8]| {
            let path = path.into();
            data.try_into().map_err(|_| CheckpointError::Length {
                path,
                name,
                found: data.len(),
                expected: 8,
            })
        };
        // States of earlier builds have no best error.
        if let Ok(best) = tensors.tensor("best") {
            self.best = f64::from_le_bytes(eight("best", best.data())?);
        }
        self.optimiser.n_steps = u64::from_le_bytes(eight("steps", steps.data())?);
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
