//! Vector instruction sets. Algorithms are generic over [`Simd`]; only the leaves below name an
//! instruction set, and [`Element::dispatch`] picks one at run time.
//!
//! Within one instruction set every element goes through the same operation, `a * b + c` by
//! [`Simd::fma`] or [`Simd::fma_scalar`], whatever lane or loop remainder it falls in. That is
//! what makes results independent of how work is cut.

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;
use std::sync::OnceLock;

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

    /// All lanes zero.
    fn zero(self) -> Self::Vector;
    /// All lanes `value`.
    fn splat(self, value: T) -> Self::Vector;
    /// `a * b + c` in each lane, rounded as [`Simd::fma_scalar`] does.
    fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a * b + c`: one rounding where the instruction set has a fused operation, else two.
    fn fma_scalar(self, a: T, b: T, c: T) -> T;

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
    /// The lanes of two registers in turn: `a₀ b₀ a₁ b₁ …`, the near half and the far half.
    fn zip(self, a: Self::Vector, b: Self::Vector) -> [Self::Vector; 2];
    /// Writes the lanes `mask` to `target` plus twice the lane.
    ///
    /// # Safety
    /// `target` plus twice the lane must be valid for writing for each lane of `mask`; nothing else is
    /// touched.
    unsafe fn store_even(self, target: *mut T, mask: Self::EvenMask, vector: Self::Vector);

    /// Most registers side by side in a tile of so many rows: sums, columns and a broadcast have a
    /// register each.
    fn tile_vectors(rows: usize) -> usize {
        let vectors = (Self::REGISTERS - 1).checked_div(rows + 1);
        vectors.map_or(1, |vectors| vectors.clamp(1, MOST_VECTORS))
    }

    /// The register tile, [`super::gemm::tile::tile`], of `rows` in `1..=MR` by `vectors` in
    /// `1..=tile_vectors(rows)`.
    ///
    /// # Safety
    /// As for [`super::gemm::tile::tile`].
    unsafe fn tile(
        self,
        rows: usize,
        vectors: usize,
        operands: &super::gemm::tile::Operands<T>,
        out: super::gemm::tile::Sums<T>,
    );
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
pub trait Kernel<T: Copy> {
    /// What it computes.
    type Output;
    /// Runs with one instruction set.
    fn run<S: Simd<T>>(self, simd: S) -> Self::Output;
}

/// Element types that have instruction sets; the seal of [`crate::Scalar`].
pub trait Element: Copy + Sized {
    /// Runs `kernel` with the instruction set `isa`, which this machine must have.
    #[doc(hidden)]
    fn dispatch_to<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output;

    /// Runs `kernel` with the best instruction set of this machine.
    #[doc(hidden)]
    fn dispatch<K: Kernel<Self>>(kernel: K) -> K::Output {
        Self::dispatch_to(Isa::active(), kernel)
    }
}

/// The instruction sets there are code paths for, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// 512-bit vectors on x86-64.
    Avx512,
    /// 256-bit vectors with fused multiply-add on x86-64.
    Avx2,
    /// 128-bit vectors on AArch64.
    Neon,
    /// Plain Rust.
    Portable,
    /// Plain Rust with registers of the size of AVX-512.
    #[cfg(test)]
    Wide,
}

impl Isa {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Avx512, "avx512"),
        (Self::Avx2, "avx2"),
        (Self::Neon, "neon"),
        (Self::Portable, "portable"),
    ];

    /// Whether this machine has the instructions.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            Self::Portable => true,
            #[cfg(test)]
            Self::Wide => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// What `DO_CONV_ISA` calls it.
    pub fn name(self) -> &'static str {
        let known = Self::ALL.into_iter().find(|(isa, _)| *isa == self);
        known.map_or("portable", |(_, name)| name)
    }

    /// The best available one, or that named by the environment variable `DO_CONV_ISA`
    /// (`avx512`, `avx2`, `neon`, `portable`) if this machine has it. Read once.
    pub fn active() -> Self {
        static ACTIVE: OnceLock<Isa> = OnceLock::new();
        *ACTIVE.get_or_init(|| {
            let asked = std::env::var("DO_CONV_ISA").unwrap_or_default();
            let available = || Self::ALL.into_iter().filter(|(isa, _)| isa.available());
            available()
                .find(|(_, name)| asked.eq_ignore_ascii_case(name))
                .or_else(|| available().next())
                .map_or(Self::Portable, |(isa, _)| isa)
        })
    }

    /// Every available one.
    #[cfg(test)]
    pub fn all_available() -> impl Iterator<Item = Self> {
        let isas = Self::ALL.into_iter().map(|(isa, _)| isa).chain([Self::Wide]);
        isas.filter(|isa| isa.available())
    }
}

/// Writes [`Simd::tile`]: one monomorphic register tile for each number of registers side by side and
/// of rows, behind a function that is compiled once with the instructions enabled.
macro_rules! tiles {
    ($t:ty, [$($feature:meta)?], $($vectors:literal: $rows:tt),*) => {
        unsafe fn tile(
            self,
            rows: usize,
            vectors: usize,
            operands: &$crate::conv::gemm::tile::Operands<$t>,
            out: $crate::conv::gemm::tile::Sums<$t>,
        ) {
            $(#[$feature])?
            unsafe fn dispatch<S: Simd<$t>>(
                simd: S,
                rows: usize,
                vectors: usize,
                operands: &$crate::conv::gemm::tile::Operands<$t>,
                out: $crate::conv::gemm::tile::Sums<$t>,
            ) {
                match vectors {
                    $($vectors => $crate::conv::simd::tiles!(
                        @rows $t, simd, rows, operands, out, $vectors, $rows
                    ),)*
                    _ => unreachable!("so many registers don't fit side by side"),
                }
            }
            // SAFETY: the caller's promise, passed on; `self` proves the instructions.
            unsafe { dispatch(self, rows, vectors, operands, out) }
        }
    };
    (@rows $t:ty, $simd:ident, $of:ident, $operands:ident, $out:ident, $vectors:literal,
        [$($rows:literal)*]) => {
        match $of {
            $(
                // SAFETY: the caller's promise, passed on.
                $rows => unsafe {
                    $crate::conv::gemm::tile::tile::<$t, S, $rows, $vectors>($simd, $operands, $out)
                },
            )*
            _ => unreachable!("so many rows don't fit"),
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

/// Writes [`Element`] for a type: a function with the instructions enabled for each set.
macro_rules! dispatch {
    ($t:ty) => {
        impl Element for $t {
            fn dispatch_to<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Output {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => {
                        assert!(isa.available());
                        // SAFETY: the instructions were just found on this machine.
                        unsafe { x86::with_avx512(kernel) }
                    }
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => {
                        assert!(isa.available());
                        // SAFETY: the instructions were just found on this machine.
                        unsafe { x86::with_avx2(kernel) }
                    }
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => kernel.run(neon::Neon::new()),
                    #[cfg(test)]
                    Isa::Wide => kernel.run(portable::Wide),
                    _ => kernel.run(portable::Portable),
                }
            }
        }
    };
}
dispatch!(f32);
dispatch!(f64);
