//! How much of a training step is forward and backward pass: whole steps of a run (data, augmentation, loss, sums,
//! clipping, optimiser, average) in turn with the passes of the same structures alone, on the same threads.
//!
//!     cargo run --release -p mdet-train --example step_share -- [--threads 2] [--atoms 15] [--rounds 7] [--published]
//!
//! The passes alone are what `mdet bench` times: groups of whole molecules dealt to threads, with a gradient per thread.

use mdet_model::{Frequencies, ModelConfig, Molecule, Network, Tape};
use mdet_train::{Batches, Job, OptimiserName, Progress, Ranks, Sample, TrainConfig};
use rayon::prelude::*;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Edge rows of a group, as in training.
const GROUP_ROWS: usize = 512;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: usize| {
        let place = arguments.iter().position(|argument| argument == name);
        place.map_or(Ok(default), |place| arguments.get(place + 1).map_or("", |text| text).parse())
    };
    let (n_threads, n_atoms, rounds) =
        (number("--threads", 2)?, number("--atoms", 15)?, number("--rounds", 7)?);
    let is_published = arguments.iter().any(|argument| argument == "--published");
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data.xyz");
    std::fs::write(&data, chains(200, n_atoms))?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build()?;
    println!(
        "| model | optimiser | copies | step, ms | passes, ms | passes / step |\n|---|---|---|---|---|---|"
    );
    for optimiser in [OptimiserName::Adamw, OptimiserName::Muon] {
        for copies in [48, 250] {
            let config = config(&data, is_published, optimiser, copies, rounds as u64 + 1);
            let out = folder.path().join(format!("{optimiser:?}-{copies}"));
            let times = pool.install(|| times(config, &out, n_threads))?;
            let model = if is_published { "published" } else { "built-in" };
            let [step, passes] = [0, 1].map(|k| median(times.iter().map(|pair| pair[k]).collect()));
            let share = median(times.iter().map(|[step, passes]| passes / step).collect());
            println!(
                "| {model} | {optimiser:?} | {copies} | {:.1} | {:.1} | {share:.3} |",
                1e3 * step,
                1e3 * passes
            );
        }
    }
    Ok(())
}

fn config(
    data: &Path,
    is_published: bool,
    optimiser: OptimiserName,
    copies: usize,
    n_steps: u64,
) -> TrainConfig {
    TrainConfig {
        start: None,
        frequencies: Some(Frequencies::Integer),
        model: Some(if is_published { ModelConfig::published() } else { ModelConfig::built_in() }),
        hold_out: 0.0,
        structures_per_step: copies / 2,
        n_steps,
        warmup_steps: 1,
        optimiser,
        ema_decay: 0.9997,
        ..TrainConfig::finetune("".into(), vec![data.into()])
    }
}

/// Seconds of every step but the first and of its passes alone.
fn times(
    config: TrainConfig,
    out: &Path,
    n_threads: usize,
) -> Result<Vec<[f64; 2]>, Box<dyn Error + Send + Sync>> {
    let job = Job::prepare(config)?;
    let network: Network<f32> = job.model.network()?;
    let mut batches =
        Batches::new(&job.dataset, job.config.structures_per_step, job.config.copies, 0, job.config.seed);
    let mut workers: Vec<(Tape<f32>, Vec<f32>)> = Vec::new();
    workers.resize_with(n_threads, || (Tape::default(), vec![0.0; network.values().len()]));
    let mut times = Vec::new();
    let mut start = Instant::now();
    let mut report = |progress: &Progress| {
        let step_s = start.elapsed().as_secs_f64();
        let samples = batches.at_step(progress.step - 1);
        let passes_s = passes(&network, &samples, &mut workers);
        if progress.step > 1 {
            times.push([step_s, passes_s]);
        }
        start = Instant::now();
    };
    job.run(out, &Ranks::alone(), &AtomicBool::new(false), &mut report)?;
    Ok(times)
}

/// Seconds of forward and backward pass of the samples.
fn passes(network: &Network<f32>, samples: &[Sample], workers: &mut [(Tape<f32>, Vec<f32>)]) -> f64 {
    let molecules: Vec<Molecule<'_>> = samples.iter().map(Sample::molecule).collect();
    let groups: Vec<&[Molecule<'_>]> = molecules.chunks((GROUP_ROWS / samples[0].n_edges()).max(1)).collect();
    let n_threads = workers.len();
    let start = Instant::now();
    workers.par_iter_mut().enumerate().with_max_len(1).for_each(|(thread, (tape, gradient))| {
        for group in groups.iter().skip(thread).step_by(n_threads) {
            let n_atoms: usize = group.iter().map(|molecule| molecule.numbers.len()).sum();
            let mut forces = vec![0.0; 3 * n_atoms];
            network.forward(group, tape, &mut forces);
            network.backward(group, tape, &forces, gradient, None);
        }
    });
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Zigzag chains of carbon and hydrogen with forces of about 1 eV/Å, as extended XYZ.
fn chains(n_structures: usize, n_atoms: usize) -> String {
    let mut text = String::new();
    for b in 0..n_structures {
        let _ = writeln!(text, "{n_atoms}\nProperties=species:S:1:pos:R:3:forces:R:3");
        for i in 0..n_atoms {
            let symbol = if i % 3 == 0 { "C" } else { "H" };
            let noise = |k: usize| ((b * 131 + i * 17 + k * 7) as f64).sin();
            let (x, y, z) = (1.1 * i as f64, (i % 2) as f64 * 0.6 + 0.05 * noise(0), (i % 3) as f64 * 0.4);
            let _ = writeln!(
                text,
                "{symbol} {x:.4} {y:.4} {z:.4} {:.4} {:.4} {:.4}",
                noise(1),
                noise(2),
                noise(3)
            );
        }
    }
    text
}
