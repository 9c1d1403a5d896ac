//! AVX-512 and AVX2 with fused multiply-add.

use std::arch::x86_64::*;

use super::{Kernel, Simd, even_lane_by_lane, tile_by_rows};

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
        $set:ty, $t:tt, $vector:ty, $lanes:literal, $nv:literal, $mr:literal, $rows:tt,
        $zero:ident, $splat:ident, $fma:ident, $load:ident, $store:ident, $add:ident,
        $masked:ident
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

            #[inline(always)]
            fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                // SAFETY: `self` proves that the machine has the instruction.
                unsafe { $add(a, b) }
            }

            $masked!($t);
            tile_by_rows!($t, $nv, $rows);
        }
    };
}

/// Writes the masked operations of AVX-512, which have instructions.
macro_rules! mask_registers {
    (f32) => {
        mask_registers!(
            f32,
            __mmask16,
            _mm512_maskz_loadu_ps,
            _mm512_mask_storeu_ps,
            _mm512_permutex2var_ps,
            _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
        );
    };
    (f64) => {
        mask_registers!(
            f64,
            __mmask8,
            _mm512_maskz_loadu_pd,
            _mm512_mask_storeu_pd,
            _mm512_permutex2var_pd,
            _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14)
        );
    };
    ($t:ty, $mask:ty, $load:ident, $store:ident, $permute:ident, $even:expr) => {
        type Mask = $mask;

        #[inline(always)]
        fn mask(self, lanes: std::ops::Range<usize>) -> Self::Mask {
            (((1u32 << lanes.end) - 1) & !((1u32 << lanes.start) - 1)) as $mask
        }

        #[inline(always)]
        unsafe fn load_masked(self, source: *const $t, mask: Self::Mask) -> Self::Vector {
            // SAFETY: the caller promises that the lanes of the mask are readable, and the
            // instruction touches no other; `self` proves the instruction.
            unsafe { $load(mask, source) }
        }

        type EvenMask = ($mask, $mask);

        #[inline(always)]
        fn even_mask(self, lanes: std::ops::Range<usize>) -> Self::EvenMask {
            const HALF: usize = <Avx512 as Simd<$t>>::LANES / 2;
            let lanes = u32::from(<Self as Simd<$t>>::mask(self, lanes));
            // The lanes of one half, each at the place of its element in a register of both.
            let spread = |mut half: u32| {
                half = (half | half << 4) & 0x0f0f;
                half = (half | half << 2) & 0x3333;
                ((half | half << 1) & 0x5555) as $mask
            };
            (spread(lanes & ((1 << HALF) - 1)), spread(lanes >> HALF))
        }

        #[inline(always)]
        unsafe fn load_even(self, source: *const $t, (near, far): Self::EvenMask) -> Self::Vector {
            // SAFETY: the caller promises that the even elements of the mask's lanes are readable, and
            // the instructions touch no other; `self` proves the instructions.
            unsafe {
                let near = $load(near, source);
                let far = $load(far, source.wrapping_add(<Avx512 as Simd<$t>>::LANES));
                $permute(near, $even, far)
            }
        }

        #[inline(always)]
        unsafe fn store_masked(self, target: *mut $t, mask: Self::Mask, vector: Self::Vector) {
            // SAFETY: the caller promises that the lanes of the mask are writable, and the
            // instruction touches no other; `self` proves the instruction.
            unsafe { $store(target, mask, vector) }
        }
    };
}

/// Writes the masked operations of AVX2: a mask is a vector whose lanes' sign bits choose.
macro_rules! mask_vectors {
    (f32) => {
        mask_vectors!(
            f32,
            _mm256_maskload_ps,
            _mm256_maskstore_ps,
            i32,
            _mm256_set1_epi32,
            _mm256_cmpgt_epi32,
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)
        );
    };
    (f64) => {
        mask_vectors!(
            f64,
            _mm256_maskload_pd,
            _mm256_maskstore_pd,
            i64,
            _mm256_set1_epi64x,
            _mm256_cmpgt_epi64,
            _mm256_setr_epi64x(0, 1, 2, 3)
        );
    };
    ($t:ty, $load:ident, $store:ident, $int:ty, $set:ident, $greater:ident, $index:expr) => {
        type Mask = __m256i;

        #[inline(always)]
        fn mask(self, lanes: std::ops::Range<usize>) -> Self::Mask {
            // SAFETY: `self` proves that the machine has the instructions.
            unsafe {
                let from = $greater($index, $set(lanes.start as $int - 1));
                let to = $greater($set(lanes.end as $int), $index);
                _mm256_and_si256(from, to)
            }
        }

        #[inline(always)]
        unsafe fn load_masked(self, source: *const $t, mask: Self::Mask) -> Self::Vector {
            // SAFETY: the caller promises that the lanes of the mask are readable, and the
            // instruction touches no other; `self` proves the instruction.
            unsafe { $load(source, mask) }
        }

        even_lane_by_lane!($t);

        #[inline(always)]
        unsafe fn store_masked(self, target: *mut $t, mask: Self::Mask, vector: Self::Vector) {
            // SAFETY: the caller promises that the lanes of the mask are writable, and the
            // instruction touches no other; `self` proves the instruction.
            unsafe { $store(target, mask, vector) }
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
    _mm512_storeu_ps,
    _mm512_add_ps,
    mask_registers
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
    _mm512_storeu_pd,
    _mm512_add_pd,
    mask_registers
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
    _mm256_storeu_ps,
    _mm256_add_ps,
    mask_vectors
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
    _mm256_storeu_pd,
    _mm256_add_pd,
    mask_vectors
);
