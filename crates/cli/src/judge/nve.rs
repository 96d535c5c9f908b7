//! NVE runs of one molecule under one condition, and the heating that the force errors met on the way predict.
//!
//! A long run keeps its state beside the result, so that it goes on where it was ended, bit for bit.

use super::saved::SavedSnapshot;
use crate::AnyError;
use crate::input::at;
use crate::judgement::Judge;
use crate::model_choice::Precision;
use mdet_analysis::drift::{ConditionDrift, Series};
use mdet_analysis::heating::{
    CURL_WIDTHS_PER_CM, CurlPairs, PredictedHeating, antisymmetric_square, kinetic_mev_per_atom_per_ps,
    mean_squares, uncorrelated_power_ev_per_fs,
};
use mdet_core::elements::masses_u;
use mdet_core::frames::{forces_in_frames, rotation_off_z};
use mdet_core::{
    CentralDifferences, ForceField, ForceJacobian, FrameAveraged, NetForceRemoved, Purpose, RandomStream,
    ReferenceBonds, Rotation, RotationSet, Structure, atomic_write,
};
use mdet_md::normal_modes::normal_modes;
use mdet_md::{Config, Conserved, Ensemble, Orientation, Simulation, Snapshot, StartingVelocities};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Steps between samples: fine enough for running means, coarse enough for memory.
pub(super) const EVERY: u64 = 10;

/// Rise of the temperature beyond which there is no molecule left; water fluctuates that far once in a million.
pub(super) const RUNAWAY: f64 = 10.0;

/// Frames kept to be shown.
const N_FRAMES: u64 = 100;

/// Wall time between saved states.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Frames of a run in which force errors are measured, and rotations in each.
const N_PROBES: u64 = 8;
const N_ROTATIONS: usize = 16;

/// Orientations that the curl of turned forces is averaged over, unless asked otherwise.
pub(super) const CURL_ORIENTATIONS: usize = 4;

/// Displacement of the central differences, Å: f64 leaves eight digits.
const STEP_ANGSTROM: f64 = 1e-3;

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
    fn force_field(&self, judge: &Judge, precision: Precision) -> Result<Box<dyn ForceField>, AnyError> {
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

    /// Steps of a run of this condition that was ended half way.
    pub fn steps_done(&self, condition: &Condition, molecule: &Structure) -> Result<u64, AnyError> {
        let before = self.read(condition, molecule)?;
        Ok(before.and_then(|(_, replicas)| Some(replicas.first()?.progress.step)).unwrap_or(0))
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
    let mut exact = condition.force_field(judge, Precision::F64)?;
    let curl = curl(plan, condition.orientation, &mut exact)?;
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
            if coldest > RUNAWAY * temperature_k {
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
    let mut rounded = condition.force_field(judge, condition.precision)?;
    let errors = errors(condition, structure, &found.probes, judge.seed, &mut exact, &mut rounded)?;
    let growth = match &curl {
        Some(_) => curl_growth(structure, &found.probes, &mut exact)?,
        None => None,
    };
    let measured_k = drift.temperature_k.map_or(temperature_k, |spread| spread.mean);
    drift.predicted = errors.map(|[orientation, rounding]| {
        let masses = masses_u(structure.numbers());
        let heating = |squares: &[f64]| {
            kinetic_mev_per_atom_per_ps(uncorrelated_power_ev_per_fs(squares, &masses, timestep_fs), n_atoms)
        };
        PredictedHeating {
            orientation_mev_per_atom_per_ps: heating(&orientation),
            rounding_mev_per_atom_per_ps: heating(&rounding),
            curl_mev_per_atom_per_ps: curl.as_ref().map(|pairs| {
                let power = |width| growth.unwrap_or(1.0) * pairs.power_ev_per_fs(width, measured_k);
                CURL_WIDTHS_PER_CM.map(|width| kinetic_mev_per_atom_per_ps(power(width), n_atoms))
            }),
            curl_growth: growth,
        }
    });
    Ok(Some(Outcome { drift, frames: found.frames, broken_ps: found.broken_ps }))
}

/// The curl of the forces at the start: as it lies, or of the average over orientations where they are turned.
fn curl(
    plan: &Plan<'_>,
    orientation: Orientation,
    exact: &mut dyn ForceField,
) -> Result<Option<CurlPairs>, AnyError> {
    if plan.curl_orientations == 0 {
        return Ok(None);
    }
    // Of a pair along z the Jacobian is one of the axes, and the molecule moves out of it.
    let off_z = rotation_off_z(plan.structure).unwrap_or(Rotation::IDENTITY);
    let rotations = match orientation {
        Orientation::AsItLies => vec![off_z],
        Orientation::RandomEveryStep => {
            let all = RotationSet::of_size(plan.curl_orientations, 0).rotations();
            all.iter().map(|rotation| rotation.after(&off_z)).collect()
        }
    };
    let inner = FrameAveraged { inner: exact, rotations };
    let jacobian = CentralDifferences { inner, step_angstrom: STEP_ANGSTROM }.jacobian(plan.structure)?;
    let masses = masses_u(plan.structure.numbers());
    let modes = normal_modes(&jacobian, &masses, plan.structure.positions());
    Ok(Some(CurlPairs::new(&jacobian, &masses, &modes.wavenumbers_per_cm, &modes.displacements)))
}

/// The mean square of the Jacobian's antisymmetric part at the probes, over that at the start. None of them is looked at along z.
/// `None` without probes or a curl at the start.
fn curl_growth(
    molecule: &Structure,
    probes: &[Vec<[f64; 3]>],
    exact: &mut dyn ForceField,
) -> Result<Option<f64>, AnyError> {
    let masses = masses_u(molecule.numbers());
    let mut square = |positions: &[[f64; 3]]| -> Result<f64, AnyError> {
        let mut structure = molecule.clone();
        structure.positions_mut().copy_from_slice(positions);
        let rotations = vec![rotation_off_z(&structure).unwrap_or(Rotation::IDENTITY)];
        let inner = FrameAveraged { inner: &mut *exact, rotations };
        let jacobian = CentralDifferences { inner, step_angstrom: STEP_ANGSTROM }.jacobian(&structure)?;
        Ok(antisymmetric_square(&jacobian, &masses))
    };
    let start = square(molecule.positions())?;
    let along = probes.iter().map(|probe| square(probe)).collect::<Result<Vec<f64>, AnyError>>()?;
    let mean = along.iter().sum::<f64>() / along.len() as f64;
    Ok((mean / start).is_finite().then_some(mean / start))
}

/// ⟨|δF_i|²⟩ of the orientation's error and of rounding at the probes, (eV/Å)²; `None` without probes.
fn errors(
    condition: &Condition,
    molecule: &Structure,
    probes: &[Vec<[f64; 3]>],
    seed: u64,
    exact: &mut dyn ForceField,
    rounded: &mut dyn ForceField,
) -> Result<Option<[Vec<f64>; 2]>, AnyError> {
    let (mut orientation, mut rounding) = (Vec::new(), Vec::new());
    let n_atoms = molecule.n_atoms();
    for (positions, index) in probes.iter().zip(0..) {
        let mut structure = molecule.clone();
        structure.positions_mut().copy_from_slice(positions);
        let mut generator = RandomStream { seed, purpose: Purpose::Analysis, replica: 1 }.at_step(index);
        let rotations: Vec<Rotation> = match condition.orientation {
            Orientation::AsItLies => vec![Rotation::IDENTITY],
            Orientation::RandomEveryStep => {
                (0..N_ROTATIONS).map(|_| Rotation::random(&mut generator)).collect()
            }
        };
        let copies = vec![structure; rotations.len()];
        let mut forces = vec![[0.0; 3]; n_atoms * rotations.len()];
        let mut in_precision = forces.clone();
        forces_in_frames(exact, &copies, &rotations, &mut forces)?;
        if condition.precision == Precision::F32 {
            forces_in_frames(rounded, &copies, &rotations, &mut in_precision)?;
        } else {
            in_precision.copy_from_slice(&forces);
        }
        let n = rotations.len() as f64;
        let mean = |i: usize, a: usize| forces.iter().skip(i).step_by(n_atoms).map(|f| f[a]).sum::<f64>() / n;
        let means: Vec<[f64; 3]> = (0..n_atoms).map(|i| std::array::from_fn(|a| mean(i, a))).collect();
        // The mean is of the same samples: n − 1 of their n squares are left.
        let unbiased = if n > 1.0 { (n / (n - 1.0)).sqrt() } else { 0.0 };
        for (exact, rounded) in forces.chunks(n_atoms).zip(in_precision.chunks(n_atoms)) {
            let difference = |a: &[[f64; 3]], b: &[[f64; 3]], factor: f64| -> Vec<[f64; 3]> {
                a.iter().zip(b).map(|(a, b)| std::array::from_fn(|k| factor * (a[k] - b[k]))).collect()
            };
            orientation.push(difference(exact, &means, unbiased));
            rounding.push(difference(rounded, exact, 1.0));
        }
    }
    Ok((!probes.is_empty()).then(|| [mean_squares(&orientation), mean_squares(&rounding)]))
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
