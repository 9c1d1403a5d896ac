//! NEON, which every AArch64 machine that Rust's standard library runs on has.

use std::arch::aarch64::*;

use super::{Simd, even_lane_by_lane, lane_by_lane, tiles};

#[derive(Clone, Copy)]
pub struct Neon(());

impl Neon {
    pub fn new() -> Self {
        Self(())
    }
}

macro_rules! neon {
    ($t:ty, $vector:ty, $lanes:literal, $splat:ident, $fma:ident, $load:ident, $store:ident, $add:ident, $abs:ident, $near:ident, $far:ident) => {
        impl Simd<$t> for Neon {
            type Vector = $vector;
            const LANES: usize = $lanes;
            const REGISTERS: usize = 32;
            const MR: usize = 14;

            #[inline(always)]
            fn zero(self) -> Self::Vector {
                <Self as Simd<$t>>::splat(self, 0.0)
            }

            #[inline(always)]
            fn splat(self, value: $t) -> Self::Vector {
                // SAFETY: every AArch64 target of this crate has NEON.
                unsafe { $splat(value) }
            }

            #[inline(always)]
            fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                // SAFETY: every AArch64 target of this crate has NEON.
                unsafe { $fma(c, a, b) }
            }


            #[inline(always)]
            unsafe fn load(self, source: *const $t) -> Self::Vector {
                // SAFETY: the caller promises LANES readable elements.
                unsafe { $load(source) }
            }

            #[inline(always)]
            unsafe fn store(self, target: *mut $t, vector: Self::Vector) {
                // SAFETY: the caller promises LANES writable elements.
                unsafe { $store(target, vector) }
            }

            #[inline(always)]
            fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                // SAFETY: every AArch64 target of this crate has NEON.
                unsafe { $add(a, b) }
            }

            #[inline(always)]
            fn abs(self, a: Self::Vector) -> Self::Vector {
                // SAFETY: every AArch64 target of this crate has NEON.
                unsafe { $abs(a) }
            }

            #[inline(always)]
            fn zip(self, a: Self::Vector, b: Self::Vector) -> [Self::Vector; 2] {
                // SAFETY: every AArch64 target of this crate has NEON.
                unsafe { [$near(a, b), $far(a, b)] }
            }

            lane_by_lane!($t);
            tiles!(
                $t,
                [],
                1: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
                2: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
                3: [1 2 3 4 5 6 7 8 9],
                4: [1 2 3 4 5 6]
            );
        }
    };
}
neon!(
    f32,
    float32x4_t,
    4,
    vdupq_n_f32,
    vfmaq_f32,
    vld1q_f32,
    vst1q_f32,
    vaddq_f32,
    vabsq_f32,
    vzip1q_f32,
    vzip2q_f32
);
neon!(
    f64,
    float64x2_t,
    2,
    vdupq_n_f64,
    vfmaq_f64,
    vld1q_f64,
    vst1q_f64,
    vaddq_f64,
    vabsq_f64,
    vzip1q_f64,
    vzip2q_f64
);
