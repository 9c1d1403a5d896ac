//! How a source is read: cut into blocks of output pixels, and how long what they read is, in pixels and
//! in tables.

use std::ops::Range;

use super::axis::TapAxis;
use crate::config::padding::PaddingMode;
use crate::machine::simd::MOST_LANES;
use crate::machine::threads::cut_at;

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

    /// Images that `lines` lines of a block are of, at most.
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
pub struct Reading<'a> {
    pub rows: &'a TapAxis,
    pub cols: &'a TapAxis,
    /// Channels of an image.
    pub channels: usize,
    /// Whether rows of zeros are copied too, so that every line reads a row through every kernel row.
    pub zero_rows: bool,
    /// Whether rows are copied from the first tap to the last, however far apart taps are.
    pub whole_rows: bool,
    /// Whether lines are so short that the pixels of a block are read as one line, copied for each
    /// tap.
    pub joined_lines: bool,
    /// Most pixels of the tiles that blocks are cut into by a plan, which lists the taps of each.
    pub tile_rows: Option<usize>,
}

impl<'a> Reading<'a> {
    /// Lines shorter than a quarter of a register tile's `most` rows are read together.
    pub fn new(rows: &'a TapAxis, cols: &'a TapAxis, channels: usize, most: usize) -> Self {
        let joined_lines = 4 * cols.output < most;
        Self {
            rows,
            cols,
            channels,
            zero_rows: false,
            whole_rows: false,
            joined_lines,
            tile_rows: Some(most),
        }
    }

    /// How many lines of how many pixels a block is read as.
    pub fn lines(&self, block: &Block) -> (usize, usize) {
        match self.joined_lines {
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
        while !self.joined_lines && col_parts < cols && !fits(1, cols.div_ceil(col_parts)) {
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

    /// Elements of a channel of the strip of a block of `lines` and `cols`, at most.
    pub fn channel_len(&self, lines: usize, cols: usize) -> usize {
        match self.joined_lines {
            true => lines * cols * self.taps(),
            false => axis_len(self.rows, lines).saturating_mul(axis_len(self.cols, cols)),
        }
    }

    /// Rows of the strip of a block of `lines` lines, at most.
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
            PaddingMode::Zeros if !self.zero_rows => dense.min(images.saturating_mul(input)),
            _ => dense,
        };
        dense.min(lines * offsets.len())
    }

    /// From one channel of a strip to the next, for any of the blocks, at most.
    pub fn most_channel_len(&self, blocks: &Blocks) -> usize {
        let [_, cols] = blocks.most();
        apart(match self.joined_lines {
            true => blocks.most_pixels() * self.taps(),
            false => {
                self.most_rows(blocks) * RowLayout::new(self.cols, 0, cols, self.whole_rows).len
            }
        })
    }

    /// Elements of a strip of `channels` channels of any of the blocks, at most.
    pub fn most_elements(&self, blocks: &Blocks, channels: usize) -> usize {
        strip_elements(channels, self.most_channel_len(blocks))
    }

    /// Bytes of the tables of a block at a time, about, and of those that are kept.
    pub fn most_tables(&self, blocks: &Blocks) -> usize {
        let [lines, cols] = blocks.most();
        let of_one = self.tables_len(lines, cols);
        of_one.saturating_add(KEPT_TABLES.min(of_one.saturating_mul(blocks.len())))
    }

    /// Bytes of the tables of a block, about: of its [`Strip`](super::Strip), and of its plan.
    pub fn tables_of(&self, block: &Block) -> usize {
        self.tables_len(block.lines.len(), block.cols.len())
    }

    /// The same of a block of `lines` and `cols`.
    fn tables_len(&self, lines: usize, cols: usize) -> usize {
        const ENTRY: usize = size_of::<Option<usize>>();
        let of_taps = |places: usize| ENTRY.saturating_mul(places).saturating_mul(self.taps());
        let (strip, lines, line_len) = match self.joined_lines {
            true => (of_taps(lines * cols), 1, lines * cols),
            false => {
                // And as much while rows are being numbered.
                let of_lines = (2 * ENTRY).saturating_mul(lines * self.rows.offsets.len());
                let of_rows = ENTRY.saturating_mul(axis_len(self.rows, lines));
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

/// Positions of an axis that `outputs` outputs read, at most.
fn axis_len(axis: &TapAxis, outputs: usize) -> usize {
    let taps = axis.offsets.len();
    let last = span(&axis.offsets) + 1;
    let dense = (outputs - 1).saturating_mul(axis.step).saturating_add(last);
    dense.min(taps.saturating_mul(outputs))
}

/// How far channels of `len` elements are apart: an odd number of cache lines, so that they don't
/// compete for the same places.
pub fn apart(len: usize) -> usize {
    len.next_multiple_of(MOST_LANES) | MOST_LANES
}

/// Elements of `channels` channels, and of a vector past them.
pub fn strip_elements(channels: usize, channel_len: usize) -> usize {
    channels * channel_len + MOST_LANES
}

/// How a row of a strip is laid out.
pub struct RowLayout {
    /// By kernel column, where the pixel is that the block's first column reads.
    pub tap_starts: Vec<usize>,
    /// By segment, the position of its first pixel, where it starts, and how many pixels it has.
    pub segments: Vec<(isize, Range<usize>)>,
    pub len: usize,
}

impl RowLayout {
    /// For `outputs` outputs from `first` on; `whole`, as [`Reading::whole_rows`].
    pub fn new(cols: &TapAxis, first: usize, outputs: usize, whole: bool) -> Self {
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
        if !whole && span / cols.step >= positions.len() * outputs {
            // Taps so far apart have little in common: each has its own segment.
            layout.tap_starts = positions.iter().map(|&position| add(position, outputs)).collect();
            return layout;
        }
        // By remainder, in order.
        let mut starts: Vec<_> =
            positions.iter().map(|at| at.abs_diff(nearest) % cols.step).collect();
        starts.sort_unstable();
        starts.dedup();
        let starts: Vec<_> = starts
            .into_iter()
            .map(|remainder| {
                let len = outputs + (span - remainder) / cols.step;
                (remainder, add(nearest + remainder as isize, len))
            })
            .collect();
        let tap_starts = positions.iter().map(|position| {
            let from = position.abs_diff(nearest);
            let index = starts.partition_point(|&(known, _)| known < from % cols.step);
            starts[index].1 + from / cols.step
        });
        layout.tap_starts = tap_starts.collect();
        layout
    }
}

/// Where the pixels lie that a block reads, and a few more: regions of the source's first channel.
pub fn regions(reading: &Reading, block: &Block) -> Vec<Range<usize>> {
    let Reading { rows, cols, channels, .. } = *reading;
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
