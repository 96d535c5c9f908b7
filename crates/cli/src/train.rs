//! `mdet train`: a training run from a TOML file, in a folder that can be resumed. Also how any run is carried out.

use crate::config::read;
use crate::input::at;
use crate::progress::Progress as Bar;
use crate::{AnyError, Done, interrupt, one_line};
use clap::Args;
use mdet_core::atomic_write;
use mdet_model::Model;
use mdet_report::learning_curves;
use mdet_train::{Job, Metrics, N_SLOTS, Progress, Ranks, StartErrors, TrainConfig, read_metrics};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Train a model from a configuration file.
///
/// The folder gets the resolved configuration, metrics (one JSON object a line, and TensorBoard's events), learning
/// curves (learning.svg), MODEL_CARD.md, the model as it is (model.safetensors)
/// and where its validation error was lowest (best.safetensors), and the state for an exact resume, saved every few
/// minutes. Ctrl-C saves and ends (exit code 130); --resume goes on as if nothing had happened, on the same data.
///
/// Paths in the configuration are relative to where the command runs.
///
/// Built with the feature mpi, `mpirun -n K mdet train …` trains on K processes, of one machine or of several that see
/// the same files: each computes a share of every step, and the first prints and writes. docs/training.md says more.
///
/// Example: mdet train run.toml -o run --set n_steps=5000
#[derive(Args)]
pub(crate) struct TrainArgs {
    /// Configuration; `mdet config template` prints one.
    #[arg(value_name = "RUN.toml")]
    config: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

/// How a run is carried out.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// Run folder [default: the file's name without its ending; of finetune: with -finetune].
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Go on from the folder's last checkpoint, with otherwise the same command.
    #[arg(long)]
    resume: bool,
    /// Any other setting of the configuration; dots lead into tables. Repeatable.
    ///
    /// Examples: optimiser=muon, ema_decay=0.999, seed=7, schedule.trapezoid.decay_steps=200, rounding=backward (gradients
    /// multiply bfloat16: 1.25 times as fast on processors with AVX-512 BF16)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Read and check everything, print the resolved configuration, and stop before the first step.
    #[arg(long)]
    dry_run: bool,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help = threads_help())]
    threads: Option<u16>,
}

fn threads_help() -> String {
    format!(
        "Threads, of which {N_SLOTS} at most compute gradients; the result does not depend on it [default: all cores]"
    )
}

pub(crate) fn run(args: &TrainArgs) -> Result<Done, AnyError> {
    let config = read(&args.config, &args.run.settings)?;
    let folder = args.run.out.clone().unwrap_or_else(|| args.config.file_stem().unwrap_or_default().into());
    carry_out(config, &folder, &args.run)
}

/// Runs a configuration in its folder, or only checks it. Of several processes the first prints.
pub(crate) fn carry_out(config: TrainConfig, folder: &Path, args: &RunArgs) -> Result<Done, AnyError> {
    let ranks = Ranks::launched()?;
    let n_threads = args.threads.map_or(0, usize::from);
    let prepare = || {
        let stop = interrupt::flag()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build()?;
        if ranks.is_first() && !args.dry_run {
            check_folder(folder, args.resume)?;
        }
        let job = pool.install(|| Job::prepare(config))?;
        Ok::<_, AnyError>((stop, pool, job))
    };
    let Some((stop, pool, job)) = ranks.agree(prepare())? else { return Ok(Done::FailedElsewhere) };
    if ranks.is_first() {
        describe(&job, &ranks);
        if n_threads > N_SLOTS {
            eprintln!("mdet: warning: --threads {n_threads}: only {N_SLOTS} threads compute gradients");
        }
    }
    if args.dry_run {
        let errors = pool.install(|| job.start_errors(&ranks))?;
        if ranks.is_first() {
            print_dry(&job, errors)?;
        }
        return Ok(Done::Completed);
    }
    let mut bar = None;
    let mut report = |progress: &Progress| {
        if ranks.is_first() {
            show(progress, &mut bar);
        }
    };
    let model = match pool.install(|| job.run(folder, &ranks, &stop, &mut report)) {
        Ok(model) => model,
        Err(error) if error.is_shared() && !ranks.is_first() => return Ok(Done::FailedElsewhere),
        Err(error) => {
            if ranks.size() > 1 && !error.is_shared() {
                // The others wait for this process, so that it ends them, after its last words.
                eprintln!("mdet: error: {}", one_line(&error));
                ranks.abort();
            }
            return Err(error.into());
        }
    };
    let mut ended = Ok(());
    if ranks.is_first() {
        if let Some(bar) = &bar {
            bar.finish();
        }
        ended = print_end(&model, folder);
    }
    if ranks.agree(ended)?.is_none() {
        return Ok(Done::FailedElsewhere);
    }
    // Together, after the first has written everything.
    let is_stopped = ranks.any(stop.load(Ordering::Relaxed));
    Ok(if is_stopped { Done::Interrupted } else { Done::Completed })
}

fn print_dry(job: &Job, errors: Option<StartErrors>) -> Result<(), AnyError> {
    if let Some(errors) = errors {
        let mae = |errors: mdet_train::ForceErrors| Some(errors.component_mae_mev_per_angstrom);
        println!("{}", start_line(mae(errors.training), errors.validation.and_then(mae)));
    }
    println!("\n{}", toml::to_string(&job.config)?);
    Ok(())
}

fn print_end(model: &Model, folder: &Path) -> Result<(), AnyError> {
    for error in &model.card.validation {
        println!(
            "{:<13} {:.1} meV/Å per component, {:.1} per atom, on {} structures",
            error.on.trim_start_matches("validation "),
            error.component_mae_mev_per_angstrom,
            error.euclidean_mev_per_angstrom,
            error.n_structures
        );
    }
    draw(folder)?;
    println!("model         {}", folder.join("model.safetensors").display());
    let best = folder.join("best.safetensors");
    if best.exists() {
        println!("best          {}", best.display());
    }
    Ok(())
}

/// Learning curves of the run so far, beside its metrics.
fn draw(folder: &Path) -> Result<(), AnyError> {
    let metrics = read_metrics(&folder.join("metrics.jsonl"))?;
    let points = |value: fn(&Metrics) -> Option<f64>| -> Vec<(f64, f64)> {
        metrics.iter().filter_map(|line| Some((line.step as f64, value(line)?))).collect()
    };
    let loss = points(|line| line.loss_mev_per_angstrom);
    let svg = learning_curves(&loss, &points(|line| line.validation_mae_mev_per_angstrom));
    let path = folder.join("learning.svg");
    atomic_write(&path, svg.as_bytes()).map_err(at(&path))
}

fn check_folder(folder: &Path, resume: bool) -> Result<(), AnyError> {
    let is_run = folder.join("state.safetensors").exists();
    let is_empty = std::fs::read_dir(folder).map_or(!folder.exists(), |mut entries| entries.next().is_none());
    let problem = match (is_run, resume) {
        (true, false) => "holds a run; --resume goes on with it",
        (false, true) => "no checkpoint to resume from",
        (false, false) if !is_empty => "exists and is not an empty folder",
        _ => return Ok(()),
    };
    Err(format!("{}: {problem}", folder.display()).into())
}

fn describe(job: &Job, ranks: &Ranks) {
    let config = &job.config;
    println!("training      {}", job.model.card.trained_on);
    match (config.hold_out > 0.0, job.validation.len()) {
        (true, n) => {
            println!("validation    {n} structures held out of these data at random (seed {})", config.seed)
        }
        (false, 0) => println!("validation    none"),
        (false, n) => println!("validation    {n} structures"),
    }
    if let Some(domain) = &job.model.card.domain {
        println!("domain        {domain}");
    }
    println!(
        "steps         {} of {} copies: {} structures in {} orientations",
        config.n_steps,
        config.structures_per_step * config.copies,
        config.structures_per_step,
        config.copies
    );
    if config.equivariance_weight > 0.0 {
        println!(
            "loss          plus {} times the equivariance error of the copies",
            config.equivariance_weight
        );
    }
    if config.antisymmetry_weight > 0.0 {
        println!(
            "loss          plus {} times the antisymmetric error, of a displaced copy of each structure",
            config.antisymmetry_weight
        );
    }
    if ranks.size() > 1 {
        println!("processes     {}, with a share of every step each", ranks.size());
    }
    for warning in &job.warnings {
        eprintln!("mdet: warning: {warning}");
    }
}

fn start_line(training: Option<f64>, validation: Option<f64>) -> String {
    let mae = |error: Option<f64>| error.map_or("-".into(), |mae| format!("{mae:.1} meV/Å"));
    format!(
        "step 0        the start model's own MAE: {} on training structures, {} on validation",
        mae(training),
        mae(validation)
    )
}

/// Shows a step; what was measured stays on the screen.
fn show(progress: &Progress, bar: &mut Option<Bar>) {
    let &Progress { step, n_steps, eta_s, metrics, .. } = progress;
    let Metrics { validation_mae_mev_per_angstrom: validation, .. } = metrics;
    if step == 0 {
        println!("{}", start_line(metrics.training_mae_mev_per_angstrom, validation));
        return;
    }
    let bar = bar.get_or_insert_with(|| Bar::resumed(step - 1, n_steps));
    let message = || {
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let (loss, rate) = (number(metrics.loss_mev_per_angstrom), number(metrics.structures_per_s));
        format!("loss {loss:.1} meV/Å, {rate:.1} structures/s")
    };
    if let Some(mae) = validation {
        let (message, eta_min) = (message(), eta_s / 60.0);
        bar.line(&format!(
            "step {step}/{n_steps}, {message}, validation MAE {mae:.1} meV/Å, ETA {eta_min:.0} min"
        ));
    }
    bar.at(step, message);
}
