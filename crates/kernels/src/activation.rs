//! Biases, GELU (exact: x·Φ(x)) and ReLU, row by row, with their gradients.

use crate::isa::dispatched;
use crate::normal::{normal_cdf, normal_density};

dispatched! {
    /// h\[rows, width\] += bias\[width\]; y = GELU(h). h is kept: the backward pass needs it.
    pub fn bias_gelu<I: Isa, T: Real>(h: &mut [T], bias: &[T], y: &mut [T]) {
        let width = bias.len();
        for (h, y) in h.chunks_exact_mut(width).zip(y.chunks_exact_mut(width)) {
            for c in 0..width {
                let x = h[c] + bias[c];
                h[c] = x;
                y[c] = x * normal_cdf::<I, T>(x);
            }
        }
    }
}

dispatched! {
    /// h\[rows, width\] = GELU(h + bias\[width\]), with the bits of [`bias_gelu`].
    pub fn bias_gelu_in_place<I: Isa, T: Real>(h: &mut [T], bias: &[T]) {
        for h in h.chunks_exact_mut(bias.len()) {
            for (h, &bias) in h.iter_mut().zip(bias) {
                let x = *h + bias;
                *h = x * normal_cdf::<I, T>(x);
            }
        }
    }
}

dispatched! {
    /// dy becomes dh = dy·(Φ(h) + h·φ(h)), and y becomes GELU(h) again, which the weight gradient needs.
    pub fn gelu_backward<I: Isa, T: Real>(h: &[T], dy: &mut [T], y: &mut [T]) {
        for ((&x, dy), y) in h.iter().zip(dy).zip(y) {
            let (cdf, density) = (normal_cdf::<I, T>(x), normal_density::<I, T>(x));
            *y = x * cdf;
            *dy *= I::mul_add(x, density, cdf);
        }
    }
}

dispatched! {
    /// h\[rows, width\] = max(h + bias, 0). NaN stays NaN.
    pub fn bias_relu<I: Isa, T: Real>(h: &mut [T], bias: &[T]) {
        for h in h.chunks_exact_mut(bias.len()) {
            for (h, &b) in h.iter_mut().zip(bias) {
                let x = *h + b;
                *h = if x < T::ZERO { T::ZERO } else { x };
            }
        }
    }
}

dispatched! {
    /// dy becomes 0 where the ReLU's output y is 0.
    pub fn relu_backward<I: Isa, T: Real>(y: &[T], dy: &mut [T]) {
        for (&y, dy) in y.iter().zip(dy) {
            *dy = if y > T::ZERO { *dy } else { T::ZERO };
        }
    }
}

dispatched! {
    /// y\[rows, width\] += bias\[width\].
    pub fn add_bias<I: Isa, T: Real>(y: &mut [T], bias: &[T]) {
        for y in y.chunks_exact_mut(bias.len()) {
            for (y, &b) in y.iter_mut().zip(bias) {
                *y += b;
            }
        }
    }
}

dispatched! {
    /// dbias\[width\] += Σ over rows of dy\[rows, width\].
    pub fn add_column_sums<I: Isa, T: Real>(dy: &[T], dbias: &mut [T]) {
        for dy in dy.chunks_exact(dbias.len()) {
            for (b, &dy) in dbias.iter_mut().zip(dy) {
                *b += dy;
            }
        }
    }
}
