//! One Edge Transformer layer over the rows of a group, forward and backward.
//!
//!   y = W_o·TriangularAttention(LN(x));  z = LN(x + y);  x' = LN(z + W_2·GELU(W_1 z + b_1) + b_2)

use crate::buffer::{Buffer, resized};
use crate::group::{Group, Keep};
use crate::layout::{LayerViews, NormViews};
use crate::network::Network;
use mdet_kernels::{
    AttentionShape, Operands, Real, Start, add_column_sums, add_layer_norm, bias_gelu, gelu_backward,
    layer_norm, layer_norm_backward,
};
use rayon::prelude::*;
use std::ops::Range;

/// What the backward pass needs of one layer; normalised rows and activations are recomputed.
#[derive(Debug, Default)]
pub(crate) struct LayerTape<T> {
    /// x, the layer's input.
    pub input: Buffer<T>,
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

/// The molecule's share of a buffer of `per_edge` elements per row.
fn rows(edges: &Range<usize>, per_edge: usize) -> Range<usize> {
    edges.start * per_edge..edges.end * per_edge
}

fn shape<T: Real>(net: &Network<T>, n_atoms: usize) -> AttentionShape {
    AttentionShape { n_atoms, n_heads: net.config.n_heads, d_head: net.config.d_head() }
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
    let qkvv = resized(&mut tape.qkvv, n_edges * 4 * d);
    let normalised = resized(&mut scratch.other_narrow, shares.n_block_rows() * d);
    shares.run([qkvv], [4 * d], [normalised], [d], |rows, [qkvv], [normalised]| {
        norm(net, &views.attention_norm, &tape.input[rows.start * d..rows.end * d], normalised);
        operands.linear(4 * d, d, normalised, net.view(&views.qkvv), qkvv);
    });
    let gathered = resized(&mut tape.gathered, n_edges * d);
    for (atoms, edges) in group.atoms.iter().zip(&group.edges) {
        let (n, shape) = (atoms.len(), shape(net, atoms.len()));
        let (qkvv, gathered) = (&tape.qkvv[rows(edges, 4 * d)], &mut gathered[rows(edges, d)]);
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
    shares.run([output], [d], blocks, [d, d, d, n_hidden, n_hidden, d], |rows, [output], blocks| {
        let [attended, normalised, aggregated, hidden, activated, output_sum] = blocks;
        let rows = self::rows(&rows, d);
        operands.linear(d, d, &gathered[rows.clone()], net.view(&views.attention_out), attended);
        let (scale, shift) = (net.view(&views.aggregate_norm.scale), net.view(&views.aggregate_norm.shift));
        add_layer_norm(&input[rows], attended, &[], scale, shift, aggregated, normalised);
        operands.linear(n_hidden, d, normalised, net.view(&views.ffn_in.weight), hidden);
        bias_gelu(hidden, net.view(&views.ffn_in.bias), activated);
        let fed_forward = attended;
        operands.linear(d, n_hidden, activated, net.view(&views.ffn_out.weight), fed_forward);
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
        mut row_buffers: [&mut [T]; A],
        row_widths: [usize; A],
        mut block_buffers: [&mut [T]; B],
        block_widths: [usize; B],
        work: impl Fn(Range<usize>, [&mut [T]; A], [&mut [T]; B]) + Sync + Send,
    ) {
        let starts = (0..self.n_rows).step_by(self.share);
        let shares: Vec<_> = starts
            .map(|start| {
                let n = self.share.min(self.n_rows - start);
                let rows = split_off(&mut row_buffers, row_widths.map(|width| n * width));
                (start..start + n, rows, split_off(&mut block_buffers, block_widths.map(|w| self.block * w)))
            })
            .collect();
        for_each(shares.into_iter(), |(share, mut row_buffers, mut block_buffers)| {
            for start in share.clone().step_by(self.block) {
                let n = self.block.min(share.end - start);
                let rows = split_off(&mut row_buffers, row_widths.map(|width| n * width));
                let mut widths = block_widths.into_iter();
                let blocks = block_buffers.each_mut().map(|b| &mut b[..n * widths.next().unwrap_or(0)]);
                work(start..start + n, rows, blocks);
            }
        });
    }
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
    operands.input_gradient(d, n_hidden, dsum, net.view(&views.ffn_out.weight), Start::Zero, dhidden);
    let activated = resized(&mut scratch.qkvv, n_edges * n_hidden);
    gelu_backward(&tape.hidden, dhidden, activated);
    operands.weight_gradient(d, n_hidden, dsum, activated, &mut gradient[views.ffn_out.weight.clone()]);
    add_column_sums(dhidden, &mut gradient[views.ffn_in.bias.clone()]);
    norm(net, &views.aggregate_norm, &tape.aggregated, normalised);
    operands.weight_gradient(n_hidden, d, dhidden, normalised, &mut gradient[views.ffn_in.weight.clone()]);
    operands.input_gradient(n_hidden, d, dhidden, net.view(&views.ffn_in.weight), Start::Destination, dsum);

    // Past the norm, dx is the gradient of x + y: of x by the residual, of y by the attention.
    norm_backward(net, &views.aggregate_norm, &tape.aggregated, dsum, &[], dx, gradient);
    operands.weight_gradient(d, d, dx, &tape.gathered, &mut gradient[views.attention_out.clone()]);
    let dgathered = dsum;
    operands.input_gradient(d, d, dx, net.view(&views.attention_out), Start::Zero, dgathered);
    let dqkvv = resized(&mut scratch.qkvv, n_edges * 4 * d);
    for (atoms, edges) in group.atoms.iter().zip(&group.edges) {
        let shape = shape(net, atoms.len());
        let working = resized(&mut scratch.attention, shape.backward_scratch());
        let (wide, narrow) = (rows(edges, 4 * d), rows(edges, d));
        let (qkvv, dgathered) = (&tape.qkvv[wide.clone()], &dgathered[narrow]);
        T::triangular_attention_backward(shape, qkvv, dgathered, &mut dqkvv[wide], working);
    }
    norm(net, &views.attention_norm, &tape.input, normalised);
    operands.weight_gradient(4 * d, d, dqkvv, normalised, &mut gradient[views.qkvv.clone()]);
    let dnormalised = normalised;
    operands.input_gradient(4 * d, d, dqkvv, net.view(&views.qkvv), Start::Zero, dnormalised);
    let dinput = dgathered;
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
