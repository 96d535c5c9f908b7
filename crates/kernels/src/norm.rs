//! Layer normalisation over the last axis: y = (x − mean)/√(variance + ε)·γ + β, and its gradient.
//!
//! The backward pass recomputes mean and variance from x, which costs less than the memory to keep them.

use crate::Real;
use crate::isa::{Isa, dispatched};
use crate::vector::Vector;

/// ε under the root, as in the authors' model.
const EPSILON: f64 = 1e-5;

/// Rows that are computed together: the mean and the deviation of one wait for its sums, and for a division and a root.
/// Asking for the rows that follow made no difference to a forward pass on 42 atoms, in a tuning run on one machine.
const ROWS: usize = 4;

dispatched! {
    /// y\[rows, width\] = LN(x) with scale γ\[width\] and shift β\[width\].
    pub fn layer_norm<I: Isa, T: Real>(x: &[T], scale: &[T], shift: &[T], y: &mut [T]) {
        let width = scale.len();
        for (x, y) in x.chunks(ROWS * width).zip(y.chunks_mut(ROWS * width)) {
            normalise::<I, T>(x, scale, shift, y);
        }
    }
}

dispatched! {
    /// sum\[rows, width\] += x (+ bias\[width\], if not empty), and out = LN(sum).
    pub fn add_layer_norm<I: Isa, T: Real>(
        x: &[T], bias: &[T], scale: &[T], shift: &[T], sum: &mut [T], out: &mut [T],
    ) {
        let width = scale.len();
        let outputs = sum.chunks_mut(ROWS * width).zip(out.chunks_mut(ROWS * width));
        for (x, (sum, out)) in x.chunks(ROWS * width).zip(outputs) {
            add(x, bias, sum);
            normalise::<I, T>(sum, scale, shift, out);
        }
    }
}

dispatched! {
    /// sum\[rows, width\] = LN(sum + x (+ bias\[width\], if not empty)), with the bits of [`add_layer_norm`].
    pub fn add_layer_norm_in_place<I: Isa, T: Real>(
        x: &[T], bias: &[T], scale: &[T], shift: &[T], sum: &mut [T],
    ) {
        let width = scale.len();
        for (x, sum) in x.chunks(ROWS * width).zip(sum.chunks_mut(ROWS * width)) {
            add(x, bias, sum);
            let rows = all_moments::<I, T>(sum, width);
            for (sum, (mean, inverse_deviation)) in sum.chunks_exact_mut(width).zip(rows) {
                for (sum, (&scale, &shift)) in sum.iter_mut().zip(scale.iter().zip(shift)) {
                    *sum = I::mul_add((*sum - mean) * inverse_deviation, scale, shift);
                }
            }
        }
    }
}

/// sum += x (+ bias of each row, if not empty).
#[inline(always)]
fn add<T: Real>(x: &[T], bias: &[T], sum: &mut [T]) {
    if bias.is_empty() {
        for (sum, &x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
        return;
    }
    for (sum, x) in sum.chunks_exact_mut(bias.len()).zip(x.chunks_exact(bias.len())) {
        for (sum, (&x, &bias)) in sum.iter_mut().zip(x.iter().zip(bias)) {
            *sum = *sum + x + bias;
        }
    }
}

dispatched! {
    /// Gradient of `layer_norm`: dx from dy\[rows, width\], plus `residual`\[rows, width\] (the gradient that reaches
    /// x past the norm; empty for none). dγ and dβ are added to, loaded and stored once for several rows.
    pub fn layer_norm_backward<I: Isa, T: Real>(
        x: &[T], scale: &[T], dy: &[T], residual: &[T], dx: &mut [T], dscale: &mut [T], dshift: &mut [T],
    ) {
        let width = scale.len();
        assert!(dy.len() == x.len() && dx.len() == x.len() && (residual.is_empty() || residual.len() == x.len()));
        assert!(dscale.len() == width && dshift.len() == width);
        let n_rows = x.len() / width;
        let mut row = 0;
        while row < n_rows {
            let n = if n_rows - row >= ROWS { ROWS } else { 1 };
            let own = row * width..(row + n) * width;
            let residual = if residual.is_empty() { residual } else { &residual[own.clone()] };
            let given = [&x[own.clone()], &dy[own.clone()], residual, scale];
            let gradients = [&mut dx[own], &mut *dscale, &mut *dshift];
            match n {
                ROWS => rows_backward::<I, T, ROWS>(given, gradients),
                _ => rows_backward::<I, T, 1>(given, gradients),
            }
            row += n;
        }
    }
}

/// `R` rows of [`layer_norm_backward`]. With h = (x − mean)/deviation and g = dy·γ:
/// dx = (g − ⟨g⟩ − h⟨g·h⟩)/deviation.
#[inline(always)]
fn rows_backward<I: Isa, T: Real, const R: usize>(
    [x, dy, residual, scale]: [&[T]; 4],
    [dx, dscale, dshift]: [&mut [T]; 3],
) {
    let (lanes, splat, width) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat, scale.len());
    let load = |slice: &[T], at: usize| T::Lanes::<I>::load(&slice[at..]);
    let whole = width / lanes * lanes;
    let (mut moments, mut means) = ([(T::ZERO, T::ZERO); R], [(T::ZERO, T::ZERO); R]);
    for r in 0..R {
        let (x, dy) = (&x[r * width..(r + 1) * width], &dy[r * width..(r + 1) * width]);
        moments[r] = self::moments::<I, T>(x);
        means[r] = gradient_means::<I, T>(x, dy, scale, moments[r]);
    }
    for c in (0..whole).step_by(lanes) {
        let scale = load(scale, c);
        let (mut of_scale, mut of_shift) = (load(dscale, c), load(dshift, c));
        for r in 0..R {
            let ((mean, inverse_deviation), (mean_g, mean_gh)) = (moments[r], means[r]);
            let dy = load(dy, r * width + c);
            let h = load(x, r * width + c).sub(splat(mean)).mul(splat(inverse_deviation));
            of_scale = dy.mul_add(h, of_scale);
            of_shift = of_shift.add(dy);
            let g = dy.mul(scale).sub(splat(mean_g));
            let mut d = h.mul_add(splat(-mean_gh), g).mul(splat(inverse_deviation));
            if !residual.is_empty() {
                d = d.add(load(residual, r * width + c));
            }
            d.store(&mut dx[r * width + c..]);
        }
        of_scale.store(&mut dscale[c..]);
        of_shift.store(&mut dshift[c..]);
    }
    for (r, c) in (0..R).flat_map(|r| (whole..width).map(move |c| (r, c))) {
        let ((mean, inverse_deviation), (mean_g, mean_gh)) = (moments[r], means[r]);
        let at = r * width + c;
        let h = (x[at] - mean) * inverse_deviation;
        dscale[c] = I::mul_add(dy[at], h, dscale[c]);
        dshift[c] += dy[at];
        let d = I::mul_add(h, -mean_gh, dy[at] * scale[c] - mean_g) * inverse_deviation;
        dx[at] = if residual.is_empty() { d } else { d + residual[at] };
    }
}

/// (⟨g⟩, ⟨g·h⟩) of one row.
#[inline(always)]
fn gradient_means<I: Isa, T: Real>(
    x: &[T],
    dy: &[T],
    scale: &[T],
    (mean, inverse_deviation): (T, T),
) -> (T, T) {
    let (lanes, splat) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat);
    let whole = x.len() / lanes * lanes;
    let (mut sum_g, mut sum_gx) = (splat(T::ZERO), splat(T::ZERO));
    for c in (0..whole).step_by(lanes) {
        let g = T::Lanes::<I>::load(&dy[c..]).mul(T::Lanes::<I>::load(&scale[c..]));
        sum_g = sum_g.add(g);
        sum_gx = g.mul_add(T::Lanes::<I>::load(&x[c..]).sub(splat(mean)), sum_gx);
    }
    let (mut sum_g, mut sum_gx) = (sum_g.sum(), sum_gx.sum());
    for c in whole..x.len() {
        let g = dy[c] * scale[c];
        sum_g += g;
        sum_gx = I::mul_add(g, x[c] - mean, sum_gx);
    }
    let count = T::from_f64(x.len() as f64);
    (sum_g / count, sum_gx * inverse_deviation / count)
}

/// [`layer_norm`] of up to `ROWS` rows.
#[inline(always)]
fn normalise<I: Isa, T: Real>(x: &[T], scale: &[T], shift: &[T], y: &mut [T]) {
    let width = scale.len();
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
    for ((x, y), (mean, inverse_deviation)) in rows.zip(all_moments::<I, T>(x, width)) {
        for ((y, &x), (&scale, &shift)) in y.iter_mut().zip(x).zip(scale.iter().zip(shift)) {
            *y = I::mul_add((x - mean) * inverse_deviation, scale, shift);
        }
    }
}

/// [`moments`] of up to `ROWS` rows.
#[inline(always)]
fn all_moments<I: Isa, T: Real>(x: &[T], width: usize) -> [(T, T); ROWS] {
    let mut all = [(T::ZERO, T::ZERO); ROWS];
    for (x, moments) in x.chunks_exact(width).zip(&mut all) {
        *moments = self::moments::<I, T>(x);
    }
    all
}

/// (mean, 1/√(variance + ε)) of one row.
#[inline(always)]
fn moments<I: Isa, T: Real>(x: &[T]) -> (T, T) {
    let count = T::from_f64(x.len() as f64);
    let mean = sum::<I, T>(x) / count;
    (mean, T::ONE / (squares::<I, T>(x, mean) / count + T::from_f64(EPSILON)).sqrt())
}

/// Sums that a row is added up in side by side: one would wait for itself.
const CHAINS: usize = 4;

/// Σ x.
#[inline(always)]
fn sum<I: Isa, T: Real>(x: &[T]) -> T {
    let lanes = T::Lanes::<I>::LANES;
    let mut sums = [T::Lanes::<I>::splat(T::ZERO); CHAINS];
    let mut c = 0;
    while c + CHAINS * lanes <= x.len() {
        for v in 0..CHAINS {
            sums[v] = sums[v].add(T::Lanes::<I>::load(&x[c + v * lanes..]));
        }
        c += CHAINS * lanes;
    }
    while c + lanes <= x.len() {
        sums[0] = sums[0].add(T::Lanes::<I>::load(&x[c..]));
        c += lanes;
    }
    let mut sum = sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum();
    for &x in &x[c..] {
        sum += x;
    }
    sum
}

/// Σ (x − mean)².
#[inline(always)]
fn squares<I: Isa, T: Real>(x: &[T], mean: T) -> T {
    let (lanes, means) = (T::Lanes::<I>::LANES, T::Lanes::<I>::splat(mean));
    let mut sums = [T::Lanes::<I>::splat(T::ZERO); CHAINS];
    let mut c = 0;
    while c + CHAINS * lanes <= x.len() {
        for v in 0..CHAINS {
            let deviation = T::Lanes::<I>::load(&x[c + v * lanes..]).sub(means);
            sums[v] = deviation.mul_add(deviation, sums[v]);
        }
        c += CHAINS * lanes;
    }
    while c + lanes <= x.len() {
        let deviation = T::Lanes::<I>::load(&x[c..]).sub(means);
        sums[0] = deviation.mul_add(deviation, sums[0]);
        c += lanes;
    }
    let mut sum = sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum();
    for &x in &x[c..] {
        sum = I::mul_add(x - mean, x - mean, sum);
    }
    sum
}
