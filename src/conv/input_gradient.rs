//! The gradient of the input: `dx[i, h] = Σ_{o, m : h = oh·s + m·d − p} W[o, i, m] · dy[o, oh]`.
//!
//! For stride `s`, input positions fall into `s` phases an axis, and each phase reads only the taps
//! that reach it. So each pair of phases is a correlation of `dy` by a part of the kernel with stride
//! 1, and writes every `s`-th pixel of `dx`: nothing is scattered and no zero is multiplied.

use std::ops::Range;

use super::correlation::{Correlation, Target};
use super::engine::Engine;
use super::product::Product;
use super::strip::axis::TapAxis;
use super::weights::Weights;
use super::winograd::points::Family;
use crate::config::geometry::{Axis, Geometry};
use crate::config::padding::PaddingMode;
use crate::machine::element::Element;
use crate::machine::memory::{Buffer, Need, Room, Scratch, reserve};
use crate::machine::shared::Shared;
use crate::machine::threads::for_each_chunk;

/// One phase of an axis: the input positions `origin`, `origin + stride`, …, that the same taps
/// reach.
struct Phase {
    origin: usize,
    taps: Vec<usize>,
    axis: TapAxis,
}

/// The phases of an axis that any tap reaches.
fn phases(axis: &Axis) -> impl Iterator<Item = Phase> {
    let &Axis { stride, kernel, output, input, .. } = axis;
    (0..stride.min(input)).filter_map(move |origin| {
        let offset = |tap: usize| origin as isize - axis.tap_offset(tap);
        let reaching = |&tap: &usize| offset(tap) % stride as isize == 0;
        // The last reads first.
        let taps: Vec<_> = (0..kernel).rev().filter(reaching).collect();
        let axis = TapAxis {
            input: output,
            output: (input - origin).div_ceil(stride),
            step: 1,
            offsets: taps.iter().map(|&tap| offset(tap) / stride as isize).collect(),
            mode: PaddingMode::Zeros,
        };
        (!taps.is_empty()).then_some(Phase { origin, taps, axis })
    })
}

/// The correlations of `dy` that make `dx`, `[B, I, H, W]`, as if the padding were zeros: one for each
/// pair of phases that any tap reaches.
pub fn correlations(geometry: &Geometry) -> Vec<Correlation> {
    if geometry.input_shape().contains(&0) {
        return Vec::new();
    }
    let Geometry { spec, rows, cols, .. } = geometry;
    let row_phases: Vec<_> = phases(rows).collect();
    let col_phases: Vec<_> = phases(cols).collect();
    let correlation = |row_phase: &Phase, col_phase: &Phase| {
        let col_taps = |row: &usize| {
            let start = row * cols.kernel;
            col_phase.taps.iter().map(move |col| start + col)
        };
        Correlation {
            batch: geometry.batch,
            groups: spec.groups,
            group_channels: [spec.group_outputs(), spec.group_inputs()],
            rows: row_phase.axis.clone(),
            cols: col_phase.axis.clone(),
            taps: row_phase.taps.iter().flat_map(col_taps).collect(),
            target: Target {
                plane: [rows.input, cols.input],
                origin: [row_phase.origin, col_phase.origin],
                step: [rows.stride, cols.stride],
            },
        }
        .flattened()
    };
    let of_row =
        |row: &Phase| col_phases.iter().map(|col| correlation(row, col)).collect::<Vec<_>>();
    row_phases.iter().flat_map(of_row).collect()
}

/// Whether there are pixels that no tap reaches: the gaps of a stride larger than the kernel.
fn has_gaps(geometry: &Geometry, correlations: &[Correlation]) -> bool {
    let [rows, cols] = [&geometry.rows, &geometry.cols].map(|axis| axis.stride.min(axis.input));
    correlations.len() < rows * cols
}

/// The gradient of the input, ready to be computed.
pub struct InputGradient<'a, T: Element> {
    products: Vec<Product<'a, T>>,
    has_gaps: bool,
    /// What comes through padding that isn't zeros.
    padding: Option<Padding<'a, T>>,
}

impl<'a, T: Element> InputGradient<'a, T> {
    /// By the [`correlations`] and weights the other way; where padding isn't zeros, by the kernel
    /// `weight`, `[O, n, M, N]`, too.
    pub fn new(
        engine: &Engine<'a, T>,
        geometry: &'a Geometry,
        family: Option<&'a Family<T>>,
        correlations: &'a [Correlation],
        weights: &'a Weights<'a, T>,
        weight: Option<&[T]>,
        dy: &'a [T],
    ) -> Room<Self> {
        let products =
            correlations.iter().map(|each| Product::new(engine, family, each, weights, dy, None));
        let products: Vec<_> = products.collect::<Room<_>>()?;
        let has_gaps = has_gaps(geometry, correlations);
        let is_empty = geometry.input_shape().contains(&0);
        let padded = geometry.spec.mode != PaddingMode::Zeros && !is_empty;
        let padding = weight.filter(|_| padded);
        let padding =
            padding.map(|weight| Padding::new(engine, geometry, weight, dy)).transpose()?;
        Ok(Self { products, has_gaps, padding })
    }

    /// What [`InputGradient::run`] works in.
    pub fn need(&self) -> Need {
        let of_products = self.products.iter().map(Product::need);
        of_products.chain(self.padding.as_ref().map(Padding::need)).fold(Need::default(), Need::or)
    }

    /// Writes the gradient to `dx`.
    pub fn run(&self, scratch: &Scratch<T>, dx: &mut [T]) {
        if self.has_gaps {
            dx.fill(T::zero());
        }
        let shared = Shared::new(dx);
        self.products.iter().for_each(|product| product.run(scratch, &shared));
        if let Some(padding) = &self.padding {
            padding.add(scratch, dx);
        }
    }
}

/// The gradient that pixels get through the padding that they continue: for each output pixel near the
/// border and each tap that reads padding there, `Wᵀ·dy` goes to the pixel that was read.
struct Padding<'a, T: Element> {
    geometry: &'a Geometry,
    /// By group, tap and input channel, the weights of the output channels side by side.
    columns: Buffer<'a, T>,
    dy: &'a [T],
    threads: usize,
}

impl<'a, T: Element> Padding<'a, T> {
    /// Of the kernel `weight`, `[O, n, M, N]`.
    pub fn new(
        engine: &Engine<'a, T>,
        geometry: &'a Geometry,
        weight: &[T],
        dy: &'a [T],
    ) -> Room<Self> {
        let spec = &geometry.spec;
        let (n, r, taps) = (spec.group_inputs(), spec.group_outputs(), spec.taps());
        let mut columns = engine.memory.buffer(weight.len())?;
        for (index, &value) in weight.iter().enumerate() {
            let (output, input, tap) = (index / taps / n, index / taps % n, index % taps);
            columns[((output / r * taps + tap) * n + input) * r + output % r] = value;
        }
        Ok(Self { geometry, columns, dy, threads: engine.threads(geometry.maccs()) })
    }

    /// What [`Padding::add`] works in.
    pub fn need(&self) -> Need {
        let spec = &self.geometry.spec;
        let images = self.geometry.batch * spec.groups;
        Need {
            threads: self.threads.min(images),
            lens: [spec.group_outputs(), 0, 0, 0, 0],
            tables: 0,
        }
    }

    /// Adds the gradient to `dx`.
    pub fn add(&self, scratch: &Scratch<T>, dx: &mut [T]) {
        let spec = &self.geometry.spec;
        let image_len = spec.group_inputs() * self.geometry.input_pixels();
        for_each_chunk(self.threads, dx, image_len, |index, dx| {
            let (image, group) = (index / spec.groups, index % spec.groups);
            scratch.lend(|[gradients, ..]| self.add_group(image, group, gradients, dx));
        });
    }

    /// The output positions of an axis none of whose taps reads padding.
    fn interior(axis: &Axis) -> Range<usize> {
        TapAxis::forward(axis, PaddingMode::Zeros).inside_through_all()
    }

    /// Where a tap of an output position reads, and whether that is inside the image.
    fn source(&self, axis: &Axis, output: usize, tap: usize) -> (Option<usize>, bool) {
        let position = (output * axis.stride) as isize + axis.tap_offset(tap);
        let inside = (0..axis.input as isize).contains(&position);
        (self.geometry.spec.mode.source(position, axis.input), inside)
    }

    /// Adds to the channels of one group of an image.
    fn add_group(&self, image: usize, group: usize, gradients: &mut Vec<T>, dx: &mut [T]) {
        let Geometry { spec, rows, cols, .. } = self.geometry;
        let (n, r, taps) = (spec.group_inputs(), spec.group_outputs(), spec.taps());
        let (pixels, plane) = (self.geometry.output_pixels(), self.geometry.input_pixels());
        let (inner_rows, inner_cols) = (Self::interior(rows), Self::interior(cols));
        let dy = &self.dy[(image * spec.out_channels + group * r) * pixels..][..r * pixels];
        let columns = &self.columns[group * taps * n * r..][..taps * n * r];
        reserve(gradients, r);
        let gradients = &mut gradients[..r];
        let (mut row_sources, mut col_sources) = (Vec::new(), Vec::new());
        for row in 0..rows.output {
            row_sources.clear();
            row_sources.extend((0..rows.kernel).map(|tap| self.source(rows, row, tap)));
            for col in 0..cols.output {
                if inner_rows.contains(&row) && inner_cols.contains(&col) {
                    continue;
                }
                col_sources.clear();
                col_sources.extend((0..cols.kernel).map(|tap| self.source(cols, col, tap)));
                let gradient = dy[row * cols.output + col..].iter().step_by(pixels);
                gradients.iter_mut().zip(gradient).for_each(|(to, &from)| *to = from);
                for tap in 0..taps {
                    let (row, row_inside) = row_sources[tap / cols.kernel];
                    let (col, col_inside) = col_sources[tap % cols.kernel];
                    let (Some(row), Some(col)) = (row, col) else { continue };
                    if row_inside && col_inside {
                        continue;
                    }
                    let columns = columns[tap * n * r..][..n * r].chunks_exact(r);
                    for (column, dx) in columns.zip(dx.chunks_exact_mut(plane)) {
                        let products = column.iter().zip(&*gradients).map(|(&w, &dy)| w * dy);
                        dx[row * cols.input + col] += products.fold(T::zero(), |sum, p| sum + p);
                    }
                }
            }
        }
    }
}
