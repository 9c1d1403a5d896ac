//! Features as channels of a matrix product: those of a block of pixels are made when the product of `W`
//! needs them, and never exist as whole images.

use std::ops::Range;

use crate::compose::{Composer, Factors};
use crate::config::geometry::Geometry;
use crate::config::padding::PaddingMode;
use crate::conv::correlation::{Correlation, Target};
use crate::conv::engine::Engine;
use crate::conv::gemm::correlate::{self, Channels};
use crate::conv::gemm::panels::PackedKernel;
use crate::conv::kernel_view::KernelView;
use crate::conv::strip::Strip;
use crate::conv::strip::axis::TapAxis;
use crate::conv::strip::reading::{Block, Blocks, Reading};
use crate::machine::element::Element;
use crate::machine::memory::{Room, Scratch};
use crate::machine::shared::Shared;
use crate::machine::simd::{Simd, load_part, store_part};

/// Writes `y`, `[B, O, OH, OW]`.
pub(super) fn forward<T: Element>(
    engine: &Engine<T>,
    geometry: &Geometry,
    Factors { composer, d_offset, w }: Factors<T>,
    x: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Room<()> {
    let &Composer { groups, group_inputs, group_outputs, d_mul, .. } = composer;
    let group_features = group_inputs * d_mul;
    let in_place = |pixels: usize| TapAxis {
        input: pixels,
        output: pixels,
        step: 1,
        offsets: vec![0],
        mode: PaddingMode::Zeros,
    };
    let plane = [geometry.rows.output, geometry.cols.output];
    let correlation = Correlation {
        batch: geometry.batch,
        groups,
        group_channels: [group_features, group_outputs],
        rows: in_place(plane[0]),
        cols: in_place(plane[1]),
        taps: vec![0],
        target: Target { plane, origin: [0, 0], step: [1, 1] },
    };
    let view = KernelView::forward(w, groups, [group_outputs, group_features, 1]);
    let kernel = PackedKernel::new(engine, &view)?;
    let mode = geometry.spec.mode;
    let (rows, cols) =
        (TapAxis::forward(&geometry.rows, mode), TapAxis::forward(&geometry.cols, mode));
    let reading = Reading::new(&rows, &cols, geometry.spec.in_channels, engine.most_rows());
    let mut d = engine.memory.buffer(d_offset.len())?;
    composer.depthwise(d_offset, &mut d);
    let features = Features { composer, reading, plane: geometry.input_pixels(), d: &d, x };
    // All features of a channel at a time.
    let depths = engine.blocking.depths(group_inputs, d_mul);
    let depths = depths.into_iter().map(|depth| depth.start * d_mul..depth.end * d_mul);
    let job =
        correlate::Job::new(engine, &correlation, depths.collect(), kernel.view(), features, bias);
    let scratch = Scratch::take(engine.memory, job.need())?;
    job.run(&scratch, &Shared::new(y));
    Ok(())
}

/// The features of images, as channels: `S` for each input channel.
struct Features<'a, T> {
    composer: &'a Composer,
    reading: Reading<'a>,
    /// Pixels of an input channel.
    plane: usize,
    /// `[I, MN, S]`.
    d: &'a [T],
    x: &'a [T],
}

impl<T: Element> Channels<T> for Features<'_, T> {
    /// A strip of one input channel.
    fn spare(&self, blocks: &Blocks) -> usize {
        self.reading.most_elements(blocks, 1)
    }

    #[inline(always)]
    fn fill<S: Simd<T>>(
        &self,
        simd: S,
        block: &Block,
        features: &Strip<S::Mask, S::EvenMask>,
        channels: Range<usize>,
        target: &mut Vec<T>,
        patch: &mut Vec<T>,
    ) {
        let Composer { taps, d_mul, .. } = *self.composer;
        features.reserve(channels.len(), target);
        let pixels = Strip::new(simd, &self.reading, block);
        let (lines, line_len) = self.reading.lines(block);
        let kernel_cols = self.reading.cols.offsets.len();
        // Of a line, where each tap starts to read that doesn't read zeros.
        let mut starts = Vec::with_capacity(taps);
        let x = &self.x[block.image * self.reading.channels * self.plane..];
        let inputs = channels.start / d_mul..channels.end / d_mul;
        let len = features.channel_len;
        for (input, target) in inputs.zip(target.chunks_exact_mut(d_mul * len)) {
            pixels.fill(simd, x, self.plane, input..input + 1, patch);
            let d = &self.d[input * taps * d_mul..][..taps * d_mul];
            for line in 0..lines {
                starts.clear();
                starts.extend((0..taps).filter_map(|tap| {
                    let start = pixels.start(line, [tap / kernel_cols, tap % kernel_cols])?;
                    Some([start, tap * d_mul])
                }));
                let (starts, pixels) = (&starts, line_len);
                let products = Products { x: patch, d, starts, pixels, step: len };
                let target = &mut target[line * line_len..];
                let mut s = 0;
                while s + 4 <= d_mul {
                    products.write::<S, 4>(simd, s, target);
                    s += 4;
                }
                while s < d_mul {
                    products.write::<S, 1>(simd, s, target);
                    s += 1;
                }
            }
        }
    }
}

/// The features of one channel and line.
struct Products<'a, T> {
    /// The channel's strip.
    x: &'a [T],
    /// `[MN, S]`.
    d: &'a [T],
    /// Where each tap that doesn't read zeros starts in `x` and in `d`.
    starts: &'a [[usize; 2]],
    pixels: usize,
    /// From one feature to the next.
    step: usize,
}

impl<T: Element> Products<'_, T> {
    /// Writes `Q` features from `s` on: `target[s · step + p] = Σ_m D[m, s] · x[m, p]`.
    #[inline(always)]
    fn write<S: Simd<T>, const Q: usize>(&self, simd: S, s: usize, target: &mut [T]) {
        for first in (0..self.pixels).step_by(S::LANES) {
            let len = S::LANES.min(self.pixels - first);
            let mut sums = [simd.zero(); Q];
            for &[x, d] in self.starts {
                let x = load_part(simd, &self.x[x + first..][..len]);
                for (sum, &d) in sums.iter_mut().zip(&self.d[d + s..][..Q]) {
                    *sum = simd.fma(simd.splat(d), x, *sum);
                }
            }
            for (q, &sum) in sums.iter().enumerate() {
                store_part(simd, &mut target[(s + q) * self.step + first..][..len], sum);
            }
        }
    }
}
