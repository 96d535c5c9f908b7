//! NVE runs of one molecule under one condition.
//!
//! A long run keeps its state beside the result, so that it goes on where it was ended, bit for bit.

use super::prediction::predicted;
use super::saved::SavedSnapshot;
use crate::AnyError;
use crate::input::at;
use crate::judgement::Judge;
use crate::model_choice::Precision;
use mdet_analysis::drift::{ConditionDrift, Series};
use mdet_core::{
    ForceField, FrameAveraged, NetForceRemoved, ReferenceBonds, RotationSet, Structure, atomic_write,
};
use mdet_md::{Config, Conserved, Ensemble, Orientation, Simulation, Snapshot, StartingVelocities};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Steps between samples: fine enough for running means, coarse enough for memory.
pub(super) const EVERY: u64 = 10;

/// Temperature beyond which there is no molecule left, of a run that starts at another: ten times that, which water comes to once
/// in a million, and not below 3,000 K.
pub(super) fn runaway_k(starting_k: f64) -> f64 {
    10.0 * starting_k.max(300.0)
}

/// Frames kept to be shown.
const N_FRAMES: u64 = 100;

/// Wall time between saved states.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Frames of a run in which force errors are measured.
const N_PROBES: u64 = 8;

/// Orientations that the curl of turned forces is averaged over, unless asked otherwise.
pub(super) const CURL_ORIENTATIONS: usize = 4;

/// How forces are computed.
pub(super) struct Condition {
    pub name: String,
    pub precision: Precision,
    /// Rotations of a frame average; 0 for none.
    pub frames: usize,
    pub orientation: Orientation,
}

/// What is run.
pub(super) struct Plan<'a> {
    pub structure: &'a Structure,
    pub n_replicas: usize,
    pub n_steps: u64,
    pub timestep_fs: f64,
    pub temperature_k: f64,
    /// Orientations that the curl of the forces is averaged over where they are turned at every step; 0 leaves the curl
    /// out of the prediction.
    pub curl_orientations: usize,
}

/// What a run gave.
pub(super) struct Outcome {
    pub drift: ConditionDrift,
    /// Positions in frames of the first replica, the first after one spacing.
    pub frames: Vec<Vec<[f64; 3]>>,
    /// When the first bond of each replica broke, at the spacing of frames, ps; `None` of those whose bonds hold.
    pub broken_ps: Vec<Option<f64>>,
}

impl Condition {
    /// What a step costs, in steps in f32.
    pub(super) fn cost(&self) -> u64 {
        self.precision.cost() * self.frames.max(1) as u64
    }

    /// The forces of the run, without net force and torque.
    pub(super) fn force_field(
        &self,
        judge: &Judge,
        precision: Precision,
    ) -> Result<Box<dyn ForceField>, AnyError> {
        let raw = judge.force_field(precision)?;
        Ok(match self.frames {
            0 => Box::new(NetForceRemoved::new(raw)),
            n => {
                let rotations = RotationSet::of_size(n, judge.seed).rotations();
                Box::new(NetForceRemoved::new(FrameAveraged { inner: raw, rotations }))
            }
        })
    }
}

/// What a run has found so far.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    series: Vec<Series>,
    /// Positions of the first replica: to be shown, and to measure force errors in.
    frames: Vec<Vec<[f64; 3]>>,
    probes: Vec<Vec<[f64; 3]>>,
    broken_ps: Vec<Option<f64>>,
    /// Wall time of the steps.
    seconds: f64,
}

/// The file of a run that is not at its end.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The judgement and the condition that it is of.
    key: String,
    condition: String,
    found: Found,
    replicas: Vec<SavedSnapshot>,
}

/// Where the state of a judgement's runs is kept.
pub(super) struct StateFile {
    path: PathBuf,
    key: String,
}

impl StateFile {
    /// Beside the result file of the judgement (`key`: its command and model).
    pub fn beside(out: &Path, key: String) -> Self {
        Self { path: out.with_extension("unfinished.json"), key }
    }

    /// What was found, and the replicas, of this condition; `None` if none was ended half way.
    fn read(
        &self,
        condition: &Condition,
        molecule: &Structure,
    ) -> Result<Option<(Found, Vec<Snapshot>)>, AnyError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let wrong = |what: String| format!("{}: {what}", self.path.display());
        let bytes = std::fs::read(&self.path).map_err(at(&self.path))?;
        let state: State = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if state.key != self.key {
            return Err(wrong("a run of another judgement; remove it to start anew".into()).into());
        }
        if state.condition != condition.name {
            return Ok(None);
        }
        let restored = |replica: SavedSnapshot| replica.restored(molecule).map_err(|e| wrong(e.to_string()));
        let replicas = state.replicas.into_iter().map(restored).collect::<Result<_, String>>()?;
        Ok(Some((state.found, replicas)))
    }

    fn write(&self, condition: &Condition, found: Found, replicas: &[Snapshot]) -> Result<Found, AnyError> {
        let replicas = replicas.iter().map(SavedSnapshot::of).collect();
        let state = State { key: self.key.clone(), condition: condition.name.clone(), found, replicas };
        atomic_write(&self.path, &serde_json::to_vec(&state)?).map_err(at(&self.path))?;
        Ok(state.found)
    }

    /// Removes the file: its run is at its end, and kept as such.
    pub fn remove(&self) -> Result<(), AnyError> {
        if self.path.exists() { std::fs::remove_file(&self.path).map_err(at(&self.path)) } else { Ok(()) }
    }
}

/// Runs all replicas; `at` is told of steps done and the first replica's temperature. `None` when `stop` was raised: with a
/// state file it goes on from there.
pub(super) fn run(
    plan: &Plan<'_>,
    condition: &Condition,
    judge: &Judge,
    stop: &AtomicBool,
    state_file: Option<&StateFile>,
    mut at: impl FnMut(u64, f64),
) -> Result<Option<Outcome>, AnyError> {
    let Plan { structure, n_replicas, n_steps, timestep_fs, temperature_k, .. } = *plan;
    let config = Config {
        ensemble: Ensemble::Nve,
        timestep_fs,
        initial_temperature_k: temperature_k,
        starting_velocities: StartingVelocities::Drawn,
        orientation: condition.orientation,
        forces_conserve: Conserved::default(),
        seed: judge.seed,
    };
    let force_field = condition.force_field(judge, condition.precision)?;
    let before = state_file.map_or(Ok(None), |file| file.read(condition, structure))?;
    let (mut found, mut simulation) = match before {
        Some((found, replicas)) => (found, Simulation::resume(replicas, force_field, config)?),
        None => {
            let simulation = Simulation::new(vec![structure.clone(); n_replicas], force_field, config)?;
            let mut series = vec![Series::default(); n_replicas];
            sample(&simulation, &mut series);
            let (frames, probes, broken_ps) = (Vec::new(), Vec::new(), vec![None; n_replicas]);
            (Found { series, frames, probes, broken_ps, seconds: 0.0 }, simulation)
        }
    };
    let mut ended = None;
    let bonds = ReferenceBonds::of(structure);
    let frame_every = (n_steps / N_FRAMES).max(1);
    let (seconds_before, started, mut saved) = (found.seconds, Instant::now(), Instant::now());
    while simulation.step_number() < n_steps {
        let is_stopped = stop.load(Ordering::Relaxed);
        if let Some(file) = state_file.filter(|_| is_stopped || saved.elapsed() > SAVE_EVERY) {
            found.seconds = seconds_before + started.elapsed().as_secs_f64();
            found = file.write(condition, found, &simulation.snapshots())?;
            saved = Instant::now();
        }
        if is_stopped {
            return Ok(None);
        }
        if let Err(error) = simulation.step() {
            let others = if n_replicas > 1 { "; all replicas end with it" } else { "" };
            ended = Some(crate::one_line(&error) + others);
            break;
        }
        let step = simulation.step_number();
        if step.is_multiple_of(frame_every) {
            found.frames.push(simulation.frame(0).structure.positions().to_vec());
            for (b, broken_ps) in
                found.broken_ps.iter_mut().enumerate().filter(|(_, broken)| broken.is_none())
            {
                let is_broken = !bonds.broken(simulation.frame(b).structure.positions()).is_empty();
                *broken_ps = is_broken.then_some(step as f64 * timestep_fs * 1e-3);
            }
        }
        if step.is_multiple_of((n_steps / N_PROBES).max(1)) {
            found.probes.push(simulation.frame(0).structure.positions().to_vec());
        }
        if step.is_multiple_of(EVERY) {
            sample(&simulation, &mut found.series);
            let temperatures: Vec<f64> =
                found.series.iter().filter_map(|series| series.temperature_k.last().copied()).collect();
            at(step, temperatures[0]);
            // Others that hold go on beside one that does not.
            let coldest = temperatures.into_iter().fold(f64::INFINITY, f64::min);
            if coldest > runaway_k(temperature_k) {
                let time_ps = step as f64 * timestep_fs * 1e-3;
                ended = Some(format!("runaway: {coldest:.0} K after {time_ps:.2} ps"));
                break;
            }
        }
    }
    let seconds = seconds_before + started.elapsed().as_secs_f64();
    let speed = (simulation.step_number() * n_replicas as u64) as f64 / seconds;
    let n_atoms = structure.n_atoms();
    let mut drift = ConditionDrift::of(&condition.name, &found.series, n_atoms, temperature_k, ended, speed);
    let measured_k = drift.temperature_k.map_or(temperature_k, |spread| spread.mean);
    drift.predicted = predicted(plan, condition, judge, stop, &found.probes, measured_k)?;
    // Half way in the prediction.
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    Ok(Some(Outcome { drift, frames: found.frames, broken_ps: found.broken_ps }))
}

fn sample(simulation: &Simulation<impl ForceField>, series: &mut [Series]) {
    for (b, series) in series.iter_mut().enumerate() {
        let observed = simulation.frame(b).observables;
        series.time_fs.push(observed.time_fs);
        series.kinetic_ev.push(observed.kinetic_ev);
        series.temperature_k.push(observed.temperature_k);
        series.total_ev.push(observed.total_ev);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judgement::JudgeArgs;
    use clap::Parser;
    use std::cell::Cell;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        judge: JudgeArgs,
    }

    #[test]
    fn a_run_that_was_ended_in_the_middle_is_the_run_that_never_was() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("water.json");
        let words = ["mdet", "built-in", "--threads", "1", "-o", out.to_str().unwrap()];
        let judge = Judge::start(&Line::parse_from(words).judge, "drift", Path::new("water.xyz")).unwrap();
        let positions = vec![[0.0; 3], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]];
        let water = Structure::new(vec![8, 1, 1], positions, 0, 1).unwrap();
        let plan = Plan {
            structure: &water,
            n_replicas: 2,
            n_steps: 400,
            timestep_fs: 0.5,
            temperature_k: 300.0,
            curl_orientations: 2,
        };
        let condition = Condition {
            name: "f64 + offset".into(),
            precision: Precision::F64,
            frames: 0,
            orientation: Orientation::RandomEveryStep,
        };
        let file = StateFile::beside(&out, "this judgement".into());
        let go = |stop_at: u64| {
            let (stop, reached) = (AtomicBool::new(false), Cell::new(0));
            let at = |step, _| {
                reached.set(step);
                stop.store(step == stop_at, Ordering::Relaxed);
            };
            let outcome = run(&plan, &condition, &judge, &stop, Some(&file), at).unwrap();
            (outcome, reached.get())
        };
        let whole = go(u64::MAX).0.unwrap();
        // Between samples of frames (4 steps) and probes (50).
        let (stopped, reached) = go(130);
        assert!(stopped.is_none() && reached == 130);
        let resumed = go(u64::MAX).0.unwrap();
        let drift = ConditionDrift { steps_per_second: whole.drift.steps_per_second, ..resumed.drift };
        assert_eq!(drift, whole.drift);
        assert_eq!((resumed.frames, resumed.broken_ps), (whole.frames, whole.broken_ps));
        let other = StateFile::beside(&out, "another".into());
        let refused = run(&plan, &condition, &judge, &AtomicBool::new(false), Some(&other), |_, _| ());
        assert!(refused.err().unwrap().to_string().contains("a run of another judgement"));
    }
}
