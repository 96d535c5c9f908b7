//! One Edge Transformer layer over the rows of a group, forward and backward.
//!
//!   y = W_o·TriangularAttention(LN(x));  z = LN(x + y);  x' = LN(z + W_2·GELU(W_1 z + b_1) + b_2)

use crate::buffer::{Buffer, resized};
use crate::group::Group;
use crate::layout::{LayerViews, NormViews};
use crate::network::Network;
use mdet_kernels::{
    AttentionShape, Real, add_column_sums, add_layer_norm, add_linear_input_gradient, bias_gelu,
    gelu_backward, layer_norm, layer_norm_backward, linear, linear_input_gradient, linear_weight_gradient,
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

/// Reads `tape.input`, writes x' to `output`, with the rows dealt to `n_threads` of the current pool.
pub(crate) fn forward<T: Real>(
    net: &Network<T>,
    views: &LayerViews,
    group: &Group,
    n_threads: usize,
    tape: &mut LayerTape<T>,
    scratch: &mut LayerScratch<T>,
    output: &mut [T],
) {
    let (d, n_edges) = (net.config.width, group.n_edges());
    let n_hidden = net.config.ffn_multiplier * d;
    let normalised = resized(&mut scratch.other_narrow, n_edges * d);
    let qkvv = resized(&mut tape.qkvv, n_edges * 4 * d);
    in_shares(n_threads, n_edges, [normalised, qkvv], [d, 4 * d], |start, [normalised, qkvv]| {
        norm(net, &views.attention_norm, &tape.input[start * d..][..normalised.len()], normalised);
        linear(4 * d, d, normalised, net.view(&views.qkvv), qkvv);
    });
    let gathered = resized(&mut tape.gathered, n_edges * d);
    for (atoms, edges) in group.atoms.iter().zip(&group.edges) {
        let (n, shape) = (atoms.len(), shape(net, atoms.len()));
        let (qkvv, gathered) = (&qkvv[rows(edges, 4 * d)], &mut gathered[rows(edges, d)]);
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
    let buffers = [
        resized(&mut scratch.narrow, n_edges * d),
        &mut scratch.other_narrow[..],
        resized(&mut tape.aggregated, n_edges * d),
        resized(&mut tape.hidden, n_edges * n_hidden),
        resized(&mut scratch.wide, n_edges * n_hidden),
        resized(&mut tape.output_sum, n_edges * d),
        output,
    ];
    let (input, gathered) = (&tape.input, &tape.gathered);
    in_shares(n_threads, n_edges, buffers, [d, d, d, n_hidden, n_hidden, d, d], |start, buffers| {
        let [attended, normalised, aggregated, hidden, activated, output_sum, output] = buffers;
        let rows = start * d..start * d + output.len();
        linear(d, d, &gathered[rows.clone()], net.view(&views.attention_out), attended);
        let (scale, shift) = (net.view(&views.aggregate_norm.scale), net.view(&views.aggregate_norm.shift));
        add_layer_norm(&input[rows], attended, &[], scale, shift, aggregated, normalised);
        linear(n_hidden, d, normalised, net.view(&views.ffn_in.weight), hidden);
        bias_gelu(hidden, net.view(&views.ffn_in.bias), activated);
        let fed_forward = attended;
        linear(d, n_hidden, activated, net.view(&views.ffn_out.weight), fed_forward);
        let (scale, shift) = (net.view(&views.ffn_norm.scale), net.view(&views.ffn_norm.shift));
        let bias = net.view(&views.ffn_out.bias);
        add_layer_norm(normalised, fed_forward, bias, scale, shift, output_sum, output);
    });
}

/// Splits row buffers into one share per thread and calls `work(first row, shares)` on each.
///
/// Rows are computed alike wherever the cut falls, so the number of shares does not change a bit of the result.
fn in_shares<T: Real, const B: usize>(
    n_threads: usize,
    n_rows: usize,
    buffers: [&mut [T]; B],
    widths: [usize; B],
    work: impl Fn(usize, [&mut [T]; B]) + Sync + Send,
) {
    let share = n_rows.div_ceil(n_threads.max(1)).max(1);
    let mut rest = buffers;
    let mut shares = Vec::with_capacity(n_threads);
    for start in (0..n_rows).step_by(share) {
        let n = share.min(n_rows - start);
        let mut own: [&mut [T]; B] = std::array::from_fn(|_| Default::default());
        for ((rest, own), width) in rest.iter_mut().zip(&mut own).zip(widths) {
            let (front, back) = std::mem::take(rest).split_at_mut(n * width);
            (*own, *rest) = (front, back);
        }
        shares.push((start, own));
    }
    for_each(shares.into_iter(), |(start, own)| work(start, own));
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
    linear_input_gradient(d, n_hidden, dsum, net.view(&views.ffn_out.weight), dhidden);
    let activated = resized(&mut scratch.qkvv, n_edges * n_hidden);
    gelu_backward(&tape.hidden, dhidden, activated);
    linear_weight_gradient(d, n_hidden, dsum, activated, &mut gradient[views.ffn_out.weight.clone()]);
    add_column_sums(dhidden, &mut gradient[views.ffn_in.bias.clone()]);
    norm(net, &views.aggregate_norm, &tape.aggregated, normalised);
    linear_weight_gradient(n_hidden, d, dhidden, normalised, &mut gradient[views.ffn_in.weight.clone()]);
    add_linear_input_gradient(n_hidden, d, dhidden, net.view(&views.ffn_in.weight), dsum);

    // Past the norm, dx is the gradient of x + y: of x by the residual, of y by the attention.
    norm_backward(net, &views.aggregate_norm, &tape.aggregated, dsum, &[], dx, gradient);
    linear_weight_gradient(d, d, dx, &tape.gathered, &mut gradient[views.attention_out.clone()]);
    let dgathered = dsum;
    linear_input_gradient(d, d, dx, net.view(&views.attention_out), dgathered);
    let dqkvv = resized(&mut scratch.qkvv, n_edges * 4 * d);
    for (atoms, edges) in group.atoms.iter().zip(&group.edges) {
        let shape = shape(net, atoms.len());
        let working = resized(&mut scratch.attention, shape.backward_scratch());
        let (wide, narrow) = (rows(edges, 4 * d), rows(edges, d));
        let (qkvv, dgathered) = (&tape.qkvv[wide.clone()], &dgathered[narrow]);
        T::triangular_attention_backward(shape, qkvv, dgathered, &mut dqkvv[wide], working);
    }
    norm(net, &views.attention_norm, &tape.input, normalised);
    linear_weight_gradient(4 * d, d, dqkvv, normalised, &mut gradient[views.qkvv.clone()]);
    let dnormalised = normalised;
    linear_input_gradient(4 * d, d, dqkvv, net.view(&views.qkvv), dnormalised);
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
