//! Products of transformed tiles by the transformed kernel, point by point, and their way back:
//! `y = Aᵀ·M·A`, written to the channels of images.

use std::ops::Range;

use super::lines::{Dense, Line, Output};
use super::points::{Family, MOST_POINTS};
use super::source::Layout;
use super::tiles::{Class, Region, Tiles};
use crate::machine::element::Element;
use crate::machine::shared::Shared;
use crate::machine::simd::tile::{Across, Ahead, Operands, Sums};
use crate::machine::simd::{MOST_LANES, Simd, load, load_part, transpose};
use crate::machine::threads::cut;

/// Most registers of output channels that are multiplied and written together.
pub const MOST_PANELS: usize = 2;

/// Elements of the products of a tile, and from one tile to the next: an odd number of registers.
pub fn products_len<T>(family: &Family<T>, panels: usize, lanes: usize) -> usize {
    ((family.points().pow(2) * panels) | 1) * lanes
}

/// Some panels of the transformed kernel, `[points, channels, LANES]` each, from one channel on.
#[derive(Clone, Copy)]
pub struct Kernel<'a, T> {
    pub data: &'a [T],
    pub panels: usize,
    pub panel_len: usize,
    pub point_len: usize,
}

/// Products of a region's tiles, `[tiles, points, panels, LANES]`.
pub struct Products<'a, T> {
    pub family: &'a Family<T>,
    pub tiles: &'a Tiles,
    pub layout: &'a Layout,
    /// Channels of the source that are multiplied.
    pub channels: Range<usize>,
    pub kernel: Kernel<'a, T>,
    /// Whether to add to what is there.
    pub add: bool,
}

impl<T: Element> Products<'_, T> {
    /// Multiplies the transformed tiles `v`.
    #[inline(always)]
    pub fn write<S: Simd<T>>(
        &self,
        simd: S,
        v: &[T],
        stretches: &mut Vec<[usize; 2]>,
        products: &mut [T],
    ) {
        let Self { family, tiles, layout, channels, kernel, .. } = self;
        let points = family.points();
        let tile_len = products_len(family, kernel.panels, S::LANES);
        // Whole panels of channels, and what is left of the last.
        let first_panel = channels.start / S::LANES;
        let whole = channels.len() / S::LANES;
        let rest = channels.len() % S::LANES;
        stretches.clear();
        stretches.extend(
            (0..whole + usize::from(rest > 0)).map(|panel| {
                [(first_panel + panel) * layout.panel_len, panel * S::LANES * S::LANES]
            }),
        );
        assert!(v.len() >= layout.len(points * points));
        assert!(products.len() >= tiles.count() * tile_len);
        let of_panels = (kernel.panels - 1) * kernel.panel_len;
        let of_points = (points * points - 1) * kernel.point_len;
        assert!(kernel.data.len() >= of_panels + of_points + channels.len() * S::LANES);
        for row in 0..points {
            for col in 0..points {
                let point = row * points + col;
                let range = tiles.with_point(row, col);
                for part in cut(range.len(), range.len().div_ceil(S::MR)) {
                    let tile = range.start + part.start;
                    // The next tiles of this point, or the first of the next.
                    let next = match part.end < range.len() {
                        true => layout.at(point, first_panel, range.start + part.end),
                        false => layout.at(point + 1, first_panel, 0),
                    };
                    let ahead = Ahead {
                        first: v.as_ptr().wrapping_add(next),
                        step: S::LANES,
                        stretches: whole,
                        stretch_step: layout.panel_len,
                    };
                    let a = v[layout.at(point, 0, tile)..].as_ptr();
                    let b = &kernel.data[point * kernel.point_len..];
                    let start = tile * tile_len + point * kernel.panels * S::LANES;
                    let data = &mut products[start..];
                    let most = S::tile_vectors(part.len());
                    let mut multiply = |stretches: &[[usize; 2]], steps, add| {
                        for first in (0..kernel.panels).step_by(most) {
                            let operands = Operands {
                                a,
                                b: b[first * kernel.panel_len..].as_ptr(),
                                stretches,
                                steps,
                                a_step: 1,
                                b_step: S::LANES,
                                b_panel: kernel.panel_len,
                                ahead: if first == 0 { ahead } else { Ahead::NOTHING },
                            };
                            let data = data[first * S::LANES..].as_mut_ptr();
                            let across = Across { operands, a_row: S::LANES };
                            let out = Sums { data, row_step: tile_len, add };
                            let vectors = most.min(kernel.panels - first);
                            // SAFETY: a stretch reads the lanes of a panel of `part.len()` tiles of the
                            // point, and as many registers of each of the kernel's panels; `products` has
                            // a register for each panel of each tile, all as asserted above.
                            unsafe { simd.tile_across(part.len(), vectors, &across, out) };
                        }
                    };
                    if whole > 0 {
                        multiply(&stretches[..whole], S::LANES, self.add);
                    }
                    if rest > 0 {
                        multiply(&stretches[whole..], rest, self.add || whole > 0);
                    }
                }
            }
        }
    }
}

/// Calls a method by the transform back of lines of tiles of `outputs` outputs.
macro_rules! by_outputs {
    ($self:ident, $outputs:expr, $method:ident($($argument:expr),*)) => {{
        let family = $self.family;
        let outputs = $outputs;
        // Of the largest tiles there are none here.
        let smaller = &family.smaller[(outputs - 1).min(2)];
        match (family.outputs, outputs) {
            (4, 4) => $self.$method::<S, 6, 4>(Output(family), $($argument),*),
            (2, 2) => $self.$method::<S, 4, 2>(Output(family), $($argument),*),
            (_, 3) => $self.$method::<S, 5, 3>(Dense(&smaller.at), $($argument),*),
            (_, 2) => $self.$method::<S, 4, 2>(Dense(&smaller.at), $($argument),*),
            _ => $self.$method::<S, 3, 1>(Dense(&smaller.at), $($argument),*),
        }
    }};
}

/// Outputs of images, and which of their channels come from products.
pub struct Outputs<'a, T> {
    pub family: &'a Family<T>,
    pub tiles: &'a Tiles,
    pub region: &'a Region,
    /// Rows and columns of a plane.
    pub plane: [usize; 2],
    /// Channels of an image.
    pub all_channels: usize,
    /// The channels that products are of, of an image.
    pub channels: Range<usize>,
    pub panels: usize,
    pub bias: Option<&'a [T]>,
}

/// Pixels of a band, unless one row of tiles has more.
const BAND: usize = 256;

/// Rows of outputs that are transformed before they are written: those of whole rows of tiles of each phase.
pub fn band_rows<T>(family: &Family<T>, tiles: &Tiles) -> usize {
    let unit = family.outputs * tiles.rows.dilation;
    let rows = BAND / tiles.cols.covered() / unit * unit;
    rows.clamp(unit, tiles.rows.covered().next_multiple_of(unit))
}

/// Elements of a band, with a square of registers past it, and of the lines of a tile.
pub fn band_len<T>(family: &Family<T>, tiles: &Tiles, lanes: usize) -> usize {
    (band_rows(family, tiles) * tiles.cols.covered() + MOST_LANES) * lanes + lines_len(lanes)
}

/// Elements of a tile that is transformed along one axis.
fn lines_len(lanes: usize) -> usize {
    MOST_POINTS * MOST_POINTS * lanes
}

impl<T: Element> Outputs<'_, T> {
    /// Transforms products and writes them.
    #[inline(always)]
    pub fn write<S: Simd<T>>(&self, simd: S, products: &[T], buffer: &mut [T], y: &Shared<T>) {
        let (lines, band) = buffer.split_at_mut(lines_len(S::LANES));
        let height = band_rows(self.family, self.tiles);
        for panel in 0..self.panels {
            for image in 0..self.tiles.images {
                for start in (0..self.region.rows.len()).step_by(height) {
                    self.transform(
                        simd,
                        products,
                        panel,
                        image,
                        start..start + height,
                        lines,
                        band,
                    );
                    self.write_band(simd, band, panel, image, start, height, y);
                }
            }
        }
    }

    /// Transforms the tiles that start in a band.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn transform<S: Simd<T>>(
        &self,
        simd: S,
        products: &[T],
        panel: usize,
        image: usize,
        rows: Range<usize>,
        lines: &mut [T],
        band: &mut [T],
    ) {
        let tile_len = products_len(self.family, self.panels, S::LANES);
        let width = self.tiles.cols.covered();
        for class in self.tiles.classes() {
            let Class { rows_rest, cols_rest, .. } = class;
            let row_outputs = self.tiles.rows.outputs(rows_rest);
            let col_outputs = self.tiles.cols.outputs(cols_rest);
            for tile_row in 0..class.rows {
                let row = self.tiles.rows.start(rows_rest, tile_row);
                if !rows.contains(&row) {
                    continue;
                }
                for tile_col in 0..class.cols {
                    let tile = (image * class.rows + tile_row) * class.cols + tile_col;
                    let col = self.tiles.cols.start(cols_rest, tile_col);
                    let products = &products[(class.start + tile) * tile_len + panel * S::LANES..];
                    let band = &mut band[((row - rows.start) * width + col) * S::LANES..];
                    self.columns(simd, row_outputs, col_outputs + 2, products, lines);
                    self.rows(simd, col_outputs, row_outputs, lines, band);
                }
            }
        }
    }

    /// Transforms the columns of a tile's products to `lines`, `[outputs, points, LANES]`.
    #[inline(always)]
    fn columns<S: Simd<T>>(
        &self,
        simd: S,
        outputs: usize,
        points: usize,
        products: &[T],
        lines: &mut [T],
    ) {
        by_outputs!(self, outputs, columns_by(simd, points, products, lines));
    }

    #[inline(always)]
    fn columns_by<S: Simd<T>, const IN: usize, const OUT: usize>(
        &self,
        line: impl Line<T, IN, OUT>,
        simd: S,
        points: usize,
        products: &[T],
        lines: &mut [T],
    ) {
        let step = self.panels * S::LANES;
        let row_step = self.family.points() * step;
        assert!(products.len() >= (IN - 1) * row_step + (points - 1) * step + S::LANES);
        assert!(lines.len() >= lines_len(S::LANES) && points <= MOST_POINTS);
        for col in 0..points {
            let mut input = [simd.zero(); IN];
            for (row, vector) in input.iter_mut().enumerate() {
                // SAFETY: there is a register for each point, as just asserted.
                *vector = unsafe { simd.load(products.as_ptr().add(row * row_step + col * step)) };
            }
            for (row, &vector) in line.map(simd, input).iter().enumerate() {
                let target = lines.as_mut_ptr().wrapping_add((row * MOST_POINTS + col) * S::LANES);
                // SAFETY: there is a register for each pair of points, as just asserted.
                unsafe { simd.store(target, vector) };
            }
        }
    }

    /// Transforms a tile's lines to its pixels in the band.
    #[inline(always)]
    fn rows<S: Simd<T>>(&self, simd: S, outputs: usize, rows: usize, lines: &[T], band: &mut [T]) {
        by_outputs!(self, outputs, rows_by(simd, rows, lines, band));
    }

    #[inline(always)]
    fn rows_by<S: Simd<T>, const IN: usize, const OUT: usize>(
        &self,
        line: impl Line<T, IN, OUT>,
        simd: S,
        rows: usize,
        lines: &[T],
        band: &mut [T],
    ) {
        let step = self.tiles.cols.dilation * S::LANES;
        let row_step = self.tiles.rows.dilation * self.tiles.cols.covered() * S::LANES;
        assert!(lines.len() >= lines_len(S::LANES) && rows <= MOST_POINTS);
        assert!(band.len() >= (rows - 1) * row_step + (OUT - 1) * step + S::LANES);
        for row in 0..rows {
            let mut input = [simd.zero(); IN];
            for (col, vector) in input.iter_mut().enumerate() {
                let source = lines.as_ptr().wrapping_add((row * MOST_POINTS + col) * S::LANES);
                // SAFETY: there is a register for each pair of points, as just asserted.
                *vector = unsafe { simd.load(source) };
            }
            for (col, &vector) in line.map(simd, input).iter().enumerate() {
                let target = band.as_mut_ptr().wrapping_add(row * row_step + col * step);
                // SAFETY: there is a register for each of the tile's pixels, as just asserted.
                unsafe { simd.store(target, vector) };
            }
        }
    }

    /// Writes a band's pixels to the channels of a panel.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn write_band<S: Simd<T>>(
        &self,
        simd: S,
        band: &[T],
        panel: usize,
        image: usize,
        start: usize,
        height: usize,
        y: &Shared<T>,
    ) {
        let Self { region, plane: [plane_rows, plane_cols], .. } = self;
        let plane = plane_rows * plane_cols;
        let first = self.channels.start + panel * S::LANES;
        let count = S::LANES.min(self.channels.end - first);
        let bias = match self.bias {
            Some(bias) => load_part(simd, &bias[first..first + count]),
            None => simd.zero(),
        };
        let (rows, cols) = (height.min(region.rows.len() - start), region.cols.len());
        let width = self.tiles.cols.covered();
        // Rows that follow each other in the plane are one.
        let [rows, cols] = match cols == width && cols == *plane_cols {
            true => [1, rows * cols],
            false => [rows, cols],
        };
        let channel = (region.images.start + image) * self.all_channels + first;
        for row in 0..rows {
            let at = (region.rows.start + start + row) * plane_cols + region.cols.start;
            for from in (0..cols).step_by(S::LANES) {
                let pixels = S::LANES.min(cols - from);
                let source = &band[(row * width + from) * S::LANES..][..S::LANES * S::LANES];
                let mut square = [simd.zero(); MOST_LANES];
                for (index, vector) in square[..S::LANES].iter_mut().enumerate() {
                    *vector = simd.add(load(simd, &source[index * S::LANES..]), bias);
                }
                transpose::<T, S>(simd, &mut square);
                let target = y.at(channel * plane + at + from, (count - 1) * plane + pixels);
                if pixels == S::LANES && count == S::LANES {
                    for (index, &vector) in square[..S::LANES].iter().enumerate() {
                        // SAFETY: no one else has these pixels of these channels.
                        unsafe { simd.store(target.wrapping_add(index * plane), vector) };
                    }
                } else {
                    let mask = simd.mask(0..pixels);
                    for (index, &vector) in square[..S::LANES].iter().enumerate() {
                        if index < count {
                            // SAFETY: no one else has these pixels of these channels.
                            unsafe {
                                simd.store_masked(target.wrapping_add(index * plane), mask, vector);
                            }
                        }
                    }
                }
            }
        }
    }
}
