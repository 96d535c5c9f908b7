//! Layer normalisation over the last axis: y = (x − mean)/√(variance + ε)·γ + β, and its gradient.
//!
//! The backward pass recomputes mean and variance from x, which costs less than the memory to keep them.

use crate::isa::{Isa, dispatched};
use crate::{LANES, Real};

/// ε under the root, as in the authors' model.
const EPSILON: f64 = 1e-5;

dispatched! {
    /// y\[rows, width\] = LN(x) with scale γ\[width\] and shift β\[width\].
    pub fn layer_norm<I: Isa, T: Real>(x: &[T], scale: &[T], shift: &[T], y: &mut [T]) {
        let width = scale.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            normalise::<I, T>(x, scale, shift, y);
        }
    }
}

dispatched! {
    /// sum\[rows, width\] = x + y (+ bias\[width\], if not empty), and out = LN(sum).
    pub fn add_layer_norm<I: Isa, T: Real>(
        x: &[T], y: &[T], bias: &[T], scale: &[T], shift: &[T], sum: &mut [T], out: &mut [T],
    ) {
        let width = scale.len();
        let rows = x.chunks_exact(width).zip(y.chunks_exact(width));
        let outputs = sum.chunks_exact_mut(width).zip(out.chunks_exact_mut(width));
        for ((x, y), (sum, out)) in rows.zip(outputs) {
            for c in 0..width {
                sum[c] = x[c] + y[c];
            }
            for (s, &b) in sum.iter_mut().zip(bias) {
                *s += b;
            }
            normalise::<I, T>(sum, scale, shift, out);
        }
    }
}

dispatched! {
    /// Gradient of `layer_norm`: dx from dy\[rows, width\], or dx + its old value with `ADD`ition by the caller's
    /// choice of `residual` (the gradient that reaches x past the norm; empty for none). dγ and dβ are added to.
    pub fn layer_norm_backward<I: Isa, T: Real>(
        x: &[T], scale: &[T], dy: &[T], residual: &[T], dx: &mut [T], dscale: &mut [T], dshift: &mut [T],
    ) {
        let width = scale.len();
        for (row, (x, dy)) in x.chunks_exact(width).zip(dy.chunks_exact(width)).enumerate() {
            let dx = &mut dx[row * width..(row + 1) * width];
            let (mean, inverse_deviation) = moments::<I, T>(x);
            // With h = (x − mean)/deviation and g = dy·γ:  dx = (g − ⟨g⟩ − h⟨g·h⟩)/deviation.
            for c in 0..width {
                let h = (x[c] - mean) * inverse_deviation;
                dscale[c] = I::mul_add(dy[c], h, dscale[c]);
                dshift[c] += dy[c];
                dx[c] = dy[c] * scale[c];
            }
            let mean_g = sum::<T>(dx) / T::from_f64(width as f64);
            let mean_gh = covariance::<I, T>(dx, x, mean) * inverse_deviation / T::from_f64(width as f64);
            for c in 0..width {
                let h = (x[c] - mean) * inverse_deviation;
                dx[c] = (dx[c] - mean_g - h * mean_gh) * inverse_deviation;
            }
            if !residual.is_empty() {
                for (d, &r) in dx.iter_mut().zip(&residual[row * width..(row + 1) * width]) {
                    *d += r;
                }
            }
        }
    }
}

#[inline(always)]
fn normalise<I: Isa, T: Real>(x: &[T], scale: &[T], shift: &[T], y: &mut [T]) {
    let (mean, inverse_deviation) = moments::<I, T>(x);
    for c in 0..scale.len() {
        y[c] = I::mul_add((x[c] - mean) * inverse_deviation, scale[c], shift[c]);
    }
}

/// (mean, 1/√(variance + ε)) of one row.
#[inline(always)]
fn moments<I: Isa, T: Real>(x: &[T]) -> (T, T) {
    let count = T::from_f64(x.len() as f64);
    let mean = sum(x) / count;
    let mut parts = [T::ZERO; LANES];
    let chunks = x.chunks_exact(LANES);
    let mut rest = T::ZERO;
    for &value in chunks.remainder() {
        rest = I::mul_add(value - mean, value - mean, rest);
    }
    for chunk in chunks {
        for lane in 0..LANES {
            let deviation = chunk[lane] - mean;
            parts[lane] = I::mul_add(deviation, deviation, parts[lane]);
        }
    }
    let variance = (fold(parts) + rest) / count;
    (mean, T::ONE / (variance + T::from_f64(EPSILON)).sqrt())
}

/// Σ x.
#[inline(always)]
fn sum<T: Real>(x: &[T]) -> T {
    let mut parts = [T::ZERO; LANES];
    let chunks = x.chunks_exact(LANES);
    let mut rest = T::ZERO;
    for &value in chunks.remainder() {
        rest += value;
    }
    for chunk in chunks {
        for lane in 0..LANES {
            parts[lane] += chunk[lane];
        }
    }
    fold(parts) + rest
}

/// Σ g·(x − mean).
#[inline(always)]
fn covariance<I: Isa, T: Real>(g: &[T], x: &[T], mean: T) -> T {
    let mut parts = [T::ZERO; LANES];
    let (g_chunks, x_chunks) = (g.chunks_exact(LANES), x.chunks_exact(LANES));
    let mut rest = T::ZERO;
    for (&g, &x) in g_chunks.remainder().iter().zip(x_chunks.remainder()) {
        rest = I::mul_add(g, x - mean, rest);
    }
    for (g, x) in g_chunks.zip(x_chunks) {
        for lane in 0..LANES {
            parts[lane] = I::mul_add(g[lane], x[lane] - mean, parts[lane]);
        }
    }
    fold(parts) + rest
}

/// Σ of the lanes, pairwise.
#[inline(always)]
fn fold<T: Real>(p: [T; LANES]) -> T {
    ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]))
}
