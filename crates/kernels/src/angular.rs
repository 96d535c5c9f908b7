//! Fourier features of a direction: sin and cos of many frequencies times azimuth and polar angle.
//!
//!   feature order per pair: sin(ω_a az), cos(ω_a az), sin(ω_p pol), cos(ω_p pol)
//!
//! Phases are formed and reduced in f64: the frequencies reach 3·10⁴ rad⁻¹, where f32 would turn rounding of the
//! angle into noise of the feature.

use crate::isa::dispatched;
use crate::real::sin_cos;

dispatched! {
    /// features\[pairs, 4·n_frequencies\] from angles\[pairs\] = (azimuth, polar) in rad.
    pub fn angular_features<I: Isa, T: Real>(
        angles: &[[f64; 2]], azimuthal: &[f64], polar: &[f64], features: &mut [T],
    ) {
        let n = azimuthal.len();
        for (angles, row) in angles.iter().zip(features.chunks_exact_mut(4 * n)) {
            for (half, (angle, frequencies)) in row.chunks_exact_mut(2 * n).zip(angles.iter().zip([azimuthal, polar])) {
                let (sines, cosines) = half.split_at_mut(n);
                for f in 0..n {
                    (sines[f], cosines[f]) = sin_cos::<I, T>(frequencies[f] * angle);
                }
            }
        }
    }
}

dispatched! {
    /// dangles\[pairs\] = gradient with respect to (azimuth, polar), from the features and their gradient.
    pub fn angular_backward<I: Isa, T: Real>(
        features: &[T], dfeatures: &[T], azimuthal: &[f64], polar: &[f64], dangles: &mut [[f64; 2]],
    ) {
        let n = azimuthal.len();
        let rows = features.chunks_exact(4 * n).zip(dfeatures.chunks_exact(4 * n));
        for ((row, drow), dangles) in rows.zip(dangles) {
            for (axis, frequencies) in [azimuthal, polar].into_iter().enumerate() {
                let (at_sin, at_cos) = (2 * axis * n, (2 * axis + 1) * n);
                let mut sum = 0.0;
                for f in 0..n {
                    let slope = drow[at_sin + f].to_f64() * row[at_cos + f].to_f64()
                        - drow[at_cos + f].to_f64() * row[at_sin + f].to_f64();
                    sum = I::mul_add(frequencies[f], slope, sum);
                }
                dangles[axis] = sum;
            }
        }
    }
}
