//! `mdet judge stability`: until when dynamics holds, and the distribution of its pair distances.

mod state;

use crate::judgement::{Judge, JudgeArgs};
use crate::labelled::{self, Labelled};
use crate::model_choice::Precision;
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt, units};
use clap::Args;
use mdet_analysis::Stability;
use mdet_analysis::stability::{Instability, Reference, Setting, Watched};
use mdet_core::{ForceField, NetForceRemoved, Purpose, RandomStream, Structure};
use mdet_md::{
    Config, Conserved, Ensemble, Orientation, Simulation, SimulationError, Snapshot, StartingVelocities,
};
use mdet_report::Judgement;
use rand::RngExt;
use state::{Replica, State};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Dynamics from random reference frames until a bond gives way, as the MD17-10k tables of the literature have it.
///
/// NVT by a Nosé–Hoover chain; every replica starts at a reference frame of its own with drawn velocities, and all run
/// in one batch. A replica is sampled at its start and every 50 fs. It is unstable at the first sample where a bond of
/// the first reference frame departs by more than 0.5 Å from its mean over the reference, or when a force is not
/// finite; it is then left. h(r) is the distribution of all pair distances of the samples before, 500 bins on
/// 0 to 10 Å, ∫ h dr = 1; its error is ∫ |h − h_ref| dr, from 0 to 2. Numbers are mean ± standard deviation over
/// replicas. Net force and torque are removed.
///
/// Ctrl-C writes what was found so far, and the state to go on from beside it; --resume goes on, bit for bit as if it
/// had never stopped.
///
/// Example: mdet judge stability built-in --reference rmd17_ethanol.npz --time "300 ps" --replicas 5
#[derive(Args)]
pub(crate) struct StabilityArgs {
    #[command(flatten)]
    judge: JudgeArgs,
    /// Reference frames of one molecule: any data file, best of the same temperature and method.
    #[arg(long, value_name = "DATA")]
    reference: PathBuf,
    /// Take the reference frames of this molecule alone, by its name or formula.
    #[arg(long, value_name = "NAME")]
    molecule: Option<String>,
    /// Longest simulated time of a replica; a bare number is in ps.
    #[arg(long, default_value = "300 ps", value_parser = units::duration_in_fs)]
    time: f64,
    /// Temperature of thermostat and starting velocities; a bare number is in K.
    #[arg(long, default_value = "500 K", value_parser = units::temperature_in_k)]
    temperature: f64,
    /// Time step, a part of 50 fs; a bare number is in fs.
    #[arg(long, default_value = "0.5 fs", value_parser = units::time_in_fs)]
    timestep: f64,
    /// Time constant τ of the thermostat; a bare number is in fs.
    #[arg(long, default_value = "10 fs", value_parser = units::time_in_fs)]
    time_constant: f64,
    /// Replicas, each from a reference frame of its own.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    replicas: u32,
    /// Precision of the network.
    #[arg(long, value_enum, default_value = "f32")]
    precision: Precision,
    /// Go on where Ctrl-C or a crash ended the same judgement; --time may be longer.
    #[arg(long)]
    resume: bool,
}

/// Time between samples, fs.
pub(super) const SAMPLE_FS: f64 = 50.0;

/// Wall time between saved states.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// Frames of the trajectory that is shown.
const N_FRAMES: u64 = 100;

pub(crate) fn run(args: &StabilityArgs) -> Result<Done, AnyError> {
    let steps_per_sample = args.steps_per_sample()?;
    let n_steps = (args.time / SAMPLE_FS).round() as u64 * steps_per_sample;
    if n_steps == 0 {
        return Err(format!("expected a time of at least {SAMPLE_FS} fs, found {} fs", args.time).into());
    }
    let mut judge_args = args.judge.clone();
    judge_args.overwrite |= args.resume;
    let mut judge = Judge::start(&judge_args, "stability", &args.reference)?;
    judge.note_input(&args.reference)?;
    let items = of_molecule(labelled::read(&args.reference, args.judge.read.options())?, args)?;
    let frames: Vec<Structure> = items.iter().map(|item| item.structure.clone()).collect();
    let reference = Reference::of(&frames).map_err(|e| format!("{}: {e}", args.reference.display()))?;
    let inside_domain = labelled::inside_domain(&judge.cards(), &items[..1])[0];
    let state_file = judge.out.with_extension("state.json");
    let identity = args.identity(&judge, &items[0].molecule)?;
    let mut state = match args.resume {
        true => State::read(&state_file, identity, &frames[0])?,
        false if state_file.exists() && !args.judge.overwrite => {
            let file = state_file.display();
            return Err(format!(
                "{file}: the state of an earlier run; --resume goes on with it, --overwrite starts anew"
            )
            .into());
        }
        false => args.start(&frames, identity)?,
    };
    let force_field = NetForceRemoved::new(judge.force_field(args.precision)?);
    let stop = interrupt::flag()?;
    let (config, state_path) = (args.config(), state_file.as_path());
    let run =
        Run { reference: &reference, config, n_steps, steps_per_sample, state_file: state_path, stop: &stop };
    let shown = run.go(&mut state, force_field)?;
    let setting = Setting {
        molecule: items[0].molecule.clone(),
        inside_domain,
        dynamics: args.dynamics(),
        temperature_k: args.temperature,
        timestep_fs: args.timestep,
        planned_ps: n_steps as f64 * args.timestep * 1e-3,
    };
    let watched: Vec<Watched> = state.replicas.iter().map(|replica| replica.watched.clone()).collect();
    let speed = state.n_steps() as f64 / state.seconds.max(f64::MIN_POSITIVE);
    let found = Stability::of(&reference, setting, &watched, speed);
    print(&found, reference.n_bonds());
    judge.show("The first replica.", &shown);
    judge.finish(Judgement::Stability(found))?;
    if state.running(n_steps).is_empty() {
        // What the state was for is done; it need not be there.
        let _ = std::fs::remove_file(&state_file);
        return Ok(Done::Completed);
    }
    println!("state         {}; --resume goes on", state_file.display());
    Ok(Done::Interrupted)
}

/// What the steps need beside the state.
struct Run<'a> {
    reference: &'a Reference,
    config: Config,
    n_steps: u64,
    steps_per_sample: u64,
    state_file: &'a Path,
    stop: &'a AtomicBool,
}

impl Run<'_> {
    /// Runs every replica to its end or until told to stop; returns frames of the first one to look at.
    fn go(&self, state: &mut State, mut force_field: impl ForceField) -> Result<Vec<Structure>, AnyError> {
        let mut shown = Vec::new();
        let mut clock = Clock { before_s: state.seconds, started: Instant::now(), saved: Instant::now() };
        let stopped = || self.stop.load(Ordering::Relaxed);
        let mut running = state.running(self.n_steps);
        let first = running.iter().map(|&b| state.replicas[b].snapshot.progress.step).min();
        let mut progress = Progress::resumed(first.unwrap_or(self.n_steps), self.n_steps);
        while !running.is_empty() && !stopped() {
            let snapshots = running.iter().map(|&b| state.replicas[b].snapshot.clone()).collect();
            let mut simulation = Simulation::resume(snapshots, &mut force_field, self.config)?;
            if simulation.step_number() == 0 {
                self.sample(state, &running, &simulation);
            }
            // Until a replica falls out of the batch.
            while state.running(self.n_steps) == running && !stopped() {
                self.to_next_sample(&mut simulation, state, &running)?;
                self.keep(state, &mut clock)?;
                let (step, n) = (simulation.step_number(), state.replicas.len());
                let between =
                    (self.n_steps / self.steps_per_sample / N_FRAMES).max(1) * self.steps_per_sample;
                if running[0] == 0 && step.is_multiple_of(between) {
                    shown.push(simulation.frame(0).structure.clone());
                }
                progress.at(step, || format!("{} of {n} replicas stable", running.len()));
            }
            running = state.running(self.n_steps);
        }
        progress.finish();
        self.keep(state, &mut clock)?;
        Ok(shown)
    }

    /// Steps until a sample is due and takes it, or until a force is not finite, or until told to stop.
    fn to_next_sample(
        &self,
        simulation: &mut Simulation<impl ForceField>,
        state: &mut State,
        running: &[usize],
    ) -> Result<(), SimulationError> {
        let mut failed = None;
        while failed.is_none() && !self.stop.load(Ordering::Relaxed) {
            match simulation.step() {
                Ok(()) if simulation.step_number().is_multiple_of(self.steps_per_sample) => break,
                Ok(()) => {}
                Err(SimulationError::NonFiniteForce { replica, step, .. }) => failed = Some((replica, step)),
                Err(error) => return Err(error),
            }
        }
        for (snapshot, &b) in simulation.snapshots().into_iter().zip(running) {
            state.replicas[b].snapshot = snapshot;
        }
        if let Some((replica, step)) = failed {
            let time_ps = step as f64 * self.config.timestep_fs * 1e-3;
            state.replicas[replica as usize].watched.fail(time_ps);
        } else if simulation.step_number().is_multiple_of(self.steps_per_sample) {
            self.sample(state, running, simulation);
        }
        Ok(())
    }

    /// Takes a sample of every running replica, once.
    fn sample(&self, state: &mut State, running: &[usize], simulation: &Simulation<impl ForceField>) {
        for (b, &replica) in running.iter().enumerate() {
            let frame = simulation.frame(b);
            let time_ps = frame.observables.time_fs * 1e-3;
            let (positions, temperature_k) = (frame.structure.positions(), frame.observables.temperature_k);
            let watched = &mut state.replicas[replica].watched;
            if watched.last_sample_ps().is_none_or(|last| last < time_ps) {
                watched.sample(self.reference, time_ps, positions, temperature_k);
            }
        }
    }

    /// Brings the state's clock up to date; writes the state once in a while, and when told to stop.
    fn keep(&self, state: &mut State, clock: &mut Clock) -> Result<(), AnyError> {
        state.seconds = clock.before_s + clock.started.elapsed().as_secs_f64();
        if clock.saved.elapsed() > SAVE_EVERY || self.stop.load(Ordering::Relaxed) {
            state.write(self.state_file)?;
            clock.saved = Instant::now();
        }
        Ok(())
    }
}

/// Wall time, which decides when the state is saved and nothing else.
struct Clock {
    before_s: f64,
    started: Instant,
    saved: Instant,
}

/// The reference frames of the molecule that was asked for.
fn of_molecule(items: Vec<Labelled>, args: &StabilityArgs) -> Result<Vec<Labelled>, AnyError> {
    let Some(wanted) = &args.molecule else { return Ok(items) };
    let mut names: Vec<String> = items.iter().map(|item| item.molecule.clone()).collect();
    let found: Vec<Labelled> = items.into_iter().filter(|item| item.molecule == *wanted).collect();
    if found.is_empty() {
        names.sort();
        names.dedup();
        let (file, n) = (args.reference.display(), names.len());
        names.truncate(5);
        let some = names.join(", ");
        return Err(format!("{file}: expected frames of {wanted}, found {n} other molecules: {some}").into());
    }
    Ok(found)
}

impl StabilityArgs {
    fn steps_per_sample(&self) -> Result<u64, AnyError> {
        let steps = SAMPLE_FS / self.timestep;
        if !(steps >= 1.0 && (steps - steps.round()).abs() < 1e-9 * steps) {
            let found = self.timestep;
            return Err(format!(
                "expected a time step that {SAMPLE_FS} fs are a multiple of, found {found} fs"
            )
            .into());
        }
        Ok(steps.round() as u64)
    }

    fn config(&self) -> Config {
        Config {
            ensemble: Ensemble::NvtNoseHoover {
                temperature_k: self.temperature,
                time_constant_fs: self.time_constant,
            },
            timestep_fs: self.timestep,
            initial_temperature_k: self.temperature,
            forces_conserve: Conserved::default(),
            starting_velocities: StartingVelocities::Drawn,
            orientation: Orientation::AsItLies,
            seed: self.judge.seed,
        }
    }

    fn dynamics(&self) -> String {
        let precision = match self.precision {
            Precision::F32 => "f32",
            Precision::F64 => "f64",
        };
        format!("{precision}, Nosé–Hoover chain of three, τ = {} fs", self.time_constant)
    }

    /// What decides the trajectories, but not how long they are.
    fn identity(&self, judge: &Judge, molecule: &str) -> Result<String, AnyError> {
        let model = judge.model_sha256()?;
        // Of a part of a split the hash is that of the split.
        let part = |name: &str| name.rsplit_once('#').map_or(String::new(), |(_, part)| format!(" {part}"));
        let mut data: String =
            judge.inputs().iter().map(|(name, hash)| format!("{hash}{}", part(name))).collect();
        if let Some(units) = self.judge.read.options().units {
            data += &format!(" in {units}");
        }
        let (config, n) = (serde_json::to_string(&self.config())?, self.replicas);
        Ok(format!("model {model}, data {data}, {molecule}, {n} replicas, {}, {config}", self.dynamics()))
    }

    /// Every replica at a random reference frame, a function of the seed and its index.
    fn start(&self, frames: &[Structure], identity: String) -> Result<State, AnyError> {
        let config = self.config();
        let mut replicas = Vec::new();
        for replica in 0..self.replicas {
            let stream = RandomStream { seed: config.seed, purpose: Purpose::Analysis, replica };
            let frame = &frames[stream.at_step(0).random_range(0..frames.len())];
            let snapshot = Snapshot::start(frame.clone(), replica, &config)?;
            replicas.push(Replica { watched: Watched::default(), snapshot });
        }
        Ok(State { identity, seconds: 0.0, replicas })
    }
}

fn print(found: &Stability, n_bonds: usize) {
    println!(
        "{}, {} atoms, {n_bonds} bonds; {} K, {}, {} fs steps, up to {} ps",
        found.molecule,
        found.n_atoms,
        found.temperature_k,
        found.dynamics,
        found.timestep_fs,
        found.planned_ps
    );
    println!("{:>8} {:>12} {:>14} {:>10}   end", "replica", "stable ps", "∫|h − h_ref|dr", "mean T");
    for (index, replica) in found.replicas.iter().enumerate() {
        let end = match replica.unstable {
            Some(Instability::Bond) => "a bond gave way",
            Some(Instability::NonFiniteForce) => "forces not finite",
            None if replica.stable_ps < found.planned_ps => "stopped, stable so far",
            None => "stable",
        };
        let (time, error, temperature) = (replica.stable_ps, replica.distance_error, replica.temperature_k);
        println!("{:>8} {time:>12.2} {error:>14.4} {temperature:>8.0} K   {end}", index + 1);
    }
    let (time, error) = (found.stable_ps, found.distance_error);
    println!("stable        {:.2} ± {:.2} ps (mean ± sd over replicas)", time.mean, time.standard_deviation);
    println!("h(r) error    {:.4} ± {:.4}", error.mean, error.standard_deviation);
    println!("of {} reference frames: between their halves {:.4}", found.n_reference, found.reference_noise);
    println!("speed         {:.0} frames per second, all replicas", found.frames_per_second);
}
