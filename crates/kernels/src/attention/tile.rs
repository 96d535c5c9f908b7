//! The inner loops of triangular attention: `R` atoms i by a tile of atoms j, over all middle atoms l.
//!
//! Layouts, with `columns` atoms j to a tile, of which `n_columns` exist, and `dp` padded channels to a head:
//!
//! | array | index |
//! |---|---|
//! | q, v1 | `[R][l][dp]` |
//! | k, v2 | `[l][n][dp]`, from the tile's first j on |
//! | kt, v2t | `[l][dp][columns]` |
//! | alpha, dalpha | `[R][l][columns]` |
//! | inverse_sum, mean | `[R][columns]` |
//! | dout_t | `[R][dp][columns]` |
//!
//! Loops are written out: closures and iterators over vectors are not always compiled for the back end's instructions.

use super::ahead::Ahead;
use super::inverse_root;
use crate::Real;
use crate::isa::Isa;
use crate::real::exp2_lanes;
use crate::vector::Vector;

/// Sizes of a tile.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Atoms N.
    pub n: usize,
    pub d_head: usize,
    pub dp: usize,
    /// Atoms j that rows have room for: `n_columns` rounded up to whole narrow vectors.
    pub columns: usize,
    /// Atoms j that exist.
    pub n_columns: usize,
}

impl Tile {
    /// Elements of k or v2 from the tile's first j to its last.
    #[inline(always)]
    pub fn panel(self) -> usize {
        ((self.n - 1) * self.n + self.n_columns) * self.dp
    }

    /// Panics unless arrays of `rows`·n·columns, `rows`·n·dp and n·dp·columns elements have them.
    #[inline(always)]
    pub fn check<T>(self, rows: usize, weights: &[T], atoms: &[T], panel: &[T]) {
        let Self { n, dp, columns, .. } = self;
        assert!(weights.len() >= rows * n * columns, "weights of {rows} × {n} atoms");
        assert!(atoms.len() >= rows * n * dp, "rows of {rows} × {n} atoms");
        assert!(panel.len() >= n * dp * columns, "panel of {n} atoms");
        assert!(self.n_columns <= columns && self.d_head <= dp);
    }
}

/// alpha\[r\]\[l\]\[j\] = exp((q·k − max over l)/√d_head) and inverse_sum\[r\]\[j\] = 1/Σ_l alpha, for `V` vectors of j.
#[inline(always)]
pub(super) fn scores<I: Isa, T: Real, const R: usize, const V: usize>(
    tile: Tile,
    q: &[T],
    kt: &[T],
    alpha: &mut [T],
    inverse_sum: &mut [T],
    ahead: Ahead<T>,
) {
    let Tile { n, d_head, dp, columns, .. } = tile;
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    tile.check(R, alpha, q, kt);
    assert!(V * lanes <= columns && inverse_sum.len() >= R * columns);
    let (q, kt, alpha) = (q.as_ptr(), kt.as_ptr(), alpha.as_mut_ptr());
    let load = T::Lanes::<I>::load_at;
    let mut highest = [[splat(T::from_f64(f64::NEG_INFINITY)); V]; R];
    for l in 0..n {
        ahead.ask(tile, l);
        let mut sums = [[splat(T::ZERO); V]; R];
        // SAFETY: l < n, c < dp, r < R and whole vectors within `columns`: inside the arrays, checked above.
        unsafe {
            for c in 0..d_head {
                let mut keys = [splat(T::ZERO); V];
                for v in 0..V {
                    keys[v] = load(kt.add((l * dp + c) * columns + v * lanes));
                }
                for r in 0..R {
                    let query = splat(*q.add((r * n + l) * dp + c));
                    for v in 0..V {
                        sums[r][v] = query.mul_add(keys[v], sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    highest[r][v] = sums[r][v].at_least(highest[r][v]);
                    sums[r][v].store_at(alpha.add((r * n + l) * columns + v * lanes));
                }
            }
        }
    }
    let mut r = 0;
    while r < R {
        // SAFETY: as above; the rows r and, with two at a time, r + 1 are among the R.
        unsafe {
            let (alpha, inverse_sum) = (alpha.add(r * n * columns), &mut inverse_sum[r * columns..]);
            if R == 1 {
                weigh::<I, T, 1, V>(tile, [highest[0]], alpha, inverse_sum);
            } else {
                weigh::<I, T, 2, V>(tile, [highest[r], highest[r + 1]], alpha, inverse_sum);
            }
        }
        r += 2;
    }
}

/// The second half of [`scores`]: from scores and their maxima over l to the weights, `K` rows at a time.
///
/// # Safety
/// `alpha` has `K` rows of n·columns elements.
#[inline(always)]
unsafe fn weigh<I: Isa, T: Real, const K: usize, const V: usize>(
    tile: Tile,
    highest: [[T::Lanes<I>; V]; K],
    alpha: *mut T,
    inverse_sum: &mut [T],
) {
    let Tile { n, d_head, columns, .. } = tile;
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    // Powers of 2: this scale is all that they need.
    let scale = T::from_f64(std::f64::consts::LOG2_E / (d_head as f64).sqrt());
    let (mut sums, mut lowered) = ([[splat(T::ZERO); V]; K], highest);
    for k in 0..K {
        for v in 0..V {
            lowered[k][v] = highest[k][v].mul(splat(-scale));
        }
    }
    for l in 0..n {
        let mut weights = lowered;
        // SAFETY: l < n, k < K and whole vectors within `columns`: inside the array.
        unsafe {
            for k in 0..K {
                for v in 0..V {
                    let score = T::Lanes::<I>::load_at(alpha.add((k * n + l) * columns + v * lanes));
                    weights[k][v] = score.mul_add(splat(scale), lowered[k][v]);
                }
            }
            weights = exp2_lanes::<I, T, K, V>(weights);
            for k in 0..K {
                for v in 0..V {
                    weights[k][v].store_at(alpha.add((k * n + l) * columns + v * lanes));
                    sums[k][v] = sums[k][v].add(weights[k][v]);
                }
            }
        }
    }
    for k in 0..K {
        for v in 0..V {
            splat(T::ONE).div(sums[k][v]).store(&mut inverse_sum[k * columns + v * lanes..]);
        }
    }
}

/// dalpha\[r\]\[l\]\[j\] = Σ_c dout\[r\]\[j\]\[c\]·v1\[r\]\[l\]\[c\]·v2\[l\]\[j\]\[c\] and
/// mean\[r\]\[j\] = inverse_sum·Σ_l alpha·dalpha, for `V` vectors of j.
#[inline(always)]
pub(super) fn weights<I: Isa, T: Real, const R: usize, const V: usize>(
    tile: Tile,
    [v1, v2t, dout_t]: [&[T]; 3],
    [alpha, inverse_sum]: [&[T]; 2],
    dalpha: &mut [T],
    mean: &mut [T],
) {
    let Tile { n, d_head, dp, columns, .. } = tile;
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    tile.check(R, dalpha, v1, v2t);
    assert!(V * lanes <= columns && dout_t.len() >= R * dp * columns && alpha.len() >= R * n * columns);
    let (v1, v2t, dout_t, dalpha) = (v1.as_ptr(), v2t.as_ptr(), dout_t.as_ptr(), dalpha.as_mut_ptr());
    let alpha = alpha.as_ptr();
    let load = T::Lanes::<I>::load_at;
    let mut means = [[splat(T::ZERO); V]; R];
    for l in 0..n {
        let mut sums = [[splat(T::ZERO); V]; R];
        // SAFETY: l < n, c < dp, r < R and whole vectors within `columns`: inside the arrays, checked above.
        unsafe {
            for c in 0..d_head {
                let mut second = [splat(T::ZERO); V];
                for v in 0..V {
                    second[v] = load(v2t.add((l * dp + c) * columns + v * lanes));
                }
                for r in 0..R {
                    let first = splat(*v1.add((r * n + l) * dp + c));
                    for v in 0..V {
                        let dout = load(dout_t.add((r * dp + c) * columns + v * lanes));
                        sums[r][v] = first.mul(dout).mul_add(second[v], sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    let at = (r * n + l) * columns + v * lanes;
                    means[r][v] = load(alpha.add(at)).mul_add(sums[r][v], means[r][v]);
                    sums[r][v].store_at(dalpha.add(at));
                }
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            let at = r * columns + v * lanes;
            means[r][v].mul(T::Lanes::<I>::load(&inverse_sum[at..])).store(&mut mean[at..]);
        }
    }
}

/// Normalises alpha in place, and turns ds from dα into α(dα − mean)/√d_head.
#[inline(always)]
pub(super) fn normalise<I: Isa, T: Real>(
    tile: Tile,
    n_rows: usize,
    [inverse_sum, mean]: [&[T]; 2],
    alpha: &mut [T],
    ds: &mut [T],
) {
    let Tile { n, columns, d_head, .. } = tile;
    let lanes = T::Lanes::<I>::LANES;
    let scale = T::Lanes::<I>::splat(inverse_root::<T>(d_head));
    assert!(columns % lanes == 0 && inverse_sum.len() >= n_rows * columns && mean.len() >= n_rows * columns);
    assert!(alpha.len() >= n_rows * n * columns && ds.len() >= n_rows * n * columns);
    let load = T::Lanes::<I>::load_at;
    for r in 0..n_rows {
        for j in (0..columns).step_by(lanes) {
            // SAFETY: r < n_rows, l < n and a whole vector within `columns`: inside the arrays, checked above.
            unsafe {
                let inverse_sum = load(inverse_sum.as_ptr().add(r * columns + j));
                let mean = load(mean.as_ptr().add(r * columns + j));
                for l in 0..n {
                    let at = (r * n + l) * columns + j;
                    let (alpha, ds) = (alpha.as_mut_ptr().add(at), ds.as_mut_ptr().add(at));
                    let normalised = load(alpha).mul(inverse_sum);
                    normalised.store_at(alpha);
                    normalised.mul(scale).mul(load(ds).sub(mean)).store_at(ds);
                }
            }
        }
    }
}
