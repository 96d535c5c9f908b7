//! AVX-512 F. Every block is sound for one reason: `dispatched!` names the back end that uses these types only
//! behind a check that the processor has it (and AVX2), and nothing else names them.

use super::{Avx2F32, Avx2F64, Vector};
use std::arch::x86_64::*;

/// Sixteen f32.
#[derive(Clone, Copy)]
pub struct Avx512F32(__m512);

/// Eight f64.
#[derive(Clone, Copy)]
pub struct Avx512F64(__m512d);

macro_rules! lanewise {
    ($($name:ident = $one:path),*) => {$(
        #[inline(always)]
        fn $name(self, other: Self) -> Self {
            // SAFETY: AVX-512 is present, see the module.
            unsafe { Self($one(self.0, other.0)) }
        }
    )*};
}

/// A square transpose out of four of the half vector's.
macro_rules! transpose_by {
    ($half:ty, $float:ty) => {
        #[inline(always)]
        unsafe fn transpose(
            from: *const $float,
            from_stride: usize,
            n_rows: usize,
            to: *mut $float,
            to_stride: usize,
        ) {
            const HALF: usize = <$half as Vector<$float>>::LANES;
            let (low, high) = (0, HALF.min(n_rows - 1));
            for (first, r, c) in [(low, 0, 0), (low, 0, HALF), (high, HALF, 0), (high, HALF, HALF)] {
                // SAFETY: forwarded from the caller.
                unsafe {
                    let (from, to) = (from.add(first * from_stride + c), to.add(c * to_stride + r));
                    <$half as Vector<$float>>::transpose(from, from_stride, n_rows - first, to, to_stride);
                }
            }
        }
    };
}

/// Pairs of bfloat16: each lane's 32 bits hold two, the lower half first. Nothing but the last function computes with
/// such lanes.
impl Avx512F32 {
    /// The lanes of `low` and then of `high`, each rounded to nearest: lane i holds elements 2i and 2i + 1 of the 32.
    ///
    /// # Safety
    /// The processor has AVX-512 BF16.
    #[inline(always)]
    pub unsafe fn rounded(low: Self, high: Self) -> Self {
        // SAFETY: forwarded from the caller; both types are 64 bytes of plain data.
        unsafe { Self(std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high.0, low.0))) }
    }

    /// The halves of what `rounded` gives side by side: lane i holds elements i and i + 16 of the 32.
    #[inline(always)]
    pub fn interleaved(self) -> Self {
        // SAFETY: AVX-512 BW is present, see the module.
        unsafe {
            let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            let second = _mm512_add_epi32(lane, _mm512_set1_epi32(16));
            let order = _mm512_or_si512(lane, _mm512_slli_epi32::<16>(second));
            Self(_mm512_castsi512_ps(_mm512_permutexvar_epi16(order, _mm512_castps_si512(self.0))))
        }
    }

    /// self + x₀y₀ + x₁y₁ of the lanes' pairs x and y.
    ///
    /// # Safety
    /// The processor has AVX-512 BF16.
    #[inline(always)]
    pub unsafe fn add_products_of_pairs(self, x: Self, y: Self) -> Self {
        // SAFETY: forwarded from the caller; both types are 64 bytes of plain data.
        unsafe {
            let pairs = |v: Self| std::mem::transmute::<__m512, __m512bh>(v.0);
            Self(_mm512_dpbf16_ps(self.0, pairs(x), pairs(y)))
        }
    }
}

impl Vector<f32> for Avx512F32 {
    const LANES: usize = 16;
    lanewise!(add = _mm512_add_ps, sub = _mm512_sub_ps, mul = _mm512_mul_ps, div = _mm512_div_ps);
    transpose_by!(Avx2F32, f32);

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: AVX-512 is present, see the module.
        unsafe { Self(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load_at(from: *const f32) -> Self {
        // SAFETY: forwarded from the caller; AVX-512 is present, see the module.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32) {
        // SAFETY: forwarded from the caller; AVX-512 is present, see the module.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: AVX-512 is present, see the module.
        unsafe { Self(_mm512_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Self {
        // The instruction returns its second operand when either is NaN.
        // SAFETY: AVX-512 is present, see the module.
        unsafe { Self(_mm512_max_ps(other.0, self.0)) }
    }
    #[inline(always)]
    fn exp2_of_shifted(self) -> Self {
        // SAFETY: AVX-512 is present, see the module.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
            Self(_mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(127 << 23))))
        }
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: AVX-512 is present, see the module.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
}

impl Vector<f64> for Avx512F64 {
    const LANES: usize = 8;
    lanewise!(add = _mm512_add_pd, sub = _mm512_sub_pd, mul = _mm512_mul_pd, div = _mm512_div_pd);
    transpose_by!(Avx2F64, f64);

    #[inline(always)]
    fn splat(value: f64) -> Self {
        // SAFETY: AVX-512 is present, see the module.
        unsafe { Self(_mm512_set1_pd(value)) }
    }
    #[inline(always)]
    unsafe fn load_at(from: *const f64) -> Self {
        // SAFETY: forwarded from the caller; AVX-512 is present, see the module.
        unsafe { Self(_mm512_loadu_pd(from)) }
    }
    #[inline(always)]
    unsafe fn store_at(self, to: *mut f64) {
        // SAFETY: forwarded from the caller; AVX-512 is present, see the module.
        unsafe { _mm512_storeu_pd(to, self.0) }
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: AVX-512 is present, see the module.
        unsafe { Self(_mm512_fmadd_pd(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Self {
        // The instruction returns its second operand when either is NaN.
        // SAFETY: AVX-512 is present, see the module.
        unsafe { Self(_mm512_max_pd(other.0, self.0)) }
    }
    #[inline(always)]
    fn exp2_of_shifted(self) -> Self {
        // SAFETY: AVX-512 is present, see the module.
        unsafe {
            let exponent = _mm512_slli_epi64::<52>(_mm512_castpd_si512(self.0));
            Self(_mm512_castsi512_pd(_mm512_add_epi64(exponent, _mm512_set1_epi64(1023 << 52))))
        }
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        // SAFETY: AVX-512 is present, see the module.
        unsafe { _mm512_reduce_add_pd(self.0) }
    }
}
