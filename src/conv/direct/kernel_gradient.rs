//! The gradient of kernels with few output channels a group: `dW[o, k] = Σ_p dy[o, p] · X[k, p]`, where
//! a register holds pixels of a line, and sums of a few rows `k` stay in registers for a few lines or for
//! all pixels of a block.

use super::recent::Recent;
use super::rows::{InPlace, InStrip, Pixels, Rows, in_place};
use super::{blocks, further};
use crate::config::geometry::Geometry;
use crate::conv::engine::Engine;
use crate::conv::strip::Strip;
use crate::conv::strip::axis::TapAxis;
use crate::conv::strip::reading::{Block, Blocks, Reading};
use crate::conv::sum::{add_to, blocks_together};
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Buffers, Need, Scratch, reserve};
use crate::machine::simd::tile::Ahead;
use crate::machine::simd::{Simd, WithSimd, load, load_part, store};
use crate::machine::threads::for_each_chunk;

/// Pixels of a block, whose products a lane sums one after the other.
const PIXELS: usize = 1 << 12;

/// The gradient of the kernel, `[O, n, M, N]`, ready to be computed.
pub struct Job<'a, T> {
    geometry: &'a Geometry,
    reading: Reading<'a>,
    /// Of one image.
    blocks: Blocks,
    x: &'a [T],
    dy: &'a [T],
    /// Whether lines share what is read of rows, and whether that may be read where it lies.
    shares: bool,
    in_place: bool,
    isa: Isa,
    lanes: usize,
    threads: usize,
}

/// Rows of the column matrix that are summed at a time, by output channels of a group.
const ROWS_TOGETHER: [usize; 5] = [0, 9, 6, 4, 3];

impl<'a, T: Element> Job<'a, T> {
    pub fn new(
        engine: &Engine<T>,
        geometry: &'a Geometry,
        [rows, cols]: &'a [TapAxis; 2],
        x: &'a [T],
        dy: &'a [T],
    ) -> Self {
        let reading = Reading {
            rows,
            cols,
            channels: geometry.spec.in_channels,
            zero_rows: true,
            whole_rows: false,
            joined_lines: false,
            tile_rows: None,
        };
        let blocks = blocks(&reading, geometry.spec.group_inputs(), PIXELS);
        let threads = engine.threads(geometry.maccs());
        let shares = rows.consecutive() && matches!(rows.offsets.len(), 3 | 5);
        let in_place = in_place(rows, cols);
        let (isa, lanes) = (engine.isa, engine.lanes());
        Self { geometry, reading, blocks, x, dy, shares, in_place, isa, lanes, threads }
    }

    /// Elements of a vector of partial sums for each row of the column matrix and each channel.
    fn sums_len(&self) -> usize {
        let (inputs, outputs) =
            (self.geometry.spec.group_inputs(), self.geometry.spec.group_outputs());
        (inputs * self.reading.taps()).next_multiple_of(ROWS_TOGETHER[outputs])
            * outputs
            * self.lanes
    }

    /// What [`Job::run`] works in.
    pub fn need(&self) -> Need {
        let strip = self.reading.most_elements(&self.blocks, self.geometry.spec.group_inputs());
        let sums = self.sums_len();
        let tables = self.reading.most_tables(&self.blocks);
        let of_block = if self.shares { sums } else { 0 };
        Need { threads: self.threads, lens: [strip, sums, sums, of_block, 0], tables }
    }

    /// Writes the gradient to `dw`.
    pub fn run(&self, scratch: &Scratch<T>, dw: &mut [T]) {
        let spec = &self.geometry.spec;
        // A few groups at a time.
        let groups = spec.groups.div_ceil(8 * self.threads);
        let group_len = dw.len() / spec.groups;
        for_each_chunk(self.threads, dw, groups * group_len, |index, dw| {
            let (job, isa, first) = (self, self.isa, index * groups);
            scratch.lend(|buffers| match spec.group_outputs() {
                1 => T::dispatch_to(
                    isa,
                    Groups::<T, 1, { ROWS_TOGETHER[1] }> { job, first, dw, buffers },
                ),
                2 => T::dispatch_to(
                    isa,
                    Groups::<T, 2, { ROWS_TOGETHER[2] }> { job, first, dw, buffers },
                ),
                3 => T::dispatch_to(
                    isa,
                    Groups::<T, 3, { ROWS_TOGETHER[3] }> { job, first, dw, buffers },
                ),
                _ => T::dispatch_to(
                    isa,
                    Groups::<T, 4, { ROWS_TOGETHER[4] }> { job, first, dw, buffers },
                ),
            });
        });
    }
}

/// The gradient of some groups, for `X` rows of the column matrix and `R` channels at a time.
struct Groups<'a, T, const R: usize, const X: usize> {
    job: &'a Job<'a, T>,
    first: usize,
    /// `[groups, r, K]`.
    dw: &'a mut [T],
    buffers: &'a mut Buffers<T>,
}

impl<T: Element, const R: usize, const X: usize> WithSimd<T> for Groups<'_, T, R, X> {
    type Output = ();

    /// Sums over all images.
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { job, first, dw, buffers: [data, sums, part, of_block, _] } = self;
        let spec = &job.geometry.spec;
        let mut strips = Recent::default();
        let (inputs, taps) = (spec.group_inputs(), spec.taps());
        let depth = inputs * taps;
        assert!(spec.group_outputs() == R);
        let (plane, pixels) = (job.geometry.input_pixels(), job.geometry.output_pixels());
        // By row k, then by channel, a vector of partial sums: of all blocks; of some, which are added to
        // them; and of one, which are added to those.
        let len = depth.next_multiple_of(X) * R * S::LANES;
        reserve(sums, len);
        reserve(part, len);
        let (sums, part) = (&mut sums[..len], &mut part[..len]);
        let shares = R == 1 && job.shares;
        reserve(of_block, if shares { len } else { 0 });
        let of_block = &mut of_block[..if shares { len } else { 0 }];
        let together = blocks_together(job.geometry.batch * job.blocks.len());
        for (group, dw) in (first..).zip(dw.chunks_exact_mut(R * depth)) {
            sums.fill(T::zero());
            part.fill(T::zero());
            for image in 0..job.geometry.batch {
                let x = &job.x[image * spec.in_channels * plane..];
                let dy = &job.dy[(image * spec.groups + group) * R * pixels..][..R * pixels];
                for index in 0..job.blocks.len() {
                    let block_of_batch = image * job.blocks.len() + index;
                    if block_of_batch > 0 && block_of_batch.is_multiple_of(together) {
                        add_to(sums, part);
                        part.fill(T::zero());
                    }
                    let channels = group * inputs..(group + 1) * inputs;
                    if const { R == 1 && S::MASKS } && job.in_place {
                        let block = &job.blocks.get(index);
                        let x = &x[channels.start * plane..channels.end * plane];
                        let [rows, cols] = [job.reading.rows, job.reading.cols];
                        let first = [block.lines.start, block.cols.start];
                        let sizes = [spec.in_channels * plane, cols.input];
                        let further = further(&job.blocks, block, cols.output, sizes);
                        let pixels = &InPlace { x, rows, cols, first, further };
                        Shared { job, block, pixels, dy }.add(simd, of_block, part);
                        continue;
                    }
                    let (block, strip) = strips.get(simd, &job.reading, &job.blocks, index);
                    strip.fill(simd, x, plane, channels, data);
                    if shares {
                        let pixels = &InStrip { strip, data };
                        Shared { job, block, pixels, dy }.add(simd, of_block, part);
                        continue;
                    }
                    let products = Products::<T, S, R> { job, block, strip, data, dy };
                    for (index, part) in part.chunks_exact_mut(X * R * S::LANES).enumerate() {
                        products.add::<X>(simd, index * X, part);
                    }
                }
            }
            add_to(sums, part);
            for (index, sums) in sums.chunks_exact(S::LANES).take(depth * R).enumerate() {
                let (k, channel) = (index / R, index % R);
                dw[channel * depth + k] = sums.iter().fold(T::zero(), |total, &sum| total + sum);
            }
        }
    }
}

/// The products of one block of a group of an image.
struct Products<'a, T: Copy, S: Simd<T>, const R: usize> {
    job: &'a Job<'a, T>,
    block: &'a Block,
    strip: &'a Strip<S::Mask, S::EvenMask>,
    data: &'a [T],
    dy: &'a [T],
}

/// The products of one block of one output channel, whose lines read consecutive rows: what is read of a row
/// serves all lines that read it.
struct Shared<'a, T, P> {
    job: &'a Job<'a, T>,
    block: &'a Block,
    pixels: &'a P,
    dy: &'a [T],
}

impl<T: Element, P> Shared<'_, T, P> {
    /// Sums them in `of_block`, and adds that to `sums`.
    #[inline(always)]
    fn add<S: Simd<T>>(&self, simd: S, of_block: &mut [T], sums: &mut [T])
    where
        P: Pixels<T, S>,
    {
        of_block.fill(T::zero());
        match self.job.reading.rows.offsets.len() {
            3 => self.add_rows::<S, 3>(simd, of_block),
            _ => self.add_rows::<S, 5>(simd, of_block),
        }
        add_to(sums, of_block);
    }

    /// Those of `ROWS` rows of the kernel.
    #[inline(always)]
    fn add_rows<S: Simd<T>, const ROWS: usize>(&self, simd: S, sums: &mut [T])
    where
        P: Pixels<T, S>,
    {
        let lines = self.block.lines.len();
        let len = ROWS * self.job.reading.cols.offsets.len() * S::LANES;
        let inputs = self.job.geometry.spec.group_inputs();
        for (input, sums) in sums.chunks_exact_mut(len).take(inputs).enumerate() {
            let mut line = 0;
            while line < lines {
                line += if lines - line >= 4 {
                    self.add_lines::<S, ROWS, 4>(simd, [input, line], sums)
                } else {
                    self.add_lines::<S, ROWS, 1>(simd, [input, line], sums)
                };
            }
        }
    }

    /// Those of `Q` lines of an input channel; gives `Q`.
    #[inline(always)]
    fn add_lines<S: Simd<T>, const ROWS: usize, const Q: usize>(
        &self,
        simd: S,
        [input, line]: [usize; 2],
        sums: &mut [T],
    ) -> usize
    where
        P: Pixels<T, S>,
    {
        let Block { lines, cols, .. } = self.block;
        let taps = self.job.reading.cols.offsets.len();
        let step = self.job.geometry.cols.output;
        let dy = &self.dy[(lines.start + line) * step + cols.start..];
        self.pixels.bring(simd, input, line..line + Q);
        let pixels = self.job.geometry.output_pixels();
        let image_len = self.job.geometry.spec.out_channels * pixels;
        let further = further(&self.job.blocks, self.block, step, [image_len, step]);
        if let Some(further) = further.filter(|_| input == 0) {
            for at in (0..Q * step).step_by(Ahead::<T>::LINE) {
                simd.prefetch(dy.as_ptr().wrapping_add(further + at));
            }
        }
        for col in (0..cols.len()).step_by(S::LANES) {
            let lanes = S::LANES.min(cols.len() - col);
            let mut gradients = [simd.zero(); Q];
            for (q, gradients) in gradients.iter_mut().enumerate() {
                *gradients = load_part(simd, &dy[q * step + col..][..lanes]);
            }
            for tap in 0..taps {
                let rows = self.pixels.rows::<1>(simd, input, [line, col], tap, lanes);
                // Columns of the kernel don't wait for each other's sums.
                let mut part = [simd.zero(); ROWS];
                for row in 0..Q + ROWS - 1 {
                    // SAFETY: these are the rows that the lines read.
                    let [pixels] = unsafe { rows.load(simd, row) };
                    for (q, &gradients) in gradients.iter().enumerate() {
                        if q <= row && row - q < ROWS {
                            part[row - q] = simd.fma(gradients, pixels, part[row - q]);
                        }
                    }
                }
                for (row, &part) in part.iter().enumerate() {
                    let sums = &mut sums[(row * taps + tap) * S::LANES..][..S::LANES];
                    store(simd, sums, simd.add(load(simd, sums), part));
                }
            }
        }
        Q
    }
}

impl<T: Element, S: Simd<T>, const R: usize> Products<'_, T, S, R> {
    /// Adds those of `X` rows `k` from `first` on to `sums`.
    #[inline(always)]
    fn add<const X: usize>(&self, simd: S, first: usize, sums: &mut [T]) {
        let Self { job, block, strip, data, dy } = self;
        let (cols, pixels) = (job.geometry.cols.output, job.geometry.output_pixels());
        let tap_starts = strip.tap_starts();
        let (kernel_cols, taps) = (tap_starts.len(), job.reading.taps());
        let depth = job.geometry.spec.group_inputs() * taps;
        let mut acc = [[simd.zero(); R]; X];
        // The input channel, kernel row and kernel column of each; past the last, again the last.
        let mut steps = [[0; 3]; X];
        for (x, step) in steps.iter_mut().enumerate() {
            let k = (first + x).min(depth - 1);
            *step = [k / taps, k % taps / kernel_cols, k % kernel_cols];
        }
        for line in 0..block.lines.len() {
            let mut sources = [data.as_ptr(); X];
            for (source, &[input, row_tap, col_tap]) in sources.iter_mut().zip(&steps) {
                let start = strip.row_start(line, row_tap) + tap_starts[col_tap];
                *source = data[input * strip.channel_len + start..].as_ptr();
            }
            let dy = &dy[(block.lines.start + line) * cols + block.cols.start..];
            for col in (0..block.cols.len()).step_by(S::LANES) {
                let len = S::LANES.min(block.cols.len() - col);
                let mut gradients = [simd.zero(); R];
                for (r, gradients) in gradients.iter_mut().enumerate() {
                    *gradients = load_part(simd, &dy[r * pixels + col..][..len]);
                }
                let mask = simd.mask(0..len);
                for (acc, &source) in acc.iter_mut().zip(&sources) {
                    // SAFETY: a row of the strip has a pixel for each column through each tap.
                    let pixels = unsafe { simd.load_masked(source.wrapping_add(col), mask) };
                    for (acc, &gradients) in acc.iter_mut().zip(&gradients) {
                        *acc = simd.fma(gradients, pixels, *acc);
                    }
                }
            }
        }
        for (sums, &acc) in sums.chunks_exact_mut(S::LANES).zip(acc.as_flattened()) {
            store(simd, sums, simd.add(load(simd, sums), acc));
        }
    }
}
