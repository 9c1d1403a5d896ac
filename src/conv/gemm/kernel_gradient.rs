//! The gradient of the kernel: `dW[o, k] = Σ_p dy[o, p] · X[k, p]` over the pixels of all images.
//!
//! Computed as `dWᵀ = X · dyᵀ`: the rows of `X` are packed as for the forward pass and broadcast,
//! and the small `dy` is the operand that is transposed. Tasks divide the rows and columns of `dW`,
//! never the sum, so each element is summed in the order of the pixels.

use std::ops::Range;

use super::microkernel::Operands;
use super::source::{Columns, PanelPlan, TapAxis};
use super::{Engine, cut};
use crate::Scalar;
use crate::conv::queue::{self, Queue};
use crate::conv::shared::Shared;
use crate::conv::simd::{Kernel, Simd};
use crate::geometry::Geometry;

/// One piece of work: it owns some rows `k` of some output channels of a group.
#[derive(Clone)]
struct Task {
    group: usize,
    rows: Range<usize>,
    channels: Range<usize>,
}

/// What all tasks share.
struct Job<'a, T> {
    engine: &'a Engine,
    geometry: &'a Geometry,
    rows: TapAxis,
    cols: TapAxis,
    x: &'a [T],
    dy: &'a [T],
    dw: Shared<'a, T>,
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch<T> {
    /// A block of panels of `X`, each `[rows, NR]`.
    columns: Vec<T>,
    /// The same pixels of `dyᵀ`, by panel of `NR` channels, each `[pixels, NR]`.
    dy: Vec<T>,
    /// `dWᵀ`, `[rows, channels]`, channels rounded up to whole panels.
    sums: Vec<T>,
    tile: Vec<T>,
}

/// Writes `dw`, `[O, n, M, N]`.
pub fn run<T: Scalar>(engine: &Engine, geometry: &Geometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let spec = &geometry.spec;
    let depth = spec.group_inputs() * spec.taps();
    let channels = spec.group_outputs();
    let threads = engine.threads(geometry.maccs());
    let most = engine.blocking.gradient_rows;
    let (row_tile, _) = engine.tile_size::<T>();
    // Few large tasks, since each packs its pixels of dy again.
    let row_parts = depth.div_ceil(most);
    let channel_parts = channels.div_ceil(most);
    let wanted = threads.div_ceil(spec.groups * row_parts * channel_parts);
    let row_parts = (row_parts * wanted).min(depth.div_ceil(row_tile));
    let tasks = (0..spec.groups).flat_map(|group| {
        cut(depth, row_parts).flat_map(move |rows| {
            cut(channels, channel_parts).map(move |channels| Task {
                group,
                rows: rows.clone(),
                channels,
            })
        })
    });
    let job = Job {
        engine,
        geometry,
        rows: TapAxis::forward(&geometry.rows, spec.mode),
        cols: TapAxis::forward(&geometry.cols, spec.mode),
        x,
        dy,
        dw: Shared::new(dw),
    };
    let tasks: Vec<_> = tasks.collect();
    queue::share(threads, &tasks, |queue| {
        T::dispatch_to(engine.isa, Worker { job: &job, queue });
    });
}

/// A thread's share of the work.
struct Worker<'a, T> {
    job: &'a Job<'a, T>,
    queue: &'a Queue<'a, Task>,
}

impl<T: Scalar> Kernel<T> for Worker<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let mut scratch = Scratch::default();
        while let Some(task) = self.queue.take() {
            self.job.perform(simd, task, &mut scratch);
        }
    }
}

impl<T: Scalar> Job<'_, T> {
    #[inline(always)]
    fn perform<S: Simd<T>>(&self, simd: S, task: &Task, scratch: &mut Scratch<T>) {
        let job = self;
        let spec = &job.geometry.spec;
        let columns = Columns {
            x: job.x,
            channels: spec.in_channels,
            first_channel: task.group * spec.group_inputs(),
            group_channels: spec.group_inputs(),
            rows: &job.rows,
            cols: &job.cols,
        };
        let pixels = job.geometry.batch * job.geometry.output_pixels();
        let panels = pixels.div_ceil(S::NR);
        let block = job.engine.blocking.panels.min(panels);
        let rows = task.rows.len();
        let channel_panels = task.channels.len().div_ceil(S::NR);
        let sums_width = channel_panels * S::NR;
        let room = |buffer: &mut Vec<T>, len: usize| {
            if buffer.len() < len {
                buffer.resize(len, T::zero());
            }
        };
        room(&mut scratch.columns, block * rows * S::NR);
        room(&mut scratch.dy, block * S::NR * sums_width);
        scratch.tile.resize(S::MR * S::NR, T::zero());
        scratch.sums.clear();
        scratch.sums.resize(rows * sums_width, T::zero());

        let mut plan = PanelPlan::default();
        for first in (0..panels).step_by(block.max(1)) {
            let block = block.min(panels - first);
            for index in 0..block {
                let start = (first + index) * S::NR;
                let pixels = start..pixels.min(start + S::NR);
                let panel = &mut scratch.columns[index * rows * S::NR..];
                columns.plan(simd, pixels, S::NR, &mut plan);
                columns.pack(simd, &plan, task.rows.clone(), S::NR, panel);
            }
            let start = first * S::NR;
            let block_pixels = start..pixels.min(start + block * S::NR);
            job.transpose_dy(task, block_pixels, block * S::NR, S::NR, &mut scratch.dy);

            for channel_panel in 0..channel_panels {
                let b = &scratch.dy[channel_panel * block * S::NR * S::NR..];
                for row in (0..rows).step_by(S::MR) {
                    let tile_rows = S::MR.min(rows - row);
                    let a = &scratch.columns[row * S::NR..];
                    let a_outer = rows * S::NR;
                    assert!(a.len() >= (block - 1) * a_outer + tile_rows * S::NR);
                    assert!(b.len() >= block * S::NR * S::NR);
                    let operands = Operands {
                        a: a.as_ptr(),
                        b: b.as_ptr(),
                        inner: S::NR,
                        outer: block,
                        a_outer,
                    };
                    // SAFETY: each of `block` panels of `a` has `tile_rows` rows of NR elements
                    // here and `b` has NR elements for each of their pixels, as just asserted;
                    // `tile` has MR · NR elements.
                    unsafe { simd.tile::<true>(tile_rows, operands, scratch.tile.as_mut_ptr()) };
                    let sums = scratch.sums[row * sums_width + channel_panel * S::NR..]
                        .chunks_mut(sums_width)
                        .zip(scratch.tile.chunks_exact(S::NR));
                    for (sums, tile) in sums.take(tile_rows) {
                        sums.iter_mut().zip(tile).for_each(|(sum, &value)| *sum += value);
                    }
                }
            }
        }

        let depth = columns.depth();
        for (index, channel) in task.channels.clone().enumerate() {
            let row = (task.group * spec.group_outputs() + channel) * depth + task.rows.start;
            // SAFETY: no other task has these rows of this channel.
            let target = unsafe { job.dw.part(row, rows) };
            for (value, sums) in target.iter_mut().zip(scratch.sums.chunks_exact(sums_width)) {
                *value = sums[index];
            }
        }
    }
}

impl<T: Scalar> Job<'_, T> {
    /// Writes `pixels` of `dyᵀ` by panel of `width` channels, each `[len, width]`; zeros past the
    /// task's channels and past the pixels.
    fn transpose_dy(
        &self,
        task: &Task,
        pixels: Range<usize>,
        len: usize,
        width: usize,
        target: &mut [T],
    ) {
        let spec = &self.geometry.spec;
        let plane = self.geometry.output_pixels();
        let first_channel = task.group * spec.group_outputs() + task.channels.start;
        let panels = target.chunks_exact_mut(len * width);
        for (panel, target) in panels.take(task.channels.len().div_ceil(width)).enumerate() {
            let channels = width.min(task.channels.len() - panel * width);
            if channels < width || pixels.len() < len {
                target.fill(T::zero());
            }
            for lane in 0..channels {
                let channel = first_channel + panel * width + lane;
                let mut at = pixels.start;
                while at < pixels.end {
                    let (image, pixel) = (at / plane, at % plane);
                    let run = (plane - pixel).min(pixels.end - at);
                    let source = (image * spec.out_channels + channel) * plane + pixel;
                    let source = &self.dy[source..source + run];
                    let target = target[(at - pixels.start) * width + lane..].iter_mut();
                    let values = target.step_by(width).zip(source);
                    values.for_each(|(value, &gradient)| *value = gradient);
                    at += run;
                }
            }
        }
    }
}
