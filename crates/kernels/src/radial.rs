//! Radial basis: normalised Gaussians of an affinely mapped distance.
//!
//!   G_k(r) = exp(−½ ((a·r + b − μ_k)/σ_k)²) / (√(2π) σ_k),   σ_k = |s_k| + 0.01
//!
//! | symbol | meaning | unit |
//! |---|---|---|
//! | r | distance | Bohr |
//! | a, b | map of the distance, fixed | 1/Bohr, 1 |
//! | μ_k, s_k | centre and signed width of Gaussian k, learned | 1 |
//!
//! π is 3.14159 here, as in the authors' model.

use crate::isa::dispatched;
use crate::real::exp;

/// Parameters of the basis: centres μ and signed widths s, one of each per Gaussian, and the map a·r + b.
#[derive(Debug, Clone, Copy)]
pub struct RadialBasis<'a, T> {
    /// μ_k.
    pub centres: &'a [T],
    /// s_k.
    pub widths: &'a [T],
    /// a.
    pub slope: f64,
    /// b.
    pub offset: f64,
}

const SMALLEST_WIDTH: f64 = 1e-2;
#[allow(clippy::approx_constant)] // the authors' value, not a mistake
const TWO_PI: f64 = 2.0 * 3.14159;

dispatched! {
    /// features\[pairs, n_gaussians\] of distances\[pairs\] in Bohr.
    pub fn radial_features<I: Isa, T: Real>(distances: &[f64], basis: RadialBasis<'_, T>, features: &mut [T]) {
        let n = basis.centres.len();
        let root = T::from_f64(TWO_PI.sqrt());
        for (&distance, row) in distances.iter().zip(features.chunks_exact_mut(n)) {
            let x = T::from_f64(basis.slope * distance + basis.offset);
            for k in 0..n {
                let sigma = basis.widths[k].abs() + T::from_f64(SMALLEST_WIDTH);
                let u = (x - basis.centres[k]) / sigma;
                row[k] = exp::<I, T>(T::from_f64(-0.5) * u * u) / (root * sigma);
            }
        }
    }
}

dispatched! {
    /// From features and dfeatures: ddistances\[pairs\], and the gradients of μ and s, which are added to.
    pub fn radial_backward<I: Isa, T: Real>(
        distances: &[f64], basis: RadialBasis<'_, T>, features: &[T], dfeatures: &[T],
        ddistances: &mut [f64], dcentres: &mut [T], dwidths: &mut [T],
    ) {
        let n = basis.centres.len();
        let rows = features.chunks_exact(n).zip(dfeatures.chunks_exact(n));
        for (pair, (row, drow)) in rows.enumerate() {
            let x = T::from_f64(basis.slope * distances[pair] + basis.offset);
            let mut along_x = T::ZERO;
            for k in 0..n {
                let sigma = basis.widths[k].abs() + T::from_f64(SMALLEST_WIDTH);
                let u = (x - basis.centres[k]) / sigma;
                // ∂G/∂x = −G u/σ = −∂G/∂μ;  ∂G/∂σ = G (u² − 1)/σ.
                let weight = drow[k] * row[k] / sigma;
                let slope = weight * u;
                along_x -= slope;
                dcentres[k] += slope;
                let sign = if basis.widths[k] < T::ZERO { -T::ONE } else { T::ONE };
                dwidths[k] = I::mul_add(sign * weight, I::mul_add(u, u, -T::ONE), dwidths[k]);
            }
            ddistances[pair] = basis.slope * along_x.to_f64();
        }
    }
}
