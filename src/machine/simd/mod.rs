//! Vector instruction sets. Algorithms are generic over [`Simd`]; only the leaves below name an
//! instruction set, and [`Element::dispatch`](super::element::Element::dispatch) picks one at run time.
//!
//! Within one instruction set every element goes through the same operation, `a * b + c` by
//! [`Simd::fma`], whatever lane or loop remainder it falls in. That is what makes results independent of
//! how work is cut.

#[cfg(target_arch = "aarch64")]
pub mod neon;
pub mod portable;
pub mod tile;
#[cfg(target_arch = "x86_64")]
pub mod x86;

use std::ops::Range;

use tile::{Across, Operands, Sums};

/// A vector instruction set for elements of type `T`. Holding a value is the proof that this
/// machine has the instructions.
pub trait Simd<T: Copy>: Copy {
    /// A vector register.
    type Vector: Copy;
    /// Some consecutive lanes of a register.
    type Mask: Copy;
    /// As [`Simd::Mask`], for reading every second element.
    type EvenMask: Copy;
    /// Elements in a register.
    const LANES: usize;
    /// Registers.
    const REGISTERS: usize;
    /// Most rows of a register tile.
    const MR: usize;
    /// Whether [`Simd::load_masked`] takes one instruction.
    const MASKS: bool = false;

    /// All lanes zero.
    fn zero(self) -> Self::Vector;
    /// All lanes `value`.
    fn splat(self, value: T) -> Self::Vector;
    /// `a * b + c` in each lane: one rounding where the instruction set has a fused operation, else two.
    fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// Reads `LANES` elements.
    ///
    /// # Safety
    /// `source` must be valid for reading `LANES` elements; no alignment is needed.
    unsafe fn load(self, source: *const T) -> Self::Vector;
    /// Writes `LANES` elements.
    ///
    /// # Safety
    /// `target` must be valid for writing `LANES` elements; no alignment is needed.
    unsafe fn store(self, target: *mut T, vector: Self::Vector);

    /// The lanes `lanes` of a register.
    fn mask(self, lanes: Range<usize>) -> Self::Mask;
    /// Reads the elements of the lanes `mask` from `source` plus the lane; zero in other lanes.
    ///
    /// # Safety
    /// `source` plus the lane must be valid for reading for each lane of `mask`; nothing else is
    /// touched, and `source` itself may point anywhere.
    unsafe fn load_masked(self, source: *const T, mask: Self::Mask) -> Self::Vector;
    /// The lanes `lanes` of a register, for [`Simd::load_even`].
    fn even_mask(self, lanes: Range<usize>) -> Self::EvenMask;
    /// As [`Simd::load_masked`], from `source` plus twice the lane.
    ///
    /// # Safety
    /// `source` plus twice the lane must be valid for reading for each lane of `mask`; nothing else
    /// is touched.
    unsafe fn load_even(self, source: *const T, mask: Self::EvenMask) -> Self::Vector;
    /// Writes the lanes `mask` to `target` plus the lane.
    ///
    /// # Safety
    /// `target` plus the lane must be valid for writing for each lane of `mask`; nothing else is
    /// touched.
    unsafe fn store_masked(self, target: *mut T, mask: Self::Mask, vector: Self::Vector);
    /// `a + b` in each lane.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `|a|` in each lane.
    fn abs(self, a: Self::Vector) -> Self::Vector;

    /// Asks for the cache line at an address, any address, to be brought near.
    fn prefetch(self, _source: *const T) {}
    /// Asks for the cache line at an address, any address, to be brought near to be written.
    fn prefetch_to_write(self, _target: *const T) {}
    /// The lanes of two registers in turn: `a₀ b₀ a₁ b₁ …`, the near half and the far half.
    fn zip(self, a: Self::Vector, b: Self::Vector) -> [Self::Vector; 2];
    /// Writes the lanes `mask` to `target` plus twice the lane.
    ///
    /// # Safety
    /// `target` plus twice the lane must be valid for writing for each lane of `mask`; nothing else is
    /// touched.
    unsafe fn store_even(self, target: *mut T, mask: Self::EvenMask, vector: Self::Vector);

    /// Most registers side by side in a tile of `rows` rows: sums, columns and a broadcast have a
    /// register each.
    fn tile_vectors(rows: usize) -> usize {
        let vectors = (Self::REGISTERS - 1).checked_div(rows + 1);
        vectors.map_or(1, |vectors| vectors.clamp(1, MOST_VECTORS))
    }

    /// The register tile, [`tile::tile`], of `rows` in `1..=MR` by `vectors` in
    /// `1..=tile_vectors(rows)`.
    ///
    /// # Safety
    /// As for [`tile::tile`].
    unsafe fn tile(self, rows: usize, vectors: usize, operands: &Operands<T>, out: Sums<T>);

    /// The register tile [`tile::tile_across`], as [`Simd::tile`].
    ///
    /// # Safety
    /// As for [`tile::tile_across`].
    unsafe fn tile_across(self, rows: usize, vectors: usize, operands: &Across<T>, out: Sums<T>);
}

/// Reads the first `LANES` elements.
#[inline(always)]
pub fn load<T: Copy, S: Simd<T>>(simd: S, source: &[T]) -> S::Vector {
    assert!(source.len() >= S::LANES);
    // SAFETY: there are LANES elements, as just asserted.
    unsafe { simd.load(source.as_ptr()) }
}

/// Writes the first `LANES` elements.
#[inline(always)]
pub fn store<T: Copy, S: Simd<T>>(simd: S, target: &mut [T], vector: S::Vector) {
    assert!(target.len() >= S::LANES);
    // SAFETY: there are LANES elements, as just asserted.
    unsafe { simd.store(target.as_mut_ptr(), vector) }
}

/// Reads at most a register's lanes; zero in other lanes.
#[inline(always)]
pub fn load_part<T: Copy, S: Simd<T>>(simd: S, source: &[T]) -> S::Vector {
    assert!(source.len() <= S::LANES);
    // SAFETY: the mask has a lane for each element.
    unsafe { simd.load_masked(source.as_ptr(), simd.mask(0..source.len())) }
}

/// Writes the first lanes of a register.
#[inline(always)]
pub fn store_part<T: Copy, S: Simd<T>>(simd: S, target: &mut [T], vector: S::Vector) {
    assert!(target.len() <= S::LANES);
    // SAFETY: the mask has a lane for each element.
    unsafe { simd.store_masked(target.as_mut_ptr(), simd.mask(0..target.len()), vector) }
}

/// No register has more lanes.
pub const MOST_LANES: usize = 16;

/// No register tile is wider, in registers.
pub const MOST_VECTORS: usize = 4;

/// Transposes a square of as many vectors as each has lanes; others aren't touched.
///
/// Each round takes the lanes of a vector and of the one half a square further in turn; with as many
/// rounds as the number of lanes has bits, element `(i, j)` has moved to `(j, i)`.
///
/// Keep to constant bounds where a square is used, without closures: an index that isn't known keeps all
/// of it out of registers.
#[inline(always)]
pub fn transpose<T: Copy, S: Simd<T>>(simd: S, vectors: &mut [S::Vector; MOST_LANES]) {
    let half = S::LANES / 2;
    for _ in 0..S::LANES.ilog2() {
        let before = *vectors;
        for index in 0..half {
            let [near, far] = simd.zip(before[index], before[index + half]);
            vectors[2 * index] = near;
            vectors[2 * index + 1] = far;
        }
    }
}

/// A computation that is generic over the instruction set. Implementations mark `run`
/// `#[inline(always)]`, so that its body is compiled with the instructions enabled.
pub trait WithSimd<T: Copy> {
    /// What it computes.
    type Output;
    /// Runs with one instruction set.
    fn run<S: Simd<T>>(self, simd: S) -> Self::Output;
}

/// Writes [`Simd::tile`] and [`Simd::tile_across`]: one monomorphic register tile for each number of
/// registers side by side and of rows, behind a function that is compiled once with the instructions
/// enabled.
macro_rules! tiles {
    ($t:ty, $features:tt, $($vectors:literal: $rows:tt),*) => {
        $crate::machine::simd::tiles!(@tile tile, Operands, $t, $features, $($vectors: $rows),*);
        $crate::machine::simd::tiles!(@tile tile_across, Across, $t, $features, $($vectors: $rows),*);
    };
    (@tile $tile:ident, $operands:ident, $t:ty, [$($feature:meta)?], $($vectors:literal: $rows:tt),*) => {
        unsafe fn $tile(
            self,
            rows: usize,
            vectors: usize,
            operands: &$crate::machine::simd::tile::$operands<$t>,
            out: $crate::machine::simd::tile::Sums<$t>,
        ) {
            $(#[$feature])?
            unsafe fn dispatch<S: Simd<$t>>(
                simd: S,
                rows: usize,
                vectors: usize,
                operands: &$crate::machine::simd::tile::$operands<$t>,
                out: $crate::machine::simd::tile::Sums<$t>,
            ) {
                match vectors {
                    $($vectors => $crate::machine::simd::tiles!(
                        @rows $tile, $t, simd, rows, operands, out, $vectors, $rows
                    ),)*
                    _ => unreachable!("no tile has so many registers side by side"),
                }
            }
            // SAFETY: the caller's promise, passed on; `self` proves the instructions.
            unsafe { dispatch(self, rows, vectors, operands, out) }
        }
    };
    (@rows $tile:ident, $t:ty, $simd:ident, $of:ident, $operands:ident, $out:ident, $vectors:literal,
        [$($rows:literal)*]) => {
        match $of {
            $(
                // SAFETY: the caller's promise, passed on.
                $rows => unsafe {
                    $crate::machine::simd::tile::$tile::<$t, S, $rows, $vectors>($simd, $operands, $out)
                },
            )*
            _ => unreachable!("no tile has so many rows"),
        }
    };
}
use tiles;

/// Writes the reading and writing of every second element, one at a time.
macro_rules! even_lane_by_lane {
    ($t:ty) => {
        type EvenMask = (u8, u8);

        #[inline(always)]
        fn even_mask(self, lanes: std::ops::Range<usize>) -> Self::EvenMask {
            (lanes.start as u8, lanes.end as u8)
        }

        #[inline(always)]
        unsafe fn load_even(self, source: *const $t, (start, end): Self::EvenMask) -> Self::Vector {
            let mut lanes = [0.0; <Self as Simd<$t>>::LANES];
            for lane in usize::from(start)..usize::from(end) {
                // SAFETY: the caller promises that each lane of the mask is readable.
                lanes[lane] = unsafe { *source.wrapping_add(2 * lane) };
            }
            // SAFETY: `lanes` has LANES elements.
            unsafe { self.load(lanes.as_ptr()) }
        }

        #[inline(always)]
        unsafe fn store_even(
            self,
            target: *mut $t,
            (start, end): Self::EvenMask,
            vector: Self::Vector,
        ) {
            let mut lanes = [0.0; <Self as Simd<$t>>::LANES];
            // SAFETY: `lanes` has LANES elements.
            unsafe { self.store(lanes.as_mut_ptr(), vector) };
            for lane in usize::from(start)..usize::from(end) {
                // SAFETY: the caller promises that each lane of the mask is writable.
                unsafe { *target.wrapping_add(2 * lane) = lanes[lane] };
            }
        }
    };
}
use even_lane_by_lane;

/// Writes the masked operations of [`Simd`] for masks that are ranges of lanes, one element at a time.
macro_rules! lane_by_lane {
    ($t:ty) => {
        type Mask = (u8, u8);

        #[inline(always)]
        fn mask(self, lanes: std::ops::Range<usize>) -> Self::Mask {
            (lanes.start as u8, lanes.end as u8)
        }

        even_lane_by_lane!($t);

        #[inline(always)]
        unsafe fn load_masked(self, source: *const $t, (start, end): Self::Mask) -> Self::Vector {
            let mut lanes = [0.0; <Self as Simd<$t>>::LANES];
            for lane in usize::from(start)..usize::from(end) {
                // SAFETY: the caller promises that each lane of the mask is readable.
                lanes[lane] = unsafe { *source.wrapping_add(lane) };
            }
            // SAFETY: `lanes` has LANES elements.
            unsafe { self.load(lanes.as_ptr()) }
        }

        #[inline(always)]
        unsafe fn store_masked(
            self,
            target: *mut $t,
            (start, end): Self::Mask,
            vector: Self::Vector,
        ) {
            let mut lanes = [0.0; <Self as Simd<$t>>::LANES];
            // SAFETY: `lanes` has LANES elements.
            unsafe { self.store(lanes.as_mut_ptr(), vector) };
            for lane in usize::from(start)..usize::from(end) {
                // SAFETY: the caller promises that each lane of the mask is writable.
                unsafe { *target.wrapping_add(lane) = lanes[lane] };
            }
        }
    };
}
use lane_by_lane;
