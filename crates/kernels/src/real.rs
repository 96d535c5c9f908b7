//! `Real`: the float the kernels are generic over (f32 and f64), with vectorisable exp, sin and cos.
//!
//! The functions are branch-free polynomials, so that a loop over them becomes vector code. Coefficients: Chebyshev
//! interpolation in 60-digit arithmetic. Bounds are tested over the range against `libm` in f64.

use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Backend, backend};
use crate::vector::Vector;
#[cfg(target_arch = "x86_64")]
use gemm_common::gemm::gemm_basic_generic;
#[cfg(target_arch = "x86_64")]
use gemm_common::simd::{MixedSimd, V3};
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// f32 or f64.
pub trait Real:
    sealed::Sealed
    + crate::instances::Instances
    + crate::normal::Normal
    + Copy
    + Send
    + Sync
    + 'static
    + Debug
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The nearest value of this type.
    fn from_f32(value: f32) -> Self;
    /// The same value in f64.
    fn to_f64(self) -> f64;
    /// √self.
    fn sqrt(self) -> Self;
    /// |self|.
    fn abs(self) -> Self;
    /// Neither NaN nor infinite.
    fn is_finite(self) -> bool;
    /// self·b + c with one rounding.
    #[doc(hidden)]
    fn fused_mul_add(self, b: Self, c: Self) -> Self;
    /// 2ⁿ for the integer-valued `self` that was rounded by `round_shift`; see [`exp`].
    #[doc(hidden)]
    fn exp2_of_shifted(shifted: Self) -> Self;
    /// Constants of [`exp`]: lowest argument, shift that rounds to an integer, log₂e, ln 2 in two parts.
    #[doc(hidden)]
    const EXP: [Self; 5];
    /// exp on |r| ≤ ln 2 / 2, ascending powers.
    #[doc(hidden)]
    const EXP_POLY: &'static [Self];
    /// Constants of [`exp2_lanes`]: lowest argument, shift that rounds to an integer.
    #[doc(hidden)]
    const EXP2: [Self; 2];
    /// 2ʳ on |r| ≤ ½, ascending powers.
    #[doc(hidden)]
    const EXP2_POLY: &'static [Self];
    /// sin(r)/r on |r| ≤ π/4, ascending powers of r².
    #[doc(hidden)]
    const SIN_POLY: &'static [Self];
    /// cos(r) on |r| ≤ π/4, ascending powers of r².
    #[doc(hidden)]
    const COS_POLY: &'static [Self];
    /// The back end's vector of this type.
    #[doc(hidden)]
    type Lanes<I: Isa>: Vector<Self>;
    /// dst\[m, n\] = lhs\[m, k\] · rhs\[k, n\] by the `gemm` library, dst row-major; strides are (row, column) in elements.
    /// Where the back end is AVX2, so is the library's; else it takes what it finds.
    ///
    /// # Safety
    /// Every index reached through the strides lies inside its allocation, and dst overlaps neither operand.
    #[doc(hidden)]
    unsafe fn library_product(
        size: [usize; 3],
        dst: *mut Self,
        lhs: *const Self,
        lhs_strides: [isize; 2],
        rhs: *const Self,
        rhs_strides: [isize; 2],
    );
}

/// Σ coefficients\[p\]·x^p by Horner's rule.
#[inline(always)]
pub(crate) fn polynomial<I: Isa, T: Real>(coefficients: &[T], x: T) -> T {
    let mut sum = coefficients[coefficients.len() - 1];
    for &coefficient in coefficients[..coefficients.len() - 1].iter().rev() {
        sum = I::mul_add(sum, x, coefficient);
    }
    sum
}

/// eˣ for x ≤ 88 (f32) or 709 (f64); relative error under 2.5·10⁻⁷ (f32), 5·10⁻¹⁶ (f64).
///
/// Arguments under −60 (f32) or −600 (f64) give that argument's value, which is zero for every use here and far enough
/// from the smallest normal number that products with weights stay normal: others take many times as long. NaN stays
/// NaN.
#[inline(always)]
pub(crate) fn exp<I: Isa, T: Real>(x: T) -> T {
    let [lowest, shift, log2_e, ln2_high, ln2_low] = T::EXP;
    let x = if x < lowest { lowest } else { x };
    let shifted = I::mul_add(x, log2_e, shift);
    let n = shifted - shift;
    let r = I::mul_add(-n, ln2_low, I::mul_add(-n, ln2_high, x));
    polynomial::<I, T>(T::EXP_POLY, r) * T::exp2_of_shifted(shifted)
}

/// 2ˣ of every lane for x ≤ 20; relative error under 2.5·10⁻⁷ (f32), 5·10⁻¹⁶ (f64). NaN stays NaN.
///
/// Arguments under −86 (f32) or −865 (f64) give that argument's value, for [`exp`]'s reason. Vectors go through each step
/// together: a coefficient is loaded once, and no chain waits for itself.
#[inline(always)]
pub(crate) fn exp2_lanes<I: Isa, T: Real, const K: usize, const V: usize>(
    x: [[T::Lanes<I>; V]; K],
) -> [[T::Lanes<I>; V]; K] {
    let [lowest, shift] = T::EXP2.map(T::Lanes::<I>::splat);
    let last = T::Lanes::<I>::splat(T::EXP2_POLY[T::EXP2_POLY.len() - 1]);
    let (mut shifted, mut rest, mut sums) = (x, x, [[last; V]; K]);
    for k in 0..K {
        for v in 0..V {
            let x = x[k][v].at_least(lowest);
            shifted[k][v] = x.add(shift);
            rest[k][v] = x.sub(shifted[k][v].sub(shift));
        }
    }
    for &coefficient in T::EXP2_POLY[..T::EXP2_POLY.len() - 1].iter().rev() {
        let coefficient = T::Lanes::<I>::splat(coefficient);
        for k in 0..K {
            for v in 0..V {
                sums[k][v] = sums[k][v].mul_add(rest[k][v], coefficient);
            }
        }
    }
    for k in 0..K {
        for v in 0..V {
            sums[k][v] = sums[k][v].mul(shifted[k][v].exp2_of_shifted());
        }
    }
    sums
}

/// (sin, cos) of an f64 phase; absolute error under 10⁻⁷ (f32), 3·10⁻¹⁶ (f64) for |phase| ≤ 2·10⁵.
///
/// The phase is reduced modulo π/2 in f64 whatever T is: the model's phases reach 10⁵ rad.
#[inline(always)]
pub(crate) fn sin_cos<I: Isa, T: Real>(phase: f64) -> (T, T) {
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5·2⁵²: adding it rounds to an integer in the low bits
    const HALF_PI_HIGH: f64 = 1.570796325802803; // 27 bits, so that its multiples up to 2²⁶ are exact
    const HALF_PI_LOW: f64 = 9.920935796805404e-10;
    let shifted = I::mul_add(phase, std::f64::consts::FRAC_2_PI, ROUND);
    let quarter = shifted - ROUND;
    let r = I::mul_add(-quarter, HALF_PI_LOW, I::mul_add(-quarter, HALF_PI_HIGH, phase));
    let r = T::from_f64(r);
    let r2 = r * r;
    let sine = r * polynomial::<I, T>(T::SIN_POLY, r2);
    let cosine = polynomial::<I, T>(T::COS_POLY, r2);
    let quadrant = shifted.to_bits();
    let swap = quadrant & 1 == 1;
    let (s, c) = if swap { (cosine, sine) } else { (sine, cosine) };
    let s = if quadrant & 2 == 2 { -s } else { s };
    let c = if (quadrant + 1) & 2 == 2 { -c } else { c };
    (s, c)
}

macro_rules! float_methods {
    ($float:ident, $library:ident) => {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        #[inline(always)]
        fn from_f64(value: f64) -> Self {
            value as Self
        }
        #[inline(always)]
        fn from_f32(value: f32) -> Self {
            value as Self
        }
        #[inline(always)]
        fn to_f64(self) -> f64 {
            self as f64
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            <$float>::sqrt(self)
        }
        #[inline(always)]
        fn abs(self) -> Self {
            <$float>::abs(self)
        }
        #[inline(always)]
        fn is_finite(self) -> bool {
            <$float>::is_finite(self)
        }
        #[inline(always)]
        fn fused_mul_add(self, b: Self, c: Self) -> Self {
            <$float>::mul_add(self, b, c)
        }
        unsafe fn library_product(
            [m, n, k]: [usize; 3],
            dst: *mut Self,
            lhs: *const Self,
            [lhs_row, lhs_column]: [isize; 2],
            rhs: *const Self,
            [rhs_row, rhs_column]: [isize; 2],
        ) {
            let (row, none, one) = (n as isize, gemm::Parallelism::None, 1.0);
            // The library's own choice is AVX-512 where there is any. It is column-major: dstᵀ = rhsᵀ·lhsᵀ.
            #[cfg(target_arch = "x86_64")]
            if backend() == Backend::Avx2
                && let Some(simd) = <V3 as MixedSimd<Self, Self, Self, Self>>::try_new()
            {
                use $library::microkernel::fma::$float::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
                const LANES: usize = 32 / size_of::<$float>();
                let (lhs, rhs) = ((rhs, rhs_row, rhs_column), (lhs, lhs_row, lhs_column));
                // SAFETY: forwarded from the caller; `simd` says that the processor has AVX2 and FMA.
                unsafe {
                    gemm_basic_generic::<_, Self, LANES, { MR_DIV_N * LANES }, NR, MR_DIV_N, H_M, H_N>(
                        simd,
                        n,
                        m,
                        k,
                        dst,
                        row,
                        1,
                        false,
                        lhs.0,
                        lhs.1,
                        lhs.2,
                        rhs.0,
                        rhs.1,
                        rhs.2,
                        one,
                        one,
                        false,
                        false,
                        false,
                        |a, b, c| a * b + c,
                        &UKR,
                        &H_UKR,
                        false,
                        none,
                    );
                }
                return;
            }
            // SAFETY: forwarded from the caller.
            unsafe {
                gemm::gemm(
                    m, n, k, dst, 1, row, false, lhs, lhs_column, lhs_row, rhs, rhs_column, rhs_row, one,
                    one, false, false, false, none,
                );
            }
        }
    };
}

#[allow(clippy::excessive_precision)]
impl Real for f32 {
    float_methods!(f32, gemm_f32);
    type Lanes<I: Isa> = I::F32;
    // 1.5·2²³ rounds to an integer in the low bits.
    const EXP: [f32; 5] =
        [-60.0, 12_582_912.0, std::f32::consts::LOG2_E, 0.693145751953125, 1.4286068203094173e-6];
    const EXP_POLY: &'static [f32] = &[
        1.0,
        1.00000003771621384,
        0.500000047117757670,
        0.166664155146532754,
        0.0416663528967751568,
        0.00837512639815333568,
        0.00139411084339726746,
    ];
    const EXP2: [f32; 2] = [-86.0, 12_582_912.0];
    const EXP2_POLY: &'static [f32] = &[
        1.0,
        0.693147206702832596,
        0.240226509222887581,
        0.0555032722667030206,
        0.00961805667852463808,
        0.00134004281776158379,
        0.000154614446985691291,
    ];
    const SIN_POLY: &'static [f32] =
        &[0.999999996917703555, -0.166666506739967734, 8.33203578559730837e-3, -1.95039042508407988e-4];
    const COS_POLY: &'static [f32] = &[
        0.999999999952489417,
        -0.499999996148576084,
        0.0416666166925328261,
        -1.38866179996470757e-3,
        2.43798312511753657e-5,
    ];
    #[inline(always)]
    fn exp2_of_shifted(shifted: f32) -> f32 {
        f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
    }
}

#[allow(clippy::excessive_precision)]
impl Real for f64 {
    float_methods!(f64, gemm_f64);
    type Lanes<I: Isa> = I::F64;
    const EXP: [f64; 5] = [
        -600.0,
        6_755_399_441_055_744.0,
        std::f64::consts::LOG2_E,
        0.6931471805598903,
        5.497923018708371e-14,
    ];
    const EXP_POLY: &'static [f64] = &[
        9.99999999999999997e-1,
        1.0,
        5.00000000000001839e-1,
        1.66666666666666808e-1,
        4.16666666664880955e-2,
        8.33333333331960061e-3,
        1.38888889523147747e-3,
        1.98412698900471137e-4,
        2.48014854823284924e-5,
        2.75572409185789698e-6,
        2.76326396390410297e-7,
        2.51100376059637777e-8,
    ];
    const EXP2: [f64; 2] = [-865.0, 6_755_399_441_055_744.0];
    const EXP2_POLY: &'static [f64] = &[
        0.999999999999999997,
        std::f64::consts::LN_2,
        0.240226506959101596,
        0.055504108664821627,
        0.00961812910758725667,
        0.00133335581464064707,
        0.000154035304637243542,
        0.0000152527338415567726,
        1.32154325359123762e-6,
        1.01780570877339411e-7,
        7.07419429728852101e-9,
        4.45581790833606449e-10,
    ];
    const SIN_POLY: &'static [f64] = &[
        1.0,
        -1.66666666666666666e-1,
        8.33333333333332072e-3,
        -1.98412698412534782e-4,
        2.75573192135622241e-6,
        -2.50521047790950437e-8,
        1.60583524288712553e-10,
        -7.57809016092268642e-13,
    ];
    const COS_POLY: &'static [f64] = &[
        1.0,
        -0.5,
        4.16666666666666665e-2,
        -1.388888888888886e-3,
        2.48015873015631953e-5,
        -2.75573192126934439e-7,
        2.08767538800613744e-9,
        -1.14702469738130036e-11,
        4.736305380233916e-14,
    ];
    #[inline(always)]
    fn exp2_of_shifted(shifted: f64) -> f64 {
        f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52))
    }
}

#[cfg(test)]
mod tests {
    //! The twin is `libm` in f64; bounds as documented, measured maxima in the comments.
    use super::*;
    use crate::isa::{Fused, Separate};

    fn worst<T: Real>(lo: f64, hi: f64, error: impl Fn(T) -> f64) -> f64 {
        let n = 200_000;
        (0..=n).map(|i| error(T::from_f64(lo + (hi - lo) * i as f64 / n as f64))).fold(0.0, f64::max)
    }

    fn check<I: Isa, T: Real>(exp_bound: f64, exp2_bound: f64, trig_bound: f64, lowest: f64) {
        let relative = worst::<T>(lowest, 20.0, |x| {
            let exact = libm::exp(x.to_f64());
            ((exp::<I, T>(x).to_f64() - exact) / exact).abs()
        });
        assert!(relative < exp_bound, "exp: {relative:e}");
        let relative = worst::<T>(T::EXP2[0].to_f64(), 20.0, |x| {
            let exact = libm::exp2(x.to_f64());
            let [[lanes]] = exp2_lanes::<I, T, 1, 1>([[T::Lanes::<I>::splat(x)]]);
            (lanes.sum().to_f64() / T::Lanes::<I>::LANES as f64 / exact - 1.0).abs()
        });
        assert!(relative < exp2_bound, "exp2: {relative:e}");
        for range in [10.0, 2e5] {
            let absolute = worst::<f64>(-range, range, |x| {
                let (s, c) = sin_cos::<I, T>(x);
                (s.to_f64() - libm::sin(x)).abs().max((c.to_f64() - libm::cos(x)).abs())
            });
            assert!(absolute < trig_bound, "sin, cos: {absolute:e}");
        }
    }

    #[test]
    fn functions_stay_within_their_documented_errors() {
        check::<Fused, f32>(2.5e-7, 2.5e-7, 1e-7, -60.0);
        check::<Fused, f64>(5e-16, 5e-16, 3e-16, -600.0);
    }

    #[test]
    fn functions_need_no_fused_multiply_add_in_f32() {
        // n·ln2_high and quarter·HALF_PI_HIGH are exact products, so the reduction survives separate rounding.
        check::<Separate, f32>(3.5e-7, 2.5e-7, 1e-7, -60.0);
    }

    #[test]
    fn exp_keeps_nan() {
        assert!(exp::<Fused, f32>(f32::NAN).is_nan() && exp::<Fused, f64>(f64::NAN).is_nan());
        // A payload in the low bits, which become an exponent.
        let nan = <f32 as Real>::Lanes::<Fused>::splat(f32::from_bits(0x7FC0_0001));
        assert!(exp2_lanes::<Fused, f32, 1, 1>([[nan]])[0][0].sum().is_nan());
    }
}
