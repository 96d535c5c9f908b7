//! Vectors: what a back end keeps in one register, for the loops the compiler will not vectorise.
//!
//! On x86-64 they are intrinsics; elsewhere arrays, which compilers turn into what the target has.

use crate::Real;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(target_arch = "x86_64")]
pub(crate) use {avx2::Avx2F32, avx2::Avx2F64, avx512::Avx512F32, avx512::Avx512F64};

/// `LANES` floats of type T, element-wise arithmetic.
pub trait Vector<T>: Copy {
    /// Floats in one vector; a divisor of [`MOST_LANES`].
    const LANES: usize;
    /// The same value in every lane.
    fn splat(value: T) -> Self;
    /// The `LANES` elements at `from`.
    ///
    /// # Safety
    /// They can be read.
    unsafe fn load_at(from: *const T) -> Self;
    /// Overwrites the `LANES` elements at `to`.
    ///
    /// # Safety
    /// They can be written.
    unsafe fn store_at(self, to: *mut T);
    /// self + other.
    fn add(self, other: Self) -> Self;
    /// self − other.
    fn sub(self, other: Self) -> Self;
    /// self·other.
    fn mul(self, other: Self) -> Self;
    /// self/other.
    fn div(self, other: Self) -> Self;
    /// self·b + c.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// self where self > other or self is NaN, else other.
    fn at_least(self, other: Self) -> Self;
    /// `Real::exp2_of_shifted` of every lane.
    fn exp2_of_shifted(self) -> Self;
    /// Σ of the lanes, pairwise.
    fn sum(self) -> T;
    /// to\[c·to_stride + r\] = from\[r·from_stride + c\] for r, c < `LANES`; of rows from `n_rows` ≥ 1 on, the last
    /// one before is taken.
    ///
    /// # Safety
    /// All of them can be read and written.
    unsafe fn transpose(from: *const T, from_stride: usize, n_rows: usize, to: *mut T, to_stride: usize);

    /// The first `LANES` elements of a slice.
    #[inline(always)]
    fn load(slice: &[T]) -> Self {
        let slice = &slice[..Self::LANES];
        // SAFETY: the slice has that many elements.
        unsafe { Self::load_at(slice.as_ptr()) }
    }
    /// Overwrites the first `LANES` elements of a slice.
    #[inline(always)]
    fn store(self, slice: &mut [T]) {
        let slice = &mut slice[..Self::LANES];
        // SAFETY: the slice has that many elements.
        unsafe { self.store_at(slice.as_mut_ptr()) }
    }
}

/// Lanes of the widest vector of any back end: buffers padded to a multiple serve them all.
pub(crate) const MOST_LANES: usize = 16;

/// Lanes of the portable back end.
const PORTABLE_LANES: usize = 8;

/// Bytes of a line of a cache.
pub(crate) const LINE_BYTES: usize = 64;

/// Asks for the line of an address to be brought into the second-level cache; changes nothing.
#[inline(always)]
pub(crate) fn prefetch<T>(from: *const T) {
    // SAFETY: every x86-64 processor has the instruction, and it reads nothing that a program can see, from anywhere.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(from.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}

/// Lanes in an array; `FUSED` says whether multiply-add is one instruction here.
#[derive(Clone, Copy)]
pub struct Array<T, const FUSED: bool>([T; PORTABLE_LANES]);

impl<T: Real, const FUSED: bool> Array<T, FUSED> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl<T: Real, const FUSED: bool> Vector<T> for Array<T, FUSED> {
    const LANES: usize = PORTABLE_LANES;
    #[inline(always)]
    fn splat(value: T) -> Self {
        Self([value; PORTABLE_LANES])
    }
    #[inline(always)]
    unsafe fn load_at(from: *const T) -> Self {
        // SAFETY: forwarded from the caller; an array needs no more alignment than its element.
        unsafe { Self(*from.cast::<[T; PORTABLE_LANES]>()) }
    }
    #[inline(always)]
    unsafe fn store_at(self, to: *mut T) {
        // SAFETY: as in `load_at`.
        unsafe { *to.cast::<[T; PORTABLE_LANES]>() = self.0 }
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
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
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
    fn sum(self) -> T {
        let p = self.0;
        ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7]))
    }
    #[inline(always)]
    unsafe fn transpose(from: *const T, from_stride: usize, n_rows: usize, to: *mut T, to_stride: usize) {
        for (r, c) in (0..PORTABLE_LANES).flat_map(|r| (0..PORTABLE_LANES).map(move |c| (r, c))) {
            // SAFETY: forwarded from the caller.
            unsafe { *to.add(c * to_stride + r) = *from.add(r.min(n_rows - 1) * from_stride + c) }
        }
    }
}
