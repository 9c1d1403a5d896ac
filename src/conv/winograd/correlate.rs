//! Correlations of images by a transformed kernel: the forward pass, and the gradient of the input.
//!
//! Two ways, by the size of the transformed kernel alone:
//!
//! * Where it is small it is made once, and kept by folded layers. Each thread transforms a region's tiles,
//!   multiplies and writes them, by way of L2.
//! * Where it is large it never exists. All threads transform a region together; then each takes some output
//!   channels, whose kernels it transforms a few input channels at a time, while they are multiplied.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::kernel::{Strided, transform};
use super::points::Family;
use super::product::{Kernel, MOST_PANELS, Outputs, Products, band_len, products_len};
use super::source::{Known, Layout, Part, Side, Source, Target, Work};
use super::tiles::{Region, Regions, Tiles};
use crate::conv::correlation::Correlation;
use crate::conv::engine::Engine;
use crate::conv::gemm::panels::{PackedPanels, PanelIndex};
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Buffer, Buffers, Need, Room, Scratch, reserve};
use crate::machine::shared::Shared;
use crate::machine::simd::{Simd, WithSimd};
use crate::machine::threads::{Piece, Stages, cut_at, share_stages};

/// A correlation by Winograd's algorithm, ready to be computed.
pub struct Job<'a, T: Element> {
    correlation: &'a Correlation,
    source: Source<'a, T>,
    regions: Regions,
    kernel: PackedPanels<'a, T>,
    bias: Option<&'a [T]>,
    way: Way<'a, T>,
    lanes: usize,
    isa: Isa,
    threads: usize,
    need: Need,
}

/// How the kernel is transformed.
enum Way<'a, T: Element> {
    /// It has been; regions are cut into as many parts of its panels.
    Whole { parts: usize },
    /// While it is multiplied, `depth` input channels at a time; the transformed tiles of a region, which
    /// all threads share.
    Piecewise { tiles: Mutex<Buffer<'a, T>>, depth: usize },
}

impl<'a, T: Element> Job<'a, T> {
    /// By a kernel that is transformed already or one that has taps.
    pub fn new(
        engine: &Engine<'a, T>,
        family: &'a Family<T>,
        correlation: &'a Correlation,
        kernel: PackedPanels<'a, T>,
        x: &'a [T],
        bias: Option<&'a [T]>,
    ) -> Room<Self> {
        let Correlation { batch, groups, group_channels: [channels, _], rows, cols, .. } =
            correlation;
        let (lanes, points) = (engine.lanes(), family.points().pow(2));
        let is_whole = kernel.panel_len == points * kernel.tap_len;
        let panels = channels.div_ceil(lanes);
        let dilation = [rows, cols].map(|axis| (axis.offsets[1] - axis.offsets[0]) as usize);
        let most = match is_whole {
            true => engine.blocking.transformed,
            false => engine.blocking.shared_transformed,
        };
        let most_tiles = (most / (points * panels * lanes)).min(engine.blocking.tiles);
        let outputs = [rows.output, cols.output];
        let width = engine.blocking.pixels;
        let regions = Regions::new(family, *batch, outputs, dilation, most_tiles, width);
        let source = Source::new(Side::Input, family, [rows, cols], groups * channels, dilation, x);
        let threads = engine.threads(correlation.maccs());

        let tiles = regions.most();
        let layout = Layout::new(lanes, tiles.count(), panels);
        let patch = source.need(&tiles, lanes);
        let depth = (engine.blocking.transformed_depth / lanes).max(1) * lanes;
        let (way, second, pieces) = if is_whole {
            let tasks = regions.len() * groups;
            let parts = if threads == 1 { 1 } else { threads.div_ceil(tasks) };
            let parts = parts.min(kernel.count.div_ceil(MOST_PANELS));
            (Way::Whole { parts }, layout.len(points), tasks * parts)
        } else {
            let tiles = Mutex::new(engine.memory.buffer(layout.len(points))?);
            let pieces = kernel.count.div_ceil(MOST_PANELS).max(regions.most().images * panels);
            let chunk = MOST_PANELS * chunk_panel_len(family, depth, lanes);
            (Way::Piecewise { tiles, depth }, chunk, pieces)
        };
        let products = tiles.count() * products_len(family, MOST_PANELS, lanes);
        let need = Need {
            threads: threads.min(pieces),
            lens: [patch, second, products, band_len(family, &tiles, lanes), 0],
            tables: source.tables(&regions.get(0)),
        };
        let isa = engine.isa;
        Ok(Self { correlation, source, regions, kernel, bias, way, lanes, isa, threads, need })
    }

    /// What [`Job::run`] works in.
    pub fn need(&self) -> Need {
        self.need
    }

    /// Writes the correlation to `y`.
    pub fn run(&self, scratch: &Scratch<T>, y: &Shared<T>) {
        let regions = self.correlation.groups * self.regions.len();
        let work = |stages: &Stages, shared: Option<&Shared<T>>| {
            scratch.lend(|buffers| {
                T::dispatch_to(self.isa, Worker { job: self, stages, buffers, shared, y });
            });
        };
        match &self.way {
            Way::Whole { parts } => {
                let stages = [regions * parts].into_iter();
                share_stages(self.threads, stages, |stages| work(stages, None));
            }
            Way::Piecewise { tiles, .. } => {
                let mut tiles = tiles.lock().unwrap_or_else(PoisonError::into_inner);
                let shared = Shared::new(&mut tiles);
                let pairs = self.kernel.count.div_ceil(MOST_PANELS);
                let stages = (0..regions).flat_map(|region| {
                    let images = self.regions.get(region % self.regions.len()).images.len();
                    [images * self.panels(), pairs]
                });
                share_stages(self.threads, stages, |stages| work(stages, Some(&shared)));
            }
        }
    }

    /// Panels of the source's channels of a group.
    fn panels(&self) -> usize {
        self.correlation.group_channels[0].div_ceil(self.lanes)
    }
}

/// From one point to the next of a part of the transformed kernel, of `channels` input channels.
fn chunk_point_len(channels: usize, lanes: usize) -> usize {
    (channels | 1) * lanes
}

/// Elements of a panel of a part of the transformed kernel: of `channels` input channels.
fn chunk_panel_len<T>(family: &Family<T>, channels: usize, lanes: usize) -> usize {
    family.points().pow(2) * chunk_point_len(channels, lanes)
}

/// A thread's share of the work.
struct Worker<'w, 'a, T: Element> {
    job: &'w Job<'a, T>,
    stages: &'w Stages,
    buffers: &'w mut Buffers<T>,
    /// Where all threads transform tiles to, if they do that together.
    shared: Option<&'w Shared<'w, T>>,
    y: &'w Shared<'w, T>,
}

impl<T: Element> WithSimd<T> for Worker<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { job, stages, buffers, shared, y } = self;
        let mut known = None;
        while let Some(piece) = stages.take() {
            match (&job.way, shared) {
                (Way::Piecewise { .. }, Some(tiles)) if piece.stage % 2 == 0 => {
                    let at = job.at(piece.stage / 2);
                    let place = [piece.index / job.panels(), piece.index % job.panels()];
                    let mut work = Work { patch: &mut buffers[0], known: &mut known };
                    job.transform(simd, &at, place, &mut work, tiles);
                }
                (&Way::Piecewise { depth, .. }, Some(tiles)) => {
                    job.multiply_some(simd, &piece, depth, buffers, tiles, y);
                }
                (&Way::Whole { parts }, _) => {
                    job.perform_whole(simd, piece.index, parts, buffers, &mut known, y);
                }
                (Way::Piecewise { .. }, None) => unreachable!("its tiles are shared"),
            }
        }
    }
}

/// A region of a group's channels.
struct At {
    group: usize,
    region: Region,
    tiles: Tiles,
}

impl<T: Element> Job<'_, T> {
    fn at(&self, index: usize) -> At {
        let (group, region) = (index / self.regions.len(), index % self.regions.len());
        let region = self.regions.get(region);
        let tiles = self.regions.tiles(&region);
        At { group, region, tiles }
    }

    /// The source's channels of a panel of a group.
    fn channels(&self, group: usize, panel: usize) -> Range<usize> {
        let [sources, _] = self.correlation.group_channels;
        let first = panel * self.lanes;
        group * sources + first..group * sources + sources.min(first + self.lanes)
    }

    /// Transforms, multiplies and writes a region for a part of the kernel's panels.
    #[inline(always)]
    fn perform_whole<S: Simd<T>>(
        &self,
        simd: S,
        index: usize,
        parts: usize,
        buffers: &mut Buffers<T>,
        known: &mut Known<S::Mask, S::EvenMask>,
        y: &Shared<T>,
    ) {
        let at = self.at(index / parts);
        let At { group, ref region, ref tiles } = at;
        let [patch, transformed, products, band, _] = buffers;
        let points = self.source.family.points().pow(2);
        let layout = Layout::new(S::LANES, tiles.count(), self.panels());
        reserve(transformed, layout.len(points));
        let shared = Shared::new(transformed);
        let mut work = Work { patch, known };
        for image in 0..tiles.images {
            for panel in 0..self.panels() {
                self.transform(simd, &at, [image, panel], &mut work, &shared);
            }
        }
        let pairs = self.kernel.count.div_ceil(MOST_PANELS);
        let mut stretches = Vec::new();
        for pair in cut_at(pairs, parts, index % parts) {
            let first = pair * MOST_PANELS;
            let panels = MOST_PANELS.min(self.kernel.count - first);
            let kernel = Kernel {
                data: self.kernel.from(PanelIndex { group, panel: first }),
                panels,
                panel_len: self.kernel.panel_len,
                point_len: self.kernel.tap_len,
            };
            let multiply = Products {
                family: self.source.family,
                tiles,
                layout: &layout,
                channels: 0..self.correlation.group_channels[0],
                kernel,
                add: false,
            };
            self.reserve_products(tiles, products, band);
            multiply.write(simd, transformed, &mut stretches, products);
            self.outputs(group, region, tiles, first, panels).write(simd, products, band, y);
        }
    }

    fn reserve_products(&self, tiles: &Tiles, products: &mut Vec<T>, band: &mut Vec<T>) {
        let (family, lanes) = (self.source.family, self.lanes);
        reserve(products, tiles.count() * products_len(family, MOST_PANELS, lanes));
        reserve(band, band_len(family, tiles, lanes));
    }

    /// Where the products of some panels go.
    fn outputs<'b>(
        &'b self,
        group: usize,
        region: &'b Region,
        tiles: &'b Tiles,
        first_panel: usize,
        panels: usize,
    ) -> Outputs<'b, T> {
        let Correlation { groups, group_channels: [_, targets], target, .. } = self.correlation;
        let first = first_panel * self.lanes;
        let last = (*targets).min(first + panels * self.lanes);
        Outputs {
            family: self.source.family,
            tiles,
            region,
            plane: target.plane,
            all_channels: groups * targets,
            channels: group * targets + first..group * targets + last,
            panels,
            bias: self.bias,
        }
    }

    /// Transforms one image of a region, a panel of channels.
    #[inline(always)]
    fn transform<S: Simd<T>>(
        &self,
        simd: S,
        At { group, region, tiles }: &At,
        [image, panel]: [usize; 2],
        work: &mut Work<T, S::Mask, S::EvenMask>,
        transformed: &Shared<T>,
    ) {
        let layout = Layout::new(S::LANES, tiles.count(), self.panels());
        let part = Part { region, tiles, image };
        let target = Target { layout: &layout, panel, data: transformed };
        self.source.transform(simd, &part, self.channels(*group, panel), work, &target);
    }

    /// Multiplies all tiles of a region by some panels of the kernel and writes their outputs.
    #[inline(always)]
    fn multiply_some<S: Simd<T>>(
        &self,
        simd: S,
        piece: &Piece,
        depth: usize,
        buffers: &mut Buffers<T>,
        transformed: &Shared<T>,
        y: &Shared<T>,
    ) {
        let At { group, region, tiles } = self.at(piece.stage / 2);
        let [_, chunk, products, band, _] = buffers;
        let family = self.source.family;
        let points = family.points().pow(2);
        let [sources, _] = self.correlation.group_channels;
        let layout = Layout::new(S::LANES, tiles.count(), self.panels());
        let len = layout.len(points);
        // SAFETY: the tiles have been written, and nobody writes them during this stage.
        let transformed = unsafe { std::slice::from_raw_parts(transformed.at(0, len), len) };
        let first = piece.index * MOST_PANELS;
        let panels = MOST_PANELS.min(self.kernel.count - first);
        let kernel = self.kernel.from(PanelIndex { group, panel: first });
        let turned = self.correlation.taps[0] != 0;
        let panel_len = chunk_panel_len(family, depth, S::LANES);
        let point_len = chunk_point_len(depth, S::LANES);
        reserve(chunk, panels * panel_len);
        self.reserve_products(&tiles, products, band);
        let mut stretches = Vec::new();
        for start in (0..sources).step_by(depth) {
            let channels = start..sources.min(start + depth);
            for panel in 0..panels {
                let taps = &kernel[panel * self.kernel.panel_len..][..self.kernel.panel_len];
                let chunk = &mut chunk[panel * panel_len..][..panel_len];
                for (index, channel) in channels.clone().enumerate() {
                    let taps =
                        Strided { data: &taps[channel * S::LANES..], step: self.kernel.tap_len };
                    let chunk = &mut chunk[index * S::LANES..];
                    transform(simd, family, turned, taps, chunk, point_len);
                }
            }
            let multiply = Products {
                family,
                tiles: &tiles,
                layout: &layout,
                channels,
                kernel: Kernel { data: chunk, panels, panel_len, point_len },
                add: start > 0,
            };
            multiply.write(simd, transformed, &mut stretches, products);
        }
        self.outputs(group, &region, &tiles, first, panels).write(simd, products, band, y);
    }
}
