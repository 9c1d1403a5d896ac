//! Sums of pixels by whoever knows them, a register of pixels at a time.
//!
//! ```text
//! for each image, group and block of lines of y      in parallel
//!     copy the strip that the block reads
//!     for each two vectors of pixels, of two lines or of one
//!         for each part of the group's channels
//!             acc[R, 2] = 0, and what the sums add
//!         y[R, 2] = the sum of the parts + bias
//! ```

use std::ops::Range;

use super::blocks;
use super::recent::Recent;
use crate::config::geometry::Geometry;
use crate::conv::engine::Engine;
use crate::conv::strip::Strip;
use crate::conv::strip::axis::TapAxis;
use crate::conv::strip::reading::{Block, Blocks, Reading};
use crate::conv::strip::vectors::{Places, Vectors};
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Need, Scratch};
use crate::machine::shared::Shared;
use crate::machine::simd::{Simd, WithSimd};
use crate::machine::threads::{Queue, cut_at, share};

/// Most output channels of a group: as many as a register of `f32` has lanes at most, since a register of
/// them is as full.
pub const MOST: usize = 16;

/// The channels of a group's strip.
pub struct Source<'a, T, M, E> {
    pub group: usize,
    pub strip: &'a Strip<M, E>,
    pub data: &'a [T],
}

/// What output channels are summed from.
pub trait PixelSums<T: Element>: Sync {
    /// Adds to `sums`, by output channel of the group, what some of its input channels give, in their
    /// order, for `V` vectors of pixels: each starts at a line and column of the block. All these lines
    /// read zeros through the same rows of the kernel. There are lanes past the last column.
    fn add<S: Simd<T>, const V: usize>(
        &self,
        simd: S,
        source: &Source<T, S::Mask, S::EvenMask>,
        inputs: Range<usize>,
        places: [[usize; 2]; V],
        sums: &mut [[S::Vector; V]],
    );
}

/// The sums of a layer's pixels, ready to be computed.
pub struct Job<'a, T, K> {
    groups: usize,
    /// Channels of one group of the source and of the target.
    group_channels: [usize; 2],
    reading: Reading<'a>,
    /// Of one image.
    blocks: Blocks,
    tasks: usize,
    /// Runs of neighbouring tasks, which go to one thread.
    shares: usize,
    /// Input channels of a group that are summed at a time.
    parts: Vec<Range<usize>>,
    sums: K,
    x: &'a [T],
    bias: Option<&'a [T]>,
    isa: Isa,
    threads: usize,
}

impl<'a, T: Element, K: PixelSums<T>> Job<'a, T, K> {
    /// Of at most [`MOST`] output channels a group, with the
    /// [`kernel_axes`](crate::conv::kernel_axes), by `maccs` multiply-accumulates.
    pub fn new(
        engine: &Engine<T>,
        geometry: &Geometry,
        [rows, cols]: &'a [TapAxis; 2],
        parts: Vec<Range<usize>>,
        (sums, maccs): (K, usize),
        x: &'a [T],
        bias: Option<&'a [T]>,
    ) -> Self {
        let spec = &geometry.spec;
        let group_channels = [spec.group_inputs(), spec.group_outputs()];
        let reading = Reading {
            rows,
            cols,
            channels: spec.in_channels,
            zero_rows: false,
            whole_rows: false,
            joined_lines: false,
            tile_rows: None,
        };
        let blocks = blocks(&reading, group_channels[0], usize::MAX);
        let tasks = geometry.batch * spec.groups * blocks.len();
        let threads = engine.threads(maccs);
        Self {
            groups: spec.groups,
            group_channels,
            reading,
            blocks,
            tasks,
            shares: tasks.min(8 * threads),
            parts,
            sums,
            x,
            bias,
            isa: engine.isa,
            threads,
        }
    }

    /// What [`Job::run`] works in.
    pub fn need(&self) -> Need {
        let strip = self.reading.most_elements(&self.blocks, self.group_channels[0]);
        Need {
            threads: self.threads.min(self.shares),
            lens: [strip, 0, 0, 0, 0],
            tables: self.reading.most_tables(&self.blocks),
        }
    }

    /// Writes the sums to `y`.
    pub fn run(&self, scratch: &Scratch<T>, y: &Shared<T>) {
        share(self.threads, self.shares, |queue| {
            scratch.lend(|[strip, ..]| {
                T::dispatch_to(self.isa, Worker { job: self, queue, strip, y });
            });
        });
    }
}

/// A thread's share of the work.
struct Worker<'a, T, K> {
    job: &'a Job<'a, T, K>,
    queue: &'a Queue,
    strip: &'a mut Vec<T>,
    y: &'a Shared<'a, T>,
}

impl<T: Element, K: PixelSums<T>> WithSimd<T> for Worker<'_, T, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { job, queue, strip: data, y } = self;
        let mut strips = Recent::default();
        while let Some(share_index) = queue.take() {
            for task in cut_at(job.tasks, job.shares, share_index) {
                let (plane, index) = (task / job.blocks.len(), task % job.blocks.len());
                let (block, strip) = strips.get(simd, &job.reading, &job.blocks, index);
                job.perform(simd, plane, block, strip, data, y);
            }
        }
    }
}

impl<T: Element, K: PixelSums<T>> Job<'_, T, K> {
    #[inline(always)]
    fn perform<S: Simd<T>>(
        &self,
        simd: S,
        plane_of_groups: usize,
        block: &Block,
        strip: &Strip<S::Mask, S::EvenMask>,
        data: &mut Vec<T>,
        y: &Shared<T>,
    ) {
        let Self { groups, group_channels: [sources, _], ref reading, .. } = *self;
        let [image, group] = [plane_of_groups / groups, plane_of_groups % groups];
        let plane = reading.rows.input * reading.cols.input;
        let x = &self.x[image * groups * sources * plane..];
        strip.fill(simd, x, plane, group * sources..(group + 1) * sources, data);
        let tile = Tile { job: self, block, image, source: Source { group, strip, data }, y };
        let mut sums = [[simd.zero(); 2 * MOST]; 2];
        for places in Vectors::new(strip, [block.lines.len(), block.cols.len()], S::LANES) {
            match places {
                Places::One(places) => tile.compute(simd, places, &mut sums),
                Places::Two(places) => tile.compute(simd, places, &mut sums),
            }
        }
    }
}

/// Some vectors of pixels of a block and what they are summed from.
struct Tile<'a, T, M, E, K> {
    job: &'a Job<'a, T, K>,
    block: &'a Block,
    image: usize,
    source: Source<'a, T, M, E>,
    y: &'a Shared<'a, T>,
}

impl<T: Element, M: Copy, E: Copy, K: PixelSums<T>> Tile<'_, T, M, E, K> {
    #[inline(always)]
    fn compute<S: Simd<T, Mask = M, EvenMask = E>, const V: usize>(
        &self,
        simd: S,
        places: [[usize; 2]; V],
        sums: &mut [[S::Vector; 2 * MOST]; 2],
    ) {
        let Self { job, block, image, ref source, y } = *self;
        let targets = job.group_channels[1];
        let [sums, part] = sums.each_mut().map(|sums| &mut sums.as_chunks_mut::<V>().0[..targets]);
        for (index, inputs) in job.parts.iter().enumerate() {
            part.fill([simd.zero(); V]);
            job.sums.add(simd, source, inputs.clone(), places, part);
            if index == 0 {
                sums.copy_from_slice(part);
                continue;
            }
            for (sums, part) in sums.iter_mut().zip(&*part) {
                for (sum, &part) in sums.iter_mut().zip(part) {
                    *sum = simd.add(*sum, part);
                }
            }
        }
        let [height, width] = [job.reading.rows.output, job.reading.cols.output];
        for (target, sums) in sums.iter().enumerate() {
            let channel = source.group * targets + target;
            let bias = simd.splat(job.bias.map_or(T::zero(), |bias| bias[channel]));
            let channel = image * job.groups * targets + channel;
            for (&[line, col], &sum) in places.iter().zip(sums) {
                let len = S::LANES.min(block.cols.len() - col);
                let row = channel * height + block.lines.start + line;
                let y = y.at(row * width + block.cols.start + col, len);
                // SAFETY: no other task has these pixels, and the mask has a lane for each.
                unsafe { simd.store_masked(y, simd.mask(0..len), simd.add(sum, bias)) };
            }
        }
    }
}
