//! Plain Rust: arrays that the compiler may vectorize. Multiply and add round separately, since
//! a fused operation without hardware is a slow library call.

use super::{Simd, even_lane_by_lane, lane_by_lane, tiles};

#[derive(Clone, Copy)]
pub struct Portable;

/// Of the sizes of AVX-512, so that every machine's tests see what only wide registers do.
#[cfg(test)]
#[derive(Clone, Copy)]
pub struct Wide;

macro_rules! portable {
    ($set:ty, $t:ty, $lanes:literal, $registers:literal, $rows:literal, $($tiles:tt)*) => {
        impl Simd<$t> for $set {
            type Vector = [$t; $lanes];
            const LANES: usize = $lanes;
            const REGISTERS: usize = $registers;
            const MR: usize = $rows;

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
            tiles!($t, [], $($tiles)*);
        }
    };
}
// Each register is an array that takes several of the machine's.
portable!(Portable, f32, 8, 6, 4, 1: [1 2 3 4], 2: [1]);
portable!(Portable, f64, 4, 6, 4, 1: [1 2 3 4], 2: [1]);

#[cfg(test)]
macro_rules! wide {
    ($t:ty, $lanes:literal) => {
        portable!(
            Wide, $t, $lanes, 32, 14,
            1: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
            2: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
            3: [1 2 3 4 5 6 7 8 9],
            4: [1 2 3 4 5 6]
        );
    };
}
#[cfg(test)]
wide!(f32, 16);
#[cfg(test)]
wide!(f64, 8);
