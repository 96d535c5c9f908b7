//! Vectors of `LANES` floats: what a back end keeps in its registers, for the loops the compiler will not vectorise.
//!
//! On x86-64 with AVX2 they are intrinsics; elsewhere arrays, which compilers turn into what the target has.

use crate::{LANES, Real};

/// `LANES` floats of type T, element-wise arithmetic.
pub trait Vector<T>: Copy {
    /// The same value in every lane.
    fn splat(value: T) -> Self;
    /// The first `LANES` elements of a slice.
    fn load(slice: &[T]) -> Self;
    /// Overwrites the first `LANES` elements of a slice.
    fn store(self, slice: &mut [T]);
    /// self + other.
    fn add(self, other: Self) -> Self;
    /// self − other.
    fn sub(self, other: Self) -> Self;
    /// self·other.
    fn mul(self, other: Self) -> Self;
    /// self·b + c.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// self where self > other or self is NaN, else other.
    fn at_least(self, other: Self) -> Self;
    /// `Real::exp2_of_shifted` of every lane.
    fn exp2_of_shifted(self) -> Self;
    /// Row r, lane c becomes row c, lane r.
    fn transpose(rows: [Self; LANES]) -> [Self; LANES];
}

/// Lanes in an array; `FUSED` says whether multiply-add is one instruction here.
#[derive(Clone, Copy)]
pub struct Array<T, const FUSED: bool>([T; LANES]);

impl<T: Real, const FUSED: bool> Array<T, FUSED> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl<T: Real, const FUSED: bool> Vector<T> for Array<T, FUSED> {
    #[inline(always)]
    fn splat(value: T) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    fn load(slice: &[T]) -> Self {
        let mut lanes = [T::ZERO; LANES];
        lanes.copy_from_slice(&slice[..LANES]);
        Self(lanes)
    }
    #[inline(always)]
    fn store(self, slice: &mut [T]) {
        slice[..LANES].copy_from_slice(&self.0);
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        let one = |a: T, b: T, c: T| if FUSED { a.fused_mul_add(b, c) } else { a * b + c };
        Self(std::array::from_fn(|lane| one(self.0[lane], b.0[lane], c.0[lane])))
    }
    #[inline(always)]
    fn at_least(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { b } else { a })
    }
    #[inline(always)]
    fn exp2_of_shifted(self) -> Self {
        Self(self.0.map(T::exp2_of_shifted))
    }
    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        std::array::from_fn(|c| Self(std::array::from_fn(|r| rows[r].0[c])))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The intrinsics. Every block is sound for one reason: `dispatched!` names the back ends that use these types
    //! only behind a check that the processor has AVX2 and FMA, and nothing else names them.

    use super::Vector;
    use crate::LANES;
    use std::arch::x86_64::*;

    /// Eight f32 in one register.
    #[derive(Clone, Copy)]
    pub struct F32(__m256);

    /// Eight f64 in two registers.
    #[derive(Clone, Copy)]
    pub struct F64([__m256d; 2]);

    macro_rules! lanewise {
        ($name:ident, $one:path) => {
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                // SAFETY: AVX2 is present, see the module.
                unsafe { Self($one(self.0, other.0)) }
            }
        };
        ($name:ident, both $one:path) => {
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                // SAFETY: AVX2 is present, see the module.
                unsafe { Self([$one(self.0[0], other.0[0]), $one(self.0[1], other.0[1])]) }
            }
        };
    }

    impl Vector<f32> for F32 {
        lanewise!(add, _mm256_add_ps);
        lanewise!(sub, _mm256_sub_ps);
        lanewise!(mul, _mm256_mul_ps);

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: AVX2 is present, see the module.
            unsafe { Self(_mm256_set1_ps(value)) }
        }
        #[inline(always)]
        fn load(slice: &[f32]) -> Self {
            let slice = &slice[..LANES];
            // SAFETY: the slice has eight elements; AVX2 is present, see the module.
            unsafe { Self(_mm256_loadu_ps(slice.as_ptr())) }
        }
        #[inline(always)]
        fn store(self, slice: &mut [f32]) {
            let slice = &mut slice[..LANES];
            // SAFETY: the slice has eight elements; AVX2 is present, see the module.
            unsafe { _mm256_storeu_ps(slice.as_mut_ptr(), self.0) }
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
        fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
            let [r0, r1, r2, r3, r4, r5, r6, r7] = rows.map(|row| row.0);
            // SAFETY: AVX2 is present, see the module.
            unsafe {
                let (a0, a1) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
                let (a2, a3) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
                let (a4, a5) = (_mm256_unpacklo_ps(r4, r5), _mm256_unpackhi_ps(r4, r5));
                let (a6, a7) = (_mm256_unpacklo_ps(r6, r7), _mm256_unpackhi_ps(r6, r7));
                let (b0, b1) = (_mm256_shuffle_ps::<0x44>(a0, a2), _mm256_shuffle_ps::<0xEE>(a0, a2));
                let (b2, b3) = (_mm256_shuffle_ps::<0x44>(a1, a3), _mm256_shuffle_ps::<0xEE>(a1, a3));
                let (b4, b5) = (_mm256_shuffle_ps::<0x44>(a4, a6), _mm256_shuffle_ps::<0xEE>(a4, a6));
                let (b6, b7) = (_mm256_shuffle_ps::<0x44>(a5, a7), _mm256_shuffle_ps::<0xEE>(a5, a7));
                [
                    _mm256_permute2f128_ps::<0x20>(b0, b4),
                    _mm256_permute2f128_ps::<0x20>(b1, b5),
                    _mm256_permute2f128_ps::<0x20>(b2, b6),
                    _mm256_permute2f128_ps::<0x20>(b3, b7),
                    _mm256_permute2f128_ps::<0x31>(b0, b4),
                    _mm256_permute2f128_ps::<0x31>(b1, b5),
                    _mm256_permute2f128_ps::<0x31>(b2, b6),
                    _mm256_permute2f128_ps::<0x31>(b3, b7),
                ]
                .map(Self)
            }
        }
    }

    impl Vector<f64> for F64 {
        lanewise!(add, both _mm256_add_pd);
        lanewise!(sub, both _mm256_sub_pd);
        lanewise!(mul, both _mm256_mul_pd);

        #[inline(always)]
        fn splat(value: f64) -> Self {
            // SAFETY: AVX2 is present, see the module.
            unsafe { Self([_mm256_set1_pd(value); 2]) }
        }
        #[inline(always)]
        fn load(slice: &[f64]) -> Self {
            let slice = &slice[..LANES];
            // SAFETY: the slice has eight elements; AVX2 is present, see the module.
            unsafe { Self([_mm256_loadu_pd(slice.as_ptr()), _mm256_loadu_pd(slice.as_ptr().add(4))]) }
        }
        #[inline(always)]
        fn store(self, slice: &mut [f64]) {
            let slice = &mut slice[..LANES];
            // SAFETY: the slice has eight elements; AVX2 is present, see the module.
            unsafe {
                _mm256_storeu_pd(slice.as_mut_ptr(), self.0[0]);
                _mm256_storeu_pd(slice.as_mut_ptr().add(4), self.0[1]);
            }
        }
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: FMA is present, see the module.
            unsafe {
                Self([_mm256_fmadd_pd(self.0[0], b.0[0], c.0[0]), _mm256_fmadd_pd(self.0[1], b.0[1], c.0[1])])
            }
        }
        #[inline(always)]
        fn at_least(self, other: Self) -> Self {
            // The instruction returns its second operand when either is NaN.
            // SAFETY: AVX2 is present, see the module.
            unsafe { Self([_mm256_max_pd(other.0[0], self.0[0]), _mm256_max_pd(other.0[1], self.0[1])]) }
        }
        #[inline(always)]
        fn exp2_of_shifted(self) -> Self {
            // SAFETY: AVX2 is present, see the module.
            Self(self.0.map(|half| unsafe {
                let exponent = _mm256_slli_epi64::<52>(_mm256_castpd_si256(half));
                _mm256_castsi256_pd(_mm256_add_epi64(exponent, _mm256_set1_epi64x(1023 << 52)))
            }))
        }
        #[inline(always)]
        fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
            let mut lanes = [[0.0; LANES]; LANES];
            for (lanes, row) in lanes.iter_mut().zip(rows) {
                row.store(lanes);
            }
            std::array::from_fn(|c| Self::load(&std::array::from_fn::<f64, LANES, _>(|r| lanes[r][c])))
        }
    }
}
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{F32, F64};
