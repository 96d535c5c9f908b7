//! Gradient of triangular attention, with the weights α recomputed tile by tile.

use super::ahead::Ahead;
use super::gradient::{self, Factors, Sums};
use super::scratch::{Scratch, transpose_rows};
use super::tile::{Tile, normalise, weights};
use super::{AttentionShape, MOST_ROWS, VECTORS, has_many_registers, rows_of_tile, scores_of, with_vectors};
use crate::Real;
use crate::isa::{Isa, dispatched};
use crate::product::Start;
use crate::vector::Vector;

dispatched! {
    /// Gradient of [`super::triangular_attention`] over all i.
    ///
    /// qkvv as there; dout: [`AttentionShape::heads`]; dqkvv: [`AttentionShape::qkvv`], the molecule's rows overwritten;
    /// scratch: at least [`AttentionShape::backward_scratch`] elements of any content.
    pub fn triangular_attention_backward<I: Isa, T: Real>(
        shape: AttentionShape, qkvv: &[T], dout: &[T], dqkvv: &mut [T], scratch: &mut [T],
    ) {
        let AttentionShape { n_atoms: n, n_heads, .. } = shape;
        let (dp, len) = (shape.padded_channels(), shape.qkvv().len());
        assert_eq!((qkvv.len(), dqkvv.len(), dout.len()), (len, len, len / 4), "attention of {n} atoms");
        let columns = VECTORS * T::Lanes::<I>::LANES;
        let mut scratch = Scratch::aligned(scratch);
        let (kt, v2t) = (scratch.take(n * columns * dp), scratch.take(n * columns * dp));
        let dout_t = scratch.take(MOST_ROWS * columns * dp);
        let (alpha, ds) = (scratch.take(MOST_ROWS * n * columns), scratch.take(MOST_ROWS * n * columns));
        let (inverse_sum, mean) = (scratch.take(MOST_ROWS * columns), scratch.take(MOST_ROWS * columns));
        let (of_q, rest) = dqkvv.split_at_mut(len / 4);
        let (of_k, rest) = rest.split_at_mut(len / 4);
        let (of_v1, of_v2) = rest.split_at_mut(len / 4);
        for head in 0..n_heads {
            let [q, k, v1, v2] = [0, 1, 2, 3].map(|kind| &qkvv[shape.part(kind * n_heads + head)]);
            let own = shape.part(head);
            let (dq, dk) = (&mut of_q[own.clone()], &mut of_k[own.clone()]);
            let (dv1, dv2) = (&mut of_v1[own.clone()], &mut of_v2[own.clone()]);
            let dout = &dout[own];
            for j in (0..n).step_by(columns) {
                let tile = shape.tile::<I, T>(columns.min(n - j));
                for l in 0..n {
                    let (from, to) = ((l * n + j) * dp, l * dp * tile.columns);
                    transpose_rows::<I, T>(tile, &k[from..], &mut kt[to..]);
                    transpose_rows::<I, T>(tile, &v2[from..], &mut v2t[to..]);
                }
                let mut i = 0;
                while i < n {
                    let (own, first) = (rows_of_tile(n - i), i * n * dp);
                    let dout = &dout[first + j * dp..];
                    for r in 0..own {
                        transpose_rows::<I, T>(tile, &dout[r * n * dp..], &mut dout_t[r * dp * tile.columns..]);
                    }
                    let start = |first: bool| if first { Start::Zero } else { Start::Destination };
                    let (k, v2) = (&k[j * dp..], &v2[j * dp..]);
                    let given = Given { q: &q[first..], v1: &v1[first..], kt, v2t, k, v2, dout, dout_t };
                    let weight = Weight { alpha, ds, inverse_sum, mean };
                    let (first, second) = (&mut dq[first..], &mut dv1[first..]);
                    let of_rows = Sums { first, second, start: start(j == 0) };
                    let (first, second) = (&mut dk[j * dp..], &mut dv2[j * dp..]);
                    let of_pairs = Sums { first, second, start: start(i == 0) };
                    match own {
                        4 => backward_tile::<I, T, 4>(tile, given, weight, of_rows, of_pairs),
                        2 => backward_tile::<I, T, 2>(tile, given, weight, of_rows, of_pairs),
                        _ => backward_tile::<I, T, 1>(tile, given, weight, of_rows, of_pairs),
                    }
                    i += own;
                }
            }
        }
    }
}

/// What a tile of the backward pass reads: its rows of q, v1 and dout, and its columns of k and v2, with channels along
/// lanes and with j along lanes (`t`).
#[derive(Clone, Copy)]
struct Given<'a, T> {
    q: &'a [T],
    v1: &'a [T],
    kt: &'a [T],
    v2t: &'a [T],
    k: &'a [T],
    v2: &'a [T],
    dout: &'a [T],
    dout_t: &'a [T],
}

/// A tile's weights and their gradients: working memory.
struct Weight<'a, T> {
    alpha: &'a mut [T],
    ds: &'a mut [T],
    inverse_sum: &'a mut [T],
    mean: &'a mut [T],
}

/// Adds a tile's part of the gradients of q, v1 (its own rows), k and v2 (its columns).
#[inline(always)]
fn backward_tile<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    given: Given<'_, T>,
    weight: Weight<'_, T>,
    of_rows: Sums<'_, T>,
    of_pairs: Sums<'_, T>,
) {
    let Given { q, v1, kt, v2t, k, v2, dout, dout_t } = given;
    let Weight { alpha, ds, inverse_sum, mean } = weight;
    scores_of::<I, T, R>(tile, q, kt, alpha, inverse_sum, Ahead::nothing());
    weights_of::<I, T, R>(tile, [v1, v2t, dout_t], [alpha, inverse_sum], ds, mean);
    normalise::<I::Narrow, T>(tile, R, [inverse_sum, mean], alpha, ds);
    if R < 4 || has_many_registers::<I>() {
        gradient::sum::<I, T, R>(tile, Factors { alpha, ds, q, v1, k, v2, dout }, of_rows, of_pairs);
        return;
    }
    let mut start = of_pairs.start;
    for r in (0..R).step_by(2) {
        let (weights, rows) = (r * tile.n * tile.columns, r * tile.n * tile.dp);
        let (alpha, ds) = (&alpha[weights..], &ds[weights..]);
        let (q, v1, dout) = (&q[rows..], &v1[rows..], &dout[rows..]);
        let (first, second) = (&mut of_rows.first[rows..], &mut of_rows.second[rows..]);
        let of_rows = Sums { first, second, start: of_rows.start };
        let of_pairs = Sums { first: &mut *of_pairs.first, second: &mut *of_pairs.second, start };
        gradient::sum::<I, T, 2>(tile, Factors { alpha, ds, q, v1, k, v2, dout }, of_rows, of_pairs);
        start = Start::Destination;
    }
}

/// Gradients of a tile's weights, and their means.
#[inline(always)]
fn weights_of<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    given: [&[T]; 3],
    weight: [&[T]; 2],
    dalpha: &mut [T],
    mean: &mut [T],
) {
    with_vectors!(weights::<I, T, R>, tile, (tile, given, weight, dalpha, mean));
}
