//! From the last edge vectors to forces: pooling over edges, a node MLP and the force head, forward and backward.
//!
//!   r[i,j] = ReLU(W_1·LN(x[i,j]) + b_1)
//!   p[i]   = MLP(Σ_j u1[i,j] + u2[j,i]),  (u1, u2) = W_2·r + b_2
//!   f[i]   = MLP(LN(p[i])), d → d/2 → d/4 → 3, GELU
//!
//! W_2 is linear, so it acts once per atom on sums of r, not on every edge.

use crate::buffer::{Buffer, n_bytes, resized};
use crate::group::{Group, Keep};
use crate::layer::norm_backward;
use crate::layout::LinearViews;
use crate::network::Network;
use mdet_kernels::{
    Operands, Real, Rows, RowsMut, Start, add_bias, add_column_sums, add_linear_input_gradient, bias_gelu,
    bias_relu, gelu_backward, layer_norm, linear, linear_input_gradient, linear_weight_gradient,
    relu_backward,
};

/// What the backward pass needs of pooling and head.
#[derive(Debug, Default)]
pub(crate) struct ReadoutTape<T> {
    /// x after the last layer.
    pub input: Buffer<T>,
    /// LN(x), then reused.
    edge: Buffer<T>,
    /// r.
    rectified: Buffer<T>,
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
    net: &Network<T>,
    group: &Group,
    keep: Keep,
    tape: &mut ReadoutTape<T>,
    forces: &mut [T],
) {
    let (d, layout, n_atoms) = (net.config.width, &net.layout, group.n_atoms());
    pool(net, group, keep, tape);

    let pool_sum = &tape.pool_sum;
    let normalised = resized(&mut tape.node_normalised, n_atoms * d);
    layer_norm(pool_sum, net.view(&layout.node_norm.scale), net.view(&layout.node_norm.shift), normalised);
    let rectified = resized(&mut tape.node_rectified, n_atoms * d);
    linear(d, d, normalised, net.view(&layout.node[0].weight), rectified);
    bias_relu(rectified, net.view(&layout.node[0].bias));
    let pooled = resized(&mut tape.pooled, n_atoms * d);
    linear(d, d, rectified, net.view(&layout.node[1].weight), pooled);
    add_bias(pooled, net.view(&layout.node[1].bias));

    let mut width = d;
    let mut input = resized(&mut tape.head_normalised, n_atoms * d);
    layer_norm(pooled, net.view(&layout.head_norm.scale), net.view(&layout.head_norm.shift), input);
    let levels = tape.head_hidden.iter_mut().zip(&mut tape.head_activated).zip(&layout.head[..2]);
    for ((hidden, activated), views) in levels {
        let n_out = views.bias.len();
        let hidden = resized(hidden, n_atoms * n_out);
        linear(n_out, width, input, net.view(&views.weight), hidden);
        input = resized(activated, n_atoms * n_out);
        bias_gelu(hidden, net.view(&views.bias), input);
        width = n_out;
    }
    linear(3, width, input, net.view(&layout.head[2].weight), forces);
}

/// Writes `tape.pool_sum`: Σ_j u1[i,j] + u2[j,i].
fn pool<T: Real>(net: &Network<T>, group: &Group, keep: Keep, tape: &mut ReadoutTape<T>) {
    let (d, layout, n_atoms) = (net.config.width, &net.layout, group.n_atoms());
    for sums in &mut tape.sums {
        resized(sums, n_atoms * 2 * d).fill(T::ZERO);
    }
    for rows in keep.blocks(group.n_edges()) {
        let input = &tape.input[rows.start * d..rows.end * d];
        let edge = resized(&mut tape.edge, rows.len() * d);
        layer_norm(input, net.view(&layout.pool_norm.scale), net.view(&layout.pool_norm.shift), edge);
        let rectified = resized(&mut tape.rectified, rows.len() * 2 * d);
        linear(2 * d, d, edge, net.view(&layout.pool[0].weight), rectified);
        bias_relu(rectified, net.view(&layout.pool[0].bias));
        for_both_atoms(group, rows, 2 * d, |side, edge_row, atom_row| {
            for (sum, &r) in tape.sums[side][atom_row].iter_mut().zip(&rectified[edge_row]) {
                *sum += r;
            }
        });
    }
    let pool_sum = resized(&mut tape.pool_sum, n_atoms * d);
    let other = resized(&mut tape.pooled, n_atoms * d);
    let (first, second) = net.view(&layout.pool[1].weight).split_at(d * 2 * d);
    linear(d, 2 * d, &tape.sums[0], first, pool_sum);
    linear(d, 2 * d, &tape.sums[1], second, other);
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

/// Calls `visit(side, edge row, atom row)` for every edge (i, j) of `rows`, counted from the first of them: side 0 with
/// atom i, side 1 with atom j.
fn for_both_atoms(
    group: &Group,
    rows: std::ops::Range<usize>,
    width: usize,
    mut visit: impl FnMut(usize, std::ops::Range<usize>, std::ops::Range<usize>),
) {
    for (atoms, edges) in group.atoms.iter().zip(&group.edges) {
        let n = atoms.len();
        for edge in edges.start.max(rows.start)..edges.end.min(rows.end) {
            let (pair, edge) = (edge - edges.start, edge - rows.start);
            for (side, atom) in [pair / n, pair % n].into_iter().enumerate() {
                let atom = atoms.start + atom;
                visit(side, edge * width..(edge + 1) * width, atom * width..(atom + 1) * width);
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
    gradient: &mut [T],
) {
    let (d, layout, n_atoms) = (net.config.width, &net.layout, group.n_atoms());
    let [current, next] = &mut tape.node_gradients;
    let (mut current, mut next) = (current, next);
    resized(current, n_atoms * 3).copy_from_slice(dforces);
    for level in (0..3).rev() {
        let LinearViews { weight, bias } = &layout.head[level];
        let n_in = if level == 0 { d } else { layout.head[level - 1].bias.len() };
        let n_out = weight.len() / n_in;
        add_bias_gradient(current, bias, gradient);
        let input = if level == 0 { &tape.head_normalised } else { &tape.head_activated[level - 1] };
        linear_weight_gradient(n_out, n_in, current, input, &mut gradient[weight.clone()]);
        linear_input_gradient(n_out, n_in, current, net.view(weight), resized(next, n_atoms * n_in));
        if level > 0 {
            gelu_backward(&tape.head_hidden[level - 1], next, &mut tape.head_activated[level - 1]);
        }
        std::mem::swap(&mut current, &mut next);
    }
    resized(next, n_atoms * d);
    norm_backward(net, &layout.head_norm, &tape.pooled, current, &[], next, gradient);
}

/// From dforces to dx, adding the parameters' gradients to `gradient`.
pub(crate) fn backward<T: Real>(
    net: &Network<T>,
    group: &Group,
    operands: Operands,
    tape: &mut ReadoutTape<T>,
    dforces: &[T],
    dx: &mut [T],
    gradient: &mut [T],
) {
    head_backward(net, group, tape, dforces, gradient);
    let (d, layout) = (net.config.width, &net.layout);
    let [next, current] = &mut tape.node_gradients;
    add_bias_gradient(next, &layout.node[1].bias, gradient);
    linear_weight_gradient(d, d, next, &tape.node_rectified, &mut gradient[layout.node[1].weight.clone()]);
    linear_input_gradient(d, d, next, net.view(&layout.node[1].weight), current);
    relu_backward(&tape.node_rectified, current);
    add_bias_gradient(current, &layout.node[0].bias, gradient);
    linear_weight_gradient(
        d,
        d,
        current,
        &tape.node_normalised,
        &mut gradient[layout.node[0].weight.clone()],
    );
    linear_input_gradient(d, d, current, net.view(&layout.node[0].weight), next);
    norm_backward(net, &layout.node_norm, &tape.pool_sum, next, &[], current, gradient);
    pool_backward(net, group, operands, tape, dx, gradient);
}

/// From the gradient of the pooled sum, in `tape.node_gradients[1]`, to dx.
fn pool_backward<T: Real>(
    net: &Network<T>,
    group: &Group,
    operands: Operands,
    tape: &mut ReadoutTape<T>,
    dx: &mut [T],
    gradient: &mut [T],
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
    let (first, second) = gradient[layout.pool[1].bias.clone()].split_at_mut(d);
    add_column_sums(scratch, first);
    add_column_sums(scratch, second);
    for (side, sums) in tape.sums.iter_mut().enumerate() {
        let half = layout.pool[1].weight.start + side * d * 2 * d
            ..layout.pool[1].weight.start + (side + 1) * d * 2 * d;
        linear_weight_gradient(d, 2 * d, dpool_sum, sums, &mut gradient[half.clone()]);
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
    add_bias_gradient(rectified, &layout.pool[0].bias, gradient);
    let rectified = Rows::row_major(rectified, 2 * d);
    operands.weight_gradient(d, rectified, &tape.edge, &mut gradient[layout.pool[0].weight.clone()]);
    let dedge = RowsMut::row_major(&mut tape.edge, d);
    operands.input_gradient(rectified, net.view(&layout.pool[0].weight), Start::Zero, dedge);
    norm_backward(net, &layout.pool_norm, &tape.input, &tape.edge, &[], dx, gradient);
}

/// dbias += column sums of dy; a layer without bias has an empty range.
fn add_bias_gradient<T: Real>(dy: &[T], bias: &std::ops::Range<usize>, gradient: &mut [T]) {
    if !bias.is_empty() {
        add_column_sums(dy, &mut gradient[bias.clone()]);
    }
}
