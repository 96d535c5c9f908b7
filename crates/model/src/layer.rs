//! One Edge Transformer layer over the rows of a group, forward and backward.
//!
//!   y = W_o·TriangularAttention(LN(x));  z = LN(x + y);  x' = LN(z + W_2·GELU(W_1 z + b_1) + b_2)

use crate::buffer::{Buffer, n_bytes, resized};
use crate::group::{Group, Keep};
use crate::layout::{LayerViews, NormViews};
use crate::network::Network;
use mdet_kernels::{
    AttentionShape, Operands, Real, Rows, RowsMut, Start, add_column_sums, add_layer_norm, bias_gelu,
    gelu_backward, layer_norm, layer_norm_backward,
};
use rayon::prelude::*;
use std::ops::Range;

/// What the backward pass needs of one layer; normalised rows and activations are recomputed.
#[derive(Debug, Default)]
pub(crate) struct LayerTape<T> {
    /// x, the layer's input.
    pub input: Buffer<T>,
    /// q, k, v1 and v2, a block of columns for each and each head.
    qkvv: Buffer<T>,
    /// The attention before its output matrix.
    gathered: Buffer<T>,
    /// x + y.
    aggregated: Buffer<T>,
    /// W_1 z + b_1.
    hidden: Buffer<T>,
    /// z + W_2·GELU(hidden) + b_2.
    output_sum: Buffer<T>,
}

impl<T: Real> LayerTape<T> {
    /// The attention after its output matrix: (x + y) − x.
    pub fn attention(&self) -> Vec<T> {
        self.aggregated.iter().zip(self.input.iter()).map(|(&sum, &x)| sum - x).collect()
    }

    pub fn n_bytes(&self) -> usize {
        let Self { input, qkvv, gathered, aggregated, hidden, output_sum } = self;
        n_bytes([input, qkvv, gathered, aggregated, hidden, output_sum])
    }
}

/// Row buffers that all layers share.
#[derive(Debug, Default)]
pub(crate) struct LayerScratch<T> {
    narrow: Buffer<T>,
    other_narrow: Buffer<T>,
    wide: Buffer<T>,
    qkvv: Buffer<T>,
    attention: Buffer<T>,
}

impl<T> LayerScratch<T> {
    pub fn n_bytes(&self) -> usize {
        let Self { narrow, other_narrow, wide, qkvv, attention } = self;
        n_bytes([narrow, other_narrow, wide, qkvv, attention])
    }
}

/// The molecule's share of a buffer of `per_edge` elements per row.
fn rows(edges: &Range<usize>, per_edge: usize) -> Range<usize> {
    edges.start * per_edge..edges.end * per_edge
}

/// The attention of a molecule with these atoms and rows.
fn shape<T: Real>(net: &Network<T>, group: &Group, n_atoms: usize, edges: &Range<usize>) -> AttentionShape {
    let (n_heads, d_head) = (net.config.n_heads, net.config.d_head());
    AttentionShape { n_atoms, n_heads, d_head, n_rows: group.n_edges(), first_row: edges.start }
}

/// The attention's layout of the group's rows.
fn group_shape<T: Real>(net: &Network<T>, group: &Group) -> AttentionShape {
    shape(net, group, 0, &(0..0))
}

/// Reads `tape.input`, writes x' to `output`, with the rows dealt to `n_threads` of the current pool (one when
/// everything is kept).
pub(crate) fn forward<T: Real>(
    net: &Network<T>,
    views: &LayerViews,
    group: &Group,
    n_threads: usize,
    keep: Keep,
    operands: Operands,
    tape: &mut LayerTape<T>,
    scratch: &mut LayerScratch<T>,
    output: &mut [T],
) {
    let (d, n_edges) = (net.config.width, group.n_edges());
    let n_hidden = net.config.ffn_multiplier * d;
    let shares = Shares::new(n_edges, n_threads, keep);
    let blocked = group_shape(net, group).qkvv();
    let qkvv = RowsMut::blocked(resized(&mut tape.qkvv, blocked.len()), blocked);
    let normalised = resized(&mut scratch.other_narrow, shares.n_block_rows() * d);
    shares.run([qkvv], [normalised], [d], |rows, [qkvv], [normalised]| {
        norm(net, &views.attention_norm, &tape.input[rows.start * d..rows.end * d], normalised);
        operands.linear(Rows::row_major(normalised, d), net.view(&views.qkvv), qkvv);
    });
    let gathered = resized(&mut tape.gathered, n_edges * d);
    for (atoms, edges) in group.atoms.iter().zip(&group.edges) {
        let (n, shape) = (atoms.len(), shape(net, group, atoms.len(), edges));
        let (qkvv, gathered) = (&tape.qkvv, &mut gathered[rows(edges, d)]);
        let n_scratch = shape.forward_scratch();
        let n_shares = n_threads.clamp(1, n);
        let working = resized(&mut scratch.attention, n_shares * n_scratch);
        let share = n.div_ceil(n_shares);
        let shares = gathered.chunks_mut(share * n * d).zip(working.chunks_exact_mut(n_scratch)).enumerate();
        for_each(shares, |(index, (out, working))| {
            let first = index * share;
            T::triangular_attention(shape, first..(first + share).min(n), qkvv, out, working);
        });
    }
    let n_block_rows = shares.n_block_rows();
    let blocks = [
        resized(&mut scratch.narrow, n_block_rows * d),
        resized(&mut scratch.other_narrow, n_block_rows * d),
        resized(&mut tape.aggregated, n_block_rows * d),
        resized(&mut tape.hidden, n_block_rows * n_hidden),
        resized(&mut scratch.wide, n_block_rows * n_hidden),
        resized(&mut tape.output_sum, n_block_rows * d),
    ];
    let (input, gathered) = (&tape.input, &tape.gathered);
    let output = RowsMut::row_major(output, d);
    shares.run([output], blocks, [d, d, d, n_hidden, n_hidden, d], |rows, [output], blocks| {
        let [attended, normalised, aggregated, hidden, activated, output_sum] = blocks;
        let (rows, output) = (self::rows(&rows, d), output.into_slice());
        linear(operands, d, d, &gathered[rows.clone()], net.view(&views.attention_out), attended);
        let (scale, shift) = (net.view(&views.aggregate_norm.scale), net.view(&views.aggregate_norm.shift));
        add_layer_norm(&input[rows], attended, &[], scale, shift, aggregated, normalised);
        linear(operands, n_hidden, d, normalised, net.view(&views.ffn_in.weight), hidden);
        bias_gelu(hidden, net.view(&views.ffn_in.bias), activated);
        let fed_forward = attended;
        linear(operands, d, n_hidden, activated, net.view(&views.ffn_out.weight), fed_forward);
        let (scale, shift) = (net.view(&views.ffn_norm.scale), net.view(&views.ffn_norm.shift));
        let bias = net.view(&views.ffn_out.bias);
        add_layer_norm(normalised, fed_forward, bias, scale, shift, output_sum, output);
    });
}

/// How rows are dealt to threads, and each thread's to blocks.
///
/// Rows are computed alike wherever the cuts fall, so neither number changes a bit of the result.
#[derive(Clone, Copy)]
struct Shares {
    n_rows: usize,
    /// Rows of a thread.
    share: usize,
    /// Rows that are taken from the first kernel to the last before the next begin.
    block: usize,
}

impl Shares {
    fn new(n_rows: usize, n_threads: usize, keep: Keep) -> Self {
        let share = n_rows.div_ceil(n_threads.max(1)).max(1);
        assert!(keep == Keep::Output || share >= n_rows, "rows kept for the backward pass are one block");
        Self { n_rows, share, block: keep.block_rows(share) }
    }

    /// Rows of block buffers: one block for each thread.
    fn n_block_rows(self) -> usize {
        self.n_rows.div_ceil(self.share) * self.block
    }

    /// Calls `work(rows, their part of the row buffers, the thread's block buffers)` on every block.
    fn run<T: Real, const A: usize, const B: usize>(
        self,
        mut row_buffers: [RowsMut<'_, T>; A],
        mut block_buffers: [&mut [T]; B],
        block_widths: [usize; B],
        work: impl Fn(Range<usize>, [RowsMut<'_, T>; A], [&mut [T]; B]) + Sync + Send,
    ) {
        let starts = (0..self.n_rows).step_by(self.share);
        let shares: Vec<_> = starts
            .map(|start| {
                let n = self.share.min(self.n_rows - start);
                let rows = split_rows(&mut row_buffers, n);
                (start..start + n, rows, split_off(&mut block_buffers, block_widths.map(|w| self.block * w)))
            })
            .collect();
        for_each(shares.into_iter(), |(share, mut row_buffers, mut block_buffers)| {
            for start in share.clone().step_by(self.block) {
                let n = self.block.min(share.end - start);
                let rows = split_rows(&mut row_buffers, n);
                let mut widths = block_widths.into_iter();
                let blocks = block_buffers.each_mut().map(|b| &mut b[..n * widths.next().unwrap_or(0)]);
                work(start..start + n, rows, blocks);
            }
        });
    }
}

/// The first `n` rows of each buffer; the buffers keep the rest.
fn split_rows<'a, T, const B: usize>(buffers: &mut [RowsMut<'a, T>; B], n: usize) -> [RowsMut<'a, T>; B] {
    buffers.each_mut().map(|buffer| {
        let (front, rest) = std::mem::take(buffer).split_at(n);
        *buffer = rest;
        front
    })
}

/// The first `lengths` elements of each buffer; the buffers keep the rest.
fn split_off<'a, T, const B: usize>(buffers: &mut [&'a mut [T]; B], lengths: [usize; B]) -> [&'a mut [T]; B] {
    let mut front: [&'a mut [T]; B] = std::array::from_fn(|_| Default::default());
    for ((buffer, front), length) in buffers.iter_mut().zip(&mut front).zip(lengths) {
        (*front, *buffer) = std::mem::take(buffer).split_at_mut(length);
    }
    front
}

/// Runs `work` on every item: a single one here, several on the current thread pool.
fn for_each<Item: Send>(items: impl Iterator<Item = Item>, work: impl Fn(Item) + Sync + Send) {
    let mut items: Vec<Item> = items.collect();
    match items.len() {
        1 => items.drain(..).for_each(work),
        _ => items.into_par_iter().for_each(work),
    }
}

/// y\[m, n\] = x\[m, k\] · w\[n, k\]ᵀ, row-major.
fn linear<T: Real>(operands: Operands, n: usize, k: usize, x: &[T], w: &[T], y: &mut [T]) {
    operands.linear(Rows::row_major(x, k), w, RowsMut::row_major(y, n));
}

fn norm<T: Real>(net: &Network<T>, views: &NormViews, x: &[T], y: &mut [T]) {
    layer_norm(x, net.view(&views.scale), net.view(&views.shift), y);
}

/// Turns `dx` from the gradient of x' into that of x, and adds the parameters' gradients to `gradient`.
pub(crate) fn backward<T: Real>(
    net: &Network<T>,
    views: &LayerViews,
    group: &Group,
    operands: Operands,
    tape: &LayerTape<T>,
    scratch: &mut LayerScratch<T>,
    dx: &mut [T],
    gradient: &mut [T],
) {
    let (d, n_edges) = (net.config.width, group.n_edges());
    let n_hidden = net.config.ffn_multiplier * d;
    let normalised = resized(&mut scratch.narrow, n_edges * d);
    let dsum = resized(&mut scratch.other_narrow, n_edges * d);

    norm_backward(net, &views.ffn_norm, &tape.output_sum, dx, &[], dsum, gradient);
    add_column_sums(dsum, &mut gradient[views.ffn_out.bias.clone()]);
    let dhidden = resized(&mut scratch.wide, n_edges * n_hidden);
    let (w_in, w_out) = (net.view(&views.ffn_in.weight), net.view(&views.ffn_out.weight));
    let rows_of_dsum = Rows::row_major(dsum, d);
    operands.input_gradient(rows_of_dsum, w_out, Start::Zero, RowsMut::row_major(dhidden, n_hidden));
    let activated = resized(&mut scratch.qkvv, n_edges * n_hidden);
    gelu_backward(&tape.hidden, dhidden, activated);
    operands.weight_gradient(n_hidden, rows_of_dsum, activated, &mut gradient[views.ffn_out.weight.clone()]);
    add_column_sums(dhidden, &mut gradient[views.ffn_in.bias.clone()]);
    norm(net, &views.aggregate_norm, &tape.aggregated, normalised);
    let dhidden = Rows::row_major(dhidden, n_hidden);
    operands.weight_gradient(d, dhidden, normalised, &mut gradient[views.ffn_in.weight.clone()]);
    operands.input_gradient(dhidden, w_in, Start::Destination, RowsMut::row_major(dsum, d));

    // Past the norm, dx is the gradient of x + y: of x by the residual, of y by the attention.
    norm_backward(net, &views.aggregate_norm, &tape.aggregated, dsum, &[], dx, gradient);
    let rows_of_dx = Rows::row_major(dx, d);
    operands.weight_gradient(d, rows_of_dx, &tape.gathered, &mut gradient[views.attention_out.clone()]);
    let (heads, blocked) = (group_shape(net, group).heads(), group_shape(net, group).qkvv());
    let dgathered = resized(&mut scratch.wide, heads.len());
    let w = net.view(&views.attention_out);
    operands.input_gradient(rows_of_dx, w, Start::Zero, RowsMut::blocked(dgathered, heads));
    let dqkvv = resized(&mut scratch.qkvv, blocked.len());
    for (atoms, edges) in group.atoms.iter().zip(&group.edges) {
        let shape = shape(net, group, atoms.len(), edges);
        let working = resized(&mut scratch.attention, shape.backward_scratch());
        T::triangular_attention_backward(shape, &tape.qkvv, dgathered, dqkvv, working);
    }
    norm(net, &views.attention_norm, &tape.input, normalised);
    let dqkvv = Rows::blocked(dqkvv, blocked);
    operands.weight_gradient(d, dqkvv, normalised, &mut gradient[views.qkvv.clone()]);
    let dnormalised = normalised;
    let w = net.view(&views.qkvv);
    operands.input_gradient(dqkvv, w, Start::Zero, RowsMut::row_major(dnormalised, d));
    let dinput = dsum;
    norm_backward(net, &views.attention_norm, &tape.input, dnormalised, dx, dinput, gradient);
    dx.copy_from_slice(dinput);
}

/// Backward of one norm, with the views of its scale and shift split out of `gradient`.
pub(crate) fn norm_backward<T: Real>(
    net: &Network<T>,
    views: &NormViews,
    x: &[T],
    dy: &[T],
    residual: &[T],
    dx: &mut [T],
    gradient: &mut [T],
) {
    let width = views.scale.len();
    let (dscale, dshift) = gradient[views.scale.start..views.shift.end].split_at_mut(width);
    layer_norm_backward(x, net.view(&views.scale), dy, residual, dx, dscale, dshift);
}
