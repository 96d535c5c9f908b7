//! `mdet judge drift`: what forces without a potential pump into a molecule in NVE, under several conditions.

use crate::judgement::{Judge, JudgeArgs};
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt, labelled, units};
use clap::Args;
use mdet_analysis::drift::{ConditionDrift, Drift, Series};
use mdet_core::frames::forces_in_frames;
use mdet_core::{
    ForceField, ForceFieldError, FrameAveraged, NetForceRemoved, Purpose, RandomStream, Rotation,
    RotationSet, Structure,
};
use mdet_md::{Config, Ensemble, Orientation, Simulation, StartingVelocities};
use mdet_report::Judgement;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// NVE under four conditions, f32 or f64, as it lies or turned anew at every step, and with frame averaging.
///
/// Every condition starts from the same positions and velocities, several replicas each; net force and torque are
/// removed. Work-integrated energy balances for any forces under velocity Verlet, so the drift is that of the kinetic
/// energy: its slope per atom and ps over replicas, when it has changed by 10 %, when the temperature has doubled.
///
/// Example: mdet judge drift built-in octane.xyz --time "20 ps" --replicas 4
#[derive(Args)]
pub(crate) struct DriftArgs {
    #[command(flatten)]
    judge: JudgeArgs,
    /// The molecule: the file's first structure, best at its minimum.
    #[arg(value_name = "STRUCTURE")]
    data: PathBuf,
    /// Simulated time of a run; a bare number is in ps.
    #[arg(long, default_value = "10 ps", value_parser = units::duration_in_fs)]
    time: f64,
    /// Time step; a bare number is in fs.
    #[arg(long, default_value = "0.5 fs", value_parser = units::time_in_fs)]
    timestep: f64,
    /// Temperature of the starting velocities; a bare number is in K.
    #[arg(long, default_value = "300 K", value_parser = units::temperature_in_k)]
    temperature: f64,
    /// Replicas of every condition, with velocities of their own.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    /// Rotations of the condition with frame averaging; 0 leaves it out.
    #[arg(long, default_value_t = 4)]
    frames: usize,
}

/// Steps between samples: fine enough for running means, coarse enough for memory.
const EVERY: u64 = 10;

/// Frames of the trajectory that is shown.
const N_FRAMES: u64 = 100;

/// Whether forces are computed in a fresh uniform orientation at every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offset {
    None,
    EveryStep,
}

/// A force field in the orientation of its call: one call is one step of all replicas.
struct Turned {
    inner: Box<dyn ForceField>,
    offset: Offset,
    seed: u64,
    n_calls: u64,
}

impl ForceField for Turned {
    fn forces(&mut self, batch: &[Structure], forces: &mut [[f64; 3]]) -> Result<(), ForceFieldError> {
        let (seed, purpose, step) = (self.seed, Purpose::RotationOffset, self.n_calls);
        self.n_calls += 1;
        if self.offset == Offset::None {
            return self.inner.forces(batch, forces);
        }
        let rotation = |replica| Rotation::random(&mut RandomStream { seed, purpose, replica }.at_step(step));
        let rotations: Vec<Rotation> = (0..).map(rotation).take(batch.len()).collect();
        forces_in_frames(&mut *self.inner, batch, &rotations, forces)
    }
}

pub(crate) fn run(args: &DriftArgs) -> Result<Done, AnyError> {
    let mut judge = Judge::start(&args.judge, "drift", &args.data)?;
    judge.note_input(&args.data)?;
    let items = labelled::read(&args.data)?;
    let item = &items[0];
    let n_steps = (args.time / args.timestep).round() as u64;
    if n_steps < 40 * EVERY {
        let found = args.time;
        return Err(format!("expected a time of at least {} steps, found {found} fs", 40 * EVERY).into());
    }
    let averaged =
        |inner| FrameAveraged { inner, rotations: RotationSet::of_size(args.frames, judge.seed).rotations() };
    let mut conditions: Vec<(String, Box<dyn ForceField>, Offset)> = vec![
        ("f32".into(), Box::new(judge.single()?), Offset::None),
        ("f32 + offset".into(), Box::new(judge.single()?), Offset::EveryStep),
        ("f64".into(), Box::new(judge.double()?), Offset::None),
        ("f64 + offset".into(), Box::new(judge.double()?), Offset::EveryStep),
    ];
    if args.frames > 0 {
        let name = format!("f32, {} frames + offset", args.frames);
        conditions.push((name, Box::new(averaged(judge.single()?)), Offset::EveryStep));
    }
    let stop = interrupt::flag()?;
    let mut progress = Progress::new(n_steps * conditions.len() as u64);
    let (mut found, mut frames) = (Vec::new(), Vec::new());
    let between = (n_steps / N_FRAMES).max(1);
    for (index, (name, inner, offset)) in conditions.into_iter().enumerate() {
        let config = args.config(judge.seed);
        let force_field = Turned { inner, offset, seed: judge.seed, n_calls: 0 };
        let structures = vec![item.structure.clone(); args.replicas as usize];
        let mut simulation = Simulation::new(structures, NetForceRemoved::new(force_field), config)?;
        let mut series = vec![Series::default(); args.replicas as usize];
        let started = Instant::now();
        sample(&simulation, &mut series);
        let mut ended = None;
        while simulation.step_number() < n_steps {
            if stop.load(Ordering::Relaxed) {
                return Ok(Done::Interrupted);
            }
            if let Err(error) = simulation.step() {
                ended = Some(crate::one_line(&error));
                break;
            }
            if index == 0 && simulation.step_number().is_multiple_of(between) {
                frames.push(simulation.frame(0).structure.clone());
            }
            if simulation.step_number().is_multiple_of(EVERY) {
                sample(&simulation, &mut series);
                let last = series[0].temperature_k.last().copied().unwrap_or(0.0);
                let done = n_steps * index as u64 + simulation.step_number();
                progress.at(done, || format!("{name}: T {last:.0} K"));
            }
        }
        let steps = simulation.step_number() * u64::from(args.replicas);
        let speed = steps as f64 / started.elapsed().as_secs_f64();
        let n_atoms = item.structure.n_atoms();
        found.push(ConditionDrift::of(&name, &series, n_atoms, args.time, args.temperature, ended, speed));
    }
    progress.finish();
    let drift = Drift {
        molecule: item.molecule.clone(),
        n_atoms: item.structure.n_atoms(),
        timestep_fs: args.timestep,
        planned_ps: args.time * 1e-3,
        starting_temperature_k: args.temperature,
        conditions: found,
    };
    print(&drift);
    judge.show("The first replica in f32 as it lies.", &frames);
    judge.finish(Judgement::Drift(drift))
}

impl DriftArgs {
    fn config(&self, seed: u64) -> Config {
        Config {
            ensemble: Ensemble::Nve,
            timestep_fs: self.timestep,
            initial_temperature_k: self.temperature,
            starting_velocities: StartingVelocities::Drawn,
            // `Turned` applies the offset.
            orientation: Orientation::AsItLies,
            seed,
        }
    }
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

fn print(drift: &Drift) {
    println!(
        "{}, {} atoms, {} ps of NVE from {} K, {} fs steps; ± standard error over replicas",
        drift.molecule, drift.n_atoms, drift.planned_ps, drift.starting_temperature_k, drift.timestep_fs
    );
    println!(
        "{:<24} {:>26} {:>10} {:>14} {:>10}",
        "condition", "heating meV/atom/ps", "mean T", "10 % changed", "runaway"
    );
    for condition in &drift.conditions {
        let heating = condition.heating_mev_per_atom_per_ps.map_or("too short".into(), |spread| {
            format!("{:+.3} ± {:.3}", spread.mean, spread.standard_error())
        });
        let n = condition.replicas.len();
        let count = |hit: fn(&mdet_analysis::drift::ReplicaDrift) -> bool| {
            format!("{} of {n}", condition.replicas.iter().filter(|replica| hit(replica)).count())
        };
        let temperature = condition.temperature_k.map_or(f64::NAN, |spread| spread.mean);
        println!(
            "{:<24} {heating:>26} {temperature:>8.0} K {:>14} {:>10}",
            condition.name,
            count(|replica| replica.ten_percent_ps.is_some()),
            count(|replica| replica.runaway_ps.is_some())
        );
        if let Some(ended) = &condition.ended {
            println!("  ended early: {ended}");
        }
    }
}
