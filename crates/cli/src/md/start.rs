//! A new run: options to configuration, structures to replicas, and what to be warned of.

use super::args::{EnsembleName, MdArgs, Stop, Switch, Velocities};
use super::config::{Column, Format, RunConfig};
use super::folder::RunFolder;
use super::{AnySimulation, default_precision, force_field, labelled, sha256};
use crate::AnyError;
use crate::input::{at, masses_of, refuse_fixed_atoms};
use mdet_core::Structure;
use mdet_data::Frame;
use mdet_md::{
    Config, Conserved, Ensemble, Orientation, Simulation, Snapshot, StartingVelocities, StopCondition,
};
use std::path::{Path, PathBuf};

/// What NVT is run at when nothing else is asked for.
pub(crate) const TEMPERATURE_K: f64 = 300.0;
pub(crate) const FRICTION_PER_FS: f64 = 0.01;

/// Everything of a new run, ready for its first step.
pub(super) fn start(args: &MdArgs) -> Result<(AnySimulation, RunFolder, RunConfig), AnyError> {
    let file = args.file.as_deref().expect("the command line requires it without a restart");
    let (model, model_name) = args.model.load()?;
    let config = resolve(args, file, model_name, sha256(&model.to_bytes()?))?;
    let (frames, structures): (Vec<Frame>, Vec<Structure>) =
        args.electrons.read(file, &model.card)?.into_iter().unzip();
    refuse_fixed_atoms(&frames)?;
    warn_of_long_timesteps(&structures, config.dynamics.timestep_fs);
    let (molecules, labels) = labelled(&structures, config.replicas);
    let snapshots = snapshots(args.start.velocities, &frames, &molecules, &config.dynamics)?;
    let force_field = force_field(args, &config, &model)?;
    let simulation = Simulation::resume(snapshots, force_field, config.dynamics)?;
    let path = args.start.out.clone().unwrap_or_else(|| {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        PathBuf::from(stem + "-md")
    });
    let folder = RunFolder::create(&path, config.clone(), &molecules, &labels)?;
    Ok((simulation, folder, config))
}

fn resolve(args: &MdArgs, file: &Path, model: String, model_sha256: String) -> Result<RunConfig, AnyError> {
    const DEFAULT_TIME_FS: f64 = 10_000.0;
    let dynamics = dynamics(args)?;
    let steps = args.asked_steps(dynamics.timestep_fs)?;
    let stop_on = args.dynamics.stop_on.iter().filter_map(|stop| match stop {
        Stop::When(condition) => Some(*condition),
        Stop::NonFinite => None,
    });
    let stop_on: Vec<_> = stop_on.collect();
    let reads_spread = stop_on.iter().any(|condition| matches!(condition, StopCondition::SpreadAbove(_)));
    if args.dynamics.monitor == 0 && reads_spread {
        return Err("--stop-on spread needs the monitor: expected --monitor above 0, found 0".into());
    }
    let is_dcd = args.output.format == Format::Dcd;
    let mut write = args.output.write.clone();
    if is_dcd && write.iter().any(|&column| column != Column::Positions) {
        return Err("--format dcd holds positions alone: expected --write positions".into());
    }
    if write.is_empty() && !is_dcd {
        write = vec![Column::Positions, Column::Velocities, Column::Forces];
    } else if !write.contains(&Column::Positions) {
        write.insert(0, Column::Positions);
    }
    Ok(RunConfig {
        mdet_version: env!("CARGO_PKG_VERSION").into(),
        input: file.to_path_buf(),
        // A pipe can be read once.
        input_sha256: match file.is_file() {
            true => Some(sha256(&std::fs::read(file).map_err(at(file))?)),
            false => None,
        },
        charge: args.electrons.charge,
        multiplicity: args.electrons.multiplicity,
        replicas: args.start.replicas,
        model,
        model_sha256,
        precision: args.model.precision.unwrap_or_else(|| default_precision(dynamics.ensemble)),
        frames: usize::from(args.dynamics.frames),
        keep_net_force: args.dynamics.keep_net_force,
        keep_net_torque: args.dynamics.keep_net_torque,
        n_steps: steps.unwrap_or((DEFAULT_TIME_FS / dynamics.timestep_fs).round().max(1.0) as u64),
        every: args.output.every,
        checkpoint_every: args.output.checkpoint_every,
        monitor_every: args.dynamics.monitor,
        stop_on,
        format: args.output.format,
        write,
        dynamics,
    })
}

fn dynamics(args: &MdArgs) -> Result<Config, AnyError> {
    let options = &args.dynamics;
    refuse_idle_options(args)?;
    let temperature_k = options.temperature.unwrap_or(TEMPERATURE_K);
    let time_constant_fs = options.time_constant.unwrap_or(100.0);
    let ensemble = match options.ensemble {
        EnsembleName::Nve => Ensemble::Nve,
        EnsembleName::NvtLangevin => Ensemble::NvtLangevin {
            temperature_k,
            friction_per_fs: options.friction.unwrap_or(FRICTION_PER_FS),
        },
        EnsembleName::NvtBussi => Ensemble::NvtBussi { temperature_k, time_constant_fs },
        EnsembleName::NvtNoseHoover => Ensemble::NvtNoseHoover { temperature_k, time_constant_fs },
    };
    let turned = options.rotation_offset.map_or(ensemble == Ensemble::Nve, |switch| switch == Switch::On);
    let config = Config {
        ensemble,
        timestep_fs: options.timestep,
        initial_temperature_k: temperature_k,
        starting_velocities: match args.start.velocities {
            Velocities::Scaled => StartingVelocities::Scaled,
            Velocities::Drawn => StartingVelocities::Drawn,
            Velocities::File => StartingVelocities::Given,
        },
        orientation: if turned { Orientation::RandomEveryStep } else { Orientation::AsItLies },
        forces_conserve: match (options.keep_net_force, options.keep_net_torque) {
            (false, false) => Conserved::MomentumAndAngularMomentum,
            (false, true) => Conserved::Momentum,
            (true, _) => Conserved::Nothing,
        },
        seed: args.start.seed,
    };
    config.validate()?;
    Ok(config)
}

/// An option that the ensemble does not read means that another run was meant.
fn refuse_idle_options(args: &MdArgs) -> Result<(), AnyError> {
    let (options, ensemble) = (&args.dynamics, args.dynamics.ensemble);
    let refuse = |option: &str, readers: &str| Err(format!("{option}: expected {readers}").into());
    if options.friction.is_some() && ensemble != EnsembleName::NvtLangevin {
        return refuse("--friction", "--ensemble nvt-langevin");
    }
    if options.time_constant.is_some()
        && !matches!(ensemble, EnsembleName::NvtBussi | EnsembleName::NvtNoseHoover)
    {
        return refuse("--time-constant", "--ensemble nvt-bussi or nvt-nose-hoover");
    }
    if options.temperature.is_some()
        && ensemble == EnsembleName::Nve
        && args.start.velocities == Velocities::File
    {
        return refuse("--temperature", "a thermostat, or velocities that are drawn");
    }
    Ok(())
}

/// Step 0 of every molecule, in the order of the batch.
fn snapshots(
    velocities: Velocities,
    frames: &[Frame],
    molecules: &[Structure],
    config: &Config,
) -> Result<Vec<Snapshot>, AnyError> {
    let start = |(index, molecule): (usize, &Structure)| -> Result<Snapshot, AnyError> {
        let (replica, frame) = (u32::try_from(index)?, &frames[index % frames.len()]);
        let (molecule, masses_u) = (molecule.clone(), masses_of(frame));
        match velocities {
            Velocities::Drawn | Velocities::Scaled => {
                Ok(Snapshot::start_with_masses(molecule, masses_u, replica, config)?)
            }
            Velocities::File => {
                let Some(velocities) = frame.velocities.clone() else {
                    let place = &frame.place;
                    return Err(
                        format!("{place}: expected velocities in a column `velo`, Å/fs, found none").into()
                    );
                };
                Ok(Snapshot::start_with_velocities(molecule, masses_u, velocities, replica, config)?)
            }
        }
    };
    molecules.iter().enumerate().map(start).collect()
}

/// About ten steps per period of the fastest vibration keep velocity Verlet accurate: 9 fs for O–H, 15 fs for C=O.
fn warn_of_long_timesteps(structures: &[Structure], timestep_fs: f64) {
    let has_hydrogen = structures.iter().any(|structure| structure.numbers().contains(&1));
    let (limit_fs, why) = if has_hydrogen {
        (1.0, "hydrogen vibrates with periods of 9 to 12 fs")
    } else {
        (2.0, "bonds vibrate with periods of 15 to 40 fs")
    };
    if timestep_fs > limit_fs {
        eprintln!(
            "mdet: warning: a time step of {timestep_fs} fs is long: {why}; expected at most {limit_fs} fs"
        );
    }
}
