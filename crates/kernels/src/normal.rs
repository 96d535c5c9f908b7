//! The standard normal distribution Φ, which GELU weighs its argument with.
//!
//!   Φ(x) = ½ + x·R(x²) on |x| ≤ X, and Φ(±X) beyond, where it is 0 or 1 but for less than the error
//!
//! R is a polynomial in f32 and a quotient of two in f64: neither needs an exponential nor a choice of branch, so that a
//! loop over them is short vector code. Coefficients: minimax (Remez exchange) in 60-digit arithmetic. By exp(−z²) and a
//! polynomial in 1/(1 + 0.4 z), GELU takes 1.6 (f64) to 1.8 times as long, in a tuning run on one machine.

use crate::isa::Isa;
use crate::real::{Real, exp, polynomial};

/// What Φ needs of a float.
#[doc(hidden)]
pub trait Normal: Sized {
    /// X.
    const FURTHEST: Self;
    /// R of x² ≤ X².
    fn slope<I: Isa>(square: Self) -> Self;
}

/// Φ(x); absolute error under 2.5·10⁻⁷ (f32), 6·10⁻¹⁶ (f64). NaN stays NaN.
#[inline(always)]
pub(crate) fn normal_cdf<I: Isa, T: Real>(x: T) -> T {
    let x = if x < -T::FURTHEST { -T::FURTHEST } else { x };
    let x = if x > T::FURTHEST { T::FURTHEST } else { x };
    I::mul_add(x, T::slope::<I>(x * x), T::from_f64(0.5))
}

/// φ(x) = exp(−x²/2)/√(2π).
#[inline(always)]
pub(crate) fn normal_density<I: Isa, T: Real>(x: T) -> T {
    exp::<I, T>(T::from_f64(-0.5) * x * x) * T::from_f64(0.398_942_280_401_432_7)
}

#[allow(clippy::excessive_precision)]
impl Normal for f32 {
    const FURTHEST: f32 = 5.4;
    #[inline(always)]
    fn slope<I: Isa>(square: f32) -> f32 {
        /// Ascending powers of 2x²/X² − 1.
        const SLOPE: [f32; 15] = [
            0.130928112641,
            -0.0653280551239,
            0.0484995913579,
            -0.0392068079374,
            0.0321165966967,
            -0.0257464935922,
            0.0196451404434,
            -0.0139632001688,
            0.00965118981899,
            -0.00671553689034,
            0.00365895638977,
            -0.00118624987929,
            0.000874890875088,
            -0.00102841918536,
            0.000392876082987,
        ];
        polynomial::<I, f32>(&SLOPE, I::mul_add(square, 2.0 / (5.4 * 5.4), -1.0))
    }
}

#[allow(clippy::excessive_precision)]
impl Normal for f64 {
    const FURTHEST: f64 = 8.3;
    #[inline(always)]
    fn slope<I: Isa>(square: f64) -> f64 {
        /// Ascending powers of x², none negative: sums lose nothing.
        const NUMERATOR: [f64; 13] = [
            0.3989422804014325803,
            0.03880834845707683467,
            0.005834924217357050205,
            0.0003029930289774866125,
            0.00001884601147606529617,
            6.252236292913582865e-7,
            2.145490972343410102e-8,
            4.651505488744527392e-10,
            9.30686401351977555e-12,
            1.184043752091092574e-13,
            1.160854296924293564e-15,
            3.922850117852164037e-18,
            1.397539172477072288e-21,
        ];
        /// The same.
        const DENOMINATOR: [f64; 13] = [
            1.0,
            0.263944770200904062,
            0.03361678105705731418,
            0.002739858957426162444,
            0.0001596616378777319924,
            7.032280240250539416e-6,
            2.409044133158007489e-7,
            6.488705429870653096e-9,
            1.366591220346859912e-10,
            2.18947778013743827e-12,
            2.492113405813339523e-14,
            1.644158044522174414e-16,
            2.216303916283081618e-19,
        ];
        polynomial::<I, f64>(&NUMERATOR, square) / polynomial::<I, f64>(&DENOMINATOR, square)
    }
}

#[cfg(test)]
mod tests {
    //! The twin is `libm` in f64.
    use super::*;
    use crate::isa::{Fused, Separate};

    fn check<I: Isa, T: Real>(cdf_bound: f64, density_bound: f64) {
        let points = (0..=400_000).map(|i| T::from_f64(-40.0 + 80.0 * i as f64 / 400_000.0));
        for x in points {
            let at = x.to_f64();
            // Φ by erfc is exact to the last digits on either side.
            let cdf = 0.5 * libm::erfc(-at / std::f64::consts::SQRT_2);
            let error = (normal_cdf::<I, T>(x).to_f64() - cdf).abs();
            assert!(error < cdf_bound, "Φ({at}): {error:e}");
            let density = libm::exp(-0.5 * at * at) / (2.0 * std::f64::consts::PI).sqrt();
            let error = (normal_density::<I, T>(x).to_f64() - density).abs();
            assert!(error < density_bound, "φ({at}): {error:e}");
        }
    }

    #[test]
    fn the_normal_distribution_stays_within_its_documented_error() {
        // The density's argument is rounded once more than its exponential's error counts.
        check::<Fused, f32>(2.5e-7, 2.5e-7);
        check::<Fused, f64>(6e-16, 6e-16);
        check::<Separate, f32>(2.5e-7, 3.5e-7);
        check::<Separate, f64>(6e-16, 6e-16);
    }

    #[test]
    fn the_normal_distribution_keeps_nan_and_ends_at_zero_and_one() {
        fn ends<T: Real>(bound: f64) {
            let infinite = T::from_f64(f64::INFINITY);
            assert!(normal_cdf::<Fused, T>(T::from_f64(f64::NAN)).to_f64().is_nan());
            assert!(normal_cdf::<Fused, T>(-infinite).to_f64().abs() < bound);
            assert!((normal_cdf::<Fused, T>(infinite).to_f64() - 1.0).abs() < bound);
        }
        ends::<f32>(2.5e-7);
        ends::<f64>(6e-16);
    }
}
