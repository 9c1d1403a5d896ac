//! Channels whose weights aren't finite, once more where they read zero padding.
//!
//! The products multiply the zeros of padding where that is faster than leaving them out, and infinity
//! times zero isn't zero. So the pixels that read padding are summed again without it, in the channels
//! that have such a weight and in no others: one channel's weights change nothing in another.

use super::correlation::Correlation;
use super::engine::Engine;
use super::gemm::panels::{PackedPanels, PanelIndex, finite_rows};
use super::strip::axis::TapAxis;
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::shared::Shared;
use crate::machine::simd::{MOST_LANES, Simd, WithSimd, load, load_part, store_part};
use crate::machine::threads::{Queue, share};

/// The pixels near the border of `A · X + bias`, ready to be computed.
pub struct Job<'a, T> {
    correlation: &'a Correlation,
    kernel: PackedPanels<'a, T>,
    x: &'a [T],
    bias: Option<&'a [T]>,
    isa: Isa,
    threads: usize,
}

impl<'a, T: Element> Job<'a, T> {
    /// None if all weights are finite, or no pixel reads zero padding.
    pub fn new(
        engine: &Engine<T>,
        correlation: &'a Correlation,
        kernel: PackedPanels<'a, T>,
        x: &'a [T],
        bias: Option<&'a [T]>,
    ) -> Option<Self> {
        let all_inside = |axis: &TapAxis| axis.inside_through_all().len() == axis.output;
        if kernel.finite || (all_inside(&correlation.rows) && all_inside(&correlation.cols)) {
            return None;
        }
        let threads = engine.threads(correlation.maccs());
        Some(Self { correlation, kernel, x, bias, isa: engine.isa, threads })
    }

    /// Writes those pixels to `y`, where the product has been.
    pub fn run(&self, y: &Shared<T>) {
        let Correlation { batch, groups, .. } = self.correlation;
        let tasks = batch * groups * self.kernel.count;
        share(self.threads, tasks, |queue| {
            T::dispatch_to(self.isa, Worker { job: self, queue, y });
        });
    }
}

/// An output pixel.
struct Pixel {
    image: usize,
    row: usize,
    col: usize,
}

/// A thread's share of the work.
struct Worker<'a, T> {
    job: &'a Job<'a, T>,
    queue: &'a Queue,
    y: &'a Shared<'a, T>,
}

impl<T: Element> WithSimd<T> for Worker<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        while let Some(task) = self.queue.take() {
            self.job.perform(simd, task, self.y);
        }
    }
}

impl<T: Element> Job<'_, T> {
    /// One panel of a group's channels in one image.
    #[inline(always)]
    fn perform<S: Simd<T>>(&self, simd: S, task: usize, y: &Shared<T>) {
        let Self { correlation, kernel, .. } = self;
        let Correlation { groups, group_channels: [_, targets], rows, cols, target, .. } =
            correlation;
        let (plane, panel) = (task / kernel.count, task % kernel.count);
        let [image, group] = [plane / groups, plane % groups];
        let panel_weights = &kernel.from(PanelIndex { group, panel })[..kernel.panel_len];
        let lanes_of = |vector: S::Vector| {
            let mut lanes = [T::zero(); MOST_LANES];
            store_part(simd, &mut lanes[..S::LANES], vector);
            lanes
        };
        let first = panel * S::LANES;
        let count = S::LANES.min(targets - first);
        let finite = finite_rows(simd, panel_weights);
        if finite[..count].iter().all(|&finite| finite) {
            return;
        }
        let channel = group * targets + first;
        let bias = match self.bias {
            Some(bias) => load_part(simd, &bias[channel..channel + count]),
            None => simd.zero(),
        };
        let [inner_rows, inner_cols] = [rows, cols].map(TapAxis::inside_through_all);
        let [height, width] = target.plane;
        for row in 0..rows.output {
            for col in 0..cols.output {
                if inner_rows.contains(&row) && inner_cols.contains(&col) {
                    continue;
                }
                let pixel = Pixel { image, row, col };
                let sums = self.sum(simd, group, panel_weights, &pixel, bias);
                let row = target.origin[0] + row * target.step[0];
                let col = target.origin[1] + col * target.step[1];
                for (lane, &sum) in lanes_of(sums)[..count].iter().enumerate() {
                    if !finite[lane] {
                        let channel = image * groups * targets + channel + lane;
                        let y = y.at((channel * height + row) * width + col, 1);
                        // SAFETY: no other task has this image's channels of this panel.
                        unsafe { *y = sum };
                    }
                }
            }
        }
    }

    /// The sums of one pixel over what it reads inside the image.
    #[inline(always)]
    fn sum<S: Simd<T>>(
        &self,
        simd: S,
        group: usize,
        panel: &[T],
        pixel: &Pixel,
        bias: S::Vector,
    ) -> S::Vector {
        let Correlation { groups, group_channels: [sources, _], rows, cols, taps, .. } =
            self.correlation;
        let &Pixel { image, row, col } = pixel;
        let plane = rows.input * cols.input;
        let x = &self.x[(image * groups + group) * sources * plane..][..sources * plane];
        let mut sums = bias;
        for row_tap in 0..rows.offsets.len() {
            let Some(from_row) = rows.source(row, row_tap) else { continue };
            for col_tap in 0..cols.offsets.len() {
                let Some(from_col) = cols.source(col, col_tap) else { continue };
                let tap = taps[row_tap * cols.offsets.len() + col_tap];
                let weights = &panel[tap * self.kernel.tap_len..][..self.kernel.tap_len];
                let pixels = x[from_row * cols.input + from_col..].iter().step_by(plane);
                for (weights, &pixel) in weights.chunks_exact(S::LANES).zip(pixels) {
                    sums = simd.fma(load(simd, weights), simd.splat(pixel), sums);
                }
            }
        }
        sums
    }
}
