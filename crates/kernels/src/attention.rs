//! Triangular attention: edge (i, j) gathers over the middle atom l.
//!
//!   s[i,l,j,h] = q[i,l,h]·k[l,j,h] / √d_head;  α = softmax over l
//!   out[i,j,h] = Σ_l α[i,l,j,h] · (v1[i,l,h] ⊙ v2[l,j,h])
//!
//! Nothing of size N³·d exists: the head is the outermost loop, then come tiles of atoms j, then tiles of atoms i,
//! so that a tile's k and v2 stay in the second-level cache and its weights α, tile × N, in the first. Scores have j
//! along vector lanes, sums over l and j channels. The backward pass recomputes α.

mod pack;
mod tile;

use crate::Real;
use crate::isa::{Isa, dispatched};
use crate::vector::{MOST_LANES, Vector};
use pack::{Channels, Scratch, transpose_rows};
use tile::{Rows, Tile, gather, normalise, products, scores, weights};

/// Sizes of one molecule's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of atoms N.
    pub n_atoms: usize,
    /// Number of heads.
    pub n_heads: usize,
    /// Channels per head.
    pub d_head: usize,
}

/// Vectors of atoms j in a tile.
const VECTORS: usize = 2;
/// Atoms j in a tile of the back end with the longest vectors.
const MOST_COLUMNS: usize = VECTORS * MOST_LANES;
/// Atoms i in a tile where registers are many.
const MOST_ROWS: usize = 4;

impl AttentionShape {
    fn width(self) -> usize {
        self.n_heads * self.d_head
    }

    /// Channels per head rounded up to whole vectors.
    fn padded_channels(self) -> usize {
        self.d_head.next_multiple_of(MOST_LANES)
    }

    /// Elements of working memory of the forward pass.
    pub fn forward_scratch(self) -> usize {
        let (n, dp) = (self.n_atoms, self.padded_channels());
        let panels = 2 * n * MOST_COLUMNS * dp + MOST_COLUMNS * dp;
        panels + 2 * n * n * dp + MOST_ROWS * (n + 1) * MOST_COLUMNS + MOST_LANES
    }

    /// Elements of working memory of the backward pass.
    pub fn backward_scratch(self) -> usize {
        let (n, dp) = (self.n_atoms, self.padded_channels());
        let panels = 6 * n * MOST_COLUMNS * dp + 2 * MOST_ROWS * MOST_COLUMNS * dp;
        panels + 4 * n * n * dp + MOST_ROWS * (2 * n + 1) * MOST_COLUMNS + MOST_LANES
    }
}

dispatched! {
    /// Rows i of `i_range` of the attention of one molecule.
    ///
    /// qkvv: `[n·n, 4·width]`, each row q, k, v1, v2; out: `[i_range.len()·n, width]`; scratch: at least
    /// [`AttentionShape::forward_scratch`] elements of any content.
    pub fn triangular_attention<I: Isa, T: Real>(
        shape: AttentionShape, i_range: std::ops::Range<usize>, qkvv: &[T], out: &mut [T], scratch: &mut [T],
    ) {
        let AttentionShape { n_atoms: n, n_heads, d_head } = shape;
        let (width, dp, n_rows) = (shape.width(), shape.padded_channels(), i_range.len());
        assert_eq!((qkvv.len(), out.len()), (n * n * 4 * width, n_rows * n * width), "attention of {n} atoms");
        assert!(i_range.end <= n, "{i_range:?} of {n} atoms");
        let columns = VECTORS * T::Lanes::<I>::LANES;
        let mut scratch = Scratch::aligned(scratch);
        let [kt, v2] = [(); 2].map(|()| scratch.take(n * columns * dp));
        let rows = scratch.take(columns * dp);
        let [q, v1] = [(); 2].map(|()| scratch.take(n_rows * n * dp));
        let alpha = scratch.take(MOST_ROWS * n * columns);
        let inverse_sum = scratch.take(MOST_ROWS * columns);
        let channels = Channels { stride: 4 * width, d_head, padded: dp };
        for head in 0..n_heads {
            let column = |kind: usize| kind * width + head * d_head;
            channels.pack::<I, T>(qkvv, i_range.start * n, column(0), inverse_root::<T>(d_head), q);
            channels.pack::<I, T>(qkvv, i_range.start * n, column(2), T::ONE, v1);
            for j in (0..n).step_by(columns) {
                let n_columns = columns.min(n - j);
                for l in 0..n {
                    channels.pack_padded::<I, T>(qkvv, l * n + j, n_columns, column(1), rows);
                    transpose_rows::<I, T>(rows, n_columns, dp, columns, &mut kt[l * columns * dp..]);
                    let v2 = &mut v2[l * columns * dp..][..columns * dp];
                    channels.pack_padded::<I, T>(qkvv, l * n + j, n_columns, column(3), v2);
                }
                let mut i = 0;
                while i < n_rows {
                    let tile = Tile { n, d_head, dp, columns, n_columns };
                    let left = &q[i * n * dp..];
                    let (v1, out) = (&v1[i * n * dp..], &mut out[i * n * width..]);
                    let rows = Rows { width, first: j, column: head * d_head };
                    i += match n_rows - i {
                        4.. if I::PANEL == 4 => {
                            scores_of::<I, T, 4>(tile, left, kt, alpha, inverse_sum);
                            gather::<I, T, 4>(tile, v1, v2, alpha, inverse_sum, rows, out);
                            4
                        }
                        2.. => {
                            scores_of::<I, T, 2>(tile, left, kt, alpha, inverse_sum);
                            gather::<I, T, 2>(tile, v1, v2, alpha, inverse_sum, rows, out);
                            2
                        }
                        _ => {
                            scores_of::<I, T, 1>(tile, left, kt, alpha, inverse_sum);
                            gather::<I, T, 1>(tile, v1, v2, alpha, inverse_sum, rows, out);
                            1
                        }
                    };
                }
            }
        }
    }
}

/// Unnormalised weights of a tile and 1/Σ, with as many vectors of j as the tile needs.
#[inline(always)]
fn scores_of<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    q: &[T],
    kt: &[T],
    alpha: &mut [T],
    inverse_sum: &mut [T],
) {
    if tile.n_columns > T::Lanes::<I>::LANES {
        scores::<I, T, R, VECTORS>(tile, q, kt, alpha, inverse_sum);
    } else {
        scores::<I, T, R, 1>(tile, q, kt, alpha, inverse_sum);
    }
}

dispatched! {
    /// Gradient of [`triangular_attention`] over all i.
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
        let [kt, v2t, k, v2, dk, dv2] = [(); 6].map(|()| scratch.take(n * columns * dp));
        let [q, v1, dq, dv1] = [(); 4].map(|()| scratch.take(n * n * dp));
        let [dout_rows, dout_t] = [(); 2].map(|()| scratch.take(MOST_ROWS * columns * dp));
        let [alpha, ds] = [(); 2].map(|()| scratch.take(MOST_ROWS * n * columns));
        let inverse_sum = scratch.take(MOST_ROWS * columns);
        let channels = Channels { stride: 4 * width, d_head, padded: dp };
        let of_out = Channels { stride: width, ..channels };
        for head in 0..n_heads {
            let column = |kind: usize| kind * width + head * d_head;
            channels.pack::<I, T>(qkvv, 0, column(0), inverse_root::<T>(d_head), q);
            channels.pack::<I, T>(qkvv, 0, column(2), T::ONE, v1);
            dq.fill(T::ZERO);
            dv1.fill(T::ZERO);
            for j in (0..n).step_by(columns) {
                let n_columns = columns.min(n - j);
                for l in 0..n {
                    let panel = l * columns * dp..(l + 1) * columns * dp;
                    for (kind, rows, lanes) in [(1, &mut *k, &mut *kt), (3, &mut *v2, &mut *v2t)] {
                        let (rows, lanes) = (&mut rows[panel.clone()], &mut lanes[panel.clone()]);
                        channels.pack_padded::<I, T>(qkvv, l * n + j, n_columns, column(kind), rows);
                        transpose_rows::<I, T>(rows, n_columns, dp, columns, lanes);
                    }
                }
                dk.fill(T::ZERO);
                dv2.fill(T::ZERO);
                let tile = Tile { n, d_head, dp, columns, n_columns };
                let mut i = 0;
                while i < n {
                    let n_rows = match n - i {
                        4.. if I::PANEL == 4 => 4,
                        2.. => 2,
                        _ => 1,
                    };
                    for r in 0..n_rows {
                        let own = r * columns * dp..(r + 1) * columns * dp;
                        let rows = &mut dout_rows[own.clone()];
                        of_out.pack_padded::<I, T>(dout, (i + r) * n + j, n_columns, head * d_head, rows);
                        transpose_rows::<I, T>(rows, n_columns, dp, columns, &mut dout_t[own]);
                    }
                    let of_tile = i * n * dp..(i + n_rows) * n * dp;
                    let (q, v1) = (&q[of_tile.clone()], &v1[of_tile.clone()]);
                    let (dq, dv1) = (&mut dq[of_tile.clone()], &mut dv1[of_tile]);
                    let given = Given { q, v1, kt, v2t, k, v2, dout_rows, dout_t };
                    let mut weight = Weight { alpha, ds, inverse_sum };
                    match n_rows {
                        4 => backward_tile::<I, T, 4>(tile, given, &mut weight, [dq, dv1, dk, dv2]),
                        2 => backward_tile::<I, T, 2>(tile, given, &mut weight, [dq, dv1, dk, dv2]),
                        _ => backward_tile::<I, T, 1>(tile, given, &mut weight, [dq, dv1, dk, dv2]),
                    }
                    i += n_rows;
                }
                for l in 0..n {
                    let panel = l * columns * dp..(l * columns + n_columns) * dp;
                    channels.unpack::<I, T>(&dk[panel.clone()], T::ONE, dqkvv, l * n + j, column(1));
                    channels.unpack::<I, T>(&dv2[panel], T::ONE, dqkvv, l * n + j, column(3));
                }
            }
            channels.unpack::<I, T>(dq, inverse_root::<T>(d_head), dqkvv, 0, column(0));
            channels.unpack::<I, T>(dv1, T::ONE, dqkvv, 0, column(2));
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
}

/// Adds a tile's part of the gradients of q, v1 (its own rows), k and v2 (the panel's).
#[inline(always)]
fn backward_tile<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    given: Given<'_, T>,
    weight: &mut Weight<'_, T>,
    gradients: [&mut [T]; 4],
) {
    let Weight { alpha, ds, inverse_sum } = weight;
    scores_of::<I, T, R>(tile, given.q, given.kt, alpha, inverse_sum);
    if tile.n_columns > T::Lanes::<I>::LANES {
        weights::<I, T, R, VECTORS>(tile, given.v1, given.v2t, given.dout_t, ds);
    } else {
        weights::<I, T, R, 1>(tile, given.v1, given.v2t, given.dout_t, ds);
    }
    normalise::<I, T, R>(tile, inverse_sum, alpha, ds);
    let Given { q, v1, k, v2, dout_rows, .. } = given;
    products::<I, T, R>(tile, [alpha, ds], [q, v1, k, v2, dout_rows], gradients);
}

/// 1/√d_head.
#[inline(always)]
fn inverse_root<T: Real>(d_head: usize) -> T {
    T::from_f64(1.0 / (d_head as f64).sqrt())
}

/// The definition at the top of this file, literally: the slow twin the tests and benchmarks compare with.
pub fn triangular_attention_naive<T: Real>(shape: AttentionShape, qkvv: &[T], out: &mut [T]) {
    let AttentionShape { n_atoms: n, n_heads, d_head } = shape;
    let width = shape.width();
    let at = |kind: usize, a: usize, b: usize, h: usize, c: usize| {
        qkvv[((a * n + b) * 4 + kind) * width + h * d_head + c].to_f64()
    };
    for (i, j, h) in (0..n).flat_map(|i| (0..n).flat_map(move |j| (0..n_heads).map(move |h| (i, j, h)))) {
        let score = |l: usize| {
            (0..d_head).map(|c| at(0, i, l, h, c) * at(1, l, j, h, c)).sum::<f64>() / (d_head as f64).sqrt()
        };
        let total: f64 = (0..n).map(|l| libm::exp(score(l))).sum();
        for c in 0..d_head {
            let sum: f64 = (0..n).map(|l| libm::exp(score(l)) * at(2, i, l, h, c) * at(3, l, j, h, c)).sum();
            out[(i * n + j) * width + h * d_head + c] = T::from_f64(sum / total);
        }
    }
}

#[cfg(test)]
mod tests;
