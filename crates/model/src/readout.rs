//! From the last edge vectors to forces: pooling over edges, a node MLP and the force head, forward and backward.
//!
//!   r[i,j] = ReLU(W_1·LN(x[i,j]) + b_1)
//!   p[i]   = MLP(Σ_j u1[i,j] + u2[j,i]),  (u1, u2) = W_2·r + b_2
//!   f[i]   = MLP(LN(p[i])), d → d/2 → d/4 → 3, GELU
//!
//! W_2 is linear, so it acts once per atom on sums of r, not on every edge.

use crate::buffer::{Buffer, n_bytes, resized};
use crate::gradient::Gradient;
use crate::group::{Group, Keep};
use crate::layout::LinearViews;
use crate::network::Network;
use crate::panels::Weights;
use crate::shares::for_each;
use mdet_kernels::{
    Operands, Real, Rows, RowsMut, Start, add_bias, add_linear_input_gradient, bias_gelu, bias_relu,
    gelu_backward, layer_norm, linear_input_gradient, relu_backward,
};

/// Columns of r that a thread gets at least; a multiple of any back end's panel.
const COLUMNS_TOGETHER: usize = 64;

/// What the backward pass needs of pooling and head.
#[derive(Debug, Default, Clone)]
pub(crate) struct ReadoutTape<T> {
    /// x after the last layer.
    pub input: Buffer<T>,
    /// LN(x), then reused.
    edge: Buffer<T>,
    /// r.
    rectified: Buffer<T>,
    /// What each thread's columns of r sum up to: Σ_j r[i,j] and then Σ_j r[j,i].
    shared_sums: Buffer<T>,
    /// Σ_j r[i,j] and Σ_j r[j,i], `[n_atoms, 2d]` each.
    sums: [Buffer<T>; 2],
    pool_sum: Buffer<T>,
    node_normalised: Buffer<T>,
    node_rectified: Buffer<T>,
    /// p.
    pub pooled: Buffer<T>,
    head_normalised: Buffer<T>,
    head_hidden: [Buffer<T>; 2],
    head_activated: [Buffer<T>; 2],
    /// Gradients of per-atom rows, two in turn.
    node_gradients: [Buffer<T>; 2],
}

impl<T> ReadoutTape<T> {
    /// Without the rows of atoms, which are few.
    pub fn n_bytes(&self) -> usize {
        n_bytes([&self.input, &self.edge, &self.rectified])
    }
}

/// Reads `tape.input`, writes the forces `[n_atoms, 3]` in Hartree/Bohr.
pub(crate) fn forward<T: Real>(
    weights: Weights<'_, T>,
    group: &Group,
    n_threads: usize,
    keep: Keep,
    tape: &mut ReadoutTape<T>,
    forces: &mut [T],
) {
    let net = weights.net;
    let (d, layout, n_atoms) = (net.config.width, &net.layout, group.n_atoms());
    pool(weights, group, n_threads, keep, tape);

    let pool_sum = &tape.pool_sum;
    let normalised = resized(&mut tape.node_normalised, n_atoms * d);
    layer_norm(pool_sum, net.view(&layout.node_norm.scale), net.view(&layout.node_norm.shift), normalised);
    let rectified = resized(&mut tape.node_rectified, n_atoms * d);
    weights.linear_rows(&layout.node[0].weight, d, normalised, rectified);
    bias_relu(rectified, net.view(&layout.node[0].bias));
    let pooled = resized(&mut tape.pooled, n_atoms * d);
    weights.linear_rows(&layout.node[1].weight, d, rectified, pooled);
    add_bias(pooled, net.view(&layout.node[1].bias));

    let mut width = d;
    let mut input = resized(&mut tape.head_normalised, n_atoms * d);
    layer_norm(pooled, net.view(&layout.head_norm.scale), net.view(&layout.head_norm.shift), input);
    let levels = tape.head_hidden.iter_mut().zip(&mut tape.head_activated).zip(&layout.head[..2]);
    for ((hidden, activated), views) in levels {
        let n_out = views.bias.len();
        let hidden = resized(hidden, n_atoms * n_out);
        weights.linear_rows(&views.weight, width, input, hidden);
        input = resized(activated, n_atoms * n_out);
        bias_gelu(hidden, net.view(&views.bias), input);
        width = n_out;
    }
    weights.linear_rows(&layout.head[2].weight, width, input, forces);
}

/// Writes `tape.pool_sum`: Σ_j u1[i,j] + u2[j,i]. The columns of r are dealt to threads, so that each sum is one thread's.
fn pool<T: Real>(
    weights: Weights<'_, T>,
    group: &Group,
    n_threads: usize,
    keep: Keep,
    tape: &mut ReadoutTape<T>,
) {
    let net = weights.net;
    let (d, layout, n_atoms, n_edges) = (net.config.width, &net.layout, group.n_atoms(), group.n_edges());
    let (n_columns, block) = (2 * d, keep.block_rows(n_edges));
    let share = n_columns.div_ceil(n_threads.max(1)).next_multiple_of(COLUMNS_TOGETHER).min(n_columns);
    let n_shares = n_columns.div_ceil(share);
    let edge = resized(&mut tape.edge, n_shares * block * d).chunks_exact_mut(block * d);
    let rectified = resized(&mut tape.rectified, block * n_columns).chunks_mut(block * share);
    let sums = resized(&mut tape.shared_sums, n_atoms * 2 * n_columns).chunks_mut(n_atoms * 2 * share);
    for_each(edge.zip(rectified).zip(sums).enumerate(), |(index, ((edge, rectified), sums))| {
        let columns = index * share..n_columns.min((index + 1) * share);
        let width = columns.len();
        sums.fill(T::ZERO);
        let (of_i, of_j) = sums.split_at_mut(n_atoms * width);
        for rows in keep.blocks(n_edges) {
            let input = &tape.input[rows.start * d..rows.end * d];
            let (edge, rectified) = (&mut edge[..rows.len() * d], &mut rectified[..rows.len() * width]);
            layer_norm(input, net.view(&layout.pool_norm.scale), net.view(&layout.pool_norm.shift), edge);
            let (x, y) = (Rows::row_major(edge, d), RowsMut::row_major(rectified, width));
            weights.some_outputs(&layout.pool[0].weight, columns.clone(), x, y);
            bias_relu(rectified, &net.view(&layout.pool[0].bias)[columns.clone()]);
            group.for_edges(rows.clone(), |edge, [i, j]| {
                let r = &rectified[(edge - rows.start) * width..][..width];
                for (sums, atom) in [(&mut *of_i, i), (&mut *of_j, j)] {
                    for (sum, &r) in sums[atom * width..(atom + 1) * width].iter_mut().zip(r) {
                        *sum += r;
                    }
                }
            });
        }
    });
    for (side, sums) in tape.sums.iter_mut().enumerate() {
        let sums = resized(sums, n_atoms * n_columns);
        for (index, shared) in tape.shared_sums.chunks(n_atoms * 2 * share).enumerate() {
            let width = shared.len() / (2 * n_atoms);
            let shared = shared[side * n_atoms * width..].chunks_exact(width);
            for (sums, shared) in sums.chunks_exact_mut(n_columns).zip(shared) {
                sums[index * share..][..width].copy_from_slice(shared);
            }
        }
    }
    let pool_sum = resized(&mut tape.pool_sum, n_atoms * d);
    let other = resized(&mut tape.pooled, n_atoms * d);
    let [first, second] = layout.second_pool();
    weights.linear_rows(&first, 2 * d, &tape.sums[0], pool_sum);
    weights.linear_rows(&second, 2 * d, &tape.sums[1], other);
    let (first, second) = net.view(&layout.pool[1].bias).split_at(d);
    for atoms in &group.atoms {
        let count = T::from_f64(atoms.len() as f64);
        for atom in atoms.clone() {
            for c in 0..d {
                pool_sum[atom * d + c] += other[atom * d + c] + count * (first[c] + second[c]);
            }
        }
    }
}

/// From dforces to the gradient of p, in `tape.node_gradients[0]`, adding that of the head's parameters to `gradient`.
pub(crate) fn head_backward<T: Real>(
    net: &Network<T>,
    group: &Group,
    tape: &mut ReadoutTape<T>,
    dforces: &[T],
    gradient: &mut Gradient<'_, T>,
) {
    let (d, layout, n_atoms) = (net.config.width, &net.layout, group.n_atoms());
    let [current, next] = &mut tape.node_gradients;
    let (mut current, mut next) = (current, next);
    resized(current, n_atoms * 3).copy_from_slice(dforces);
    for level in (0..3).rev() {
        let LinearViews { weight, bias } = &layout.head[level];
        let n_in = if level == 0 { d } else { layout.head[level - 1].bias.len() };
        let n_out = weight.len() / n_in;
        gradient.bias(bias, current);
        let input = if level == 0 { &tape.head_normalised } else { &tape.head_activated[level - 1] };
        gradient.weights(weight, Operands::AsGiven, Rows::row_major(current, n_out), n_in, input);
        linear_input_gradient(n_out, n_in, current, net.view(weight), resized(next, n_atoms * n_in));
        if level > 0 {
            gelu_backward(&tape.head_hidden[level - 1], next, &mut tape.head_activated[level - 1]);
        }
        std::mem::swap(&mut current, &mut next);
    }
    resized(next, n_atoms * d);
    gradient.norm(net, &layout.head_norm, &tape.pooled, current, &[], next);
}

/// From dforces to dx, adding the parameters' gradients to `gradient`. Uses up the tape.
pub(crate) fn backward<T: Real>(
    net: &Network<T>,
    group: &Group,
    operands: Operands,
    tape: &mut ReadoutTape<T>,
    dforces: &[T],
    dx: &mut [T],
    gradient: &mut Gradient<'_, T>,
) {
    head_backward(net, group, tape, dforces, gradient);
    let (d, layout) = (net.config.width, &net.layout);
    let [next, current] = &mut tape.node_gradients;
    let of_nodes = Operands::AsGiven;
    gradient.bias(&layout.node[1].bias, next);
    gradient.weights(&layout.node[1].weight, of_nodes, Rows::row_major(next, d), d, &tape.node_rectified);
    linear_input_gradient(d, d, next, net.view(&layout.node[1].weight), current);
    relu_backward(&tape.node_rectified, current);
    gradient.bias(&layout.node[0].bias, current);
    gradient.weights(&layout.node[0].weight, of_nodes, Rows::row_major(current, d), d, &tape.node_normalised);
    linear_input_gradient(d, d, current, net.view(&layout.node[0].weight), next);
    gradient.norm(net, &layout.node_norm, &tape.pool_sum, next, &[], current);
    pool_backward(net, group, operands, tape, dx, gradient);
}

/// From the gradient of the pooled sum, in `tape.node_gradients[1]`, to dx.
fn pool_backward<T: Real>(
    net: &Network<T>,
    group: &Group,
    operands: Operands,
    tape: &mut ReadoutTape<T>,
    dx: &mut [T],
    gradient: &mut Gradient<'_, T>,
) {
    let (d, layout) = (net.config.width, &net.layout);
    let [scratch, dpool_sum] = &mut tape.node_gradients;
    resized(scratch, dpool_sum.len()).copy_from_slice(dpool_sum);
    for atoms in &group.atoms {
        let count = T::from_f64(atoms.len() as f64);
        for value in &mut scratch[atoms.start * d..atoms.end * d] {
            *value *= count;
        }
    }
    let second_bias = &layout.pool[1].bias;
    for half in [second_bias.start..second_bias.start + d, second_bias.start + d..second_bias.end] {
        gradient.bias(&half, scratch);
    }
    for (half, sums) in layout.second_pool().into_iter().zip(&mut tape.sums) {
        gradient.weights(&half, Operands::AsGiven, Rows::row_major(dpool_sum, d), 2 * d, sums);
        sums.fill(T::ZERO);
        add_linear_input_gradient(d, 2 * d, dpool_sum, &net.values[half], sums);
    }
    // r becomes its own gradient once its sign has been read.
    let rectified = &mut tape.rectified;
    let [first, second] = &tape.sums;
    let mut drectified = vec![T::ZERO; 2 * d];
    for (atoms, edges) in group.atoms.iter().zip(&group.edges) {
        let n = atoms.len();
        for (pair, edge) in edges.clone().enumerate() {
            let (i, j) = (atoms.start + pair / n, atoms.start + pair % n);
            for c in 0..2 * d {
                drectified[c] = first[i * 2 * d + c] + second[j * 2 * d + c];
            }
            let row = &mut rectified[edge * 2 * d..(edge + 1) * 2 * d];
            relu_backward(row, &mut drectified);
            row.copy_from_slice(&drectified);
        }
    }
    gradient.bias(&layout.pool[0].bias, rectified);
    let rectified = Rows::row_major(rectified, 2 * d);
    gradient.weights(&layout.pool[0].weight, operands, rectified, d, &tape.edge);
    let dedge = RowsMut::row_major(&mut tape.edge, d);
    operands.input_gradient(rectified, net.view(&layout.pool[0].weight), Start::Zero, dedge);
    gradient.norm(net, &layout.pool_norm, &tape.input, &tape.edge, &[], dx);
}
