//! Transforms of what tiles read: of images, `V = Bᵀ·d·B`, and of gradients of outputs, `A·dy·Aᵀ`.
//!
//! Lanes are channels: a region's pixels are copied with their padding, transposed so that a register's
//! lanes of channels lie side by side. Then columns are transformed, each once for all tiles that
//! read it, and rows.

use std::ops::Range;

use super::lines::{Dense, Gradient, Input, Line};
use super::points::{Family, MOST_POINTS};
use super::tiles::{Region, TileAxis, Tiles};
use crate::conv::strip::Strip;
use crate::conv::strip::axis::TapAxis;
use crate::conv::strip::reading::{Block, Reading};
use crate::machine::element::Element;
use crate::machine::memory::reserve;
use crate::machine::shared::Shared;
use crate::machine::simd::{Simd, store, transpose};

/// Calls a method by the transform of lines of tiles of `outputs` outputs.
macro_rules! by_outputs {
    ($self:ident, $outputs:expr, $method:ident($($argument:expr),*)) => {{
        let family = $self.family;
        let outputs = $outputs;
        // Of the largest tiles there are none here.
        let smaller = &family.smaller[(outputs - 1).min(2)];
        match ($self.side, family.outputs, outputs) {
            (Side::Input, 4, 4) => $self.$method::<S, 6, 6>(Input(family), $($argument),*),
            (Side::Input, 2, 2) => $self.$method::<S, 4, 4>(Input(family), $($argument),*),
            (Side::Input, _, 3) => $self.$method::<S, 5, 5>(Dense(&smaller.bt), $($argument),*),
            (Side::Input, _, 2) => $self.$method::<S, 4, 4>(Dense(&smaller.bt), $($argument),*),
            (Side::Input, ..) => $self.$method::<S, 3, 3>(Dense(&smaller.bt), $($argument),*),
            (_, 4, 4) => $self.$method::<S, 4, 6>(Gradient(family), $($argument),*),
            (_, 2, 2) => $self.$method::<S, 2, 4>(Gradient(family), $($argument),*),
            (_, _, 3) => $self.$method::<S, 3, 5>(Dense(&smaller.a), $($argument),*),
            (_, _, 2) => $self.$method::<S, 2, 4>(Dense(&smaller.a), $($argument),*),
            _ => $self.$method::<S, 1, 3>(Dense(&smaller.a), $($argument),*),
        }
    }};
}

/// How transformed tiles lie in memory: by point, by panel of channels, by tile, a register's lanes.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub lanes: usize,
    /// From one panel to the next.
    pub panel_len: usize,
    /// From one point to the next: an odd number of registers, so that points don't compete for the same
    /// places of the cache.
    pub point_len: usize,
}

impl Layout {
    pub fn new(lanes: usize, tiles: usize, panels: usize) -> Self {
        Self { lanes, panel_len: tiles * lanes, point_len: ((tiles * panels) | 1) * lanes }
    }

    /// Elements of `points` points.
    pub fn len(&self, points: usize) -> usize {
        points * self.point_len
    }

    pub fn at(&self, point: usize, panel: usize, tile: usize) -> usize {
        point * self.point_len + panel * self.panel_len + tile * self.lanes
    }
}

/// What is transformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Images, of which a tile reads two more pixels than it has outputs along an axis.
    Input,
    /// Gradients of outputs, of which it reads its own.
    Gradient,
}

/// Planes that tiles are read from.
pub struct Source<'a, T> {
    pub side: Side,
    pub family: &'a Family<T>,
    /// How an output reads them; rows of zeros are copied.
    pub reading: Reading<'a>,
    pub dilation: [usize; 2],
    pub x: &'a [T],
}

/// The last region's rectangle and how it is copied, which others are like.
pub type Known<M, E> = Option<(Block, Strip<M, E>)>;

/// What a thread copies and transforms in.
pub struct Work<'a, T, M, E> {
    pub patch: &'a mut Vec<T>,
    pub known: &'a mut Known<M, E>,
}

impl<'a, T: Element> Source<'a, T> {
    /// Planes of `channels` channels an image, read by `rows` and `cols`.
    pub fn new(
        side: Side,
        family: &'a Family<T>,
        [rows, cols]: [&'a TapAxis; 2],
        channels: usize,
        dilation: [usize; 2],
        x: &'a [T],
    ) -> Self {
        let reading = Reading {
            rows,
            cols,
            channels,
            zero_rows: true,
            whole_rows: true,
            joined_lines: false,
            tile_rows: None,
        };
        Self { side, family, reading, dilation, x }
    }

    /// Taps past the first along an axis.
    fn reach(&self) -> usize {
        match self.side {
            Side::Input => 2,
            Side::Gradient => 0,
        }
    }

    /// Rows and columns of pixels that the tiles read, those past the last output's included.
    fn extent(&self, tiles: &Tiles) -> [usize; 2] {
        [(&tiles.rows, 0), (&tiles.cols, 1)]
            .map(|(axis, index)| axis.covered() + self.reach() * self.dilation[index])
    }

    /// Elements of the patch that such tiles take.
    pub fn need(&self, tiles: &Tiles, lanes: usize) -> usize {
        let [rows, cols] = self.extent(tiles);
        // Squares are written whole, past the end of a row.
        ((rows + MOST_POINTS) * cols + lanes) * lanes
    }

    /// Bytes of tables of a region.
    pub fn tables(&self, region: &Region) -> usize {
        self.reading.tables_of(&block_of(region, 0))
    }

    /// Transforms the tiles of one image of a region, of at most a register's lanes of channels, to their
    /// places in a panel of the target.
    #[inline(always)]
    pub fn transform<S: Simd<T>>(
        &self,
        simd: S,
        part: &Part,
        channels: Range<usize>,
        work: &mut Work<T, S::Mask, S::EvenMask>,
        target: &Target<T>,
    ) {
        let &Part { region, tiles, image } = part;
        let [rows, cols] = self.extent(tiles);
        reserve(work.patch, self.need(tiles, S::LANES));
        self.copy(
            simd,
            &block_of(region, region.images.start + image),
            channels,
            [rows, cols],
            work,
        );
        let (pixels, columns) = work.patch.split_at_mut(rows * cols * S::LANES);
        let classes = tiles.classes();
        for rows_rest in [false, true] {
            let of_rows = || classes.iter().filter(|class| class.rows_rest == rows_rest);
            let tile_rows = of_rows().map(|class| class.rows).max().unwrap_or(0);
            let outputs = tiles.rows.outputs(rows_rest);
            for tile_row in 0..tile_rows {
                let first = tiles.rows.start(rows_rest, tile_row) * cols * S::LANES;
                let window = Window {
                    source: &pixels[first..],
                    step: self.dilation[0] * cols * S::LANES,
                    count: cols,
                };
                self.columns(simd, outputs, &window, columns);
                for class in of_rows().filter(|class| class.cols > 0) {
                    let row = RowOfTiles {
                        axis: &tiles.cols,
                        is_rest: class.cols_rest,
                        tiles: class.cols,
                        first: class.start + (image * class.rows + tile_row) * class.cols,
                        points: outputs + 2,
                        columns,
                        column_len: cols * S::LANES,
                        step: self.dilation[1] * S::LANES,
                    };
                    self.rows(simd, &row, target);
                }
            }
        }
    }

    /// Copies an image's pixels into the patch, `[rows, columns, LANES]`.
    #[inline(always)]
    fn copy<S: Simd<T>>(
        &self,
        simd: S,
        block: &Block,
        channels: Range<usize>,
        [rows, cols]: [usize; 2],
        work: &mut Work<T, S::Mask, S::EvenMask>,
    ) {
        let known = work.known.take().filter(|(known, _)| known.is_like(block));
        let new = || (block.clone(), Strip::new(simd, &self.reading, block));
        let (_, strip) = known.unwrap_or_else(new);
        let plane = self.reading.rows.input * self.reading.cols.input;
        let x = &self.x[block.image * self.reading.channels * plane..];
        let squares = strip.squares(x, plane, channels);
        let (reach, dilation, lines) = (self.reach(), self.dilation[0], block.lines.len());
        // The strip's row of each position; none past the last.
        let row_of = |position: usize| {
            (0..=reach).find_map(|tap| {
                let line = position.checked_sub(tap * dilation).filter(|&line| line < lines)?;
                strip.row(line, tap)
            })
        };
        let width = strip.row_len().min(cols);
        for row in 0..rows {
            let target = &mut work.patch[row * cols * S::LANES..];
            let mut end = 0;
            if let Some(from) = row_of(row) {
                for first in (0..width).step_by(S::LANES) {
                    let mut square = squares.read(simd, from, first / S::LANES);
                    transpose::<T, S>(simd, &mut square);
                    // What is written past the row's end is overwritten by the next row.
                    let target = &mut target[first * S::LANES..][..S::LANES * S::LANES];
                    for (index, &vector) in square[..S::LANES].iter().enumerate() {
                        store(simd, &mut target[index * S::LANES..], vector);
                    }
                }
                end = width;
            }
            target[end * S::LANES..cols * S::LANES].fill(T::zero());
        }
        *work.known = Some((block.clone(), strip));
    }

    /// Transforms columns to `columns`, `[points, count, LANES]`.
    #[inline(always)]
    fn columns<S: Simd<T>>(&self, simd: S, outputs: usize, window: &Window<T>, columns: &mut [T]) {
        by_outputs!(self, outputs, columns_by(simd, window, columns));
    }

    #[inline(always)]
    fn columns_by<S: Simd<T>, const IN: usize, const OUT: usize>(
        &self,
        line: impl Line<T, IN, OUT>,
        simd: S,
        &Window { source, step, count }: &Window<T>,
        columns: &mut [T],
    ) {
        assert!(source.len() >= (IN - 1) * step + count * S::LANES);
        assert!(columns.len() >= OUT * count * S::LANES);
        for at in (0..count * S::LANES).step_by(S::LANES) {
            let mut input = [simd.zero(); IN];
            for (index, vector) in input.iter_mut().enumerate() {
                // SAFETY: `source` has `count` registers at each of `IN` rows, as just asserted.
                *vector = unsafe { simd.load(source.as_ptr().add(index * step + at)) };
            }
            for (index, &vector) in line.map(simd, input).iter().enumerate() {
                let target = columns.as_mut_ptr().wrapping_add(index * count * S::LANES + at);
                // SAFETY: `columns` has `count` registers for each of `OUT` points, as just asserted.
                unsafe { simd.store(target, vector) };
            }
        }
    }

    /// Transforms the rows of a row of tiles.
    #[inline(always)]
    fn rows<S: Simd<T>>(&self, simd: S, row: &RowOfTiles<T>, target: &Target<T>) {
        by_outputs!(self, row.axis.outputs(row.is_rest), rows_by(simd, row, target));
    }

    #[inline(always)]
    fn rows_by<S: Simd<T>, const IN: usize, const OUT: usize>(
        &self,
        line: impl Line<T, IN, OUT>,
        simd: S,
        row: &RowOfTiles<T>,
        target: &Target<T>,
    ) {
        let &RowOfTiles { axis, is_rest, tiles, first, points, columns, column_len, step } = row;
        let &Target { layout, panel, data } = target;
        let all_points = self.family.points();
        for tile in 0..tiles {
            let start = axis.start(is_rest, tile) * S::LANES;
            assert!(
                columns.len() >= (points - 1) * column_len + start + (IN - 1) * step + S::LANES
            );
            let place = layout.at(0, panel, first + tile);
            let last = (points - 1) * all_points + OUT - 1;
            let place = data.at(place, last * layout.point_len + S::LANES);
            for point_row in 0..points {
                let source = columns.as_ptr().wrapping_add(point_row * column_len + start);
                let mut input = [simd.zero(); IN];
                for (index, vector) in input.iter_mut().enumerate() {
                    // SAFETY: `columns` has `IN` registers of each row of points, as just asserted.
                    *vector = unsafe { simd.load(source.add(index * step)) };
                }
                for (col, &vector) in line.map(simd, input).iter().enumerate() {
                    let point = point_row * all_points + col;
                    // SAFETY: the place of this tile and point, up to the last of which there is room; no
                    // one else writes this panel's tiles of this image.
                    unsafe { simd.store(place.wrapping_add(point * layout.point_len), vector) };
                }
            }
        }
    }
}

fn block_of(region: &Region, image: usize) -> Block {
    Block { image, lines: region.rows.clone(), cols: region.cols.clone() }
}

/// One image of a region.
pub struct Part<'a> {
    pub region: &'a Region,
    pub tiles: &'a Tiles,
    pub image: usize,
}

/// Where transformed tiles go.
pub struct Target<'a, T> {
    pub layout: &'a Layout,
    pub panel: usize,
    pub data: &'a Shared<'a, T>,
}

/// Rows of pixels that a row of tiles reads: `count` registers each, `step` apart.
struct Window<'a, T> {
    source: &'a [T],
    step: usize,
    count: usize,
}

/// A row of tiles of one class.
struct RowOfTiles<'a, T> {
    axis: &'a TileAxis,
    is_rest: bool,
    tiles: usize,
    /// The number of the first.
    first: usize,
    /// Rows of points.
    points: usize,
    /// Transformed columns, `[points, columns, LANES]`.
    columns: &'a [T],
    column_len: usize,
    /// From one of a tile's columns to the next.
    step: usize,
}
