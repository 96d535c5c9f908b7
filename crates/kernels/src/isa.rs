//! Runtime choice of the instruction set: one source, compiled for each back end, picked where it runs.
//!
//! The loops are plain Rust over fixed-length arrays; compiled with the wider instructions enabled, the compiler
//! vectorises them. Fused multiply-add changes the last bit, so the back end is part of a result's identity.

use crate::Real;
use crate::vector::{Array, Vector};
use std::sync::atomic::{AtomicU8, Ordering};

/// What a back end computes with.
pub trait Isa {
    /// One register of f32.
    type F32: Vector<f32>;
    /// One register of f64.
    type F64: Vector<f64>;
    /// A back end of half the vector length where the processor has one, else this one: for what is left of a row.
    type Narrow: Isa;
    /// Vectors side by side in a tile of a matrix product: 6 × as many sums fit the registers with their operands.
    const PANEL: usize;
    /// a·b + c, in one rounding where the instruction exists.
    fn mul_add<T: Real>(a: T, b: T, c: T) -> T;
}

/// x86-64 with AVX-512: 32 registers of 512 bits.
#[cfg(target_arch = "x86_64")]
pub struct X86Avx512;
/// x86-64 with AVX2 and FMA: 16 registers of 256 bits.
#[cfg(target_arch = "x86_64")]
pub struct X86Avx2;
/// Targets that always have a fused multiply-add instruction.
#[cfg(any(target_arch = "aarch64", test))]
pub struct Fused;
/// Targets without: the library function would be far slower than two instructions.
#[cfg(any(not(target_arch = "aarch64"), test))]
pub struct Separate;

#[cfg(target_arch = "x86_64")]
impl Isa for X86Avx512 {
    type F32 = crate::vector::Avx512F32;
    type F64 = crate::vector::Avx512F64;
    type Narrow = X86Avx2;
    const PANEL: usize = 4;
    #[inline(always)]
    fn mul_add<T: Real>(a: T, b: T, c: T) -> T {
        a.fused_mul_add(b, c)
    }
}

#[cfg(target_arch = "x86_64")]
impl Isa for X86Avx2 {
    type F32 = crate::vector::Avx2F32;
    type F64 = crate::vector::Avx2F64;
    type Narrow = Self;
    const PANEL: usize = 2;
    #[inline(always)]
    fn mul_add<T: Real>(a: T, b: T, c: T) -> T {
        a.fused_mul_add(b, c)
    }
}

#[cfg(any(target_arch = "aarch64", test))]
impl Isa for Fused {
    type F32 = Array<f32, true>;
    type F64 = Array<f64, true>;
    type Narrow = Self;
    const PANEL: usize = 2;
    #[inline(always)]
    fn mul_add<T: Real>(a: T, b: T, c: T) -> T {
        a.fused_mul_add(b, c)
    }
}

#[cfg(any(not(target_arch = "aarch64"), test))]
impl Isa for Separate {
    type F32 = Array<f32, false>;
    type F64 = Array<f64, false>;
    type Narrow = Self;
    const PANEL: usize = 2;
    #[inline(always)]
    fn mul_add<T: Real>(a: T, b: T, c: T) -> T {
        a * b + c
    }
}

/// An instruction set the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// x86-64 with AVX-512 F, VL, BW and DQ.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// What the target always has (SSE2 on x86-64, NEON on AArch64).
    Portable,
}

/// The widest back end in use, as its number.
static WIDEST: AtomicU8 = AtomicU8::new(Backend::Avx512 as u8);

/// Uses no wider back end than this from now on, in the whole process: to measure the others.
pub fn restrict(widest: Backend) {
    WIDEST.store(widest as u8, Ordering::Relaxed);
}

/// The widest back end this processor has, or what [`restrict`] has left of them.
pub fn backend() -> Backend {
    #[cfg(test)]
    if let Some(forced) = FORCED.get() {
        return forced;
    }
    #[cfg(target_arch = "x86_64")]
    {
        let is_used = |candidate: Backend| candidate as u8 >= WIDEST.load(Ordering::Relaxed);
        if is_used(Backend::Avx512)
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
        {
            return Backend::Avx512;
        }
        if is_used(Backend::Avx2) && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Backend::Avx2;
        }
    }
    Backend::Portable
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Backend>> = const { std::cell::Cell::new(None) };
}

/// Runs `test` once on every back end this processor has.
#[cfg(test)]
pub(crate) fn on_every_backend(test: impl Fn()) {
    let widest = backend();
    for candidate in [Backend::Avx512, Backend::Avx2, Backend::Portable] {
        if candidate as usize >= widest as usize {
            FORCED.set(Some(candidate));
            test();
            FORCED.set(None);
        }
    }
}

/// Defines a function whose body is compiled for every back end and dispatched at run time.
macro_rules! dispatched {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$isa:ident: Isa, $real:ident: Real>(
        $($arg:ident: $ty:ty),* $(,)?
    ) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name<$real: $crate::Real>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<$isa: $crate::isa::Isa, $real: $crate::Real>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512<$real: $crate::Real>($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::isa::X86Avx512, $real>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<$real: $crate::Real>($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::isa::X86Avx2, $real>($($arg),*)
            }

            match $crate::isa::backend() {
                // SAFETY: `backend` returned this variant because the processor has these features.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Backend::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Backend::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                _ => body::<$crate::isa::Fused, $real>($($arg),*),
                #[cfg(not(target_arch = "aarch64"))]
                _ => body::<$crate::isa::Separate, $real>($($arg),*),
            }
        }
    };
}
pub(crate) use dispatched;
