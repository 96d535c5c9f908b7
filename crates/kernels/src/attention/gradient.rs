//! The last step of the backward pass: from the weights and their gradients to those of q, k, v1 and v2.
//!
//! With channels along vector lanes, for all rows of a tile at once, ds with the factor 1/√d_head:
//!
//!   dq\[r,l\] = Σ_j ds·k\[l,j\],  dv1\[r,l\] = Σ_j α·dout\[r,j\]⊙v2\[l,j\]
//!   dk\[l,j\] = Σ_r ds·q\[r,l\],  dv2\[l,j\] = Σ_r α·dout\[r,j\]⊙v1\[r,l\]

use super::tile::Tile;
use crate::Real;
use crate::isa::Isa;
use crate::product::Start;
use crate::vector::Vector;

/// What the sums are made of, laid out as in [`super::tile`]; dout: `[R][n][dp]` from the tile's first j on.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a, T> {
    pub alpha: &'a [T],
    pub ds: &'a [T],
    pub q: &'a [T],
    pub v1: &'a [T],
    pub k: &'a [T],
    pub v2: &'a [T],
    pub dout: &'a [T],
}

/// Where sums go, and whether something has been summed there before.
pub(super) struct Sums<'a, T> {
    /// dq or dk.
    pub first: &'a mut [T],
    /// dv1 or dv2.
    pub second: &'a mut [T],
    pub start: Start,
}

/// All four gradients of a tile of `R` rows.
#[inline(always)]
pub(super) fn sum<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    factors: Factors<'_, T>,
    of_rows: Sums<'_, T>,
    of_pairs: Sums<'_, T>,
) {
    let Tile { n, d_head, dp, columns, n_columns } = tile;
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    let Factors { alpha, ds, q, v1, k, v2, dout } = factors;
    let Sums { first: dk, second: dv2, start } = of_pairs;
    let Sums { first: dq, second: dv1, start: start_of_rows } = of_rows;
    let (n_weights, n_rows, n_pairs) = (R * n * columns, R * n * dp, tile.panel());
    assert!(alpha.len() >= n_weights && ds.len() >= n_weights && q.len() >= n_rows && v1.len() >= n_rows);
    assert!(k.len() >= n_pairs && v2.len() >= n_pairs && dk.len() >= n_pairs && dv2.len() >= n_pairs);
    assert!(dq.len() >= n_rows && dv1.len() >= n_rows && dp % lanes == 0 && d_head <= dp);
    assert!(dout.len() >= ((R - 1) * n + n_columns) * dp && n_columns <= columns && n_columns <= n);
    let (alpha, ds, q, v1) = (alpha.as_ptr(), ds.as_ptr(), q.as_ptr(), v1.as_ptr());
    let (k, v2, dout) = (k.as_ptr(), v2.as_ptr(), dout.as_ptr());
    let (dk, dv2) = (dk.as_mut_ptr(), dv2.as_mut_ptr());
    let (dq, dv1) = (dq.as_mut_ptr(), dv1.as_mut_ptr());
    let load = T::Lanes::<I>::load_at;
    let zero = splat(T::ZERO);
    for l in 0..n {
        let mut c = 0;
        while c < d_head {
            let (mut query, mut first) = ([zero; R], [zero; R]);
            let (mut sum_q, mut sum_v1) = ([zero; R], [zero; R]);
            // SAFETY: l < n, r < R, j < n_columns, a whole vector of channels below dp: inside the arrays, checked above.
            unsafe {
                for r in 0..R {
                    query[r] = load(q.add((r * n + l) * dp + c));
                    first[r] = load(v1.add((r * n + l) * dp + c));
                }
                for j in 0..n_columns {
                    let pair = (l * n + j) * dp + c;
                    let (key, second) = (load(k.add(pair)), load(v2.add(pair)));
                    let (mut sum_k, mut sum_v2) = match start {
                        Start::Zero => (zero, zero),
                        Start::Destination => (load(dk.add(pair)), load(dv2.add(pair))),
                    };
                    for r in 0..R {
                        let weight = (r * n + l) * columns + j;
                        let ds = splat(*ds.add(weight));
                        let dout = load(dout.add((r * n + j) * dp + c));
                        let weighted = splat(*alpha.add(weight)).mul(dout);
                        sum_v1[r] = weighted.mul_add(second, sum_v1[r]);
                        sum_v2 = weighted.mul_add(first[r], sum_v2);
                        sum_q[r] = ds.mul_add(key, sum_q[r]);
                        sum_k = ds.mul_add(query[r], sum_k);
                    }
                    sum_k.store_at(dk.add(pair));
                    sum_v2.store_at(dv2.add(pair));
                }
                for r in 0..R {
                    let row = (r * n + l) * dp + c;
                    let (dq, dv1) = (dq.add(row), dv1.add(row));
                    if start_of_rows == Start::Destination {
                        (sum_q[r], sum_v1[r]) = (load(dq).add(sum_q[r]), load(dv1).add(sum_v1[r]));
                    }
                    sum_q[r].store_at(dq);
                    sum_v1[r].store_at(dv1);
                }
            }
            c += lanes;
        }
    }
}
