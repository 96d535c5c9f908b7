//! `mdet md`: molecular dynamics of every frame of a file, into a run folder, with a summary; and its restart.

mod args;
mod checkpoint;
mod config;
mod folder;
mod start;
mod summary;
mod trajectory;

use crate::input::at;
use crate::model_choice::Precision;
use crate::progress::Progress;
use crate::{AnyError, Done, interrupt};
pub(crate) use args::MdArgs;
use checkpoint::Checkpoint;
use config::RunConfig;
use folder::RunFolder;
pub(crate) use folder::name_of_atom;
use mdet_core::{ForceField, FrameAveraged, NetForceRemoved, Removal, RotationSet, Structure};
use mdet_data::FrameView;
use mdet_md::{Ending, Monitor, Schedule, Simulation, SimulationError, StopCondition};
use mdet_model::Model;
use sha2::{Digest, Sha256};
pub(crate) use start::{FRICTION_PER_FS, TEMPERATURE_K};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use trajectory::isotopes;

pub(crate) fn run(args: &MdArgs) -> Result<Done, AnyError> {
    let (simulation, mut folder, config) = match &args.restart {
        Some(folder) => restart(args, folder)?,
        None => start::start(args)?,
    };
    let n_atoms: Vec<usize> =
        (0..simulation.n_replicas()).map(|b| simulation.frame(b).structure.n_atoms()).collect();
    let ended = simulate(simulation, &config, &mut folder)?;
    let summed_up = summary::summarise(&folder, &n_atoms, config.dynamics.ensemble);
    let done = match ended.how {
        How::Completed => Done::Completed,
        How::Interrupted => Done::Interrupted,
        How::Failed(error) => {
            // The cause of the end comes first, whatever it did to the files.
            summed_up.unwrap_or_else(|error| eprintln!("mdet: warning: {error}"));
            return Err(error);
        }
    };
    summed_up?;
    if ended.seconds > 0.0 && ended.n_steps > 0 {
        let simulated_fs = ended.n_steps as f64 * config.dynamics.timestep_fs * n_atoms.len() as f64;
        let ns_per_day = simulated_fs * 1e-6 * 86_400.0 / ended.seconds;
        let together = match n_atoms.len() {
            1 => String::new(),
            n => format!(" of {n} molecules together"),
        };
        println!("speed         {ns_per_day:.3} ns/day{together} ({:.1} s)", ended.seconds);
    }
    Ok(done)
}

/// How the steps ended, and what they took.
struct Ended {
    how: How,
    n_steps: u64,
    seconds: f64,
}

enum How {
    Completed,
    Interrupted,
    Failed(AnyError),
}

/// A simulation under any stack of wrappers.
type AnySimulation = Simulation<Box<dyn ForceField>>;

/// Goes on with a run at its checkpoint.
fn restart(args: &MdArgs, path: &Path) -> Result<(AnySimulation, RunFolder, RunConfig), AnyError> {
    // Before anything is read, so that it is not written any more; a folder without a run is left as it is.
    let config_file = config::path_in(path);
    std::fs::metadata(&config_file).map_err(at(&config_file))?;
    let lock = RunFolder::lock(path)?;
    let mut config = RunConfig::read(path)?;
    let (model, model_name) =
        crate::model_choice::load(Some(args.model.model.as_ref().unwrap_or(&PathBuf::from(&config.model))))?;
    let found = sha256(&model.to_bytes()?);
    if found != config.model_sha256 {
        let expected = &config.model_sha256;
        return Err(
            format!("{model_name}: expected the run's model, SHA-256 {expected}, found {found}").into()
        );
    }
    let (before, now) = (&config.mdet_version, env!("CARGO_PKG_VERSION"));
    if before != now {
        eprintln!("mdet: warning: the run was begun by version {before}, this is {now}: bits may differ");
    }
    let checkpoint = Checkpoint::read(path)?;
    let snapshots = checkpoint.replicas.iter().map(|r| r.snapshot()).collect::<Result<Vec<_>, _>>()?;
    let done = snapshots.first().map_or(0, |snapshot| snapshot.progress.step);
    if let Some(n_steps) = args.asked_steps(config.dynamics.timestep_fs)? {
        if n_steps < done {
            return Err(format!("expected at least the {done} steps that are done, found {n_steps}").into());
        }
        config.n_steps = n_steps;
    }
    let force_field = force_field(args, &config, &model)?;
    let mut simulation = Simulation::resume(snapshots, force_field, config.dynamics)?;
    if !done.is_multiple_of(config.every.get()) {
        // The last frame was not due, so it has been cut off; it comes back where the run is not extended.
        simulation.frame_again();
    }
    let folder = RunFolder::reopen(path, lock, config.clone(), &checkpoint)?;
    config.write(path)?;
    eprintln!("mdet: goes on at step {done} of {}", config.n_steps);
    Ok((simulation, folder, config))
}

/// The model in the wrappers that the run asks for, in the order that `core::ForceField` documents.
fn force_field(args: &MdArgs, config: &RunConfig, model: &Model) -> Result<Box<dyn ForceField>, AnyError> {
    let raw = args.model.force_field_in(config.precision, model)?;
    let averaged: Box<dyn ForceField> = match config.frames {
        1 => raw,
        count => {
            let rotations = RotationSet::of_size(count, config.dynamics.seed).rotations();
            Box::new(FrameAveraged { inner: raw, rotations })
        }
    };
    let removal = match (config.keep_net_force, config.keep_net_torque) {
        (false, false) => Removal::Both,
        (false, true) => Removal::Force,
        (true, false) => Removal::Torque,
        (true, true) => return Ok(averaged),
    };
    Ok(Box::new(NetForceRemoved { inner: averaged, removal }))
}

fn schedule(config: &RunConfig, folder: &RunFolder) -> Schedule {
    let monitor = NonZeroU64::new(config.monitor_every)
        .map(|every| Monitor { every, n_rotations: args::MONITOR_ROTATIONS });
    Schedule {
        frames_every: config.every,
        monitor,
        stop_on: config.stop_on.clone(),
        bonds: folder.replicas.iter().map(|replica| replica.bonds.clone()).collect(),
        checkpoint_every: Some(config.checkpoint_every),
    }
}

/// Runs what is left of the steps, or as many as Ctrl-C, a stop condition or an error lets it.
fn simulate(
    mut simulation: AnySimulation,
    config: &RunConfig,
    folder: &mut RunFolder,
) -> Result<Ended, AnyError> {
    let stop = interrupt::flag()?;
    let schedule = schedule(config, folder);
    let first = simulation.step_number();
    let mut progress = Progress::new(config.n_steps - first);
    let chunk = config.every.get();
    let mut how = How::Completed;
    while simulation.step_number() < config.n_steps {
        let step = simulation.step_number();
        let n_steps = (chunk - step % chunk).min(config.n_steps - step);
        let is_last = step + n_steps == config.n_steps;
        match simulation.advance(n_steps, &schedule, folder, &stop) {
            Ok(Ending::Completed) if is_last => break,
            Ok(Ending::Completed) => {}
            Ok(Ending::Stopped) => {
                how = How::Interrupted;
                break;
            }
            Ok(Ending::Condition { replica, condition }) => {
                how = How::Failed(condition_error(&simulation, folder, replica, condition));
                break;
            }
            Err(error) => {
                how = How::Failed(name_offending(&simulation, folder, error));
                break;
            }
        }
        let done = simulation.step_number() - first;
        let seconds = progress.seconds();
        progress.at(done, || {
            let n = folder.replicas.len() as f64;
            let mean = folder.replicas.iter().map(|r| r.last_temperature_k).sum::<f64>() / n;
            let simulated_ns = done as f64 * config.dynamics.timestep_fs * 1e-6 * n;
            format!("T {mean:.0} K, {:.2} ns/day", simulated_ns * 86_400.0 / seconds)
        });
    }
    if !matches!(how, How::Failed(_)) {
        simulation.conclude(&schedule, folder)?;
    }
    progress.finish();
    Ok(Ended { how, n_steps: simulation.step_number() - first, seconds: progress.seconds() })
}

/// What ended the run, with its frame in a file.
fn condition_error(
    simulation: &AnySimulation,
    folder: &mut RunFolder,
    replica: u32,
    condition: StopCondition,
) -> AnyError {
    let frame = simulation.frame(replica as usize);
    let files = &mut folder.replicas[replica as usize];
    files.look_for_broken_bonds(&frame);
    let (reference, of_name) = (&files.bonds, files.of_name());
    let what = match condition {
        StopCondition::BrokenBond => {
            let broken = reference.broken(frame.structure.positions());
            let named: Vec<String> =
                broken.iter().map(|&bond| folder::describe_bond(reference, frame.structure, bond)).collect();
            format!("broken bond {}", named.join(", "))
        }
        StopCondition::TemperatureAbove(limit_k) => {
            format!("temperature {:.0} K above {limit_k} K", frame.observables.temperature_k)
        }
        StopCondition::SpreadAbove(limit) => format!("spread of forces above {limit} eV/Å"),
    };
    let why = format!("stopped at step {}{of_name}: {what}", frame.step);
    let moving = FrameView {
        velocities: Some(frame.velocities),
        forces: Some(frame.forces),
        masses_u: isotopes(frame.structure.numbers(), frame.masses_u),
        ..FrameView::default()
    };
    folder.with_frame(frame.structure, moving, why)
}

/// The error of a step; the geometry at which forces were not finite goes into a file.
fn name_offending(simulation: &AnySimulation, folder: &RunFolder, error: SimulationError) -> AnyError {
    let SimulationError::NonFiniteForce { replica, step, atom, structure } = &error else {
        return error.into();
    };
    let index = *replica as usize;
    let of_name = folder.replicas[index].of_name();
    let name = folder::name_of_atom(structure, *atom);
    let why = format!("step {step}{of_name}: the force on {name} is not finite");
    let masses_u = isotopes(structure.numbers(), simulation.frame(index).masses_u);
    folder.with_frame(structure, FrameView { masses_u, ..FrameView::default() }, why)
}

fn sha256(bytes: &[u8]) -> String {
    crate::judgement::hex(&Sha256::digest(bytes))
}

/// Every molecule that is simulated, with what its files carry in their names: replica r of frame f has the index
/// r · frames + f, so that its random numbers do not depend on how many replicas there are.
fn labelled(structures: &[Structure], replicas: u32) -> (Vec<Structure>, Vec<String>) {
    let mut all = (Vec::new(), Vec::new());
    for replica in 1..=replicas {
        for (frame, structure) in structures.iter().enumerate() {
            let of_frame = if structures.len() > 1 { format!("-{:03}", frame + 1) } else { String::new() };
            let of_replica = if replicas > 1 { format!("-r{replica:03}") } else { String::new() };
            all.0.push(structure.clone());
            all.1.push(of_frame + &of_replica);
        }
    }
    all
}

/// Precision of a run when none is asked for: the energy of NVE drifts in f32.
fn default_precision(ensemble: mdet_md::Ensemble) -> Precision {
    match ensemble {
        mdet_md::Ensemble::Nve => Precision::F64,
        _ => Precision::F32,
    }
}
