//! AVX-512 and AVX2 with fused multiply-add.

use std::arch::x86_64::*;

use super::{Kernel, Simd, tile_by_rows};

/// Proof of AVX-512F, AVX2 and FMA. Made only by [`with_avx512`].
#[derive(Clone, Copy)]
pub struct Avx512(());

/// Proof of AVX2 and FMA. Made only by [`with_avx2`].
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Runs `kernel` compiled for AVX-512.
///
/// # Safety
/// The machine must have AVX-512F, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx2,fma")]
pub unsafe fn with_avx512<T: Copy, K: Kernel<T>>(kernel: K) -> K::Output
where
    Avx512: Simd<T>,
{
    kernel.run(Avx512(()))
}

/// Runs `kernel` compiled for AVX2.
///
/// # Safety
/// The machine must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn with_avx2<T: Copy, K: Kernel<T>>(kernel: K) -> K::Output
where
    Avx2: Simd<T>,
{
    kernel.run(Avx2(()))
}

macro_rules! x86 {
    (
        $set:ty, $t:ty, $vector:ty, $lanes:literal, $nv:literal, $mr:literal, $rows:tt,
        $zero:ident, $splat:ident, $fma:ident, $load:ident, $store:ident
    ) => {
        impl Simd<$t> for $set {
            type Vector = $vector;
            const LANES: usize = $lanes;
            const MR: usize = $mr;
            const NR: usize = $nv * $lanes;

            #[inline(always)]
            fn zero(self) -> Self::Vector {
                // SAFETY: `self` proves that the machine has the instruction.
                unsafe { $zero() }
            }

            #[inline(always)]
            fn splat(self, value: $t) -> Self::Vector {
                // SAFETY: `self` proves that the machine has the instruction.
                unsafe { $splat(value) }
            }

            #[inline(always)]
            fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                // SAFETY: `self` proves that the machine has the instruction.
                unsafe { $fma(a, b, c) }
            }

            #[inline(always)]
            fn fma_scalar(self, a: $t, b: $t, c: $t) -> $t {
                // One instruction, since FMA is enabled wherever this is inlined.
                a.mul_add(b, c)
            }

            #[inline(always)]
            unsafe fn load(self, source: *const $t) -> Self::Vector {
                // SAFETY: the caller promises LANES readable elements; `self` proves the
                // instruction.
                unsafe { $load(source) }
            }

            #[inline(always)]
            unsafe fn store(self, target: *mut $t, vector: Self::Vector) {
                // SAFETY: the caller promises LANES writable elements; `self` proves the
                // instruction.
                unsafe { $store(target, vector) }
            }

            tile_by_rows!($t, $nv, $rows);
        }
    };
}

// 13 × 2 accumulators, 2 columns and 1 broadcast of the 32 registers; 13 rows waste least on 64,
// 128, 256 and 512 channels.
x86!(
    Avx512,
    f32,
    __m512,
    16,
    2,
    13,
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps
);
x86!(
    Avx512,
    f64,
    __m512d,
    8,
    2,
    13,
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    _mm512_setzero_pd,
    _mm512_set1_pd,
    _mm512_fmadd_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd
);
// 6 × 2 accumulators, 2 columns and 1 broadcast of the 16 registers.
x86!(
    Avx2,
    f32,
    __m256,
    8,
    2,
    6,
    [1, 2, 3, 4, 5, 6],
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps
);
x86!(
    Avx2,
    f64,
    __m256d,
    4,
    2,
    6,
    [1, 2, 3, 4, 5, 6],
    _mm256_setzero_pd,
    _mm256_set1_pd,
    _mm256_fmadd_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd
);
