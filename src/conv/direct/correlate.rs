//! The product, a register of pixels at a time.
//!
//! ```text
//! for each image, group and block of lines of y      in parallel
//!     copy the strip that the block reads            unless rows are read where they lie
//!     for each few lines, for each few vectors of their columns
//!         acc[Q, R, C] = bias                        Q lines, R channels, C vectors, in registers
//!         for each channel i and tap m of the group
//!             acc[Q, R, C] += W[R, i, m] · x[i, Q + m, C]
//!         y[R, Q, C] = acc
//! ```

use super::outputs::Outputs;
use super::recent::Recent;
use super::rows::{InPlace, InStrip, in_place};
use super::sums::{Kernel, Source};
use super::{blocks, further};
use crate::conv::correlation::{Correlation, Target};
use crate::conv::engine::Engine;
use crate::conv::kernel_view::KernelView;
use crate::conv::strip::reading::{Block, Blocks, Reading};
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Buffer, Need, Room, Scratch};
use crate::machine::shared::Shared;
use crate::machine::simd::{Simd, WithSimd};
use crate::machine::threads::{Queue, cut_at, share};

/// The product `A · X + bias`, ready to be computed.
pub struct Job<'a, T: Element> {
    correlation: &'a Correlation,
    reading: Reading<'a>,
    /// Of one image.
    blocks: Blocks,
    tasks: usize,
    /// Runs of neighbouring tasks, which go to one thread.
    shares: usize,
    /// `[groups, sources, taps, R]`.
    weights: Buffer<'a, T>,
    x: &'a [T],
    bias: Option<&'a [T]>,
    /// Whether images may be read where they lie.
    in_place: bool,
    isa: Isa,
    threads: usize,
}

impl<'a, T: Element> Job<'a, T> {
    pub fn new(
        engine: &Engine<'a, T>,
        correlation: &'a Correlation,
        kernel: &KernelView<T>,
        x: &'a [T],
        bias: Option<&'a [T]>,
    ) -> Room<Self> {
        let Correlation { batch, groups, group_channels, rows, cols, .. } = correlation;
        let [sources, _] = *group_channels;
        let threads = engine.threads(correlation.maccs());
        let reading = Reading {
            rows,
            cols,
            channels: groups * sources,
            zero_rows: true,
            whole_rows: false,
            joined_lines: false,
            tile_rows: None,
        };
        let blocks = blocks(&reading, sources, usize::MAX);
        let tasks = batch * groups * blocks.len();
        // Neighbours go to one thread.
        let shares = tasks.min(8 * threads);
        let weights = pack(engine, correlation, kernel)?;
        let in_place = group_channels[1] == 1 && in_place(rows, cols);
        let isa = engine.isa;
        Ok(Self {
            correlation,
            reading,
            blocks,
            tasks,
            shares,
            weights,
            x,
            bias,
            in_place,
            isa,
            threads,
        })
    }

    /// What [`Job::run`] works in.
    pub fn need(&self) -> Need {
        let strip = self.reading.most_elements(&self.blocks, self.correlation.group_channels[0]);
        Need {
            threads: self.threads.min(self.shares),
            lens: [strip, 0, 0, 0, 0],
            tables: self.reading.most_tables(&self.blocks),
        }
    }

    /// Writes the product to `y`.
    pub fn run(&self, scratch: &Scratch<T>, y: &Shared<T>) {
        share(self.threads, self.shares, |queue| {
            scratch.lend(|[strip, ..]| {
                // Each number of channels is compiled on its own.
                let job = self;
                match self.correlation.group_channels[1] {
                    1 => T::dispatch_to(self.isa, Worker::<T, 1> { job, queue, strip, y }),
                    2 => T::dispatch_to(self.isa, Worker::<T, 2> { job, queue, strip, y }),
                    3 => T::dispatch_to(self.isa, Worker::<T, 3> { job, queue, strip, y }),
                    _ => T::dispatch_to(self.isa, Worker::<T, 4> { job, queue, strip, y }),
                }
            });
        });
    }
}

/// The weights of the correlation's taps by group, channel, tap and row.
fn pack<'m, T: Element>(
    engine: &Engine<'m, T>,
    correlation: &Correlation,
    kernel: &KernelView<T>,
) -> Room<Buffer<'m, T>> {
    let [rows, channels, _] = kernel.size;
    let taps = &correlation.taps;
    let mut weights = engine.memory.buffer(kernel.groups * channels * taps.len() * rows)?;
    let mut targets = weights.chunks_exact_mut(rows);
    for group in 0..kernel.groups {
        for channel in 0..channels {
            let start = group * kernel.group_stride + channel * kernel.channel_stride;
            for (tap, target) in taps.iter().zip(&mut targets) {
                let column = kernel.data[start + tap..].iter().step_by(kernel.row_stride);
                target.iter_mut().zip(column).for_each(|(target, &weight)| *target = weight);
            }
        }
    }
    Ok(weights)
}

/// A thread's share of the work.
struct Worker<'a, T: Element, const R: usize> {
    job: &'a Job<'a, T>,
    queue: &'a Queue,
    strip: &'a mut Vec<T>,
    y: &'a Shared<'a, T>,
}

impl<T: Element, const R: usize> WithSimd<T> for Worker<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { job, queue, strip: data, y } = self;
        let mut strips = Recent::default();
        while let Some(share_index) = queue.take() {
            for task in cut_at(job.tasks, job.shares, share_index) {
                let (plane, index) = (task / job.blocks.len(), task % job.blocks.len());
                let Correlation { groups, group_channels: [sources, _], rows, cols, .. } =
                    job.correlation;
                let [image, group] = [plane / groups, plane % groups];
                let plane_len = rows.input * cols.input;
                let x = &job.x[image * groups * sources * plane_len..];
                let channels = group * sources..(group + 1) * sources;
                if const { R == 1 && S::MASKS } && job.in_place {
                    let block = job.blocks.get(index);
                    let x = &x[channels.start * plane_len..channels.end * plane_len];
                    let first = [block.lines.start, block.cols.start];
                    let sizes = [plane_len, cols.input];
                    let further = further(&job.blocks, &block, cols.output, sizes);
                    let source = InPlace { x, rows, cols, first, further };
                    job.write::<S, _, R>(simd, &source, [image, group], &block, y);
                } else {
                    let (block, strip) = strips.get(simd, &job.reading, &job.blocks, index);
                    strip.fill(simd, x, plane_len, channels, data);
                    let source = InStrip { strip, data };
                    job.write::<S, _, R>(simd, &source, [image, group], block, y);
                }
            }
        }
    }
}

impl<T: Element> Job<'_, T> {
    /// Sums and writes the output channels of a group of an image, a block of their pixels.
    #[inline(always)]
    fn write<S: Simd<T>, X: Source<T, S, R>, const R: usize>(
        &self,
        simd: S,
        source: &X,
        [image, group]: [usize; 2],
        block: &Block,
        y: &Shared<T>,
    ) {
        let Correlation { groups, group_channels: [sources, targets], rows, cols, taps, .. } =
            self.correlation;
        let Target { plane: [height, width], step, .. } = &self.correlation.target;
        let further = further(&self.blocks, block, cols.output, [height * width, *width]);
        let weights_len = sources * taps.len() * R;
        assert!(*targets == R);
        let mut bias = [T::zero(); R];
        if let Some(given) = self.bias {
            bias.copy_from_slice(&given[group * R..][..R]);
        }
        let kernel = Kernel {
            weights: &self.weights[group * weights_len..][..weights_len],
            sources: *sources,
            size: [rows.offsets.len(), cols.offsets.len()],
            bias,
            is_consecutive: rows.consecutive(),
        };
        let outputs = Outputs {
            y,
            target: &self.correlation.target,
            channel: (image * groups + group) * R,
            lines: block.lines.clone(),
            cols: block.cols.clone(),
            further: further.filter(|_| R == 1 && *step == [1, 1]),
        };
        kernel.write(simd, source, &outputs);
    }
}
