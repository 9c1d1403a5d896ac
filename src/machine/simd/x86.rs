//! AVX-512 and AVX2 with fused multiply-add.

use std::arch::x86_64::*;

use super::{Simd, WithSimd, even_lane_by_lane, tiles};

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
pub unsafe fn with_avx512<T: Copy, K: WithSimd<T>>(kernel: K) -> K::Output
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
pub unsafe fn with_avx2<T: Copy, K: WithSimd<T>>(kernel: K) -> K::Output
where
    Avx2: Simd<T>,
{
    kernel.run(Avx2(()))
}

macro_rules! x86 {
    (
        $set:ty, $features:literal, $t:tt, $vector:ty, $lanes:literal, $registers:literal,
        [$($vectors:literal: $rows:tt),*],
        $zero:ident, $splat:ident, $fma:ident, $load:ident, $store:ident, $add:ident,
        $sub:ident, $max:ident, $masked:ident
    ) => {
        impl Simd<$t> for $set {
            type Vector = $vector;
            const LANES: usize = $lanes;
            const REGISTERS: usize = $registers;
            const MR: usize = $registers / 2 - 2;
            const MASKS: bool = true;

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

            #[inline(always)]
            fn abs(self, a: Self::Vector) -> Self::Vector {
                // SAFETY: `self` proves that the machine has the instructions.
                unsafe { $max(a, $sub($zero(), a)) }
            }

            #[inline(always)]
            fn prefetch(self, source: *const $t) {
                // SAFETY: the instruction never faults, and every x86-64 machine has it.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(source.cast()) }
            }

            #[inline(always)]
            fn prefetch_to_write(self, target: *const $t) {
                // SAFETY: the instruction never faults; an x86-64 machine that doesn't know it, does nothing.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(target.cast()) }
            }

            $masked!($t);
            tiles!($t, [target_feature(enable = $features)], $($vectors: $rows),*);
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
            _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
            [
                _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
                _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
            ]
        );
    };
    (f64) => {
        mask_registers!(
            f64,
            __mmask8,
            _mm512_maskz_loadu_pd,
            _mm512_mask_storeu_pd,
            _mm512_permutex2var_pd,
            _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14),
            [
                _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11),
                _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15)
            ]
        );
    };
    (
        $t:ty, $mask:ty, $load:ident, $store:ident, $permute:ident, $even:expr,
        [$near:expr, $far:expr]
    ) => {
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

        #[inline(always)]
        unsafe fn store_even(
            self,
            target: *mut $t,
            (near, far): Self::EvenMask,
            vector: Self::Vector,
        ) {
            let [spread_near, spread_far] = <Self as Simd<$t>>::zip(self, vector, vector);
            // SAFETY: the caller promises that the even elements of the mask's lanes are writable,
            // and the instructions touch no other; `self` proves the instructions.
            unsafe {
                $store(target, near, spread_near);
                $store(target.wrapping_add(<Avx512 as Simd<$t>>::LANES), far, spread_far);
            }
        }

        #[inline(always)]
        fn zip(self, a: Self::Vector, b: Self::Vector) -> [Self::Vector; 2] {
            // SAFETY: `self` proves that the machine has the instructions.
            unsafe { [$permute(a, $near, b), $permute(a, $far, b)] }
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
            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
            [_mm256_unpacklo_ps, _mm256_unpackhi_ps, _mm256_permute2f128_ps]
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
            _mm256_setr_epi64x(0, 1, 2, 3),
            [_mm256_unpacklo_pd, _mm256_unpackhi_pd, _mm256_permute2f128_pd]
        );
    };
    (
        $t:ty, $load:ident, $store:ident, $int:ty, $set:ident, $greater:ident, $index:expr,
        [$low:ident, $high:ident, $halves:ident]
    ) => {
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

        #[inline(always)]
        fn zip(self, a: Self::Vector, b: Self::Vector) -> [Self::Vector; 2] {
            // SAFETY: `self` proves that the machine has the instructions.
            unsafe {
                // Both work on each half of a register by itself.
                let (low, high) = ($low(a, b), $high(a, b));
                [$halves::<0x20>(low, high), $halves::<0x31>(low, high)]
            }
        }
    };
}

x86!(
    Avx512,
    "avx512f,avx2,fma",
    f32,
    __m512,
    16,
    32,
    [
        1: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        2: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        3: [1 2 3 4 5 6 7 8 9],
        4: [1 2 3 4 5 6]
    ],
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_max_ps,
    mask_registers
);
x86!(
    Avx512,
    "avx512f,avx2,fma",
    f64,
    __m512d,
    8,
    32,
    [
        1: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        2: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        3: [1 2 3 4 5 6 7 8 9],
        4: [1 2 3 4 5 6]
    ],
    _mm512_setzero_pd,
    _mm512_set1_pd,
    _mm512_fmadd_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_add_pd,
    _mm512_sub_pd,
    _mm512_max_pd,
    mask_registers
);
x86!(
    Avx2,
    "avx2,fma",
    f32,
    __m256,
    8,
    16,
    [
        1: [1 2 3 4 5 6],
        2: [1 2 3 4 5 6],
        3: [1 2 3 4],
        4: [1 2]
    ],
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_max_ps,
    mask_vectors
);
x86!(
    Avx2,
    "avx2,fma",
    f64,
    __m256d,
    4,
    16,
    [
        1: [1 2 3 4 5 6],
        2: [1 2 3 4 5 6],
        3: [1 2 3 4],
        4: [1 2]
    ],
    _mm256_setzero_pd,
    _mm256_set1_pd,
    _mm256_fmadd_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    _mm256_max_pd,
    mask_vectors
);
