//! The state of `mdet judge stability` between sessions: every replica's samples, positions and velocities.

use crate::AnyError;
use crate::input::at;
use crate::judge::saved::SavedSnapshot;
use mdet_analysis::stability::Watched;
use mdet_core::{Structure, atomic_write};
use mdet_md::Snapshot;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything to go on from.
pub(super) struct State {
    /// What decides the trajectories: a state of anything else is refused.
    pub identity: String,
    /// Wall time of the steps so far, s.
    pub seconds: f64,
    pub replicas: Vec<Replica>,
}

pub(super) struct Replica {
    pub watched: Watched,
    pub snapshot: Snapshot,
}

/// A [`State`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedState {
    identity: String,
    seconds: f64,
    replicas: Vec<SavedReplica>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedReplica {
    watched: Watched,
    snapshot: SavedSnapshot,
}

impl State {
    /// Replicas that are worth a step.
    pub fn running(&self, n_steps: u64) -> Vec<usize> {
        let runs =
            |replica: &Replica| replica.watched.is_stable() && replica.snapshot.progress.step < n_steps;
        (0..self.replicas.len()).filter(|&b| runs(&self.replicas[b])).collect()
    }

    /// Steps of one replica so far, all replicas counted.
    pub fn n_steps(&self) -> u64 {
        self.replicas.iter().map(|replica| replica.snapshot.progress.step).sum()
    }

    pub fn write(&self, path: &Path) -> Result<(), AnyError> {
        let saved = |replica: &Replica| SavedReplica {
            watched: replica.watched.clone(),
            snapshot: SavedSnapshot::of(&replica.snapshot),
        };
        let replicas = self.replicas.iter().map(saved).collect();
        let state = SavedState { identity: self.identity.clone(), seconds: self.seconds, replicas };
        atomic_write(path, &serde_json::to_vec(&state)?).map_err(at(path))
    }

    /// Reads the state of the judgement with this identity, of this molecule.
    pub fn read(path: &Path, identity: String, molecule: &Structure) -> Result<Self, AnyError> {
        let bytes = std::fs::read(path).map_err(at(path))?;
        let wrong = |what: &str| format!("{}: {what}", path.display());
        let saved: SavedState = serde_json::from_slice(&bytes).map_err(|error| wrong(&error.to_string()))?;
        if saved.identity != identity {
            return Err(wrong(&format!("expected a state of {identity}, found {}", saved.identity)).into());
        }
        let restored = |SavedReplica { watched, snapshot }: SavedReplica| {
            let snapshot = snapshot.restored(molecule).map_err(|error| wrong(&error.to_string()))?;
            Ok(Replica { watched, snapshot })
        };
        let replicas = saved.replicas.into_iter().map(restored).collect::<Result<_, AnyError>>()?;
        Ok(Self { identity, seconds: saved.seconds, replicas })
    }
}
