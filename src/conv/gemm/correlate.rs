//! `y = A · X + bias`, group by group.

use std::ops::Range;

use super::microkernel::Operands;
use super::source::{Columns, PanelPlan, TapAxis, runs};
use super::{Engine, cut};
use crate::Scalar;
use crate::conv::for_each_chunk;
use crate::conv::queue::{self, Queue};
use crate::conv::shared::Shared;
use crate::conv::simd::{Kernel, Simd};

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
            target: Target { plane: [1, pixels], origin: [0, 0], step: [1, 1] },
            ..*self
        })
    }
}

/// Where output pixel `(row, col)` is written in each plane of the target:
/// at `origin + step · (row, col)`.
pub struct Target {
    pub plane: [usize; 2],
    pub origin: [usize; 2],
    pub step: [usize; 2],
}

/// A kernel seen as one matrix for each group: element `(row, (channel, tap))` of group `g` is
/// `data[g·group + row·row_stride + channel·channel_stride + taps[tap]]`.
pub struct KernelView<'a, T> {
    pub data: &'a [T],
    pub group: usize,
    pub row_stride: usize,
    pub channel_stride: usize,
    pub taps: Vec<usize>,
}

/// A kernel in the order that the register tile reads it: by group, by panel of `MR` rows, by step
/// of the sum, by row; the last panel is filled up with zeros.
pub struct PackedKernel<T> {
    data: Vec<T>,
    panels: usize,
    depth: usize,
    panel_rows: usize,
}

impl<T: Scalar> PackedKernel<T> {
    /// Packs for the register tile.
    pub fn new(engine: &Engine, correlation: &Correlation, kernel: &KernelView<T>) -> Self {
        let [channels, rows] = correlation.group_channels;
        let elements = correlation.groups * rows * channels * kernel.taps.len();
        let threads = engine.threads(elements * PACKED_PER_ELEMENT);
        Self::with_panels(threads, engine.tile_size::<T>().0, correlation, kernel)
    }

    /// Packs panels of `panel_rows` rows.
    pub fn with_panels(
        threads: usize,
        panel_rows: usize,
        correlation: &Correlation,
        kernel: &KernelView<T>,
    ) -> Self {
        let [channels, rows] = correlation.group_channels;
        let depth = channels * kernel.taps.len();
        let panels = rows.div_ceil(panel_rows);
        let panel_len = depth * panel_rows;
        let mut data = vec![T::zero(); correlation.groups * panels * panel_len];
        // Step by step, so that the panel is written in order.
        let pack = |index: usize, panel: &mut [T]| {
            let (group, first) = (index / panels, index % panels * panel_rows);
            let rows = panel_rows.min(rows - first);
            let start = group * kernel.group + first * kernel.row_stride;
            let mut steps = panel.chunks_exact_mut(panel_rows);
            for channel in 0..channels {
                let start = start + channel * kernel.channel_stride;
                for (&tap, step) in kernel.taps.iter().zip(&mut steps) {
                    let column = kernel.data[start + tap..].iter().step_by(kernel.row_stride);
                    step[..rows].iter_mut().zip(column).for_each(|(to, &from)| *to = from);
                }
            }
        };
        for_each_chunk(threads, &mut data, panel_len, pack);
        Self { data, panels, depth, panel_rows }
    }

    /// Steps of the sum.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Steps `depth` of the sum of one panel of a group.
    pub fn panel(&self, group: usize, panel: usize, depth: Range<usize>) -> &[T] {
        let start = (group * self.panels + panel) * self.depth;
        &self.data[(start + depth.start) * self.panel_rows..(start + depth.end) * self.panel_rows]
    }
}

/// Packing an element takes about as long as so many multiply-accumulates of a vector kernel.
const PACKED_PER_ELEMENT: usize = 16;

/// Channels packed of one panel before the next panel's turn.
const PACKED_CHANNELS: usize = 8;

/// No register tile has more rows.
const MOST_ROWS: usize = 16;

/// One piece of work: it owns its pixels of its output channels.
#[derive(Clone)]
struct Task {
    group: usize,
    /// Panels of pixels.
    pixels: Range<usize>,
    /// Panels of output channels.
    channels: Range<usize>,
}

/// Computes `y = A · X + bias`.
pub fn run<T: Scalar>(
    engine: &Engine,
    correlation: &Correlation,
    kernel: &PackedKernel<T>,
    x: &[T],
    bias: Option<&[T]>,
    y: &Shared<T>,
) {
    let [group_in, group_out] = correlation.group_channels;
    let Correlation { rows, cols, groups, .. } = correlation;
    let pixels = correlation.batch * rows.output * cols.output;
    let (_, width) = engine.tile_size::<T>();
    let panels = pixels.div_ceil(width);
    let maccs = pixels.saturating_mul(kernel.depth).saturating_mul(groups * group_out);
    let threads = engine.threads(maccs);

    // Enough blocks for every thread, in even rounds; output channels are cut where pixels are few.
    let blocks = panels.div_ceil(engine.blocking.panels);
    let blocks = blocks.next_multiple_of(threads).min(panels);
    let channel_parts = threads.div_ceil((groups * blocks).max(1)).min(kernel.panels);
    let tasks = (0..*groups).flat_map(|group| {
        cut(panels, blocks).flat_map(move |pixels| {
            cut(kernel.panels, channel_parts).map(move |channels| Task {
                group,
                pixels: pixels.clone(),
                channels,
            })
        })
    });

    let job = Job {
        engine,
        correlation,
        kernel,
        bias,
        x,
        y,
        channels: [groups * group_in, groups * group_out],
        pixels,
    };
    let tasks: Vec<_> = tasks.collect();
    queue::share(threads, &tasks, |queue| {
        T::dispatch_to(engine.isa, Worker { job: &job, queue });
    });
}

/// What all tasks share.
struct Job<'a, T> {
    engine: &'a Engine,
    correlation: &'a Correlation,
    kernel: &'a PackedKernel<T>,
    bias: Option<&'a [T]>,
    x: &'a [T],
    y: &'a Shared<'a, T>,
    /// Channels of the source and of the target.
    channels: [usize; 2],
    pixels: usize,
}

/// A thread's share of the work.
struct Worker<'a, T> {
    job: &'a Job<'a, T>,
    queue: &'a Queue<'a, Task>,
}

/// Buffers of one thread.
struct Scratch<T, M, E> {
    plans: Vec<PanelPlan<M, E>>,
    panels: Vec<T>,
    tile: Vec<T>,
}

impl<T: Scalar> Kernel<T> for Worker<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let mut scratch =
            Scratch { plans: Vec::new(), panels: Vec::new(), tile: vec![T::zero(); S::MR * S::NR] };
        while let Some(task) = self.queue.take() {
            self.job.perform(simd, task, &mut scratch);
        }
    }
}

impl<T: Scalar> Job<'_, T> {
    #[inline(always)]
    fn perform<S: Simd<T>>(
        &self,
        simd: S,
        task: &Task,
        scratch: &mut Scratch<T, S::Mask, S::EvenMask>,
    ) {
        let (job, Scratch { plans, panels, tile }) = (self, scratch);
        let kernel = job.kernel;
        let [group_in, group_out] = job.correlation.group_channels;
        let columns = Columns {
            x: job.x,
            channels: job.channels[0],
            first_channel: task.group * group_in,
            group_channels: group_in,
            rows: &job.correlation.rows,
            cols: &job.correlation.cols,
        };
        let block_depth = job.engine.blocking.depth.min(kernel.depth);
        let len = task.pixels.len() * block_depth * S::NR;
        if panels.len() < len {
            panels.resize(len, T::zero());
        }
        let panel_pixels = |panel: usize| panel * S::NR..((panel + 1) * S::NR).min(job.pixels);
        if plans.len() < task.pixels.len() {
            plans.resize_with(task.pixels.len(), PanelPlan::default);
        }
        let plans = &mut plans[..task.pixels.len()];
        for (panel, plan) in task.pixels.clone().zip(&mut *plans) {
            columns.plan(simd, panel_pixels(panel), S::NR, plan);
        }

        let mut start = 0;
        loop {
            let depth = start..kernel.depth.min(start + block_depth);
            let panel_len = depth.len() * S::NR;
            // A few channels of all panels at a time: the pixels of neighbouring panels are neighbours.
            let stretch = PACKED_CHANNELS * columns.taps();
            for first in depth.clone().step_by(stretch) {
                let part = first..depth.end.min(first + stretch);
                for (index, plan) in plans.iter().enumerate() {
                    let start = index * panel_len + (first - depth.start) * S::NR;
                    let target = &mut panels[start..start + part.len() * S::NR];
                    columns.pack(simd, plan, part.clone(), S::NR, target);
                }
            }
            for channel_panel in task.channels.clone() {
                let a = kernel.panel(task.group, channel_panel, depth.clone());
                let first = channel_panel * S::MR;
                let rows = S::MR.min(group_out - first);
                let channel = task.group * group_out + first;
                for (index, panel) in task.pixels.clone().enumerate() {
                    let b = &panels[index * panel_len..][..panel_len];
                    assert!(a.len() == depth.len() * S::MR && b.len() == depth.len() * S::NR);
                    let operands = Operands {
                        a: a.as_ptr(),
                        b: b.as_ptr(),
                        inner: depth.len(),
                        outer: 1,
                        a_outer: 0,
                    };
                    // SAFETY: `a` has MR and `b` has NR elements for each step of the sum, as just
                    // asserted, and `tile` has MR · NR.
                    unsafe { simd.tile::<false>(rows, operands, tile.as_mut_ptr()) };
                    let replace = start == 0;
                    job.write(simd, tile, channel..channel + rows, panel_pixels(panel), replace);
                }
            }
            start = depth.end;
            if start >= kernel.depth {
                break;
            }
        }
    }
}

impl<T: Scalar> Job<'_, T> {
    /// Writes a register tile to its channels and pixels, or adds it to what is there.
    #[inline(always)]
    fn write<S: Simd<T>>(
        &self,
        simd: S,
        tile: &[T],
        channels: Range<usize>,
        pixels: Range<usize>,
        replace: bool,
    ) {
        let Correlation { rows, cols, target, .. } = self.correlation;
        let ([height, width], step) = (target.plane, target.step[1]);
        let plane = height * width;
        let zero = [T::zero(); MOST_ROWS];
        let bias = match self.bias {
            Some(bias) if replace => &bias[channels.clone()],
            _ => &zero[..channels.len()],
        };
        // Rows that follow each other in the target, too, are one.
        let lines = match (target.step, target.plane == [rows.output, cols.output]) {
            ([1, 1], true) => [1, plane],
            _ => [rows.output, cols.output],
        };
        for run in runs(pixels, lines[0], lines[1]) {
            let row = target.origin[0] + run.row * target.step[0];
            let first = (run.image * self.channels[1] + channels.start) * plane
                + row * width
                + target.origin[1]
                + run.col * step;
            for start in (0..run.len).step_by(S::LANES) {
                let len = S::LANES.min(run.len - start);
                let mask = simd.mask(0..len);
                let tile = tile[run.lane + start..].chunks(S::NR);
                for (index, (tile, &bias)) in tile.zip(bias).enumerate() {
                    let at = first + index * plane + start * step;
                    // SAFETY: no other task has these pixels of this channel, and where `step` leaves
                    // gaps, nothing touches those during this product. The mask has a lane for each
                    // pixel.
                    unsafe {
                        let pixels = self.y.part(at, (len - 1) * step + 1);
                        if step == 1 {
                            let sum = simd.load_masked(tile[..len].as_ptr(), mask);
                            let before = match replace {
                                true => simd.splat(bias),
                                false => simd.load_masked(pixels.as_ptr(), mask),
                            };
                            simd.store_masked(pixels.as_mut_ptr(), mask, simd.add(before, sum));
                        } else {
                            for (pixel, &sum) in pixels.iter_mut().step_by(step).zip(tile) {
                                *pixel = if replace { bias } else { *pixel } + sum;
                            }
                        }
                    }
                }
            }
        }
    }
}
