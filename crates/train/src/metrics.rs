//! What a run reports: a line of metrics every so often, and its progress after every step.

use crate::{TrainError, events};
use mdet_core::atomic_write;
use mdet_core::constants::HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// One line of `metrics.jsonl`. Errors are mean absolute errors of a force component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Steps done.
    pub step: u64,
    /// When it was written, seconds since 1970.
    #[serde(default)]
    pub unix_time_s: f64,
    /// Mean training loss since the line before, meV/Å.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_mev_per_angstrom: Option<f64>,
    /// Largest gradient norm since the line before, before clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
    /// Learning rate of the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Structures (copies counted) per second since the line before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structures_per_s: Option<f64>,
    /// Error of the start model on training structures, meV/Å: in the line of step 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_mae_mev_per_angstrom: Option<f64>,
    /// Error on validation structures, meV/Å, when measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_mae_mev_per_angstrom: Option<f64>,
}

/// Where a run is, after every step.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub n_steps: u64,
    /// Time left, s.
    pub eta_s: f64,
    /// What the window since the last line amounts to.
    pub metrics: Metrics,
    /// Whether the window is closed: `metrics` stands in the file.
    pub is_logged: bool,
}

/// The files of metrics of a run: lines of JSON, and the same for TensorBoard.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    path: PathBuf,
    events: PathBuf,
}

impl MetricsFile {
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("metrics.jsonl"), events: folder.join("events.out.tfevents.0.mdet") }
    }

    /// Cuts the files back to what a run of `n_steps` steps has written: nothing before the first, since the start model is
    /// then measured again.
    pub fn cut(&self, n_steps: u64) -> Result<(), TrainError> {
        let mut lines = if self.path.exists() { read_metrics(&self.path)? } else { Vec::new() };
        lines.retain(|metrics| n_steps > 0 && metrics.step <= n_steps);
        let kept: String = lines.iter().map(line).collect();
        let events =
            lines.iter().fold(events::start(), |file, metrics| [file, events::event(metrics)].concat());
        for (path, bytes) in [(&self.path, kept.as_bytes()), (&self.events, &events)] {
            atomic_write(path, bytes).map_err(|source| TrainError::Io { path: path.clone(), source })?;
        }
        Ok(())
    }

    pub fn append(&self, metrics: &Metrics) -> Result<(), TrainError> {
        for (path, bytes) in
            [(&self.path, line(metrics).into_bytes()), (&self.events, events::event(metrics))]
        {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut file| file.write_all(&bytes))
                .map_err(|source| TrainError::Io { path: path.clone(), source })?;
        }
        Ok(())
    }
}

fn line(metrics: &Metrics) -> String {
    serde_json::to_string(metrics).expect("metrics are plain data") + "\n"
}

/// Reads a run's `metrics.jsonl`; a last line that was cut short is left out.
///
/// # Errors
/// [`TrainError::Io`] or [`TrainError::Metrics`].
pub fn read_metrics(path: &Path) -> Result<Vec<Metrics>, TrainError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| TrainError::Io { path: path.into(), source })?;
    let mut lines = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str(line) {
            Ok(metrics) => lines.push(metrics),
            Err(_) if !line.ends_with('\n') => {}
            Err(_) => {
                let found = line.trim_end().chars().take(80).collect();
                return Err(TrainError::Metrics { path: path.into(), line: index + 1, found });
            }
        }
    }
    Ok(lines)
}

/// Sums since the last line.
pub(crate) struct Window {
    since: Instant,
    loss: f64,
    norm: f64,
    n_steps: u64,
    n_structures: usize,
}

impl Window {
    pub fn new() -> Self {
        Self { since: Instant::now(), loss: 0.0, norm: 0.0, n_steps: 0, n_structures: 0 }
    }

    /// Counts a step of `n_structures` copies.
    pub fn add(&mut self, loss: f64, norm: f64, n_structures: usize) {
        self.loss += loss;
        self.norm = self.norm.max(norm);
        self.n_steps += 1;
        self.n_structures += n_structures;
    }

    /// What the steps so far amount to, and the seconds per step.
    pub fn metrics(&self, step: u64, learning_rate: f64) -> (Metrics, f64) {
        let seconds = self.since.elapsed().as_secs_f64();
        let n_steps = self.n_steps.max(1) as f64;
        let metrics = Metrics {
            loss_mev_per_angstrom: Some(1e3 * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM * self.loss / n_steps),
            gradient_norm: Some(self.norm),
            learning_rate: Some(learning_rate),
            structures_per_s: Some(self.n_structures as f64 / seconds),
            ..Metrics::now(step)
        };
        (metrics, seconds / n_steps)
    }
}

impl Metrics {
    /// An empty line of this moment.
    pub(crate) fn now(step: u64) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self { step, unix_time_s: since.map_or(0.0, |time| time.as_secs_f64()), ..Self::default() }
    }
}
