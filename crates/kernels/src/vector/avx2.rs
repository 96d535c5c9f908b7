//! AVX2 and FMA. Every block is sound for one reason: `dispatched!` names the back ends that use these types only
//! behind a check that the processor has both, and nothing else names them.

use super::Vector;
use std::arch::x86_64::*;

/// Eight f32.
#[derive(Clone, Copy)]
pub struct Avx2F32(__m256);

/// Four f64.
#[derive(Clone, Copy)]
pub struct Avx2F64(__m256d);

macro_rules! lanewise {
    ($($name:ident = $one:path),*) => {$(
        #[inline(always)]
        fn $name(self, other: Self) -> Self {
            // SAFETY: AVX2 is present, see the module.
            unsafe { Self($one(self.0, other.0)) }
        }
    )*};
}

impl Vector<f32> for Avx2F32 {
    const LANES: usize = 8;
    lanewise!(add = _mm256_add_ps, sub = _mm256_sub_ps, mul = _mm256_mul_ps, div = _mm256_div_ps);

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: AVX2 is present, see the module.
        unsafe { Self(_mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load_at(from: *const f32) -> Self {
        // SAFETY: forwarded from the caller; AVX2 is present, see the module.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32) {
        // SAFETY: forwarded from the caller; AVX2 is present, see the module.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: FMA is present, see the module.
        unsafe { Self(_mm256_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Self {
        // The instruction returns its second operand when either is NaN.
        // SAFETY: AVX2 is present, see the module.
        unsafe { Self(_mm256_max_ps(other.0, self.0)) }
    }
    #[inline(always)]
    fn exp2_of_shifted(self) -> Self {
        // SAFETY: AVX2 is present, see the module.
        unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(self.0));
            Self(_mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(127 << 23))))
        }
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: AVX2 is present, see the module.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, n_rows: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: forwarded from the caller; AVX2 is present, see the module.
        unsafe {
            // Rows four apart in the halves of a vector: halves are loaded faster than exchanged.
            let row = |r: usize| from.add(r.min(n_rows - 1) * from_stride);
            let halves = |r: usize, c: usize| {
                let low = _mm256_castps128_ps256(_mm_loadu_ps(row(r).add(c)));
                _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(row(r + 4).add(c)))
            };
            for c in [0, 4] {
                let (r0, r1, r2, r3) = (halves(0, c), halves(1, c), halves(2, c), halves(3, c));
                let (a0, a1) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
                let (a2, a3) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
                let to = to.add(c * to_stride);
                _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(a0, a2));
                _mm256_storeu_ps(to.add(to_stride), _mm256_shuffle_ps::<0xEE>(a0, a2));
                _mm256_storeu_ps(to.add(2 * to_stride), _mm256_shuffle_ps::<0x44>(a1, a3));
                _mm256_storeu_ps(to.add(3 * to_stride), _mm256_shuffle_ps::<0xEE>(a1, a3));
            }
        }
    }
}

impl Vector<f64> for Avx2F64 {
    const LANES: usize = 4;
    lanewise!(add = _mm256_add_pd, sub = _mm256_sub_pd, mul = _mm256_mul_pd, div = _mm256_div_pd);

    #[inline(always)]
    fn splat(value: f64) -> Self {
        // SAFETY: AVX2 is present, see the module.
        unsafe { Self(_mm256_set1_pd(value)) }
    }
    #[inline(always)]
    unsafe fn load_at(from: *const f64) -> Self {
        // SAFETY: forwarded from the caller; AVX2 is present, see the module.
        unsafe { Self(_mm256_loadu_pd(from)) }
    }
    #[inline(always)]
    unsafe fn store_at(self, to: *mut f64) {
        // SAFETY: forwarded from the caller; AVX2 is present, see the module.
        unsafe { _mm256_storeu_pd(to, self.0) }
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: FMA is present, see the module.
        unsafe { Self(_mm256_fmadd_pd(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Self {
        // The instruction returns its second operand when either is NaN.
        // SAFETY: AVX2 is present, see the module.
        unsafe { Self(_mm256_max_pd(other.0, self.0)) }
    }
    #[inline(always)]
    fn exp2_of_shifted(self) -> Self {
        // SAFETY: AVX2 is present, see the module.
        unsafe {
            let exponent = _mm256_slli_epi64::<52>(_mm256_castpd_si256(self.0));
            Self(_mm256_castsi256_pd(_mm256_add_epi64(exponent, _mm256_set1_epi64x(1023 << 52))))
        }
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        // SAFETY: AVX2 is present, see the module.
        unsafe {
            let two = _mm_add_pd(_mm256_castpd256_pd128(self.0), _mm256_extractf128_pd::<1>(self.0));
            _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f64, from_stride: usize, n_rows: usize, to: *mut f64, to_stride: usize) {
        // SAFETY: forwarded from the caller; AVX2 is present, see the module.
        unsafe {
            // As in f32.
            let row = |r: usize| from.add(r.min(n_rows - 1) * from_stride);
            let halves = |r: usize, c: usize| {
                let low = _mm256_castpd128_pd256(_mm_loadu_pd(row(r).add(c)));
                _mm256_insertf128_pd::<1>(low, _mm_loadu_pd(row(r + 2).add(c)))
            };
            for c in [0, 2] {
                let (r0, r1, to) = (halves(0, c), halves(1, c), to.add(c * to_stride));
                _mm256_storeu_pd(to, _mm256_unpacklo_pd(r0, r1));
                _mm256_storeu_pd(to.add(to_stride), _mm256_unpackhi_pd(r0, r1));
            }
        }
    }
}
