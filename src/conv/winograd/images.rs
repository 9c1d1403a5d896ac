//! Images and regions of them, as a correlation reads and writes them.

use std::ops::Range;

use super::points::Family;
use super::product::{MOST_PANELS, Outputs, band_len, products_len};
use super::source::{Layout, Part, Side, Source, Target, Work};
use super::tiles::{Region, Regions, Tiles};
use crate::conv::correlation::Correlation;
use crate::conv::engine::Engine;
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Need, reserve};
use crate::machine::shared::Shared;
use crate::machine::simd::Simd;

/// What is read and where it goes, whichever way the kernel is transformed.
pub struct Images<'a, T> {
    pub correlation: &'a Correlation,
    pub source: Source<'a, T>,
    pub regions: Regions,
    /// Panels of a group's channels, of the source and of the target.
    pub panels: [usize; 2],
    bias: Option<&'a [T]>,
    pub lanes: usize,
    pub isa: Isa,
    pub threads: usize,
}

/// A region of a group's channels.
pub struct At {
    pub group: usize,
    pub region: Region,
    pub tiles: Tiles,
}

impl<'a, T: Element> Images<'a, T> {
    /// In regions whose transformed tiles have at most as many `elements`.
    pub fn new(
        engine: &Engine<'a, T>,
        family: &'a Family<T>,
        correlation: &'a Correlation,
        elements: usize,
        x: &'a [T],
        bias: Option<&'a [T]>,
    ) -> Self {
        let Correlation { batch, groups, group_channels, rows, cols, .. } = correlation;
        let (lanes, points) = (engine.lanes(), family.points().pow(2));
        let panels = group_channels.map(|count| count.div_ceil(lanes));
        let dilation = [rows, cols].map(|axis| (axis.offsets[1] - axis.offsets[0]) as usize);
        let tiles = (elements / (points * panels[0] * lanes)).min(engine.blocking.tiles);
        let (outputs, width) = ([rows.output, cols.output], engine.blocking.pixels);
        let regions = Regions::new(family, *batch, outputs, dilation, tiles, width);
        let channels = groups * group_channels[0];
        let source = Source::new(Side::Input, family, [rows, cols], channels, dilation, x);
        let threads = engine.threads(correlation.maccs());
        Self { correlation, source, regions, panels, bias, lanes, isa: engine.isa, threads }
    }

    pub fn family(&self) -> &'a Family<T> {
        self.source.family
    }

    /// Pairs of panels of a group's kernel, and of what is left one, that are multiplied together.
    pub fn pairs(&self) -> usize {
        self.panels[1].div_ceil(MOST_PANELS)
    }

    /// A pair's panels.
    pub fn pair(&self, index: usize) -> Range<usize> {
        index * MOST_PANELS..self.panels[1].min((index + 1) * MOST_PANELS)
    }

    /// How the transformed tiles of a region lie.
    pub fn layout(&self, tiles: &Tiles) -> Layout {
        Layout::new(self.lanes, tiles.count(), self.panels[0])
    }

    /// What at most `threads` threads need, each with a second buffer and a last one of those lengths.
    pub fn need(&self, threads: usize, second: usize, last: usize) -> Need {
        let tiles = self.regions.most();
        let patch = self.source.need(&tiles, self.lanes);
        let products = tiles.count() * products_len(self.family(), MOST_PANELS, self.lanes);
        let band = band_len(self.family(), &tiles, self.lanes);
        Need {
            threads: self.threads.min(threads),
            lens: [patch, second, products, band, last],
            tables: self.source.tables(&self.regions.get(0)),
        }
    }

    /// By group, by region.
    pub fn at(&self, index: usize) -> At {
        let (group, region) = (index / self.regions.len(), index % self.regions.len());
        let region = self.regions.get(region);
        let tiles = self.regions.tiles(&region);
        At { group, region, tiles }
    }

    /// Makes room for the products of a region's tiles and for what is written of them.
    pub fn reserve(&self, tiles: &Tiles, products: &mut Vec<T>, band: &mut Vec<T>) {
        reserve(products, tiles.count() * products_len(self.family(), MOST_PANELS, self.lanes));
        reserve(band, band_len(self.family(), tiles, self.lanes));
    }

    /// Where the products of some panels go.
    pub fn outputs<'b>(&'b self, at: &'b At, panels: Range<usize>) -> Outputs<'b, T> {
        let Correlation { groups, group_channels: [_, targets], target, .. } = self.correlation;
        let [first, last] = [panels.start, panels.end].map(|end| (end * self.lanes).min(*targets));
        Outputs {
            family: self.family(),
            tiles: &at.tiles,
            region: &at.region,
            plane: target.plane,
            all_channels: groups * targets,
            channels: at.group * targets + first..at.group * targets + last,
            panels: panels.len(),
            bias: self.bias,
        }
    }

    /// Transforms one image of a region, a panel of channels.
    #[inline(always)]
    pub fn transform<S: Simd<T>>(
        &self,
        simd: S,
        At { group, region, tiles }: &At,
        [image, panel]: [usize; 2],
        work: &mut Work<T, S::Mask, S::EvenMask>,
        transformed: &Shared<T>,
    ) {
        let [sources, _] = self.correlation.group_channels;
        let first = panel * self.lanes;
        let channels = group * sources + first..group * sources + sources.min(first + self.lanes);
        let part = Part { region, tiles, image };
        let target = Target { layout: &self.layout(tiles), panel, data: transformed };
        self.source.transform(simd, &part, channels, work, &target);
    }
}
