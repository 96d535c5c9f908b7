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

use super::{has_many_registers, inverse_root};
use crate::Real;
use crate::isa::Isa;
use crate::real::exp_lanes;
use crate::vector::Vector;
use std::ops::Range;

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

/// Where a tile's rows of the output lie.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub width: usize,
    /// Row of the tile's first j within those of an atom i.
    pub first: usize,
    /// Column of the head's first channel.
    pub column: usize,
}

/// alpha\[r\]\[l\]\[j\] = exp(`scale`·(q·k − max over l)) and inverse_sum\[r\]\[j\] = 1/Σ_l alpha, for `V` vectors of j.
#[inline(always)]
pub(super) fn scores<I: Isa, T: Real, const R: usize, const V: usize>(
    tile: Tile,
    q: &[T],
    kt: &[T],
    alpha: &mut [T],
    inverse_sum: &mut [T],
) {
    let Tile { n, d_head, dp, columns, .. } = tile;
    let scale = inverse_root::<T>(d_head);
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    tile.check(R, alpha, q, kt);
    assert!(V * lanes <= columns && inverse_sum.len() >= R * columns);
    let (q, kt, alpha) = (q.as_ptr(), kt.as_ptr(), alpha.as_mut_ptr());
    let load = T::Lanes::<I>::load_at;
    let mut highest = [[splat(T::from_f64(f64::NEG_INFINITY)); V]; R];
    for l in 0..n {
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
    for r in 0..R {
        let mut sums = [splat(T::ZERO); V];
        let mut lowered = [splat(T::ZERO); V];
        for v in 0..V {
            lowered[v] = highest[r][v].mul(splat(-scale));
        }
        for l in 0..n {
            for v in 0..V {
                // SAFETY: as above.
                unsafe {
                    let at = alpha.add((r * n + l) * columns + v * lanes);
                    let weight = exp_lanes::<I, T>(load(at).mul_add(splat(scale), lowered[v]));
                    weight.store_at(at);
                    sums[v] = sums[v].add(weight);
                }
            }
        }
        for v in 0..V {
            splat(T::ONE).div(sums[v]).store(&mut inverse_sum[r * columns + v * lanes..]);
        }
    }
}

/// Middle atoms whose weights and v1 stay in the first-level cache while all atoms j of a tile go by. With all of them at
/// once the attention of 118 atoms on AVX2 takes a third longer, in a tuning run that is not kept as a bench.
const MIDDLES: usize = 24;

/// out\[r\]\[j\]\[c\] = inverse_sum\[r\]\[j\]·Σ_l alpha\[r\]\[l\]\[j\]·v1\[r\]\[l\]\[c\]·v2\[l\]\[j\]\[c\]; `sums` is working memory.
#[inline(always)]
pub(super) fn gather<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    [v1, v2]: [&[T]; 2],
    [alpha, inverse_sum]: [&[T]; 2],
    sums: &mut [T],
    rows: Rows,
    out: &mut [T],
) {
    let (n, n_columns) = (tile.n, tile.n_columns);
    let share = n.div_ceil(n.div_ceil(MIDDLES));
    for first in (0..n).step_by(share) {
        let middles = first..n.min(first + share);
        let mut j = 0;
        while j < n_columns {
            let middles = middles.clone();
            j += match (has_many_registers::<I>(), n_columns - j) {
                (true, 4..) => gather_some::<I, T, R, 4, 1>(tile, j, middles, v1, v2, alpha, sums),
                (true, 2..) => gather_some::<I, T, R, 2, 1>(tile, j, middles, v1, v2, alpha, sums),
                (true, _) => gather_some::<I, T, R, 1, 1>(tile, j, middles, v1, v2, alpha, sums),
                (false, 2..) if R < 4 => gather_some::<I, T, R, 2, 2>(tile, j, middles, v1, v2, alpha, sums),
                (false, _) => gather_some::<I, T, R, 1, 2>(tile, j, middles, v1, v2, alpha, sums),
            };
        }
    }
    for (r, j) in (0..R).flat_map(|r| (0..n_columns).map(move |j| (r, j))) {
        let scale = inverse_sum[r * tile.columns + j];
        let to = (r * n + rows.first + j) * rows.width + rows.column;
        let sums = &sums[(r * tile.columns + j) * tile.dp..];
        for (out, &sum) in out[to..to + tile.d_head].iter_mut().zip(sums) {
            *out = sum * scale;
        }
    }
}

/// Adds to the sums over l what `middles` give for `A` atoms j from the tile's `j` on, and returns `A`. `C` vectors of
/// channels at a time: as many as share a line of the cache, since v2 comes from the second level.
#[inline(always)]
fn gather_some<I: Isa, T: Real, const R: usize, const A: usize, const C: usize>(
    tile: Tile,
    j: usize,
    middles: Range<usize>,
    v1: &[T],
    v2: &[T],
    alpha: &[T],
    sums: &mut [T],
) -> usize {
    let Tile { n, d_head, dp, columns, n_columns } = tile;
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    assert!(alpha.len() >= R * n * columns && v1.len() >= R * n * dp && v2.len() >= tile.panel());
    assert!(j + A <= n_columns && n_columns <= columns && d_head <= dp && dp % (C * lanes) == 0);
    assert!(middles.end <= n && sums.len() >= R * columns * dp);
    let (v1, v2, alpha, memory) = (v1.as_ptr(), v2.as_ptr(), alpha.as_ptr(), sums.as_mut_ptr());
    let load = T::Lanes::<I>::load_at;
    for c in (0..d_head).step_by(C * lanes) {
        let mut sums = [[[splat(T::ZERO); C]; A]; R];
        // SAFETY: l < n, r < R, j + A ≤ n_columns, `C` whole vectors of channels below dp: inside the arrays, checked
        // above.
        unsafe {
            if middles.start > 0 {
                for r in 0..R {
                    for a in 0..A {
                        for v in 0..C {
                            sums[r][a][v] = load(memory.add((r * columns + j + a) * dp + c + v * lanes));
                        }
                    }
                }
            }
            // Pointers that move: the compiler multiplies indices anew at every l.
            let mut second_at = v2.add((middles.start * n + j) * dp + c);
            let mut first_at = v1.add(middles.start * dp + c);
            let mut alpha_at = alpha.add(middles.start * columns + j);
            for _ in middles.clone() {
                let mut second = [[splat(T::ZERO); C]; A];
                for a in 0..A {
                    for v in 0..C {
                        second[a][v] = load(second_at.add(a * dp + v * lanes));
                    }
                }
                for r in 0..R {
                    let mut first = [splat(T::ZERO); C];
                    for v in 0..C {
                        first[v] = load(first_at.add(r * n * dp + v * lanes));
                    }
                    for a in 0..A {
                        let weight = splat(*alpha_at.add(r * n * columns + a));
                        for v in 0..C {
                            sums[r][a][v] = weight.mul_add(first[v].mul(second[a][v]), sums[r][a][v]);
                        }
                    }
                }
                second_at = second_at.wrapping_add(n * dp);
                first_at = first_at.wrapping_add(dp);
                alpha_at = alpha_at.wrapping_add(columns);
            }
            for r in 0..R {
                for a in 0..A {
                    for v in 0..C {
                        sums[r][a][v].store_at(memory.add((r * columns + j + a) * dp + c + v * lanes));
                    }
                }
            }
        }
    }
    A
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
