//! `y = A · X + bias`, group by group.

use std::ops::Range;

use super::panels::{PackedPanels, PanelIndex};
use super::plan::{Layout, Piece, Plan};
use crate::conv::correlation::Correlation;
use crate::conv::engine::Engine;
use crate::conv::strip::Strip;
use crate::conv::strip::axis::runs;
use crate::conv::strip::reading::{Block, Blocks, KEPT_TABLES, Reading, regions};
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Buffers, Need, Scratch, reserve};
use crate::machine::shared::Shared;
use crate::machine::simd::tile::{Ahead, Operands, Sums};
use crate::machine::simd::{MOST_LANES, MOST_VECTORS, Simd, WithSimd, load, load_part, transpose};
use crate::machine::threads::{Queue, cut_at, share};

/// Where a strip's channels come from.
pub trait Channels<T: Element>: Sync {
    /// Writes channels of the strip of `block`, counted through all groups, into the start of
    /// `target`, by way of `spare`.
    fn fill<S: Simd<T>>(
        &self,
        simd: S,
        block: &Block,
        strip: &Strip<S::Mask, S::EvenMask>,
        channels: Range<usize>,
        target: &mut Vec<T>,
        spare: &mut Vec<T>,
    );

    /// Elements of `spare` that a block takes, at most.
    fn spare(&self, _: &Blocks) -> usize {
        0
    }

    /// The images that [`Channels::fill`] reads, if it does.
    fn images(&self) -> Option<&Images<'_, T>> {
        None
    }
}

/// Channels of images, `[B, channels, plane]`.
pub struct Images<'a, T> {
    pub x: &'a [T],
    pub channels: usize,
    pub plane: usize,
}

impl<T: Element> Channels<T> for Images<'_, T> {
    #[inline(always)]
    fn fill<S: Simd<T>>(
        &self,
        simd: S,
        block: &Block,
        strip: &Strip<S::Mask, S::EvenMask>,
        channels: Range<usize>,
        target: &mut Vec<T>,
        _: &mut Vec<T>,
    ) {
        let x = &self.x[block.image * self.channels * self.plane..];
        strip.fill(simd, x, self.plane, channels, target);
    }

    fn images(&self) -> Option<&Images<'_, T>> {
        Some(self)
    }
}

/// Plans that a thread keeps, as long as their tables fit.
const MOST_PLANS: usize = 16;

/// Steps of a tile in which the lines that it will write to come near.
const STEPS_TO_BRING: usize = 128;

/// One piece of work: it owns its pixels of its output channels.
struct Task {
    group: usize,
    block: Block,
    /// Panels of output channels.
    panels: Range<usize>,
}

/// The product `A · X + bias`, ready to be computed.
pub struct Job<'a, T, X> {
    correlation: &'a Correlation,
    layout: Layout<'a>,
    /// Reading channels of a group that are summed at a time.
    depths: Vec<Range<usize>>,
    blocks: Blocks,
    /// Parts of the panels of output channels.
    parts: usize,
    kernel: PackedPanels<'a, T>,
    bias: Option<&'a [T]>,
    x: X,
    isa: Isa,
    threads: usize,
    need: Need,
}

impl<'a, T: Element, X: Channels<T>> Job<'a, T, X> {
    /// Of a few source channels, which `depths` divides, at a time.
    pub fn new(
        engine: &Engine<T>,
        correlation: &'a Correlation,
        depths: Vec<Range<usize>>,
        kernel: PackedPanels<'a, T>,
        x: X,
        bias: Option<&'a [T]>,
    ) -> Self {
        let Correlation { groups, group_channels, rows, cols, .. } = correlation;
        let reading = Reading::new(rows, cols, groups * group_channels[0], engine.most_rows());
        let threads = engine.threads(correlation.maccs());
        let channels = depths.iter().map(|depth| depth.len()).max().unwrap_or(1);
        let blocks = engine.blocking.blocks(&reading, correlation.batch, channels, |_, _| true);
        // Enough tasks for every thread; nothing here changes a result.
        let count = groups * blocks.len();
        let parts = if threads == 1 { 1 } else { (4 * threads).div_ceil(count.max(1)) };
        let parts =
            parts.min(kernel.count.div_ceil(4)).max(kernel.count.div_ceil(engine.blocking.panels));
        let layout = Layout {
            reading,
            taps: correlation.taps.iter().map(|tap| tap * kernel.tap_len).collect(),
            most_rows: engine.most_rows(),
            steps: depths.iter().map(|depth| depth.len()).min().unwrap_or(0),
        };
        let strip = reading.most_elements(&blocks, channels);
        let most_panels = kernel.count.div_ceil(parts.max(1));
        let sums = sums_len(most_panels * blocks.most_pixels(), MOST_VECTORS, engine.lanes());
        let need = Need {
            threads: threads.min(count * parts),
            lens: [strip, sums, x.spare(&blocks), 0, 0],
            tables: reading.most_tables(&blocks),
        };
        let isa = engine.isa;
        Self { correlation, layout, depths, blocks, parts, kernel, bias, x, isa, threads, need }
    }

    /// What [`Job::run`] works in.
    pub fn need(&self) -> Need {
        self.need
    }

    /// Writes the product to `y`.
    pub fn run(&self, scratch: &Scratch<T>, y: &Shared<T>) {
        let pieces = self.correlation.groups * self.blocks.len() * self.parts;
        share(self.threads, pieces, |queue| {
            scratch.lend(|buffers| {
                T::dispatch_to(self.isa, Worker { job: self, queue, buffers, y });
            });
        });
    }
}

/// Elements of the sums of `pixels` pixels of panels, which are read in whole squares that may reach
/// past the last.
fn sums_len(pixels: usize, vectors: usize, lanes: usize) -> usize {
    (pixels + MOST_LANES * vectors) * lanes
}

/// A thread's share of the work.
struct Worker<'a, T, X> {
    job: &'a Job<'a, T, X>,
    queue: &'a Queue,
    buffers: &'a mut Buffers<T>,
    y: &'a Shared<'a, T>,
}

/// What one thread works with.
struct Work<'a, T, M, E> {
    strip: &'a mut Vec<T>,
    sums: &'a mut Vec<T>,
    spare: &'a mut Vec<T>,
    /// Of the blocks that came first; others are often like them.
    plans: Vec<(Block, Strip<M, E>, Plan)>,
    y: &'a Shared<'a, T>,
}

impl<T: Element, X: Channels<T>> WithSimd<T> for Worker<'_, T, X> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { job, queue, buffers: [strip, sums, spare, ..], y } = self;
        let mut work = Work { strip, sums, spare, plans: Vec::new(), y };
        let take = || queue.take().map(|index| job.task(index));
        let mut current = take();
        while let Some(task) = current {
            current = take();
            job.perform(simd, &task, current.as_ref(), &mut work);
        }
    }
}

impl<T: Element, X: Channels<T>> Job<'_, T, X> {
    /// By group, by block, by part of the panels.
    fn task(&self, index: usize) -> Task {
        let (block, part) = (index / self.parts, index % self.parts);
        Task {
            group: block / self.blocks.len(),
            block: self.blocks.get(block % self.blocks.len()),
            panels: cut_at(self.kernel.count, self.parts, part),
        }
    }

    #[inline(always)]
    fn perform<S: Simd<T>>(
        &self,
        simd: S,
        task: &Task,
        next: Option<&Task>,
        work: &mut Work<T, S::Mask, S::EvenMask>,
    ) {
        let Task { group, block, panels } = task;
        let [sources, _] = self.correlation.group_channels;
        let Work { strip: strip_data, sums, spare, plans, y } = work;
        let like = plans.iter().position(|(known, ..)| known.is_like(block));
        let index = like.unwrap_or_else(|| {
            plans.truncate(MOST_PLANS - 1);
            let source = &self.layout.reading;
            let mut kept = plans.iter().map(|(known, ..)| source.tables_of(known)).sum::<usize>();
            while kept > KEPT_TABLES {
                kept -= plans.pop().map_or(kept, |(known, ..)| source.tables_of(&known));
            }
            let strip = Strip::new(simd, &self.layout.reading, block);
            let plan = Plan::new(&self.layout, block, &strip);
            plans.push((block.clone(), strip, plan));
            plans.len() - 1
        });
        let (_, strip, Plan { pieces, parts, stretches }) = &plans[index];
        let most = pieces.iter().map(|piece| piece.pixels).max().unwrap_or(1);
        let vectors = S::tile_vectors(most);
        let pixels = block.pixels();
        reserve(sums, sums_len(panels.len() * pixels, vectors, S::LANES));
        let PackedPanels { panel_len, tap_len, .. } = self.kernel;
        assert!(tap_len == sources * S::LANES);

        let channels = |group: usize, depth: &Range<usize>| {
            group * sources + depth.start..group * sources + depth.end
        };
        let tiles = pieces.len() * panels.len().div_ceil(vectors);
        for (index, depth) in self.depths.iter().enumerate() {
            self.x.fill(simd, block, strip, channels(*group, depth), strip_data, spare);
            // Meanwhile, what will be copied after this comes near.
            let (after, depth_after) = match self.depths.get(index + 1) {
                Some(depth) => (Some(task), depth),
                None => (next, &self.depths[0]),
            };
            let mut ahead = after.and_then(|task| {
                let first = channels(task.group, depth_after).start;
                self.x.images().map(|images| self.ahead(images, &task.block, first, tiles))
            });
            let (first, last) = (depth.start == 0, depth.end == sources);
            let steps = depth.len() * self.correlation.taps.len();
            let brings = last && steps >= STEPS_TO_BRING && self.correlation.target.step[1] == 1;
            for start in panels.clone().step_by(vectors) {
                let vectors = vectors.min(panels.end - start);
                let b = &self.kernel.from(PanelIndex { group: *group, panel: start })
                    [depth.start * S::LANES..];
                assert!(b.len() + depth.start * S::LANES >= vectors * panel_len);
                for piece in pieces {
                    let before = (start - panels.start) * pixels + vectors * piece.before;
                    let sums = &mut sums[before * S::LANES..];
                    assert!(sums.len() >= piece.pixels * vectors * S::LANES);
                    let mut ahead = ahead.as_mut().and_then(Iterator::next);
                    if brings {
                        self.bring_target(simd, task, start..start + vectors, piece, y);
                    }
                    for (index, part) in parts[piece.parts.clone()].iter().enumerate() {
                        let operands = Operands {
                            a: strip_data.as_ptr(),
                            b: b.as_ptr(),
                            stretches: &stretches[part.stretches.clone()],
                            steps: depth.len(),
                            a_step: strip.channel_len,
                            b_step: S::LANES,
                            b_panel: panel_len,
                            ahead: ahead.take().unwrap_or(Ahead::NOTHING),
                        };
                        let row_step = vectors * S::LANES;
                        let out = Sums {
                            data: sums[part.pixels.start * row_step..].as_mut_ptr(),
                            row_step,
                            add: !first || index > 0,
                        };
                        // SAFETY: a stretch reads a part's pixels in each channel of the strip, and
                        // `depth.len()` vectors of a tap in each of `vectors` panels; `sums` has that
                        // many vectors for each pixel.
                        unsafe { simd.tile(part.pixels.len(), vectors, &operands, out) };
                    }
                    if last {
                        self.write(simd, sums, task, start..start + vectors, piece, y);
                    }
                }
            }
        }
    }

    /// What each of `tiles` tiles brings near of a block's pixels: some cache lines of each channel from
    /// `channel` on.
    fn ahead(
        &self,
        images: &Images<T>,
        block: &Block,
        channel: usize,
        tiles: usize,
    ) -> impl Iterator<Item = Ahead<T>> + use<T, X> {
        let plane = images.plane;
        let data = images.x.as_ptr().wrapping_add(block.image * images.channels * plane);
        let regions = regions(&self.layout.reading, block);
        // A region may start and end in the middle of a line.
        let lines = |region: &Range<usize>| region.len() / Ahead::<T>::LINE + 2;
        let all: usize = regions.iter().map(lines).sum();
        let stretches = all.div_ceil(tiles);
        regions.into_iter().flat_map(move |region| {
            let pixels = (0..lines(&region)).step_by(stretches);
            pixels.map(move |line| Ahead {
                first: data.wrapping_add(channel * plane + region.start + line * Ahead::<T>::LINE),
                step: plane,
                stretches,
                stretch_step: Ahead::<T>::LINE,
            })
        })
    }

    /// Brings the lines near that a piece's pixels are in, for which writing would wait.
    #[inline(never)]
    fn bring_target<S: Simd<T>>(
        &self,
        simd: S,
        task: &Task,
        panels: Range<usize>,
        piece: &Piece,
        y: &Shared<T>,
    ) {
        let Correlation { rows, cols, target, groups, group_channels, .. } = self.correlation;
        let plane = target.plane[0] * target.plane[1];
        let (line, col) = (piece.first / cols.output, piece.first % cols.output);
        let image = task.block.image + line / rows.output;
        let row = target.origin[0] + line % rows.output * target.step[0];
        let at = row * target.plane[1] + target.origin[1] + col;
        for panel in panels {
            let first = panel * S::LANES;
            let count = S::LANES.min(group_channels[1] - first);
            let channel = (image * groups + task.group) * group_channels[1] + first;
            let first = y.at(channel * plane + at, 0);
            for channel in 0..count {
                let first = first.wrapping_add(channel * plane);
                simd.prefetch_to_write(first);
                simd.prefetch_to_write(first.wrapping_add(piece.pixels - 1));
            }
        }
    }

    /// Writes the sums of a piece, `[pixels, panels]`, and the bias to the channels of those panels.
    #[inline(always)]
    fn write<S: Simd<T>>(
        &self,
        simd: S,
        sums: &[T],
        task: &Task,
        panels: Range<usize>,
        piece: &Piece,
        y: &Shared<T>,
    ) {
        let &Task { group, block: Block { image, .. }, .. } = task;
        let vectors = panels.len();
        let Correlation { rows, cols, target, groups, group_channels, .. } = self.correlation;
        let ([height, width], step) = (target.plane, target.step[1]);
        let plane = height * width;
        let all_channels = groups * group_channels[1];
        // Rows that follow each other in the target, too, are one.
        let lines = match (target.step, target.plane == [rows.output, cols.output]) {
            ([1, 1], true) => [1, plane],
            _ => [rows.output, cols.output],
        };
        for (vector, panel) in panels.enumerate() {
            let first = panel * S::LANES;
            let count = S::LANES.min(group_channels[1] - first);
            let channel = group * group_channels[1] + first;
            let bias = match self.bias {
                Some(bias) => load_part(simd, &bias[channel..channel + count]),
                None => simd.zero(),
            };
            for from in (0..piece.pixels).step_by(S::LANES) {
                let pixels = S::LANES.min(piece.pixels - from);
                // There are sums, if not this piece's, for as many rows as a square has.
                let sums = &sums[(from * vectors + vector) * S::LANES..];
                let mut square = [simd.zero(); MOST_LANES];
                for (index, vector) in square[..S::LANES].iter_mut().enumerate() {
                    let sums = load(simd, &sums[index * vectors * S::LANES..]);
                    *vector = simd.add(sums, bias);
                }
                transpose::<T, S>(simd, &mut square);
                let start = image * rows.output * cols.output + piece.first + from;
                for run in runs(start..start + pixels, lines[0], lines[1]) {
                    let row = target.origin[0] + run.row * target.step[0];
                    let at = (run.image * all_channels + channel) * plane
                        + row * width
                        + target.origin[1]
                        + run.col * step;
                    let y = y.at(at, (count - 1) * plane + (run.len - 1) * step + 1);
                    let y = y.wrapping_sub(run.lane * step);
                    let lanes = run.lane..run.lane + run.len;
                    let (mask, even_mask) =
                        (simd.mask(lanes.clone()), simd.even_mask(lanes.clone()));
                    for (index, &vector) in square[..S::LANES].iter().enumerate() {
                        if index < count {
                            let y = y.wrapping_add(index * plane);
                            // SAFETY: no other task has these pixels of these channels, and where `step`
                            // leaves gaps, nothing touches those during this product. The masks have a
                            // lane for each pixel.
                            unsafe {
                                match step {
                                    1 => simd.store_masked(y, mask, vector),
                                    2 => simd.store_even(y, even_mask, vector),
                                    _ => {
                                        let mut values = [T::zero(); MOST_LANES];
                                        simd.store(values.as_mut_ptr(), vector);
                                        for lane in lanes.clone() {
                                            *y.wrapping_add(lane * step) = values[lane];
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
}
