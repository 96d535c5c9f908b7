//! Forward and forward + backward passes on one thread: of the full-size model beside its matrix products alone, by the
//! `gemm` library, and of the built-in architecture as training has them, without rounding and with.
//!
//! An element of the full-size lines' rates is one floating-point operation of the products; the rate of a pass over the
//! library's is its efficiency. `mdet bench` prints the table of `benches/record`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mdet_kernels::{Operands, library_product};
use mdet_model::{Frequencies, Model, ModelConfig, Molecule, Network, Rounding, Tape};
use std::hint::black_box;

/// A zigzag chain of carbon and hydrogen.
fn molecule(n: usize) -> (Vec<u8>, Vec<[f64; 3]>) {
    let numbers = (0..n).map(|i| if i % 3 == 0 { 6 } else { 1 }).collect();
    let positions = (0..n).map(|i| [1.9 * i as f64, (i % 2) as f64, 0.7 * (i % 3) as f64]).collect();
    (numbers, positions)
}

/// Every matrix product of one forward pass, by (rows, out, in) and how often.
fn products(config: &ModelConfig, n: usize) -> Vec<(usize, usize, usize, usize)> {
    let (d, k, rows, hidden) =
        (config.width, config.n_gaussians, n * n, config.ffn_multiplier * config.width);
    let layers = config.n_layers;
    vec![
        (rows, k, k, 1),
        (rows, d, k, 1),
        (rows, d, 4 * config.n_frequencies, 1),
        (rows, 4 * d, d, layers),
        (rows, d, d, layers),
        (rows, hidden, d, layers),
        (rows, d, hidden, layers),
        (rows, 2 * d, d, 1),
    ]
}

fn passes(criterion: &mut Criterion) {
    let config = ModelConfig::published();
    let network: Network<f32> = Model::random(config.clone(), Frequencies::Published, 1)
        .and_then(|model| model.network())
        .expect("the published sizes are valid");
    let mut group = criterion.benchmark_group("full size, f32, one thread");
    group.sample_size(10);
    for n in [9, 21, 42] {
        let (numbers, positions) = molecule(n);
        let molecule =
            [Molecule { numbers: &numbers, positions_bohr: &positions, charge: 0, multiplicity: 1 }];
        let mut forces = vec![0.0; 3 * n];
        let mut tape = Tape::default();
        let all = products(&config, n);
        let operations: usize =
            all.iter().map(|(rows, out, within, count)| 2 * rows * out * within * count).sum();
        group.throughput(Throughput::Elements(operations as u64));
        group.bench_function(BenchmarkId::new("forward", n), |bench| {
            bench.iter(|| network.infer(black_box(&molecule), 1, &mut tape, &mut forces));
        });
        let mut gradient = vec![0.0; network.values().len()];
        let dforces = vec![1.0; 3 * n];
        group.throughput(Throughput::Elements(3 * operations as u64));
        group.bench_function(BenchmarkId::new("forward + backward", n), |bench| {
            bench.iter(|| {
                network.forward(black_box(&molecule), &mut tape, &mut forces);
                network.backward(&molecule, &mut tape, &dforces, &mut gradient, None);
            });
        });
        let largest = all.iter().map(|&(rows, out, within, _)| rows * out.max(within)).max().unwrap_or(0);
        let (x, w, mut y) = (vec![0.5_f32; largest], vec![0.25; 4 * 256 * 256], vec![0.0; largest]);
        group.throughput(Throughput::Elements(operations as u64));
        group.bench_function(BenchmarkId::new("products by the library", n), |bench| {
            bench.iter(|| {
                for &(rows, out, within, count) in &all {
                    for _ in 0..count {
                        let (x, w, y) = (&x[..rows * within], &w[..out * within], &mut y[..rows * out]);
                        library_product([rows, out, within], y, x, [within, 1], w, [1, within]);
                    }
                }
                black_box(&y);
            });
        });
    }
    group.finish();
}

/// Gradients of groups of structures of the corpus's sizes, median 17 atoms.
fn training(criterion: &mut Criterion) {
    let network: Network<f32> = Model::random(ModelConfig::built_in(), Frequencies::Integer, 1)
        .and_then(|model| model.network())
        .expect("the sizes are valid");
    let groups = [&[9, 10, 11, 12][..], &[17, 15], &[22], &[18, 13], &[25], &[20, 9]];
    let chains: Vec<Vec<_>> =
        groups.iter().map(|group| group.iter().map(|&n| molecule(n)).collect()).collect();
    let mut group = criterion.benchmark_group("built-in architecture, f32, one thread, forward + backward");
    group.sample_size(20);
    let (given, rounded) = (Operands::AsGiven, Operands::Rounded);
    for (name, forward, backward) in
        [("none", given, given), ("backward", given, rounded), ("all", rounded, rounded)]
    {
        let mut tape = Tape::rounding(Rounding { forward, backward });
        let mut gradient = vec![0.0; network.values().len()];
        group.bench_function(BenchmarkId::new("rounding", name), |bench| {
            bench.iter(|| {
                for chains in &chains {
                    let molecules = chains.iter().map(|(numbers, positions_bohr)| Molecule {
                        numbers,
                        positions_bohr,
                        charge: 0,
                        multiplicity: 1,
                    });
                    let molecules: Vec<Molecule<'_>> = molecules.collect();
                    let n_atoms: usize = molecules.iter().map(|m| m.numbers.len()).sum();
                    let mut forces = vec![0.0; 3 * n_atoms];
                    network.forward(black_box(&molecules), &mut tape, &mut forces);
                    network.backward(&molecules, &mut tape, &forces, &mut gradient, None);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, passes, training);
criterion_main!(benches);
