//! The gradient of the kernel: `dW[o, i, m] = Σ_p dy[o, p] · x[i, p + m]` over the pixels of all
//! images.
//!
//! For one tap, this is a product of two matrices whose columns are pixels. The channels of `dy` are
//! transposed once for all taps, so that a register holds output channels; those of `x` are broadcast from
//! the strip, from where the tap reads on, or from where they lie, if each output pixel is made of the one
//! in its place. Padding is left out of the sums. Where input channels are so few that they don't fill a
//! register tile, each is taken as one for each kernel column, and transposed, too. Tasks divide the
//! channels of `dW`, never the sum, so each element is summed in the order of blocks and pixels.

use std::ops::Range;

use crate::config::geometry::Geometry;
use crate::conv::engine::Engine;
use crate::conv::strip::Strip;
use crate::conv::strip::axis::{TapAxis, runs};
use crate::conv::strip::reading::{Block, Blocks, Reading};
use crate::conv::sum::{add_to, blocks_together};
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Buffers, Need, Room, Scratch, reserve, room};
use crate::machine::shared::Shared;
use crate::machine::simd::tile::{Across, Ahead, Operands, Sums};
use crate::machine::simd::{MOST_LANES, Simd, WithSimd, load, store, transpose};
use crate::machine::threads::{Queue, cut, share};

/// Planes whose distance in bytes is a multiple of this compete for the same places of L1.
const CROWDED: usize = 2 << 10;

/// Bytes of images that are near anyway: an L2.
const NEAR: usize = 1 << 20;

/// Lines of fewer pixels are read from channels side by side.
const SHORT: usize = 8;

/// One piece of work: it owns some input channels `i` of some panels of output channels of a group.
pub struct Task {
    pub group: usize,
    pub inputs: Range<usize>,
    pub panels: Range<usize>,
}

/// The gradient of the kernel, `[O, n, M, N]`, ready to be computed.
pub struct Job<'a, T> {
    pub geometry: &'a Geometry,
    pub reading: Reading<'a>,
    /// Kernel columns that are taken as input channels: all or one.
    columns: usize,
    /// Whether each output pixel is made of the one pixel in its place, so that no strip is copied.
    in_place: bool,
    tasks: Vec<Task>,
    blocks: Blocks,
    pub x: &'a [T],
    pub dy: &'a [T],
    isa: Isa,
    threads: usize,
    need: Need,
}

impl<'a, T: Element> Job<'a, T> {
    pub fn new(
        engine: &Engine<T>,
        geometry: &'a Geometry,
        [rows, cols]: &'a [TapAxis; 2],
        x: &'a [T],
        dy: &'a [T],
    ) -> Room<Self> {
        let spec = &geometry.spec;
        let (tile_rows, lanes) = (engine.most_rows(), engine.lanes());
        let reading = Reading::new(rows, cols, spec.in_channels, tile_rows);
        let threads = engine.threads(geometry.maccs());
        // The blocks, which sums depend on, are the same for any number of threads.
        let Most { inputs, .. } = most(engine, geometry);
        let few = 2 * spec.group_inputs() <= tile_rows && !reading.joined_lines;
        let columns = if few { cols.offsets.len() } else { 1 };
        let plane = geometry.input_pixels();
        let in_place = !(plane * size_of::<T>()).is_multiple_of(CROWDED)
            && [rows, cols]
                .iter()
                .all(|axis| axis.offsets == [0] && axis.step == 1 && axis.input == axis.output);
        let width = |inputs: usize| {
            (inputs * columns).div_ceil(tile_rows) * tile_rows.next_multiple_of(lanes)
        };
        let blocks = engine.blocking.blocks(&reading, geometry.batch, inputs, |lines, cols| {
            // Elements of the strip once its channels lie side by side.
            let positions = match few {
                true => reading.rows_len(lines).saturating_mul(cols),
                false => reading.channel_len(lines, cols),
            };
            positions.saturating_mul(width(inputs)) <= 2 * engine.blocking.strip
        });
        let tasks = tasks(engine, geometry, threads)?;

        let inputs = tasks.iter().map(|task| task.inputs.len()).max().unwrap_or(0);
        let panels = tasks.iter().map(|task| task.panels.len()).max().unwrap_or(0);
        let positions = match columns {
            1 => reading.most_channel_len(&blocks),
            _ => reading.most_rows(&blocks) * blocks.most()[1],
        };
        let x_len = (positions + MOST_LANES) * width(inputs);
        let sums = reading.taps() * inputs * panels * lanes;
        let packs = columns > 1 || (!in_place && cols.output < SHORT);
        let lens = [
            if in_place { 0 } else { reading.most_elements(&blocks, inputs) },
            if packs { x_len } else { 0 },
            blocks.most_pixels() * panels * lanes,
            sums,
            if blocks_together(blocks.len()) < blocks.len() { sums } else { 0 },
        ];
        let tables = reading.most_tables(&blocks);
        let need = Need { threads: threads.min(tasks.len()), lens, tables };
        let isa = engine.isa;
        Ok(Self { geometry, reading, columns, in_place, tasks, blocks, x, dy, isa, threads, need })
    }

    /// Whether the channels of `x` are transposed, too: kernel columns aren't a distance apart, and a tile
    /// whose rows are takes longer to start a line.
    fn packs(&self) -> bool {
        self.columns > 1 || (!self.in_place && self.reading.cols.output < SHORT)
    }

    /// What [`Job::run`] works in.
    pub fn need(&self) -> Need {
        self.need
    }

    /// Writes the gradient to `dw`.
    pub fn run(&self, scratch: &Scratch<T>, dw: &mut [T]) {
        let dw = Shared::new(dw);
        share(self.threads, self.tasks.len(), |queue| {
            scratch.lend(|buffers| {
                T::dispatch_to(self.isa, Worker { job: self, queue, buffers, dw: &dw });
            });
        });
    }
}

/// What a task takes at most, so that its sums stay in L2.
struct Most {
    inputs: usize,
    /// Panels of output channels.
    panels: usize,
}

fn most<T: Element>(engine: &Engine<T>, geometry: &Geometry) -> Most {
    let (blocking, spec, lanes) = (&engine.blocking, &geometry.spec, engine.lanes());
    let fitting = (blocking.gradient / (spec.taps() * lanes)).max(1);
    let panels = spec.group_outputs().div_ceil(lanes).min(blocking.gradient_panels).min(fitting);
    let inputs = blocking.gradient / (spec.taps() * panels * lanes);
    Most { inputs: inputs.clamp(1, spec.group_inputs()), panels }
}

/// Cuts the channels, so that there is work for every thread.
fn tasks<T: Element>(engine: &Engine<T>, geometry: &Geometry, threads: usize) -> Room<Vec<Task>> {
    let (spec, rows, lanes) = (&geometry.spec, engine.most_rows(), engine.lanes());
    let (inputs, panels) = (spec.group_inputs(), spec.group_outputs().div_ceil(lanes));
    let most = most(engine, geometry);
    let (input_parts, panel_parts) = (inputs.div_ceil(most.inputs), panels.div_ceil(most.panels));
    // In even rounds; output channels are cut where input channels would not fill a tile.
    let rounds = (spec.groups * panel_parts * input_parts).next_multiple_of(threads);
    let wanted = |parts: usize| rounds.div_ceil(spec.groups * parts);
    let (input_parts, panel_parts) = if inputs >= wanted(panel_parts) * rows {
        (wanted(panel_parts), panel_parts)
    } else {
        (input_parts, wanted(input_parts).max(panel_parts).min(panels))
    };
    let input_parts = wanted(panel_parts).max(input_parts).min(inputs);
    let mut tasks = room(spec.groups * input_parts * panel_parts)?;
    for group in 0..spec.groups {
        for inputs in cut(inputs, input_parts) {
            tasks.extend(cut(panels, panel_parts).map(|panels| Task {
                group,
                inputs: inputs.clone(),
                panels,
            }));
        }
    }
    Ok(tasks)
}

/// A thread's share of the work.
struct Worker<'a, T> {
    job: &'a Job<'a, T>,
    queue: &'a Queue,
    buffers: &'a mut Buffers<T>,
    dw: &'a Shared<'a, T>,
}

/// What one thread works in.
struct Work<'a, T> {
    strip: &'a mut Vec<T>,
    /// By panel of input channels, by position of the strip, the channels side by side.
    x: &'a mut Vec<T>,
    /// By panel of output channels, by pixel of the block, the channels side by side.
    dy: &'a mut Vec<T>,
    /// By tap, by input channel, the output channels side by side.
    sums: &'a mut Vec<T>,
    /// The same of all blocks, if there are so many that their sums are added in two stages.
    totals: &'a mut Vec<T>,
    /// By tap, the stretches of pixels to sum.
    stretches: Vec<[usize; 2]>,
    /// The block after this one.
    next: Option<Block>,
}

impl<T: Element> WithSimd<T> for Worker<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { job, queue, buffers: [strip, x, dy, sums, totals], dw } = self;
        let mut work = Work { strip, x, dy, sums, totals, stretches: Vec::new(), next: None };
        while let Some(index) = queue.take() {
            job.perform(simd, &job.tasks[index], &mut work, dw);
        }
    }
}

impl<T: Element> Job<'_, T> {
    #[inline(always)]
    fn perform<S: Simd<T>>(&self, simd: S, task: &Task, work: &mut Work<T>, dw: &Shared<T>) {
        let (inputs, width) = (task.inputs.len(), task.panels.len() * S::LANES);
        let len = self.reading.taps() * inputs * width;
        reserve(work.sums, len);
        let (all, together) = (self.blocks.len(), blocks_together(self.blocks.len()));
        let in_stages = together < all;
        if in_stages {
            reserve(work.totals, len);
        }
        let far = size_of_val(self.x) + size_of_val(self.dy) > NEAR;
        let mut last: Option<(Block, Strip<_, _>)> = None;
        for index in 0..all {
            let block = self.blocks.get(index);
            let strip = match last.take() {
                Some((known, strip)) if known.is_like(&block) => strip,
                _ => Strip::new(simd, &self.reading, &block),
            };
            work.next = (far && index + 1 < all).then(|| self.blocks.get(index + 1));
            self.add_block(simd, task, &block, &strip, index % together > 0, work);
            last = Some((block, strip));
            let done = index + 1;
            if in_stages && (done == all || done.is_multiple_of(together)) {
                if done <= together {
                    std::mem::swap(work.sums, work.totals);
                } else {
                    add_to(&mut work.totals[..len], &work.sums[..len]);
                }
            }
        }
        self.write(simd, task, if in_stages { work.totals } else { work.sums }, dw);
    }

    /// Adds the products of one block's pixels.
    #[inline(always)]
    fn add_block<S: Simd<T>>(
        &self,
        simd: S,
        task: &Task,
        block: &Block,
        strip: &Strip<S::Mask, S::EvenMask>,
        add: bool,
        work: &mut Work<T>,
    ) {
        let Work { strip: strip_data, x, dy, sums, stretches, next, .. } = work;
        let Reading { rows, cols, joined_lines, .. } = self.reading;
        let panel_rows = S::MR.next_multiple_of(S::LANES);
        // An input channel, or one and a kernel column.
        let channels = task.inputs.len() * self.columns;
        let panels = channels.div_ceil(S::MR);
        let folded = self.columns > 1;
        let pixels = block.pixels();
        let (lines, line_len) = self.reading.lines(block);
        let packed = self.packs();
        let positions = if folded { strip.rows() * line_len } else { strip.channel_len };
        if packed {
            reserve(x, panels * positions * panel_rows + MOST_LANES * panel_rows);
        }
        if !self.in_place {
            self.fill_strip(simd, task, block.image, strip, strip_data);
        }
        for (panel, channels) in cut(channels, panels).enumerate().filter(|_| packed) {
            let x = &mut x[panel * positions * panel_rows..];
            if !folded {
                let source = &strip_data[channels.start * strip.channel_len..];
                pack_x(simd, channels.len(), positions, x, |channel, position| {
                    &source[channel * strip.channel_len + position..]
                });
                continue;
            }
            for row in 0..strip.rows() {
                let x = &mut x[row * line_len * panel_rows..];
                pack_x(simd, channels.len(), line_len, x, |channel, position| {
                    let channel = channels.start + channel;
                    let (input, col_tap) = (channel / self.columns, channel % self.columns);
                    let start = row * strip.row_len() + strip.tap_starts()[col_tap] + position;
                    &strip_data[input * strip.channel_len + start..]
                });
            }
        }
        reserve(dy, task.panels.len() * pixels * S::LANES);
        self.pack_dy(simd, task, block, dy);

        let width = task.panels.len() * S::LANES;
        let kernel_cols = cols.offsets.len() / self.columns;
        let stretch = if self.in_place {
            self.in_place_stretches(block, S::LANES, stretches)
        } else {
            [lines, line_len]
        };
        let ahead = next.as_ref().map(|next| self.ahead(task, next, S::LANES, stretch));
        let mut ahead = ahead.into_iter().flatten();
        for tap in 0..rows.offsets.len() * kernel_cols {
            let at = [tap / kernel_cols, tap % kernel_cols];
            let nonzero = if joined_lines || folded {
                0..line_len
            } else {
                let cols = cols.nonzero(block.cols.clone(), at[1]);
                cols.start - block.cols.start..cols.end - block.cols.start
            };
            if !self.in_place {
                stretches.clear();
                stretches.extend((0..lines).filter_map(|line| {
                    let a = match folded {
                        true => strip.row(line, at[0])? * line_len,
                        false => strip.start(line, at)? + nonzero.start,
                    };
                    let a = if packed { a * panel_rows } else { a };
                    let b = line * line_len + nonzero.start;
                    Some([a, b * S::LANES])
                }));
            }
            let steps = if self.in_place { stretch[1] } else { nonzero.len() };
            for (panel, channels) in cut(channels, panels).enumerate() {
                let vectors_at_once = S::tile_vectors(channels.len());
                let (a, a_row) = match (packed, self.in_place) {
                    (true, _) => (&x[panel * positions * panel_rows..], panel_rows),
                    (false, true) => {
                        let spec = &self.geometry.spec;
                        let first = task.group * spec.group_inputs() + task.inputs.start;
                        let channel = block.image * spec.in_channels + first + channels.start;
                        let plane = self.geometry.input_pixels();
                        (&self.x[channel * plane..], plane)
                    }
                    (false, false) => {
                        let len = strip.channel_len;
                        (&strip_data[channels.start * len..], len)
                    }
                };
                for first in (0..task.panels.len()).step_by(vectors_at_once) {
                    let vectors = vectors_at_once.min(task.panels.len() - first);
                    let b = &dy[first * pixels * S::LANES..][..vectors * pixels * S::LANES];
                    let operands = Operands {
                        a: a.as_ptr(),
                        b: b.as_ptr(),
                        stretches,
                        steps,
                        a_step: panel_rows,
                        b_step: S::LANES,
                        b_panel: pixels * S::LANES,
                        ahead: ahead.next().unwrap_or(Ahead::NOTHING),
                    };
                    let first_channel = tap * task.inputs.len() * self.columns + channels.start;
                    let sums = &mut sums[first_channel * width + first * S::LANES..];
                    assert!(sums.len() >= (channels.len() - 1) * width + vectors * S::LANES);
                    let out = Sums { data: sums.as_mut_ptr(), row_step: width, add };
                    // SAFETY: a stretch reads columns of a line of the block, of each channel: in the
                    // strip, or where they lie, or side by side in `x`; and a vector in each panel of
                    // `b`. `sums` has a vector for each panel and channel.
                    unsafe {
                        if packed {
                            simd.tile(channels.len(), vectors, &operands, out);
                        } else {
                            let across = Across { operands, a_row };
                            simd.tile_across(channels.len(), vectors, &across, out);
                        }
                    }
                }
            }
        }
    }

    /// Copies the task's input channels of a block.
    #[inline(always)]
    fn fill_strip<S: Simd<T>>(
        &self,
        simd: S,
        task: &Task,
        image: usize,
        strip: &Strip<S::Mask, S::EvenMask>,
        data: &mut Vec<T>,
    ) {
        let plane = self.geometry.input_pixels();
        let first = task.group * self.geometry.spec.group_inputs();
        let channels = first + task.inputs.start..first + task.inputs.end;
        let x = &self.x[image * self.reading.channels * plane..];
        strip.fill(simd, x, plane, channels, data);
    }

    /// Writes the task's channels of a block of `dy` side by side.
    #[inline(always)]
    fn pack_dy<S: Simd<T>>(&self, simd: S, task: &Task, block: &Block, target: &mut [T]) {
        let spec = &self.geometry.spec;
        let (rows, cols) = (self.geometry.rows.output, self.geometry.cols.output);
        let plane = rows * cols;
        let pixels = block.pixels();
        // Whole lines follow each other.
        let whole = block.cols.len() == cols;
        let (lines, line_len) =
            if whole { (1, pixels) } else { (block.lines.len(), block.cols.len()) };
        for (panel, target) in task.panels.clone().zip(target.chunks_exact_mut(pixels * S::LANES)) {
            let first = panel * S::LANES;
            let count = S::LANES.min(spec.group_outputs() - first);
            let channel = task.group * spec.group_outputs() + first;
            for line in 0..lines {
                let line_of_batch = block.image * rows + block.lines.start + line;
                let start = line_of_batch * cols + block.cols.start;
                for run in runs(start..start + line_len, 1, plane) {
                    let source = (run.image * spec.out_channels + channel) * plane + run.col;
                    let source = &self.dy[source..source + (count - 1) * plane + run.len];
                    let target = &mut target[(line * line_len + run.lane) * S::LANES..];
                    let target = &mut target[..run.len * S::LANES];
                    for at in (0..run.len).step_by(S::LANES) {
                        let len = S::LANES.min(run.len - at);
                        let mask = simd.mask(0..len);
                        // Nothing reads the sums of channels past the last.
                        let mut square = [simd.zero(); MOST_LANES];
                        for (channel, vector) in square[..S::LANES].iter_mut().enumerate() {
                            let start = channel.min(count - 1) * plane + at;
                            // SAFETY: the mask's lanes are in `source`.
                            *vector = unsafe { simd.load_masked(source.as_ptr().add(start), mask) };
                        }
                        transpose::<T, S>(simd, &mut square);
                        let target = &mut target[at * S::LANES..][..len * S::LANES];
                        for (index, &vector) in square[..S::LANES].iter().enumerate() {
                            if index < len {
                                store(simd, &mut target[index * S::LANES..], vector);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Writes a task's sums to its part of `dw`.
    #[inline(always)]
    fn write<S: Simd<T>>(&self, simd: S, task: &Task, sums: &[T], dw: &Shared<T>) {
        let spec = &self.geometry.spec;
        let (inputs, taps) = (task.inputs.len(), self.reading.taps());
        let width = task.panels.len() * S::LANES;
        for (nth, panel) in task.panels.clone().enumerate() {
            let first = panel * S::LANES;
            let count = S::LANES.min(spec.group_outputs() - first);
            let channel = task.group * spec.group_outputs() + first;
            for from in (0..inputs * taps).step_by(S::LANES) {
                let len = S::LANES.min(inputs * taps - from);
                let mask = simd.mask(0..len);
                let mut square = [simd.zero(); MOST_LANES];
                for (index, vector) in square[..S::LANES].iter_mut().enumerate() {
                    let step = from + index.min(len - 1);
                    let (input, tap) = (step / taps, step % taps);
                    let (rest, column) = (tap / self.columns, tap % self.columns);
                    let channel = (rest * inputs + input) * self.columns + column;
                    let start = channel * width + nth * S::LANES;
                    *vector = load(simd, &sums[start..]);
                }
                transpose::<T, S>(simd, &mut square);
                for (output, &vector) in square[..S::LANES].iter().enumerate() {
                    if output < count {
                        let row = (channel + output) * spec.group_inputs() + task.inputs.start;
                        let target = dw.at(row * taps + from, len);
                        // SAFETY: no other task has these inputs of this channel. The mask has a lane for
                        // each element.
                        unsafe { simd.store_masked(target, mask, vector) };
                    }
                }
            }
        }
    }
}

/// Most channels whose pixels are copied one by one: a square of registers would be copies of the last.
const FEW: usize = 4;

/// Writes rows of pixels side by side: `target[position · panel_rows + channel]` is the first of what
/// `source` gives for the channel and the position.
#[inline(always)]
fn pack_x<'a, T: Element, S: Simd<T>>(
    simd: S,
    channels: usize,
    positions: usize,
    target: &mut [T],
    source: impl Fn(usize, usize) -> &'a [T],
) {
    let panel_rows = S::MR.next_multiple_of(S::LANES);
    if channels <= FEW {
        for channel in 0..channels {
            let pixels = &source(channel, 0)[..positions];
            for (target, &pixel) in target.chunks_exact_mut(panel_rows).zip(pixels) {
                target[channel] = pixel;
            }
        }
        return;
    }
    for part in (0..channels).step_by(S::LANES) {
        let count = S::LANES.min(channels - part);
        for position in (0..positions).step_by(S::LANES) {
            let mut square = [simd.zero(); MOST_LANES];
            for (channel, vector) in square[..S::LANES].iter_mut().enumerate() {
                // A strip has a vector's lanes past its last pixel.
                *vector = load(simd, source(part + channel.min(count - 1), position));
            }
            transpose::<T, S>(simd, &mut square);
            let target = &mut target[position * panel_rows..][..S::LANES * panel_rows];
            for (index, &vector) in square[..S::LANES].iter().enumerate() {
                store(simd, &mut target[index * panel_rows + part..], vector);
            }
        }
    }
}
