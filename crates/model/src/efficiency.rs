//! How close passes of a network come to the time of their matrix products alone, on this machine.
//!
//!   efficiency = time of the products by the `gemm` library / time of the pass
//!
//! Both are measured in turn and medians count, so that another program's load, which slows both, does not decide.
//! The library gets the pass's own shapes, as many rows at a time and as many threads.

use crate::{ModelConfig, Molecule, Network, Tape};
use mdet_kernels::{Real, library_product};
use std::time::Instant;

/// Rows that small molecules are gathered to, as in prediction and training.
const GROUP_ROWS: usize = 512;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Forces of one molecule whose rows all threads share.
    Forward,
    /// Forces and parameter gradients of as many structures as make [`Task::batch`], each thread on its own.
    ForwardBackward,
}

/// One line of a table.
#[derive(Debug, Clone)]
pub struct Task {
    /// Atoms of the molecules, one after another.
    pub sizes: Vec<usize>,
    /// Threads.
    pub n_threads: usize,
    /// Passes over them.
    pub pass: Pass,
}

impl Task {
    /// One molecule of `n` atoms, forward.
    pub fn molecule(n: usize, n_threads: usize) -> Self {
        Self { sizes: vec![n], n_threads, pass: Pass::Forward }
    }

    /// Structures of `sizes` in turn until they have `n_rows` edge rows, forward and backward.
    pub fn batch(sizes: &[usize], n_rows: usize, n_threads: usize) -> Self {
        let mut rows = 0;
        let fits = |&n: &usize| {
            let before = rows;
            rows += n * n;
            before < n_rows
        };
        let sizes = sizes.iter().copied().cycle().take_while(fits).collect();
        Self { sizes, n_threads, pass: Pass::ForwardBackward }
    }

    /// Consecutive molecules that are evaluated together.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let rows = |group: &[usize]| group.iter().map(|n| n * n).sum::<usize>();
        for &n in &self.sizes {
            match groups.last_mut() {
                Some(group) if rows(group) + n * n <= GROUP_ROWS => group.push(n),
                _ => groups.push(vec![n]),
            }
        }
        groups
    }
}

/// Medians over rounds of one pass and its products each.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Time of the pass, s.
    pub pass_s: f64,
    /// Time of its matrix products alone, s.
    pub products_s: f64,
    /// Share of the pass's time that its products alone took in the same round.
    pub efficiency: f64,
    /// Floating-point operations of the products, in units of 10⁹.
    pub gigaflop: f64,
    /// Working memory of all threads together.
    pub n_bytes: usize,
}

/// Measures a task for about `seconds`, at least three rounds.
///
/// # Panics
/// When the system gives no threads.
pub fn measure<T: Real>(network: &Network<T>, task: &Task, seconds: f64) -> Timing {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(task.n_threads).build().expect("a few threads");
    let groups = task.groups();
    let molecules: Vec<Vec<Chain>> =
        groups.iter().map(|group| group.iter().map(|&n| Chain::new(n)).collect()).collect();
    let groups_of_molecules: Vec<Vec<Molecule<'_>>> =
        molecules.iter().map(|group| group.iter().map(Chain::molecule).collect()).collect();
    let mut workers: Vec<Worker<T>> = (0..task.n_threads).map(|_| Worker::new(network, &groups)).collect();
    let mut products = Products::<T>::new(network.config(), task, &groups);
    let (start, mut rounds) = (Instant::now(), Vec::new());
    pool.install(|| {
        while rounds.len() < 3 || start.elapsed().as_secs_f64() < seconds {
            let pass_s = timed(|| match task.pass {
                Pass::Forward => {
                    for group in &groups_of_molecules {
                        let worker = &mut workers[0];
                        let n = group.iter().map(|m| m.numbers.len()).sum::<usize>();
                        network.infer(group, task.n_threads, &mut worker.tape, &mut worker.forces[..3 * n]);
                    }
                }
                Pass::ForwardBackward => in_parallel(&mut workers, |thread, worker| {
                    for group in groups_of_molecules.iter().skip(thread).step_by(task.n_threads) {
                        worker.forward_backward(network, group);
                    }
                }),
            });
            rounds.push((pass_s, timed(|| products.run())));
        }
    });
    Timing {
        pass_s: median(rounds.iter().map(|round| round.0)),
        products_s: median(rounds.iter().map(|round| round.1)),
        efficiency: median(rounds.iter().map(|round| round.1 / round.0)),
        gigaflop: products.gigaflop(),
        n_bytes: workers.iter().map(|worker| worker.tape.n_bytes()).sum(),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Calls `work(index, item)` on every item, one per thread of the current pool.
fn in_parallel<Item: Send>(items: &mut [Item], work: impl Fn(usize, &mut Item) + Sync) {
    use rayon::prelude::*;
    match items {
        [only] => work(0, only),
        _ => items.par_iter_mut().enumerate().with_max_len(1).for_each(|(index, item)| work(index, item)),
    }
}

/// A zigzag chain of carbon and hydrogen.
struct Chain {
    numbers: Vec<u8>,
    positions_bohr: Vec<[f64; 3]>,
}

impl Chain {
    fn new(n: usize) -> Self {
        let numbers = (0..n).map(|i| if i % 3 == 0 { 6 } else { 1 }).collect();
        let position = |i: usize| [1.9 * i as f64, (i % 2) as f64, 0.7 * (i % 3) as f64];
        Self { numbers, positions_bohr: (0..n).map(position).collect() }
    }

    fn molecule(&self) -> Molecule<'_> {
        let Self { numbers, positions_bohr } = self;
        Molecule { numbers, positions_bohr, charge: 0, multiplicity: 1 }
    }
}

/// One thread's buffers.
struct Worker<T> {
    tape: Tape<T>,
    forces: Vec<T>,
    gradient: Vec<T>,
}

impl<T: Real> Worker<T> {
    fn new(network: &Network<T>, groups: &[Vec<usize>]) -> Self {
        let n_atoms = groups.iter().map(|group| group.iter().sum::<usize>()).max().unwrap_or(0);
        let gradient = vec![T::ZERO; network.values().len()];
        Self { tape: Tape::default(), forces: vec![T::ZERO; 3 * n_atoms], gradient }
    }

    fn forward_backward(&mut self, network: &Network<T>, molecules: &[Molecule<'_>]) {
        let n_atoms = molecules.iter().map(|m| m.numbers.len()).sum::<usize>();
        network.forward(molecules, &mut self.tape, &mut self.forces[..3 * n_atoms]);
        let dforces = vec![T::ONE; 3 * n_atoms];
        network.backward(molecules, &mut self.tape, &dforces, &mut self.gradient, None);
    }
}

/// The matrix products of a task's passes, by the library.
struct Products<T> {
    /// Per thread: rows of each call.
    rows: Vec<Vec<usize>>,
    /// (outputs, inputs, how often per pass) of every linear layer that sees edges.
    layers: Vec<[usize; 3]>,
    pass: Pass,
    buffers: Vec<[Vec<T>; 3]>,
}

impl<T: Real> Products<T> {
    fn new(config: &ModelConfig, task: &Task, groups: &[Vec<usize>]) -> Self {
        let (d, k, hidden) = (config.width, config.n_gaussians, config.ffn_multiplier * config.width);
        let n = config.n_layers;
        let layers = vec![
            [k, k, 1],
            [d, k, 1],
            [d, 4 * config.n_frequencies, 1],
            [4 * d, d, n],
            [d, d, n],
            [hidden, d, n],
            [d, hidden, n],
            [2 * d, d, 1],
        ];
        let of_group = |group: &Vec<usize>| group.iter().map(|n| n * n).sum::<usize>();
        let rows: Vec<Vec<usize>> = (0..task.n_threads)
            .map(|thread| match task.pass {
                Pass::Forward => groups.iter().map(|g| of_group(g).div_ceil(task.n_threads)).collect(),
                Pass::ForwardBackward => {
                    groups.iter().skip(thread).step_by(task.n_threads).map(of_group).collect()
                }
            })
            .collect();
        let most_rows = rows.iter().flatten().copied().max().unwrap_or(0);
        let widest = layers.iter().map(|&[n, k, _]| n.max(k)).max().unwrap_or(0);
        let matrix = layers.iter().map(|&[n, k, _]| n * k).max().unwrap_or(0);
        let half = T::from_f64(0.5);
        let buffers = || [vec![half; most_rows * widest], vec![half; most_rows * widest], vec![half; matrix]];
        Self { rows, layers, pass: task.pass, buffers: (0..task.n_threads).map(|_| buffers()).collect() }
    }

    fn run(&mut self) {
        let Self { rows, layers, pass, buffers } = self;
        in_parallel(buffers, |thread, [x, y, w]| {
            for (&m, &[n, k, count]) in rows[thread].iter().flat_map(|m| layers.iter().map(move |l| (m, l))) {
                let (x, y, w) = (&mut x[..m * k], &mut y[..m * n], &mut w[..n * k]);
                for _ in 0..count {
                    library_product([m, n, k], y, x, [k, 1], w, [1, k]);
                    if *pass == Pass::ForwardBackward {
                        library_product([m, k, n], x, y, [n, 1], w, [k, 1]);
                        library_product([n, k, m], w, y, [1, n], x, [k, 1]);
                    }
                }
            }
        });
    }

    fn gigaflop(&self) -> f64 {
        let rows: usize = self.rows.iter().flatten().sum();
        let per_row: usize = self.layers.iter().map(|[n, k, count]| 2 * n * k * count).sum();
        let passes = if self.pass == Pass::Forward { 1 } else { 3 };
        1e-9 * (rows * per_row * passes) as f64
    }
}
