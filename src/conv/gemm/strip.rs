//! The source pixels that a block of output pixels reads, copied close together.
//!
//! A strip has each image row that the block reads once, its padding included, so that the pixels which
//! a line of outputs reads through any tap lie side by side: this is the im2col, without its
//! repetitions. Where a step of two or more would leave gaps between these pixels, a row is copied as
//! one segment for each remainder of the position by the step.

use std::collections::HashMap;
use std::ops::Range;

use super::cut_at;
use crate::conv::axis::TapAxis;
use crate::conv::line::{Line, kind};
use crate::conv::simd::{MOST_LANES, Simd};
use crate::memory::reserve;
use crate::{PaddingMode, Scalar};

/// A rectangle of output pixels: lines, counted from the start of `image` through it and those after
/// it, and columns.
#[derive(Debug, Clone)]
pub struct Block {
    pub image: usize,
    pub lines: Range<usize>,
    pub cols: Range<usize>,
}

impl Block {
    pub fn pixels(&self) -> usize {
        self.lines.len() * self.cols.len()
    }

    /// Whether the other block is the same rectangle, be it of another image.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.lines, &self.cols) == (&other.lines, &other.cols)
    }
}

/// The blocks that a batch is cut into, line by line of blocks.
#[derive(Debug, Clone, Copy)]
pub struct Blocks {
    /// Lines of the batch, and lines and columns of an image.
    lines: usize,
    rows: usize,
    cols: usize,
    parts: [usize; 2],
}

impl Blocks {
    pub fn len(&self) -> usize {
        self.parts[0] * self.parts[1]
    }

    /// Lines and columns of a block, at most.
    pub fn most(&self) -> [usize; 2] {
        let Self { lines, cols, parts: [line_parts, col_parts], .. } = *self;
        [lines.div_ceil(line_parts.max(1)), cols.div_ceil(col_parts.max(1))]
    }

    /// Pixels of a block, at most.
    pub fn most_pixels(&self) -> usize {
        let [lines, cols] = self.most();
        lines * cols
    }

    /// Images that so many lines of a block are of, at most.
    fn images(&self, lines: usize) -> usize {
        match self.lines == self.rows {
            true => 1,
            false => 1 + lines.saturating_sub(1).div_ceil(self.rows.max(1)),
        }
    }

    pub fn get(&self, index: usize) -> Block {
        let Self { rows, parts: [line_parts, col_parts], .. } = *self;
        let lines = cut_at(self.lines, line_parts, index / col_parts);
        let image = lines.start / rows;
        Block {
            image,
            lines: lines.start - image * rows..lines.end - image * rows,
            cols: cut_at(self.cols, col_parts, index % col_parts),
        }
    }
}

/// Bytes that the tables of one block take at most, which say what is read where. Only a single pixel's
/// may take more, if a kernel has that many taps.
const TABLES: usize = 1 << 19;

/// Bytes of tables that a thread keeps for later blocks at most.
pub const KEPT_TABLES: usize = 1 << 18;

/// How a source is read.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub rows: &'a TapAxis,
    pub cols: &'a TapAxis,
    /// Channels of an image.
    pub channels: usize,
    /// Whether rows of zeros are copied too, so that every line reads a row through every kernel row.
    pub padded: bool,
    /// Whether lines are so short that the pixels of a block are read as one line, copied for each
    /// tap.
    pub crossing: bool,
    /// Most pixels of the tiles that blocks are cut into by a plan, which lists the taps of each.
    pub tile_rows: Option<usize>,
}

impl<'a> Source<'a> {
    /// Lines shorter than a quarter of a register tile's `most` rows are read together.
    pub fn new(rows: &'a TapAxis, cols: &'a TapAxis, channels: usize, most: usize) -> Self {
        let crossing = 4 * cols.output < most;
        Self { rows, cols, channels, padded: false, crossing, tile_rows: Some(most) }
    }

    /// How many lines of how many pixels a block is read as.
    pub fn lines(&self, block: &Block) -> (usize, usize) {
        match self.crossing {
            true => (1, block.pixels()),
            false => (block.lines.len(), block.cols.len()),
        }
    }

    pub fn taps(&self) -> usize {
        self.rows.offsets.len() * self.cols.offsets.len()
    }

    /// Cuts the output pixels of a batch into blocks that fit: as many whole images as do, or even parts
    /// of one.
    pub fn blocks(&self, batch: usize, fits: impl Fn(usize, usize) -> bool) -> Blocks {
        let (rows, cols) = (self.rows.output, self.cols.output);
        let fits = |lines, cols| self.tables_len(lines, cols) <= TABLES && fits(lines, cols);
        let mut col_parts = 1;
        while !self.crossing && col_parts < cols && !fits(1, cols.div_ceil(col_parts)) {
            col_parts *= 2;
        }
        let mut lines = 1;
        while lines < batch * rows && fits(lines + 1, cols.div_ceil(col_parts)) {
            lines += 1;
        }
        let line_parts = match lines / rows.max(1) {
            0 => batch * rows.div_ceil(lines),
            images => batch.div_ceil(images),
        };
        let lines = batch * rows;
        Blocks { lines, rows, cols, parts: [line_parts.min(lines), col_parts.min(cols)] }
    }

    /// Elements of a channel of the strip of so many lines and columns, at most.
    pub fn channel_len(&self, lines: usize, cols: usize) -> usize {
        match self.crossing {
            true => lines * cols * self.taps(),
            false => axis_len(self.rows, lines).saturating_mul(axis_len(self.cols, cols)),
        }
    }

    /// Rows of the strip of so many lines, at most.
    pub fn rows_len(&self, lines: usize) -> usize {
        axis_len(self.rows, lines)
    }

    /// Rows of the strip of any of the blocks, at most.
    pub fn most_rows(&self, blocks: &Blocks) -> usize {
        let TapAxis { input, step, ref offsets, mode, .. } = *self.rows;
        let [lines, _] = blocks.most();
        let images = blocks.images(lines);
        // Each image's lines read all rows from the first to the last, or less.
        let last = span(offsets) + 1;
        let dense = match last >= step {
            true => (lines * step).saturating_add(images.saturating_mul(last - step)),
            false => (lines.saturating_sub(1)).saturating_mul(step).saturating_add(last),
        };
        let dense = match mode {
            PaddingMode::Zeros if !self.padded => dense.min(images.saturating_mul(input)),
            _ => dense,
        };
        dense.min(lines * offsets.len())
    }

    /// From one channel of a strip to the next, for any of the blocks, at most.
    pub fn most_channel_len(&self, blocks: &Blocks) -> usize {
        let [_, cols] = blocks.most();
        apart(match self.crossing {
            true => blocks.most_pixels() * self.taps(),
            false => self.most_rows(blocks) * RowLayout::new(self.cols, 0, cols).len,
        })
    }

    /// Elements of a strip of so many channels of any of the blocks, at most.
    pub fn most_elements(&self, blocks: &Blocks, channels: usize) -> usize {
        strip_elements(channels, self.most_channel_len(blocks))
    }

    /// Bytes of the tables of a block at a time, about, and of those that are kept.
    pub fn most_tables(&self, blocks: &Blocks) -> usize {
        let [lines, cols] = blocks.most();
        let of_one = self.tables_len(lines, cols);
        of_one.saturating_add(KEPT_TABLES.min(of_one.saturating_mul(blocks.len())))
    }

    /// Bytes of the tables of a block, about: of its [`Strip`], and of its plan.
    pub fn tables_of(&self, block: &Block) -> usize {
        self.tables_len(block.lines.len(), block.cols.len())
    }

    /// The same of so many lines and columns.
    fn tables_len(&self, lines: usize, cols: usize) -> usize {
        const ENTRY: usize = size_of::<Option<usize>>();
        /// A row's place in the strip, while rows are being numbered, and what a hash table leaves free.
        const ROW: usize = 4 * ENTRY;
        let of_taps = |places: usize| ENTRY.saturating_mul(places).saturating_mul(self.taps());
        let (strip, lines, line_len) = match self.crossing {
            true => (of_taps(lines * cols), 1, lines * cols),
            false => {
                let of_lines = ENTRY.saturating_mul(lines * self.rows.offsets.len());
                let of_rows = ROW.saturating_mul(axis_len(self.rows, lines));
                let of_cols = ENTRY.saturating_mul(axis_len(self.cols, cols));
                (of_lines.saturating_add(of_rows).saturating_add(of_cols), lines, cols)
            }
        };
        /// Of a plan, a piece and its parts, and what a table leaves free.
        const PIECE: usize = 16 * ENTRY;
        let plan = self.tile_rows.map_or(0, |rows| {
            // A line is cut where its padding ends, too.
            let pieces = lines * (line_len.div_ceil(rows) + 2);
            of_taps(pieces).saturating_add(pieces * PIECE)
        });
        strip.saturating_add(plan)
    }
}

/// From the nearest of some offsets to the farthest.
fn span(offsets: &[isize]) -> usize {
    let farthest = offsets.iter().max().zip(offsets.iter().min());
    farthest.map_or(0, |(last, first)| last.abs_diff(*first))
}

/// Positions of an axis that so many outputs read, at most.
fn axis_len(axis: &TapAxis, outputs: usize) -> usize {
    let taps = axis.offsets.len();
    let last = span(&axis.offsets) + 1;
    let dense = (outputs - 1).saturating_mul(axis.step).saturating_add(last);
    dense.min(taps.saturating_mul(outputs))
}

/// How far channels of so many elements are apart: an odd number of cache lines, so that they don't
/// compete for the same places.
fn apart(len: usize) -> usize {
    len.next_multiple_of(MOST_LANES) | MOST_LANES
}

/// Elements of so many channels, and of a vector past them.
fn strip_elements(channels: usize, channel_len: usize) -> usize {
    channels * channel_len + MOST_LANES
}

/// How a row of a strip is laid out.
struct RowLayout {
    /// By kernel column, where the pixel is that the block's first column reads.
    tap_starts: Vec<usize>,
    /// By segment, the position of its first pixel, where it starts, and how many pixels it has.
    segments: Vec<(isize, Range<usize>)>,
    len: usize,
}

impl RowLayout {
    /// For so many outputs from `first` on.
    fn new(cols: &TapAxis, first: usize, outputs: usize) -> Self {
        let taps = 0..cols.offsets.len();
        let positions: Vec<_> = taps.map(|tap| cols.position(first, tap)).collect();
        let nearest = positions.iter().copied().min().unwrap_or(0);
        let span = span(&positions);
        let mut layout = Self { tap_starts: Vec::new(), segments: Vec::new(), len: 0 };
        let mut add = |first: isize, len: usize| {
            let start = layout.len;
            layout.len += len;
            layout.segments.push((first, start..layout.len));
            start
        };
        if span / cols.step >= positions.len() * outputs {
            // Taps so far apart have little in common: each has its own segment.
            layout.tap_starts = positions.iter().map(|&position| add(position, outputs)).collect();
            return layout;
        }
        let mut starts = HashMap::new();
        let tap_starts = positions.iter().map(|position| {
            let from = position.abs_diff(nearest);
            let remainder = from % cols.step;
            let len = outputs + (span - remainder) / cols.step;
            let start =
                starts.entry(remainder).or_insert_with(|| add(nearest + remainder as isize, len));
            *start + from / cols.step
        });
        layout.tap_starts = tap_starts.collect();
        layout
    }
}

/// Where the pixels lie that a block reads, and a few more: regions of the source's first channel.
pub fn regions(source: &Source, block: &Block) -> Vec<Range<usize>> {
    let Source { rows, cols, channels, .. } = *source;
    let read = |axis: &TapAxis, outputs: Range<usize>| {
        let position = |output, tap| axis.position(output, tap).clamp(0, axis.input as isize);
        let taps = || 0..axis.offsets.len();
        let first = taps().map(|tap| position(outputs.start, tap)).min().unwrap_or(0);
        let last = taps().map(|tap| position(outputs.end - 1, tap)).max().unwrap_or(0);
        first as usize..(last as usize + 1).min(axis.input)
    };
    let cols_read = read(cols, block.cols.clone());
    let mut regions = Vec::new();
    let mut line = block.lines.start;
    while line < block.lines.end {
        let (image, row) = (line / rows.output, line % rows.output);
        let end = block.lines.end.min(line - row + rows.output);
        let rows_read = read(rows, row..row + end - line);
        let start = image * channels * rows.input * cols.input;
        let first = start + rows_read.start * cols.input + cols_read.start;
        let last = start + rows_read.end.saturating_sub(1) * cols.input + cols_read.end;
        regions.push(first..last.max(first));
        line = end;
    }
    regions
}

/// How the strip of one block is copied and read, the same for every channel and for like blocks. What is
/// said of the first channel is of the first in the block's image.
pub struct Strip<M, E> {
    /// From one channel to the next.
    pub channel_len: usize,
    /// Rows and columns of the kernel.
    kernel: [usize; 2],
    pixels: usize,
    crossing: bool,
    /// Where in the source's first channel each row starts; none for zeros.
    row_starts: Vec<Option<usize>>,
    row_len: usize,
    segments: Vec<Segment<M, E>>,
    /// By kernel column, where in a row the pixel is that the block's first column reads.
    tap_starts: Vec<usize>,
    /// By line and kernel row, the row that is read; none for zeros.
    line_rows: Vec<Option<usize>>,
    /// By tap and pixel, where in the source's first channel the pixel is, if lines are read together.
    gathered: Vec<Option<usize>>,
    /// Past the last pixel that is read of the source's first channel.
    reach: usize,
}

/// Positions of an image row, a step apart.
struct Segment<M, E> {
    start: usize,
    line: Line<M, E>,
}

impl<M: Copy, E: Copy> Strip<M, E> {
    pub fn new<T, S>(simd: S, source: &Source, block: &Block) -> Self
    where
        T: Scalar,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let image_len = source.channels * source.rows.input * source.cols.input;
        let mut strip = Self {
            channel_len: 0,
            kernel: [source.rows.offsets.len(), source.cols.offsets.len()],
            pixels: block.pixels(),
            crossing: source.crossing,
            row_starts: Vec::new(),
            row_len: 0,
            segments: Vec::new(),
            tap_starts: Vec::new(),
            line_rows: Vec::new(),
            gathered: Vec::new(),
            reach: 0,
        };
        let len = if source.crossing {
            strip.gather(source, block, image_len);
            strip.gathered.len()
        } else {
            strip.add_rows(source, block, image_len);
            strip.add_segments(simd, source.cols, block);
            strip.row_len * strip.row_starts.len()
        };
        strip.channel_len = apart(len);
        strip
    }

    fn gather(&mut self, source: &Source, block: &Block, image_len: usize) {
        let Source { rows, cols, .. } = *source;
        self.gathered.reserve_exact(source.taps() * block.pixels());
        for row_tap in 0..rows.offsets.len() {
            for col_tap in 0..cols.offsets.len() {
                for line in block.lines.clone() {
                    let row = rows.source(line % rows.output, row_tap);
                    let start = row.map(|row| line / rows.output * image_len + row * cols.input);
                    let pixel = |col| Some(start? + cols.source(col, col_tap)?);
                    self.gathered.extend(block.cols.clone().map(pixel));
                }
            }
        }
        self.reach = self.gathered.iter().flatten().max().map_or(0, |last| last + 1);
    }

    /// Each image row that is read, once.
    fn add_rows(&mut self, source: &Source, block: &Block, image_len: usize) {
        let (rows, row_len) = (source.rows, source.cols.input);
        let mut known = HashMap::new();
        self.line_rows.reserve_exact(block.lines.len() * rows.offsets.len());
        for line in block.lines.clone() {
            let (image, line) = (line / rows.output, line % rows.output);
            for tap in 0..rows.offsets.len() {
                let row = [image as isize, rows.position(line, tap)];
                let start = rows.source(line, tap).map(|row| image * image_len + row * row_len);
                if start.is_none() && !source.padded {
                    self.line_rows.push(None);
                    continue;
                }
                let index = known.entry(row).or_insert_with(|| {
                    self.row_starts.push(start);
                    self.row_starts.len() - 1
                });
                self.line_rows.push(Some(*index));
            }
        }
        self.reach = self.row_starts.iter().flatten().max().map_or(0, |start| start + row_len);
    }

    fn add_segments<T, S>(&mut self, simd: S, cols: &TapAxis, block: &Block)
    where
        T: Scalar,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        let layout = RowLayout::new(cols, block.cols.start, block.cols.len());
        let segments = layout.segments.into_iter().map(|(first, Range { start, end })| {
            let line =
                Line::new(simd, [first, cols.step as isize], end - start, cols.input, cols.mode);
            Segment { start, line }
        });
        self.segments = segments.collect();
        self.tap_starts = layout.tap_starts;
        self.row_len = layout.len;
    }

    /// Where in a channel the pixels start that a line of the block reads through a tap, column by
    /// column; none for zeros. If lines are read together, there is one line, of all pixels.
    pub fn start(&self, line: usize, [row_tap, col_tap]: [usize; 2]) -> Option<usize> {
        if self.crossing {
            return Some((row_tap * self.kernel[1] + col_tap) * self.pixels);
        }
        Some(self.row(line, row_tap)? * self.row_len + self.tap_starts[col_tap])
    }

    /// As [`Strip::start`] of a padded strip, for the block's first column and no column of the kernel.
    pub fn row_start(&self, line: usize, row_tap: usize) -> usize {
        self.line_rows[line * self.kernel[0] + row_tap].unwrap_or(0) * self.row_len
    }

    /// Rows of a channel.
    pub fn rows(&self) -> usize {
        self.row_starts.len()
    }

    /// The row that a line of the block reads through a kernel row; none for zeros.
    pub fn row(&self, line: usize, row_tap: usize) -> Option<usize> {
        self.line_rows[line * self.kernel[0] + row_tap]
    }

    /// From one row to the next.
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// By kernel column, where in a row the pixel is that the block's first column reads.
    pub fn tap_starts(&self) -> &[usize] {
        &self.tap_starts
    }

    /// Makes room for so many channels, and for a vector past them.
    pub fn reserve<T: Scalar>(&self, channels: usize, target: &mut Vec<T>) {
        reserve(target, strip_elements(channels, self.channel_len));
    }

    /// Copies channels of `x`, whose channels are `plane` apart, into the start of `target`.
    #[inline(always)]
    pub fn fill<T, S>(
        &self,
        simd: S,
        x: &[T],
        plane: usize,
        channels: Range<usize>,
        target: &mut Vec<T>,
    ) where
        T: Scalar,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        self.reserve(channels.len(), target);
        assert!(channels.end == 0 || (channels.end - 1) * plane + self.reach <= x.len());
        for (channel, start) in channels.zip((0..).step_by(self.channel_len)) {
            let source = &x[channel * plane..];
            let target = &mut target[start..];
            for (value, pixel) in target.iter_mut().zip(&self.gathered) {
                *value = pixel.map_or(T::zero(), |pixel| source[pixel]);
            }
            if self.row_starts.is_empty() {
                continue; // Nothing but padding, which nobody reads: there is room for no row.
            }
            if self.row_len <= NARROW * S::LANES {
                self.fill_columns(simd, source, target);
            } else {
                self.fill_rows(simd, source, target);
            }
        }
    }

    /// Copies a channel row by row. Vectors are written in order: what one writes past its segment is
    /// overwritten by the next.
    #[inline(always)]
    fn fill_rows<T, S>(&self, simd: S, source: &[T], target: &mut [T])
    where
        T: Scalar,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        for (row, &from) in self.row_starts.iter().enumerate() {
            let target = &mut target[row * self.row_len..];
            let Some(from) = from else {
                target[..self.row_len].fill(T::zero());
                continue;
            };
            assert!(target.len() >= self.row_len + S::LANES);
            let row = source[from..].as_ptr();
            for Segment { start, line } in &self.segments {
                for (index, &kind) in line.kinds.iter().enumerate() {
                    // SAFETY: `reach` is past every row, and the vectors are of the kinds that are
                    // given; there is room for a vector past the last, as just asserted.
                    unsafe {
                        let target = target.as_mut_ptr().add(start + index * S::LANES);
                        let reader = line.reader(index);
                        match kind {
                            kind::FULL => {
                                simd.store(target, reader.read::<T, S, { kind::FULL }>(simd, row));
                            }
                            kind::MASKED => {
                                simd.store(
                                    target,
                                    reader.read::<T, S, { kind::MASKED }>(simd, row),
                                );
                            }
                            kind::EVEN => {
                                simd.store(target, reader.read::<T, S, { kind::EVEN }>(simd, row));
                            }
                            _ => {
                                simd.store(
                                    target,
                                    reader.read::<T, S, { kind::GATHER }>(simd, row),
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    /// Copies a channel vector by vector of its rows, which are short: so each vector's masks are looked
    /// up once. Columns are copied from the last to the first: what one writes past the end of a row is
    /// overwritten by the first of the next row.
    #[inline(always)]
    fn fill_columns<T, S>(&self, simd: S, source: &[T], target: &mut [T])
    where
        T: Scalar,
        S: Simd<T, Mask = M, EvenMask = E>,
    {
        for Segment { start, line } in self.segments.iter().rev() {
            for (index, &kind) in line.kinds.iter().enumerate().rev() {
                let target = &mut target[start + index * S::LANES..];
                let column = Column { strip: self, line, index, source, target };
                match kind {
                    kind::FULL => column.copy::<S, { kind::FULL }>(simd),
                    kind::MASKED => column.copy::<S, { kind::MASKED }>(simd),
                    kind::EVEN => column.copy::<S, { kind::EVEN }>(simd),
                    _ => column.copy::<S, { kind::GATHER }>(simd),
                }
            }
        }
    }
}

/// Vectors of a row that is short.
const NARROW: usize = 2;

/// One vector of every row of a channel.
struct Column<'a, T, M, E> {
    strip: &'a Strip<M, E>,
    line: &'a Line<M, E>,
    index: usize,
    /// From the channel's first pixel on.
    source: &'a [T],
    target: &'a mut [T],
}

impl<T: Scalar, M: Copy, E: Copy> Column<'_, T, M, E> {
    /// Copies vectors of that kind. Where rows have several segments, nothing is written past one.
    #[inline(always)]
    fn copy<S: Simd<T, Mask = M, EvenMask = E>, const KIND: u8>(self, simd: S) {
        let Self { strip, line, index, source, target } = self;
        let whole = strip.segments.len() == 1 || line.len - index * S::LANES >= S::LANES;
        let lanes = if whole { S::LANES } else { line.len - index * S::LANES };
        let mask = simd.mask(0..lanes);
        let last = (strip.row_starts.len().max(1) - 1) * strip.row_len;
        assert!(target.len() >= last + S::LANES);
        let reader = line.reader(index);
        let mut target = target.as_mut_ptr();
        for &row in &strip.row_starts {
            // SAFETY: `reach` is past every row, and the vector is of that kind; `target` has LANES
            // elements at every row, as just asserted.
            unsafe {
                let vector = match row {
                    Some(row) => reader.read::<T, S, KIND>(simd, source.as_ptr().add(row)),
                    None => simd.zero(),
                };
                if whole {
                    simd.store(target, vector);
                } else {
                    simd.store_masked(target, mask, vector);
                }
            }
            target = target.wrapping_add(strip.row_len);
        }
    }
}
