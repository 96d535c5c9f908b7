//! Triangular attention: edge (i, j) gathers over the middle atom l.
//!
//!   s[i,l,j,h] = q[i,l,h]·k[l,j,h] / √d_head;  α = softmax over l
//!   out[i,j,h] = Σ_l α[i,l,j,h] · (v1[i,l,h] ⊙ v2[l,j,h])
//!
//! Nothing of size N³·d exists: the head is the outermost loop, then come tiles of atoms j, then tiles of atoms i,
//! so that a tile's k and v2 stay in the second-level cache and its weights α, tile × N, in the first. Scores have j
//! along vector lanes, sums over l and j channels. The backward pass recomputes α.

mod ahead;
mod backward;
mod gather;
mod gradient;
mod scratch;
mod tile;

use crate::Real;
use crate::isa::{Isa, dispatched};
use crate::rows::Blocked;
use crate::vector::{MOST_LANES, Vector};
use ahead::Ahead;
use gather::{Rows, Terms, gather};
use scratch::{Scratch, transpose_rows};
use std::ops::Range;
use tile::{Tile, scores};

pub use backward::triangular_attention_backward;

/// One molecule's attention: its sizes, and where its rows are among those of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of atoms N.
    pub n_atoms: usize,
    /// Number of heads.
    pub n_heads: usize,
    /// Channels per head.
    pub d_head: usize,
    /// Rows of the group.
    pub n_rows: usize,
    /// The molecule's first row.
    pub first_row: usize,
}

/// Vectors of atoms j in a tile.
const VECTORS: usize = 2;
/// Atoms j in a tile of the back end with the longest vectors.
const MOST_COLUMNS: usize = VECTORS * MOST_LANES;
/// Atoms i in a tile.
const MOST_ROWS: usize = 4;

impl AttentionShape {
    fn width(self) -> usize {
        self.n_heads * self.d_head
    }

    /// Layout of q, k, v1 and v2 of the group and of their gradients: a block per kind and head, heads within kinds.
    pub fn qkvv(self) -> Blocked {
        Blocked { n_blocks: 4 * self.n_heads, ..self.heads() }
    }

    /// Layout of the gradient of the group's output: a block per head.
    pub fn heads(self) -> Blocked {
        Blocked { n_rows: self.n_rows, n_blocks: self.n_heads, channels: self.d_head }
    }

    /// The molecule's part of a block.
    fn part(self, block: usize) -> Range<usize> {
        let Blocked { n_rows, .. } = self.heads();
        let (n, dp) = (self.n_atoms, self.padded_channels());
        let start = (block * n_rows + self.first_row) * dp;
        start..start + n * n * dp
    }

    /// Channels per head rounded up to whole vectors.
    fn padded_channels(self) -> usize {
        self.heads().padded()
    }

    /// Elements of working memory of the forward pass.
    pub fn forward_scratch(self) -> usize {
        let (n, dp) = (self.n_atoms, self.padded_channels());
        (n + MOST_ROWS) * MOST_COLUMNS * dp + MOST_ROWS * (n + 1) * MOST_COLUMNS + MOST_LANES
    }

    /// Elements of working memory of the backward pass.
    pub fn backward_scratch(self) -> usize {
        let (n, dp) = (self.n_atoms, self.padded_channels());
        let of_dout = MOST_ROWS * MOST_COLUMNS * dp;
        2 * n * MOST_COLUMNS * dp + of_dout + 2 * MOST_ROWS * (n + 1) * MOST_COLUMNS + MOST_LANES
    }

    /// A tile of `n_columns` atoms j.
    #[inline(always)]
    fn tile<I: Isa, T: Real>(self, n_columns: usize) -> Tile {
        let columns = n_columns.next_multiple_of(T::Lanes::<I::Narrow>::LANES);
        Tile { n: self.n_atoms, d_head: self.d_head, dp: self.padded_channels(), columns, n_columns }
    }
}

/// Atoms i of the next tile when `n_left` are left.
fn rows_of_tile(n_left: usize) -> usize {
    match n_left {
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

dispatched! {
    /// Rows i of `i_range` of the attention of one molecule.
    ///
    /// qkvv: [`AttentionShape::qkvv`]; out: `[i_range.len()·n, width]`; scratch: at least
    /// [`AttentionShape::forward_scratch`] elements of any content.
    pub fn triangular_attention<I: Isa, T: Real>(
        shape: AttentionShape, i_range: Range<usize>, qkvv: &[T], out: &mut [T], scratch: &mut [T],
    ) {
        let AttentionShape { n_atoms: n, n_heads, d_head, .. } = shape;
        let (width, dp, n_rows) = (shape.width(), shape.padded_channels(), i_range.len());
        assert_eq!((qkvv.len(), out.len()), (shape.qkvv().len(), n_rows * n * width), "attention of {n} atoms");
        assert!(i_range.end <= n, "{i_range:?} of {n} atoms");
        let columns = VECTORS * T::Lanes::<I>::LANES;
        let mut scratch = Scratch::aligned(scratch);
        let kt = scratch.take(n * columns * dp);
        let alpha = scratch.take(MOST_ROWS * n * columns);
        let inverse_sum = scratch.take(MOST_ROWS * columns);
        let sums = scratch.take(MOST_ROWS * columns * dp);
        let n_tiles = n_rows.div_ceil(MOST_ROWS);
        for head in 0..n_heads {
            let of = |head: usize| [0, 1, 2, 3].map(|kind| &qkvv[shape.part(kind * n_heads + head)]);
            let [q, k, v1, v2] = of(head);
            for j in (0..n).step_by(columns) {
                let tile = shape.tile::<I, T>(columns.min(n - j));
                for l in 0..n {
                    transpose_rows::<I, T>(tile, &k[(l * n + j) * dp..], &mut kt[l * dp * tile.columns..]);
                }
                let rows = Rows { width, first: j, column: head * d_head };
                // After the last of a head come the first of the next; after all heads, the last one's again.
                let is_last = j + columns >= n;
                let (next_j, next_head) =
                    if is_last { (0, (head + 1).min(n_heads - 1)) } else { (j + columns, head) };
                let [next_q, next_k, next_v1, next_v2] = of(next_head);
                let next_columns = columns.min(n - next_j);
                let asked = next_columns.div_ceil(n_tiles.max(1));
                let mut i = 0;
                while i < n_rows {
                    let own = rows_of_tile(n_rows - i);
                    let at = |i: usize| (i_range.start + i) * n * dp;
                    let (first, next_i) = (at(i), if i + own < n_rows { i + own } else { 0 });
                    let [ahead_q, ahead_v1] = if next_i > 0 { [q, v1] } else { [next_q, next_v1] };
                    let asked_first = (i / MOST_ROWS * asked).min(next_columns);
                    let ahead = Ahead {
                        rows: [&ahead_q[at(next_i)..], &ahead_v1[at(next_i)..]].map(<[T]>::as_ptr),
                        n_rows: rows_of_tile(n_rows - next_i),
                        columns: [next_k, next_v2].map(|from| from[(next_j + asked_first) * dp..].as_ptr()),
                        n_columns: asked.min(next_columns - asked_first),
                    };
                    let given = [&q[first..], &*kt];
                    let terms = [&v1[first..], &v2[j * dp..]];
                    let (weight, out) = ([&mut *alpha, &mut *inverse_sum, &mut *sums], &mut out[i * n * width..]);
                    match own {
                        4 => forward_tile::<I, T, 4>(tile, given, terms, weight, rows, ahead, out),
                        2 => forward_tile::<I, T, 2>(tile, given, terms, weight, rows, ahead, out),
                        _ => forward_tile::<I, T, 1>(tile, given, terms, weight, rows, ahead, out),
                    }
                    i += own;
                }
            }
        }
    }
}

/// Whether the registers hold the sums of four rows beside their operands, where each row has several.
#[inline(always)]
const fn has_many_registers<I: Isa>() -> bool {
    I::PANEL == 4
}

/// The output of `R` rows.
#[inline(always)]
fn forward_tile<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    [q, kt]: [&[T]; 2],
    [v1, v2]: [&[T]; 2],
    [alpha, inverse_sum, sums]: [&mut [T]; 3],
    rows: Rows,
    ahead: Ahead<T>,
    out: &mut [T],
) {
    scores_of::<I, T, R>(tile, q, kt, alpha, inverse_sum, ahead);
    gather::<I, T, R>(tile, Terms { v1, v2, alpha, inverse_sum }, sums, rows, out);
}

/// Calls a function of `<I, T, R, vectors>` with as few and as wide vectors as cover a tile's columns.
macro_rules! with_vectors {
    ($function:ident::<$isa:ident, $real:ident, $rows:ident>, $tile:expr, ($($arg:expr),*)) => {
        match ($tile.columns / $real::Lanes::<$isa::Narrow>::LANES,
               $real::Lanes::<$isa>::LANES / $real::Lanes::<$isa::Narrow>::LANES) {
            (1, 1) | (2, 2) => $function::<$isa, $real, $rows, 1>($($arg),*),
            (2, 1) | (4, 2) => $function::<$isa, $real, $rows, 2>($($arg),*),
            (1, _) => $function::<$isa::Narrow, $real, $rows, 1>($($arg),*),
            _ => $function::<$isa::Narrow, $real, $rows, 3>($($arg),*),
        }
    };
}

use with_vectors;

/// Unnormalised weights of a tile and 1/Σ.
#[inline(always)]
fn scores_of<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    q: &[T],
    kt: &[T],
    alpha: &mut [T],
    inverse_sum: &mut [T],
    ahead: Ahead<T>,
) {
    with_vectors!(scores::<I, T, R>, tile, (tile, q, kt, alpha, inverse_sum, ahead));
}

/// 1/√d_head.
#[inline(always)]
fn inverse_root<T: Real>(d_head: usize) -> T {
    T::from_f64(1.0 / (d_head as f64).sqrt())
}

/// The definition at the top of this file, literally: the slow twin the tests compare with.
///
/// qkvv and out are those of [`triangular_attention`] over all i.
pub fn triangular_attention_naive<T: Real>(shape: AttentionShape, qkvv: &[T], out: &mut [T]) {
    let AttentionShape { n_atoms: n, n_heads, d_head, .. } = shape;
    let (width, dp) = (shape.width(), shape.padded_channels());
    let at = |kind: usize, a: usize, b: usize, h: usize, c: usize| {
        qkvv[shape.part(kind * n_heads + h)][(a * n + b) * dp + c].to_f64()
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
