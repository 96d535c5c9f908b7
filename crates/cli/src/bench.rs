//! `mdet bench`: how fast a model runs on this machine, and how close that is to the machine's limit.

use crate::model_choice::load;
use crate::{AnyError, Done, interrupt};
use clap::{Args, ValueEnum};
use mdet_kernels::{Backend, Real};
use mdet_model::efficiency::{Pass, Task, measure};
use mdet_model::{Frequencies, Model, ModelConfig, Network};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Time a model on this machine, as a Markdown table.
///
/// Efficiency is the time that the pass's matrix products alone take with the gemm library, over the time of the
/// pass; ns/day is for one molecule and a time step of 0.5 fs. Both are timed in turn; other programs slow both.
/// Memory is what the pass works in beside the weights and their gradients, of all threads together.
///
/// Example: mdet bench --model my.safetensors
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Model file, or "built-in" [default: the built-in model].
    #[arg(long, value_name = "MODEL.safetensors")]
    model: Option<PathBuf>,
    /// The published architecture (192 wide, 12 layers) with random weights in place of a model.
    #[arg(long, conflicts_with = "model")]
    published: bool,
    /// Only molecules of these sizes, forward and, in batches, forward and backward.
    ///
    /// Example: --atoms 24,87
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1000))]
    atoms: Vec<u16>,
    /// Use no wider vectors than these, if the processor has them; with avx2, neither does the library.
    #[arg(long, value_name = "INSTRUCTIONS")]
    instructions: Option<Instructions>,
    /// Seconds for each line of the table.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
}

/// What `--instructions` takes.
#[derive(Clone, Copy, ValueEnum)]
enum Instructions {
    /// AVX2 and FMA.
    Avx2,
    /// What every processor of the kind has.
    Portable,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("expected a number of seconds above 0".into()),
    }
}

const SIZES: [usize; 5] = [9, 21, 42, 87, 118];
/// A batch as data sets have them.
const MIXED: [usize; 6] = [3, 9, 12, 16, 21, 32];
/// Edge rows of a training batch: the full-size model takes seconds for them.
const BATCH_ROWS: usize = 4096;
const TIMESTEP_FS: f64 = 0.5;

pub(crate) fn run(args: &BenchArgs) -> Result<Done, AnyError> {
    match args.instructions {
        None => {}
        Some(Instructions::Avx2) => mdet_kernels::restrict(Backend::Avx2),
        Some(Instructions::Portable) => mdet_kernels::restrict(Backend::Portable),
    }
    let (network, name): (Network<f32>, String) = if args.published {
        let model = Model::random(ModelConfig::published(), Frequencies::Published, 1)?;
        (model.network()?, "published".into())
    } else {
        let (model, name) = load(args.model.as_ref())?;
        (model.network()?, name)
    };
    let config = network.config();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Model: {name}, {} layers of width {}. Processor: {}.",
        config.n_layers,
        config.width,
        processor()
    )?;
    writeln!(out)?;
    writeln!(
        out,
        "| pass | precision | threads | atoms | time, ms | products, ms | GFLOP/s | efficiency | memory, MB | ns/day |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    let stop = interrupt::flag()?;
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    let threads: &[usize] = if most > 1 { &[1, 2] } else { &[1] };
    let double: Network<f64> = network.to_precision();
    for &n_threads in threads {
        for task in tasks(&args.atoms, n_threads) {
            if stop.load(Ordering::Relaxed) {
                return Ok(Done::Interrupted);
            }
            row(&mut out, &network, &task, args.seconds)?;
            row(&mut out, &double, &task, args.seconds)?;
        }
    }
    Ok(Done::Completed)
}

/// The lines of the table: every size on its own, then batches; of each size asked for, or of three and a mixed one.
fn tasks(atoms: &[u16], n_threads: usize) -> Vec<Task> {
    let sizes: Vec<usize> = match atoms {
        [] => SIZES.to_vec(),
        _ => atoms.iter().map(|&n| usize::from(n)).collect(),
    };
    let mut batches: Vec<&[usize]> = sizes.chunks(1).collect();
    if atoms.is_empty() {
        batches.truncate(3);
        batches.push(&MIXED);
    }
    // A structure for every thread, however large it is.
    let n_rows = |sizes: &[usize]| BATCH_ROWS.max(n_threads * sizes[0] * sizes[0]);
    let molecules = sizes.iter().map(|&n| Task::molecule(n, n_threads));
    molecules.chain(batches.into_iter().map(|batch| Task::batch(batch, n_rows(batch), n_threads))).collect()
}

/// Measures and prints one line of the table.
fn row<T: Real>(
    out: &mut impl Write,
    network: &Network<T>,
    task: &Task,
    seconds: f64,
) -> std::io::Result<()> {
    let timing = measure(network, task, seconds);
    let precision = if size_of::<T>() == 4 { "f32" } else { "f64" };
    let mut sizes = task.sizes.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let atoms = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let (pass, atoms, speed) = match task.pass {
        Pass::Forward => {
            let per_day = 86_400.0 / timing.pass_s * TIMESTEP_FS * 1e-6;
            ("forward", atoms, format!("{per_day:.3}"))
        }
        Pass::ForwardBackward => ("forward + backward", format!("{} × {atoms}", task.sizes.len()), "".into()),
    };
    writeln!(
        out,
        "| {pass} | {precision} | {} | {atoms} | {:.2} | {:.2} | {:.0} | {:.2} | {:.0} | {speed} |",
        task.n_threads,
        1e3 * timing.pass_s,
        1e3 * timing.products_s,
        timing.gigaflop / timing.products_s,
        timing.efficiency,
        1e-6 * timing.n_bytes as f64,
    )
}

/// The processor's name, where the system tells.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or("unknown".to_string(), |(_, name)| name.to_string());
    format!("{name}, {:?}", mdet_kernels::backend())
}
