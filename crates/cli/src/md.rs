//! `mdet md`: molecular dynamics of every frame of a file, into a run folder, with a summary.

use crate::input::{InputArgs, at};
use crate::judgement::hex;
use crate::model_choice::{ModelArgs, Precision};
use crate::progress::Progress;
use crate::run_folder::{self, Record};
use crate::{AnyError, Done, interrupt, units};
use clap::{Args, ValueEnum};
use mdet_core::{ForceField, NetForceRemoved, Structure, atomic_write};
use mdet_md::statistics::{blocked_mean, drift_ev_per_atom_per_ps};
use mdet_md::{Config, Ending, Ensemble, Observables, Plateau, Simulation};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Run molecular dynamics on every frame of an XYZ file with the built-in or another model.
///
/// The frames run side by side, each from velocities drawn at the temperature. Net force and torque of the model's
/// forces are removed. The run folder gets the trajectory (extended XYZ with velocities in Å/fs and forces in eV/Å),
/// a table of temperature and energies, and the resolved configuration; the summary goes to standard output. Ctrl-C
/// ends after the current step with all files complete (exit code 130).
///
/// Example: mdet md aspirin.xyz --temperature 300K --time "10 ps" --out aspirin-run
#[derive(Args)]
pub(crate) struct MdArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Ensemble: Langevin dynamics (BAOAB) or Newton's equations (velocity Verlet).
    #[arg(long, value_enum, default_value = "nvt-langevin")]
    ensemble: EnsembleName,
    /// Temperature of the thermostat and of the starting velocities; a bare number is in K.
    #[arg(long, default_value = "300 K", value_parser = units::temperature_in_k, allow_hyphen_values = true)]
    temperature: f64,
    /// Time step; a bare number is in fs.
    #[arg(long, default_value = "0.5 fs", value_parser = units::time_in_fs, allow_hyphen_values = true)]
    timestep: f64,
    /// Simulated time; a bare number is in ps [default: 10 ps].
    #[arg(long, value_parser = units::duration_in_fs, conflicts_with = "steps", allow_hyphen_values = true)]
    time: Option<f64>,
    /// Number of steps, instead of --time.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Friction of the Langevin thermostat; a bare number is in 1/fs.
    #[arg(long, default_value = "0.01/fs", value_parser = units::rate_per_fs, allow_hyphen_values = true)]
    friction: f64,
    /// Seed of velocities and thermostat: the same seed gives the same trajectory on any number of threads.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps between written frames.
    #[arg(long, default_value = "20")]
    every: NonZeroU64,
    /// Run folder, made anew [default: the file's name with -md].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EnsembleName {
    NvtLangevin,
    Nve,
}

/// What `config.toml` in the run folder says.
#[derive(Serialize)]
struct ResolvedConfig {
    mdet_version: &'static str,
    input: PathBuf,
    model: String,
    model_sha256: String,
    precision: Precision,
    n_steps: u64,
    every: u64,
    dynamics: Config,
}

/// Share of the frames, from the end, that temperature and drift are taken from: the start equilibrates.
const AVERAGED_SHARE: f64 = 0.8;

pub(crate) fn run(args: &MdArgs) -> Result<Done, AnyError> {
    let (model, model_name) = args.model.load()?;
    let config = args.config()?;
    let n_steps = args.n_steps()?;
    let structures: Vec<Structure> = args.input.read(&model.card)?.into_iter().map(|(_, s)| s).collect();
    let force_field = NetForceRemoved::new(args.model.force_field(&model)?);
    let simulation = Simulation::new(structures.clone(), force_field, config)?;

    let folder = args.out.clone().unwrap_or_else(|| {
        let stem = args.input.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        PathBuf::from(stem + "-md")
    });
    run_folder::create(&folder)?;
    let resolved = ResolvedConfig {
        mdet_version: env!("CARGO_PKG_VERSION"),
        input: args.input.file.clone(),
        model: model_name,
        model_sha256: hex(&Sha256::digest(model.to_bytes()?)),
        precision: args.model.precision,
        n_steps,
        every: args.every.get(),
        dynamics: config,
    };
    let config_path = folder.join("config.toml");
    atomic_write(&config_path, toml::to_string(&resolved)?.as_bytes()).map_err(at(&config_path))?;
    let mut records = structures
        .iter()
        .enumerate()
        .map(|(index, structure)| Record::open(&folder, index, structures.len(), structure))
        .collect::<Result<Vec<_>, _>>()?;

    let (ending, seconds) = simulate(simulation, n_steps, args.every, &mut records)?;
    println!("{}", folder.display());
    for (record, structure) in records.iter().zip(&structures) {
        summarise(record, structure.n_atoms(), config.ensemble);
    }
    let simulated_fs: f64 = records.iter().filter_map(|r| r.observables.last()).map(|o| o.time_fs).sum();
    println!("speed         {:.3} ns/day ({:.1} s)", simulated_fs * 1e-6 * 86_400.0 / seconds, seconds);
    Ok(if ending == Ending::Stopped { Done::Interrupted } else { Done::Completed })
}

impl MdArgs {
    fn config(&self) -> Result<Config, AnyError> {
        let ensemble = match self.ensemble {
            EnsembleName::Nve => Ensemble::Nve,
            EnsembleName::NvtLangevin => {
                Ensemble::NvtLangevin { temperature_k: self.temperature, friction_per_fs: self.friction }
            }
        };
        let config = Config {
            ensemble,
            timestep_fs: self.timestep,
            initial_temperature_k: self.temperature,
            seed: self.seed,
        };
        config.validate()?;
        Ok(config)
    }

    fn n_steps(&self) -> Result<u64, AnyError> {
        const DEFAULT_TIME_FS: f64 = 10_000.0;
        if let Some(steps) = self.steps {
            return Ok(steps);
        }
        let time_fs = self.time.unwrap_or(DEFAULT_TIME_FS);
        let steps = (time_fs / self.timestep).round();
        if steps < 1.0 {
            let step_fs = self.timestep;
            return Err(
                format!("the time must be at least one step of {step_fs} fs, found {time_fs} fs").into()
            );
        }
        Ok(steps as u64)
    }
}

/// Runs all steps, or as many as Ctrl-C lets it; returns how it ended and the seconds it took.
fn simulate(
    mut simulation: Simulation<impl ForceField>,
    n_steps: u64,
    every: NonZeroU64,
    records: &mut [Record],
) -> Result<(Ending, f64), AnyError> {
    let stop = interrupt::flag()?;
    let mut progress = Progress::new(n_steps);
    let mut ending = Ending::Completed;
    while simulation.step_number() < n_steps && ending == Ending::Completed {
        let chunk = every.get().min(n_steps - simulation.step_number());
        let mut sink = |frame: &mdet_md::Frame<'_>| records[frame.replica as usize].write(frame);
        ending = simulation.run(chunk, every, &mut sink, &stop)?;
        let done = simulation.step_number();
        let seconds = progress.seconds();
        progress.at(done, || {
            let last = |record: &Record| record.observables.last().map_or(0.0, |o| o.temperature_k);
            let mean = records.iter().map(last).sum::<f64>() / records.len() as f64;
            let simulated_ns = simulation.frame(0).observables.time_fs * 1e-6 * records.len() as f64;
            format!("T {mean:.0} K, {:.2} ns/day", simulated_ns * 86_400.0 / seconds)
        });
    }
    progress.finish();
    if stop.load(Ordering::Relaxed) {
        ending = Ending::Stopped;
    }
    Ok((ending, progress.seconds()))
}

/// One number of a frame.
type Pick = fn(&Observables) -> f64;

/// Prints what a structure's run amounts to.
fn summarise(record: &Record, n_atoms: usize, ensemble: Ensemble) {
    let frames = &record.observables;
    let averaged = &frames[frames.len() - (frames.len() as f64 * AVERAGED_SHARE) as usize..];
    let column = |pick: Pick| averaged.iter().map(pick).collect::<Vec<f64>>();
    let time_ps = frames.last().map_or(0.0, |o| o.time_fs) * 1e-3;
    let label = &record.label;
    println!("{label}{time_ps} ps, {} frames; averages over the last {}", frames.len(), averaged.len());
    if let Some(mean) = blocked_mean(&column(|o| o.temperature_k)) {
        let caveat = if mean.plateau == Plateau::NotReached { " (at least: the run is short)" } else { "" };
        println!("temperature   {:.1} ± {:.1} K{caveat}", mean.value, mean.standard_error);
    }
    let times = column(|o| o.time_fs);
    // Work and kinetic energy balance for any forces, so without a thermostat only heating tells of a missing potential.
    let pumped: (&str, Pick, &str) = match ensemble {
        Ensemble::Nve => {
            ("heating      ", |o| o.kinetic_ev, "kinetic energy; what forces without a potential pump")
        }
        Ensemble::NvtLangevin { .. } => (
            "energy drift ",
            |o| o.total_ev,
            "work-integrated total energy; what forces without a potential pump",
        ),
    };
    let drifts: [(&str, Pick, &str); 2] = [
        pumped,
        (
            "conserved    ",
            |o| o.conserved_ev,
            "the same less the heat of the thermostat: the integrator's error",
        ),
    ];
    for (name, pick, meaning) in drifts {
        if let Some(slope) = drift_ev_per_atom_per_ps(&times, &column(pick), n_atoms) {
            let (value, error) = (1e3 * slope.value, 1e3 * slope.standard_error);
            println!("{name} {value:+.3} ± {error:.3} meV/atom/ps ({meaning})");
        }
    }
    match &record.broken {
        None => println!("bonds         all {} bonds of the first frame hold", record.bonds.pairs.len()),
        Some((time_fs, bonds)) => println!("bonds         BROKEN at {time_fs} fs: {}", bonds.join(", ")),
    }
}
