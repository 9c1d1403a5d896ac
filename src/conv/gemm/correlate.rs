//! `y = A · X + bias`, group by group.

use std::ops::Range;

use super::kernel::PackedKernel;
use super::strip::{Block, Source, Strip, reserve};
use super::tile::{Operands, Sums};
use super::{Engine, cut};
use crate::Scalar;
use crate::conv::axis::{TapAxis, runs};
use crate::conv::queue::{self, Queue};
use crate::conv::shared::Shared;
use crate::conv::simd::{Kernel, MOST_LANES, Simd, transpose};

/// A grouped cross-correlation. It is a convolution's forward pass, or one phase of its input's
/// gradient.
pub struct Correlation {
    pub batch: usize,
    pub groups: usize,
    /// Channels of one group of the source and of the target.
    pub group_channels: [usize; 2],
    /// How the source is read.
    pub rows: TapAxis,
    pub cols: TapAxis,
    /// By row, then by column of the axes, the tap of the kernel.
    pub taps: Vec<usize>,
    pub target: Target,
}

impl Correlation {
    /// The same with each image as one long row, if every pixel of the target is made of the one
    /// pixel of the source in its place.
    pub fn flattened(&self) -> Option<Self> {
        let Self { rows, cols, target, .. } = self;
        let in_place =
            |axis: &TapAxis| axis.step == 1 && axis.offsets == [0] && axis.input == axis.output;
        let same = in_place(rows)
            && in_place(cols)
            && target.plane == [rows.output, cols.output]
            && target.step == [1, 1];
        let pixels = rows.output * cols.output;
        let axis = |pixels| TapAxis { input: pixels, output: pixels, ..rows.clone() };
        same.then(|| Self {
            rows: axis(1),
            cols: axis(pixels),
            taps: self.taps.clone(),
            target: Target { plane: [1, pixels], origin: [0, 0], step: [1, 1] },
            ..*self
        })
    }

    /// Multiply-accumulates, those with padding included; saturates.
    pub fn maccs(&self) -> usize {
        let Self { batch, groups, group_channels: [sources, targets], rows, cols, taps, .. } = self;
        [groups, sources, targets, &rows.output, &cols.output, &taps.len()]
            .into_iter()
            .fold(*batch, |product, &factor| product.saturating_mul(factor))
    }
}

/// Where output pixel `(row, col)` is written in each plane of the target:
/// at `origin + step · (row, col)`.
pub struct Target {
    pub plane: [usize; 2],
    pub origin: [usize; 2],
    pub step: [usize; 2],
}

/// Where a strip's channels come from.
pub trait Channels<T: Scalar>: Sync {
    /// Writes channels of the strip of `block`, counted through all groups, into the start of
    /// `target`.
    fn fill<S: Simd<T>>(
        &self,
        simd: S,
        block: &Block,
        strip: &Strip<S::Mask, S::EvenMask>,
        channels: Range<usize>,
        target: &mut Vec<T>,
    );
}

/// Channels of images, `[B, channels, plane]`.
pub struct Images<'a, T> {
    pub x: &'a [T],
    pub plane: usize,
}

impl<T: Scalar> Channels<T> for Images<'_, T> {
    #[inline(always)]
    fn fill<S: Simd<T>>(
        &self,
        simd: S,
        _: &Block,
        strip: &Strip<S::Mask, S::EvenMask>,
        channels: Range<usize>,
        target: &mut Vec<T>,
    ) {
        strip.fill(simd, self.x, self.plane, channels, target);
    }
}

/// One piece of work: it owns its pixels of its output channels.
struct Task {
    group: usize,
    block: Block,
    /// Panels of output channels.
    panels: Range<usize>,
}

/// Computes `y = A · X + bias`, a few source channels, which `depths` divides, at a time.
pub fn run<T: Scalar, X: Channels<T>>(
    engine: &Engine,
    correlation: &Correlation,
    depths: Vec<Range<usize>>,
    kernel: &PackedKernel<T>,
    x: &X,
    bias: Option<&[T]>,
    y: &Shared<T>,
) {
    let Correlation { groups, group_channels, rows, cols, .. } = correlation;
    let source = Source::new(rows, cols, groups * group_channels[0], engine.most_rows::<T>());
    let threads = engine.threads(correlation.maccs());
    let tasks = tasks(engine, correlation, &source, &depths, kernel.panels(), threads);
    let job = Job { correlation, source, depths, kernel, bias, x, y };
    queue::share(threads, &tasks, |queue| {
        T::dispatch_to(engine.isa, Worker { job: &job, queue });
    });
}

/// Cuts the work so that a task's strip and sums stay in L2, and there are enough for every thread.
/// Nothing here changes a result.
fn tasks(
    engine: &Engine,
    correlation: &Correlation,
    source: &Source,
    depths: &[Range<usize>],
    panels: usize,
    threads: usize,
) -> Vec<Task> {
    let Correlation { batch, groups, .. } = correlation;
    let channels = depths.iter().map(|depth| depth.len()).max().unwrap_or(1);
    let blocks = engine.blocking.blocks(source, *batch, channels);
    let count = groups * blocks.len();
    let parts = if threads == 1 { 1 } else { (4 * threads).div_ceil(count.max(1)) };
    let parts = parts.min(panels.div_ceil(4)).max(panels.div_ceil(engine.blocking.panels));
    let mut tasks = Vec::with_capacity(count * parts);
    for group in 0..*groups {
        for block in &blocks {
            tasks.extend(cut(panels, parts).map(|panels| Task {
                group,
                block: block.clone(),
                panels,
            }));
        }
    }
    tasks
}

/// What all tasks share.
struct Job<'a, T, X> {
    correlation: &'a Correlation,
    source: Source<'a>,
    /// Source channels of a group that are summed at a time.
    depths: Vec<Range<usize>>,
    kernel: &'a PackedKernel<T>,
    bias: Option<&'a [T]>,
    x: &'a X,
    y: &'a Shared<'a, T>,
}

/// A thread's share of the work.
struct Worker<'a, T, X> {
    job: &'a Job<'a, T, X>,
    queue: &'a Queue<'a, Task>,
}

/// Buffers of one thread.
struct Scratch<T> {
    strip: Vec<T>,
    sums: Vec<T>,
    pieces: Vec<Piece>,
    stretches: Vec<[usize; 2]>,
}

/// Some pixels of one line of a block.
struct Piece {
    /// Counted through all images.
    first: usize,
    pixels: usize,
    /// Pixels of the block that come before.
    before: usize,
    /// Where its part of each panel's sum is read.
    stretches: Range<usize>,
}

impl<T: Scalar, X: Channels<T>> Kernel<T> for Worker<'_, T, X> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let mut scratch = Scratch {
            strip: Vec::new(),
            sums: Vec::new(),
            pieces: Vec::new(),
            stretches: Vec::new(),
        };
        while let Some(task) = self.queue.take() {
            self.job.perform(simd, task, &mut scratch);
        }
    }
}

impl<T: Scalar, X: Channels<T>> Job<'_, T, X> {
    #[inline(always)]
    fn perform<S: Simd<T>>(&self, simd: S, task: &Task, scratch: &mut Scratch<T>) {
        let Task { group, block, panels } = task;
        let [sources, targets] = self.correlation.group_channels;
        let strip = Strip::new(simd, &self.source, block);
        self.cut_pieces::<S>(&strip, block, scratch);
        let Scratch { strip: strip_data, sums, pieces, stretches } = scratch;
        let most = pieces.iter().map(|piece| piece.pixels).max().unwrap_or(1);
        let vectors = S::tile_vectors(most);
        let pixels = block.pixels();
        let len = panels.len() * pixels * S::LANES;
        reserve(sums, len);
        let (panel_len, tap_len) = (self.kernel.panel_len(), self.kernel.tap_len());
        assert!(tap_len == sources * S::LANES);

        for depth in &self.depths {
            let channels = group * sources + depth.start..group * sources + depth.end;
            self.x.fill(simd, block, &strip, channels, strip_data);
            let (first, last) = (depth.start == 0, depth.end == sources);
            for start in panels.clone().step_by(vectors) {
                let vectors = vectors.min(panels.end - start);
                let b = &self.kernel.from_panel(*group, start)[depth.start * S::LANES..];
                assert!(b.len() + depth.start * S::LANES >= vectors * panel_len);
                for piece in &*pieces {
                    let sums = &mut sums
                        [((start - panels.start) * pixels + vectors * piece.before) * S::LANES..]
                        [..piece.pixels * vectors * S::LANES];
                    let operands = Operands {
                        a: strip_data.as_ptr(),
                        b: b.as_ptr(),
                        stretches: &stretches[piece.stretches.clone()],
                        steps: depth.len(),
                        a_step: strip.channel_len,
                        b_step: S::LANES,
                        b_panel: panel_len,
                    };
                    let out =
                        Sums { data: sums.as_mut_ptr(), row_step: vectors * S::LANES, add: !first };
                    // SAFETY: a stretch reads a piece's pixels in each channel of the strip, and
                    // `depth.len()` vectors of a tap in each of `vectors` panels; `sums` has that
                    // many vectors for each pixel.
                    unsafe { simd.tile(piece.pixels, vectors, &operands, out) };
                    if last {
                        let channels = start * S::LANES..targets.min((start + vectors) * S::LANES);
                        self.write(simd, sums, vectors, *group, channels, piece);
                    }
                }
            }
        }
    }

    /// Cuts a block's lines into pieces that fit a register tile, at the ends of padding where that
    /// leaves pieces long enough: taps that a whole piece reads zeros through are left out.
    fn cut_pieces<S: Simd<T>>(
        &self,
        strip: &Strip<S::Mask, S::EvenMask>,
        block: &Block,
        scratch: &mut Scratch<T>,
    ) {
        let Scratch { pieces, stretches, .. } = scratch;
        pieces.clear();
        stretches.clear();
        let Correlation { rows, cols, taps, .. } = self.correlation;
        let kernel_cols = cols.offsets.len();
        let crossing = self.source.crossing;
        let (lines, line_len) = self.source.lines(block);
        let line = if crossing { 0..line_len } else { block.cols.clone() };
        let mut ends = vec![line.end];
        if !crossing {
            let shortest = (2 * S::MR).div_ceil(5);
            let interior = (0..kernel_cols).map(|tap| cols.nonzero(line.clone(), tap));
            let mut cuts: Vec<_> = interior.flat_map(|cols| [cols.start, cols.end]).collect();
            cuts.sort_unstable();
            let mut start = line.start;
            for cut in cuts {
                if cut >= start + shortest && cut + shortest <= line.end {
                    ends.insert(ends.len() - 1, cut);
                    start = cut;
                }
            }
        }
        for index in 0..lines {
            let mut start = line.start;
            for &end in &ends {
                let parts = (end - start).div_ceil(S::MR);
                for part in cut(end - start, parts) {
                    let part = start + part.start..start + part.end;
                    let before = index * line.len() + part.start - line.start;
                    let first_stretch = stretches.len();
                    let from = part.start - line.start;
                    // Of lines read together, only those taps are left out that no pixel of any image
                    // reads through, lest infinite weights show who shares a piece.
                    let (rows_read, cols_read) = match crossing {
                        true => (0..rows.output, 0..cols.output),
                        false => (0..rows.output, part.clone()),
                    };
                    for (&tap, at) in taps.iter().zip(0..) {
                        let at = [at / kernel_cols, at % kernel_cols];
                        if rows.nonzero(rows_read.clone(), at[0]).is_empty()
                            || cols.nonzero(cols_read.clone(), at[1]).is_empty()
                        {
                            continue;
                        }
                        if let Some(a) = strip.start(index, at) {
                            stretches.push([a + from, tap * self.kernel.tap_len()]);
                        }
                    }
                    let first = match crossing {
                        true => block.lines.start * cols.output + part.start,
                        false => (block.lines.start + index) * cols.output + part.start,
                    };
                    pieces.push(Piece {
                        first,
                        pixels: part.len(),
                        before,
                        stretches: first_stretch..stretches.len(),
                    });
                }
                start = end;
            }
        }
    }

    /// Writes the sums of a piece, `[pixels, vectors]`, with the bias to its channels of a group.
    #[inline(always)]
    fn write<S: Simd<T>>(
        &self,
        simd: S,
        sums: &[T],
        vectors: usize,
        group: usize,
        channels: Range<usize>,
        piece: &Piece,
    ) {
        let Correlation { rows, cols, target, groups, group_channels, .. } = self.correlation;
        let ([height, width], step) = (target.plane, target.step[1]);
        let plane = height * width;
        let all_channels = groups * group_channels[1];
        // Rows that follow each other in the target, too, are one.
        let lines = match (target.step, target.plane == [rows.output, cols.output]) {
            ([1, 1], true) => [1, plane],
            _ => [rows.output, cols.output],
        };
        for (vector, first) in channels.clone().step_by(S::LANES).enumerate() {
            let count = S::LANES.min(channels.end - first);
            let channel = group * group_channels[1] + first;
            let bias = match self.bias {
                // SAFETY: the mask has a lane for each of the channels.
                Some(bias) => unsafe {
                    let bias = &bias[channel..channel + count];
                    simd.load_masked(bias.as_ptr(), simd.mask(0..count))
                },
                None => simd.zero(),
            };
            for from in (0..piece.pixels).step_by(S::LANES) {
                let pixels = S::LANES.min(piece.pixels - from);
                let mut square = [simd.zero(); MOST_LANES];
                let rows = sums[from * vectors * S::LANES..].chunks_exact(vectors * S::LANES);
                for (row, sums) in square.iter_mut().zip(rows).take(pixels) {
                    let sums = &sums[vector * S::LANES..][..S::LANES];
                    // SAFETY: `sums` has LANES elements.
                    *row = unsafe { simd.add(simd.load(sums.as_ptr()), bias) };
                }
                transpose::<T, S>(simd, &mut square);
                let start = piece.first + from;
                for run in runs(start..start + pixels, lines[0], lines[1]) {
                    let row = target.origin[0] + run.row * target.step[0];
                    let at = (run.image * all_channels + channel) * plane
                        + row * width
                        + target.origin[1]
                        + run.col * step;
                    let lanes = run.lane..run.lane + run.len;
                    for (index, &vector) in square.iter().enumerate().take(count) {
                        // SAFETY: no other task has these pixels of this channel, and where `step`
                        // leaves gaps, nothing touches those during this product. The masks have a
                        // lane for each pixel.
                        unsafe {
                            let pixels = self.y.part(at + index * plane, (run.len - 1) * step + 1);
                            let y = pixels.as_mut_ptr().wrapping_sub(run.lane * step);
                            match step {
                                1 => simd.store_masked(y, simd.mask(lanes.clone()), vector),
                                2 => simd.store_even(y, simd.even_mask(lanes.clone()), vector),
                                _ => {
                                    let mut values = [T::zero(); MOST_LANES];
                                    simd.store(values.as_mut_ptr(), vector);
                                    let values = &values[lanes.clone()];
                                    for (y, &value) in pixels.iter_mut().step_by(step).zip(values) {
                                        *y = value;
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
