//! One Edge Transformer layer over the rows of a group, forward and backward.
//!
//!   y = W_o·TriangularAttention(LN(x));  z = LN(x + y);  x' = LN(z + W_2·GELU(W_1 z + b_1) + b_2)

use crate::buffer::{Buffer, n_bytes, resized};
use crate::gradient::Gradient;
use crate::group::{Group, Keep};
use crate::layout::{LayerViews, NormViews};
use crate::network::Network;
use crate::panels::Weights;
use crate::shares::{Shares, for_each};
use mdet_kernels::{
    AttentionShape, Operands, Real, Rows, RowsMut, Start, add_layer_norm, add_layer_norm_in_place, bias_gelu,
    bias_gelu_in_place, gelu_backward, layer_norm,
};
use std::ops::Range;

/// What the backward pass needs of one layer; normalised rows and activations are recomputed.
#[derive(Debug, Default)]
pub(crate) struct LayerTape<T> {
    /// x, the layer's input.
    pub input: Buffer<T>,
    /// q, k, v1 and v2, a block of columns for each and each head.
    pub qkvv: Buffer<T>,
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

/// Writes q, k, v1 and v2 of some rows x; `normalised` has room for the rows.
fn project<T: Real>(
    weights: Weights<'_, T>,
    views: &LayerViews,
    x: &[T],
    normalised: &mut [T],
    qkvv: RowsMut<'_, T>,
) {
    let d = weights.net.config.width;
    norm(weights.net, &views.attention_norm, x, normalised);
    weights.linear(&views.qkvv, Rows::row_major(normalised, d), qkvv);
}

/// [`project`] of all rows.
pub(crate) fn project_all<T: Real>(
    weights: Weights<'_, T>,
    views: &LayerViews,
    shares: Shares,
    x: &[T],
    scratch: &mut LayerScratch<T>,
    qkvv: RowsMut<'_, T>,
) {
    let d = weights.net.config.width;
    let normalised = resized(&mut scratch.other_narrow, shares.n_block_rows() * d);
    shares.run([qkvv], [normalised], [d], |own, [qkvv], [normalised]| {
        project(weights, views, &x[rows(&own, d)], normalised, qkvv);
    });
}

/// The rows of q, k, v1 and v2 of a group, of any content.
pub(crate) fn qkvv_rows<'a, T: Real>(
    net: &Network<T>,
    group: &Group,
    buffer: &'a mut Buffer<T>,
) -> RowsMut<'a, T> {
    let blocked = group_shape(net, group).qkvv();
    RowsMut::blocked(resized(buffer, blocked.len()), blocked)
}

/// From `tape.qkvv` to `tape.gathered`, each molecule's atoms i dealt to `n_threads` of the current pool.
pub(crate) fn attend<T: Real>(
    net: &Network<T>,
    group: &Group,
    n_threads: usize,
    tape: &mut LayerTape<T>,
    scratch: &mut LayerScratch<T>,
) {
    let d = net.config.width;
    let gathered = resized(&mut tape.gathered, group.n_edges() * d);
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
}

/// From `tape.input` and `tape.gathered` to x' in `output`, and on to q, k, v1 and v2 of the layer `next`, if there is
/// one, in `next_qkvv`.
pub(crate) fn feed_forward<T: Real>(
    weights: Weights<'_, T>,
    views: &LayerViews,
    next: Option<(&LayerViews, RowsMut<'_, T>)>,
    shares: Shares,
    tape: &mut LayerTape<T>,
    scratch: &mut LayerScratch<T>,
    output: &mut [T],
) {
    let net = weights.net;
    let (d, n_block_rows) = (net.config.width, shares.n_block_rows());
    let n_hidden = net.config.ffn_multiplier * d;
    let kept = |width: usize| if shares.keep == Keep::ForBackward { width } else { 0 };
    let widths = [d, n_hidden, kept(d), kept(n_hidden), kept(d)];
    let blocks = [
        resized(&mut scratch.other_narrow, n_block_rows * widths[0]),
        resized(&mut tape.hidden, n_block_rows * widths[1]),
        resized(&mut tape.aggregated, n_block_rows * widths[2]),
        resized(&mut scratch.wide, n_block_rows * widths[3]),
        resized(&mut tape.output_sum, n_block_rows * widths[4]),
    ];
    let (input, gathered) = (&tape.input, &tape.gathered);
    let (aggregate_norm, ffn_norm) = (norm_of(net, &views.aggregate_norm), norm_of(net, &views.ffn_norm));
    let [bias_in, bias_out] = [&views.ffn_in, &views.ffn_out].map(|views| net.view(&views.bias));
    let feed = |rows: Range<usize>, blocks: [&mut [T]; 5], output: &mut [T]| {
        let [normalised, hidden, aggregated, activated, output_sum] = blocks;
        let rows = self::rows(&rows, d);
        let (input, gathered) = (&input[rows.clone()], &gathered[rows]);
        match shares.keep {
            Keep::ForBackward => {
                weights.linear_rows(&views.attention_out, d, gathered, aggregated);
                let [scale, shift] = aggregate_norm;
                add_layer_norm(input, &[], scale, shift, aggregated, normalised);
                weights.linear_rows(&views.ffn_in.weight, d, normalised, hidden);
                bias_gelu(hidden, bias_in, activated);
                weights.linear_rows(&views.ffn_out.weight, n_hidden, activated, output_sum);
                let [scale, shift] = ffn_norm;
                add_layer_norm(normalised, bias_out, scale, shift, output_sum, output);
            }
            // The same in half the memory, which leaves room for the weights in the second-level cache.
            Keep::Output => {
                weights.linear_rows(&views.attention_out, d, gathered, normalised);
                let [scale, shift] = aggregate_norm;
                add_layer_norm_in_place(input, &[], scale, shift, normalised);
                weights.linear_rows(&views.ffn_in.weight, d, normalised, hidden);
                bias_gelu_in_place(hidden, bias_in);
                weights.linear_rows(&views.ffn_out.weight, n_hidden, hidden, output);
                let [scale, shift] = ffn_norm;
                add_layer_norm_in_place(normalised, bias_out, scale, shift, output);
            }
        }
    };
    let output = RowsMut::row_major(output, d);
    match next {
        None => shares.run([output], blocks, widths, |rows, [output], blocks| {
            feed(rows, blocks, output.into_slice());
        }),
        Some((views, qkvv)) => {
            shares.run([output, qkvv], blocks, widths, |rows, [output, qkvv], mut blocks| {
                let output = output.into_slice();
                feed(rows, blocks.each_mut().map(|block| &mut **block), output);
                let [normalised, ..] = blocks;
                project(weights, views, output, normalised, qkvv);
            });
        }
    }
}

/// Scale and shift.
fn norm_of<'a, T: Real>(net: &'a Network<T>, views: &NormViews) -> [&'a [T]; 2] {
    [&views.scale, &views.shift].map(|view| net.view(view))
}

fn norm<T: Real>(net: &Network<T>, views: &NormViews, x: &[T], y: &mut [T]) {
    let [scale, shift] = norm_of(net, views);
    layer_norm(x, scale, shift, y);
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
    gradient: &mut Gradient<'_, T>,
) {
    let (d, n_edges) = (net.config.width, group.n_edges());
    let n_hidden = net.config.ffn_multiplier * d;
    let normalised = resized(&mut scratch.narrow, n_edges * d);
    let dsum = resized(&mut scratch.other_narrow, n_edges * d);

    gradient.norm(net, &views.ffn_norm, &tape.output_sum, dx, &[], dsum);
    gradient.bias(&views.ffn_out.bias, dsum);
    let dhidden = resized(&mut scratch.wide, n_edges * n_hidden);
    let (w_in, w_out) = (net.view(&views.ffn_in.weight), net.view(&views.ffn_out.weight));
    let rows_of_dsum = Rows::row_major(dsum, d);
    operands.input_gradient(rows_of_dsum, w_out, Start::Zero, RowsMut::row_major(dhidden, n_hidden));
    let activated = resized(&mut scratch.qkvv, n_edges * n_hidden);
    gelu_backward(&tape.hidden, dhidden, activated);
    gradient.weights(&views.ffn_out.weight, operands, rows_of_dsum, n_hidden, activated);
    gradient.bias(&views.ffn_in.bias, dhidden);
    norm(net, &views.aggregate_norm, &tape.aggregated, normalised);
    let dhidden = Rows::row_major(dhidden, n_hidden);
    gradient.weights(&views.ffn_in.weight, operands, dhidden, d, normalised);
    operands.input_gradient(dhidden, w_in, Start::Destination, RowsMut::row_major(dsum, d));

    // Past the norm, dx is the gradient of x + y: of x by the residual, of y by the attention.
    gradient.norm(net, &views.aggregate_norm, &tape.aggregated, dsum, &[], dx);
    let rows_of_dx = Rows::row_major(dx, d);
    gradient.weights(&views.attention_out, operands, rows_of_dx, d, &tape.gathered);
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
    gradient.weights(&views.qkvv, operands, dqkvv, d, normalised);
    let dnormalised = normalised;
    let w = net.view(&views.qkvv);
    operands.input_gradient(dqkvv, w, Start::Zero, RowsMut::row_major(dnormalised, d));
    let dinput = dsum;
    gradient.norm(net, &views.attention_norm, &tape.input, dnormalised, dx, dinput);
    dx.copy_from_slice(dinput);
}
