//! The product, a register of pixels at a time.
//!
//! ```text
//! for each image, group and block of lines of y      in parallel
//!     copy the strip that the block reads
//!     for each few lines, for each few vectors of their columns
//!         acc[Q, R, C] = bias                        Q lines, R channels, C vectors, in registers
//!         for each channel i and tap m of the group
//!             acc[Q, R, C] += W[R, i, m] · x[i, Q + m, C]
//!         y[R, Q, C] = acc
//! ```

use std::ops::Range;

use super::blocks;
use super::recent::Recent;
use crate::conv::correlation::{Correlation, Target};
use crate::conv::engine::Engine;
use crate::conv::kernel_view::KernelView;
use crate::conv::strip::Strip;
use crate::conv::strip::reading::{Block, Blocks, Reading};
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Buffer, Need, Room, Scratch};
use crate::machine::shared::Shared;
use crate::machine::simd::{MOST_LANES, Simd, WithSimd};
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
        let Correlation { batch, groups, group_channels: [sources, _], rows, cols, .. } =
            correlation;
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
        let blocks = blocks(&reading, *sources, usize::MAX);
        let tasks = batch * groups * blocks.len();
        // Neighbours go to one thread.
        let shares = tasks.min(8 * threads);
        let weights = pack(engine, correlation, kernel)?;
        let isa = engine.isa;
        Ok(Self { correlation, reading, blocks, tasks, shares, weights, x, bias, isa, threads })
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
                let (block, strip) = strips.get(simd, &job.reading, &job.blocks, index);
                job.perform::<S, R>(simd, plane, block, strip, data, y);
            }
        }
    }
}

/// Lines that are summed together: as many as there are registers for two vectors of pixels of each and
/// their sums.
const fn lines_together<T: Copy, S: Simd<T>>(channels: usize) -> usize {
    match (S::REGISTERS - channels) / (2 * (channels + 1)) {
        0 | 1 => 1,
        2 | 3 => 2,
        _ => 4,
    }
}

impl<T: Element> Job<'_, T> {
    #[inline(always)]
    fn perform<S: Simd<T>, const R: usize>(
        &self,
        simd: S,
        plane_of_groups: usize,
        block: &Block,
        strip: &Strip<S::Mask, S::EvenMask>,
        data: &mut Vec<T>,
        y: &Shared<T>,
    ) {
        let Correlation { groups, group_channels: [sources, targets], rows, cols, taps, .. } =
            self.correlation;
        let [image, group] = [plane_of_groups / groups, plane_of_groups % groups];
        let plane = rows.input * cols.input;
        let x = &self.x[image * groups * sources * plane..];
        strip.fill(simd, x, plane, group * sources..(group + 1) * sources, data);
        let weights_len = sources * taps.len() * R;
        let weights = &self.weights[group * weights_len..][..weights_len];
        assert!(*targets == R);
        let mut bias = [T::zero(); R];
        if let Some(given) = self.bias {
            bias.copy_from_slice(&given[group * R..][..R]);
        }
        let Block { lines, cols, .. } = block;
        let sums = Sums {
            strip,
            data,
            sources: *sources,
            weights,
            kernel: [rows.offsets.len(), strip.tap_starts().len()],
            bias,
            y,
            target: &self.correlation.target,
            channel: (image * groups + group) * R,
            lines: lines.clone(),
            cols: cols.clone(),
            consecutive: rows.consecutive(),
        };
        let mut line = 0;
        while line < lines.len() {
            let left = lines.len() - line;
            line += if const { lines_together::<T, S>(R) == 4 } && left >= 4 {
                sums.lines::<S, 4>(simd, line)
            } else if const { lines_together::<T, S>(R) >= 2 } && left >= 2 {
                sums.lines::<S, 2>(simd, line)
            } else {
                sums.lines::<S, 1>(simd, line)
            };
        }
    }
}

/// What `R` channels of a block are summed from, and where the sums go.
struct Sums<'a, T, M, E, const R: usize> {
    strip: &'a Strip<M, E>,
    data: &'a [T],
    sources: usize,
    /// `[sources, kernel rows, kernel columns, R]`.
    weights: &'a [T],
    kernel: [usize; 2],
    bias: [T; R],
    y: &'a Shared<'a, T>,
    target: &'a Target,
    /// The first channel, counted through all images.
    channel: usize,
    lines: Range<usize>,
    cols: Range<usize>,
    /// Whether each line reads the rows after those of the line before.
    consecutive: bool,
}

impl<T: Element, M: Copy, E: Copy, const R: usize> Sums<'_, T, M, E, R> {
    /// Computes `Q` lines from `line` on; gives `Q`.
    #[inline(always)]
    fn lines<S: Simd<T, Mask = M, EvenMask = E>, const Q: usize>(
        &self,
        simd: S,
        line: usize,
    ) -> usize {
        let mut col = 0;
        while col < self.cols.len() {
            let two = const { Q <= lines_together::<T, S>(R) } && col + S::LANES < self.cols.len();
            // One channel's rows are read by several lines, which share what is loaded.
            let shared = R == 1 && Q > 1 && self.consecutive;
            col += match (two, self.kernel[0]) {
                (true, 3) if shared => self.share::<S, Q, 2, 3>(simd, line, col),
                (true, 5) if shared => self.share::<S, Q, 2, 5>(simd, line, col),
                (false, 3) if shared => self.share::<S, Q, 1, 3>(simd, line, col),
                (false, 5) if shared => self.share::<S, Q, 1, 5>(simd, line, col),
                (true, _) => self.compute::<S, Q, 2>(simd, line, col),
                (false, _) => self.compute::<S, Q, 1>(simd, line, col),
            };
        }
        Q
    }

    /// Computes `C` vectors from `col` on of `Q` lines from `line` on; gives the number of columns.
    #[inline(always)]
    fn compute<S: Simd<T, Mask = M, EvenMask = E>, const Q: usize, const C: usize>(
        &self,
        simd: S,
        line: usize,
        col: usize,
    ) -> usize {
        let Self { strip, sources, .. } = *self;
        let [kernel_rows, kernel_cols] = self.kernel;
        let channel_len = strip.channel_len;
        let mut acc = [[[simd.zero(); C]; R]; Q];
        for acc in &mut acc {
            for (acc, &bias) in acc.iter_mut().zip(&self.bias) {
                *acc = [simd.splat(bias); C];
            }
        }
        let tap_starts = strip.tap_starts();
        assert!(tap_starts.len() == kernel_cols);
        assert!(self.weights.len() == sources * kernel_rows * kernel_cols * R);
        for row_tap in 0..kernel_rows {
            let mut rows = [0; Q];
            for (q, row) in rows.iter_mut().enumerate() {
                *row = strip.row_start(line + q, row_tap) + col;
            }
            for source in 0..sources {
                let data = self.data[source * channel_len..].as_ptr();
                let weights = (source * kernel_rows + row_tap) * kernel_cols * R;
                let mut weights = self.weights[weights..].as_ptr();
                for &start in tap_starts {
                    let data = data.wrapping_add(start);
                    // SAFETY: a row of the strip has a pixel for each column through each tap, and
                    // there are lanes past the last. The weights have been counted.
                    unsafe {
                        let mut pixels = [[simd.zero(); C]; Q];
                        for (pixels, &row) in pixels.iter_mut().zip(&rows) {
                            for (c, pixels) in pixels.iter_mut().enumerate() {
                                *pixels = simd.load(data.add(row + c * S::LANES));
                            }
                        }
                        for r in 0..R {
                            let weight = simd.splat(*weights.add(r));
                            for (acc, pixels) in acc.iter_mut().zip(&pixels) {
                                for (acc, &pixels) in acc[r].iter_mut().zip(pixels) {
                                    *acc = simd.fma(weight, pixels, *acc);
                                }
                            }
                        }
                        weights = weights.add(R);
                    }
                }
            }
        }
        self.store_all(simd, line, col, &acc);
        C * S::LANES
    }

    /// As [`Sums::compute`] for one output channel and `ROWS` consecutive rows of the kernel: a row is
    /// loaded once for all lines that read it.
    #[inline(always)]
    fn share<
        S: Simd<T, Mask = M, EvenMask = E>,
        const Q: usize,
        const C: usize,
        const ROWS: usize,
    >(
        &self,
        simd: S,
        line: usize,
        col: usize,
    ) -> usize {
        let Self { strip, sources, .. } = *self;
        let (tap_starts, channel_len) = (strip.tap_starts(), strip.channel_len);
        let cols = tap_starts.len();
        let mut acc = [[[simd.splat(self.bias[0]); C]; R]; Q];
        assert!(self.weights.len() == sources * ROWS * cols && R == 1);
        let first = strip.row_start(line, 0) + col;
        for source in 0..sources {
            let data = self.data[source * channel_len..].as_ptr();
            let weights = self.weights[source * ROWS * cols..].as_ptr();
            for (tap, &start) in tap_starts.iter().enumerate() {
                // SAFETY: as for `compute`.
                unsafe {
                    let mut column = [simd.zero(); ROWS];
                    for (row, weight) in column.iter_mut().enumerate() {
                        *weight = simd.splat(*weights.add(row * cols + tap));
                    }
                    let mut data = data.add(start + first);
                    for row in 0..Q + ROWS - 1 {
                        let mut pixels = [simd.zero(); C];
                        for (c, pixels) in pixels.iter_mut().enumerate() {
                            *pixels = simd.load(data.add(c * S::LANES));
                        }
                        for (q, acc) in acc.iter_mut().enumerate() {
                            if q <= row && row - q < ROWS {
                                for (acc, &pixels) in acc[0].iter_mut().zip(&pixels) {
                                    *acc = simd.fma(column[row - q], pixels, *acc);
                                }
                            }
                        }
                        data = data.wrapping_add(strip.row_len());
                    }
                }
            }
        }
        self.store_all(simd, line, col, &acc);
        C * S::LANES
    }

    /// Writes the sums of `C` vectors of `Q` lines.
    #[inline(always)]
    fn store_all<S, const Q: usize, const C: usize>(
        &self,
        simd: S,
        line: usize,
        col: usize,
        acc: &[[[S::Vector; C]; R]; Q],
    ) where
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        for (q, acc) in acc.iter().enumerate() {
            for (r, sums) in acc.iter().enumerate() {
                for (c, &sum) in sums.iter().enumerate() {
                    self.store(simd, line + q, r, col + c * S::LANES, sum);
                }
            }
        }
    }

    /// Writes one vector of a line of a channel.
    #[inline(always)]
    fn store<S>(&self, simd: S, line: usize, r: usize, col: usize, sum: S::Vector)
    where
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let Target { plane: [height, width], origin, step } = self.target;
        let row = origin[0] + (self.lines.start + line) * step[0];
        let len = S::LANES.min(self.cols.len() - col);
        let start = ((self.channel + r) * height + row) * width
            + origin[1]
            + (self.cols.start + col) * step[1];
        let y = self.y.at(start, (len - 1) * step[1] + 1);
        // SAFETY: no other task has these pixels, and where `step` leaves gaps, nothing touches those
        // during this product. The mask has a lane for each pixel.
        unsafe {
            match step[1] {
                1 => simd.store_masked(y, simd.mask(0..len), sum),
                2 => simd.store_even(y, simd.even_mask(0..len), sum),
                step => {
                    let mut lanes = [T::zero(); MOST_LANES];
                    simd.store(lanes.as_mut_ptr(), sum);
                    for (lane, value) in lanes.into_iter().enumerate().take(len) {
                        *y.add(lane * step) = value;
                    }
                }
            }
        }
    }
}
