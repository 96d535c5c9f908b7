//! `mdet train`: a training run from a TOML file, in a folder that can be resumed.

use crate::input::at;
use crate::{AnyError, Done, interrupt};
use clap::Args;
use mdet_train::{Progress, TrainConfig, train};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Train a model from a configuration file.
///
/// The folder gets the resolved configuration, metrics (one JSON object a line), the averaged model and the state for
/// an exact resume, saved every few minutes. Ctrl-C saves and ends (exit code 130).
///
/// Example: mdet train run.toml -o run
#[derive(Args)]
pub(crate) struct TrainArgs {
    /// Configuration; configs/built-in.toml of the project explains every key.
    #[arg(value_name = "RUN.toml")]
    config: PathBuf,
    /// Run folder.
    #[arg(short, long, value_name = "FOLDER")]
    out: PathBuf,
    /// Go on from the folder's last checkpoint.
    #[arg(long)]
    resume: bool,
    /// Threads; the result does not depend on it [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

pub(crate) fn run(args: &TrainArgs) -> Result<Done, AnyError> {
    let text = std::fs::read_to_string(&args.config).map_err(at(&args.config))?;
    let named = |error: toml::de::Error| -> AnyError { format!("{}: {error}", args.config.display()).into() };
    let config: TrainConfig = toml::from_str(&text).map_err(named)?;
    let state = args.out.join("state.safetensors");
    match (state.exists(), args.resume) {
        (true, false) => {
            return Err(format!("{}: holds a run; --resume goes on with it", args.out.display()).into());
        }
        (false, true) => return Err(format!("{}: no checkpoint to resume from", args.out.display()).into()),
        _ => {}
    }
    let stop = interrupt::flag()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads.map_or(0, usize::from)).build()?;
    let model = pool.install(|| train(&config, &args.out, &stop, &mut report))?;
    for error in &model.card.validation {
        println!("{}: {:.1} meV/Å per component", error.on, error.component_mae_mev_per_angstrom);
    }
    Ok(if stop.load(Ordering::Relaxed) { Done::Interrupted } else { Done::Completed })
}

fn report(progress: &Progress) {
    let validation = progress.validation_mae_mev_per_angstrom;
    let validation = validation.map_or(String::new(), |mae| format!(", validation MAE {mae:.1} meV/Å"));
    eprintln!(
        "step {}/{}, loss {:.1} meV/Å{validation}, {:.0} structures/s, ETA {:.0} min",
        progress.step,
        progress.n_steps,
        progress.loss_mev_per_angstrom,
        progress.structures_per_s,
        progress.eta_s / 60.0
    );
}
