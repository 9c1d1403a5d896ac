//! By a transformed kernel that never exists as a whole: all threads transform a region together; then each
//! takes some output channels, whose kernels it packs or composes, and transforms, a few input channels at a
//! time, while they are multiplied.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::images::Images;
use super::kernel::{KernelForm, Strided, transform};
use super::points::{Family, TAPS};
use super::product::{Kernel, MOST_PANELS, Products};
use super::source::Work;
use crate::conv::engine::Engine;
use crate::conv::gemm::panels::{AnyPanels, PackedPanels, PanelIndex};
use crate::machine::element::Element;
use crate::machine::memory::{Buffer, Buffers, Need, Room, Scratch, reserve};
use crate::machine::shared::Shared;
use crate::machine::simd::{Simd, WithSimd};
use crate::machine::threads::{Piece, Stages, share_stages};

/// The kernel, and how many of its input channels are transformed at a time.
pub struct Piecewise<'a, T: Element> {
    taps: Taps<'a, T>,
    shared: Mutex<SharedBuffers<'a, T>>,
    depth: usize,
    /// Elements of the taps of some channels of a panel, which a thread has for itself.
    own: usize,
}

/// Where the taps of a kernel come from.
enum Taps<'a, T: Element> {
    Packed(PackedPanels<'a, T>),
    /// Packed while the first region of a group is multiplied.
    Panels(&'a dyn AnyPanels<T>),
}

/// What all threads share.
struct SharedBuffers<'a, T: Element> {
    /// The transformed tiles of a region.
    tiles: Buffer<'a, T>,
    /// By panel and by part of the channels, the taps of a group's kernel, for the regions after the first;
    /// none if that is the only one or they come packed.
    taps: Buffer<'a, T>,
}

/// From one point to the next of a part of the transformed kernel, of `channels` input channels: an odd
/// number of registers, so that points don't compete for the same places of the cache.
fn point_len(channels: usize, lanes: usize) -> usize {
    (channels | 1) * lanes
}

/// Elements of a panel of such a part.
fn panel_len<T>(family: &Family<T>, channels: usize, lanes: usize) -> usize {
    family.points().pow(2) * point_len(channels, lanes)
}

impl<'a, T: Element> Piecewise<'a, T> {
    /// And what [`Piecewise::run`] works in.
    pub fn new(
        engine: &Engine<'a, T>,
        images: &Images<'a, T>,
        kernel: KernelForm<'a, T>,
    ) -> Room<(Self, Need)> {
        let (lanes, family) = (images.lanes, images.family());
        let [sources, _] = images.correlation.group_channels;
        let depth = (engine.blocking.transformed_depth / lanes).max(1) * lanes;
        let (taps, own, kept, spare) = match kernel {
            KernelForm::Packed(kernel) => (Taps::Packed(kernel), 0, 0, 0),
            KernelForm::Panels(kernel) => {
                let of_channels = |channels: usize| TAPS * TAPS * channels * lanes;
                let (own, kept) = match images.regions.len() {
                    1 => (of_channels(depth.min(sources)), 0),
                    _ => (0, images.panels[1] * of_channels(sources)),
                };
                (Taps::Panels(kernel), own, kept, kernel.any_spare(lanes))
            }
        };
        let tiles = images.regions.most();
        let shared = SharedBuffers {
            tiles: engine.memory.buffer(images.layout(&tiles).len(family.points().pow(2)))?,
            taps: engine.memory.buffer(kept)?,
        };
        let transformed = MOST_PANELS * panel_len(family, depth, lanes);
        // A stage's threads begin before those of the one before have ended.
        let need = images.need(usize::MAX, transformed, own + spare);
        Ok((Self { taps, shared: Mutex::new(shared), depth, own }, need))
    }

    /// Writes the correlation to `y`.
    pub fn run(&self, images: &Images<'a, T>, scratch: &Scratch<T>, y: &Shared<T>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let SharedBuffers { tiles, taps } = &mut *shared;
        let (tiles, packed) = (&Shared::new(tiles), &Shared::new(taps));
        let regions = images.correlation.groups * images.regions.len();
        let stages = (0..regions).flat_map(|region| {
            let count = images.regions.get(region % images.regions.len()).images.len();
            [count * images.panels[0], images.pairs()]
        });
        share_stages(images.threads, stages, |stages| {
            scratch.lend(|buffers| {
                let worker = Worker { way: self, images, stages, buffers, tiles, packed, y };
                T::dispatch_to(images.isa, worker);
            });
        });
    }
}

/// A thread's share of the work.
struct Worker<'w, 'a, T: Element> {
    way: &'w Piecewise<'a, T>,
    images: &'w Images<'a, T>,
    stages: &'w Stages,
    buffers: &'w mut Buffers<T>,
    /// [`SharedBuffers`].
    tiles: &'w Shared<'w, T>,
    packed: &'w Shared<'w, T>,
    y: &'w Shared<'w, T>,
}

impl<T: Element> WithSimd<T> for Worker<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let mut known = None;
        while let Some(piece) = self.stages.take() {
            if piece.stage % 2 == 1 {
                self.multiply(simd, &piece);
                continue;
            }
            let at = self.images.at(piece.stage / 2);
            let panels = self.images.panels[0];
            let place = [piece.index / panels, piece.index % panels];
            let mut work = Work { patch: &mut self.buffers[0], known: &mut known };
            self.images.transform(simd, &at, place, &mut work, self.tiles);
        }
    }
}

impl<T: Element> Worker<'_, '_, T> {
    /// Multiplies all tiles of a region by some panels of the kernel and writes their outputs.
    #[inline(always)]
    fn multiply<S: Simd<T>>(&mut self, simd: S, piece: &Piece) {
        let Self { way, images, tiles: transformed, packed, y, .. } = *self;
        let [_, chunk, products, band, own] = &mut *self.buffers;
        let at = images.at(piece.stage / 2);
        let (tiles, layout, family) = (&at.tiles, images.layout(&at.tiles), images.family());
        let len = layout.len(family.points().pow(2));
        // SAFETY: the tiles have been written, and nobody writes them during this stage.
        let transformed = unsafe { std::slice::from_raw_parts(transformed.at(0, len), len) };
        let turned = images.correlation.taps[0] != 0;
        let panels = images.pair(piece.index);
        let panel_len = panel_len(family, way.depth, S::LANES);
        let point_len = point_len(way.depth, S::LANES);
        reserve(chunk, panels.len() * panel_len);
        images.reserve(tiles, products, band);
        let mut stretches = Vec::new();
        let [sources, _] = images.correlation.group_channels;
        for start in (0..sources).step_by(way.depth) {
            let channels = start..sources.min(start + way.depth);
            for (panel, chunk) in panels.clone().zip(chunk.chunks_exact_mut(panel_len)) {
                let wanted = Wanted {
                    index: PanelIndex { group: at.group, panel },
                    channels: channels.clone(),
                    is_first: (piece.stage / 2).is_multiple_of(images.regions.len()),
                };
                let taps = way.taps(images, wanted, packed, own);
                for channel in 0..channels.len() {
                    let taps = Strided { data: &taps.data[channel * S::LANES..], ..taps };
                    let chunk = &mut chunk[channel * S::LANES..];
                    transform(simd, family, turned, taps, chunk, point_len);
                }
            }
            let multiply = Products {
                family,
                tiles,
                layout: &layout,
                channels,
                kernel: Kernel { data: chunk, panels: panels.len(), panel_len, point_len },
                add: start > 0,
            };
            multiply.write(simd, transformed, &mut stretches, products);
        }
        images.outputs(&at, panels).write(simd, products, band, y);
    }
}

/// Some channels of a panel.
struct Wanted {
    index: PanelIndex,
    channels: Range<usize>,
    /// Whether for the first region of a group.
    is_first: bool,
}

impl<T: Element> Piecewise<'_, T> {
    /// The taps of some channels of a panel.
    fn taps<'b>(
        &'b self,
        images: &Images<T>,
        Wanted { index, channels, is_first }: Wanted,
        packed: &'b Shared<T>,
        own: &'b mut Vec<T>,
    ) -> Strided<'b, T> {
        let kernel = match &self.taps {
            Taps::Packed(kernel) => {
                let data = &kernel.from(index)[channels.start * images.lanes..];
                return Strided { data, step: kernel.tap_len };
            }
            Taps::Panels(kernel) => kernel,
        };
        let [sources, _] = images.correlation.group_channels;
        let step = channels.len() * images.lanes;
        let len = TAPS * TAPS * step;
        let spare = kernel.any_spare(images.lanes);
        reserve(own, self.own + spare);
        let (own, rest) = own.split_at_mut(self.own);
        let data = if images.regions.len() == 1 {
            &mut own[..len]
        } else {
            let start = TAPS * TAPS * (index.panel * sources + channels.start) * images.lanes;
            // SAFETY: no other piece of a stage has this panel, and other regions are in other stages.
            unsafe { std::slice::from_raw_parts_mut(packed.at(start, len), len) }
        };
        if is_first {
            kernel.write_by(images.isa, index, channels, data, &mut rest[..spare]);
        }
        Strided { data, step }
    }
}
