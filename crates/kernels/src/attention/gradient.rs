//! The last step of the backward pass: from the weights and their gradients to those of q, k, v1 and v2.
//!
//! With channels along vector lanes, for all rows of a tile at once:
//!
//!   dq\[r,l\] = Σ_j ds·k\[l,j\],  dv1\[r,l\] = Σ_j α·dout\[r,j\]⊙v2\[l,j\]
//!   dk\[l,j\] = Σ_r ds·q\[r,l\],  dv2\[l,j\] = Σ_r α·dout\[r,j\]⊙v1\[r,l\]

use super::tile::{Tile, store};
use crate::Real;
use crate::isa::Isa;
use crate::product::Start;
use crate::vector::{MOST_LANES, Vector};

/// What the sums are made of, laid out as in [`super::tile`]; dout: `[R][n_columns][dp]`.
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

/// Where the sums over j go: rows (r, l) of a row-major matrix.
pub(super) struct RowSums<'a, T> {
    pub rows: &'a mut [T],
    pub stride: usize,
    /// Columns of the head's first channel of dq and dv1.
    pub columns: [usize; 2],
    /// Factor of dq.
    pub scale: T,
    /// Whether earlier tiles of j have written to them.
    pub start: Start,
}

/// Where the sums over r go: dk and dv2, `[l][n_columns][dp]`.
pub(super) struct PairSums<'a, T> {
    pub dk: &'a mut [T],
    pub dv2: &'a mut [T],
    /// Whether earlier rows i have been summed.
    pub start: Start,
}

/// All four gradients of a tile of `R` rows.
#[inline(always)]
pub(super) fn sum<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    factors: Factors<'_, T>,
    of_rows: &mut RowSums<'_, T>,
    of_pairs: &mut PairSums<'_, T>,
) {
    let Tile { n, d_head, dp, columns, n_columns } = tile;
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    let Factors { alpha, ds, q, v1, k, v2, dout } = factors;
    let PairSums { dk, dv2, start } = of_pairs;
    let (n_weights, n_rows, n_pairs) = (R * n * columns, R * n * dp, n * n_columns * dp);
    assert!(alpha.len() >= n_weights && ds.len() >= n_weights && q.len() >= n_rows && v1.len() >= n_rows);
    assert!(k.len() >= n_pairs && v2.len() >= n_pairs && dk.len() >= n_pairs && dv2.len() >= n_pairs);
    assert!(dout.len() >= R * n_columns * dp && dp % lanes == 0 && d_head <= dp && n_columns <= columns);
    let (alpha, ds, q, v1) = (alpha.as_ptr(), ds.as_ptr(), q.as_ptr(), v1.as_ptr());
    let (k, v2, dout) = (k.as_ptr(), v2.as_ptr(), dout.as_ptr());
    let (dk, dv2) = (dk.as_mut_ptr(), dv2.as_mut_ptr());
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
                    let pair = (l * n_columns + j) * dp + c;
                    let (key, second) = (load(k.add(pair)), load(v2.add(pair)));
                    let (mut sum_k, mut sum_v2) = match start {
                        Start::Zero => (zero, zero),
                        Start::Destination => (load(dk.add(pair)), load(dv2.add(pair))),
                    };
                    for r in 0..R {
                        let weight = (r * n + l) * columns + j;
                        let ds = splat(*ds.add(weight));
                        let dout = load(dout.add((r * n_columns + j) * dp + c));
                        let weighted = splat(*alpha.add(weight)).mul(dout);
                        sum_v1[r] = weighted.mul_add(second, sum_v1[r]);
                        sum_v2 = weighted.mul_add(first[r], sum_v2);
                        sum_q[r] = ds.mul_add(key, sum_q[r]);
                        sum_k = ds.mul_add(query[r], sum_k);
                    }
                    sum_k.store_at(dk.add(pair));
                    sum_v2.store_at(dv2.add(pair));
                }
            }
            for r in 0..R {
                let [of_q, of_v1] = of_rows.columns.map(|column| (r * n + l) * of_rows.stride + column + c);
                let n_lanes = lanes.min(d_head - c);
                let (rows, start) = (&mut *of_rows.rows, of_rows.start);
                add::<I, T>(sum_q[r].mul(splat(of_rows.scale)), start, &mut rows[of_q..of_q + n_lanes]);
                add::<I, T>(sum_v1[r], start, &mut rows[of_v1..of_v1 + n_lanes]);
            }
            c += lanes;
        }
    }
}

/// As many lanes as `to` has room for, added to what is there or not.
#[inline(always)]
fn add<I: Isa, T: Real>(vector: T::Lanes<I>, start: Start, to: &mut [T]) {
    let vector = match start {
        Start::Zero => vector,
        Start::Destination if to.len() == T::Lanes::<I>::LANES => T::Lanes::<I>::load(to).add(vector),
        Start::Destination => {
            let mut lanes = [T::ZERO; MOST_LANES];
            lanes[..to.len()].copy_from_slice(to);
            T::Lanes::<I>::load(&lanes).add(vector)
        }
    };
    store::<I, T>(vector, to);
}
