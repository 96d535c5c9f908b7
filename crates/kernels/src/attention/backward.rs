//! Gradient of triangular attention, with the weights α recomputed tile by tile.

use super::gradient::{self, Factors, PairSums, RowSums};
use super::pack::{Channels, Scratch, transpose_rows};
use super::tile::{Tile, normalise, weights};
use super::{
    AttentionShape, MOST_ROWS, VECTORS, has_many_registers, inverse_root, rows_of_tile, scores_of,
    with_vectors,
};
use crate::Real;
use crate::isa::{Isa, dispatched};
use crate::product::Start;
use crate::vector::Vector;

dispatched! {
    /// Gradient of [`super::triangular_attention`] over all i.
    ///
    /// qkvv as there; dout: `[n·n, width]`; dqkvv: `[n·n, 4·width]`, overwritten; scratch: at least
    /// [`AttentionShape::backward_scratch`] elements of any content.
    pub fn triangular_attention_backward<I: Isa, T: Real>(
        shape: AttentionShape, qkvv: &[T], dout: &[T], dqkvv: &mut [T], scratch: &mut [T],
    ) {
        let AttentionShape { n_atoms: n, n_heads, d_head } = shape;
        let (width, dp) = (shape.width(), shape.padded_channels());
        assert_eq!((qkvv.len(), dout.len()), (n * n * 4 * width, n * n * width), "attention of {n} atoms");
        assert_eq!(dqkvv.len(), qkvv.len());
        let columns = VECTORS * T::Lanes::<I>::LANES;
        let mut scratch = Scratch::aligned(scratch);
        let (kt, v2t) = (scratch.take(n * columns * dp), scratch.take(n * columns * dp));
        let (k, v2) = (scratch.take(n * columns * dp), scratch.take(n * columns * dp));
        let (dk, dv2) = (scratch.take(n * columns * dp), scratch.take(n * columns * dp));
        let (q, v1) = (scratch.take(MOST_ROWS * n * dp), scratch.take(MOST_ROWS * n * dp));
        let dout_rows = scratch.take(MOST_ROWS * columns * dp);
        let dout_t = scratch.take(MOST_ROWS * columns * dp);
        let (alpha, ds) = (scratch.take(MOST_ROWS * n * columns), scratch.take(MOST_ROWS * n * columns));
        let (inverse_sum, mean) = (scratch.take(MOST_ROWS * columns), scratch.take(MOST_ROWS * columns));
        let channels = Channels { stride: 4 * width, d_head, padded: dp };
        let of_out = Channels { stride: width, ..channels };
        let scale = inverse_root::<T>(d_head);
        for head in 0..n_heads {
            let column = |kind: usize| kind * width + head * d_head;
            for j in (0..n).step_by(columns) {
                let n_columns = columns.min(n - j);
                let tile = shape.tile::<I, T>(n_columns);
                for l in 0..n {
                    let pairs = l * n_columns * dp..(l + 1) * n_columns * dp;
                    channels.pack::<I, T>(qkvv, l * n + j, column(1), T::ONE, &mut k[pairs.clone()]);
                    channels.pack::<I, T>(qkvv, l * n + j, column(3), T::ONE, &mut v2[pairs.clone()]);
                    transpose_rows::<I, T>(tile, &k[pairs.clone()], &mut kt[l * dp * tile.columns..]);
                    transpose_rows::<I, T>(tile, &v2[pairs], &mut v2t[l * dp * tile.columns..]);
                }
                let mut i = 0;
                while i < n {
                    let own = rows_of_tile(n - i);
                    let (q, v1) = (&mut q[..own * n * dp], &mut v1[..own * n * dp]);
                    channels.pack::<I, T>(qkvv, i * n, column(0), scale, q);
                    channels.pack::<I, T>(qkvv, i * n, column(2), T::ONE, v1);
                    for r in 0..own {
                        let rows = &mut dout_rows[r * n_columns * dp..(r + 1) * n_columns * dp];
                        of_out.pack::<I, T>(dout, (i + r) * n + j, head * d_head, T::ONE, rows);
                        transpose_rows::<I, T>(tile, rows, &mut dout_t[r * dp * tile.columns..]);
                    }
                    let start = |first: bool| if first { Start::Zero } else { Start::Destination };
                    let given = Given { q, v1, kt, v2t, k, v2, dout_rows, dout_t };
                    let weight = Weight { alpha, ds, inverse_sum, mean };
                    let rows = &mut dqkvv[i * n * 4 * width..];
                    let columns = [column(0), column(2)];
                    let of_rows = RowSums { rows, stride: 4 * width, columns, scale, start: start(j == 0) };
                    let of_pairs = PairSums { dk, dv2, start: start(i == 0) };
                    match own {
                        4 => backward_tile::<I, T, 4>(tile, given, weight, of_rows, of_pairs),
                        2 => backward_tile::<I, T, 2>(tile, given, weight, of_rows, of_pairs),
                        _ => backward_tile::<I, T, 1>(tile, given, weight, of_rows, of_pairs),
                    }
                    i += own;
                }
                for l in 0..n {
                    let pairs = l * n_columns * dp..(l + 1) * n_columns * dp;
                    channels.unpack::<I, T>(&dk[pairs.clone()], dqkvv, l * n + j, column(1));
                    channels.unpack::<I, T>(&dv2[pairs], dqkvv, l * n + j, column(3));
                }
            }
        }
    }
}

/// What a tile of the backward pass reads: the tile's rows of q, v1 and dout, and the panel's k and v2, both with
/// channels along lanes and with j along lanes (`t`). q carries the factor 1/√d_head.
#[derive(Clone, Copy)]
struct Given<'a, T> {
    q: &'a [T],
    v1: &'a [T],
    kt: &'a [T],
    v2t: &'a [T],
    k: &'a [T],
    v2: &'a [T],
    dout_rows: &'a [T],
    dout_t: &'a [T],
}

/// A tile's weights and their gradients: working memory.
struct Weight<'a, T> {
    alpha: &'a mut [T],
    ds: &'a mut [T],
    inverse_sum: &'a mut [T],
    mean: &'a mut [T],
}

/// Adds a tile's part of the gradients of q, v1 (its own rows), k and v2 (the panel's).
#[inline(always)]
fn backward_tile<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    given: Given<'_, T>,
    weight: Weight<'_, T>,
    mut of_rows: RowSums<'_, T>,
    mut of_pairs: PairSums<'_, T>,
) {
    let Given { q, v1, kt, v2t, k, v2, dout_rows: dout, dout_t } = given;
    let Weight { alpha, ds, inverse_sum, mean } = weight;
    scores_of::<I, T, R>(tile, q, kt, alpha, inverse_sum);
    weights_of::<I, T, R>(tile, [v1, v2t, dout_t], [alpha, inverse_sum], ds, mean);
    normalise::<I::Narrow, T>(tile, R, [inverse_sum, mean], alpha, ds);
    if R < 4 || has_many_registers::<I>() {
        let factors = Factors { alpha, ds, q, v1, k, v2, dout };
        gradient::sum::<I, T, R>(tile, factors, &mut of_rows, &mut of_pairs);
        return;
    }
    for r in (0..R).step_by(2) {
        let (weights, rows) = (r * tile.n * tile.columns, r * tile.n * tile.dp);
        let (alpha, ds, q, v1) = (&alpha[weights..], &ds[weights..], &q[rows..], &v1[rows..]);
        let factors = Factors { alpha, ds, q, v1, k, v2, dout: &dout[r * tile.n_columns * tile.dp..] };
        let RowSums { rows, stride, columns, scale, start } = &mut of_rows;
        let rows = &mut rows[r * tile.n * *stride..];
        let mut of_rows = RowSums { rows, stride: *stride, columns: *columns, scale: *scale, start: *start };
        gradient::sum::<I, T, 2>(tile, factors, &mut of_rows, &mut of_pairs);
        of_pairs.start = Start::Destination;
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
