//! Features as channels of a matrix product: those of a block of pixels are made when the product of `W`
//! needs them, and never exist as whole images.

use std::ops::Range;

use super::depthwise::{Depthwise, Receiver};
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
use crate::conv::strip::vectors::{Places, Vectors};
use crate::machine::element::Element;
use crate::machine::memory::{Room, Scratch};
use crate::machine::shared::Shared;
use crate::machine::simd::{Simd, store_part};

/// Writes `y`, `[B, O, OH, OW]`.
pub(super) fn forward<T: Element>(
    engine: &Engine<T>,
    geometry: &Geometry,
    factors: Factors<T>,
    x: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Room<()> {
    let Factors { composer, w, .. } = factors;
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
    let d = Depthwise::new(engine, &factors)?;
    let features = Features { d_mul, reading, plane: geometry.input_pixels(), d: &d, x };
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
struct Features<'a, T: Element> {
    d_mul: usize,
    reading: Reading<'a>,
    /// Pixels of an input channel.
    plane: usize,
    d: &'a Depthwise<'a, T>,
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
        let &Self { d_mul, ref reading, plane, d, x } = self;
        features.reserve(channels.len(), target);
        let strip = &Strip::new(simd, reading, block);
        let (lines, line_len) = reading.lines(block);
        let x = &x[block.image * reading.channels * plane..];
        let inputs = channels.start / d_mul..channels.end / d_mul;
        let step = features.channel_len;
        for (input, target) in inputs.zip(target.chunks_exact_mut(d_mul * step)) {
            strip.fill(simd, x, plane, input..input + 1, patch);
            let strip = (strip, &patch[..]);
            for places in Vectors::new(strip.0, [lines, line_len], S::LANES) {
                match places {
                    Places::One(places) => {
                        let mut write = Write { target, step, line_len, places };
                        d.features(simd, input, strip, places, &mut write);
                    }
                    Places::Two(places) => {
                        let mut write = Write { target, step, line_len, places };
                        d.features(simd, input, strip, places, &mut write);
                    }
                }
            }
        }
    }
}

/// Writes features of a channel.
struct Write<'a, T, const V: usize> {
    target: &'a mut [T],
    /// From one feature to the next.
    step: usize,
    line_len: usize,
    /// The line and column of each vector.
    places: [[usize; 2]; V],
}

impl<T: Element, S: Simd<T>, const V: usize> Receiver<T, S, V> for Write<'_, T, V> {
    #[inline(always)]
    fn take<const Q: usize>(&mut self, simd: S, s: usize, features: &[[S::Vector; V]; Q]) {
        for (q, feature) in features.iter().enumerate() {
            for ([line, col], &vector) in self.places.into_iter().zip(feature) {
                let len = S::LANES.min(self.line_len - col);
                let start = (s + q) * self.step + line * self.line_len + col;
                store_part(simd, &mut self.target[start..][..len], vector);
            }
        }
    }
}
