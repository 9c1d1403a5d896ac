//! Plain Rust: arrays that the compiler may vectorize. Multiply and add round separately, since
//! a fused operation without hardware is a slow library call.

use super::{Simd, even_lane_by_lane, lane_by_lane, tiles};

#[derive(Clone, Copy)]
pub struct Portable;

macro_rules! portable {
    ($t:ty, $lanes:literal) => {
        impl Simd<$t> for Portable {
            type Vector = [$t; $lanes];
            const LANES: usize = $lanes;
            // Each is an array that takes several of the machine's.
            const REGISTERS: usize = 6;
            const MR: usize = 4;

            #[inline(always)]
            fn zero(self) -> Self::Vector {
                [0.0; $lanes]
            }

            #[inline(always)]
            fn splat(self, value: $t) -> Self::Vector {
                [value; $lanes]
            }

            #[inline(always)]
            fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
                std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
            }

            #[inline(always)]
            fn fma_scalar(self, a: $t, b: $t, c: $t) -> $t {
                a * b + c
            }

            #[inline(always)]
            unsafe fn load(self, source: *const $t) -> Self::Vector {
                // SAFETY: the caller promises LANES readable elements; an array of elements has
                // their alignment.
                unsafe { *source.cast() }
            }

            #[inline(always)]
            unsafe fn store(self, target: *mut $t, vector: Self::Vector) {
                // SAFETY: the caller promises LANES writable elements.
                unsafe { *target.cast() = vector }
            }

            #[inline(always)]
            fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
                std::array::from_fn(|lane| a[lane] + b[lane])
            }

            #[inline(always)]
            fn abs(self, a: Self::Vector) -> Self::Vector {
                a.map(<$t>::abs)
            }

            #[inline(always)]
            fn zip(self, a: Self::Vector, b: Self::Vector) -> [Self::Vector; 2] {
                let lane = |lane: usize| if lane % 2 == 0 { a[lane / 2] } else { b[lane / 2] };
                [0, $lanes].map(|start| std::array::from_fn(|index| lane(start + index)))
            }

            lane_by_lane!($t);
            tiles!($t, [], 1: [1 2 3 4], 2: [1]);
        }
    };
}
portable!(f32, 8);
portable!(f64, 4);
