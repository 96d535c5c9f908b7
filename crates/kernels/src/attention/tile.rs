//! The inner loops of triangular attention: `R` atoms i by a tile of atoms j, over all middle atoms l.
//!
//! Layouts, with `columns` atoms j to a tile and `dp` padded channels to a head:
//!
//! | array | index |
//! |---|---|
//! | q, v1, dq, dv1 | `[R][l][dp]` |
//! | k, v2, dk, dv2 | `[l][columns][dp]` |
//! | kt, v2t | `[l][dp][columns]` |
//! | alpha, ds | `[R][l][columns]` |
//! | dout, dout_t | `[R][columns][dp]`, `[R][dp][columns]` |

use crate::Real;
use crate::isa::Isa;
use crate::real::exp_lanes;
use crate::vector::Vector;

/// Sizes of a tile.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Atoms N.
    pub n: usize,
    pub d_head: usize,
    pub dp: usize,
    /// Atoms j that rows have room for, a multiple of 4 and of a vector.
    pub columns: usize,
    /// Atoms j that exist.
    pub n_columns: usize,
}

impl Tile {
    /// Panics unless arrays of `rows`·n·columns, `rows`·n·dp and n·columns·dp elements have them.
    #[inline(always)]
    fn check<T>(self, rows: usize, weights: &[&[T]], atoms: &[&[T]], panels: &[&[T]]) {
        let Self { n, dp, columns, n_columns, .. } = self;
        assert!(weights.iter().all(|a| a.len() >= rows * n * columns), "weights of {rows} × {n} atoms");
        assert!(atoms.iter().all(|a| a.len() >= rows * n * dp), "rows of {rows} × {n} atoms");
        assert!(panels.iter().all(|a| a.len() >= n * columns * dp), "panels of {n} atoms");
        assert!(n_columns <= columns && self.d_head <= dp && columns % 4 == 0);
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

/// alpha\[r\]\[l\]\[j\] = exp(s − max over l) and inverse_sum\[r\]\[j\] = 1/Σ_l alpha, for `V` vectors of j.
#[inline(always)]
pub(super) fn scores<I: Isa, T: Real, const R: usize, const V: usize>(
    tile: Tile,
    q: &[T],
    kt: &[T],
    alpha: &mut [T],
    inverse_sum: &mut [T],
) {
    let Tile { n, d_head, dp, columns, .. } = tile;
    let (lanes, zero) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat(T::ZERO));
    tile.check(R, &[alpha], &[q], &[kt]);
    assert!(V * lanes <= columns && inverse_sum.len() >= R * columns);
    let (q, kt, alpha) = (q.as_ptr(), kt.as_ptr(), alpha.as_mut_ptr());
    let load = T::Lanes::<I>::load_at;
    let mut highest = [[zero; V]; R];
    for l in 0..n {
        let mut sums = [[zero; V]; R];
        // SAFETY: l < n, c < dp, r < R and whole vectors within `columns`: inside the arrays, checked above.
        unsafe {
            for c in 0..d_head {
                let keys: [_; V] = std::array::from_fn(|v| load(kt.add((l * dp + c) * columns + v * lanes)));
                for r in 0..R {
                    let query = T::Lanes::<I>::splat(*q.add((r * n + l) * dp + c));
                    for v in 0..V {
                        sums[r][v] = query.mul_add(keys[v], sums[r][v]);
                    }
                }
            }
            for (r, v) in (0..R).flat_map(|r| (0..V).map(move |v| (r, v))) {
                highest[r][v] = if l == 0 { sums[r][v] } else { sums[r][v].at_least(highest[r][v]) };
                sums[r][v].store_at(alpha.add((r * n + l) * columns + v * lanes));
            }
        }
    }
    for r in 0..R {
        let mut sums = [zero; V];
        for l in 0..n {
            for v in 0..V {
                // SAFETY: as above.
                unsafe {
                    let at = alpha.add((r * n + l) * columns + v * lanes);
                    let weight = exp_lanes::<I, T>(load(at).sub(highest[r][v]));
                    weight.store_at(at);
                    sums[v] = sums[v].add(weight);
                }
            }
        }
        for v in 0..V {
            let inverse = T::Lanes::<I>::splat(T::ONE).div(sums[v]);
            inverse.store(&mut inverse_sum[r * columns + v * lanes..]);
        }
    }
}

/// Atoms j whose sums [`gather`] holds at once.
const AT_ONCE: usize = 4;

/// out\[r\]\[j\]\[c\] = inverse_sum\[r\]\[j\]·Σ_l alpha\[r\]\[l\]\[j\]·v1\[r\]\[l\]\[c\]·v2\[l\]\[j\]\[c\].
#[inline(always)]
pub(super) fn gather<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    v1: &[T],
    v2: &[T],
    alpha: &[T],
    inverse_sum: &[T],
    rows: Rows,
    out: &mut [T],
) {
    let Tile { n, d_head, dp, columns, n_columns } = tile;
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    tile.check(R, &[alpha], &[v1], &[v2]);
    let (v1, v2, alpha) = (v1.as_ptr(), v2.as_ptr(), alpha.as_ptr());
    let load = T::Lanes::<I>::load_at;
    for c in (0..d_head).step_by(lanes) {
        for j in (0..n_columns).step_by(AT_ONCE) {
            let mut sums = [[splat(T::ZERO); AT_ONCE]; R];
            for l in 0..n {
                // SAFETY: l < n, r < R, j + 3 < columns (a multiple of 4), a whole vector of channels below dp:
                // inside the arrays, checked above.
                unsafe {
                    let second: [_; AT_ONCE] =
                        std::array::from_fn(|at| load(v2.add((l * columns + j + at) * dp + c)));
                    for r in 0..R {
                        let first = load(v1.add((r * n + l) * dp + c));
                        let alpha = alpha.add((r * n + l) * columns + j);
                        for at in 0..AT_ONCE {
                            let value = first.mul(second[at]);
                            sums[r][at] = splat(*alpha.add(at)).mul_add(value, sums[r][at]);
                        }
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (at, sum) in sums.iter().enumerate().take(n_columns - j) {
                    let scaled = sum.mul(splat(inverse_sum[r * columns + j + at]));
                    let start = (r * n + rows.first + j + at) * rows.width + rows.column + c;
                    store::<I, T>(scaled, &mut out[start..start + lanes.min(d_head - c)]);
                }
            }
        }
    }
}

/// As many lanes as `to` has room for.
#[inline(always)]
fn store<I: Isa, T: Real>(vector: T::Lanes<I>, to: &mut [T]) {
    if to.len() == T::Lanes::<I>::LANES {
        vector.store(to);
    } else {
        let mut lanes = [T::ZERO; crate::vector::MOST_LANES];
        vector.store(&mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }
}

/// dalpha\[r\]\[l\]\[j\] = Σ_c dout\[r\]\[j\]\[c\]·v1\[r\]\[l\]\[c\]·v2\[l\]\[j\]\[c\], for `V` vectors of j.
#[inline(always)]
pub(super) fn weights<I: Isa, T: Real, const R: usize, const V: usize>(
    tile: Tile,
    v1: &[T],
    v2t: &[T],
    dout_t: &[T],
    dalpha: &mut [T],
) {
    let Tile { n, d_head, dp, columns, .. } = tile;
    let lanes = T::Lanes::<I>::LANES;
    tile.check(R, &[dalpha], &[v1], &[v2t]);
    assert!(V * lanes <= columns && dout_t.len() >= R * dp * columns);
    let (v1, v2t, dout_t, dalpha) = (v1.as_ptr(), v2t.as_ptr(), dout_t.as_ptr(), dalpha.as_mut_ptr());
    let load = T::Lanes::<I>::load_at;
    for l in 0..n {
        let mut sums = [[T::Lanes::<I>::splat(T::ZERO); V]; R];
        // SAFETY: l < n, c < dp, r < R and whole vectors within `columns`: inside the arrays, checked above.
        unsafe {
            for c in 0..d_head {
                let second: [_; V] =
                    std::array::from_fn(|v| load(v2t.add((l * dp + c) * columns + v * lanes)));
                for r in 0..R {
                    let first = T::Lanes::<I>::splat(*v1.add((r * n + l) * dp + c));
                    for v in 0..V {
                        let dout = load(dout_t.add((r * dp + c) * columns + v * lanes));
                        sums[r][v] = first.mul(dout).mul_add(second[v], sums[r][v]);
                    }
                }
            }
            for (r, v) in (0..R).flat_map(|r| (0..V).map(move |v| (r, v))) {
                sums[r][v].store_at(dalpha.add((r * n + l) * columns + v * lanes));
            }
        }
    }
}

/// Normalises alpha in place, and turns ds from dα into α(dα − Σ_l α dα).
#[inline(always)]
pub(super) fn normalise<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    inverse_sum: &[T],
    alpha: &mut [T],
    ds: &mut [T],
) {
    let Tile { n, columns, n_columns, .. } = tile;
    let load = T::Lanes::<I>::load;
    for (r, j) in (0..R).flat_map(|r| (0..n_columns).step_by(T::Lanes::<I>::LANES).map(move |j| (r, j))) {
        let inverse_sum = load(&inverse_sum[r * columns + j..]);
        let mut mean = T::Lanes::<I>::splat(T::ZERO);
        for l in 0..n {
            let at = (r * n + l) * columns + j;
            let normalised = load(&alpha[at..]).mul(inverse_sum);
            normalised.store(&mut alpha[at..]);
            mean = normalised.mul_add(load(&ds[at..]), mean);
        }
        for l in 0..n {
            let at = (r * n + l) * columns + j;
            load(&alpha[at..]).mul(load(&ds[at..]).sub(mean)).store(&mut ds[at..]);
        }
    }
}

/// With channels along vector lanes, for all `R` rows at once:
/// dq\[r,l\] += Σ_j ds·k\[l,j\],  dv1\[r,l\] += Σ_j α·dout\[r,j\]⊙v2\[l,j\],
/// dk\[l,j\] += Σ_r ds·q\[r,l\],  dv2\[l,j\] += Σ_r α·dout\[r,j\]⊙v1\[r,l\].
#[inline(always)]
pub(super) fn products<I: Isa, T: Real, const R: usize>(
    tile: Tile,
    [alpha, ds]: [&[T]; 2],
    [q, v1, k, v2, dout]: [&[T]; 5],
    [dq, dv1, dk, dv2]: [&mut [T]; 4],
) {
    let Tile { n, d_head, dp, columns, n_columns } = tile;
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    tile.check(R, &[alpha, ds], &[q, v1, dq, dv1], &[k, v2, dk, dv2]);
    assert!(dout.len() >= R * columns * dp);
    let [alpha, ds, q, v1, k, v2, dout] = [alpha, ds, q, v1, k, v2, dout].map(<[T]>::as_ptr);
    let [dq, dv1, dk, dv2] = [dq, dv1, dk, dv2].map(<[T]>::as_mut_ptr);
    let load = T::Lanes::<I>::load_at;
    for (l, c) in (0..n).flat_map(|l| (0..d_head).step_by(lanes).map(move |c| (l, c))) {
        let at = |r: usize| (r * n + l) * dp + c;
        // SAFETY: l < n, r < R, j < columns, a whole vector of channels below dp: inside the arrays, checked above.
        unsafe {
            let query: [_; R] = std::array::from_fn(|r| load(q.add(at(r))));
            let first: [_; R] = std::array::from_fn(|r| load(v1.add(at(r))));
            let mut sum_q: [_; R] = std::array::from_fn(|r| load(dq.add(at(r))));
            let mut sum_v1: [_; R] = std::array::from_fn(|r| load(dv1.add(at(r))));
            for j in 0..n_columns {
                let pair = (l * columns + j) * dp + c;
                let (key, second) = (load(k.add(pair)), load(v2.add(pair)));
                let (mut sum_k, mut sum_v2) = (load(dk.add(pair)), load(dv2.add(pair)));
                for r in 0..R {
                    let weight = (r * n + l) * columns + j;
                    let ds = splat(*ds.add(weight));
                    let weighted = splat(*alpha.add(weight)).mul(load(dout.add((r * columns + j) * dp + c)));
                    sum_v1[r] = weighted.mul_add(second, sum_v1[r]);
                    sum_v2 = weighted.mul_add(first[r], sum_v2);
                    sum_q[r] = ds.mul_add(key, sum_q[r]);
                    sum_k = ds.mul_add(query[r], sum_k);
                }
                sum_k.store_at(dk.add(pair));
                sum_v2.store_at(dv2.add(pair));
            }
            for r in 0..R {
                sum_q[r].store_at(dq.add(at(r)));
                sum_v1[r].store_at(dv1.add(at(r)));
            }
        }
    }
}
