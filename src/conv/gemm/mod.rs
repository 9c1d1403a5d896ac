//! Convolution as a blocked matrix product whose packing step is the im2col.
//!
//! With the group's kernel as a matrix `A` `[r, K]`, `K = n·MN`, and the column matrix `X` `[K, P]`
//! of all pixels of the batch, the forward pass is `y = A · X`, the gradient of the input is the same
//! product for the transposed kernel ([`input_gradient`]), and the gradient of the kernel is
//! `dy · Xᵀ` ([`kernel_gradient`]). Each part of `X` is written straight from the image into a
//! panel when it is needed, by [`source::Columns`].
//!
//! ```text
//! for each task: a block of pixels, some rows of A          in parallel; each owns a part of y
//!     for each KC of the K rows of X                        the sum over K, always in this order
//!         pack the block's panels of X, [KC, NR] each
//!         for each panel of X, for each panel of A          one panel of X stays in L1
//!             y[MR, NR] += A[MR, KC] · X[KC, NR]            the register tile
//! ```
//!
//! An element of `y` is summed in the order of `K`, in stretches of `KC`, wherever it lies: results
//! depend neither on the number of threads nor on the other images of the batch.

pub mod correlate;
pub mod input_gradient;
pub mod kernel_gradient;
pub mod microkernel;
pub mod source;

use crate::Scalar;
use crate::conv::simd::{Isa, Kernel, Simd};

/// The sizes that a product is cut into. Any give right results; tests set tiny ones.
#[derive(Debug, Clone, Copy)]
pub struct Blocking {
    /// `KC`, rows of the column matrix packed at once: a panel of `KC` rows fills most of L1.
    pub depth: usize,
    /// Panels packed at once: with `KC` rows each they fill a part of L2.
    pub panels: usize,
    /// Most rows of the column matrix, and most output channels, of one task of the kernel
    /// gradient, whose sums stay in L2.
    pub gradient_rows: usize,
    /// Multiply-accumulates below which work stays on the calling thread.
    pub parallel_above: usize,
}

impl Default for Blocking {
    fn default() -> Self {
        Self { depth: 256, panels: 8, gradient_rows: 288, parallel_above: 1 << 19 }
    }
}

/// An instruction set and the sizes to use with it.
#[derive(Debug, Clone, Copy)]
pub struct Engine {
    pub isa: Isa,
    pub blocking: Blocking,
}

impl Engine {
    /// The best of this machine.
    pub fn new() -> Self {
        Self { isa: Isa::active(), blocking: Blocking::default() }
    }

    /// `MR` and `NR` of the register tile.
    pub fn tile_size<T: Scalar>(&self) -> (usize, usize) {
        struct TileSize;
        impl<T: Copy> Kernel<T> for TileSize {
            type Output = (usize, usize);
            #[inline(always)]
            fn run<S: Simd<T>>(self, _: S) -> Self::Output {
                (S::MR, S::NR)
            }
        }
        T::dispatch_to(self.isa, TileSize)
    }

    /// Threads to spread `maccs` over.
    pub fn threads(&self, maccs: usize) -> usize {
        if maccs < self.blocking.parallel_above { 1 } else { rayon::current_num_threads() }
    }
}

/// Cuts `0..len` into `parts` ranges, at most `len`, whose sizes differ by one at most.
pub fn cut(len: usize, parts: usize) -> impl Iterator<Item = std::ops::Range<usize>> + Clone {
    let parts = parts.min(len);
    let bound = move |part: usize| part * (len / parts) + part.min(len % parts);
    (0..parts).map(move |part| bound(part)..bound(part + 1))
}
