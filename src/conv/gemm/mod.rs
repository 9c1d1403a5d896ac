//! Convolution as a blocked matrix product whose im2col is a copy of the image rows that a block of
//! pixels reads, each pixel once, padding included: a [`strip`].
//!
//! With the group's kernel as a matrix `A` `[r, K]`, `K = n·MN`, and the column matrix `X` `[K, P]`
//! of all pixels of the batch, the forward pass is `y = A · X`, the gradient of the input is the same
//! product for the transposed kernel ([`input_gradient`]), and the gradient of the kernel is
//! `dy · Xᵀ` ([`kernel_gradient`]). `X` as a whole never exists: a row of it, read through one tap, is
//! a part of a strip.
//!
//! ```text
//! for each task: a block of pixels, some output channels         in parallel; each owns a part of y
//!     for each few of the n input channels                       the sum over K, always in this order
//!         copy the block's strip of these channels
//!         for each few registers of output channels              this part of A stays in L2
//!             for each piece of a line, at most MR pixels
//!                 acc[pixels, channels] += Σ x · A               the register tile: a pixel is
//!                     over the taps that it doesn't read zeros   broadcast, a register holds
//!                     through, over the channels                 channels
//!     write acc transposed, with the bias, to the lines of y
//! ```
//!
//! An element of `y` is summed over `K` in an order that its layer and its place in the image fix:
//! results depend neither on the number of threads nor on the other images of the batch.
//! `docs/engine.md` says why it is so.

pub mod correlate;
pub mod input_gradient;
pub mod kernel;
pub mod kernel_gradient;
pub mod plan;
pub mod source;
pub mod strip;
pub mod tile;

use std::ops::Range;

use crate::Scalar;
use crate::conv::simd::{Isa, Kernel, Simd};
use crate::memory::Memory;
use source::{Blocks, Source};

/// The sizes that a product is cut into. Any give right results; tests set tiny ones.
#[derive(Debug, Clone, Copy)]
pub struct Blocking {
    /// Steps of a sum at a time, `K` cut at whole channels: two registers of channels take 72 KiB of
    /// L2, and reading and writing a tile's sums doesn't count.
    pub depth: usize,
    /// Most pixels of a block: enough tiles to use a part of the kernel for while it is near.
    pub pixels: usize,
    /// Most elements of a strip, a quarter of L2, if a line of one channel has no more.
    pub strip: usize,
    /// Most panels of output channels of a task, whose sums wait in L2 between parts of `K`.
    pub panels: usize,
    /// Most elements of the kernel's gradient that a task sums, a quarter of L2.
    pub gradient: usize,
    /// Most panels of output channels of such a task.
    pub gradient_panels: usize,
    /// Multiply-accumulates below which work stays on the calling thread.
    pub parallel_above: usize,
}

impl Default for Blocking {
    fn default() -> Self {
        Self {
            depth: 576,
            pixels: 224,
            strip: 1 << 16,
            panels: 32,
            gradient: 1 << 16,
            gradient_panels: 8,
            parallel_above: 1 << 22,
        }
    }
}

impl Blocking {
    /// Cuts source channels so that each part's taps are at most `depth` steps.
    pub fn depths(&self, channels: usize, taps: usize) -> Vec<Range<usize>> {
        let most = (self.depth / taps.max(1)).max(1);
        cut(channels, channels.div_ceil(most)).collect()
    }

    /// Blocks whose strips of so many channels fit, and what else must.
    pub fn blocks(
        &self,
        source: &Source,
        batch: usize,
        channels: usize,
        fits: impl Fn(usize, usize) -> bool,
    ) -> Blocks {
        source.blocks(batch, |lines, cols| {
            lines * cols <= self.pixels
                && source.channel_len(lines, cols).saturating_mul(channels) <= self.strip
                && fits(lines, cols)
        })
    }
}

/// An instruction set, the sizes to use with it and the buffers to work in.
#[derive(Debug, Clone, Copy)]
pub struct Engine<'m, T> {
    pub isa: Isa,
    pub blocking: Blocking,
    pub memory: &'m Memory<T>,
}

impl<'m, T: Scalar> Engine<'m, T> {
    /// The best of this machine.
    pub fn new(memory: &'m Memory<T>) -> Self {
        Self { isa: Isa::active(), blocking: Blocking::default(), memory }
    }

    /// Lanes of a register.
    pub fn lanes(&self) -> usize {
        self.tile_size().1
    }

    /// Most rows of a register tile.
    pub fn most_rows(&self) -> usize {
        self.tile_size().0
    }

    fn tile_size(&self) -> (usize, usize) {
        struct TileSize;
        impl<T: Copy> Kernel<T> for TileSize {
            type Output = (usize, usize);
            #[inline(always)]
            fn run<S: Simd<T>>(self, _: S) -> Self::Output {
                (S::MR, S::LANES)
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
pub fn cut(len: usize, parts: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let parts = parts.min(len);
    (0..parts).map(move |part| cut_at(len, parts, part))
}

/// One of the ranges of [`cut`], for at most `len` parts.
pub fn cut_at(len: usize, parts: usize, part: usize) -> Range<usize> {
    let bound = |part: usize| part * (len / parts) + part.min(len % parts);
    bound(part)..bound(part + 1)
}
