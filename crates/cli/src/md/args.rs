//! The options of `mdet md`.

use super::config::{Column, Format};
use crate::input::ElectronArgs;
use crate::model_choice::ModelArgs;
use crate::{AnyError, units};
use clap::{Args, ValueEnum};
use mdet_md::StopCondition;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// Rotations of a reading of the trust monitor: with the default interval three evaluations in two hundred steps.
pub(crate) const MONITOR_ROTATIONS: usize = 3;

/// Run molecular dynamics on every frame of an XYZ file with the built-in or another model; or go on with a run.
///
/// Frames and replicas run side by side as one batch, each with random numbers of its own. The run folder gets the
/// trajectory, tables of energies and of the trust monitor, a checkpoint and the resolved configuration; the summary
/// goes to standard output. Ctrl-C ends after the current step with all files complete (exit code 130); after it, or
/// a crash, --restart goes on bit for bit.
///
/// Energy conservation: forces of this model have no potential and depend slightly on the orientation. For NVE the
/// authors (arXiv 2503.01431) recommend f64 and a random rotation before every force call, which are the defaults of
/// --ensemble nve. A time step of 0.5 fs suits molecules with hydrogen.
///
/// Examples:
///   mdet md aspirin.xyz --temperature 300K --time "10 ps" -o aspirin-run
///   mdet md --restart aspirin-run --time "20 ps"
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct MdArgs {
    /// XYZ or extended XYZ file, positions in Å; all its frames are used.
    #[arg(value_name = "FILE.xyz", required_unless_present = "restart")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// Simulated time in all; a bare number is in ps [default: 10 ps].
    #[arg(long, value_parser = units::duration_in_fs, conflicts_with = "steps", allow_hyphen_values = true)]
    pub time: Option<f64>,
    /// Number of steps in all, instead of --time.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,
    /// Go on with the run in this folder, bit for bit as if it had never stopped; --time or --steps extend it.
    #[arg(
        long,
        value_name = "FOLDER",
        conflicts_with_all = ["file", "precision", "StartArgs", "DynamicsArgs", "OutputArgs", "ElectronArgs"]
    )]
    pub restart: Option<PathBuf>,
    #[command(flatten)]
    pub start: StartArgs,
    #[command(flatten)]
    pub dynamics: DynamicsArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub electrons: ElectronArgs,
}

/// How a run starts.
#[derive(Args)]
pub(crate) struct StartArgs {
    /// Replicas of every frame, each with velocities and noise of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub replicas: u32,
    /// Starting velocities.
    #[arg(long, value_enum, default_value = "drawn")]
    pub velocities: Velocities,
    /// Seed of velocities, thermostat and rotations: the same seed gives the same trajectory on any number of threads.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Run folder, made anew [default: the file's name with -md].
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// The equations of motion and the forces in them.
#[derive(Args)]
pub(crate) struct DynamicsArgs {
    /// Ensemble and thermostat.
    #[arg(long, value_enum, default_value = "nvt-langevin")]
    pub ensemble: EnsembleName,
    /// Temperature of the thermostat and of the starting velocities; a bare number is in K [default: 300 K].
    #[arg(long, value_parser = units::temperature_in_k, allow_hyphen_values = true)]
    pub temperature: Option<f64>,
    /// Time step; a bare number is in fs.
    #[arg(long, default_value = "0.5 fs", value_parser = units::time_in_fs, allow_hyphen_values = true)]
    pub timestep: f64,
    /// Friction of nvt-langevin; a bare number is in 1/fs [default: 0.01/fs].
    #[arg(long, value_parser = units::rate_per_fs, allow_hyphen_values = true)]
    pub friction: Option<f64>,
    /// Time constant of nvt-bussi and nvt-nose-hoover; a bare number is in fs [default: 100 fs].
    #[arg(long, value_parser = units::time_in_fs, allow_hyphen_values = true)]
    pub time_constant: Option<f64>,
    /// Turn every molecule by a fresh random rotation before every force call, and the forces back: orientation
    /// errors become noise instead of a steady push [default: on for nve, off otherwise].
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "on", require_equals = true)]
    pub rotation_offset: Option<Switch>,
    /// Average every force over K rotations, at K times the cost: 4, 12 and 60 are groups that remove orientation
    /// errors of order 1, 1–2 and 1–5; other numbers are random rotations, drawn once.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub frames: u16,
    /// Leave the net force in. Momentum and angular momentum then change, and count as degrees of freedom.
    #[arg(long)]
    pub keep_net_force: bool,
    /// Leave the net torque in. Angular momentum then changes, and counts as degrees of freedom.
    #[arg(long)]
    pub keep_net_torque: bool,
    /// What ends the run, separated by commas: broken-bond, temperature:2000K, spread:0.5, non-finite (always on).
    /// The frame is written to offending.xyz. Looked for after every step; spread, at every reading of the monitor.
    /// A restart goes on from the last checkpoint and ends there again.
    #[arg(long, value_name = "CONDITIONS", value_delimiter = ',', value_parser = stop_condition)]
    pub stop_on: Vec<Stop>,
    /// Steps between readings of the trust monitor: spread of the forces over rotations, temperature by element,
    /// bonds; 0 for none.
    #[arg(long, value_name = "STEPS", default_value_t = 200)]
    pub monitor: u64,
}

/// What is written.
#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Steps between written frames.
    #[arg(long, default_value = "20")]
    pub every: NonZeroU64,
    /// Steps between checkpoints.
    #[arg(long, value_name = "STEPS", default_value = "1000")]
    pub checkpoint_every: NonZeroU64,
    /// Format of the trajectory.
    #[arg(long, value_enum, default_value = "xyz")]
    pub format: Format,
    /// What the trajectory holds, separated by commas; always positions [default: all that the format can hold].
    #[arg(long, value_enum, value_delimiter = ',')]
    pub write: Vec<Column>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnsembleName {
    /// Langevin dynamics, BAOAB (Leimkuhler and Matthews 2013): every mode is thermalised, translation and rotation too;
    /// friction slows diffusion and broadens spectra. Conserved: K + U − heat.
    NvtLangevin,
    /// Stochastic velocity rescaling (Bussi, Donadio and Parrinello 2007): canonical, dynamics hardly disturbed; no
    /// translation and rotation, and modes that exchange no energy with others keep theirs. Conserved: K + U − heat.
    NvtBussi,
    /// Nosé–Hoover chain of three (Martyna, Klein and Tuckerman 1992): deterministic; no translation and rotation, and
    /// stiff, nearly harmonic molecules may not be ergodic. Conserved: K + U + chain.
    NvtNoseHoover,
    /// Newton's equations, velocity Verlet (Swope et al. 1982): one energy, which forces without a potential change; no
    /// translation and rotation. Conserved: K + U, with U the work along the path.
    Nve,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Velocities {
    /// From the Maxwell–Boltzmann distribution at --temperature.
    Drawn,
    /// The same, scaled so that each start has the temperature exactly.
    Scaled,
    /// From the file's `velo` column, Å/fs.
    File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// A word of --stop-on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Stop {
    When(StopCondition),
    /// Not finite forces end every run.
    NonFinite,
}

impl MdArgs {
    /// The number of steps that --time or --steps ask for.
    pub fn asked_steps(&self, timestep_fs: f64) -> Result<Option<u64>, AnyError> {
        let Some(time_fs) = self.time else { return Ok(self.steps) };
        let steps = (time_fs / timestep_fs).round();
        if steps < 1.0 {
            return Err(format!(
                "the time must be at least one step of {timestep_fs} fs, found {time_fs} fs"
            )
            .into());
        }
        Ok(Some(steps as u64))
    }
}

fn stop_condition(text: &str) -> Result<Stop, String> {
    let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value)));
    let condition = match (name, value) {
        ("broken-bond", None) => StopCondition::BrokenBond,
        ("temperature", Some(value)) => StopCondition::TemperatureAbove(units::temperature_in_k(value)?),
        ("spread", Some(value)) => StopCondition::SpreadAbove(units::force_in_ev_per_angstrom(value)?),
        ("non-finite", None) => return Ok(Stop::NonFinite),
        _ => {
            let expected = "broken-bond, temperature:2000K, spread:0.5 or non-finite";
            return Err(format!("expected {expected}, found \"{text}\""));
        }
    };
    Ok(Stop::When(condition))
}
