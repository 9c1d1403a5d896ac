//! What a convolution is computed with, and the sizes that its work is cut into.

use std::ops::{Deref, Range};

use super::strip::reading::{Blocks, Reading};
use crate::machine::Machine;
use crate::machine::element::Element;
use crate::machine::memory::Memory;
use crate::machine::threads::cut;

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
    /// Most tiles of Winograd's algorithms at a time, whose products wait in L2.
    pub tiles: usize,
    /// Most elements of a thread's transformed tiles, half of L2.
    pub transformed: usize,
    /// Most elements of transformed tiles that all threads share.
    pub shared_transformed: usize,
    /// Input channels whose kernels are transformed at a time, where the transformed kernel never exists.
    pub transformed_depth: usize,
    /// Most elements of transformed tiles of input and output for a gradient of the kernel, which all
    /// threads share.
    pub gradient_transformed: usize,
    /// Most sums of such a gradient that wait in memory from region to region.
    pub gradient_sums: usize,
    /// Most elements of a transformed kernel that is made as a whole.
    pub whole_kernel: usize,
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
            tiles: 80,
            transformed: 1 << 17,
            shared_transformed: 3 << 18,
            transformed_depth: 64,
            gradient_transformed: 5 << 18,
            gradient_sums: 5 << 17,
            whole_kernel: 1 << 20,
        }
    }
}

impl Blocking {
    /// Cuts source channels so that each part's taps are at most `depth` steps.
    pub fn depths(&self, channels: usize, taps: usize) -> Vec<Range<usize>> {
        let most = (self.depth / taps.max(1)).max(1);
        cut(channels, channels.div_ceil(most)).collect()
    }

    /// Blocks whose strips of `channels` channels fit, and what else `fits` demands of lines and columns.
    pub fn blocks(
        &self,
        reading: &Reading,
        batch: usize,
        channels: usize,
        fits: impl Fn(usize, usize) -> bool,
    ) -> Blocks {
        reading.blocks(batch, |lines, cols| {
            lines * cols <= self.pixels
                && reading.channel_len(lines, cols).saturating_mul(channels) <= self.strip
                && fits(lines, cols)
        })
    }
}

/// A machine and the sizes to use it with.
#[derive(Debug, Clone, Copy)]
pub struct Engine<'m, T> {
    pub machine: Machine<'m, T>,
    pub blocking: Blocking,
}

impl<'m, T: Element> Engine<'m, T> {
    /// The best of this machine.
    pub fn new(memory: &'m Memory<T>) -> Self {
        Self { machine: Machine::new(memory), blocking: Blocking::default() }
    }
}

impl<'m, T> Deref for Engine<'m, T> {
    type Target = Machine<'m, T>;

    fn deref(&self) -> &Machine<'m, T> {
        &self.machine
    }
}
