//! By a transformed kernel that exists as a whole: each thread transforms a region's tiles, multiplies and
//! writes them, by way of L2.

use super::images::Images;
use super::product::{Kernel, Products};
use super::source::{Known, Work};
use crate::conv::gemm::panels::{PackedPanels, PanelIndex};
use crate::machine::element::Element;
use crate::machine::memory::{Buffers, Need, Scratch, reserve};
use crate::machine::shared::Shared;
use crate::machine::simd::{Simd, WithSimd};
use crate::machine::threads::{Queue, cut_at, share};

/// The kernel, and into how many parts of its panels each region is cut.
pub struct Whole<'a, T> {
    kernel: PackedPanels<'a, T>,
    parts: usize,
}

impl<'a, T: Element> Whole<'a, T> {
    /// And what [`Whole::run`] works in.
    pub fn new(images: &Images<'a, T>, kernel: PackedPanels<'a, T>) -> (Self, Need) {
        let tasks = images.regions.len() * images.correlation.groups;
        let parts = if images.threads == 1 { 1 } else { images.threads.div_ceil(tasks) };
        let way = Self { kernel, parts: parts.min(images.pairs()) };
        let transformed =
            images.layout(&images.regions.most()).len(images.family().points().pow(2));
        let need = images.need(tasks * way.parts, transformed, 0);
        (way, need)
    }

    /// Writes the correlation to `y`.
    pub fn run(&self, images: &Images<T>, scratch: &Scratch<T>, y: &Shared<T>) {
        let tasks = images.regions.len() * images.correlation.groups * self.parts;
        share(images.threads, tasks, |queue| {
            scratch.lend(|buffers| {
                T::dispatch_to(images.isa, Worker { way: self, images, queue, buffers, y });
            });
        });
    }
}

/// A thread's share of the work.
struct Worker<'w, 'a, T> {
    way: &'w Whole<'a, T>,
    images: &'w Images<'a, T>,
    queue: &'w Queue,
    buffers: &'w mut Buffers<T>,
    y: &'w Shared<'w, T>,
}

impl<T: Element> WithSimd<T> for Worker<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let mut known = None;
        while let Some(index) = self.queue.take() {
            self.perform(simd, index, &mut known);
        }
    }
}

impl<T: Element> Worker<'_, '_, T> {
    /// Transforms, multiplies and writes a region for a part of the kernel's panels.
    #[inline(always)]
    fn perform<S: Simd<T>>(
        &mut self,
        simd: S,
        index: usize,
        known: &mut Known<S::Mask, S::EvenMask>,
    ) {
        let Self { way: Whole { kernel, parts }, images, y, .. } = *self;
        let [patch, transformed, products, band, _] = &mut *self.buffers;
        let at = images.at(index / parts);
        let (tiles, layout) = (&at.tiles, images.layout(&at.tiles));
        reserve(transformed, layout.len(images.family().points().pow(2)));
        let shared = Shared::new(transformed);
        let mut work = Work { patch, known };
        for image in 0..tiles.images {
            for panel in 0..images.panels[0] {
                images.transform(simd, &at, [image, panel], &mut work, &shared);
            }
        }
        images.reserve(tiles, products, band);
        let mut stretches = Vec::new();
        for pair in cut_at(images.pairs(), *parts, index % parts) {
            let panels = images.pair(pair);
            let multiply = Products {
                family: images.family(),
                tiles,
                layout: &layout,
                channels: 0..images.correlation.group_channels[0],
                kernel: Kernel {
                    data: kernel.from(PanelIndex { group: at.group, panel: panels.start }),
                    panels: panels.len(),
                    panel_len: kernel.panel_len,
                    point_len: kernel.tap_len,
                },
                add: false,
            };
            multiply.write(simd, transformed, &mut stretches, products);
            images.outputs(&at, panels).write(simd, products, band, y);
        }
    }
}
