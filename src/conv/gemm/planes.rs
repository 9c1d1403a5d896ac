//! `y = A · X + bias` for kernels of one tap, whose output planes are whole: here *a register holds pixels
//! of a plane and a weight is broadcast*.
//!
//! So pixels are read where they lie, unless a step leaves gaps between them, and sums are written to the
//! planes of `y` by the register tile itself, a cache line at a time: nothing is transposed. Each sum is
//! taken in the order of [`correlate`](super::correlate), and has its bits.

use std::ops::Range;

use super::correlate::Images;
use super::panels::{PackedPanels, PanelIndex};
use crate::conv::correlation::Correlation;
use crate::conv::engine::Engine;
use crate::conv::strip::axis::TapAxis;
use crate::conv::strip::line::{Line, kind};
use crate::conv::strip::reading::{apart, strip_elements};
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Buffers, Need, Scratch, reserve};
use crate::machine::shared::Shared;
use crate::machine::simd::tile::{Ahead, Operands, Sums};
use crate::machine::simd::{MOST_LANES, Simd, WithSimd, load};
use crate::machine::threads::{Queue, cut, cut_at, share};

/// Planes whose distance in bytes is a multiple of this compete for the same places of the caches.
const CROWDED: usize = 8 << 10;

/// One piece of work: it owns its pixels of its output channels.
struct Task {
    group: usize,
    image: usize,
    pixels: Range<usize>,
    /// Panels of output channels.
    panels: Range<usize>,
}

/// The product `A · X + bias`, ready to be computed.
pub struct Job<'a, T> {
    correlation: &'a Correlation,
    x: Images<'a, T>,
    kernel: PackedPanels<'a, T>,
    bias: Option<&'a [T]>,
    /// Channels of a group that are summed at a time.
    depths: Vec<Range<usize>>,
    /// Whether pixels are read where they lie.
    in_place: bool,
    /// Blocks of an image, of whole registers but for the last.
    blocks: usize,
    /// Parts of the panels of output channels.
    parts: usize,
    lanes: usize,
    isa: Isa,
    threads: usize,
    need: Need,
}

/// Whether [`Job`] computes the correlation, and does it well: one tap, no padding, whole planes of the
/// target that fill registers.
pub fn suits<T: Element>(engine: &Engine<T>, correlation: &Correlation) -> bool {
    let Correlation { rows, cols, taps, target, .. } = correlation;
    // Of no padding, whatever stands in it.
    let inside = |axis: &TapAxis| {
        axis.offsets == [0] && axis.interior(0..axis.output, 0).len() == axis.output
    };
    let pixels = rows.output * cols.output;
    let registers = pixels.next_multiple_of(engine.lanes());
    let filled = match is_dense(correlation) {
        true => 10 * pixels >= 9 * registers,
        // A copy can be read by the tiles of `correlate`, too, which leave no lanes empty.
        false => 20 * pixels >= 19 * registers,
    };
    let whole = target.plane == [rows.output, cols.output] && target.step == [1, 1];
    // Of strided images whole lines are copied, up to two more than a block has.
    let narrow = is_dense(correlation) || 2 * cols.output <= engine.blocking.pixels;
    taps.len() == 1 && inside(rows) && inside(cols) && filled && whole && narrow
}

/// Whether each pixel of the target is made of the one in its place.
fn is_dense(Correlation { rows, cols, .. }: &Correlation) -> bool {
    [rows, cols].iter().all(|axis| axis.step == 1 && axis.input == axis.output)
}

impl<'a, T: Element> Job<'a, T> {
    /// Of a correlation that [`suits`], of a few source channels, which `depths` divides, at a time.
    pub fn new(
        engine: &Engine<T>,
        correlation: &'a Correlation,
        depths: Vec<Range<usize>>,
        kernel: PackedPanels<'a, T>,
        x: Images<'a, T>,
        bias: Option<&'a [T]>,
    ) -> Self {
        let Correlation { groups, rows, cols, .. } = correlation;
        let dense = is_dense(correlation);
        let in_place = dense && !(x.plane * size_of::<T>()).is_multiple_of(CROWDED);
        let pixels = rows.output * cols.output;
        let channels = depths.iter().map(|depth| depth.len()).max().unwrap_or(1);
        let lanes = engine.lanes();
        let most = engine.blocking.pixels.min(engine.blocking.strip / channels.max(1));
        let vectors = pixels.div_ceil(lanes);
        let blocks = vectors.div_ceil((most / lanes).max(1));
        let threads = engine.threads(correlation.maccs());
        let count = groups * correlation.batch * blocks;
        let parts = if threads == 1 { 1 } else { (4 * threads).div_ceil(count.max(1)) };
        let parts =
            parts.min(kernel.count.div_ceil(4)).max(kernel.count.div_ceil(engine.blocking.panels));
        // A block that starts and ends in the middle of a line is copied with all of that.
        let lines = if dense { 0 } else { 2 * cols.output };
        let channel_len = match in_place {
            true => lanes,
            false => apart((vectors.div_ceil(blocks.max(1)) * lanes + lines).min(pixels)),
        };
        let most_panels = kernel.count.div_ceil(parts.max(1));
        let need = Need {
            threads: threads.min(count * parts),
            lens: [strip_elements(channels, channel_len), most_panels * lanes * lanes, 0, 0, 0],
            tables: 0,
        };
        let isa = engine.isa;
        Self {
            correlation,
            x,
            kernel,
            bias,
            depths,
            in_place,
            blocks,
            parts,
            lanes,
            isa,
            threads,
            need,
        }
    }

    /// What [`Job::run`] works in.
    pub fn need(&self) -> Need {
        self.need
    }

    /// Writes the product to `y`.
    pub fn run(&self, scratch: &Scratch<T>, y: &Shared<T>) {
        let Correlation { groups, batch, .. } = self.correlation;
        let pieces = groups * batch * self.blocks * self.parts;
        share(self.threads, pieces, |queue| {
            scratch.lend(|buffers| {
                T::dispatch_to(self.isa, Worker { job: self, queue, buffers, y });
            });
        });
    }

    /// By group, by image, by block, by part of the panels.
    fn task(&self, index: usize) -> Task {
        let Correlation { batch, rows, cols, .. } = self.correlation;
        let (block, part) = (index / self.parts, index % self.parts);
        let (image, block) = (block / self.blocks, block % self.blocks);
        let pixels = rows.output * cols.output;
        let lanes = self.lanes;
        let vectors = cut_at(pixels.div_ceil(lanes), self.blocks, block);
        Task {
            group: image / batch,
            image: image % batch,
            pixels: vectors.start * lanes..(vectors.end * lanes).min(pixels),
            panels: cut_at(self.kernel.count, self.parts, part),
        }
    }

    /// Where the first of some channels of a task's group starts in `x`.
    fn channel(&self, task: &Task, depth: &Range<usize>) -> usize {
        let [sources, _] = self.correlation.group_channels;
        (task.image * self.x.channels + task.group * sources + depth.start) * self.x.plane
    }

    /// Addresses of the cache lines of a task's pixels in the first of some channels, and a few more.
    fn lines(&self, task: &Task, depth: &Range<usize>) -> impl Iterator<Item = *const T> + use<T> {
        let Correlation { rows, cols, .. } = self.correlation;
        let (rows_read, first, row_len) = match is_dense(self.correlation) {
            true => (0..1, task.pixels.start, task.pixels.len()),
            false => (lines_of(&task.pixels, cols.output), 0, cols.input),
        };
        let first = self.x.x.as_ptr().wrapping_add(self.channel(task, depth) + first);
        let row_step = rows.step * cols.input;
        rows_read.flat_map(move |row| {
            // A row may start and end in the middle of a line.
            (0..row_len + Ahead::<T>::LINE)
                .step_by(Ahead::<T>::LINE)
                .map(move |at| first.wrapping_add(row * row_step + at))
        })
    }
}

/// The lines of `cols` pixels that pixels are of.
fn lines_of(pixels: &Range<usize>, cols: usize) -> Range<usize> {
    pixels.start / cols..pixels.end.div_ceil(cols)
}

/// A thread's share of the work.
struct Worker<'a, T> {
    job: &'a Job<'a, T>,
    queue: &'a Queue,
    buffers: &'a mut Buffers<T>,
    y: &'a Shared<'a, T>,
}

impl<T: Element> WithSimd<T> for Worker<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { job, queue, buffers: [strip, sums, ..], y } = self;
        let TapAxis { input, output, step, mode, .. } = job.correlation.cols;
        let line = (!is_dense(job.correlation))
            .then(|| Line::new(simd, [0, step as isize], output, input, mode));
        let mut work = Work { strip, sums, line, y };
        let take = || queue.take().map(|index| job.task(index));
        let mut current = take();
        while let Some(task) = current {
            current = take();
            job.perform(simd, &task, current.as_ref(), &mut work);
        }
    }
}

/// What a worker works with.
struct Work<'a, T, M, E> {
    strip: &'a mut Vec<T>,
    /// By output channel of a task, a register of pixels at the end of a block.
    sums: &'a mut Vec<T>,
    /// How a line of a strided image is read.
    line: Option<Line<M, E>>,
    y: &'a Shared<'a, T>,
}

/// Where a block's pixels are read: of the first channel the first, and the distance of channels.
#[derive(Clone, Copy)]
struct Pixels<T> {
    first: *const T,
    step: usize,
}

/// Some rows of a panel, and some registers of pixels.
struct Tile<T> {
    rows: Range<usize>,
    vectors: usize,
    pixels: Pixels<T>,
    to: Sums<T>,
}

impl<T: Element> Tile<T> {
    /// Brings the lines near that the tile writes, for which it would wait when it does.
    #[inline(always)]
    fn bring_target<S: Simd<T>>(&self, simd: S) {
        for row in 0..self.rows.len() {
            // A register may start in the middle of a line.
            for vector in 0..=self.vectors {
                let at = row * self.to.row_step + vector * S::LANES;
                simd.prefetch_to_write(self.to.data.wrapping_add(at));
            }
        }
    }
}

impl<T: Element> Job<'_, T> {
    #[inline(always)]
    fn perform<S: Simd<T>>(
        &self,
        simd: S,
        task: &Task,
        next: Option<&Task>,
        work: &mut Work<T, S::Mask, S::EvenMask>,
    ) {
        let Task { group, image, pixels, panels } = task;
        let Correlation { groups, group_channels: [sources, targets], target, .. } =
            self.correlation;
        let plane = target.plane[0] * target.plane[1];
        let PackedPanels { panel_len, tap_len, .. } = self.kernel;
        assert!(tap_len == sources * S::LANES && panel_len == tap_len);
        let (whole, rest) = (pixels.len() / S::LANES, pixels.len() % S::LANES);
        reserve(work.sums, panels.len() * S::LANES * S::LANES);
        for (index, depth) in self.depths.iter().enumerate() {
            let (inner, tail) = self.read(simd, task, depth, work);
            // Meanwhile, what will be read after this comes near.
            let after = match self.depths.get(index + 1) {
                Some(depth) => Some(self.lines(task, depth)),
                None => next.map(|task| self.lines(task, &self.depths[0])),
            };
            let mut ahead = after.into_iter().flatten();
            let (first, last) = (depth.start == 0, depth.end == *sources);
            for panel in panels.clone() {
                let kernel = self.kernel.from(PanelIndex { group: *group, panel });
                let kernel = &kernel[depth.start * S::LANES..depth.end * S::LANES];
                let count = S::LANES.min(targets - panel * S::LANES);
                let channel = group * targets + panel * S::LANES;
                for rows in cut(count, count.div_ceil(S::MR)) {
                    let channels = channel + rows.start..channel + rows.end;
                    let at = (image * groups * targets + channels.start) * plane + pixels.start;
                    let target = work.y.at(at, (rows.len() - 1) * plane + pixels.len());
                    let bias = self.bias.filter(|_| last).map(|bias| &bias[channels]);
                    let most = S::tile_vectors(rows.len());
                    for vectors in cut(whole, whole.div_ceil(most)) {
                        let from = vectors.start * S::LANES;
                        let pixels = Pixels { first: inner.first.wrapping_add(from), ..inner };
                        let data = target.wrapping_add(from);
                        let to = Sums { data, row_step: plane, add: !first };
                        let tile = Tile { rows: rows.clone(), vectors: vectors.len(), pixels, to };
                        if first {
                            tile.bring_target(simd);
                        }
                        // SAFETY: `kernel` has LANES weights for each channel; whole registers of the
                        // task's pixels are read, of each channel, and written, of each row, which no
                        // other task has.
                        unsafe { self.sum(simd, kernel, tile, ahead.next(), bias) };
                    }
                    if rest == 0 {
                        continue;
                    }
                    let row = (panel - panels.start) * S::LANES + rows.start;
                    let sums = &mut work.sums[row * S::LANES..][..rows.len() * S::LANES];
                    let to = Sums { data: sums.as_mut_ptr(), row_step: S::LANES, add: !first };
                    let tile = Tile { rows, vectors: 1, pixels: tail, to };
                    // SAFETY: as above, but that `sums` has a register for each row.
                    unsafe { self.sum(simd, kernel, tile, ahead.next(), bias) };
                    if last {
                        let mask = simd.mask(0..rest);
                        for (row, sums) in sums.chunks_exact(S::LANES).enumerate() {
                            let target = target.wrapping_add(row * plane + whole * S::LANES);
                            // SAFETY: no other task has these pixels of these channels.
                            unsafe { simd.store_masked(target, mask, load(simd, sums)) };
                        }
                    }
                }
            }
        }
    }

    /// Sums a tile over the channels of `kernel`, a register of weights each, and adds the bias of its
    /// rows, if that's given. Meanwhile, a line of each channel from `ahead` on comes near.
    ///
    /// # Safety
    /// Registers of the tile's pixels must be readable for each channel, and those of its target readable
    /// and writable for each row.
    #[inline(always)]
    unsafe fn sum<S: Simd<T>>(
        &self,
        simd: S,
        kernel: &[T],
        Tile { rows, vectors, pixels, to }: Tile<T>,
        ahead: Option<*const T>,
        bias: Option<&[T]>,
    ) {
        let ahead =
            ahead.map(|first| Ahead { first, step: self.x.plane, stretches: 1, stretch_step: 0 });
        let operands = Operands {
            a: kernel[rows.start..].as_ptr(),
            b: pixels.first,
            stretches: &[[0, 0]],
            steps: kernel.len() / S::LANES,
            a_step: S::LANES,
            b_step: pixels.step,
            b_panel: S::LANES,
            ahead: ahead.unwrap_or(Ahead::NOTHING),
        };
        // SAFETY: the caller's promise, passed on; `rows` are some of a register of weights.
        unsafe { simd.tile(rows.len(), vectors, &operands, to) };
        for (row, &bias) in bias.into_iter().flatten().enumerate() {
            for vector in 0..vectors {
                let target = to.data.wrapping_add(row * to.row_step + vector * S::LANES);
                // SAFETY: the caller's promise, passed on.
                unsafe { simd.store(target, simd.add(simd.load(target), simd.splat(bias))) };
            }
        }
    }

    /// Where the task's pixels of some channels are read: those in whole registers, and the rest, of which
    /// a register can be read. Copies what can't be read where it lies.
    #[inline(always)]
    fn read<S: Simd<T>>(
        &self,
        simd: S,
        task: &Task,
        depth: &Range<usize>,
        Work { strip, line, .. }: &mut Work<T, S::Mask, S::EvenMask>,
    ) -> (Pixels<T>, Pixels<T>) {
        let Correlation { rows, cols, .. } = self.correlation;
        let (pixels, plane) = (&task.pixels, self.x.plane);
        let whole = pixels.len() / S::LANES * S::LANES;
        let start = self.channel(task, depth);
        let x = &self.x.x[start..start + depth.len() * plane];
        let inner = Pixels { first: x[pixels.start..].as_ptr(), step: plane };
        let lines = lines_of(pixels, cols.output);
        let copied = match line {
            _ if self.in_place => pixels.start + whole..pixels.end,
            None => pixels.clone(),
            Some(_) => lines.start * cols.output..lines.end * cols.output,
        };
        if copied.is_empty() {
            return (inner, inner);
        }
        let step = if self.in_place { S::LANES } else { apart(copied.len()) };
        reserve(strip, strip_elements(depth.len(), step));
        for (source, start) in x.chunks_exact(plane).zip((0..).step_by(step)) {
            let target = &mut strip[start..][..copied.len() + MOST_LANES];
            let Some(line) = line else {
                target[..copied.len()].copy_from_slice(&source[copied.clone()]);
                continue;
            };
            for (index, row) in lines.clone().enumerate() {
                let source = source[row * rows.step * cols.input..][..cols.input].as_ptr();
                let target = &mut target[index * cols.output..];
                for (index, &kind) in line.kinds.iter().enumerate() {
                    let reader = line.reader(index);
                    let target = &mut target[index * S::LANES..][..S::LANES];
                    // SAFETY: `source` is a row, and the vectors are of the kinds that are given.
                    unsafe {
                        let vector = match kind {
                            kind::FULL => reader.read::<T, S, { kind::FULL }>(simd, source),
                            kind::MASKED => reader.read::<T, S, { kind::MASKED }>(simd, source),
                            kind::EVEN => reader.read::<T, S, { kind::EVEN }>(simd, source),
                            _ => reader.read::<T, S, { kind::GATHER }>(simd, source),
                        };
                        simd.store(target.as_mut_ptr(), vector);
                    }
                }
            }
        }
        let first = strip.as_ptr().wrapping_add(pixels.start.saturating_sub(copied.start));
        let copy = Pixels { first, step };
        match self.in_place {
            true => (inner, copy),
            false => (copy, Pixels { first: first.wrapping_add(whole), step }),
        }
    }
}
